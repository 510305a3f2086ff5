# SPDX-License-Identifier: Apache-2.0
"""What a node's HTTP answers say: the versions of a key, with their dots, and the clock of a context.

A context is opaque to users. The judge looks inside all the same: its clock tells exactly what a write
with it has covered (context.c describes the bytes).
"""

import base64
import dataclasses
import hashlib

TOKEN = 1  # the format of a context that stands for all that was read


@dataclasses.dataclass
class Read:
    """One read: the versions as (dot, digest of the bytes), the clock of all of them, and the context
    that stands for it, None when it came in pages."""

    versions: list
    clock: dict
    context: str


def digest_of(value):
    return hashlib.sha256(value).digest()


def parse_dot(text):
    node, boot, run, counter = (int(part, 16) for part in text.split("."))
    return (node, boot, run), counter


def covers(clock, dot):
    return clock.get(dot[0], 0) >= dot[1]


def join(clock, other):
    """Joins OTHER into CLOCK."""
    for actor, counter in other.items():
        if clock.get(actor, 0) < counter:
            clock[actor] = counter


class _Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, size):
        self.at += size
        return int.from_bytes(self.data[self.at - size:self.at], "little")

    def varint(self):
        value, shift = 0, 0
        while True:
            byte = self.number(1)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value


def parse_context(text):
    """(clock, dots) of a context as nodes make it: the clock as {actor: counter}."""
    raw = _Bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    choice, token = raw.number(1), raw.number(1)
    assert (choice, token) == (1, TOKEN), f"a context that does not stand for all: {text}"
    pairs, dots = [], []
    for _ in range(raw.varint()):
        actor = raw.number(8), raw.number(8), raw.varint()
        pairs.append((actor, raw.varint()))
        raw.varint()  # its time
    for _ in range(raw.varint()):
        actor = pairs[raw.varint()][0]
        dots.append((actor, raw.varint()))
    return dict(pairs), dots


def parts_of(answer):
    """(headers, body) of each part of a 300. By Content-Length: values may hold anything."""
    boundary = b"--" + answer.headers["Content-Type"].rpartition("boundary=")[2].encode()
    body, at, found = answer.body, 0, []
    while True:
        assert body.startswith(boundary, at), "a part that does not begin with its boundary"
        at += len(boundary)
        if body.startswith(b"--", at):
            return found
        end = body.index(b"\r\n\r\n", at)
        headers = {}
        for line in body[at:end].decode().split("\r\n"):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        at = end + 4
        length = int(headers["content-length"])
        found.append((headers, body[at:at + length]))
        at += length + 2


def read(request, key, query=""):
    """Reads a key through REQUEST(method, path) with as many requests as it takes. A Read; None when a
    node answered anything else than 200, 300 or 404, or a version went between two requests."""
    versions, clock, context, after = [], {}, None, ""
    while True:
        answer = request("GET", f"/v1/kv/{key}?{query}{after}")
        if answer.status not in (200, 300, 404):
            return None
        context = answer.headers["Dynamount-Context"]
        if answer.status == 404:
            return Read([], parse_context(context)[0] if context else {}, context)
        if answer.status == 200:
            dot = parse_dot(answer.headers["Dynamount-Dot"])
            return Read([(dot, digest_of(answer.body))], parse_context(context)[0], context)
        for headers, body in parts_of(answer):
            if "content-location" in headers:
                one = request("GET", f"/v1/kv/{key}?{query}&sibling={headers['dynamount-dot']}")
                if one.status != 200:
                    return None
                body = one.body
            dot = parse_dot(headers["dynamount-dot"])
            join(clock, {dot[0]: dot[1]})
            versions.append((dot, digest_of(body)))
        following = answer.headers["Dynamount-Next"]
        if not following:
            break
        after = f"&after={following}"
    if after:
        return Read(versions, clock, None)
    return Read(versions, parse_context(context)[0], context)
