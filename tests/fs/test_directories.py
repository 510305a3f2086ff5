# SPDX-License-Identifier: Apache-2.0
"""Large directories on a real mount: what an entry costs does not grow with how many there are, and
neither does memory with how often they are listed. `./dev bench dirs` does the same with 100,000."""

import os

import pytest

from harness import directory

SMALL, LARGE = 1000, 8000  # files
MIB = 1 << 20


@pytest.fixture
def one_node(make_cluster, tmp_path):
    """The directory's own work is the same on each of its replicas: one shows it."""
    cluster = make_cluster(1)
    mount = cluster.mount(tmp_path / "mnt")
    pids = [mount.process.pid] + [node.process.pid for node in cluster.nodes]
    return mount, pids


@pytest.mark.plain
@pytest.mark.limit(300)
def test_a_large_directory_costs_no_more_for_each_entry_than_a_small_one(one_node):
    mount, pids = one_node
    small = directory.figures(mount.point / "small", pids, SMALL, SMALL // 2)
    large = directory.figures(mount.point / "large", pids, LARGE, SMALL // 2)
    print({what: (round(small[what]), round(large[what])) for what in small})
    for what, each in large.items():
        # 60 us: what programs cost that are started, and the grain of the clock, weigh on the small one
        assert each < 1.8 * small[what] + 60, f"{what}: {each:.0f} us an entry, {small[what]:.0f} of {SMALL}"


@pytest.mark.plain
@pytest.mark.limit(300)
def test_listing_a_large_directory_again_and_again_takes_no_more_memory(one_node):
    mount, pids = one_node
    where = mount.point / "d"
    where.mkdir()
    directory.fill(where, 0, LARGE // 2)
    for _ in range(2):
        assert directory.run("ls", "-l", where) == LARGE // 2 + 1
    before = [directory.resident_bytes(pid) for pid in pids]
    for _ in range(6):
        assert directory.run("ls", "-l", where) == LARGE // 2 + 1
        assert len(os.listdir(where)) == LARGE // 2
    for pid, was in zip(pids, before):
        assert directory.resident_bytes(pid) < was + 12 * MIB
