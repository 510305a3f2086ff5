/* SPDX-License-Identifier: Apache-2.0 */
/* Renames whose second half cannot be done now. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/err.h"
#include "fs_world.h"
#include "unit.h"

/* mv from to, where everything is refused once the new name is stored. Returns mv's errno. */
static int half_a_rename(struct world *t, const char *from, const char *to, int err)
{
    struct call c;
    do_lookup(t->a, from);
    do_lookup(t->a, to);
    call_init(t->a, &c);
    fs_rename(t->a->fs, &c.op, FS_ROOT, slice_str(from), FS_ROOT, slice_str(to), 0);
    while (!fake_kv_holds(&t->k, to, "x") && !c.done)
        fake_kv_run(&t->k, 1, NULL);
    t->k.refuse_puts = err;
    return call_wait(t->a, &c);
}

static const char *pending(struct mount *m)
{
    return sh_cat(m, ".dynamount/pending");
}

static void test_the_old_name_is_gone_here_and_dropped_when_it_can_be(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "x", "from"), 0);
    assert_int_equal(half_a_rename(t, "from", "to", DYN_ERR_NO_QUORUM), 0);
    assert_string_equal(sh_cat(t->a, "to"), "x");
    assert_int_equal(do_lookup(t->a, "from"), 0);
    assert_string_equal(sh_ls(t->a, ""), "to ");
    assert_non_null(strstr(pending(t->a), "\tremoval\t"));
    assert_non_null(strstr(pending(t->a), "from"));
    assert_int_equal(fs_dirty_count(t->a->fs), 1);
    assert_true(fake_kv_holds(&t->k, "from", "x")); /* others still see it: never a lost file */
    t->k.refuse_puts = DYN_OK;
    later(t->a);
    assert_int_equal(fake_kv_live(&t->k, "from"), 0);
    assert_string_equal(pending(t->a), "");
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
    assert_true(fake_kv_holds(&t->k, "to", "x"));
}

static void test_writes_through_the_moved_file_go_to_the_new_name_alone(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "x", "from"), 0);
    uint64_t node = do_lookup(t->a, "from");
    assert_int_equal(half_a_rename(t, "from", "to", DYN_ERR_NO_QUORUM), 0);
    t->k.refuse_puts = DYN_OK;
    assert_int_equal(do_lookup(t->a, "to"), node);
    assert_int_equal(sh_echo(t->a, "more", "to"), 0);
    later(t->a);
    assert_int_equal(fake_kv_live(&t->k, "from"), 0);
    assert_int_equal(fake_kv_live(&t->k, "to"), 1);
    assert_true(fake_kv_holds(&t->k, "to", "more"));
}

static void test_a_new_file_under_the_old_name_is_kept_and_alone(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "x", "from"), 0);
    assert_int_equal(half_a_rename(t, "from", "to", DYN_ERR_NO_QUORUM), 0);
    t->k.refuse_puts = DYN_OK;
    assert_int_equal(sh_echo(t->a, "new", "from"), 0);
    assert_string_equal(sh_cat(t->a, "from"), "new");
    later(t->a);
    assert_int_equal(fake_kv_live(&t->k, "from"), 1);
    assert_true(fake_kv_holds(&t->k, "from", "new"));
    assert_string_equal(pending(t->a), "");
}

static void test_a_version_that_came_under_the_old_name_stays(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "x", "from"), 0);
    assert_int_equal(half_a_rename(t, "from", "to", DYN_ERR_NO_QUORUM), 0);
    fake_kv_write(&t->k, "from", "theirs", true);
    later(t->a);
    assert_string_equal(sh_cat(t->a, "from"), "theirs");
    t->k.refuse_puts = DYN_OK;
    later(t->a);
    assert_true(fake_kv_holds(&t->k, "from", "theirs"));
    assert_string_equal(pending(t->a), "");
}

static void test_mkdir_under_the_old_name_waits_for_the_drop(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "x", "from"), 0);
    assert_int_equal(half_a_rename(t, "from", "to", DYN_ERR_NO_QUORUM), 0);
    assert_int_equal(sh_mkdir(t->a, "from"), ETIMEDOUT); /* not EEXIST: nothing is there */
    t->k.refuse_puts = DYN_OK;
    assert_int_equal(sh_mkdir(t->a, "from"), 0);
    assert_string_equal(sh_ls(t->a, ""), "from to ");
    later(t->a);
    assert_int_equal(fake_kv_live(&t->k, "from"), 1);
}

static void test_an_exclusive_create_under_the_old_name_waits_for_the_drop(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "x", "from"), 0);
    assert_int_equal(half_a_rename(t, "from", "to", DYN_ERR_NO_QUORUM), 0);
    t->k.refuse_puts = DYN_OK;
    assert_int_equal(do_open(t->a, "from", O_CREAT | O_EXCL | O_WRONLY), 0);
    assert_int_equal(do_close(t->a, t->a->node, t->a->fh), 0);
    assert_int_equal(fake_kv_live(&t->k, "from"), 1);
}

static void test_rmdir_of_the_old_folder_waits_for_the_drop(void **state)
{
    struct world *t = *state;
    struct call c;
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    assert_int_equal(sh_echo(t->a, "x", "d/from"), 0);
    uint64_t d = do_lookup(t->a, "d");
    assert_int_not_equal(do_lookup(t->a, "d/from"), 0);
    call_init(t->a, &c);
    fs_rename(t->a->fs, &c.op, d, slice_str("from"), FS_ROOT, slice_str("to"), 0);
    while (fake_kv_live(&t->k, "to") == 0)
        fake_kv_run(&t->k, 1, NULL);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_string_equal(sh_ls(t->a, "d"), "");
    assert_int_equal(sh_rmdir(t->a, "d"), ETIMEDOUT); /* not ENOTEMPTY: it looks empty */
    t->k.refuse_puts = DYN_OK;
    assert_int_equal(sh_rmdir(t->a, "d"), 0);
    assert_string_equal(sh_ls(t->a, ""), "to ");
    assert_string_equal(sh_ls(t->b, ""), "to ");
}

static void test_a_drop_that_is_forbidden_leaves_both_names_each_with_its_file(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "x", "from"), 0);
    uint64_t from = do_lookup(t->a, "from");
    assert_int_equal(half_a_rename(t, "from", "to", DYN_ERR_DENIED), EACCES);
    t->k.refuse_puts = DYN_OK;
    /* The kernel still has the old name, with the node that was looked up. */
    struct call c;
    call_init(t->a, &c);
    fs_open_file(t->a->fs, &c.op, from, O_WRONLY | O_TRUNC);
    assert_int_equal(call_wait(t->a, &c), 0);
    uint64_t fh = c.op.open.fh;
    assert_int_equal(do_write(t->a, from, fh, 0, "meant for from"), 0);
    assert_int_equal(do_close(t->a, from, fh), 0);
    assert_true(fake_kv_holds(&t->k, "from", "meant for from"));
    assert_int_not_equal(do_lookup(t->a, "to"), from);
    assert_string_equal(sh_cat(t->a, "to"), "x");
    assert_string_equal(pending(t->a), "");
}

/* f.conflict.1 is of another node, and has not reached the coordinator yet. */
static void split_by_node(struct world *t)
{
    fake_kv_write_at(&t->k, 9, "f", "theirs");
    fake_kv_write(&t->k, "f", "mine", false);
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "theirs");
    t->k.overlook = 9;
}

static void test_what_a_write_replaces_and_its_coordinator_has_not_got_goes_later(void **state)
{
    struct world *t = *state;
    split_by_node(t);
    assert_int_equal(sh_echo(t->a, "better", "f.conflict.1"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 3); /* "theirs" is on its way */
    later(t->a);
    assert_string_equal(sh_ls(t->a, ""), "f f.conflict.1 "); /* but not here */
    t->k.overlook = 0;
    fake_kv_run(&t->k, 60000000, NULL);
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    assert_false(fake_kv_holds(&t->k, "f", "theirs"));
    assert_true(fake_kv_holds(&t->k, "f", "better"));
    assert_string_equal(pending(t->a), "");
}

static void test_what_rm_takes_and_its_coordinator_has_not_got_goes_later(void **state)
{
    struct world *t = *state;
    split_by_node(t);
    assert_int_equal(sh_rm(t->a, "f.conflict.1"), 0);
    assert_string_equal(sh_ls(t->a, ""), "f ");
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    t->k.overlook = 0;
    fake_kv_run(&t->k, 60000000, NULL);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(fake_kv_holds(&t->k, "f", "mine"));
    assert_string_equal(pending(t->a), "");
}

static void test_settling_a_conflict_binds_a_coordinator_that_has_not_got_it(void **state)
{
    struct world *t = *state;
    split_by_node(t);
    assert_int_equal(sh_echo(t->a, "settled", "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
}

static void drained(void *arg, uint32_t left)
{
    *(uint32_t *)arg = left;
}

static void test_unmounting_waits_for_what_is_owed(void **state)
{
    struct world *t = *state;
    uint32_t left = 99;
    assert_int_equal(sh_echo(t->a, "x", "from"), 0);
    assert_int_equal(half_a_rename(t, "from", "to", DYN_ERR_NO_QUORUM), 0);
    fs_drain(t->a->fs, 500000, drained, &left);
    later(t->a);
    assert_int_equal(left, 1);
    t->k.refuse_puts = DYN_OK;
    fs_drain(t->a->fs, 5000000, drained, &left);
    later(t->a);
    assert_int_equal(left, 0);
    assert_int_equal(fake_kv_live(&t->k, "from"), 0);
}

/* open(O_EXCL), which nobody answers; the one who was asked does it later, from *late. */
static void exclusive_unanswered(struct world *t, const char *name, struct sibling *late)
{
    struct call c;
    later(t->a);
    fake_kv_freeze(&t->k);
    t->k.lose = 1;
    call_init(t->a, &c);
    fs_create(t->a->fs, &c.op, FS_ROOT, slice_str(name), 0644, O_WRONLY | O_CREAT | O_EXCL);
    fake_kv_take_copy(&t->k, name, late);
    fake_kv_roll_back(&t->k);
    assert_int_equal(call_wait(t->a, &c), ETIMEDOUT);
}

static void test_what_o_excl_makes_after_it_failed_is_removed(void **state)
{
    struct world *t = *state;
    struct sibling late;
    exclusive_unanswered(t, "lock", &late);
    assert_non_null(strstr(pending(t->a), "\tremoval\tlock"));
    assert_int_equal(fs_dirty_count(t->a->fs), 1);
    later(t->a);
    assert_non_null(strstr(pending(t->a), "\tremoval\tlock"));
    fake_kv_copy_arrives(&t->k, "lock", &late);
    assert_int_equal(fake_kv_live(&t->k, "lock"), 1);
    fake_kv_run(&t->k, 30000000, NULL);
    assert_int_equal(fake_kv_live(&t->k, "lock"), 0);
    assert_string_equal(pending(t->a), "");
    assert_string_equal(sh_ls(t->a, ""), "");
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
}

static void test_what_o_excl_makes_late_goes_and_a_file_of_another_stays(void **state)
{
    struct world *t = *state;
    struct sibling late;
    exclusive_unanswered(t, "lock", &late);
    fake_kv_write(&t->k, "lock", "theirs", false);
    fake_kv_copy_arrives(&t->k, "lock", &late);
    fake_kv_run(&t->k, 60000000, NULL);
    assert_int_equal(fake_kv_live(&t->k, "lock"), 1);
    assert_true(fake_kv_holds(&t->k, "lock", "theirs"));
    assert_string_equal(pending(t->a), "");
}

static void test_after_o_excl_failed_the_name_can_be_made_at_once_and_stays(void **state)
{
    struct world *t = *state;
    struct sibling late;
    exclusive_unanswered(t, "lock", &late);
    assert_int_equal(do_open(t->a, "lock", O_CREAT | O_EXCL | O_WRONLY), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    fake_kv_copy_arrives(&t->k, "lock", &late);
    assert_int_equal(do_write(t->a, node, fh, 0, "pid"), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    fake_kv_run(&t->k, 60000000, NULL);
    assert_int_equal(fake_kv_live(&t->k, "lock"), 1);
    assert_true(fake_kv_holds(&t->k, "lock", "pid"));
    assert_string_equal(pending(t->a), "");
}

static void test_an_o_excl_that_did_nothing_is_over_when_all_say_so(void **state)
{
    struct world *t = *state;
    t->k.refuse = DYN_ERR_TIMEOUT;
    struct call c;
    call_init(t->a, &c);
    fs_create(t->a->fs, &c.op, FS_ROOT, slice_str("lock"), 0644, O_WRONLY | O_CREAT | O_EXCL);
    assert_int_equal(call_wait(t->a, &c), ETIMEDOUT);
    fake_kv_run(&t->k, 100000000, NULL);
    assert_non_null(strstr(pending(t->a), "\tremoval\tlock\tfailed: no quorum answers"));
    t->k.refuse = DYN_OK;
    fake_kv_run(&t->k, 100000000, NULL);
    assert_string_equal(pending(t->a), "");
    assert_int_equal(t->k.puts, 1);
}

#define CLAIM(t) cmocka_unit_test_setup_teardown(t, world_set_up, world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(test_the_old_name_is_gone_here_and_dropped_when_it_can_be),
        CLAIM(test_writes_through_the_moved_file_go_to_the_new_name_alone),
        CLAIM(test_a_new_file_under_the_old_name_is_kept_and_alone),
        CLAIM(test_a_version_that_came_under_the_old_name_stays),
        CLAIM(test_mkdir_under_the_old_name_waits_for_the_drop),
        CLAIM(test_an_exclusive_create_under_the_old_name_waits_for_the_drop),
        CLAIM(test_rmdir_of_the_old_folder_waits_for_the_drop),
        CLAIM(test_a_drop_that_is_forbidden_leaves_both_names_each_with_its_file),
        CLAIM(test_what_a_write_replaces_and_its_coordinator_has_not_got_goes_later),
        CLAIM(test_settling_a_conflict_binds_a_coordinator_that_has_not_got_it),
        CLAIM(test_what_rm_takes_and_its_coordinator_has_not_got_goes_later),
        CLAIM(test_unmounting_waits_for_what_is_owed),
        CLAIM(test_what_o_excl_makes_after_it_failed_is_removed),
        CLAIM(test_what_o_excl_makes_late_goes_and_a_file_of_another_stays),
        CLAIM(test_after_o_excl_failed_the_name_can_be_made_at_once_and_stays),
        CLAIM(test_an_o_excl_that_did_nothing_is_over_when_all_say_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
