# SPDX-License-Identifier: Apache-2.0
"""What shells and editors do to files."""

import os

import pytest

from . import shell


def test_a_line_goes_all_the_way_and_comes_back(mnt, three_nodes):
    shell.run(mnt, "mkdir a; echo hello > a/b")
    assert shell.run(mnt, "cat a/b") == "hello\n"
    for node in three_nodes.nodes:
        assert node.request("GET", "/v1/kv/a/b").body == b"hello\n"
    assert three_nodes.dynactl("get", "a/b").stdout == b"hello\n"


def test_what_http_wrote_is_read_at_once(mnt, three_nodes):
    assert three_nodes.nodes[0].request("PUT", "/v1/kv/x/y", b"by http").status in (200, 201, 204)
    assert (mnt / "x" / "y").read_bytes() == b"by http"
    three_nodes.dynactl("put", "x/z", stdin=b"by dynactl")
    assert shell.names(mnt / "x") == ["y", "z"]
    assert (mnt / "x" / "z").read_bytes() == b"by dynactl"


def test_redirection_replaces_and_truncates(mnt):
    assert shell.run(mnt, "echo a long line > f; echo short > f; cat f; : > f; cat f; wc -c < f") \
        == "short\n0\n"


def test_a_redirection_is_published_once(mnt):
    """Though the shell flushes twice: the emptiness before the bytes is nobody's business."""
    def published():
        metrics = (mnt / ".dynamount" / "metrics").read_text().splitlines()
        return [int(line.split()[1]) for line in metrics
                if line.startswith("dynamount_published_total ")][0]

    shell.run(mnt, "echo 1 > f")
    before = published()
    shell.run(mnt, "echo 2 > f")
    assert published() == before + 1
    shell.run(mnt, "/bin/echo 3 > f")
    assert published() == before + 2
    shell.run(mnt, ": > f")
    assert published() == before + 3


def test_appending_in_a_loop_keeps_every_line(mnt):
    shell.run(mnt, "for i in $(seq 200); do echo line $i >> log; done")
    assert (mnt / "log").read_text() == "".join(f"line {i}\n" for i in range(1, 201))


def test_two_open_appenders_take_turns(mnt):
    out = shell.run(mnt, "exec 3>>log 4>>log; for i in 1 2 3; do echo a$i >&3; echo b$i >&4; done;"
                         "exec 3>&- 4>&-; cat log")
    assert out.split() == ["a1", "b1", "a2", "b2", "a3", "b3"]


def test_a_shared_descriptor_is_flushed_by_each_child(mnt):
    shell.run(mnt, "(for i in $(seq 30); do /bin/echo $i; done) > log")
    assert (mnt / "log").read_text().split() == [str(i) for i in range(1, 31)]


def test_sed_in_place(mnt):
    shell.run(mnt, "seq 100 > f; chmod 640 f; sed -i s/^5$/five/ f; sed -i.bak 1d f")
    assert (mnt / "f").read_text().split()[3] == "five"
    assert len((mnt / "f").read_text().split()) == 99
    assert (mnt / "f").stat().st_mode & 0o777 == 0o640
    assert shell.names(mnt) == ["f", "f.bak"]


@pytest.mark.parametrize("how", ["", "set backupcopy=yes", "set backupcopy=no", "set nowritebackup",
                                 "set backup backupskip="])
def test_an_editor_saves(mnt, how):
    shell.run(mnt, "printf 'one\\ntwo\\n' > f")
    commands = [word for command in (how, "%s/two/2/", "wq") if command for word in ("-c", command)]
    shell.run(mnt, "vim.tiny -u NONE -es " + " ".join(f"'{word}'" for word in commands) + " f")
    assert (mnt / "f").read_text() == "one\n2\n"
    assert shell.names(mnt) == (["f", "f~"] if how.startswith("set backup b") else ["f"])


def test_deep_folders_come_and_go(mnt):
    shell.run(mnt, "mkdir -p a/b/c/d; touch a/b/c/d/f a/b/g; mkdir -p a/b/c")
    assert shell.attempt(mnt, "rmdir a/b").returncode != 0
    assert shell.run(mnt, "find a | sort").split() == \
        ["a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/f", "a/b/g"]
    shell.run(mnt, "rm -r a")
    assert shell.names(mnt) == []


def test_a_folder_of_a_thousand_is_listed_and_removed(mnt):
    shell.run(mnt, "mkdir d; cd d; for i in $(seq 1000); do : > f$i; done")
    assert len(shell.names(mnt / "d")) == 1000
    assert len(shell.run(mnt, "ls -l d").splitlines()) == 1001
    shell.run(mnt, "rm -r d")
    assert shell.names(mnt) == []


def test_files_move_also_over_others(mnt):
    shell.run(mnt, "mkdir d; echo 1 > a; echo 2 > b; mv a d/a; mv b d/a; mv d/a c")
    assert (mnt / "c").read_text() == "2\n"
    assert shell.names(mnt) == ["c", "d"] and shell.names(mnt / "d") == []
    assert shell.attempt(mnt, "mv -T c d").returncode != 0
    shell.run(mnt, "echo 3 > e; mv -n e c")
    assert (mnt / "c").read_text() == "2\n"


def test_a_folder_moves_with_what_is_in_it(mnt):
    shell.run(mnt, "mkdir -p d/e; echo 1 > d/a; echo 2 > d/e/b; mv d f")
    assert shell.run(mnt, "find . | sort; cat f/a f/e/b").split() == \
        [".", "./f", "./f/a", "./f/e", "./f/e/b", "1", "2"]


def test_symlinks_lead_anywhere(mnt):
    shell.run(mnt, "echo 1 > f; ln -s f l; ln -s nowhere dead; ln -s loop loop; mkdir d; ln -s d dl")
    assert shell.run(mnt, "cat l; readlink l dead; echo 2 > dl/g; cat d/g").split() == \
        ["1", "f", "nowhere", "2"]
    assert shell.attempt(mnt, "cat loop").returncode != 0
    assert shell.attempt(mnt, "cat dead").returncode != 0
    shell.run(mnt, "ln -sf d l; echo through > dead; rm loop dl")
    assert shell.names(mnt) == ["d", "dead", "f", "l", "nowhere"]


def test_a_symlink_may_be_4095_bytes_long(mnt):
    target = "x/" * 2047 + "y"
    os.symlink(target, mnt / "long")
    assert os.readlink(mnt / "long") == target
    assert os.lstat(mnt / "long").st_size == 4095


def test_hard_links_and_devices_are_not_permitted(mnt):
    shell.run(mnt, "echo 1 > f")
    for command in ("ln f g", "mkfifo p", "mknod c c 1 3"):
        done = shell.attempt(mnt, command)
        assert done.returncode != 0 and "not permitted" in done.stderr, command
    assert shell.names(mnt) == ["f"]


def test_noclobber_creates_only_once(mnt):
    assert shell.attempt(mnt, "set -C; echo 1 > lock; echo 2 > lock").returncode != 0
    assert (mnt / "lock").read_text() == "1\n"


def test_attributes_are_kept(mnt):
    shell.run(mnt, "echo 1 > f; chown 12:34 f; chmod 2751 f; touch -d 2001-02-03T04:05:06.789012345 f")
    st = os.stat(mnt / "f")
    assert (st.st_mode & 0o7777, st.st_uid, st.st_gid, st.st_nlink) == (0o2751, 12, 34, 1)
    assert st.st_mtime_ns % 10**9 == 789012345
    assert shell.run(mnt, "cp -a f g; stat -c %a,%u,%g,%Y,%s g; stat -c %a,%u,%g,%Y,%s f").split()[0] \
        == shell.run(mnt, "stat -c %a,%u,%g,%Y,%s f").strip()


def test_truncating_to_nothing_changes_the_time(mnt):
    shell.run(mnt, ": > stamp; touch -d 2001-01-01 stamp; : > stamp")
    assert os.stat(mnt / "stamp").st_mtime > 1_000_000_000


def test_the_same_bytes_again_change_the_time(mnt):
    shell.run(mnt, "echo same > f; touch -d 2001-01-01 f; echo same > g; cp g f")
    assert os.stat(mnt / "f").st_mtime > 1_000_000_000


def test_a_create_changes_the_time_of_its_folder(mnt):
    shell.run(mnt, "mkdir d; touch -d 2001-01-01 d; echo 1 > d/f; sleep 1.1")
    assert os.stat(mnt / "d").st_mtime > 1_000_000_000


def test_an_unlinked_file_lives_until_it_is_closed(mnt):
    out = shell.run(mnt, "exec 3<>t; echo one >&3; rm t; echo two >&3; cat /proc/self/fd/3;"
                         "stat -L -c %h /proc/self/fd/3; exec 3>&-; ls")
    assert out.split() == ["one", "two", "0"]
    assert shell.names(mnt) == []


def test_a_file_made_anew_under_an_open_name_is_another(mnt):
    out = shell.run(mnt, "exec 3>t; echo old >&3; rm t; echo new > t; echo more >&3; exec 3>&-; cat t")
    assert out == "new\n"


def test_a_renamed_open_file_is_written_under_its_new_name(mnt):
    shell.run(mnt, "exec 3>a; echo 1 >&3; mv a b; echo 2 >&3; exec 3>&-")
    assert (mnt / "b").read_text() == "1\n2\n"
    assert shell.names(mnt) == ["b"]


def test_programs_run_from_the_mount(mnt):
    shell.run(mnt, "printf '#!/bin/sh\\necho ran $1\\n' > s; chmod +x s")
    assert shell.run(mnt, "./s well") == "ran well\n"


def test_df_and_sync_work(mnt):
    assert "fuse.dynamount" in shell.run(mnt, "df -T .; echo 1 > f; sync f; sync .; sync")
