# SPDX-License-Identifier: Apache-2.0
"""Faults that strike a cluster in a network of namespaces, drawn from a seed, and their healing.

A fault in force belongs to a node, or to the network, and ends after a while. All that is drawn comes
from one generator in one thread, so a seed strikes in the same order; what the processes make of it
depends on the machine.
"""

import dataclasses
import shutil
import signal
import struct
import time

from harness import tree

HOUR_NS = 3600 * 10 ** 9
WALL_CLOCK = tree.BUILD / "tests" / "nemesis" / "wall_clock.so"  # see wall_clock.c
RATES = ("256kbit", "1mbit", "8mbit")


@dataclasses.dataclass
class Fault:
    kind: str
    until: float
    undo: object  # a function without arguments


class Faults:
    """KINDS: how often each strikes, relative to the others."""

    KINDS = {"kill": 6, "stop": 2, "pause": 4, "split": 4, "one-way": 3, "partial": 3, "slow": 2,
             "blackout": 1, "clock": 2}

    def __init__(self, cluster, network, random, say):
        self.cluster, self.network, self.random, self.say = cluster, network, random, say
        self.active = []
        self.struck = {}
        self.busy = set()  # nodes that a fault or a change has taken down, or will

    def member_of(self, node):
        return self.network.members.index(node.namespace)

    def free_nodes(self):
        return [node for node in self.cluster.nodes
                if node not in self.busy and node.process and node.process.running]

    def begin(self, kind, what, undo):
        seconds = self.random.uniform(0.5, 5)
        self.struck[kind] = self.struck.get(kind, 0) + 1
        self.say(f"{kind} {what}, {seconds:.1f} s")
        self.active.append(Fault(kind, time.monotonic() + seconds, undo))

    def play(self, seconds, at_most=3):
        """Strikes for so long. Faults that are in force then stay so, until heal()."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.end_due()
            if len(self.active) < at_most:
                kind = self.random.choices(list(self.KINDS), self.KINDS.values())[0]
                getattr(self, "strike_" + kind.replace("-", "_"))()
            time.sleep(self.random.uniform(0.1, 0.8))  # what passes between two faults is the test

    def end_due(self, all_of_them=False):
        now = time.monotonic()
        for fault in list(self.active):
            if all_of_them or fault.until < now:
                self.active.remove(fault)
                fault.undo()

    def heal(self):
        self.end_due(all_of_them=True)
        self.network.heal()

    def take(self):
        nodes = self.free_nodes()
        return self.random.choice(nodes) if nodes else None

    def strike_kill(self):
        node = self.take()
        if node:
            node.kill()
            self.down("kill", node)

    def strike_stop(self):
        node = self.take()
        if node:
            status = node.process.stop(60)
            # one that has just been launched may not yet have said what the signal means to it
            assert status in (0, -signal.SIGTERM), f"{node.folder.name} ended with {status}"
            self.down("stop", node)

    def strike_blackout(self):
        nodes = self.free_nodes()
        for node in nodes:
            node.kill()
            self.down("blackout", node)

    def down(self, kind, node):
        self.busy.add(node)

        def undo():
            self.busy.discard(node)
            node.launch()

        self.begin(kind, node.folder.name, undo)

    def strike_pause(self):
        node = self.take()
        if not node:
            return
        node.pause()
        self.busy.add(node)

        def undo():
            self.busy.discard(node)
            node.resume()

        self.begin("pause", node.folder.name, undo)

    def strike_split(self):
        members = list(range(len(self.network.members)))
        self.random.shuffle(members)
        cut = self.random.randrange(1, len(members))
        if any(fault.kind == "split" for fault in self.active):
            return
        self.network.split(members[:cut], members[cut:])
        self.begin("split", f"{sorted(members[:cut])} | {sorted(members[cut:])}", self.network.heal)

    def pairs(self, count):
        members = [self.member_of(node) for node in self.cluster.nodes]
        found = [(a, b) for a in members for b in members if a != b]
        return self.random.sample(found, min(count, len(found)))

    def cut(self, kind, pairs):
        for pair in pairs:
            self.network.cut(*pair)

        def undo():
            for pair in pairs:
                self.network.mend(*pair)

        self.begin(kind, ", ".join(f"{a} to {b}" for a, b in pairs), undo)

    def strike_one_way(self):
        self.cut("one-way", self.pairs(self.random.randint(1, 3)))

    def strike_partial(self):
        self.cut("partial", [pair for a, b in self.pairs(self.random.randint(1, 2))
                             for pair in ((a, b), (b, a))])

    def strike_slow(self):
        node = self.random.choice(self.cluster.nodes)
        index, rate = self.member_of(node), self.random.choice(RATES)
        self.network.slow(index, rate)
        self.begin("slow", f"{node.folder.name}, {rate}", lambda: self.network.slow(index, None))

    def strike_clock(self):
        """A wall clock is set, and stays so, also over restarts: by up to two hours, or right again."""
        node = self.random.choice(self.cluster.nodes)
        offset = self.random.choice((0, self.random.randint(-2 * HOUR_NS, 2 * HOUR_NS),
                                     self.random.randint(-10 ** 9, 10 ** 9)))
        if set_clock(node, offset):
            self.struck["clock"] = self.struck.get("clock", 0) + 1
            self.say(f"clock of {node.folder.name} set to {offset / 1e9:+.3f} s")

    def empty_a_disk(self):
        """A node loses its disk and goes on, under the same name, with an empty one."""
        node = self.take()
        if node:
            node.kill()
            lose_disk(node)
            self.down("emptied disk", node)


def lose_disk(node):
    shutil.rmtree(node.folder / "data")


def can_set_clocks():
    return WALL_CLOCK.exists()


def give_clock(node):
    """Before its start: a wall clock that can be set."""
    if can_set_clocks():
        path = node.folder / "wall_clock"
        path.write_bytes(bytes(8))
        node.environment |= {"LD_PRELOAD": str(WALL_CLOCK), "DYNAMOUNT_WALL_CLOCK": str(path)}


def set_clock(node, offset_ns):
    """Whether the node has a clock that can be set."""
    if not node.environment:
        return False
    with open(node.folder / "wall_clock", "r+b") as file:  # in place: it is mapped
        file.write(struct.pack("=q", offset_ns))
    return True
