# SPDX-License-Identifier: Apache-2.0
"""dynactl and the client library in it against real nodes: what it prints, what it says about
failures, and that a node that dies or hangs costs a moment and not the request."""

import json
import os
import subprocess
import time

import pytest

from harness import tree, wait


class Ctl:
    """dynactl for one cluster, by way of some of its nodes."""

    def __init__(self, cluster, nodes=None):
        self.cluster = cluster
        self.seeds = ",".join(cluster.nodes[i].address for i in nodes or range(len(cluster.nodes)))

    def run(self, *argv, stdin=b"", status=0, seconds=30):
        done = subprocess.run([tree.DYNACTL, "--node", self.seeds, *map(str, argv)], input=stdin,
                              capture_output=True, timeout=seconds, check=False)
        assert done.returncode == status, f"{argv}: {done.returncode}\n{done.stderr.decode()}"
        return done

    def out(self, *argv, **how):
        return self.run(*argv, **how).stdout

    def json(self, *argv, **how):
        return json.loads(self.out("--json", *argv, **how))

    def dots(self, key):
        return [version["dot"] for version in self.json("get", key)["versions"]]


@pytest.fixture
def ctl(three_nodes):
    return Ctl(three_nodes)


def test_stats_count_versions_per_read_and_latencies_of_all_nodes(ctl):
    ctl.run("put", "one", stdin=b"x")
    ctl.run("put", "two", stdin=b"a")
    for _ in range(8):  # a client that coordinates by itself sees versions that no node counts
        ctl.run("get", "--coordinate", "server", "one")
    stats = ctl.json("stats")
    assert len(stats["nodes"]) == 3 and stats["sum"]["reads"] == 8
    assert stats["sum"]["sibling_reads"] == [8, 0, 0, 0]
    assert stats["sum"]["gets"] == sum(node["gets"] for node in stats["nodes"])
    took = stats["sum"]["latency_us"]["get"]
    assert took["count"] >= 8 and 0 < took["p50"] <= took["p99"] <= took["p999"]
    assert stats["hints"] == []
    text = ctl.out("stats").decode()
    assert "100.000%" in text and text.count("us") + text.count("ms") > 0


def test_stats_watch_shows_what_came_in_between(ctl):
    ctl.run("put", "k", stdin=b"x")
    lines = ctl.out("--json", "stats", "--watch", "200ms", "--count", "3").splitlines()
    looks = [json.loads(line)["sum"] for line in lines]
    assert [look["puts"] for look in looks] == [1, 0, 0]
    ctl.run("stats", "--count", "2", status=2)


def test_stats_show_hints_by_whom_they_are_for(ctl):
    dead = ctl.cluster.nodes[2]
    dead.kill()
    ctl = Ctl(ctl.cluster, nodes=[0, 1])
    for number in range(10):
        ctl.run("put", f"k{number}", stdin=b"x" * 1000)

    def held():
        found = ctl.json("stats")["hints"]
        return found[0] if len(found) == 1 and found[0]["count"] >= 10 else None
    hints = wait.until(held, 10, "hints for the dead node")
    assert hints["target"] == dead.setting("node") and hints["bytes"] > 10 * 1000
    down = [node for node in ctl.json("stats")["nodes"] if "error" in node]
    assert [node["node"] for node in down] == [dead.setting("node")]
    metrics = ctl.cluster.nodes[0].request("GET", "/metrics").body.decode()
    label = f'target="{dead.setting("node")}"'
    assert f"dynamount_hints_held{{{label}}}" in metrics
    assert f"dynamount_hints_oldest_seconds{{{label}}}" in metrics
    dead.start()
    wait.until(lambda: ctl.json("stats")["hints"] == [], 20, "the hints to be handed over")


def test_what_was_put_is_got(ctl):
    value = os.urandom(100_000)
    ctl.run("put", "a/b/c", stdin=value)
    assert ctl.out("get", "a/b/c") == value
    ctl.run("put", "empty", stdin=b"")
    assert ctl.out("get", "empty") == b""


def test_a_file_brings_its_mode(ctl, tmp_path):
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "script").chmod(0o750)
    ctl.run("put", "script", tmp_path / "script")
    ctl.run("put", "--mode", "600", "other", tmp_path / "script")
    assert ctl.json("get", "script")["versions"][0]["mode"] == "0750"
    assert ctl.json("get", "other")["versions"][0]["mode"] == "0600"


def test_a_directory_with_something_in_it_is_not_removed(ctl, mnt):
    (mnt / "dir").mkdir(mode=0o700)
    (mnt / "dir" / "f").write_text("1")
    refused = ctl.run("rm", "dir", status=1)
    assert b"not empty" in refused.stderr
    assert (mnt / "dir").stat().st_mode & 0o777 == 0o700
    ctl.run("rm", "dir/f")
    ctl.run("rm", "dir")
    assert os.listdir(mnt) == []


def test_a_directory_beside_a_newer_file_is_not_removed_with_it(ctl, mnt):
    (mnt / "q").mkdir(mode=0o700)
    (mnt / "q" / "f").write_text("1")
    ctl.run("put", "q", stdin=b"a file of the same name")
    refused = ctl.run("rm", "q", status=1)
    assert b"not empty" in refused.stderr
    assert (mnt / "q").stat().st_mode & 0o777 == 0o700
    file = next(v["dot"] for v in ctl.json("get", "q")["versions"] if v["type"] == "file")
    ctl.run("rm", "q", "--sibling", file)
    assert ctl.json("get", "q")["versions"][0]["mode"] == "0700"


def test_a_key_that_is_not_there_is_status_4(ctl):
    done = ctl.run("get", "nothing", status=4)
    assert done.stdout == b"" and b"no such key" in done.stderr
    ctl.run("rm", "nothing", status=4)
    ctl.run("get", "--json", "nothing", status=4)


def test_versions_side_by_side_are_named_and_chosen(ctl):
    ctl.run("put", "k", stdin=b"one")
    assert b"2 versions" in ctl.run("put", "k", stdin=b"two").stderr
    newest, oldest = ctl.dots("k")
    done = ctl.run("get", "k", status=3)
    assert done.stdout == b""
    assert newest.encode() in done.stderr and oldest.encode() in done.stderr
    assert ctl.out("get", "--sibling", newest, "k") == b"two"
    assert ctl.out("get", "--sibling", oldest, "k") == b"one"
    everything = ctl.out("get", "--all", "k")
    assert b"one" in everything and b"two" in everything and newest.encode() in everything
    ctl.run("get", "--sibling", oldest[:-1] + "9", "k", status=4)


def test_a_context_replaces_what_was_read_and_nothing_newer(ctl, tmp_path):
    ctl.run("put", "k", stdin=b"one")
    assert ctl.out("get", "--context-to", tmp_path / "ctx", "k") == b"one"
    ctl.run("put", "k", stdin=b"later")
    ctl.run("put", "--context", f"@{tmp_path / 'ctx'}", "k", stdin=b"mine")
    assert len(ctl.dots("k")) == 2
    context = ctl.json("get", "k")["context"]
    ctl.run("put", "--context", context, "k", stdin=b"merged")
    assert ctl.out("get", "k") == b"merged"


def test_a_context_of_another_key_is_refused(ctl):
    ctl.run("put", "k", stdin=b"one")
    ctl.run("put", "l", stdin=b"two")
    context = ctl.json("get", "k")["context"]
    assert b"context" in ctl.run("put", "--context", context, "l", stdin=b"x", status=1).stderr
    assert ctl.out("get", "l") == b"two"


def test_if_match_replaces_everything_and_if_absent_nothing(ctl):
    ctl.run("put", "--if-absent", "k", stdin=b"one")
    ctl.run("put", "--if-absent", "k", stdin=b"two", status=3)
    ctl.run("put", "k", stdin=b"three")
    ctl.run("put", "--if-match", "k", stdin=b"four")
    assert ctl.out("get", "k") == b"four"
    ctl.run("rm", "k")
    ctl.run("put", "--if-absent", "k", stdin=b"five")


def test_rm_removes_all_or_the_one_named(ctl):
    for text in (b"one", b"two", b"three"):
        ctl.run("put", "k", stdin=text)
    three, _two, one = ctl.dots("k")
    ctl.run("rm", "--sibling", three, "k")
    assert three not in ctl.dots("k") and len(ctl.dots("k")) == 2
    ctl.run("rm", "--sibling", three, "k", status=4)
    ctl.run("rm", "--sibling", one, "k")
    assert ctl.out("get", "k") == b"two"
    ctl.run("rm", "k")
    ctl.run("get", "k", status=4)
    assert b"k" not in ctl.out("ls")


def test_ls_shows_a_directory(ctl):
    for name in ("d/b", "d/a", "d/sub/x", "top"):
        ctl.run("put", name, stdin=b"12345")
    assert ctl.out("ls", "d") == b"a\nb\nsub/\n"
    assert ctl.out("ls", "d/") == b"a\nb\nsub/\n"
    assert ctl.out("ls") == b"d/\ntop\n"
    line = ctl.out("ls", "-l", "d").splitlines()[0]
    assert line.startswith(b"-rw-r--r--   1            5  2") and line.endswith(b"  a")
    names = [entry["name"] for entry in ctl.json("ls", "d")["entries"]]
    assert names == ["a", "b", "sub"]
    assert b"no such directory" in ctl.run("ls", "nothing", status=4).stderr
    assert b"no directory" in ctl.run("ls", "top", status=1).stderr


@pytest.mark.limit(240)
def test_ls_goes_over_many_pages(ctl, three_nodes):
    names = [f"f{i:04}" for i in range(1500)]
    for at, name in enumerate(names):
        node = three_nodes.nodes[at % 3]
        assert node.request("PUT", f"/v1/kv/many/{name}?durability=buffered", b"x").status < 300
    wait.until(lambda: len(ctl.out("ls", "many").split()) == 1500, what="all entries listed")
    assert ctl.out("ls", "many").decode().split() == names


def test_conflicts_walks_the_tree(ctl):
    ctl.run("put", "fine", stdin=b"x")
    assert ctl.out("conflicts") == b""
    for key in ("top", "d/e/deep"):
        ctl.run("put", key, stdin=b"one")
        ctl.run("put", key, stdin=b"two")
    found = {entry["key"]: len(entry["versions"]) for entry in ctl.json("conflicts")["conflicts"]}
    assert found == {"top": 2, "d/e/deep": 2}
    assert ctl.out("conflicts", "d").startswith(b"d/e/deep\n  ")
    assert b"top" not in ctl.out("conflicts", "d")


def test_names_that_are_not_utf8_work(ctl):
    key = b"caf\xe9/\xff"
    ctl.run("put", os.fsdecode(key), stdin=b"x")
    assert ctl.out("get", os.fsdecode(key)) == b"x"
    assert ctl.out("ls", os.fsdecode(b"caf\xe9")) == b"\xff\n"
    assert ctl.json("ls", os.fsdecode(b"caf\xe9"))["entries"][0]["name"] == "%FF"


def test_status_and_ring_agree_with_the_cluster(ctl, three_nodes):
    status = ctl.json("status")
    assert sorted(m["address"] for m in status["members"]) == sorted(three_nodes.addresses)
    assert all(m["up"] and m["status"]["node"] == m["node"] for m in status["members"])
    ring = ctl.json("ring", "k", "--partitions")
    assert sum(m["tokens"] for m in ring["members"]) == ring["q"] == len(ring["partitions"])
    assert ring["preference_list"][:3] == ring["partitions"][ring["partition"]]["primaries"]
    assert b"3 of 3 nodes up" in ctl.out("status")


def test_a_dead_node_is_a_line_of_the_status(ctl, three_nodes):
    three_nodes.nodes[1].kill()
    address = three_nodes.nodes[1].address
    for i in range(5):
        ctl.run("put", f"k{i}", stdin=b"x")
    by_address = {m["address"]: m for m in ctl.json("status")["members"]}
    assert [m["up"] for m in by_address.values()].count(True) == 2
    assert not by_address[address]["up"] and by_address[address]["hints"] >= 5
    three_nodes.nodes[1].restart()
    wait.until(lambda: all(m["up"] and m["hints"] == 0 for m in ctl.json("status")["members"]),
               20, "hints drained")


def test_one_seed_is_enough_and_may_die_between_requests(three_nodes):
    first, both = Ctl(three_nodes, [0]), Ctl(three_nodes, [0, 1])
    first.run("put", "k", stdin=b"x")
    three_nodes.nodes[0].kill()
    assert both.out("get", "k") == b"x"
    assert b"are the nodes running" in first.run("get", "k", status=5).stderr


def test_a_hanging_node_costs_less_than_a_second(ctl, three_nodes):
    ctl.run("put", "k", stdin=b"x")
    for node in three_nodes.nodes:
        node.pause()
        try:
            started = time.monotonic()
            assert ctl.out("get", "k") == b"x"
            ctl.run("put", "--if-match", "k", stdin=b"x")
            assert time.monotonic() - started < 2.5
        finally:
            node.resume()


def test_too_few_nodes_are_told_with_their_number(ctl, three_nodes):
    ctl.run("put", "k", stdin=b"x")
    three_nodes.nodes[0].kill()
    three_nodes.nodes[1].kill()
    done = ctl.run("--timeout", "5s", "put", "--w", "2", "--sloppy", "no", "k", stdin=b"y", status=5)
    assert b"of 2 nodes answered" in done.stderr
    assert b"may have happened" in done.stderr
    assert b"x" in ctl.out("get", "--r", "1", "--all", "k").splitlines()


def test_a_local_cluster_runs_real_nodes(tmp_path):
    folder = tmp_path / "local"

    def ctl(*argv):
        return subprocess.run([tree.DYNACTL, *map(str, argv)], capture_output=True, timeout=50,
                              check=True, input=b"kept").stdout

    ctl("cluster", "create", folder, "--nodes", 3)
    try:
        ctl("cluster", "up", folder)
        ctl("--cluster", folder, "put", "k")
        ctl("cluster", "down", folder)
        ctl("cluster", "up", folder)
        assert ctl("--cluster", folder, "get", "k") == b"kept"
    finally:
        ctl("cluster", "down", folder, "--kill")
    assert "stopped cleanly" in (folder / "node1" / "dynanode.log").read_text()
