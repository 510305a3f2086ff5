/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on the reaping of deletes (E15, E18, E11): what could bring a deleted file back, at
 * exactly the moment at which it would. Most are played twice: as it is, and with tombstones that
 * are reaped too soon, to show that the scenario would see it. */
#include "engine/reap_wire.h"
#include "engine/rows.h"
#include "scenario.h"

#define LIFE_US (2 * (uint64_t)SIM_SECOND)
#define REAPED_US (12 * (uint64_t)SIM_SECOND) /* by then, where nothing is in the way */

static struct engine_config quick(enum engine_bug bug)
{
    struct engine_config c;
    engine_config_defaults(&c);
    c.reap_us = SIM_SECOND / 5;
    c.reap_after_ms = 0;
    c.message_life_us = LIFE_US;
    c.exchange_us = 3 * SIM_SECOND;
    c.scrub_us = 0;
    c.bug = bug;
    return c;
}

static void begin(struct scenario *s, uint32_t nodes, enum engine_bug bug)
{
    const struct engine_config engine = quick(bug);
    scenario_begin_with(s, nodes, 3, 2, 2, &engine);
}

static void got_row(struct store_get *get, int err, struct slice value)
{
    (void)value;
    *(int *)get->arg = err;
}

/* What a node has on its disk of a key: the object's row, or the entry's. */
static bool has_row(struct scenario *s, uint32_t node, const char *key, bool entry)
{
    struct ring *ring = sim_cluster_ring(s->cluster);
    struct store_port store = sim_disk_port(s->cluster->nodes[node].disk);
    struct slice k = slice_str(key);
    struct place at = place_of(ring, entry ? key_parent(k) : k);
    struct buf row = BUF_EMPTY;
    int err = 1;
    if (entry)
        row_entry(&at, key_parent(k), key_name(k), &row);
    else
        row_object(&at, k, &row);
    struct store_get get = {
        .family = STORE_META, .key = buf_slice(&row), .done = got_row, .arg = &err};
    store.get(store.ctx, &get);
    assert_int_not_equal(err, 1);
    buf_release(&row);
    return err == DYN_OK;
}

/* On how many nodes something is left of it. */
static uint32_t holders(struct scenario *s, const char *key)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->cluster->cfg.nodes; i++)
        n += has_row(s, i, key, false) || has_row(s, i, key, true);
    return n;
}

static bool await_holders(struct scenario *s, const char *key, uint32_t n, uint64_t for_us)
{
    for (uint64_t t = 0; t < for_us && holders(s, key) != n; t += SIM_SECOND / 20)
        sim_cluster_run(s->cluster, SIM_SECOND / 20);
    for (uint32_t i = 0; holders(s, key) != n && i < s->cluster->cfg.nodes; i++) {
        struct engine_stats t;
        engine_stats(s->cluster->nodes[i].engine, &t);
        print_message(
            "node %u: object %d entry %d; %llu tombstones, %llu prepared; kept back: away "
            "%llu, hints %llu, copies %llu, differ %llu; has %llu hints\n",
            i, has_row(s, i, key, false), has_row(s, i, key, true),
            (unsigned long long)t.tombstones, (unsigned long long)t.tombstones_prepared,
            (unsigned long long)t.reap_blocked_away, (unsigned long long)t.reap_blocked_hints,
            (unsigned long long)t.reap_blocked_copies, (unsigned long long)t.reap_blocked_differ,
            (unsigned long long)t.hints_now);
    }
    return holders(s, key) == n;
}

static struct engine_stats stats_of(const struct scenario *s, uint32_t node)
{
    struct engine_stats stats;
    engine_stats(s->cluster->nodes[node].engine, &stats);
    return stats;
}

static void put(struct scenario *s, uint32_t node, const char *key, const char *value)
{
    struct answer a = {0};
    scenario_put(s, node, key, value, NULL, PUT_CURRENT, &a);
    assert_int_equal(a.status, DYN_OK);
    answer_release(&a);
}

/* Acknowledged by all N. */
static void delete_at_all(struct scenario *s, uint32_t node, const char *key)
{
    struct request_options opt = s->opt;
    s->opt.w = opt.n;
    put(s, node, key, NULL);
    s->opt = opt;
}

static bool lives(struct scenario *s, uint32_t node, const char *key)
{
    struct answer a = {0};
    struct request_options opt = s->opt;
    s->opt.r = opt.n;
    scenario_get(s, node, key, &a);
    assert_int_equal(a.status, DYN_OK);
    bool live = answer_live(&a) > 0;
    answer_release(&a);
    s->opt = opt;
    return live;
}

static void test_a_delete_leaves_nothing_behind(void **state)
{
    (void)state;
    struct scenario s;
    begin(&s, 3, BUG_NONE);
    put(&s, 0, "f", "one");
    delete_at_all(&s, 1, "f");
    assert_int_equal(holders(&s, "f"), 3);
    sim_cluster_run(s.cluster, LIFE_US / 2);
    assert_int_equal(holders(&s, "f"), 3); /* a message could still be under way */
    assert_true(await_holders(&s, "f", 0, REAPED_US));
    sim_cluster_run(s.cluster, 5 * (uint64_t)SIM_SECOND);
    assert_int_equal(holders(&s, "f"), 0);
    for (uint32_t i = 0; i < 3; i++) {
        struct engine_stats stats = stats_of(&s, i);
        assert_int_equal(stats.reaped, 1);
        assert_int_equal(stats.reaped_entries, 1);
        assert_int_equal(stats.tombstones, 0);
    }
    put(&s, 2, "f", "two"); /* and the key may be used again */
    assert_true(lives(&s, 0, "f"));
    scenario_end(&s);
}

static void test_what_lives_is_never_reaped(void **state)
{
    (void)state;
    struct scenario s;
    begin(&s, 3, BUG_NONE);
    put(&s, 0, "f", "one");
    delete_at_all(&s, 0, "f");
    sim_cluster_run(s.cluster, LIFE_US); /* it is prepared */
    put(&s, 1, "f", "again");
    sim_cluster_run(s.cluster, REAPED_US);
    assert_true(lives(&s, 2, "f"));
    assert_int_equal(holders(&s, "f"), 3);
    assert_true(stats_of(&s, 0).reap_cancelled > 0);
    assert_int_equal(stats_of(&s, 0).reaped, 0);
    scenario_end(&s);
}

/* Node 3 keeps a hint for node 2 and is cut off; the others have the delete. */
static bool comes_back_from_a_hint(enum engine_bug bug)
{
    struct scenario s;
    char key[32];
    begin(&s, 4, bug);
    scenario_key(&s, (uint32_t[]){0, 1, 2}, 3, "", key);
    scenario_isolate(&s, 2, true);
    sim_cluster_run(s.cluster, 2 * (uint64_t)SIM_SECOND);
    s.opt.sloppy = SLOPPY_YES;
    s.opt.w = 3;
    put(&s, 0, key, "one");
    s.opt.sloppy = SLOPPY_NO;
    s.opt.w = 2;
    assert_true(has_row(&s, 3, key, false));
    scenario_isolate(&s, 3, true);
    scenario_isolate(&s, 2, false);
    scenario_isolate(&s, 3, true);
    sim_cluster_run(s.cluster, 5 * (uint64_t)SIM_SECOND);
    delete_at_all(&s, 0, key);
    sim_cluster_run(s.cluster, 2 * REAPED_US);
    if (bug == BUG_NONE) {
        assert_int_equal(stats_of(&s, 0).reaped, 0); /* somebody is away */
        assert_true(stats_of(&s, 0).reap_blocked_away + stats_of(&s, 1).reap_blocked_away +
                        stats_of(&s, 2).reap_blocked_away >
                    0);
    }
    sim_net_heal(s.cluster->net);
    sim_cluster_run(s.cluster, 5 * (uint64_t)SIM_SECOND);
    bool back = lives(&s, 0, key);
    if (bug == BUG_NONE)
        assert_true(await_holders(&s, key, 0, 3 * REAPED_US));
    scenario_end(&s);
    return back;
}

static void test_a_hint_on_a_node_that_is_away_brings_nothing_back(void **state)
{
    (void)state;
    assert_false(comes_back_from_a_hint(BUG_NONE));
    assert_true(comes_back_from_a_hint(BUG_EARLY_REAP));
}

/* Holds, or drops, the messages of one type to one node. */
struct gate {
    uint32_t to;
    uint8_t type;
    enum sim_fate fate;
    uint32_t met;
};

/* Nothing comes to node 2 but by its own exchanges, and of those the last answer waits. */
static enum sim_fate hold_the_exchange(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                       struct slice body)
{
    uint32_t *held = arg;
    (void)from;
    (void)body;
    if (to == 2 && type == FRAME_REPLICA_PUT)
        return FATE_DROP;
    if (to != 2 || type != FRAME_TREE_LEAVES + FRAME_REPLY)
        return FATE_CHANCE;
    ++*held;
    return FATE_HOLD;
}

static enum sim_fate guard(void *arg, uint32_t from, uint32_t to, uint8_t type, struct slice body)
{
    struct gate *g = arg;
    (void)from;
    (void)body;
    if (to != g->to || type != g->type)
        return FATE_CHANCE;
    g->met++;
    return g->fate;
}

/* The first write to node 2 is stuck in a socket, and comes out when the delete has been reaped. */
static bool comes_back_from_a_socket(enum engine_bug bug)
{
    struct scenario s;
    struct gate gate = {.to = 2, .type = FRAME_REPLICA_PUT, .fate = FATE_HOLD};
    begin(&s, 3, bug);
    sim_net_set_judge(s.cluster->net, guard, &gate);
    put(&s, 0, "f", "one");
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    assert_true(gate.met > 0);
    delete_at_all(&s, 0, "f");
    assert_true(await_holders(&s, "f", 0, REAPED_US));
    assert_true(sim_net_release_held(s.cluster->net) > 0);
    sim_cluster_run(s.cluster, SIM_SECOND / 2);
    bool back = lives(&s, 1, "f");
    if (bug == BUG_NONE)
        assert_int_equal(stats_of(&s, 2).reap_too_old, 1);
    scenario_end(&s);
    return back;
}

static void test_an_old_put_in_a_stalled_socket_brings_nothing_back(void **state)
{
    (void)state;
    assert_false(comes_back_from_a_socket(BUG_NONE));
    assert_true(comes_back_from_a_socket(BUG_EARLY_REAP));
}

/* Node 2 compares trees with node 0, and what it is told of the file waits in the network. */
static bool comes_back_from_an_exchange(enum engine_bug bug)
{
    struct scenario s;
    struct engine_config engine = quick(bug);
    uint32_t held = 0;
    engine.request_timeout_us = 120 * (uint64_t)SIM_SECOND; /* the exchange waits for its answer */
    engine.message_life_us = 5 * LIFE_US;
    scenario_begin_with(&s, 3, 3, 2, 2, &engine);
    sim_net_set_judge(s.cluster->net, hold_the_exchange, &held);
    put(&s, 0, "f", ""); /* bytes, nobody would have any more */
    for (uint32_t i = 0; i < 200 && held == 0; i++)
        sim_cluster_run(s.cluster, SIM_SECOND / 10);
    assert_true(held > 0);
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    sim_cluster_run(s.cluster, 2 * (uint64_t)SIM_SECOND); /* what is young is left alone */
    delete_at_all(&s, 0, "f");
    assert_true(await_holders(&s, "f", 0, 3 * REAPED_US));
    assert_true(sim_net_release_held(s.cluster->net) > 0);
    sim_cluster_run(s.cluster, SIM_SECOND / 2);
    bool back = lives(&s, 1, "f");
    scenario_end(&s);
    return back;
}

static void test_a_paused_exchange_brings_nothing_back(void **state)
{
    (void)state;
    assert_false(comes_back_from_an_exchange(BUG_NONE));
    assert_true(comes_back_from_an_exchange(BUG_EARLY_REAP));
}

static enum sim_fate no_drop_at_2(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                  struct slice body)
{
    struct reap_request m;
    (void)arg;
    (void)from;
    if (to != 2 || type != FRAME_REAP || reap_request_decode(body, &m) != DYN_OK)
        return FATE_CHANCE;
    bool drops = m.step == REAP_DROP && m.n > 0 && m.items[0].kind == ROW_OBJECT;
    reap_request_release(&m);
    return drops ? FATE_DROP : FATE_CHANCE;
}

/* Nodes 0 and 1 have let go, node 2 has not heard of it: the tombstone does not come back to them,
 * nor stay for ever. */
static void test_what_is_half_reaped_is_not_brought_back(void **state)
{
    (void)state;
    struct scenario s;
    uint32_t leader[3];
    char key[32];
    begin(&s, 3, BUG_NONE);
    for (uint32_t i = 0;; i++) { /* led by another than node 2 */
        snprintf(key, sizeof(key), "f%u", i);
        sim_cluster_replicas(s.cluster, slice_str(key), 3, leader);
        if (leader[0] != 2)
            break;
    }
    put(&s, 0, key, "one");
    sim_net_set_judge(s.cluster->net, no_drop_at_2, NULL);
    delete_at_all(&s, 0, key);
    assert_true(await_holders(&s, key, 1, REAPED_US));
    assert_true(has_row(&s, 2, key, false));
    for (uint32_t i = 0; i < 100; i++) { /* three exchanges of each pair */
        sim_cluster_run(s.cluster, SIM_SECOND / 10);
        assert_false(has_row(&s, 0, key, false) || has_row(&s, 1, key, false));
    }
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    assert_true(await_holders(&s, key, 0, 60 * (uint64_t)SIM_SECOND));
    assert_false(lives(&s, 0, key));
    scenario_end(&s);
}

static void test_a_node_that_restarts_waits_anew(void **state)
{
    (void)state;
    struct scenario s;
    begin(&s, 3, BUG_NONE);
    put(&s, 0, "f", "one");
    delete_at_all(&s, 0, "f");
    sim_cluster_run(s.cluster, LIFE_US);
    assert_true(stats_of(&s, 1).reap_prepared > 0);
    sim_node_crash(&s.cluster->nodes[1], CRASH_KILL);
    sim_node_start(&s.cluster->nodes[1]);
    sim_cluster_run(s.cluster, LIFE_US);
    assert_int_equal(holders(&s, "f"), 3);
    assert_true(await_holders(&s, "f", 0, 2 * REAPED_US));
    scenario_end(&s);
}

/* The delete is on the coordinator's disk, and in node 2's page cache when that votes. Then the
 * power goes. */
static bool comes_back_from_a_lost_cache(enum engine_bug bug)
{
    struct scenario s;
    begin(&s, 3, bug);
    s.opt.durability = DURABILITY_QUORUM;
    s.opt.w = 3;
    put(&s, 0, "f", "one");
    s.opt.durability = DURABILITY_ONE;
    delete_at_all(&s, 0, "f");
    assert_true(await_holders(&s, "f", 0, 3 * REAPED_US));
    struct store_memory_image *synced = sim_disk_backup(s.cluster->nodes[2].disk);
    sim_node_crash(&s.cluster->nodes[2], CRASH_POWER);
    sim_disk_restore(s.cluster->nodes[2].disk, synced); /* of what was not, nothing at all */
    sim_node_start(&s.cluster->nodes[2]);
    sim_cluster_run(s.cluster, 10 * (uint64_t)SIM_SECOND);
    bool back = lives(&s, 1, "f");
    scenario_end(&s);
    return back;
}

static void test_a_vote_stands_on_the_disk(void **state)
{
    (void)state;
    assert_false(comes_back_from_a_lost_cache(BUG_NONE));
    assert_true(comes_back_from_a_lost_cache(BUG_UNSYNCED_VOTE));
}

/* One node is gone for good: nothing is reaped, until it is removed (E25). */
static void test_a_dead_node_stops_reaping_until_it_is_removed(void **state)
{
    (void)state;
    struct scenario s;
    char key[32];
    begin(&s, 4, BUG_NONE);
    scenario_key(&s, (uint32_t[]){0, 1, 2}, 3, "", key);
    put(&s, 0, key, "one");
    delete_at_all(&s, 0, key);
    sim_node_crash(&s.cluster->nodes[3], CRASH_KILL);
    sim_cluster_run(s.cluster, 3 * REAPED_US);
    assert_true(holders(&s, key) >= 3);
    struct member_event remove = {.type = MEMBER_REMOVE, .node = s.cluster->nodes[3].id};
    scenario_change(&s, 0, &remove);
    bool gone = false;
    for (uint32_t i = 0; i < 300 && !gone; i++) {
        sim_cluster_run(s.cluster, SIM_SECOND / 5);
        gone = true;
        for (uint32_t k = 0; k < 3; k++)
            gone &= !has_row(&s, k, key, false) && !has_row(&s, k, key, true);
    }
    assert_true(gone);
    scenario_end(&s);
}

static bool on_copy(struct store_scan *scan, struct slice row, struct slice value)
{
    (void)row;
    (void)value;
    ++*(uint32_t *)scan->arg;
    return true;
}

static void on_copies(struct store_scan *scan, int err, bool more)
{
    (void)scan;
    (void)more;
    assert_int_equal(err, DYN_OK);
}

static uint32_t rows_in_all(struct scenario *s, uint32_t node)
{
    struct store_port store = sim_disk_port(s->cluster->nodes[node].disk);
    uint32_t found = 0;
    struct store_scan scan = {.family = STORE_META,
                              .max_rows = UINT32_MAX,
                              .max_bytes = UINT64_MAX,
                              .row = on_copy,
                              .done = on_copies,
                              .arg = &found};
    store.scan(store.ctx, &scan);
    return found;
}

/* Rows that a node has of partitions that it does not own. */
static uint32_t copies(struct scenario *s, uint32_t node, enum store_family family)
{
    struct ring *ring = sim_cluster_ring(s->cluster);
    struct store_port store = sim_disk_port(s->cluster->nodes[node].disk);
    uint32_t found = 0;
    for (uint32_t p = 0; p < ring_q(ring); p++) {
        uint64_t nodes[3];
        struct buf prefix = BUF_EMPTY;
        ring_preference_list(ring, p, 3, nodes, 3);
        bool owned = false;
        for (uint32_t i = 0; i < 3; i++)
            owned |= nodes[i] == s->cluster->nodes[node].id;
        buf_put_u32_be(&prefix, p);
        struct store_scan scan = {.family = family,
                                  .prefix = buf_slice(&prefix),
                                  .max_rows = UINT32_MAX,
                                  .max_bytes = UINT64_MAX,
                                  .row = on_copy,
                                  .done = on_copies,
                                  .arg = &found};
        if (!owned)
            store.scan(store.ctx, &scan);
        buf_release(&prefix);
    }
    return found;
}

static uint32_t all_copies(struct scenario *s)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < s->cluster->cfg.nodes; i++)
        found += copies(s, i, STORE_META) + copies(s, i, STORE_VALUE) + copies(s, i, STORE_TREE);
    return found;
}

/* A directory and what was in it: first that, then the directory, and what was known of it. */
static void test_a_directory_goes_after_what_was_in_it(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    begin(&s, 3, BUG_NONE);
    scenario_mkdir(&s, 0, "d", &a);
    put(&s, 0, "d/f", "one");
    delete_at_all(&s, 1, "d/f");
    sim_cluster_run(s.cluster, LIFE_US / 2);
    delete_at_all(&s, 1, "d");
    for (uint32_t i = 0; i < 400 && holders(&s, "d") > 0; i++) {
        sim_cluster_run(s.cluster, SIM_SECOND / 10);
        assert_true(holders(&s, "d/f") == 0 || holders(&s, "d") == 3);
    }
    assert_int_equal(holders(&s, "d"), 0);
    put(&s, 0, "d/g", "two"); /* what lies below finds it again */
    sim_cluster_run(s.cluster, 2 * REAPED_US);
    scenario_list(&s, 1, "", 100, &a);
    assert_string_equal((const char *)a.listing.data, "d ");
    delete_at_all(&s, 1, "d/g");
    delete_at_all(&s, 1, "d");
    assert_true(await_holders(&s, "d", 0, 3 * REAPED_US));
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(rows_in_all(&s, i), 1); /* when the root was changed */
    answer_release(&a);
    scenario_end(&s);
}

/* A fourth node takes a share. The old owners' copies keep deletes from being reaped for their day,
 * and then go, with values and trees; nothing else does. */
static void test_copies_of_what_has_moved_are_dropped_and_block_until_then(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = quick(BUG_NONE);
    char address[32], key[32], moved[32] = "";
    engine.retired_us = 40 * (uint64_t)SIM_SECOND;
    scenario_begin_members(&s, 4, 3, 3, 2, 2, &engine);
    for (uint32_t i = 0; i < 60; i++) {
        snprintf(key, sizeof(key), "d%u/f", i);
        put(&s, i % 3, key, "kept");
    }
    struct member_event join = sim_join_of(s.cluster, 3, 0, address);
    scenario_change(&s, 0, &join);
    for (uint32_t i = 0; i < 60; i++) {
        uint32_t owners[3];
        snprintf(key, sizeof(key), "d%u/f", i);
        sim_cluster_replicas(s.cluster, slice_str(key), 3, owners);
        if (owners[0] == 3 || owners[1] == 3 || owners[2] == 3)
            snprintf(moved, sizeof(moved), "%s", key);
    }
    assert_true(moved[0] != '\0');
    assert_true(all_copies(&s) > 0);
    delete_at_all(&s, 0, moved);
    sim_cluster_run(s.cluster, 2 * REAPED_US);
    assert_true(holders(&s, moved) >= 3);
    sim_cluster_run(s.cluster, 40 * (uint64_t)SIM_SECOND);
    for (uint32_t i = 0; i < 60 && all_copies(&s) > 0; i++)
        sim_cluster_run(s.cluster, SIM_SECOND);
    assert_int_equal(all_copies(&s), 0);
    assert_true(await_holders(&s, moved, 0, 2 * REAPED_US));
    for (uint32_t i = 0; i < 60; i++) {
        snprintf(key, sizeof(key), "d%u/f", i);
        if (strcmp(key, moved) != 0)
            assert_true(lives(&s, i % 4, key));
    }
    sim_cluster_run(s.cluster, 6 * (uint64_t)SIM_SECOND);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(stats_of(&s, i).retired_partitions, 0);
    scenario_end(&s);
}

/* Node 3 stands in for node 2, which stays away for longer than copies are kept: what is kept for
 * somebody is no copy of what one owns no more. */
static void test_what_is_kept_for_another_is_not_dropped(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = quick(BUG_NONE);
    char key[32];
    engine.retired_us = 2 * (uint64_t)SIM_SECOND;
    scenario_begin_with(&s, 4, 3, 2, 2, &engine);
    scenario_key(&s, (uint32_t[]){0, 1, 2}, 3, "", key);
    scenario_isolate(&s, 2, true);
    sim_cluster_run(s.cluster, 2 * (uint64_t)SIM_SECOND);
    s.opt.sloppy = SLOPPY_YES;
    put(&s, 0, key, "one");
    sim_cluster_run(s.cluster, 60 * (uint64_t)SIM_SECOND);
    assert_true(has_row(&s, 3, key, false));
    assert_int_equal(stats_of(&s, 3).retired_rows, 0);
    sim_net_heal(s.cluster->net);
    sim_cluster_run(s.cluster, 10 * (uint64_t)SIM_SECOND);
    assert_int_equal(stats_of(&s, 3).hints_now, 0);
    assert_false(has_row(&s, 3, key, false));
    assert_true(has_row(&s, 2, key, false));
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_delete_leaves_nothing_behind),
        cmocka_unit_test(test_what_lives_is_never_reaped),
        cmocka_unit_test(test_a_hint_on_a_node_that_is_away_brings_nothing_back),
        cmocka_unit_test(test_an_old_put_in_a_stalled_socket_brings_nothing_back),
        cmocka_unit_test(test_a_paused_exchange_brings_nothing_back),
        cmocka_unit_test(test_what_is_half_reaped_is_not_brought_back),
        cmocka_unit_test(test_a_node_that_restarts_waits_anew),
        cmocka_unit_test(test_a_vote_stands_on_the_disk),
        cmocka_unit_test(test_a_dead_node_stops_reaping_until_it_is_removed),
        cmocka_unit_test(test_a_directory_goes_after_what_was_in_it),
        cmocka_unit_test(test_copies_of_what_has_moved_are_dropped_and_block_until_then),
        cmocka_unit_test(test_what_is_kept_for_another_is_not_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
