# SPDX-License-Identifier: Apache-2.0
"""Other stores that Debian has, three copies each on loopback, for comparisons within one run.

Each is a context manager that gives a Target for the load generator (`load`), or None where it is
not installed, keeps all it writes below a folder of the run, and ends with its processes whatever
happens.
"""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import socket
import subprocess
import urllib.request

from harness import process, wait


@dataclasses.dataclass
class Target:
    """Who is loaded: what `load` has to be told, and whose processor time it costs."""

    arguments: list
    pids: list

    def cpu_us(self):
        """Processor time of all its threads so far."""
        return sum(int((thread / "schedstat").read_text().split()[0])
                   for pid in self.pids for thread in pathlib.Path(f"/proc/{pid}/task").iterdir()
                   ) / 1000


def free_ports(count):
    """Ports that nobody listens at now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


@contextlib.contextmanager
def running(commands, folder):
    """The processes of several commands, ended in any case."""
    started = []
    try:
        for number, command in enumerate(commands):
            started.append(process.Process(command, folder / f"{number}.log"))
        yield started
    finally:
        for p in started:
            with contextlib.suppress(AssertionError):
                p.stop(5)


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def etcd(folder):
    """Three members of etcd, which syncs before it acknowledges."""
    if not shutil.which("etcd"):
        yield None
        return
    folder.mkdir()
    clients, peers = free_ports(3), free_ports(3)
    cluster = ",".join(f"n{i}=http://127.0.0.1:{port}" for i, port in enumerate(peers))
    commands = [["etcd", "--name", f"n{i}", "--data-dir", folder / f"n{i}", "--logger", "zap",
                 "--log-level", "error", "--initial-cluster", cluster,
                 "--initial-cluster-state", "new",
                 "--listen-client-urls", f"http://127.0.0.1:{clients[i]}",
                 "--advertise-client-urls", f"http://127.0.0.1:{clients[i]}",
                 "--listen-peer-urls", f"http://127.0.0.1:{peers[i]}",
                 "--initial-advertise-peer-urls", f"http://127.0.0.1:{peers[i]}"]
                for i in range(3)]

    def healthy(port):
        with contextlib.suppress(OSError, ValueError):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
                return json.load(answer).get("health") == "true"
        return False

    with running(commands, folder) as members:
        wait.until(lambda: all(map(healthy, clients)), 30, "etcd healthy")
        yield Target(["--protocol", "etcd", "--to", ",".join(f"127.0.0.1:{p}" for p in clients)],
                     [m.pid for m in members])


@contextlib.contextmanager
def redis(folder):
    """Redis with two replicas, each of which syncs its log after every command."""
    if not shutil.which("redis-server"):
        yield None
        return
    folder.mkdir()
    ports = free_ports(3)
    commands = []
    for i, port in enumerate(ports):
        (folder / f"n{i}").mkdir()
        commands.append(["redis-server", "--bind", "127.0.0.1", "--port", port, "--dir",
                         folder / f"n{i}", "--appendonly", "yes", "--appendfsync", "always",
                         "--save", "", *(["--replicaof", f"127.0.0.1 {ports[0]}"] if i else [])])

    def replicated():
        told = subprocess.run(["redis-cli", "-p", str(ports[0]), "info", "replication"],
                              capture_output=True, text=True, timeout=5, check=False).stdout
        return told.count("state=online") == 2

    with running(commands, folder) as servers:
        wait.until(replicated, 30, "redis replicated")
        yield Target(["--protocol", "redis", "--to", f"127.0.0.1:{ports[0]}"],
                     [s.pid for s in servers])
