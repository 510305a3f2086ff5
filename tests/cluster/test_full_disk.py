# SPDX-License-Identifier: Apache-2.0
"""Nodes whose disk is full: what is new is refused, what makes room is taken, and when there is room all
goes on (HAZARDS E20). The disks are filesystems in memory, of a size of their own."""

import contextlib
import os
import shutil
import subprocess

import pytest
from harness import tree, wait

MIB = 1 << 20
SMALL = {"write_buffer": "1M", "ballast": "8M", "reserve": "16M"}
NO_SPACE = 507


@pytest.fixture
def small_disks(make_cluster):
    """small_disks(n): a cluster of n nodes, each with a disk of 120 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    with contextlib.ExitStack() as mounts:
        def make(size):
            cluster = make_cluster(size, start=False, **SMALL)
            for node in cluster.nodes:
                data = node.folder / "data"
                data.mkdir(mode=0o700)
                subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", data], check=True)
                mounts.callback(subprocess.run, ["umount", "-l", data], check=True)
            mounts.callback(cluster.close)  # before its disks go
            cluster.start()
            return cluster
        yield make


def fill(node, left=4 * MIB):
    """Somebody else takes what room there is on the node's disk, but for `left` bytes."""
    data = node.folder / "data"
    disk = os.statvfs(data)
    with open(data / "filler", "wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, disk.f_bavail * disk.f_frsize - left)


def fill_rest(node):
    """To the last byte."""
    with open(node.folder / "data" / "rest", "wb", buffering=0) as rest:
        with contextlib.suppress(OSError):
            while rest.write(bytes(4096)) == 4096:
                pass


def put(node, key, value=bytes(1000)):
    return node.request("PUT", f"/v1/kv/{key}", value, {"If-Match": "*"}).status


@pytest.mark.parametrize("size", [1, 3])
def test_a_full_disk_takes_deletes_and_goes_on_when_it_has_room(small_disks, size):
    cluster = small_disks(size)
    node = cluster.nodes[0]
    for i in range(8):
        assert put(node, f"d/k{i}", os.urandom(MIB)) == 204
    for each in cluster.nodes:
        fill(each)
    wait.until(lambda: put(node, "d/new") == NO_SPACE, what="a put being refused")
    assert put(node, "d/k0", bytes(MIB)) == NO_SPACE
    assert len(node.request("GET", "/v1/kv/d/k0").body) == MIB
    for i in range(1, 8):
        gone = node.request("DELETE", f"/v1/kv/d/k{i}")
        assert gone.status == 204, gone.body
        assert node.request("GET", f"/v1/kv/d/k{i}").status == 404
    assert put(node, "d/new") == NO_SPACE
    for each in cluster.nodes:
        (each.folder / "data" / "filler").unlink()
    wait.until(lambda: put(node, "d/new") == 204, what="puts being taken again")
    for each in cluster.nodes:
        each.kill()
    cluster.start()
    assert len(node.request("GET", "/v1/kv/d/k0").body) == MIB
    assert node.request("GET", "/v1/kv/d/k1").status == 404
    assert node.request("GET", "/v1/kv/d/new").body == bytes(1000)


@pytest.mark.plain
def test_a_node_that_has_never_had_room_says_so(small_disks):
    node = small_disks(1).nodes[0]
    node.kill()
    for entry in (node.folder / "data").iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    fill(node, left=MIB // 2)
    node.launch()
    wait.until(lambda: not node.process.running, 20, "the node being refused by the disk")
    assert node.process.popen.returncode == 4, node.process.output()


@pytest.mark.plain
def test_a_node_whose_log_finds_no_room_ends_in_order_and_starts_again(small_disks):
    """RocksDB cannot go on after that: it asserts, or refuses all writes for ever."""
    node = small_disks(1).nodes[0]
    assert put(node, "d/k0", b"kept") == 204
    node.kill()
    full = node.folder / "full"
    node.environment = {"LD_PRELOAD": str(tree.BUILD / "tests" / "cluster" / "full_disk.so"),
                        "DYNAMOUNT_FULL_DISK": str(full)}
    node.start()
    assert put(node, "d/k1", b"kept") == 204
    full.touch()
    with contextlib.suppress(OSError):
        assert put(node, "d/refused") != 204
    wait.until(lambda: not node.process.running, what="the node having ended")
    assert node.process.popen.returncode == 4, node.process.output()
    assert "as soon as there is room" in (node.folder / "dynanode.log").read_text()
    full.unlink()
    fill(node, left=0)
    (node.folder / "data" / "BALLAST").unlink(missing_ok=True)
    fill_rest(node)
    node.launch()
    wait.until(lambda: not node.process.running, 20, "the node being refused by the disk")
    assert node.process.popen.returncode == 4, node.process.output()
    for name in ("filler", "rest"):
        (node.folder / "data" / name).unlink()
    node.start()
    for key in ("k0", "k1"):
        assert node.request("GET", f"/v1/kv/d/{key}").body == b"kept"
    assert put(node, "d/after") == 204
