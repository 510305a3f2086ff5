/* SPDX-License-Identifier: Apache-2.0 */
/* A directory that dies with many dead entries: what cannot be looked at while others wait is
 * looked at later (E16). */
#include <stdio.h>

#include "base/err.h"
#include "engine/replica/replica.h"
#include "engine/replica/rows.h"
#include "played_cluster.h"
#include "unit.h"

#define SECOND 1000000u
#define FILES (CHILDREN_ROWS_MAX + 100u)

static const struct slice no_context = {NULL, 0};

static void put_dir(struct played_cluster *c, const char *key)
{
    const struct put_request q = {
        .key = slice_str(key), .flags = PUT_CURRENT, .type = SIBLING_DIR, .attrs = {.mode = 0755}};
    struct put_reply reply = played_put(c, 0, &q);
    assert_int_equal(reply.status, DYN_OK);
    put_reply_release(&reply);
}

static struct played_cluster *with_many_dead_entries(void)
{
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    put_dir(c, "d");
    for (uint32_t i = 0; i < FILES; i++) {
        char key[16];
        snprintf(key, sizeof(key), "d/f%05u", i);
        assert_int_equal(played_write(c, 0, key, "v", PUT_CURRENT, no_context), DYN_OK);
        assert_int_equal(played_delete(c, 0, key), DYN_OK);
    }
    return c;
}

static uint32_t owed(const struct played_cluster *c, const char *dir)
{
    struct buf row = BUF_EMPTY;
    uint32_t n = 0;
    row_debt(DEBT_DIR, ring_partition_of(c->ring, slice_str(dir)), slice_str(dir), &row);
    for (uint32_t i = 0; i < c->n; i++)
        n += store_memory_holds(c->nodes[i].store, STORE_HINT, buf_slice(&row));
    buf_release(&row);
    return n;
}

static bool is_there(struct played_cluster *c, const char *dir)
{
    const struct get_request q = {.key = slice_str(dir), .want = GET_META};
    struct get_reply reply = played_get(c, 1, &q);
    bool live = object_live(&reply.object);
    assert_true(reply.status == DYN_OK || reply.status == DYN_ERR_NOT_FOUND);
    get_reply_release(&reply);
    return live;
}

static void test_a_directory_with_many_dead_entries_dies_at_once(void **state)
{
    (void)state;
    struct played_cluster *c = with_many_dead_entries();
    assert_int_equal(played_delete(c, 0, "d"), DYN_OK);
    assert_false(is_there(c, "d"));
    assert_in_range(owed(c, "d"), 1, 3); /* it was not looked at in full */
    played_run(c, 10 * SECOND);
    assert_int_equal(owed(c, "d"), 0);
    assert_false(is_there(c, "d"));
    played_cluster_free(c);
}

static void test_what_lives_behind_many_dead_entries_has_its_directory(void **state)
{
    (void)state;
    struct played_cluster *c = with_many_dead_entries();
    assert_int_equal(played_write(c, 0, "d/g", "v", PUT_CURRENT, no_context), DYN_OK);
    assert_int_equal(played_delete(c, 0, "d"), DYN_OK);
    played_run(c, 10 * SECOND);
    assert_true(is_there(c, "d"));
    assert_int_equal(owed(c, "d"), 0);
    assert_true(is_there(c, "d/g"));
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_directory_with_many_dead_entries_dies_at_once),
        cmocka_unit_test(test_what_lives_behind_many_dead_entries_has_its_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
