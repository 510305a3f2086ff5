# SPDX-License-Identifier: Apache-2.0
"""clang, too, finds nothing to warn of. ./dev test builds everything with it; this asks it for its
opinion only, in seconds, so that it can go along with the unit tests."""

import concurrent.futures
import json
import os
import pathlib
import shlex
import subprocess

import pytest

from . import tree

BUILD = pathlib.Path(os.environ.get("DYNAMOUNT_BUILD", tree.ROOT / "build"))
DROPPED = {"-c", "-MD"}
DROPPED_WITH_VALUE = {"-o", "-MQ", "-MF"}


def flags_of(command):
    """The arguments of a compile command, without the compiler's name and its outputs."""
    words = iter(shlex.split(command))
    for word in words:
        if word.startswith("-") or word.endswith(".c"):
            break
    kept = []
    while word is not None:
        if word in DROPPED_WITH_VALUE:
            next(words)
        elif word not in DROPPED:
            kept.append(word)
        word = next(words, None)
    return kept


def complaints(entry):
    """What clang says of one entry of compile_commands.json."""
    done = subprocess.run(["clang", "-fsyntax-only", *flags_of(entry["command"])],
                          cwd=entry["directory"], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode != 0 else ""


def entries():
    return json.loads((BUILD / "compile_commands.json").read_text())


def test_clang_finds_nothing():
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [text for text in pool.map(complaints, entries()) if text]
    assert found == []


@pytest.mark.parametrize("text", [
    'void f(void);\nvoid f(void)\n{\n    _Bool b = "text";\n    (void)b;\n}\n',  # clang's own
    "int f(long l);\nint f(long l)\n{\n    return l;\n}\n",                    # -Wconversion
    "int f(int a);\nint f(int a)\n{\n    return 0;\n}\n",                      # -Wextra
    "int f()\n{\n    return 0;\n}\n",                                          # -Wstrict-prototypes
])
def test_a_planted_warning_is_found(text, tmp_path):
    path = tmp_path / "a.c"
    path.write_text(text)
    entry = entries()[0]
    command = entry["command"].replace(shlex.quote(entry["file"]), str(path))
    assert str(path) in command
    assert "error" in complaints({**entry, "command": command})
