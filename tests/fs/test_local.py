# SPDX-License-Identifier: Apache-2.0
"""dynamount --local: a node that lives as long as its mount. And mounting as an ordinary user."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest

from harness import sweep, tree, wait

from . import shell

NOBODY = 65534


def command(*words, seconds=40):
    """Runs a command with the built programs on PATH."""
    path = f"{tree.DYNACTL.parent}:{tree.DYNANODE.parent}:{os.environ['PATH']}"
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=seconds,
                          env=dict(os.environ, PATH=path), check=False)


def processes(program, word):
    """Pids of the programs of that name with that word on their command line."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if words[0].endswith(program.encode()) and os.fsencode(word) in words:
                found.append(int(path.parent.name))
    return found


class Local:
    """A folder of data, a mount point, and what runs for them."""

    def __init__(self, folder):
        self.data = folder / "data"
        self.point = folder / "point"
        self.point.mkdir()
        self.conf = self.data / "node1" / "dynanode.conf"

    def mount(self, point=None):
        return command(tree.DYNAMOUNT, "--local", self.data, point or self.point)

    def nodes(self):
        return processes("dynanode", self.conf)

    def mounts(self):
        return processes("dynamount", self.point)

    def unmount(self):
        assert command("umount", self.point).returncode == 0
        wait.until(lambda: not self.mounts(), what="the end of dynamount")

    def dynactl(self, *words):
        return command(tree.DYNACTL, *words, "--cluster", self.data)

    def close(self):
        for pid in self.mounts():
            os.kill(pid, signal.SIGKILL)
        wait.until(lambda: not self.mounts(), what="the end of dynamount")
        while self.point in [pathlib.Path(where) for where, _ in tree.mounts()]:
            sweep.unmount(str(self.point))
        wait.until(lambda: not self.nodes(), what="the end of the node")


@pytest.fixture
def local(tmp_path):
    made = Local(tmp_path)
    yield made
    made.close()


def test_the_node_lives_as_long_as_the_mount(local):
    done = local.mount()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(local.nodes()) == 1
    assert f"local:{local.data}" in pathlib.Path("/proc/self/mounts").read_text()
    shell.run(local.point, "mkdir -p a/b; echo hello > a/b/f")
    local.unmount()
    assert local.nodes() == []
    assert local.mount().returncode == 0
    assert (local.point / "a/b/f").read_text() == "hello\n"


def test_it_is_a_cluster_of_one_that_dynactl_knows(local):
    local.mount()
    shell.run(local.point, "echo hello > f")
    status = json.loads(local.dynactl("status", "--json").stdout)
    assert len(status["members"]) == 1 and status["n"] == 1
    assert local.dynactl("get", "f").stdout == "hello\n"


def test_a_node_that_ends_is_started_again(local):
    local.mount()
    shell.run(local.point, "echo hello > f")
    first = local.nodes()
    os.kill(first[0], signal.SIGKILL)
    shell.run(local.point, "echo more >> f")
    assert (local.point / "f").read_text() == "hello\nmore\n"
    assert len(local.nodes()) == 1 and local.nodes() != first


def test_the_node_ends_with_a_mount_that_is_killed(local):
    local.mount()
    shell.run(local.point, "echo hello > f")
    os.kill(local.mounts()[0], signal.SIGKILL)
    assert local.mount().returncode == 0  # while the old node may still be closing its store
    assert (local.point / "f").read_text() == "hello\n"
    assert len(local.nodes()) == 1
    os.kill(local.mounts()[0], signal.SIGKILL)
    wait.until(lambda: not local.nodes(), what="the end of the node")


def test_a_second_mount_of_the_same_data_is_told_the_address(local, tmp_path):
    local.mount()
    second = tmp_path / "second"
    second.mkdir()
    done = local.mount(second)
    assert done.returncode == 1 and f"used by the mount on {local.point}" in done.stderr
    address = done.stderr.split()[-1]
    assert command(tree.DYNAMOUNT, address, second).returncode == 0
    shell.run(local.point, "echo hello > f")
    assert (second / "f").read_text() == "hello\n"
    assert command("umount", second).returncode == 0


def test_what_cluster_up_runs_is_used_and_left_alone(local):
    created = command(tree.DYNACTL, "cluster", "create", local.data, "--nodes", "1")
    assert created.returncode == 0
    assert command(tree.DYNACTL, "cluster", "up", local.data).returncode == 0
    try:
        running = local.nodes()
        assert local.mount().returncode == 0 and local.nodes() == running
        local.unmount()
        assert local.nodes() == running
    finally:
        assert command(tree.DYNACTL, "cluster", "down", local.data).returncode == 0


def test_a_node_that_does_not_start_is_an_error_with_its_words(local):
    command(tree.DYNACTL, "cluster", "create", local.data, "--nodes", "1")
    with local.conf.open("a") as conf:
        conf.write("no_such_setting = 1\n")
    done = local.mount()
    assert done.returncode == 1 and "unknown key 'no_such_setting'" in done.stderr
    assert not os.path.ismount(local.point)


@pytest.mark.parametrize("prepare, complaint", [
    (lambda local: (local.data.mkdir(), (local.data / "mine").write_text("")), "is not empty"),
    (lambda local: setattr(local, "data", local.point / "data"), "must not be inside the mount"),
    (lambda local: setattr(local, "data", local.point / "none" / "data"), "No such file"),
])
def test_a_folder_that_cannot_hold_the_data_is_explained(local, prepare, complaint):
    prepare(local)
    done = local.mount()
    assert done.returncode == 1 and complaint in done.stderr
    assert not os.path.ismount(local.point) and local.nodes() == []


# As root, in a mount namespace of its own: /dev/fuse as a machine with udev has it, and a folder
# that an ordinary user can reach, which those of a test run are not.
ORDINARY_USER = r"""
set -e
umount -l -a -t fuse.dynamount || true # copies of other mounts would keep their dynamounts alive
mount -t tmpfs none /mnt
mknod -m 666 /mnt/fuse c 10 229
mount --bind /mnt/fuse /dev/fuse
cp "$1" /mnt/dynamount
mkdir /mnt/point
chown 65534:65534 /mnt/point
exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -ec '
    /mnt/dynamount "$1" /mnt/point
    cd /mnt/point
    trap "cd /; fusermount3 -u /mnt/point" EXIT
    cat curl; echo mine >> curl; mv curl renamed; chmod 600 renamed; cat renamed
    echo below > dir/g; mkdir new; stat -c "%u %a %n" . new renamed dir/g
    ! cat roots 2> /dev/null; ! rm -f keep/f 2> /dev/null' sh "$2"
"""


def test_an_ordinary_user_mounts_and_owns_what_nobody_else_made(three_nodes, tmp_path):
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("becoming an ordinary user needs root")
    by_root = three_nodes.mount(tmp_path / "root").point
    shell.run(by_root, "echo secret > roots; chmod 600 roots; mkdir keep; echo 1 > keep/f")
    address = three_nodes.addresses[0]
    for key in ("curl", "dir/f"):  # dir is made by nobody: it is implied
        assert three_nodes.nodes[0].request("PUT", f"/v1/kv/{key}", b"put\n").status == 204
    done = command("unshare", "-m", "sh", "-c", ORDINARY_USER, "sh", tree.DYNAMOUNT, address)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["put", "put", "mine", f"{NOBODY} 755 .",
                                        f"{NOBODY} 755 new", f"{NOBODY} 600 renamed",
                                        f"{NOBODY} 644 dir/g"]
    assert (by_root / "keep/f").read_text() == "1\n"
