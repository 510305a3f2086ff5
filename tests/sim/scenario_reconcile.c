/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on settings by directory: all nodes know them, those that were away too; lww shows one
 * version everywhere; and the shopping cart of the paper loses no addition, whatever is cut. */
#include "engine/coordinate/dir_settings.h"
#include "scenario.h"
#include "sim_random.h"

static void told(void *arg, const struct settings_reply *reply)
{
    *(uint32_t *)arg = reply->status == DYN_OK ? reply->known : 0;
}

/* Returns how many nodes have confirmed it. */
static uint32_t set(struct scenario *s, uint32_t node, const char *dir, enum dir_setting setting,
                    uint8_t value)
{
    uint32_t known = UINT32_MAX;
    const struct settings_request q = {
        .dir = slice_str(dir), .changes = {{setting, value}}, .n = 1};
    settings_change(s->cluster->nodes[node].engine, &q, told, &known);
    for (int i = 0; i < 30 && known == UINT32_MAX; i++)
        sim_cluster_run(s->cluster, SIM_SECOND / 10);
    return known;
}

static uint8_t rule(struct scenario *s, uint32_t node, const char *key, enum dir_setting setting)
{
    struct quorum quorum = {0};
    const struct request_options none = {0};
    assert_int_equal(engine_quorum(s->cluster->nodes[node].engine, &none, slice_str(key), &quorum),
                     DYN_OK);
    return setting == SETTING_RECONCILE ? quorum.reconcile
           : setting == SETTING_R       ? (uint8_t)quorum.r
                                        : (uint8_t)quorum.durability;
}

static void test_all_nodes_know_a_setting_and_who_was_away_learns_it(void **state)
{
    (void)state;
    struct scenario s;
    scenario_begin(&s, 3, 3, 2, 2);
    assert_int_equal(set(&s, 0, "d", SETTING_R, 3), 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(rule(&s, i, "d/key", SETTING_R), 3);
    assert_int_equal(rule(&s, 1, "key", SETTING_R), 2);
    scenario_isolate(&s, 2, true);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    assert_int_equal(set(&s, 1, "d", SETTING_R, 1), 2);
    assert_int_equal(rule(&s, 2, "d/key", SETTING_R), 3); /* it still goes by what it knows */
    sim_net_heal(s.cluster->net);
    sim_cluster_run(s.cluster, 120 * (uint64_t)SIM_SECOND);
    assert_int_equal(rule(&s, 2, "d/key", SETTING_R), 1);
    sim_node_crash(&s.cluster->nodes[0], CRASH_POWER); /* what was confirmed is on disk */
    sim_node_start(&s.cluster->nodes[0]);
    sim_cluster_run(s.cluster, SIM_SECOND / 100);
    assert_int_equal(rule(&s, 0, "d/key", SETTING_R), 1);
    scenario_end(&s);
}

/* Neither has been written when the other begins. */
static void test_two_settings_made_at_once_are_both_on_disk(void **state)
{
    (void)state;
    struct scenario s;
    uint32_t r = 0, reconcile = 0;
    scenario_begin(&s, 1, 1, 1, 1);
    sim_disk_pace(s.cluster->nodes[0].disk, SIM_SECOND / 100);
    const struct settings_request first = {
        .dir = slice_str("d"), .changes = {{SETTING_R, 1}}, .n = 1};
    const struct settings_request second = {
        .dir = slice_str("d"), .changes = {{SETTING_RECONCILE, RECONCILE_LWW}}, .n = 1};
    settings_change(s.cluster->nodes[0].engine, &first, told, &r);
    settings_change(s.cluster->nodes[0].engine, &second, told, &reconcile);
    sim_cluster_run(s.cluster, SIM_SECOND);
    assert_int_equal(r, 1);
    assert_int_equal(reconcile, 1);
    sim_node_crash(&s.cluster->nodes[0], CRASH_POWER);
    sim_node_start(&s.cluster->nodes[0]);
    sim_cluster_run(s.cluster, SIM_SECOND);
    struct rules rules = {0};
    settings_keeper_rules(s.cluster->nodes[0].engine->settings, slice_str("d/key"), &rules);
    assert_int_equal(rules.value[SETTING_R], 1);
    assert_int_equal(rules.value[SETTING_RECONCILE], RECONCILE_LWW);
    scenario_end(&s);
}

/* Whichever others are down: it asks one that is up. */
static void test_who_was_away_asks_those_that_are_up(void **state)
{
    (void)state;
    struct engine_config engine;
    engine_config_defaults(&engine);
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct scenario s;
        scenario_begin_seed(&s, seed, 4, 3, 2, 2, &engine);
        scenario_isolate(&s, 3, true);
        sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
        assert_int_equal(set(&s, 0, "d", SETTING_R, 1), 3);
        for (uint32_t i = 1; i < 3; i++)
            sim_node_crash(&s.cluster->nodes[i], CRASH_KILL);
        sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
        sim_net_heal(s.cluster->net);
        assert_int_equal(rule(&s, 3, "d/key", SETTING_R), 2);
        sim_cluster_run(s.cluster, 12 * (uint64_t)SIM_SECOND); /* one comparison */
        assert_int_equal(rule(&s, 3, "d/key", SETTING_R), 1);
        scenario_end(&s);
    }
}

/* Both sides of a split set the same; the later clock wins on all. */
static void test_a_setting_made_on_both_sides_of_a_split_ends_the_same_everywhere(void **state)
{
    (void)state;
    struct scenario s;
    scenario_begin(&s, 3, 3, 2, 2);
    scenario_isolate(&s, 2, true);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    set(&s, 0, "d", SETTING_RECONCILE, RECONCILE_LWW);
    sim_cluster_run(s.cluster, SIM_SECOND);
    set(&s, 2, "d", SETTING_RECONCILE, RECONCILE_UNION);
    sim_net_heal(s.cluster->net);
    sim_cluster_run(s.cluster, 120 * (uint64_t)SIM_SECOND);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(rule(&s, i, "d/key", SETTING_RECONCILE), RECONCILE_UNION);
    scenario_end(&s);
}

static void test_lww_shows_the_newest_alone_on_every_node(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    scenario_begin(&s, 3, 3, 1, 1);
    assert_int_equal(set(&s, 0, "d", SETTING_RECONCILE, RECONCILE_LWW), 3);
    for (uint32_t i = 0; i < 3; i++)
        scenario_isolate(&s, i, true);
    scenario_put(&s, 0, "d/k", "old", NULL, 0, &a);
    assert_int_equal(a.status, DYN_OK);
    sim_cluster_run(s.cluster, SIM_SECOND);
    scenario_put(&s, 1, "d/k", "new", NULL, 0, &a);
    assert_int_equal(a.status, DYN_OK);
    sim_net_heal(s.cluster->net);
    scenario_settle(&s);
    s.opt.r = 3;
    for (uint32_t i = 0; i < 3; i++) {
        scenario_get(&s, i, "d/k", &a);
        assert_int_equal(answer_live(&a), 1);
        assert_true(answer_has(&a, "new"));
    }
    struct buf context = context_whole(&a); /* stands for both, so that the next put ends it */
    s.opt.w = 3;
    scenario_put(&s, 2, "d/k", "newest", &context, 0, &a);
    assert_int_equal(a.status, DYN_OK);
    assert_int_equal(a.object.n, 1);
    scenario_put(&s, 2, "d/k", "without context", NULL, 0, &a);
    assert_int_equal(a.object.n, 1);
    buf_release(&context);
    answer_release(&a);
    scenario_end(&s);
}

static bool has_line(const struct answer *a, const char *line)
{
    const struct sibling *s = object_newest(&a->object);
    struct slice text =
        s == NULL || s->value == NULL ? slice_str("") : slice_of(s->value->data, s->value->len);
    while (text.len > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end == NULL ? text.len : (size_t)(end - text.data);
        if (slice_equal(slice_of(text.data, len), slice_str(line)))
            return true;
        size_t skip = end == NULL ? len : len + 1;
        text = slice_of(text.data + skip, text.len - skip);
    }
    return false;
}

/* Each user reads the cart (perhaps an old one), adds a line of its own and writes it back with the
 * context that it has read, while links come and go. */
static void test_the_cart_loses_no_addition_that_was_acknowledged(void **state)
{
    (void)state;
    uint32_t acknowledged = 0, settled = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct scenario s;
        struct answer seen[3] = {0}, put = {0};
        struct sim_random random;
        bool added[40] = {false};
        char line[32];
        sim_random_init(&random, seed, "cart", 0);
        scenario_begin(&s, 3, 3, 1, 1);
        set(&s, 0, "carts", SETTING_RECONCILE, RECONCILE_UNION);
        s.opt.timeout_ms = 1000;
        for (uint32_t i = 0; i < 40; i++) {
            uint32_t user = (uint32_t)sim_random_below(&random, 3);
            if (sim_random_chance(&random, 250))
                scenario_isolate(&s, (uint32_t)sim_random_below(&random, 3),
                                 sim_random_chance(&random, 600));
            if (sim_random_chance(&random, 500))
                scenario_get(&s, user, "carts/ada", &seen[user]);
            struct buf text = BUF_EMPTY, context = BUF_EMPTY;
            const struct sibling *newest = object_newest(&seen[user].object);
            bool may_settle = object_live_count(&seen[user].object) < 2;
            if (newest != NULL && newest->value != NULL && may_settle) {
                buf_put(&text, newest->value->data, newest->value->len);
                context_all(buf_slice(&seen[user].token), &context);
            }
            snprintf(line, sizeof(line), "item %u", i);
            buf_printf(&text, "%s\n", line);
            buf_put_u8(&text, 0);
            scenario_put(&s, user, "carts/ada", (const char *)text.data,
                         context.len > 0 ? &context : NULL, 0, &put);
            added[i] = put.status == DYN_OK;
            acknowledged += added[i];
            buf_release(&text);
            buf_release(&context);
        }
        sim_net_heal(s.cluster->net);
        scenario_settle(&s);
        s.opt.r = 3;
        s.opt.timeout_ms = 5000;
        scenario_get(&s, 0, "carts/ada", &put);
        sim_cluster_run(s.cluster, 10 * (uint64_t)SIM_SECOND);
        scenario_settle(&s);
        for (uint32_t node = 0; node < 3; node++) {
            struct engine_stats stats;
            scenario_get(&s, node, "carts/ada", &put);
            assert_int_equal(put.status, DYN_OK);
            assert_int_equal(answer_live(&put), 1);
            for (uint32_t i = 0; i < 40; i++) {
                snprintf(line, sizeof(line), "item %u", i);
                assert_true(!added[i] || has_line(&put, line));
            }
            engine_stats(s.cluster->nodes[node].engine, &stats);
            settled += stats.reconciled > 0;
        }
        for (uint32_t i = 0; i < 3; i++)
            answer_release(&seen[i]);
        answer_release(&put);
        scenario_end(&s);
    }
    assert_true(acknowledged > 200 && settled > 5); /* it was about something */
}

/* Three users add at once; a fourth reads the cart when whole, and takes out all but one line:
 * what nodes make of the additions among themselves must not bring the others back. */
static void test_what_is_taken_out_of_a_cart_that_was_read_stays_out(void **state)
{
    (void)state;
    struct scenario s;
    scenario_begin(&s, 5, 3, 2, 2);
    set(&s, 0, "carts", SETTING_RECONCILE, RECONCILE_UNION);
    for (uint32_t round = 0; round < 100; round++) {
        struct answer put = {0}, seen = {0};
        char key[32];
        uint32_t reader = round % 5, taker = (round / 5) % 5;
        snprintf(key, sizeof(key), "carts/%u", round);
        for (uint32_t node = 0; node < 5; node++)
            sim_net_slow(s.cluster->net, node, (node * 7 + round * 3) % 5 * 2000);
        for (uint32_t i = 0; i < 3; i++) {
            scenario_put(&s, i, key,
                         i == 0   ? "milk\n"
                         : i == 1 ? "bread\n"
                                  : "eggs\n",
                         NULL, 0, &put);
            assert_int_equal(put.status, DYN_OK);
        }
        for (int tries = 0; answer_live(&seen) != 1 || !has_line(&seen, "eggs"); tries++) {
            assert_true(tries < 50);
            scenario_get(&s, reader, key, &seen);
        }
        assert_true(has_line(&seen, "milk") && has_line(&seen, "bread"));
        struct buf context = context_whole(&seen);
        scenario_put(&s, taker, key, "milk\n", &context, 0, &put);
        assert_int_equal(put.status, DYN_OK);
        buf_release(&context);
        for (uint32_t node = 0; node < 5; node++) {
            scenario_get(&s, node, key, &seen);
            assert_int_equal(answer_live(&seen), 1);
            assert_true(has_line(&seen, "milk"));
            assert_false(has_line(&seen, "bread") || has_line(&seen, "eggs"));
        }
        answer_release(&put);
        answer_release(&seen);
    }
    scenario_end(&s);
}

static void test_what_union_cannot_unite_stays_side_by_side(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    scenario_begin(&s, 3, 3, 2, 2);
    set(&s, 0, "d", SETTING_RECONCILE, RECONCILE_UNION);
    struct sim_request q = {.type = FRAME_PUT, .put = scenario_put_request(&s, "d/k", "target")};
    q.put.type = SIBLING_SYMLINK;
    scenario_send(&s, VIA_KV, 0, &q, &a);
    scenario_put(&s, 1, "d/k", "a file", NULL, 0, &a);
    scenario_get(&s, 2, "d/k", &a);
    assert_int_equal(a.status, DYN_OK);
    assert_int_equal(answer_live(&a), 2);
    answer_release(&a);
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_nodes_know_a_setting_and_who_was_away_learns_it),
        cmocka_unit_test(test_two_settings_made_at_once_are_both_on_disk),
        cmocka_unit_test(test_who_was_away_asks_those_that_are_up),
        cmocka_unit_test(test_a_setting_made_on_both_sides_of_a_split_ends_the_same_everywhere),
        cmocka_unit_test(test_lww_shows_the_newest_alone_on_every_node),
        cmocka_unit_test(test_the_cart_loses_no_addition_that_was_acknowledged),
        cmocka_unit_test(test_what_is_taken_out_of_a_cart_that_was_read_stays_out),
        cmocka_unit_test(test_what_union_cannot_unite_stays_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
