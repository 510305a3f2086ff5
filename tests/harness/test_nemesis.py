# SPDX-License-Identifier: Apache-2.0
"""The oracle of the nemesis finds each kind of broken promise, and finds none in a history without;
and the links of a network can be cut one way, slowed, and mended."""

import base64

import pytest

from harness import wait
from harness.test_harness import reaches, start_listener
from nemesis import answers, oracle

ACTOR, OTHER = (1, 2, 3), (9, 8, 7)


def varint(value):
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def context(clock, dots=()):
    """The text of a context, without an authenticator that anybody would believe."""
    order = sorted(clock)
    raw = bytes((1, answers.TOKEN)) + varint(len(order))
    for actor in order:
        raw += b"".join(part.to_bytes(8, "little") for part in actor[:2]) + varint(actor[2])
        raw += varint(clock[actor]) + varint(1 << 40)
    raw += varint(len(dots))
    for actor, counter in dots:
        raw += varint(order.index(actor)) + varint(counter)
    return base64.urlsafe_b64encode(raw + bytes(16)).rstrip(b"=").decode()


def headers(actor, counter, clock=None, dots=()):
    return {"Dynamount-Dot": oracle.Oracle.dot_text((actor, counter)),
            "Dynamount-Context": context(clock or {actor: counter}, dots)}


def read_of(*versions, **clock):
    joined = dict(clock)
    for dot, _ in versions:
        answers.join(joined, {dot[0]: dot[1]})
    return answers.Read(list(versions), joined, context(joined))


class History:
    """Writes to one key, each acknowledged with the next dot of ACTOR."""

    def __init__(self):
        self.oracle, self.counter = oracle.Oracle(), 0

    def put(self, status=204, **how):
        self.counter += 1
        value = answers.digest_of(b"%d" % self.counter)
        write = self.oracle.begin("k", self.counter, "PUT", value, **how)
        self.oracle.end(write, status, status and headers(ACTOR, self.counter))
        return (ACTOR, self.counter), value

    def final(self, *versions):
        self.oracle.final("k", read_of(*versions), "a node")
        return [sentence for _, sentence in self.oracle.violations]


@pytest.fixture
def history():
    return History()


def test_a_context_tells_its_clock_and_dots():
    clock = {ACTOR: 300, OTHER: 2}
    assert answers.parse_context(context(clock, [(OTHER, 2)])) == (clock, [(OTHER, 2)])


def test_siblings_and_what_a_context_covered_are_as_they_must_be(history):
    first, second = history.put(), history.put()
    third = history.put(context=read_of(first))
    maybe = history.put(status=None)
    assert history.final(second, third) == []
    assert history.final(second, third, maybe) == []


def test_a_lost_write_is_found(history):
    first, _ = history.put(), history.put()
    assert ["lost" in sentence for sentence in history.final(first)] == [True]


def test_a_write_that_a_maybe_may_have_covered_may_be_gone(history):
    first = history.put()
    maybe = history.put(status=None, context=read_of(first))
    assert history.final(first) == [] == history.final(maybe)


def test_a_returned_version_is_found(history):
    first = history.put()
    second = history.put(context=read_of(first))
    (found,) = history.final(first, second)
    assert "returned" in found and "write 2 covered" in found


def test_a_version_that_a_blind_write_covered_and_that_returned_is_found(history):
    first = history.put()
    write = history.oracle.begin("k", 2, "DELETE", blind=True)
    history.oracle.end(write, 204, headers(ACTOR, 2))
    assert history.final() == []
    assert "returned" in history.final(first)[0]


def test_what_a_blind_write_did_not_find_may_stay(history):
    history.put()
    write = history.oracle.begin("k", 2, "DELETE", blind=True)
    beside = history.put()
    history.oracle.end(write, 204, headers(ACTOR, 1))
    assert history.final(beside) == []


def test_bytes_of_nobody_and_of_another_key_are_found(history):
    history.oracle.end(history.oracle.begin("other", 7, "PUT", answers.digest_of(b"x")), None)
    assert "nobody wrote" in history.final(((OTHER, 1), answers.digest_of(b"x")))[0]


def test_a_dot_of_two_values_is_found(history):
    first, second = history.put(), history.put()
    assert any("names two values" in sentence
               for sentence in history.final(second, (first[0], second[1]), first))


def test_a_value_shown_twice_is_found(history):
    first = history.put()
    assert "one value twice" in history.final(first, ((OTHER, 1), first[1]))[0]


def test_a_strict_read_that_misses_or_shows_too_much_is_found(history):
    first = history.put()
    second = history.put(context=read_of(first))
    expectation = history.oracle.strict_expectation("k")
    history.oracle.strictly_read("k", read_of(second), "a read", expectation)
    assert history.oracle.violations == []
    history.oracle.strictly_read("k", read_of(first), "a read", expectation)
    told = [sentence for _, sentence in history.oracle.violations]
    assert "does not show" in told[0] and "covered before" in told[1]


def test_a_cut_is_one_way_and_can_be_mended(make_network):
    net = make_network(3)
    listeners = [start_listener(member) for member in net.members]
    net.cut(0, 1)
    net.slow(2, "1mbit")
    assert not reaches(net.members[0], net.address(1)) and not reaches(net.members[1], net.address(0))
    for here, there in ((0, 2), (2, 1)):
        wait.until(lambda a=here, b=there: reaches(net.members[a], net.address(b)), what="a path")
    assert "PERMANENT" not in net.members[1].run("ip", "neigh", "show", net.address(0))
    net.mend(0, 1)
    net.mend(2, 1)  # was never cut
    net.slow(2, None)
    for here, there in ((0, 1), (1, 0)):
        wait.until(lambda a=here, b=there: reaches(net.members[a], net.address(b)), what="a mended path")
    assert "tbf" not in net.members[2].run("tc", "qdisc", "show", "dev", "eth0")
    assert len(listeners) == 3
