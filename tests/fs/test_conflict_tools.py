# SPDX-License-Identifier: Apache-2.0
"""Conflicts that a real split made, seen in .dynamount/conflicts and settled with dynactl resolve;
and what was dropped, overwritten or removed on a mount, brought back with dynactl restore."""

import json
import os

import pytest

from harness import wait

from . import shell
from .test_conflicts import Split

BASE = "1\n2\n3\n4\n5\n"
LEFT, RIGHT = BASE.replace("1", "left"), BASE.replace("5", "right")


class Tools(Split):
    def dynactl(self, *words):
        return self.cluster.dynactl(*words, namespace=self.network.members[0])

    def json(self, *words):
        return json.loads(self.dynactl("--json", *words).stdout)

    def until_content(self, name, expected):
        self.until_both(lambda at: (at / name).exists() and (at / name).read_text() == expected,
                        f"{expected!r}")

    def conflicts(self):
        return self.json("conflicts", "--r", "3")["conflicts"]

    def until_conflict(self):
        """A conflict that all replicas know, by hints and by read repair."""
        wait.until(lambda: len(self.conflicts()) == 1, 30, "the conflict")
        for node in self.cluster.nodes:
            wait.until(lambda at=node: at.request("GET", "/v1/kv/d/f?r=3").status == 300, 30,
                       f"both versions at {node.address}")
            wait.until(lambda at=node: at.request("GET", "/v1/kv/d/f").status == 300, 30,
                       f"both versions at {node.address}")


@pytest.fixture
def tools(make_network, make_cluster, tmp_path):
    """d/f was the same on both sides of a split, and then not."""
    made = Tools(make_network, make_cluster, tmp_path)
    shell.run(made.left, "mkdir d; seq 5 > d/f; chmod 640 d/f")
    made.until_content("d/f", BASE)
    made.apart("text=$(sed s/1/left/ d/f); echo \"$text\" > d/f",
               "text=$(sed s/5/right/ d/f); echo \"$text\" > d/f")
    made.until_no_hints()
    made.until_conflict()
    return made


@pytest.mark.limit(120)
def test_every_conflict_is_listed_also_below_folders_that_nobody_opened(tools):
    def lists_it(at):
        lines = (at / ".dynamount" / "conflicts").read_text().splitlines()
        return len(lines) == 2 and all(line.startswith("d/f\t") for line in lines)
    fresh = tools.cluster.mount(tools.left.parent / "fresh", [0], tools.network.members[0]).point
    wait.until(lambda: lists_it(fresh), 30, "both versions, at a mount that has looked at nothing")
    tools.until_both(lists_it, "both versions")
    dots = {line.split("\t")[2] for line in (fresh / ".dynamount" / "conflicts").read_text().splitlines()}
    assert dots == {one["dot"] for one in tools.conflicts()[0]["versions"]}


WAYS = {
    "newest": (["--newest"], RIGHT),
    "merge": (["--merge", "diff3 -m %ours %base %theirs"], LEFT.replace("5", "right")),
    "keep": (None, LEFT),
}


@pytest.mark.limit(120)
@pytest.mark.parametrize("way", WAYS)
def test_dynactl_resolves_and_both_mounts_show_the_outcome(tools, way):
    options, expected = WAYS[way]
    versions = tools.conflicts()[0]["versions"]
    tools.dynactl("resolve", "d/f", *(options or ["--keep", versions[-1]["dot"]]))
    tools.until_content("d/f", expected)
    tools.until_both(lambda at: shell.names(at / "d") == ["f"], "one file")
    assert {os.stat(folder / "d" / "f").st_mode & 0o777 for folder in tools.both} == {0o640}
    wait.until(lambda: tools.conflicts() == [], 30, "no conflict")


@pytest.mark.limit(120)
def test_what_a_mount_decided_against_comes_back(tools):
    tools.until_both(lambda at: shell.names(at / "d") == ["f", "f.conflict.1"], "both versions")
    shell.run(tools.left, "mv d/f.conflict.1 d/f")
    tools.until_content("d/f", LEFT)

    def dropped():
        went = {why["why"]: one["dot"] for one in tools.json("history", "d/f")["kept"]
                for why in one["went"] if one["size"] == len(RIGHT)}
        return went.get("resolved")
    dot = wait.until(dropped, 30, "the version that was dropped")
    tools.dynactl("restore", "d/f", dot)
    tools.until_content("d/f", RIGHT)
    shell.run(tools.right, "rm d/f")
    tools.until_both(lambda at: shell.names(at / "d") == [], "an empty folder")
    tools.dynactl("restore", "d/f")
    tools.until_content("d/f", RIGHT)
    assert {os.stat(folder / "d" / "f").st_mode & 0o777 for folder in tools.both} == {0o640}
