# SPDX-License-Identifier: Apache-2.0
"""Puts and gets of 1 KiB over HTTP, beside etcd and Redis with as many copies, beside the store of one
node alone and beside a server that only answers."""

import contextlib
import pathlib
import re
import subprocess

import loads
import rivals


def rows_of(targets):
    """(name, target, method, query): what is measured, where it is there."""
    rows = [("put, synced by a quorum", targets["nodes"], "PUT", ""),
            ("put, buffered", targets["nodes"], "PUT", "?durability=buffered"),
            ("get, R = 2", targets["nodes"], "GET", "")]
    if targets["etcd"]:
        rows += [("etcd x3 put", targets["etcd"], "PUT", ""),
                 ("etcd x3 linearizable get", targets["etcd"], "GET", "")]
    if targets["redis"]:
        rows.append(("redis SET + WAIT 1, fsync always", targets["redis"], "PUT", ""))
    rows += [("bare HTTP put", targets["bare"], "PUT", ""),
             ("bare HTTP get", targets["bare"], "GET", "")]
    return rows


def measure(folder, options):
    """Reports of each round by (name, clients). Rounds alternate between all targets."""
    reports = {}
    with contextlib.ExitStack() as stack:
        nodes = loads.target_of(stack.enter_context(loads.three_nodes(folder)))
        targets = {"nodes": nodes, "bare": stack.enter_context(loads.bare_http())}
        for rival in (rivals.etcd, rivals.redis):
            target = stack.enter_context(rival(pathlib.Path(folder) / rival.__name__))
            targets[rival.__name__] = target
            if target:
                loads.fill(target, options.keys)
            else:
                print(f"{rival.__name__} is not installed: no comparison")
        loads.fill(nodes, options.keys, "?durability=buffered")
        for _ in range(options.rounds):
            for clients in (1, 32):
                for name, target, method, query in rows_of(targets):
                    reports.setdefault((name, clients), []).append(
                        loads.load(target, method, clients, options.seconds, query=query,
                                   keys=options.keys))
    return reports


def table_of(reports):
    table = []
    print(f"\n{'':44}{'per second':>12}{'mean':>9}{'p50':>9}{'p99':>9}{'p99.9':>9}  (ms)"
          f"{'CPU us/request':>16}")
    for (name, clients), rounds in reports.items():
        row = {"name": name, "clients": clients, "errors": sum(r["errors"] for r in rounds)}
        for key in ("rate", "mean_ms", "p50_ms", "p99_ms", "p999_ms", "cpu_us"):
            row[key] = loads.median(rounds, key)
        table.append(row)
        errors = f"  {row['errors']} errors" if row["errors"] else ""
        print(f"{name + ', ' + str(clients) + (' clients' if clients > 1 else ' client'):44}"
              f"{row['rate']:12,.0f}{row['mean_ms']:9.3f}{row['p50_ms']:9.3f}{row['p99_ms']:9.3f}"
              f"{row['p999_ms']:9.3f}{row['cpu_us']:22.1f}{errors}")
    return table


def judge(reports, store):
    """The ratios that the design asks for. The medians of ratios of a round, as its loads follow each
    other closely."""
    print("\nratios of this run, 32 clients")
    verdicts = []

    def ratio(ours, theirs, target):
        if (theirs, 32) not in reports:
            return
        pairs = zip(reports[ours, 32], reports[theirs, 32])
        ratios = [{"ratio": a["rate"] / max(b["rate"], 1)} for a, b in pairs]
        verdicts.append(loads.judge(f"{ours} / {theirs}", loads.median(ratios, "ratio"), target))

    ratio("put, synced by a quorum", "etcd x3 put", 4)
    ratio("put, synced by a quorum", "redis SET + WAIT 1, fsync always", 1)
    ratio("get, R = 2", "etcd x3 linearizable get", 3)
    for name in ("put, synced by a quorum", "get, R = 2"):
        tails = [{"ratio": r["p999_ms"] / max(r["mean_ms"], 0.001)} for r in reports[name, 32]]
        verdicts.append(loads.judge(f"p99.9 / mean of {name}", loads.median(tails, "ratio"), 10,
                                    at_most=True))
    for name, limit in (("put, buffered", "bare HTTP put"), ("get, R = 2", "bare HTTP get")):
        share = loads.median(reports[name, 32], "rate") / loads.median(reports[limit, 32], "rate")
        print(f"  {name + ' / ' + limit:58}{share:10.3f}")
    if store.get("puts, synced"):
        share = loads.median(reports["put, synced by a quorum", 32], "rate") / store["puts, synced"]
        print(f"  {'put, synced by a quorum / synced put of one store alone':58}{share:10.3f}")
    return verdicts


def store_alone(folder):
    """What the store of one node alone does: prints what its own benchmark says; rates by name."""
    done = subprocess.run([loads.BENCH / "bench_store", pathlib.Path(folder) / "store"],
                          stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    print("\none node's store alone:\n" + done.stdout.rstrip(), flush=True)
    return {name.strip(): float(rate) for name, rate in
            re.findall(r"^(.+?)\s+(\d+) per second$", done.stdout, re.MULTILINE)}


def run(folder, options):
    store = store_alone(folder)
    reports = measure(folder, options)
    return {"store": store, "table": table_of(reports), "verdicts": judge(reports, store)}
