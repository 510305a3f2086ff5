# SPDX-License-Identifier: Apache-2.0
"""dynactl's local clusters: what `create` writes, and which processes `up` and `down` start and end.
The nodes are small stand-ins here, so these claims are about dynactl alone."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest

from harness import tree, wait

STAND_IN = """
import http.server, os, signal, sys
conf = dict(line.split(" = ") for line in open(sys.argv[2]).read().splitlines() if line[0] != "#")
mode = open(os.path.join(os.path.dirname(sys.argv[2]), "mode")).read() if os.path.exists(
    os.path.join(os.path.dirname(sys.argv[2]), "mode")) else "serve"
if mode == "broken":
    print("cannot open the store", flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "stubborn" else lambda *_: os._exit(0))
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" and mode != "unready" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()
host, port = conf["listen"].split(":")
http.server.HTTPServer((host, int(port)), Answer).serve_forever()
"""


class Ctl:
    def __init__(self, folder, program):
        self.folder, self.program = folder, program

    def run(self, *argv, status=0):
        done = subprocess.run([tree.DYNACTL, *map(str, argv)], capture_output=True, text=True,
                              timeout=50, check=False)
        assert done.returncode == status, f"{argv}: {done.returncode}\n{done.stderr}"
        return done

    def create(self, *options, status=0):
        return self.run("cluster", "create", self.folder, *options, status=status)

    def up(self, *options, status=0):
        return self.run("cluster", "up", self.folder, "--program", self.program, *options,
                        status=status)

    def down(self, *options, status=0):
        return self.run("cluster", "down", self.folder, *options, status=status)

    def conf(self, node):
        lines = (self.folder / node / "dynanode.conf").read_text().splitlines()
        return dict(line.split(" = ") for line in lines if not line.startswith("#"))

    def pid(self, node):
        return int((self.folder / node / "pid").read_text().split()[0])

    def mode(self, node, mode):
        (self.folder / node / "mode").write_text(mode)


@pytest.fixture
def ctl(tmp_path):
    program = tmp_path / "stand-in"
    program.write_text(f"#!{sys.executable}\n{STAND_IN}")
    program.chmod(0o755)
    made = Ctl(tmp_path / "cluster", program)
    yield made
    if made.folder.exists() and any(made.folder.glob("node*")):
        made.down("--timeout", "2s", "--kill")


def test_create_writes_what_each_node_needs(ctl):
    ctl.create("--nodes", 4, "--n", 3, "--r", 1, "--w", 3, "--q", 64, "--zones", "a,b")
    assert stat.S_IMODE((ctl.folder / "secret").stat().st_mode) == 0o600
    assert len((ctl.folder / "secret").read_text().strip()) == 64
    lines = (ctl.folder / "cluster").read_text().splitlines()
    members = [line.split()[2:] for line in lines if line.startswith("member")]
    assert [member[3] for member in members] == ["a", "b", "a", "b"]
    assert {"q = 64", "n = 3", "r = 1", "w = 3"} <= set(lines)
    for index, member in enumerate(members):
        conf = ctl.conf(f"node{index + 1}")
        assert (conf["node"], conf["listen"]) == (member[0], member[1])
        assert conf["cluster_file"] == str(ctl.folder / "cluster")
        assert conf["secret_file"] == str(ctl.folder / "secret")
    assert len({member[0] for member in members}) == len({member[1] for member in members}) == 4


def test_addresses_can_be_given(ctl, tmp_path):
    ctl.create("--nodes", 2, "--listen", "127.0.0.2:7000,[::1]:7001")
    assert [ctl.conf(f"node{i}")["listen"] for i in (1, 2)] == ["127.0.0.2:7000", "[::1]:7001"]
    ctl.folder = tmp_path / "other"
    made = ctl.create("--listen", "10.0.0.1:7000,10.0.0.2:7000")  # as many nodes as addresses
    assert [ctl.conf(f"node{i}")["listen"] for i in (1, 2)] == ["10.0.0.1:7000", "10.0.0.2:7000"]
    assert "insecure = yes" in made.stdout
    ctl.folder = tmp_path / "third"
    ctl.create("--nodes", 2, "--base-port", 7100)
    assert [ctl.conf(f"node{i}")["listen"] for i in (1, 2)] == ["127.0.0.1:7100", "127.0.0.1:7101"]


def test_names_sort_as_their_numbers_do(ctl):
    ctl.create("--nodes", 12, "--base-port", 7000)
    names = sorted(path.name for path in ctl.folder.glob("node*"))
    assert (names[0], names[-1]) == ("node01", "node12")
    assert [ctl.conf(name)["listen"] for name in names] == [f"127.0.0.1:{7000 + i}"
                                                            for i in range(12)]


@pytest.mark.parametrize("options", [
    ["--nodes", "0"], ["--nodes", "2", "--n", "3"], ["--r", "4"], ["--w", "0"], ["--q", "100"],
    ["--nodes", "2", "--listen", "127.0.0.1:1"], ["--nodes", "1", "--listen", "127.0.0.1:1,h:2"],
    ["--nodes", "1", "--listen", "nowhere"], ["--zones", "a,,b"], ["--base-port", "65534"],
    ["--base-port", "7000", "--listen", "a:1,b:2,c:3"], ["--listen", "a:1,b:1,a:1"], ["--unknown"],
])
def test_wrong_options_are_refused_and_leave_nothing(ctl, options):
    done = ctl.create(*options, status=2)
    assert done.stderr.startswith("dynactl: ") and "--help" in done.stderr
    assert not ctl.folder.exists()


def test_a_folder_in_use_is_left_alone(ctl):
    ctl.folder.mkdir()
    (ctl.folder / "thesis").write_text("years of work")
    assert "not empty" in ctl.create(status=1).stderr
    assert [path.name for path in ctl.folder.iterdir()] == ["thesis"]


def test_up_waits_until_all_serve_and_down_until_all_ended(ctl):
    ctl.create("--nodes", 3)
    told = json.loads(ctl.up("--json").stdout)
    assert [node["running"] for node in told["nodes"]] == [True, True, True]
    pids = [ctl.pid(f"node{i}") for i in (1, 2, 3)]
    for i in (1, 2, 3):
        host, port = ctl.conf(f"node{i}")["listen"].split(":")
        socket.create_connection((host, int(port)), 1).close()
    assert all(os.getsid(pid) == pid for pid in pids)  # not killed with a terminal
    ctl.down()
    assert all(tree.state_of(pid) == "Z" for pid in pids)
    assert not list(ctl.folder.glob("*/pid"))


def test_up_starts_only_what_does_not_run(ctl):
    ctl.create("--nodes", 2)
    ctl.up()
    first, second = ctl.pid("node1"), ctl.pid("node2")
    os.kill(second, signal.SIGKILL)
    wait.until(lambda: tree.state_of(second) == "Z", what="node2 dead")
    ctl.up()
    assert ctl.pid("node1") == first
    assert ctl.pid("node2") != second


def test_a_node_that_ends_at_start_is_quoted(ctl):
    ctl.create("--nodes", 2)
    ctl.mode("node2", "broken")
    done = ctl.up(status=5)
    assert "node2 ended with status 7" in done.stderr
    assert "cannot open the store" in done.stderr


def test_a_node_that_never_serves_is_told_in_time(ctl):
    ctl.create("--nodes", 1)
    ctl.mode("node1", "unready")
    started = time.monotonic()
    assert "does not serve" in ctl.up("--timeout", "1s", status=5).stderr
    assert time.monotonic() - started < 10


def test_somebody_elses_port_is_noticed(ctl):
    ctl.create("--nodes", 1)
    ctl.up()
    pid = ctl.pid("node1")
    (ctl.folder / "node1" / "pid").rename(ctl.folder / "aside")
    assert "something else serves" in ctl.up(status=1).stderr
    (ctl.folder / "aside").rename(ctl.folder / "node1" / "pid")
    assert ctl.pid("node1") == pid


def test_down_never_touches_a_process_that_took_over_the_id(ctl):
    ctl.create("--nodes", 1)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        (ctl.folder / "node1" / "pid").write_text(f"{bystander.pid} 12345\n")
        ctl.down()
        assert bystander.poll() is None
        bystander.communicate(b"\n")
        assert bystander.returncode == 0


def test_a_stubborn_node_is_told_and_killed_only_on_request(ctl):
    ctl.create("--nodes", 1)
    ctl.mode("node1", "stubborn")
    ctl.up()
    pid = ctl.pid("node1")
    assert "--kill" in ctl.down("--timeout", "300ms", status=1).stderr
    assert tree.state_of(pid) != "Z"
    ctl.down("--timeout", "300ms", "--kill")
    assert tree.state_of(pid) == "Z"


def test_no_cluster_there_is_told(ctl, tmp_path):
    assert "cluster create" in ctl.run("cluster", "up", tmp_path, "--program", ctl.program,
                                       status=1).stderr
    assert "No such file" in ctl.run("cluster", "down", tmp_path / "no", status=1).stderr
    assert ctl.run("--cluster", tmp_path, "status", status=2).stderr


def test_nobody_there_is_told_soon(ctl):
    ctl.create("--nodes", 3)
    started = time.monotonic()
    for verb in (["get", "k"], ["put", "k", os.devnull], ["rm", "k"], ["ls"], ["conflicts"],
                 ["status"], ["ring"]):
        done = ctl.run("--cluster", ctl.folder, *verb, status=5)
        assert "are the nodes running" in done.stderr
        assert done.stdout == ""
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("argv", [
    [], ["nonsense"], ["cluster"], ["cluster", "destroy"], ["get"], ["get", "a", "b"], ["get", "/a"],
    ["get", "--nonsense", "a"], ["put", "a//b"], ["put", "--context", "!", "a"],
    ["put", "--if-match", "--if-absent", "a"], ["--node", "nowhere", "get", "a"],
    ["--timeout", "soon", "get", "a"], ["get", "a"], ["get", "--sibling", "x", "a"],
    ["rm", "--sibling", "1", "--context", "x", "a"], ["--node", "h:1", "get", "--r", "99", "a"],
])
def test_wrong_usage_is_status_2(argv):
    environment = {key: value for key, value in os.environ.items() if key != "DYNAMOUNT_NODES"}
    done = subprocess.run([tree.DYNACTL, *argv], capture_output=True, text=True, timeout=20,
                          stdin=subprocess.DEVNULL, env=environment, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("dynactl: ")


@pytest.mark.parametrize("verb", ["get", "put", "rm", "ls", "conflicts", "status", "ring",
                                  "cluster create", "cluster up", "cluster down"])
def test_each_verb_has_help_with_examples(verb):
    done = subprocess.run([tree.DYNACTL, *verb.split(), "--help"], capture_output=True, text=True,
                          timeout=20, check=True)
    assert done.stdout.startswith(f"usage: dynactl {verb}")
    assert "Examples:" in done.stdout and "Exit status" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
