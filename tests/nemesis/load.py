# SPDX-License-Identifier: Apache-2.0
"""Clients of a cluster under faults: each reads, writes with what it has read (now or a while ago),
writes without having read, deletes, lists, through whichever node; and tells the oracle of it.
"""

import hashlib
import http.client
import json
import random
import threading

from harness.cluster import Response

from . import answers

SOCKET_TIMEOUT = 9  # beyond any request's own deadline, and a pause of its node
REQUEST_TIMEOUT_MS = 3000
KIB, MIB = 1 << 10, 1 << 20

# Directories, how many keys each has, and what is done there. In `loose` writes also replace or delete
# whatever is there, unread; in `strict` none does, and reads and writes ask for strict quorums.
CONTESTED = {"hot/a": 12, "hot/b": 12, "loose/c": 12, "strict/d": 12}
LARGE_KEYS = 3


class Connections:
    """To each node one that is kept open, made in the node's own namespace: a client is always on its
    node's side of a split."""

    def __init__(self):
        self.open = {}

    def request(self, node, method, path, body=None, headers=None):
        connection = self.open.pop(node, None)
        try:
            if connection is None:
                host, _, port = node.address.rpartition(":")
                connection = http.client.HTTPConnection(host, int(port), timeout=SOCKET_TIMEOUT)
                with node.namespace.entered():
                    connection.connect()
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            response = Response(answer.status, answer.headers, answer.read())
        except http.client.HTTPException as error:
            connection.close()
            raise ConnectionError(str(error)) from error
        except OSError:
            if connection is not None:
                connection.close()
            raise
        if answer.will_close:
            connection.close()
        else:
            self.open[node] = connection
        return response

    def close(self):
        for connection in self.open.values():
            connection.close()
        self.open.clear()


class Client(threading.Thread):
    """One client. `nodes()` gives those to choose from; `rate`: requests a second at most."""

    def __init__(self, name, seed, oracle, nodes, halt, rate, large):
        super().__init__(name=name, daemon=True)
        self.random = random.Random(seed)
        self.oracle, self.nodes, self.halt = oracle, nodes, halt
        self.rate, self.large = rate, large
        self.connections = Connections()
        self.remembered = {}  # key: the Read that this client last had of it
        self.counts = {"acknowledged": 0, "maybe": 0, "refused": 0, "reads": 0, "strict reads": 0,
                       "failed reads": 0, "lists": 0}
        self.last_acknowledged = None
        self.failure = None

    def run(self):
        try:
            while not self.halt.is_set():
                self.step()
                self.halt.wait(self.random.expovariate(self.rate))
        except Exception as error:  # a broken client must fail the run, not fall silent
            self.failure = error
            raise
        finally:
            self.connections.close()

    def choose_key(self):
        if self.random.random() < self.large:
            return f"large/k{self.random.randrange(LARGE_KEYS)}"
        folder = self.random.choice(list(CONTESTED))
        return f"{folder}/k{self.random.randrange(CONTESTED[folder])}"

    def step(self):
        roll = self.random.random()
        key = self.choose_key()
        node = self.random.choice(self.nodes())
        if key.startswith("loose/") and roll < 0.25:
            self.write(node, key, delete=roll < 0.12, blind=True)
        elif roll < 0.35:
            self.look(node, key)
        elif roll < 0.40:
            self.list(node, key.rpartition("/")[0])
        elif roll < 0.48:
            self.write(node, f"new/{self.name}/k{self.oracle.numbers}")
        elif roll < 0.53:
            self.write(node, key)
        else:
            context = self.remembered.pop(key, None)
            if context is None or self.random.random() < 0.6:
                context = self.look(node, key) or context
            if context is not None and context.context:
                self.write(node, key, delete=self.random.random() < 0.25, context=context)

    def options(self, key):
        options = [f"timeout={REQUEST_TIMEOUT_MS}"]
        if key.startswith("strict/"):
            options.append("sloppy=false")
        return options

    def look(self, node, key):
        """Reads a key, and remembers what it saw; None when that failed."""
        strict = key.startswith("strict/")
        expectation = self.oracle.strict_expectation(key) if strict else None
        try:
            read = answers.read(lambda method, path: self.connections.request(node, method, path),
                                key, "&".join(self.options(key)))
        except OSError:
            read = None
        if read is None:
            self.counts["failed reads"] += 1
            return None
        where = f"a read by {self.name} at {node.folder.name}"
        self.oracle.saw(key, read, where)
        if strict:
            self.oracle.strictly_read(key, read, where, expectation)
            self.counts["strict reads"] += 1
        self.counts["reads"] += 1
        if read.context:
            self.remembered[key] = read
        return read

    def value(self, number, key):
        if key.startswith("large/"):
            size = self.random.randrange(MIB, 8 * MIB)
        else:
            size = self.random.choice((0, 40, 400, 4 * KIB, 40 * KIB))
        head = b"write %d of %s, " % (number, key.encode())
        return head + hashlib.shake_128(head).digest(size)

    def write(self, node, key, delete=False, blind=False, context=None):
        strict = key.startswith("strict/")
        number = self.oracle.next_number()
        body = None if delete else self.value(number, key)
        options = self.options(key)
        if not strict:
            durability = self.random.choice(("", "", "buffered", "one", "quorum"))
            options += [f"durability={durability}"] if durability else []
            options += ["w=3"] if self.random.random() < 0.1 else []
        headers = {}
        if context:
            headers["Dynamount-Context"] = context.context
        elif blind and not delete:
            headers["If-Match"] = "*"
        method = "DELETE" if delete else "PUT"
        what = f"{method} by {self.name} at {node.folder.name}, {len(body or b'')} bytes, " \
               f"{' '.join(options)}{', whatever is there' if blind else ''}"
        entry = self.oracle.begin(key, number, what, body and answers.digest_of(body), strict, blind,
                                  context)
        try:
            answer = self.connections.request(node, method, f"/v1/kv/{key}?{'&'.join(options)}", body,
                                              headers)
        except OSError:
            self.oracle.end(entry, None)
            self.counts["maybe"] += 1
            return
        self.oracle.end(entry, answer.status, answer.headers)
        if answer.status == 204:
            self.counts["acknowledged"] += 1
            self.last_acknowledged = entry.ended
        elif answer.status in (404, 408, 409, 500, 503, 504):
            self.counts["maybe"] += 1
        else:
            self.counts["refused"] += 1
            self.oracle.violation(key, f"write {number} was answered with {answer.status}: "
                                       f"{answer.body[:200]!r}")

    def list(self, node, folder):
        """Only what no listing may show: names that nobody wrote."""
        try:
            names = list_all(lambda method, path: self.connections.request(node, method, path), folder,
                             f"timeout={REQUEST_TIMEOUT_MS}")
        except OSError:
            return
        self.counts["lists"] += 1
        for name in names or ():
            if f"{folder}/{name}" not in self.oracle.keys:
                self.oracle.violation(folder, f"a listing at {node.folder.name} shows {name}, "
                                              "which nobody wrote")


def list_all(request, folder, query):
    """The entries of a directory by name, page by page; None when a node refuses."""
    found, after = {}, ""
    while True:
        answer = request("GET", f"/v1/dir/{folder}?limit=1000&{query}{after}")
        if answer.status == 404:
            return {}
        if answer.status != 200:
            return None
        page = json.loads(answer.body)
        found.update((entry["name"], entry) for entry in page["entries"])
        if not page["more"]:
            return found
        after = f"&after={page.get('cursor') or page['entries'][-1]['name']}"
