# SPDX-License-Identifier: Apache-2.0
"""One cluster of real processes: load, faults, healing, judgement, in rounds.

Each round ends with a cluster that has nothing left to do. Then each replica is cut off from all
others and must have, by itself, exactly what it owes; and all together must say the same through every
node, in gets and in listings.
"""

import hashlib
import json
import pathlib
import random
import shutil
import sys
import threading
import time

from harness import cluster, network, wait

from . import answers, changes, faults, load, oracle

CLIENTS = 8
HEALED_LOAD = 2  # seconds in which the clients go on after the healing
TELL = 5  # seconds between reports on what one waits for
QUIET_EXCHANGES = 2  # so often has each node compared itself with others since anything differed


class Failure(AssertionError):
    """What the oracle says, or a node that did not do what it must."""


class Nemesis:
    """A cluster of `size` nodes below `folder`, with settings drawn from `seed`. `patience`: what all
    time limits are multiplied by, for machines that are slow or busy."""

    def __init__(self, folder, size, seed, *, patience=1, rate=40, cold_keys=300, large=0.02,
                 out=sys.stdout):
        self.folder = pathlib.Path(folder)
        self.random = random.Random(f"nemesis {seed}")
        self.seed, self.patience, self.rate = seed, patience, rate
        self.cold_keys, self.large, self.out = cold_keys, large, out
        self.oracle = oracle.Oracle()
        self.settings = self.draw_settings()
        # of what is lost one by one, one is enough to be left
        self.copies = random.Random(f"copies {seed}").choice((None, 2))
        self.network = network.Network(size)
        self.lost, self.leaving, self.change = [], None, None
        self.ended = set()  # nodes that must not run any more
        self.rounds, self.figures, self.told = 0, {}, 0
        self.story = []
        try:
            q = self.random.choice((16, 64, 256))
            self.cluster = cluster.Cluster(self.folder, size, network=self.network,
                                           options=["--q", q], **self.settings)
            self.faults = faults.Faults(self.cluster, self.network, self.random, self.say)
            self.say(f"seed {seed}: {size} nodes, q {q}, {self.settings}")
        except BaseException:
            self.network.close()
            raise

    def draw_settings(self):
        """Small caches and buffers: many files, and reads that memory cannot answer."""
        pick = self.random.choice
        settings = {"cache_size": "1M", "write_buffer": "1M", "exchange": "1s",
                    "fragment_entries": pick((30, 50000)), "value_max": pick(("1M", "8M")),
                    "scrub": pick(("5s", "168h")), "history": pick(("0s", "1m", "24h"))}
        if pick((True, False)):  # deletes are forgotten as soon as that can be proven
            settings |= {"reap": "300ms", "reap_after": "0s", "message_life": "5s",
                         "retired_keep": "2s"}
        return settings

    def say(self, what):
        line = f"{time.monotonic() - self.oracle.start:8.2f}  {what}"
        self.story.append(line)
        if self.out:
            print(line, file=self.out, flush=True)

    def fresh(self):
        node = self.cluster.add(member=self.network.join(), **self.settings)
        faults.give_clock(node)  # from its next start on
        return node

    def start(self):
        for node in self.cluster.nodes:
            faults.give_clock(node)
        self.cluster.start()
        if self.copies:
            self.set_copies(self.copies)

    def set_copies(self, copies):
        """On how many nodes values stay; None: on all that have the key."""
        by = self.cluster.nodes[0]
        words = ("--node", by.address, "set", "/", f"n={copies or 'default'}")
        self.until(lambda: self.cluster.dynactl(*words, namespace=by.namespace,
                                                check=False).returncode == 0, 30, "an N of the root")
        self.say(f"values stay on {copies or 'all'} nodes each")

    def close(self):
        """Ends everything; complaints of sanitizers, and nodes that do not end when told, are failures."""
        wrong = []
        try:
            self.faults.heal()
            for node in self.lost:
                if node.process.running:
                    node.kill()
                wrong += node.process.complaints()
            self.cluster.close()
        except AssertionError as error:
            wrong.append(str(error))
        finally:
            self.network.close()
        if wrong:
            raise Failure("\n".join(wrong))

    # Load

    def fill(self):
        """Keys that are written once: bulk for the store, and files that stay."""
        connections, refused = load.Connections(), 0
        for i in range(self.cold_keys):
            key = f"cold/{self.rounds}/k{i}"
            number = self.oracle.next_number()
            head = b"write %d of %s, " % (number, key.encode())
            value = head + hashlib.shake_128(head).digest(self.random.choice((100, 3000, 20000)))
            node = self.cluster.nodes[i % len(self.cluster.nodes)]
            entry = self.oracle.begin(key, number, f"PUT at {node.folder.name}",
                                      answers.digest_of(value))
            answer = connections.request(node, "PUT", f"/v1/kv/{key}?durability=buffered&w=2", value)
            self.oracle.end(entry, answer.status, answer.headers)
            refused += answer.status != 204
        connections.close()
        if refused * 2 > self.cold_keys:  # some of it a machine that is too busy may excuse
            raise Failure(f"no fault yet, and {refused} of {self.cold_keys} writes are refused: "
                          f"{answer.status} {answer.body}")

    def round(self, seconds):
        """Faults for so long, then what must come of it."""
        self.rounds += 1
        self.fill()
        halt = threading.Event()
        clients = [load.Client(f"c{self.rounds}.{i}", f"{self.seed} {self.rounds} {i}", self.oracle,
                               lambda: list(self.cluster.nodes), halt, self.rate, self.large)
                   for i in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            self.strike(seconds)
            healed = self.heal()
            time.sleep(HEALED_LOAD)  # the load goes on, on a cluster that is whole
        finally:
            halt.set()
            for client in clients:
                client.join()
        self.count(clients, healed)
        self.settle(healed)
        self.judge()
        self.say(f"round {self.rounds}: {self.figures}; faults {self.faults.struck}")

    def strike(self, seconds):
        """A disk is lost, or the membership changes, or neither: of W copies one must be left."""
        kind = self.random.choice(("change", "emptied", "change", "neither"))
        self.faults.play(seconds / 3)
        if kind == "change":
            self.change = changes.draw(self)
        elif kind == "emptied":
            self.faults.empty_a_disk()
        self.faults.play(seconds * 2 / 3)

    def count(self, clients, healed):
        for client in clients:
            if client.failure:
                raise Failure(f"{client.name}: {client.failure!r}")
            for what, number in client.counts.items():
                self.figures[what] = self.figures.get(what, 0) + number
        if not any(client.last_acknowledged and client.last_acknowledged > healed
                   for client in clients):
            raise Failure("no write was acknowledged after the healing")

    # Healing

    def heal(self):
        self.faults.heal()
        at = time.monotonic()
        for node in self.cluster.nodes:
            self.until(node.serves, 20, f"{node.folder.name} serving after the faults")
        self.say(f"healed; all serve after {time.monotonic() - at:.1f} s")
        return at

    def until(self, condition, seconds, what):
        try:
            return wait.until(condition, seconds * self.patience, what)
        except AssertionError as error:
            raise Failure(f"{error}\n{self.words()}") from None

    def words(self):
        """What each node says of itself, for a failure."""
        lines = []
        for node in self.cluster.nodes:
            try:
                said = changes.cluster_of(node)
                lines.append(f"{node.folder.name}: {json.dumps(said['moves'])} hints "
                             f"{said['stats']['hints_now']} owed {said['stats']['owed_now']} " +
                             json.dumps({m["address"]: m["up"] for m in said["members"]}))
            except OSError as error:
                lines.append(f"{node.folder.name}: {error}")
        return "\n".join(lines)

    def said(self):
        return [changes.cluster_of(node) for node in self.cluster.nodes]

    def left(self, what):
        """How much of it there is on all nodes together; told now and then."""
        said = self.said()
        left = {"moving": max(s["moves"]["moving"] for s in said),
                "hints": sum(s["stats"]["hints_now"] for s in said),
                "owed": sum(s["stats"]["owed_now"] for s in said),
                "voteless": sum(s["moves"]["voteless"] for s in said)}
        if left[what] and time.monotonic() > self.told + TELL:
            self.told = time.monotonic()
            self.say(f"left: {left}, hints by node "
                     f"{ {n.folder.name: s['hints'] for n, s in zip(self.cluster.nodes, said) if s['hints']} }")
        return left[what]

    def settle(self, healed):
        """Until nothing is owed, moves, or differs any more."""
        if self.change:
            self.change.finish(self.random.choice(self.cluster.nodes), 60 * self.patience)
            self.say(f"done: {self.change.what}")
        self.until(lambda: self.left("moving") == 0, 90, "nothing moving")
        self.until(lambda: self.left("hints") == 0, 30, "no hints being left")
        self.figures["hints gone, s"] = round(time.monotonic() - healed, 1)
        self.until(lambda: self.left("owed") + self.left("voteless") == 0, 60,
                   "nothing being owed, all voting")
        if self.leaving:
            self.take_out()
        self.compare()
        self.figures["level, s"] = round(time.monotonic() - healed, 1)
        self.change = None

    def take_out(self):
        """Who has left is stopped and removed."""
        node, self.leaving = self.leaving, None
        by = next(other for other in self.cluster.nodes if other is not node)
        status = f"hints on {node.folder.name}"
        self.until(lambda: b"has left" in self.cluster.dynactl(
            "--node", by.address, "status", namespace=by.namespace).stdout, 30, status)
        node.stop()
        self.cluster.nodes.remove(node)
        self.lost.append(node)
        gone = changes.Change(self.cluster, f"{node.folder.name} is removed",
                              lambda run: run("remove", node.address),
                              lambda members: node.address not in members)
        gone.begin(by)
        gone.finish(by, 60 * self.patience)

    def compare(self):
        """Until each node has compared its rows with the others' and nothing differs, without reads."""
        seen = {}

        def quiet():
            level = True
            for node, said in zip(self.cluster.nodes, self.said()):
                stats = said["stats"]
                found = (stats["exchange_repaired"], stats["exchange_differing"],
                         stats["transfer_rows"])
                if seen.get(node, (None, 0))[0] != found:
                    seen[node] = (found, stats["exchanges"])
                peers = len(self.cluster.nodes) - 1
                level = level and stats["exchanges"] - seen[node][1] >= QUIET_EXCHANGES * peers
            return level

        self.until(quiet, 120, "all replicas being equal")

    # Judgement

    def judge(self):
        if self.copies:  # whoever is asked alone has them
            self.say(f"{sum(s['stats']['thin_now'] for s in self.said())} copies are thin")
            self.set_copies(None)
            self.until(lambda: not any(s["stats"]["thin_now"] for s in self.said()), 120,
                       "all values being back")
        if self.random.random() < 0.6:  # what is read then is read from files that are not open
            self.restart_all()
        self.until(lambda: not any(s["moves"]["voteless"] for s in self.said()), 60, "all voting")
        owners = self.owners()
        keys = sorted(key for key, record in self.oracle.keys.items() if record.sent)
        self.judge_alone(keys, owners)
        self.until(lambda: all(m["up"] for s in self.said() for m in s["members"]), 30,
                   "all seeing all again")
        self.judge_together(keys)
        if self.copies:
            self.set_copies(self.copies)
        if self.oracle.violations:
            raise Failure(f"{len(self.oracle.violations)} violations: " +
                          "; ".join(f"{key}: {what}" for key, what in self.oracle.violations[:5]))

    def restart_all(self):
        for node in self.cluster.nodes:
            node.kill() if self.random.random() < 0.5 else node.stop()
        for node in self.cluster.nodes:
            node.launch()
        for node in self.cluster.nodes:
            self.until(node.serves, 20, f"{node.folder.name} serving again")
        files = sum(1 for node in self.cluster.nodes for _ in (node.folder / "data").rglob("*.sst"))
        self.say(f"all restarted, on {files} table files")

    def owners(self):
        """By partition, the addresses of its replicas."""
        node, partitions = self.cluster.nodes[0], []
        addresses = {m["node"]: m["address"] for m in changes.cluster_of(node)["members"]}
        while True:
            ring = json.loads(node.request("GET", f"/v1/ring?from={len(partitions)}").body)
            partitions += [{addresses[owner] for owner in owners} for owners in ring["partitions"]]
            if len(partitions) >= ring["q"]:
                return partitions

    @staticmethod
    def partition_of(key, q):
        position = int.from_bytes(hashlib.md5(key.encode()).digest(), "big")
        return position * q >> 128

    def judge_alone(self, keys, owners):
        """Each replica has by itself what it must have: nobody else can be asked, nothing repairs it."""
        everybody = set(range(len(self.network.members)))
        shown = {}
        for node in self.cluster.nodes:
            self.network.split(everybody - {self.faults.member_of(node)})
            own = [key for key in keys
                   if node.address in owners[self.partition_of(key, len(owners))]]
            for key in own:
                if self.in_chunks(key):
                    continue  # these lie elsewhere
                read = self.read(node, key, "r=1&sloppy=false")
                self.oracle.final(key, read, f"{node.folder.name} alone")
                self.same(shown, key, read, node, "alone")
        self.network.heal()

    def in_chunks(self, key):
        return key.startswith("large/") and self.settings["value_max"] == "1M" and \
            len(self.cluster.nodes) > 3

    def judge_together(self, keys):
        """Contested keys through every node, others through some; then the listings."""
        shown, few = {}, 1.5 / len(self.cluster.nodes)
        for node in self.cluster.nodes:
            for key in keys:
                if key.partition("/")[0] in ("cold", "new") and self.random.random() > few:
                    continue
                read = self.read(node, key, "r=3&sloppy=false")
                self.oracle.final(key, read, f"all, through {node.folder.name},")
                self.same(shown, key, read, node, "of all")
        for key in sorted(set(keys) - set(shown)):
            node = self.random.choice(self.cluster.nodes)
            read = self.read(node, key, "r=3&sloppy=false")
            self.oracle.final(key, read, f"all, through {node.folder.name},")
            self.same(shown, key, read, node, "of all")
        for node in self.cluster.nodes:
            for folder in sorted({key.rpartition("/")[0] for key in keys}):
                self.judge_listing(node, folder, shown)

    def same(self, shown, key, read, node, how):
        versions = sorted(read.versions)
        if shown.setdefault(key, versions) != versions:
            self.oracle.violation(key, f"reads {how} differ: {node.folder.name} has "
                                       f"{self.oracle.names(self.oracle.keys[key], versions)}")

    def judge_listing(self, node, folder, shown):
        found = []

        def listed():
            found[:] = [load.list_all(node.request, folder, "r=3&sloppy=false&timeout=4000")]
            return found[0] is not None

        self.until(listed, 20, f"{folder} being listed by {node.folder.name}")
        entries = found[0]
        for key, versions in shown.items():
            above, _, name = key.rpartition("/")
            if above != folder:
                continue
            if bool(versions) != (name in entries):
                self.oracle.violation(key, f"a listing by {node.folder.name} "
                                      f"{'lacks it' if versions else 'shows it, and it is deleted'}")
            elif versions and entries[name]["siblings"] != len(versions):
                self.oracle.violation(key, f"a listing by {node.folder.name} shows "
                                           f"{entries[name]['siblings']} versions of {len(versions)}")
        for name in entries:
            if f"{folder}/{name}" not in shown:
                self.oracle.violation(folder, f"a listing by {node.folder.name} shows {name}, which "
                                              "nobody wrote")

    def read(self, node, key, query):
        found = []

        def answered():
            found[:] = [answers.read(node.request, key, query + "&timeout=4000")]
            return found[0] is not None

        self.until(answered, 20, f"{key} being read at {node.folder.name} ({query})")
        return found[0]

    # Failures

    def leave_evidence(self, folder, why):
        """Logs, the story, and the histories of the keys that are wrong, for people."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True)
        (folder / "story.txt").write_text("\n".join([*self.story, str(why), ""]))
        for node in [*self.cluster.nodes, *self.lost]:
            for log in (node.log, node.folder / "dynanode.log", node.conf):
                if log.exists():
                    shutil.copy(log, folder / f"{node.folder.name}.{log.name}")
        for key in dict.fromkeys(key for key, _ in self.oracle.violations):
            (folder / f"history-{key.replace('/', '-')}.txt").write_text(
                self.oracle.history(key) + "\n")
