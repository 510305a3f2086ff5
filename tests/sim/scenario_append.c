/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on values that travel as what follows another (F27): whoever lacks that one gets the
 * whole, and what the author has not seen stands beside it, as after any other write. */
#include "scenario.h"

#include "base/mem.h"

#define FIRST "what was there first; "

/* Extensions and whole values on their way between nodes. */
struct wire {
    uint32_t extensions, wholes;
    uint32_t deaf; /* this node hears of no write, from nobody */
    bool hold;     /* extensions arrive late, or never */
    bool hold_one; /* the next to node 2 does */
};

#define NOBODY 99u

static enum sim_fate count(void *arg, uint32_t from, uint32_t to, uint8_t type, struct slice body)
{
    struct wire *w = arg;
    (void)from;
    (void)body;
    w->extensions += type == FRAME_REPLICA_EXTEND;
    w->wholes += type == FRAME_REPLICA_PUT;
    bool write = type == FRAME_REPLICA_EXTEND || type == FRAME_REPLICA_PUT;
    if (write && to == w->deaf)
        return FATE_DROP;
    if (w->hold_one && type == FRAME_REPLICA_EXTEND && to == 2) {
        w->hold_one = false;
        return FATE_HOLD;
    }
    return w->hold && type == FRAME_REPLICA_EXTEND ? FATE_HOLD : FATE_CHANCE;
}

/* A put of base + more, under the context of what `put` shows, which names what it extends. */
static void extend_by(struct scenario *s, enum sim_via via, uint32_t node, const char *base,
                      const char *more, struct answer *put, uint64_t stream)
{
    struct buf value = BUF_EMPTY, context = context_of_value(put, base);
    const struct slice named = buf_slice(&context);
    uint8_t hash[DIGEST_LEN];
    digest_sha256(slice_str(base), hash);
    buf_put_str(&value, base);
    buf_put_str(&value, more);
    struct sim_request q = {.type = FRAME_PUT, .put = scenario_put_request(s, "log", "")};
    q.put.value = buf_slice(&value);
    q.put.contexts = &named;
    q.put.n_contexts = 1;
    if (stream != 0)
        q.put.origin = (struct origin){8, stream, 1};
    for (uint32_t i = 0; i < put->object.n; i++)
        if (digest_equal(put->object.siblings[i].value_hash, hash))
            q.put.extends.base = put->object.siblings[i].value_dot;
    q.put.extends.len = strlen(base);
    memcpy(q.put.extends.digest, hash, DIGEST_LEN);
    scenario_send(s, via, node, &q, put);
    buf_release(&value);
    buf_release(&context);
}

static void expect_everywhere(struct scenario *s, const char *const *values, uint32_t n)
{
    struct answer seen = {0};
    s->opt.r = 1;
    for (uint32_t i = 0; i < s->cluster->cfg.nodes; i++) {
        scenario_get(s, i, "log", &seen);
        assert_int_equal(seen.status, DYN_OK);
        assert_int_equal(answer_live(&seen), n);
        assert_true(object_values_loaded(&seen.object));
        for (uint32_t k = 0; k < n; k++)
            assert_true(answer_has(&seen, values[k]));
    }
    answer_release(&seen);
}

static void test_a_replica_that_lacks_the_base_gets_the_whole(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0};
    struct wire wire = {.deaf = 2};
    scenario_begin(&s, 3, 3, 2, 2);
    s.opt.sloppy = SLOPPY_NO;
    sim_net_set_judge(s.cluster->net, count, &wire);
    scenario_put(&s, 0, "log", FIRST, NULL, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    wire = (struct wire){.deaf = NOBODY};
    s.opt.w = 3; /* also from the one that knows nothing of it */
    extend_by(&s, VIA_FRAME, 0, FIRST, "and more", &put, 0);
    assert_int_equal(put.status, DYN_OK);
    assert_int_equal(wire.extensions, 2);
    assert_in_range(wire.wholes, 1, 3); /* what it has missed may be on its way as well */
    scenario_settle(&s);
    expect_everywhere(&s, (const char *const[]){FIRST "and more"}, 1);
    answer_release(&put);
    scenario_end(&s);
}

/* Somebody else has replaced it, at the coordinator: the whole comes, and both stay. */
static void test_a_base_that_was_superseded_makes_a_conflict_and_no_loss(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0}, other = {0};
    scenario_begin(&s, 3, 3, 2, 2);
    scenario_put(&s, 0, "log", FIRST, NULL, 0, &put);
    struct buf context = context_of_value(&put, FIRST);
    scenario_put(&s, 1, "log", "instead", &context, 0, &other);
    assert_int_equal(other.status, DYN_OK);
    scenario_settle(&s);
    extend_by(&s, VIA_FRAME, 0, FIRST, "and more", &put, 0);
    assert_int_equal(put.status, DYN_ERR_BASE_LACKING);
    expect_everywhere(&s, (const char *const[]){"instead"}, 1); /* nothing has come of it */
    scenario_put(&s, 0, "log", FIRST "and more", &context, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    scenario_settle(&s);
    expect_everywhere(&s, (const char *const[]){"instead", FIRST "and more"}, 2);
    buf_release(&context);
    answer_release(&put);
    answer_release(&other);
    scenario_end(&s);
}

/* The same, and the client library sees to it. */
static void test_the_library_sends_the_whole_by_itself(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0}, other = {0};
    scenario_begin(&s, 3, 3, 2, 2);
    scenario_put(&s, 0, "log", FIRST, NULL, 0, &put);
    struct buf context = context_of_value(&put, FIRST);
    scenario_put(&s, 1, "log", "instead", &context, 0, &other);
    assert_int_equal(other.status, DYN_OK);
    scenario_settle(&s);
    extend_by(&s, VIA_LIBRARY, 0, FIRST, "and more", &put, 0);
    assert_int_equal(put.status, DYN_OK);
    scenario_settle(&s);
    expect_everywhere(&s, (const char *const[]){"instead", FIRST "and more"}, 2);
    buf_release(&context);
    answer_release(&other);
    answer_release(&put);
    scenario_end(&s);
}

/* The coordinator has stored it when it dies, and nobody has heard of it: the repeat elsewhere is
 * the same write, and the base is there still. */
static void test_a_coordinator_that_is_killed_between_costs_nothing(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0}, before = {0};
    struct wire wire = {.deaf = NOBODY, .hold = true};
    scenario_begin(&s, 3, 3, 2, 2);
    scenario_put(&s, 0, "log", FIRST, NULL, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    scenario_settle(&s);
    scenario_get(&s, 0, "log", &before);
    s.opt.sloppy = SLOPPY_NO;
    s.opt.timeout_ms = 600;
    sim_net_set_judge(s.cluster->net, count, &wire);
    extend_by(&s, VIA_FRAME, 0, FIRST, "and more", &put, 5);
    assert_int_not_equal(put.status, DYN_OK); /* it is with node 0 alone */
    sim_node_crash(&s.cluster->nodes[0], CRASH_KILL);
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    s.opt.timeout_ms = 5000;
    extend_by(&s, VIA_FRAME, 1, FIRST, "and more", &before, 5);
    assert_int_equal(before.status, DYN_OK);
    sim_node_start(&s.cluster->nodes[0]);
    scenario_settle(&s);
    expect_everywhere(&s, (const char *const[]){FIRST "and more"}, 1);
    answer_release(&put);
    answer_release(&before);
    scenario_end(&s);
}

/* What is appended next must not overtake what it is appended to. */
static void test_an_append_waits_for_the_one_before_to_the_same_replica(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0};
    struct wire wire = {.deaf = NOBODY, .hold_one = true};
    scenario_begin(&s, 3, 3, 2, 2);
    scenario_put(&s, 0, "log", FIRST, NULL, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    scenario_settle(&s);
    sim_net_set_judge(s.cluster->net, count, &wire);
    extend_by(&s, VIA_FRAME, 0, FIRST, "one, ", &put, 0);
    assert_int_equal(put.status, DYN_OK);
    extend_by(&s, VIA_FRAME, 0, FIRST "one, ", "two, ", &put, 0);
    assert_int_equal(put.status, DYN_OK);
    extend_by(&s, VIA_FRAME, 0, FIRST "one, two, ", "three", &put, 0);
    assert_int_equal(put.status, DYN_OK);
    assert_int_equal(wire.extensions, 4); /* three to node 1 */
    assert_int_equal(sim_net_release_held(s.cluster->net), 1);
    scenario_settle(&s);
    assert_int_equal(wire.extensions, 6);
    assert_int_equal(wire.wholes, 0);
    expect_everywhere(&s, (const char *const[]){FIRST "one, two, three"}, 1);
    answer_release(&put);
    scenario_end(&s);
}

/* ... but not for ever: when that one is given up, it goes, and is the whole in the end. */
static void test_an_append_does_not_wait_for_what_is_lost(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0};
    struct wire wire = {.deaf = NOBODY, .hold_one = true};
    scenario_begin(&s, 3, 3, 2, 2);
    scenario_put(&s, 0, "log", FIRST, NULL, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    scenario_settle(&s);
    sim_net_set_judge(s.cluster->net, count, &wire);
    extend_by(&s, VIA_FRAME, 0, FIRST, "one, ", &put, 0);
    assert_int_equal(put.status, DYN_OK);
    s.opt.w = 3;
    s.opt.sloppy = SLOPPY_NO;
    extend_by(&s, VIA_FRAME, 0, FIRST "one, ", "two", &put, 0);
    assert_int_equal(put.status, DYN_OK);
    assert_true(wire.wholes > 0);
    scenario_settle(&s);
    expect_everywhere(&s, (const char *const[]){FIRST "one, two"}, 1);
    answer_release(&put);
    scenario_end(&s);
}

static bool is_first_value(void *arg, struct slice row)
{
    (void)arg;
    (void)row;
    return true;
}

/* Bytes that went bad at the coordinator, and at a replica, get into no new value. */
static void test_a_rotten_base_is_lacking(void **state)
{
    (void)state;
    for (uint32_t node = 0; node < 2; node++) {
        struct scenario s;
        struct answer put = {0};
        struct wire wire = {.deaf = NOBODY};
        scenario_begin(&s, 3, 3, 2, 2);
        scenario_put(&s, 0, "log", FIRST, NULL, 0, &put);
        assert_int_equal(put.status, DYN_OK);
        scenario_settle(&s);
        sim_disk_rot(s.cluster->nodes[node].disk, is_first_value, NULL);
        sim_net_set_judge(s.cluster->net, count, &wire);
        s.opt.w = 3;
        s.opt.sloppy = SLOPPY_NO;
        extend_by(&s, VIA_LIBRARY, 0, FIRST, "and more", &put, 0);
        assert_int_equal(put.status, DYN_OK);
        assert_true(wire.wholes > 0);
        sim_net_set_judge(s.cluster->net, NULL, NULL);
        scenario_settle(&s);
        expect_everywhere(&s, (const char *const[]){FIRST "and more"}, 1);
        answer_release(&put);
        scenario_end(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_replica_that_lacks_the_base_gets_the_whole),
        cmocka_unit_test(test_a_base_that_was_superseded_makes_a_conflict_and_no_loss),
        cmocka_unit_test(test_the_library_sends_the_whole_by_itself),
        cmocka_unit_test(test_a_coordinator_that_is_killed_between_costs_nothing),
        cmocka_unit_test(test_an_append_waits_for_the_one_before_to_the_same_replica),
        cmocka_unit_test(test_an_append_does_not_wait_for_what_is_lost),
        cmocka_unit_test(test_a_rotten_base_is_lacking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
