# SPDX-License-Identifier: Apache-2.0
"""The harness keeps its own promises: limits hold, networks split, nothing survives a sweep."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

from harness import process, sweep, tree, wait

TESTS = tree.ROOT / "tests"


def start_listener(member):
    with member.entered():
        listener = socket.create_server(("0.0.0.0", 7000))
    return listener


def reaches(member, address):
    with member.entered():
        probe = socket.socket()
    probe.settimeout(0.3)
    with probe:
        return probe.connect_ex((address, 7000)) == 0


def test_a_network_splits_and_heals(make_network):
    net = make_network(3)
    with start_listener(net.members[0]):
        for member in net.members[1:]:
            wait.until(lambda m=member: reaches(m, net.address(0)), what="a path")
        net.split({0, 1})
        wait.until(lambda: reaches(net.members[1], net.address(0)), what="the path within the side")
        assert not reaches(net.members[2], net.address(0))
        net.heal()
        wait.until(lambda: reaches(net.members[2], net.address(0)), what="the path after healing")


def test_a_namespace_ends_with_its_network(make_network):
    net = make_network(1)
    pid = net.members[0].holder.pid
    net.close()
    assert tree.state_of(pid) == "Z"


def test_a_process_can_be_stopped_and_resumed(tmp_path):
    child = process.Process(["sleep", "1000"], tmp_path / "log")
    wait.until(lambda: tree.state_of(child.pid) == "S")
    child.pause()
    assert tree.state_of(child.pid) == "T"
    child.resume()
    assert child.stop() == -signal.SIGTERM


def test_a_sweep_kills_daemons_of_its_run_and_nothing_else(tmp_path):
    run = str(tmp_path / "run")
    os.mkdir(run)
    others = subprocess.Popen(["sleep", "1000"])
    script = "import os, time\nif os.fork(): os._exit(0)\nos.setsid()\nos.chdir('/')\ntime.sleep(1000)"
    subprocess.run([sys.executable, "-c", script], env={**os.environ, sweep.VARIABLE: run}, check=True)
    assert len(sweep.marked_processes(run)) == 1
    assert len(sweep.sweep(run)) == 1
    assert sweep.marked_processes(run) == []
    assert others.poll() is None
    others.kill()
    others.wait()


def test_a_sanitizers_report_is_a_complaint(tmp_path):
    child = process.Process(["echo", "a.c:1:2: runtime error: signed integer overflow"],
                            tmp_path / "log")
    child.popen.wait()
    assert len(child.complaints()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_sweep_detaches_mounts_below_its_run(tmp_path):
    point = tmp_path / "run" / "with space"
    point.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", point], check=True)
    assert sweep.mounts_below(tmp_path / "run") == [str(point)]
    assert len(sweep.sweep(tmp_path / "run")) == 1
    assert sweep.mounts_below(tmp_path / "run") == []


def run_pytest(folder, text):
    """Runs one made-up test file under our conftest, as a run of its own."""
    (folder / "test_planted.py").write_text(text)
    environment = {name: value for name, value in os.environ.items()
                   if name not in (sweep.VARIABLE, "TMPDIR")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", TESTS / "pytest.ini", "--rootdir", folder,
         "-p", "conftest", folder], cwd=folder, capture_output=True, text=True, check=False,
        env={**environment, "PYTHONPATH": str(TESTS), "TMPDIR": str(folder)})


def test_a_test_over_its_limit_fails_and_its_finalizers_run(tmp_path):
    result = run_pytest(tmp_path, f"""
import pytest, time, pathlib
@pytest.fixture
def thing():
    yield
    pathlib.Path({str(tmp_path / 'finalized')!r}).touch()
@pytest.mark.limit(0.2)
def test_slow(thing):
    time.sleep(30)
""")
    assert result.returncode == 1
    assert "took longer than 0.2 s" in result.stdout
    assert (tmp_path / "finalized").exists()


def test_a_run_that_leaves_a_process_behind_fails(tmp_path):
    result = run_pytest(tmp_path, """
import subprocess
def test_leaves():
    subprocess.Popen(["sleep", "1000"])
""")
    assert result.returncode == 1
    assert "left behind by a test: process" in result.stdout


def test_a_run_removes_its_scratch_folder(tmp_path):
    result = run_pytest(tmp_path, "def test_fine(tmp_path):\n    (tmp_path / 'a').touch()\n")
    assert result.returncode == 0, result.stdout
    assert sorted(path.name for path in pathlib.Path(tmp_path).glob("dynamount-test.*")) == []
