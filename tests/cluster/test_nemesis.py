# SPDX-License-Identifier: Apache-2.0
"""A bounded run of the nemesis (tests/nemesis): real processes in network namespaces under load and
faults, and the oracle's judgement. `./dev nemesis` runs as long as one likes."""

import io

import pytest
from nemesis import nemesis


@pytest.mark.limit(400)
@pytest.mark.parametrize("seed", [5])
def test_no_promise_is_broken_under_faults(tmp_path, seed):
    story = io.StringIO()
    played = nemesis.Nemesis(tmp_path / "cluster", 4, seed, patience=4, cold_keys=60, out=story)
    try:
        played.start()
        played.round(8)
    except AssertionError as error:
        keys = list(dict.fromkeys(key for key, _ in played.oracle.violations))[:2]
        told = "\n".join(f"history of {key}:\n{played.oracle.history(key)}" for key in keys)
        raise AssertionError(f"{error}\n{story.getvalue()}{told}") from None
    finally:
        played.close()
    assert played.figures["acknowledged"] > 0 and played.figures["reads"] > 0
    assert sum(played.faults.struck.values()) > 4
