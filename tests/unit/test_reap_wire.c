/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies about reaping come back as they went, and nothing else decodes: peers are hostile too. */
#include "engine/reap/reap_wire.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "unit.h"

static const struct history_epoch some_ring = {7, {1, 2, 3}};

typedef int (*try_decode)(struct slice body);

/* No cut of a good body decodes, and no flipped bit crashes. */
static void hammer(struct buf *good, try_decode decode)
{
    assert_int_equal(decode(buf_slice(good)), DYN_OK);
    for (size_t n = 0; n < good->len; n++) {
        uint8_t *cut = mem_dup(good->data, n); /* its own allocation, so that overruns are seen */
        assert_int_not_equal(decode(slice_of(cut, n)), DYN_OK);
        free(cut);
    }
    for (size_t bit = 0; bit < good->len * 8; bit++) {
        good->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        decode(buf_slice(good));
        good->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static int decode_request(struct slice body)
{
    struct reap_request m;
    int err = reap_request_decode(body, &m);
    if (err == DYN_OK)
        reap_request_release(&m);
    return err;
}

static int decode_reply(struct slice body)
{
    struct reap_reply m;
    int err = reap_reply_decode(body, &m);
    if (err == DYN_OK)
        reap_reply_release(&m);
    return err;
}

static int decode_clear(struct slice body)
{
    struct clear_request m;
    int err = clear_request_decode(body, &m);
    if (err == DYN_OK)
        clear_request_release(&m);
    return err;
}

static int decode_clear_reply(struct slice body)
{
    struct clear_reply m;
    int err = clear_reply_decode(body, &m);
    if (err == DYN_OK)
        clear_reply_release(&m);
    return err;
}

static void test_a_step_names_its_rows(void **state)
{
    (void)state;
    struct reap_item items[2] = {{.kind = ROW_OBJECT, .key = slice_str("d/f"), .state = {9}},
                                 {.kind = ROW_ENTRY, .key = slice_str("d/f"), .state = {0}}};
    const struct reap_request m = {.ring = some_ring, .step = REAP_PREPARE, .items = items, .n = 2};
    struct reap_request back;
    struct buf body = BUF_EMPTY;
    reap_request_encode(&m, &body);
    assert_int_equal(reap_request_decode(buf_slice(&body), &back), DYN_OK);
    assert_true(history_epoch_equal(&back.ring, &some_ring));
    assert_int_equal(back.step, REAP_PREPARE);
    assert_int_equal(back.n, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(back.items[i].kind, items[i].kind);
        assert_true(slice_equal(back.items[i].key, items[i].key));
        assert_memory_equal(back.items[i].state, items[i].state, DIGEST_LEN);
    }
    reap_request_release(&back);
    hammer(&body, decode_request);
    buf_release(&body);
}

/* A look is for a node's own eyes, the root is never reaped, and a name that is no key is none. */
static void test_what_nobody_may_ask_is_refused(void **state)
{
    (void)state;
    static const struct {
        enum reap_step step;
        const char *key;
    } bad[] = {{REAP_LOOK, "f"}, {REAP_DROP + 1, "f"}, {REAP_DROP, ""}, {REAP_DROP, "a//b"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct reap_item item = {.kind = ROW_OBJECT, .key = slice_str(bad[i].key)};
        const struct reap_request m = {.step = bad[i].step, .items = &item, .n = 1};
        struct buf body = BUF_EMPTY;
        reap_request_encode(&m, &body);
        assert_int_equal(decode_request(buf_slice(&body)), DYN_ERR_PROTOCOL);
        buf_release(&body);
    }
}

static void test_votes_come_back_in_order(void **state)
{
    (void)state;
    struct reap_vote votes[3] = {
        {.verdict = REAP_NO}, {.verdict = REAP_RIPE, .state = {1}}, {.verdict = REAP_ABSENT}};
    const struct reap_reply m = {.votes = votes, .n = 3};
    struct reap_reply back;
    struct buf body = BUF_EMPTY;
    reap_reply_encode(&m, &body);
    assert_int_equal(reap_reply_decode(buf_slice(&body), &back), DYN_OK);
    assert_int_equal(back.n, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(back.votes[i].verdict, votes[i].verdict);
        assert_memory_equal(back.votes[i].state, votes[i].state, DIGEST_LEN);
    }
    reap_reply_release(&back);
    hammer(&body, decode_reply);
    body.data[body.len - DIGEST_LEN - 1] = REAP_RIPE + 1;
    assert_int_equal(decode_reply(buf_slice(&body)), DYN_ERR_PROTOCOL);
    buf_release(&body);
}

static void test_partitions_and_what_is_kept_of_them(void **state)
{
    (void)state;
    uint32_t partitions[2] = {0, 65535};
    uint8_t kept[2] = {REAP_CLEAR, REAP_COPIES};
    const struct clear_request q = {.ring = some_ring, .partitions = partitions, .n = 2};
    const struct clear_reply p = {.status = DYN_ERR_REFUSED, .kept = kept, .n = 2};
    struct clear_request q_back;
    struct clear_reply p_back;
    struct buf body = BUF_EMPTY;
    clear_request_encode(&q, &body);
    assert_int_equal(clear_request_decode(buf_slice(&body), &q_back), DYN_OK);
    assert_int_equal(q_back.n, 2);
    assert_memory_equal(q_back.partitions, partitions, sizeof(partitions));
    clear_request_release(&q_back);
    hammer(&body, decode_clear);
    buf_clear(&body);
    clear_reply_encode(&p, &body);
    assert_int_equal(clear_reply_decode(buf_slice(&body), &p_back), DYN_OK);
    assert_int_equal(p_back.status, DYN_ERR_REFUSED);
    assert_memory_equal(p_back.kept, kept, sizeof(kept));
    clear_reply_release(&p_back);
    hammer(&body, decode_clear_reply);
    buf_release(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_step_names_its_rows),
        cmocka_unit_test(test_what_nobody_may_ask_is_refused),
        cmocka_unit_test(test_votes_come_back_in_order),
        cmocka_unit_test(test_partitions_and_what_is_kept_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
