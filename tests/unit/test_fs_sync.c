/* SPDX-License-Identifier: Apache-2.0 */
/* fsync of directories, and what fsync has promised of a file that is renamed (F13). The way to
 * replace a file that must survive a power cut is: write another, fsync it, rename it, fsync the
 * directory. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/err.h"
#include "fs_world.h"
#include "unit.h"

static int fsyncdir(struct mount *m, const char *path)
{
    struct call c;
    uint64_t node = *path == 0 ? FS_ROOT : do_lookup(m, path);
    call_init(m, &c);
    fs_fsyncdir(m->fs, &c.op, node, 0);
    return call_wait(m, &c);
}

/* fsyncdir, and how many objects it asked about. */
static uint32_t syncs_of(struct world *t, const char *path)
{
    t->k.syncs = 0;
    assert_int_equal(fsyncdir(t->a, path), 0);
    return t->k.syncs;
}

static void write_synced(struct mount *m, const char *path, const char *text)
{
    assert_int_equal(do_open(m, path, O_WRONLY | O_CREAT), 0);
    uint64_t node = m->node, fh = m->fh;
    do_write(m, node, fh, 0, text);
    assert_int_equal(do_fsync(m, node, fh), 0);
    assert_int_equal(do_close(m, node, fh), 0);
}

static void test_f13_fsyncdir_asks_about_each_name_that_this_mount_has_changed(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "d/gone", "x", false);
    fake_kv_write(&t->k, "d/untouched", "x", false);
    assert_int_equal(sh_mkdir(t->a, "e"), 0);
    assert_int_equal(sh_echo(t->a, "1", "d/new"), 0);
    assert_int_equal(sh_rm(t->a, "d/gone"), 0);
    assert_int_equal(sh_mkdir(t->a, "d/sub"), 0);
    assert_int_equal(sh_echo(t->a, "1", "e/old"), 0);
    assert_int_equal(sh_mv(t->a, "e/old", "d/moved"), 0);
    assert_int_equal(syncs_of(t, "d"), 4); /* d itself is only implied: it has no object */
    assert_int_equal(syncs_of(t, "d"), 0);
    assert_int_equal(syncs_of(t, "e"), 2); /* the name that went, and e itself */
    assert_int_equal(syncs_of(t, ""), 0);  /* e was asked about already */
}

static void test_f13_what_fsync_has_done_is_not_asked_again(void **state)
{
    struct world *t = *state;
    fake_kv_mkdir(&t->k, "d");
    assert_int_equal(syncs_of(t, "d"), 1); /* its own object */
    write_synced(t->a, "d/f", "1");
    assert_int_equal(syncs_of(t, "d"), 0);
    assert_int_equal(sh_echo(t->a, "2", "d/f"), 0);
    assert_int_equal(syncs_of(t, "d"), 1);
}

static void test_f13_a_failure_is_told_and_asked_about_again(void **state)
{
    struct world *t = *state;
    fake_kv_mkdir(&t->k, "d");
    assert_int_equal(syncs_of(t, "d"), 1); /* its own object */
    assert_int_equal(sh_echo(t->a, "1", "d/f"), 0);
    do_lookup(t->a, "d");
    t->k.refuse = DYN_ERR_NO_QUORUM;
    struct call c;
    call_init(t->a, &c);
    fs_fsyncdir(t->a->fs, &c.op, t->a->node, 0);
    assert_int_equal(call_wait(t->a, &c), ETIMEDOUT);
    t->k.refuse = DYN_OK;
    assert_int_equal(syncs_of(t, "d"), 1);
    assert_int_equal(syncs_of(t, "d"), 0);
}

/* A delete that every disk had is forgotten in time (E15), and then no replica knows of it. */
static void test_f13_a_removal_that_was_reaped_is_as_durable_as_can_be(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "d/f", "x", false);
    fake_kv_write(&t->k, "d/g", "x", false);
    assert_int_equal(sh_rm(t->a, "d/f"), 0);
    assert_int_equal(sh_rm(t->a, "d/g"), 0);
    fake_kv_reap(&t->k, "d/f");
    fake_kv_reap(&t->k, "d/g");
    fake_kv_write(&t->k, "d/g", "another's, who has never heard of the first", false);
    assert_int_equal(syncs_of(t, "d"), 2);
    assert_int_equal(syncs_of(t, "d"), 0);
}

static void test_f13_what_another_mount_has_replaced_and_forgotten_is_no_loss(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "d/other", "x", false);
    assert_int_equal(sh_echo(t->a, "1", "d/f"), 0);
    assert_int_equal(sh_rm(t->b, "d/f"), 0);
    later(t->a);
    assert_int_equal(do_lookup(t->a, "d/f"), 0);
    fake_kv_reap(&t->k, "d/f");
    assert_int_equal(syncs_of(t, "d"), 1);
    assert_int_equal(syncs_of(t, "d"), 0);
}

/* Neither a change that no disk has, though the name be free, nor a name that is back. */
static void test_f13_a_change_that_is_lost_is_told(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "d/f", "x", false);
    fake_kv_write(&t->k, "e/other", "x", false);
    fake_kv_freeze(&t->k);
    assert_int_equal(sh_rm(t->a, "d/f"), 0);
    assert_int_equal(sh_echo(t->a, "1", "e/f"), 0);
    fake_kv_roll_back(&t->k);
    assert_int_equal(fsyncdir(t->a, "d"), ESTALE);
    assert_int_equal(fsyncdir(t->a, "e"), ESTALE);
}

static void test_f13_many_names_are_synced_by_one_call(void **state)
{
    struct world *t = *state;
    char name[32];
    fake_kv_mkdir(&t->k, "d");
    assert_int_equal(syncs_of(t, "d"), 1); /* its own object */
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "d/f%d", i);
        assert_int_equal(sh_echo(t->a, "1", name), 0);
    }
    assert_int_equal(syncs_of(t, "d"), 100);
    assert_int_equal(syncs_of(t, "d"), 0);
}

static void test_f13_a_renamed_file_stays_as_durable_as_fsync_has_made_it(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "old", "f"), 0);
    write_synced(t->a, "f.new", "new");
    assert_int_equal(sh_mv(t->a, "f.new", "f"), 0);
    assert_true(fake_kv_holds(&t->k, "f", "new"));
    assert_int_equal(do_open(t->a, "f", O_RDONLY), 0);
    t->k.syncs = 0;
    assert_int_equal(do_fsync(t->a, t->a->node, t->a->fh), 0);
    assert_int_equal(t->k.syncs, 0);
    do_close(t->a, t->a->node, t->a->fh);
}

/* The publication that is on its way already asks for less than an fsync does. */
static void test_f13_an_fsync_that_meets_a_flush_is_not_content_with_it(void **state)
{
    struct world *t = *state;
    struct call flush, sync;
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "text");
    t->k.hold = true;
    call_init(t->a, &flush);
    fs_flush(t->a->fs, &flush.op, node, fh);
    call_init(t->a, &sync);
    fs_fsync(t->a->fs, &sync.op, node, fh);
    t->k.most_durable = 0;
    fake_kv_let_go(&t->k);
    assert_int_equal(call_wait(t->a, &flush), 0);
    assert_int_equal(call_wait(t->a, &sync), 0);
    assert_int_equal(t->k.most_durable, DURABILITY_QUORUM);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    do_release(t->a, node, fh);
}

static void test_a_rename_syncs_nothing_that_nobody_asked_for(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "new", "f.new"), 0);
    t->k.most_durable = 0;
    assert_int_equal(sh_mv(t->a, "f.new", "f"), 0);
    assert_int_equal(t->k.most_durable, DURABILITY_BUFFERED);
    write_synced(t->a, "g.new", "new");
    assert_int_equal(sh_mv(t->a, "g.new", "g"), 0);
    assert_int_equal(t->k.most_durable, DURABILITY_QUORUM);
}

static void test_the_filesystem_can_end_while_a_directory_is_synced(void **state)
{
    struct world *t = *state;
    char name[32];
    fake_kv_mkdir(&t->k, "d");
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "d/f%d", i);
        assert_int_equal(sh_echo(t->a, "1", name), 0);
    }
    do_lookup(t->a, "d");
    struct call c;
    call_init(t->a, &c);
    t->k.hold = true;
    fs_fsyncdir(t->a->fs, &c.op, t->a->node, 0);
    mount_free(t->a);
    t->a = NULL;
    assert_true(c.done);
    assert_int_equal(c.op.err, ENOTCONN);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        T(test_f13_fsyncdir_asks_about_each_name_that_this_mount_has_changed),
        T(test_f13_what_fsync_has_done_is_not_asked_again),
        T(test_f13_a_failure_is_told_and_asked_about_again),
        T(test_f13_a_removal_that_was_reaped_is_as_durable_as_can_be),
        T(test_f13_what_another_mount_has_replaced_and_forgotten_is_no_loss),
        T(test_f13_a_change_that_is_lost_is_told),
        T(test_f13_many_names_are_synced_by_one_call),
        T(test_f13_a_renamed_file_stays_as_durable_as_fsync_has_made_it),
        T(test_f13_an_fsync_that_meets_a_flush_is_not_content_with_it),
        T(test_a_rename_syncs_nothing_that_nobody_asked_for),
        T(test_the_filesystem_can_end_while_a_directory_is_synced),
    };
    return cmocka_run_group_tests_name("fs_sync", tests, NULL, NULL);
}
