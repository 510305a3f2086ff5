# SPDX-License-Identifier: Apache-2.0
"""Each sentence of dynamount(1)'s section SEMANTICS is the name of a test here, and each test a
sentence there."""

import contextlib
import errno
import fcntl
import os
import re
import signal
import subprocess
import threading
import time

import pytest

from harness import cluster, tree, wait

from . import shell

PROMISE = re.compile(r"^\.IP \\\(bu 2\n(.*?)(?=^\.|\Z)", re.MULTILINE | re.DOTALL)


def test_each_promise_is_tested_and_each_test_is_a_promise():
    page = (tree.ROOT / "man" / "dynamount.1").read_text()
    section = page[page.index(".SH SEMANTICS"):page.index(".SH WHAT IS DIFFERENT HERE")]
    promised = {re.sub(r"[^a-z0-9]+", "_", sentence.replace("\\-", "-").lower()).strip("_")
                for sentence in PROMISE.findall(section)}
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    tested.remove("each_promise_is_tested_and_each_test_is_a_promise")
    assert len(promised) > 20 and promised == tested


class Pair:
    """Two mounts of three nodes, and a folder in them for one test."""

    def __init__(self, nodes, points, folder):
        self.nodes, self.folder = nodes, folder
        self.one, self.two = (point / folder for point in points)

    def beside(self, name, *texts):
        """Stores a version that has seen none of those that are there."""
        for text in texts:
            answer = self.nodes.nodes[0].request("PUT", f"/v1/kv/{self.folder}/{name}", text.encode())
            assert answer.status == 204


@pytest.fixture(scope="module")
def mounted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("semantics")
    nodes = cluster.Cluster(folder / "cluster", 3)
    try:
        nodes.start()
        yield nodes, [nodes.mount(folder / name).point for name in ("one", "two")]
    finally:
        nodes.close()


@pytest.fixture
def pair(mounted, request):
    made = Pair(*mounted, request.node.name)
    made.one.mkdir()
    return made


def texts(folder):
    """What each file of a folder holds, by its name."""
    return {name: (folder / name).read_text() for name in shell.names(folder)}


# Files

def test_what_close_has_returned_0_for_is_what_the_next_open_reads_on_every_mount(pair):
    for number in range(20):
        (pair.one / "f").write_text(f"one {number}")
        assert (pair.two / "f").read_text() == f"one {number}"
        (pair.two / "f").write_text(f"two {number}")
        assert (pair.one / "f").read_text() == f"two {number}"


def test_an_open_file_keeps_the_version_that_it_was_opened_with(pair):
    (pair.one / "f").write_text("old " * 50000)
    with open(pair.one / "f", "rb", buffering=0) as reader:
        assert reader.read(4) == b"old "
        (pair.two / "f").write_text("new")
        assert (pair.one / "f").read_text() == "new"
        os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert reader.read(200000) == b"old " * 49999


def test_a_version_that_came_between_open_and_close_is_never_overwritten(pair):
    (pair.one / "f").write_text("first")
    with open(pair.one / "f", "r+") as file:
        (pair.two / "f").write_text("between")
        file.write("FIRST")
    assert sorted(texts(pair.one).values()) == sorted(texts(pair.two).values()) == ["FIRST", "between"]


def test_a_mount_makes_no_conflict_with_itself(pair):
    (pair.one / "f").write_text("0" * 8)
    files = [open(pair.one / "f", "r+b", buffering=0) for _ in range(8)]
    for number, file in enumerate(files):
        os.pwrite(file.fileno(), b"%d" % number, number)
        file.close()
    for number in range(8):
        threading.Thread(target=(pair.one / f"g{number % 2}").write_text, args=("x",)).start()
    wait.until(lambda: shell.names(pair.one) == ["f", "g0", "g1"], what="two files and no more")
    assert (pair.two / "f").read_text() == "01234567"
    assert shell.names(pair.two) == ["f", "g0", "g1"]


def test_a_mount_sees_its_own_changes_at_once(pair):
    for number in range(20):
        (pair.one / "f").write_text(str(number))
        assert shell.names(pair.one) == ["f"] and (pair.one / "f").stat().st_size == len(str(number))
        (pair.one / "f").rename(pair.one / "g")
        assert shell.names(pair.one) == ["g"] and not (pair.one / "f").exists()
        (pair.one / "g").unlink()
        assert shell.names(pair.one) == []


def test_appends_on_one_mount_never_lose_each_other(pair):
    loop = "for i in $(seq 50); do echo $0$i >> log; done"
    running = [subprocess.Popen(["bash", "-c", loop, name], cwd=pair.one) for name in "abc"]
    assert [process.wait(50) for process in running] == [0, 0, 0]
    assert shell.names(pair.one) == ["log"]
    assert sorted((pair.two / "log").read_text().split()) == sorted(
        f"{name}{number}" for name in "abc" for number in range(1, 51))


def test_opening_with_o_trunc_publishes_nothing_by_itself(pair):
    (pair.one / "f").write_text("before")
    with open(pair.one / "f", "w") as file:
        assert (pair.two / "f").read_text() == "before"
        file.write("after")
    assert (pair.two / "f").read_text() == "after"


def test_a_file_that_was_removed_while_open_is_usable_until_its_last_close(pair):
    with open(pair.one / "f", "w+") as file:
        file.write("abc")
        file.flush()
        (pair.one / "f").unlink()
        file.write("def")
        file.flush()
        file.seek(0)
        assert file.read() == "abcdef" and os.fstat(file.fileno()).st_nlink == 0
    assert shell.names(pair.one) == shell.names(pair.two) == []


def test_an_exclusive_create_succeeds_on_one_mount_at_most(pair):
    for number in range(10):
        won = []

        def create(folder):
            try:
                os.close(os.open(folder / f"lock{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                won.append(folder)
            except FileExistsError:
                pass
        threads = [threading.Thread(target=create, args=(folder,)) for folder in (pair.one, pair.two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) <= 1
        assert all(".conflict." not in name for name in shell.names(pair.one))


def test_what_fsync_has_returned_0_for_survives_kill_9_of_every_node(three_nodes, tmp_path):
    point = three_nodes.mount(tmp_path / "m").point
    fd = os.open(point / "f", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"kept")
    os.fsync(fd)
    for node in three_nodes.nodes:
        node.kill()
    for node in three_nodes.nodes:
        node.restart()
    assert three_nodes.dynactl("get", "f").stdout == b"kept"
    os.close(fd)


# Conflicts

def test_the_newest_version_has_the_name_on_every_mount_alike(pair):
    pair.beside("f", "a", "b", "c")
    expected = {"f": "c", "f.conflict.1": "b", "f.conflict.2": "a"}
    assert texts(pair.one) == texts(pair.two) == expected


def test_a_conflict_name_keeps_its_version_for_as_long_as_it_is_mounted(pair):
    pair.beside("f", "a", "b", "c")
    assert texts(pair.one)["f.conflict.2"] == "a"
    (pair.one / "f.conflict.1").unlink()
    pair.beside("f", "d")
    shown = texts(pair.one)
    assert shown["f"] == "d" and shown["f.conflict.2"] == "a" and "f.conflict.1" not in shown
    assert sorted(shown.values()) == ["a", "c", "d"]


def test_writing_to_a_name_settles_the_versions_shown_when_it_was_opened_and_no_other(pair):
    pair.beside("f", "a", "b")
    assert len(shell.names(pair.one)) == 2
    with open(pair.one / "f", "w") as file:
        pair.beside("f", "later")
        file.write("settled")
    assert sorted(texts(pair.two).values()) == ["later", "settled"]
    pair.beside("g", "not shown", "b")
    (pair.one / "g").write_text("settled")
    assert {"not shown", "settled"} <= set(texts(pair.two).values())


def test_an_append_settles_no_version_that_nobody_has_read(pair):
    pair.beside("f", "a\n", "b\n")
    assert len(shell.names(pair.one)) == 2
    shell.run(pair.one, "echo more >> f")
    assert sorted(texts(pair.two).values()) == ["a\n", "b\nmore\n"]


def test_removing_a_name_drops_the_version_shown_and_the_next_one_takes_the_name(pair):
    pair.beside("f", "a", "b")
    assert texts(pair.one)["f"] == "b"
    (pair.one / "f").unlink()
    assert (pair.one / "f").read_text() == "a"
    assert texts(pair.two) == {"f": "a"}


def test_removing_a_conflict_name_drops_that_version_alone(pair):
    pair.beside("f", "a", "b", "c")
    assert texts(pair.one)["f.conflict.1"] == "b"
    (pair.one / "f.conflict.1").unlink()
    assert sorted(texts(pair.two).values()) == ["a", "c"]


def test_renaming_a_conflict_name_onto_the_name_makes_it_the_only_version(pair):
    pair.beside("f", "a", "b", "c")
    assert texts(pair.one)["f.conflict.2"] == "a"
    (pair.one / "f.conflict.2").rename(pair.one / "f")
    assert texts(pair.one) == texts(pair.two) == {"f": "a"}


def test_writing_into_a_conflict_name_replaces_that_version_alone(pair):
    pair.beside("f", "a", "b")
    assert texts(pair.one) == {"f": "b", "f.conflict.1": "a"}
    (pair.one / "f.conflict.1").write_text("A")
    assert texts(pair.one) == texts(pair.two) == {"f": "b", "f.conflict.1": "A"}


def test_a_save_by_rename_replaces_what_was_opened_and_never_what_came_later(pair):
    (pair.one / "f").write_text("opened")
    assert (pair.one / "f").read_text() == "opened"
    (pair.one / "new").write_text("saved")
    (pair.two / "f").write_text("later")
    (pair.one / "new").rename(pair.one / "f")
    assert sorted(texts(pair.one).values()) == ["later", "saved"]


def test_a_directory_keeps_its_name_against_a_file(pair):
    (pair.one / "d").mkdir()
    (pair.one / "d" / "f").write_text("inside")
    pair.beside("d", "file")
    assert shell.names(pair.two) == ["d", "d.conflict.1"]
    assert (pair.two / "d" / "f").read_text() == "inside"
    assert (pair.two / "d.conflict.1").read_text() == "file"


def test_a_change_of_attributes_is_no_conflict_with_a_change_of_content(pair):
    (pair.one / "f").write_text("before")
    with open(pair.one / "f", "w") as file:
        file.write("after")
        (pair.two / "f").chmod(0o600)
    assert shell.names(pair.one) == shell.names(pair.two) == ["f"]
    assert (pair.two / "f").read_text() == "after"
    assert (pair.two / "f").stat().st_mode & 0o777 == 0o600


# Names and attributes

def test_a_directory_with_something_in_it_is_not_removed(pair):
    (pair.one / "d").mkdir()
    (pair.two / "d" / "f").write_text("")
    with pytest.raises(OSError) as caught:
        (pair.one / "d").rmdir()
    assert caught.value.errno == errno.ENOTEMPTY
    (pair.two / "d" / "f").unlink()
    (pair.one / "d").rmdir()
    assert shell.names(pair.two) == []


def test_a_file_that_is_made_changes_the_time_of_its_directory(pair):
    (pair.one / "d").mkdir()
    before = (pair.one / "d").stat().st_mtime_ns
    (pair.one / "d" / "f").write_text("")
    assert (pair.one / "d").stat().st_mtime_ns > before
    assert (pair.two / "d").stat().st_mtime_ns > before


def test_a_change_made_on_another_mount_shows_within_a_second_without_asking_for_each_file_again(pair):
    names = [f"f{number}" for number in range(100)]
    for name in names:
        (pair.two / name).write_text("x")

    def asked():
        text = (pair.one.parent / ".dynamount" / "metrics").read_text()
        return sum(int(re.search(rf"^dynamount_{kind}_total (\d+)$", text, re.MULTILINE)[1])
                   for kind in ("gets", "lists"))

    def looking_costs_nothing():
        before, since = asked(), time.monotonic()
        while time.monotonic() - since < 1.5:  # what the kernel keeps by itself is over
            assert all((pair.one / name).stat().st_size == 1 for name in names)
        return asked() - before < 10
    wait.until(looking_costs_nothing, 40)
    (pair.two / "f7").write_text("longer")
    wait.until(lambda: (pair.one / "f7").stat().st_size == 6, 20)


def test_a_time_that_was_set_on_a_directory_stands_until_something_in_it_comes_or_goes(pair):
    (pair.one / "d").mkdir()
    (pair.one / "d" / "f").write_text("")
    os.utime(pair.one / "d", ns=(0, 1000000007))
    assert (pair.one / "d").stat().st_mtime_ns == (pair.two / "d").stat().st_mtime_ns == 1000000007
    (pair.two / "d" / "f").write_text("changed")
    wait.until(lambda: (pair.one / "d" / "f").stat().st_size == 7, what="the change")
    assert (pair.one / "d").stat().st_mtime_ns == 1000000007
    (pair.two / "d" / "f").unlink()
    wait.until(lambda: (pair.one / "d").stat().st_mtime_ns > 1000000007, what="a newer time")


def test_times_are_kept_to_the_nanosecond(pair):
    (pair.one / "f").write_text("")
    os.utime(pair.one / "f", ns=(123456789, 987654321012345678))
    there = (pair.two / "f").stat()
    assert (there.st_atime_ns, there.st_mtime_ns) == (123456789, 987654321012345678)


def test_an_inode_number_stays_with_its_file_under_another_name_and_on_every_mount(pair):
    (pair.one / "f").write_text("")
    number = (pair.one / "f").stat().st_ino
    (pair.one / "f").rename(pair.one / "g")
    (pair.one / "g").write_text("more")
    assert (pair.one / "g").stat().st_ino == (pair.two / "g").stat().st_ino == number


def test_the_link_count_of_a_directory_is_one_whatever_lies_in_it(pair):
    """What walks trees must find all directories without it: find, fts(3), glob."""
    shell.run(pair.one, "mkdir -p d/a/x/y d/b/z e; touch d/f d/a/x/y/f")
    assert (pair.one / "d").stat().st_nlink == 1
    (pair.one / "d" / "b").rename(pair.one / "e" / "b")
    (pair.one / "d" / "c").mkdir()
    held = os.open(pair.one / "d" / "c", os.O_RDONLY)
    (pair.one / "d" / "c").rmdir()
    assert os.fstat(held).st_nlink == 0
    os.close(held)
    for where in (pair.one, pair.two):
        for folder in (".", "d", "d/a/x", "e", "e/b"):
            assert (where / folder).stat().st_nlink == 1
        assert shell.run(where, "find . -type d | sort") == (
            ".\n./d\n./d/a\n./d/a/x\n./d/a/x/y\n./e\n./e/b\n./e/b/z\n")
        assert shell.run(where, "find . -type d -empty -links 1") == "./e/b/z\n"
        assert shell.run(where, "shopt -s globstar; echo **/f") == "d/a/x/y/f d/f\n"
    shell.run(pair.one, "chmod -R u=rwX,go= .")  # by fts(3), as du and rm
    assert (pair.one / "e" / "b" / "z").stat().st_mode & 0o777 == 0o700
    assert len(shell.run(pair.one, "du -a .").splitlines()) == 10
    shell.run(pair.one, "rm -r d e")
    assert shell.names(pair.two) == []


def test_names_are_bytes_and_up_to_255_of_them(pair):
    names = [b"caf\xe9", b"\xff" * 255, b"new\nline", "snow\u2603".encode()]
    for name in names:
        with open(os.fsencode(pair.one) + b"/" + name, "w"):
            pass
    assert sorted(os.listdir(os.fsencode(pair.two))) == sorted(names)
    with pytest.raises(OSError) as caught:
        (pair.one / ("x" * 256)).write_text("")
    assert caught.value.errno == errno.ENAMETOOLONG


def test_there_are_no_hard_links_device_nodes_or_fifos(pair):
    (pair.one / "f").write_text("")
    for make in (lambda: os.link(pair.one / "f", pair.one / "g"), lambda: os.mkfifo(pair.one / "g"),
                 lambda: os.mknod(pair.one / "g", 0o600 | 0o020000, os.makedev(1, 3))):
        with pytest.raises(PermissionError):
            make()
    assert shell.names(pair.one) == ["f"]


def test_locks_hold_within_one_mount_alone(pair):
    (pair.one / "f").write_text("")
    with open(pair.one / "f") as first, open(pair.one / "f") as second, open(pair.two / "f") as other:
        fcntl.flock(first, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


# When the cluster is not all there

def test_the_mount_goes_on_when_the_node_that_it_began_with_dies(three_nodes, tmp_path):
    point = three_nodes.mount(tmp_path / "m", [0]).point
    (point / "f").write_text("before")
    three_nodes.nodes[0].kill()
    assert (point / "f").read_text() == "before"
    (point / "g").write_text("after")
    assert texts(point) == {"f": "before", "g": "after"}


@pytest.mark.limit(120)
def test_what_close_could_not_publish_stays_in_the_mount_and_goes_out_when_the_cluster_is_back(
        three_nodes, tmp_path):
    point = three_nodes.mount(tmp_path / "m", options=["deadline=1s"]).point
    (point / "f").write_text("before")
    fd = os.open(point / "f", os.O_WRONLY)
    for node in three_nodes.nodes:
        node.kill()
    os.pwrite(fd, b"after!", 0)
    with pytest.raises(OSError):
        os.close(fd)
    assert "f\t" in (point / ".dynamount" / "pending").read_text()
    for node in three_nodes.nodes:
        node.restart()
    wait.until(lambda: (point / ".dynamount" / "pending").read_text() == "", 60, "nothing pending")
    assert three_nodes.dynactl("get", "f").stdout == b"after!"


@pytest.mark.limit(90)
def test_an_operation_without_a_quorum_fails_in_bounded_time(three_nodes, tmp_path):
    point = three_nodes.mount(tmp_path / "m", options=["deadline=1s"]).point
    (point / "f").write_text("before")
    for node in three_nodes.nodes[1:]:
        node.pause()
    try:
        for operation in (lambda: (point / "f").write_text("x"), lambda: (point / "d").mkdir(),
                          lambda: (point / "f").unlink()):
            begun = time.monotonic()
            with pytest.raises(OSError):
                operation()
            assert time.monotonic() - begun < 15
    finally:
        for node in three_nodes.nodes[1:]:
            node.resume()


def test_a_process_that_waits_for_the_cluster_can_be_killed(three_nodes, tmp_path):
    point = three_nodes.mount(tmp_path / "m", options=["deadline=60s"]).point
    (point / "f").write_text("before")
    for node in three_nodes.nodes:
        node.pause()
    try:
        waiting = subprocess.Popen(["cat", point / "f"], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        wait.until(lambda: tree.state_of(waiting.pid) in "SD", what="cat waiting")
        waiting.send_signal(signal.SIGKILL)
        assert waiting.wait(10) == -signal.SIGKILL
    finally:
        for node in three_nodes.nodes:
            node.resume()


def test_unmounting_publishes_what_is_still_open(three_nodes, tmp_path):
    made = three_nodes.mount(tmp_path / "m")
    fd = os.open(made.point / "f", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"open")
    made.process.signal(signal.SIGTERM)
    assert made.process.popen.wait(20) == 0
    with pytest.raises(OSError):
        os.close(fd)
    assert three_nodes.dynactl("get", "f").stdout == b"open"


def test_what_cannot_be_published_before_the_mount_ends_is_kept_in_a_folder_of_this_machine(
        three_nodes, tmp_path):
    kept = tmp_path / "kept"
    options = [f"deadline=1s,drain=1s,recovered={kept}"]
    large = bytes(range(256)) * 4096 * 3  # three chunks
    for round_number in (1, 2):
        made = three_nodes.mount(tmp_path / "m", options=options)
        (made.point / "dir").mkdir(exist_ok=True)
        files = [os.open(made.point / name, os.O_CREAT | os.O_WRONLY, 0o640)
                 for name in ("dir/f", "large")]
        for node in three_nodes.nodes:
            node.pause()
        for fd, content in zip(files, (b"typed %d" % round_number, large)):
            os.write(fd, content)
        made.process.signal(signal.SIGTERM)
        assert made.process.popen.wait(30) == 3
        assert "2 changed files could not be published, 0 of them are lost" in made.process.output()
        for node in three_nodes.nodes:
            node.resume()
        for fd in files:
            with contextlib.suppress(OSError):
                os.close(fd)
    assert (kept / "dir" / "f").read_bytes() == b"typed 1"
    assert (kept / "dir" / "f.2").read_bytes() == b"typed 2"
    assert (kept / "large").read_bytes() == large
    assert kept.stat().st_mode & 0o077 == 0


def test_what_close_could_not_publish_outlives_a_kill_9_of_the_mount(three_nodes, tmp_path):
    options = [f"deadline=1s,staging_dir={tmp_path}/staged"]
    made = three_nodes.mount(tmp_path / "m", options=options)
    fd = os.open(made.point / "f", os.O_CREAT | os.O_WRONLY)
    for node in three_nodes.nodes:
        node.pause()
    os.write(fd, b"typed")
    with pytest.raises(OSError):
        os.close(fd)
    made.kill()
    for node in three_nodes.nodes:
        node.resume()
    three_nodes.mount(tmp_path / "m", options=options)
    wait.until(lambda: three_nodes.dynactl("get", "f", check=False).stdout == b"typed", 30, "what was typed")


def test_a_read_only_mount_changes_nothing(three_nodes, tmp_path):
    three_nodes.dynactl("put", "f", stdin=b"text")
    point = three_nodes.mount(tmp_path / "m", options=["ro"]).point
    for operation in (lambda: (point / "f").write_text("x"), lambda: (point / "f").unlink(),
                      lambda: (point / "f").chmod(0), lambda: (point / "d").mkdir(),
                      lambda: (point / "f").rename(point / "g")):
        with pytest.raises(OSError) as caught:
            operation()
        assert caught.value.errno == errno.EROFS
    assert texts(point) == {"f": "text"}
