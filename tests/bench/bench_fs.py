# SPDX-License-Identifier: Apache-2.0
"""Small files and one large one through a mount, read back cold through a second one, beside the local
disk, passthrough_ll, sshfs and GlusterFS."""

import contextlib
import os
import pathlib
import statistics
import time

from harness import mount

import loads
import rivals_fs

MIB = 1 << 20


def timed(count, work):
    begun = time.monotonic()
    work()
    return count / (time.monotonic() - begun)


def small_files(where, again, files):
    """Rates of operations on files of 1 KiB in the new folder `where`; `again` is a cold view of it."""
    value = os.urandom(1024)
    names = [f"f{i:06d}" for i in range(files)]

    def write(synced):
        for name in names:
            with open(where / name, "wb", buffering=0) as out:
                out.write(value)
                if synced:
                    os.fsync(out.fileno())

    def read():
        for name in names:
            with open(again / name, "rb", buffering=0) as source:
                source.read()

    def list_long():
        with os.scandir(again) as entries:
            found = sum(1 for entry in entries if entry.stat())
        assert found == files, f"{found} of {files} listed in {again}"

    where.mkdir()
    figures = {"create": timed(files, lambda: write(False))}
    figures["ls -l, entries"] = timed(files, list_long)
    figures["read, cold"] = timed(files, read)
    figures["overwrite"] = timed(files, lambda: write(False))
    figures["overwrite + fsync"] = timed(files, lambda: write(True))

    def rename():
        for name in names:
            os.rename(where / name, where / f"{name}.b")

    def unlink():
        for name in names:
            os.unlink(where / f"{name}.b")

    figures["rename"] = timed(files, rename)
    figures["unlink"] = timed(files, unlink)
    where.rmdir()
    return figures


def large_file(where, again, mib):
    """MiB a second of one large file, written and synced, then read through the cold view."""
    piece = os.urandom(MIB)

    def write():
        with open(where, "wb", buffering=0) as out:
            for _ in range(mib):
                out.write(piece)
            os.fsync(out.fileno())

    def read():
        with open(again, "rb", buffering=0) as source:
            while source.read(MIB):
                pass

    try:
        return {"large file written, MiB": timed(mib, write),
                "large file read cold, MiB": timed(mib, read)}
    except OSError as error:
        print(f"a file of {mib} MiB at {where.parent}: {error.strerror}", flush=True)
        return {}
    finally:
        with contextlib.suppress(OSError):
            where.unlink()


@contextlib.contextmanager
def dynamount(folder):
    folder.mkdir()
    points = [folder / "mnt", folder / "cold"]
    with loads.three_nodes(folder) as nodes:
        mounts = [mount.Mount(point, nodes.addresses) for point in points]
        try:
            for m in mounts:
                m.start()
            yield points
        finally:
            for m in mounts:
                if m.process and m.process.running and m.mounted:
                    m.stop()
                m.detach()


@contextlib.contextmanager
def local(folder):
    folder.mkdir()
    yield [folder, folder]


def measure(folder, options):
    """figures[operation][subject]: a list, one for each round."""
    figures = {}
    subjects = (dynamount, local, rivals_fs.passthrough, rivals_fs.sshfs, rivals_fs.gluster)
    with contextlib.ExitStack() as stack:
        views = {s.__name__: stack.enter_context(s(pathlib.Path(folder) / s.__name__))
                 for s in subjects}
        for number in range(options.rounds):
            for name, view in views.items():
                if not view:
                    continue
                found = small_files(view[0] / f"small{number}", view[1] / f"small{number}",
                                    options.files)
                found |= large_file(view[0] / f"large{number}", view[1] / f"large{number}",
                                    options.mib)
                for operation, figure in found.items():
                    figures.setdefault(operation, {}).setdefault(name, []).append(figure)
    return {operation: {name: statistics.median(rounds) for name, rounds in by_name.items()}
            for operation, by_name in figures.items()}


def judge(figures):
    print("\nratios of this run, one thread")
    verdicts = []
    for operation, other, target in (
            ("create", "gluster", 10), ("create", "sshfs", 2),
            ("overwrite", "gluster", 10), ("overwrite", "sshfs", 2),
            ("read, cold", "passthrough", 0.5), ("ls -l, entries", "passthrough", 0.5),
            ("large file written, MiB", "gluster", 1), ("large file read cold, MiB", "gluster", 1)):
        ours, theirs = (figures.get(operation, {}).get(name) for name in ("dynamount", other))
        if theirs:
            verdicts.append(loads.judge(f"{operation} / {other}", (ours or 0) / theirs, target))
    return verdicts


def run(folder, options):
    figures = measure(folder, options)
    names = list(dict.fromkeys(name for by_name in figures.values() for name in by_name))
    print(f"\n{'files of 1 KiB, one thread, per second':40}" + "".join(f"{n:>14}" for n in names))
    for operation, by_name in figures.items():
        print(f"{operation:40}" + "".join(f"{by_name.get(n, float('nan')):14,.0f}" for n in names))
    return {"table": figures, "verdicts": judge(figures)}
