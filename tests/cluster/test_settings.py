# SPDX-License-Identifier: Apache-2.0
"""Settings by directory, through dynactl and HTTP: known to every node at once, inherited, shown."""

import json
import re

import pytest

from harness import wait


def show(cluster, *words):
    return json.loads(cluster.dynactl("settings", "--json", *words).stdout)


def test_a_setting_holds_below_its_directory_on_every_node(three_nodes):
    assert three_nodes.dynactl("set", "carts", "reconcile=union", "w=3").stdout == b""
    for node in three_nodes.nodes:
        told = json.loads(node.request("GET", "/v1/settings/carts/ada").body)["settings"]
        assert told["reconcile"] == {"value": "union", "from": "carts"}
        assert told["w"]["value"] == "3" and told["r"] == {"value": "default"}
    assert show(three_nodes, "other")["settings"]["reconcile"] == {"value": "default"}
    text = three_nodes.dynactl("settings", "carts/ada").stdout.decode()
    assert "reconcile   union     set on carts" in text
    three_nodes.dynactl("set", "carts/ada", "reconcile=siblings")
    assert show(three_nodes, "carts/ada/x")["settings"]["reconcile"]["from"] == "carts/ada"
    three_nodes.dynactl("set", "carts/ada", "reconcile=default")
    assert show(three_nodes, "carts/ada")["settings"]["reconcile"]["from"] == "carts"
    assert b"carts  w=3" in three_nodes.dynactl("settings").stdout


@pytest.mark.parametrize("words, says", [
    (("d", "reconcile=newest"), "siblings, lww, union"),
    (("d", "r=9"), "a number from 1"),
    (("d", "n=4"), "a number from 1 to 3"),
    (("d", "colour=red"), "there is no setting"),
    (("d", "r"), "NAME=VALUE"),
    (("a//b", "r=1"), "no directory"),
])
def test_what_cannot_be_set_is_refused_with_the_reason(three_nodes, words, says):
    done = three_nodes.dynactl("set", *words, check=False)
    assert done.returncode == 2 and says in done.stderr.decode()


def test_concurrent_additions_to_a_cart_all_survive(three_nodes):
    a, b, c = three_nodes.nodes
    assert a.request("PUT", "/v1/settings/carts?reconcile=union").status == 200
    for node, item in ((a, b"milk\n"), (b, b"bread\n"), (c, b"eggs\n")):
        assert node.request("PUT", "/v1/kv/carts/ada", item).status == 204

    def one_cart():
        answer = b.request("GET", "/v1/kv/carts/ada")
        return answer if answer.status == 200 and answer.body.count(b"\n") == 3 else None
    cart = wait.until(one_cart, 10, "one cart with all")
    assert sorted(cart.body.split()) == [b"bread", b"eggs", b"milk"]
    context = {"Dynamount-Context": cart.headers["Dynamount-Context"]}
    assert c.request("PUT", "/v1/kv/carts/ada", b"milk\n", context).status == 204
    assert a.request("GET", "/v1/kv/carts/ada").body == b"milk\n"  # what is taken out stays out
    assert a.request("PUT", "/v1/kv/other", b"1").status == 204
    assert b.request("PUT", "/v1/kv/other", b"2").status == 204
    assert a.request("GET", "/v1/kv/other").status == 300


def test_the_newest_wins_where_it_is_told_to(three_nodes):
    a, b, c = three_nodes.nodes
    assert b.request("PUT", "/v1/settings/logs?reconcile=lww").status == 200
    for number, node in enumerate((a, b, c)):
        assert node.request("PUT", "/v1/kv/logs/x", str(number).encode()).status == 204
    for node in (a, b, c):
        answer = node.request("GET", "/v1/kv/logs/x")
        assert (answer.status, answer.body) == (200, b"2")
    listing = json.loads(a.request("GET", "/v1/dir/logs").body)["entries"]
    assert [entry["siblings"] for entry in listing] == [1]


def test_settings_over_http_say_what_is_wrong(three_nodes):
    a = three_nodes.nodes[0]
    for path, says in (("/v1/settings/d?r=4", "1 to 3"), ("/v1/settings/d", "nothing is to be set"),
                       ("/v1/settings/d?reconcile", "NAME=VALUE")):
        answer = a.request("PUT", path)
        assert answer.status == 400 and says in json.loads(answer.body)["message"]
    assert a.request("DELETE", "/v1/settings/d").status == 405
    assert json.loads(a.request("GET", "/v1/settings").body) == {"rows": []}


@pytest.mark.limit(120)
def test_a_node_that_was_down_learns_what_was_set_and_keeps_it(three_nodes):
    a, b, c = three_nodes.nodes
    c.kill()
    told = json.loads(a.request("PUT", "/v1/settings/d?r=1").body)
    assert (told["known"], told["members"]) == (2, 3)
    c.start()

    def knows(node):
        return json.loads(node.request("GET", "/v1/settings/d").body)["settings"]["r"]["value"] == "1"
    # Each node compares with one at random, perhaps itself, every ten seconds.
    wait.until(lambda: knows(c), 60, "the node to learn it")
    for node in (a, b, c):
        node.kill()
    for node in (a, b, c):
        node.start()
    assert knows(a) and knows(b) and knows(c)


def figure(cluster, name):
    total = 0
    for node in cluster.nodes:
        text = node.request("GET", "/metrics").body.decode()
        total += int(re.search(rf"^dynamount_{name} (\d+)$", text, re.MULTILINE).group(1))
    return total


def all_read(cluster, files):
    """With one keeper each, a value cannot be had while that one is slow to answer."""
    def read(node, path):
        answer = node.request("GET", path)
        assert answer.status in (200, 503)
        return answer.body if answer.status == 200 else None

    for node in cluster.nodes:
        for i in range(files):
            path = f"/v1/kv/scratch/f{i}"
            assert wait.until(lambda: read(node, path), 60, f"{path} can be read") == b"%d" % i


@pytest.mark.limit(300)
def test_values_stay_on_as_many_nodes_as_their_directory_says(three_nodes):
    files = 20
    for i in range(files):
        node = three_nodes.nodes[i % 3]
        assert node.request("PUT", f"/v1/kv/scratch/f{i}", b"%d" % i).status == 204
    assert three_nodes.nodes[0].request("PUT", "/v1/kv/other", b"kept by all").status == 204
    three_nodes.dynactl("set", "scratch", "n=1")
    assert show(three_nodes, "scratch/f1")["settings"]["n"] == {"value": "1", "from": "scratch"}
    wait.until(lambda: figure(three_nodes, "thin_let_go_total") == 2 * files, 120,
               "values let go by all but one node each")
    all_read(three_nodes, files)
    assert three_nodes.nodes[1].request("PUT", "/v1/settings/scratch?n=default").status == 200
    wait.until(lambda: figure(three_nodes, "thin_fetched_total") == 2 * files, 120,
               "values back with all nodes")
    all_read(three_nodes, files)
