/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on directories: what lives can be reached from the root (E16), an entry is not lost
 * with its coordinator (E17), a merged page is cut where all replicas have spoken (E21). */
#include "engine/coordinate/dir_settings.h"
#include "engine/replica/rows.h"
#include "scenario.h"

static bool lists(const struct answer *a, const char *names)
{
    if (a->status == DYN_OK && strcmp((const char *)a->listing.data, names) == 0)
        return true;
    print_message("listed '%s', expected '%s' (%s)\n",
                  a->listing.data != NULL ? (const char *)a->listing.data : "", names,
                  dyn_err_code(a->status));
    return false;
}

static void test_parents_that_nobody_made_appear_by_themselves(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0}, seen = {0};
    scenario_begin(&s, 4, 3, 2, 2);
    scenario_put(&s, 0, "x/y/z", "leaf", NULL, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    scenario_settle(&s);
    scenario_list(&s, 1, "", 100, &seen);
    assert_true(lists(&seen, "x "));
    scenario_list(&s, 2, "x", 100, &seen);
    assert_true(lists(&seen, "y "));
    scenario_list(&s, 3, "x/y", 100, &seen);
    assert_true(lists(&seen, "z "));
    scenario_get(&s, 3, "x/y", &seen);
    assert_int_equal(answer_live(&seen), 1);
    answer_release(&put);
    answer_release(&seen);
    scenario_end(&s);
}

/* One side of a split removes the empty directory, the other creates a file in it. */
static void test_a_file_created_while_its_directory_is_removed_stays_in_reach(void **state)
{
    (void)state;
    struct scenario s;
    struct answer dir = {0}, put = {0}, seen = {0};
    scenario_begin(&s, 3, 3, 1, 1);
    s.opt.w = 3;
    scenario_mkdir(&s, 0, "d", &dir);
    assert_int_equal(dir.status, DYN_OK);
    scenario_settle(&s);
    s.opt.w = 1;
    scenario_get(&s, 0, "d", &dir);
    struct buf context = context_whole(&dir);
    scenario_isolate(&s, 0, true);
    scenario_list(&s, 0, "d", 100, &seen);
    assert_true(lists(&seen, ""));
    scenario_put(&s, 1, "d/f", "leaf", NULL, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    scenario_put(&s, 0, "d", NULL, &context, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    sim_net_heal(s.cluster->net);
    scenario_settle(&s);
    s.opt.r = 3;
    scenario_get(&s, 0, "d", &seen); /* read repair, in the absence of anti-entropy */
    scenario_get(&s, 0, "d/f", &seen);
    assert_int_equal(answer_live(&seen), 1);
    scenario_list(&s, 0, "d", 100, &seen);
    scenario_settle(&s);
    scenario_list(&s, 2, "", 100, &seen);
    assert_true(lists(&seen, "d "));
    scenario_list(&s, 2, "d", 100, &seen);
    assert_true(lists(&seen, "f "));
    scenario_get(&s, 2, "d", &seen);
    assert_true(answer_live(&seen) == 1 || seen.implicit_dir);
    buf_release(&context);
    answer_release(&dir);
    answer_release(&put);
    answer_release(&seen);
    scenario_end(&s);
}

static void take_failure(void *arg, const struct sim_reply *r)
{
    *(int *)arg = r->status;
}

/* The object's only replica is its coordinator, the directory lies elsewhere, and the coordinator
 * dies before the entry got there. */
static void test_an_entry_survives_the_death_of_its_coordinator(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0}, seen = {0};
    char key[32];
    uint32_t root[1];
    scenario_begin(&s, 3, 1, 1, 1);
    sim_cluster_replicas(s.cluster, slice_str(""), 1, root);
    uint32_t owner = (root[0] + 1) % 3;
    scenario_key(&s, &owner, 1, "", key);
    scenario_isolate(&s, owner, true);
    const struct sim_request q = {.type = FRAME_PUT, .put = scenario_put_request(&s, key, "one")};
    sim_client_call(&s.client, VIA_KV, owner, &q, take_failure, &put.status);
    sim_cluster_run(s.cluster, 20000); /* stored, and nobody thought down yet */
    sim_node_crash(&s.cluster->nodes[owner], CRASH_KILL);
    assert_int_not_equal(put.status, DYN_OK);
    sim_net_heal(s.cluster->net);
    sim_node_start(&s.cluster->nodes[owner]);
    scenario_settle(&s);
    scenario_get(&s, root[0], key, &seen);
    assert_int_equal(answer_live(&seen), 1);
    scenario_list(&s, root[0], "", 100, &seen);
    struct buf names = BUF_EMPTY;
    buf_printf(&names, "%s ", key);
    buf_put_u8(&names, 0);
    assert_true(lists(&seen, (const char *)names.data));
    buf_release(&names);
    answer_release(&put);
    answer_release(&seen);
    scenario_end(&s);
}

/* The object lies at A, its entry at B. B meets versions in another order than A does: the
 * stand-in's "same" beside A's newer "same", of which A then removes its own before it hears of the
 * other. What is left at A must still be listed. */
static void test_what_an_equal_version_absorbed_elsewhere_stays_listed(void **state)
{
    (void)state;
    struct scenario s;
    struct answer mine = {0}, put = {0}, seen = {0};
    char key[32];
    uint32_t root[1];
    scenario_begin(&s, 3, 1, 1, 1);
    sim_cluster_replicas(s.cluster, slice_str(""), 1, root);
    uint32_t owner = (root[0] + 1) % 3, standin = (root[0] + 2) % 3;
    scenario_key(&s, &owner, 1, "", key);
    s.opt.sloppy = SLOPPY_YES;
    s.cluster->nodes[owner].wall_offset_ns = 3600ll * 1000000000; /* its version is the newer */
    scenario_put(&s, owner, key, "same", NULL, 0, &mine);
    assert_int_equal(mine.status, DYN_OK);
    scenario_isolate(&s, owner, true);
    scenario_put(&s, standin, key, "same", NULL, 0, &put); /* its entry meets that of the owner */
    assert_int_equal(put.status, DYN_OK);
    struct buf context = context_of_value(&mine, "same");
    scenario_put(&s, owner, key, NULL, &context, 0, &put); /* the owner removes its own alone */
    sim_net_heal(s.cluster->net);
    scenario_settle(&s);
    scenario_get(&s, owner, key, &seen);
    bool lives = answer_live(&seen) > 0;
    scenario_list(&s, root[0], "", 100, &seen);
    assert_int_equal(seen.status, DYN_OK);
    assert_int_equal(strstr((const char *)seen.listing.data, key) != NULL, lives);
    assert_true(lives);
    buf_release(&context);
    answer_release(&mine);
    answer_release(&put);
    answer_release(&seen);
    scenario_end(&s);
}

static enum sim_fate no_replica_puts(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                     struct slice body)
{
    (void)arg;
    (void)from;
    (void)to;
    (void)body;
    return type == FRAME_REPLICA_PUT ? FATE_DROP : FATE_CHANCE;
}

/* Two replicas of one directory with different holes, read page by page. */
static void test_pages_of_unequal_replicas_skip_nothing_and_revive_nothing(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0}, seen = {0};
    char name[16];
    scenario_begin(&s, 2, 2, 2, 2);
    for (uint32_t i = 10; i < 30; i++) { /* on both */
        snprintf(name, sizeof(name), "d/%u", i);
        scenario_put(&s, i % 2, name, "both", NULL, 0, &put);
        assert_int_equal(put.status, DYN_OK);
    }
    scenario_settle(&s);
    sim_net_set_judge(s.cluster->net, no_replica_puts, NULL);
    s.opt.w = 1;
    for (uint32_t i = 10; i < 30; i++) { /* node 0 removes 12 to 19, and node 1 those from 24 */
        snprintf(name, sizeof(name), "d/%u", i);
        if ((i >= 12 && i < 20) || i >= 24)
            scenario_put(&s, i >= 24, name, NULL, NULL, PUT_CURRENT, &put);
    }
    for (uint32_t i = 10; i < 30; i += 3) { /* and each has files of its own */
        snprintf(name, sizeof(name), "d/%ux", i);
        scenario_put(&s, i % 2, name, "own", NULL, 0, &put);
    }
    for (uint32_t limit = 1; limit < 8; limit++) {
        scenario_list(&s, limit % 2, "d", limit, &seen);
        assert_true(lists(&seen, "10 10x 11 13x 16x 19x 20 21 22 22x 23 25x 28x "));
    }
    answer_release(&put);
    answer_release(&seen);
    scenario_end(&s);
}

/* A node owes a directory to what lies under it. */
static void owe(struct scenario *s, uint32_t node, const char *dir)
{
    struct store_port owes = sim_disk_port(s->cluster->nodes[node].disk);
    struct place at = place_of(sim_cluster_ring(s->cluster), slice_str(dir));
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY, value = BUF_EMPTY;
    const struct debt debt = {.since_ms = 1};
    row_debt(DEBT_DIR, at.partition, slice_str(dir), &row);
    debt_encode(&debt, &value);
    store_batch_put(&b, STORE_HINT, buf_slice(&row), buf_slice(&value));
    assert_int_equal(owes.write(owes.ctx, &b, STORE_BUFFERED, NULL), DYN_OK);
    store_batch_release(&b);
    buf_release(&row);
    buf_release(&value);
}

/* Its row goes from the one disk that has it; who has owned it before still owes it. */
static void lose_directory(struct scenario *s, uint32_t owner, uint32_t before, const char *dir)
{
    struct store_port has = sim_disk_port(s->cluster->nodes[owner].disk);
    struct place at = place_of(sim_cluster_ring(s->cluster), slice_str(dir));
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY;
    row_object(&at, slice_str(dir), &row);
    store_batch_delete(&b, STORE_META, buf_slice(&row));
    assert_int_equal(has.write(has.ctx, &b, STORE_BUFFERED, NULL), DYN_OK);
    store_batch_release(&b);
    buf_release(&row);
    owe(s, before, dir);
}

/* A partition goes away from who owes a directory in it, and comes to one that had the entry all
 * the while, so that it notices nothing. */
static void test_e16_who_owes_a_directory_settles_it_also_when_others_own_it(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    uint32_t owner[1];
    scenario_begin(&s, 3, 1, 1, 1);
    scenario_put(&s, 0, "d/f", "leaf", NULL, 0, &a);
    assert_int_equal(a.status, DYN_OK);
    scenario_settle(&s);
    sim_cluster_replicas(s.cluster, slice_str("d"), 1, owner);
    lose_directory(&s, owner[0], (owner[0] + 1) % 3, "d");
    scenario_get(&s, 0, "d", &a);
    assert_int_equal(answer_live(&a), 0);
    assert_true(a.implicit_dir);
    sim_cluster_run(s.cluster, 10 * (uint64_t)SIM_SECOND);
    scenario_get(&s, 0, "d", &a);
    assert_int_equal(answer_live(&a), 1);
    answer_release(&a);
    scenario_end(&s);
}

/* Nothing lives under it any more: then it is owed no more, and nothing brings it back. */
static void test_e16_a_directory_that_is_empty_with_its_owners_is_owed_no_more(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    uint64_t hints = 0, owed = 0;
    uint32_t owner[1];
    scenario_begin(&s, 3, 1, 1, 1);
    scenario_put(&s, 0, "d/f", "leaf", NULL, 0, &a);
    scenario_put(&s, 0, "d/f", NULL, NULL, PUT_CURRENT, &a);
    assert_int_equal(a.status, DYN_OK);
    scenario_settle(&s);
    sim_cluster_replicas(s.cluster, slice_str("d"), 1, owner);
    lose_directory(&s, owner[0], (owner[0] + 1) % 3, "d");
    sim_cluster_run(s.cluster, 10 * (uint64_t)SIM_SECOND);
    scenario_get(&s, 0, "d", &a);
    assert_int_equal(answer_live(&a), 0);
    sim_cluster_debts(s.cluster, &hints, &owed);
    assert_int_equal(owed, 0);
    answer_release(&a);
    scenario_end(&s);
}

/* By a wall clock that is an hour behind, what this node passes on comes too late. */
static void test_e16_a_directory_that_lives_is_owed_no_more_by_any_clock(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    uint64_t hints = 0, owed = 0;
    uint32_t owner[1];
    scenario_begin(&s, 3, 1, 1, 1);
    scenario_put(&s, 0, "d/f", "leaf", NULL, 0, &a);
    assert_int_equal(a.status, DYN_OK);
    scenario_settle(&s);
    sim_cluster_replicas(s.cluster, slice_str("d"), 1, owner);
    uint32_t before = (owner[0] + 1) % 3;
    const struct settings_request strict = {
        .dir = slice_str("d"), .changes = {{SETTING_SLOPPY, SLOPPY_NO}}, .n = 1};
    settings_change(s.cluster->nodes[before].engine, &strict, NULL, NULL);
    sim_cluster_run(s.cluster, SIM_SECOND);
    s.cluster->nodes[before].wall_offset_ns = -3600 * (int64_t)1000000000;
    owe(&s, before, "d");
    sim_cluster_run(s.cluster, 10 * (uint64_t)SIM_SECOND);
    sim_cluster_debts(s.cluster, &hints, &owed);
    assert_int_equal(owed, 0);
    answer_release(&a);
    scenario_end(&s);
}

/* A create that has not come to its directory fails, and leaves its file all the same. Who
 * overwrites that strictly is not told that all is well while strict listings lack the file. */
static void test_a_strict_overwrite_waits_for_an_entry_that_is_not_there_yet(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    char key[32], listed[32];
    uint32_t owner, of_entry, i = 0;
    scenario_begin(&s, 3, 1, 1, 1);
    sim_cluster_replicas(s.cluster, slice_str("d"), 1, &of_entry);
    do {
        snprintf(key, sizeof(key), "d/f%u", ++i);
        snprintf(listed, sizeof(listed), "f%u ", i);
        sim_cluster_replicas(s.cluster, slice_str(key), 1, &owner);
    } while (owner == of_entry);
    s.opt.sloppy = SLOPPY_NO;
    scenario_isolate(&s, of_entry, true);
    scenario_put(&s, owner, key, "one", NULL, 0, &a);
    assert_int_equal(a.status, DYN_ERR_NO_QUORUM);
    scenario_get(&s, owner, key, &a);
    assert_true(answer_has(&a, "one"));
    scenario_put(&s, owner, key, "two", NULL, PUT_CURRENT, &a);
    assert_int_equal(a.status, DYN_ERR_NO_QUORUM);
    sim_net_heal(s.cluster->net);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    scenario_put(&s, owner, key, "three", NULL, PUT_CURRENT, &a);
    assert_int_equal(a.status, DYN_OK);
    scenario_list(&s, of_entry, "d", 100, &a);
    assert_true(lists(&a, listed));
    answer_release(&a);
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parents_that_nobody_made_appear_by_themselves),
        cmocka_unit_test(test_a_file_created_while_its_directory_is_removed_stays_in_reach),
        cmocka_unit_test(test_an_entry_survives_the_death_of_its_coordinator),
        cmocka_unit_test(test_what_an_equal_version_absorbed_elsewhere_stays_listed),
        cmocka_unit_test(test_pages_of_unequal_replicas_skip_nothing_and_revive_nothing),
        cmocka_unit_test(test_e16_who_owes_a_directory_settles_it_also_when_others_own_it),
        cmocka_unit_test(test_e16_a_directory_that_is_empty_with_its_owners_is_owed_no_more),
        cmocka_unit_test(test_e16_a_directory_that_lives_is_owed_no_more_by_any_clock),
        cmocka_unit_test(test_a_strict_overwrite_waits_for_an_entry_that_is_not_there_yet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
