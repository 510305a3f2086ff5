/* SPDX-License-Identifier: Apache-2.0 */
/* A stand-in's copy goes with the last hint that it is kept for, and not before. */
#include "engine/replica/hints.h"

#include "base/err.h"
#include "engine/replica/rows.h"
#include "played_cluster.h"
#include "unit.h"

#define SECOND 1000000u
#define STRANGER 99u /* was a member once */

static bool holds_hint(const struct played_cluster *c, uint32_t at, uint64_t target,
                       struct slice key)
{
    struct buf row = BUF_EMPTY;
    row_hint(target, place_of(c->ring, key).partition, ROW_OBJECT, key, &row);
    bool holds = store_memory_holds(c->nodes[at].store, STORE_HINT, buf_slice(&row));
    buf_release(&row);
    return holds;
}

static bool holds_copy(const struct played_cluster *c, uint32_t at, struct slice key)
{
    struct buf row = BUF_EMPTY;
    struct place place = place_of(c->ring, key);
    row_object(&place, key, &row);
    bool holds = store_memory_holds(c->nodes[at].store, STORE_META, buf_slice(&row));
    buf_release(&row);
    return holds;
}

static void put_hint(struct played_cluster *c, uint32_t at, uint64_t target, struct slice key)
{
    struct store_port port = store_memory_port(c->nodes[at].store);
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf name = BUF_EMPTY, row = BUF_EMPTY;
    const struct debt debt = {.since_ms = 1, .bytes = 100};
    row_hint(target, place_of(c->ring, key).partition, ROW_OBJECT, key, &name);
    debt_encode(&debt, &row);
    store_batch_put(&b, STORE_HINT, buf_slice(&name), buf_slice(&row));
    assert_int_equal(port.write(port.ctx, &b, STORE_SYNCED, NULL), DYN_OK);
    buf_release(&name);
    buf_release(&row);
}

/* What is kept for one who has left is for all who own the key (E12): that its copy has come to one
 * of them lets nobody forget it. */
static void test_a_copy_stays_for_the_hint_of_one_who_has_left(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(5, 3, 2, 2);
    struct slice key = slice_str("k");
    uint64_t list[5];
    ring_preference_list(c->ring, ring_partition_of(c->ring, key), 3, list, 5);
    uint32_t first = (uint32_t)list[0] - 1, second = (uint32_t)list[1] - 1,
             third = (uint32_t)list[2] - 1, at = (uint32_t)list[3] - 1;
    c->nodes[first].up = c->nodes[third].up = false;
    assert_int_equal(played_write(c, second, "k", "v", PUT_CURRENT, slice_of(NULL, 0)), DYN_OK);
    played_run(c, SECOND);
    if (!holds_hint(c, at, list[0], key))
        at = (uint32_t)list[4] - 1;
    assert_true(holds_hint(c, at, list[0], key) && holds_copy(c, at, key));
    put_hint(c, at, STRANGER, key);
    played_crash(c, at, false);
    played_restart(c, at);
    c->nodes[first].up = true;
    played_run(c, 20 * SECOND);
    assert_false(holds_hint(c, at, list[0], key));
    assert_true(holds_hint(c, at, STRANGER, key) && holds_copy(c, at, key));
    c->nodes[third].up = true;
    played_run(c, 60 * SECOND);
    assert_false(holds_hint(c, at, STRANGER, key));
    assert_false(holds_copy(c, at, key));
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_copy_stays_for_the_hint_of_one_who_has_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
