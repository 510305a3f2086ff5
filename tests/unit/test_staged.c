/* SPDX-License-Identifier: Apache-2.0 */
/* Records of the staging folder: whole, or refused. */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/staged.h"
#include "unit.h"

static struct dot dot_of(uint64_t node, uint64_t counter)
{
    return (struct dot){{node, {7, 1}}, counter};
}

static void add_version(struct object *o, const struct dot *d)
{
    struct sibling s = {.dot = *d,
                        .value_dot = *d,
                        .time_ns = 5,
                        .type = SIBLING_FILE,
                        .attrs = {.mode = 0644, .mtime_ns = -1, .ino = 4711}};
    digest_sha256(slice_of("", 0), s.value_hash);
    clock_advance(&o->clock, d, 0);
    object_insert(o, &s);
}

static void fill(struct staged *s)
{
    struct dot a = dot_of(1, 3), b = dot_of(2, 9);
    *s = (struct staged){.kind = STAGED_FILE,
                         .cluster = 77,
                         .since_ns = 123456789,
                         .key = slice_str("dir/file"),
                         .origin = {42, 7, 3},
                         .number = 2,
                         .error = 110,
                         .data = true,
                         .xattrs_known = true,
                         .appended_only = true,
                         .appended_from = 3};
    add_version(&s->view, &a);
    add_version(&s->view, &b);
    s->tokens[s->n_tokens++] = slice_str("a token");
    s->tokens[s->n_tokens++] = slice_str("another");
    cover_add_dot(&s->cover, &a);
    cover_add_dot(&s->cover, &b);
    cover_add_dot(&s->dots, &a);
    sibling_copy(&s->shown, &s->view.siblings[0]);
    s->published = true;
    s->content = slice_str("the bytes");
}

static void fill_large(struct staged *s)
{
    struct manifest m = {.size = 3 * CHUNK_LEN};
    struct upload_id upload = {{1, 2, 3}};
    struct staged_slot hole = {.chunk = {.index = 0}};
    struct staged_slot sent = {.state = STAGED_STORED,
                               .upload = upload,
                               .chunk = {.index = 1, .number = 5, .len = CHUNK_LEN, .digest = {9}}};
    struct staged_slot dirty = {.state = STAGED_DIRTY, .chunk = {.index = 4, .len = 100}};
    for (uint32_t i = 0; i < 3; i++)
        manifest_add(&m, &upload, &(struct chunk){.index = i, .number = i, .len = CHUNK_LEN});
    fill(s);
    s->is_large = true;
    s->content = slice_of(NULL, 0);
    s->appended_only = false;
    s->appended_from = 0;
    manifest_encode(&m, &s->large.own);
    manifest_release(&m);
    s->large.manifest = buf_slice(&s->large.own);
    s->large.cut = 2 * CHUNK_LEN;
    s->large.size = 4ull * CHUNK_LEN + 100;
    s->large.since_ns = -5;
    staged_add_slot(&s->large, &hole);
    staged_add_slot(&s->large, &sent);
    staged_add_slot(&s->large, &dirty);
}

/* The bytes say all of it: whatever is decoded gives the same again. */
static void round_trip(void (*make)(struct staged *s), struct buf *body)
{
    struct staged s, got;
    struct buf again = BUF_EMPTY;
    make(&s);
    staged_encode(&s, body);
    assert_int_equal(staged_decode(buf_slice(body), &got), DYN_OK);
    staged_encode(&got, &again);
    assert_true(slice_equal(buf_slice(body), buf_slice(&again)));
    assert_true(slice_equal(got.key, s.key));
    assert_true(slice_equal(got.content, s.content));
    assert_int_equal(got.shown.attrs.ino, s.shown.attrs.ino);
    assert_true(dot_equal(&got.shown.dot, &s.shown.dot));
    assert_int_equal(got.cover.n, s.cover.n);
    assert_int_equal(got.large.n_dirty, s.large.n_dirty);
    staged_release(&s);
    staged_release(&got);
    buf_release(&again);
}

static void test_a_small_file_comes_back_whole(void **state)
{
    struct buf body = BUF_EMPTY;
    (void)state;
    round_trip(fill, &body);
    buf_release(&body);
}

static void test_a_large_file_comes_back_whole(void **state)
{
    struct buf body = BUF_EMPTY;
    (void)state;
    round_trip(fill_large, &body);
    buf_release(&body);
}

static void fill_unpublished(struct staged *s)
{
    fill(s);
    s->published = false;
    s->shown.dot = s->shown.value_dot = (struct dot){.counter = 0};
    s->dots.n = 0;
}

static void test_a_file_that_never_was_published_has_no_dot(void **state)
{
    struct buf body = BUF_EMPTY;
    (void)state;
    round_trip(fill_unpublished, &body);
    buf_release(&body);
}

static void fill_drop(struct staged *s)
{
    fill(s);
    sibling_release(&s->shown);
    s->shown = (struct sibling){.size = 0};
    s->kind = STAGED_DROP;
    s->published = s->data = false;
    s->content = slice_of(NULL, 0);
}

static void test_a_drop_comes_back_whole(void **state)
{
    struct buf body = BUF_EMPTY;
    (void)state;
    round_trip(fill_drop, &body);
    buf_release(&body);
}

static void test_a_record_cut_at_any_byte_is_refused(void **state)
{
    static void (*const makers[])(struct staged * s) = {fill, fill_large, fill_unpublished,
                                                        fill_drop};
    (void)state;
    for (size_t k = 0; k < sizeof(makers) / sizeof(makers[0]); k++) {
        struct buf body = BUF_EMPTY;
        struct staged got;
        round_trip(makers[k], &body);
        for (size_t len = 0; len < body.len; len++)
            assert_int_equal(staged_decode(slice_of(body.data, len), &got), DYN_ERR_CORRUPT);
        buf_put_u8(&body, 0);
        assert_int_equal(staged_decode(buf_slice(&body), &got), DYN_ERR_CORRUPT);
        buf_release(&body);
    }
}

static void test_another_format_is_told_apart(void **state)
{
    struct buf body = BUF_EMPTY;
    struct staged got;
    (void)state;
    round_trip(fill, &body);
    body.data[0] = 2;
    assert_int_equal(staged_decode(buf_slice(&body), &got), DYN_ERR_UNSUPPORTED);
    buf_release(&body);
}

static void refused(struct staged *s)
{
    struct buf body = BUF_EMPTY;
    struct staged got;
    staged_encode(s, &body);
    assert_int_equal(staged_decode(buf_slice(&body), &got), DYN_ERR_CORRUPT);
    buf_release(&body);
    staged_release(s);
}

static void test_what_cannot_be_is_refused(void **state)
{
    struct staged s;
    (void)state;
    fill(&s);
    s.key = slice_str("dir/../file");
    refused(&s);
    fill(&s);
    s.appended_from = 10; /* of 9 bytes */
    refused(&s);
    fill(&s);
    s.origin.writer = 0; /* a repeat could not be known */
    refused(&s);
    fill(&s);
    s.data = s.meta = false; /* nothing to publish */
    refused(&s);
    fill_large(&s);
    s.large.slots[2].chunk.index = 1; /* twice */
    refused(&s);
    fill_large(&s);
    s.large.size = 4ull * CHUNK_LEN; /* a chunk beyond the end */
    refused(&s);
    fill_large(&s);
    s.large.cut = 3 * CHUNK_LEN + 1; /* more than there was */
    refused(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_small_file_comes_back_whole),
        cmocka_unit_test(test_a_large_file_comes_back_whole),
        cmocka_unit_test(test_a_file_that_never_was_published_has_no_dot),
        cmocka_unit_test(test_a_drop_comes_back_whole),
        cmocka_unit_test(test_a_record_cut_at_any_byte_is_refused),
        cmocka_unit_test(test_another_format_is_told_apart),
        cmocka_unit_test(test_what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
