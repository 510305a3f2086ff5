# SPDX-License-Identifier: Apache-2.0
"""Tools that people use every day, each doing its usual work on a mount, with a result that can be
checked: fio, make, a C project's own build, tar with holes, du and find, sqlite3, and the ways in which
editors save."""

import os
import shutil
import signal
import subprocess
import time

import pytest

from harness import wait

from . import shell

MIB = 1 << 20


# fio

FIO = {
    "sequential writes": "--rw=write --bs=64k --ioengine=psync",
    "random writes, small and odd": "--rw=randwrite --bsrange=512-17k --bs_unaligned=1 --ioengine=psync",
    "reads and writes mixed, with fsync": "--rw=randrw --bs=4k --fsync=64 --ioengine=psync",
    "around the page cache": "--rw=randwrite --bs=4k --direct=1 --ioengine=psync",
    "mapped memory": "--rw=randwrite --bs=4k --ioengine=mmap",
    "many at once": "--rw=randwrite --bs=16k --ioengine=libaio --iodepth=16",
    "vectors into several files": "--rw=write --bs=32k --ioengine=pvsync --nrfiles=3",
}


@pytest.mark.limit(120)
@pytest.mark.parametrize("job", FIO)
def test_fio_reads_back_what_it_wrote_here_and_on_another_mount(three_nodes, tmp_path, job):
    mnt = three_nodes.mount(tmp_path / "mnt").point
    words = (f"--name=job --size=6M {FIO[job]} --verify=crc32c --verify_fatal=1 --verify_state_save=0"
             " --randseed=7 --end_fsync=1 --output-format=terse")
    shell.run(tmp_path, f"fio --directory={mnt} {words} --do_verify=1", 90)
    assert sum(path.stat().st_size for path in mnt.iterdir()) >= 6 * MIB
    other = three_nodes.mount(tmp_path / "other").point
    shell.run(tmp_path, f"fio --directory={other} {words} --verify_only=1", 90)


# make and compilers

MAKEFILE = """
parts := $(basename $(wildcard *.c))
all: program
program: $(parts:=.o)
\tcc -o $@ $^
%.o: %.c
\tcc -O0 -MMD -c -o $@ $<
-include $(parts:=.d)
"""


@pytest.mark.limit(120)
def test_make_builds_once_and_again_only_what_has_changed(three_nodes, tmp_path):
    """Times are what make goes by: those of what it made must be later than those of what it made them from,
    on whichever mount one looks."""
    mnt = three_nodes.mount(tmp_path / "mnt").point
    other = three_nodes.mount(tmp_path / "other").point
    (mnt / "Makefile").write_text(MAKEFILE)
    (mnt / "common.h").write_text("int part(void);\n#define BASE 1\n")
    for number in range(8):
        include = '#include "common.h"\n' if number < 3 else "#define BASE 1\n"
        (mnt / f"part{number}.c").write_text(f"{include}int part{number}(void) {{ return BASE; }}\n")
    calls = "".join(f" + part{number}()" for number in range(8))
    declared = "".join(f"int part{number}(void);\n" for number in range(8))
    (mnt / "main.c").write_text(f"{declared}int main(void) {{ return 0{calls}; }}\n")
    assert shell.run(mnt, "make 2>&1", 100).count("cc -O0") == 9
    for folder in mnt, other:
        assert "Nothing to be done" in shell.run(folder, "make 2>&1")
    assert shell.attempt(mnt, "./program").returncode == 8
    (mnt / "common.h").write_text("int part(void);\n#define BASE 2\n")
    assert shell.run(other, "make 2>&1", 60).count("cc -O0") == 3
    assert shell.attempt(mnt, "./program").returncode == 11
    assert "Nothing to be done" in shell.run(mnt, "make 2>&1")


@pytest.mark.limit(90)
def test_holes_go_through_tar_and_cp(mnt, tmp_path):
    with open(mnt / "sparse", "wb") as file:
        for at in (0, 5 * MIB + 100, 20 * MIB):
            file.seek(at)
            file.write(b"data at %d" % at)
        file.truncate(32 * MIB)
    (mnt / "small").write_bytes(b"s" * 5000)
    shell.run(mnt, f"tar cSf {tmp_path}/t.tar sparse small")
    assert (tmp_path / "t.tar").stat().st_size < 6 * MIB
    shell.run(mnt, f"mkdir out; tar xSf {tmp_path}/t.tar -C out; cp --sparse=always sparse copy;"
                   "cp -a sparse kept")
    for name in ("out/sparse", "copy", "kept"):
        shell.run(mnt, f"cmp sparse {name}")
        assert (mnt / name).stat().st_blocks * 512 <= 4 * MIB, name
    assert (mnt / "out" / "small").read_bytes() == b"s" * 5000


@pytest.mark.limit(90)
def test_du_and_find_agree_with_what_was_written(three_nodes, tmp_path):
    """And on a mount that has seen none of it yet."""
    sizes = {f"d{n % 3}/e/f{n}": n * 700 for n in range(30)}
    mnt = three_nodes.mount(tmp_path / "mnt").point
    for name, size in sizes.items():
        (mnt / name).parent.mkdir(parents=True, exist_ok=True)
        (mnt / name).write_bytes(b"x" * size)
    (mnt / "d0" / "old").write_text("old")
    os.utime(mnt / "d0" / "old", (1, 1_000_000_000))
    (mnt / "d0" / "link").symlink_to("old")
    blocks = sum((size + 511) // 512 * 512 for size in sizes.values()) + 512
    for folder in mnt, three_nodes.mount(tmp_path / "other").point:
        found = shell.run(folder, "find . -type f -name 'f*' -printf '%P %s\\n'").split("\n")[:-1]
        assert dict(line.split() for line in found) == {name: str(size) for name, size in sizes.items()}
        assert shell.run(folder, "find . -type d | wc -l; find . -type l; find . -empty -type f;"
                                 "find . -not -newermt 2010-01-01 -type f").split() == \
            ["7", "./d0/link", "./d0/e/f0", "./d0/old"]
        assert int(shell.run(folder, "find . -type f -print0 | du -c -B1 --files0-from=- | tail -n1")
                   .split()[0]) == blocks
        assert int(shell.run(folder, "du -s -b --exclude=link .").split()[0]) == \
            sum(sizes.values()) + 3 + 7 * 4096
        shell.run(folder, "find . -type f -size +10k -exec cat {} + > /dev/null")
    shell.run(mnt, "find . -name 'f*' -delete; find . -depth -type d -empty -delete")
    assert shell.names(mnt) == ["d0"] and shell.names(mnt / "d0") == ["link", "old"]


# sqlite3

@pytest.mark.limit(90)
@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "wal"])
def test_sqlite_is_whole_after_its_writer_was_killed(mnt, mode):
    table = "create table t (n integer primary key, s text)"
    shell.run(mnt, f"sqlite3 db 'pragma journal_mode={mode}; {table};'")
    writer = subprocess.Popen(["sqlite3", "-bail", mnt / "db"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    for number in range(40):
        writer.stdin.write(b"begin; insert into t select value, hex(randomblob(200)) from "
                           b"generate_series(%d, %d); commit; select %d;\n"
                           % (number * 50, number * 50 + 49, number))
    writer.stdin.write(b"begin; delete from t where n < 1000;\n")
    writer.stdin.flush()
    while writer.stdout.readline() != b"10\n":
        assert writer.poll() is None
    writer.kill()
    writer.communicate()
    out = shell.run(mnt, "sqlite3 db 'pragma integrity_check; select count(*) % 50, count(*) >= 500 from t;'")
    assert out.split() == ["ok", "0|1"]
    shell.run(mnt, "sqlite3 db 'insert into t values (-1, 1); vacuum; pragma integrity_check;'")
    assert shell.run(mnt, "sqlite3 db 'select s from t where n = -1'") == "1\n"


# How editors save

def write_synced(path, text, flags, mode=0o644):
    fd = os.open(path, flags, mode)
    os.write(fd, text)
    os.fsync(fd)
    os.close(fd)


def emacs(path, text):
    """A lock that is a dangling symlink, the old version kept as a backup by rename, the new one written
    under the name, then its mode set."""
    mode = path.stat().st_mode & 0o7777
    lock = path.with_name(f".#{path.name}")
    os.symlink("user@host.1234:1700000000", lock)
    assert os.readlink(lock).startswith("user@")
    os.rename(path, path.with_name(path.name + "~"))
    write_synced(path, text, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.chmod(path, mode)
    os.unlink(lock)


def emacs_by_copying(path, text):
    """backup-by-copying: the file keeps its inode."""
    shutil.copy2(path, path.with_name(path.name + "~"))
    write_synced(path, text, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)


def vs_code(path, text):
    """Opened with truncation, written, synced."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.write(fd, text)
    os.fdatasync(fd)
    os.close(fd)


def vs_code_keeping_the_file(path, text):
    """For files that must not be made anew: opened for both, cut to nothing, written from the start."""
    fd = os.open(path, os.O_RDWR)
    os.ftruncate(fd, 0)
    os.pwrite(fd, text, 0)
    os.fdatasync(fd)
    os.close(fd)


def by_temporary_file(path, text):
    """What GLib, Qt and most others do: all in a file beside it, which then takes the name."""
    temporary = path.with_name(f".{path.name}.A1B2C3")
    write_synced(temporary, text, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.chmod(temporary, path.stat().st_mode & 0o7777)
    os.rename(temporary, path)
    fd = os.open(path.parent, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


SAVES = [emacs, emacs_by_copying, vs_code, vs_code_keeping_the_file, by_temporary_file]


@pytest.mark.limit(90)
@pytest.mark.parametrize("save", SAVES, ids=lambda save: save.__name__)
def test_an_editor_saves_again_and_again_and_others_see_each_version_whole(three_nodes, tmp_path, save):
    mnt = three_nodes.mount(tmp_path / "mnt").point
    other = three_nodes.mount(tmp_path / "other").point
    path = mnt / "text"
    path.write_text("first\n")
    path.chmod(0o640)
    expected = {"text"} | ({"text~"} if save in (emacs, emacs_by_copying) else set())
    for number in range(8):
        before = path.read_bytes()
        text = b"line %d\n" % number * (40 - 5 * number)
        if number == 5:
            text *= 60_000  # over what one value holds, and back
        save(path, text)
        for folder in mnt, other:
            assert (folder / "text").read_bytes() == text
            assert set(os.listdir(folder)) == expected
            assert (folder / "text").stat().st_mode & 0o777 == 0o640
        if "text~" in expected:
            assert (other / "text~").read_bytes() == before


@pytest.mark.limit(90)
@pytest.mark.parametrize("how", ["", "set backupcopy=yes", "set backup backupskip="])
def test_vim_recovers_what_was_typed_when_it_is_killed(mnt, how):
    """Its swap file is written in blocks, synced, and read again by the next vim."""
    (mnt / "f").write_text("one\ntwo\n")
    commands = [word for command in (how, "set updatecount=1", "normal Gothree", "preserve") if command
                for word in ("-c", command)]
    held = subprocess.Popen(["vim.tiny", "-u", "NONE", "-N", *commands, mnt / "f"],
                            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def swapped():
        try:
            return b"three" in (mnt / ".f.swp").read_bytes()
        except FileNotFoundError:  # also for a moment after it was there: vim tries names first
            return False
    try:
        wait.until(swapped, 30, "a swap file with the new line")
    finally:
        held.send_signal(signal.SIGKILL)
        held.wait()
        held.stdin.close()
    shell.run(mnt, "vim.tiny -u NONE -es -r -c 'wq! g' f < /dev/null || true")
    assert (mnt / "g").read_text() == "one\ntwo\nthree\n"
    assert (mnt / "f").read_text() == "one\ntwo\n"


def test_a_stopwatch_of_files_keeps_its_order(mnt):
    """Tools compare times of files that were written one after the other, also by other ways than close."""
    before = time.time_ns() - 10_000_000
    shell.run(mnt, ": > a; : > b; cp a c; mv b d; touch e; ln -s a l")
    times = [os.lstat(mnt / name).st_mtime_ns for name in "adcel"]
    assert times == sorted(times) and before < times[0] and times[-1] < time.time_ns() + 10_000_000
