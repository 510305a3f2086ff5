/* SPDX-License-Identifier: Apache-2.0 */
/* An object's row that cannot be read any more is replaced by what all other replicas have, and by
 * nothing less. */
#include "engine/trees/bad_rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "engine/peer_wire.h"
#include "engine/replica/replica.h"
#include "engine/trees/tree.h"
#include "played_cluster.h"
#include "unit.h"

#define SECOND 1000000u
#define MINUTE (60 * SECOND)

static void write_key(struct played_cluster *c, uint32_t at, const char *key, const char *value)
{
    assert_int_equal(played_write(c, at, key, value, PUT_CURRENT, slice_of(NULL, 0)), DYN_OK);
}

static void rot(struct played_cluster *c, uint32_t node, const char *key)
{
    struct place at = place_of(c->ring, slice_str(key));
    struct buf row = BUF_EMPTY;
    row_object(&at, slice_str(key), &row);
    assert_true(store_memory_rot(c->nodes[node].store, STORE_META, buf_slice(&row), 0));
    buf_release(&row);
}

struct row {
    struct store_get get;
    int err;
    struct object object;
};

static void on_row(struct store_get *get, int err, struct slice value)
{
    struct row *r = get->arg;
    struct epoch mark;
    r->err = err == DYN_OK ? object_row_decode(value, &mark, &r->object) : err;
}

/* Can the node read its row, and has it seen all that this object has? */
static bool has(struct played_cluster *c, uint32_t node, const char *key, const struct object *all)
{
    struct place at = place_of(c->ring, slice_str(key));
    struct buf name = BUF_EMPTY;
    row_object(&at, slice_str(key), &name);
    struct row r = {.get = {.family = STORE_META, .key = buf_slice(&name), .done = on_row}};
    struct store_port port = store_memory_port(c->nodes[node].store);
    r.get.arg = &r;
    r.object = OBJECT_EMPTY;
    port.get(port.ctx, &r.get);
    bool equal = r.err == DYN_OK && object_equal(&r.object, all);
    object_release(&r.object);
    buf_release(&name);
    return equal;
}

/* What the cluster says, with as many answers as it can have. */
static void read_key(struct played_cluster *c, uint32_t at, const char *key, struct object *out)
{
    const struct get_request q = {.key = slice_str(key), .want = GET_META, .opt = {.r = 2}};
    struct get_reply reply = played_get(c, at, &q);
    assert_int_equal(reply.status, DYN_OK);
    object_copy(out, &reply.object);
    get_reply_release(&reply);
}

static void assert_same_roots(struct played_cluster *c, const char *key)
{
    struct tree_hash root[3] = {{0, 0}};
    uint32_t p = ring_partition_of(c->ring, slice_str(key));
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(trees_root(c->nodes[i].engine->trees, p, &root[i]));
        assert_true(tree_hash_equal(&root[i], &root[0]));
    }
}

static uint64_t mended(struct played_cluster *c, uint32_t node)
{
    struct engine_stats s;
    engine_stats(c->nodes[node].engine, &s);
    return s.bad_rows_mended;
}

static void assert_values(struct played_cluster *c, uint32_t at, const char *key, const char *want)
{
    char *values = played_values(c, at, key);
    assert_string_equal(values, want);
    free(values);
}

static void test_a_row_that_rots_comes_back_from_all_others(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct object all = OBJECT_EMPTY;
    write_key(c, 0, "k", "one");
    assert_int_equal(played_write(c, 1, "k", "two", 0, slice_of(NULL, 0)), DYN_OK);
    played_run(c, SECOND);
    read_key(c, 0, "k", &all);
    assert_int_equal(object_live_count(&all), 2);
    rot(c, 1, "k");
    assert_values(c, 1, "k", "one|two"); /* of the others; this one is noted */
    played_run(c, MINUTE);
    assert_false(has(c, 1, "k", &all)); /* something may still be under way */
    played_run(c, MINUTE);
    assert_true(has(c, 1, "k", &all));
    assert_int_equal(mended(c, 1), 1);
    played_run(c, 3 * MINUTE); /* trees have been compared */
    assert_same_roots(c, "k");
    /* It mints again, and nothing that was minted before. */
    write_key(c, 1, "k", "three");
    assert_int_equal(played_write(c, 1, "k", "four", 0, slice_of(NULL, 0)), DYN_OK);
    played_run(c, SECOND);
    for (uint32_t i = 0; i < 3; i++)
        assert_values(c, i, "k", "three|four");
    /* The values are its own again. */
    c->nodes[0].up = c->nodes[2].up = false;
    const struct get_request q = {.key = slice_str("k"), .want = GET_ALL, .opt = {.r = 1}};
    struct get_reply reply = played_get(c, 1, &q);
    assert_int_equal(reply.status, DYN_OK);
    assert_int_equal(object_live_count(&reply.object), 2);
    assert_true(object_values_loaded(&reply.object));
    get_reply_release(&reply);
    object_release(&all);
    played_cluster_free(c);
}

static bool is_row_of_k(void *arg, enum store_family f, struct slice row)
{
    struct played_cluster *c = arg;
    struct place at = place_of(c->ring, slice_str("k"));
    struct buf own = BUF_EMPTY;
    row_object(&at, slice_str("k"), &own);
    bool is = f == STORE_META && slice_equal(buf_slice(&own), row);
    buf_release(&own);
    return is;
}

/* A disk that reads wrongly what has been written rightly. What is here still counts in the tree,
 * or whoever fills from this node would believe to have all without it (E10). */
static void test_a_row_that_stays_unreadable_still_counts_in_the_tree(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct object all = OBJECT_EMPTY;
    struct tree_hash before, after;
    write_key(c, 0, "k", "one");
    played_run(c, 3 * MINUTE); /* trees have been compared */
    uint32_t p = ring_partition_of(c->ring, slice_str("k"));
    assert_true(trees_root(c->nodes[1].engine->trees, p, &before));
    store_memory_garble(c->nodes[1].store, is_row_of_k, c);
    assert_values(c, 1, "k", "one"); /* of the others; this one is noted */
    played_run(c, 2 * MINUTE);
    assert_int_equal(mended(c, 1), 1);
    assert_true(trees_root(c->nodes[1].engine->trees, p, &after));
    assert_true(tree_hash_equal(&before, &after));
    write_key(c, 0, "k", "two"); /* which cannot be merged here, and replaces the row in the end */
    played_run(c, 10 * MINUTE);
    store_memory_garble(c->nodes[1].store, NULL, NULL);
    read_key(c, 0, "k", &all);
    played_run(c, 60 * MINUTE);
    assert_true(has(c, 1, "k", &all));
    assert_same_roots(c, "k");
    object_release(&all);
    played_cluster_free(c);
}

struct stopping {
    struct played_cluster *c;
    bool stops;
    uint32_t asked, stopped; /* nodes */
};

/* Of the two that node 1 asks, stops the one that is asked last. */
static bool stop_when_asked(void *arg, uint64_t from, uint64_t to, uint8_t type, struct buf *body)
{
    struct stopping *s = arg;
    (void)body;
    if (s->stops && from == 2 && type == FRAME_REPLICA_GET) {
        s->stops = false;
        s->asked = (uint32_t)to - 1;
        s->stopped = 2 - s->asked;
        s->c->nodes[s->stopped].held = true;
    }
    return true;
}

/* It can be read for a moment, while others are asked, takes a write, and cannot be read again. */
static void test_a_row_that_has_taken_a_write_meanwhile_is_not_replaced(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct object all = OBJECT_EMPTY;
    struct stopping s = {.c = c};
    c->judge = stop_when_asked;
    c->judge_arg = &s;
    write_key(c, 0, "k", ""); /* no bytes that could be missing */
    played_run(c, 3 * MINUTE);
    store_memory_garble(c->nodes[1].store, is_row_of_k, c);
    assert_values(c, 1, "k", ""); /* of the others; this one is noted */
    played_run(c, MINUTE);
    s.stops = true;
    for (uint32_t i = 0; i < 1000 && s.stops; i++)
        played_run(c, SECOND / 10);
    assert_false(s.stops);
    store_memory_garble(c->nodes[1].store, NULL, NULL);
    write_key(c, s.asked, "k", "two"); /* to this one and node 1 */
    read_key(c, s.asked, "k", &all);
    store_memory_garble(c->nodes[1].store, is_row_of_k, c);
    c->nodes[s.stopped].held = false; /* and says what it has */
    played_run(c, SECOND);
    store_memory_garble(c->nodes[1].store, NULL, NULL);
    assert_true(has(c, 1, "k", &all));
    object_release(&all);
    played_cluster_free(c);
}

/* What is written meanwhile reaches it in the end. */
static void test_what_was_written_while_it_was_bad_is_in_it(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct object all = OBJECT_EMPTY;
    write_key(c, 0, "k", "old");
    played_run(c, SECOND);
    rot(c, 2, "k");
    write_key(c, 0, "k", "new"); /* what comes to node 2 cannot be merged, and notes it */
    played_run(c, 2 * MINUTE);
    read_key(c, 0, "k", &all);
    assert_true(has(c, 2, "k", &all));
    assert_values(c, 2, "k", "new");
    object_release(&all);
    played_cluster_free(c);
}

/* Of a write that only this replica and one other have, the third knows nothing: with what that one
 * has this node would say, with it, that there was no such write (E13). */
static void test_one_of_two_others_is_not_enough(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct object all = OBJECT_EMPTY;
    write_key(c, 0, "k", "old");
    played_run(c, SECOND);
    c->nodes[0].up = false;
    write_key(c, 1, "k", "new");
    played_run(c, SECOND);
    rot(c, 1, "k");
    c->nodes[2].up = false; /* which has it too */
    c->nodes[0].up = true;
    for (uint32_t i = 0; i < 5; i++) {
        const struct get_request q = {
            .key = slice_str("k"), .want = GET_META, .opt = {.r = 2, .sloppy = SLOPPY_NO}};
        struct get_reply reply = played_get(c, 0, &q);
        assert_int_equal(reply.status, DYN_ERR_NO_QUORUM);
        get_reply_release(&reply);
        played_run(c, MINUTE);
    }
    assert_int_equal(mended(c, 1), 0);
    c->nodes[2].up = true;
    played_run(c, MINUTE);
    assert_values(c, 0, "k", "new");
    assert_values(c, 1, "k", "new"); /* noted again */
    played_run(c, 2 * MINUTE);
    assert_int_equal(mended(c, 1), 1);
    read_key(c, 2, "k", &all);
    assert_true(has(c, 1, "k", &all));
    object_release(&all);
    played_cluster_free(c);
}

/* What nobody else has may be there still, when the row can be read again. */
static void test_a_row_that_nobody_else_has_stays(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 1, 1);
    struct object all = OBJECT_EMPTY;
    c->nodes[0].up = c->nodes[2].up = false;
    const struct put_request put = {.key = slice_str("k"),
                                    .type = SIBLING_FILE,
                                    .value = slice_str("alone"),
                                    .opt = {.w = 1, .sloppy = SLOPPY_NO}};
    struct put_reply done = played_put(c, 1, &put);
    assert_int_equal(done.status, DYN_OK);
    put_reply_release(&done);
    const struct get_request q = {.key = slice_str("k"), .want = GET_META, .opt = {.r = 1}};
    struct get_reply reply = played_get(c, 1, &q);
    object_copy(&all, &reply.object);
    get_reply_release(&reply);
    played_crash(c, 1, false); /* it spreads nothing more by itself */
    played_restart(c, 1);
    rot(c, 1, "k");
    c->nodes[0].up = c->nodes[2].up = true;
    for (uint32_t i = 0; i < 3; i++) {
        reply = played_get(c, 1, &q);
        assert_int_equal(reply.status, DYN_OK);
        assert_true(object_is_absent(&reply.object));
        get_reply_release(&reply);
        played_run(c, 2 * MINUTE);
    }
    struct engine_stats s;
    engine_stats(c->nodes[1].engine, &s);
    assert_true(s.bad_rows > 1 && s.bad_rows_mended == 0);
    rot(c, 1, "k"); /* the same bit: whole again */
    assert_true(has(c, 1, "k", &all));
    played_run(c, 3 * MINUTE);
    assert_true(has(c, 0, "k", &all) && has(c, 2, "k", &all));
    object_release(&all);
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_row_that_rots_comes_back_from_all_others),
        cmocka_unit_test(test_a_row_that_stays_unreadable_still_counts_in_the_tree),
        cmocka_unit_test(test_a_row_that_has_taken_a_write_meanwhile_is_not_replaced),
        cmocka_unit_test(test_what_was_written_while_it_was_bad_is_in_it),
        cmocka_unit_test(test_one_of_two_others_is_not_enough),
        cmocka_unit_test(test_a_row_that_nobody_else_has_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
