# SPDX-License-Identifier: Apache-2.0
"""Puts of 1 KiB with and without an object buffer (dynanode.conf's object_buffer; Dynamo paper, section
6.1, which saw p99.9 fall by a factor of 5), at the two durabilities that a buffer is about: alone, and
while something else keeps the disk busy. And before that, what a store by itself makes its loop wait."""

import contextlib
import os
import pathlib
import re
import subprocess
import tempfile
import threading

import loads
from harness import cluster

BUFFER = 1000  # objects, as in the paper
BUSY_BYTES = 8 << 20
FIGURES = ("rate", "p50_ms", "p99_ms", "p999_ms")


class BusyDisk:
    """Writes and syncs a file beside the stores, again and again."""

    def __init__(self, folder):
        self.path = pathlib.Path(folder) / "busy"
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        block = os.urandom(1 << 20)
        while not self.over.is_set():
            with self.path.open("wb") as file:
                for _ in range(BUSY_BYTES // len(block)):
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def nodes_with(folder, objects):
    nodes = cluster.Cluster(tempfile.mkdtemp(prefix="cluster-", dir=folder), 3,
                            object_buffer=objects)
    try:
        nodes.start()
        yield loads.target_of(nodes)
    finally:
        nodes.close()


def measure(folder, options):
    """Reports of each round by (durability, clients, disk busy, objects). What is compared follows
    each other closely, and who is first changes."""
    reports = {}
    with contextlib.ExitStack() as stack:
        targets = {objects: stack.enter_context(nodes_with(folder, objects))
                   for objects in (0, BUFFER)}
        for target in targets.values():
            loads.fill(target, options.keys, "?durability=buffered")
        for turn in range(options.rounds):
            for busy in (False, True):
                for durability in ("buffered", "one"):
                    for clients in (1, 32):
                        for objects in (0, BUFFER) if turn % 2 == 0 else (BUFFER, 0):
                            with BusyDisk(folder) if busy else contextlib.nullcontext():
                                report = loads.load(targets[objects], "PUT", clients,
                                                    options.seconds, keys=options.keys,
                                                    query=f"?durability={durability}")
                            reports.setdefault((durability, clients, busy, objects),
                                               []).append(report)
    return reports


def table_of(reports):
    """Prints the medians, each with what the buffer makes of it."""
    table = []
    print(f"\n{'puts of 1 KiB, medians':38}{'per second':>12}{'p50':>9}{'p99':>9}{'p99.9':>9}  (ms)")
    for (durability, clients, busy, objects), rounds in reports.items():
        name = (f"{durability}, {clients} client{'s' if clients > 1 else ''}"
                f"{', disk busy' if busy else ''}")
        row = {"name": name, "buffer": objects, "errors": sum(r["errors"] for r in rounds)}
        row |= {key: loads.median(rounds, key) for key in FIGURES}
        table.append(row)
    for name in dict.fromkeys(row["name"] for row in table):
        rows = {row["buffer"]: row for row in table if row["name"] == name}
        for objects in (0, BUFFER):
            row = rows[objects]
            errors = f"  {row['errors']} errors" if row["errors"] else ""
            print(f"{name + (f', buffer of {objects}' if objects else ''):38}{row['rate']:12,.0f}"
                  + "".join(f"{row[key]:9.3f}" for key in FIGURES[1:]) + errors)
    print(f"\nwithout / with a buffer{'':15}{'(rate: with / without)':>12}")
    for name in dict.fromkeys(row["name"] for row in table):
        off, on = (next(r for r in table if r["name"] == name and r["buffer"] == objects)
                   for objects in (0, BUFFER))
        ratios = [on["rate"] / max(off["rate"], 1)]
        ratios += [off[key] / max(on[key], 0.001) for key in FIGURES[1:]]
        print(f"{name:38}{ratios[0]:12.2f}" + "".join(f"{r:9.2f}" for r in ratios[1:]))
    return table


def store_alone(folder, options):
    """How long a store holds its loop: prints what bench_buffer.c says, and what the buffer saves."""
    stores = pathlib.Path(folder) / "stores"
    stores.mkdir()
    done = subprocess.run([loads.BENCH / "bench_buffer", stores, str(options.rounds * 2)],
                          stdout=subprocess.PIPE, text=True, timeout=600, check=True)
    print("\none store alone, how long a turn of its loop takes:\n" + done.stdout.rstrip())
    table = [dict(zip(("disk", "store", "mean_us", "p50_us", "p99_us", "p999_us"),
                      (disk, store, *map(float, figures))))
             for disk, store, *figures in re.findall(
                 r"^(.+), (.+): mean (\S+) p50 (\S+) p99 (\S+) p99.9 (\S+) us", done.stdout,
                 re.MULTILINE)]
    for off, on in zip(table[::2], table[1::2]):
        ratios = [f"{name} {off[key] / max(on[key], 0.001):.1f}" for name, key in
                  (("mean", "mean_us"), ("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us"))]
        print(f"{off['disk']}, without / with a buffer: {', '.join(ratios)}", flush=True)
    return table


def run(folder, options):
    store = store_alone(folder, options)
    return {"store": store, "table": table_of(measure(folder, options)), "verdicts": []}
