# SPDX-License-Identifier: Apache-2.0
"""Measures a cluster of three nodes beside others and beside the limits of the machine, in one run.

    ./dev bench [http] [coordination] [fs] [faults] [dirs] [buffer] [--quick] [--seconds S] [--files N]
                [--entries N] [--lookups N] [--rounds N] [--json FILE]

http: puts and gets of 1 KiB over HTTP with one and with 32 clients, beside etcd with three members,
Redis with two replicas, raw RocksDB and a server that only answers. fs: small files and a large one
on a mount, beside the local disk, passthrough_ll, sshfs and GlusterFS with three replicas.
coordination: requests that the client coordinates, beside those that any of five nodes does. faults: a
node killed, stopped and restarted under load, and idle ones. dirs: a directory of 100,000 files on a
mount, by the processor time that an entry costs, and a million lookups. buffer: puts with and without an
object buffer. All of it runs on loopback, below one temporary folder, and ends with the run.

Absolute figures differ from machine to machine and from hour to hour: what to quote are the ratios of
one run, from the medians of its rounds. The targets printed beside them are those of the project.
What Debian does not have, or what is not installed, is left out, and said so.
"""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bench_buffer  # noqa: E402
import bench_coordination  # noqa: E402
import bench_dirs  # noqa: E402
import bench_faults  # noqa: E402
import bench_fs  # noqa: E402
import bench_kv  # noqa: E402

PARTS = {"http": bench_kv.run, "coordination": bench_coordination.run, "fs": bench_fs.run,
         "faults": bench_faults.run, "dirs": bench_dirs.run, "buffer": bench_buffer.run}


def parse():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--quick", action="store_true",
                        help="one round of 1 s and 200 files: for the order of magnitude")
    parser.add_argument("--seconds", type=float, help="length of each load (default 4)")
    parser.add_argument("--files", type=int, help="small files (default 1000)")
    parser.add_argument("--entries", type=int, help="files of the large directory (default 100000)")
    parser.add_argument("--lookups", type=int, help="names that are looked up in it (default 1000000)")
    parser.add_argument("--mib", type=int, help="size of the large file (default 64)")
    parser.add_argument("--rounds", type=int, help="medians of them (default 3)")
    parser.add_argument("--keys", type=int, default=10000, help="keys of the loads (default 10000)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    for name, usual, quick in (("seconds", 4, 1), ("files", 1000, 200), ("rounds", 3, 1),
                               ("mib", 64, 16), ("entries", 100000, 5000), ("lookups", 1000000, 20000)):
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else usual)
    return options


def main():
    options = parse()
    folder = tempfile.mkdtemp(prefix="dynamount-bench-")
    results = {}
    try:
        for part, run in PARTS.items():
            if not options.what or part in options.what:
                results[part] = run(folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    verdicts = [v for part in results.values() for v in part["verdicts"]]
    print(f"\n{sum(v['met'] for v in verdicts)} of {len(verdicts)} targets met")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
