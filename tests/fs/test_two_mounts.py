# SPDX-License-Identifier: Apache-2.0
"""Two mounts of one cluster: what is closed on one is what the next open on the other reads, and what
was written without knowing of each other is kept side by side."""

import errno
import os
import threading

import pytest

from harness import wait

from . import shell


@pytest.fixture
def both(three_nodes, tmp_path):
    return [three_nodes.mount(tmp_path / name).point for name in ("one", "two")]


def test_what_is_closed_here_is_read_there_at_once(both):
    one, two = both
    for number in range(30):
        (one / "f").write_text(f"{number}" * number)
        assert (two / "f").read_text() == f"{number}" * number
        (two / "g").write_text(f"{number}")
        assert (one / "g").read_text() == f"{number}"


def test_names_come_and_go_on_both(both):
    one, two = both
    shell.run(one, "mkdir -p d/e; echo 1 > d/e/f")
    assert shell.names(two / "d" / "e") == ["f"]
    shell.run(two, "mv d/e/f d/g; rmdir d/e")
    assert shell.run(one, "sleep 1.1; find d | sort").split() == ["d", "d/g"]
    shell.run(one, "rm -r d")
    assert shell.names(two) == []


def test_a_longer_version_is_read_whole(both):
    one, two = both
    (one / "f").write_text("a" * 100)
    assert os.stat(two / "f").st_size == 100 and (two / "f").read_text() == "a" * 100
    (one / "f").write_text("b" * 200)
    assert (two / "f").read_text() == "b" * 200
    (one / "f").write_text("c" * 50)
    assert (two / "f").read_text() == "c" * 50
    assert os.stat(two / "f").st_size == 50


def test_an_edit_does_not_save_a_stump(both):
    """The kernel cuts reads off at the size that it knows, so that must be the new one."""
    one, two = both
    (one / "f").write_text("line\n" * 20)
    assert os.stat(two / "f").st_size == 100
    (one / "f").write_text("line\n" * 40)
    shell.run(two, "sed -i s/line/text/ f")
    assert (one / "f").read_text() == "text\n" * 40


def test_a_reader_keeps_its_version_while_others_read_the_new_one(both):
    one, two = both
    (one / "f").write_text("old " * 5000)
    with open(two / "f", "rb", buffering=0) as reader:
        assert reader.read(4) == b"old "
        (one / "f").write_text("new! " * 5000)
        with open(two / "f", "rb") as again:
            assert again.read() == b"new! " * 5000
        assert reader.read() == b"old " * 4999
    assert (two / "f").read_text() == "new! " * 5000


def test_an_inode_number_outlives_a_new_version(both):
    one, two = both
    (one / "f").write_text("1")
    number = os.stat(two / "f").st_ino
    with open(two / "f", "rb"):
        (one / "f").write_text("22")
        assert (two / "f").read_text() == "22"
        assert os.stat(two / "f").st_ino == number
    assert os.stat(one / "f").st_ino == number


def test_appends_by_turns_lose_nothing(both):
    for number in range(20):
        for name, folder in zip("ab", both):
            shell.run(folder, f"echo {name}{number} >> log")
    expected = [f"{name}{number}" for number in range(20) for name in "ab"]
    assert (both[0] / "log").read_text().split() == expected
    assert shell.names(both[1]) == ["log"]


def test_a_version_that_came_in_meanwhile_is_kept(both):
    one, two = both
    (one / "f").write_text("base\n")
    with open(one / "f", "r+") as file:
        assert file.read() == "base\n"
        (two / "f").write_text("from two\n")
        file.write("from one\n")
    for folder in both:
        assert shell.names(folder) == ["f", "f.conflict.1"]
        assert (folder / "f").read_text() == "base\nfrom one\n"
        assert (folder / "f.conflict.1").read_text() == "from two\n"


def test_saving_by_rename_does_not_overwrite_what_it_never_saw(both):
    one, two = both
    (one / "f").write_text("base\n")
    with open(one / "f", encoding="ascii") as file:
        text = file.read()
        (two / "f").write_text("from two\n")
        (one / ".f.tmp").write_text(text + "from one\n")
        os.rename(one / ".f.tmp", one / "f")
    for folder in both:
        assert shell.names(folder) == ["f", "f.conflict.1"]
        assert (folder / "f").read_text() == "base\nfrom one\n"
        assert (folder / "f.conflict.1").read_text() == "from two\n"


def test_a_mount_makes_no_conflicts_with_itself(both):
    one, _ = both
    shell.run(one, "echo base > f; exec 3>>f 4<>f; echo a >&3; echo b > f; echo c >&4; exec 3>&- 4>&-;"
                   "echo d >> f; sed -i s/d/e/ f; mv f g; cp g f; mv f g")
    assert shell.names(one) == ["g"]


def test_an_exclusive_create_has_one_winner_among_mounts(both):
    won = []
    barrier = threading.Barrier(2)

    def contend(index):
        for number in range(30):
            barrier.wait()
            try:
                os.close(os.open(both[index] / f"lock{number}", os.O_CREAT | os.O_EXCL | os.O_RDWR))
                won.append(number)
            except FileExistsError:
                pass

    threads = [threading.Thread(target=contend, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == len(set(won)), "two winners"
    # Both may withdraw when they meet; that is rare, and a lock held by nobody can be taken again.
    assert len(won) > 15
    for number in range(30):
        assert shell.names(both[0]).count(f"lock{number}.conflict.1") == 0


def test_removing_a_folder_does_not_swallow_a_new_file(both):
    one, two = both
    for number in range(10):
        os.mkdir(one / "d")
        assert os.path.isdir(two / "d")
        (two / "d" / "f").write_text(f"{number}")
        with pytest.raises(OSError) as caught:
            os.rmdir(one / "d")
        assert caught.value.errno == errno.ENOTEMPTY
        shell.run(one, "rm -r d")


def test_a_file_removed_there_can_be_read_by_who_has_it_open(both):
    one, two = both
    (one / "f").write_text("still here")
    with open(two / "f", encoding="ascii") as reader:
        os.unlink(one / "f")
        assert reader.read() == "still here"


def test_many_writers_of_many_files(both):
    def work(index):
        for number in range(40):
            (both[index % 2] / f"f{index}.{number}").write_text(f"{index}")

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = sorted(f"f{index}.{number}" for index in range(4) for number in range(40))
    assert shell.names(both[0]) == expected and shell.names(both[1]) == expected


def test_appends_by_turns_to_a_large_file_lose_nothing(both):
    one, two = both
    content = os.urandom(1 << 20) * 2 + b"the first line\n"
    (one / "log").write_bytes(content)
    with open(one / "log", "ab") as first, open(two / "log", "ab") as second:
        for number in range(4):
            for file in (first, second):
                line = f"{number} {'x' * 700000 * (number == 2)}\n".encode()
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
                content += line
    for folder in both:
        assert (folder / "log").read_bytes() == content
        assert shell.names(folder) == ["log"]


def appender(folder, name, data):
    """Has appended data to the file, and not closed it yet."""
    fd = os.open(folder / name, os.O_WRONLY | os.O_APPEND)
    for at in range(0, len(data), 1 << 20):
        os.write(fd, data[at:at + (1 << 20)])
    return fd


def test_a_log_that_is_never_closed_is_published_after_a_time_that_can_be_chosen(three_nodes, tmp_path):
    quick, other = (three_nodes.mount(tmp_path / name, options=options).point
                    for name, options in (("quick", ["publish=500ms"]), ("other", [])))
    with open(quick / "log", "a", buffering=1) as log:
        text = ""
        for number in range(3):
            log.write(f"{number}\n")
            text += f"{number}\n"
            wait.until(lambda: (other / "log").exists() and (other / "log").read_text() == text, 20, text)
    assert shell.names(other) == ["log"]


@pytest.mark.limit(120)
def test_long_appends_made_without_knowing_of_each_other_follow_each_other(both):
    """More than a mount holds in memory for it: the later close finds the other's bytes, and stages its
    own anew after them."""
    base, first, second = os.urandom(3_000_001), os.urandom(20 << 20), os.urandom((20 << 20) + 77)
    (both[0] / "log").write_bytes(base)
    fds = [appender(both[0], "log", first), appender(both[1], "log", second)]
    for fd in fds:
        os.close(fd)
    for folder in both:
        assert (folder / "log").read_bytes() == base + first + second
        assert shell.names(folder) == ["log"]


@pytest.mark.limit(120)
def test_long_appends_closed_at_the_same_time_are_all_there(both):
    """In one version, or in two: then they are a conflict, and each has its own once."""
    base, ours = os.urandom(1000), [os.urandom(20 << 20), os.urandom(20 << 20)]
    (both[0] / "log").write_bytes(base)
    fds = [appender(folder, "log", data) for folder, data in zip(both, ours)]
    closers = [threading.Thread(target=os.close, args=(fd,)) for fd in fds]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join()
    one, two = (base + data for data in ours)
    for folder in both:
        found = sorted((folder / name).read_bytes() for name in os.listdir(folder))
        assert found in (sorted([one, two]), [one + ours[1]], [two + ours[0]])
