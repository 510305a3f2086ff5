# SPDX-License-Identifier: Apache-2.0
"""Who coordinates a read: the client itself, a node where it is told so or where replicas alone do
not do. Both ways show the same, and what one shows the other can settle."""

import json
import re
import struct

import pytest

from harness import wait

FRAME_DIRECT_GET, FRAME_BEHIND = 38, 39


def counted(cluster, name):
    """A counter of all nodes that run."""
    total = 0
    for node in cluster.nodes:
        if node.process.running:
            text = node.request("GET", "/metrics").body.decode()
            total += int(re.search(rf"^dynamount_{name}_total (\d+)$", text, re.M).group(1))
    return total


@pytest.mark.parametrize("who,directly", [([], True), (["--coordinate", "client"], True),
                                          (["--coordinate", "server"], False)])
def test_dynactl_reads_as_it_is_told(three_nodes, who, directly):
    three_nodes.dynactl("put", "k", stdin=b"value")

    def as_told():
        before = counted(three_nodes, "direct_gets"), counted(three_nodes, "gets")
        assert three_nodes.dynactl("get", *who, "k").stdout == b"value"
        after = counted(three_nodes, "direct_gets"), counted(three_nodes, "gets")
        return (after[0] > before[0], after[1] > before[1]) == (directly, not directly)

    wait.until(as_told)  # a client whose replicas are slow has a node read as well


def test_dynactl_names_what_coordinate_takes(three_nodes):
    done = three_nodes.dynactl("get", "--coordinate", "me", "k", check=False)
    assert done.returncode == 2 and b"client or server" in done.stderr


@pytest.mark.parametrize("option,directly", [([], True), (["coordinate=server"], False)])
def test_a_mount_reads_as_it_is_told(three_nodes, tmp_path, option, directly):
    three_nodes.dynactl("put", "k", stdin=b"value")
    mnt = three_nodes.mount(tmp_path / "mnt", options=option).point
    before = counted(three_nodes, "direct_gets")
    assert (mnt / "k").read_bytes() == b"value"
    assert (counted(three_nodes, "direct_gets") > before) == directly


def test_reads_go_on_where_too_few_replicas_are_left(three_nodes):
    """R = 1 with two of three dead: one primary is enough for either way."""
    three_nodes.dynactl("put", "k", stdin=b"value")
    for node in three_nodes.nodes[1:]:
        node.kill()
    for who in ("client", "server"):
        done = three_nodes.dynactl("get", "--coordinate", who, "--r", "1", "k", seconds=30)
        assert done.stdout == b"value"
        done = three_nodes.dynactl("get", "--coordinate", who, "--timeout", "2s", "k", check=False)
        assert done.returncode == 5, done.stderr


def test_versions_apart_are_shown_and_settled_by_a_read_of_the_client_s(make_cluster):
    """Two versions, of which each lies on other replicas, as after a split without hints: their
    tokens stand side by side, and the write that hands them back settles both."""
    cluster = make_cluster(3)
    nodes = cluster.nodes
    nodes[1].kill()
    nodes[2].kill()
    assert nodes[0].request("PUT", "/v1/kv/k?w=1&sloppy=false", b"one").status in (200, 201, 204)
    nodes[0].kill()
    nodes[1].restart()
    nodes[2].restart()
    wait.until(lambda: nodes[1].request("PUT", "/v1/kv/k", b"two").status in (200, 201, 204), 20,
               "a write of the other two, who have to find each other first")
    nodes[0].restart()
    done = cluster.dynactl("get", "--json", "--r", "3", "k", check=False)
    shown = json.loads(done.stdout)
    assert len(shown["versions"]) == 2
    cluster.dynactl("put", "--context", shown["context"], "k", stdin=b"both")
    wait.until(lambda: all(node.request("GET", "/v1/kv/k?r=3").body == b"both" for node in nodes),
               20, "one version everywhere")


def batch(node, frame, rid, body):
    to = json.loads(node.request("GET", "/v1/cluster").body)["node"]
    frames = struct.pack("<BIQ", frame, len(body), rid) + body
    return b"DYN1" + struct.pack("<QQQ", 0, 0, int(to, 16)) + bytes(16) + frames


@pytest.mark.parametrize("frame,rid", [(FRAME_DIRECT_GET, 7), (FRAME_BEHIND, 0)])
@pytest.mark.parametrize("body", [b"", b"\x01", b"\x01" + b"\xff" * 60, b"\x01" + bytes(4000)])
def test_garbage_is_answered_and_changes_nothing(three_nodes, frame, rid, body):
    node = three_nodes.nodes[0]
    answer = node.request("POST", "/v1/batch", batch(node, frame, rid, body))
    assert answer.status == 200
    assert (len(answer.body) > 28) == (rid != 0)
    assert node.serves()
