# SPDX-License-Identifier: Apache-2.0
"""What one mount changes, another is told of: it asks for nothing while nothing changes."""

import os
import re
import time

import pytest
from harness import wait


def metrics(mnt):
    text = (mnt / ".dynamount/metrics").read_text()
    return {name: int(value) for name, value in re.findall(r"^dynamount_(\w+) (\d+)$", text, re.M)}


def asked(mnt):
    """Requests for names and attributes so far."""
    counted = metrics(mnt)
    return counted["gets_total"] + counted["lists_total"]


def directories_told(mnt):
    return int(re.search(r"told of (\d+) directories", (mnt / ".dynamount/status").read_text())[1])


def look(folder, names):
    return [os.stat(folder / name).st_size for name in names]


def learn(mnt, folder, names):
    """Until looking at all of them costs nothing for longer than the second that the kernel remembers:
    the directory is told of, and what was known before that has been asked for again."""
    def costs_nothing():
        look(folder, names)
        before, since = asked(mnt), time.monotonic()
        while time.monotonic() - since < 1.5:
            look(folder, names)
            if asked(mnt) > before + 3:
                return False
        return directories_told(mnt) > 0
    wait.until(costs_nothing, 40, "answers from memory")


def node_metric(node, name):
    text = node.request("GET", "/metrics").body.decode()
    return float(re.search(rf"^dynamount_{name} (\S+)$", text, re.M)[1])


@pytest.fixture
def make_mount(three_nodes, tmp_path):
    """make_mount(*options): the folder of one more mount."""
    made = []

    def make(*options):
        made.append(three_nodes.mount(tmp_path / f"mnt{len(made)}", options=options))
        return made[-1].point
    make.mounts = made
    return make


@pytest.fixture
def pair(make_mount):
    """Two mounts of one cluster: here things are looked at, there they are changed."""
    return make_mount(), make_mount()


def test_a_thousand_files_are_looked_at_without_asking_and_changes_are_seen(make_mount, three_nodes):
    here, there = make_mount("push=300"), make_mount()
    (there / "d").mkdir()
    names = [f"f{number:03}" for number in range(1000)]
    for name in names:
        (there / "d" / name).write_bytes(b"x")
    folder = here / "d"
    learn(here, folder, names)
    before, since = asked(here), time.monotonic()
    rounds = 0
    while time.monotonic() - since < 4:  # the kernel's own memory is over after a second
        assert look(folder, names) == [1] * 1000
        rounds += 1
    assert rounds > 1
    assert asked(here) - before < 100  # without, each second asks for each of them

    (there / "d/f500").write_bytes(b"longer")
    wait.until(lambda: os.stat(folder / "f500").st_size == 6, 20)
    os.chmod(there / "d/f501", 0o600)
    wait.until(lambda: os.stat(folder / "f501").st_mode & 0o777 == 0o600, 20)
    (there / "d/f502").unlink()
    wait.until(lambda: not (folder / "f502").exists(), 20)
    os.rename(there / "d/f503", there / "d/g503")
    wait.until(lambda: not (folder / "f503").exists() and (folder / "g503").exists(), 20)
    os.chmod(there / "d", 0o711)
    wait.until(lambda: os.stat(folder).st_mode & 0o777 == 0o711, 20)
    assert metrics(here)["told_total"] >= 4
    assert sum(node_metric(node, "watch_sessions") for node in three_nodes.nodes) >= 1


def test_what_the_kernel_keeps_for_a_minute_goes_when_it_changes(make_mount):
    here, there = make_mount("attr_timeout=60", "entry_timeout=60"), make_mount()
    (there / "d").mkdir()
    names = [f"f{number}" for number in range(20)]
    for name in names:
        (there / "d" / name).write_bytes(b"x")
    learn(here, here / "d", names)
    (there / "d/f7").write_bytes(b"longer")
    wait.until(lambda: os.stat(here / "d/f7").st_size == 6, 20)
    (there / "d/f8").unlink()
    wait.until(lambda: not (here / "d/f8").exists(), 20)
    (there / "d/new").write_bytes(b"new")
    wait.until(lambda: (here / "d/new").exists(), 20)
    (there / "d/f9").unlink()
    (there / "d/f9").write_bytes(b"another")
    wait.until(lambda: os.stat(here / "d/f9").st_size == 7, 20)


@pytest.mark.limit(120)
def test_the_node_that_tells_dies_and_another_one_tells(three_nodes, make_mount):
    here, there = make_mount("attr_timeout=60"), make_mount()
    names = [f"f{number}" for number in range(50)]
    (there / "d").mkdir()
    for name in names:
        (there / "d" / name).write_bytes(b"x")
    learn(here, here / "d", names)
    telling = next(node for node in three_nodes.nodes if node_metric(node, "watch_sessions") > 0)
    telling.kill()
    (there / "d/f7").write_bytes(b"longer")
    wait.until(lambda: os.stat(here / "d/f7").st_size == 6, 30)
    learn(here, here / "d", names)
    others = [node for node in three_nodes.nodes if node is not telling]
    assert sum(node_metric(node, "watch_sessions") for node in others) >= 1
    (there / "d/f8").write_bytes(b"longer")
    wait.until(lambda: os.stat(here / "d/f8").st_size == 6, 20)


def test_a_mount_that_is_not_to_be_told_asks_and_sees_it_too(three_nodes, make_mount):
    here, there = make_mount("push=0"), make_mount()
    (there / "f").write_bytes(b"x")
    wait.until(lambda: (here / "f").exists())
    (there / "f").write_bytes(b"longer")
    wait.until(lambda: os.stat(here / "f").st_size == 6, 20)
    assert metrics(here)["told_directories"] == 0
    assert all(node_metric(node, "watch_sessions") == 0 for node in three_nodes.nodes)


def test_a_file_that_is_open_keeps_its_version_while_its_name_shows_the_next(pair):
    here, there = pair
    (there / "d").mkdir()
    (there / "d/f").write_bytes(b"one")
    learn(here, here / "d", ["f"])
    with open(here / "d/f", "rb") as held:
        assert held.read() == b"one"
        (there / "d/f").write_bytes(b"longer")
        wait.until(lambda: os.stat(here / "d/f").st_size == 6, 20)
        assert os.fstat(held.fileno()).st_size == 3
        held.seek(0)
        assert held.read() == b"one"
    assert (here / "d/f").read_bytes() == b"longer"


def test_nodes_forget_a_mount_that_has_ended(three_nodes, make_mount):
    here, there = make_mount(), make_mount()
    (there / "d").mkdir()
    (there / "d/f").write_bytes(b"x")
    learn(here, here / "d", ["f"])
    assert sum(node_metric(node, "watch_dirs") for node in three_nodes.nodes) > 0
    for mount in make_mount.mounts:
        mount.stop()
    wait.until(lambda: all(node_metric(node, "watch_sessions") == 0 for node in three_nodes.nodes), 40)


@pytest.mark.limit(150)
def test_a_split_directory_is_told_of_by_each_of_its_fragments(make_cluster, tmp_path):
    """Its entries lie in many places, and no node gets all that is written to them (E26)."""
    cluster = make_cluster(5, fragment_entries=16)
    here = cluster.mount(tmp_path / "here", options=["push=300"]).point
    there = cluster.mount(tmp_path / "there").point
    names = [f"f{number:03}" for number in range(160)]
    (there / "d").mkdir()
    for name in names:
        (there / "d" / name).write_bytes(b"x")
    wait.until(lambda: sum(node_metric(node, "fragment_moves_total") for node in cluster.nodes) > 0 and
               all(node_metric(node, "fragments_pending") == 0 for node in cluster.nodes), 60, "the split")
    folder = here / "d"
    learn(here, folder, names)
    before = asked(here)
    for size, name in enumerate(names[::10], 2):
        (there / "d" / name).write_bytes(b"y" * size)
        wait.until(lambda: os.stat(folder / name).st_size == size, 20, "the change")
    (there / "d" / names[5]).unlink()
    wait.until(lambda: not (folder / names[5]).exists(), 20, "the removal")
    (there / "d" / "new").write_bytes(b"new")
    wait.until(lambda: (folder / "new").exists(), 20, "the new file")
    assert asked(here) - before < 40  # not each of 160, and not each second
    assert sum(node_metric(node, "watch_sessions") > 0 for node in cluster.nodes) > 1
