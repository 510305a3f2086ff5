# SPDX-License-Identifier: Apache-2.0
"""Nodes with an object buffer (dynanode.conf's object_buffer): what was acknowledged is where it was
promised to be, after a clean stop, after one is killed, and after all are killed in the middle of it."""

import json
import threading

import pytest
from harness import wait

LEVELS = ("buffered", "one", "quorum")


class Writers:
    """Threads that put keys of their own, each at every durability in turn, until their node is gone
    or they are told to stop. `acknowledged`: keys by durability."""

    def __init__(self, nodes, each=4):
        self.acknowledged = {level: [] for level in LEVELS}
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.write, args=(node, f"{i}-{j}"))
                        for i, node in enumerate(nodes) for j in range(each)]
        for thread in self.threads:
            thread.start()

    def write(self, node, name):
        for n in range(100000):
            level = LEVELS[n % len(LEVELS)]
            key = f"d/{name}-{n}"
            if self.stopping.is_set():
                return
            try:
                answer = node.request("PUT", f"/v1/kv/{key}?durability={level}", key.encode())
            except OSError:
                return
            if answer.status == 204:
                self.acknowledged[level].append(key)

    def count(self):
        return min(len(keys) for keys in self.acknowledged.values())

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def voteless(node):
    return json.loads(node.request("GET", "/v1/cluster").body)["moves"]["voteless"]


def all_vote(cluster):
    return all(voteless(node) == 0 for node in cluster.nodes)


def metric(node, name):
    for line in node.request("GET", "/metrics").body.decode().splitlines():
        if line.startswith(f"dynamount_{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


def log_of(node):
    return (node.folder / node.setting("log")).read_text()


def missing(node, keys, query=""):
    """Those of KEYS that the node does not find; what it finds must be right."""
    absent = []
    for key in keys:
        answer = node.request("GET", f"/v1/kv/{key}{query}")
        assert answer.status in (200, 404), answer.body
        if answer.status == 404:
            absent.append(key)
        else:
            assert answer.body == key.encode()
    return absent


@pytest.mark.limit(120)
def test_one_and_quorum_outlive_a_kill_of_all_nodes_under_load(make_cluster):
    cluster = make_cluster(3, object_buffer=1000)
    writers = Writers(cluster.nodes)
    try:
        wait.until(lambda: writers.count() >= 100, 60, "a hundred writes of each kind")
        for node in cluster.nodes:
            node.kill()
    finally:
        writers.stop()
    cluster.start()
    wait.until(lambda: all_vote(cluster), 60, "all having exchanged")
    for node, level in ((cluster.nodes[0], "one"), (cluster.nodes[1], "quorum")):
        assert missing(node, writers.acknowledged[level], "?r=3") == []
    missing(cluster.nodes[2], writers.acknowledged["buffered"])  # it may be; never wrong
    for node in cluster.nodes:
        assert "object buffer: its copies count in no read" in log_of(node)


@pytest.mark.limit(120)
def test_a_kill_of_one_node_takes_nothing_along(make_cluster):
    cluster = make_cluster(3, object_buffer=1000)
    a, b, killed = cluster.nodes
    writers = Writers(cluster.nodes)
    try:
        wait.until(lambda: writers.count() >= 60, 60, "writes of each kind")
        killed.kill()
        at_kill = writers.count()
        wait.until(lambda: writers.count() >= at_kill + 10, 30, "the others going on")
    finally:
        writers.stop()
    killed.restart()
    wait.until(lambda: all_vote(cluster), 60, "the killed one having exchanged")
    for node in (killed, a):
        for level in LEVELS:
            assert missing(node, writers.acknowledged[level]) == []
    wait.until(lambda: metric(b, "store_buffered") == 0, 10, "an idle node's buffer being empty")


def test_a_clean_stop_of_all_nodes_writes_everything(make_cluster):
    cluster = make_cluster(3, object_buffer=1000)
    writers = Writers(cluster.nodes)
    try:
        wait.until(lambda: writers.count() >= 60, 40, "writes of each kind")
    finally:
        writers.stop()
    for node in cluster.nodes:
        node.stop()
    cluster.start()
    for node in cluster.nodes:
        assert "did not end cleanly" not in log_of(node)
    wait.until(lambda: all_vote(cluster), 20, "word of each other's starts")
    for level in LEVELS:
        assert missing(cluster.nodes[0], writers.acknowledged[level]) == []


def test_a_small_buffer_fills_and_says_so(make_cluster):
    """With room for one, most of what comes at once waits to be written, and is counted."""
    cluster = make_cluster(3, object_buffer=1)
    writers = Writers(cluster.nodes)
    try:
        wait.until(lambda: sum(metric(n, "store_buffer_full_total") for n in cluster.nodes) > 0, 30,
                   "a batch finding the buffer full")
        wait.until(lambda: writers.count() >= 30, 30, "writes going on")
    finally:
        writers.stop()
    for level in LEVELS:
        assert missing(cluster.nodes[0], writers.acknowledged[level]) == []
