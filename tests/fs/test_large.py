# SPDX-License-Identifier: Apache-2.0
"""Large files on a real mount: in and out again, edited, renamed, sparse, and with bounded memory."""

import http.client
import os
import re
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

MIB = 1 << 20


@pytest.fixture(name="source")
def random_file(tmp_path):
    """A file of random bytes, so that nothing is small by compression or equal by chance."""
    def make(size):
        path = tmp_path / f"random{size}"
        with open(path, "wb") as out:
            for at in range(0, size, MIB):
                out.write(os.urandom(min(MIB, size - at)))
        return path
    return make


def most_memory(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) << 10


def metric(mnt, name):
    with open(mnt / ".dynamount/metrics", encoding="utf-8") as metrics:
        return int(re.search(rf"^dynamount_{name} (\d+)$", metrics.read(), re.M)[1])


def url(cluster, key):
    return f"http://{cluster.nodes[0].address}/v1/kv/{key}"


@pytest.mark.plain  # it is about memory
@pytest.mark.limit(300)
def test_a_file_of_300_mib_goes_in_and_out_in_bounded_memory(mnt, three_nodes, source):
    path = source(300 * MIB)
    subprocess.run(["cp", path, mnt / "big"], check=True, timeout=200)
    subprocess.run(["cmp", path, mnt / "big"], check=True, timeout=100)
    assert os.stat(mnt / "big").st_blocks * 512 == 300 * MIB
    pids = [node.process.popen.pid for node in three_nodes.nodes]
    assert all(most_memory(pid) < 256 * MIB for pid in pids), [most_memory(p) for p in pids]
    assert most_memory(three_nodes.mounts[0].process.popen.pid) < 224 * MIB


@pytest.mark.limit(120)
def test_an_edit_of_4_kib_sends_about_one_chunk(mnt, source):
    path = source(40 * MIB)
    subprocess.run(["cp", path, mnt / "big"], check=True, timeout=100)
    before = metric(mnt, "value_bytes_put_total")
    for name in [path, mnt / "big"]:
        with open(name, "r+b") as file:
            file.seek(21 * MIB + 777)
            file.write(b"e" * 4096)
    assert metric(mnt, "value_bytes_put_total") - before < MIB + 65536
    subprocess.run(["cmp", path, mnt / "big"], check=True, timeout=100)


def test_a_rename_moves_no_bytes(mnt, source):
    path = source(20 * MIB)
    subprocess.run(["cp", path, mnt / "big"], check=True, timeout=100)
    before = metric(mnt, "value_bytes_put_total")
    os.rename(mnt / "big", mnt / "other")
    assert metric(mnt, "value_bytes_put_total") - before < 65536
    assert sorted(os.listdir(mnt)) == ["other"]
    subprocess.run(["cmp", path, mnt / "other"], check=True, timeout=100)


def test_a_sparse_file_costs_what_was_written(mnt):
    with open(mnt / "sparse", "w+b") as file:
        file.truncate(10 << 30)
        for at in [3 << 30, (7 << 30) - 2, (10 << 30) - 4]:
            file.seek(at)
            file.write(b"data")
    info = os.stat(mnt / "sparse")
    assert info.st_size == 10 << 30 and info.st_blocks * 512 <= 5 * MIB
    with open(mnt / "sparse", "rb") as file:
        for at in [3 << 30, (7 << 30) - 2, (10 << 30) - 4]:
            file.seek(at - 100)
            assert file.read(104) == bytes(100) + b"data"
        file.seek(1 << 30)
        assert file.read(3 * MIB) == bytes(3 * MIB)


def test_a_large_file_is_the_same_for_everybody(mnt, three_nodes, source):
    path = source(5 * MIB + 123)
    data = path.read_bytes()
    (mnt / "made here").write_bytes(data)
    with urllib.request.urlopen(url(three_nodes, "made%20here"), timeout=30) as answer:
        assert answer.read() == data
    assert three_nodes.dynactl("get", "made here").stdout == data
    three_nodes.dynactl("put", "made there", path)
    assert (mnt / "made there").read_bytes() == data


def put(cluster, key, body, **headers):
    address, _, port = cluster.nodes[0].address.rpartition(":")
    connection = http.client.HTTPConnection(address, int(port), timeout=60)
    connection.request("PUT", f"/v1/kv/{key}", body=body, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.limit(120)
def test_a_large_body_of_a_put_streams(mnt, three_nodes, source):
    path = source(20 * MIB + 11)
    data = path.read_bytes()
    pieces = (data[at:at + 300000] for at in range(0, len(data), 300000))
    assert put(three_nodes, "sized", data)[0] == 204
    assert put(three_nodes, "chunked", pieces)[0] == 204
    assert put(three_nodes, "small", iter([b"a", b"bc"]))[0] == 204
    assert (mnt / "sized").read_bytes() == data and (mnt / "chunked").read_bytes() == data
    assert (mnt / "small").read_bytes() == b"abc"
    assert put(three_nodes, "sized", data, **{"If-None-Match": "*"})[0] == 412
    status, message = put(three_nodes, "dir", data, **{"Dynamount-Type": "directory"})
    assert status == 400 and b"a body" in message


def test_a_large_body_that_breaks_off_is_no_version(mnt, three_nodes, source):
    data = source(12 * MIB).read_bytes()
    address, _, port = three_nodes.nodes[0].address.rpartition(":")
    for head in [f"Content-Length: {len(data)}", "Transfer-Encoding: chunked"]:
        with socket.create_connection((address, int(port)), timeout=20) as line:
            line.sendall(f"PUT /v1/kv/broken HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
            if "chunked" in head:
                line.sendall(b"200000\r\n" + data[:MIB] + b"x" * MIB + b"nonsense")
            else:
                line.sendall(data[:10 * MIB])
                line.shutdown(socket.SHUT_WR)
            assert line.recv(100)[:12] in [b"", b"HTTP/1.1 400"]
    assert os.listdir(mnt) == []
    (mnt / "after").write_bytes(b"fine")


def test_a_range_of_a_value(mnt, three_nodes, source):
    data = source(3 * MIB).read_bytes()
    (mnt / "large").write_bytes(data)
    (mnt / "small").write_bytes(data[:1000])
    for name, size in [("large", 3 * MIB), ("small", 1000)]:
        def ask(text, **headers):
            request = urllib.request.Request(url(three_nodes, name),
                                             headers={"Range": text, **headers})
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return answer.status, answer.read(), answer.headers
            except urllib.error.HTTPError as error:
                return error.code, error.read(), error.headers
        status, body, headers = ask("bytes=990-995")
        assert (status, body) == (206, data[990:996])
        assert headers["Content-Range"] == f"bytes 990-995/{size}"
        etag = headers["ETag"]
        assert ask("bytes=-7")[:2] == (206, data[:size][-7:])
        assert ask("bytes=10-", **{"If-Range": etag})[:2] == (206, data[10:size])
        assert ask("bytes=10-", **{"If-Range": '"other"'})[:2] == (200, data[:size])
        assert ask("bytes=5-3")[0] == 200 and ask("lines=1-2")[0] == 200
        status, _, headers = ask(f"bytes={size}-")
        assert status == 416 and headers["Content-Range"] == f"bytes */{size}"
        if size > MIB:
            assert ask(f"bytes={MIB - 3}-{MIB + 2}")[1] == data[MIB - 3:MIB + 3]


def test_a_copy_on_the_mount_moves_no_bytes(mnt, source):
    path = source(20 * MIB + 5)
    subprocess.run(["cp", path, mnt / "big"], check=True, timeout=100)
    before = metric(mnt, "value_bytes_put_total")
    subprocess.run(["cp", mnt / "big", mnt / "copy"], check=True, timeout=100)
    assert metric(mnt, "value_bytes_put_total") - before < 65536
    os.unlink(mnt / "big")
    subprocess.run(["cmp", path, mnt / "copy"], check=True, timeout=100)


def test_holes_are_punched_and_found(mnt):
    (mnt / "f").write_bytes(b"x" * (8 * MIB))
    subprocess.run(["fallocate", "-p", "-o", "1M", "-l", "5M", mnt / "f"], check=True, timeout=30)
    assert os.stat(mnt / "f").st_blocks * 512 == 3 * MIB
    fd = os.open(mnt / "f", os.O_RDONLY)
    assert os.lseek(fd, 0, os.SEEK_HOLE) == MIB and os.lseek(fd, MIB, os.SEEK_DATA) == 6 * MIB
    os.close(fd)
    assert (mnt / "f").read_bytes() == b"x" * MIB + bytes(5 * MIB) + b"x" * (2 * MIB)


def test_writes_go_on_while_a_node_is_down(mnt, three_nodes, source):
    path = source(12 * MIB)
    three_nodes.nodes[1].kill()
    subprocess.run(["cp", path, mnt / "big"], check=True, timeout=60)
    subprocess.run(["cmp", path, mnt / "big"], check=True, timeout=60)
