# SPDX-License-Identifier: Apache-2.0
"""Random operations on two files of a real mount, against a model in memory, after Apple's fsx:
pread, pwrite, append, truncate, mmap, fallocate, holes, copies by reference, rename, fsync, close and
reopen; a second mount reads along. `./dev fsx --ops N` makes it longer."""

import ctypes
import errno
import mmap
import os
import random

import pytest

OPS = int(os.environ.get("DYNAMOUNT_FSX_OPS", "250"))
SEED = int(os.environ.get("DYNAMOUNT_FSX_SEED", "1"))
MOST = 6 << 20
SIZES = [1, 13, 4096, 65536, 300000, 1 << 20, 1500000]
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


class File:
    """A file on the mount, and the bytes that it should have."""

    def __init__(self, folder, name, chance):
        self.folder, self.name, self.chance = folder, name, chance
        self.model = bytearray()
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)

    @property
    def path(self):
        return self.folder / self.name

    def somewhere(self):
        off = self.chance.randrange(MOST)
        return min(off, len(self.model)) if self.chance.random() < 0.5 else off

    def grow(self, size):
        self.model.extend(bytes(max(0, size - len(self.model))))

    def expect(self, got, off, size):
        want = self.model[off:off + size]
        if got != want:
            at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b),
                      min(len(got), len(want)))
            pytest.fail(f"{self.name}: {len(got)} of {len(want)} bytes at {off}, wrong at {off + at}")

    def write(self):
        off = self.somewhere()
        data = self.chance.randbytes(min(self.chance.choice(SIZES), MOST - off))
        assert os.pwrite(self.fd, data, off) == len(data)
        self.grow(off + len(data))
        self.model[off:off + len(data)] = data

    def append(self):
        data = self.chance.randbytes(min(self.chance.choice(SIZES), MOST - len(self.model)))
        with open(self.path, "ab") as file:
            file.write(data)
        self.model += data

    def read(self):
        off, size = self.somewhere(), self.chance.choice(SIZES)
        self.expect(os.pread(self.fd, size, off), off, size)

    def truncate(self):
        size = self.chance.choice([0, self.chance.randrange(MOST), len(self.model) // 2])
        os.ftruncate(self.fd, size)
        del self.model[size:]
        self.grow(size)

    def map(self):
        if not self.model:
            return
        off = self.chance.randrange(len(self.model)) // mmap.PAGESIZE * mmap.PAGESIZE
        size = min(self.chance.choice(SIZES), len(self.model) - off)
        with mmap.mmap(self.fd, size, offset=off) as mapped:
            self.expect(mapped[:], off, size)
            data = self.chance.randbytes(size)
            mapped[:] = data
            mapped.flush()
        self.model[off:off + size] = data

    def allocate(self):
        off, size = self.somewhere(), self.chance.choice(SIZES)
        size = min(size, MOST - off)
        mode = self.chance.choice([0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE,
                                   ZERO_RANGE | KEEP_SIZE])
        if size == 0:
            return
        assert libc.fallocate(self.fd, mode, off, size) == 0, os.strerror(ctypes.get_errno())
        if mode & (PUNCH_HOLE | ZERO_RANGE):
            end = min(off + size, len(self.model))
            self.model[off:end] = bytes(max(0, end - off))
        if not mode & KEEP_SIZE:
            self.grow(off + size)

    def seek(self):
        """What is in a hole is zeros, and data is found behind it."""
        off = self.somewhere()
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
        os.fsync(self.fd)

    def reopen(self):
        os.close(self.fd)
        self.fd = os.open(self.path, os.O_RDWR)

    def rename(self):
        new = self.name + "x" if len(self.name) < 20 else self.name[0]
        os.rename(self.path, self.folder / new)
        self.name = new

    def stat(self):
        assert os.fstat(self.fd).st_size == len(self.model)


def copy(source, target):
    """Whole chunks, most of the time, which move no bytes; the rest is the kernel's work."""
    chance = source.chance
    off = chance.randrange(MOST) // (1 << 20) * (1 << 20) if chance.random() < 0.7 else \
        source.somewhere()
    if off >= len(source.model) or off > len(target.model):
        return
    size = len(source.model) - off if chance.random() < 0.5 else chance.choice(SIZES)
    size = min(size, MOST - off)
    at = off
    while at < off + size and at < len(source.model):
        done = os.copy_file_range(source.fd, target.fd, off + size - at, at, at)
        assert done > 0
        target.grow(at + done)
        target.model[at:at + done] = source.model[at:at + done]
        at += done


@pytest.mark.limit(120 + OPS)
def test_files_do_what_the_model_does(mnt, three_nodes, tmp_path):
    other = three_nodes.mount(tmp_path / "other").point
    chance = random.Random(SEED)
    files = [File(mnt, "a", chance), File(mnt, "b", chance)]
    what = [File.write] * 6 + [File.read] * 4 + [File.truncate, File.append, File.map, File.map,
            File.allocate, File.allocate, File.seek, File.sync, File.reopen, File.rename, File.stat]
    print(f"{OPS} operations, seed {SEED}")
    for _ in range(OPS):
        file = chance.choice(files)
        if chance.random() < 0.08:
            copy(file, files[file is files[0]])
        elif chance.random() < 0.03:
            os.close(file.fd)
            file.expect((other / file.name).read_bytes(), 0, MOST)
            file.fd = os.open(file.path, os.O_RDWR)
        else:
            chance.choice(what)(file)
    for file in files:
        os.close(file.fd)
        file.expect(file.path.read_bytes(), 0, MOST)
        file.expect((other / file.name).read_bytes(), 0, MOST)
    assert sorted(os.listdir(other)) == sorted(file.name for file in files)
