# SPDX-License-Identifier: Apache-2.0
"""Real nodes join, leave and are replaced under a steady load, and some are killed in the middle of
it: no acknowledged write is lost (HAZARDS E10, E12, E13, E14)."""

import json
import pathlib
import shutil
import threading

import pytest
from harness import wait


class Load:
    """Writes new keys, and overwrites a few, through all nodes in turn, until it is told to stop."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.acknowledged = {}
        self.refused = 0
        self.halt = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        turn = 0
        while not self.halt.is_set():
            turn += 1
            key = f"hot/k{turn % 7}" if turn % 3 == 0 else f"load/k{turn}"
            value = b"value %d" % turn
            headers = {"If-Match": "*"} if turn % 3 == 0 else {}
            try:
                answer = self.nodes[turn % len(self.nodes)].request(
                    "PUT", f"/v1/kv/{key}", value, headers, timeout=8)
            except OSError:
                continue  # killed: it may have happened or not
            if answer.status == 204:
                self.acknowledged[key] = turn
            else:
                self.refused += 1

    def stop(self):
        """Ends it, once there is enough to judge by, and returns what was acknowledged last: turns by key."""
        wait.until(lambda: len(self.acknowledged) > 50 or not self.thread.is_alive(), 60, "a load")
        self.halt.set()
        self.thread.join()
        return self.acknowledged


def number_in(body):
    return int(body.rsplit(b" ", 1)[1])


def check(cluster, acknowledged, nodes):
    """Each key reads as what was acknowledged last, or as something later that was not."""
    assert len(acknowledged) > 50, "the load came to nothing"
    for key, turn in acknowledged.items():
        node = nodes[turn % len(nodes)]
        answer = node.request("GET", f"/v1/kv/{key}?r=3&timeout=8000")
        assert answer.status in (200, 300), (key, turn, answer.status, answer.body)
        if answer.status == 200:
            assert number_in(answer.body) >= turn, (key, turn, answer.body)
        else:
            assert b"value %d" % turn in answer.body, (key, turn)
    shown = cluster.dynactl("ls", "load", "--json")
    names = {entry["name"] for entry in json.loads(shown.stdout)["entries"]}
    assert {key[5:] for key in acknowledged if key.startswith("load/")} <= names


@pytest.mark.limit(180)
def test_the_other_of_two_nodes_is_lost_for_good(make_cluster):
    pair = make_cluster(2)
    left, lost = pair.nodes
    for i in range(20):
        assert left.request("PUT", f"/v1/kv/k{i}", b"%d" % i).status == 204
    heir = pair.add()
    ids = {node.address: json.loads(node.request("GET", "/v1/cluster").body)["node"]
           for node in (left, lost)}
    pair.dynactl("--node", left.address, "replace", ids[lost.address], heir.address)
    done = pair.dynactl("--node", left.address, "commit", "--force", check=False)
    assert done.returncode == 3 and b"answers" in done.stderr
    answer = left.request("POST", "/v1/cluster/commit", b'{"force": true}')
    assert answer.status == 409 and b"answers" in answer.body
    wait.until(lambda: heir.address.encode() in pair.dynactl("--node", lost.address, "plan").stdout, 20)
    done = pair.dynactl("--node", lost.address, "commit", "--force", check=False)
    assert done.returncode == 3 and b"a node that stays" in done.stderr
    lost.kill()
    shutil.rmtree(lost.folder / "data")
    done = pair.dynactl("--node", left.address, "commit", check=False)
    assert done.returncode == 5, done.stderr
    pair.dynactl("--node", left.address, "commit", "--force", "--wait", seconds=50)
    for i in range(20):
        answer = heir.request("GET", f"/v1/kv/k{i}?r=2")
        assert (answer.status, answer.body) == (200, b"%d" % i)


def moving(cluster):
    return json.loads(cluster.dynactl("transfers", "--json").stdout)["moving"]


def fill(node, keys):
    for i in range(keys):
        assert node.request("PUT", f"/v1/kv/before/k{i}", b"before %d" % i).status == 204


@pytest.mark.limit(180)
def test_a_fourth_node_joins_a_loaded_cluster(make_cluster):
    cluster = make_cluster(3, options=["--q", "64"])
    fill(cluster.nodes[0], 300)
    load = Load(cluster.nodes[:3])
    fourth = cluster.add()
    assert "no member yet" in (fourth.folder / "dynanode.log").read_text()
    cluster.dynactl("join", fourth.address)
    plan = json.loads(cluster.dynactl("plan", "--json").stdout)
    assert plan["copies_moved"] == 48  # a quarter of 64 partitions, three copies each
    assert "refused" not in plan
    cluster.dynactl("commit", "--wait", "--digest", plan["digest"], seconds=120)
    acknowledged = load.stop()
    check(cluster, acknowledged, cluster.nodes)
    status = json.loads(cluster.dynactl("status", "--json").stdout)
    assert sorted(m["tokens"] for m in status["members"]) == [16] * 4
    for i in range(0, 300, 7):
        assert fourth.request("GET", f"/v1/kv/before/k{i}?r=3").body == b"before %d" % i


@pytest.mark.limit(180)
def test_a_node_leaves_and_is_stopped(make_cluster):
    cluster = make_cluster(4, options=["--q", "64"])
    fill(cluster.nodes[0], 200)
    load = Load(cluster.nodes[:3])
    leaver = cluster.nodes[3]
    cluster.dynactl("leave", leaver.address)
    cluster.dynactl("commit", "--wait", seconds=120)
    wait.until(lambda: b"has left" in cluster.dynactl("status").stdout, 30, "its hints being gone")
    leaver.stop()
    acknowledged = load.stop()
    check(cluster, acknowledged, cluster.nodes[:3])
    for i in range(0, 200, 7):
        assert cluster.nodes[1].request("GET", f"/v1/kv/before/k{i}?r=3").body == b"before %d" % i


@pytest.mark.limit(180)
def test_a_wiped_disk_is_replaced(make_cluster):
    cluster = make_cluster(3, options=["--q", "64"])
    fill(cluster.nodes[0], 200)
    lost = cluster.nodes[2]
    load = Load(cluster.nodes[:2])
    lost.kill()
    shutil.rmtree(pathlib.Path(lost.setting("data")))
    heir = cluster.add()
    cluster.dynactl("replace", lost.address, heir.address)
    cluster.dynactl("commit", "--wait", seconds=120)
    acknowledged = load.stop()
    nodes = [*cluster.nodes[:2], heir]
    check(cluster, acknowledged, nodes)
    for i in range(0, 200, 7):
        assert heir.request("GET", f"/v1/kv/before/k{i}?r=3").body == b"before %d" % i
    lost.launch()  # it comes back under its old id: it must not serve
    assert wait.until(lambda: not lost.process.running, 20, "the removed node giving up")
    assert "removed from its cluster" in (lost.folder / "dynanode.log").read_text()
    lost.process.popen.wait()


@pytest.mark.limit(240)
def test_both_ends_of_a_transfer_are_killed(make_cluster):
    cluster = make_cluster(3, options=["--q", "256"])
    fill(cluster.nodes[0], 400)
    load = Load(cluster.nodes[:3])
    fourth = cluster.add()
    cluster.dynactl("join", fourth.address)
    cluster.dynactl("commit")
    fourth.kill()
    cluster.nodes[1].kill()
    fourth.restart()
    cluster.nodes[1].restart()
    cluster.nodes[2].kill()
    cluster.nodes[2].restart()
    wait.until(lambda: moving(cluster) == 0, 120, "everything having moved")
    acknowledged = load.stop()
    check(cluster, acknowledged, cluster.nodes)
    for i in range(0, 400, 7):
        assert fourth.request("GET", f"/v1/kv/before/k{i}?r=3").body == b"before %d" % i


def test_unsafe_plans_are_refused_with_their_reason(make_cluster):
    cluster = make_cluster(3, options=["--q", "16"])
    third = cluster.nodes[2]
    cluster.dynactl("leave", third.address)
    plan = cluster.dynactl("plan", check=False)
    assert plan.returncode == 3
    assert b"2 members would be left, fewer than the 3 copies" in plan.stdout
    done = cluster.dynactl("commit", check=False)
    assert done.returncode == 3
    assert b"fewer than the 3 copies" in done.stderr
    cluster.dynactl("abort")
    assert b"nothing is staged" in cluster.dynactl("plan").stdout
    done = cluster.dynactl("join", "127.0.0.1:1", check=False)
    assert done.returncode == 5
    assert b"no node answers at this address" in done.stderr
    done = cluster.dynactl("join", cluster.nodes[0].address, check=False)
    assert b"a member already" in done.stderr
    done = cluster.dynactl("leave", "127.0.0.1:9", check=False)
    assert done.returncode == 4
    done = cluster.dynactl("commit", check=False)
    assert b"nothing is staged" in done.stderr


def test_a_plan_is_known_to_every_node_and_http_does_the_same(make_cluster):
    cluster = make_cluster(3, options=["--q", "16"])
    a, b, c = cluster.nodes
    node = json.loads(c.request("GET", "/v1/cluster").body)["node"]
    part = json.dumps({"type": "weight", "node": node, "weight": 50}).encode()
    staged = json.loads(a.request("POST", "/v1/cluster/plan", part).body)
    assert staged["staged"][0]["weight"] == 50

    def known():
        return json.loads(b.request("GET", "/v1/cluster/plan").body)["staged"] == staged["staged"]

    wait.until(known, 10, "gossip carrying the plan")
    digest = json.loads(b.request("GET", "/v1/cluster/plan").body)["digest"]
    wrong = b.request("POST", "/v1/cluster/commit", json.dumps({"digest": "0" * 32}).encode())
    assert wrong.status == 409, wrong.body
    done = b.request("POST", "/v1/cluster/commit", json.dumps({"digest": digest}).encode())
    assert done.status == 200, done.body

    def weighed():
        members = a.members()
        return [m["weight"] for m in members if m["node"] == node] == [50]

    wait.until(weighed, 10, "the change being known everywhere")
    wait.until(lambda: not json.loads(a.request("GET", "/v1/cluster/plan").body)["staged"], 10,
               "gossip carrying that nothing is staged any more")
    assert a.request("DELETE", "/v1/cluster/plan").status == 404
    assert a.request("POST", "/v1/cluster/plan", b"{").status == 400
    assert a.request("PUT", "/v1/cluster/plan", b"{}").status == 405
