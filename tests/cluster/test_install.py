# SPDX-License-Identifier: Apache-2.0
"""What `meson install` puts where, and that systemd understands its units."""

import pathlib
import re
import shutil
import subprocess

import pytest

from harness import tree

UNITS = {"lib/systemd/system/dynanode.service": "dynanode",
         "lib/systemd/user/dynamount-local.service": "dynamount"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The prefix of an installation into a folder of the test."""
    if not shutil.which("meson"):
        pytest.skip("no meson")
    root = tmp_path_factory.mktemp("root")
    done = subprocess.run(["meson", "install", "-C", tree.BUILD, "--no-rebuild", "--destdir", root],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (prefix,) = [path.parent.parent for path in root.rglob("bin/dynanode")]
    return root, prefix


def test_programs_pages_and_units_are_installed(installed):
    _root, prefix = installed
    for name in ("dynanode", "dynactl", "dynamount"):
        shown = subprocess.run([prefix / "bin" / name, "--version"], capture_output=True, text=True,
                               timeout=20, check=True)
        assert shown.stdout.startswith(name)
    for name in ("man1/dynactl.1", "man1/dynamount.1", "man8/dynanode.8", "man5/dynanode.conf.5"):
        assert (prefix / "share/man" / name).exists()
    for name in (*UNITS, "lib/sysusers.d/dynamount.conf",
                 "share/doc/dynamount/examples/mnt-data.mount"):
        assert (prefix / name).exists()


@pytest.mark.parametrize("unit, program", UNITS.items())
def test_units_run_the_installed_program(installed, unit, program):
    root, prefix = installed
    line = re.search(r"^ExecStart=(\S+)", (prefix / unit).read_text(), re.MULTILINE)[1]
    assert root / pathlib.Path(line).relative_to("/") == prefix / "bin" / program
    assert "@" not in line


def systemd_analyze(*words):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd")
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=30,
                          check=False)


def complaints(verified):
    """What systemd-analyze says, but for programs and pages that are not where the unit has them."""
    return [line for line in (verified.stdout + verified.stderr).splitlines()
            if "is not executable" not in line and "Command 'man " not in line]


def test_systemd_finds_no_fault_with_the_node(installed):
    _root, prefix = installed
    assert complaints(systemd_analyze("verify", prefix / "lib/systemd/system/dynanode.service")) == []


def test_systemd_finds_no_fault_with_the_example_of_a_mount():
    assert complaints(systemd_analyze("verify", tree.ROOT / "systemd/mnt-data.mount")) == []


def test_the_node_is_exposed_little(installed):
    _root, prefix = installed
    rated = systemd_analyze("security", "--offline=yes",
                            prefix / "lib/systemd/system/dynanode.service")
    exposure = float(re.search(r"exposure level for dynanode.service: ([\d.]+)", rated.stdout)[1])
    assert exposure < 2.0  # of 10; an ordinary service has 9
