# SPDX-License-Identifier: Apache-2.0
"""What a cluster of three nodes does when one of them fails under load, and what it costs when there is
no load at all."""

import pathlib
import re
import statistics
import subprocess
import time

from harness import wait

import loads

CLIENTS = 16
PAUSE_S = 20


def metric(node, name):
    text = node.request("GET", "/metrics").body.decode()
    found = re.search(rf"^dynamount_{name} (\S+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def resident_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


def under_load(nodes, seconds, query, disturb):
    """Puts through some nodes; `disturb` runs in the meantime, a second after the beginning. The load's
    report."""
    command = loads.command(loads.target_of(nodes), "PUT", CLIENTS, seconds, query=query)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        time.sleep(1)  # of load, to have a rate to compare with
        disturb()
        return loads.report_of(process, seconds + 60)


def usual(report):
    """Answers in a tenth of a second, of the first second."""
    return statistics.median(report["per_100_ms"][2:10])


def killed(cluster):
    """Longest time without an answer of any client when a node is killed: clients of that node go to
    the others at once."""
    victim = cluster.nodes[2]
    quiet = under_load(cluster.nodes, 3, "", lambda: None)
    report = under_load(cluster.nodes, 5, "", victim.kill)
    print(f"  a node killed: {report['errors']} errors, longest wait {report['longest_ms']:.0f} ms "
          f"(without: {quiet['longest_ms']:.0f} ms), rate {report['rate']:,.0f} "
          f"(without: {quiet['rate']:,.0f})", flush=True)
    begun = time.monotonic()
    victim.launch()
    wait.until(victim.serves, 20, "the node serving again")
    ready = time.monotonic() - begun
    return [loads.judge("a node killed: longest wait beyond the usual, ms",
                        max(0, report["longest_ms"] - quiet["longest_ms"]), 100, at_most=True),
            loads.judge("restarted: ready to serve, s", ready, 1, at_most=True)]


def paused(cluster):
    """Time of reduced rate while a node is stopped, to clients of the others."""
    victim, others = cluster.nodes[2], cluster.nodes[:2]

    def pause():
        victim.pause()

    try:
        report = under_load(others, PAUSE_S, "", pause)
    finally:
        victim.resume()
    slow = sum(1 for n in report["per_100_ms"][10:] if n < usual(report) / 2) / 10
    print(f"  a node stopped for {PAUSE_S - 1} s: {report['errors']} errors, longest wait "
          f"{report['longest_ms']:.0f} ms, {slow:.1f} s below half of the rate before", flush=True)
    return [loads.judge("a node stopped: time at less than half the rate, s", slow, 1,
                        at_most=True)]


def hints(cluster, megabytes=16):
    """Time in which the others hand over what they kept for a node that was away."""
    victim, others = cluster.nodes[2], cluster.nodes[:2]
    wait.until(lambda: not any(metric(n, "hints_now") for n in others), 120, "earlier hints drained")
    victim.stop()
    count = megabytes * 1024
    loads.load(loads.target_of(others), "PUT", CLIENTS, 120, requests=count, keys=count,
               query="?durability=buffered")
    kept = sum(metric(n, "hints_now") for n in others)
    begun = time.monotonic()
    victim.launch()
    wait.until(victim.serves, 20, "the node serving again")
    ready = time.monotonic() - begun
    wait.until(lambda: not any(metric(n, "hints_now") for n in others), 120, "hints drained")
    drained = time.monotonic() - begun
    print(f"  a node away for {count:,} puts of 1 KiB: {kept:,.0f} hints, ready after {ready:.2f} s, "
          f"all handed over after {drained:.1f} s", flush=True)
    return [loads.judge(f"hints of {megabytes} MiB drained, s", drained, 10, at_most=True)]


def idle(cluster, seconds=10):
    """Memory and processor time of nodes that nobody asks anything, after all that went before."""
    target = loads.target_of(cluster)
    before = target.cpu_us()
    time.sleep(seconds)  # the measurement itself
    share = (target.cpu_us() - before) / len(target.pids) / seconds / 1e4
    memory = max(map(resident_mib, target.pids))
    return [loads.judge("idle node, MiB", memory, 64, at_most=True),
            loads.judge("idle node, % of a core", share, 1, at_most=True)]


def run(folder, options):
    verdicts = []
    print("\nfaults and idleness, three nodes, puts of 1 KiB synced by a quorum, 16 clients")
    with loads.three_nodes(folder) as cluster:
        verdicts += idle(cluster, 3 if options.quick else 10)
        verdicts += killed(cluster)
        verdicts += paused(cluster)
        verdicts += hints(cluster, 2 if options.quick else 16)
        verdicts += idle(cluster, 3 if options.quick else 10)
    return {"verdicts": verdicts}
