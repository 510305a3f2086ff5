# SPDX-License-Identifier: Apache-2.0
"""What programs ask of a filesystem beyond the shell: names of all kinds, maps, holes, databases,
extended attributes, limits."""

import errno
import fcntl
import mmap
import os
import sqlite3
import threading

import pytest

from . import shell

ODD_NAMES = [b"\xff\xfe not utf-8", b"new\nline", b"tab\tand \\ and \"", b" ", b"-rf", b"%41", b"a+b&c=d",
             "\u00e9\u4e2d\U0001f600".encode(), b"x" * 255, b"...", b"#", b"?", b"f.conflict.1"]


def fails_with(code, function, *arguments):
    with pytest.raises(OSError) as caught:
        function(*arguments)
    assert caught.value.errno == code, caught.value


def test_names_are_bytes(mnt):
    folder = os.fsencode(mnt)
    for index, name in enumerate(ODD_NAMES):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(b"%d" % index)
    assert sorted(os.listdir(folder)) == sorted(ODD_NAMES)
    for index, name in enumerate(ODD_NAMES):
        with open(os.path.join(folder, name), "rb") as file:
            assert file.read() == b"%d" % index
        os.unlink(os.path.join(folder, name))
    assert os.listdir(folder) == []


def test_a_name_of_256_bytes_is_too_long(mnt):
    fails_with(errno.ENAMETOOLONG, os.mkdir, mnt / ("x" * 256))


def test_mapped_memory_is_written_back(mnt):
    path = mnt / "map"
    path.write_bytes(b"a" * 10000)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[5000:5003] = b"xyz"
        mapped.flush()
    expected = b"a" * 5000 + b"xyz" + b"a" * 4997
    assert path.read_bytes() == expected


def test_stores_into_a_map_after_close_are_published(mnt, three_nodes):
    path = mnt / "map"
    path.write_bytes(b"a" * 4096)
    with open(path, "r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    mapped[0:5] = b"later"
    mapped.close()
    assert path.read_bytes()[:5] == b"later"
    os.sync()
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    assert three_nodes.dynactl("get", "map").stdout[:5] == b"later"


def test_holes_read_as_zeros(mnt):
    with open(mnt / "holes", "wb") as file:
        file.seek(300000)
        file.write(b"end")
    data = (mnt / "holes").read_bytes()
    assert len(data) == 300003 and data.rstrip(b"\0") == data and data.count(0) == 300000
    os.truncate(mnt / "holes", 100)
    os.truncate(mnt / "holes", 200)
    assert (mnt / "holes").read_bytes() == bytes(200)


def test_an_archive_of_sparse_files_keeps_their_bytes(mnt, tmp_path):
    (mnt / "f").write_bytes(b"x" * 70000)
    assert os.stat(mnt / "f").st_blocks * 512 >= 70000
    shell.run(mnt, f"tar cSf {tmp_path}/t.tar f; rm f; tar xf {tmp_path}/t.tar")
    assert (mnt / "f").read_bytes() == b"x" * 70000


FILE_MAX = 1 << 51


def test_a_file_has_a_largest_size(mnt):
    (mnt / "f").write_bytes(b"x")
    fd = os.open(mnt / "f", os.O_WRONLY)
    try:
        fails_with(errno.EFBIG, os.pwrite, fd, b"y", FILE_MAX)
        fails_with(errno.EFBIG, os.ftruncate, fd, FILE_MAX + 1)
    finally:
        os.close(fd)
    assert (mnt / "f").read_bytes() == b"x"


def test_reads_and_writes_at_offsets(mnt):
    fd = os.open(mnt / "f", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"0123456789" * 1000, 0)
    os.pwrite(fd, b"AB", 4999)
    assert os.pread(fd, 4, 4998) == b"8AB1"
    assert os.pread(fd, 10, 9995) == b"56789" and os.pread(fd, 10, 20000) == b""
    os.fsync(fd)
    os.close(fd)
    assert (mnt / "f").read_bytes()[4999:5001] == b"AB"


def test_an_append_ignores_the_offset_that_the_kernel_thought_of(mnt):
    one = os.open(mnt / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    two = os.open(mnt / "log", os.O_WRONLY | os.O_APPEND)
    for index in range(10):
        os.write(one, b"a%d\n" % index)
        os.write(two, b"b%d\n" % index)
    os.close(one)
    os.close(two)
    assert (mnt / "log").read_text().split() == [f"{who}{i}" for i in range(10) for who in "ab"]


def test_sqlite_keeps_its_promises(mnt):
    database = sqlite3.connect(mnt / "db")
    database.execute("create table t (n integer primary key, s text)")
    for start in range(0, 300, 100):
        with database:
            database.executemany("insert into t values (?, ?)",
                                 [(n, "s" * (n % 50)) for n in range(start, start + 100)])
    with pytest.raises(RuntimeError):
        with database:
            database.execute("delete from t")
            raise RuntimeError("rolled back")
    database.close()
    database = sqlite3.connect(mnt / "db")
    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    assert database.execute("select count(*), sum(n) from t").fetchone() == (300, 44850)
    database.close()
    assert shell.names(mnt) == ["db"]


def test_locks_are_there_for_this_machine(mnt):
    (mnt / "lock").write_text("")
    with open(mnt / "lock", "r+") as one, open(mnt / "lock", "r+") as two:
        fcntl.flock(one, fcntl.LOCK_EX)
        fails_with(errno.EWOULDBLOCK, fcntl.flock, two, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_extended_attributes_of_users(mnt):
    path = mnt / "f"
    path.write_text("text")
    os.setxattr(path, "user.color", b"blue\0green")
    os.setxattr(path, "user.empty", b"")
    assert os.getxattr(path, "user.color") == b"blue\0green"
    assert os.getxattr(path, "user.empty") == b""
    assert sorted(os.listxattr(path)) == ["user.color", "user.empty"]
    fails_with(errno.EEXIST, os.setxattr, path, "user.color", b"", os.XATTR_CREATE)
    fails_with(errno.ENODATA, os.setxattr, path, "user.none", b"", os.XATTR_REPLACE)
    os.setxattr(path, "user.color", b"red", os.XATTR_REPLACE)
    path.write_text("other text")
    assert os.getxattr(path, "user.color") == b"red"
    os.removexattr(path, "user.color")
    fails_with(errno.ENODATA, os.getxattr, path, "user.color")
    fails_with(errno.ENODATA, os.removexattr, path, "user.color")
    assert os.listxattr(path) == ["user.empty"]
    os.mkdir(mnt / "d")
    os.setxattr(mnt / "d", "user.a", b"1")
    assert os.getxattr(mnt / "d", "user.a") == b"1"


def test_extended_attributes_tell_of_the_version(mnt):
    path = mnt / "f"
    path.write_text("1")
    first = os.getxattr(path, "user.dynamount.dot")
    assert first and os.getxattr(path, "user.dynamount.siblings") == b"1"
    for name in ("context", "replicas", "time"):
        assert os.getxattr(path, f"user.dynamount.{name}")
    path.write_text("2")
    assert os.getxattr(path, "user.dynamount.dot") != first
    assert os.listxattr(path) == []
    fails_with(errno.EPERM, os.setxattr, path, "user.dynamount.dot", b"x")
    fails_with(errno.ENODATA, os.getxattr, path, "security.capability")


def test_control_files_are_there_but_not_listed(mnt):
    (mnt / "f").write_text("1")
    assert shell.names(mnt) == ["f"]
    for name in ("status", "pending", "conflicts", "metrics"):
        (mnt / ".dynamount" / name).read_text()
    assert "up" in (mnt / ".dynamount" / "status").read_text()
    with pytest.raises(OSError):
        (mnt / ".dynamount" / "new").write_text("x")


def test_exclusive_creation_has_one_winner(mnt):
    winners = []

    def contend(index):
        for round_ in range(20):
            try:
                os.close(os.open(mnt / f"lock{round_}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                winners.append((round_, index))
            except FileExistsError:
                pass

    threads = [threading.Thread(target=contend, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(round_ for round_, _ in winners) == list(range(20))


def test_many_threads_work_side_by_side(mnt):
    wrong = []

    def work(index):
        folder = mnt / f"d{index}"
        folder.mkdir()
        for number in range(25):
            path = folder / f"f{number}"
            path.write_text(f"{index} {number}")
            os.rename(path, folder / f"g{number}")
            if (folder / f"g{number}").read_text() != f"{index} {number}":
                wrong.append((index, number))
        if len(os.listdir(folder)) != 25:
            wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(shell.names(mnt)) == 8


def test_opening_what_is_no_such_thing_fails_as_usual(mnt):
    (mnt / "f").write_text("")
    os.mkdir(mnt / "d")
    fails_with(errno.ENOENT, os.open, mnt / "none", os.O_RDONLY)
    fails_with(errno.ENOENT, os.open, mnt / "none" / "f", os.O_RDWR | os.O_CREAT)
    fails_with(errno.ENOTDIR, os.open, mnt / "f" / "g", os.O_RDONLY)
    fails_with(errno.EISDIR, os.open, mnt / "d", os.O_WRONLY)
    fails_with(errno.EISDIR, os.unlink, mnt / "d")
    fails_with(errno.ENOTDIR, os.rmdir, mnt / "f")
    fails_with(errno.EEXIST, os.mkdir, mnt / "f")
    fails_with(errno.EEXIST, os.mkdir, mnt / "d")
    fails_with(errno.ENOTDIR, os.rename, mnt / "d", mnt / "f")
    fails_with(errno.EISDIR, os.rename, mnt / "f", mnt / "d")
    fails_with(errno.EINVAL, os.rename, mnt / "d", mnt / "d" / "e")
    (mnt / "d" / "f").write_text("")
    fails_with(errno.ENOTEMPTY, os.rmdir, mnt / "d")


def test_permissions_are_checked(mnt, make_cluster):
    (mnt / "secret").write_text("x")
    os.chmod(mnt / "secret", 0o600)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgid(65534)
        os.setuid(65534)
        try:
            os.open(mnt / "secret", os.O_RDONLY)
            os.write(write, b"opened")
        except PermissionError:
            os.write(write, b"refused")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 20) == b"refused"
    os.close(read)
    os.close(write)
