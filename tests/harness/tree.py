# SPDX-License-Identifier: Apache-2.0
"""Where the built programs are, and what the kernel says about processes and mounts."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("DYNAMOUNT_BUILD", ROOT / "build"))

DYNANODE = BUILD / "node" / "dynanode"
DYNACTL = BUILD / "node" / "dynactl"
DYNAMOUNT = BUILD / "fs" / "dynamount"


def state_of(pid):
    """The kernel's letter for a process: R, S, D, T, Z; Z too for one that is gone."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "Z"
    return stat.rpartition(")")[2].split()[0]


def mounts():
    """All mount points with their filesystem types, the innermost last."""
    found = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        point = fields[4].encode().decode("unicode_escape")
        found.append((point, fields[fields.index("-") + 1]))
    return found
