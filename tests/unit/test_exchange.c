/* SPDX-License-Identifier: Apache-2.0 */
/* What neither hints nor reads bring home comes home by the trees, and costs what differs. */
#include "engine/trees/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "engine/trees/tree.h"
#include "played_cluster.h"
#include "unit.h"

#define MINUTE 60000000u

static void write_key(struct played_cluster *c, uint32_t at, const char *key, const char *value)
{
    assert_int_equal(played_write(c, at, key, value, PUT_CURRENT, slice_of(NULL, 0)), DYN_OK);
}

static struct engine_stats stats_of(struct played_cluster *c, uint32_t i)
{
    struct engine_stats s;
    engine_stats(c->nodes[i].engine, &s);
    return s;
}

static uint64_t repaired(struct played_cluster *c)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < c->n; i++)
        sum += stats_of(c, i).exchange_repaired;
    return sum;
}

/* What one node alone says of a key, with the others out of reach. */
static char *alone(struct played_cluster *c, uint32_t node, const char *key)
{
    struct get_request q = {.key = slice_str(key),
                            .want = GET_ALL,
                            .opt = {.r = 1, .sloppy = SLOPPY_NO, .timeout_ms = 300}};
    for (uint32_t i = 0; i < c->n; i++)
        c->nodes[i].up = i == node;
    struct get_reply reply = played_get(c, node, &q);
    struct buf out = BUF_EMPTY;
    for (uint32_t i = 0; i < reply.object.n; i++) {
        const struct sibling *s = &reply.object.siblings[i];
        buf_put_str(&out, i > 0 ? "|" : "");
        if (!sibling_live(s))
            buf_put_str(&out, "deleted");
        else if (s->value != NULL)
            buf_put(&out, s->value->data, s->value->len);
        else
            buf_put_str(&out, "not loaded");
    }
    buf_put_u8(&out, 0);
    get_reply_release(&reply);
    for (uint32_t i = 0; i < c->n; i++)
        c->nodes[i].up = true;
    return (char *)out.data;
}

static void assert_alone(struct played_cluster *c, uint32_t node, const char *key,
                         const char *expected)
{
    char *text = alone(c, node, key);
    assert_string_equal(text, expected);
    free(text);
}

static void lose_hints(struct played_cluster *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (c->nodes[i].engine != NULL)
            c->nodes[i].engine->cfg.bug = BUG_NO_HINT;
}

static void test_a_node_that_was_down_without_hints_is_brought_level(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    lose_hints(c);
    write_key(c, 0, "d/old", "before");
    write_key(c, 0, "d/gone", "before");
    played_run(c, 5 * MINUTE);
    c->nodes[2].up = false;
    write_key(c, 0, "d/new", "while away");
    write_key(c, 1, "d/old", "changed");
    assert_int_equal(played_delete(c, 1, "d/gone"), DYN_OK);
    c->nodes[2].up = true;
    assert_alone(c, 2, "d/new", "");
    played_run(c, 3 * MINUTE);
    assert_alone(c, 2, "d/new", "while away");
    assert_alone(c, 2, "d/old", "changed");
    assert_alone(c, 2, "d/gone", "deleted");
    assert_true(repaired(c) >= 3);
    played_cluster_free(c);
}

static void test_an_empty_disk_is_filled_again(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    char key[32], value[32];
    for (uint32_t i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "dir%u/f%u", i % 5, i);
        snprintf(value, sizeof(value), "value %u", i);
        write_key(c, i % 3, key, value);
    }
    played_run(c, MINUTE);
    played_replace_disk(c, 1);
    played_restart(c, 1);
    played_run(c, 3 * MINUTE);
    for (uint32_t i = 0; i < 300; i += 7) {
        snprintf(key, sizeof(key), "dir%u/f%u", i % 5, i);
        snprintf(value, sizeof(value), "value %u", i);
        assert_alone(c, 1, key, value);
    }
    char *names = played_names(c, 1, "dir0");
    assert_non_null(strstr(names, "f295"));
    free(names);
    played_cluster_free(c);
}

static void test_versions_of_both_sides_meet(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(2, 2, 1, 1);
    lose_hints(c);
    c->nodes[1].up = false;
    assert_int_equal(played_write(c, 0, "k", "left", 0, slice_of(NULL, 0)), DYN_OK);
    c->nodes[1].up = true;
    c->nodes[0].up = false;
    played_run(c, 100000);
    assert_int_equal(played_write(c, 1, "k", "right", 0, slice_of(NULL, 0)), DYN_OK);
    c->nodes[0].up = true;
    played_run(c, 3 * MINUTE);
    for (uint32_t i = 0; i < 2; i++) {
        char *text = alone(c, i, "k");
        assert_non_null(strstr(text, "left"));
        assert_non_null(strstr(text, "right"));
        free(text);
    }
    played_cluster_free(c);
}

static void test_equal_stores_ask_once_a_minute(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    for (uint32_t i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%u", i);
        write_key(c, 0, key, "x");
    }
    played_run(c, 5 * MINUTE);
    struct engine_stats before = stats_of(c, 0);
    played_run(c, 10 * MINUTE);
    struct engine_stats after = stats_of(c, 0);
    uint64_t sessions = after.exchanges - before.exchanges;
    assert_in_range(sessions, 20, 30); /* two peers, ten minutes */
    /* a root for each of 64 partitions, and no more */
    assert_in_range(after.exchange_bytes - before.exchange_bytes, 1, sessions * 64 * 20);
    assert_int_equal(after.exchange_differing, before.exchange_differing);
    played_cluster_free(c);
}

/* The whole directory lies under one position: a tree by positions would be one leaf. */
static void test_one_difference_in_a_large_directory_costs_little(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(2, 2, 1, 2);
    lose_hints(c);
    for (uint32_t i = 0; i < 5000; i++) {
        char key[32];
        snprintf(key, sizeof(key), "large/f%u", i);
        write_key(c, 0, key, "x");
    }
    played_run(c, 5 * MINUTE);
    c->nodes[1].up = false;
    struct put_request q = {.key = slice_str("large/f77"),
                            .flags = PUT_CURRENT,
                            .type = SIBLING_FILE,
                            .attrs = {.mode = 0644},
                            .value = slice_str("y"),
                            .opt = {.w = 1}};
    struct put_reply reply = played_put(c, 0, &q);
    assert_int_equal(reply.status, DYN_OK);
    put_reply_release(&reply);
    c->nodes[1].up = true;
    uint64_t bytes = stats_of(c, 0).exchange_bytes + stats_of(c, 1).exchange_bytes;
    played_run(c, 3 * MINUTE);
    bytes = stats_of(c, 0).exchange_bytes + stats_of(c, 1).exchange_bytes - bytes;
    assert_alone(c, 1, "large/f77", "y");
    assert_true(bytes < 40000); /* most of it roots; two rows of 5,000 differ */
    played_cluster_free(c);
}

/* A disk on which trees cannot be read any more must not keep the node at it for ever. */
static void test_a_session_ends_although_trees_cannot_be_read(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(2, 2, 1, 2);
    write_key(c, 0, "k", "v");
    played_crash(c, 0, false);
    played_restart(c, 0);
    store_memory_fail_reads(c->nodes[0].store, DYN_ERR_CORRUPT);
    uint64_t before = c->frames;
    for (uint32_t i = 0; i < 100 && c->frames < before + 10000; i++)
        played_run(c, MINUTE / 10);
    assert_in_range(c->frames - before, 1, 5000); /* gossip, most of it */
    store_memory_fail_reads(c->nodes[0].store, DYN_OK);
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_node_that_was_down_without_hints_is_brought_level),
        cmocka_unit_test(test_an_empty_disk_is_filled_again),
        cmocka_unit_test(test_versions_of_both_sides_meet),
        cmocka_unit_test(test_equal_stores_ask_once_a_minute),
        cmocka_unit_test(test_one_difference_in_a_large_directory_costs_little),
        cmocka_unit_test(test_a_session_ends_although_trees_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
