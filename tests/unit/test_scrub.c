/* SPDX-License-Identifier: Apache-2.0 */
/* What went wrong below the engine is found by the scrub, and mended. */
#include "engine/trees/scrub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "engine/replica/replica.h"
#include "engine/trees/tree.h"
#include "engine/trees/tree_audit.h"
#include "played_cluster.h"
#include "unit.h"

#define MINUTE 60000000u

static struct played_cluster *cluster_that_scrubs(uint32_t nodes, uint32_t n, uint32_t r,
                                                  uint32_t w)
{
    struct played_cluster *c = played_cluster_new(nodes, n, r, w);
    c->cfg.scrub_us = 2 * MINUTE;
    for (uint32_t i = 0; i < nodes; i++) {
        played_crash(c, i, false);
        played_restart(c, i);
    }
    return c;
}

static void write_key(struct played_cluster *c, uint32_t at, const char *key, const char *value)
{
    assert_int_equal(played_write(c, at, key, value, PUT_CURRENT, slice_of(NULL, 0)), DYN_OK);
}

static struct engine_stats sum_of(struct played_cluster *c)
{
    struct engine_stats sum = {0}, s;
    for (uint32_t i = 0; i < c->n; i++) {
        engine_stats(c->nodes[i].engine, &s);
        sum.scrub_rounds += s.scrub_rounds;
        sum.scrub_bad_leaves += s.scrub_bad_leaves;
        sum.scrub_bad_values += s.scrub_bad_values;
        sum.scrub_healed += s.scrub_healed;
        sum.scrub_owed += s.scrub_owed;
        sum.scrub_ghosts += s.scrub_ghosts;
    }
    return sum;
}

struct row {
    struct store_get get;
    int err;
    struct buf value;
};

static void on_row(struct store_get *get, int err, struct slice value)
{
    struct row *r = get->arg;
    r->err = err;
    buf_clear(&r->value);
    buf_put_slice(&r->value, value);
}

static int read_row(struct played_cluster *c, uint32_t node, enum store_family f, struct slice key,
                    struct buf *out)
{
    struct row r = {.get = {.family = f, .key = key, .done = on_row}, .err = 1};
    struct store_port port = store_memory_port(c->nodes[node].store);
    r.get.arg = &r;
    port.get(port.ctx, &r.get);
    buf_clear(out);
    buf_put_slice(out, buf_slice(&r.value));
    buf_release(&r.value);
    return r.err;
}

static void object_at(struct played_cluster *c, uint32_t node, const char *key, bool entry,
                      struct object *out)
{
    struct buf row = BUF_EMPTY, value = BUF_EMPTY;
    struct slice k = slice_str(key);
    struct place at = place_of(c->ring, entry ? key_parent(k) : k);
    struct epoch mark;
    if (entry)
        row_entry(&at, key_parent(k), key_name(k), &row);
    else
        row_object(&at, k, &row);
    object_release(out);
    if (read_row(c, node, STORE_META, buf_slice(&row), &value) == DYN_OK)
        assert_int_equal(object_row_decode(buf_slice(&value), &mark, out), DYN_OK);
    buf_release(&row);
    buf_release(&value);
}

static void value_row(struct played_cluster *c, uint32_t node, const char *key, struct buf *row)
{
    struct object o = OBJECT_EMPTY;
    struct place at = place_of(c->ring, slice_str(key));
    object_at(c, node, key, false, &o);
    assert_int_equal(o.n, 1);
    row_value(&at, slice_str(key), &o.siblings[0].value_dot, row);
    object_release(&o);
}

static void test_a_healthy_store_is_left_alone(void **state)
{
    (void)state;
    struct played_cluster *c = cluster_that_scrubs(4, 3, 2, 2);
    char key[32];
    for (uint32_t i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "d%u/f%u", i % 7, i);
        write_key(c, i % 4, key, "x");
    }
    for (uint32_t i = 0; i < 200; i++) { /* writes before and behind the walk */
        snprintf(key, sizeof(key), "d%u/f%u", i % 7, i % 300);
        write_key(c, i % 4, key, "y");
        played_run(c, 3 * MINUTE / 100);
    }
    played_run(c, 6 * MINUTE);
    struct engine_stats s = sum_of(c);
    assert_true(s.scrub_rounds >= 8);
    assert_int_equal(s.scrub_bad_leaves, 0);
    assert_int_equal(s.scrub_bad_values, 0);
    assert_int_equal(s.scrub_ghosts, 0);
    assert_int_equal(s.scrub_owed, 0);
    played_cluster_free(c);
}

static void test_a_rotten_value_is_fetched_again(void **state)
{
    (void)state;
    struct played_cluster *c = cluster_that_scrubs(3, 3, 2, 2);
    struct buf row = BUF_EMPTY, value = BUF_EMPTY;
    write_key(c, 0, "d/k", "the bytes");
    played_run(c, MINUTE / 2);
    value_row(c, 1, "d/k", &row);
    assert_true(store_memory_rot(c->nodes[1].store, STORE_VALUE, buf_slice(&row), 13));
    played_run(c, 3 * MINUTE);
    assert_int_equal(read_row(c, 1, STORE_VALUE, buf_slice(&row), &value), DYN_OK);
    assert_true(slice_equal(buf_slice(&value), slice_str("the bytes")));
    assert_int_equal(sum_of(c).scrub_bad_values, 1);
    buf_release(&row);
    buf_release(&value);
    played_cluster_free(c);
}

/* Nobody can be asked at once: until then the tree says that the copy is not whole. */
static void test_a_value_that_is_gone_shows_in_the_tree_and_comes_back(void **state)
{
    (void)state;
    struct played_cluster *c = cluster_that_scrubs(3, 3, 2, 2);
    struct buf row = BUF_EMPTY, value = BUF_EMPTY, meta = BUF_EMPTY;
    struct store_port port = store_memory_port(c->nodes[1].store);
    struct store_batch b = STORE_BATCH_EMPTY;
    struct row_state state_of_row = ROW_STATE_NONE;
    struct object o = OBJECT_EMPTY;
    struct place at = place_of(c->ring, slice_str("k"));
    write_key(c, 0, "k", "the bytes");
    played_run(c, MINUTE / 2);
    value_row(c, 1, "k", &row);
    store_batch_delete(&b, STORE_VALUE, buf_slice(&row));
    assert_int_equal(port.write(port.ctx, &b, STORE_SYNCED, NULL), DYN_OK);
    c->nodes[0].up = c->nodes[2].up = false;
    played_run(c, 3 * MINUTE);
    row_object(&at, slice_str("k"), &meta);
    assert_int_equal(read_row(c, 1, STORE_META, buf_slice(&meta), &value), DYN_OK);
    assert_int_equal(row_decode(buf_slice(&value), &state_of_row, &o), DYN_OK);
    assert_int_equal(state_of_row.n_lacks, 1);
    c->nodes[0].up = c->nodes[2].up = true;
    c->nodes[1].engine->cfg.scrub_us = 0; /* from here on it is the exchange's */
    played_run(c, 3 * MINUTE);
    assert_int_equal(read_row(c, 1, STORE_VALUE, buf_slice(&row), &value), DYN_OK);
    assert_true(slice_equal(buf_slice(&value), slice_str("the bytes")));
    row_state_release(&state_of_row);
    object_release(&o);
    buf_release(&row);
    buf_release(&meta);
    buf_release(&value);
    played_cluster_free(c);
}

static void test_a_wrong_leaf_and_a_lost_row_of_the_index_are_mended(void **state)
{
    (void)state;
    struct played_cluster *c = cluster_that_scrubs(1, 1, 1, 1);
    struct trees *t = c->nodes[0].engine->trees;
    struct store_port port = store_memory_port(c->nodes[0].store);
    struct store_batch b = STORE_BATCH_EMPTY;
    const uint8_t wrong[STORE_MERGE_LEN] = {7};
    struct buf row = BUF_EMPTY, value = BUF_EMPTY, index = BUF_EMPTY;
    struct slice key = slice_str("k");
    struct place at = place_of(c->ring, key);
    write_key(c, 0, "k", "x");
    played_run(c, MINUTE / 2);
    trees_sum_row(t, at.partition, 77, &row); /* a leaf that nothing is in */
    store_batch_merge(&b, STORE_TREE, buf_slice(&row), wrong);
    trees_key_row(t, at.partition, ROW_OBJECT, key, &index);
    store_batch_delete(&b, STORE_TREE, buf_slice(&index));
    buf_clear(&row);
    trees_sum_row(t, at.partition, tree_leaf_of(trees_slot(t, ROW_OBJECT, key)), &row);
    store_batch_merge(&b, STORE_TREE, buf_slice(&row), wrong);
    assert_int_equal(port.write(port.ctx, &b, STORE_SYNCED, NULL), DYN_OK);
    played_run(c, 3 * MINUTE);
    assert_int_equal(sum_of(c).scrub_bad_leaves, 3);
    assert_int_equal(read_row(c, 0, STORE_TREE, buf_slice(&index), &value), DYN_OK);
    struct object o = OBJECT_EMPTY;
    object_at(c, 0, "k", false, &o);
    struct tree_hash expected = trees_hash(t, ROW_OBJECT, key, &o, NULL), found;
    assert_int_equal(read_row(c, 0, STORE_TREE, buf_slice(&row), &value), DYN_OK);
    assert_int_equal(value.len, sizeof(found));
    memcpy(&found, value.data, sizeof(found));
    assert_true(tree_hash_equal(&found, &expected));
    object_release(&o);
    buf_release(&row);
    buf_release(&index);
    buf_release(&value);
    played_cluster_free(c);
}

static void on_audited(void *arg, int err, uint32_t wrong)
{
    assert_int_equal(err, DYN_OK);
    *(int64_t *)arg = wrong;
}

/* The walk looks at the values and entries of the last rows before it compares. */
static void test_a_row_that_comes_after_the_last_slice_is_followed(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(1, 1, 1, 1);
    uint32_t partition = place_of(c->ring, slice_str("k")).partition;
    played_run(c, MINUTE); /* its trees are made */
    struct tree_audit *a = tree_audit_new(c->nodes[0].engine->trees, partition);
    int64_t wrong = -1;
    tree_audit_slice(a);
    assert_true(tree_audit_slice_end(a, false)); /* there is nothing yet */
    write_key(c, 0, "k", "x");
    tree_audit_finish(a, on_audited, &wrong);
    played_run(c, MINUTE / 60);
    assert_int_equal(wrong, 0);
    played_cluster_free(c);
}

static bool is_object(void *arg, enum store_family f, struct slice row)
{
    return f == STORE_META && slice_equal(row, *(const struct slice *)arg);
}

/* Its tree still says that it should be here: else whoever takes the partition over from this node
 * alone would believe to have all of it. */
static void test_a_row_that_cannot_be_read_stays_in_the_tree(void **state)
{
    (void)state;
    struct played_cluster *c = cluster_that_scrubs(1, 1, 1, 1);
    struct trees *t = c->nodes[0].engine->trees;
    struct slice key = slice_str("k");
    struct place at = place_of(c->ring, key);
    struct buf object = BUF_EMPTY, leaf = BUF_EMPTY, before = BUF_EMPTY, after = BUF_EMPTY;
    write_key(c, 0, "k", "x");
    row_object(&at, key, &object);
    struct slice bad = buf_slice(&object);
    trees_sum_row(t, at.partition, tree_leaf_of(trees_slot(t, ROW_OBJECT, key)), &leaf);
    assert_int_equal(read_row(c, 0, STORE_TREE, buf_slice(&leaf), &before), DYN_OK);
    store_memory_garble(c->nodes[0].store, is_object, &bad);
    uint64_t rounds = sum_of(c).scrub_rounds;
    played_run(c, 5 * MINUTE);
    assert_true(sum_of(c).scrub_rounds >= rounds + 2);
    store_memory_garble(c->nodes[0].store, NULL, NULL);
    played_run(c, 5 * MINUTE);
    assert_int_equal(sum_of(c).scrub_bad_leaves, 0);
    assert_int_equal(read_row(c, 0, STORE_TREE, buf_slice(&leaf), &after), DYN_OK);
    assert_true(slice_equal(buf_slice(&before), buf_slice(&after)));
    char *values = played_values(c, 0, "k");
    assert_string_equal(values, "x");
    free(values);
    buf_release(&object);
    buf_release(&leaf);
    buf_release(&before);
    buf_release(&after);
    played_cluster_free(c);
}

/* Takes a row away behind the engine's back. The tree keeps its hash: a tree that lies. */
static void lose_row(struct played_cluster *c, uint32_t node, const char *key, bool entry)
{
    struct store_port port = store_memory_port(c->nodes[node].store);
    struct store_batch b = STORE_BATCH_EMPTY;
    struct slice k = slice_str(key);
    struct place at = place_of(c->ring, entry ? key_parent(k) : k);
    struct buf row = BUF_EMPTY;
    if (entry)
        row_entry(&at, key_parent(k), key_name(k), &row);
    else
        row_object(&at, k, &row);
    store_batch_delete(&b, STORE_META, buf_slice(&row));
    assert_int_equal(port.write(port.ctx, &b, STORE_SYNCED, NULL), DYN_OK);
    buf_release(&row);
}

static void test_a_lost_row_whose_hash_stayed_comes_back(void **state)
{
    (void)state;
    struct played_cluster *c = cluster_that_scrubs(3, 3, 2, 2);
    struct object o = OBJECT_EMPTY;
    write_key(c, 0, "d/k", "x");
    played_run(c, MINUTE / 2);
    lose_row(c, 2, "d/k", false);
    played_run(c, 6 * MINUTE);
    object_at(c, 2, "d/k", false, &o);
    assert_true(object_live(&o));
    object_release(&o);
    played_cluster_free(c);
}

static void test_an_entry_that_all_replicas_lost_is_made_again(void **state)
{
    (void)state;
    struct played_cluster *c = cluster_that_scrubs(3, 3, 2, 2);
    write_key(c, 0, "d/k", "x");
    played_run(c, MINUTE);
    for (uint32_t i = 0; i < 3; i++)
        lose_row(c, i, "d/k", true);
    played_run(c, 6 * MINUTE);
    char *names = played_names(c, 0, "d");
    assert_string_equal(names, "k");
    free(names);
    assert_true(sum_of(c).scrub_owed > 0);
    played_cluster_free(c);
}

static void test_an_entry_without_an_object_goes(void **state)
{
    (void)state;
    struct played_cluster *c = cluster_that_scrubs(3, 3, 2, 2);
    struct object o = OBJECT_EMPTY;
    write_key(c, 0, "d/k", "x");
    write_key(c, 0, "d/stays", "x");
    played_run(c, MINUTE);
    for (uint32_t i = 0; i < 3; i++)
        lose_row(c, i, "d/k", false);
    played_run(c, 6 * MINUTE);
    char *names = played_names(c, 0, "d");
    assert_string_equal(names, "stays");
    free(names);
    for (uint32_t i = 0; i < 3; i++) {
        object_at(c, i, "d/k", true, &o);
        assert_true(object_is_absent(&o));
    }
    write_key(c, 0, "d/k", "again");
    names = played_names(c, 0, "d");
    assert_string_equal(names, "k stays");
    free(names);
    played_cluster_free(c);
}

/* One replica that lacks the object says nothing about the others. */
static void test_an_entry_stays_while_one_replica_has_the_object(void **state)
{
    (void)state;
    struct played_cluster *c = cluster_that_scrubs(3, 3, 2, 2);
    write_key(c, 0, "d/k", "x");
    played_run(c, MINUTE);
    lose_row(c, 0, "d/k", false);
    lose_row(c, 1, "d/k", false);
    c->nodes[2].up = false;
    played_run(c, 6 * MINUTE);
    assert_int_equal(sum_of(c).scrub_ghosts, 0);
    c->nodes[2].up = true;
    played_run(c, 6 * MINUTE);
    char *names = played_names(c, 0, "d");
    assert_string_equal(names, "k");
    free(names);
    for (uint32_t i = 0; i < 3; i++) {
        struct object o = OBJECT_EMPTY;
        object_at(c, i, "d/k", false, &o);
        assert_true(object_live(&o));
        object_release(&o);
    }
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_healthy_store_is_left_alone),
        cmocka_unit_test(test_a_rotten_value_is_fetched_again),
        cmocka_unit_test(test_a_value_that_is_gone_shows_in_the_tree_and_comes_back),
        cmocka_unit_test(test_a_wrong_leaf_and_a_lost_row_of_the_index_are_mended),
        cmocka_unit_test(test_a_row_that_comes_after_the_last_slice_is_followed),
        cmocka_unit_test(test_a_row_that_cannot_be_read_stays_in_the_tree),
        cmocka_unit_test(test_a_lost_row_whose_hash_stayed_comes_back),
        cmocka_unit_test(test_an_entry_that_all_replicas_lost_is_made_again),
        cmocka_unit_test(test_an_entry_without_an_object_goes),
        cmocka_unit_test(test_an_entry_stays_while_one_replica_has_the_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
