# SPDX-License-Identifier: Apache-2.0
"""Conflicts made by a real split of the network, seen as files, and settled as people do.

Four nodes, each in a network namespace; a mount beside node 0 and one beside node 3. The split leaves
two nodes on each side: enough for W = 2 with stand-ins. After it nobody waits for hints: what a mount
lists, it can read.
"""

import os

import pytest

from harness import wait

from . import shell

SIDES = ({0, 1}, {2, 3})


class Split:
    """A cluster on two sides, with a mount on each."""

    def __init__(self, make_network, make_cluster, tmp_path, options=()):
        self.network = make_network(4)
        self.cluster = make_cluster(4, network=self.network)
        members = self.network.members
        self.left = self.cluster.mount(tmp_path / "left", [0, 1], members[0], options).point
        self.right = self.cluster.mount(tmp_path / "right", [2, 3], members[3], options).point
        self.both = [self.left, self.right]

    def apart(self, left, right):
        """Runs a script on each side of a split, and heals it."""
        self.network.split(*SIDES)
        shell.run(self.left, left)
        shell.run(self.right, right)
        self.network.heal()

    def until_both(self, condition, what):
        for folder in self.both:
            try:
                wait.until(lambda at=folder: condition(at), 30, f"{what} at {folder.name}")
            except AssertionError as error:
                there = {str(path.relative_to(folder)): path.read_bytes()[:80]
                         for path in sorted(folder.rglob("*")) if path.is_file()}
                raise AssertionError(f"{error}\nthere is {there}") from None

    def until_names(self, *expected):
        self.until_both(lambda at: shell.names(at) == sorted(expected), f"{sorted(expected)}")

    def until_nodes(self, condition, what):
        """Soon after a split a write may have been acknowledged by stand-ins alone, whose hints are
        on their way."""
        for node in self.cluster.nodes:
            wait.until(lambda at=node: condition(at.request("GET", "/v1/kv/f")), 30,
                       f"{what} at {node.address}")

    def until_no_hints(self):
        """A write that was slow at one node and repeated at another has a twin, which may still be
        on its way to the mount of the other side: what that removes is only what it was shown."""
        for node in self.cluster.nodes:
            wait.until(lambda at=node: at.hints() == 0, 60, f"no hints at {node.address}")

    def contents(self, name):
        return [(folder / name).read_text() for folder in self.both]


@pytest.fixture
def split(make_network, make_cluster, tmp_path):
    return Split(make_network, make_cluster, tmp_path)


@pytest.fixture
def conflict(split):
    """f on both sides; the right one wrote last, so it has the name."""
    shell.run(split.left, "echo base > f")
    split.until_both(lambda at: (at / "f").read_text() == "base\n", "the base")
    split.apart("echo left > f", "echo right > f")
    split.until_names("f", "f.conflict.1")
    return split


@pytest.mark.limit(120)
def test_both_sides_write_and_both_are_kept(conflict):
    assert conflict.contents("f") == ["right\n"] * 2
    assert conflict.contents("f.conflict.1") == ["left\n"] * 2
    assert shell.attempt(conflict.left, "diff f f.conflict.1").returncode == 1
    for folder in conflict.both:
        assert os.getxattr(folder / "f", "user.dynamount.siblings") == b"2"
    assert len({os.getxattr(folder / "f", "user.dynamount.dot") for folder in conflict.both}) == 1


# What somebody does at the left mount, and what then is the one content everywhere.
WAYS = {
    "save a merged text": ("sort f f.conflict.1 > /tmp/merged.$$; cp /tmp/merged.$$ f;"
                           "rm /tmp/merged.$$", "left\nright\n"),
    "edit the newest": ("ls > /dev/null; sed -i s/right/edited/ f", "edited\n"),
    "edit in an editor": ("ls > /dev/null; vim.tiny -u NONE -es -c '%s/$/!/' -c wq f", "right!\n"),
    "write anew": ("ls > /dev/null; echo anew > f", "anew\n"),
    "copy the other over": ("cp f.conflict.1 f", "left\n"),
    "move the other over": ("mv f.conflict.1 f", "left\n"),
    "remove the other": ("rm f.conflict.1", "right\n"),
    "remove the newest, keep the other": ("ls > /dev/null; rm f; mv f.conflict.1 f", "left\n"),
    "remove the newest": ("rm f", "left\n"),
}


@pytest.mark.limit(120)
@pytest.mark.parametrize("way", WAYS)
def test_a_conflict_is_settled(conflict, way):
    script, expected = WAYS[way]
    shell.run(conflict.left, script)
    conflict.until_names("f")
    conflict.until_both(lambda at: (at / "f").read_text() == expected, f"{expected!r}")
    conflict.until_nodes(lambda answer: answer.body == expected.encode(), f"{expected!r}")


@pytest.mark.limit(120)
@pytest.mark.parametrize("script", ["rm f f.conflict.1", "rm f*", "ls >/dev/null; rm f; rm f.conflict.1"])
def test_all_versions_can_be_removed(conflict, script):
    shell.run(conflict.left, script)
    conflict.until_names()
    conflict.until_nodes(lambda answer: answer.status == 404, "no such key")


@pytest.mark.limit(120)
def test_a_folder_with_conflicts_is_removed_whole(split):
    shell.run(split.left, "mkdir d; echo base > d/f")
    split.until_both(lambda at: (at / "d" / "f").exists(), "d/f")
    split.apart("echo left > d/f; echo l > d/l", "echo right > d/f; echo r > d/r")
    split.until_both(lambda at: shell.names(at / "d") == ["f", "f.conflict.1", "l", "r"], "all of d")
    split.until_no_hints()
    shell.run(split.left, "rm -r d")
    split.until_names()


@pytest.mark.limit(120)
def test_appending_settles_nothing_that_nobody_read(conflict):
    shell.run(conflict.left, "ls > /dev/null; echo more >> f")
    conflict.until_names("f", "f.conflict.1")
    assert conflict.contents("f") == ["right\nmore\n"] * 2
    assert conflict.contents("f.conflict.1") == ["left\n"] * 2


@pytest.mark.limit(180)
def test_long_appends_on_both_sides_are_both_kept(split):
    """And a later append, by whoever has read neither, leaves them so (F1)."""
    shell.run(split.left, "echo base > f")
    split.until_both(lambda at: (at / "f").read_text() == "base\n", "the base")
    split.apart("head -c 20M < <(yes left) >> f", "head -c 20M < <(yes right) >> f")
    split.until_names("f", "f.conflict.1")
    shell.run(split.left, "echo more >> f")
    split.until_names("f", "f.conflict.1")
    size = 20 << 20
    left, right = (b"base\n" + (word * (size // len(word) + 1))[:size] for word in (b"left\n", b"right\n"))
    for folder in split.both:
        assert (folder / "f").read_bytes() == right + b"more\n"
        assert (folder / "f.conflict.1").read_bytes() == left


@pytest.mark.limit(120)
def test_writing_into_a_conflict_file_keeps_its_number(conflict):
    """On the mount that wrote; another one may have missed the steps between, and gives a new number."""
    shell.run(conflict.left, "ls > /dev/null; echo better > f.conflict.1; chmod 600 f.conflict.1")
    assert shell.run(conflict.left, "cat f f.conflict.1").split() == ["right", "better"]
    assert shell.names(conflict.left) == ["f", "f.conflict.1"]
    conflict.until_both(lambda at: sorted((at / name).read_text() for name in shell.names(at)) ==
                        ["better\n", "right\n"], "the replacement")
    assert conflict.contents("f") == ["right\n"] * 2


@pytest.mark.limit(120)
def test_a_name_that_a_conflict_file_holds_is_taken(conflict):
    done = shell.attempt(conflict.left, "ls > /dev/null; set -C; echo new > f.conflict.1")
    assert done.returncode != 0
    assert conflict.contents("f.conflict.1") == ["left\n"] * 2


@pytest.mark.limit(120)
def test_a_stored_name_that_looks_like_a_conflict_keeps_it(split):
    shell.run(split.left, "echo base > f; echo mine > f.conflict.1")
    split.until_names("f", "f.conflict.1")
    split.apart("echo left > f", "echo right > f")
    split.until_names("f", "f.conflict.1", "f.conflict.2")
    assert split.contents("f.conflict.1") == ["mine\n"] * 2
    assert split.contents("f.conflict.2") == ["left\n"] * 2


@pytest.mark.limit(120)
def test_a_change_of_mode_does_not_conflict_with_an_edit(split):
    shell.run(split.left, "echo base > f; chmod 644 f")
    split.until_both(lambda at: (at / "f").read_text() == "base\n", "the base")
    split.apart("chmod 600 f", "echo edited > f")
    split.until_both(lambda at: (at / "f").read_text() == "edited\n", "the edit")
    split.until_both(lambda at: (at / "f").stat().st_mode & 0o777 == 0o600, "the mode")
    split.until_names("f")


@pytest.mark.limit(120)
def test_an_edit_survives_a_removal_that_did_not_see_it(split):
    shell.run(split.left, "echo base > f")
    split.until_both(lambda at: (at / "f").read_text() == "base\n", "the base")
    split.apart("rm f", "echo edited > f")
    split.until_names("f")
    assert split.contents("f") == ["edited\n"] * 2


@pytest.mark.limit(120)
def test_folders_made_on_both_sides_are_one_folder(split):
    split.apart("mkdir d; echo l > d/left", "mkdir d; echo r > d/right")
    split.until_names("d")
    split.until_both(lambda at: shell.names(at / "d") == ["left", "right"], "both files")


@pytest.mark.limit(120)
def test_a_folder_keeps_its_name_against_a_file(split):
    split.apart("mkdir x; echo 1 > x/f", "echo file > x")
    split.until_names("x", "x.conflict.1")
    split.until_both(lambda at: (at / "x" / "f").exists(), "x/f")
    assert split.contents("x/f") == ["1\n"] * 2
    assert split.contents("x.conflict.1") == ["file\n"] * 2


@pytest.mark.limit(120)
def test_hidden_conflicts_are_found_by_name(make_network, make_cluster, tmp_path):
    split = Split(make_network, make_cluster, tmp_path, ["conflicts=hide"])
    shell.run(split.left, "echo base > f")
    split.until_both(lambda at: (at / "f").exists(), "f")
    split.apart("echo left > f", "echo right > f")
    split.until_both(lambda at: (at / "f.conflict.1").exists(), "the conflict file")
    assert [shell.names(folder) for folder in split.both] == [["f"], ["f"]]
    assert split.contents("f.conflict.1") == ["left\n"] * 2
    shell.run(split.left, "rm f")
    split.until_both(lambda at: not (at / "f").exists() and not (at / "f.conflict.1").exists(),
                     "nothing left")


@pytest.mark.limit(120)
def test_resolving_can_be_explicit(make_network, make_cluster, tmp_path):
    split = Split(make_network, make_cluster, tmp_path, ["resolve=explicit"])
    shell.run(split.left, "echo base > f")
    split.until_both(lambda at: (at / "f").exists(), "f")
    split.apart("echo left > f", "echo right > f")
    split.until_names("f", "f.conflict.1")
    shell.run(split.left, "cat f f.conflict.1 > /dev/null; echo anew > f")
    split.until_both(lambda at: (at / "f").read_text() == "anew\n", "the new text")
    split.until_names("f", "f.conflict.1")
    assert split.contents("f.conflict.1") == ["left\n"] * 2
