# SPDX-License-Identifier: Apache-2.0
"""Large directories on a real mount: what an entry costs does not grow with how many there are, and
neither does memory with how often they are listed. `./dev bench dirs` does the same with 100,000."""

import mmap
import os
import random

import pytest

from harness import directory, wait

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
def test_a_large_directory_costs_no_more_for_each_entry_than_a_small_one(make_cluster, tmp_path):
    mounts = directory.Mounts(make_cluster(1), tmp_path)
    small = directory.figures(mounts, "small", SMALL, SMALL // 2)
    large = directory.figures(mounts, "large", LARGE, SMALL // 2)
    print({what: (round(small[what]), round(large[what])) for what in small})
    for what, each in large.items():
        if what[0] == "(":
            continue
        beside = large.get(f"({what})", small[what])  # creates: in a new directory, at the same time
        # 60 us: what programs cost that are started, and the grain of the clock, weigh on the small one
        assert each < 3 * beside + 60, f"{what}: {each:.0f} us an entry, {beside:.0f} where there are few"


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


NAMES = 400  # that the mount may keep for the kernel
FILES, ABSENT = 3000, 10000


def gauge(mount, name):
    metrics = (mount.point / ".dynamount/metrics").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in metrics.splitlines() if line.startswith(f"dynamount_{name} ")))


def look_up(where, rounds):
    """Every file that is there, in another order each time."""
    names = [where / f"f{i:07d}" for i in range(FILES)]
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            assert os.stat(name).st_size == 0


@pytest.mark.plain
@pytest.mark.limit(120)
def test_memory_stays_bounded_however_many_names_are_looked_up(make_cluster, tmp_path):
    """./dev bench dirs does a million."""
    mount = make_cluster(1).mount(tmp_path / "mnt", options=[f"names={NAMES}"])
    where = mount.point / "d"
    where.mkdir()
    directory.fill(where, 0, FILES)
    look_up(where, 1)
    before = directory.resident_bytes(mount.process.pid)
    look_up(where, 3)
    grown = directory.resident_bytes(mount.process.pid) - before
    assert grown < 3 * FILES * 200 + MIB, "bytes are kept for each lookup"
    for i in range(ABSENT):
        assert not (where / f"absent-{i:06d}").exists()
    directory.run("ls", "-l", where)
    look_up(where, 1)
    # Some are on their way: they were looked up, or asked for, just now.
    wait.until(lambda: where.exists() and gauge(mount, "inodes") < 2 * NAMES, 20, "the kernel gave names back")
    # A key that is remembered, and 20,000 may be, has some 900 bytes.
    grown = directory.resident_bytes(mount.process.pid) - before
    assert gauge(mount, "keys_remembered") <= 20000 + 2 * NAMES
    assert grown < (ABSENT + FILES) * 1500 + 4 * MIB


@pytest.mark.limit(120)
def test_what_is_in_use_is_not_taken_away_with_the_names_that_are_forgotten(make_cluster, tmp_path):
    mount = make_cluster(1).mount(tmp_path / "mnt", options=["names=50"])
    where = mount.point / "d"
    (where / "sub").mkdir(parents=True)
    (where / "sub/inside").write_text("inside")
    (where / "open").write_text("as it was")
    (where / "mapped").write_text("mapped")
    directory.fill(where, 0, 1000)
    here = os.getcwd()
    with open(where / "open", encoding="ascii") as held, open(where / "mapped", "r+b") as mapped:
        os.chdir(where / "sub")
        try:
            memory = mmap.mmap(mapped.fileno(), 0)
            mapped.close()
            for i in range(1000):
                assert os.stat(where / f"f{i:07d}").st_size == 0
            wait.until(lambda: gauge(mount, "inodes") < 300, 20, "the kernel gave names back")
            assert gauge(mount, "asked_back_total") > 1500
            assert os.getcwd() == str(where / "sub")
            with open("inside", encoding="ascii") as inside:
                assert inside.read() == "inside"
            assert held.read() == "as it was"
            assert os.readlink(f"/proc/self/fd/{held.fileno()}") == str(where / "open")
            memory[:6] = b"MAPPED"
            memory.flush()
            memory.close()
        finally:
            os.chdir(here)
    wait.until(lambda: (where / "mapped").read_text() == "MAPPED", 10, "what was mapped is stored")
