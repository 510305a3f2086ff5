# SPDX-License-Identifier: Apache-2.0
"""A cluster that is in use goes into a folder and comes back, into itself and into another one
(HAZARDS E1, E3, E10): nothing newer is undone, nothing deleted comes back, nothing is missing."""

import json
import os
import signal
import subprocess

import pytest
from harness import tree, wait
from test_membership import Load, number_in


def backup(cluster, folder, *more, **how):
    return json.loads(cluster.dynactl("backup", "--json", *more, folder, seconds=100, **how).stdout)


def restore(cluster, folder, *more, **how):
    return cluster.dynactl("restore", *more, folder, seconds=100, **how)


def secret(cluster):
    return "--into-new", "--secret", cluster.folder / "secret"


def put(cluster, key, value, headers=None):
    assert cluster.nodes[0].request("PUT", f"/v1/kv/{key}", value, headers).status == 204


def get(cluster, key):
    answer = cluster.nodes[-1].request("GET", f"/v1/kv/{key}?r=3")
    return answer.body if answer.status == 200 else answer.status


def any_file(folder, kind):
    """A file of the backup that holds something."""
    parts = json.loads((folder / "manifest.json").read_text())["files"]
    return folder / next(p["name"] for p in parts if p["name"].startswith(kind) and p["rows"] > 0)


@pytest.mark.limit(260)
def test_what_came_after_a_backup_under_load_stays(three_nodes, tmp_path):
    folder = tmp_path / "backup"
    for i in range(200):
        put(three_nodes, f"k/{i}", b"first %d" % i)
    load = Load(three_nodes.nodes)
    try:
        wait.until(lambda: len(load.acknowledged) > 30, 30, "some load")
        before = dict(load.acknowledged)
        told = backup(three_nodes, folder)
    finally:
        acknowledged = load.stop()
    assert told["states"] >= 200 and told["lacking"] == 0
    for i in range(0, 50):
        assert three_nodes.nodes[1].request("DELETE", f"/v1/kv/k/{i}").status == 204
    for i in range(50, 100):
        put(three_nodes, f"k/{i}", b"second", {"If-Match": "*"})
    put(three_nodes, "k/new", b"since")
    restore(three_nodes, folder)
    assert [get(three_nodes, f"k/{i}") for i in range(50)] == [404] * 50
    assert {get(three_nodes, f"k/{i}") for i in range(50, 100)} == {b"second"}
    assert all(get(three_nodes, f"k/{i}") == b"first %d" % i for i in range(100, 200))
    assert get(three_nodes, "k/new") == b"since"
    for key, turn in acknowledged.items():
        answer = three_nodes.nodes[turn % 3].request("GET", f"/v1/kv/{key}?r=3")
        assert answer.status == 200 and number_in(answer.body) >= turn, (key, turn, answer.body)
    assert before.keys() <= acknowledged.keys()


@pytest.mark.limit(240)
def test_a_fresh_cluster_is_the_same_to_diff(make_cluster, three_nodes, mnt, tmp_path):
    folder = tmp_path / "backup"
    (mnt / "tree").mkdir()
    subprocess.run(["cp", "-a", tree.ROOT / "common" / "base", mnt / "tree"], check=True)
    (mnt / "tree" / "big").write_bytes(os.urandom(20 << 20))
    (mnt / "tree" / "link").symlink_to("big")
    (mnt / "tree" / "big").chmod(0o640)
    (mnt / "gone").write_text("short")
    (mnt / "gone").unlink()
    for index in (0, 2):
        assert three_nodes.nodes[index].request("PUT", "/v1/kv/cart", b"%d\n" % index).status == 204
    three_nodes.dynactl("set", "tree", "w=3")
    wait.until(lambda: len(list(mnt.glob("cart*"))) == 2, 20, "the conflict is shown")
    first = backup(three_nodes, folder)
    assert first["fetched_bytes"] > 20 << 20
    (mnt / "late").write_text("late\n")
    wait.until(lambda: all(b"dynamount_hints_now 0\n" in node.request("GET", "/metrics").body
                           for node in three_nodes.nodes), 40, "no hints, which are fetched each time")
    again = backup(three_nodes, folder)
    assert again["fetched_bytes"] < 1 << 20

    other = make_cluster(4)
    refused = restore(other, folder, check=False)
    assert refused.returncode == 3 and b"--into-new" in refused.stderr
    restore(other, folder, *secret(other))
    fresh = other.mount(tmp_path / "fresh").point
    subprocess.run(["diff", "-r", "--no-dereference", mnt, fresh], check=True)
    assert sorted(os.listdir(fresh)) == sorted(os.listdir(mnt))
    for name in ("tree/big", "tree/link", "tree/base", "tree/base/buf.c", "cart.conflict.1"):
        old, new = os.lstat(mnt / name), os.lstat(fresh / name)
        assert (old.st_mode, old.st_size, old.st_mtime_ns) == (new.st_mode, new.st_size,
                                                               new.st_mtime_ns), name
    told = json.loads(other.dynactl("settings", "--json", "tree").stdout)["settings"]
    assert told["w"] == {"value": "3", "from": "tree"}
    (fresh / "tree" / "base" / "buf.c").write_text("changed\n")  # a cluster like any other
    assert (fresh / "tree" / "base" / "buf.c").read_text() == "changed\n"
    refused = restore(other, folder, *secret(other), check=False)
    assert refused.returncode == 3 and b"--merge" in refused.stderr
    restore(other, folder, *secret(other), "--merge")
    assert (fresh / "tree" / "base" / "buf.c").read_text() == "changed\n"


@pytest.mark.limit(120)
def test_one_path_comes_back_with_its_large_files(make_cluster, three_nodes, mnt, tmp_path):
    folder = tmp_path / "backup"
    data = os.urandom(3 << 20)
    for name in ("a", "b"):
        (mnt / name).mkdir(mode=0o700)
        (mnt / name / "large").write_bytes(data)
    backup(three_nodes, folder)
    other = make_cluster(1)
    restore(other, folder, *secret(other), "--below", "b/large")
    fresh = other.mount(tmp_path / "fresh").point
    assert os.listdir(fresh) == ["b"] and os.stat(fresh / "b").st_mode & 0o777 == 0o700
    assert (fresh / "b" / "large").read_bytes() == data


def test_damage_is_named_and_nothing_is_restored(three_nodes, make_cluster, tmp_path):
    folder = tmp_path / "backup"
    put(three_nodes, "one", b"1" * 1000)
    backup(three_nodes, folder)
    assert b"whole" in three_nodes.dynactl("restore", "--check", folder).stdout
    bad = any_file(folder, "keys")
    content = bytearray(bad.read_bytes())
    content[len(content) // 2] ^= 0x40
    bad.write_bytes(content)
    other = make_cluster(1)
    for words in (["--check"], secret(other)):
        done = restore(other, folder, *words, check=False)
        assert done.returncode == 1
        assert bad.name in done.stderr.decode() and "piece 1, at byte" in done.stderr.decode()
    assert other.nodes[0].request("GET", "/v1/kv/one").status == 404
    done = three_nodes.dynactl("backup", folder, check=False)  # it says so, or has no need of it
    assert done.returncode == 0 or bad.name in done.stderr.decode()
    backup(three_nodes, folder, "--all")
    assert b"whole" in three_nodes.dynactl("restore", "--check", folder).stdout
    (folder / "manifest.json").unlink()
    done = restore(three_nodes, folder, check=False)
    assert done.returncode == 4 and b"no whole backup" in done.stderr


def test_a_backup_that_lacks_something_is_not_called_whole(three_nodes, tmp_path):
    folder = tmp_path / "backup"
    put(three_nodes, "one", b"1")
    backup(three_nodes, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][0]["lacking"] = 2  # as a run writes that could not read two keys
    (folder / "manifest.json").write_text(json.dumps(manifest))
    done = restore(three_nodes, folder, "--check", check=False)
    assert done.returncode == 1 and b"whole" not in done.stdout
    assert b"not whole" in done.stderr and b"2 values or versions" in done.stderr


def test_nodes_that_are_down(three_nodes, tmp_path):
    folder = tmp_path / "backup"
    for i in range(50):
        put(three_nodes, f"k/{i}", b"%d" % i)
    three_nodes.nodes[0].kill()
    told = backup(three_nodes, folder)  # N - W + 1 = 2 are left
    assert told["states"] >= 50 and told["files_of_some_copies"] > 0
    manifest = (folder / "manifest.json").read_text()
    three_nodes.nodes[1].kill()
    done = three_nodes.dynactl("backup", folder, check=False, seconds=55)
    assert done.returncode == 5 and b"run it again" in done.stderr
    assert (folder / "manifest.json").read_text() == manifest
    restore(three_nodes, folder, "--check")


def test_a_run_that_is_killed_or_has_no_room_is_gone_on_with(three_nodes, tmp_path):
    folder = tmp_path / "backup"
    for i in range(40):
        put(three_nodes, f"k/{i}", os.urandom(100000))
    nodes = {"DYNAMOUNT_NODES": ",".join(three_nodes.addresses)}
    with subprocess.Popen([tree.DYNACTL, "backup", folder], env={**os.environ, **nodes}) as run:
        wait.until(lambda: folder.exists() and len(os.listdir(folder)) > 20, 30, "some files")
        run.send_signal(signal.SIGKILL)
    assert not (folder / "manifest.json").exists()
    done = restore(three_nodes, folder, check=False)
    assert done.returncode == 4
    told = backup(three_nodes, folder)
    assert told["unchanged"] > 0 and told["states"] >= 40
    restore(three_nodes, folder, "--check")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_said_and_leaves_the_backup_before(three_nodes, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    put(three_nodes, "first", b"1")
    for i in range(40):
        put(three_nodes, f"k/{i}", os.urandom(100000))
    script = (f"mount -t tmpfs -o size=2m none {small} && {tree.DYNACTL} backup {small}/b; "
              f"echo status $?; ls {small}/b; mount -o remount,size=50m {small}; "
              f"{tree.DYNACTL} backup {small}/b && {tree.DYNACTL} restore --check {small}/b")
    nodes = {"DYNAMOUNT_NODES": ",".join(three_nodes.addresses)}
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, check=True,
                          timeout=50, env={**os.environ, **nodes})
    out = done.stdout.decode()
    assert "status 1" in out and "manifest.json" not in out.split("status 1")[1].split("states")[0]
    assert "the disk is full" in done.stderr.decode() and "make room" in done.stderr.decode()
    assert out.strip().endswith("whole")
