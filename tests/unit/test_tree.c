/* SPDX-License-Identifier: Apache-2.0 */
/* Trees say the same of the same rows, however these came to be, and another thing of others.
 * Played on clusters, because rows change in several places of the engine and no tree may miss
 * one. */
#include "engine/trees/tree.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "engine/trees/leaf_rows.h"
#include "played_cluster.h"
#include "unit.h"

#define Q 64

static void on_loaded(struct tree_load *l, int err)
{
    *(int *)l->arg = err;
}

static struct tree_hash root_of(struct played_cluster *c, uint32_t node, uint32_t partition)
{
    struct trees *t = c->nodes[node].engine->trees;
    struct tree_hash root = {0, 0};
    int err = 1;
    struct tree_load load = {.done = on_loaded, .arg = &err};
    trees_load(t, partition, &load);
    assert_int_equal(err, DYN_OK); /* a store in memory answers at once */
    assert_true(trees_root(t, partition, &root));
    return root;
}

static bool owns(struct played_cluster *c, uint32_t node, uint32_t partition)
{
    uint64_t nodes[8];
    uint32_t n = ring_preference_list(c->ring, partition, ring_n(c->ring), nodes, ring_n(c->ring));
    for (uint32_t i = 0; i < n; i++)
        if (nodes[i] == node + 1)
            return true;
    return false;
}

/* How many pairs of owners have other roots. */
static uint32_t unequal(struct played_cluster *c)
{
    uint32_t found = 0;
    for (uint32_t p = 0; p < Q; p++)
        for (uint32_t a = 0; a < c->n; a++)
            for (uint32_t b = a + 1; b < c->n; b++) {
                if (!owns(c, a, p) || !owns(c, b, p))
                    continue;
                struct tree_hash x = root_of(c, a, p), y = root_of(c, b, p);
                found += !tree_hash_equal(&x, &y);
            }
    return found;
}

static void write_some(struct played_cluster *c, uint32_t from, uint32_t to)
{
    char key[32], value[32];
    for (uint32_t i = from; i < to; i++) {
        uint32_t at = c->nodes[i % c->n].up ? i % c->n : (i + 1) % c->n;
        snprintf(key, sizeof(key), "dir%u/file%u", i % 3, i % 50);
        snprintf(value, sizeof(value), "%u", i);
        if (i % 7 == 6)
            played_delete(c, at, key);
        else
            assert_int_equal(
                played_write(c, at, key, value, i % 2 ? PUT_CURRENT : 0, slice_of(NULL, 0)),
                DYN_OK);
    }
}

static void test_owners_have_equal_trees(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(4, 3, 2, 2);
    write_some(c, 0, 200);
    played_run(c, 30000000);
    assert_int_equal(unequal(c), 0);
    uint32_t some = 0;
    for (uint32_t p = 0; p < Q; p++) {
        struct tree_hash root = root_of(c, 0, p);
        some += !tree_hash_none(&root);
    }
    assert_true(some > Q / 4);
    played_cluster_free(c);
}

static void test_a_missed_write_shows(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    write_some(c, 0, 20);
    played_run(c, 30000000);
    assert_int_equal(unequal(c), 0);
    c->nodes[2].up = false;
    c->nodes[0].engine->cfg.bug = c->nodes[1].engine->cfg.bug = BUG_NO_HINT;
    assert_int_equal(played_write(c, 0, "missed", "x", 0, slice_of(NULL, 0)), DYN_OK);
    assert_true(unequal(c) >= 2); /* node 2 differs from both others, in the object and the entry */
    played_cluster_free(c);
}

static void test_sums_kept_up_are_those_of_the_rows(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct tree_hash kept[3][Q];
    write_some(c, 0, 50);
    for (uint32_t p = 0; p < Q; p++)
        for (uint32_t i = 0; i < 3; i++)
            root_of(c, i, p); /* from here on they are kept up */
    write_some(c, 50, 300);
    played_run(c, 30000000);
    for (uint32_t p = 0; p < Q; p++)
        for (uint32_t i = 0; i < 3; i++)
            kept[i][p] = root_of(c, i, p);
    for (uint32_t i = 0; i < 3; i++) {
        played_crash(c, i, false);
        played_restart(c, i);
    }
    for (uint32_t p = 0; p < Q; p++)
        for (uint32_t i = 0; i < 3; i++) {
            struct tree_hash again = root_of(c, i, p);
            assert_true(tree_hash_equal(&kept[i][p], &again));
        }
    played_cluster_free(c);
}

static void on_read(struct tree_read *r, int err)
{
    *(int *)r->arg = err;
}

static struct tree_hash sum_below(struct trees *t, uint32_t partition, uint32_t level,
                                  uint32_t index, uint32_t *leaves)
{
    struct tree_hash sum = {0, 0};
    int err = 1;
    struct tree_read r = {.trees = t,
                          .partition = partition,
                          .level = level,
                          .index = index,
                          .done = on_read,
                          .arg = &err};
    trees_read(&r);
    assert_int_equal(err, DYN_OK);
    for (uint32_t i = 0; i < TREE_FANOUT; i++) {
        if (tree_hash_none(&r.child[i]))
            continue;
        if (level + 1 == TREE_LEVELS) {
            ++*leaves;
        } else {
            struct tree_hash below =
                sum_below(t, partition, level + 1, index * TREE_FANOUT + i, leaves);
            assert_true(tree_hash_equal(&below, &r.child[i]));
        }
        tree_hash_add(&sum, &r.child[i]);
    }
    trees_read_release(&r);
    return sum;
}

static void test_each_node_is_the_sum_of_its_children(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(1, 1, 1, 1);
    uint32_t leaves = 0;
    write_some(c, 0, 60);
    played_run(c, 30000000);
    for (uint32_t p = 0; p < Q; p++) {
        struct tree_hash root = root_of(c, 0, p);
        struct tree_hash sum = sum_below(c->nodes[0].engine->trees, p, 0, 0, &leaves);
        assert_true(tree_hash_equal(&root, &sum));
    }
    assert_true(leaves > 60); /* objects and entries of some fifty keys, hardly two in a leaf */
    played_cluster_free(c);
}

/* A copy kept for another is in the tree while it is here, and out of it when it has been handed
 * over. */
static void test_copies_that_are_handed_over_leave_the_tree(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(5, 2, 1, 2);
    uint32_t held = 0;
    c->nodes[0].up = false;
    write_some(c, 0, 100);
    assert_true(played_hints(c) > 0);
    for (uint32_t p = 0; p < Q; p++)
        for (uint32_t i = 1; i < c->n; i++) {
            struct tree_hash root = root_of(c, i, p);
            held += !owns(c, i, p) && !tree_hash_none(&root);
        }
    assert_true(held > 0);
    c->nodes[0].up = true;
    played_run(c, 60000000);
    assert_int_equal(played_hints(c), 0);
    assert_int_equal(unequal(c), 0);
    for (uint32_t p = 0; p < Q; p++)
        for (uint32_t i = 0; i < c->n; i++) {
            struct tree_hash root = root_of(c, i, p);
            assert_true(owns(c, i, p) || tree_hash_none(&root));
        }
    played_cluster_free(c);
}

static void forget_trees(struct store_memory *m)
{
    struct store_port port = store_memory_port(m);
    struct store_batch b = STORE_BATCH_EMPTY;
    const uint8_t odd[STORE_MERGE_LEN] = {1};
    store_batch_delete(&b, STORE_LOCAL, slice_str("tree"));
    store_batch_merge(&b, STORE_TREE, slice_of("\0\0\0\x07\x03l\0\0", 8), odd); /* of another age */
    assert_int_equal(port.write(port.ctx, &b, STORE_BUFFERED, NULL), DYN_OK);
}

static void test_trees_are_built_for_a_store_that_has_none(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    write_some(c, 0, 500);
    played_run(c, 30000000);
    played_crash(c, 1, false);
    forget_trees(c->nodes[1].store);
    played_restart(c, 1);
    assert_false(trees_complete(c->nodes[1].engine->trees));
    for (uint32_t i = 500; i < 560; i++) { /* writes before and behind the walk */
        write_some(c, i, i + 1);
        played_run(c, 300);
    }
    played_run(c, 30000000);
    assert_true(trees_complete(c->nodes[1].engine->trees));
    assert_int_equal(unequal(c), 0);
    played_crash(c, 1, false);
    played_restart(c, 1);
    assert_true(trees_complete(c->nodes[1].engine->trees)); /* and is so from now on */
    assert_int_equal(unequal(c), 0);
    played_cluster_free(c);
}

static void garble(struct played_cluster *c, uint32_t node, const char *key)
{
    struct store_port port = store_memory_port(c->nodes[node].store);
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY;
    struct place at = place_of(c->ring, slice_str(key));
    row_object(&at, slice_str(key), &row);
    store_batch_put(&b, STORE_META, buf_slice(&row), slice_str("rot"));
    assert_int_equal(port.write(port.ctx, &b, STORE_SYNCED, NULL), DYN_OK);
    buf_release(&row);
}

static void on_leaf(struct leaf_rows *l, int err)
{
    *(int *)l->arg = err;
}

/* How many rows of the key's leaf the tree names that cannot be read. */
static uint32_t unreadable(struct played_cluster *c, uint32_t node, const char *key)
{
    struct engine *e = c->nodes[node].engine;
    uint64_t slot = trees_slot(e->trees, ROW_OBJECT, slice_str(key));
    int err = 1;
    struct leaf_rows l = {.e = e,
                          .partition = ring_partition_of(c->ring, slice_str(key)),
                          .leaf = tree_leaf_of(slot),
                          .done = on_leaf,
                          .arg = &err};
    leaf_rows_read(&l);
    assert_int_equal(err, DYN_OK);
    uint32_t found = l.unreadable;
    leaf_rows_release(&l);
    return found;
}

static void test_a_row_that_building_cannot_read_shows_until_it_is_replaced(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    write_some(c, 0, 20);
    assert_int_equal(played_write(c, 0, "k", "x", 0, slice_of(NULL, 0)), DYN_OK);
    played_run(c, 30000000);
    assert_int_equal(unequal(c), 0);
    played_crash(c, 1, false);
    forget_trees(c->nodes[1].store);
    garble(c, 1, "k");
    played_restart(c, 1);
    for (uint32_t i = 0; i < 1000 && !trees_complete(c->nodes[1].engine->trees); i++)
        played_run(c, 1000);
    assert_int_equal(unreadable(c, 1, "k"), 1);
    assert_true(unequal(c) > 0);
    played_run(c, 600000000);
    assert_int_equal(unreadable(c, 1, "k"), 0);
    assert_int_equal(unequal(c), 0);
    played_cluster_free(c);
}

static void test_building_goes_on_after_a_crash(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    char key[32];
    for (uint32_t i = 0; i < 700; i++) {
        snprintf(key, sizeof(key), "many%u", i);
        assert_int_equal(played_write(c, 0, key, "x", 0, slice_of(NULL, 0)), DYN_OK);
    }
    played_run(c, 30000000);
    played_crash(c, 1, false);
    forget_trees(c->nodes[1].store);
    for (uint32_t i = 0; i < 40 && (i == 0 || !trees_complete(c->nodes[1].engine->trees)); i++) {
        if (i > 0)
            played_crash(c, 1, i % 2 == 0);
        played_restart(c, 1);
        played_run(c, 1500);
    }
    played_run(c, 30000000);
    assert_true(trees_complete(c->nodes[1].engine->trees));
    assert_int_equal(unequal(c), 0);
    played_cluster_free(c);
}

static void test_values_not_held_and_marks(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(1, 1, 1, 1);
    struct trees *t = c->nodes[0].engine->trees;
    struct object o = OBJECT_EMPTY, none = OBJECT_EMPTY;
    struct dot dot = {{1, {2, 3}}, 4};
    struct slice key = slice_str("k");
    const struct row_state state_lacking = {.lacks = &dot, .n_lacks = 1};
    clock_advance(&o.clock, &dot, 1000);
    struct tree_hash whole = trees_hash(t, ROW_OBJECT, key, &o, NULL);
    struct tree_hash lacking = trees_hash(t, ROW_OBJECT, key, &o, &state_lacking);
    struct tree_hash entry = trees_hash(t, ROW_ENTRY, key, &o, NULL);
    struct tree_hash absent = trees_hash(t, ROW_OBJECT, key, &none, NULL);
    assert_false(tree_hash_equal(&whole, &lacking));
    assert_false(tree_hash_equal(&whole, &entry));
    assert_true(tree_hash_none(&absent));
    o.clock.pairs[0].time_ms = 2000; /* times do not count */
    struct tree_hash later = trees_hash(t, ROW_OBJECT, key, &o, NULL);
    assert_true(tree_hash_equal(&whole, &later));
    object_release(&o);
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_owners_have_equal_trees),
        cmocka_unit_test(test_a_missed_write_shows),
        cmocka_unit_test(test_sums_kept_up_are_those_of_the_rows),
        cmocka_unit_test(test_each_node_is_the_sum_of_its_children),
        cmocka_unit_test(test_copies_that_are_handed_over_leave_the_tree),
        cmocka_unit_test(test_trees_are_built_for_a_store_that_has_none),
        cmocka_unit_test(test_a_row_that_building_cannot_read_shows_until_it_is_replaced),
        cmocka_unit_test(test_building_goes_on_after_a_crash),
        cmocka_unit_test(test_values_not_held_and_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
