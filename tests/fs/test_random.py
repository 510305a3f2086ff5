# SPDX-License-Identifier: Apache-2.0
"""Random operations on a few files, compared with what the same would give in memory. What each run
does follows from its seed; more of it: DYNAMOUNT_RANDOM_OPS=1000000 pytest tests/fs/test_random.py"""

import contextlib
import mmap
import os
import random

import pytest

from . import shell

OPS = int(os.environ.get("DYNAMOUNT_RANDOM_OPS", "1200"))
SIZE_MAX = 300_000
NAMES = ["a", "b", "c"]
LOOK_EVERY = 50  # operations, at the other mount


class Files:
    """Files below a folder, some of them open, and what they must hold."""

    def __init__(self, folder, seed):
        self.folder, self.random = folder, random.Random(seed)
        self.model, self.open = {}, {}

    def descriptor(self, name):
        if name not in self.open:
            self.open[name] = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o644)
            self.model.setdefault(name, bytearray())
        return self.open[name]

    def close(self, name):
        if name in self.open:
            os.close(self.open.pop(name))

    def some(self, most):
        return bytes([self.random.randrange(256)]) * self.random.randrange(1, most)

    def put(self, name, offset, data):
        held = self.model[name]
        held.extend(bytes(max(0, offset - len(held))))
        held[offset:offset + len(data)] = data

    def resize(self, name, size):
        held = self.model[name]
        del held[size:]
        held.extend(bytes(size - len(held)))

    # Each operation takes the name of a file that exists.

    def do_write(self, name):
        offset, data = self.random.randrange(SIZE_MAX), self.some(20_000)
        os.pwrite(self.descriptor(name), data, offset)
        self.put(name, offset, data)

    def do_read(self, name):
        offset, size = self.random.randrange(SIZE_MAX), self.random.randrange(1, 30_000)
        got = os.pread(self.descriptor(name), size, offset)
        assert got == self.model[name][offset:offset + size]

    def do_append(self, name):
        data = self.some(3_000)
        if len(self.model[name]) < SIZE_MAX:
            with open(self.folder / name, "ab", buffering=0) as file:
                file.write(data)
            self.model[name].extend(data)

    def do_truncate(self, name):
        size = self.random.randrange(SIZE_MAX)
        os.truncate(self.folder / name, size)
        self.resize(name, size)

    def do_truncate_open(self, name):
        size = self.random.randrange(SIZE_MAX)
        os.ftruncate(self.descriptor(name), size)
        self.resize(name, size)

    def do_overwrite(self, name):
        data = self.some(4_000)
        (self.folder / name).write_bytes(data)
        self.model[name] = bytearray(data)

    @contextlib.contextmanager
    def mapped(self, name):
        size = len(self.model[name])
        if size == 0:
            yield None, 0, 0
            return
        with mmap.mmap(self.descriptor(name), size) as bytes_of:
            offset = self.random.randrange(size)
            yield bytes_of, offset, min(9_000, size - offset)

    def do_map_write(self, name):
        with self.mapped(name) as (at, offset, size):
            if size == 0:
                return
            data = self.some(2) * size
            at[offset:offset + size] = data
            if self.random.random() < 0.5:
                at.flush()
        self.put(name, offset, data)
        os.fsync(self.descriptor(name))  # else it is the kernel's to say when the file has it

    def do_map_read(self, name):
        with self.mapped(name) as (at, offset, size):
            assert size == 0 or at[offset:offset + size] == self.model[name][offset:offset + size]

    def do_allocate(self, name):
        offset, size = self.random.randrange(SIZE_MAX // 2), self.random.randrange(1, SIZE_MAX // 2)
        os.posix_fallocate(self.descriptor(name), offset, size)
        self.resize(name, max(len(self.model[name]), offset + size))

    def do_sync(self, name):
        os.fsync(self.descriptor(name))

    def do_close(self, name):
        self.close(name)

    def do_rename(self, name):
        to = self.random.choice(NAMES)
        if to == name:
            return
        os.rename(self.folder / name, self.folder / to)
        self.close(to)
        self.model[to] = self.model.pop(name)
        if name in self.open:
            self.open[to] = self.open.pop(name)

    def do_remove(self, name):
        if self.random.random() < 0.3:
            os.unlink(self.folder / name)
            self.close(name)
            del self.model[name]

    def do_mode(self, name):
        mode = self.random.choice([0o600, 0o640, 0o644])
        os.chmod(self.folder / name, mode)
        assert os.stat(self.folder / name).st_mode & 0o777 == mode

    def do_copy(self, name):
        to = self.random.choice(NAMES)
        if to != name:
            data = (self.folder / name).read_bytes()
            assert data == self.model[name]
            (self.folder / to).write_bytes(data)
            self.model[to] = bytearray(data)

    def do_compare(self, name):
        assert (self.folder / name).read_bytes() == self.model[name]
        assert os.stat(self.folder / name).st_size == len(self.model[name])

    def step(self):
        operations = [getattr(self, name) for name in dir(self) if name.startswith("do_")]
        name = self.random.choice(NAMES)
        if name not in self.model:
            self.descriptor(name)
        else:
            self.random.choice([self.do_write, self.do_write, *operations])(name)

    def compare(self, folder):
        """Closes all; what the folder shows must be what the model holds."""
        for name in list(self.open):
            self.close(name)
        assert shell.names(folder) == sorted(self.model)
        for name, held in self.model.items():
            assert (folder / name).read_bytes() == held


@pytest.mark.limit(3600)
@pytest.mark.parametrize("seed", [1, 2])
def test_random_operations_do_what_they_would_in_memory(mnt, seed):
    files = Files(mnt, seed)
    for _ in range(OPS):
        files.step()
    files.compare(mnt)


@pytest.mark.limit(3600)
@pytest.mark.parametrize("seed", [3])
def test_another_mount_reads_what_they_left(three_nodes, tmp_path, seed):
    here, there = [three_nodes.mount(tmp_path / name).point for name in ("here", "there")]
    files = Files(here, seed)
    for number in range(1, OPS + 1):
        files.step()
        if number % LOOK_EVERY == 0:
            files.compare(there)


@pytest.mark.limit(3600)
def test_they_outlive_a_remount(three_nodes, tmp_path):
    files = None
    for seed in range(4, 8):
        mount = three_nodes.mount(tmp_path / "m")
        files = files or Files(mount.point, seed)
        for _ in range(OPS // 4):
            files.step()
        files.compare(mount.point)
        mount.stop()
