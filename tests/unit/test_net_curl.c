/* SPDX-License-Identifier: Apache-2.0 */
/* Frames over real sockets on loopback: the sending side against the receiving side, in one process
 * and one loop, with an engine that echoes. */
#include <string.h>

#include "adapter/batch_server.h"
#include "adapter/net_curl.h"
#include "base/err.h"
#include "base/mem.h"
#include "model/wire.h"
#include "unit.h"

#define SERVER 7u
#define CLUSTER 99u

struct held {
    uint64_t origin, rid;
    uint8_t type;
};

struct fixture {
    struct loop *loop;
    struct http_server *http;
    struct batch_server *batches;
    struct net_curl *net;
    struct net_port port;
    char address[64];
    uint64_t from;
    struct held held[16]; /* FRAME_STATUS is answered when the test says */
    unsigned n_held, received, replies, failures, echoed;
    uint64_t last_rid;
    int last_err;
    char magic[5]; /* of the last batch */
    bool older;    /* the server is of a version that knows one kind of mac */
};

static void receive_request(void *ctx, uint64_t origin, uint64_t from, uint64_t rid, uint8_t type,
                            struct slice body)
{
    struct fixture *f = ctx;
    f->received++;
    f->from = from;
    if (type == FRAME_STATUS) {
        f->held[f->n_held++] = (struct held){origin, rid, type};
        return;
    }
    struct buf copy = BUF_EMPTY;
    buf_put_slice(&copy, body);
    batch_server_reply(f->batches, origin, rid, type + FRAME_REPLY, &copy);
}

static void receive_reply(void *ctx, uint64_t rid, uint8_t type, struct slice body)
{
    struct fixture *f = ctx;
    assert_true(type >= FRAME_REPLY);
    f->replies++;
    f->last_rid = rid;
    f->echoed += (unsigned)body.len;
}

static void failed(void *ctx, uint64_t rid, int err)
{
    struct fixture *f = ctx;
    f->failures++;
    f->last_rid = rid;
    f->last_err = err;
}

static void handle(void *arg, struct http_request *r)
{
    struct fixture *f = arg;
    struct slice path = http_request_path(r), body = http_request_body(r);
    snprintf(f->magic, sizeof(f->magic), "%.*s", (int)(body.len < 4 ? body.len : 4),
             (const char *)body.data);
    if (f->older && strcmp(f->magic, "DYN1") != 0) {
        http_reply_error(r, 400, "protocol", "not a batch");
        return;
    }
    batch_server_take(f->batches, r, slice_equal(path, slice_str("/internal/batch")));
}

static void sender_start_with(struct fixture *f, uint64_t self, const char *secret,
                              uint32_t post_timeout_ms)
{
    struct net_curl_config cfg;
    const struct net_events events = {f, NULL, receive_reply, failed};
    net_curl_free(f->net);
    net_curl_config_defaults(&cfg);
    cfg.self = self;
    cfg.cluster = self == 0 ? 0 : CLUSTER;
    cfg.secret = slice_str(secret);
    cfg.queue_max = 100000;
    cfg.post_timeout_ms = post_timeout_ms;
    f->net = net_curl_new(f->loop, &cfg);
    net_curl_set_events(f->net, &events);
    f->port = net_curl_port(f->net);
    f->port.set_address(f->port.ctx, SERVER, f->address);
}

static void sender_start(struct fixture *f, uint64_t self, const char *secret)
{
    sender_start_with(f, self, secret, 15000);
}

static void server_start(struct fixture *f, const char *listen)
{
    struct http_server_config http;
    char *message = NULL;
    http_server_config_defaults(&http);
    http.listen = listen;
    assert_int_equal(http_server_new(f->loop, &http, handle, f, &f->http, &message), DYN_OK);
}

static int setup(void **state)
{
    static struct fixture storage;
    struct fixture *f = &storage;
    struct batch_server_config batch;
    const struct net_events events = {f, receive_request, NULL, NULL};
    *f = (struct fixture){.loop = loop_new()};
    server_start(f, "127.0.0.1:0");
    batch_server_config_defaults(&batch);
    batch.self = SERVER;
    batch.cluster = CLUSTER;
    batch.secret = slice_str("secret");
    f->batches = batch_server_new(f->loop, &batch, &events);
    snprintf(f->address, sizeof(f->address), "127.0.0.1:%u", http_server_port(f->http));
    sender_start(f, 5, "secret");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    net_curl_free(f->net);
    http_server_free(f->http);
    batch_server_free(f->batches);
    loop_free(f->loop);
    return 0;
}

static void ask(struct fixture *f, uint64_t node, uint64_t rid, uint8_t type, size_t len)
{
    struct buf body = BUF_EMPTY;
    buf_reserve(&body, len);
    for (size_t i = 0; i < len; i++)
        buf_put_u8(&body, (uint8_t)i);
    f->port.request(f->port.ctx, node, rid, type, &body);
    assert_int_equal(body.len, 0);
}

/* Turns until so many outcomes are there, or 5 s have passed. */
static void await(struct fixture *f, unsigned outcomes)
{
    uint64_t give_up = loop_now_us() + 5000000;
    while (f->replies + f->failures < outcomes && loop_now_us() < give_up)
        loop_turn(f->loop, 10000);
    assert_int_equal(f->replies + f->failures, outcomes);
}

static void await_held(struct fixture *f, unsigned n)
{
    uint64_t give_up = loop_now_us() + 5000000;
    while (f->n_held < n && loop_now_us() < give_up)
        loop_turn(f->loop, 10000);
    assert_int_equal(f->n_held, n);
}

static void answer_held(struct fixture *f, unsigned i)
{
    struct buf body = BUF_EMPTY;
    batch_server_reply(f->batches, f->held[i].origin, f->held[i].rid,
                       (uint8_t)(f->held[i].type + FRAME_REPLY), &body);
}

static uint64_t posts(struct fixture *f)
{
    struct http_server_stats s;
    http_server_stats(f->http, &s);
    return s.requests;
}

static void test_frames_of_one_turn_travel_in_one_post(void **state)
{
    struct fixture *f = *state;
    for (uint64_t rid = 1; rid <= 50; rid++)
        ask(f, SERVER, rid, FRAME_PING, 10);
    await(f, 50);
    assert_int_equal(f->replies, 50);
    assert_int_equal(f->echoed, 500);
    assert_int_equal(f->received, 50);
    assert_int_equal(f->from, 5);
    assert_int_equal(posts(f), 1);
    assert_int_equal(batch_server_open(f->batches), 0);
    ask(f, SERVER, 51, FRAME_PING, 10);
    await(f, 51);
    struct http_server_stats s;
    http_server_stats(f->http, &s);
    assert_int_equal(s.accepted, 1); /* the connection was kept */
}

static void test_a_refused_connection_is_reported_at_once_but_not_within_the_call(void **state)
{
    struct fixture *f = *state;
    uint64_t start = loop_now_us();
    f->port.set_address(f->port.ctx, 8, "127.0.0.1:1"); /* nothing listens on tcpmux */
    ask(f, 8, 1, FRAME_PING, 0);
    ask(f, 9, 2, FRAME_PING, 0); /* no address */
    assert_int_equal(f->failures, 0);
    await(f, 2);
    assert_int_equal(f->failures, 2);
    assert_int_equal(f->last_err, DYN_ERR_UNREACHABLE);
    assert_true(loop_now_us() - start < 1000000);
}

static void test_a_reply_does_not_wait_for_the_others_of_its_batch(void **state)
{
    struct fixture *f = *state;
    ask(f, SERVER, 1, FRAME_STATUS, 0);
    ask(f, SERVER, 2, FRAME_PING, 0);
    ask(f, SERVER, 3, FRAME_STATUS, 0);
    await(f, 1);
    assert_int_equal(f->last_rid, 2);
    await_held(f, 2);
    answer_held(f, 1);
    await(f, 2);
    assert_int_equal(f->last_rid, 3);
    answer_held(f, 0);
    await(f, 3);
    assert_int_equal(f->last_rid, 1);
    assert_int_equal(batch_server_open(f->batches), 0);
}

static void test_slow_replies_do_not_stop_later_frames(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 8; i++) { /* more than go out at once */
        ask(f, SERVER, 100 + i, FRAME_STATUS, 0);
        await_held(f, i + 1);
    }
    ask(f, SERVER, 1, FRAME_PING, 0);
    await(f, 1);
    assert_int_equal(f->last_rid, 1);
}

static void test_a_request_without_rid_expects_no_reply(void **state)
{
    struct fixture *f = *state;
    ask(f, SERVER, 0, FRAME_OWED_CLEAR, 3);
    ask(f, SERVER, 1, FRAME_PING, 0);
    await(f, 1);
    assert_int_equal(f->received, 2);
    assert_int_equal(f->replies, 1);
}

static void test_what_is_unanswered_when_the_server_ends_has_failed(void **state)
{
    struct fixture *f = *state;
    ask(f, SERVER, 1, FRAME_STATUS, 0);
    ask(f, SERVER, 2, FRAME_PING, 0);
    await(f, 1);
    http_server_free(f->http);
    f->http = NULL;
    assert_int_equal(batch_server_open(f->batches), 0);
    answer_held(f, 0); /* nobody is there: dropped */
    await(f, 2);
    assert_int_equal(f->failures, 1);
    assert_int_equal(f->last_rid, 1);
    assert_int_equal(f->last_err, DYN_ERR_UNREACHABLE);
}

static void test_a_batch_for_another_node_is_refused(void **state)
{
    struct fixture *f = *state;
    f->port.set_address(f->port.ctx, 8, f->address);
    ask(f, 8, 1, FRAME_PING, 0);
    await(f, 1);
    assert_int_equal(f->last_err, DYN_ERR_REFUSED);
    assert_int_equal(f->received, 0);
}

static void test_a_peer_without_the_secret_is_denied(void **state)
{
    struct fixture *f = *state;
    sender_start(f, 5, "guess");
    ask(f, SERVER, 1, FRAME_PING, 0);
    await(f, 1);
    assert_int_equal(f->last_err, DYN_ERR_DENIED);
    assert_int_equal(f->received, 0);
}

static void test_a_client_may_send_client_frames_only(void **state)
{
    struct fixture *f = *state;
    sender_start(f, 0, "");
    ask(f, SERVER, 1, FRAME_GET, 4);
    await(f, 1);
    assert_int_equal(f->replies, 1);
    assert_int_equal(f->from, 0);
    ask(f, SERVER, 2, FRAME_REPLICA_PUT, 4);
    await(f, 2);
    assert_int_equal(f->last_err, DYN_ERR_DENIED);
}

static void test_a_client_asks_a_seed_for_the_ring_without_knowing_its_id(void **state)
{
    struct fixture *f = *state;
    sender_start(f, 0, "");
    f->port.set_address(f->port.ctx, 1, f->address);
    ask(f, 1, 1, FRAME_RING, 0);
    await(f, 1);
    assert_int_equal(f->replies, 1);
    ask(f, 1, 2, FRAME_GET, 0);
    await(f, 2);
    assert_int_equal(f->last_err, DYN_ERR_REFUSED);
}

static void test_the_mac_is_over_a_hash_once_the_receiver_has_said_that_it_takes_that(void **state)
{
    struct fixture *f = *state;
    ask(f, SERVER, 1, FRAME_PING, 10);
    await(f, 1);
    assert_string_equal(f->magic, "DYN1");
    ask(f, SERVER, 2, FRAME_PING, 10);
    await(f, 2);
    assert_string_equal(f->magic, "DYN2");
    assert_int_equal(f->replies, 2);
    f->older = true;
    ask(f, SERVER, 3, FRAME_PING, 10);
    await(f, 3);
    assert_int_equal(f->last_err, DYN_ERR_PROTOCOL);
    ask(f, SERVER, 4, FRAME_PING, 10);
    await(f, 4);
    assert_string_equal(f->magic, "DYN1");
    assert_int_equal(f->replies, 3);
    sender_start(f, 0, ""); /* a client has none */
    for (uint64_t rid = 5; rid <= 6; rid++) {
        ask(f, SERVER, rid, FRAME_GET, 4);
        await(f, (unsigned)rid);
        assert_string_equal(f->magic, "DYN1");
    }
    assert_int_equal(f->replies, 5);
}

static void test_large_frames_arrive_whole_in_both_directions(void **state)
{
    struct fixture *f = *state;
    for (uint64_t rid = 1; rid <= 3; rid++) {
        ask(f, SERVER, rid, FRAME_PING, 5u << 20);
        await(f, (unsigned)rid);
    }
    assert_int_equal(f->replies, 3);
    assert_int_equal(f->echoed, 3 * (5u << 20));
}

static void test_a_full_queue_refuses_and_forgetting_a_node_fails_what_waits(void **state)
{
    struct fixture *f = *state;
    ask(f, SERVER, 1, FRAME_PING, 90000);
    ask(f, SERVER, 2, FRAME_PING, 90000);
    f->port.set_address(f->port.ctx, SERVER, NULL);
    assert_int_equal(f->failures, 0);
    await(f, 2);
    assert_int_equal(f->failures, 2);
    assert_int_equal(f->received, 0);
    f->port.set_address(f->port.ctx, SERVER, f->address);
    ask(f, SERVER, 3, FRAME_PING, 90000);
    ask(f, SERVER, 4, FRAME_PING, 90000);
    await(f, 4);
    assert_int_equal(f->replies, 1);
    assert_int_equal(f->last_err, DYN_ERR_OVERLOAD);
}

/* A node that was started anew: the connection to it ended, and the news is still on its way. */
static void test_a_connection_that_has_ended_is_made_again(void **state)
{
    struct fixture *f = *state;
    for (uint64_t rid = 1; rid <= 3; rid++) {
        ask(f, SERVER, rid, FRAME_PING, 10);
        await(f, (unsigned)rid);
        http_server_free(f->http);
        server_start(f, f->address);
    }
    assert_int_equal(f->replies, 3);
    assert_int_equal(f->received, 3);
}

static void test_a_post_that_nobody_answers_fails_in_time(void **state)
{
    struct fixture *f = *state;
    sender_start_with(f, 5, "secret", 200);
    ask(f, SERVER, 1, FRAME_STATUS, 0);
    ask(f, SERVER, 2, FRAME_PING, 0);
    await(f, 2);
    assert_int_equal(f->replies, 1);
    assert_int_equal(f->failures, 1);
    assert_int_equal(f->last_rid, 1);
    assert_int_equal(f->last_err, DYN_ERR_UNREACHABLE);
    assert_non_null(strstr(net_curl_last_failure(f->net), "does not answer"));
    ask(f, SERVER, 3, FRAME_PING, 0); /* and the next goes on */
    await(f, 3);
    assert_int_equal(f->replies, 2);
}

int main(void)
{
#define NET_TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        NET_TEST(test_frames_of_one_turn_travel_in_one_post),
        NET_TEST(test_a_refused_connection_is_reported_at_once_but_not_within_the_call),
        NET_TEST(test_a_reply_does_not_wait_for_the_others_of_its_batch),
        NET_TEST(test_slow_replies_do_not_stop_later_frames),
        NET_TEST(test_a_request_without_rid_expects_no_reply),
        NET_TEST(test_what_is_unanswered_when_the_server_ends_has_failed),
        NET_TEST(test_a_batch_for_another_node_is_refused),
        NET_TEST(test_a_peer_without_the_secret_is_denied),
        NET_TEST(test_a_client_may_send_client_frames_only),
        NET_TEST(test_a_client_asks_a_seed_for_the_ring_without_knowing_its_id),
        NET_TEST(test_the_mac_is_over_a_hash_once_the_receiver_has_said_that_it_takes_that),
        NET_TEST(test_large_frames_arrive_whole_in_both_directions),
        NET_TEST(test_a_connection_that_has_ended_is_made_again),
        NET_TEST(test_a_post_that_nobody_answers_fails_in_time),
        NET_TEST(test_a_full_queue_refuses_and_forgetting_a_node_fails_what_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
