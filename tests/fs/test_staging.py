# SPDX-License-Identifier: Apache-2.0
"""Changes that the cluster did not take outlive a kill -9 of the mount (F8)."""

import contextlib
import errno
import os
import stat
import subprocess

import pytest

from harness import tree, wait

from . import shell

MIB = 1 << 20


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "staged"


@pytest.fixture
def start(three_nodes, tmp_path, kept):
    """Mounts the same folder again and again, with one staging folder."""
    def make(**how):
        options = [f"deadline=10s,staging_dir={kept}", *how.pop("options", [])]
        return three_nodes.mount(tmp_path / "mnt", options=options, **how)
    return make


def crash(mount):
    """kill -9, and the dead mount point as people find it."""
    mount.kill()
    with pytest.raises(OSError) as caught:
        os.listdir(mount.point)
    assert caught.value.errno == errno.ENOTCONN


@contextlib.contextmanager
def writes_that_fail(cluster, writes, flags=os.O_CREAT | os.O_TRUNC, left=1):
    """Files that are opened while there is a quorum and closed when there is none, which there is again
    at the end. WRITES: content by path. LEFT: how many nodes stay, and may have what they were sent."""
    files = {os.open(path, os.O_WRONLY | flags, 0o644): content for path, content in writes.items()}
    for node in cluster.nodes[left:]:
        node.kill()
    for fd, content in files.items():
        os.write(fd, content)
        with pytest.raises(OSError) as caught:
            os.close(fd)
        assert caught.value.errno in (errno.ETIMEDOUT, errno.EIO)
    yield
    for node in cluster.nodes[left:]:
        node.restart()


def pending(mount):
    return (mount.point / ".dynamount" / "pending").read_text()


def value(cluster, key):
    """What a quorum has of KEY, asked of the node that stayed: it may still take the restarted ones
    for dead when others (the mount) no longer do."""
    def answer():
        got = cluster.nodes[0].request("GET", f"/v1/kv/{key}?r=2")
        return None if got.status == 503 else got
    return wait.until(answer, what=f"a quorum for {key}").body


def records(kept):
    return [path for path in kept.glob("*/*") if path.is_file()]


@pytest.mark.limit(120)
def test_a_write_that_failed_is_published_after_kill_9_of_the_mount(three_nodes, start, kept):
    mount = start()
    shell.run(mount.point, "mkdir d; echo before > d/f")
    writes = {mount.point / "d" / "f": b"after\n", mount.point / "new": b"made\n"}
    with writes_that_fail(three_nodes, writes):
        crash(mount)
        assert len(records(kept)) == 2
        for path in [*kept.glob("*"), *records(kept)]:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
        mount = start()
        assert "d/f" in pending(mount) and "new" in pending(mount)
        assert (mount.point / "new").read_bytes() == b"made\n"
        crash(mount)  # and once more, before anything could be published
    mount = start()
    wait.until(lambda: pending(mount) == "", 60, "all published")
    assert value(three_nodes, "d/f") == b"after\n"
    assert value(three_nodes, "new") == b"made\n"
    assert (mount.point / "d" / "f").read_bytes() == b"after\n"
    assert shell.names(mount.point) == ["d", "new"]
    wait.until(lambda: records(kept) == [], what="an empty staging folder")
    mount.stop()
    assert list(kept.glob("*")) == []


@pytest.mark.limit(120)
def test_what_was_written_elsewhere_meanwhile_is_a_conflict(three_nodes, start, tmp_path):
    mount = start()
    (mount.point / "f").write_text("before\n")
    with writes_that_fail(three_nodes, {mount.point / "f": b"mine\n"}, left=0):
        crash(mount)
    other = three_nodes.mount(tmp_path / "other").point
    (other / "f").write_text("theirs\n")
    mount = start()
    wait.until(lambda: pending(mount) == "", 60, "all published")
    for point in (mount.point, other):
        wait.until(lambda where=point: shell.names(where) == ["f", "f.conflict.1"],
                   what="both versions")
        assert {(point / name).read_text() for name in shell.names(point)} == {"mine\n", "theirs\n"}


@pytest.mark.limit(120)
def test_what_somebody_has_seen_and_replaced_meanwhile_does_not_come_back(three_nodes, start, tmp_path):
    """One node had it all the same: a write that is not confirmed may have happened."""
    mount = start()
    (mount.point / "f").write_text("before\n")
    with writes_that_fail(three_nodes, {mount.point / "f": b"mine\n"}):
        crash(mount)
    other = three_nodes.mount(tmp_path / "other").point
    wait.until(lambda: (other / "f").read_text() == "mine\n", 60, "what one node has")
    (other / "f").write_text("theirs\n")
    mount = start()
    wait.until(lambda: pending(mount) == "", 60, "all published")
    for point in (mount.point, other):
        assert shell.names(point) == ["f"]
        assert (point / "f").read_text() == "theirs\n"


@pytest.mark.limit(120)
def test_the_mount_works_beside_what_it_resumes(three_nodes, start):
    mount = start()
    with writes_that_fail(three_nodes, {mount.point / "log": b"one\n"}, os.O_CREAT | os.O_APPEND):
        crash(mount)
        mount = start()
        wait.until(lambda: "failed" in pending(mount), what="an attempt")
        with pytest.raises(OSError), open(mount.point / "log", "ab") as file:
            file.write(b"two\n")
    # Before the mount has found the quorum again, close says so; the line is in the file all the same.
    # (A shell's own echo ends with 0 whatever close says.)
    with contextlib.suppress(OSError), open(mount.point / "log", "ab") as file:
        file.write(b"three\n")
    wait.until(lambda: pending(mount) == "", 60, "all published")
    assert (mount.point / "log").read_text() == "one\ntwo\nthree\n"
    assert value(three_nodes, "log") == b"one\ntwo\nthree\n"
    assert shell.names(mount.point) == ["log"]


@pytest.mark.limit(150)
def test_kill_9_in_the_middle_of_a_large_file(three_nodes, start, kept):
    mount = start()
    content = bytearray(os.urandom(MIB) * 6)
    (mount.point / "large").write_bytes(content)
    fd = os.open(mount.point / "large", os.O_RDWR)
    assert os.pread(fd, 6 * MIB, 0) == content  # what is partly overwritten is here then
    with writes_that_fail(three_nodes, {mount.point / "small": b"small"}):
        for at in (0, 3 * MIB - 100, 5 * MIB + 7):
            os.pwrite(fd, b"changed" * 100, at)
            content[at:at + 700] = b"changed" * 100
        os.pwrite(fd, b"the end", 8 * MIB)
        content[len(content):] = bytes(8 * MIB - len(content)) + b"the end"
        with pytest.raises(OSError):
            os.fsync(fd)
        crash(mount)
        with contextlib.suppress(OSError):
            os.close(fd)
        # Two records and the chunks 0, 2, 3, 5 and 8: what was changed, not what was there.
        assert len(records(kept)) == 7
    mount = start()
    wait.until(lambda: pending(mount) == "", 60, "all published")
    assert (mount.point / "large").read_bytes() == content
    assert three_nodes.dynactl("get", "large").stdout == content
    assert shell.names(mount.point) == ["large", "small"]


@pytest.mark.limit(120)
def test_another_mount_point_and_another_cluster_get_nothing(three_nodes, make_cluster, start, kept,
                                                             tmp_path):
    mount = start()
    with writes_that_fail(three_nodes, {mount.point / "f": b"kept\n"}):
        crash(mount)
    mount.detach()
    beside = three_nodes.mount(tmp_path / "beside", options=[f"staging_dir={kept}"])
    assert pending(beside) == ""
    other = make_cluster(1)
    wrong = other.mount(tmp_path / "mnt", options=[f"staging_dir={kept}"])
    wait.until(lambda: "was written for another cluster" in wrong.process.output(), what="a word")
    assert pending(wrong) == "" and shell.names(wrong.point) == []
    wait.until(lambda: len(list(kept.glob("*/damaged/*"))) == 1, what="a record set aside")


@pytest.mark.limit(90)
def test_a_damaged_record_is_set_aside_and_said(three_nodes, start, kept):
    mount = start()
    writes = {mount.point / "f": b"f\n", mount.point / "g": b"g\n"}
    with writes_that_fail(three_nodes, writes):
        crash(mount)
    spoilt = records(kept)[0]
    whole = spoilt.read_bytes()
    spoilt.write_bytes(whole[:-1])
    mount = start()
    wait.until(lambda: pending(mount) == "", 60, "the other published")
    assert "cannot be resumed" in mount.process.output()
    aside = list(kept.glob("*/damaged/*"))
    assert len(aside) == 1 and aside[0].read_bytes() == whole[:-1]
    mount.stop()
    aside[0].write_bytes(whole)  # mended, and put back
    aside[0].rename(aside[0].parent.parent / aside[0].name)
    mount = start()
    wait.until(lambda: pending(mount) == "", 60, "this one published, too")
    assert "1 changes that an earlier run" in mount.process.output()
    assert shell.names(mount.point) == ["f", "g"]


def refused(*argv):
    done = subprocess.run([tree.DYNAMOUNT, *argv], capture_output=True, text=True, timeout=20,
                          check=False)
    assert done.returncode == 1, done
    return done.stderr


def test_a_staging_folder_must_be_ours_alone_and_outside_of_the_mount(three_nodes, tmp_path):
    point, open_to_all = tmp_path / "m", tmp_path / "open"
    point.mkdir()
    (point / "below").mkdir()
    (tmp_path / "link").symlink_to(point / "below")
    where = three_nodes.addresses[0]
    for folder in (point, point / "below", tmp_path / "link"):
        assert "must not be inside the mount" in refused("-o", f"staging_dir={folder}", where, point)
    mount = three_nodes.mount(point, options=[f"staging_dir={open_to_all}"])
    own = next(open_to_all.glob("*"))
    mount.kill()
    mount.detach()
    own.chmod(0o777)
    assert "chmod 700" in refused("-o", f"staging_dir={open_to_all}", where, point)


@pytest.mark.limit(90)
def test_what_went_to_the_recovery_folder_is_not_published_by_the_next_start(three_nodes, start, kept,
                                                                             tmp_path):
    recovered = tmp_path / "recovered"
    mount = start(options=[f"drain=0,recovered={recovered}"])
    with writes_that_fail(three_nodes, {mount.point / "f": b"f\n"}):
        assert len(records(kept)) == 1
        subprocess.run(["fusermount3", "-u", mount.point], check=True)
        assert mount.process.popen.wait(20) == 3
    assert (recovered / "f").read_bytes() == b"f\n"
    assert records(kept) == []
    mount = start()
    assert pending(mount) == ""
    assert "earlier run" not in mount.process.output()
