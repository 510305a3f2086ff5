# SPDX-License-Identifier: Apache-2.0
"""What was deleted is forgotten, by all nodes, and only while all of them are there."""

import json
import re

import pytest
from harness import wait

FILES = 90
QUICK = {"reap": "200ms", "reap_after": "0ms", "message_life": "1s", "exchange": "1s"}


def stats_of(node):
    return json.loads(node.request("GET", "/v1/cluster").body)["stats"]


def total(nodes, name):
    return sum(stats_of(node)[name] for node in nodes)


def metric(node, name):
    text = node.request("GET", "/metrics").body.decode()
    return int(re.search(rf"^dynamount_{name}(?:_total)? (\d+)$", text, re.M).group(1))


def quick_cluster(make_cluster):
    cluster = make_cluster(3, start=False)
    for node in cluster.nodes:
        node.configure(**QUICK)
    cluster.start()
    return cluster


@pytest.mark.limit(150)
def test_deletes_are_forgotten_once_every_node_is_there(make_cluster):
    cluster = quick_cluster(make_cluster)
    a, b, away = cluster.nodes
    keys = [f"d{i % 3}/f{i}" for i in range(FILES)]
    for key in keys:
        wait.until(lambda: a.request("PUT", f"/v1/kv/{key}?w=3", b"here",
                                     headers={"If-Match": "*"}).status == 204, 20, f"{key} on all three")
    away.kill()
    for key in keys:
        wait.until(lambda: b.request("DELETE", f"/v1/kv/{key}", headers={"If-Match": "*"}).status
                   in (204, 404), 20, f"{key} deleted")
    wait.until(lambda: all(stats_of(node)["tombstones"] >= FILES for node in (a, b))
               and total([a, b], "reap_blocked_away") > 0, 30, "rounds that found a node away")
    # for longer than all that would have to be waited for
    looks = cluster.dynactl("stats", "--watch", "500ms", "--count", "9").stdout.decode()
    assert looks.count("stay: a node is away") == 9, looks
    assert total([a, b], "reaped") == 0
    away.restart()
    wait.until(lambda: total(cluster.nodes, "reaped") >= 3 * FILES
               and total(cluster.nodes, "tombstones") == 0, 90, "all deletes being reaped")
    for node in cluster.nodes:
        assert metric(node, "tombstones") == 0
        assert metric(node, "reaped") >= FILES
    rounds = total(cluster.nodes, "exchanges")
    wait.until(lambda: total(cluster.nodes, "exchanges") >= rounds + 6, 30, "another two exchanges")
    for key in keys:
        got = a.request("GET", f"/v1/kv/{key}?r=3")
        assert (got.status, got.headers["Dynamount-Context"]) == (404, None), key
    for i in range(3):
        listed = json.loads(b.request("GET", f"/v1/dir/d{i}?r=3").body)
        assert listed["entries"] == []
    assert total(cluster.nodes, "tombstones") == 0
    said = json.loads(cluster.dynactl("stats", "--json").stdout)["sum"]
    assert (said["tombstones"], said["reaped"] >= 3 * FILES) == (0, True)


@pytest.mark.limit(120)
def test_a_tree_that_is_removed_through_a_mount_leaves_nothing(make_cluster, tmp_path):
    cluster = quick_cluster(make_cluster)
    point = tmp_path / "mnt"
    cluster.mount(point)
    for i in range(4):
        (point / "tree" / f"sub{i}").mkdir(parents=True)
        for k in range(10):
            (point / "tree" / f"sub{i}" / f"f{k}").write_text("some bytes")
    (point / "kept").write_text("stays")
    for i in range(4):
        for k in range(10):
            (point / "tree" / f"sub{i}" / f"f{k}").unlink()
        (point / "tree" / f"sub{i}").rmdir()
    (point / "tree").rmdir()
    dead = 4 * 10 + 4 + 1
    wait.until(lambda: total(cluster.nodes, "reaped") >= 3 * dead
               and total(cluster.nodes, "tombstones") == 0, 60, "all of it being reaped")
    for node in cluster.nodes:
        assert node.request("GET", "/v1/kv/tree/sub0/f0?r=3").status == 404
        assert node.request("GET", "/v1/kv/kept?r=3").body == b"stays"
    (point / "tree2").mkdir()
    assert sorted(path.name for path in point.iterdir()) == ["kept", "tree2"]
