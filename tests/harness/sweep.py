# SPDX-License-Identifier: Apache-2.0
"""Ends whatever a test run left behind: the backstop under each fixture's own finalizer.

A run has one scratch folder, and every process it starts carries that folder's name in the variable
DYNAMOUNT_RUN, daemons and their children too. So a sweep needs no list that a crash could lose: it
kills, by pid, the processes that carry the name, and takes away the mounts below the folder.
Namespaces are held by such a process and end with it (see network.py).

As a program: sweep.py FOLDER. Says what it found; its exit status is 0 also then.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

if __package__:
    from . import tree
else:  # run as a program
    import tree

VARIABLE = "DYNAMOUNT_RUN"


def _ancestors():
    """This process and those it runs under: they carry the mark too and must live."""
    pids = set()
    pid = os.getpid()
    while pid > 1:
        pids.add(pid)
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        pid = int(stat.rpartition(")")[2].split()[1])
    return pids


def marked_processes(folder):
    """Pids of the living processes, other than ours, whose environment names FOLDER, or one below it,
    as their run."""
    mark = f"{VARIABLE}={folder}".encode()
    spared = _ancestors()
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        try:
            environment = (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if pid not in spared and any(
                entry == mark or entry.startswith(mark + b"/") for entry in environment):
            found.append(pid)
    return found


def mounts_below(folder):
    """Mount points below FOLDER, the innermost first."""
    prefix = str(folder).rstrip("/") + "/"
    return [point for point, _ in reversed(tree.mounts()) if point.startswith(prefix)]


def unmount(point):
    """Detaches one mount, also one whose daemon is gone. True when it is no longer there."""
    command = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]
    return subprocess.run([*command, point], capture_output=True, check=False).returncode == 0


def sweep(folder):
    """Kills and unmounts all that FOLDER's run left. Returns one line for each thing found."""
    found = []
    # The mounts first: a process stuck in a call on a dead mount cannot die before it is detached.
    for point in mounts_below(folder):
        found.append(f"mount {point}" + ("" if unmount(point) else " (could not be detached)"))
    deadline = time.monotonic() + 10
    while pids := marked_processes(folder):
        if time.monotonic() > deadline:
            found += [f"process {pid} (would not die)" for pid in pids]
            break
        for pid in pids:
            try:
                found.append(f"process {pid} {pathlib.Path(f'/proc/{pid}/comm').read_text().strip()}")
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, FileNotFoundError):
                pass
        time.sleep(0.05)
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    for line in sweep(sys.argv[1]):
        print(f"sweep: {line}", file=sys.stderr)
