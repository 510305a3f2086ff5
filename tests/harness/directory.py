# SPDX-License-Identifier: Apache-2.0
"""What it costs to fill, list and remove one directory, by the processor time of all who take part: on a
busy machine the clock on the wall says nothing. Each listing is the first thing that a new mount does: on
one that has just filled the directory, what a small one costs is what the kernel still remembers of it."""

import contextlib
import os
import random
import subprocess

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
TURNS = 10
STOP_S = 120  # of a mount that knows 100,000 names, on a busy machine


def processor_seconds(pids):
    """Of these processes, and of this one with the children that it has waited for."""
    used = sum(os.times()[:4])
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        used += (int(fields[11]) + int(fields[12])) / TICKS
    return used


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * PAGE


def peak_bytes(pid):
    """The most that it has had resident so far."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def cost(pids, count, work):
    """Microseconds of processor time for each of `count`."""
    before = processor_seconds(pids)
    work()
    return (processor_seconds(pids) - before) * 1e6 / count


def fill(where, first, last):
    for i in range(first, last):
        os.close(os.open(where / f"f{i:07d}", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644))


def fill_by_turns(pids, places, count):
    """Makes `count` files in each of the directories, a few here, a few there, so that the machine is as busy
    for one as for another: what one cost in each. places: (directory, number of its first file)."""
    used = [0.0] * len(places)
    for turn in range(TURNS):
        for i, (where, first) in enumerate(places):
            before = processor_seconds(pids)
            fill(where, first + count * turn // TURNS, first + count * (turn + 1) // TURNS)
            used[i] += processor_seconds(pids) - before
    return [each * 1e6 / count for each in used]


def run(*argv):
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"})
    return len(done.stdout.splitlines())


def look_up(where, files, count, seed):
    """Stats names at random, half of which are there; no two of the others are equal."""
    chance = random.Random(seed)
    for i in range(count // 2):
        os.stat(where / f"f{chance.randrange(files):07d}")
        with contextlib.suppress(FileNotFoundError):
            os.stat(where / f"absent-{seed}-{i:07d}")
            raise AssertionError(f"absent-{seed}-{i:07d} is there")


class Mounts:
    """Mounts of one cluster, one after the other, and the most memory that any of them has had."""

    def __init__(self, made, folder):
        self.made, self.folder = made, folder
        self.used = self.peak = 0

    @contextlib.contextmanager
    def one(self):
        """Its point, and who works for it: the mount first, then the nodes."""
        self.used += 1
        mount = self.made.mount(self.folder / f"mnt{self.used}")
        pid = mount.process.pid
        yield mount.point, [pid] + [node.process.pid for node in self.made.nodes]
        self.peak = max(self.peak, peak_bytes(pid))
        mount.stop(STOP_S)


def figures(mounts, name, files, sample):
    """Costs by what is done, with `files` files in the new directory `name`. "create" is about the last
    `sample` of them, "create again" about as many after all were removed; what is in brackets is the same in
    a directory that is new."""
    costs = {}

    def counted(what, expected, *argv):
        with mounts.one() as (point, pids):
            found = []
            costs[what] = cost(pids, files, lambda: found.append(run(*argv, point / name)))
            assert found == [expected], f"{argv}: {found} lines, {expected} expected"

    with mounts.one() as (point, pids):
        where, new = point / name, point / f"{name}-new"
        where.mkdir()
        new.mkdir()
        fill(where, 0, files - sample)
        costs["create"], costs["(create)"] = fill_by_turns(pids, [(where, files - sample), (new, 0)], sample)
    counted("ls", files, "ls", "-U")
    counted("ls -l", files + 1, "ls", "-l")
    counted("find", files + 1, "find")
    counted("du", 1, "du", "-s")
    with mounts.one() as (point, pids):
        where, new = point / name, point / f"{name}-newer"
        costs["rm -r"] = cost(pids, files, lambda: run("rm", "-r", where))
        assert not where.exists()
        where.mkdir()
        new.mkdir()
        costs["create again"], costs["(create again)"] = fill_by_turns(pids, [(where, 0), (new, 0)], sample)
        assert run("ls", where) == sample
    return costs
