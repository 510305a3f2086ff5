# SPDX-License-Identifier: Apache-2.0
"""Random operations on files of a real mount, against a model in memory, after Apple's fsx: pread, pwrite,
append, truncate by name and by handle, mapped memory that is read and written, fallocate, holes, copies by
reference, rename, fsync, close and reopen, remount. A second mount reads along, and keeps a file open for
longer than its version lasts.

`./dev fsx --ops N` makes it longer; a failure tells the last operations and the seed."""

import collections
import ctypes
import errno
import mmap
import os
import random

import pytest

OPS = int(os.environ.get("DYNAMOUNT_FSX_OPS", "180"))
SEED = int(os.environ.get("DYNAMOUNT_FSX_SEED", "1"))
# A long run writes more than a disk has: what nothing names any more is let go of meanwhile.
KEPT = {"upload_lease": "60s", "history_max": "256M"} if OPS > 10_000 else {}
MIB = 1 << 20
# How long a file gets (several chunks; one value; to and fro between the two), and how often it is chosen.
LENGTHS = {6 * MIB: 2, 200_000: 4, 3 * MIB // 2: 3, 20_000: 6}
PATIENT = ["deadline=300s"]  # this is about bytes, and the machine may be busy
SIZES = 5 * [1, 13, 700, 4096, 5000] + 3 * [65536] + [300_000, MIB, 3 * MIB // 2]
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
TOLD = 60  # operations that a failure shows
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


class File:
    """A file on the mount, and the bytes that it should have."""

    def __init__(self, folder, name, most, chance, log):
        self.folder, self.name, self.most, self.chance, self.log = folder, name, most, chance, log
        self.model = bytearray()
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)

    @property
    def path(self):
        return self.folder / self.name

    def somewhere(self):
        off = self.chance.randrange(self.most)
        return min(off, len(self.model)) if self.chance.random() < 0.5 else off

    def some(self, most):
        return min(self.chance.choice([size for size in SIZES if size <= self.most]), most)

    def tell(self, *words):
        self.log.append((self.name, len(self.model), *words))

    def grow(self, size):
        self.model.extend(bytes(max(0, size - len(self.model))))

    def expect(self, got, off, size, where="here", model=None):
        model = self.model if model is None else model
        want = model[off:off + size]
        if got != want:
            at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b),
                      min(len(got), len(want)))
            pytest.fail(f"{self.name} {where}: {len(got)} of {len(want)} bytes at {off}, wrong at {off + at}")

    # Operations

    def write(self):
        off = self.somewhere()
        data = self.chance.randbytes(self.some(self.most - off))
        self.tell("write", off, len(data))
        assert os.pwrite(self.fd, data, off) == len(data)
        self.grow(off + len(data))
        self.model[off:off + len(data)] = data

    def append(self):
        data = self.chance.randbytes(self.some(self.most - len(self.model)))
        self.tell("append", len(data))
        with open(self.path, "ab", buffering=0) as file:
            assert file.write(data) == len(data)
        self.model += data

    def read(self):
        off, size = self.somewhere(), self.some(self.most)
        self.tell("read", off, size)
        self.expect(os.pread(self.fd, size, off), off, size)

    def resize(self, size):
        del self.model[size:]
        self.grow(size)

    def truncate(self):
        size = self.chance.choice([0, self.chance.randrange(self.most), len(self.model) // 2])
        by_name = self.chance.random() < 0.5
        self.tell("truncate" if by_name else "ftruncate", size)
        os.truncate(self.path if by_name else self.fd, size)
        self.resize(size)

    def overwrite(self):
        data = self.chance.randbytes(self.some(self.most))
        self.tell("overwrite", len(data))
        self.path.write_bytes(data)
        self.model[:] = data

    def map(self):
        if not self.model:
            return
        off = self.chance.randrange(len(self.model)) // mmap.PAGESIZE * mmap.PAGESIZE
        size = min(self.some(self.most), len(self.model) - off)
        stores, flushes = self.chance.random() < 0.7, self.chance.random() < 0.5
        self.tell("map", off, size, "stores" if stores else "loads", "msync" if flushes else "munmap")
        with mmap.mmap(self.fd, size, offset=off) as mapped:
            self.expect(mapped[:], off, size, "mapped")
            if stores:
                data = self.chance.randbytes(size)
                mapped[:] = data
                self.model[off:off + size] = data
                self.expect(os.pread(self.fd, size, off), off, size, "read beside a map")
            if flushes:
                mapped.flush()

    def allocate(self):
        off = self.somewhere()
        size = self.some(self.most - off)
        mode = self.chance.choice([0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE,
                                   ZERO_RANGE | KEEP_SIZE])
        if size == 0:
            return
        self.tell("fallocate", mode, off, size)
        assert libc.fallocate(self.fd, mode, off, size) == 0, os.strerror(ctypes.get_errno())
        if mode & (PUNCH_HOLE | ZERO_RANGE):
            end = min(off + size, len(self.model))
            self.model[off:end] = bytes(max(0, end - off))
        if not mode & KEEP_SIZE:
            self.grow(off + size)

    def seek(self):
        """What is in a hole is zeros, and data is found behind it."""
        off = self.somewhere()
        self.tell("seek", off)
        if off >= len(self.model):
            with pytest.raises(OSError) as error:
                os.lseek(self.fd, off, os.SEEK_DATA)
            assert error.value.errno == errno.ENXIO
            return
        hole = os.lseek(self.fd, off, os.SEEK_HOLE)
        assert off <= hole <= len(self.model)
        try:
            data = os.lseek(self.fd, off, os.SEEK_DATA)
        except OSError as error:
            assert error.errno == errno.ENXIO
            data = len(self.model)
        assert not any(self.model[off:data])

    def sync(self):
        self.tell("fsync")
        os.fsync(self.fd)

    def reopen(self):
        self.tell("reopen")
        os.close(self.fd)
        self.fd = os.open(self.path, os.O_RDWR)

    def rename(self):
        new = self.name + "x" if len(self.name) < 20 else self.name[0]
        self.tell("rename", new)
        os.rename(self.path, self.folder / new)
        self.name = new

    def stat(self):
        self.tell("stat")
        assert os.fstat(self.fd).st_size == os.stat(self.path).st_size == len(self.model)


WHAT = [File.write] * 8 + [File.read] * 8 + [File.map] * 3 + [File.allocate] * 2 + [File.stat] * 2 + [
    File.truncate, File.append, File.overwrite, File.seek, File.sync, File.reopen, File.rename]


def copy(source, target):
    """Whole chunks, most of the time, which move no bytes; the rest is the kernel's work."""
    chance = source.chance
    off = chance.randrange(source.most) // MIB * MIB if chance.random() < 0.7 else source.somewhere()
    if off >= len(source.model) or off > len(target.model) or off >= target.most:
        return
    size = len(source.model) - off if chance.random() < 0.5 else source.some(source.most)
    size = min(size, target.most - off)
    target.tell("copy_file_range", source.name, off, size)
    at = off
    while at < off + size and at < len(source.model):
        done = os.copy_file_range(source.fd, target.fd, off + size - at, at, at)
        assert done > 0
        target.grow(at + done)
        target.model[at:at + done] = source.model[at:at + done]
        at += done


class Reader:
    """Somebody who reads the files on another mount: what was closed here is there at once, and what he has
    open stays what it was."""

    def __init__(self, folder):
        self.folder, self.kept = folder, None

    def look(self, file):
        file.tell("read by another mount")
        os.close(file.fd)
        file.expect((self.folder / file.name).read_bytes(), 0, file.most + 1, "at the other mount")
        if self.kept is None:
            self.kept = (os.open(self.folder / file.name, os.O_RDONLY), bytes(file.model), file)
        file.fd = os.open(file.path, os.O_RDWR)

    def let_go(self):
        if self.kept is None:
            return
        fd, bytes_then, file = self.kept
        file.tell("closed by another mount")
        got = os.pread(fd, len(bytes_then) + 1, 0)
        file.expect(got, 0, len(bytes_then) + 1, "as it was opened", bytes_then)
        os.close(fd)
        self.kept = None


def remount(mount, files):
    for file in files:
        file.tell("remount")
        os.close(file.fd)
    mount.stop()
    mount.start()
    for file in files:
        file.fd = os.open(file.path, os.O_RDWR)


@pytest.mark.limit(120 + OPS)
@pytest.mark.parametrize("count", [1, 4])
def test_files_do_what_the_model_does(make_cluster, tmp_path, count):
    three_nodes = make_cluster(3, **KEPT)
    mount = three_nodes.mount(tmp_path / "mnt", options=PATIENT)
    other = three_nodes.mount(tmp_path / "other", options=PATIENT).point
    chance, log, reader = random.Random(SEED), collections.deque(maxlen=TOLD), Reader(other)
    lengths = list(LENGTHS) if count > 1 else [chance.choice(list(LENGTHS))]
    weights = [LENGTHS[length] for length in lengths]
    files = [File(mount.point, "abcd"[i], most, chance, log) for i, most in enumerate(lengths)]
    remounts = sorted(chance.sample(range(OPS), 1 + OPS // 500))
    print(f"{OPS} operations, {count} files, seed {SEED}")
    try:
        for number in range(OPS):
            (file,), turn = chance.choices(files, weights), chance.random()
            if remounts and remounts[0] == number:
                remounts.pop(0)
                remount(mount, files)
            elif turn < 0.08 and count > 1:
                copy(file, chance.choice([f for f in files if f is not file]))
            elif turn < 0.10:
                reader.look(file)
            elif turn < 0.105:
                reader.let_go()
            else:
                chance.choice(WHAT)(file)
        reader.let_go()
        for file in files:
            file.tell("the end")
            os.close(file.fd)
            for folder in mount.point, other:
                file.expect((folder / file.name).read_bytes(), 0, file.most + 1, f"in {folder.name}")
        assert sorted(os.listdir(other)) == sorted(file.name for file in files)
        assert (mount.point / ".dynamount" / "pending").read_text() == ""
    except BaseException:
        print("\n".join(" ".join(map(str, line)) for line in log))
        raise
