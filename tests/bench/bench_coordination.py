# SPDX-License-Identifier: Apache-2.0
"""Who coordinates a request: the client itself, or whichever of five nodes a balancer of load would
have picked (the Dynamo paper's Table 2). The same load both ways, in turns."""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

from harness import cluster, tree

import loads

LOAD = pathlib.Path(tree.BUILD) / "tests" / "bench" / "load_client"


@contextlib.contextmanager
def five_nodes(folder):
    nodes = cluster.Cluster(tempfile.mkdtemp(prefix="cluster-", dir=folder), 5)
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.close()


def processor_ms(nodes):
    """What the nodes have used of their processors so far."""
    ticks = 0
    for node in nodes.nodes:
        fields = pathlib.Path(f"/proc/{node.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def load(nodes, clients, *options, seconds=60):
    """One run of the client library's load: its report."""
    before = processor_ms(nodes)
    done = subprocess.run([LOAD, "--to", ",".join(nodes.addresses), "--clients", str(clients),
                           "--seconds", str(seconds), *options], stdout=subprocess.PIPE,
                          timeout=seconds + 60, check=False)
    report = json.loads(done.stdout.partition(b"\n")[2])
    report["nodes_us"] = (processor_ms(nodes) - before) * 1000 / \
        max(1, report["get"]["answers"] + report["put"]["answers"])
    return report


def measure(folder, options):
    rounds = {}
    keys = ("--keys", str(options.keys))
    with five_nodes(folder) as nodes:
        load(nodes, 16, *keys, "--puts", "100", "--requests", str(options.keys))
        for _ in range(options.rounds):
            for clients in (1, 32):
                for way in ("a node", "the client"):
                    rounds.setdefault((clients, way), []).append(
                        load(nodes, clients, *keys, "--puts", "50",
                             *(["--server"] if way == "a node" else []), seconds=options.seconds))
    return rounds


def row(runs):
    """The medians of some runs."""
    cells = {f"{kind}_{key}": statistics.median(r[kind][key] for r in runs)
             for kind in ("get", "put") for key in ("p999_ms", "mean_ms", "rate")}
    cells["nodes_us"] = statistics.median(r["nodes_us"] for r in runs)
    cells["errors"] = sum(r[kind]["errors"] for r in runs for kind in ("get", "put"))
    return cells


def run(folder, options):
    print(f"\n{'who coordinates, of five nodes':34}{'p99.9 read':>11}{'write':>9}{'mean read':>11}"
          f"{'write':>9}  (ms){'per second':>12}{'nodes, us each':>16}")
    table = {}
    for (clients, way), runs in measure(folder, options).items():
        made = table[clients, way] = row(runs)
        errors = f"  {made['errors']} errors" if made["errors"] else ""
        print(f"{f'{way}, {clients} at a time':34}{made['get_p999_ms']:11.3f}"
              f"{made['put_p999_ms']:9.3f}{made['get_mean_ms']:11.3f}{made['put_mean_ms']:9.3f}      "
              f"{made['get_rate'] + made['put_rate']:12,.0f}{made['nodes_us']:16.1f}{errors}")
    verdicts = [loads.judge(f"reads coordinated by the client, {clients} at a time: mean, of a node's",
                            table[clients, "the client"]["get_mean_ms"] /
                            table[clients, "a node"]["get_mean_ms"], 0.5, at_most=True)
                for clients in (1, 32)]
    return {"rows": [{"clients": clients, "way": way, **made}
                     for (clients, way), made in table.items()], "verdicts": verdicts}
