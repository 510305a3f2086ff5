# SPDX-License-Identifier: Apache-2.0
"""What each part of the benchmark needs: a cluster to load, the load generator, tables."""

import contextlib
import json
import pathlib
import statistics
import subprocess
import tempfile

from harness import cluster, tree
from rivals import Target

BENCH = pathlib.Path(tree.BUILD) / "tests" / "bench"


def command(target, method, clients, seconds, *, query="", keys=10000, size=1024, requests=0,
            path="/v1/kv/bench/", random=False):
    return [BENCH / "load", *target.arguments, "--method", method, "--clients", str(clients),
            "--seconds", str(seconds), "--query", query, "--size", str(size), "--keys", str(keys),
            "--requests", str(requests), "--path", path,
            *(["--random"] if random else [])]


def report_of(process, limit):
    """The report of a load generator that was started with its output in a pipe."""
    out, _ = process.communicate(timeout=limit)
    if not out:
        raise SystemExit(f"bench: the load generator failed ({process.returncode})")
    return json.loads(out)


def load(target, method, clients, seconds, **options):
    """One run of the load generator; its report, and the processor time a request has cost."""
    before = target.cpu_us()
    with subprocess.Popen(command(target, method, clients, seconds, **options),
                          stdout=subprocess.PIPE) as process:
        report = report_of(process, seconds + 60)
    report["cpu_us"] = (target.cpu_us() - before) / max(report["answers"], 1)
    return report


def fill(target, keys, query=""):
    """Puts every key once, so that no get finds nothing."""
    load(target, "PUT", 8, 120, requests=keys, keys=keys, query=query)


@contextlib.contextmanager
def three_nodes(folder):
    nodes = cluster.Cluster(tempfile.mkdtemp(prefix="cluster-", dir=folder), 3)
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.close()


def target_of(nodes):
    """All nodes of a cluster, or some of them, as a target."""
    nodes = getattr(nodes, "nodes", nodes)
    return Target(["--to", ",".join(n.address for n in nodes)], [n.process.pid for n in nodes])


@contextlib.contextmanager
def bare_http():
    """The server that only answers."""
    with subprocess.Popen([BENCH / "bare_http"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as server:
        try:
            yield Target(["--to", f"127.0.0.1:{int(server.stdout.readline())}"], [server.pid])
        finally:
            server.stdin.close()
            server.wait(10)


def median(rounds, key):
    return statistics.median(r[key] for r in rounds)


def judge(claim, value, target, at_most=False):
    """Prints a figure beside what it must be; returns it for the results."""
    met = value <= target if at_most else value >= target
    bound = f"{'at most' if at_most else 'at least'} {target:g}"
    print(f"  {claim:58}{value:10.2f}   {bound:16}{'met' if met else 'MISSED'}", flush=True)
    return {"claim": claim, "value": value, "target": target, "at_most": at_most, "met": met}
