# SPDX-License-Identifier: Apache-2.0
"""What holds for every pytest test: a scratch folder per run, a time limit, and nothing left behind.

A run that ./dev did not start makes its own scratch folder, and takes it away at its end. Each test
has a limit (60 s, or @pytest.mark.limit(seconds)), enforced by SIGALRM: the exception comes up in the
test itself, so its finalizers run.
"""

import contextlib
import os
import shutil
import signal
import tempfile

import pytest

from harness import cluster, network, sweep

DEFAULT_LIMIT = 60
FINALIZER_LIMIT = 60
LOG_LINES = 40
own_folder = None
clusters = pytest.StashKey()


def pytest_configure(config):
    global own_folder
    if sweep.VARIABLE not in os.environ:
        own_folder = tempfile.mkdtemp(prefix="dynamount-test.")
        os.environ[sweep.VARIABLE] = os.environ["TMPDIR"] = own_folder
        if not config.option.basetemp:
            config.option.basetemp = os.path.join(own_folder, "pytest")
    # What a mount keeps for its next start is this run's too, not the machine's.
    os.environ["DYNAMOUNT_STATE"] = os.path.join(os.environ[sweep.VARIABLE], "state")
    # ./dev runs stages in the background, where the shell has SIGINT ignored, and ends them by SIGTERM.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # after pytest's own, which runs the finalizers that are still due
def pytest_sessionfinish(session):
    found = sweep.sweep(os.environ[sweep.VARIABLE])
    for line in found:
        print(f"\nleft behind by a test: {line}")
    if found and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure():
    if own_folder:
        shutil.rmtree(own_folder, ignore_errors=True)


@contextlib.contextmanager
def limited(seconds, what):
    def over(_number, _frame):
        raise TimeoutError(f"{what} took longer than {seconds} s")

    previous = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def limit_of(item):
    mark = item.get_closest_marker("limit")
    return mark.args[0] if mark else DEFAULT_LIMIT


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item):
    with limited(limit_of(item), "the setup"):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    with limited(limit_of(item), "the test"):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    """What a test wrote goes with it: a thousand clusters would fill a disk."""
    with limited(FINALIZER_LIMIT, "the finalizers"):
        yield
    folder = item.funcargs.get("tmp_path")
    if folder and not sweep.mounts_below(folder):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make_network():
    """make_network(n): a network.Network of n members."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with contextlib.ExitStack() as stack:
        def make(size):
            made = network.Network(size)
            stack.callback(made.close)
            return made
        yield make


@pytest.fixture
def make_cluster(request, tmp_path):
    """make_cluster(n, network=None, start=True, options=(), **settings): a cluster.Cluster of n nodes.

    All its nodes and mounts end with the test, and must end cleanly unless the test killed them."""
    made = request.node.stash.setdefault(clusters, [])
    with contextlib.ExitStack() as stack:
        def make(size, start=True, **how):
            new = cluster.Cluster(tmp_path / f"cluster{len(made)}", size, **how)
            made.append(new)
            stack.callback(new.close)
            if start:
                new.start()
            return new
        yield make


@pytest.fixture
def three_nodes(make_cluster):
    """Three running nodes on loopback, N,R,W as they are by default."""
    return make_cluster(3)


@pytest.fixture
def mnt(three_nodes, tmp_path):
    """The folder under which three_nodes are mounted."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    return three_nodes.mount(tmp_path / "mnt").point


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failed test shows how the logs of its nodes and mounts end."""
    report = (yield).get_result()
    if report.failed:
        for log in [log for made in item.stash.get(clusters, []) for log in made.logs()]:
            if log.exists():
                lines = log.read_text(errors="replace").splitlines()
                report.sections.append((str(log), "\n".join(lines[-LOG_LINES:])))
