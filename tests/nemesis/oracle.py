# SPDX-License-Identifier: Apache-2.0
"""What a cluster owes its users, judged from outside: the rules of tests/sim/oracle.h, applied to real
processes over HTTP.

By key it keeps every write with what its context showed and covered. An acknowledged write happened;
one that timed out, or that no quorum acknowledged, may have. Every value is unique. Then

  at the end    an acknowledged value that no other write can have covered must be there, and no
                version may be there that an acknowledged write covered
  at all times  a value was sent for this key, whole; a dot names one value for ever; no answer shows
                one value twice; and strict reads of strict writes (R + W > N) show what was
                acknowledged before they began

A value may be gone when a write that began later than it was seen was given a context of a read that
had shown it, or when a write without a context that replaces whatever it finds (If-Match: *, DELETE)
may have met it. A version must be gone when an acknowledged write's context covers its dot.
"""

import collections
import dataclasses
import threading
import time

from . import answers

# A request whose asker gave up can still take effect for this long: the coordinator's deadline, and
# what a stopped process had in its sockets.
AFTERMATH = 20
TOLD = 400  # events of a key's history that are kept


@dataclasses.dataclass(eq=False)
class Write:
    number: int
    key: str
    what: str
    digest: bytes  # None: a delete
    strict: bool
    blind: bool  # replaces whatever is there
    context: answers.Read
    began: float
    ended: float = None
    acknowledged: bool = False
    clock: dict = None  # of a blind one's answer
    dots: list = None
    dot: tuple = None


class Key:
    def __init__(self):
        self.sent = {}  # digest: Write
        self.dots = {}  # dot: digest
        self.must = set()  # digests: acknowledged, and nothing can have covered them
        self.seen_by_writers = set()  # digests that the context of some write showed
        self.blind = []
        self.covered = {}  # the contexts' clocks of all acknowledged writes
        self.covering = []  # those writes
        self.events = collections.deque(maxlen=TOLD)


class Oracle:
    def __init__(self):
        self.lock = threading.Lock()
        self.keys = collections.defaultdict(Key)
        self.violations = []  # (key, sentence)
        self.numbers = 0
        self.start = time.monotonic()

    def violation(self, key, sentence):
        self.violations.append((key, sentence))
        self.note(key, "VIOLATION " + sentence)

    def note(self, key, what):
        self.keys[key].events.append((time.monotonic() - self.start, what))

    def next_number(self):
        with self.lock:
            self.numbers += 1
            return self.numbers

    def begin(self, key, number, what, digest=None, strict=False, blind=False, context=None):
        """A write goes out; CONTEXT: the Read whose context it carries."""
        with self.lock:
            write = Write(number, key, what, digest, strict, blind, context, time.monotonic())
            record = self.keys[key]
            if digest:
                assert digest not in record.sent
                record.sent[digest] = write
            if blind:
                record.blind.append(write)
                record.must.clear()
            if context:
                shown = {digest for _, digest in context.versions}
                record.seen_by_writers |= shown
                record.must -= shown
            self.note(key, f"write {number} begins: {what}" + (
                f", covers {self.names(record, context.versions)}" if context else ""))
            return write

    def end(self, write, status, headers=None):
        """Its answer, or None for STATUS when nobody knows."""
        with self.lock:
            record = self.keys[write.key]
            write.ended = time.monotonic()
            self.note(write.key, f"write {write.number} ends: {status or 'unanswered'}"
                                 f" {(headers or {}).get('Dynamount-Dot', '')}")
            if status != 204:
                return
            write.acknowledged = True
            dot = headers["Dynamount-Dot"]
            if dot:
                write.dot = answers.parse_dot(dot)
                if write.digest:
                    self.learn(write.key, record, write.dot, write.digest)
            if write.context:
                answers.join(record.covered, write.context.clock)
                record.covering.append(write)
            if write.blind and headers["Dynamount-Context"]:
                write.clock, write.dots = answers.parse_context(headers["Dynamount-Context"])
                record.covering.append(write)
            if write.digest and write.digest not in record.seen_by_writers and not any(
                    self.may_meet(blind, write) for blind in record.blind):
                record.must.add(write.digest)

    @staticmethod
    def may_meet(blind, write):
        """Can this replacement of whatever was there have found what the write made?"""
        return blind is not write and (blind.ended is None or
                                       write.began < blind.ended + AFTERMATH)

    def learn(self, key, record, dot, digest):
        known = record.dots.setdefault(dot, digest)
        if known != digest:
            self.violation(key, f"the dot {self.dot_text(dot)} names two values: "
                                f"{self.names(record, [(dot, known), (dot, digest)])}")

    @staticmethod
    def dot_text(dot):
        return ".".join(f"{part:x}" for part in (*dot[0], dot[1]))

    def names(self, record, versions):
        """Versions, by the numbers of the writes that made them."""
        return ", ".join(
            (f"{record.sent[digest].number}" if digest in record.sent else "?") +
            f" ({self.dot_text(dot)[-12:]})" for dot, digest in versions) or "nothing"

    def strict_expectation(self, key):
        """What a strict read that begins now must show, and must not: for strictly_read()."""
        with self.lock:
            record = self.keys[key]
            return set(record.must), dict(record.covered)

    def saw(self, key, read, where):
        """Any answer to a read."""
        with self.lock:
            record = self.keys[key]
            self.note(key, f"{where} shows {self.names(record, read.versions)}")
            digests = [digest for _, digest in read.versions]
            if len(set(digests)) != len(digests):
                self.violation(key, f"{where} shows one value twice: "
                                    f"{self.names(record, read.versions)}")
            for dot, digest in read.versions:
                if digest not in record.sent:
                    self.violation(key, f"{where} shows bytes that nobody wrote to this key, as "
                                        f"{self.dot_text(dot)}")
                self.learn(key, record, dot, digest)

    def strictly_read(self, key, read, where, expectation):
        """A strict read of a key whose writes are all strict; EXPECTATION is from its beginning."""
        must, covered = expectation
        with self.lock:
            record = self.keys[key]
            missing = (must & record.must) - {digest for _, digest in read.versions}
            for digest in missing:
                self.violation(key, f"{where}, strict, does not show the acknowledged write "
                                    f"{record.sent[digest].number}")
            for dot, digest in read.versions:
                if answers.covers(covered, dot):
                    self.violation(key, f"{where}, strict, shows {self.names(record, [(dot, digest)])}"
                                        f", which {self.culprits(record, dot)} covered before")

    def culprits(self, record, dot):
        return "write " + ", ".join(str(write.number) for write in record.covering
                                    if self.has_covered(write, dot))

    @staticmethod
    def has_covered(write, dot):
        if write.context and answers.covers(write.context.clock, dot):
            return True
        return bool(write.clock) and answers.covers(write.clock, dot) and dot not in write.dots

    def final(self, key, read, where):
        """After the faults, when all have what is owed to them."""
        self.saw(key, read, where)
        with self.lock:
            record = self.keys[key]
            for digest in record.must - {digest for _, digest in read.versions}:
                self.violation(key, f"lost: {where} has nothing of the acknowledged write "
                                    f"{record.sent[digest].number}")
            for dot, digest in read.versions:
                if any(self.has_covered(write, dot) for write in record.covering):
                    self.violation(key, f"returned: {where} has "
                                        f"{self.names(record, [(dot, digest)])}, which "
                                        f"{self.culprits(record, dot)} covered")

    def history(self, key):
        """What was done to a key and what was answered, a line each."""
        with self.lock:
            return "\n".join(f"{at:10.3f}  {what}" for at, what in self.keys[key].events)
