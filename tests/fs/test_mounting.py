# SPDX-License-Identifier: Apache-2.0
"""The program dynamount: its command line, how a mount begins and how it ends."""

import contextlib
import errno
import http.server
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness import sweep, tree, wait

from . import shell

DEAD = "127.0.0.1:9"  # the discard port, on which nobody listens here


def command(*words, path=None, seconds=20):
    environment = dict(os.environ)
    if path:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=seconds,
                          env=environment, check=False)


def dynamount(*words):
    return command(tree.DYNAMOUNT, *words)


def is_mounted(point):
    return (str(point), "fuse.dynamount") in tree.mounts()


def servers_of(point):
    """Pids of the dynamounts whose command line names the point."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"dynamount") and os.fsencode(point) in words:
            found.append(int(path.parent.name))
    return found


@pytest.fixture
def point(tmp_path):
    """A folder to mount on; whatever is mounted there at the end is taken away, its server ended."""
    folder = tmp_path / "point"
    folder.mkdir()
    yield folder
    for pid in servers_of(folder):
        os.kill(pid, signal.SIGKILL)
    while folder in [pathlib.Path(where) for where, _ in tree.mounts()]:
        sweep.unmount(str(folder))


def ended(point):
    return not servers_of(point)


def test_df_shows_the_disks_of_the_cluster(three_nodes, tmp_path):
    """All three nodes keep each byte, on one disk here: as much room as that disk has."""
    mnt = three_nodes.mount(tmp_path / "mnt").point
    assert os.statvfs(mnt).f_blocks > 0  # from the first answer on
    disk = os.statvfs(tmp_path)
    room = disk.f_bavail * disk.f_frsize

    def close():
        seen = os.statvfs(mnt)
        return abs(seen.f_bfree * seen.f_frsize - room) < room // 10 + (1 << 30)
    wait.until(close, what="the disk's free bytes")
    seen = os.statvfs(mnt)
    assert seen.f_blocks >= seen.f_bfree > 0 and seen.f_bavail == seen.f_bfree
    assert seen.f_namemax == 255
    three_nodes.nodes[1].kill()
    assert close(), "a node that is down keeps what it said last"


def test_help_and_version_go_to_the_output():
    shown = dynamount("--help")
    assert shown.returncode == 0 and "HOST:PORT" in shown.stdout and "conflicts=" in shown.stdout
    shown = dynamount("--version")
    assert shown.returncode == 0 and shown.stdout.startswith("dynamount ")


@pytest.mark.parametrize("words, complaint", [
    ([], "needs a source and a mount point"),
    (["localhost", "POINT"], "'localhost' is not HOST:PORT"),
    (["a:1:/../x", "POINT"], "cannot be a directory"),
    (["-o", "conflict=hide", "a:1", "POINT"], "unknown option 'conflict'"),
    (["-z", "a:1", "POINT"], "unknown option -z"),
])
def test_a_wrong_command_line_is_explained(point, words, complaint):
    done = dynamount(*[point if word == "POINT" else word for word in words])
    assert done.returncode == 2 and complaint in done.stderr
    assert not is_mounted(point)


def test_what_cannot_be_mounted_on_is_explained(point):
    (point / "file").write_text("")
    for where, complaint in ((point / "none", "No such file"), (point / "file", "not a folder")):
        done = dynamount(DEAD, where)
        assert done.returncode == 1 and complaint in done.stderr


def test_a_log_inside_the_mount_is_refused(point):
    done = dynamount("-o", f"log={point}/log", DEAD, point)
    assert done.returncode == 1 and "inside the mount" in done.stderr
    assert not is_mounted(point)
    done = dynamount("-o", f"log={point}/none/log", DEAD, point)
    assert done.returncode == 1 and "none/log" in done.stderr


def test_it_returns_when_the_mount_works(three_nodes, point, tmp_path):
    log = tmp_path / "log"
    done = dynamount("-o", f"log={log}", ",".join(three_nodes.addresses), point)
    assert done.returncode == 0 and done.stderr == "" and done.stdout == ""
    assert is_mounted(point)
    assert three_nodes.addresses[0] in pathlib.Path("/proc/self/mounts").read_text()
    shell.run(point, "echo hello > f; cat f")
    done = dynamount(three_nodes.addresses[0], point)
    assert done.returncode == 1 and "mounted already" in done.stderr
    assert command("fusermount3", "-u", point).returncode == 0
    wait.until(lambda: ended(point), what="the end of dynamount")
    assert "is mounted on" in log.read_text() and "is unmounted" in log.read_text()
    assert three_nodes.dynactl("get", "f").stdout == b"hello\n"


def test_it_is_called_by_mount_as_fstab_has_it(three_nodes, point):
    three_nodes.dynactl("put", "sub/dir/f", stdin=b"below")
    source = f"{three_nodes.addresses[0]},{three_nodes.addresses[1]}:/sub/dir"
    # mount(8) would call this helper with a PATH of its own, in which a built tree is not.
    done = command("mount.fuse3", source, point, "-t", "fuse.dynamount", "-o",
                   "noauto,_netdev,allow_other,noexec,ro", path=tree.DYNAMOUNT.parent)
    assert done.returncode == 0 and done.stderr == ""
    assert shell.names(point) == ["f"] and (point / "f").read_bytes() == b"below"
    with pytest.raises(OSError):
        (point / "g").write_text("read-only")
    assert command("umount", point).returncode == 0
    wait.until(lambda: ended(point), what="the end of dynamount")


@contextlib.contextmanager
def other_service():
    """The address of something that speaks HTTP and is no node."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_error(404)

        def log_message(self, *words):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_why_no_node_answers_is_said(point):
    with other_service() as address:
        for source, reason in ((DEAD, "Connection refused"), (address, "what answers is no node")):
            done = dynamount("-o", "deadline=1s,drain=0", source, point)
            assert done.returncode == 0 and reason in done.stderr, done.stderr
            assert reason in (point / ".dynamount" / "status").read_text()
            assert command("fusermount3", "-u", point).returncode == 0
            wait.until(lambda: ended(point), what="the end of dynamount")


def test_df_says_nothing_while_no_node_has_said_anything(point):
    assert dynamount("-o", "deadline=1s,drain=0", DEAD, point).returncode == 0
    begun = time.monotonic()
    seen = os.statvfs(point)
    assert seen.f_blocks == seen.f_bfree == 0 and seen.f_namemax == 255
    assert time.monotonic() - begun < 15
    assert command("fusermount3", "-u", point).returncode == 0
    wait.until(lambda: ended(point), what="the end of dynamount")


def test_a_file_is_no_root(three_nodes, point):
    three_nodes.dynactl("put", "dir/file", stdin=b"text")
    done = dynamount(f"{three_nodes.addresses[0]}:/dir/file", point)
    assert done.returncode == 1 and "dir/file is no directory" in done.stderr
    assert not is_mounted(point)


def test_a_root_that_is_not_there_is_said_and_made(three_nodes, point):
    done = dynamount(f"{three_nodes.addresses[0]}:/not/yet", point)
    assert done.returncode == 0 and "no directory not/yet in the cluster yet" in done.stderr
    shell.run(point, "echo 1 > f")
    assert three_nodes.dynactl("get", "not/yet/f").stdout == b"1\n"
    assert command("fusermount3", "-u", point).returncode == 0
    wait.until(lambda: ended(point), what="the end of dynamount")


def test_it_mounts_before_any_node_answers(make_cluster, point):
    late = make_cluster(3, start=False)
    assert dynamount(",".join(late.addresses), point).returncode == 0
    late.start()
    assert shell.run(point, "echo 1 > f; cat f") == "1\n"
    assert command("fusermount3", "-u", point).returncode == 0
    wait.until(lambda: ended(point), what="the end of dynamount")


def test_without_a_cluster_an_operation_ends_in_time(point):
    mounted = dynamount("-o", "deadline=1s", DEAD, point)
    assert mounted.returncode == 0 and f"no node at {DEAD} has answered" in mounted.stderr
    begun = time.monotonic()
    with pytest.raises(OSError) as caught:
        (point / "f").write_text("1")
    assert caught.value.errno == errno.ETIMEDOUT and time.monotonic() - begun < 10
    assert command("fusermount3", "-u", point).returncode == 0
    wait.until(lambda: ended(point), what="the end of dynamount")


def test_the_status_says_that_no_cluster_answers(point):
    assert dynamount("-o", "deadline=30s", DEAD, point).returncode == 0
    begun = time.monotonic()
    status = (point / ".dynamount" / "status").read_text()
    assert f"source: {DEAD}" in status and "cluster: not reached yet" in status
    assert time.monotonic() - begun < 10
    assert command("fusermount3", "-u", point).returncode == 0
    wait.until(lambda: ended(point), what="the end of dynamount")


def test_a_dead_mount_point_is_mended(three_nodes, point):
    first = three_nodes.mount(point)
    shell.run(point, "echo 1 > f")
    first.kill()
    with pytest.raises(OSError):
        os.listdir(point)
    assert dynamount(three_nodes.addresses[0], point).returncode == 0
    assert (point / "f").read_text() == "1\n"
    assert [where for where, _ in tree.mounts()].count(str(point)) == 1
    assert command("fusermount3", "-u", point).returncode == 0
    wait.until(lambda: ended(point), what="the end of dynamount")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_publishes_and_unmounts(three_nodes, tmp_path, number):
    mount = three_nodes.mount(tmp_path / "m")
    fd = os.open(mount.point / "open", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"not closed yet")
    mount.process.signal(number)
    assert mount.process.popen.wait(20) == 0
    assert not mount.mounted
    with pytest.raises(OSError):  # the descriptor's mount is gone
        os.close(fd)
    assert three_nodes.dynactl("get", "open").stdout == b"not closed yet"


def test_unmounting_publishes_what_was_open(three_nodes, tmp_path):
    mount = three_nodes.mount(tmp_path / "m")
    fd = os.open(mount.point / "open", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"lazily")
    assert command("fusermount3", "-u", "-z", mount.point).returncode == 0
    os.close(fd)
    assert mount.process.popen.wait(20) == 0
    assert three_nodes.dynactl("get", "open").stdout == b"lazily"


def test_what_cannot_be_published_shows_in_the_exit_status(three_nodes, tmp_path):
    kept = tmp_path / "kept"
    mount = three_nodes.mount(tmp_path / "m", options=[f"deadline=1s,drain=2s,recovered={kept}"])
    fd = os.open(mount.point / "f", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"lost")
    for node in three_nodes.nodes:
        node.kill()
    mount.process.signal(signal.SIGTERM)
    status = mount.process.popen.wait(20)
    os_error = None
    try:
        os.close(fd)
    except OSError as error:
        os_error = error
    assert status == 3 and not mount.mounted
    said = mount.process.output()
    assert "could not be published" in said or os_error
    assert "1 of 1 changed files are still to be published" in said
    assert f"kept in {kept}/f" in said and (kept / "f").read_bytes() == b"lost"


def test_what_is_kept_finds_a_name_that_is_free(three_nodes, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "dir").write_text("in the way of dir/f")
    mount = three_nodes.mount(tmp_path / "m", options=[f"deadline=1s,drain=0,recovered={kept}"])
    (mount.point / "dir").mkdir()
    fd = os.open(mount.point / "dir" / "f", os.O_WRONLY | os.O_CREAT)
    for node in three_nodes.nodes:
        node.kill()
    os.write(fd, b"kept")
    mount.process.signal(signal.SIGTERM)
    assert mount.process.popen.wait(20) == 3
    assert (kept / "dir%2Ff").read_bytes() == b"kept"
    with contextlib.suppress(OSError):
        os.close(fd)


def test_what_outlives_a_mount_lies_where_the_environment_says(three_nodes, point, tmp_path, monkeypatch):
    """Also without any option: a test, a demo or a service leaves nothing in the machine's own folders."""
    state = tmp_path / "state"
    monkeypatch.setenv("DYNAMOUNT_STATE", str(state))
    assert dynamount("-o", "deadline=1s,drain=0", ",".join(three_nodes.addresses),
                     point).returncode == 0
    assert [folder.name.rpartition("-")[0] for folder in (state / "staged").iterdir()] == ["point"]
    fd = os.open(point / "f", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"kept")
    for node in three_nodes.nodes:
        node.kill()
    for pid in servers_of(point):
        os.kill(pid, signal.SIGTERM)
    wait.until(lambda: ended(point), what="the end of dynamount")
    assert (state / "recovered" / "f").read_bytes() == b"kept"
    with contextlib.suppress(OSError):
        os.close(fd)


def test_hangup_opens_the_log_again(three_nodes, point, tmp_path):
    log = tmp_path / "log"
    assert dynamount("-o", f"log={log},log_level=debug", *three_nodes.addresses[:1],
                     point).returncode == 0
    wait.until(log.exists)
    log.rename(tmp_path / "log.1")
    os.kill(servers_of(point)[0], signal.SIGHUP)
    wait.until(log.exists, what="a new log")
    assert command("fusermount3", "-u", point).returncode == 0
    wait.until(lambda: ended(point), what="the end of dynamount")
    assert "is unmounted" in log.read_text()


# In a /dev of its own, where /dev/log is a socket of the test's; unmounts when the input ends.
WITH_A_SYSTEM_LOG = """
set -e
mount -t tmpfs none "$1"
for name in fuse null random urandom zero; do
    : > "$1/$name"
    mount --bind "/dev/$name" "$1/$name"
done
ln -s "$2" "$1/log"
mount --rbind "$1" /dev
shift 2
"$@"
for point; do :; done
cat > /dev/null
fusermount3 -u "$point"
"""


@pytest.fixture
def system_log(tmp_path):
    """A list of what the system's log has been told, read anew at each call; and how to mount so
    that it is told, and to unmount with the end of the context."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.setblocking(False)
    listener.bind(str(tmp_path / "socket"))
    (tmp_path / "dev").mkdir()
    told = []

    def read():
        with contextlib.suppress(BlockingIOError):
            while True:
                told.append(listener.recv(65536).decode())
        return told

    @contextlib.contextmanager
    def mounting(*words):
        shell_command = ["unshare", "--mount", "sh", "-c", WITH_A_SYSTEM_LOG, "sh",
                         tmp_path / "dev", tmp_path / "socket", tree.DYNAMOUNT, *words]
        with subprocess.Popen(list(map(str, shell_command)), stdin=subprocess.PIPE) as process:
            yield
            process.stdin.close()
            assert process.wait(30) == 0
    with listener:
        yield read, mounting


def test_in_the_background_it_logs_to_the_system_log(three_nodes, point, tmp_path, system_log):
    kept = tmp_path / "kept"
    (kept / "dir").mkdir(parents=True)
    (kept / "f").touch()
    (kept / "dir" / "g").touch()
    read, mounting = system_log

    def heard(text):
        return lambda: [line for line in read() if text in line]
    with mounting("-o", f"recovered={kept}", three_nodes.addresses[0], point):
        mounted = wait.until(heard(f"is mounted on {point}"), 30, "the mount in the log")
        wait.until(heard(f"is kept in {kept}: 2 files"), 30, "what is kept from earlier mounts")
    wait.until(heard(f"{point} is unmounted"), 30, "the end in the log")
    wait.until(lambda: ended(point), 30, "the end of dynamount")
    assert len(mounted) == 1 and mounted[0].startswith("<30>")  # daemon.info
    assert re.search(r" dynamount\[\d+\]: info dynamount: ", mounted[0])


def test_a_log_file_is_instead_of_the_system_log(three_nodes, point, tmp_path, system_log):
    log = tmp_path / "log"
    read, mounting = system_log
    with mounting("-o", f"log={log}", three_nodes.addresses[0], point):
        wait.until(lambda: log.exists() and "is mounted on" in log.read_text(), 30,
                   "the mount in the log")
    wait.until(lambda: ended(point), 30, "the end of dynamount")
    assert "is unmounted" in log.read_text() and read() == []


def test_owners_and_modes_can_be_overlaid(three_nodes, tmp_path):
    plain = three_nodes.mount(tmp_path / "plain").point
    shell.run(plain, "echo 1 > f; chmod 666 f; mkdir d; chmod 777 d")
    mapped = three_nodes.mount(tmp_path / "mapped", options=["uid=12,gid=34,umask=027"]).point
    for name, mode in (("f", 0o640), ("d", 0o750)):
        st = os.stat(mapped / name)
        assert (st.st_uid, st.st_gid, st.st_mode & 0o777) == (12, 34, mode)


@pytest.fixture
def elsewhere():
    """elsewhere(): a process whose own mount namespace holds a copy of all mounts there are."""
    with contextlib.ExitStack() as stack:
        def make():
            holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--mount",
                                       "sleep", "infinity"], stdin=subprocess.DEVNULL)
            stack.callback(holder.wait)
            stack.callback(holder.kill)
            own = os.readlink("/proc/self/ns/mnt")
            wait.until(lambda: os.readlink(f"/proc/{holder.pid}/ns/mnt") != own, what="a namespace")
            return holder.pid
        yield make


def look_from(pid, path):
    return command("nsenter", "--mount", "--target", str(pid), "ls", path)


def test_unmounting_ends_it_though_another_namespace_holds_a_copy(three_nodes, tmp_path, elsewhere):
    mount = three_nodes.mount(tmp_path / "m")
    (mount.point / "f").write_text("text")
    holder = elsewhere()
    assert look_from(holder, mount.point).stdout.strip() == "f"
    # Whoever has a file open may go on with it, as after any lazy unmount.
    file = open(mount.point / "f", "a", encoding="ascii")
    assert command("fusermount3", "-u", "-z", mount.point).returncode == 0
    assert not mount.mounted
    other = three_nodes.mount(tmp_path / "m")  # on the same folder: not to be taken along
    time.sleep(2.5)  # for a watch that would end it too early
    file.write(" and more")
    file.close()
    assert mount.process.popen.wait(20) == 0
    assert look_from(holder, mount.point).returncode != 0  # that copy is dead, and hangs nobody
    assert other.mounted and (other.point / "f").read_text() == "text and more"


def test_sigterm_ends_it_though_another_namespace_holds_a_copy(three_nodes, tmp_path, elsewhere):
    mount = three_nodes.mount(tmp_path / "m")
    holder = elsewhere()
    (mount.point / "f").write_text("text")
    mount.process.signal(signal.SIGTERM)
    assert mount.process.popen.wait(20) == 0
    assert not mount.mounted
    assert look_from(holder, mount.point).returncode != 0
    assert three_nodes.dynactl("get", "f").stdout == b"text"
