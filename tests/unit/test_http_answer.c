/* SPDX-License-Identifier: Apache-2.0 */
/* Where an answer ends, in whatever pieces it comes, and what is none. */
#include <string.h>

#include "base/mem.h"
#include "model/http_answer.h"
#include "unit.h"

struct got {
    struct buf body;
    unsigned answers;
    int status;
    bool bad, closes, ends;
};

/* All of text in pieces of that size; answers may follow each other. */
static struct got feed(const char *text, size_t piece)
{
    struct http_answer a = HTTP_ANSWER_EMPTY;
    struct got got = {.body = BUF_EMPTY};
    size_t len = strlen(text);
    bool more = false;
    for (size_t at = 0; (at < len || !more) && !got.bad;) {
        size_t used = 0, n = len - at < piece ? len - at : piece;
        more = false;
        struct slice body;
        switch (http_answer_feed(&a, slice_of(text + at, n), &used, &body)) {
        case HTTP_ANSWER_BODY:
            buf_put_slice(&got.body, body);
            break;
        case HTTP_ANSWER_DONE:
            got.answers++;
            got.status = a.status;
            got.closes = a.closes;
            http_answer_next(&a);
            break;
        case HTTP_ANSWER_BAD:
            got.bad = true;
            break;
        case HTTP_ANSWER_MORE:
            assert_int_equal(used, n);
            more = true;
            break;
        }
        at += used;
    }
    got.ends = http_answer_ends(&a);
    http_answer_release(&a);
    return got;
}

static void expect(const char *text, unsigned answers, int status, const char *body)
{
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        struct got got = feed(text, piece);
        assert_false(got.bad);
        assert_int_equal(got.answers, answers);
        assert_int_equal(got.status, status);
        assert_int_equal(got.body.len, strlen(body));
        assert_memory_equal(got.body.data == NULL ? (const void *)"" : got.body.data, body,
                            strlen(body));
        buf_release(&got.body);
    }
}

static void test_a_body_ends_with_its_length(void **state)
{
    (void)state;
    expect("HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 5\r\n\r\nhello", 1, 200, "hello");
    expect("HTTP/1.1 421\r\ncontent-length:  0 \r\n\r\n", 1, 421, "");
    expect("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno", 2,
           503, "no");
}

static void test_chunks_end_with_an_empty_one(void **state)
{
    (void)state;
    expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0A\r\n, my world\r\n"
           "0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!",
           2, 200, "hello, my world!");
}

static void test_what_comes_before_an_answer_is_passed_over(void **state)
{
    (void)state;
    expect("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!", 1, 200,
           "!");
}

static void test_without_a_length_the_connection_ends_it(void **state)
{
    (void)state;
    struct got got = feed("HTTP/1.0 404 No\r\nServer: other\r\n\r\nwhat?", 3);
    assert_true(got.ends && !got.bad);
    assert_int_equal(got.body.len, 5);
    buf_release(&got.body);
    got = feed("HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n", 100);
    assert_true(got.closes && got.answers == 1 && !got.ends);
}

static void test_what_is_unclear_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000000000000000\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (size_t piece = 1; piece < 50; piece += 7) {
            struct got got = feed(bad[i], piece);
            if (!got.bad)
                fail_msg("taken: %s", bad[i]);
            buf_release(&got.body);
        }
    }
}

static void test_a_head_has_a_bound(void **state)
{
    (void)state;
    struct buf text = BUF_EMPTY;
    buf_put_str(&text, "HTTP/1.1 200 OK\r\n");
    while (text.len < HTTP_ANSWER_HEAD_MAX)
        buf_put_str(&text, "X: y\r\n");
    buf_put_u8(&text, 0);
    struct got got = feed((const char *)text.data, 1000);
    assert_true(got.bad);
    buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_body_ends_with_its_length),
        cmocka_unit_test(test_chunks_end_with_an_empty_one),
        cmocka_unit_test(test_what_comes_before_an_answer_is_passed_over),
        cmocka_unit_test(test_without_a_length_the_connection_ends_it),
        cmocka_unit_test(test_what_is_unclear_is_refused),
        cmocka_unit_test(test_a_head_has_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
