# SPDX-License-Identifier: Apache-2.0
"""Other filesystems that Debian has, for comparisons within one run: libfuse's passthrough_ll (what
FUSE itself costs), sshfs through a loopback sshd, GlusterFS with three replicas.

Each is a context manager that mounts the same thing at two points, the second to be read through
cold, and gives both; or None where it is not there, and why is printed. What it starts and mounts
ends with it whatever happens. GlusterFS and sshd take fixed ports and run in a network namespace of
their own.
"""

import contextlib
import os
import pathlib
import shlex
import shutil
import subprocess

from harness import network, process, sweep, tree, wait

from rivals import free_ports, listens

GLUSTER_RUN = pathlib.Path("/var/run/gluster")
EXAMPLE = pathlib.Path("/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c")


def missing(name, *programs):
    for program in programs:
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            print(f"{name}: no {program}, so no comparison", flush=True)
            return True
    return False


@contextlib.contextmanager
def mounted(commands, points, started, namespace=None):
    """Runs a command for each point in the foreground; detaches all of them in the end."""
    try:
        for command, point in zip(commands, points):
            point.mkdir()
            p = process.Process(command, point.with_name(point.name + ".log"), namespace)
            started.append(p)

            def there(p=p, point=point):
                assert p.running, f"{command[0]} ended:\n{p.output()[-2000:]}"
                return any(where == str(point) for where, _ in tree.mounts())
            wait.until(there, 20, f"a mount at {point}")
        yield points
    finally:
        for point in points:
            if any(where == str(point) for where, _ in tree.mounts()):
                sweep.unmount(str(point))


@contextlib.contextmanager
def ended(started):
    """Ends what was started meanwhile, the last first."""
    try:
        yield
    finally:
        for p in reversed(started):
            with contextlib.suppress(AssertionError):
                p.stop(10)


@contextlib.contextmanager
def passthrough(folder):
    """libfuse's own example, built from the source that its package brings along."""
    if missing("passthrough_ll", "gcc") or not EXAMPLE.exists():
        print(f"passthrough_ll: no {EXAMPLE}, so no comparison", flush=True)
        yield None
        return
    folder.mkdir()
    flags = shlex.split(subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], text=True,
                                       capture_output=True, check=True).stdout)
    subprocess.run(["gcc", "-O2", "-o", folder / "passthrough_ll", EXAMPLE, *flags], check=True,
                   stderr=subprocess.DEVNULL)
    source, started = folder / "source", []
    source.mkdir()
    command = [folder / "passthrough_ll", "-f", "-o", f"source={source}"]
    points = [folder / "mnt", folder / "cold"]
    with ended(started), mounted([[*command, p] for p in points], points, started):
        yield points


@contextlib.contextmanager
def sshfs(folder):
    """sshfs as people run it, to a sshd of its own with keys of its own."""
    if missing("sshfs", "sshfs", "sshd", "ssh-keygen"):
        yield None
        return
    folder.mkdir()
    source, started = folder / "source", []
    source.mkdir()
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key],
                       check=True)
    port = free_ports(1)[0]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n")
    privileges = pathlib.Path("/run/sshd")  # sshd insists on it
    made = not privileges.exists()
    privileges.mkdir(exist_ok=True)
    try:
        with ended(started):
            started.append(process.Process(
                [shutil.which("sshd", path="/usr/sbin:/sbin"), "-D", "-e", "-f",
                 folder / "sshd_config"], folder / "sshd.log"))
            wait.until(lambda: listens(port), 10, "sshd listening")
            command = ["sshfs", "-f", "-p", port, "-o", f"IdentityFile={folder}/user",
                       "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                       f"root@127.0.0.1:{source}"]
            points = [folder / "mnt", folder / "cold"]
            with mounted([[*command, p] for p in points], points, started):
                yield points
    finally:
        if made:
            with contextlib.suppress(OSError):
                privileges.rmdir()


@contextlib.contextmanager
def gluster(folder):
    """A GlusterFS volume of three replicas, its bricks on this machine."""
    if missing("GlusterFS", "glusterd", "gluster", "glusterfs"):
        yield None
        return
    folder.mkdir()
    sockets = set(GLUSTER_RUN.glob("*.socket"))
    started, namespace, address = [], network.Namespace(), "10.77.0.1"
    namespace.run("ip", "address", "add", f"{address}/32", "dev", "lo")  # it refuses 127.0.0.1
    socket, log = folder / "glusterd.socket", folder / "log"
    for name in ("state", "run", "log", "brick1", "brick2", "brick3"):
        (folder / name).mkdir()
    (folder / "glusterd.vol").write_text(
        "volume management\n  type mgmt/glusterd\n"
        f"  option working-directory {folder}/state\n  option run-directory {folder}/run\n"
        f"  option glusterd-sockfile {socket}\n  option logging-directory {log}\n"
        "  option transport-type socket\n  option transport.socket.listen-port 24007\nend-volume\n")

    def gluster_cli(*words):
        return subprocess.run([*namespace.prefix, "gluster", "--mode=script",
                               f"--glusterd-sock={socket}", f"--log-file={log}/cli.log", *words],
                              capture_output=True, text=True, timeout=60, check=False)

    try:
        with ended(started):
            started.append(process.Process(
                ["glusterd", "--no-daemon", "--volfile", folder / "glusterd.vol", "--pid-file",
                 folder / "glusterd.pid", "--log-file", log / "glusterd.log"],
                folder / "glusterd.out", namespace))
            wait.until(lambda: gluster_cli("volume", "list").returncode == 0, 30, "glusterd")
            bricks = [f"{address}:{folder}/brick{i}/b" for i in (1, 2, 3)]
            for words in (["volume", "create", "bench", "replica", "3", *bricks, "force"],
                          ["volume", "start", "bench"]):
                done = gluster_cli(*words)
                if done.returncode != 0:
                    print(f"GlusterFS: {' '.join(words[:3])}: {(done.stderr or done.stdout).strip()}"
                          ", so no comparison", flush=True)
                    yield None
                    return
            command = ["glusterfs", "--no-daemon", f"--volfile-server={address}",
                       "--volfile-id=bench", f"--log-file={log}/mount.log"]
            points = [folder / "mnt", folder / "cold"]
            with mounted([[*command, p] for p in points], points, started, namespace):
                yield points
            gluster_cli("volume", "stop", "bench", "force")
    finally:
        namespace.close()
        sweep_bricks(folder)
        for left in set(GLUSTER_RUN.glob("*.socket")) - sockets:  # bricks know no other place
            left.unlink()


def sweep_bricks(folder):
    """glusterd's children outlive it: those that work below the folder are ended, by pid."""
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if entry.name.isdigit() and f"{folder}/".encode() in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), 9)
