/* SPDX-License-Identifier: Apache-2.0 */
/* Byte-exact claims about what is one clean request and what is refused. Each case is fed whole,
 * cut in two at every byte, and byte by byte: the answer must not depend on how the network cut
 * it. */
#include <string.h>

#include "model/http_framing.h"
#include "unit.h"

static const struct http_limits limits = {.head_max = 400, .headers_max = 8, .body_max = 100};

struct outcome {
    unsigned heads, messages;
    enum http_framing_error error;
};

static void feed(struct http_framing *f, struct slice in, struct outcome *o)
{
    for (;;) {
        size_t used;
        enum http_framing_event e = http_framing_feed(f, in, &used);
        assert_true(used <= in.len);
        in = slice_of(in.data + used, in.len - used);
        if (e == HTTP_MORE) {
            assert_int_equal(in.len, 0);
            return;
        }
        o->heads += e == HTTP_HEAD;
        o->messages += e == HTTP_DONE;
        if (e == HTTP_BAD) {
            o->error = f->error;
            return;
        }
        if (in.len == 0 && e == HTTP_DONE)
            return;
    }
}

static struct outcome run(struct slice in, size_t cut, bool bytes)
{
    struct http_framing f;
    struct outcome o = {0};
    http_framing_init(&f, &limits);
    if (bytes) {
        for (size_t i = 0; i < in.len; i++)
            feed(&f, slice_of(in.data + i, 1), &o);
    } else {
        feed(&f, slice_of(in.data, cut), &o);
        feed(&f, slice_of(in.data + cut, in.len - cut), &o);
    }
    return o;
}

static struct outcome all_cuts(const char *text, size_t len)
{
    struct slice in = slice_of(text, len);
    struct outcome whole = run(in, len, false);
    for (size_t cut = 0; cut <= len; cut++) {
        struct outcome o = run(in, cut, false);
        assert_memory_equal(&o, &whole, sizeof(o));
    }
    struct outcome o = run(in, 0, true);
    assert_memory_equal(&o, &whole, sizeof(o));
    return whole;
}

static void accepts_n(const char *text, size_t len, unsigned messages)
{
    struct outcome o = all_cuts(text, len);
    if (o.error != HTTP_CLEAN || o.messages != messages)
        fail_msg("refused with '%s' after %u messages: %s", http_framing_message(o.error),
                 o.messages, text);
    assert_int_equal(o.heads, messages);
}

static void refuses_n(const char *text, size_t len, enum http_framing_error error)
{
    struct outcome o = all_cuts(text, len);
    if (o.error != error || o.messages != 0)
        fail_msg("'%s' instead of '%s', %u messages: %s", http_framing_message(o.error),
                 http_framing_message(error), o.messages, text);
}

#define accepts(text, messages) accepts_n(text, sizeof(text) - 1, messages)
#define refuses(text, error) refuses_n(text, sizeof(text) - 1, error)
#define GET "GET / HTTP/1.1\r\nHost: h\r\n"
#define PUT "PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\n"

static void test_clean_requests_pass(void **state)
{
    (void)state;
    accepts(GET "\r\n", 1);
    accepts(GET "\r\n" GET "\r\n" PUT "Content-Length: 2\r\n\r\nab", 3);
    accepts(PUT "Content-Length: 5\r\n\r\nhello", 1);
    accepts(PUT "content-length:\t5 \r\n\r\nhello", 1);
    accepts(PUT "Content-Length: 0\r\n\r\n", 1);
    accepts(PUT "Content-Length: 0005\r\n\r\nhello", 1);
    accepts(PUT "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1);
    accepts(PUT "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n" GET
                "\r\n",
            2);
    accepts(PUT "Transfer-Encoding: chunked\r\n\r\n00000003\r\nabc\r\n0\r\n\r\n", 1);
    accepts("HEAD /a?b=c&d=%20 HTTP/1.1\r\nHost:\r\nX-Empty:\r\nX: caf\xc3\xa9 \t x\r\n\r\n", 1);
    accepts("DELETE /v1/kv/x HTTP/1.1\r\nhost: [::1]:80\r\nExpect: 100-Continue\r\n\r\n", 1);
}

static void test_an_unfinished_request_is_neither_done_nor_bad(void **state)
{
    (void)state;
    const char text[] = PUT "Content-Length: 5\r\n\r\nhell";
    for (size_t len = 0; len < sizeof(text); len++)
        assert_int_equal(all_cuts(text, len).error, HTTP_CLEAN);
    struct outcome o = all_cuts(text, sizeof(text) - 1);
    assert_int_equal(o.heads, 1);
    assert_int_equal(o.messages, 0);
    assert_int_equal(o.error, HTTP_CLEAN);
}

static void test_lengths_that_two_parsers_may_read_differently_are_refused(void **state)
{
    (void)state;
    refuses(PUT "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            HTTP_BOTH_LENGTHS);
    refuses(PUT "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello", HTTP_BOTH_LENGTHS);
    refuses(PUT "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", HTTP_REPEATED_LENGTH);
    refuses(PUT "Content-Length: 5\r\ncontent-length: 6\r\n\r\nhello!", HTTP_REPEATED_LENGTH);
    refuses(PUT "Content-Length: 5, 5\r\n\r\nhello", HTTP_BAD_LENGTH);
    refuses(PUT "Content-Length: +5\r\n\r\nhello", HTTP_BAD_LENGTH);
    refuses(PUT "Content-Length: -1\r\n\r\n", HTTP_BAD_LENGTH);
    refuses(PUT "Content-Length: 0x5\r\n\r\nhello", HTTP_BAD_LENGTH);
    refuses(PUT "Content-Length: 5 5\r\n\r\nhello", HTTP_BAD_LENGTH);
    refuses(PUT "Content-Length:\r\n\r\n", HTTP_BAD_LENGTH);
    refuses(PUT "Content-Length: 99999999999999999999999\r\n\r\n", HTTP_BAD_LENGTH);
    refuses(PUT "Content-Length: 18446744073709551617\r\n\r\n", HTTP_BAD_LENGTH);
    refuses(PUT "Content-Length: 000000000000000000000000000005\r\n\r\nhello", HTTP_BAD_LENGTH);
}

static void test_transfer_codings_other_than_chunked_are_refused(void **state)
{
    (void)state;
    refuses(PUT "Transfer-Encoding: gzip, chunked\r\n\r\n", HTTP_BAD_CODING);
    refuses(PUT "Transfer-Encoding: chunked, chunked\r\n\r\n", HTTP_BAD_CODING);
    refuses(PUT "Transfer-Encoding: xchunked\r\n\r\n", HTTP_BAD_CODING);
    refuses(PUT "Transfer-Encoding: \"chunked\"\r\n\r\n", HTTP_BAD_CODING);
    refuses(PUT "Transfer-Encoding: identity\r\n\r\n", HTTP_BAD_CODING);
    refuses(PUT "Transfer-Encoding:\r\n\r\n", HTTP_BAD_CODING);
    refuses(PUT "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            HTTP_BAD_CODING);
    refuses(PUT "Transfer-Encoding: chunked                       x\r\n\r\n", HTTP_BAD_CODING);
    refuses(PUT "Transfer-Encoding : chunked\r\n\r\n", HTTP_BAD_HEADER_NAME);
    refuses(PUT "Transfer-Encoding: chunked\v\r\n\r\n", HTTP_BAD_HEADER_VALUE);
}

#define CHUNKED PUT "Transfer-Encoding: chunked\r\n\r\n"

static void test_odd_chunks_are_refused(void **state)
{
    (void)state;
    refuses(CHUNKED "\r\n", HTTP_BAD_CHUNK);
    refuses(CHUNKED "g\r\n", HTTP_BAD_CHUNK);
    refuses(CHUNKED "0x3\r\nabc\r\n", HTTP_BAD_CHUNK);
    refuses(CHUNKED "-1\r\n", HTTP_BAD_CHUNK);
    refuses(CHUNKED "+3\r\nabc\r\n", HTTP_BAD_CHUNK);
    refuses(CHUNKED " 3\r\nabc\r\n", HTTP_BAD_CHUNK);
    refuses(CHUNKED "3 \r\nabc\r\n", HTTP_BAD_CHUNK);
    refuses(CHUNKED "3;ext=1\r\nabc\r\n", HTTP_BAD_CHUNK);
    refuses(CHUNKED "3\nabc\r\n", HTTP_BAD_CHUNK);
    refuses(CHUNKED "3\r\nabcd\r\n", HTTP_BAD_CHUNK);
    refuses(CHUNKED "3\r\nabc\n", HTTP_BAD_CHUNK);
    refuses(CHUNKED "3\r\nabc\rX", HTTP_BAD_CHUNK);
    refuses(CHUNKED "000000003\r\nabc\r\n", HTTP_BAD_CHUNK);
    refuses(CHUNKED "0\r\n\rX", HTTP_BAD_CHUNK);
    refuses(CHUNKED "0\r\nX: y\r\n\r\n", HTTP_TRAILER);
    refuses(CHUNKED "0\r\nContent-Length: 5\r\n\r\n", HTTP_TRAILER);
}

static void test_bad_header_lines_are_refused(void **state)
{
    (void)state;
    refuses(GET ": v\r\n\r\n", HTTP_BAD_HEADER_NAME);
    refuses(GET "X : v\r\n\r\n", HTTP_BAD_HEADER_NAME);
    refuses(GET "X\t: v\r\n\r\n", HTTP_BAD_HEADER_NAME);
    refuses(GET "no colon\r\n\r\n", HTTP_BAD_HEADER_NAME);
    refuses(GET "nocolon\r\n\r\n", HTTP_BAD_HEADER_NAME);
    refuses(GET "X(: v\r\n\r\n", HTTP_BAD_HEADER_NAME);
    refuses(GET "X\xc3\xa9: v\r\n\r\n", HTTP_BAD_HEADER_NAME);
    refuses(GET "X: a\r\n b\r\n\r\n", HTTP_FOLDED_HEADER);
    refuses(GET "X: a\r\n\tb\r\n\r\n", HTTP_FOLDED_HEADER);
    refuses("GET / HTTP/1.1\r\n Host: h\r\n\r\n", HTTP_FOLDED_HEADER);
    refuses(GET "X: a\nY: b\r\n\r\n", HTTP_BAD_LINE_END);
    refuses(GET "X: a\rY: b\r\n\r\n", HTTP_BAD_LINE_END);
    refuses(GET "X: a\r\r\n\r\n", HTTP_BAD_LINE_END);
    refuses(GET "\n", HTTP_BAD_LINE_END);
    refuses(GET "\rX", HTTP_BAD_LINE_END);
    refuses(GET "X\n: a\r\n\r\n", HTTP_BAD_LINE_END);
    refuses(GET "X: a\0b\r\n\r\n", HTTP_BAD_HEADER_VALUE);
    refuses(GET "X\0: a\r\n\r\n", HTTP_BAD_HEADER_NAME);
    refuses(GET "X: a\x7f\r\n\r\n", HTTP_BAD_HEADER_VALUE);
    refuses(GET "X: a\x01\r\n\r\n", HTTP_BAD_HEADER_VALUE);
}

static void test_bad_request_lines_are_refused(void **state)
{
    (void)state;
    refuses("\r\nGET / HTTP/1.1\r\n", HTTP_BAD_REQUEST_LINE);
    refuses(" GET / HTTP/1.1\r\n", HTTP_BAD_REQUEST_LINE);
    refuses("GET\t/ HTTP/1.1\r\n", HTTP_BAD_REQUEST_LINE);
    refuses("GET  / HTTP/1.1\r\n", HTTP_BAD_TARGET);
    refuses("GET /  HTTP/1.1\r\n", HTTP_BAD_REQUEST_LINE);
    refuses("GET / HTTP/1.1 \r\n", HTTP_BAD_REQUEST_LINE);
    refuses("GET /\r\n", HTTP_BAD_REQUEST_LINE);
    refuses("GET / HTTP/1.1\n", HTTP_BAD_LINE_END);
    refuses("GET / HTTP/1.1\rX", HTTP_BAD_LINE_END);
    refuses("GET / http/1.1\r\n", HTTP_BAD_REQUEST_LINE);
    refuses("GET / HTTP/1.0\r\n", HTTP_BAD_VERSION);
    refuses("GET / HTTP/2.0\r\n", HTTP_BAD_VERSION);
    refuses("GET / HTTP/1.10\r\n", HTTP_BAD_REQUEST_LINE);
    refuses("GET http://h/ HTTP/1.1\r\n", HTTP_BAD_TARGET);
    refuses("GET //h/ HTTP/1.1\r\n", HTTP_BAD_TARGET);
    refuses("GET * HTTP/1.1\r\n", HTTP_BAD_TARGET);
    refuses("GET /a#b HTTP/1.1\r\n", HTTP_BAD_TARGET);
    refuses("GET /\xc3\xa9 HTTP/1.1\r\n", HTTP_BAD_TARGET);
    refuses("GET /a\0b HTTP/1.1\r\n", HTTP_BAD_REQUEST_LINE);
    refuses("get / HTTP/1.1\r\n", HTTP_BAD_METHOD);
    refuses("PATCH / HTTP/1.1\r\n", HTTP_BAD_METHOD);
    refuses("CONNECT h:80 HTTP/1.1\r\n", HTTP_BAD_METHOD);
    refuses("ABCDEFGHIJKLM / HTTP/1.1\r\n", HTTP_BAD_METHOD);
    refuses("\x16\x03\x01\x02\x00\x01\x00\x01", HTTP_BAD_REQUEST_LINE); /* a TLS hello */
}

static void test_a_host_stands_exactly_once_and_expectations_are_known(void **state)
{
    (void)state;
    refuses("GET / HTTP/1.1\r\n\r\n", HTTP_BAD_HOST);
    refuses(GET "Host: h\r\n\r\n", HTTP_BAD_HOST);
    refuses(GET "Expect: 200-ok\r\n\r\n", HTTP_BAD_EXPECT);
    refuses(GET "Expect:\r\n\r\n", HTTP_BAD_EXPECT);
}

static void test_a_head_request_with_a_body_is_refused(void **state)
{
    (void)state;
    refuses("HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", HTTP_UNWANTED_BODY);
    refuses("HEAD / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            HTTP_UNWANTED_BODY);
}

static void test_limits_hold_to_the_byte(void **state)
{
    (void)state;
    char text[1000];
    for (size_t size = limits.head_max - 2; size <= limits.head_max + 2; size++) {
        int n = snprintf(text, sizeof(text), GET "X: %0*d\r\n\r\n",
                         (int)(size - strlen(GET "X: \r\n\r\n")), 0);
        assert_int_equal(n, size);
        if (size <= limits.head_max)
            accepts_n(text, size, 1);
        else
            refuses_n(text, size, HTTP_HEAD_TOO_LARGE);
    }
    accepts(GET "a:\r\nb:\r\nc:\r\nd:\r\ne:\r\nf:\r\ng:\r\n\r\n", 1);
    refuses(GET "a:\r\nb:\r\nc:\r\nd:\r\ne:\r\nf:\r\ng:\r\nh:\r\n\r\n", HTTP_HEAD_TOO_LARGE);
    int n = snprintf(text, sizeof(text), PUT "Content-Length: 100\r\n\r\n%0100d", 0);
    accepts_n(text, (size_t)n, 1);
    refuses(PUT "Content-Length: 101\r\n\r\n", HTTP_BODY_TOO_LARGE);
    n = snprintf(text, sizeof(text), CHUNKED "32\r\n%050d\r\n32\r\n%050d\r\n0\r\n\r\n", 0, 0);
    accepts_n(text, (size_t)n, 1);
    refuses(CHUNKED "65\r\n", HTTP_BODY_TOO_LARGE);
    n = snprintf(text, sizeof(text), CHUNKED "64\r\n%0100d\r\n1\r\n", 0);
    refuses_n(text, (size_t)n, HTTP_BODY_TOO_LARGE);
    refuses(CHUNKED "ffffffff\r\n", HTTP_BODY_TOO_LARGE);
}

static void test_the_caller_may_lower_the_body_limit_after_the_head(void **state)
{
    (void)state;
    struct http_framing f;
    size_t used;
    struct slice in = slice_str(PUT "Content-Length: 50\r\n\r\n");
    http_framing_init(&f, &limits);
    assert_int_equal(http_framing_feed(&f, in, &used), HTTP_HEAD);
    assert_int_equal(used, in.len);
    assert_int_equal(f.length, 50);
    assert_int_equal(strncmp(f.target, "/v1/kv/a", HTTP_TARGET_START), 0);
    f.limits.body_max = 49;
    assert_int_equal(http_framing_feed(&f, slice_str(""), &used), HTTP_BAD);
    assert_int_equal(f.error, HTTP_BODY_TOO_LARGE);
    assert_int_equal(http_framing_feed(&f, slice_str(GET "\r\n"), &used), HTTP_BAD);
}

static void test_every_error_has_a_status_and_a_sentence(void **state)
{
    (void)state;
    for (int e = HTTP_BAD_REQUEST_LINE; e <= HTTP_BODIES_TOO_MANY; e++) {
        assert_in_range(http_framing_status((enum http_framing_error)e), 400, 505);
        const char *m = http_framing_message((enum http_framing_error)e);
        assert_true(strlen(m) > 10 && m[strlen(m) - 1] != '.');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean_requests_pass),
        cmocka_unit_test(test_an_unfinished_request_is_neither_done_nor_bad),
        cmocka_unit_test(test_lengths_that_two_parsers_may_read_differently_are_refused),
        cmocka_unit_test(test_transfer_codings_other_than_chunked_are_refused),
        cmocka_unit_test(test_odd_chunks_are_refused),
        cmocka_unit_test(test_bad_header_lines_are_refused),
        cmocka_unit_test(test_bad_request_lines_are_refused),
        cmocka_unit_test(test_a_host_stands_exactly_once_and_expectations_are_known),
        cmocka_unit_test(test_a_head_request_with_a_body_is_refused),
        cmocka_unit_test(test_limits_hold_to_the_byte),
        cmocka_unit_test(test_the_caller_may_lower_the_body_limit_after_the_head),
        cmocka_unit_test(test_every_error_has_a_status_and_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
