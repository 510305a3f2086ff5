/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on N by directory (engine/thin/thin.h): owners beyond the first n let go of values that
 * the first n hold, on their word alone; nothing else is another than without; and what is let go
 * comes back when n grows, or when the row changes, before anybody who has it goes. */
#include "thin_played.h"

#define KEYS 24u

static void name_key(uint32_t i, char key[32])
{
    snprintf(key, 32, "d/f%u", i);
}

static void put_all(struct scenario *s, const char *value)
{
    char key[32];
    for (uint32_t i = 0; i < KEYS; i++) {
        name_key(i, key);
        for (uint32_t k = 0; k < s->cluster->cfg.nodes; k++) {
            if (s->cluster->nodes[k].state != NODE_UP)
                continue;
            put(s, k, key, value);
            break;
        }
    }
}

/* Of the keys: on how many is the value with exactly the first n of the row? */
static uint32_t kept_by(struct scenario *s, uint32_t n)
{
    uint32_t right = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        uint32_t nodes[SIM_NODES_MAX];
        char key[32];
        bool good = true;
        name_key(i, key);
        uint32_t have = sim_cluster_replicas(s->cluster, slice_str(key), 3, nodes);
        for (uint32_t k = 0; k < have; k++)
            good &= (values(s, nodes[k], key) == 1) == (k < n);
        right += good;
    }
    return right;
}

static bool await_kept(struct scenario *s, uint32_t n)
{
    for (uint64_t t = 0; t < LONG_US && kept_by(s, n) != KEYS; t += SIM_SECOND)
        sim_cluster_run(s->cluster, SIM_SECOND);
    return kept_by(s, n) == KEYS;
}

/* All keys are written, and each value is with the first of its row alone. */
static void begin_kept_once(struct scenario *s, uint32_t nodes, const struct engine_config *engine)
{
    scenario_begin_with(s, nodes, 3, 2, 2, engine);
    put_all(s, "one");
    set_n(s, 0, "d", 1);
    assert_true(await_kept(s, 1));
}

static void all_read(struct scenario *s, const char *value)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        char key[32];
        name_key(i, key);
        for (uint32_t node = 0; node < s->cluster->cfg.nodes; node++) {
            struct answer a = {0};
            if (s->cluster->nodes[node].state != NODE_UP)
                continue;
            scenario_get(s, node, key, &a);
            assert_int_equal(a.status, DYN_OK);
            assert_int_equal(answer_live(&a), 1);
            assert_true(answer_has(&a, value));
            answer_release(&a);
        }
    }
}

/* As nodes count them, and as they lie on disk. */
static void assert_thin(struct scenario *s, uint64_t expected)
{
    uint64_t counted = 0, found = 0;
    for (uint32_t i = 0; i < s->cluster->cfg.nodes; i++) {
        struct engine_stats stats;
        engine_stats(s->cluster->nodes[i].engine, &stats);
        counted += stats.thin_now;
        found += rows(s, i, STORE_HINT, slice_str("n"));
    }
    assert_int_equal(counted, expected);
    assert_int_equal(found, expected);
}

/* Rows that exchanges have found to differ, on all nodes. */
static uint64_t differences(struct scenario *s)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->cluster->cfg.nodes; i++)
        n += s->cluster->nodes[i].state == NODE_UP ? stats_of(s, i).exchange_differing : 0;
    return n;
}

/* Down to 2, to 1, and up again, with writes in between. Trees stay equal all the while: a copy
 * without its values differs in nothing that an exchange looks at (E19). */
static void test_n_goes_down_and_up_and_trees_stay_equal(void **state)
{
    (void)state;
    struct scenario s;
    const struct engine_config engine = thin_config();
    scenario_begin_with(&s, 4, 3, 2, 2, &engine);
    put_all(&s, "one");
    sim_cluster_run(s.cluster, 30 * (uint64_t)SIM_SECOND);
    uint64_t before = differences(&s);
    assert_int_equal(kept_by(&s, 3), KEYS);
    set_n(&s, 1, "d", 2);
    assert_true(await_kept(&s, 2));
    all_read(&s, "one");
    set_n(&s, 2, "d", 1);
    assert_true(await_kept(&s, 1));
    all_read(&s, "one");
    assert_thin(&s, 2 * KEYS);
    put_all(&s, "two"); /* to all, and then let go */
    assert_true(await_kept(&s, 1));
    all_read(&s, "two");
    sim_cluster_run(s.cluster, 30 * (uint64_t)SIM_SECOND);
    assert_int_equal(differences(&s), before);
    set_n(&s, 0, "d", 0);
    assert_true(await_kept(&s, 3));
    all_read(&s, "two");
    sim_cluster_run(s.cluster, 30 * (uint64_t)SIM_SECOND);
    assert_int_equal(differences(&s), before);
    assert_thin(&s, 0);
    for (uint32_t i = 0; i < 4; i++) /* nothing is left that would remind of it */
        assert_int_equal(rows(&s, i, STORE_HINT, slice_str("s")), 0);
    scenario_end(&s);
}

/* Who is to keep a value is away, or has missed it: then nobody lets go. */
static void test_nobody_lets_go_of_what_its_keeper_does_not_hold(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = thin_config();
    char key[32];
    uint32_t nodes[SIM_NODES_MAX];
    engine.exchange_us = 0;
    scenario_begin_with(&s, 3, 3, 2, 2, &engine);
    name_key(0, key);
    sim_cluster_replicas(s.cluster, slice_str(key), 3, nodes);
    set_n(&s, 0, "d", 1);
    scenario_isolate(&s, nodes[0], true);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    put(&s, nodes[1], key, "missed");
    sim_cluster_run(s.cluster, 30 * (uint64_t)SIM_SECOND);
    assert_int_equal(values(&s, nodes[1], key), 1);
    assert_int_equal(values(&s, nodes[2], key), 1);
    sim_node_crash(&s.cluster->nodes[nodes[1]], CRASH_POWER);
    sim_node_start(&s.cluster->nodes[nodes[1]]);
    sim_net_heal(s.cluster->net);
    for (uint64_t t = 0; t < LONG_US && values(&s, nodes[1], key) + values(&s, nodes[2], key) > 0;
         t += SIM_SECOND)
        sim_cluster_run(s.cluster, SIM_SECOND);
    assert_int_equal(values(&s, nodes[0], key), 1);
    assert_int_equal(values(&s, nodes[1], key) + values(&s, nodes[2], key), 0);
    sim_node_crash(&s.cluster->nodes[nodes[0]], CRASH_POWER); /* its word was about its disk */
    sim_node_start(&s.cluster->nodes[nodes[0]]);
    sim_cluster_run(s.cluster, 10 * (uint64_t)SIM_SECOND);
    struct answer a = {0};
    scenario_get(&s, nodes[2], key, &a);
    assert_int_equal(a.status, DYN_OK);
    assert_true(answer_has(&a, "missed"));
    answer_release(&a);
    scenario_end(&s);
}

/* The keeper is away: what it keeps cannot be had now, which is not that it is no more; and what
 * needs no value goes on. */
static void test_a_keeper_that_is_away_is_no_quorum_and_a_write_goes_on(void **state)
{
    (void)state;
    struct scenario s;
    const struct engine_config engine = thin_config();
    struct answer a = {0};
    char key[32];
    uint32_t nodes[SIM_NODES_MAX];
    begin_kept_once(&s, 3, &engine);
    name_key(0, key);
    sim_cluster_replicas(s.cluster, slice_str(key), 3, nodes);
    scenario_isolate(&s, nodes[0], true);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    scenario_get(&s, nodes[1], key, &a);
    assert_int_equal(a.status, DYN_ERR_NO_QUORUM);
    put(&s, nodes[2], key, "two");
    scenario_get(&s, nodes[1], key, &a);
    assert_int_equal(a.status, DYN_OK);
    assert_true(answer_has(&a, "two"));
    sim_net_heal(s.cluster->net);
    sim_cluster_run(s.cluster, 5 * (uint64_t)SIM_SECOND);
    put_all(&s, "two");
    assert_true(await_kept(&s, 1));
    all_read(&s, "two");
    answer_release(&a);
    scenario_end(&s);
}

static void chosen(void *arg, int err)
{
    *(int *)arg = err;
}

/* Also what a plan would refuse, such as to go on with fewer nodes than N. */
static void propose(struct scenario *s, const struct member_event *part)
{
    struct engine *e = s->cluster->nodes[0].engine;
    struct member_event one = *part;
    struct member_event change = {
        .type = MEMBER_CHANGE, .node = s->cluster->nodes[0].id, .parts = &one, .n_parts = 1};
    int err = 1;
    change.stamp = history_next_stamp(ring_history(engine_ring(e)));
    memcpy(change.base, ring_config(engine_ring(e)), DIGEST_LEN);
    engine_propose(e, &change, chosen, &err);
    for (uint32_t i = 0; i < 600 && err == 1; i++)
        sim_cluster_run(s->cluster, SIM_SECOND / 10);
    assert_int_equal(err, DYN_OK);
}

static void leave_anyway(struct scenario *s, uint32_t node)
{
    const struct member_event part = {.type = MEMBER_LEAVE, .node = s->cluster->nodes[node].id};
    propose(s, &part);
    for (uint32_t i = 0; i < 600 && !sim_cluster_agrees(s->cluster); i++)
        sim_cluster_run(s->cluster, SIM_SECOND / 10);
    assert_true(sim_cluster_agrees(s->cluster));
}

static void stop_for_good(struct scenario *s, uint32_t node)
{
    sim_node_crash(&s->cluster->nodes[node], CRASH_KILL);
    sim_cluster_run(s->cluster, 3 * (uint64_t)SIM_SECOND);
}

/* Every node but one leaves, one after the other, and is switched off as soon as nothing moves.
 * Each kept a share of the values as their only keeper; where a fourth node is there it takes over,
 * later those who stay do, who had let go. */
static void test_who_leaves_is_needed_for_nothing(void **state)
{
    (void)state;
    struct scenario s;
    const struct engine_config engine = thin_config();
    begin_kept_once(&s, 4, &engine);
    for (uint32_t gone = 3; gone > 1; gone--) {
        leave_anyway(&s, gone);
        stop_for_good(&s, gone);
        if (gone == 2)
            s.opt.n = 2;
        all_read(&s, "one");
        assert_true(await_kept(&s, 1));
        all_read(&s, "one");
    }
    scenario_end(&s);
}

/* Who joins takes all values, wherever it stands in a row, and others let go of theirs. */
static void test_who_joins_takes_over_what_it_is_to_keep(void **state)
{
    (void)state;
    struct scenario s;
    const struct engine_config engine = thin_config();
    char address[32];
    scenario_begin_members(&s, 4, 3, 3, 2, 2, &engine);
    put_all(&s, "one");
    set_n(&s, 0, "d", 1);
    assert_true(await_kept(&s, 1));
    struct member_event join = sim_join_of(s.cluster, 3, 0, address);
    scenario_change(&s, 0, &join);
    all_read(&s, "one");
    assert_true(await_kept(&s, 1));
    all_read(&s, "one");
    struct member_event leave = {.type = MEMBER_LEAVE, .node = s.cluster->nodes[3].id};
    scenario_change(&s, 0, &leave);
    stop_for_good(&s, 3);
    assert_true(await_kept(&s, 1));
    all_read(&s, "one"); /* also what some had let go of before it came */
    scenario_end(&s);
}

struct written {
    bool over;
    int err;
};

static void written(struct replica_write *w, int err)
{
    *(struct written *)w->arg = (struct written){true, err};
}

/* What was agreed upon under one ring is not done under another: whoever said that it holds the
 * value may have found meanwhile that this node is to keep it. */
static void test_nothing_is_let_go_under_another_ring_than_was_asked_under(void **state)
{
    (void)state;
    struct scenario s;
    const struct engine_config engine = thin_config();
    struct answer a = {0};
    char key[32];
    uint32_t nodes[SIM_NODES_MAX];
    scenario_begin_with(&s, 3, 3, 2, 2, &engine);
    name_key(0, key);
    sim_cluster_replicas(s.cluster, slice_str(key), 3, nodes);
    put(&s, 0, key, "one");
    sim_cluster_run(s.cluster, SIM_SECOND);
    scenario_get(&s, 0, key, &a);
    struct dot dot = a.object.siblings[0].value_dot;
    struct engine *e = s.cluster->nodes[nodes[2]].engine;
    uint8_t asked[DIGEST_LEN];
    object_hash(&a.object, asked);
    for (uint64_t ago = 2; ago-- > 0;) { /* the ring before this one, and this one */
        struct object nothing = OBJECT_EMPTY;
        struct written done = {0};
        struct replica_write w = {.e = e,
                                  .key = slice_str(key),
                                  .roles = ROLE_OBJECT,
                                  .incoming = &nothing,
                                  .thin = &dot,
                                  .n_thin = 1,
                                  .generation = e->generation - ago,
                                  .thin_if = asked,
                                  .done = written,
                                  .arg = &done};
        replica_write_start(&w);
        for (uint32_t i = 0; i < 100 && !done.over; i++)
            sim_cluster_run(s.cluster, SIM_SECOND / 100);
        assert_true(done.over);
        assert_int_equal(done.err, ago == 0 ? DYN_OK : DYN_ERR_REFUSED);
        assert_int_equal(values(&s, nodes[2], key), ago);
        replica_write_release(&w);
    }
    answer_release(&a);
    scenario_end(&s);
}

/* Other attributes for the one version that the reader was shown, over the same value. */
static int chmod_at(struct scenario *s, uint32_t node, const char *key, const struct answer *shown)
{
    struct answer a = {0};
    struct buf context = context_whole(shown);
    struct slice contexts[1] = {buf_slice(&context)};
    struct sim_request q = {.type = FRAME_PUT, .put = scenario_put_request(s, key, NULL)};
    q.put.type = SIBLING_FILE;
    q.put.flags = PUT_KEEP_VALUE;
    q.put.attrs.mode = 0600;
    q.put.value_dot = shown->object.siblings[0].value_dot;
    q.put.contexts = contexts;
    q.put.n_contexts = 1;
    scenario_send(s, VIA_KV, node, &q, &a);
    int status = a.status;
    buf_release(&context);
    answer_release(&a);
    return status;
}

/* A chmod where the value is thin, that its keeper does not hear of; the keeper takes an overwrite
 * of the version before, and the value goes there. What W have acknowledged they hold by
 * themselves, and do not let go of on the word of somebody who has not seen it. */
static void test_a_new_version_of_a_thin_value_does_not_rely_on_keepers_of_the_old(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = thin_config();
    struct answer shown = {0}, a = {0};
    char key[32];
    uint32_t nodes[SIM_NODES_MAX];
    engine.exchange_us = 0;
    begin_kept_once(&s, 3, &engine);
    name_key(0, key);
    sim_cluster_replicas(s.cluster, slice_str(key), 3, nodes);
    scenario_get(&s, nodes[2], key, &shown);
    struct gate gate = {.to = nodes[0], .type = FRAME_REPLICA_PUT, .fate = FATE_DROP};
    sim_net_set_judge(s.cluster->net, guard, &gate);
    assert_int_equal(chmod_at(&s, nodes[2], key, &shown), DYN_OK);
    assert_int_equal(values(&s, nodes[1], key) + values(&s, nodes[2], key), 2);
    sim_cluster_run(s.cluster, 30 * (uint64_t)SIM_SECOND);
    assert_int_equal(values(&s, nodes[1], key) + values(&s, nodes[2], key), 2);
    assert_true(gate.met > 0);
    struct gate others = {.to = UINT32_MAX};
    s.opt.w = 1;
    scenario_cut(&s, nodes[0], nodes[1], true);
    scenario_cut(&s, nodes[0], nodes[2], true);
    struct buf context = context_whole(&shown);
    scenario_put(&s, nodes[0], key, "two", &context, 0, &a);
    assert_int_equal(a.status, DYN_OK);
    sim_net_set_judge(s.cluster->net, guard, &others);
    sim_net_heal(s.cluster->net);
    scenario_settle(&s);
    s.opt.r = 3;
    scenario_get(&s, nodes[1], key, &a);
    assert_int_equal(a.status, DYN_OK);
    assert_int_equal(answer_live(&a), 2); /* the chmod and the overwrite */
    assert_true(answer_has(&a, "one") && answer_has(&a, "two"));
    for (uint64_t t = 0; t < LONG_US && values(&s, nodes[1], key) + values(&s, nodes[2], key) > 0;
         t += SIM_SECOND)
        sim_cluster_run(s.cluster, SIM_SECOND);
    assert_int_equal(values(&s, nodes[0], key), 2);
    assert_int_equal(values(&s, nodes[1], key) + values(&s, nodes[2], key), 0);
    buf_release(&context);
    answer_release(&shown);
    answer_release(&a);
    scenario_end(&s);
}

/* It comes back before what it had has gone, thin as it was, and is to keep what it let go of then.
 * Whoever gives it the partition soon drops it. */
static void test_who_comes_back_thin_fetches_what_it_is_to_keep(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = thin_config();
    char address[32];
    engine.retired_us = 20 * (uint64_t)SIM_SECOND;
    begin_kept_once(&s, 4, &engine);
    struct member_event leave = {.type = MEMBER_LEAVE, .node = s.cluster->nodes[3].id};
    scenario_change(&s, 0, &leave);
    set_n(&s, 0, "d", 1);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    struct member_event join = sim_join_of(s.cluster, 3, 0, address);
    scenario_change(&s, 0, &join);
    sim_cluster_run(s.cluster, 60 * (uint64_t)SIM_SECOND);
    all_read(&s, "one");
    assert_true(await_kept(&s, 1));
    scenario_end(&s);
}

/* A key that this node has behind that one. */
static bool find_later(struct scenario *s, uint32_t node, uint32_t first, char key[32])
{
    for (uint32_t i = 0; i < KEYS; i++) {
        uint32_t nodes[SIM_NODES_MAX];
        name_key(i, key);
        sim_cluster_replicas(s->cluster, slice_str(key), 3, nodes);
        if (nodes[0] == first && (nodes[1] == node || nodes[2] == node))
            return true;
    }
    return false;
}

/* It comes back thin while the one that keeps the value cannot be reached from there: until it has
 * the value it has not filled, for by then the others need nobody's word but its own. */
static void test_who_comes_back_thin_has_not_filled(void **state)
{
    (void)state;
    struct scenario s;
    const struct engine_config engine = thin_config();
    char address[32], key[32];
    begin_kept_once(&s, 4, &engine);
    assert_true(find_later(&s, 3, 1, key));
    leave_anyway(&s, 3);
    assert_int_equal(values(&s, 1, key), 1);
    scenario_cut(&s, 3, 1, true);
    const struct member_event join = sim_join_of(s.cluster, 3, 0, address);
    propose(&s, &join);
    sim_cluster_run(s.cluster, 30 * (uint64_t)SIM_SECOND);
    struct ring *ring = engine_ring(s.cluster->nodes[0].engine);
    const struct move *mv = ring_move(ring, ring_partition_of(ring, slice_str(key)));
    assert_int_equal(values(&s, 3, key), 0);
    assert_true(mv != NULL && move_is_filling(mv, s.cluster->nodes[3].id));
    sim_net_heal(s.cluster->net);
    assert_true(await_kept(&s, 1));
    all_read(&s, "one");
    scenario_end(&s);
}

/* The only keeper is lost with its disk. Its values are, for that is what n = 1 means; but the
 * change that takes it out comes to its end, and what was not lost with it is there. */
static void test_a_lost_keeper_does_not_keep_its_removal_from_ending(void **state)
{
    (void)state;
    struct scenario s;
    const struct engine_config engine = thin_config();
    uint32_t lost = 0;
    begin_kept_once(&s, 4, &engine);
    sim_node_lose(&s.cluster->nodes[3]);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    struct member_event remove = {.type = MEMBER_REMOVE, .node = s.cluster->nodes[3].id};
    scenario_change(&s, 0, &remove);
    for (uint32_t i = 0; i < KEYS; i++) {
        struct answer a = {0};
        char key[32];
        name_key(i, key);
        scenario_get(&s, i % 3, key, &a);
        lost += a.status != DYN_OK;
        assert_true(a.status != DYN_OK || answer_has(&a, "one"));
        answer_release(&a);
    }
    assert_true(lost > 0 && lost < KEYS);
    put_all(&s, "two");
    assert_true(await_kept(&s, 1));
    all_read(&s, "two");
    scenario_end(&s);
}

/* A second version beside the one that is there. */
static void put_beside(struct scenario *s, uint32_t node, const char *key, const char *value)
{
    struct answer a = {0};
    scenario_put(s, node, key, value, NULL, 0, &a);
    assert_int_equal(a.status, DYN_OK);
    answer_release(&a);
}

/* One version's value is lost with its keeper; that of another, which came later, has a keeper that
 * leaves. Those who stay take it over, though they will never have all of the key's values. */
static void test_a_value_beside_a_lost_one_is_fetched_all_the_same(void **state)
{
    (void)state;
    struct scenario s;
    const struct engine_config engine = thin_config();
    char key[32];
    uint32_t found = 0;
    begin_kept_once(&s, 4, &engine);
    sim_node_lose(&s.cluster->nodes[3]);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    struct member_event remove = {.type = MEMBER_REMOVE, .node = s.cluster->nodes[3].id};
    scenario_change(&s, 0, &remove);
    bool lost[KEYS];
    for (uint32_t i = 0; i < KEYS; i++) {
        name_key(i, key);
        lost[i] = values(&s, 0, key) + values(&s, 1, key) + values(&s, 2, key) == 0;
        if (lost[i])
            put_beside(&s, 0, key, "beside");
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        name_key(i, key);
        assert_true(!lost[i] || await_values(&s, key, 1, 0));
        found += lost[i] && values(&s, 2, key) == 1;
    }
    assert_true(found > 0);
    leave_anyway(&s, 2);
    stop_for_good(&s, 2);
    for (uint32_t i = 0; i < KEYS; i++) {
        name_key(i, key);
        assert_true(!lost[i] || values(&s, 0, key) + values(&s, 1, key) > 0);
    }
    scenario_end(&s);
}

/* More values of one key than a message holds: they come back one after the other. */
static void test_values_that_fit_into_no_message_together_come_back(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = thin_config();
    const char *key = "d/f0";
    engine.frame_values_max = 8;
    scenario_begin_with(&s, 4, 3, 2, 2, &engine);
    put(&s, 0, key, "first-");
    put_beside(&s, 0, key, "second");
    put_beside(&s, 1, key, "third-");
    set_n(&s, 0, "d", 1);
    assert_true(await_values(&s, key, 3, 0));
    set_n(&s, 0, "d", 0);
    assert_true(await_values(&s, key, 3, 3));
    scenario_end(&s);
}

/* The keeper of a value is lost before one of the others has heard of the version. Nobody can bring
 * it the value, and the version goes on all the same: trees become equal, and moves end. */
static void test_a_version_whose_value_is_lost_still_spreads(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = thin_config();
    struct answer a = {0};
    const char *key = "d/f0";
    uint32_t nodes[SIM_NODES_MAX];
    scenario_begin_with(&s, 4, 3, 2, 2, &engine);
    s.opt.sloppy = SLOPPY_NO;
    put(&s, 0, "d/other", "there");
    set_n(&s, 0, "d", 1);
    sim_cluster_replicas(s.cluster, slice_str(key), 3, nodes);
    for (uint32_t i = 0; i < 4; i++)
        scenario_cut(&s, nodes[2], i, i != nodes[2]);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    put(&s, nodes[0], key, "one");
    for (uint64_t t = 0; t < LONG_US && values(&s, nodes[1], key) > 0; t += SIM_SECOND / 10)
        sim_cluster_run(s.cluster, SIM_SECOND / 10);
    assert_int_equal(values(&s, nodes[0], key), 1);
    assert_int_equal(values(&s, nodes[1], key), 0);
    sim_node_lose(&s.cluster->nodes[nodes[0]]);
    sim_net_heal(s.cluster->net);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    struct member_event remove = {.type = MEMBER_REMOVE, .node = s.cluster->nodes[nodes[0]].id};
    scenario_change(&s, nodes[1], &remove);
    sim_cluster_run(s.cluster, 30 * (uint64_t)SIM_SECOND);
    assert_true(has_row(&s, nodes[2], key, false));
    uint64_t before = differences(&s);
    sim_cluster_run(s.cluster, 30 * (uint64_t)SIM_SECOND);
    assert_int_equal(differences(&s), before);
    put(&s, nodes[1], key, "two");
    scenario_get(&s, nodes[2], key, &a);
    assert_int_equal(a.status, DYN_OK);
    assert_true(answer_has(&a, "two"));
    answer_release(&a);
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_n_goes_down_and_up_and_trees_stay_equal),
        cmocka_unit_test(test_nobody_lets_go_of_what_its_keeper_does_not_hold),
        cmocka_unit_test(test_a_keeper_that_is_away_is_no_quorum_and_a_write_goes_on),
        cmocka_unit_test(test_who_leaves_is_needed_for_nothing),
        cmocka_unit_test(test_who_joins_takes_over_what_it_is_to_keep),
        cmocka_unit_test(test_nothing_is_let_go_under_another_ring_than_was_asked_under),
        cmocka_unit_test(test_a_new_version_of_a_thin_value_does_not_rely_on_keepers_of_the_old),
        cmocka_unit_test(test_who_comes_back_thin_fetches_what_it_is_to_keep),
        cmocka_unit_test(test_who_comes_back_thin_has_not_filled),
        cmocka_unit_test(test_a_lost_keeper_does_not_keep_its_removal_from_ending),
        cmocka_unit_test(test_a_value_beside_a_lost_one_is_fetched_all_the_same),
        cmocka_unit_test(test_values_that_fit_into_no_message_together_come_back),
        cmocka_unit_test(test_a_version_whose_value_is_lost_still_spreads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
