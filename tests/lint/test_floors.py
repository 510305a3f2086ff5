# SPDX-License-Identifier: Apache-2.0
"""The tree keeps its floors, and each kind of breach would be seen."""

import os
import pathlib
import subprocess

import pytest

from . import floors, tree

BUILD = pathlib.Path(os.environ.get("DYNAMOUNT_BUILD", tree.ROOT / "build"))


def test_no_file_includes_a_floor_above_its_own():
    assert floors.include_breaches(tree.load()) == []


@pytest.mark.parametrize("path, line, complaint", [
    ("common/base/a.c", '#include "model/key.h"', "floor 0 (base) includes common/model/key.h"),
    ("common/model/a.c", '#include "adapter/loop.h"', "floor 1 (model) includes common/adapter"),
    ("node/engine/a.h", '#  include "adapter/loop.h"', "floor 1 (model) includes common/adapter"),
    ("node/port/a.h", '#include "adapter/loop.h"', "floor 2 (port) includes common/adapter"),
    ("node/adapter/a.c", '#include "main.h"', "floor 3 (adapter) includes node/main.h"),
    ("common/model/a.c", '#include "engine/engine.h"', "in its own component or in common/"),
    ("fs/model/a.c", '#include "engine/engine.h"', "in its own component or in common/"),
    ("fs/model/a.c", '#include "../common/base/buf.h"', "from the root of its component"),
    ("common/model/a.c", "#include <sys/socket.h>", "includes <sys/socket.h>"),
    ("node/engine/a.c", "#include <time.h>", "includes <time.h>"),
    ("node/engine/reap/a.c", "#include <time.h>", "includes <time.h>"),
    ("fs/model/a.c", "#include <pthread.h>", "includes <pthread.h>"),
    ("node/engine/a.c", "#include <rocksdb/c.h>", "includes <rocksdb/c.h>"),
    ("node/tools/a.c", "", "stands on no floor"),
])
def test_a_planted_breach_is_found(path, line, complaint):
    planted = {"common/base/buf.h": "", "common/model/key.h": "", "common/adapter/loop.h": "",
               "node/engine/engine.h": "", "node/main.h": "", path: line + "\n"}
    found = floors.include_breaches(planted)
    assert len(found) == 1 and complaint in found[0]


@pytest.mark.parametrize("path, line", [
    ("common/model/a.c", '#include "base/buf.h"'),
    ("node/engine/a.c", '#include "port/store.h"'),
    ("node/engine/a.c", '#include "model/key.h"'),
    ("node/adapter/a.c", "#include <rocksdb/c.h>"),
    ("node/a.c", '#include "adapter/loop.h"'),
    ("tests/unit/a.c", '#include "adapter/loop.h"'),
])
def test_going_down_is_allowed(path, line):
    below = {"common/base/buf.h": "", "common/model/key.h": "", "node/port/store.h": "",
             "common/adapter/loop.h": "", path: line + "\n"}
    assert floors.include_breaches(below) == []


def undefined_symbols(build):
    """The undefined symbols of each object of floors 1 and 2 in the build folder."""
    listing = {}
    for path in build.rglob("*.c.o"):
        # meson flattens a path: common/model/key.c becomes common/libmodel.a.p/model_key.c.o
        if not path.name.startswith(("model_", "engine_", "port_")):
            continue
        if path.relative_to(build).parts[0] not in ("common", "node", "fs"):
            continue
        lines = subprocess.run(["nm", "-u", "-P", path], capture_output=True, text=True, check=True)
        name = str(path.relative_to(build))
        listing[name] = {line.split()[0] for line in lines.stdout.splitlines() if line}
    return listing


def test_no_object_of_the_pure_floors_reaches_the_world():
    listing = undefined_symbols(BUILD)
    sources = [path for path in tree.paths()
               if path.endswith(".c") and floors.floor_of(path) in (1, 2)]
    assert bool(listing) == bool(sources), f"{BUILD} is not built"
    assert floors.symbol_breaches(listing) == []


@pytest.mark.parametrize("symbol", ["open", "socket", "clock_gettime", "pthread_mutex_lock",
                                    "getrandom", "fopen64", "clock_gettime@GLIBC_2.17"])
def test_a_planted_call_is_found(symbol):
    assert len(floors.symbol_breaches({"a.o": {"memcpy", symbol}})) == 1


def test_strings_and_memory_are_pure():
    assert floors.symbol_breaches({"a.o": {"memcpy", "snprintf", "qsort", "timer_set", "clock_join"}}) == []
