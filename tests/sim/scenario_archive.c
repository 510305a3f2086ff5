/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on archives: what is written into one while the cluster goes on, fails and changes, and
 * what comes out of it again, into the same cluster and into another. */
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "memory_archive.h"
#include "model/archive_load.h"
#include "model/archive_save.h"
#include "model/manifest.h"
#include "scenario.h"

struct run {
    bool over;
    int err;
};

static void on_done(void *arg, int err)
{
    struct run *run = arg;
    run->over = true;
    run->err = err;
}

static struct client *client_of(struct scenario *s)
{
    struct client *client = sim_client_library(&s->client);
    for (uint32_t i = 0; i < 100 && client_ring(client) == NULL; i++) {
        struct answer a = {0};
        const struct sim_request q = {.type = FRAME_GET, .get = {.opt = s->opt}};
        scenario_send(s, VIA_LIBRARY, 0, &q, &a);
        answer_release(&a);
    }
    assert_non_null(client_ring(client));
    return client;
}

/* Something that happens in the middle of a run, at each step. */
typedef void (*meanwhile)(struct scenario *s, uint32_t step);

static int save(struct scenario *s, struct memory_archive *to, meanwhile then,
                struct archive_progress *progress)
{
    struct run run = {false, 0};
    const struct archive_save_config cfg = {.client = client_of(s),
                                            .port = memory_archive_port(to),
                                            .time = sim_world_time(&s->world),
                                            .timers = &s->world.timers};
    struct archive_save *save = archive_save_start(&cfg, on_done, &run);
    for (uint32_t i = 0; i < 20000 && !run.over; i++) {
        if (then != NULL)
            then(s, i);
        sim_cluster_run(s->cluster, SIM_SECOND / 50);
    }
    assert_true(run.over);
    if (run.err != DYN_OK)
        print_message("save: %s\n", archive_save_message(save));
    if (progress != NULL)
        archive_save_progress(save, progress);
    archive_save_free(save);
    return run.err;
}

static int load(struct scenario *s, struct memory_archive *from, struct archive_load_config cfg)
{
    struct run run = {false, 0};
    cfg.client = client_of(s);
    cfg.port = memory_archive_port(from);
    cfg.time = sim_world_time(&s->world);
    cfg.timers = &s->world.timers;
    struct archive_load *load = archive_load_start(&cfg, on_done, &run);
    for (uint32_t i = 0; i < 20000 && !run.over; i++)
        sim_cluster_run(s->cluster, SIM_SECOND / 50);
    assert_true(run.over);
    if (run.err != DYN_OK)
        print_message("load: %s\n", archive_load_message(load));
    archive_load_free(load);
    return run.err;
}

/* Into a cluster that has another id: with its seal. */
static int load_into_new(struct scenario *s, struct memory_archive *from, const char *below)
{
    struct mac *seal = mac_new(slice_str(SIM_SECRET));
    int err = load(
        s, from,
        (struct archive_load_config){.seal = seal, .into_new = true, .below = slice_str(below)});
    mac_free(seal);
    return err;
}

static void put(struct scenario *s, uint32_t node, const char *key, const char *value,
                uint32_t flags)
{
    struct answer a = {0};
    scenario_put(s, node, key, value, NULL, flags, &a);
    assert_int_equal(a.status, DYN_OK);
    answer_release(&a);
}

/* A key has just these live values; none: it is dead. */
static void expect(struct scenario *s, uint32_t node, const char *key, const char *one,
                   const char *two)
{
    struct answer a = {0};
    scenario_get(s, node, key, &a);
    if (one == NULL && (a.status == DYN_ERR_NOT_FOUND || a.status == DYN_OK)) {
        assert_int_equal(answer_live(&a), 0);
    } else {
        assert_int_equal(a.status, DYN_OK);
        assert_int_equal(answer_live(&a), two == NULL ? 1 : 2);
        assert_true(answer_has(&a, one));
        assert_true(two == NULL || answer_has(&a, two));
    }
    answer_release(&a);
}

static void expect_list(struct scenario *s, uint32_t node, const char *dir, const char *names)
{
    struct answer a = {0};
    scenario_list(s, node, dir, 0, &a);
    assert_int_equal(a.status, DYN_OK);
    assert_string_equal((const char *)a.listing.data, names);
    answer_release(&a);
}

/* A directory with a mode of its own, files, a conflict, and something that was deleted. */
static void fill(struct scenario *s)
{
    struct answer a = {0};
    struct sim_request q = {.type = FRAME_PUT, .put = scenario_put_request(s, "d", NULL)};
    q.put.type = SIBLING_DIR;
    q.put.attrs.mode = 0700;
    scenario_send(s, VIA_KV, 0, &q, &a);
    assert_int_equal(a.status, DYN_OK);
    answer_release(&a);
    scenario_mkdir(s, 1, "d/e", &a);
    answer_release(&a);
    put(s, 0, "d/e/file", "deep", 0);
    put(s, 0, "d/plain", "plain", 0);
    put(s, 0, "d/changed", "old", 0);
    put(s, 0, "d/later", "there", 0);
    put(s, 0, "both", "one", 0);
    put(s, 1, "both", "two", 0);
    put(s, 0, "gone", "short", 0);
    put(s, 1, "gone", NULL, PUT_CURRENT);
    scenario_settle(s);
}

static void expect_filled_and(struct scenario *s, const char *also)
{
    struct answer a = {0};
    char names[64];
    snprintf(names, sizeof(names), "both d %s", also);
    scenario_settle(s);
    s->opt.r = 3;
    for (uint32_t i = 0; i < s->cluster->cfg.nodes; i++) {
        expect(s, i, "d/e/file", "deep", NULL);
        expect(s, i, "d/plain", "plain", NULL);
        expect(s, i, "d/changed", "old", NULL);
        expect(s, i, "both", "one", "two");
        expect(s, i, "gone", NULL, NULL);
        expect_list(s, i, "", names);
        expect_list(s, i, "d", "changed e later plain ");
        expect_list(s, i, "d/e", "file ");
        scenario_get(s, i, "d", &a);
        assert_int_equal(answer_live(&a), 1);
        assert_int_equal(object_newest(&a.object)->attrs.mode, 0700);
        answer_release(&a);
    }
}

static void expect_filled(struct scenario *s)
{
    expect_filled_and(s, "");
}

static void test_a_new_cluster_gets_all_that_was(void **state)
{
    (void)state;
    struct scenario old, new;
    struct memory_archive archive;
    memory_archive_init(&archive);
    scenario_begin(&old, 4, 3, 2, 2);
    fill(&old);
    assert_int_equal(save(&old, &archive, NULL, NULL), DYN_OK);
    scenario_end(&old);
    scenario_begin_other(&new, 5, 3, 2, 2);
    assert_int_equal(load_into_new(&new, &archive, ""), DYN_OK);
    expect_filled(&new);
    /* it is a cluster like any other: nothing that is minted there was minted before (E1, E2) */
    put(&new, 0, "d/plain", "next", PUT_CURRENT);
    put(&new, 1, "gone", "again", PUT_CURRENT);
    scenario_settle(&new);
    for (uint32_t i = 0; i < 5; i++) {
        expect(&new, i, "d/plain", "next", NULL);
        expect(&new, i, "gone", "again", NULL);
    }
    scenario_end(&new);
    memory_archive_release(&archive);
}

static void test_the_same_cluster_keeps_what_is_newer(void **state)
{
    (void)state;
    struct scenario s;
    struct memory_archive archive;
    memory_archive_init(&archive);
    scenario_begin(&s, 4, 3, 2, 2);
    fill(&s);
    assert_int_equal(save(&s, &archive, NULL, NULL), DYN_OK);
    put(&s, 0, "d/changed", "new", PUT_CURRENT);
    put(&s, 0, "d/later", NULL, PUT_CURRENT);
    put(&s, 0, "added", "since", 0);
    scenario_settle(&s);
    assert_int_equal(load(&s, &archive, (struct archive_load_config){0}), DYN_OK);
    scenario_settle(&s);
    s.opt.r = 3;
    for (uint32_t i = 0; i < 4; i++) {
        expect(&s, i, "d/changed", "new", NULL);
        expect(&s, i, "d/later", NULL, NULL);
        expect(&s, i, "added", "since", NULL);
        expect(&s, i, "both", "one", "two");
        expect_list(&s, i, "d", "changed e plain ");
    }
    scenario_end(&s);
    memory_archive_release(&archive);
}

/* Nodes lose all they had, one after the other, and with it what only an archive remembers. */
static void test_lost_disks_are_filled_again(void **state)
{
    (void)state;
    struct scenario s;
    struct memory_archive archive;
    memory_archive_init(&archive);
    scenario_begin(&s, 4, 3, 2, 2);
    fill(&s);
    assert_int_equal(save(&s, &archive, NULL, NULL), DYN_OK);
    for (uint32_t i = 0; i < 4; i++) {
        sim_node_crash(&s.cluster->nodes[i], CRASH_KILL);
        sim_disk_restore(s.cluster->nodes[i].disk, NULL);
    }
    for (uint32_t i = 0; i < 4; i++)
        sim_node_start(&s.cluster->nodes[i]);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    expect(&s, 0, "d/plain", NULL, NULL);
    put(&s, 0, "d/plain", "meanwhile", 0); /* minted by nodes that have forgotten everything */
    assert_int_equal(load(&s, &archive, (struct archive_load_config){0}), DYN_OK);
    scenario_settle(&s);
    s.opt.r = 3;
    expect(&s, 1, "d/plain", "plain", "meanwhile");
    expect(&s, 2, "both", "one", "two");
    put(&s, 2, "both", "three", PUT_CURRENT);
    expect(&s, 3, "both", "three", NULL);
    scenario_end(&s);
    memory_archive_release(&archive);
}

static void test_what_a_stand_in_keeps_is_in_it(void **state)
{
    (void)state;
    struct scenario old, new;
    struct memory_archive archive;
    char key[32];
    memory_archive_init(&archive);
    scenario_begin(&old, 5, 3, 2, 2);
    scenario_key(&old, (uint32_t[]){0, 1, 2}, 3, "", key);
    old.opt.sloppy = SLOPPY_YES;
    sim_node_crash(&old.cluster->nodes[0], CRASH_KILL);
    sim_node_crash(&old.cluster->nodes[1], CRASH_KILL);
    sim_cluster_run(old.cluster, 2 * (uint64_t)SIM_SECOND);
    scenario_isolate(&old, 2, true); /* of the primaries nobody has it */
    put(&old, 3, key, "kept", 0);
    scenario_isolate(&old, 2, false);
    for (uint32_t i = 3; i < 5; i++)
        scenario_cut(&old, 2, i, true); /* nor gets it */
    sim_node_start(&old.cluster->nodes[1]);
    for (uint32_t i = 3; i < 5; i++)
        scenario_cut(&old, 1, i, true);
    sim_cluster_run(old.cluster, 3 * (uint64_t)SIM_SECOND);
    assert_int_equal(save(&old, &archive, NULL, NULL), DYN_OK);
    scenario_end(&old);
    scenario_begin_other(&new, 3, 3, 2, 2);
    assert_int_equal(load_into_new(&new, &archive, ""), DYN_OK);
    expect(&new, 1, key, "kept", NULL);
    scenario_end(&new);
    memory_archive_release(&archive);
}

static void test_too_few_copies_are_no_backup(void **state)
{
    (void)state;
    struct scenario s;
    struct memory_archive archive;
    memory_archive_init(&archive);
    scenario_begin(&s, 3, 3, 2, 2);
    fill(&s);
    sim_node_crash(&s.cluster->nodes[0], CRASH_KILL);
    assert_int_equal(save(&s, &archive, NULL, NULL), DYN_OK); /* of two W are one at least */
    sim_node_crash(&s.cluster->nodes[1], CRASH_KILL);
    assert_int_not_equal(save(&s, &archive, NULL, NULL), DYN_OK);
    assert_non_null(memory_archive_find(&archive, ARCHIVE_MANIFEST)); /* that of the first */
    scenario_end(&s);
    memory_archive_release(&archive);
}

static uint32_t lacking(struct memory_archive *archive)
{
    struct archive_manifest m = ARCHIVE_MANIFEST_EMPTY;
    struct archive_port port = memory_archive_port(archive);
    assert_int_equal(archive_manifest_load(&port, &m), DYN_OK);
    uint32_t n = archive_manifest_sum(&m).lacking;
    archive_manifest_release(&m);
    return n;
}

static void test_what_one_node_cannot_read_others_give(void **state)
{
    (void)state;
    struct scenario s, new;
    struct memory_archive archive;
    memory_archive_init(&archive);
    scenario_begin(&s, 3, 3, 2, 2);
    fill(&s);
    sim_disk_garble(s.cluster->nodes[1].disk, 1000);
    assert_int_equal(save(&s, &archive, NULL, NULL), DYN_OK);
    assert_int_equal(lacking(&archive), 0);
    sim_disk_garble(s.cluster->nodes[1].disk, 0);
    scenario_end(&s);
    scenario_begin_other(&new, 3, 3, 2, 2);
    assert_int_equal(load_into_new(&new, &archive, ""), DYN_OK);
    expect_filled(&new);
    scenario_end(&new);
    memory_archive_release(&archive);
}

static void test_a_node_that_cannot_read_its_disk_is_left_out(void **state)
{
    (void)state;
    struct scenario s, new;
    struct memory_archive archive;
    memory_archive_init(&archive);
    scenario_begin(&s, 3, 3, 2, 2);
    fill(&s);
    sim_disk_fail_reads(s.cluster->nodes[1].disk, true);
    assert_int_equal(save(&s, &archive, NULL, NULL), DYN_OK);
    assert_int_equal(lacking(&archive), 0);
    put(&s, 0, "since", "then", 0);
    sim_disk_fail_reads(s.cluster->nodes[2].disk, true);
    assert_int_equal(save(&s, &archive, NULL, NULL), DYN_ERR_IO);
    for (uint32_t i = 1; i < 3; i++)
        sim_disk_fail_reads(s.cluster->nodes[i].disk, false);
    scenario_end(&s);
    scenario_begin_other(&new, 3, 3, 2, 2);
    assert_int_equal(load_into_new(&new, &archive, ""), DYN_OK);
    expect_filled(&new);
    scenario_end(&new);
    memory_archive_release(&archive);
}

/* One copy is not enough: what was acknowledged may be on the other two alone. And what an earlier
 * run has saved stays, however often nobody can read it. */
static void test_what_too_few_can_read_is_counted_and_kept(void **state)
{
    (void)state;
    struct scenario s, new;
    struct memory_archive archive;
    memory_archive_init(&archive);
    scenario_begin(&s, 3, 3, 2, 2);
    fill(&s);
    assert_int_equal(save(&s, &archive, NULL, NULL), DYN_OK);
    put(&s, 0, "since", "then", 0);
    scenario_settle(&s);
    sim_node_crash(&s.cluster->nodes[0], CRASH_KILL);
    sim_disk_garble(s.cluster->nodes[1].disk, 1000);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(save(&s, &archive, NULL, NULL), DYN_OK);
        assert_int_equal(lacking(&archive), 9); /* all keys but the root */
    }
    sim_disk_garble(s.cluster->nodes[2].disk, 1000);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(save(&s, &archive, NULL, NULL), DYN_OK);
    assert_int_equal(lacking(&archive), 9);
    sim_disk_garble(s.cluster->nodes[2].disk, 0);
    scenario_begin_other(&new, 3, 3, 2, 2);
    assert_int_equal(load_into_new(&new, &archive, ""), DYN_OK);
    expect_filled_and(&new, "since ");
    scenario_end(&new);
    sim_disk_garble(s.cluster->nodes[1].disk, 0);
    assert_int_equal(save(&s, &archive, NULL, NULL), DYN_OK);
    assert_int_equal(lacking(&archive), 0);
    scenario_end(&s);
    memory_archive_release(&archive);
}

/* ---- runs after the first ---------------------------------------------------------------- */

static void test_a_later_run_fetches_what_is_new(void **state)
{
    (void)state;
    struct scenario s, new;
    struct memory_archive archive;
    struct archive_progress first, same, one;
    memory_archive_init(&archive);
    scenario_begin(&s, 3, 3, 2, 2);
    fill(&s);
    for (uint32_t i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof(key), "many%u", i);
        put(&s, 0, key, "of many", 0);
    }
    scenario_settle(&s);
    assert_int_equal(save(&s, &archive, NULL, &first), DYN_OK);
    assert_int_equal(first.unchanged, 0);
    assert_int_equal(save(&s, &archive, NULL, &same), DYN_OK);
    assert_int_equal(same.unchanged, same.total);
    assert_int_equal(same.bytes, 0);
    put(&s, 0, "many7", "another", PUT_CURRENT);
    put(&s, 0, "many8", NULL, PUT_CURRENT);
    scenario_settle(&s);
    assert_int_equal(save(&s, &archive, NULL, &one), DYN_OK);
    /* the partitions of two keys and of their directory, keys and chunks of each */
    assert_true(one.unchanged >= one.total - 6);
    assert_int_equal(one.bytes, strlen("another"));
    scenario_end(&s);
    scenario_begin_other(&new, 3, 3, 2, 2);
    assert_int_equal(load_into_new(&new, &archive, ""), DYN_OK);
    expect(&new, 0, "many7", "another", NULL);
    expect(&new, 0, "many8", NULL, NULL);
    expect(&new, 0, "many9", "of many", NULL);
    scenario_end(&new);
    memory_archive_release(&archive);
}

static void test_a_run_that_broke_off_is_gone_on_with(void **state)
{
    (void)state;
    struct scenario s, new;
    struct memory_archive archive;
    struct archive_progress second;
    memory_archive_init(&archive);
    scenario_begin(&s, 3, 3, 2, 2);
    fill(&s);
    archive.room = 2000;
    assert_int_equal(save(&s, &archive, NULL, NULL), DYN_ERR_NO_SPACE);
    assert_null(memory_archive_find(&archive, ARCHIVE_MANIFEST));
    archive.room = SIZE_MAX;
    assert_int_equal(save(&s, &archive, NULL, &second), DYN_OK);
    assert_true(second.unchanged > 0);
    assert_true(second.unchanged < second.total);
    scenario_end(&s);
    scenario_begin_other(&new, 4, 3, 2, 2);
    assert_int_equal(load_into_new(&new, &archive, ""), DYN_OK);
    expect_filled(&new);
    scenario_end(&new);
    memory_archive_release(&archive);
}

/* ---- under faults ------------------------------------------------------------------------ */

static uint32_t written; /* keys of trouble() that were acknowledged before the run began */

static void trouble(struct scenario *s, uint32_t step)
{
    struct answer a = {0};
    char key[16];
    snprintf(key, sizeof(key), "w%u", step % written);
    if (step % 10 == 3) {
        scenario_put(s, 1 + step % 3, key, "while it ran", NULL, PUT_CURRENT, &a);
        answer_release(&a);
    }
    if (step == 4)
        sim_node_crash(&s->cluster->nodes[0], CRASH_POWER);
    if (step == 40)
        sim_node_start(&s->cluster->nodes[0]);
    if (step % 50 == 20)
        scenario_cut(s, 1, 2, true);
    if (step % 50 == 45)
        scenario_cut(s, 1, 2, false);
}

static void test_writes_and_faults_meanwhile(void **state)
{
    (void)state;
    struct scenario s, new;
    struct memory_archive archive;
    memory_archive_init(&archive);
    scenario_begin(&s, 4, 3, 2, 2);
    written = 60;
    s.opt.durability = DURABILITY_QUORUM;
    s.opt.sloppy = SLOPPY_YES;
    for (uint32_t i = 0; i < written; i++) {
        char key[16];
        snprintf(key, sizeof(key), "w%u", i);
        put(&s, i % 4, key, "before", 0);
    }
    assert_int_equal(save(&s, &archive, trouble, NULL), DYN_OK);
    scenario_end(&s);
    scenario_begin_other(&new, 3, 3, 2, 2);
    assert_int_equal(load_into_new(&new, &archive, ""), DYN_OK);
    for (uint32_t i = 0; i < written; i++) {
        struct answer a = {0};
        char key[16];
        snprintf(key, sizeof(key), "w%u", i);
        scenario_get(&new, 0, key, &a);
        assert_true(answer_has(&a, "before") || answer_has(&a, "while it ran"));
        answer_release(&a);
    }
    scenario_end(&new);
    memory_archive_release(&archive);
}

/* ---- what is refused --------------------------------------------------------------------- */

static void test_damage_is_found_and_named(void **state)
{
    (void)state;
    struct scenario s;
    struct memory_archive archive;
    struct archive_manifest m = ARCHIVE_MANIFEST_EMPTY;
    char name[ARCHIVE_NAME_MAX];
    uint32_t p = 0;
    memory_archive_init(&archive);
    scenario_begin(&s, 3, 3, 2, 2);
    fill(&s);
    assert_int_equal(save(&s, &archive, NULL, NULL), DYN_OK);
    struct archive_port port = memory_archive_port(&archive);
    assert_int_equal(archive_manifest_load(&port, &m), DYN_OK);
    while (archive_manifest_part(&m, ARCHIVE_KEYS, p)->foot.rows == 0)
        p++;
    archive_manifest_release(&m);
    archive_name(ARCHIVE_KEYS, p, 1, name);
    struct buf *bytes = memory_archive_find(&archive, name);
    bytes->data[bytes->len / 2] ^= 1;
    assert_int_equal(load(&s, &archive, (struct archive_load_config){0}), DYN_ERR_CORRUPT);
    bytes->data[bytes->len / 2] ^= 1;
    assert_int_equal(load(&s, &archive, (struct archive_load_config){0}), DYN_OK);
    bytes->len--;
    assert_int_equal(load(&s, &archive, (struct archive_load_config){0}), DYN_ERR_CORRUPT);
    bytes->len++;
    port.remove(port.ctx, name);
    assert_int_equal(load(&s, &archive, (struct archive_load_config){0}), DYN_ERR_CORRUPT);
    scenario_end(&s);
    memory_archive_release(&archive);
}

static void test_another_cluster_is_not_taken_by_mistake(void **state)
{
    (void)state;
    struct scenario old, new;
    struct memory_archive archive;
    memory_archive_init(&archive);
    scenario_begin(&old, 3, 3, 2, 2);
    fill(&old);
    assert_int_equal(save(&old, &archive, NULL, NULL), DYN_OK);
    scenario_end(&old);
    scenario_begin_other(&new, 3, 3, 2, 2);
    assert_int_equal(load(&new, &archive, (struct archive_load_config){0}), DYN_ERR_REFUSED);
    assert_int_equal(save(&new, &archive, NULL, NULL), DYN_ERR_REFUSED);
    /* without its secret nobody can make it believe a clock (E3) */
    assert_int_equal(load(&new, &archive, (struct archive_load_config){.into_new = true}),
                     DYN_ERR_DENIED);
    expect(&new, 0, "d/plain", NULL, NULL);
    put(&new, 0, "mine", "already", 0);
    assert_int_equal(load_into_new(&new, &archive, ""), DYN_ERR_EXISTS);
    scenario_end(&new);
    memory_archive_release(&archive);
}

static void test_one_path_alone(void **state)
{
    (void)state;
    struct scenario old, new;
    struct memory_archive archive;
    memory_archive_init(&archive);
    scenario_begin(&old, 3, 3, 2, 2);
    fill(&old);
    assert_int_equal(save(&old, &archive, NULL, NULL), DYN_OK);
    scenario_end(&old);
    scenario_begin_other(&new, 3, 3, 2, 2);
    assert_int_equal(load_into_new(&new, &archive, "d/e"), DYN_OK);
    scenario_settle(&new);
    expect_list(&new, 0, "", "d ");
    expect_list(&new, 0, "d", "e ");
    expect(&new, 0, "d/e/file", "deep", NULL);
    expect(&new, 0, "d/plain", NULL, NULL);
    scenario_end(&new);
    memory_archive_release(&archive);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_cluster_gets_all_that_was),
        cmocka_unit_test(test_the_same_cluster_keeps_what_is_newer),
        cmocka_unit_test(test_lost_disks_are_filled_again),
        cmocka_unit_test(test_what_a_stand_in_keeps_is_in_it),
        cmocka_unit_test(test_too_few_copies_are_no_backup),
        cmocka_unit_test(test_what_one_node_cannot_read_others_give),
        cmocka_unit_test(test_a_node_that_cannot_read_its_disk_is_left_out),
        cmocka_unit_test(test_what_too_few_can_read_is_counted_and_kept),
        cmocka_unit_test(test_a_later_run_fetches_what_is_new),
        cmocka_unit_test(test_a_run_that_broke_off_is_gone_on_with),
        cmocka_unit_test(test_writes_and_faults_meanwhile),
        cmocka_unit_test(test_damage_is_found_and_named),
        cmocka_unit_test(test_another_cluster_is_not_taken_by_mistake),
        cmocka_unit_test(test_one_path_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
