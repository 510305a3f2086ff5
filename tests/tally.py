# SPDX-License-Identifier: Apache-2.0
"""Adds up what the stages of `./dev test` left behind, and ends with `N passed, N failed`.

A stage leaves NAME.rc (its exit status) and NAME.json (meson, one line for each test program) or
NAME.xml (pytest). Counts come from the tests themselves: each cmocka function is one. The exit
status only adds: a stage that failed without a failed test (a crash, a time limit, nothing found)
counts as one failure, so nothing that went wrong can vanish from the sum.
"""

import json
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

TAP_LINE = re.compile(r"^(ok|not ok) \d+(.*)$", re.MULTILINE)


class Count:
    """Passed, failed and skipped tests, with the names of the failed ones."""

    def __init__(self):
        self.passed = self.skipped = 0
        self.failed = []

    @property
    def total(self):
        return self.passed + self.skipped + len(self.failed)

    def add(self, other):
        self.passed += other.passed
        self.skipped += other.skipped
        self.failed += other.failed


def count_meson(text, stage):
    """Counts one meson log. A program that does not speak TAP is one test."""
    count = Count()
    for line in text.splitlines():
        test = json.loads(line)
        name = f"{stage}: {test['name']}"
        lines = TAP_LINE.findall(test.get("stdout", ""))
        bad = [what for verdict, what in lines if verdict == "not ok"]
        count.passed += len(lines) - len(bad)
        count.failed += [f"{name}{what}" for what in bad]
        if test["result"] == "SKIP":
            count.skipped += 1
        elif test["result"] != "OK" and not bad:
            count.failed.append(f"{name} ({test['result']})")
        elif test["result"] == "OK" and not lines:
            count.passed += 1
    return count


def count_pytest(text, stage):
    """Counts one junit file."""
    count = Count()
    for case in ElementTree.fromstring(text).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            count.failed.append(f"{stage}: {case.get('classname')}.{case.get('name')}")
        elif case.find("skipped") is not None:
            count.skipped += 1
        else:
            count.passed += 1
    return count


def count_stage(folder, stage):
    """Counts one stage, and makes a failure of whatever its own results do not tell."""
    count = Count()
    for suffix, reader in ((".json", count_meson), (".xml", count_pytest)):
        results = folder / (stage + suffix)
        try:
            if results.exists():
                count.add(reader(results.read_text(errors="replace"), stage))
        except (ValueError, KeyError, ElementTree.ParseError) as error:
            count.failed.append(f"{stage}: unreadable results ({error})")
    status = int((folder / (stage + ".rc")).read_text())
    if status != 0 and not count.failed:
        count.failed.append(f"{stage}: ended with status {status}")
    if count.total == 0:
        count.failed.append(f"{stage}: nothing ran")
    return count


def main(folder):
    folder = pathlib.Path(folder)
    total = Count()
    for stage in sorted(path.stem for path in folder.glob("*.rc")):
        count = count_stage(folder, stage)
        print(f"{stage}: {count.passed} passed, {len(count.failed)} failed, {count.skipped} skipped")
        total.add(count)
    for name in total.failed:
        print(f"FAILED {name}")
    line = f"{total.passed} passed, {len(total.failed)} failed"
    print(line + (f", {total.skipped} skipped" if total.skipped else ""))
    return 1 if total.failed or total.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
