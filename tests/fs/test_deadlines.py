# SPDX-License-Identifier: Apache-2.0
"""Deadlines do not add up (F22): a command is many requests, and the cluster may have no quorum.

Nodes are stopped, not killed: a silent machine is what costs time."""

import contextlib
import subprocess
import time

import pytest

from harness import wait

from . import shell

DEADLINE = 3  # seconds, for each operation of the mount
SLACK = 2.5  # beyond it, for a whole command: a loaded machine, and the looks that fail soon


@contextlib.contextmanager
def held(nodes):
    for node in nodes:
        node.pause()
    try:
        yield
    finally:
        for node in nodes:
            node.resume()


def prepare(cluster, folder):
    mnt = cluster.mount(folder / "mnt", options=[f"deadline={DEADLINE}s", "attr_timeout=0",
                                                    "entry_timeout=0"]).point
    shell.run(mnt, "mkdir d; for i in $(seq 8); do echo $i > d/f$i; echo $i > g$i; done")
    return mnt


COMMANDS = {
    "rm": "rm g1 g2",
    "mv": "mv g1 g1.new",
    "ls -l": "ls -l . d",
    "cp of several files": "cp g1 g2 g3 g4 d/",
    "cat": "cat g1 g2 g3 d/f1 d/f2",
    "a redirection": "echo x > new",
    "mkdir": "mkdir -p a/b/c",
}


@pytest.mark.limit(120)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_a_quorum_ends_within_one_deadline(three_nodes, tmp_path, command):
    mnt = prepare(three_nodes, tmp_path)
    with held(three_nodes.nodes[1:]):
        begun = time.monotonic()
        ended = shell.attempt(mnt, COMMANDS[command], 60)
        took = time.monotonic() - begun
    assert ended.returncode != 0
    assert "temporarily unavailable" not in ended.stderr  # never EAGAIN
    assert took < DEADLINE + SLACK, f"{command}: {took:.1f} s: {ended.stderr}"
    begun = time.monotonic()
    wait.until(lambda: shell.attempt(mnt, "echo x > new2; cat new2 d/f1").returncode == 0, 10,
               "a write and a read that work again")
    assert time.monotonic() - begun < 1.5
    assert shell.run(mnt, "for i in 5 6 7 8; do cat g$i d/f$i; done").split() == \
        [n for n in "5678" for _ in range(2)]


@pytest.mark.limit(120)
def test_many_commands_without_a_quorum_pay_one_deadline_together(three_nodes, tmp_path):
    mnt = prepare(three_nodes, tmp_path)
    with held(three_nodes.nodes[1:]):
        begun = time.monotonic()
        for number in range(5):
            assert shell.attempt(mnt, f"echo {number} > n{number}", 60).returncode != 0
            assert shell.attempt(mnt, f"rm g{number + 1}", 60).returncode != 0
        took = time.monotonic() - begun
    assert took < 2 * DEADLINE + SLACK
    wait.until(lambda: shell.attempt(mnt, "echo x > new").returncode == 0, 10, "a write that works")


@pytest.mark.limit(90)
def test_reads_that_one_node_can_answer_go_on(three_nodes, tmp_path):
    """A state without a quorum is one of writes and reads that need it: R = 1 does not."""
    mnt = prepare(three_nodes, tmp_path)
    with held(three_nodes.nodes[1:]):
        assert shell.attempt(mnt, "echo x > new", 60).returncode != 0
        got = three_nodes.dynactl("get", "--r", "1", "g1", check=False, seconds=20)
        assert (got.returncode, got.stdout) == (0, b"1\n"), got.stderr


@pytest.mark.limit(90)
def test_who_waits_when_the_nodes_come_back_is_served(three_nodes, tmp_path):
    """An operation that waits for a quorum sees it come, rather than its deadline."""
    mnt = three_nodes.mount(tmp_path / "mnt", options=["deadline=20s"]).point
    shell.run(mnt, "echo 1 > f")
    with held(three_nodes.nodes[1:]):
        # bash goes there itself: Popen would wait for a child that cannot even enter the mount.
        writer = subprocess.Popen(["bash", "-c", 'cd "$1" && echo 2 > f && cat f', "writer", mnt],
                                  stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(2)
    begun = time.monotonic()
    assert writer.communicate(timeout=15)[0] == "2\n"
    assert time.monotonic() - begun < 3
