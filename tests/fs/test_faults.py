# SPDX-License-Identifier: Apache-2.0
"""Nodes that die or hang under a mount: work goes on, errors come in time, and processes can be
killed."""

import concurrent.futures
import ctypes
import errno
import itertools
import mmap
import os
import signal
import subprocess
import threading
import time

import pytest

from harness import tree, wait

from . import shell

SOURCE = "/usr/include/linux"


@pytest.mark.limit(180)
def test_a_node_killed_in_the_middle_of_a_copy_loses_nothing(three_nodes, tmp_path):
    mnt = three_nodes.mount(tmp_path / "mnt").point
    copy = subprocess.Popen(["cp", "-a", SOURCE, mnt / "copy"])
    wait.until(lambda: (mnt / "copy").is_dir() and len(os.listdir(mnt / "copy")) > 100,
               what="a part of the copy")
    assert copy.poll() is None, "too late to disturb it"
    three_nodes.nodes[1].kill()
    assert copy.wait(120) == 0
    assert shell.run(mnt, f"diff -r --no-dereference {SOURCE} copy") == ""
    three_nodes.nodes[1].restart()
    for node in three_nodes.nodes:
        wait.until(lambda at=node: at.hints() == 0, 60, f"hints drained at {node.address}")
    assert shell.run(mnt, f"diff -r --no-dereference {SOURCE} copy") == ""


def test_the_node_that_was_mounted_may_die(three_nodes, tmp_path):
    mnt = three_nodes.mount(tmp_path / "mnt", [0]).point
    shell.run(mnt, "echo 1 > f")
    three_nodes.nodes[0].kill()
    assert shell.run(mnt, "cat f; echo 2 > g; cat g").split() == ["1", "2"]


@pytest.mark.limit(90)
def test_two_of_three_killed_is_an_error_in_time(three_nodes, tmp_path):
    mnt = three_nodes.mount(tmp_path / "mnt", options=["deadline=3s"]).point
    shell.run(mnt, "echo before > f")
    for node in three_nodes.nodes[1:]:
        node.kill()
    begun = time.monotonic()
    assert shell.attempt(mnt, "echo after > f", 30).returncode != 0
    assert shell.attempt(mnt, "echo new > g", 30).returncode != 0
    assert time.monotonic() - begun < 20
    assert three_nodes.nodes[0].request("GET", "/v1/kv/f?r=1").body == b"before\n"
    for node in three_nodes.nodes[1:]:
        node.restart()
    wait.until(lambda: shell.attempt(mnt, "echo after > f; cat f").stdout == "after\n", 30,
               "a write that works again")


def create_exclusively(path):
    """The errno."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        return error.errno
    return 0


@pytest.mark.limit(300)
def test_an_exclusive_create_that_hung_nodes_failed_leaves_no_file_when_they_go_on(make_cluster, tmp_path):
    """They find the request in their sockets, and make the file of a caller that is long gone."""
    cluster = make_cluster(5)
    mnt = cluster.mount(tmp_path / "mnt", [2], options=["deadline=3s"]).point
    pending = mnt / ".dynamount" / "pending"
    (mnt / "d").mkdir()
    failed, rounds = [], itertools.count()

    def create_some():
        at = next(rounds)
        names = [f"tmp{at}-{number}" for number in range(10)]
        with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
            errors = list(pool.map(lambda name: create_exclusively(mnt / "d" / name), names))
        failed.extend(name for name, error in zip(names, errors, strict=True) if error != 0)
        return "\tremoval\td/" in pending.read_text()

    for node in cluster.nodes[:2]:  # of some names two replicas of three
        node.pause()
    wait.until(create_some, 60, "a create whose outcome nobody knows")
    for node in cluster.nodes[:2]:
        node.resume()
    wait.until(lambda: pending.read_text() == "", 200, "nothing to be removed")
    for name in failed:
        assert not (mnt / "d" / name).exists()
        assert cluster.nodes[0].request("GET", f"/v1/kv/d/{name}?r=3").status == 404
    assert create_exclusively(mnt / "d" / failed[0]) == 0


@pytest.mark.limit(120)
def test_sync_tells_a_script_what_its_shell_kept_to_itself(three_nodes, tmp_path):
    """dash and bash end `echo x >> f` with 0 also when close has failed."""
    mnt = three_nodes.mount(tmp_path / "mnt", options=["deadline=3s"]).point
    shell.run(mnt, "echo before > f; sync f")
    with open(mnt / "f", "ab", buffering=0) as held:
        for node in three_nodes.nodes[1:]:
            node.kill()
        held.write(b"after\n")
        done = shell.attempt(mnt, "sync f", 30)
        assert done.returncode != 0 and "f" in done.stderr
        with pytest.raises(OSError):
            held.close()
    for node in three_nodes.nodes[1:]:
        node.restart()
    wait.until(lambda: shell.attempt(mnt, "sync f", 30).returncode == 0, 60, "a sync that works again")
    assert three_nodes.dynactl("get", "f").stdout == b"before\nafter\n"


@pytest.mark.limit(120)
def test_stores_through_a_mapping_that_cannot_be_published_are_in_pending_and_in_the_log(three_nodes,
                                                                                         tmp_path):
    """They come when every descriptor is closed, so no call can return the error (F7)."""
    mount = three_nodes.mount(tmp_path / "mnt", options=["deadline=1s"])
    path, pending = mount.point / "f", mount.point / ".dynamount" / "pending"
    path.write_text("before")
    with open(path, "r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    for node in three_nodes.nodes:
        node.kill()
    mapped[:6] = b"stores"
    mapped.close()
    wait.until(lambda: "f\tfailed: no quorum answers" in pending.read_text(), 30, "the failure")
    assert "could not be published" in mount.process.output()
    for node in three_nodes.nodes:
        node.restart()
    wait.until(lambda: pending.read_text() == "", 60, "the publication")
    assert "is published after all: f" in mount.process.output()
    assert three_nodes.dynactl("get", "f").stdout == b"stores"


@pytest.mark.limit(90)
def test_one_of_three_is_enough_to_read_with_r_1(three_nodes, tmp_path):
    writer = three_nodes.mount(tmp_path / "writer").point
    strict = three_nodes.mount(tmp_path / "strict", options=["deadline=3s"]).point
    shell.run(writer, "mkdir d; for i in 1 2 3 4 5; do echo $i > d/f$i; done")
    for i in range(1, 6):
        assert three_nodes.nodes[0].request("GET", f"/v1/kv/d/f{i}?r=3").body == f"{i}\n".encode()
    for node in three_nodes.nodes[1:]:
        node.kill()
    other = three_nodes.mount(tmp_path / "other", [0], options=["r=1", "deadline=3s"]).point
    assert shell.run(other, "ls d; cat d/f*; stat -c %s d/f1").split() == \
        ["f1", "f2", "f3", "f4", "f5", "1", "2", "3", "4", "5", "2"]
    with pytest.raises(OSError):
        (strict / "d" / "f1").read_text()
    with pytest.raises(OSError):  # which a shell's redirection would not tell
        (other / "d" / "f6").write_text("6\n")
    for node in three_nodes.nodes[1:]:
        node.restart()


@pytest.mark.limit(120)
def test_what_could_not_be_flushed_is_kept_and_published_later(three_nodes, tmp_path):
    mnt = three_nodes.mount(tmp_path / "mnt", options=["deadline=3s"]).point
    shell.run(mnt, "echo before > f")
    fd = os.open(mnt / "f", os.O_RDWR | os.O_TRUNC)
    for node in three_nodes.nodes[1:]:
        node.kill()
    os.write(fd, b"after\n")
    with pytest.raises(OSError) as caught:
        os.fsync(fd)
    assert caught.value.errno in (errno.ETIMEDOUT, errno.EIO)
    with pytest.raises(OSError):
        os.close(fd)
    # This mount goes on showing it; and every writer's close goes on failing.
    fd = os.open(mnt / "f", os.O_RDWR)
    assert os.read(fd, 100) == b"after\n"
    with pytest.raises(OSError):
        os.close(fd)
    assert "f" in (mnt / ".dynamount" / "pending").read_text()
    for node in three_nodes.nodes[1:]:
        node.restart()
    wait.until(lambda: three_nodes.nodes[2].request("GET", "/v1/kv/f").body == b"after\n", 60,
               "the kept bytes published")
    wait.until(lambda: "f" not in (mnt / ".dynamount" / "pending").read_text().split(), 30,
               "nothing pending")


def start_reader(path):
    return subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.limit(90)
def test_a_process_that_waits_for_a_held_cluster_can_be_killed(three_nodes, tmp_path):
    mnt = three_nodes.mount(tmp_path / "mnt").point
    shell.run(mnt, "mkdir d; echo 1 > d/f")
    for node in three_nodes.nodes:
        node.pause()
    try:
        waiting = [start_reader(mnt / "d" / f"none{number}") for number in range(4)]
        wait.until(lambda: all(tree.state_of(cat.pid) in "DS" and
                               b"none" in open(f"/proc/{cat.pid}/cmdline", "rb").read()
                               for cat in waiting), what="readers that wait")
        with pytest.raises(subprocess.TimeoutExpired):
            waiting[0].wait(0.5)
        begun = time.monotonic()
        for cat in waiting:
            cat.kill()
        for cat in waiting:
            cat.wait(5)
        assert time.monotonic() - begun < 3
    finally:
        for node in three_nodes.nodes:
            node.resume()
    assert (mnt / "d" / "f").read_text() == "1\n"


# What a program does with the file f on a mount, in Python, until it waits for the cluster.
WAITS = {
    "close": "fd = os.open('f', os.O_WRONLY); os.write(fd, b'x'); go(); os.close(fd)",
    "to be closed by its end": "fd = os.open('f', os.O_WRONLY); os.write(fd, b'x'); go(); time.sleep(100)",
    "fsync": "fd = os.open('f', os.O_WRONLY); os.write(fd, b'x'); go(); os.fsync(fd)",
    "write, when no more can be held": "fd = os.open('f', os.O_WRONLY); go()\n"
                                       "while True: os.write(fd, bytes(1 << 20))",
    "mkdir": "go(); os.mkdir('d')",
    "a listing": "fd = os.open('.', os.O_RDONLY); go(); os.listdir(fd)",
    "an exclusive create": "go(); os.open('new', os.O_CREAT | os.O_EXCL | os.O_WRONLY)",
}


@pytest.mark.limit(90)
@pytest.mark.parametrize("what", WAITS)
def test_whoever_waits_is_ended_at_once_by_kill_9_and_nothing_is_lost(three_nodes, tmp_path, what):
    mnt = three_nodes.mount(tmp_path / "mnt", options=["deadline=60s", "staging=16M"]).point
    (mnt / "f").write_text("before")
    program = f"import os, time\ndef go(): print(flush=True); input()\n{WAITS[what]}"
    waiting = subprocess.Popen(["/usr/bin/python3", "-c", program], cwd=mnt, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    assert waiting.stdout.readline() == b"\n"
    for node in three_nodes.nodes:
        node.pause()
    try:
        waiting.stdin.write(b"\n")
        waiting.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1)
        begun = time.monotonic()
        waiting.kill()
        assert waiting.wait(50) == -signal.SIGKILL
        assert time.monotonic() - begun < 5
    finally:
        for node in three_nodes.nodes:
            node.resume()
        waiting.communicate()
    wait.until(lambda: (mnt / ".dynamount" / "pending").read_text() == "", 30, "nothing pending")
    if "os.write" in WAITS[what]:
        assert three_nodes.dynactl("get", "f").stdout[:1] in (b"x", b"\0")


@pytest.mark.limit(90)
def test_a_held_cluster_fails_an_operation_at_the_deadline(three_nodes, tmp_path):
    mnt = three_nodes.mount(tmp_path / "mnt", options=["deadline=2s"]).point
    shell.run(mnt, "echo 1 > f")
    for node in three_nodes.nodes:
        node.pause()
    try:
        begun = time.monotonic()
        with pytest.raises(OSError) as caught:
            os.stat(mnt / "none")
        assert caught.value.errno in (errno.ETIMEDOUT, errno.EIO)
        assert 1 < time.monotonic() - begun < 10
    finally:
        for node in three_nodes.nodes:
            node.resume()
    wait.until(lambda: not (mnt / "none").exists(), what="an answer")
    assert (mnt / "f").read_text() == "1\n"


@pytest.mark.limit(90)
def test_a_signal_that_does_not_kill_interrupts_no_call(three_nodes, tmp_path):
    """With a handler that restarts nothing, a call that gave up would return EINTR."""
    mnt = three_nodes.mount(tmp_path / "mnt").point
    shell.run(mnt, "echo 1 > f")
    libc = ctypes.CDLL(None, use_errno=True)
    rings = []
    previous = signal.signal(signal.SIGUSR1, lambda *_: rings.append(1))
    signal.siginterrupt(signal.SIGUSR1, True)
    for node in three_nodes.nodes:
        node.pause()

    def ring_then_resume():
        for _ in range(10):
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGUSR1)
        for node in three_nodes.nodes:
            node.resume()

    helper = threading.Thread(target=ring_then_resume)
    helper.start()
    try:
        found = libc.access(os.fsencode(mnt / "none"), 0)
        code = ctypes.get_errno()
    finally:
        helper.join()
        signal.signal(signal.SIGUSR1, previous)
    assert found == -1 and code == errno.ENOENT, os.strerror(code)
    assert rings


@pytest.mark.limit(90)
def test_a_lookup_that_waits_does_not_hold_up_others(three_nodes, tmp_path):
    """Lookups of one folder run side by side (F22): all end within one deadline, not one each."""
    mnt = three_nodes.mount(tmp_path / "mnt", options=["deadline=3s"]).point
    shell.run(mnt, "mkdir d")
    for node in three_nodes.nodes:
        node.pause()
    try:
        begun = time.monotonic()
        readers = [start_reader(mnt / "d" / f"n{number}") for number in range(6)]
        for cat in readers:
            assert cat.wait(30) != 0
        assert time.monotonic() - begun < 9
    finally:
        for node in three_nodes.nodes:
            node.resume()


def test_a_paused_node_is_worked_around(three_nodes, tmp_path):
    mnt = three_nodes.mount(tmp_path / "mnt").point
    shell.run(mnt, "echo 0 > f")
    three_nodes.nodes[2].pause()
    try:
        begun = time.monotonic()
        shell.run(mnt, "for i in $(seq 50); do echo $i > f$i; cat f$i; done > /dev/null")
        assert time.monotonic() - begun < 15
    finally:
        three_nodes.nodes[2].resume()
    assert len(shell.names(mnt)) == 51
