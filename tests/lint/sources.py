# SPDX-License-Identifier: Apache-2.0
"""Habits that a text search can see: licences, lengths, dependencies behind one file, marks."""

import re

from . import tree as trees

LICENCE = "SPDX-License-Identifier: Apache-2.0"
LONGEST_FILE = 700
WIDEST_LINE = 100

# Each outside library is known to one file, so that it can be replaced, and its traps be handled, in
# one place.
ONE_INCLUDER = ("rocksdb/c.h", "event2/http.h", "curl/curl.h", "fuse_lowlevel.h", "cJSON.h",
                "syslog.h")

# Put together here, so that this file does not hold what it looks for.
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")


def without_licence(tree):
    """Sources that do not name their licence in the first lines."""
    return [path for path, text in tree.items()
            if trees.is_source(path) and LICENCE not in "\n".join(text.splitlines()[:2])]


def without_purpose(tree):
    """C files that do not open, after the licence, with a comment on the problem they solve."""
    found = []
    for path, text in tree.items():
        lines = [line for line in text.splitlines() if line.strip()]
        opening = lines[1] if len(lines) > 1 else ""
        if trees.is_c(path) and not opening.startswith("/*"):
            found.append(path)
    return found


def too_long(tree):
    """Sources of more than 700 lines: two ideas in one file."""
    return [f"{path}: {len(text.splitlines())} lines" for path, text in tree.items()
            if trees.is_source(path) and len(text.splitlines()) > LONGEST_FILE]


def too_wide(tree):
    """C lines of more than 100 columns. clang-format breaks code, but leaves comments alone: it would
    flow the drawings and tables in them together."""
    return [f"{path}:{number}: {len(line)} columns" for path, text in tree.items()
            if trees.is_c(path)
            for number, line in enumerate(text.splitlines(), 1) if len(line) > WIDEST_LINE]


def shared_dependencies(tree):
    """Libraries that more than one file of the programs includes."""
    found = []
    for header in ONE_INCLUDER:
        wanted = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([\w./-]*/)?' + re.escape(header) + '[>"]',
                            re.MULTILINE)
        users = sorted(path for path, text in tree.items()
                       if trees.is_c(path) and not path.startswith("tests/") and wanted.search(text))
        if len(users) > 1:
            found.append(f"{header}: {', '.join(users)}")
    return found


def unfinished(tree):
    """Lines with a mark that something is not done."""
    return [f"{path}:{number}" for path, text in tree.items() if trees.is_source(path)
            for number, line in enumerate(text.splitlines(), 1) if UNFINISHED.search(line)]
