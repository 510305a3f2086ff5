# SPDX-License-Identifier: Apache-2.0
"""One directory with very many files, beside one with a tenth of them: processor time for each entry, of
the mount, the three nodes and the program that asks."""

import pathlib

from harness import cluster, directory

MOST = 1.5  # times what an entry of the small one costs
MIB = 1 << 20


def run(folder, options):
    files = options.entries
    print(f"\n== a directory of {files} files, beside one of {files // 10}")
    made = cluster.Cluster(pathlib.Path(folder) / "dirs", 3)
    try:
        made.start()
        mount = made.mount(pathlib.Path(folder) / "mnt")
        pids = [mount.process.pid] + [node.process.pid for node in made.nodes]
        sample = max(files // 20, 1)
        small = directory.figures(mount.point / "small", pids, files // 10, sample)
        large = directory.figures(mount.point / "large", pids, files, sample)
        resident = directory.resident_bytes(pids[0]) / MIB
    finally:
        made.close()
    verdicts = []
    print(f"{'us of processor an entry':<26}{files // 10:>10}{files:>10}{'ratio':>8}")
    for what, each in large.items():
        ratio = each / small[what]
        verdicts.append({"what": f"{what} in a large directory", "ratio": ratio, "met": ratio <= MOST})
        print(f"{what:<26}{small[what]:>10.0f}{each:>10.0f}{ratio:>8.2f}"
              f"{'' if ratio <= MOST else f'  (target: at most {MOST})'}")
    print(f"the mount has {resident:.0f} MiB in memory at the end")
    return {"small": small, "large": large, "resident_mib": resident, "verdicts": verdicts}
