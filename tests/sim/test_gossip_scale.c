/* SPDX-License-Identifier: Apache-2.0 */
/* Gossip at the size of a large cluster: 100 and 1,000 nodes with Q = 65,536 partitions, each with
 * the state that real nodes gossip (model/rumours.h) and the bodies that they send
 * (engine/membership/gossip.h), played in rounds. What a whole engine would add, a ring for each
 * node, gossip never looks at. */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/membership/gossip.h"
#include "sim_random.h"
#include "unit.h"

#define NODES_MOST 1000u
#define FRAME_BYTES 13u /* the header of a frame */

struct crowd {
    uint32_t n;
    struct rumours *nodes;
    struct sim_random random;
    uint64_t bytes;
};

static void crowd_begin(struct crowd *c, uint32_t n)
{
    char address[32];
    struct rumours first = RUMOURS_EMPTY;
    struct member_event ev = {
        .stamp = 1, .type = MEMBER_CREATE, .cluster = 9, .q = 65536, .n = 3, .r = 2, .w = 2};
    *c = (struct crowd){.n = n, .nodes = mem_zalloc(n * sizeof(*c->nodes))};
    sim_random_init(&c->random, 1, "gossip", n);
    assert_int_equal(history_add(&first.history, &ev, NULL), DYN_OK);
    for (uint32_t i = 0; i < n; i++) {
        struct boot b = {10000 + i, 3, i};
        snprintf(address, sizeof(address), "10.1.%u.%u:7000", i / 256, i % 256);
        ev = (struct member_event){.stamp = 2 + i,
                                   .type = MEMBER_JOIN,
                                   .node = 10000 + i,
                                   .weight = 100,
                                   .address = address};
        assert_int_equal(history_add(&first.history, &ev, NULL), DYN_OK);
        rumours_set_boot(&first, &b);
    }
    for (uint32_t i = 0; i < n; i++) {
        history_copy(&c->nodes[i].history, &first.history);
        rumours_join_boots(&c->nodes[i], &first, NULL, NULL);
    }
    rumours_release(&first);
}

static void crowd_end(struct crowd *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        rumours_release(&c->nodes[i]);
    free(c->nodes);
}

/* One side of an exchange goes over the wire. */
static void tell_all(struct crowd *c, const struct rumours *from, struct rumours *to)
{
    struct rumours got = RUMOURS_EMPTY;
    struct buf body = BUF_EMPTY;
    int status;
    bool changed;
    gossip_exchange_encode(DYN_OK, from, &body);
    c->bytes += FRAME_BYTES + body.len;
    assert_int_equal(gossip_exchange_decode(buf_slice(&body), &status, &got), DYN_OK);
    assert_int_equal(history_join(&to->history, &got.history, &changed), DYN_OK);
    rumours_join_boots(to, &got, NULL, NULL);
    rumours_join_plan(to, &got);
    buf_release(&body);
    rumours_release(&got);
}

static void chat(struct crowd *c, struct rumours *a, struct rumours *b)
{
    struct rumours_digest x, y;
    struct buf body = BUF_EMPTY;
    rumours_digest(a, &x);
    rumours_digest(b, &y);
    gossip_digest_encode(DYN_OK, &x, &body);
    gossip_digest_encode(DYN_OK, &y, &body);
    c->bytes += (uint64_t)2 * FRAME_BYTES + body.len;
    buf_release(&body);
    if (rumours_digest_equal(&x, &y))
        return;
    tell_all(c, a, b);
    tell_all(c, b, a);
}

static void play_round(struct crowd *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t k = (uint32_t)sim_random_below(&c->random, c->n - 1);
        chat(c, &c->nodes[i], &c->nodes[k + (k >= i)]);
    }
}

static uint64_t quiet_bytes(uint32_t n)
{
    struct crowd c;
    crowd_begin(&c, n);
    play_round(&c);
    uint64_t each = c.bytes / n;
    crowd_end(&c);
    return each;
}

static void test_what_a_node_sends_is_flat_from_100_to_1000_nodes(void **state)
{
    (void)state;
    uint64_t small = quiet_bytes(100), large = quiet_bytes(NODES_MOST);
    print_message("# bytes a node and second: %u at 100 nodes, %u at 1,000\n", (unsigned)small,
                  (unsigned)large);
    assert_true(large <= small + small / 50);
    assert_true(large < 256);
}

static void test_a_change_is_known_to_1000_nodes_within_15_rounds(void **state)
{
    (void)state;
    struct crowd c;
    crowd_begin(&c, NODES_MOST);
    static char address[] = "10.9.9.9:7000";
    struct member_event part = {
        .type = MEMBER_JOIN, .node = 99999, .weight = 100, .address = address};
    struct member_event change = {.stamp = history_next_stamp(&c.nodes[0].history),
                                  .node = 10000,
                                  .type = MEMBER_CHANGE,
                                  .parts = &part,
                                  .n_parts = 1};
    assert_int_equal(history_add(&c.nodes[0].history, &change, NULL), DYN_OK);
    uint32_t rounds = 0, know = 1;
    while (know < c.n && rounds < 100) {
        play_round(&c);
        rounds++;
        know = 0;
        for (uint32_t i = 0; i < c.n; i++)
            know += c.nodes[i].history.n == c.nodes[0].history.n;
    }
    print_message("# %u nodes knew of the join after %u rounds, %u bytes a node\n", know, rounds,
                  (unsigned)(c.bytes / c.n));
    assert_int_equal(know, c.n);
    assert_true(rounds <= 15);
    crowd_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_node_sends_is_flat_from_100_to_1000_nodes),
        cmocka_unit_test(test_a_change_is_known_to_1000_nodes_within_15_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
