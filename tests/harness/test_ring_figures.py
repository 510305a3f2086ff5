# SPDX-License-Identifier: Apache-2.0
"""./dev bench ring draws what it measured, the same from the same seed."""

import json
import subprocess
import sys
import xml.etree.ElementTree

from . import tree

DRIVER = tree.ROOT / "tests" / "bench" / "ring.py"


def draw(folder, *options):
    """Runs it with few draws; (its table, numbers, the two figures)."""
    figures = [folder / "8.svg", folder / "6.svg"]
    done = subprocess.run(
        [sys.executable, DRIVER, "--draws", "2", "--days", "1", "--figure8", figures[0],
         "--figure6", figures[1], "--json", folder / "numbers.json", *options],
        stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    return (done.stdout.rsplit("drawn:", 1)[0], json.loads((folder / "numbers.json").read_text()),
            [figure.read_text() for figure in figures])


def test_equal_seeds_draw_equal_figures(tmp_path):
    once, again, other = (draw(tmp_path / name, "--seed", seed)
                          for name, seed in (("a", "3"), ("b", "3"), ("c", "4")))
    assert once == again
    assert once[2][0] != other[2][0] and once[2][1] != other[2][1]


def test_figures_and_numbers_show_the_order_that_the_paper_found(tmp_path):
    table, numbers, figures = draw(tmp_path)
    for row in numbers["balance"]:
        assert row["2"]["mean"] < row["1"]["mean"] < row["3"]["mean"] <= row["optimum"]
        assert f"{row['units']:,}" in table
        if row["units"] >= 32 * numbers["nodes"]:
            assert row["3"]["mean"] >= 0.99
    day = numbers["day"]
    assert len(day) == 48
    busy = sorted(day, key=lambda window: window["requests"])
    assert sum(w["3"] for w in busy[:12]) > sum(w["3"] for w in busy[-12:])
    for figure in figures:
        assert xml.etree.ElementTree.fromstring(figure).tag == "{http://www.w3.org/2000/svg}svg"
    bars = xml.etree.ElementTree.fromstring(figures[1]).findall("{*}rect[@y]")
    assert len(bars) >= 48
