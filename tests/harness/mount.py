# SPDX-License-Identifier: Apache-2.0
"""A dynamount on a folder of its own: mounted when the kernel says so, detached whatever happens."""

import contextlib
import os
import pathlib
import subprocess

from . import process, sweep, tree, wait


class Mount:
    """One mount point and the dynamount that serves it, in the foreground of its own process."""

    def __init__(self, point, addresses, namespace=None, options=()):
        self.point = pathlib.Path(point)
        self.log = self.point.with_name(self.point.name + ".log")
        self.namespace = namespace
        self.argv = [tree.DYNAMOUNT, "-f"]
        # Beside the mount point, so that a test finds it; an option that a test gives comes later, and holds.
        for option in [f"staging_dir={self.point}.staged", f"recovered={self.point}.recovered", *options]:
            self.argv += ["-o", option]
        self.argv += [",".join(addresses), self.point]
        self.process = None

    @property
    def mounted(self):
        return (str(self.point), "fuse.dynamount") in tree.mounts()

    @property
    def alive(self):
        """Is it served? A dynamount that was killed leaves a mount, too."""
        try:
            os.statvfs(self.point)  # needs no node
        except OSError:
            return False
        return True

    def start(self, seconds=20):
        """Mounts and waits until the mount is there."""
        with contextlib.suppress(FileExistsError):  # pathlib would ask a dead mount what it is
            os.mkdir(self.point)
        self.process = process.Process(self.argv, self.log, self.namespace)

        def there():
            assert self.process.running, f"dynamount ended:\n{self.process.output()[-2000:]}"
            return self.alive and self.mounted  # in this order: a dead mount may go away in between
        wait.until(there, seconds, f"a mount at {self.point}")

    def stop(self, seconds=20):
        """Unmounts as people do, which must end the process cleanly."""
        subprocess.run(["fusermount3", "-u", self.point], check=True, timeout=seconds)
        status = self.process.popen.wait(seconds)
        assert status == 0, f"dynamount ended with {status}:\n{self.process.output()[-2000:]}"

    def kill(self):
        """kill -9. The dead mount point stays, as it would for people, until detach()."""
        self.process.kill()

    def detach(self):
        """Takes the mount away by force: a dead one, or one whose stop() failed."""
        if self.process and self.process.running:
            self.process.kill()
        if self.mounted:
            sweep.unmount(str(self.point))
