# SPDX-License-Identifier: Apache-2.0
"""Waiting for a condition, with a deadline: never for a time that should be enough."""

import time


def until(condition, seconds=10, what=None):
    """Asks CONDITION again and again until its answer is true, and returns that answer. The test
    fails, naming WHAT was awaited, when SECONDS are over. Exceptions of CONDITION are not caught."""
    deadline = time.monotonic() + seconds
    pause = 0.002
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition.__name__}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return answer
