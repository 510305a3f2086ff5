# SPDX-License-Identifier: Apache-2.0
"""System calls that no shell command makes often: their results on a mount, one claim each."""

import contextlib
import ctypes
import errno
import mmap
import os
import socket
import tempfile

import pytest

from . import shell

libc = ctypes.CDLL(None, use_errno=True)
libc.telldir.restype = ctypes.c_long
libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
for name in ("readdir", "telldir", "rewinddir", "closedir"):
    getattr(libc, name).argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
AT_FDCWD = -100
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("len", ctypes.c_uint16),
                ("type", ctypes.c_uint8), ("name", ctypes.c_char * 256)]


def rename2(old, new, flags):
    """0 or the errno."""
    done = libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)
    return 0 if done == 0 else ctypes.get_errno()


def fails_with(code, function, *arguments):
    with pytest.raises(OSError) as caught:
        function(*arguments)
    assert caught.value.errno == code, caught.value


def test_a_rename_may_refuse_to_replace_and_never_exchanges(mnt):
    (mnt / "a").write_text("a")
    (mnt / "b").write_text("b")
    assert rename2(mnt / "a", mnt / "b", NOREPLACE) == errno.EEXIST
    assert rename2(mnt / "a", mnt / "b", EXCHANGE) == errno.EINVAL
    assert rename2(mnt / "a", mnt / "c", WHITEOUT) == errno.EINVAL
    assert [(mnt / name).read_text() for name in "ab"] == ["a", "b"]
    assert rename2(mnt / "a", mnt / "c", NOREPLACE) == 0
    assert shell.names(mnt) == ["b", "c"]
    os.mkdir(mnt / "d")
    assert rename2(mnt / "c", mnt / "d", NOREPLACE) == errno.EEXIST
    assert rename2(mnt / "d", mnt / "b", NOREPLACE) == errno.EEXIST
    assert rename2(mnt / "d", mnt / "e", NOREPLACE) == 0


class Listing:
    """A directory stream as C programs hold it."""

    def __init__(self, folder):
        self.stream = libc.opendir(os.fsencode(folder))
        assert self.stream

    def next(self):
        """(name, what telldir says behind it), None at the end."""
        entry = libc.readdir(self.stream)
        if not entry:
            return None
        name = Dirent.from_address(entry).name
        return name.decode(), libc.telldir(self.stream)

    def rest(self):
        return [name for name, _ in iter(self.next, None)]


def test_a_place_in_a_directory_can_be_come_back_to(mnt):
    """With files removed and made in between: what stays is told once, whatever happens to the others."""
    names = {f"f{number:04}" for number in range(3000)}
    os.mkdir(mnt / "d")
    for name in names:
        os.close(os.open(mnt / "d" / name, os.O_CREAT | os.O_WRONLY))
    listing = Listing(mnt / "d")
    told = [listing.next() for _ in range(1500)]
    seen = {name for name, _ in told}
    for name in sorted(seen - {".", ".."})[::2]:
        os.unlink(mnt / "d" / name)
    (mnt / "d" / "new").write_text("")
    removed = {name for name in names if not (mnt / "d" / name).exists()}
    place = told[-1][1]
    first = listing.rest()
    libc.seekdir(listing.stream, place)
    again = listing.rest()
    assert first == again and len(first) == len(set(first))
    assert set(first) - {"new"} == names - seen
    libc.rewinddir(listing.stream)
    assert set(listing.rest()) == (names - removed) | {"new", ".", ".."}
    libc.closedir(listing.stream)


def test_extended_attributes_have_a_bound(mnt):
    (mnt / "f").write_text("text")
    fails_with(errno.E2BIG, os.setxattr, mnt / "f", "user.big", b"x" * 65537)
    for number in range(3):
        os.setxattr(mnt / "f", f"user.part{number}", bytes([number]) * 20000)
    fails_with(errno.ENOSPC, os.setxattr, mnt / "f", "user.part3", b"x" * 20000)
    for number in range(3):
        assert os.getxattr(mnt / "f", f"user.part{number}") == bytes([number]) * 20000
    assert (mnt / "f").read_text() == "text"
    fails_with(errno.ERANGE, os.setxattr, mnt / "f", "user." + "n" * 256, b"")
    fails_with(errno.EOPNOTSUPP, os.setxattr, mnt / "f", "system.posix_acl_access", b"x" * 28)
    fails_with(errno.EOPNOTSUPP, os.getxattr, mnt / "f", "system.posix_acl_access")
    fails_with(errno.ENODATA, os.getxattr, mnt / "f", "security.selinux")


def test_a_file_without_a_name_is_refused_so_that_programs_make_one_with_a_name(mnt):
    fails_with(errno.EOPNOTSUPP, os.open, mnt, os.O_TMPFILE | os.O_RDWR)
    with tempfile.TemporaryFile(dir=mnt) as file:  # which tries that first
        file.write(b"text")
        file.seek(0)
        assert file.read() == b"text"
    assert shell.names(mnt) == []


@pytest.mark.parametrize("flag", [os.O_SYNC, os.O_DSYNC], ids=["O_SYNC", "O_DSYNC"])
def test_what_a_synchronous_write_has_returned_is_in_the_cluster(mnt, three_nodes, flag):
    fd = os.open(mnt / "f", os.O_CREAT | os.O_WRONLY | flag)
    for number in range(3):
        os.write(fd, b"%d\n" % number)
        assert three_nodes.dynactl("get", "f").stdout == b"".join(b"%d\n" % n for n in range(number + 1))
    os.close(fd)


def test_direct_reads_and_writes_go_around_the_page_cache(mnt):
    block = mmap.mmap(-1, 8192)  # aligned
    block[:] = bytes(range(256)) * 32
    fd = os.open(mnt / "f", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    assert os.pwritev(fd, [block], 4096) == 8192
    with open(mnt / "f", "rb") as file:
        assert file.read() == bytes(4096) + block[:]
    block[:] = bytes(8192)
    assert os.preadv(fd, [block], 4096) == 8192 and block[:256] == bytes(range(256))
    os.close(fd)
    block.close()


def test_bytes_go_straight_from_a_file_to_a_socket_and_through_pipes(mnt):
    data = os.urandom(300_000)
    (mnt / "f").write_bytes(data)
    one, two = socket.socketpair()
    with one, two, open(mnt / "f", "rb") as file:
        got = b""
        at = 0
        while at < len(data):
            at += os.sendfile(one.fileno(), file.fileno(), at, min(65536, len(data) - at))
            while len(got) < at:
                got += two.recv(65536)
    assert got == data
    read, write = os.pipe()
    source, target = os.open(mnt / "f", os.O_RDONLY), os.open(mnt / "g", os.O_CREAT | os.O_WRONLY)
    moved = 0
    while n := os.splice(source, write, 65536):
        while n:
            done = os.splice(read, target, n)
            n -= done
            moved += done
    for fd in (read, write, source, target):
        os.close(fd)
    assert moved == len(data) and (mnt / "g").read_bytes() == data


def test_a_folder_that_is_the_working_directory_can_be_renamed_and_removed(mnt):
    script = "mkdir -p a/b; cd a/b; echo 1 > f; mv ../../a ../../c; cat f; pwd -P; echo 2 > g; ls"
    assert shell.run(mnt, script).split() == ["1", f"{mnt}/c/b", "f", "g"]
    done = shell.attempt(mnt, "mkdir gone; cd gone; rmdir ../gone; ls; echo 1 > f")
    assert done.returncode != 0 and "No such file" in done.stderr
    assert shell.names(mnt) == ["c"]


def test_paths_may_be_as_long_as_the_system_lets_them(mnt):
    """4,095 bytes of path from the root of the mount, in names of any length."""
    parts = ["d" * 255] * 15 + ["e" * 254]
    here = os.open(mnt, os.O_RDONLY)
    try:
        os.chdir(here)
        os.makedirs("/".join(parts[:-1]))
        path = "/".join(parts)
        assert len(path) == 4094
        with open(path, "w", encoding="ascii") as file:
            file.write("deep")
        with open(path, encoding="ascii") as file:
            assert file.read() == "deep"
        os.chdir("/".join(parts[:-1]))
        fails_with(errno.ENAMETOOLONG, os.mkdir, "f" * 256)
        # Relative to here the path is short; as a key it is too long, and nothing else could say it.
        os.mkdir("s")
        os.chdir("s")
        fails_with(errno.ENAMETOOLONG, os.mkdir, "t" * 254)
        os.chdir(here)
        shell.run(mnt, f"rm -r {'d' * 255}")
    finally:
        os.chdir("/")
        os.close(here)
    assert shell.names(mnt) == []


def test_a_mapping_sees_what_is_written_beside_it_and_outlives_its_file(mnt):
    path = mnt / "f"
    path.write_bytes(b"a" * 10000)
    with open(path, "r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    with open(path, "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"bbb", 5000)
        assert mapped[4999:5004] == b"abbba"
        mapped[0:2] = b"cc"
        assert os.pread(file.fileno(), 3, 0) == b"cca"
    os.unlink(path)
    assert mapped[:3] == b"cca" and mapped[5000:5003] == b"bbb"
    mapped[9999:10000] = b"z"
    mapped.close()
    assert shell.names(mnt) == []


def test_a_private_mapping_changes_nothing(mnt):
    (mnt / "f").write_bytes(b"a" * 5000)
    with open(mnt / "f", "r+b") as file, mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE) as mapped:
        mapped[0:3] = b"xyz"
    assert (mnt / "f").read_bytes() == b"a" * 5000


def test_a_conflict_file_whose_version_is_gone_is_stale_for_who_has_it_open(three_nodes, tmp_path):
    """A handle holds its version, not its number."""
    one, two = (three_nodes.mount(tmp_path / name).point for name in ("one", "two"))
    for text in ("first", "second"):
        assert three_nodes.nodes[0].request("PUT", "/v1/kv/f", text.encode()).status == 204
    assert shell.names(one) == shell.names(two) == ["f", "f.conflict.1"]
    fd = os.open(one / "f.conflict.1", os.O_RDWR)
    (two / "f.conflict.1").unlink()
    assert os.pread(fd, 100, 0) == b"first"
    os.close(fd)
    assert (two / "f").read_text() == "second" and shell.names(two) == ["f"]
    with contextlib.suppress(FileNotFoundError):
        assert "f.conflict.1" not in shell.names(one)
