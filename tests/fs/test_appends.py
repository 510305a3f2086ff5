# SPDX-License-Identifier: Apache-2.0
"""Appends to files that are one value travel as the bytes that were appended (F27)."""

import os
import re
import subprocess

import pytest

from harness import wait

KIB = 1 << 10
BASE = 500 * KIB
LINE = b"%098d\n\n"


class Wires:
    """Three nodes and a mount, each at a link of its own whose bytes are counted."""

    def __init__(self, make_network, make_cluster, tmp_path):
        self.network = make_network(4)
        self.cluster = make_cluster(3, network=self.network)
        self.point = tmp_path / "mnt"
        self.path = self.point / "log"

    def mount(self, *options):
        self.cluster.mount(self.point, namespace=self.network.members[3], options=options)

    def sent(self):
        """What each member has sent so far, in bytes."""
        text = self.network.hub.run("cat", "/proc/net/dev")
        return [int(re.search(rf"^\s*m{index}:\s*(\d+)", text, re.M)[1]) for index in range(4)]

    def append(self, first, count):
        for number in range(first, first + count):
            with open(self.path, "ab") as log:
                log.write(LINE % number)

    def extended(self):
        """Values that nodes have made of the bytes that they had."""
        return sum(counter(node, "values_extended") for node in self.cluster.nodes)

    def holds(self, node, want):
        """Is this what a node has by itself?"""
        answer = node.request("GET", "/v1/kv/log?r=1")
        return answer.status == 200 and answer.body == want


def counter(node, name):
    text = node.request("GET", "/metrics").body.decode()
    return int(re.search(rf"^dynamount_{name}(?:_total)?(?:{{[^}}]*}})? (\d+)", text, re.M)[1])


@pytest.fixture(name="wires")
def three_nodes(make_network, make_cluster, tmp_path):
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    return Wires(make_network, make_cluster, tmp_path)


@pytest.mark.limit(300)
def test_a_hundred_appends_cost_what_was_appended(wires):
    wires.mount("w=3")  # so that no replica lags behind, and has to be sent the whole
    base = os.urandom(BASE)
    wires.path.write_bytes(base)
    before = wires.sent()
    wires.append(0, 100)
    after = wires.sent()
    want = base + b"".join(LINE % number for number in range(100))
    assert wires.path.read_bytes() == want
    by_client = after[3] - before[3]
    by_all = sum(after) - sum(before)
    # Whole values would be 50 MB from the client and 100 MB between nodes. What is appended, with all
    # that goes along, is less than a hundredth of that; the rest is for a machine that stalls.
    assert by_client < 5_000_000, (by_client, by_all)
    assert by_all < 15_000_000, (by_client, by_all)
    assert wires.extended() >= 200
    for node in wires.cluster.nodes:
        wait.until(lambda at=node: wires.holds(at, want), 60, "each replica having all of it")


@pytest.mark.limit(300)
def test_a_log_of_many_children_costs_what_they_wrote(wires):
    """`make > log`: one open file, which each child's exit flushes."""
    wires.mount()
    wires.path.write_bytes(os.urandom(BASE))
    before = wires.sent()
    subprocess.run(["sh", "-c", f"exec >> {wires.path}; for i in 1 2 3 4 5 6 7 8 9 10; do "
                    "/bin/echo child $i; done"], check=True, timeout=60)
    by_client = wires.sent()[3] - before[3]
    assert wires.path.read_bytes()[BASE:].splitlines() == [b"child %d" % i for i in range(1, 11)]
    assert by_client < 2_000_000, by_client  # whole values would be 5 MB


@pytest.mark.limit(300)
def test_appends_go_on_where_a_node_has_missed_some(wires):
    """A node that was away has not the version that the next append extends: it gets the whole."""
    wires.mount()
    base = os.urandom(BASE)
    wires.path.write_bytes(base)
    wires.append(0, 5)
    wires.cluster.nodes[1].kill()
    wires.append(5, 5)
    wires.cluster.nodes[1].restart()
    wires.append(10, 5)
    want = base + b"".join(LINE % number for number in range(15))
    assert wires.path.read_bytes() == want
    for node in wires.cluster.nodes:
        wait.until(lambda at=node: wires.holds(at, want), 60, "each replica having all of it")
    assert os.listdir(wires.point) == ["log"]
