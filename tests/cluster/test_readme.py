# SPDX-License-Identifier: Apache-2.0
"""README's examples do what README says: all of them, as printed, from ./dev demo to ./dev demo --stop.

In namespaces of their own, where the demo's ports, its folder and its processes are nobody else's.
"""

import os
import subprocess

import pytest

from harness import readme, tree

# The tree moves to /mnt, for it may itself lie below /tmp. Mounts of other tests are let go: the copy of
# one in this namespace would keep it, and so its dynamount, alive.
ALONE = """
ip link set lo up && mount --make-rprivate / &&
{ umount -l -a -t fuse.dynamount || true; } && mount --bind "$1" /mnt &&
mount -t tmpfs tmpfs /tmp && cd /mnt && exec bash
"""


def run_alone(script):
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("TMPDIR", "DYNAMOUNT_DEMO", "DYNAMOUNT_NODES")}
    return subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
         "bash", "-c", ALONE, "alone", tree.ROOT],
        input=script, env=environment, text=True, stdout=subprocess.PIPE, check=False).stdout


@pytest.mark.plain  # the demo is of the plain build
@pytest.mark.limit(150)
def test_the_examples_print_what_readme_says():
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and /dev/fuse")
    listed = readme.commands((tree.ROOT / "README.md").read_text())
    assert len(listed) > 20
    left = readme.Command(0, "ls -A /tmp", ["both"])  # what README itself has put there
    ended = readme.Command(0, "while pgrep ^dyna; do sleep 0.1; done > /tmp/pids", [])
    listed += [left, ended]
    found = readme.mistakes(listed, readme.outcomes(listed, run_alone(readme.script(listed))))
    assert not found, "\n\n".join(found)
