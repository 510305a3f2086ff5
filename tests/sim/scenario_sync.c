/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on sync (F13): what was acknowledged from memory gets onto W disks, whoever of the
 * replicas has missed it, and whoever is away. Links are cut where machines would be stopped:
 * nobody hears anything. */
#include "engine/replica/rows.h"
#include "scenario.h"

#define SECOND (uint64_t) SIM_SECOND
#define SOON (SECOND + SECOND / 2) /* some replica timeouts */

static enum sim_fate no_replica_puts(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                     struct slice body)
{
    (void)arg;
    (void)from;
    (void)to;
    (void)body;
    return type == FRAME_REPLICA_PUT ? FATE_DROP : FATE_CHANCE;
}

static void put(struct scenario *s, uint32_t node, const char *key, struct answer *a)
{
    scenario_put(s, node, key, "value", NULL, 0, a);
    assert_int_equal(a->status, DYN_OK);
}

/* The status of a sync at this node, which takes no longer than `within`. */
static int sync_status(struct scenario *s, uint32_t node, const char *key, const struct dot *dot,
                       uint64_t within)
{
    struct answer a = {0};
    uint64_t begun = s->world.now_us;
    struct sim_request q = {.type = FRAME_SYNC,
                            .sync = {.opt = s->opt, .key = slice_str(key), .dot = *dot}};
    q.sync.opt.durability = DURABILITY_QUORUM;
    q.sync.opt.timeout_ms = 20000;
    scenario_send(s, VIA_KV, node, &q, &a);
    int status = a.status;
    answer_release(&a);
    assert_true(s->world.now_us - begun <= within);
    return status;
}

/* On how many disks the version is, whatever happens to the machines. */
static uint32_t disks_with(struct scenario *s, const char *key, const struct dot *dot)
{
    uint32_t n = 0;
    struct buf row = BUF_EMPTY;
    struct place at = place_of(sim_cluster_ring(s->cluster), slice_str(key));
    row_value(&at, slice_str(key), dot, &row);
    for (uint32_t i = 0; i < s->cluster->cfg.nodes; i++)
        n += sim_disk_holds_value(s->cluster->nodes[i].disk, buf_slice(&row));
    buf_release(&row);
    return n;
}

/* Nodes 0 and 1 have it in memory. Node 2 has missed it and is back, and no hint, read or exchange
 * has reached it; then node 1 is silent. */
static void miss_it(struct scenario *s, const char *key, struct answer *a)
{
    scenario_isolate(s, 2, true);
    put(s, 0, key, a);
    sim_cluster_run(s->cluster, SECOND);
    sim_net_set_judge(s->cluster->net, no_replica_puts, NULL);
    scenario_isolate(s, 2, false);
    sim_cluster_run(s->cluster, 5 * SECOND); /* the nodes find each other */
    sim_net_set_judge(s->cluster->net, NULL, NULL);
    scenario_isolate(s, 1, true);
    assert_int_equal(disks_with(s, key, &a->dot), 0);
}

static void test_f13_who_has_missed_a_version_takes_it_with_the_sync(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    scenario_begin(&s, 3, 3, 2, 2);
    miss_it(&s, "k", &a);
    assert_int_equal(sync_status(&s, 0, "k", &a.dot, SECOND / 10), DYN_OK);
    assert_int_equal(disks_with(&s, "k", &a.dot), 2);
    answer_release(&a);
    scenario_end(&s);
}

static void test_f13_a_coordinator_that_has_missed_a_version_finds_it(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    scenario_begin(&s, 3, 3, 2, 2);
    miss_it(&s, "k", &a);
    assert_int_equal(sync_status(&s, 2, "k", &a.dot, SOON), DYN_OK);
    assert_int_equal(disks_with(&s, "k", &a.dot), 2);
    answer_release(&a);
    scenario_end(&s);
}

/* Who coordinates has no copy, and whoever is to take it asks for its value. */
static void test_f13_a_node_that_is_no_replica_has_a_version_synced(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    char key[32];
    scenario_begin(&s, 4, 3, 2, 2);
    scenario_key(&s, (uint32_t[]){0, 1, 2}, 3, "", key);
    miss_it(&s, key, &a);
    assert_int_equal(sync_status(&s, 3, key, &a.dot, SOON), DYN_OK);
    assert_int_equal(disks_with(&s, key, &a.dot), 2);
    answer_release(&a);
    scenario_end(&s);
}

/* Whichever it is, in the order of the preference list. */
static void test_f13_a_replica_that_is_down_costs_a_sync_nothing(void **state)
{
    (void)state;
    for (uint32_t victim = 0; victim < 3; victim++) {
        struct scenario s;
        struct answer a = {0};
        scenario_begin(&s, 3, 3, 2, 2);
        put(&s, victim, "k", &a);
        sim_cluster_run(s.cluster, SECOND);
        scenario_isolate(&s, victim, true);
        sim_cluster_run(s.cluster, 5 * SECOND);
        for (uint32_t i = 0; i < 3; i++)
            if (i != victim)
                assert_int_equal(sync_status(&s, i, "k", &a.dot, SOON), DYN_OK);
        assert_int_equal(disks_with(&s, "k", &a.dot), 2);
        answer_release(&a);
        scenario_end(&s);
    }
}

/* A chunk is an object like others, in no listing. */
static void test_e8_a_chunk_that_somebody_has_missed_is_synced_as_well(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    scenario_begin(&s, 3, 3, 2, 2);
    const char *key = ".dynamount/chunk/0123456789abcdef0123456789abcdef/0";
    miss_it(&s, key, &a);
    assert_int_equal(sync_status(&s, 0, key, &a.dot, SECOND / 10), DYN_OK);
    assert_int_equal(disks_with(&s, key, &a.dot), 2);
    answer_release(&a);
    scenario_end(&s);
}

/* Whoever read the manifest of another's file knows no version of its chunks. */
static void test_e8_a_chunk_whose_version_nobody_names_is_synced_as_well(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    const struct dot any = {0};
    const char *key = ".dynamount/chunk/0123456789abcdef0123456789abcdef/0";
    const char *none = ".dynamount/chunk/0123456789abcdef0123456789abcdef/1";
    for (uint32_t node = 0; node < 3; node += 2) { /* one that has it, one that has missed it */
        scenario_begin(&s, 3, 3, 2, 2);
        miss_it(&s, key, &a);
        assert_int_equal(sync_status(&s, node, key, &any, SOON), DYN_OK);
        assert_int_equal(disks_with(&s, key, &a.dot), 2);
        assert_int_equal(sync_status(&s, node, none, &any, 20 * SECOND), DYN_ERR_TIMEOUT);
        sim_net_heal(s.cluster->net);
        sim_cluster_run(s.cluster, 5 * SECOND);
        assert_int_equal(sync_status(&s, node, none, &any, SOON), DYN_ERR_NOT_FOUND);
        answer_release(&a);
        a = (struct answer){0};
        scenario_end(&s);
    }
}

static void test_f13_a_stalled_disk_does_not_hold_a_sync_that_others_have_done(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    scenario_begin(&s, 3, 3, 2, 2);
    put(&s, 0, "k", &a);
    sim_cluster_run(s.cluster, SECOND);
    sim_disk_pace(s.cluster->nodes[2].disk, 60 * SECOND);
    assert_int_equal(sync_status(&s, 0, "k", &a.dot, SECOND / 10), DYN_OK);
    assert_int_equal(sync_status(&s, 1, "k", &a.dot, SECOND / 10), DYN_OK);
    answer_release(&a);
    scenario_end(&s);
}

/* Nodes 0, 1 and 2 are the primaries, and only 0 can be reached: its copy and the stand-in's, with
 * a hint, are what a put has, and what a sync has. A strict one wants primaries. */
static void test_f13_a_stand_in_counts_for_a_sync_as_it_does_for_a_put(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    char key[32];
    scenario_begin(&s, 4, 3, 2, 2);
    scenario_key(&s, (uint32_t[]){0, 1, 2}, 3, "", key);
    scenario_isolate(&s, 1, true);
    scenario_isolate(&s, 2, true);
    s.opt.sloppy = SLOPPY_YES;
    put(&s, 0, key, &a);
    s.opt.sloppy = SLOPPY_NO;
    assert_int_equal(sync_status(&s, 0, key, &a.dot, 20 * SECOND), DYN_ERR_NO_QUORUM);
    s.opt.sloppy = SLOPPY_YES;
    assert_int_equal(sync_status(&s, 0, key, &a.dot, SOON), DYN_OK);
    assert_int_equal(disks_with(&s, key, &a.dot), 2);
    answer_release(&a);
    scenario_end(&s);
}

/* A sync of what nobody has is not waited for. */
static void test_f13_a_version_that_no_replica_has_seen_is_stale_at_once(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    scenario_begin(&s, 3, 3, 2, 2);
    put(&s, 0, "k", &a);
    struct dot later = a.dot;
    later.counter++;
    assert_int_equal(sync_status(&s, 0, "k", &later, SECOND / 10), DYN_ERR_STALE);
    assert_int_equal(sync_status(&s, 0, "none", &a.dot, SECOND / 10), DYN_ERR_STALE);
    scenario_isolate(&s, 2, true); /* who might have it */
    assert_int_equal(sync_status(&s, 0, "none", &a.dot, 20 * SECOND), DYN_ERR_TIMEOUT);
    answer_release(&a);
    scenario_end(&s);
}

/* A stand-in's word is no replica's: what it has not seen may be where nobody could ask. */
static void test_f13_a_stand_in_does_not_say_that_a_version_is_lost(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    char key[32];
    scenario_begin(&s, 4, 3, 2, 2);
    scenario_key(&s, (uint32_t[]){0, 1, 2}, 3, "", key);
    scenario_isolate(&s, 0, true);
    scenario_isolate(&s, 1, true);
    s.opt.w = 1;
    put(&s, 2, key, &a);
    scenario_isolate(&s, 2, true);
    scenario_isolate(&s, 0, false);
    scenario_isolate(&s, 1, false);
    scenario_isolate(&s, 2, true);
    sim_cluster_run(s.cluster, 5 * SECOND);
    s.opt.sloppy = SLOPPY_YES;
    s.opt.w = 2;
    int status = sync_status(&s, 0, key, &a.dot, 20 * SECOND);
    assert_true(status == DYN_ERR_TIMEOUT || status == DYN_ERR_NO_QUORUM);
    sim_net_heal(s.cluster->net);
    sim_cluster_run(s.cluster, 5 * SECOND);
    assert_int_equal(sync_status(&s, 0, key, &a.dot, SOON), DYN_OK);
    answer_release(&a);
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f13_who_has_missed_a_version_takes_it_with_the_sync),
        cmocka_unit_test(test_f13_a_coordinator_that_has_missed_a_version_finds_it),
        cmocka_unit_test(test_f13_a_node_that_is_no_replica_has_a_version_synced),
        cmocka_unit_test(test_f13_a_replica_that_is_down_costs_a_sync_nothing),
        cmocka_unit_test(test_e8_a_chunk_that_somebody_has_missed_is_synced_as_well),
        cmocka_unit_test(test_e8_a_chunk_whose_version_nobody_names_is_synced_as_well),
        cmocka_unit_test(test_f13_a_stalled_disk_does_not_hold_a_sync_that_others_have_done),
        cmocka_unit_test(test_f13_a_stand_in_counts_for_a_sync_as_it_does_for_a_put),
        cmocka_unit_test(test_f13_a_stand_in_does_not_say_that_a_version_is_lost),
        cmocka_unit_test(test_f13_a_version_that_no_replica_has_seen_is_stale_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
