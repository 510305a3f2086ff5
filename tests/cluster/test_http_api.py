# SPDX-License-Identifier: Apache-2.0
"""The public HTTP API as DESIGN.md 6 words it, against three nodes."""

import email
import json
import re

from harness import wait


def parts_of(answer):
    """(headers, body) of each part of a 300."""
    text = b"Content-Type: " + answer.headers["Content-Type"].encode() + b"\r\n\r\n" + answer.body
    message = email.message_from_bytes(text)
    assert message.is_multipart()
    return [(part, part.get_payload(decode=True)) for part in message.get_payload()]


def test_a_value_reads_the_same_at_every_node_with_its_context(three_nodes):
    a, b, c = three_nodes.nodes
    assert a.request("PUT", "/v1/kv/dir/key", b"value").status == 204
    for node in (a, b, c):
        answer = node.request("GET", "/v1/kv/dir/key")
        assert (answer.status, answer.body) == (200, b"value")
        assert answer.headers["Dynamount-Context"] and answer.headers["Dynamount-Dot"]
        assert answer.headers["Dynamount-Type"] == "file"
    head = b.request("HEAD", "/v1/kv/dir/key")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, "5", b"")


def test_writes_without_context_stand_beside_each_other_until_one_covers_them(three_nodes):
    a, b, _ = three_nodes.nodes
    a.request("PUT", "/v1/kv/k", b"one")
    b.request("PUT", "/v1/kv/k", b"two")
    answer = a.request("GET", "/v1/kv/k")
    assert answer.status == 300 and answer.headers["Dynamount-Siblings"] == "2"
    assert sorted(body for _, body in parts_of(answer)) == [b"one", b"two"]
    found = json.loads(a.request("GET", "/v1/conflicts").body)
    assert found["conflicts"] == [{"key": "k", "siblings": 2}] and not found["more"]
    context = {"Dynamount-Context": answer.headers["Dynamount-Context"]}
    assert b.request("PUT", "/v1/kv/k", b"both", context).status == 204
    assert a.request("GET", "/v1/kv/k").body == b"both"
    assert json.loads(a.request("GET", "/v1/conflicts").body)["conflicts"] == []


def test_one_sibling_is_read_and_removed_by_its_dot(three_nodes):
    a, b, _ = three_nodes.nodes
    a.request("PUT", "/v1/kv/k", b"one")
    b.request("PUT", "/v1/kv/k", b"two")
    dots = {body: part["Dynamount-Dot"] for part, body in parts_of(a.request("GET", "/v1/kv/k"))}
    assert a.request("GET", f"/v1/kv/k?sibling={dots[b'one']}").body == b"one"
    assert b.request("DELETE", f"/v1/kv/k?sibling={dots[b'one']}").status == 204
    answer = a.request("GET", "/v1/kv/k")
    assert (answer.status, answer.body) == (200, b"two")
    assert a.request("GET", f"/v1/kv/k?sibling={dots[b'one']}").status == 410


def test_many_versions_come_in_pages_that_say_where_the_next_one_begins(three_nodes):
    a, b, _ = three_nodes.nodes
    for number in range(7):
        assert a.request("PUT", "/v1/kv/k", f"version {number}".encode()).status == 204
    seen, contexts, after, pages = [], [], "", 0
    while True:
        answer = b.request("GET", f"/v1/kv/k?limit=3{after}")
        assert answer.status == 300 and answer.headers["Dynamount-Siblings"] == "7"
        seen += [body.decode() for _, body in parts_of(answer)]
        contexts.append(answer.headers["Dynamount-Context"])
        pages += 1
        following = answer.headers["Dynamount-Next"]
        if following is None:
            break
        # a version of the page that goes meanwhile does not disturb the order
        last = parts_of(answer)[-1][0]["Dynamount-Dot"]
        assert a.request("DELETE", f"/v1/kv/k?sibling={last}").status == 204
        a.request("PUT", "/v1/kv/k", seen[-1].encode())
        after = f"&after={following}"
    assert pages == 3 and seen == [f"version {number}" for number in reversed(range(7))]
    assert b.request("GET", "/v1/kv/k?after=nonsense").status == 400
    head = b.request("HEAD", "/v1/kv/k?limit=3")
    assert head.status == 300 and head.headers["Dynamount-Next"]
    # the first page's context covers what that page showed, and nothing else
    first = {"Dynamount-Context": contexts[0]}
    assert a.request("PUT", "/v1/kv/k", b"settled", first).status == 204
    left = sorted(body.decode() for _, body in parts_of(a.request("GET", "/v1/kv/k")))
    assert "settled" in left and "version 6" not in left and "version 0" in left


def test_a_hundred_versions_are_warned_of_and_still_settled_in_one_go(three_nodes):
    a, b, _ = three_nodes.nodes
    for number in range(110):
        assert a.request("PUT", "/v1/kv/k", str(number).encode()).status == 204
    assert b.request("HEAD", "/v1/kv/k").headers["Dynamount-Siblings"] == "110"
    answer = a.request("GET", "/v1/kv/k")
    assert len(parts_of(answer)) == 100 and answer.headers["Dynamount-Next"]
    answer = a.request("GET", "/v1/kv/k?limit=1000")
    assert len(parts_of(answer)) == 110 and answer.headers["Dynamount-Next"] is None
    metrics = a.request("GET", "/metrics").body.decode()
    assert "dynamount_wide_writes_total 11" in metrics
    log = (a.folder / a.setting("log")).read_text()
    warnings = [line for line in log.splitlines() if "versions side by side" in line]
    assert 1 <= len(warnings) < 10 and "'k' has 100 versions" in warnings[0]
    context = {"Dynamount-Context": answer.headers["Dynamount-Context"]}
    assert b.request("PUT", "/v1/kv/k", b"all", context).status == 204
    assert a.request("GET", "/v1/kv/k").body == b"all"


def test_if_match_and_if_none_match(three_nodes):
    a, b, _ = three_nodes.nodes
    assert a.request("PUT", "/v1/kv/k", b"one", {"If-None-Match": "*"}).status == 204
    assert b.request("PUT", "/v1/kv/k", b"two", {"If-None-Match": "*"}).status == 412
    assert b.request("PUT", "/v1/kv/k", b"three", {"If-Match": "*"}).status == 204
    assert a.request("GET", "/v1/kv/k").body == b"three"


def test_a_delete_leaves_404_with_a_context(three_nodes):
    a, b, _ = three_nodes.nodes
    assert a.request("GET", "/v1/kv/k").headers["Dynamount-Context"] is None
    a.request("PUT", "/v1/kv/k", b"one")
    assert b.request("DELETE", "/v1/kv/k").status == 204
    answer = a.request("GET", "/v1/kv/k")
    assert answer.status == 404 and answer.headers["Dynamount-Context"]


def test_a_listing_is_in_pages_of_names_in_order(three_nodes):
    a, b, _ = three_nodes.nodes
    names = [f"f{number:02}" for number in range(12)]
    for name in reversed(names):
        assert a.request("PUT", f"/v1/kv/d/{name}", b"x").status == 204
    seen, after, pages = [], "", 0
    while True:
        page = json.loads(b.request("GET", f"/v1/dir/d?limit=5&after={after}").body)
        seen += [entry["name"] for entry in page["entries"]]
        pages += 1
        if not page["more"]:
            break
        after = page["cursor"]
    assert seen == names and pages >= 3
    root = json.loads(a.request("GET", "/v1/dir/").body)["entries"]
    assert [(entry["name"], entry["type"]) for entry in root] == [("d", "directory")]


def test_a_directory_that_is_not_there_is_404(three_nodes):
    a, b, _ = three_nodes.nodes
    answer = a.request("GET", "/v1/dir/nope")
    assert answer.status == 404 and b"no such directory" in answer.body
    a.request("PUT", "/v1/kv/d/e/f", b"x")
    assert b.request("GET", "/v1/dir/d").status == 200
    answer = b.request("GET", "/v1/dir/d/e/f")
    assert answer.status == 404 and b"not a directory" in answer.body
    assert a.request("PUT", "/v1/kv/empty", b"", headers={"Dynamount-Type": "directory"}).status == 204
    answer = b.request("GET", "/v1/dir/empty")
    assert answer.status == 200 and json.loads(answer.body)["entries"] == []
    assert json.loads(b.request("GET", "/v1/dir/").body)["entries"] != []
    a.request("DELETE", "/v1/kv/empty")
    assert b.request("GET", "/v1/dir/empty").status == 404


def test_a_missed_quorum_is_503_and_says_how_many_answered(three_nodes):
    a, b, c = three_nodes.nodes
    a.request("PUT", "/v1/kv/k", b"one")
    b.kill()
    c.kill()
    answer = a.request("PUT", "/v1/kv/k?timeout=2000", b"two")
    assert answer.status == 503
    body = json.loads(answer.body)
    assert (body["answered"], body["needed"]) == (1, 2)
    assert "1 answered of 2" in body["message"]
    assert a.request("GET", "/v1/kv/k?r=1").status in (200, 300)


def test_metrics_are_what_prometheus_reads(three_nodes):
    """Each family is described before its samples, once, and a sample is a name and a number."""
    a, b, c = three_nodes.nodes
    a.request("PUT", "/v1/kv/k", b"one")
    a.request("GET", "/v1/kv/k")
    c.kill()
    for number in range(5):
        b.request("PUT", f"/v1/kv/k{number}", b"one")
    text = b.request("GET", "/metrics").body.decode()
    types, helped, values = {}, set(), {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped.add(line.split()[2])
            assert len(line.split()) > 3
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in types and name in helped
            types[name] = kind
        else:
            sample, _, value = line.rpartition(" ")
            name = sample.partition("{")[0]
            family = re.sub(r"_(bucket|sum|count)$", "", name) if name not in types else name
            assert types[family] in ("counter", "gauge", "summary", "histogram"), line
            assert types[family] != "counter" or name.endswith("_total"), line
            values[sample] = float(value)
    assert len(values) > 60
    assert values['dynamount_request_seconds_count{op="put"}'] >= 5
    assert values['dynamount_request_seconds{op="put",quantile="0.999"}'] > 0


def test_cluster_ring_and_metrics_tell_what_happens(three_nodes):
    a, b, _ = three_nodes.nodes
    a.request("PUT", "/v1/kv/k", b"one")
    status = json.loads(a.request("GET", "/v1/cluster").body)
    assert len(status["members"]) == 3 and all(member["up"] for member in status["members"])
    ring = json.loads(a.request("GET", "/v1/ring").body)
    assert len(ring["partitions"]) == status["q"] and not ring["more"]
    assert all(len(set(nodes)) == 3 for nodes in ring["partitions"])
    metrics = a.request("GET", "/metrics").body.decode()
    assert 'dynamount_http_request_seconds_count{op="put"} 1' in metrics
    b.kill()
    a.request("PUT", "/v1/kv/k2", b"one")

    def one_is_down():
        members = a.members()
        return [member["up"] for member in members].count(False) == 1
    wait.until(one_is_down, 10, "the killed node seen as down")
