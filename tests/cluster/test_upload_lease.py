# SPDX-License-Identifier: Apache-2.0
"""Large values whose sender is slow, or stands still for longer than the cluster keeps pieces that nothing
names yet (E8): nothing is collected under who goes on, and nobody is told that all is well when a piece is
gone. The lease is three seconds here, for an hour's waiting would prove no more."""

import array
import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import termios

import pytest

from harness import tree, wait

MIB = 1 << 20
DATA = os.urandom(12 * MIB)


@pytest.fixture(name="nodes")
def impatient_nodes(make_cluster):
    """And patient where this is not about patience, on a machine that is busy."""
    return make_cluster(3, upload_lease="3s", body_rate=0, replica_timeout="5s", request_timeout="20s")


def collected(nodes):
    texts = [node.request("GET", "/metrics").body.decode() for node in nodes.nodes]
    return sum(int(re.search(r"^dynamount_chunks_collected\w* (\d+)$", text, re.M)[1]) for text in texts)


@contextlib.contextmanager
def sending(node, path, begin=3 * MIB + 5):
    """A PUT of DATA whose first bytes are sent."""
    host, _, port = node.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as line:
        line.sendall(f"PUT /v1/kv/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n\r\n".encode())
        line.sendall(DATA[:begin])
        yield line


def until_others_are_collected(nodes, meanwhile=lambda: None):
    """Longer than any piece stays: an upload that was given up is gone, and so is another one, which
    began only then."""
    for name in ("given-up", "given-up-later"):
        before = collected(nodes)
        with sending(nodes.nodes[1], name):
            pass

        def gone(enough=before + 3):
            meanwhile()
            return collected(nodes) >= enough
        wait.until(gone, 60, f"the end of {name}")


def answer_to(line):
    got = b""
    while b"\r\n\r\n" not in got or (b"Content-Length" in got and b"}" not in got):
        more = line.recv(65536)
        if not more:
            break
        got += more
    return got


@pytest.mark.limit(120)
def test_a_put_that_stood_still_for_too_long_is_409_and_the_next_one_works(nodes):
    a, b, _ = nodes.nodes
    with sending(a, "big") as line:
        wait.until(lambda: collected(nodes) >= 3, 60, "the end of what was sent")
        line.sendall(DATA[3 * MIB + 5:])
        answer = answer_to(line)
    assert answer.startswith(b"HTTP/1.1 409 ") and b"send them again" in answer
    assert b.request("GET", "/v1/kv/big").status == 404
    assert a.request("PUT", "/v1/kv/big", DATA).status == 204
    assert b.request("GET", "/v1/kv/big").body == DATA


@pytest.mark.limit(120)
def test_a_put_that_trickles_keeps_its_lease(nodes):
    """Less than a piece in all that time: so it is not pieces that renew it."""
    a, b, _ = nodes.nodes
    at = 3 * MIB + 5
    with sending(a, "big", at) as line:
        def trickle():
            nonlocal at
            line.sendall(DATA[at:at + 100])
            at += 100
        until_others_are_collected(nodes, trickle)
        line.sendall(DATA[at:])
        assert answer_to(line).startswith(b"HTTP/1.1 204 ")
    assert b.request("GET", "/v1/kv/big").body == DATA


class Putting:
    """dynactl put of what comes through a pipe."""

    def __init__(self, nodes):
        self.process = subprocess.Popen(
            [tree.DYNACTL, "put", "--upload-lease", "3s", "big"], stdin=subprocess.PIPE,
            stderr=subprocess.PIPE, env={**os.environ, "DYNAMOUNT_NODES": ",".join(nodes.addresses)})
        self.process.stdin.write(DATA[:3 * MIB + 5])
        self.process.stdin.flush()
        wait.until(lambda: self.unread() == 0 and tree.state_of(self.process.pid) == "S", 20,
                   "dynactl waiting for more")

    def unread(self):
        count = array.array("i", [0])
        fcntl.ioctl(self.process.stdin.fileno(), termios.FIONREAD, count)
        return count[0]

    def end(self):
        _, said = self.process.communicate(DATA[3 * MIB + 5:], timeout=30)
        return self.process.returncode, said


@pytest.fixture(name="putting")
def put_through_a_pipe(nodes):
    made = Putting(nodes)
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.communicate()


@pytest.mark.limit(120)
def test_dynactl_put_keeps_its_lease_while_its_input_stands_still(nodes, putting):
    until_others_are_collected(nodes)
    assert putting.end() == (0, b"")
    assert nodes.nodes[0].request("GET", "/v1/kv/big").body == DATA


@pytest.mark.limit(120)
def test_dynactl_put_says_when_it_was_stopped_for_too_long(nodes, putting):
    putting.process.send_signal(signal.SIGSTOP)
    wait.until(lambda: collected(nodes) >= 3, 60, "the end of what was sent")
    putting.process.send_signal(signal.SIGCONT)
    status, said = putting.end()
    assert status == 1 and b"put all of it again" in said
    assert nodes.nodes[0].request("GET", "/v1/kv/big").status == 404
    nodes.dynactl("put", "big", stdin=DATA)
    assert nodes.nodes[0].request("GET", "/v1/kv/big").body == DATA
