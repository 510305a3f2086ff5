# SPDX-License-Identifier: Apache-2.0
"""Networks that can be split: namespaces joined by bridges, without a name that could be left behind.

A namespace is unnamed and held by a process; it, its links and its addresses end with that process.
Every member has one link to a hub namespace. There each link's end hangs on a bridge, and who shares a
bridge can talk: a split is a second bridge, healing is the first one again. Nothing outside of these
namespaces changes.
"""

import contextlib
import ctypes
import os
import subprocess

from . import wait

CLONE_NEWNET = 0x40000000
NOBODY = "02:00:00:00:00:ff"  # an address of the link layer that no member has
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(descriptor):
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Namespace:
    """One network namespace with its loopback up, alive until close()."""

    def __init__(self):
        self.holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"],
            stdin=subprocess.DEVNULL)
        self.prefix = ["nsenter", "--net", "--target", str(self.holder.pid)]
        own = os.readlink("/proc/self/ns/net")
        wait.until(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own, what="a namespace")
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *argv):
        """Runs a command inside, which must succeed; returns its output."""
        return subprocess.run([*self.prefix, *map(str, argv)], capture_output=True, text=True,
                              check=True).stdout

    @contextlib.contextmanager
    def entered(self):
        """Within it, sockets that this thread opens belong to the namespace (and go on to)."""
        with open("/proc/thread-self/ns/net") as outside:
            with open(f"/proc/{self.holder.pid}/ns/net") as inside:
                _setns(inside.fileno())
            try:
                yield
            finally:
                _setns(outside.fileno())

    def close(self):
        self.holder.kill()
        self.holder.wait()


class Network:
    """Members 0 .. n-1, each in a namespace of its own, with the address 10.77.0.(i + 1)."""

    def __init__(self, size):
        self.hub = None
        self.members = []
        try:
            self.hub = Namespace()
            self.bridges = 0
            self._bridge()
            for _ in range(size):
                self.join()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def address(index):
        return f"10.77.0.{index + 1}"

    def _bridge(self):
        name = f"br{self.bridges}"
        self.hub.run("ip", "link", "add", name, "type", "bridge")
        self.hub.run("ip", "link", "set", name, "up")
        self.bridges += 1

    def join(self):
        """A further member, on the first side of a split; its number."""
        index = len(self.members)
        member = Namespace()
        self.members.append(member)
        self.hub.run("ip", "link", "add", f"m{index}", "type", "veth", "peer", "name", "eth0",
                     "netns", member.holder.pid)
        self.hub.run("ip", "link", "set", f"m{index}", "master", "br0", "up")
        member.run("ip", "address", "add", f"{self.address(index)}/24", "dev", "eth0")
        member.run("ip", "link", "set", "eth0", "up")
        return index

    def split(self, *groups):
        """Only members of one group can talk to each other; who is in no group is alone."""
        alone = set(range(len(self.members))) - set().union(*groups)
        for number, group in enumerate([*groups, *({index} for index in alone)]):
            while number >= self.bridges:
                self._bridge()
            for index in group:
                self.hub.run("ip", "link", "set", f"m{index}", "master", f"br{number}")

    def heal(self):
        """All can talk to all."""
        self.split(range(len(self.members)))

    def cut(self, sender, receiver):
        """What SENDER sends to RECEIVER is lost, without a word; the other way it still arrives."""
        self.members[sender].run("ip", "neigh", "replace", self.address(receiver), "lladdr",
                                 NOBODY, "nud", "permanent", "dev", "eth0")

    def mend(self, sender, receiver):
        """Ends such a cut, if there is one."""
        member = self.members[sender]
        if NOBODY in member.run("ip", "neigh", "show", self.address(receiver), "nud", "permanent"):
            member.run("ip", "neigh", "del", self.address(receiver), "dev", "eth0")

    def slow(self, index, rate):
        """Both directions of the member's link pass RATE (as tc spells it) and drop what waits for
        longer than a second; None: as fast as they can."""
        for namespace, device in ((self.hub, f"m{index}"), (self.members[index], "eth0")):
            if rate:
                namespace.run("tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", rate,
                              "burst", "32k", "latency", "1s")
            elif "tbf" in namespace.run("tc", "qdisc", "show", "dev", device):
                namespace.run("tc", "qdisc", "del", "dev", device, "root")

    def close(self):
        for namespace in [*self.members, *([self.hub] if self.hub else [])]:
            namespace.close()
