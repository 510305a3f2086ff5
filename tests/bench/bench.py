# SPDX-License-Identifier: Apache-2.0
"""Measures a cluster of three nodes beside the limits of the machine, in one run.

    ./dev bench [http] [fs] [--quick] [--seconds S] [--files N] [--rounds N] [--json FILE]

http: puts and gets of 1 KiB over HTTP with one and with 32 clients, beside raw RocksDB and beside a
server that only answers. fs: small files on a mount, beside the same on the local disk. Absolute
figures differ from machine to machine and from hour to hour: what to quote are the ratios of one
run, from the medians of its rounds. The last column of each table is such a ratio: of a request to
the same request at the server that only answers, of a synced put to a synced put of the store alone
(32 in flight), of a file on the mount to a file on the local disk.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import cluster, mount, tree  # noqa: E402

BENCH = pathlib.Path(tree.BUILD) / "tests" / "bench"


def load(to, method, clients, seconds, query="", size=1024, keys=10000):
    """One run of the load generator; its report."""
    done = subprocess.run(
        [BENCH / "load_http", "--to", to, "--method", method, "--clients", str(clients),
         "--seconds", str(seconds), "--query", query, "--size", str(size), "--keys", str(keys)],
        stdout=subprocess.PIPE, timeout=seconds + 60, check=False)
    if not done.stdout:
        raise SystemExit(f"bench: the load generator failed ({done.returncode})")
    return json.loads(done.stdout)


@contextlib.contextmanager
def bare_http():
    """The server that only answers; its address."""
    server = subprocess.Popen([BENCH / "bare_http"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield f"127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.stdin.close()
        server.wait(10)


@contextlib.contextmanager
def three_nodes(folder):
    nodes = cluster.Cluster(tempfile.mkdtemp(prefix="cluster-", dir=folder), 3)
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.close()


def median(rounds, key):
    return statistics.median(r[key] for r in rounds)


def row(table, name, rounds):
    """Appends the medians of a load's rounds to the table; returns them."""
    table.append({"name": name, "errors": sum(r.get("errors", 0) for r in rounds),
                  **{k: median(rounds, k) for k in
                     ("rate", "mean_ms", "p50_ms", "p99_ms", "p999_ms")}})
    return table[-1]


def print_http(table):
    print(f"\n{'':34}{'per second':>12}{'mean':>9}{'p50':>9}{'p99':>9}{'p99.9':>9}  (ms)  of the limit")
    for r in table:
        ratios = "".join(f"  {ratio:.3f} of {limit}" for limit, ratio in r["of"].items())
        errors = f"  {r['errors']} errors" if r["errors"] else ""
        print(f"{r['name']:34}{r['rate']:12,.0f}{r['mean_ms']:9.3f}{r['p50_ms']:9.3f}"
              f"{r['p99_ms']:9.3f}{r['p999_ms']:9.3f}      {ratios}{errors}")


def fill(to, keys):
    """Puts every key once, so that no get finds nothing."""
    subprocess.run([BENCH / "load_http", "--to", to, "--method", "PUT", "--clients", "8",
                    "--seconds", "120", "--requests", str(keys), "--keys", str(keys),
                    "--query", "?durability=buffered"],
                   stdout=subprocess.DEVNULL, timeout=150, check=True)


def bench_http(folder, options, store):
    """Puts and gets over HTTP; rounds alternate between the cluster and the bare server."""
    rounds = {}
    with bare_http() as bare, three_nodes(folder) as nodes:
        to = ",".join(nodes.addresses)
        fill(to, options.keys)
        for _ in range(options.rounds):
            for clients in (1, 32):
                for name, target, method, query in (
                        ("put, synced by a quorum", to, "PUT", ""),
                        ("put, buffered", to, "PUT", "?durability=buffered"),
                        ("get, R = 2", to, "GET", ""),
                        ("bare HTTP put", bare, "PUT", ""),
                        ("bare HTTP get", bare, "GET", "")):
                    rounds.setdefault((name, clients), []).append(
                        load(target, method, clients, options.seconds, query, keys=options.keys))
    table = []
    for (name, clients), runs in rounds.items():
        made = row(table, f"{name}, {clients} client{'s' if clients > 1 else ''}", runs)
        bare_rate = median(rounds[f"bare HTTP {name[:3]}", clients], "rate") \
            if not name.startswith("bare") else None
        made["of"] = {"bare HTTP": made["rate"] / bare_rate} if bare_rate else {}
        if "synced" in name and clients == 32 and store.get("puts, synced"):
            made["of"]["the store's"] = made["rate"] / store["puts, synced"]
    print_http(table)
    return table


def bench_rocksdb(folder):
    """What the store of one node alone does: prints what its own benchmark says; rates by name."""
    done = subprocess.run([BENCH / "bench_store", pathlib.Path(folder) / "store"],
                          stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    print("\none node's store alone:\n" + done.stdout.rstrip(), flush=True)
    return {name.strip(): float(rate) for name, rate in
            re.findall(r"^(.+?)\s+(\d+) per second$", done.stdout, re.MULTILINE)}


def timed(count, work):
    begun = time.monotonic()
    work()
    return count / (time.monotonic() - begun)


def small_files(where, again, files):
    """Rates of operations on files of 1 KiB under `where`; `again` is a cold view of the same."""
    where = pathlib.Path(where) / "small"
    again = pathlib.Path(again) / "small"
    value = os.urandom(1024)
    names = [f"f{i:06d}" for i in range(files)]

    def write(synced):
        for name in names:
            with open(where / name, "wb", buffering=0) as out:
                out.write(value)
                if synced:
                    os.fsync(out.fileno())

    def read():
        for name in names:
            with open(again / name, "rb", buffering=0) as source:
                source.read()

    def list_long():
        with os.scandir(again) as entries:
            for entry in entries:
                entry.stat()

    where.mkdir()
    figures = {"create": timed(files, lambda: write(False))}
    figures["ls -l, entries"] = timed(files, list_long)
    figures["read, cold"] = timed(files, read)
    figures["overwrite"] = timed(files, lambda: write(False))
    figures["overwrite + fsync"] = timed(files, lambda: write(True))

    def rename():
        for name in names:
            os.rename(where / name, where / f"{name}.b")

    def unlink():
        for name in names:
            os.unlink(where / f"{name}.b")

    figures["rename"] = timed(files, rename)
    figures["unlink"] = timed(files, unlink)
    where.rmdir()
    return figures


def bench_fs(folder, options):
    """Small files through a mount, read back cold through a second one, beside the local disk."""
    local = pathlib.Path(folder) / "local"
    local.mkdir()
    points = [pathlib.Path(folder) / name for name in ("mnt", "cold")]
    table = {}
    with three_nodes(folder) as nodes:
        for _ in range(options.rounds):
            mounts = []
            try:
                for point in points:
                    point.mkdir(exist_ok=True)
                    mounts.append(mount.Mount(point, nodes.addresses))
                    mounts[-1].start()
                for name, figure in small_files(points[0], points[1], options.files).items():
                    table.setdefault(name, {}).setdefault("mount", []).append(figure)
            finally:
                for m in mounts:
                    m.stop()
            for name, figure in small_files(local, local, options.files).items():
                table.setdefault(name, {}).setdefault("local", []).append(figure)
    print(f"\n{'files of 1 KiB, one thread':34}{'mount/s':>12}{'local disk/s':>14}{'ratio':>8}")
    out = []
    for name, figures in table.items():
        here, there = (statistics.median(figures[k]) for k in ("mount", "local"))
        print(f"{name:34}{here:12,.0f}{there:14,.0f}{here / there:8.3f}")
        out.append({"name": name, "mount": here, "local": there})
    return out


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["http", "fs", []], help="default: both")
    parser.add_argument("--quick", action="store_true",
                        help="one round of 1 s and 200 files: for the order of magnitude")
    parser.add_argument("--seconds", type=float, help="length of each load (default 4)")
    parser.add_argument("--files", type=int, help="small files (default 1000)")
    parser.add_argument("--rounds", type=int, help="medians of them (default 3)")
    parser.add_argument("--keys", type=int, default=10000, help="keys of the loads (default 10000)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    for name, usual, quick in (("seconds", 4, 1), ("files", 1000, 200), ("rounds", 3, 1)):
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else usual)
    folder = tempfile.mkdtemp(prefix="dynamount-bench-")
    results = {}
    try:
        if not options.what or "http" in options.what:
            results["rocksdb"] = bench_rocksdb(folder)
            results["http"] = bench_http(folder, options, results["rocksdb"])
        if not options.what or "fs" in options.what:
            results["fs"] = bench_fs(folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
