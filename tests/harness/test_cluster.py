# SPDX-License-Identifier: Apache-2.0
"""The cluster fixture starts, kills and restarts nodes, and notices one that ends badly. The programs
are small stand-ins, so these claims are about the harness alone."""

import sys

import pytest

from harness import tree

DYNACTL = """
import pathlib, socket, sys
words = sys.argv[1:]
folder, count = pathlib.Path(words[2]), int(words[4])
listen = words[6].split(",") if "--listen" in words else []
for i in range(count):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (folder / f"node{i}").mkdir(parents=True)
    where = listen[i] if listen else f"127.0.0.1:{port}"
    (folder / f"node{i}" / "dynanode.conf").write_text(f"listen = {where}\\nstatus = 0\\n")
"""

DYNANODE = """
import http.server, os, signal, sys
conf = dict(line.split(" = ") for line in open(sys.argv[2]).read().splitlines())
if conf["status"] == "early":
    sys.exit("cannot open the store")
signal.signal(signal.SIGTERM, lambda *_: os._exit(int(conf["status"])))
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = {"/healthz": b"", "/v1/cluster": b'{"members": []}'}.get(self.path)
        self.send_response(200 if body is not None else 404)
        self.end_headers()
        self.wfile.write(body or b"")
host, port = conf["listen"].split(":")
http.server.HTTPServer((host, int(port)), Answer).serve_forever()
"""


@pytest.fixture(autouse=True)
def stand_ins(tmp_path, monkeypatch):
    for name, text in (("DYNACTL", DYNACTL), ("DYNANODE", DYNANODE)):
        path = tmp_path / name
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(0o755)
        monkeypatch.setattr(tree, name, path)


def test_nodes_serve_die_and_come_back(make_cluster):
    nodes = make_cluster(2).nodes
    assert nodes[0].request("GET", "/healthz").status == 200
    assert nodes[0].request("GET", "/elsewhere").status == 404
    nodes[0].kill()
    with pytest.raises(OSError):
        nodes[0].request("GET", "/healthz")
    assert nodes[1].request("GET", "/healthz").status == 200
    nodes[0].restart()
    assert nodes[0].request("GET", "/healthz").status == 200


def test_a_paused_node_answers_after_it_resumes(make_cluster):
    node = make_cluster(1).nodes[0]
    node.pause()
    with pytest.raises(OSError):
        node.request("GET", "/healthz", timeout=0.2)
    node.resume()
    assert node.request("GET", "/healthz").status == 200


def test_nodes_in_a_network_are_reached_in_their_namespaces(make_network, make_cluster):
    net = make_network(2)
    nodes = make_cluster(2, network=net).nodes
    assert nodes[1].address == f"{net.address(1)}:7000"
    assert nodes[1].setting("insecure") == "yes"
    assert nodes[1].request("GET", "/healthz").status == 200


def test_a_node_that_does_not_start_is_quoted(make_cluster):
    cluster = make_cluster(1, start=False, status="early")
    with pytest.raises(AssertionError, match="(?s)ended.*cannot open the store"):
        cluster.nodes[0].start()


def test_an_unclean_end_is_noticed(make_cluster):
    cluster = make_cluster(1, status=3)
    with pytest.raises(AssertionError, match="ended with 3 after SIGTERM"):
        cluster.close()
