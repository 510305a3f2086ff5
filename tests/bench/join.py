# SPDX-License-Identifier: Apache-2.0
"""A fourth node joins three that hold data.

    ./dev bench join [--data MIB] [--rate N] [--seconds S] [--rounds N] [--keys N] [--json FILE]

Measured: how much moves, of what its share comes to; how fast, where nothing else is to be done, beside
what the disk takes in one file in the same run; and what gets and puts take before, during and after,
with admission control of background work and without it (background_target = 0s). Values are of 1 KiB,
16 KiB and 1 MiB and cannot be compressed. All processes share one machine: quote ratios of one run.
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
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import loads  # noqa: E402
from harness import cluster, wait  # noqa: E402

# (path, bytes of a value, share of the data): small ones, middling ones, chunks of large files
SIZES = (("small", 1024, 0.1), ("middle", 16384, 0.2), ("chunks", 1 << 20, 0.7))
CLIENTS = 16
MIB = 1 << 20


def sequential_mib_s(folder, mib=512):
    """What the disk takes in one file, one after the other, with the sync at the end."""
    path = pathlib.Path(folder) / "sequential"
    block = os.urandom(MIB)
    begun = time.monotonic()
    with open(path, "wb", buffering=0) as file:
        for _ in range(mib):
            file.write(block)
        os.fsync(file.fileno())
    took = time.monotonic() - begun
    path.unlink()
    return mib / took


@contextlib.contextmanager
def loaded(folder, options, **settings):
    """Three nodes with data, at rest."""
    nodes = cluster.Cluster(tempfile.mkdtemp(prefix="cluster-", dir=folder), 3, **settings)
    try:
        nodes.start()
        target = loads.target_of(nodes)
        for name, size, share in SIZES:
            keys = int(options.data * MIB * share / size)
            loads.load(target, "PUT", 8, 300, requests=keys, keys=keys, size=size, random=True,
                       query="?durability=buffered", path=f"/v1/kv/{name}/")
        loads.fill(target, options.keys, "?durability=buffered")
        wait.until(lambda: all(metric(n, "hints_now") == 0 and metric(n, "owed_now") == 0
                               for n in nodes.nodes), 300, "nothing owed")
        yield nodes
    finally:
        nodes.close()


def metric(node, name):
    """One figure of a node's /metrics."""
    text = node.request("GET", "/metrics").body.decode()
    found = re.search(rf"^dynamount_{name}(?:_total)? (\d+)$", text, re.MULTILINE)
    assert found, f"no metric {name}"
    return int(found.group(1))


def stored(options):
    """Bytes of values in the cluster, all copies."""
    keys = {name: int(options.data * MIB * share / size) for name, size, share in SIZES}
    return 3 * (sum(keys[name] * size for name, size, _ in SIZES) + options.keys * 1024)


def join(nodes, **settings):
    """Has a fourth node join; the seconds until nothing moves any more."""
    fourth = nodes.add(**settings)
    nodes.dynactl("join", fourth.address)
    nodes.dynactl("plan")
    begun = time.monotonic()
    nodes.dynactl("commit", "--wait", seconds=900)
    return fourth, time.monotonic() - begun


def idle_join(folder, options):
    with loaded(folder, options) as nodes:
        disk = sequential_mib_s(folder)
        fourth, took = join(nodes)
        return {"bytes": metric(fourth, "transfer_bytes"), "seconds": took, "disk": disk,
                "rows": metric(fourth, "transfer_rows"), "ideal": stored(options) / 4}


class Load:
    """Gets and puts side by side, at a fixed rate each, until end()."""

    def __init__(self, nodes, options, seconds=900):
        target = loads.target_of(nodes.nodes[:3])
        self.runs = {
            method: subprocess.Popen(
                [*loads.command(target, method, CLIENTS, seconds, keys=options.keys),
                 "--rate", str(options.rate), "--until-input-ends"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for method in ("GET", "PUT")}

    def end(self):
        """What each has seen."""
        for run in self.runs.values():
            run.stdin.close()
            run.stdin = None
        return {method: loads.report_of(run, 60) for method, run in self.runs.items()}


def phase(nodes, options):
    load = Load(nodes, options)
    time.sleep(options.seconds)
    return load.end()


def loaded_join(folder, options, **settings):
    """What gets and puts take before a node joins, while it does, and afterwards."""
    with loaded(folder, options, **settings) as nodes:
        before = phase(nodes, options)
        load = Load(nodes, options)
        fourth, took = join(nodes, **settings)
        during = load.end()
        time.sleep(1)
        return {"before": before, "during": during, "after": phase(nodes, options),
                "seconds": took, "bytes": metric(fourth, "transfer_bytes")}


def show(name, runs):
    for method in ("GET", "PUT"):
        cells = "".join(f"{statistics.median(r[when][method][key] for r in runs):9.2f}"
                        for when in ("before", "during", "after")
                        for key in ("p50_ms", "p99_ms", "p999_ms"))
        errors = sum(r[when][method]["errors"] for r in runs for when in ("before", "during", "after"))
        print(f"  {name + ', ' + method.lower():28}{cells}{f'  {errors} errors' if errors else ''}",
              flush=True)


def worst(runs, method):
    """p99 during the join over that before it: the median of the rounds."""
    return statistics.median(r["during"][method]["p99_ms"] / max(r["before"][method]["p99_ms"], 0.001)
                             for r in runs)


def run(folder, options):
    print(f"\na fourth node joins: {options.data} MiB in three copies, {options.rounds} rounds")
    idle = [idle_join(folder, options) for _ in range(options.rounds)]
    moved = statistics.median(r["bytes"] / r["ideal"] for r in idle)
    pace = statistics.median(r["bytes"] / MIB / r["seconds"] for r in idle)
    disk = statistics.median(r["disk"] for r in idle)
    print(f"  idle: {idle[0]['bytes'] / MIB:.0f} MiB moved of {idle[0]['ideal'] / MIB:.0f} MiB that are"
          f" its share, {pace:.0f} MiB/s; the disk takes {disk:.0f} MiB/s in one file", flush=True)
    loaded_runs = {"control": [], "no control": []}
    for _ in range(options.rounds):
        loaded_runs["control"].append(loaded_join(folder, options))
        loaded_runs["no control"].append(loaded_join(folder, options, background_target="0s"))
    print(f"\n  {f'{options.rate} a second of each (ms)':28}"
          + "".join(f"{when + ' ' + p:>9}" for when in ("", "", "") for p in ("p50", "p99", "p99.9"))
          + "   before, during, after")
    for name, runs in loaded_runs.items():
        show(name, runs)
        print(f"  {name}: took {statistics.median(r['seconds'] for r in runs):.1f} s")
    print()
    verdicts = [loads.judge("moved, of the share of the new node", moved, 1.05, at_most=True),
                loads.judge("pace when idle, of the disk's sequential one", pace / disk, 1 / 3)]
    verdicts += [loads.judge(f"p99 of {method.lower()}s during the join, of that before",
                             worst(loaded_runs["control"], method), 2, at_most=True)
                 for method in ("GET", "PUT")]
    return {"idle": idle, "loaded": loaded_runs, "verdicts": verdicts}


def main():
    parser = argparse.ArgumentParser(prog="./dev bench join", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=int, default=256, help="MiB of values (default 256)")
    parser.add_argument("--rate", type=int, default=400, help="gets, and puts, a second (default 400)")
    parser.add_argument("--seconds", type=float, default=4,
                        help="length of the loads before and after (default 4)")
    parser.add_argument("--rounds", type=int, default=3, help="medians of them (default 3)")
    parser.add_argument("--keys", type=int, default=10000, help="keys of the loads (default 10000)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="dynamount-bench-")
    try:
        results = run(folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{sum(v['met'] for v in results['verdicts'])} of {len(results['verdicts'])} targets met")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
