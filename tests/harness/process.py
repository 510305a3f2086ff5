# SPDX-License-Identifier: Apache-2.0
"""Processes that end with their test.

Each is killed by the kernel when pytest dies (its parent-death signal), is in a namespace if the test
says so, and writes into a log that a failed test shows. All layers exec, so the pid is the program's
own.
"""

import os
import pathlib
import signal
import subprocess

from . import tree, wait

# What a sanitizer prints when it finds something. A program that runs on after it must fail its test.
SANITIZER_MARKS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error: ")


class Process:
    """A program that runs beside the test."""

    def __init__(self, argv, log, namespace=None, env=None):
        """Starts ARGV, its output appended to the file LOG, inside NAMESPACE (network.Namespace)."""
        self.argv = [str(word) for word in argv]
        self.log = pathlib.Path(log)
        inside = namespace.prefix if namespace else []
        with open(self.log, "ab") as output:
            self.popen = subprocess.Popen(
                [*inside, "setpriv", "--pdeathsig", "KILL", "--", *self.argv],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})})

    @property
    def pid(self):
        return self.popen.pid

    @property
    def running(self):
        return self.popen.poll() is None

    def signal(self, number):
        self.popen.send_signal(number)

    def kill(self):
        """kill -9, and waits until it is gone."""
        self.popen.kill()
        self.popen.wait()

    def pause(self):
        """SIGSTOP, and waits until it has taken effect."""
        self.signal(signal.SIGSTOP)
        wait.until(lambda: tree.state_of(self.pid) in "TZ", what=f"{self.argv[0]} stopped")

    def resume(self):
        self.signal(signal.SIGCONT)

    def stop(self, seconds=20):
        """SIGTERM; returns the exit status. One that does not end in time is killed: that fails."""
        if self.running:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.argv[0]} did not end {seconds} s after SIGTERM") from None

    def output(self):
        return self.log.read_text(errors="replace")

    def complaints(self):
        """Lines of the log in which a sanitizer reports something."""
        return [line for line in self.output().splitlines()
                if any(mark in line for mark in SANITIZER_MARKS)]
