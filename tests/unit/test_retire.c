/* SPDX-License-Identifier: Apache-2.0 */
/* What a node drops of a partition that it owns no more, while it stands in for who owns it. */
#include "engine/transfer/retire.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "engine/replica/rows.h"
#include "played_cluster.h"
#include "unit.h"

#define SECOND 1000000u
#define KEYS 40u

struct keys { /* of one partition, in the order of their rows */
    char name[KEYS][16];
};

static void find_keys(const struct played_cluster *c, uint32_t partition, struct keys *keys)
{
    uint32_t n = 0;
    for (uint32_t i = 0; n < KEYS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "k%u", i);
        if (ring_partition_of(c->ring, slice_str(name)) != partition)
            continue;
        struct place at = place_of(c->ring, slice_str(name));
        uint32_t to = n++;
        for (; to > 0; to--) {
            struct place before = place_of(c->ring, slice_str(keys->name[to - 1]));
            if (memcmp(before.pos.bytes, at.pos.bytes, sizeof(at.pos.bytes)) < 0)
                break;
            memcpy(keys->name[to], keys->name[to - 1], sizeof(name));
        }
        memcpy(keys->name[to], name, sizeof(name));
    }
}

static void object_row(const struct played_cluster *c, const char *key, struct buf *row)
{
    struct place at = place_of(c->ring, slice_str(key));
    row_object(&at, slice_str(key), row);
}

/* As a move leaves it behind. */
static void copy_to(struct played_cluster *c, uint32_t from, uint32_t to, const char *key)
{
    struct store_port port = store_memory_port(c->nodes[to].store);
    const struct get_request q = {.key = slice_str(key), .want = GET_META};
    const struct row_state none = ROW_STATE_NONE;
    struct get_reply got = played_get(c, from, &q);
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf name = BUF_EMPTY, row = BUF_EMPTY;
    assert_int_equal(got.status, DYN_OK);
    object_row(c, key, &name);
    row_encode(&none, &got.object, &row);
    store_batch_put(&b, STORE_META, buf_slice(&name), buf_slice(&row));
    assert_int_equal(port.write(port.ctx, &b, STORE_SYNCED, NULL), DYN_OK);
    buf_release(&name);
    buf_release(&row);
    get_reply_release(&got);
}

static bool holds(const struct played_cluster *c, uint32_t at, const char *key)
{
    struct buf row = BUF_EMPTY;
    object_row(c, key, &row);
    bool holds = store_memory_holds(c->nodes[at].store, STORE_META, buf_slice(&row));
    buf_release(&row);
    return holds;
}

static uint64_t dropped(const struct played_cluster *c, uint32_t at)
{
    struct engine_stats s;
    engine_stats(c->nodes[at].engine, &s);
    return s.retired_rows;
}

static void test_what_becomes_a_hint_while_it_is_dropped_stays(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(5, 3, 2, 2);
    const uint32_t partition = 7;
    struct keys keys;
    uint64_t list[5];
    ring_preference_list(c->ring, partition, 3, list, 5);
    uint32_t owner = (uint32_t)list[0] - 1, other = (uint32_t)list[1] - 1,
             at = (uint32_t)list[3] - 1;
    const char *last = keys.name[KEYS - 1];
    find_keys(c, partition, &keys);
    for (uint32_t i = 0; i < KEYS; i++)
        assert_int_equal(played_write(c, owner, keys.name[i], "v", PUT_CURRENT, slice_of(NULL, 0)),
                         DYN_OK);
    played_run(c, SECOND);
    for (uint32_t i = 0; i < KEYS; i++)
        copy_to(c, owner, at, keys.name[i]);
    c->cfg.retired_us = 2 * SECOND;
    played_crash(c, at, false);
    played_restart(c, at);
    played_slow_disk(c, at, 10000);
    for (uint32_t i = 0; i < 1000 && dropped(c, at) == 0; i++)
        played_run(c, 10000);
    assert_in_range(dropped(c, at), 1, KEYS / 2);
    c->nodes[owner].up = false;
    assert_int_equal(played_write(c, other, last, "w", PUT_CURRENT, slice_of(NULL, 0)), DYN_OK);
    for (uint32_t i = 0; i < 200 && played_hints(c) == 0; i++)
        played_run(c, 10000);
    assert_true(played_hints(c) > 0 && holds(c, at, last));
    played_run(c, 20 * SECOND);
    assert_true(dropped(c, at) >= KEYS - 1);
    assert_false(holds(c, at, keys.name[0]));
    assert_true(holds(c, at, last));
    c->nodes[owner].up = true;
    played_run(c, 20 * SECOND);
    assert_int_equal(played_hints(c), 0);
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_becomes_a_hint_while_it_is_dropped_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
