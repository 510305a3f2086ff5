# SPDX-License-Identifier: Apache-2.0
"""Whole trees of files, copied, archived and cloned onto a mount."""

import os
import pathlib

import pytest

from harness import tree

from . import shell

INCLUDE = pathlib.Path("/usr/include")
PARTS = ["linux", "rpc", "asm-generic", "net", "arpa"]  # about a thousand files, links among them


@pytest.fixture
def headers(tmp_path):
    """A copy of a part of /usr/include, with links and odd names added."""
    source = tmp_path / "headers"
    source.mkdir()
    parts = [str(INCLUDE / part) for part in PARTS if (INCLUDE / part).is_dir()]
    shell.run(tmp_path, f"cp -a {' '.join(parts)} headers/; cd headers; find . -size +900k -delete;"
                        "ln -s linux/fs.h link; ln -s nowhere dead; mkdir empty; : > nothing")
    return source


TIMES = "find . -not -type l -printf '%P %y %m %T@\\n' | sort"


@pytest.mark.limit(180)
def test_a_copy_keeps_all_times_those_of_directories_too(mnt, headers):
    old = shell.run(headers, f"touch -d 2001-02-03T04:05:06.789 linux . empty; {TIMES}")
    shell.run(mnt, f"cp -a {headers} copy; mkdir out; tar c --format=posix -C {headers} . | tar xp -C out", 120)
    assert shell.run(mnt / "copy", TIMES) == old
    assert shell.run(mnt / "out", TIMES) == old


@pytest.mark.limit(180)
def test_rsync_has_nothing_to_do_the_second_time(mnt, headers):
    first = shell.run(mnt, f"rsync -ai {headers}/ copy", 120)
    assert len(first.splitlines()) > 800
    assert shell.run(mnt, f"rsync -ai {headers}/ copy", 120) == ""
    shell.run(headers, "echo changed >> linux/fs.h; rm -r arpa")
    again = shell.run(mnt, f"rsync -ai --delete {headers}/ copy; rsync -ai --delete {headers}/ copy")
    assert ">f.st...... linux/fs.h" in again and "*deleting   arpa/" in again
    assert again.count("linux/fs.h") == 1
    assert shell.run(mnt, f"diff -r --no-dereference {headers} copy", 60) == ""


@pytest.mark.limit(180)
def test_a_tree_is_renamed_whole(three_nodes, tmp_path, headers):
    """By rename(2) itself: mv would copy where that is refused."""
    mnt = three_nodes.mount(tmp_path / "mnt").point
    other = three_nodes.mount(tmp_path / "other").point
    shell.run(mnt, f"cp -a {headers} copy; mkdir sub", 120)
    listing = "find . -printf '%P %y %m %T@ %s %l %i\\n' | grep -v '^ ' | sort"
    before = shell.run(mnt / "copy", listing)
    inside = os.open(mnt / "copy" / "linux", os.O_RDONLY)
    with open(mnt / "copy" / "linux" / "fs.h", "a", encoding="utf-8") as open_file:
        open_file.write("/* the end */\n")
        os.rename(mnt / "copy", mnt / "sub" / "moved")
        assert "fs.h" in os.listdir(inside)
        assert shell.names(mnt) == ["sub"] and shell.names(other) == ["sub"]
    os.close(inside)
    assert (other / "sub" / "moved" / "linux" / "fs.h").read_text().endswith("/* the end */\n")
    shell.run(mnt, f"sed -i '$d' sub/moved/linux/fs.h; touch -r {headers}/linux/fs.h sub/moved/linux/fs.h;"
                   f"touch -r {headers}/linux sub/moved/linux")
    assert shell.run(mnt / "sub" / "moved", "find . -name fs.h | wc -l") == "1\n"
    for folder in mnt, other:
        assert shell.run(folder, f"diff -r --no-dereference {headers} sub/moved", 60) == ""
    after = shell.run(other / "sub" / "moved", listing)
    changed = {line.rsplit(" ", 1)[0] for line in before.splitlines()} ^ \
              {line.rsplit(" ", 1)[0] for line in after.splitlines()}
    assert changed == set()


@pytest.mark.limit(180)
def test_a_tree_is_copied_and_compared(mnt, headers):
    shell.run(mnt, f"cp -a {headers} copy", 120)
    assert shell.run(mnt, f"diff -r --no-dereference {headers} copy", 60) == ""
    count = "find . | wc -l"
    assert shell.run(mnt / "copy", count) == shell.run(headers, count)
    listing = "find . -printf '%p %y %m %T@ %s %l\\n' | grep -v ' d ' | sort"
    assert shell.run(mnt / "copy", listing) == shell.run(headers, listing)
    shell.run(mnt, "rm -r copy", 90)
    assert shell.names(mnt) == []


@pytest.mark.limit(180)
def test_a_tree_goes_through_tar(mnt, headers):
    shell.run(mnt, f"mkdir a b; tar c -C {headers} . | tar x -C a; tar c -C a . | tar x -C b", 150)
    assert shell.run(mnt, f"diff -r --no-dereference {headers} b") == ""


@pytest.mark.limit(180)
def test_a_repository_is_cloned_and_used(mnt, tmp_path):
    shell.run(tmp_path, f"""
        git init -q -b main origin; cd origin
        git config user.name n; git config user.email e@example.org
        cp -r {tree.ROOT}/tests/lint {tree.ROOT}/common . ; git add .; git commit -qm one
        for i in 1 2 3; do echo $i >> common/meson.build; git commit -qam $i; done""")
    shell.run(mnt, f"git clone -q --no-hardlinks {tmp_path}/origin clone", 120)
    assert shell.run(mnt / "clone", "git fsck --full --strict 2>&1; git status --porcelain", 60) == ""
    shell.run(mnt / "clone", """
        git config user.name n; git config user.email e@example.org
        echo more >> common/meson.build; git commit -qam more; git checkout -q -b side HEAD~2
        echo new > new; git add new; git commit -qm new; git merge -q --no-edit main; git gc -q""", 120)
    assert shell.run(mnt / "clone", "git fsck --full --strict 2>&1; git status --porcelain", 60) == ""
    assert len(shell.run(mnt / "clone", "git log --oneline").splitlines()) == 7


@pytest.mark.limit(90)
def test_a_folder_with_large_files_is_renamed(three_nodes, tmp_path):
    """Also while one of them is open: it goes on under its new name."""
    mnt = three_nodes.mount(tmp_path / "mnt").point
    other = three_nodes.mount(tmp_path / "other").point
    os.makedirs(mnt / "d" / "sub")
    data = os.urandom(5 << 20)
    (mnt / "d" / "sub" / "big").write_bytes(data)
    (mnt / "d" / "small").write_text("s")
    with open(mnt / "d" / "sub" / "big", "r+b", buffering=0) as file:
        assert file.read(10) == data[:10]
        os.rename(mnt / "d", mnt / "e")
        file.seek(4 << 20)
        assert file.read(1 << 20) == data[4 << 20:]
        file.seek(0)
        file.write(b"NEW")
    assert os.listdir(other) == ["e"]
    assert (other / "e" / "sub" / "big").read_bytes() == b"NEW" + data[3:]
    assert (other / "e" / "small").read_text() == "s"
    assert (mnt / ".dynamount" / "pending").read_text() == ""
