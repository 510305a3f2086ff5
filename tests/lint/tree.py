# SPDX-License-Identifier: Apache-2.0
"""The tree as its checks see it: a mapping from path to text.

A check is a function from such a mapping to a list of complaints. So each is tried twice: on this
tree, where it must find nothing, and on a made-up tree with a breach, where it must find that.
"""

import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def paths():
    """All files of the project: what git has. One that was not added yet is nobody's business."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True,
                            check=False)
    if listed.returncode == 0:
        names = [name for name in listed.stdout.split("\0") if name]
    else:  # an unpacked archive
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*")
                 if not any(part.startswith("build") for part in path.relative_to(ROOT).parts)]
    return sorted(name for name in names if (ROOT / name).is_file())


def load():
    """The whole tree. Bytes that are not UTF-8 are kept as replacement characters."""
    return {name: (ROOT / name).read_text(errors="replace") for name in paths()}


def is_c(path):
    return path.endswith((".c", ".h"))


def is_source(path):
    """What people wrote as code: these carry a licence line and have a length."""
    return (is_c(path) or path.endswith((".py", "meson.build", "meson_options.txt", ".ini"))
            or path in ("dev", ".ci/run"))
