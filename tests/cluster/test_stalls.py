# SPDX-License-Identifier: Apache-2.0
"""What a node that dies or stands still costs those who go on (DESIGN: nobody is stalled).

The load is the client library's own, as a mount has it. How fast a machine is that also runs other
tests cannot be known, so what is compared is the time before the fault with the time after it."""

import json
import statistics
import subprocess

import pytest

from harness import tree, wait

SLICE = 0.1  # seconds
BEFORE = 1.5
HELD = 3


class Load:
    """Puts and gets of many keys, four at a time, in slices of time."""

    def __init__(self, cluster, *options):
        self.process = subprocess.Popen(
            [tree.BUILD / "tests" / "bench" / "load_client", "--to", ",".join(cluster.addresses),
             "--clients", "4", "--seconds", str(BEFORE + HELD), "--keys", "500",
             "--slice", str(int(SLICE * 1000)), *options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "begun\n"

    def slices(self):
        """(operations, errors, longest in s) of each slice: those before the fault, those after."""
        report = json.loads(self.process.communicate(timeout=60)[0])
        made = [(ended, errors, longest / 1000) for ended, errors, longest in report["slices"]]
        cut = int(BEFORE / SLICE)
        return made[2:cut - 1], made[cut - 1:]  # the first have connections to make


def pause_before_the_fault():
    """The fault must come in the middle of the load: this waits for time itself."""
    with pytest.raises(AssertionError):
        wait.until(lambda: False, BEFORE, "the middle of the load")


@pytest.fixture(params=["client", "server"])
def coordinated(request):
    return ["--server"] if request.param == "server" else []


@pytest.mark.plain
def test_a_killed_node_stalls_nobody(three_nodes, coordinated):
    load = Load(three_nodes, *coordinated)
    pause_before_the_fault()
    three_nodes.nodes[2].kill()
    before, after = load.slices()
    usual = max(longest for _, _, longest in before)
    assert sum(errors for _, errors, _ in after) == 0
    assert max(longest for _, _, longest in after) < max(0.1, 3 * usual)
    rate = statistics.median(ended for ended, _, _ in before)
    assert sum(ended for ended, _, _ in after) > 0.4 * rate * len(after)


@pytest.mark.plain
def test_a_node_that_stands_still_costs_a_moment(three_nodes, coordinated):
    load = Load(three_nodes, *coordinated)
    pause_before_the_fault()
    three_nodes.nodes[2].pause()
    try:
        before, after = load.slices()
    finally:
        three_nodes.nodes[2].resume()
    assert sum(errors for _, errors, _ in after) == 0
    rate = statistics.median(ended for ended, _, _ in before)
    slow = [ended for ended, _, _ in after[:-1] if ended < rate / 4]
    assert len(slow) * SLICE <= 1, after
    assert max(longest for _, _, longest in after) < 1
