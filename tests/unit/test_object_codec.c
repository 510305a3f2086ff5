/* SPDX-License-Identifier: Apache-2.0 */
/* Objects come from disk and from peers, and neither can be trusted: whatever decodes must keep
 * every invariant, and what was encoded must come back whole. */
#include <stdlib.h>

#include "histories.h"
#include "unit.h"

static void assert_same_dot(struct dot a, struct dot b)
{
    assert_true(dot_equal(&a, &b));
}

/* Field by field, so that a field which the encoding forgets is seen. */
static void assert_same_sibling(const struct sibling *a, const struct sibling *b)
{
    assert_same_dot(a->dot, b->dot);
    assert_same_dot(a->value_dot, b->value_dot);
    assert_same_dot(a->base_dot, b->base_dot);
    assert_true(a->time_ns == b->time_ns && a->type == b->type && a->size == b->size);
    assert_memory_equal(a->value_hash, b->value_hash, DIGEST_LEN);
    assert_true(a->attrs.mode == b->attrs.mode && a->attrs.uid == b->attrs.uid &&
                a->attrs.gid == b->attrs.gid && a->attrs.ino == b->attrs.ino);
    assert_true(a->attrs.mtime_ns == b->attrs.mtime_ns && a->attrs.ctime_ns == b->attrs.ctime_ns &&
                a->attrs.atime_ns == b->attrs.atime_ns);
    assert_memory_equal(a->attrs.xattrs_hash, b->attrs.xattrs_hash, DIGEST_LEN);
    assert_true(a->origin.writer == b->origin.writer && a->origin.stream == b->origin.stream &&
                a->origin.seq == b->origin.seq);
    const struct blob *x = a->attrs.xattrs, *y = b->attrs.xattrs;
    assert_true((x == NULL) == (y == NULL));
    assert_true(x == NULL || slice_equal(slice_of(x->data, x->len), slice_of(y->data, y->len)));
}

static void assert_same_object(const struct object *a, const struct object *b)
{
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->clock.n, b->clock.n);
    assert_int_equal(clock_compare(&a->clock, &b->clock), CLOCK_EQUAL);
    for (uint32_t i = 0; i < a->clock.n; i++)
        assert_true(a->clock.pairs[i].time_ms == b->clock.pairs[i].time_ms);
    for (uint32_t i = 0; i < a->n; i++)
        assert_same_sibling(&a->siblings[i], &b->siblings[i]);
}

static bool decode(struct slice bytes, struct object *o)
{
    struct reader r = reader_of(bytes);
    object_decode(&r, o);
    return reader_done(&r);
}

static void test_what_is_encoded_comes_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        uint64_t s = seed;
        struct object o = OBJECT_EMPTY, back = OBJECT_EMPTY;
        random_object(&s, &o);
        struct buf b = BUF_EMPTY;
        object_encode(&o, &b);
        assert_true(decode(buf_slice(&b), &back));
        assert_same_object(&o, &back);
        assert_true(object_identical(&o, &back));
        buf_release(&b);
        object_release(&o);
        object_release(&back);
    }
}

static void test_equal_objects_have_equal_bytes(void **state)
{
    (void)state;
    struct object a = OBJECT_EMPTY, b = OBJECT_EMPTY, ab = OBJECT_EMPTY;
    write_file(&a, NULL, dot_of(9, 1), "nine", 5);
    write_file(&b, NULL, dot_of(2, 4), "two", 6);
    object_copy(&ab, &a);
    object_join(&ab, &b);
    object_join(&b, &a);
    assert_true(object_identical(&ab, &b));
    object_release(&a);
    object_release(&b);
    object_release(&ab);
}

static void test_a_file_of_one_node_takes_under_100_bytes(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    struct sibling s = file_sibling(dot_of(UINT64_MAX, 1), "hello", UINT64_C(1800000000000000000));
    s.attrs = (struct attrs){0644,
                             1000,
                             1000,
                             (int64_t)s.time_ns - 2000000,
                             (int64_t)s.time_ns - 2000000,
                             (int64_t)s.time_ns - 2000000};
    s.attrs.ino = UINT64_MAX;
    s.origin = (struct origin){UINT64_MAX, 77, 1};
    object_write(&o, &COVER_EMPTY, &s, UINT64_C(1800000000000));
    struct buf b = BUF_EMPTY;
    object_encode(&o, &b);
    assert_in_range(b.len, 60, 99);
    buf_release(&b);
    object_release(&o);
}

static void assert_sound(const struct object *o)
{
    assert_true(o->n <= OBJECT_SIBLINGS_MAX && o->clock.n <= CLOCK_PAIRS_MAX);
    for (uint32_t i = 0; i < o->clock.n; i++) {
        assert_true(o->clock.pairs[i].counter > 0);
        if (i > 0)
            assert_true(actor_compare(&o->clock.pairs[i - 1].actor, &o->clock.pairs[i].actor) < 0);
    }
    for (uint32_t i = 0; i < o->n; i++) {
        const struct sibling *s = &o->siblings[i];
        assert_true(!dot_is_none(&s->dot) && clock_covers(&o->clock, &s->dot));
        assert_true(s->type <= SIBLING_SYMLINK && s->attrs.mode <= 07777);
        assert_true(s->size == 0 || s->type == SIBLING_FILE || s->type == SIBLING_SYMLINK);
        assert_null(s->value);
        if (i > 0)
            assert_true(dot_compare(&o->siblings[i - 1].dot, &s->dot) < 0);
        if (s->attrs.xattrs != NULL)
            assert_true(xattrs_valid(slice_of(s->attrs.xattrs->data, s->attrs.xattrs->len)));
    }
}

static void test_each_truncation_is_refused(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        uint64_t s = seed;
        struct object o = OBJECT_EMPTY, back = OBJECT_EMPTY;
        random_object(&s, &o);
        struct buf b = BUF_EMPTY;
        object_encode(&o, &b);
        for (size_t len = 0; len < b.len; len++) {
            uint8_t *exact = mem_dup(b.data, len); /* so that ASan sees a byte too far */
            struct reader r = reader_of(slice_of(exact, len));
            object_decode(&r, &back);
            assert_false(reader_ok(&r));
            assert_true(object_is_absent(&back)); /* outputs untouched */
            free(exact);
        }
        buf_release(&b);
        object_release(&o);
    }
}

static void mutate(uint64_t *seed, struct buf *b)
{
    for (uint64_t edits = 1 + random_below(seed, 3); edits > 0 && b->len > 1; edits--) {
        size_t at = random_below(seed, b->len);
        switch (random_below(seed, 4)) {
        case 0:
            b->data[at] = (uint8_t)next_random(seed);
            break;
        case 1:
            b->data[at] ^= (uint8_t)(1u << random_below(seed, 8));
            break;
        case 2:
            memmove(b->data + at, b->data + at + 1, b->len - at - 1);
            b->len--;
            break;
        default:
            buf_put_u8(b, 0);
            memmove(b->data + at + 1, b->data + at, b->len - at - 1);
        }
    }
}

static void test_mutations_never_break_an_invariant(void **state)
{
    (void)state;
    unsigned accepted = 0, refused = 0;
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        uint64_t s = seed;
        struct object o = OBJECT_EMPTY, back = OBJECT_EMPTY, again = OBJECT_EMPTY;
        random_object(&s, &o);
        struct buf b = BUF_EMPTY, c = BUF_EMPTY;
        object_encode(&o, &b);
        mutate(&s, &b);
        if (decode(buf_slice(&b), &back)) {
            accepted++;
            assert_sound(&back);
            object_encode(&back, &c);
            assert_true(decode(buf_slice(&c), &again));
            assert_same_object(&back, &again);
            object_join(&again, &o); /* anything sound can be worked with */
            assert_sound(&again);
        } else {
            refused++;
        }
        buf_release(&b);
        buf_release(&c);
        object_release(&o);
        object_release(&back);
        object_release(&again);
    }
    assert_true(accepted > 1000 && refused > 1000);
}

/* What a later version may append, to the object or to a sibling. */
static void test_later_fields_are_skipped_unless_essential(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY, back = OBJECT_EMPTY;
    write_file(&o, NULL, dot_of(1, 1), "one", 10);
    struct buf b = BUF_EMPTY;
    object_encode(&o, &b);
    for (uint8_t tag = 1; tag <= 2; tag++) {
        struct buf later = BUF_EMPTY;
        buf_put(&later, b.data, b.len - 1);
        buf_put_varint(&later, tag);
        buf_put_bytes(&later, slice_str("news"));
        buf_put_varint(&later, 0);
        assert_int_equal(decode(buf_slice(&later), &back), tag == 2);
        buf_release(&later);
    }
    assert_same_object(&o, &back);
    /* a lone sibling's flags: format, clock of one pair (1 + 19 + time), count, index, counter,
     * type */
    struct buf clock = BUF_EMPTY;
    clock_encode(&o.clock, &clock);
    size_t flags_at = 1 + clock.len + 1 + 3;
    buf_release(&clock);
    for (uint8_t tag = 3; tag <= 4; tag++) {
        struct buf later = BUF_EMPTY;
        buf_put(&later, b.data, b.len - 1);
        later.data[flags_at] |= 128;
        buf_put_varint(&later, tag);
        buf_put_bytes(&later, slice_str("news"));
        buf_put_varint(&later, 0);
        buf_put_varint(&later, 0);
        assert_int_equal(decode(buf_slice(&later), &back), tag == 4);
        buf_release(&later);
    }
    assert_same_object(&o, &back);
    b.data[0]++; /* another format */
    assert_false(decode(buf_slice(&b), &back));
    buf_release(&b);
    object_release(&o);
    object_release(&back);
}

static void forget_values(struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++) {
        blob_unref(o->siblings[i].value);
        o->siblings[i].value = NULL;
    }
}

static void test_values_travel_once_and_are_checked(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    write_file(&o, NULL, dot_of(1, 1), "content", 10);
    struct sibling chmod = file_sibling(dot_of(2, 1), "content", 20);
    chmod.value_dot = dot_of(1, 1);
    chmod.attrs.mode = 0600;
    object_write(&o, &COVER_EMPTY, &chmod, 1);
    write_file(&o, NULL, dot_of(3, 1), "", 30);
    struct buf b = BUF_EMPTY;
    object_values_encode(&o, &b);
    assert_in_range(b.len, 7, 40); /* one "content" */
    forget_values(&o);
    assert_false(object_values_loaded(&o));
    struct reader r = reader_of(buf_slice(&b));
    object_values_decode(&r, &o);
    assert_true(reader_done(&r));
    assert_true(object_values_loaded(&o));
    assert_ptr_equal(o.siblings[0].value, o.siblings[1].value);

    forget_values(&o);
    b.data[b.len - 1] ^= 1; /* other bytes */
    r = reader_of(buf_slice(&b));
    object_values_decode(&r, &o);
    assert_false(reader_ok(&r));
    assert_false(object_values_loaded(&o));
    b.data[b.len - 1] ^= 1;
    o.siblings[1].size++; /* another size */
    r = reader_of(buf_slice(&b));
    object_values_decode(&r, &o);
    assert_false(reader_ok(&r));
    assert_null(o.siblings[1].value);
    for (size_t len = 0; len < b.len; len++) {
        r = reader_of(slice_of(b.data, len));
        object_values_decode(&r, &o);
        assert_false(reader_ok(&r));
    }
    buf_release(&b);
    object_release(&o);
}

static void test_values_of_siblings_since_gone_are_ignored(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY, later = OBJECT_EMPTY;
    write_file(&o, NULL, dot_of(1, 1), "old", 10);
    write_file(&later, NULL, dot_of(2, 1), "new", 20);
    struct buf b = BUF_EMPTY;
    object_values_encode(&o, &b);
    struct reader r = reader_of(buf_slice(&b));
    object_values_decode(&r, &later);
    assert_true(reader_done(&r));
    buf_release(&b);
    object_release(&o);
    object_release(&later);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_encoded_comes_back),
        cmocka_unit_test(test_equal_objects_have_equal_bytes),
        cmocka_unit_test(test_a_file_of_one_node_takes_under_100_bytes),
        cmocka_unit_test(test_each_truncation_is_refused),
        cmocka_unit_test(test_mutations_never_break_an_invariant),
        cmocka_unit_test(test_later_fields_are_skipped_unless_essential),
        cmocka_unit_test(test_values_travel_once_and_are_checked),
        cmocka_unit_test(test_values_of_siblings_since_gone_are_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
