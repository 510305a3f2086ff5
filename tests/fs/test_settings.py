# SPDX-License-Identifier: Apache-2.0
"""Settings of directories as extended attributes of a mount."""

import errno
import os

import pytest

from harness import wait

NAME = "user.dynamount.reconcile"


def test_setfattr_on_a_directory_holds_for_what_lies_below(mnt, three_nodes):
    (mnt / "carts" / "old").mkdir(parents=True)
    (mnt / "carts" / "ada").write_text("milk\n")
    os.setxattr(mnt / "carts", NAME, b"union")
    assert os.getxattr(mnt / "carts", NAME) == b"union"
    assert os.getxattr(mnt / "carts" / "ada", NAME) == b"union"
    assert os.getxattr(mnt / "carts" / "old", NAME) == b"union"
    with pytest.raises(OSError) as nothing:
        os.getxattr(mnt, NAME)
    assert nothing.value.errno == errno.ENODATA
    three_nodes.nodes[1].request("PUT", "/v1/kv/carts/ada", b"bread\n")
    lines = wait.until(lambda: (mnt / "carts" / "ada").read_text().split() == ["milk", "bread"],
                       10, "the cart with both lines")
    assert lines
    wait.until(lambda: sorted(os.listdir(mnt / "carts")) == ["ada", "old"], 10, "one cart")
    os.removexattr(mnt / "carts", NAME)
    with pytest.raises(OSError):
        os.getxattr(mnt / "carts" / "ada", NAME)


def test_the_newest_alone_is_shown_under_lww(mnt, three_nodes):
    (mnt / "logs").mkdir()
    os.setxattr(mnt / "logs", NAME, b"lww")
    for number, node in enumerate(three_nodes.nodes):
        node.request("PUT", "/v1/kv/logs/x", f"{number}\n".encode())
    assert os.listdir(mnt / "logs") == ["x"]
    assert (mnt / "logs" / "x").read_text() == "2\n"


@pytest.mark.parametrize("name, value, error", [
    (NAME, b"newest", errno.EINVAL),
    ("user.dynamount.r", b"4", errno.EINVAL),
    ("user.dynamount.n", b"4", errno.EINVAL),
    ("user.dynamount.dot", b"x", errno.EPERM),
])
def test_what_cannot_be_set_is_refused(mnt, name, value, error):
    (mnt / "d").mkdir()
    with pytest.raises(OSError) as refusal:
        os.setxattr(mnt / "d", name, value)
    assert refusal.value.errno == error


def test_a_file_has_no_settings_of_its_own(mnt):
    (mnt / "f").write_text("x")
    with pytest.raises(OSError) as refusal:
        os.setxattr(mnt / "f", NAME, b"lww")
    assert refusal.value.errno == errno.ENOTDIR


def test_n_of_a_directory_is_inherited_and_its_files_are_read_and_written(mnt):
    (mnt / "scratch" / "deep").mkdir(parents=True)
    os.setxattr(mnt / "scratch", "user.dynamount.n", b"1")
    assert os.getxattr(mnt / "scratch" / "deep", "user.dynamount.n") == b"1"
    for text in ("one\n", "two\n"):
        (mnt / "scratch" / "deep" / "f").write_text(text)
        assert (mnt / "scratch" / "deep" / "f").read_text() == text
    os.removexattr(mnt / "scratch", "user.dynamount.n")
    with pytest.raises(OSError):
        os.getxattr(mnt / "scratch" / "deep", "user.dynamount.n")
    assert (mnt / "scratch" / "deep" / "f").read_text() == "two\n"
