# SPDX-License-Identifier: Apache-2.0
"""One directory with very many files, beside one with a tenth of them: processor time for each entry, of
the mount, the three nodes and the program that asks; what is resident; and a million lookups."""

import pathlib
import time

from harness import cluster, directory

MOST = 1.5  # times what an entry of the small one, or a create in an empty one, costs
GRAIN = 5   # us an entry, that programs cost that are started, and the clock's own steps
MIB = 1 << 20
# A mount's own 32 MiB, and for 100,000 names that the kernel keeps, 6 % that it is yet to give back, and
# 20,000 keys that are remembered beyond that, 3 KB each.
MOUNT_MOST = 400 * MIB


def created_a_second(mounts, files, sample):
    """By the clock on the wall: the first and the last of them."""
    with mounts.one() as (point, _):
        where = point / "lookups"
        where.mkdir()
        seconds = []
        for first, last in ((0, sample), (sample, files - sample), (files - sample, files)):
            began = time.monotonic()
            directory.fill(where, first, last)
            seconds.append(time.monotonic() - began)
    return sample / seconds[0], sample / seconds[2]


def lookups(mounts, files, count):
    """Resident bytes of the mount after each tenth, and how many it did a second."""
    resident = []
    with mounts.one() as (point, pids):
        began = time.monotonic()
        for seed in range(10):
            directory.look_up(point / "lookups", files, count // 10, seed)
            resident.append(directory.resident_bytes(pids[0]))
        rate = count / (time.monotonic() - began)
    return resident, rate


def judged(verdicts, what, value, most):
    verdicts.append({"what": what, "ratio": value, "met": value <= most})
    return "" if value <= most else f"  (target: at most {most:g})"


def run(folder, options):
    files = options.entries
    few, sample = files // 10, max(files // 20, 1)
    print(f"\n== a directory of {files} files, beside one of {few}")
    made = cluster.Cluster(pathlib.Path(folder) / "dirs", 3)
    verdicts = []
    try:
        made.start()
        mounts = directory.Mounts(made, pathlib.Path(folder))
        small = directory.figures(mounts, "small", few, few // 2)
        large = directory.figures(mounts, "large", files, sample)
        print(f"{'us of processor an entry':<26}{few:>10}{files:>10}{'ratio':>8}")
        for what, each in large.items():
            beside = large.get(f"({what})", small[what])  # creates: in a new directory, at the same time
            ratio = each / (beside + GRAIN)
            note = judged(verdicts, f"{what} in a large directory", ratio, MOST) if what[0] != "(" else ""
            print(f"{what:<26}{beside:>10.0f}{each:>10.0f}{ratio:>8.2f}{note}")
        first, last = created_a_second(mounts, files, sample)
        print(f"{first:.0f} creates a second at the beginning, {last:.0f} at the end")
        resident, rate = lookups(mounts, files, options.lookups)
        print(f"{options.lookups} lookups, {rate:.0f} a second; MiB of the mount after each tenth: "
              + " ".join(f"{each / MIB:.0f}" for each in resident))
        note = judged(verdicts, "memory of a mount", mounts.peak / MOUNT_MOST, 1)
        nodes = [directory.peak_bytes(node.process.pid) / MIB for node in made.nodes]
        print(f"the mounts had {mounts.peak / MIB:.0f} MiB at most{note}, the nodes "
              + ", ".join(f"{each:.0f}" for each in nodes))
    finally:
        made.close()
    return {"small": small, "large": large, "resident": resident, "peak": mounts.peak, "verdicts": verdicts}
