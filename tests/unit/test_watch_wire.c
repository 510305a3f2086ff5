/* SPDX-License-Identifier: Apache-2.0 */
/* What is said about changes arrives as it was sent, and what breaks a rule is refused. */
#include "base/err.h"
#include "histories.h"
#include "model/fragment.h"
#include "model/watch.h"
#include "unit.h"

static void test_an_interest_arrives_as_sent(void **state)
{
    (void)state;
    const struct slice add[2] = {slice_of(NULL, 0), slice_str("a/b")};
    const struct slice gone = slice_str("c");
    const struct interest_request q = {
        .session = 7, .begin = true, .add = add, .n_add = 2, .drop = &gone, .n_drop = 1};
    struct interest_request got;
    struct buf b = BUF_EMPTY;
    interest_request_encode(&q, &b);
    for (size_t cut = 0; cut < b.len; cut++)
        assert_int_equal(interest_request_decode(slice_of(b.data, cut), &got), DYN_ERR_PROTOCOL);
    assert_int_equal(interest_request_decode(buf_slice(&b), &got), DYN_OK);
    assert_true(got.session == 7 && got.begin && got.n_add == 2 && got.n_drop == 1);
    assert_int_equal(got.add[0].len, 0);
    assert_true(slice_equal(got.add[1], add[1]) && slice_equal(got.drop[0], gone));
    interest_request_release(&got);
    buf_release(&b);
}

static void test_an_interest_in_what_is_no_key_is_refused(void **state)
{
    (void)state;
    const struct slice bad = slice_str("a//b");
    const struct interest_request q = {.session = 7, .add = &bad, .n_add = 1};
    const struct interest_request nobody = {.session = 0};
    struct interest_request got;
    struct buf b = BUF_EMPTY;
    interest_request_encode(&q, &b);
    assert_int_equal(interest_request_decode(buf_slice(&b), &got), DYN_ERR_PROTOCOL);
    buf_clear(&b);
    interest_request_encode(&nobody, &b);
    assert_int_equal(interest_request_decode(buf_slice(&b), &got), DYN_ERR_PROTOCOL);
    buf_release(&b);
}

static void test_a_fragment_is_named_by_its_id(void **state)
{
    (void)state;
    struct interest_request got;
    for (uint32_t fragment = 0; fragment < 2 * FRAGMENTS_MAX; fragment += 127) {
        struct buf id = BUF_EMPTY, b = BUF_EMPTY;
        entry_id(fragment, slice_str(fragment == 127 ? "" : "a/b"), &id);
        const struct slice dir = buf_slice(&id);
        const struct interest_request q = {.session = 7, .add = &dir, .n_add = 1};
        interest_request_encode(&q, &b);
        int err = interest_request_decode(buf_slice(&b), &got);
        assert_int_equal(err, fragment < FRAGMENTS_MAX ? DYN_OK : DYN_ERR_PROTOCOL);
        if (err == DYN_OK) {
            assert_true(slice_equal(got.add[0], dir));
            interest_request_release(&got);
        }
        buf_release(&id);
        buf_release(&b);
    }
    for (uint32_t n = 1; n <= FRAGMENTS_MAX; n *= 2)
        assert_int_equal(interest_fragments(interest_taken(n)), n);
    assert_int_equal(interest_fragments(UINT8_MAX), FRAGMENTS_MAX);
}

static void test_events_arrive_as_told(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    struct cover none = COVER_EMPTY;
    struct sibling s = {.type = SIBLING_FILE, .dot = dot_of(9, 1), .time_ns = 5};
    struct buf bytes = BUF_EMPTY, b = BUF_EMPTY;
    struct watch_reply got;
    object_write(&o, &none, &s, 1);
    object_encode(&o, &bytes);
    watch_reply_begin(DYN_OK, 12, 3, &b);
    watch_reply_event(WATCH_NAME, slice_str("d"), slice_str("f"), true, buf_slice(&bytes), &b);
    watch_reply_event(WATCH_SELF, slice_of(NULL, 0), slice_of(NULL, 0), false, buf_slice(&bytes),
                      &b);
    watch_reply_event(WATCH_ALL, slice_str("d/e"), slice_of(NULL, 0), false, slice_of(NULL, 0), &b);
    for (size_t cut = 0; cut < b.len; cut++)
        assert_int_equal(watch_reply_decode(slice_of(b.data, cut), &got), DYN_ERR_PROTOCOL);
    assert_int_equal(watch_reply_decode(buf_slice(&b), &got), DYN_OK);
    assert_true(got.status == DYN_OK && got.number == 12 && got.n == 3);
    assert_true(slice_equal(got.events[0].name, slice_str("f")) && got.events[0].came_or_went);
    assert_true(object_equal(&got.events[0].state, &o) && object_equal(&got.events[1].state, &o));
    assert_int_equal(got.events[2].kind, WATCH_ALL);
    watch_reply_release(&got);
    buf_clear(&b);
    watch_reply_begin(DYN_OK, 1, 1, &b); /* a name with a slash */
    watch_reply_event(WATCH_NAME, slice_str("d"), slice_str("e/f"), true, buf_slice(&bytes), &b);
    assert_int_equal(watch_reply_decode(buf_slice(&b), &got), DYN_ERR_PROTOCOL);
    buf_release(&b);
    buf_release(&bytes);
    object_release(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_interest_arrives_as_sent),
        cmocka_unit_test(test_an_interest_in_what_is_no_key_is_refused),
        cmocka_unit_test(test_a_fragment_is_named_by_its_id),
        cmocka_unit_test(test_events_arrive_as_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
