# SPDX-License-Identifier: Apache-2.0
"""Clusters of real nodes: made by dynactl, each node a process of its own, ready when it says so.

`dynactl cluster create DIR --nodes N` writes a folder for each node with a dynanode.conf in it; its
`listen` line says where the node is. In a network each node is in its member's namespace and listens
at that member's address.
"""

import dataclasses
import http.client
import json
import os
import pathlib
import subprocess

from . import mount, process, tree, wait

NODE_PORT = 7000  # in namespaces, where every port is free


@dataclasses.dataclass
class Response:
    """One HTTP answer, body and all."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Node:
    """One dynanode: its folder, its address, and its process while it runs."""

    def __init__(self, folder, namespace=None):
        self.folder = pathlib.Path(folder)
        self.conf = self.folder / "dynanode.conf"
        self.log = self.folder / "output.log"
        self.namespace = namespace
        self.environment = {}  # what is added to the process's
        self.process = None

    def setting(self, key):
        """A value from the node's configuration, None when it has no such line."""
        for line in self.conf.read_text().splitlines():
            name, _, value = line.partition("=")
            if name.strip() == key:
                return value.strip()
        return None

    def configure(self, **settings):
        """Sets values in the configuration of a node that is not running."""
        kept = [line for line in self.conf.read_text().splitlines()
                if line.partition("=")[0].strip() not in settings]
        added = [f"{key} = {value}" for key, value in settings.items()]
        self.conf.write_text("\n".join(kept + added) + "\n")

    @property
    def address(self):
        return self.setting("listen")

    def start(self, seconds=20):
        """Starts the node and waits until it serves. Its own last words are in the complaint if not."""
        self.launch()
        try:
            wait.until(self.serves, seconds, f"{self.folder.name} serving at {self.address}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.process.output()[-2000:]}") from None

    def launch(self):
        """Starts the node without waiting for it."""
        assert self.process is None or not self.process.running
        self.process = process.Process([tree.DYNANODE, "--config", self.conf], self.log,
                                       self.namespace, self.environment)

    def serves(self):
        """Whether /healthz answers 200; a process that has ended instead fails the test."""
        assert self.process.running, f"{self.folder.name} ended: {self.process.popen.returncode}"
        try:
            return self.request("GET", "/healthz", timeout=1).status == 200
        except OSError:
            return False

    def request(self, method, path, body=None, headers=None, timeout=10):
        """One HTTP request on a connection of its own. OSError when the node cannot be reached."""
        host, _, port = self.address.rpartition(":")
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout)
        try:
            if self.namespace:
                with self.namespace.entered():
                    connection.connect()
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def members(self):
        """What it knows of each member of its cluster."""
        return json.loads(self.request("GET", "/v1/cluster").body)["members"]

    def hints(self):
        """How many hints it keeps for others."""
        return sum(member["hints"] for member in self.members())

    def stop(self):
        """SIGTERM, and the clean end that must follow."""
        status = self.process.stop()
        assert status == 0, f"{self.folder.name} ended with {status} after SIGTERM"

    def kill(self):
        self.process.kill()

    def pause(self):
        self.process.pause()

    def resume(self):
        self.process.resume()

    def restart(self):
        """Starts a node that was stopped or killed again, on the disk that it left."""
        self.start()


class Cluster:
    """Nodes 0 .. n-1 of a cluster below one folder."""

    def __init__(self, folder, size, network=None, options=(), **settings):
        """Creates, but does not start. OPTIONS go to `dynactl cluster create`, SETTINGS to each
        node's configuration."""
        self.folder = pathlib.Path(folder)
        self.network = network
        self.nodes = []
        self.mounts = []
        members = [None] * size
        command = ["cluster", "create", self.folder, "--nodes", size, *options]
        if network:
            members = network.members[:size]
            listen = [f"{network.address(index)}:{NODE_PORT}" for index in range(size)]
            command += ["--listen", ",".join(listen)]
            settings.setdefault("insecure", "yes")
        self.dynactl(*command)
        confs = sorted(self.folder.glob("*/dynanode.conf"))
        assert len(confs) == size, f"{size} nodes asked for, {len(confs)} made"
        self.nodes = [Node(conf.parent, member) for conf, member in zip(confs, members)]
        for node in self.nodes:
            if settings:
                node.configure(**settings)

    def start(self):
        """Starts all nodes at once and waits for each, and until none takes another for dead that did
        not listen yet when it asked."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            wait.until(node.serves, 20, f"{node.folder.name} serving")
        for node in self.nodes:
            wait.until(lambda at=node: all(member["up"] for member in at.members()), 20,
                       f"{node.folder.name} reaching the others")

    def add(self, member=None, **settings):
        """A further node, started, and not a member of the cluster yet. In a network: at its MEMBER
        of that number."""
        before = set(self.folder.glob("*/dynanode.conf"))
        listen, namespace = [], None
        if member is not None:
            listen = ["--listen", f"{self.network.address(member)}:{NODE_PORT}"]
            namespace = self.network.members[member]
            settings.setdefault("insecure", "yes")
        self.dynactl("cluster", "add", self.folder, *listen)
        (conf,) = set(self.folder.glob("*/dynanode.conf")) - before
        node = Node(conf.parent, namespace)
        if settings:
            node.configure(**settings)
        node.start()
        self.nodes.append(node)
        return node

    @property
    def addresses(self):
        return [node.address for node in self.nodes]

    def dynactl(self, *argv, check=True, namespace=None, seconds=30, stdin=b""):
        """Runs dynactl to its end, with this cluster's nodes in its environment; with CHECK it must
        succeed. Returns the CompletedProcess (bytes)."""
        inside = namespace.prefix if namespace else []
        nodes = {"DYNAMOUNT_NODES": ",".join(self.addresses)} if self.nodes else {}
        done = subprocess.run([*inside, tree.DYNACTL, *map(str, argv)], capture_output=True,
                              input=stdin, timeout=seconds, check=False,
                              env={**os.environ, **nodes})
        if check:
            assert done.returncode == 0, f"dynactl {argv}: {done.stderr.decode(errors='replace')}"
        return done

    def mount(self, point, nodes=None, namespace=None, options=()):
        """Mounts through the given nodes (default: all). Unmounted with the cluster at the latest."""
        addresses = [self.nodes[index].address for index in nodes] if nodes else self.addresses
        made = mount.Mount(point, addresses, namespace, options)
        self.mounts.append(made)
        made.start()
        return made

    def close(self):
        """Unmounts, stops whatever runs, and fails when something did not end as it should."""
        wrong = []
        for part in [*self.mounts, *self.nodes]:
            if part.process is None:
                continue
            try:
                if part.process.running:
                    part.stop()
            except AssertionError as error:
                wrong.append(str(error))
            wrong += part.process.complaints()
        for point in self.mounts:
            point.detach()
        assert not wrong, "\n".join(wrong)

    def logs(self):
        """The log files of all that ever ran here."""
        return [part.process.log for part in [*self.nodes, *self.mounts] if part.process]
