# SPDX-License-Identifier: Apache-2.0
"""Changes of membership in the middle of faults, and the administrator who sees them through.

A change is begun while faults strike, in a thread of its own, by dynactl: it may come to nothing then.
After the healing it is tried again until it has happened, which must not take long.
"""

import json
import subprocess
import threading
import time

from harness import wait

from . import faults

NODES_MAX = 8


class Change:
    """One change: what to stage, by `stage(run)`, and whether it `has_happened(members)`."""

    def __init__(self, cluster, what, stage, has_happened):
        self.cluster, self.what, self.stage, self.has_happened = cluster, what, stage, has_happened
        self.thread = None

    def dynactl(self, node, *argv, check=False, seconds=20):
        try:
            return self.cluster.dynactl("--node", node.address, "--timeout", "8s", *argv, check=check,
                                        namespace=node.namespace, seconds=seconds)
        except subprocess.TimeoutExpired:
            return None

    def attempt(self, node):
        """Once, through this node; whether dynactl says that it is done."""
        self.dynactl(node, "abort")
        done = self.stage(lambda *argv: self.dynactl(node, *argv))
        if done is None or done.returncode != 0:
            return False
        done = self.dynactl(node, "commit")
        return done is not None and done.returncode == 0

    def begin(self, node):
        self.thread = threading.Thread(target=self.attempt, args=(node,), daemon=True)
        self.thread.start()

    def finish(self, node, seconds=60):
        """After the healing: until it has happened, as every node sees it."""
        self.thread.join()
        deadline = time.monotonic() + seconds
        while not self.happened():
            assert time.monotonic() < deadline, \
                f"not within {seconds} s of the healing: {self.what}: {self.last_words(node)}"
            self.attempt(node)
            try:
                wait.until(self.happened, 5, self.what)
            except AssertionError:
                pass  # again, until the deadline

    def last_words(self, node):
        plan = self.dynactl(node, "plan")
        return plan and (plan.stdout + plan.stderr).decode(errors="replace")

    def happened(self):
        return all(self.has_happened(members_of(node)) for node in self.cluster.nodes
                   if node.process.running)


def cluster_of(node):
    return json.loads(node.request("GET", "/v1/cluster").body)


def members_of(node):
    """{address: what the node says of that member}"""
    return {member["address"]: member for member in cluster_of(node)["members"]}


def draw(nemesis):
    """A change that this cluster can bear now, begun; None when there is none."""
    cluster, random = nemesis.cluster, nemesis.random
    kinds = ["weight"]
    if len(cluster.nodes) < NODES_MAX:
        kinds += ["join", "replace"]
    if len(cluster.nodes) > 3:
        kinds += ["leave"]
    kind = random.choice(kinds)
    by = random.choice(cluster.nodes)
    node = random.choice([other for other in cluster.nodes if other is not by])
    if kind == "weight":
        weight = random.choice((40, 70, 150, 250))
        change = Change(cluster, f"weight {weight} for {node.folder.name}",
                        lambda run: run("weight", node.address, weight),
                        lambda members: members[node.address]["weight"] == weight)
    elif kind == "join":
        new = nemesis.fresh()
        change = Change(cluster, f"{new.folder.name} joins", lambda run: run("join", new.address),
                        lambda members: new.address in members)
        node = None
    elif kind == "leave":
        change = Change(cluster, f"{node.folder.name} leaves",
                        lambda run: run("leave", node.address),
                        lambda members: node.address not in members or
                        members[node.address]["tokens"] == 0)
        nemesis.leaving = node
    else:
        nemesis.faults.busy.add(node)
        node.kill()
        faults.lose_disk(node)
        cluster.nodes.remove(node)
        nemesis.lost.append(node)
        new = nemesis.fresh()
        change = Change(cluster, f"{new.folder.name} replaces {node.folder.name}",
                        lambda run: run("replace", node.address, new.address),
                        lambda members: new.address in members and node.address not in members)
    nemesis.say(f"change: {change.what}")
    nemesis.faults.struck[kind] = nemesis.faults.struck.get(kind, 0) + 1
    change.begin(by)
    return change
