# SPDX-License-Identifier: Apache-2.0
"""Conflicts settled by dynactl, and former versions of keys, against real nodes."""

import json
import subprocess

import pytest

from harness import tree, wait


class Ctl:
    def __init__(self, cluster):
        self.seeds = ",".join(node.address for node in cluster.nodes)

    def run(self, *argv, stdin=b"", status=0):
        done = subprocess.run([tree.DYNACTL, "--node", self.seeds, *map(str, argv)], input=stdin,
                              capture_output=True, timeout=30, check=False)
        assert done.returncode == status, f"{argv}: {done.returncode}\n{done.stderr.decode()}"
        return done

    def out(self, *argv, **how):
        return self.run(*argv, **how).stdout

    def json(self, *argv, **how):
        return json.loads(self.out("--json", *argv, **how))

    def dots(self, key):
        return [version["dot"] for version in self.json("get", key)["versions"]]

    def kept(self, key):
        return self.json("history", key)["kept"]

    def conflict(self, key, base, *sides):
        """Versions that have all seen the base, and not each other. The last one is the newest."""
        self.run("put", key, stdin=base)
        context = self.json("get", key)["context"]
        for side in sides:
            self.run("put", "--context", context, key, stdin=side)
        return self.dots(key)


@pytest.fixture
def ctl(three_nodes):
    return Ctl(three_nodes)


BASE, LEFT, RIGHT = b"1\n2\n3\n4\n5\n", b"one\n2\n3\n4\n5\n", b"1\n2\n3\n4\nfive\n"


def test_a_conflict_is_settled_by_keeping_a_version(ctl):
    _, oldest = ctl.conflict("k", BASE, LEFT, RIGHT)
    told = ctl.json("resolve", "k", "--keep", oldest)
    assert [len(one["versions"]) for one in told["resolved"]] == [1] and told["failed"] == []
    assert ctl.out("get", "k") == LEFT
    assert [(one["size"], one["went"][0]["why"]) for one in ctl.kept("k")] == [
        (len(RIGHT), "resolved"), (len(BASE), "overwritten")]  # what was kept is still there
    ctl.conflict("l", BASE, LEFT, RIGHT)
    ctl.run("resolve", "l", "--newest")
    assert ctl.out("get", "l") == RIGHT


@pytest.mark.parametrize("command", [
    "diff3 -m %ours %base %theirs",
    "git merge-file -p %ours %base %theirs",
    'diff3 -m "$LOCAL" "$BASE" "$REMOTE"',
    "git merge-file %merged %base %theirs",
])
def test_a_merge_command_is_given_the_common_ancestor(ctl, command):
    key = "dir/it's a \"name\" $HOME.txt"
    ctl.conflict(key, BASE, LEFT, RIGHT)
    assert ctl.run("resolve", key, "--merge", command).stderr == b""
    assert ctl.out("get", key) == b"one\n2\n3\n4\nfive\n"


def test_more_than_two_versions_are_merged_one_after_the_other(ctl):
    ctl.conflict("k", BASE, LEFT, RIGHT, b"1\n2\nthree\n4\n5\n")
    ctl.run("resolve", "k", "--merge", "git merge-file -p %ours %base %theirs")
    assert ctl.out("get", "k") == b"one\n2\nthree\n4\nfive\n"


def test_a_command_that_fails_changes_nothing(ctl):
    before = ctl.conflict("k", BASE, LEFT, b"uno\n2\n3\n4\n5\n")
    for command in ("diff3 -m %ours %base %theirs", "echo lost; exit 3", "kill -9 $$"):
        done = ctl.run("resolve", "k", "--merge", command, status=3)
        assert b"not resolved" in done.stderr
        assert ctl.dots("k") == before
    assert ctl.kept("k")[0]["went"][0]["why"] == "overwritten"  # nothing has gone with it


def test_without_an_ancestor_the_base_is_empty_and_it_is_said(ctl):
    ctl.run("put", "k", stdin=b"mine\n")
    ctl.run("put", "k", stdin=b"yours\n")
    done = ctl.run("resolve", "k", "--merge", "test ! -s %base && cat %ours %theirs")
    assert b"no common ancestor" in done.stderr
    assert ctl.out("get", "k") == b"yours\nmine\n"


def test_a_newcomer_stays_beside_the_outcome(ctl):
    """The command takes its time, and somebody writes meanwhile."""
    ctl.conflict("k", BASE, LEFT, RIGHT)
    put = f"echo newcomer | {tree.DYNACTL} --node {ctl.seeds} put k 2>/dev/null"
    done = ctl.run("resolve", "k", "--merge", f"{put}; diff3 -m %ours %base %theirs")
    assert b"2 versions side by side" in done.stderr
    values = {ctl.out("get", "--sibling", dot, "k") for dot in ctl.dots("k")}
    assert values == {b"newcomer\n", b"one\n2\n3\n4\nfive\n"}


def test_a_whole_tree_is_resolved(ctl):
    for key in ("d/a", "d/e/b", "other"):
        ctl.conflict(key, BASE, LEFT, RIGHT)
    ctl.run("put", "d/plain", stdin=b"x")
    assert ctl.out("resolve", "-r", "d", "--newest") == (b"d/a: 2 versions, now one\n"
                                                         b"d/e/b: 2 versions, now one\n")
    found = [one["key"] for one in ctl.json("conflicts")["conflicts"]]
    assert found == ["other"]
    assert ctl.out("get", "d/e/b") == RIGHT


def test_what_is_no_conflict_is_refused(ctl):
    ctl.run("put", "k", stdin=b"x")
    dot, = ctl.dots("k")
    assert b"no conflict" in ctl.run("resolve", "k", "--newest", status=1).stderr
    ctl.run("resolve", "nothing", "--newest", status=4)
    ctl.run("resolve", "k", status=2)
    ctl.run("resolve", "k", "--newest", "--keep", dot, status=2)
    ctl.run("resolve", "k", "--keep", "x", status=2)
    ctl.run("resolve", "-r", "d", "--keep", dot, status=2)
    ctl.conflict("l", BASE, LEFT, RIGHT)
    ctl.run("resolve", "l", "--keep", dot, status=4)
    assert len(ctl.dots("l")) == 2


def test_a_file_beside_a_full_directory_cannot_be_kept(ctl, three_nodes):
    ctl.run("put", "x/f", stdin=b"1")
    ctl.run("put", "x", stdin=b"file")
    file, = [one["dot"] for one in ctl.json("get", "x")["versions"] if one["type"] == "file"]
    directory, = [one["dot"] for one in ctl.json("get", "x")["versions"] if one["dot"] != file]
    assert b"not empty" in ctl.run("resolve", "x", "--keep", file, status=1).stderr
    assert b"only files" in ctl.run("resolve", "x", "--merge", "cat %ours", status=1).stderr
    ctl.run("resolve", "x", "--keep", directory)
    assert ctl.out("ls", "x") == b"f\n" and ctl.out("get", "x/f") == b"1"
    ctl.run("restore", "x", ctl.kept("x")[0]["dot"], status=3)  # there is a directory
    assert ctl.out("restore", "--to", "-", "x", ctl.kept("x")[0]["dot"]) == b"file"


def test_a_deleted_file_comes_back_with_its_attributes(ctl):
    ctl.run("put", "--mode", "0640", "d/k", stdin=b"precious")
    ctl.run("rm", "d/k")
    kept, = ctl.kept("d/k")
    assert kept["went"][0]["why"] == "deleted" and kept["mode"] == "0640"
    ctl.run("restore", "d/k")
    assert ctl.out("get", "d/k") == b"precious"
    assert ctl.json("get", "d/k")["versions"][0]["mode"] == "0640"
    assert b"which version" in ctl.run("restore", "d/k", status=2).stderr
    ctl.run("restore", "d/k", ctl.dots("d/k")[0], status=3)
    ctl.run("restore", "d/k", kept["dot"] + "999", status=4)
    ctl.run("restore", "d/k", "x", status=2)
    ctl.run("restore", "never", status=4)
    ctl.run("history", "never", status=4)
    ctl.run("history", "a//b", status=2)


def test_restoring_replaces_what_is_there_or_stands_beside_it(ctl, tmp_path):
    ctl.run("put", "k", stdin=b"first")
    ctl.run("put", "--if-match", "k", stdin=b"second")
    first = ctl.kept("k")[0]["dot"]
    ctl.run("restore", "--to", tmp_path / "out", "k", first)
    assert (tmp_path / "out").read_bytes() == b"first" and ctl.out("get", "k") == b"second"
    assert b"2 versions" in ctl.run("restore", "--beside", "k", first).stderr
    assert {ctl.out("get", "--sibling", dot, "k") for dot in ctl.dots("k")} == {b"first", b"second"}
    ctl.run("restore", "k", first)
    assert ctl.out("get", "k") == b"first" and len(ctl.dots("k")) == 1


def test_a_large_file_is_kept_by_its_chunks(ctl, tmp_path):
    big = bytes(range(256)) * 4 * 5000
    (tmp_path / "big").write_bytes(big)
    ctl.run("put", "big", tmp_path / "big")
    ctl.run("put", "--if-match", "big", stdin=b"small")
    ctl.run("restore", "big", ctl.kept("big")[0]["dot"])
    assert ctl.out("get", "big") == big


def test_history_says_who_does_not_answer(ctl, three_nodes):
    ctl.run("put", "k", stdin=b"1")
    ctl.run("put", "--if-match", "k", stdin=b"2")
    three_nodes.nodes[2].kill()
    done = ctl.run("history", "k")
    assert b"overwritten" in done.stdout and b"2 of 3 nodes answered" in done.stderr
    ctl.run("restore", "k", ctl.kept("k")[0]["dot"])
    assert ctl.out("get", "k") == b"1"


def test_kept_versions_survive_a_restart_and_go_when_their_time_is_over(make_cluster):
    cluster = make_cluster(3)
    ctl = Ctl(cluster)
    ctl.run("put", "k", stdin=b"1")
    ctl.run("put", "--if-match", "k", stdin=b"2")
    for node in cluster.nodes:
        node.kill()
    for node in cluster.nodes:
        node.start()
    assert [one["went"][0]["why"] for one in ctl.kept("k")] == ["overwritten"]
    for node in cluster.nodes:
        node.stop()
        node.configure(history="2s")
        node.start()
    wait.until(lambda: ctl.kept("k") == [], 30, "no version is kept")
    assert ctl.out("get", "k") == b"2"
    ctl.run("put", "--if-match", "k", stdin=b"3")
    assert len(ctl.kept("k")) == 1


def test_http_tells_the_history_and_gives_former_bytes(ctl, three_nodes):
    node = three_nodes.nodes[1]
    for body in (b"one", b"two"):
        assert node.request("PUT", "/v1/kv/d/k%20x", body, {"If-Match": "*"}).status == 204
    told = json.loads(node.request("GET", "/v1/history/d/k%20x").body)
    assert (told["answered"], told["asked"]) == (3, 3)
    kept, = told["kept"]
    assert kept["type"] == "file" and kept["size"] == 3
    assert [went["why"] for went in kept["went"]] == ["overwritten"]
    answer = node.request("GET", f"/v1/history/d/k%20x?dot={kept['dot']}")
    assert (answer.status, answer.body) == (200, b"one")
    assert answer.headers["Dynamount-Dot"] == kept["dot"]
    unknown = kept["dot"].rsplit(".", 1)[0] + ".999"
    assert node.request("GET", f"/v1/history/d/k%20x?dot={unknown}").status == 404
    assert node.request("GET", "/v1/history/d/k%20x?dot=x").status == 400
    assert node.request("GET", "/v1/history/d/k%20x?colour=red").status == 400
    assert node.request("GET", "/v1/history/a//b").status == 400
    assert node.request("PUT", "/v1/history/d/k%20x", b"").status == 405
    assert json.loads(node.request("GET", "/v1/history/never").body)["kept"] == []
