/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on former versions: whoever was away, crashed or behind while versions were replaced,
 * none that was acknowledged is gone without a trace; and the version that two sides of a split
 * have in common is found again. */
#include "model/kept.h"
#include "scenario.h"
#include "sim_random.h"

#define KEY "dir/k"

struct told {
    bool done;
    struct kept_reply reply;
};

static void on_told(void *arg, const struct kept_reply *reply)
{
    struct told *t = arg;
    struct buf copy = BUF_EMPTY;
    kept_reply_encode(reply, &copy);
    assert_int_equal(kept_reply_decode(buf_slice(&copy), &t->reply), DYN_OK);
    buf_release(&copy);
    t->done = true;
}

static struct kept_reply ask(struct scenario *s, uint32_t node, const struct dot *dot)
{
    struct told t = {0};
    struct kept_request q = {.key = slice_str(KEY), .want = dot != NULL ? KEPT_VALUE : KEPT_LIST};
    if (dot != NULL)
        q.dot = *dot;
    engine_kept(s->cluster->nodes[node].engine, &q, on_told, &t);
    for (int i = 0; i < 200 && !t.done; i++)
        sim_cluster_run(s->cluster, SIM_SECOND / 20);
    assert_true(t.done);
    return t.reply;
}

/* Is this value kept, and are its bytes to be had from that node? */
static bool is_kept(struct scenario *s, uint32_t node, const char *value, enum kept_why *why)
{
    struct kept_reply all = ask(s, node, NULL);
    bool found = false;
    assert_int_equal(all.status, DYN_OK);
    for (uint32_t i = 0; i < all.list.n && !found; i++) {
        struct kept_reply one = ask(s, node, &kept_version(&all.list.k[i])->dot);
        const struct kept *k = kept_list_find(&one.list, &kept_version(&all.list.k[i])->dot);
        const struct blob *bytes = k == NULL ? NULL : kept_version(k)->value;
        found = bytes != NULL && slice_equal(slice_of(bytes->data, bytes->len), slice_str(value));
        if (found && why != NULL)
            *why = all.list.k[i].why;
        kept_reply_release(&one);
    }
    kept_reply_release(&all);
    return found;
}

static void put_with(struct scenario *s, uint32_t node, const char *value,
                     const struct answer *seen)
{
    struct answer a = {0};
    struct buf context = context_whole(seen);
    scenario_put(s, node, KEY, value, &context, 0, &a);
    assert_int_equal(a.status, DYN_OK);
    buf_release(&context);
    answer_release(&a);
}

static void test_a_resolution_that_a_replica_missed_is_undone_from_any_node(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    enum kept_why why = KEPT_WHY_END;
    scenario_begin(&s, 3, 3, 1, 1);
    scenario_put(&s, 0, KEY, "base", NULL, 0, &a);
    scenario_settle(&s);
    scenario_get(&s, 0, KEY, &a);
    scenario_isolate(&s, 2, true);
    put_with(&s, 0, "left", &a);
    put_with(&s, 2, "right", &a);
    sim_net_heal(s.cluster->net);
    scenario_settle(&s);
    scenario_get(&s, 1, KEY, &a);
    assert_int_equal(answer_live(&a), 2);

    struct kept_reply all = ask(&s, 1, NULL); /* each side has replaced the base, by its own */
    const struct kept *base =
        kept_ancestor(&all.list, &a.object.siblings[0], &a.object.siblings[1]);
    assert_non_null(base);
    assert_int_equal(base->why, KEPT_OVERWRITTEN);
    assert_int_equal(all.list.n, 2);
    kept_reply_release(&all);

    scenario_isolate(&s, 0, true); /* it learns of the resolution later */
    put_with(&s, 1, "resolved", &a);
    sim_net_heal(s.cluster->net);
    scenario_settle(&s);
    sim_node_crash(&s.cluster->nodes[1], CRASH_POWER);
    sim_node_start(&s.cluster->nodes[1]);
    sim_cluster_run(s.cluster, SIM_SECOND);
    for (uint32_t node = 0; node < 3; node++) {
        assert_true(is_kept(&s, node, "left", &why) && why == KEPT_RESOLVED);
        assert_true(is_kept(&s, node, "right", &why) && why == KEPT_RESOLVED);
        assert_true(is_kept(&s, node, "base", &why) && why == KEPT_OVERWRITTEN);
        assert_false(is_kept(&s, node, "resolved", NULL));
    }
    answer_release(&a);
    scenario_end(&s);
}

/* Users at all nodes write with contexts old and new, and without, and delete, while links come and
 * go and nodes lose power. */
static void test_no_acknowledged_version_goes_without_a_trace(void **state)
{
    (void)state;
    uint32_t writes = 0, kept = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct scenario s;
        struct answer seen[3] = {0}, a = {0};
        struct sim_random random;
        char text[14][16];
        bool acknowledged[14] = {false};
        sim_random_init(&random, seed, "kept", 0);
        scenario_begin(&s, 3, 3, 1, 1);
        s.opt.timeout_ms = 1000;
        s.opt.durability = DURABILITY_QUORUM;
        for (uint32_t i = 0; i < 14; i++) {
            uint32_t user = (uint32_t)sim_random_below(&random, 3);
            if (sim_random_chance(&random, 300))
                scenario_isolate(&s, (uint32_t)sim_random_below(&random, 3),
                                 sim_random_chance(&random, 600));
            if (sim_random_chance(&random, 100)) {
                uint32_t node = (uint32_t)sim_random_below(&random, 3);
                sim_node_crash(&s.cluster->nodes[node], CRASH_POWER);
                sim_node_start(&s.cluster->nodes[node]);
                sim_cluster_run(s.cluster, SIM_SECOND);
            }
            if (sim_random_chance(&random, 500))
                scenario_get(&s, user, KEY, &seen[user]);
            bool deletes = sim_random_chance(&random, 150);
            struct buf context = BUF_EMPTY;
            if (seen[user].token.len > 0 && sim_random_chance(&random, 800))
                context = context_whole(&seen[user]);
            snprintf(text[i], sizeof(text[i]), "version %u", i);
            scenario_put(&s, user, KEY, deletes ? NULL : text[i], context.len > 0 ? &context : NULL,
                         0, &a);
            acknowledged[i] = a.status == DYN_OK && !deletes;
            writes += acknowledged[i];
            buf_release(&context);
        }
        sim_net_heal(s.cluster->net);
        scenario_settle(&s);
        s.opt.r = 3;
        s.opt.timeout_ms = 5000;
        scenario_get(&s, 0, KEY, &a);
        assert_int_equal(a.status, DYN_OK);
        for (uint32_t i = 0; i < 14; i++) {
            if (!acknowledged[i] || answer_has(&a, text[i]))
                continue;
            if (!is_kept(&s, (uint32_t)(seed % 3), text[i], NULL))
                fail_msg("seed %u: %s is gone", (unsigned)seed, text[i]);
            kept++;
        }
        for (uint32_t i = 0; i < 3; i++)
            answer_release(&seen[i]);
        answer_release(&a);
        scenario_end(&s);
    }
    assert_true(writes > 100 && kept > 50); /* it was about something */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_resolution_that_a_replica_missed_is_undone_from_any_node),
        cmocka_unit_test(test_no_acknowledged_version_goes_without_a_trace),
    };
    return cmocka_run_group_tests_name("scenario_kept", tests, NULL, NULL);
}
