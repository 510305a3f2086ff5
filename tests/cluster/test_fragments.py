# SPDX-License-Identifier: Apache-2.0
"""A directory that is split over real nodes (E26): in no listing does it show, while nodes die or not."""

import json
import os
import re
import subprocess

import pytest
from harness import wait

FILES = 160


def figure(node, name):
    text = node.request("GET", "/metrics").body.decode()
    return int(re.search(rf"^dynamount_{name}(?:_total)? (\d+)$", text, re.MULTILINE)[1])


def at_rest(nodes):
    return all(figure(node, "fragments_pending") == 0 for node in nodes)


def was_split(nodes):
    return sum(figure(node, "fragment_moves") for node in nodes) > 0


def listed(node, directory, limit):
    names, after = [], ""
    while True:
        page = json.loads(node.request("GET", f"/v1/dir/{directory}?limit={limit}&after={after}").body)
        names += [entry["name"] for entry in page["entries"]]
        if not page["more"]:
            return names
        after = page["cursor"]


@pytest.mark.limit(150)
def test_a_split_directory_is_one_directory_to_everybody(make_cluster, tmp_path):
    cluster = make_cluster(5, fragment_entries=16)
    nodes = cluster.nodes
    mnt = cluster.mount(tmp_path / "mnt").point
    names = [f"f{i:04d}" for i in range(FILES)]
    (mnt / "d").mkdir()
    for name in names:
        (mnt / "d" / name).write_text(name)
    wait.until(lambda: was_split(nodes) and at_rest(nodes), 60, "the directory split")
    for i, node in enumerate(nodes):
        assert listed(node, "d", 7 + 50 * i) == names
    assert sorted(os.listdir(mnt / "d")) == names
    other = cluster.mount(tmp_path / "other").point
    before = os.stat(other / "d").st_mtime_ns
    for i in range(8):  # in some fragment or other
        (mnt / "d" / f"g{i}").write_text("new")
        wait.until(lambda: os.stat(other / "d").st_mtime_ns > before, 10, "the directory's mtime")
        before = os.stat(other / "d").st_mtime_ns
    subprocess.run(["rm", "-r", mnt / "d"], check=True)
    assert not (mnt / "d").exists()
    for node in nodes:
        assert "d" not in listed(node, "", 100)
    (mnt / "d").mkdir()
    (mnt / "d" / names[5]).write_text("again")
    assert os.listdir(mnt / "d") == [names[5]]


@pytest.mark.limit(150)
def test_nodes_that_die_while_a_directory_is_split_hide_nothing(make_cluster):
    cluster = make_cluster(5, fragment_entries=12)
    nodes = cluster.nodes
    names = [f"f{i:04d}" for i in range(FILES)]
    for i, name in enumerate(names):
        if i % 40 == 20:
            nodes[i // 40].kill()
        node = nodes[4] if i % 40 >= 20 else nodes[i % 5]
        assert node.request("PUT", f"/v1/kv/d/{name}", name.encode()).status == 204
        if i % 40 == 39:
            assert listed(nodes[4], "d", 60) == names[:i + 1]
            nodes[i // 40].start()
    wait.until(lambda: was_split(nodes) and at_rest(nodes), 90, "the directory split")
    for node in nodes:
        assert listed(node, "d", 25) == names
