# SPDX-License-Identifier: Apache-2.0
"""The sum at the end of `./dev test` hides nothing."""

import json

import pytest

import tally


def meson_line(result="OK", stdout="", name="x"):
    return json.dumps({"name": name, "result": result, "stdout": stdout}) + "\n"


def junit(*cases):
    body = "".join(f'<testcase classname="c" name="n">{case}</testcase>' for case in cases)
    return f"<testsuites><testsuite>{body}</testsuite></testsuites>"


def summary(folder, capsys):
    status = tally.main(folder)
    return status, capsys.readouterr().out.splitlines()[-1]


def leave(folder, stage, status=0, **results):
    (folder / f"{stage}.rc").write_text(f"{status}\n")
    for suffix, text in results.items():
        (folder / f"{stage}.{suffix}").write_text(text)


def test_functions_count_not_programs(tmp_path, capsys):
    leave(tmp_path, "unit", json=meson_line(stdout="1..2\nok 1 - a\nok 2 - b\n") + meson_line())
    assert summary(tmp_path, capsys) == (0, "3 passed, 0 failed")


def test_meson_and_pytest_add_up(tmp_path, capsys):
    leave(tmp_path, "unit", 1, json=meson_line("FAIL", "1..2\nok 1 - a\nnot ok 2 - b\n"))
    leave(tmp_path, "fs", 1, xml=junit("", "<failure/>", "<skipped/>", "<error/>"))
    assert summary(tmp_path, capsys) == (1, "2 passed, 3 failed, 1 skipped")


@pytest.mark.parametrize("results", [
    {"json": meson_line("ERROR", "1..2\nok 1 - a\n")},          # died after its first function
    {"json": meson_line("TIMEOUT", "1..2\nok 1 - a\n")},
    {"xml": junit("")},                                         # passed, but left something behind
])
def test_a_stage_that_failed_without_a_failed_test_counts_as_one(results, tmp_path, capsys):
    leave(tmp_path, "stage", 1, **results)
    assert summary(tmp_path, capsys) == (1, "1 passed, 1 failed")


@pytest.mark.parametrize("results", [{}, {"json": ""}, {"xml": junit()}])
def test_a_stage_without_a_test_is_a_failure(results, tmp_path, capsys):
    leave(tmp_path, "stage", 0, **results)
    assert summary(tmp_path, capsys) == (1, "0 passed, 1 failed")


def test_torn_results_are_a_failure(tmp_path, capsys):
    leave(tmp_path, "stage", 124, xml="<testsuites><tests")
    assert summary(tmp_path, capsys) == (1, "0 passed, 1 failed")


def test_no_stage_at_all_is_a_failure(tmp_path, capsys):
    assert summary(tmp_path, capsys) == (1, "0 passed, 0 failed")
