# SPDX-License-Identifier: Apache-2.0
"""Large bodies over plain HTTP, both ways: in pieces, under conditions, with bounded memory."""

import contextlib
import hashlib
import os
import re
import select
import socket
import subprocess

import pytest
from harness import wait

MIB = 1 << 20


def connect(node):
    host, _, port = node.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def head(path, length, *headers, method="PUT"):
    lines = [f"{method} /v1/kv/{path} HTTP/1.1", "Host: x", *headers]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def peak_kib(node):
    with open(f"/proc/{node.process.pid}/status") as status:
        return int(re.search(r"VmHWM:\s+(\d+)", status.read())[1])


@pytest.mark.limit(120)
def test_conditions_and_contexts_hold_for_large_bodies_too(three_nodes):
    a, b, _ = three_nodes.nodes
    one, two, three = (os.urandom(9 * MIB + i) for i in range(3))
    assert a.request("PUT", "/v1/kv/k?durability=quorum&w=3", one, {"If-None-Match": "*"}).status == 204
    assert b.request("PUT", "/v1/kv/k", two, {"If-None-Match": "*"}).status == 412
    context = b.request("HEAD", "/v1/kv/k").headers["Dynamount-Context"]
    assert b.request("PUT", "/v1/kv/k", two, {"If-Match": "*"}).status == 204
    assert a.request("GET", "/v1/kv/k").body == two
    # the context is of a version that is gone: what came since stays beside it
    assert a.request("PUT", "/v1/kv/k", three, {"Dynamount-Context": context}).status == 204
    answer = b.request("GET", "/v1/kv/k")
    assert answer.status == 300 and answer.headers["Dynamount-Siblings"] == "2"
    dots = re.findall(rb"Dynamount-Dot: (\S+)", answer.body)
    digests = {hashlib.sha256(a.request("GET", f"/v1/kv/k?sibling={dot.decode()}").body).digest()
               for dot in dots}
    assert digests == {hashlib.sha256(two).digest(), hashlib.sha256(three).digest()}
    both = answer.headers["Dynamount-Context"]
    assert a.request("PUT", "/v1/kv/k", one, {"Dynamount-Context": both}).status == 204
    part = b.request("GET", "/v1/kv/k", headers={"Range": f"bytes={5 * MIB - 3}-{5 * MIB + 2}"})
    assert part.status == 206 and part.body == one[5 * MIB - 3:5 * MIB + 3]


def test_curl_sends_a_large_file_when_it_is_asked_to_and_not_before(three_nodes, tmp_path):
    (tmp_path / "large").write_bytes(os.urandom(12 * MIB))
    url = f"http://{three_nodes.nodes[0].address}/v1/kv/large"
    done = subprocess.run(["curl", "-sS", "-v", "-T", tmp_path / "large", "-H", "Expect: 100-continue",
                           url], capture_output=True, timeout=50)
    assert done.returncode == 0 and b"< HTTP/1.1 100 Continue" in done.stderr
    assert b"< HTTP/1.1 204" in done.stderr
    chunked = subprocess.run(["curl", "-sS", "-f", "-T", "-", "-H", "If-Match: *", url],
                             stdin=open(tmp_path / "large", "rb"), timeout=50)
    assert chunked.returncode == 0
    assert three_nodes.nodes[1].request("GET", "/v1/kv/large").body == (tmp_path / "large").read_bytes()


@pytest.mark.limit(120)
@pytest.mark.plain
def test_twenty_slow_uploads_keep_little_in_memory(three_nodes):
    node = three_nodes.nodes[0]
    size = 12 * MIB
    body = os.urandom(size)
    before = peak_kib(node)
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(connect(node)) for _ in range(20)]
        for number, line in enumerate(lines):
            line.sendall(head(f"up{number}", size))
        for at in range(0, size, MIB):
            for line in lines:
                line.sendall(body[at:at + MIB])
        for line in lines:
            assert line.recv(100).startswith(b"HTTP/1.1 204")
    assert peak_kib(node) - before < 200 * 1024  # all bodies together are 240 MiB
    for number in (0, 19):
        assert three_nodes.nodes[1].request("GET", f"/v1/kv/up{number}").body == body


def test_an_upload_that_dies_leaves_no_version_and_no_open_upload(three_nodes):
    a, b, _ = three_nodes.nodes
    with connect(a) as line:
        line.sendall(head("half", 30 * MIB) + os.urandom(5 * MIB))
    wait.until(lambda: a.request("PUT", "/v1/kv/other", b"x").status == 204)
    assert b.request("GET", "/v1/kv/half").status == 404
    assert b"half" not in b.request("GET", "/v1/dir/").body
    assert a.request("PUT", "/v1/kv/half", b"whole", {"If-None-Match": "*"}).status == 204


@pytest.mark.limit(120)
@pytest.mark.plain
def test_readers_who_take_nothing_wait_for_room(make_cluster):
    cluster = make_cluster(3)
    node = cluster.nodes[0]
    node.stop()
    node.configure(answers_max="32M")
    node.start()
    body = os.urandom(8 * MIB)
    wait.until(lambda: node.request("PUT", "/v1/kv/large", body, {"If-Match": "*"}).status == 204, 40)
    before = peak_kib(node)
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(connect(node)) for _ in range(100)]
        for line in lines:
            line.sendall(head("large", None, method="GET"))
        assert node.request("GET", "/healthz", timeout=40).status == 200  # nobody else is held up
        assert node.request("PUT", "/v1/kv/small", b"x", timeout=40).status == 204
        wait.until(lambda: node.request("GET", "/v1/kv/small", timeout=30).body == b"x", 40)
        refused, waiting = 0, list(lines)
        while waiting and refused < 50:  # after they have waited
            for line in select.select(waiting, [], [], 30)[0]:
                refused += b"Retry-After: 1" in line.recv(300, socket.MSG_PEEK)
                waiting.remove(line)
        assert refused > 10
    assert peak_kib(node) - before < 200 * 1024  # they are 800 MiB together
    wait.until(lambda: node.request("GET", "/v1/kv/large").body == body, 40)


def attributes(answer):
    return tuple(answer.headers[f"Dynamount-{name}"] for name in ("Mode", "Uid", "Gid"))


def test_a_put_keeps_the_attributes_of_what_it_replaces(three_nodes):
    a, b, _ = three_nodes.nodes
    given = {"Dynamount-Mode": "0600", "Dynamount-Uid": "7", "Dynamount-Gid": "8"}
    assert a.request("PUT", "/v1/kv/k", b"one", given).status == 204
    assert b.request("PUT", "/v1/kv/k", b"two", {"If-Match": "*"}).status == 204
    assert attributes(a.request("HEAD", "/v1/kv/k")) == ("0600", "7", "8")
    context = a.request("HEAD", "/v1/kv/k").headers["Dynamount-Context"]
    overwrite = {"Dynamount-Context": context, "Dynamount-Gid": "9"}
    assert b.request("PUT", "/v1/kv/k", b"three", overwrite).status == 204
    assert attributes(a.request("HEAD", "/v1/kv/k")) == ("0600", "7", "9")
    assert a.request("PUT", "/v1/kv/k", os.urandom(9 * MIB), {"If-Match": "*"}).status == 204
    assert attributes(b.request("HEAD", "/v1/kv/k")) == ("0600", "7", "9")
    # what replaces nothing begins anew
    assert b.request("PUT", "/v1/kv/k", b"beside").status == 204
    assert b"Dynamount-Mode: 0644" in a.request("GET", "/v1/kv/k").body


def test_a_directory_that_is_not_empty_is_not_deleted(three_nodes):
    a, b, _ = three_nodes.nodes
    a.request("PUT", "/v1/kv/made", b"", {"Dynamount-Type": "directory", "Dynamount-Mode": "0700"})
    a.request("PUT", "/v1/kv/made/file", b"x")
    a.request("PUT", "/v1/kv/implied/file", b"x")
    for key in ("made", "implied"):
        answer = b.request("DELETE", f"/v1/kv/{key}")
        assert answer.status == 409 and b'"not_empty"' in answer.body
        assert b.request("GET", f"/v1/kv/{key}/file").body == b"x"
    context = b.request("HEAD", "/v1/kv/made").headers["Dynamount-Context"]
    assert b.request("DELETE", "/v1/kv/made", headers={"Dynamount-Context": context}).status == 409
    assert attributes(b.request("HEAD", "/v1/kv/made"))[0] == "0700"
    assert a.request("DELETE", "/v1/kv/made/file").status == 204
    assert a.request("DELETE", "/v1/kv/made").status == 204
    assert b.request("GET", "/v1/dir/made").status == 404
