/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on the chunks of large files (E8, E23): what no version names goes, after its time;
 * what a version names stays, whoever was slow, down, or in between. */
#include "model/chunk_io.h"
#include "scenario.h"

#define NUMBERS 4

struct played {
    struct scenario s;
    struct upload_id upload;
};

/* history_ms: for how long former versions are kept, and with them the chunks that they name. */
static void begin_with_history(struct played *p, uint32_t nodes, uint64_t history_ms)
{
    struct engine_config engine;
    engine_config_defaults(&engine);
    engine.history_ms = history_ms;
    engine.collect_us = SIM_SECOND;
    engine.collect_lease_ms = 2000;
    engine.collect_grace_ms = 4000;
    engine.exchange_us = 0; /* what is where is decided by hand */
    scenario_begin_with(&p->s, nodes, 3, 2, 2, &engine);
    memset(&p->upload, 0x5a, sizeof(p->upload));
}

static void begin(struct played *p, uint32_t nodes)
{
    begin_with_history(p, nodes, 0);
}

static void key_of(const struct played *p, uint32_t number, struct buf *out)
{
    chunk_key(&p->upload, number, out);
    buf_put_u8(out, 0);
}

static void put_chunks(struct played *p)
{
    for (uint32_t i = 0; i < NUMBERS; i++) {
        struct buf key = BUF_EMPTY;
        struct answer a = {0};
        char text[] = "chunk 0";
        text[6] = (char)('0' + i);
        key_of(p, i, &key);
        scenario_put(&p->s, 0, (const char *)key.data, text, NULL, 0, &a);
        assert_int_equal(a.status, DYN_OK);
        answer_release(&a);
        buf_release(&key);
    }
}

static void put_bytes(struct played *p, uint32_t node, const char *key, struct slice value,
                      const struct buf *context, uint32_t flags, uint8_t sloppy)
{
    struct answer a = {0};
    struct slice contexts[1];
    struct sim_request q = {.type = FRAME_PUT, .put = scenario_put_request(&p->s, key, "")};
    q.put.value = value;
    q.put.flags = flags;
    q.put.opt.sloppy = sloppy;
    if (context != NULL) {
        contexts[0] = buf_slice(context);
        q.put.contexts = contexts;
        q.put.n_contexts = 1;
    }
    scenario_send(&p->s, VIA_KV, node, &q, &a);
    assert_int_equal(a.status, DYN_OK);
    answer_release(&a);
}

static void add_reference(struct played *p, const char *to)
{
    struct buf key = BUF_EMPTY, value = BUF_EMPTY;
    upload_key(&p->upload, &key);
    buf_put_u8(&key, 0);
    upload_ref_encode(slice_str(to), NUMBERS, &value);
    put_bytes(p, 0, (const char *)key.data, buf_slice(&value), NULL, 0, SLOPPY_NO);
    buf_release(&key);
    buf_release(&value);
}

/* A version of key that names the first n chunks. */
static void put_manifest(struct played *p, uint32_t node, const char *key, uint32_t n,
                         const struct buf *context, uint8_t sloppy)
{
    struct manifest m = {.size = (uint64_t)n * CHUNK_LEN};
    struct buf value = BUF_EMPTY;
    for (uint32_t i = 0; i < n; i++) {
        struct chunk c = {.index = i, .number = i, .len = 7};
        manifest_add(&m, &p->upload, &c);
    }
    manifest_encode(&m, &value);
    put_bytes(p, node, key, buf_slice(&value), context, PUT_MANIFEST, sloppy);
    manifest_release(&m);
    buf_release(&value);
}

static void supersede(struct played *p, const char *key, const char *value)
{
    struct answer seen = {0}, a = {0};
    scenario_get(&p->s, 0, key, &seen);
    assert_int_equal(seen.status, DYN_OK);
    struct buf context = context_whole(&seen);
    scenario_put(&p->s, 0, key, value, &context, 0, &a);
    assert_int_equal(a.status, DYN_OK);
    buf_release(&context);
    answer_release(&seen);
    answer_release(&a);
}

static int chunk_status(struct played *p, uint32_t node, uint32_t number)
{
    struct answer a = {0};
    struct buf key = BUF_EMPTY;
    chunk_key(&p->upload, number, &key);
    struct sim_request q = {.type = FRAME_GET,
                            .get = {.opt = p->s.opt, .key = buf_slice(&key), .want = GET_PRESENT}};
    scenario_send(&p->s, VIA_KV, node, &q, &a);
    int status = a.status;
    if (status == DYN_OK)
        assert_non_null(object_newest(&a.object)->value);
    answer_release(&a);
    buf_release(&key);
    return status;
}

static void expect_chunks(struct played *p, uint32_t there)
{
    for (uint32_t i = 0; i < NUMBERS; i++)
        assert_int_equal(chunk_status(p, i % p->s.cluster->cfg.nodes, i),
                         i < there ? DYN_OK : DYN_ERR_NOT_FOUND);
}

static void pass(struct played *p, uint64_t seconds)
{
    sim_cluster_run(p->s.cluster, seconds * (uint64_t)SIM_SECOND);
}

static void test_e8_what_a_version_names_stays_and_the_rest_goes(void **state)
{
    (void)state;
    struct played p;
    struct answer gone = {0};
    struct buf record = BUF_EMPTY;
    begin(&p, 3);
    add_reference(&p, "k");
    put_chunks(&p);
    put_manifest(&p, 0, "k", 2, NULL, SLOPPY_NO);
    pass(&p, 4);
    expect_chunks(&p, NUMBERS); /* not before their time */
    pass(&p, 30);
    expect_chunks(&p, 2);
    supersede(&p, "k", NULL);
    pass(&p, 30);
    expect_chunks(&p, 0);
    upload_key(&p.upload, &record);
    buf_put_u8(&record, 0);
    scenario_get(&p.s, 1, (const char *)record.data, &gone);
    assert_int_equal(answer_live(&gone), 0);
    answer_release(&gone);
    buf_release(&record);
    scenario_end(&p.s);
}

static void test_e8_an_upload_that_a_quick_put_overtakes_is_whole(void **state)
{
    (void)state;
    struct played p;
    struct answer seen = {0};
    begin(&p, 3);
    add_reference(&p, "k");
    put_chunks(&p);
    scenario_put(&p.s, 1, "k", "quick", NULL, 0, &seen);
    assert_int_equal(seen.status, DYN_OK);
    put_manifest(&p, 0, "k", NUMBERS, NULL, SLOPPY_NO);
    pass(&p, 60);
    expect_chunks(&p, NUMBERS);
    scenario_get(&p.s, 2, "k", &seen);
    assert_int_equal(answer_live(&seen), 2);
    answer_release(&seen);
    scenario_end(&p.s);
}

static void test_e23_a_superseded_version_can_be_read_for_its_grace(void **state)
{
    (void)state;
    struct played p;
    begin(&p, 3);
    add_reference(&p, "k");
    put_chunks(&p);
    put_manifest(&p, 0, "k", NUMBERS, NULL, SLOPPY_NO);
    pass(&p, 20);
    supersede(&p, "k", "small");
    pass(&p, 3);
    expect_chunks(&p, NUMBERS);
    add_reference(&p, "k"); /* who still has it open says so, and it begins again */
    pass(&p, 5);
    expect_chunks(&p, NUMBERS);
    pass(&p, 30);
    expect_chunks(&p, 0);
    scenario_end(&p.s);
}

/* What people may want back must be whole. */
static void test_e23_chunks_of_a_kept_version_stay_until_it_goes(void **state)
{
    (void)state;
    struct played p;
    begin_with_history(&p, 3, 60000);
    add_reference(&p, "k");
    put_chunks(&p);
    put_manifest(&p, 0, "k", NUMBERS, NULL, SLOPPY_NO);
    pass(&p, 20);
    supersede(&p, "k", "small");
    pass(&p, 50);
    expect_chunks(&p, NUMBERS);
    pass(&p, 40);
    expect_chunks(&p, 0);
    scenario_end(&p.s);
}

static void test_e23_a_rename_keeps_the_chunks(void **state)
{
    (void)state;
    struct played p;
    begin(&p, 3);
    add_reference(&p, "k");
    put_chunks(&p);
    put_manifest(&p, 0, "k", NUMBERS, NULL, SLOPPY_NO);
    pass(&p, 20);
    add_reference(&p, "other");
    put_manifest(&p, 1, "other", NUMBERS, NULL, SLOPPY_NO);
    supersede(&p, "k", NULL);
    pass(&p, 60);
    expect_chunks(&p, NUMBERS);
    scenario_end(&p.s);
}

static void test_e23_nothing_goes_while_a_node_is_away(void **state)
{
    (void)state;
    struct played p;
    begin(&p, 3);
    add_reference(&p, "k");
    put_chunks(&p);
    sim_node_crash(&p.s.cluster->nodes[2], CRASH_KILL);
    pass(&p, 60);
    for (uint32_t i = 0; i < NUMBERS; i++)
        assert_int_equal(chunk_status(&p, i % 2, i), DYN_OK);
    sim_node_start(&p.s.cluster->nodes[2]);
    pass(&p, 60);
    expect_chunks(&p, 0);
    scenario_end(&p.s);
}

static enum sim_fate drop_puts_to_primaries(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                            struct slice body)
{
    const uint32_t *primaries = arg;
    (void)from;
    (void)body;
    bool primary = to == primaries[0] || to == primaries[1] || to == primaries[2];
    return type == FRAME_REPLICA_PUT && primary ? FATE_DROP : FATE_CHANCE;
}

/* The manifest was acknowledged by stand-ins alone: no primary knows that a version names the
 * chunks, and only the hints do. */
static void test_e23_chunks_that_only_a_hint_names_stay(void **state)
{
    (void)state;
    struct played p;
    uint32_t primaries[3];
    begin(&p, 5);
    sim_cluster_replicas(p.s.cluster, slice_str("k"), 3, primaries);
    uint32_t other = 0;
    while (other == primaries[0] || other == primaries[1] || other == primaries[2])
        other++;
    add_reference(&p, "k");
    put_chunks(&p);
    for (uint32_t i = 0; i < 3; i++)
        scenario_isolate(&p.s, primaries[i], true);
    put_manifest(&p, other, "k", NUMBERS, NULL, SLOPPY_YES);
    sim_net_set_judge(p.s.cluster->net, drop_puts_to_primaries, primaries);
    sim_net_heal(p.s.cluster->net);
    pass(&p, 60);
    for (uint32_t i = 0; i < NUMBERS; i++)
        assert_int_equal(chunk_status(&p, other, i), DYN_OK);
    sim_net_set_judge(p.s.cluster->net, NULL, NULL);
    pass(&p, 60);
    expect_chunks(&p, NUMBERS);
    scenario_end(&p.s);
}

static void test_e23_one_copy_is_enough_and_absence_needs_all(void **state)
{
    (void)state;
    struct played p;
    struct buf key = BUF_EMPTY;
    uint32_t nodes[3];
    begin(&p, 5);
    chunk_key(&p.upload, 0, &key);
    sim_cluster_replicas(p.s.cluster, buf_slice(&key), 3, nodes);
    add_reference(&p, "k");
    for (uint32_t i = 0; i < 2; i++)
        scenario_isolate(&p.s, nodes[i], true); /* W are one primary and a stand-in */
    buf_put_u8(&key, 0);
    put_bytes(&p, nodes[2], (const char *)key.data, slice_str("chunk 0"), NULL, 0, SLOPPY_YES);
    sim_net_set_judge(p.s.cluster->net, drop_puts_to_primaries, nodes);
    sim_net_heal(p.s.cluster->net);
    pass(&p, 5);
    scenario_isolate(&p.s, nodes[2], true);
    assert_int_equal(chunk_status(&p, nodes[0], 0), DYN_OK);            /* from the stand-in */
    assert_int_equal(chunk_status(&p, nodes[0], 1), DYN_ERR_NO_QUORUM); /* one may have it */
    sim_net_set_judge(p.s.cluster->net, NULL, NULL);
    sim_net_heal(p.s.cluster->net);
    pass(&p, 5);
    assert_int_equal(chunk_status(&p, nodes[0], 1), DYN_ERR_NOT_FOUND);
    buf_release(&key);
    scenario_end(&p.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_e8_what_a_version_names_stays_and_the_rest_goes),
        cmocka_unit_test(test_e8_an_upload_that_a_quick_put_overtakes_is_whole),
        cmocka_unit_test(test_e23_a_superseded_version_can_be_read_for_its_grace),
        cmocka_unit_test(test_e23_chunks_of_a_kept_version_stay_until_it_goes),
        cmocka_unit_test(test_e23_a_rename_keeps_the_chunks),
        cmocka_unit_test(test_e23_nothing_goes_while_a_node_is_away),
        cmocka_unit_test(test_e23_chunks_that_only_a_hint_names_stay),
        cmocka_unit_test(test_e23_one_copy_is_enough_and_absence_needs_all),
    };
    return cmocka_run_group_tests_name("scenario_chunks", tests, NULL, NULL);
}
