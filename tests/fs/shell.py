# SPDX-License-Identifier: Apache-2.0
"""Shell scripts in a folder, with their end in sight."""

import os
import subprocess

MODELESS = {**os.environ, "LC_ALL": "C", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


def run(folder, script, seconds=40):
    """Runs a bash script in FOLDER, where each command must succeed. Returns its output (str)."""
    done = attempt(folder, script, seconds)
    assert done.returncode == 0, f"{script}\nended with {done.returncode}: {done.stderr}{done.stdout}"
    return done.stdout


def attempt(folder, script, seconds=40):
    """The same, where it may fail, to enter FOLDER too. Returns the CompletedProcess."""
    return subprocess.run(["bash", "-euo", "pipefail", "-c", f'cd -- "$1"; shift\n{script}', "bash",
                           folder], env=MODELESS,
                          capture_output=True, encoding="utf-8", errors="surrogateescape",
                          timeout=seconds, check=False)


def names(folder):
    """What a listing shows, sorted."""
    return sorted(os.listdir(folder))
