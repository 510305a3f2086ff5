# SPDX-License-Identifier: Apache-2.0
"""A node that lost its disk is filled again by comparing trees, and by nothing else."""

import json
import shutil

import pytest
from harness import wait

KEYS = 60


def stats_of(node):
    return json.loads(node.request("GET", "/v1/cluster").body)["stats"]


def voteless(node):
    """Partitions in which the node's copies count in no read yet."""
    return json.loads(node.request("GET", "/v1/cluster").body)["moves"]["voteless"]


def alone(node, key):
    """What the node has by itself: the others are stopped, and one answer is enough."""
    return node.request("GET", f"/v1/kv/{key}?r=1&sloppy=false&timeout=2000")


@pytest.mark.limit(120)
def test_an_emptied_disk_is_filled_again_without_reads(make_cluster):
    cluster = make_cluster(3)
    a, b, emptied = cluster.nodes
    for i in range(KEYS):
        assert a.request("PUT", f"/v1/kv/d{i % 3}/k{i}?w=3", b"value %d" % i).status == 204
    assert a.request("DELETE", "/v1/kv/d0/k0?w=3").status == 204
    emptied.kill()
    shutil.rmtree(emptied.folder / "data")
    emptied.restart()
    wait.until(lambda: stats_of(emptied)["exchanges"] >= 2 and voteless(emptied) == 0, 60,
               "both peers being compared with")
    assert sum(stats_of(node)["exchange_repaired"] for node in cluster.nodes) >= KEYS
    a.kill()
    b.kill()
    for i in range(1, KEYS):
        got = alone(emptied, f"d{i % 3}/k{i}")
        assert (got.status, got.body) == (200, b"value %d" % i), (i, got)
    assert alone(emptied, "d0/k0").status == 404
    names = json.loads(emptied.request("GET", "/v1/dir/d1?r=1").body)["entries"]
    assert len(names) == KEYS // 3


@pytest.mark.limit(120)
def test_the_scrub_of_a_healthy_cluster_finds_nothing(make_cluster):
    cluster = make_cluster(3, start=False)
    for node in cluster.nodes:
        node.configure(scrub="1s", exchange="1s")
    cluster.start()
    a = cluster.nodes[0]
    for i in range(150):
        key = f"/v1/kv/d{i % 3}/k{i % 60}"
        method = "DELETE" if i % 10 == 9 else "PUT"
        body = None if method == "DELETE" else b"value %d" % i
        assert a.request(method, key, body, {"If-Match": "*"}).status in (204, 404)
    cluster.nodes[1].kill()
    cluster.nodes[1].restart()
    before = [stats_of(node)["scrub_rounds"] for node in cluster.nodes]
    wait.until(lambda: all(stats_of(node)["scrub_rounds"] >= was + 2
                           for node, was in zip(cluster.nodes, before)), 60, "two rounds of the scrub")
    for node in cluster.nodes:
        stats = stats_of(node)
        assert stats["scrub_rows"] >= 2 * 60
        assert stats["scrub_bytes"] > 0
        for found in ("bad_leaves", "bad_values", "owed", "ghosts"):
            assert stats["scrub_" + found] == 0, (found, stats)


@pytest.mark.limit(120)
def test_an_older_copy_of_a_disk_counts_in_no_read_until_it_is_level(make_cluster):
    """HAZARDS E2: the copy would say 'not found' for what its node has acknowledged."""
    cluster = make_cluster(3)
    knows, behind, older = cluster.nodes
    strict = "?r=2&sloppy=false&timeout=3000"
    assert knows.request("PUT", "/v1/kv/k?w=3", b"old").status == 204
    older.stop()
    shutil.copytree(older.folder / "data", older.folder / "copy")
    knows.stop()
    older.restart()  # counts a start that the copy has not seen, and only `behind` can know of
    wait.until(lambda: voteless(older) == 0, 20, "its start being known")
    knows.restart()
    behind.stop()
    wait.until(lambda: knows.request("PUT", "/v1/kv/k?w=2&sloppy=false", b"new",
                                     {"If-Match": "*"}).status == 204, 20, "two nodes taking it")
    knows.kill()
    older.kill()
    shutil.rmtree(older.folder / "data")
    (older.folder / "copy").rename(older.folder / "data")
    behind.restart()
    older.restart()
    wait.until(lambda: sum(stats_of(node)["gossip_exchanges"] for node in (behind, older)) > 0, 20,
               "the two having talked")
    assert voteless(older) > 0
    got = older.request("GET", f"/v1/kv/k{strict}")
    assert got.status == 503, "an old copy and one that was away outvoted an acknowledged write"
    assert b"1 answered of 2" in got.body, got.body
    assert b"catching up" in cluster.dynactl("status").stdout
    assert older.request("GET", "/v1/kv/k").body == b"old"  # a sloppy read takes what there is
    knows.restart()
    wait.until(lambda: voteless(older) == 0, 60, "the disk being level")
    knows.kill()
    assert older.request("GET", f"/v1/kv/k{strict}").body == b"new"
