/* SPDX-License-Identifier: Apache-2.0 */
/* What a write and a join keep: the interleavings of HAZARDS E6, E7 and F9, one by one. Random
 * histories are in test_object_join.c. */
#include "model/object.h"

#include "histories.h"
#include "unit.h"

static void test_put_replaces_what_its_context_covers(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    assert_true(object_is_absent(&o));
    write_file(&o, NULL, dot_of(1, 1), "one", 10);
    struct cover c = COVER_EMPTY;
    clock_copy(&c.clock, &o.clock);
    write_file(&o, &c, dot_of(2, 1), "two", 20);
    assert_int_equal(o.n, 1);
    assert_true(dot_equal(&o.siblings[0].dot, &(struct dot){actor_of(2), 1}));
    assert_int_equal(clock_get(&o.clock, &(struct actor){1, {7, 1}}), 1);
    cover_release(&c);
    object_release(&o);
}

static void test_put_without_context_makes_a_sibling(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    write_file(&o, NULL, dot_of(1, 1), "one", 10);
    write_file(&o, NULL, dot_of(1, 2), "two", 20);
    assert_int_equal(o.n, 2);
    assert_int_equal(object_live_count(&o), 2);
    assert_int_equal(object_newest(&o)->time_ns, 20);
    object_release(&o);
}

static void test_write_concurrent_with_delete_survives(void **state)
{
    (void)state;
    struct object a = OBJECT_EMPTY, b = OBJECT_EMPTY;
    write_file(&a, NULL, dot_of(1, 1), "base", 10);
    object_copy(&b, &a);
    struct cover c = COVER_EMPTY;
    clock_copy(&c.clock, &a.clock);
    write_delete(&a, &c, dot_of(1, 2), 20);
    write_file(&b, &c, dot_of(2, 1), "new", 15);
    assert_false(object_live(&a));
    assert_true(object_join(&a, &b));
    assert_true(object_live(&a));
    assert_int_equal(a.n, 2);
    assert_int_equal(object_live_count(&a), 1);
    assert_true(object_join(&b, &a));
    assert_true(object_equal(&a, &b));
    assert_false(object_join(&b, &a));
    cover_release(&c);
    object_release(&a);
    object_release(&b);
}

static void test_several_deletes_are_one(void **state)
{
    (void)state;
    struct object a = OBJECT_EMPTY, b = OBJECT_EMPTY;
    write_delete(&a, NULL, dot_of(1, 1), 10);
    write_delete(&b, NULL, dot_of(2, 1), 20);
    object_join(&a, &b);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.siblings[0].time_ns, 20);
    assert_int_equal(a.clock.n, 2);
    object_release(&a);
    object_release(&b);
}

/* HAZARDS E7 */
static void test_retry_at_two_nodes_keeps_exactly_one(void **state)
{
    (void)state;
    struct object a = OBJECT_EMPTY, b = OBJECT_EMPTY;
    write_file(&a, NULL, dot_of(1, 1), "same", 10);
    write_file(&b, NULL, dot_of(2, 1), "same", 20);
    struct object a0 = OBJECT_EMPTY;
    object_copy(&a0, &a);
    object_join(&a, &b);
    object_join(&b, &a0); /* each from the other's first state */
    assert_int_equal(a.n, 1);
    assert_true(object_equal(&a, &b));
    object_join(&a, &b);
    object_join(&b, &a);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.siblings[0].time_ns, 20);
    assert_true(object_equal(&a, &b));
    object_join(&a, &a0); /* and a replica that has only the absorbed one */
    assert_int_equal(a.n, 1);
    object_release(&a0);
    object_release(&a);
    object_release(&b);
}

/* HAZARDS E6 */
static void test_explicit_dots_never_join_the_clock(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY, other = OBJECT_EMPTY;
    write_file(&other, NULL, dot_of(1, 3), "three", 10);
    write_file(&other, NULL, dot_of(1, 5), "five", 20);
    struct cover c = COVER_EMPTY;
    cover_add_dot(&c, &(struct dot){actor_of(1), 5});
    assert_false(cover_within(&c, &o));
    assert_true(cover_within(&c, &other));
    write_file(&o, &c, dot_of(2, 1), "new", 30);
    assert_int_equal(clock_get(&o.clock, &(struct actor){1, {7, 1}}), 0);
    object_join(&o, &other);
    assert_non_null(object_find(&o, &(struct dot){actor_of(1), 3}));
    assert_int_equal(o.n, 3); /* the coordinator had to read first: it had not seen (1,5) */
    cover_release(&c);
    object_release(&o);
    object_release(&other);
}

static void test_dropping_one_sibling_reaches_other_replicas(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY, other = OBJECT_EMPTY;
    write_file(&o, NULL, dot_of(1, 3), "three", 10);
    write_file(&o, NULL, dot_of(1, 5), "five", 20);
    object_copy(&other, &o);
    struct cover c = COVER_EMPTY;
    cover_add_dot(&c, &(struct dot){actor_of(1), 5});
    object_write(&o, &c, NULL, 0);
    assert_int_equal(o.n, 1);
    assert_true(object_join(&other, &o));
    assert_int_equal(other.n, 1);
    assert_int_equal(other.siblings[0].dot.counter, 3);
    cover_release(&c);
    object_release(&o);
    object_release(&other);
}

/* HAZARDS F9 */
static void test_only_the_highest_sequence_of_a_stream_lives(void **state)
{
    (void)state;
    struct object a = OBJECT_EMPTY, b = OBJECT_EMPTY;
    struct sibling five = file_sibling(dot_of(1, 1), "maybe", 90);
    five.origin = (struct origin){77, 3, 5};
    struct sibling six = file_sibling(dot_of(2, 1), "sure", 10);
    six.origin = (struct origin){77, 3, 6};
    struct sibling foreign = file_sibling(dot_of(3, 1), "else", 1);
    foreign.origin = (struct origin){77, 4, 1};
    const struct cover none = COVER_EMPTY;
    object_write(&a, &none, &five, 1);
    object_write(&b, &none, &six, 1);
    object_write(&b, &none, &foreign, 1);
    assert_non_null(object_find_origin(&a, &(struct origin){77, 3, 5}));
    object_join(&a, &b);
    assert_int_equal(a.n, 2);
    assert_null(object_find_origin(&a, &(struct origin){77, 3, 5}));
    assert_non_null(object_find_origin(&a, &(struct origin){77, 3, 6}));
    assert_null(object_find_origin(&a, &(struct origin){0, 0, 0}));
    struct cover earlier = COVER_EMPTY;
    object_cover_stream(&a, &(struct origin){77, 3, 6}, &earlier);
    object_cover_stream(&a, &(struct origin){78, 3, 9}, &earlier);
    object_cover_stream(&a, &(struct origin){0, 0, 9}, &earlier);
    assert_int_equal(earlier.n, 0);
    object_cover_stream(&a, &(struct origin){77, 3, 7}, &earlier);
    assert_int_equal(earlier.n, 1);
    cover_release(&earlier);
    object_release(&a);
    object_release(&b);
}

/* A write that its own author replaced must not take a stranger's equal write along. */
static void test_a_replaced_write_absorbs_nobody(void **state)
{
    (void)state;
    const struct cover none = COVER_EMPTY;
    struct object o = OBJECT_EMPTY, late = OBJECT_EMPTY;
    struct sibling stranger = file_sibling(dot_of(1, 1), "same", 10);
    struct sibling old = file_sibling(dot_of(2, 1), "same", 20);
    old.origin = (struct origin){77, 3, 5};
    struct sibling new = file_sibling(dot_of(3, 1), "later", 30);
    new.origin = (struct origin){77, 3, 6};
    object_write(&o, &none, &stranger, 1);
    object_write(&o, &none, &new, 1);
    object_write(&late, &none, &old, 1);
    object_join(&o, &late);
    assert_int_equal(o.n, 2);
    assert_non_null(object_find(&o, &(struct dot){actor_of(1), 1}));
    object_release(&o);
    object_release(&late);
}

static void test_times_and_inode_are_not_content(void **state)
{
    (void)state;
    struct sibling a = file_sibling(dot_of(1, 1), "x", 1), b = file_sibling(dot_of(2, 1), "x", 2);
    a.attrs.mtime_ns = 5;
    a.attrs.ino = 9;
    assert_true(sibling_same_content(&a, &b));
    b.attrs.mode = 0600;
    assert_false(sibling_same_content(&a, &b));
    b.attrs.mode = a.attrs.mode;
    b.attrs.uid = 1;
    assert_false(sibling_same_content(&a, &b));
    sibling_release(&a);
    sibling_release(&b);
}

static void test_a_survivor_takes_over_loaded_values(void **state)
{
    (void)state;
    struct object a = OBJECT_EMPTY, b = OBJECT_EMPTY;
    write_file(&a, NULL, dot_of(1, 1), "same", 10);
    write_file(&b, NULL, dot_of(2, 1), "same", 20);
    struct sibling *s = &b.siblings[0];
    blob_unref(s->value);
    s->value = NULL;
    assert_false(object_values_loaded(&b));
    object_join(&b, &a);
    assert_int_equal(b.n, 1);
    assert_int_equal(b.siblings[0].dot.actor.node, 2);
    assert_true(object_values_loaded(&b));
    object_release(&a);
    object_release(&b);
}

static void test_an_empty_value_is_loaded(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    struct sibling s = file_sibling(dot_of(1, 1), "", 10);
    blob_unref(s.value);
    s.value = NULL;
    object_write(&o, &COVER_EMPTY, &s, 1);
    assert_true(object_values_loaded(&o));
    struct buf b = BUF_EMPTY;
    object_values_encode(&o, &b);
    struct reader r = reader_of(buf_slice(&b));
    object_values_decode(&r, &o);
    assert_true(reader_done(&r));
    buf_release(&b);
    object_release(&o);
}

/* Siblings that differ in xattrs alone must stay apart in the entry as they do in the object. */
static void test_projection_and_join_commute(void **state)
{
    (void)state;
    struct object a = OBJECT_EMPTY, b = OBJECT_EMPTY, ea = OBJECT_EMPTY, eb = OBJECT_EMPTY;
    struct sibling s = file_sibling(dot_of(1, 1), "same", 10);
    assert_int_equal(xattrs_set(NULL, slice_str("user.k"), slice_str("v"), &s.attrs.xattrs), 0);
    object_write(&a, &COVER_EMPTY, &s, 1);
    write_file(&b, NULL, dot_of(2, 1), "same", 20);
    object_project(&a, &ea);
    object_project(&b, &eb);
    assert_null(ea.siblings[0].value);
    assert_null(ea.siblings[0].attrs.xattrs);
    object_join(&a, &b);
    object_join(&ea, &eb);
    assert_int_equal(a.n, 2);
    assert_true(object_equal(&a, &ea));
    object_project(&a, &eb);
    assert_true(object_identical(&ea, &eb));
    struct object *all[] = {&a, &b, &ea, &eb};
    for (int i = 0; i < 4; i++)
        object_release(all[i]);
}

/* HAZARDS E1 forbids it, but a fault must not keep replicas apart for ever. */
static void test_two_records_of_one_dot_settle_on_one(void **state)
{
    (void)state;
    struct object a = OBJECT_EMPTY, b = OBJECT_EMPTY, ab = OBJECT_EMPTY;
    write_file(&a, NULL, dot_of(1, 1), "v1", 10);
    write_file(&b, NULL, dot_of(1, 1), "v2", 10);
    object_copy(&ab, &a);
    bool changed = object_join(&ab, &b);
    assert_int_equal(object_join(&b, &a), !changed);
    assert_true(object_identical(&ab, &b));
    assert_true(object_values_loaded(&ab) && object_values_loaded(&b));
    assert_true(slice_equal(slice_of(ab.siblings[0].value->data, 2),
                            slice_of(b.siblings[0].value->data, 2)));
    object_release(&a);
    object_release(&b);
    object_release(&ab);
}

static void test_hash_follows_clock_and_dots(void **state)
{
    (void)state;
    uint8_t h[4][DIGEST_LEN];
    struct object o = OBJECT_EMPTY;
    object_hash(&o, h[0]);
    write_file(&o, NULL, dot_of(1, 1), "one", 10);
    object_hash(&o, h[1]);
    write_file(&o, NULL, dot_of(1, 2), "two", 10);
    object_hash(&o, h[2]);
    struct cover c = COVER_EMPTY;
    cover_add_dot(&c, &(struct dot){actor_of(1), 1});
    object_write(&o, &c, NULL, 0); /* same clock, fewer siblings */
    object_hash(&o, h[3]);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(h[i], h[k], DIGEST_LEN);
    o.clock.pairs[0].time_ms += 5;
    object_hash(&o, h[0]);
    assert_memory_equal(h[0], h[3], DIGEST_LEN);
    cover_release(&c);
    object_release(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_replaces_what_its_context_covers),
        cmocka_unit_test(test_put_without_context_makes_a_sibling),
        cmocka_unit_test(test_write_concurrent_with_delete_survives),
        cmocka_unit_test(test_several_deletes_are_one),
        cmocka_unit_test(test_retry_at_two_nodes_keeps_exactly_one),
        cmocka_unit_test(test_explicit_dots_never_join_the_clock),
        cmocka_unit_test(test_dropping_one_sibling_reaches_other_replicas),
        cmocka_unit_test(test_only_the_highest_sequence_of_a_stream_lives),
        cmocka_unit_test(test_a_replaced_write_absorbs_nobody),
        cmocka_unit_test(test_times_and_inode_are_not_content),
        cmocka_unit_test(test_a_survivor_takes_over_loaded_values),
        cmocka_unit_test(test_an_empty_value_is_loaded),
        cmocka_unit_test(test_projection_and_join_commute),
        cmocka_unit_test(test_two_records_of_one_dot_settle_on_one),
        cmocka_unit_test(test_hash_follows_clock_and_dots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
