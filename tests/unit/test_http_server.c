/* SPDX-License-Identifier: Apache-2.0 */
/* The server as a hostile or clumsy client meets it, over raw sockets on loopback. */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "adapter/http_server.h"
#include "base/err.h"
#include "base/mem.h"
#include "unit.h"

struct fixture {
    struct loop *loop;
    struct http_server *http;
    int fd;
    char in[1 << 16];
    size_t len;
    bool eof;
    struct http_request *held;
    unsigned handled, gone;
    size_t body_len;
    unsigned body_sum;
};

static void gone(void *arg)
{
    struct fixture *f = arg;
    f->gone++;
    f->held = NULL;
}

static void answer_big(struct http_request *r)
{
    struct buf out = BUF_EMPTY;
    buf_reserve(&out, 8u << 20);
    out.len = 8u << 20;
    memset(out.data, 'x', out.len);
    http_reply(r, 200, "text/plain", &out);
}

static void room_granted(void *arg)
{
    struct http_request *r = arg;
    http_request_on_gone(r, NULL, NULL);
    answer_big(r);
}

static void take_piece(void *arg, struct slice piece, bool end)
{
    struct fixture *f = arg;
    struct buf out = BUF_EMPTY;
    f->body_len += piece.len;
    for (size_t i = 0; i < piece.len; i++)
        f->body_sum += piece.data[i];
    if (!end)
        return;
    struct http_request *r = f->held;
    f->held = NULL;
    http_request_on_gone(r, NULL, NULL);
    buf_printf(&out, "<streamed %zu>", f->body_len);
    http_reply(r, 200, "text/plain", &out);
}

/* GET /hold waits for the test, /big answers 8 MiB, /room the same when there is room, /pieces six
 * bytes in two pieces; a PUT that streams is taken piece by piece, and everything else says what it
 * got. */
static void handle(void *arg, struct http_request *r)
{
    struct fixture *f = arg;
    struct slice path = http_request_path(r), body = http_request_body(r);
    struct buf out = BUF_EMPTY;
    f->handled++;
    f->body_len = body.len;
    f->body_sum = 0;
    for (size_t i = 0; i < body.len; i++)
        f->body_sum += body.data[i];
    if (slice_equal(path, slice_str("/hold"))) {
        assert_null(f->held);
        f->held = r;
        http_request_on_gone(r, gone, f);
        return;
    }
    if (slice_equal(path, slice_str("/room"))) {
        http_request_on_gone(r, gone, f);
        if (http_request_reserve(r, 8u << 20, room_granted, r))
            room_granted(r);
        return;
    }
    if (http_request_streams(r)) {
        f->held = r;
        http_request_on_gone(r, gone, f);
        http_request_read(r, take_piece, f);
        return;
    }
    if (slice_equal(path, slice_str("/pieces"))) {
        http_reply_header(r, "Content-Length", "6");
        http_stream_start(r, 200, "text/plain");
        buf_put_str(&out, "abc");
        http_stream_chunk(r, &out);
        buf_put_str(&out, "def");
        http_stream_chunk(r, &out);
        http_stream_end(r);
        return;
    }
    if (slice_equal(path, slice_str("/big"))) {
        answer_big(r);
        return;
    }
    buf_printf(&out, "<%.*s %zu>", (int)path.len, (const char *)path.data, body.len);
    http_reply(r, 200, "text/plain", &out);
}

static void dial(struct fixture *f)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(http_server_port(f->http))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (f->fd >= 0)
        close(f->fd);
    f->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(f->fd, (struct sockaddr *)&a, sizeof(a)), 0);
    f->len = 0;
    f->eof = false;
}

static int start(void **state, uint32_t body_grace_ms, uint64_t bodies_max)
{
    struct fixture *f = mem_new(struct fixture);
    struct http_server_config cfg;
    char *message = NULL;
    f->loop = loop_new();
    f->fd = -1;
    http_server_config_defaults(&cfg);
    cfg.listen = "127.0.0.1:0";
    cfg.head_max = 1000;
    cfg.body_max = 100000;
    cfg.bodies_max = bodies_max;
    cfg.answers_max = 12u << 20;
    cfg.batch_max = 300000;
    cfg.connections_max = 3;
    cfg.head_timeout_ms = 300;
    cfg.room_timeout_ms = 500;
    cfg.idle_timeout_ms = 900;
    cfg.body_grace_ms = body_grace_ms;
    assert_int_equal(http_server_new(f->loop, &cfg, handle, f, &f->http, &message), DYN_OK);
    dial(f);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return start(state, 300, 400000);
}

static int setup_patient(void **state)
{
    return start(state, 20000, 400000);
}

static int setup_streams(void **state)
{
    return start(state, 300, 13u << 20); /* two bodies */
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close(f->fd);
    http_server_free(f->http);
    loop_free(f->loop);
    free(f);
    return 0;
}

static void say_n(struct fixture *f, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(f->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        } else if (n < 0 && errno != EAGAIN) {
            return; /* the server has had enough */
        }
        loop_turn(f->loop, 0);
    }
}

static void say(struct fixture *f, const char *text)
{
    say_n(f, text, strlen(text));
}

static void turn(struct fixture *f)
{
    loop_turn(f->loop, 10000);
    ssize_t n = recv(f->fd, f->in + f->len, sizeof(f->in) - 1 - f->len, MSG_DONTWAIT);
    if (n > 0)
        f->len += (size_t)n;
    else if (n == 0 || errno == ECONNRESET)
        f->eof = true;
    f->in[f->len] = '\0';
}

static void hear(struct fixture *f, const char *text)
{
    uint64_t give_up = loop_now_us() + 5000000;
    do
        turn(f);
    while (strstr(f->in, text) == NULL && loop_now_us() < give_up);
    if (strstr(f->in, text) == NULL)
        fail_msg("waited for '%s' and heard '%s'", text, f->in);
}

static void hear_end(struct fixture *f)
{
    uint64_t give_up = loop_now_us() + 5000000;
    while (!f->eof && loop_now_us() < give_up)
        turn(f);
    assert_true(f->eof);
}

#define H " HTTP/1.1\r\nHost: h\r\n"

static void test_pipelined_requests_are_answered_in_order_though_the_first_waits(void **state)
{
    struct fixture *f = *state;
    struct buf out = BUF_EMPTY;
    say(f,
        "GET /hold" H "\r\nGET /a" H "\r\nPUT /b" H "Content-Length: 3\r\n\r\nxyzGET /c" H "\r\n");
    for (int i = 0; i < 5; i++)
        loop_turn(f->loop, 1000);
    assert_int_equal(f->handled, 1);
    buf_put_str(&out, "<held>");
    http_reply(f->held, 200, NULL, &out);
    hear(f, "</c 0>");
    const char *held = strstr(f->in, "<held>"), *a = strstr(f->in, "</a 0>");
    const char *b = strstr(f->in, "</b 3>"), *c = strstr(f->in, "</c 0>");
    assert_true(held != NULL && held < a && a < b && b < c);
}

static void test_a_refusal_comes_after_the_answers_before_it_as_json_and_closes(void **state)
{
    struct fixture *f = *state;
    say(f, "GET /a" H "\r\nGET /b" H "Bad : x\r\n\r\nGET /never" H "\r\n");
    hear_end(f);
    const char *a = strstr(f->in, "</a 0>"), *bad = strstr(f->in, "HTTP/1.1 400 Bad Request");
    assert_true(a != NULL && bad != NULL && a < bad);
    assert_non_null(strstr(bad, "\"error\":\"bad_http\""));
    assert_non_null(strstr(bad, "application/json"));
    assert_non_null(strstr(bad, "Connection: close"));
    assert_int_equal(f->handled, 1);
    dial(f);
    say(f, "GET /alive" H "\r\n");
    hear(f, "</alive 0>");
}

static void test_requests_arrive_whole_though_cut_at_each_byte(void **state)
{
    struct fixture *f = *state;
    const char text[] = "PUT /b" H "Content-Length: 5\r\n\r\nhelloGET /a" H "\r\n"
                        "PUT /c" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        say_n(f, text + i, 1);
        loop_turn(f->loop, 100);
    }
    hear(f, "</c 3>");
    assert_non_null(strstr(f->in, "</b 5>"));
    assert_non_null(strstr(f->in, "</a 0>"));
    assert_int_equal(f->body_sum, 'a' + 'b' + 'c');
}

static void test_a_large_body_arrives_whole_and_in_order_with_what_follows(void **state)
{
    struct fixture *f = *state;
    static char body[100000];
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof(body); i++)
        sum += (uint8_t)(body[i] = (char)(i * 7));
    say(f, "GET /a" H "\r\nPUT /b" H "Content-Length: 100000\r\n\r\n");
    say_n(f, body, 50000);
    loop_turn(f->loop, 1000);
    say_n(f, body + 50000, 50000);
    hear(f, "</b 100000>");
    assert_int_equal(f->body_sum, sum);
    say(f, "GET /c" H "\r\n");
    hear(f, "</c 0>");
}

static void test_a_body_over_its_limit_is_refused_at_the_head(void **state)
{
    struct fixture *f = *state;
    say(f, "PUT /b" H "Expect: 100-continue\r\nContent-Length: 100001\r\n\r\n");
    hear(f, "413 Content Too Large");
    assert_null(strstr(f->in, "100 Continue"));
    hear_end(f);
    dial(f);
    say(f, "POST /v1/batch" H "Expect: 100-continue\r\nContent-Length: 100001\r\n\r\n");
    hear(f, "100 Continue"); /* batches may be larger */
}

/* A batch of 300,000 bytes, of which so many come. Leaves the connection open and gives it. */
static int begin_batch(struct fixture *f, size_t come)
{
    char *bytes = mem_zalloc(come);
    f->fd = -1;
    dial(f);
    say(f, "POST /v1/batch" H "Content-Length: 300000\r\n\r\n");
    say_n(f, bytes, come);
    free(bytes);
    int fd = f->fd;
    f->fd = -1;
    return fd;
}

static void test_all_bodies_together_are_limited(void **state)
{
    struct fixture *f = *state;
    struct http_server_stats s;
    close(f->fd);
    int first = begin_batch(f, 290000);
    f->fd = begin_batch(f, 290000);
    hear(f, "503 Service Unavailable"); /* the first one is fast, as far as can be told */
    close(first);
    dial(f);
    hear_end(f); /* idle, while the first one's end is noticed */
    http_server_stats(f->http, &s);
    assert_int_equal(s.bytes_in_bodies, 0);
}

static void test_bodies_that_are_only_announced_keep_nobody_out(void **state)
{
    struct fixture *f = *state;
    close(f->fd);
    int others[] = {begin_batch(f, 1), begin_batch(f, 1)}; /* 600,000 bytes of 400,000 */
    dial(f);
    say(f, "PUT /a" H "Content-Length: 3\r\n\r\nabc");
    hear(f, "</a 3>");
    close(others[0]);
    close(others[1]);
}

/* Tries until the server has seen for long enough that the first stands still. */
static void test_who_stands_still_gives_way(void **state)
{
    struct fixture *f = *state;
    char rest[10000] = {0};
    close(f->fd);
    int first = begin_batch(f, 290000);
    uint64_t give_up = loop_now_us() + 15000000;
    do {
        f->fd = begin_batch(f, 290000);
        say_n(f, rest, sizeof(rest));
        hear(f, "\r\n\r\n");
    } while (strstr(f->in, "503 Service Unavailable") != NULL && loop_now_us() < give_up);
    hear(f, "</v1/batch 300000>");
    close(f->fd);
    f->fd = first;
    f->len = 0;
    hear(f, "503 Service Unavailable");
    hear_end(f);
}

static void test_a_streamed_body_comes_whole_behind_a_request_that_waits(void **state)
{
    struct fixture *f = *state;
    static char body[150000];
    struct buf out = BUF_EMPTY;
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof(body); i++)
        sum += (uint8_t)(body[i] = (char)(i * 7));
    say(f, "GET /hold" H "\r\nPUT /v1/kv/k" H "Content-Length: 150000\r\n\r\nXYZ");
    sum += 'X' + 'Y' + 'Z';
    for (int i = 0; i < 10; i++) { /* comes while the first is not answered */
        assert_int_equal(send(f->fd, body + 1000 * i, 1000, MSG_NOSIGNAL), 1000);
        loop_turn(f->loop, 1000);
    }
    struct http_request *first = f->held;
    f->held = NULL;
    http_request_on_gone(first, NULL, NULL);
    http_reply(first, 200, NULL, &out);
    for (int i = 0; i < 5; i++)
        loop_turn(f->loop, 1000);
    say_n(f, body + 10000, sizeof(body) - 10000 - 3);
    for (size_t i = sizeof(body) - 3; i < sizeof(body); i++)
        sum -= (uint8_t)body[i];
    hear(f, "<streamed 150000>");
    assert_int_equal(f->body_sum, sum);
    assert_non_null(strstr(f->in, "Connection: close"));
    hear_end(f);
}

static void test_a_body_without_a_length_streams_and_is_asked_for(void **state)
{
    struct fixture *f = *state;
    say(f, "PUT /v1/kv/k" H "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
    hear(f, "100 Continue");
    for (const char *at = "3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n"; *at != 0; at++) {
        say_n(f, at, 1);
        loop_turn(f->loop, 100);
    }
    hear(f, "<streamed 8>");
    hear_end(f);
}

static void test_a_streamed_body_that_breaks_a_rule_or_stands_still_is_refused(void **state)
{
    struct fixture *f = *state;
    say(f, "PUT /v1/kv/k" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabcX");
    hear(f, "400 Bad Request");
    hear_end(f);
    assert_int_equal(f->gone, 1);
    dial(f);
    say(f, "PUT /v1/kv/k" H "Content-Length: 200000\r\n\r\nabc");
    hear(f, "408 Request Timeout");
    hear_end(f);
    assert_int_equal(f->gone, 2);
}

static void test_streamed_bodies_are_limited_in_number(void **state)
{
    struct fixture *f = *state;
    int others[2];
    for (int i = 0; i < 2; i++) {
        f->held = NULL; /* the test looks at none of them */
        say(f, "PUT /v1/kv/k" H "Content-Length: 200000\r\n\r\nabc");
        loop_turn(f->loop, 1000);
        others[i] = f->fd;
        f->fd = -1;
        dial(f);
    }
    say(f, "PUT /v1/kv/k" H "Content-Length: 200000\r\n\r\nabc");
    hear(f, "503 Service Unavailable");
    hear(f, "Retry-After: 1");
    hear_end(f);
    close(others[0]);
    close(others[1]);
}

static void test_large_answers_wait_for_room_and_not_for_ever(void **state)
{
    struct fixture *f = *state;
    struct http_server_stats s;
    int first = f->fd;
    f->fd = -1;
    dial(f);
    int second = f->fd;
    f->fd = first;
    say(f, "GET /room" H "\r\n"); /* 8 of 12 MiB, and nobody reads */
    f->fd = second;
    say(f, "GET /room" H "\r\n");
    for (int i = 0; i < 3; i++)
        loop_turn(f->loop, 1000);
    http_server_stats(f->http, &s);
    assert_int_equal(s.bytes_reserved, 8u << 20);
    assert_int_equal(s.waiting_for_room, 1);
    hear(f, "503 Service Unavailable");
    assert_non_null(strstr(f->in, "Retry-After: 1"));
    assert_int_equal(f->gone, 1);
    f->len = 0;
    say(f, "GET /room" H "\r\n");
    loop_turn(f->loop, 1000);
    close(first); /* its room goes to who waits */
    hear(f, "200 OK");
    http_server_stats(f->http, &s);
    assert_int_equal(s.waiting_for_room, 0);
}

static void test_answers_that_nobody_reads_are_limited(void **state)
{
    struct fixture *f = *state;
    struct http_server_stats s;
    int others[2];
    for (int i = 0; i < 2; i++) {
        say(f, "GET /big" H "\r\n");
        others[i] = f->fd;
        f->fd = -1;
        dial(f);
    }
    uint64_t give_up = loop_now_us() + 10000000;
    bool refused = false;
    do { /* who does not read is cut off, and then there is room again */
        say(f, "GET /a" H "\r\n");
        f->len = 0;
        hear(f, "\r\n\r\n");
        refused |= strstr(f->in, "503 Service Unavailable") != NULL;
        http_server_stats(f->http, &s);
    } while (s.bytes_in_answers > 8u << 20 && loop_now_us() < give_up);
    assert_true(refused);
    f->len = 0;
    say(f, "GET /a" H "\r\n");
    hear(f, "</a 0>");
    close(others[0]);
    close(others[1]);
}

static void test_a_client_that_waits_for_100_continue_gets_it(void **state)
{
    struct fixture *f = *state;
    say(f, "PUT /b" H "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
    hear(f, "HTTP/1.1 100 Continue\r\n\r\n");
    say(f, "2\r\nab\r\n0\r\n\r\n");
    hear(f, "</b 2>");
}

static void test_slow_heads_and_bodies_get_408_and_idle_connections_end(void **state)
{
    struct fixture *f = *state;
    say(f, "GET /a" H "X: ");
    hear(f, "408 Request Timeout");
    hear_end(f);
    dial(f);
    say(f, "PUT /a" H "Content-Length: 90000\r\n\r\nx");
    hear(f, "408 Request Timeout");
    hear_end(f);
    dial(f);
    say(f, "GET /a" H "\r\n");
    hear(f, "</a 0>");
    hear_end(f);
    assert_int_equal(f->handled, 1);
}

static void test_a_client_that_shuts_its_side_still_gets_the_answer(void **state)
{
    struct fixture *f = *state;
    size_t got = 0;
    uint64_t give_up = loop_now_us() + 5000000;
    say(f, "GET /big" H "\r\n");
    shutdown(f->fd, SHUT_WR);
    while (!f->eof && loop_now_us() < give_up) { /* more than sockets hold: it takes many turns */
        f->len = 0;
        turn(f);
        got += f->len;
    }
    assert_true(f->eof);
    assert_true(got > 8u << 20);
}

/* Its end adds no byte, unlike that of one in chunks: evhttp must not end it too early. */
static void test_a_streamed_answer_of_known_length_ends(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++) {
        f->len = 0;
        say(f, "GET /pieces" H "\r\n");
        hear(f, "abcdef");
    }
    f->len = 0;
    say(f, "GET /pieces" H "Connection: close\r\n\r\n");
    hear(f, "abcdef");
    hear_end(f);
    dial(f);
    say(f, "GET /a" H "\r\n");
    hear(f, "</a 0>");
}

static void test_a_streamed_answer_ends_for_its_owner_when_the_client_is_gone(void **state)
{
    struct fixture *f = *state;
    const struct linger hard = {.l_onoff = 1};
    say(f, "GET /hold" H "\r\n");
    for (int i = 0; i < 5 && f->held == NULL; i++)
        loop_turn(f->loop, 1000);
    http_stream_start(f->held, 200, "text/plain");
    setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(f->fd);
    f->fd = -1;
    uint64_t give_up = loop_now_us() + 5000000;
    while (f->gone == 0 && loop_now_us() < give_up) {
        struct buf out = BUF_EMPTY;
        buf_put_str(&out, "piece");
        http_stream_chunk(f->held, &out);
        loop_turn(f->loop, 1000);
    }
    assert_int_equal(f->gone, 1);
    assert_null(f->held);
    dial(f);
}

static void test_requests_pending_at_the_end_of_the_server_are_gone(void **state)
{
    struct fixture *f = *state;
    say(f, "GET /hold" H "\r\n");
    for (int i = 0; i < 5 && f->held == NULL; i++)
        loop_turn(f->loop, 1000);
    http_server_free(f->http);
    f->http = NULL;
    assert_int_equal(f->gone, 1);
}

static void test_head_gives_the_length_and_no_body(void **state)
{
    struct fixture *f = *state;
    say(f, "HEAD /abc" H "\r\nGET /a" H "\r\n");
    hear(f, "</a 0>");
    assert_non_null(strstr(f->in, "Content-Length: 8\r\n"));
    assert_null(strstr(f->in, "</abc"));
}

static void test_a_big_answer_does_not_block_others(void **state)
{
    struct fixture *f = *state;
    say(f, "GET /big" H "\r\n"); /* and never reads it */
    loop_turn(f->loop, 1000);
    int slow = f->fd;
    f->fd = -1;
    dial(f);
    say(f, "GET /a" H "\r\n");
    hear(f, "</a 0>");
    close(slow);
}

static void test_connections_over_the_limit_wait_for_a_place(void **state)
{
    struct fixture *f = *state;
    int others[3];
    for (int i = 0; i < 3; i++) {
        loop_turn(f->loop, 1000);
        others[i] = f->fd;
        f->fd = -1;
        dial(f);
    }
    say(f, "GET /a" H "\r\n");
    struct http_server_stats s;
    http_server_stats(f->http, &s);
    assert_int_equal(s.connections, 3);
    assert_int_equal(f->handled, 0);
    for (int i = 0; i < 3; i++)
        close(others[i]);
    hear(f, "</a 0>");
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as every program with sockets */
#define HTTP_TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
#define STREAM_TEST(t) cmocka_unit_test_setup_teardown(t, setup_streams, teardown)
    const struct CMUnitTest tests[] = {
        HTTP_TEST(test_pipelined_requests_are_answered_in_order_though_the_first_waits),
        HTTP_TEST(test_a_refusal_comes_after_the_answers_before_it_as_json_and_closes),
        HTTP_TEST(test_requests_arrive_whole_though_cut_at_each_byte),
        HTTP_TEST(test_a_large_body_arrives_whole_and_in_order_with_what_follows),
        HTTP_TEST(test_a_body_over_its_limit_is_refused_at_the_head),
        HTTP_TEST(test_all_bodies_together_are_limited),
        HTTP_TEST(test_bodies_that_are_only_announced_keep_nobody_out),
        cmocka_unit_test_setup_teardown(test_who_stands_still_gives_way, setup_patient, teardown),
        STREAM_TEST(test_a_streamed_body_comes_whole_behind_a_request_that_waits),
        STREAM_TEST(test_a_body_without_a_length_streams_and_is_asked_for),
        STREAM_TEST(test_a_streamed_body_that_breaks_a_rule_or_stands_still_is_refused),
        STREAM_TEST(test_streamed_bodies_are_limited_in_number),
        HTTP_TEST(test_large_answers_wait_for_room_and_not_for_ever),
        HTTP_TEST(test_answers_that_nobody_reads_are_limited),
        HTTP_TEST(test_a_client_that_waits_for_100_continue_gets_it),
        HTTP_TEST(test_slow_heads_and_bodies_get_408_and_idle_connections_end),
        HTTP_TEST(test_a_client_that_shuts_its_side_still_gets_the_answer),
        HTTP_TEST(test_a_streamed_answer_of_known_length_ends),
        HTTP_TEST(test_a_streamed_answer_ends_for_its_owner_when_the_client_is_gone),
        HTTP_TEST(test_requests_pending_at_the_end_of_the_server_are_gone),
        HTTP_TEST(test_head_gives_the_length_and_no_body),
        HTTP_TEST(test_a_big_answer_does_not_block_others),
        HTTP_TEST(test_connections_over_the_limit_wait_for_a_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
