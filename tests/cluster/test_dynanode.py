# SPDX-License-Identifier: Apache-2.0
"""The node as a program: what it refuses to start with, how it starts, stops and reopens its log."""

import os
import signal
import subprocess
import time

import pytest

from harness import tree, wait


@pytest.fixture
def node(make_cluster):
    """A node that was made and not started."""
    return make_cluster(1, start=False).nodes[0]


def refused(node, *argv):
    """The complaint with which it does not start."""
    done = subprocess.run([tree.DYNANODE, *(argv or ["--config", node.conf])], capture_output=True,
                          timeout=10, check=False)
    assert done.returncode in (1, 2), done
    return done.stderr.decode()


@pytest.mark.parametrize("settings, words", [
    ({"colour": "red"}, ["unknown key 'colour'"]),
    ({"node": "12"}, ["'node'", "hexadecimal"]),
    ({"node": "00000000deadbeef"}, ["no member"]),
    ({"durability": "maybe"}, ["durability"]),
    ({"value_max": "64M"}, ["value_max"]),
    ({"request_timeout": "soon"}, ["request_timeout"]),
    ({"listen": "0.0.0.0:0"}, ["insecure", "TLS"]),
    ({"listen": "nowhere"}, ["nowhere"]),
    ({"listen": "127.0.0.1:80000"}, ["127.0.0.1:80000", "0 to 65535"]),
    ({"cluster_file": "/nonexistent"}, ["/nonexistent"]),
    ({"secret_file": "/nonexistent"}, ["secret_file", "/nonexistent"]),
    ({"log": "/nonexistent/log"}, ["/nonexistent/log"]),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else "")
def test_a_configuration_that_cannot_work_is_refused_with_a_reason(node, settings, words):
    node.configure(**settings)
    complaint = refused(node)
    for word in words:
        assert word in complaint


def test_a_secret_that_others_may_read_is_refused(node):
    os.chmod(node.setting("secret_file"), 0o640)
    assert "chmod 600" in refused(node)


def test_a_missing_key_is_named(node):
    node.conf.write_text("\n".join(line for line in node.conf.read_text().splitlines()
                                   if not line.startswith("data")))
    assert "'data' is missing" in refused(node)


def test_usage_help_and_version(node):
    assert "usage:" in refused(node, "--nonsense")
    assert "usage:" in refused(node, "--config")
    for option, word in [("--help", "usage:"), ("--version", "dynanode ")]:
        done = subprocess.run([tree.DYNANODE, option], capture_output=True, timeout=10, check=True)
        assert word in done.stdout.decode()


def test_an_address_in_use_is_refused(node):
    node.start()
    assert "cannot listen" in refused(node)


def test_a_store_of_another_node_is_refused(make_cluster):
    a, b = make_cluster(2, start=False).nodes
    a.start()
    a.stop()
    b.configure(data=a.setting("data"))
    assert refused(b)


def test_it_is_ready_within_a_second_and_logs_so(node):
    began = time.monotonic()
    node.launch()
    wait.until(node.serves, 5, "the node ready")
    assert time.monotonic() - began < 1
    with open(node.setting("log"), encoding="utf-8") as log:
        assert " ready: node " in log.read()


def test_what_was_stored_is_there_after_sigterm_and_after_kill(node):
    node.start()
    assert node.request("PUT", "/v1/kv/a", b"1").status == 204
    node.stop()
    with open(node.setting("log"), encoding="utf-8") as log:
        assert "stopped cleanly" in log.read()
    node.start()
    assert node.request("GET", "/v1/kv/a").body == b"1"
    assert node.request("PUT", "/v1/kv/b", b"2").status == 204
    node.kill()
    node.start()
    assert node.request("GET", "/v1/kv/b").body == b"2"
    with open(node.setting("log"), encoding="utf-8") as log:
        assert log.read().count("did not end cleanly") == 1


def test_sighup_opens_the_log_anew(node):
    node.start()
    log = node.setting("log")
    os.rename(log, log + ".1")
    node.process.popen.send_signal(signal.SIGHUP)
    wait.until(lambda: os.path.exists(log), 5, "a new log")
    node.stop()
    with open(log, encoding="utf-8") as text:
        assert "stopped cleanly" in text.read()


def test_insecure_is_allowed_when_said_and_logged(node):
    port = node.address.rpartition(":")[2]
    node.configure(insecure="yes", listen=f"127.0.0.1:{port}")
    node.start()
    with open(node.setting("log"), encoding="utf-8") as log:
        assert "insecure = yes" in log.read()
