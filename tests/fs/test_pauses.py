# SPDX-License-Identifier: Apache-2.0
"""Nodes that stop and go on, one after the other, under a mount in use: of three there are always two, so
whatever a program asks for comes, and comes soon. The next one stops as soon as the one before goes on, which
has missed what was written meanwhile."""

import contextlib
import multiprocessing
import os
import time
import traceback

import pytest

from harness import wait

from . import test_random

PAUSE = float(os.environ.get("DYNAMOUNT_PAUSE", "10"))  # seconds
PAUSES = int(os.environ.get("DYNAMOUNT_PAUSES", "3"))
SEED = int(os.environ.get("DYNAMOUNT_PAUSE_SEED", "1"))
LONGEST = 8  # seconds that an operation may take, of which a busy machine has most: less than a pause
MIB = 1 << 20


class Timed(test_random.Files):
    """Random operations on a few small files."""

    def chosen(self):
        """An operation, and what it is called."""
        name = self.random.choice(test_random.NAMES)
        if name not in self.model:
            return f"create {name}", lambda: self.descriptor(name)
        what = self.random.choice([each for each in dir(self) if each.startswith("do_")])
        return f"{what[3:]} {name}", lambda: getattr(self, what)(name)

    def step(self):
        """Its name, and how long it took."""
        what, operation = self.chosen()
        begun = time.monotonic()
        try:
            operation()
        except BaseException as error:
            raise AssertionError(f"{what} failed after {time.monotonic() - begun:.1f} s") from error
        return what, time.monotonic() - begun


class Large(Timed):
    """A file of several chunks, written, synced while it is dirty and when it is clean, and read."""

    def chosen(self):
        what = self.random.choice(["write", "write", "fsync", "reopen", "read"])
        return f"{what} large", getattr(self, what)

    def write(self):
        offset, data = self.random.randrange(4 * MIB), self.some(2) * self.random.randrange(1, 2 * MIB)
        os.pwrite(self.descriptor("large"), data, offset)
        self.put("large", offset, data)

    def fsync(self):
        os.fsync(self.descriptor("large"))

    def reopen(self):
        self.close("large")
        self.fsync()

    def read(self):
        offset = self.random.randrange(5 * MIB)
        got = os.pread(self.descriptor("large"), MIB, offset)
        assert got == self.model["large"][offset:offset + MIB]


def work(files, over, report):
    """What a process of its own does: mapped memory that waits for the mount holds the interpreter."""
    done, longest, wrong = 0, (0, ""), ""
    try:
        while not over.is_set():
            what, took = files.step()
            longest, done = max(longest, (took, what)), done + 1
    except BaseException:  # pylint: disable=broad-except
        wrong = traceback.format_exc()
    report.put((done, longest, wrong, files.model))


@contextlib.contextmanager
def at_work(loads):
    """Lets the loads work meanwhile; then what came of each is in the list."""
    context = multiprocessing.get_context("fork")
    over, report, results = context.Event(), context.Queue(), []
    workers = [context.Process(target=work, args=(files, over, report), daemon=True) for files in loads]
    for worker in workers:
        worker.start()
    try:
        yield results
    finally:
        over.set()
    results += [report.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(20)
        assert worker.exitcode == 0


@pytest.mark.plain  # of how long things take
@pytest.mark.limit(300)
def test_nodes_that_pause_in_turn_hold_up_and_fail_nothing(three_nodes, tmp_path):
    here, there = [three_nodes.mount(tmp_path / name).point for name in ("here", "there")]
    loads = []
    for number, kind in enumerate([Timed, Timed, Large]):
        folder = here / f"load{number}"
        folder.mkdir()
        loads.append(kind(folder, SEED + number))
    with at_work(loads) as results:
        for number in range(PAUSES):
            node = three_nodes.nodes[number % 3]
            node.pause()
            try:
                time.sleep(PAUSE)  # the time that is to cost nothing
            finally:
                node.resume()
    for done, longest, wrong, _ in results:
        assert not wrong, wrong
        print(f"{done} operations, the longest: {longest[1]}, {longest[0]:.2f} s")
        assert longest[0] < LONGEST, longest[1]
        assert done > 10
    wait.until(lambda: (here / ".dynamount" / "pending").read_text() == "", 10, "nothing pending")
    models = sorted(sorted((name, bytes(held)) for name, held in model.items()) for *_, model in results)
    for mount in (here, there):
        found = sorted(sorted((file.name, file.read_bytes()) for file in folder.iterdir())
                       for folder in mount.iterdir())
        assert [[name for name, _ in files] for files in found] == \
            [[name for name, _ in files] for files in models]
        assert found == models, "a file's bytes"
