/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on being told of changes (model/watch.h): while a directory is covered, each write that
 * is acknowledged is told within a second, or the loss of the cover is noticed soon, whatever
 * becomes of nodes and messages. What a split does is played too. */
#include <stdio.h>

#include "engine/fragments/fragments.h"
#include "model/watch.h"
#include "scenario.h"

struct watcher {
    struct watch_port port;
    bool covered;
    uint32_t lost;
    char name[16];
    struct clock seen; /* of the file of this name, which the test writes */
};

static void on_covered(void *ctx, struct slice dir)
{
    (void)dir;
    ((struct watcher *)ctx)->covered = true;
}

static void on_lost(void *ctx, struct slice dir)
{
    struct watcher *w = ctx;
    (void)dir;
    w->covered = false;
    w->lost++;
}

static void on_changed(void *ctx, const struct watch_event *e)
{
    struct watcher *w = ctx;
    if (e->kind == WATCH_NAME && slice_equal(e->name, slice_str(w->name)))
        clock_join(&w->seen, &e->state.clock);
}

/* The client library is there once it has been used. */
static void begin_watching(struct scenario *s, struct watcher *w)
{
    const struct sim_request q = {
        .type = FRAME_GET,
        .get = {.opt = {.timeout_ms = 5000}, .key = slice_str("d"), .want = GET_META}};
    const struct watch_events events = {w, on_covered, on_lost, on_changed};
    struct answer none = {0};
    scenario_send(s, VIA_LIBRARY, 0, &q, &none);
    answer_release(&none);
    *w = (struct watcher){.name = "f", .seen = CLOCK_EMPTY};
    w->port = client_watch(sim_client_library(&s->client), &events);
    w->port.want(w->port.ctx, slice_str("d"));
}

static void run_until_covered(struct scenario *s, const struct watcher *w)
{
    for (int i = 0; i < 60 && !w->covered; i++)
        sim_cluster_run(s->cluster, SIM_SECOND);
    assert_true(w->covered);
}

static uint32_t telling_node(struct scenario *s)
{
    for (uint32_t i = 0; i < s->cluster->cfg.nodes; i++) {
        struct engine_stats stats;
        if (s->cluster->nodes[i].state != NODE_UP)
            continue;
        engine_stats(s->cluster->nodes[i].engine, &stats);
        if (stats.watch_dirs > 0)
            return i;
    }
    fail_msg("nobody tells");
    return 0;
}

/* Writes, and holds the promise against what has been heard: a second later it has been told, or
 * within three more it is known that nobody tells. */
static void write_and_hear(struct scenario *s, struct watcher *w, uint32_t node, uint32_t number)
{
    char value[32], key[32];
    struct answer put = {0};
    bool was_covered = w->covered;
    uint32_t lost = w->lost;
    snprintf(value, sizeof(value), "%u", number);
    snprintf(key, sizeof(key), "d/%s", w->name);
    scenario_put(s, node, key, value, NULL, PUT_CURRENT, &put);
    sim_cluster_run(s->cluster, SIM_SECOND);
    bool told = put.status != DYN_OK || !was_covered || clock_covers(&w->seen, &put.dot);
    if (!told && w->lost == lost) {
        sim_cluster_run(s->cluster, 3 * (uint64_t)SIM_SECOND);
        assert_int_not_equal(w->lost, lost);
    }
    answer_release(&put);
}

static void end_watching(struct scenario *s, struct watcher *w)
{
    scenario_end(s);
    clock_release(&w->seen);
}

static void test_a_change_is_told_within_a_second(void **state)
{
    (void)state;
    struct scenario s;
    struct watcher w;
    scenario_begin(&s, 3, 3, 2, 2);
    begin_watching(&s, &w);
    run_until_covered(&s, &w);
    for (uint32_t i = 0; i < 20; i++)
        write_and_hear(&s, &w, i % 3, i);
    assert_int_equal(w.lost, 0);
    assert_true(w.seen.n > 0);
    end_watching(&s, &w);
}

static void test_nodes_that_tell_die_and_others_tell(void **state)
{
    (void)state;
    struct scenario s;
    struct watcher w;
    scenario_begin(&s, 3, 3, 2, 2);
    begin_watching(&s, &w);
    for (uint32_t i = 0; i < 6; i++) {
        run_until_covered(&s, &w);
        uint32_t telling = telling_node(&s);
        write_and_hear(&s, &w, (telling + 1) % 3, 10 * i);
        sim_node_crash(&s.cluster->nodes[telling], CRASH_KILL);
        write_and_hear(&s, &w, (telling + 1) % 3, 10 * i + 1);
        for (uint32_t k = 0; k < 5; k++)
            write_and_hear(&s, &w, (telling + 1) % 3, 10 * i + 2 + k);
        assert_int_equal(w.lost, i + 1);
        sim_node_start(&s.cluster->nodes[telling]);
        sim_cluster_run(s.cluster, 5 * (uint64_t)SIM_SECOND);
    }
    end_watching(&s, &w);
}

/* Each seventh question or answer. */
static enum sim_fate some_are_lost(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                   struct slice body)
{
    uint32_t *n = arg;
    (void)from;
    (void)to;
    (void)body;
    bool ours = type == FRAME_WATCH || type == (uint8_t)(FRAME_WATCH + FRAME_REPLY);
    return ours && ++*n % 7 == 0 ? FATE_DROP : FATE_CHANCE;
}

static void test_messages_that_get_lost_are_a_loss_and_nothing_is_missed(void **state)
{
    (void)state;
    struct scenario s;
    struct watcher w;
    uint32_t n = 0;
    scenario_begin(&s, 3, 3, 2, 2);
    begin_watching(&s, &w);
    run_until_covered(&s, &w);
    sim_net_set_judge(s.cluster->net, some_are_lost, &n);
    for (uint32_t i = 0; i < 60; i++)
        write_and_hear(&s, &w, i % 3, i);
    assert_true(w.lost > 2 && n > 60);
    run_until_covered(&s, &w);
    end_watching(&s, &w);
}

/* The node that tells is cut off from the others, not from the watcher: he hears of a write when it
 * has come home, and not before. */
static void test_who_is_told_by_one_side_of_a_split_hears_of_the_other_when_it_is_over(void **state)
{
    (void)state;
    struct scenario s;
    struct watcher w;
    struct answer put = {0};
    scenario_begin(&s, 3, 3, 2, 2);
    begin_watching(&s, &w);
    run_until_covered(&s, &w);
    uint32_t telling = telling_node(&s);
    scenario_isolate(&s, telling, true);
    scenario_put(&s, (telling + 1) % 3, "d/f", "there", NULL, PUT_CURRENT, &put);
    assert_int_equal(put.status, DYN_OK);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    assert_true(w.lost == 0 && !clock_covers(&w.seen, &put.dot));
    scenario_isolate(&s, telling, false);
    sim_cluster_run(s.cluster, 20 * (uint64_t)SIM_SECOND);
    assert_true(clock_covers(&w.seen, &put.dot));
    answer_release(&put);
    end_watching(&s, &w);
}

static void write_names(struct scenario *s, struct watcher *w, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        clock_release(&w->seen);
        w->seen = CLOCK_EMPTY;
        snprintf(w->name, sizeof(w->name), "f%u", i);
        write_and_hear(s, w, i % s->cluster->cfg.nodes, i);
    }
}

static uint32_t fragments_of_d(const struct scenario *s)
{
    return fragments_listed(s->cluster->nodes[0].engine, slice_str("d"));
}

/* Its entries lie with all nodes then, and none hears of all of them (E26): those of a fragment are
 * told where they lie, and a directory that grows is lost and covered again. */
static void test_a_directory_that_is_split_is_told_of_by_its_fragments(void **state)
{
    (void)state;
    const uint32_t nodes = 8;
    struct scenario s;
    struct watcher w;
    struct engine_config engine;
    engine_config_defaults(&engine);
    engine.fragment_entries = 8;
    engine.fragment_rate = 0; /* decided by size */
    scenario_begin_with(&s, nodes, 3, 2, 2, &engine);
    begin_watching(&s, &w);
    run_until_covered(&s, &w);
    write_names(&s, &w, 0, 40);
    for (int i = 0; i < 60 && fragments_of_d(&s) < 4; i++)
        sim_cluster_run(s.cluster, SIM_SECOND);
    assert_true(fragments_of_d(&s) >= 4 && w.lost > 0);
    run_until_covered(&s, &w);
    uint32_t lost = w.lost;
    write_names(&s, &w, 20, 80); /* some that were moved, and new ones */
    run_until_covered(&s, &w);
    sim_node_crash(&s.cluster->nodes[telling_node(&s)], CRASH_KILL);
    write_names(&s, &w, 0, 20);
    run_until_covered(&s, &w);
    assert_true(w.lost > lost);
    end_watching(&s, &w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_change_is_told_within_a_second),
        cmocka_unit_test(test_nodes_that_tell_die_and_others_tell),
        cmocka_unit_test(test_messages_that_get_lost_are_a_loss_and_nothing_is_missed),
        cmocka_unit_test(
            test_who_is_told_by_one_side_of_a_split_hears_of_the_other_when_it_is_over),
        cmocka_unit_test(test_a_directory_that_is_split_is_told_of_by_its_fragments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
