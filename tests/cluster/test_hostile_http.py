# SPDX-License-Identifier: Apache-2.0
"""What a node answers to bad input, and that it lives on: keys and parameters that break a rule, bad
contexts, bad framing, bodies over the limit, garbage to the batch endpoints."""

import json
import os
import socket
import struct

import pytest


@pytest.fixture
def node(make_cluster):
    """A cluster's only node. Whatever a test did to it, it must serve afterwards."""
    only = make_cluster(1).nodes[0]
    assert only.request("PUT", "/v1/kv/before", b"kept").status == 204
    yield only
    assert only.process.running
    assert only.request("GET", "/v1/kv/before").body == b"kept"
    assert only.request("PUT", "/v1/kv/after", b"yes").status == 204
    assert only.request("GET", "/v1/kv/after").body == b"yes"


def number(value):
    """A short name for a case."""
    return f"{len(value)}-bytes" if isinstance(value, bytes) else value[:20]


def raw(node, data, shut=True):
    """Everything that comes back for these bytes, until the node closes."""
    host, _, port = node.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=15) as connection:
        connection.sendall(data)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        parts = []
        try:
            while part := connection.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)


def error_of(answer):
    body = json.loads(answer.body)
    assert set(body) >= {"error", "message"}
    return body


@pytest.mark.parametrize("path, word", [
    ("/v1/kv/", "empty"),
    ("/v1/kv/a//b", "empty component"),
    ("/v1/kv/a/../b", ".."),
    ("/v1/kv/./a", "."),
    ("/v1/kv/a%00b", "NUL"),
    ("/v1/kv/a%2", "percent"),
    ("/v1/kv/" + "x" * 256, "255"),
    ("/v1/kv/" + "/".join(["y" * 200] * 21), "4095"),
    ("/v1/kv/a?w=9", "n r and w"),
    ("/v1/kv/a?durability=maybe", "durability"),
    ("/v1/kv/a?sloppy=perhaps", "sloppy"),
    ("/v1/kv/a?timeout=never", "timeout"),
    ("/v1/kv/a?durabilty=quorum", "durabilty"),
    ("/v1/kv/a?sibling=mine", "sibling"),
    ("/v1/dir/a?limit=0", "limit"),
    ("/v1/dir/a?limit=10001", "limit"),
    ("/v1/ring?from=256", "from"),
], ids=number)
def test_a_request_that_breaks_a_rule_is_400_and_names_it(node, path, word):
    answer = node.request("GET", path)
    assert answer.status == 400
    assert word in error_of(answer)["message"].replace(",", "")
    if path.startswith("/v1/kv/"):
        assert node.request("PUT", path, b"x").status == 400


@pytest.mark.parametrize("context", ["!!!", "AAAA", "AQEBEQ", "x" * 2000, ",,", "AQ, AQ"],
                         ids=number)
def test_a_context_that_no_read_gave_is_refused(node, context):
    answer = node.request("PUT", "/v1/kv/a", b"x", {"Dynamount-Context": context})
    assert answer.status == 400
    assert error_of(answer)["error"] == "bad_context"


def test_a_context_of_another_key_is_refused(node):
    node.request("PUT", "/v1/kv/a", b"x")
    context = node.request("GET", "/v1/kv/a").headers["Dynamount-Context"]
    answer = node.request("PUT", "/v1/kv/b", b"x", {"Dynamount-Context": context})
    assert answer.status == 400
    assert error_of(answer)["error"] == "bad_context"
    assert node.request("PUT", "/v1/kv/a", b"y", {"Dynamount-Context": context}).status == 204
    assert node.request("GET", "/v1/kv/a").body == b"y"


HEAD = b"PUT /v1/kv/framed HTTP/1.1\r\nHost: h\r\n"


@pytest.mark.parametrize("data", [
    HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    HEAD + b"Content-Length: +3\r\n\r\nabc",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    HEAD + b": empty name\r\nContent-Length: 3\r\n\r\nabc",
    HEAD + b"Content-Length : 3\r\n\r\nabc",
    HEAD + b"X: a\r\n folded\r\nContent-Length: 3\r\n\r\nabc",
    HEAD + b"X: a\nContent-Length: 3\r\n\r\nabc",
    HEAD + b"X: \x00\r\nContent-Length: 3\r\n\r\nabc",
    b"PUT /v1/kv/framed\r\n\r\n",
    b"\r\n" + HEAD + b"Content-Length: 3\r\n\r\nabc",
    b"\x00" * 100,
], ids=number)
def test_what_is_not_clean_http_is_400_and_the_connection_ends(node, data):
    answer = raw(node, data + b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", shut=False)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Connection: close" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "bad_http"
    assert answer.count(b"HTTP/1.1 4") == 1 and b"HTTP/1.1 2" not in answer, "nothing after the bad request is answered"
    assert node.request("GET", "/v1/kv/framed").status == 404


def test_a_head_over_its_limit_is_431(node):
    answer = raw(node, b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 200_000 + b"\r\n\r\n", shut=False)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_file_over_the_limit_of_a_value_goes_into_chunks(node):
    node.stop()
    node.configure(value_max="1M")
    node.start()
    for size in [1 << 20, (1 << 20) + 1, 3_000_000]:
        body = os.urandom(size)
        assert node.request("PUT", "/v1/kv/large", body, {"If-Match": "*"}).status == 204
        assert node.request("GET", "/v1/kv/large").body == body


def test_a_body_that_no_file_can_hold_is_413(node):
    answer = raw(node, HEAD + b"Content-Length: 2251799813685249\r\n\r\n", shut=False)
    assert answer.startswith(b"HTTP/1.1 413 ")
    error = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert error["error"] == "too_large" and "2251799813685248 bytes" in error["message"]
    assert node.request("GET", "/v1/kv/framed").status == 404


@pytest.mark.parametrize("path", ["/internal/batch", "/v1/batch"])
@pytest.mark.parametrize("body", [
    b"", b"garbage", b"DYN1", b"\x00" * 44, b"DYN1" + b"\xff" * 100, b"DYN1" + bytes(40),
    b"DYN1" + bytes(40) + b"\x20\xff\xff\xff\xff" + bytes(8), os.urandom(100_000),
], ids=number)
def test_garbage_to_the_batch_endpoints_is_refused(node, path, body):
    answer = node.request("POST", path, body)
    assert answer.status in (400, 403, 421)
    error_of(answer)


def test_methods_and_pages_that_there_are_not(node):
    for method, path, status in [("POST", "/v1/kv/a", 405), ("GET", "/v1/batch", 405),
                                 ("DELETE", "/v1/cluster", 405), ("GET", "/", 404),
                                 ("GET", "/v2/kv/a", 404), ("PATCH", "/v1/kv/a", 501)]:
        answer = node.request(method, path)
        assert answer.status == status, (method, path)
        error_of(answer)


def test_names_that_are_not_utf8_come_back_percent_encoded(node):
    assert node.request("PUT", "/v1/kv/odd/%FF%FE%20x", b"1").status == 204
    entries = json.loads(node.request("GET", "/v1/dir/odd").body)["entries"]
    assert [entry["name"] for entry in entries] == ["%FF%FE%20x"]
    assert node.request("GET", "/v1/kv/odd/%FF%FE%20x").body == b"1"


def test_a_batch_of_very_many_frames_is_refused(node):
    """They would all be handled in one turn of the loop, and be answered with much more than they are."""
    ring = struct.Struct("<BIQ")
    frames = b"".join(ring.pack(36, 0, rid) for rid in range(1, 5001))
    header = b"DYN1" + bytes(24) + bytes(16)
    answer = node.request("POST", "/v1/batch", header + frames)
    assert answer.status == 400 and "4096 frames" in error_of(answer)["message"]
    assert node.request("POST", "/v1/batch", header + frames[:1000 * ring.size]).status == 200


def test_clients_that_announce_much_and_send_little_keep_nobody_out(node):
    host, _, port = node.address.rpartition(":")
    slow = [socket.create_connection((host, int(port)), timeout=15) for _ in range(8)]
    for connection in slow:
        connection.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: h\r\n"
                           b"Content-Length: 69000000\r\n\r\nx")
    assert node.request("PUT", "/v1/kv/large", bytes(1 << 20)).status == 204
    for connection in slow:
        connection.close()
