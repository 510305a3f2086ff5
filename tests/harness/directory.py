# SPDX-License-Identifier: Apache-2.0
"""What it costs to fill, list and remove one directory of a mount, by the processor time of all who take
part: on a busy machine the clock on the wall says nothing."""

import os
import subprocess

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


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


def cost(pids, count, work):
    """Microseconds of processor time for each of `count`."""
    before = processor_seconds(pids)
    work()
    return (processor_seconds(pids) - before) * 1e6 / count


def fill(where, first, last):
    for i in range(first, last):
        os.close(os.open(where / f"f{i:07d}", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644))


def run(*argv):
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"})
    return len(done.stdout.splitlines())


def figures(where, pids, files, sample):
    """Costs by what is done, with `files` files in the new directory `where`, whose last `sample` are
    those that "create" is about."""
    where.mkdir()
    fill(where, 0, files - sample)
    costs = {"create": cost(pids, sample, lambda: fill(where, files - sample, files))}

    def counted(expected, *argv):
        found = run(*argv)
        assert found == expected, f"{argv}: {found} lines, {expected} expected"

    costs["ls"] = cost(pids, files, lambda: counted(files, "ls", "-U", where))
    costs["ls -l"] = cost(pids, files, lambda: counted(files + 1, "ls", "-l", where))
    costs["find"] = cost(pids, files, lambda: counted(files, "find", where, "-type", "f"))
    costs["rm -r"] = cost(pids, files, lambda: run("rm", "-r", where))
    assert not where.exists()
    return costs
