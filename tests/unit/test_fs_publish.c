/* SPDX-License-Identifier: Apache-2.0 */
/* Publication: what reaches the cluster, when, and what happens when it does not (F7 to F9, F12,
 * F13, F27, F28). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/mem.h"
#include "fs_world.h"
#include "model/core.h"
#include "unit.h"

static void test_f12_a_file_created_and_held_open_is_published_in_the_background(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, "log", O_WRONLY | O_CREAT | O_APPEND), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "line");
    fake_kv_run(&t->k, 31000000, NULL);
    assert_true(fake_kv_holds(&t->k, "log", "line"));
    do_write(t->a, node, fh, 0, "+more");
    fake_kv_run(&t->k, 31000000, NULL);
    assert_true(fake_kv_holds(&t->k, "log", "line+more"));
    assert_int_equal(fake_kv_live(&t->k, "log"), 1);
    do_close(t->a, node, fh);
}

static void test_f12_truncation_alone_waits_for_flush(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "full", false);
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_TRUNC), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    fake_kv_run(&t->k, 40000000, NULL);
    assert_true(fake_kv_holds(&t->k, "f", "full"));
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_true(fake_kv_holds(&t->k, "f", ""));
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
}

static void test_f7_release_publishes_what_is_still_dirty(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT), 0);
    do_write(t->a, t->a->node, t->a->fh, 0, "x");
    do_release(t->a, t->a->node, t->a->fh); /* as the kernel does after stores through a mapping */
    fake_kv_run(&t->k, 10000, NULL);
    assert_true(fake_kv_holds(&t->k, "f", "x"));
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
}

/* Nobody waits for the answer of a RELEASE. */
static void test_f7_a_release_that_cannot_publish_is_in_pending_and_in_the_log(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, "d\ne", O_WRONLY | O_CREAT), 0);
    do_write(t->a, t->a->node, t->a->fh, 0, "x");
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    do_release(t->a, t->a->node, t->a->fh);
    fake_kv_run(&t->k, 10000000, NULL);
    assert_true(t->a->fs->counters.publish_failures > 1);
    assert_int_equal(t->a->lines, 1); /* once, however often it is tried */
    assert_non_null(strstr(t->a->said, "could not be published"));
    assert_non_null(strstr(t->a->said, ": no quorum answers: d%0Ae"));
    const char *pending = sh_cat(t->a, ".dynamount/pending");
    assert_non_null(strstr(pending, "d%0Ae\tfailed: no quorum answers"));
    t->k.refuse_puts = DYN_OK;
    fake_kv_run(&t->k, 60000000, NULL);
    assert_true(fake_kv_holds(&t->k, "d\ne", "x"));
    assert_int_equal(t->a->lines, 2);
    assert_non_null(strstr(t->a->said, "is published after all: d%0Ae"));
    assert_string_equal(sh_cat(t->a, ".dynamount/pending"), "");
}

static void on_drained(void *arg, uint32_t still_dirty)
{
    *(int64_t *)arg = still_dirty;
}

static void test_f7_drain_publishes_all(void **state)
{
    struct world *t = *state;
    int64_t left = -1;
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "x");
    fs_drain(t->a->fs, 5000000, on_drained, &left);
    fake_kv_run(&t->k, 10000, NULL);
    assert_int_equal(left, 0);
    assert_true(fake_kv_holds(&t->k, "f", "x"));
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    do_write(t->a, node, fh, 0, "y");
    left = -1;
    fs_drain(t->a->fs, 5000000, on_drained, &left);
    fake_kv_run(&t->k, 6000000, NULL);
    assert_int_equal(left, 1);
    do_release(t->a, node, fh);
}

static void test_f8_after_a_failed_flush_the_file_does_not_revert(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "before", false);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_echo(t->a, "after", "f"), ETIMEDOUT);
    assert_string_equal(sh_cat(t->a, "f"), "after");
    assert_int_equal(fs_dirty_count(t->a->fs), 1);
    assert_non_null(strstr(sh_cat(t->a, ".dynamount/pending"), "bytes\tf\tfailed"));
    t->k.refuse_puts = DYN_OK;
    fake_kv_run(&t->k, 60000000, NULL);
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
    assert_true(fake_kv_holds(&t->k, "f", "after"));
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
}

static void test_f8_every_flush_fails_until_it_is_out(void **state)
{
    struct world *t = *state;
    t->k.refuse_puts = DYN_ERR_NO_SPACE;
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "x");
    assert_int_equal(do_flush(t->a, node, fh), ENOSPC);
    assert_int_equal(do_flush(t->a, node, fh), ENOSPC);
    assert_int_equal(do_fsync(t->a, node, fh), ENOSPC);
    t->k.refuse_puts = DYN_OK;
    assert_int_equal(do_close(t->a, node, fh), 0);
}

static void test_f8_a_newcomer_survives_a_retried_flush(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "before", false);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_echo(t->a, "mine", "f"), ETIMEDOUT);
    fake_kv_write(&t->k, "f", "theirs", true);
    t->k.refuse_puts = DYN_OK;
    fake_kv_run(&t->k, 60000000, NULL);
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    assert_true(fake_kv_holds(&t->k, "f", "theirs"));
    assert_true(fake_kv_holds(&t->k, "f", "mine"));
}

static void test_f9_a_maybe_put_does_not_conflict_with_its_own_author(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "before", false);
    t->k.lose = 1;
    assert_int_equal(sh_echo(t->a, "mine", "f"), ETIMEDOUT);
    fake_kv_run(&t->k, 60000000, NULL);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    t->k.lose = 1; /* and once more, with other bytes written in between */
    assert_int_equal(sh_echo(t->a, "two", "f"), ETIMEDOUT);
    assert_int_equal(sh_echo(t->a, "three", "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(fake_kv_holds(&t->k, "f", "three"));
}

static void test_f9_a_maybe_append_is_applied_once(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "a", false);
    t->k.lose = 1;
    assert_int_equal(sh_append(t->a, "b", "f"), ETIMEDOUT);
    assert_int_equal(sh_append(t->a, "c", "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(fake_kv_holds(&t->k, "f", "abc"));
}

/* Each change names the version whose bytes it keeps; here by a dot that is no more. */
static void test_f9_a_write_that_was_minted_twice_is_changed_on(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "text", "f"), 0);
    fake_kv_mint_again(&t->k, "f");
    assert_int_equal(sh_chmod(t->a, "f", 0600), 0);
    assert_int_equal(do_open(t->a, "f", O_RDWR), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    fake_kv_mint_again(&t->k, "f");
    do_write(t->a, node, fh, 0, "t"); /* the same byte again */
    assert_int_equal(do_fsync(t->a, node, fh), 0);
    do_write(t->a, node, fh, 4, "+");
    fake_kv_mint_again(&t->k, "f");
    assert_int_equal(do_close(t->a, node, fh), 0);
    fake_kv_mint_again(&t->k, "f");
    assert_int_equal(sh_setxattr(t->a, "f", "user.a", "1"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_string_equal(sh_cat(t->b, "f"), "text+");
    assert_int_equal(do_lookup(t->b, "f") != 0 ? t->b->entry.attr.mode & 07777 : 0, 0600);
}

static void test_f9_a_write_that_was_minted_twice_and_replaced_is_not_changed(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "text", "f"), 0);
    uint64_t node = do_lookup(t->a, "f");
    fake_kv_mint_again(&t->k, "f");
    fake_kv_write(&t->k, "f", "another", true);
    struct call c;
    struct fs_attr mode = {.mode = 0600};
    call_init(t->a, &c);
    fs_setattr(t->a->fs, &c.op, node, 0, &mode, FS_SET_MODE);
    assert_int_equal(call_wait(t->a, &c), ESTALE); /* the kernel looks again */
    assert_int_equal(sh_chmod(t->a, "f", 0600), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_string_equal(sh_cat(t->a, "f"), "another");
}

/* What was removed or renamed away does not come back with a copy of the write that is late. */
static void test_f9_a_late_copy_of_a_write_brings_nothing_back(void **state)
{
    struct world *t = *state;
    static const char *const names[] = {"f", "g", "d", "lock"};
    struct sibling late[4];
    assert_int_equal(sh_echo(t->a, "1", "f"), 0);
    assert_int_equal(sh_echo(t->a, "1", "g"), 0);
    assert_int_equal(sh_append(t->a, "2", "g"), 0);
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    assert_int_equal(do_open(t->a, "lock", O_WRONLY | O_CREAT | O_EXCL), 0);
    do_close(t->a, t->a->node, t->a->fh);
    for (int i = 0; i < 4; i++)
        fake_kv_take_copy(&t->k, names[i], &late[i]);
    assert_int_equal(sh_rm(t->a, "f"), 0);
    assert_int_equal(sh_mv(t->a, "g", "h"), 0);
    assert_int_equal(sh_rmdir(t->a, "d"), 0);
    assert_int_equal(sh_rm(t->a, "lock"), 0);
    for (int i = 0; i < 4; i++)
        fake_kv_copy_arrives(&t->k, names[i], &late[i]);
    assert_string_equal(sh_ls(t->b, ""), "h ");
    assert_string_equal(sh_cat(t->b, "h"), "12");
}

/* Nor when the name has been taken by another file of this mount since: by a rename onto it, by one
 * made anew after a removal or a rename away, of whatever type. */
static void test_f9_a_late_copy_of_a_write_does_not_stand_beside_its_successor(void **state)
{
    struct world *t = *state;
    static const char *const names[] = {"over", "anew", "away", "dir", "lock"};
    struct sibling late[5];
    for (int i = 0; i < 5; i++) {
        assert_int_equal(sh_echo(t->a, "1", names[i]), 0);
        fake_kv_take_copy(&t->k, names[i], &late[i]);
    }
    assert_int_equal(sh_echo(t->a, "2", "other"), 0);
    assert_int_equal(sh_mv(t->a, "other", "over"), 0);
    assert_int_equal(sh_rm(t->a, "anew"), 0);
    assert_int_equal(sh_echo(t->a, "2", "anew"), 0);
    assert_int_equal(sh_mv(t->a, "away", "moved"), 0);
    assert_int_equal(sh_echo(t->a, "2", "away"), 0);
    assert_int_equal(sh_rm(t->a, "dir"), 0);
    assert_int_equal(sh_mkdir(t->a, "dir"), 0);
    assert_int_equal(sh_rm(t->a, "lock"), 0);
    assert_int_equal(do_open(t->a, "lock", O_WRONLY | O_CREAT | O_EXCL), 0);
    do_close(t->a, t->a->node, t->a->fh);
    for (int i = 0; i < 5; i++) {
        fake_kv_copy_arrives(&t->k, names[i], &late[i]);
        assert_int_equal(fake_kv_live(&t->k, names[i]), 1);
    }
    assert_string_equal(sh_ls(t->b, ""), "anew away dir lock moved over ");
    assert_string_equal(sh_cat(t->b, "over"), "2");
    assert_string_equal(sh_cat(t->b, "anew"), "2");
    assert_string_equal(sh_cat(t->b, "away"), "2");
    assert_string_equal(sh_cat(t->b, "lock"), "");
}

/* And what has taken the name may be replaced in its turn. */
static void test_f9_successors_go_on_from_each_other(void **state)
{
    struct world *t = *state;
    struct sibling late[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(sh_echo(t->a, "1", "new"), 0);
        assert_int_equal(sh_mv(t->a, "new", "f"), 0);
        fake_kv_take_copy(&t->k, "f", &late[i]);
        assert_int_equal(sh_append(t->a, "2", "f"), 0);
    }
    for (int i = 0; i < 4; i++)
        fake_kv_copy_arrives(&t->k, "f", &late[i]);
    assert_string_equal(sh_ls(t->b, ""), "f ");
    assert_string_equal(sh_cat(t->b, "f"), "12");
}

/* A version of this mount's own that lost the name in a conflict, and that nobody was shown as the
 * other side of it, is not taken along by who takes the name. */
static void test_f9_who_takes_a_name_leaves_a_version_that_it_does_not_name(void **state)
{
    struct world *t = *state;
    struct dot base = fake_kv_write(&t->k, "f", "0", false);
    assert_int_equal(sh_append(t->a, "a", "f"), 0);
    fake_kv_write_over(&t->k, "f", "0b", &base); /* the other side of a split */
    later(t->a);
    assert_int_equal(sh_rm(t->a, "f"), 0); /* the newest */
    assert_string_equal(sh_cat(t->b, "f"), "0a");
    fake_kv_write(&t->k, "f", "c", false);
    later(t->a);
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_APPEND), 0); /* "c", alone */
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "d");
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_true(fake_kv_holds(&t->k, "f", "0a"));
    assert_true(fake_kv_holds(&t->k, "f", "cd"));
}

/* The dot that this mount knows has given way to the other one. */
static void test_f9_a_write_that_was_minted_twice_is_removed(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "1", "f"), 0);
    assert_int_equal(sh_echo(t->a, "2", "g"), 0);
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    fake_kv_mint_again(&t->k, "f");
    fake_kv_mint_again(&t->k, "g");
    fake_kv_mint_again(&t->k, "d");
    assert_int_equal(sh_rm(t->a, "f"), 0);
    assert_int_equal(sh_mv(t->a, "g", "h"), 0);
    assert_int_equal(sh_rmdir(t->a, "d"), 0);
    assert_string_equal(sh_ls(t->b, ""), "h ");
}

/* And it has heard of that, while its own changes were not published. */
static void test_f9_a_dirty_file_that_was_minted_twice_is_renamed(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "1", "f"), 0);
    assert_int_equal(do_open(t->a, "f", O_WRONLY), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "2");
    fake_kv_mint_again(&t->k, "f");
    later(t->a);
    assert_string_equal(sh_ls(t->a, ""), "f ");
    assert_int_equal(sh_mv(t->a, "f", "g"), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_string_equal(sh_ls(t->b, ""), "g ");
    assert_string_equal(sh_cat(t->b, "g"), "2");
}

/* Though the last thing that was tried is not known to have happened. */
static void test_f9_a_late_copy_of_an_edit_that_failed_brings_nothing_back(void **state)
{
    struct world *t = *state;
    struct sibling edit;
    assert_int_equal(sh_echo(t->a, "1", "f"), 0);
    assert_int_equal(do_open(t->a, "f", O_WRONLY), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "2");
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(do_close(t->a, node, fh), ETIMEDOUT);
    t->k.refuse_puts = DYN_OK;
    fake_kv_take_copy(&t->k, "f", &edit); /* as that edit would be */
    edit.origin.seq++;
    assert_int_equal(sh_rm(t->a, "f"), 0);
    fake_kv_copy_arrives(&t->k, "f", &edit);
    assert_string_equal(sh_ls(t->b, ""), "");
}

/* But a removal takes nobody else's write along, and no other of this mount's. */
static void test_f9_a_removal_leaves_what_it_does_not_name(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "mine", "f"), 0);
    fake_kv_write(&t->k, "f", "beside", false);
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "mine");
    assert_int_equal(sh_rm(t->a, "f"), 0);
    assert_string_equal(sh_cat(t->b, "f"), "mine");
    fake_kv_write(&t->k, "f", "beside again", false);
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "mine");
    assert_int_equal(sh_rm(t->a, "f.conflict.1"), 0);
    assert_string_equal(sh_cat(t->b, "f"), "beside again");
}

static void test_f9_an_own_line_of_descent_is_not_carried_over_to_another_version(void **state)
{
    struct world *t = *state;
    struct dot base = fake_kv_write(&t->k, "log", "0", false);
    assert_int_equal(sh_append(t->a, "a", "log"), 0);
    fake_kv_write_over(&t->k, "log", "0b", &base); /* the other side of a split */
    assert_int_equal(fake_kv_live(&t->k, "log"), 2);
    later(t->a);
    assert_int_equal(sh_append(t->a, "c", "log"), 0); /* to the newest, "0b" */
    assert_true(fake_kv_holds(&t->k, "log", "0a"));   /* unread: it must not vanish */
    assert_true(fake_kv_holds(&t->k, "log", "0bc"));
}

static void test_appends_of_two_mounts_are_rebased_not_conflicts(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "log", "0", false);
    assert_int_equal(do_open(t->a, "log", O_WRONLY | O_APPEND), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "a");
    fake_kv_write(&t->k, "log", "0b", true);
    fake_kv_run(&t->k, 100000, NULL);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(fake_kv_live(&t->k, "log"), 1);
    assert_true(fake_kv_holds(&t->k, "log", "0ba"));
}

static void test_f13_fsync_of_a_clean_file_asks_for_a_sync_once(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "x", "f"), 0);
    assert_int_equal(t->k.last_put.opt.durability, DURABILITY_BUFFERED);
    assert_int_equal(do_open(t->a, "f", O_RDONLY), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    assert_int_equal(do_fsync(t->a, node, fh), 0);
    assert_int_equal(t->k.syncs, 1);
    assert_int_equal(do_fsync(t->a, node, fh), 0);
    assert_int_equal(t->k.syncs, 1);
    do_close(t->a, node, fh);
}

static void test_f13_fsync_of_a_dirty_file_publishes_at_quorum(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "x");
    assert_int_equal(do_fsync(t->a, node, fh), 0);
    assert_int_equal(t->k.last_put.opt.durability, DURABILITY_QUORUM);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(t->k.puts, 1);
}

/* bash: open, dup2, close (a flush), write, close (another). */
static void test_a_shell_redirection_is_one_put(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "before", false);
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT | O_TRUNC), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    t->a->still_open = true;
    assert_int_equal(do_flush(t->a, node, fh), 0);
    t->a->still_open = false;
    assert_int_equal(t->k.puts, 0);
    assert_true(fake_kv_holds(&t->k, "f", "before")); /* nobody sees an empty file */
    do_write(t->a, node, fh, 0, "after");
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(t->k.puts, 1);
    assert_true(fake_kv_holds(&t->k, "f", "after"));
}

static void test_truncation_alone_is_published_by_the_last_close(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "before", false);
    assert_int_equal(sh_echo(t->a, "", "f"), 0);
    fake_kv_run(&t->k, 10000, NULL);
    assert_int_equal(t->k.puts, 1);
    assert_true(fake_kv_holds(&t->k, "f", ""));
}

static void test_f27_a_flush_with_nothing_new_asks_nobody(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "x");
    assert_int_equal(do_flush(t->a, node, fh), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(do_flush(t->a, node, fh), 0);
    assert_int_equal(t->k.puts, 1);
    do_close(t->a, node, fh);
}

static void test_f27_flushes_share_the_publication_under_way_and_one_more(void **state)
{
    struct world *t = *state;
    struct call c[6];
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "1");
    for (int i = 0; i < 6; i++) {
        if (i == 3)
            do_write(t->a, node, fh, 1, "2");
        call_init(t->a, &c[i]);
        fs_flush(t->a->fs, &c[i].op, node, fh);
    }
    for (int i = 0; i < 6; i++)
        assert_int_equal(call_wait(t->a, &c[i]), 0);
    assert_int_equal(t->k.puts, 2);
    assert_true(fake_kv_holds(&t->k, "f", "12"));
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    do_close(t->a, node, fh);
}

static void test_f28_unchanged_bytes_move_no_value_but_publish_times(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "same", "f"), 0);
    do_lookup(t->a, "f");
    int64_t before = t->a->entry.attr.mtime_ns;
    fake_kv_forget_counts(&t->k);
    later(t->a);
    assert_int_equal(sh_echo(t->a, "same", "f"), 0);
    assert_int_equal(t->k.puts, 1);
    assert_int_equal(t->k.bytes_put, 0);
    assert_true(t->k.last_put.flags & PUT_KEEP_VALUE);
    do_lookup(t->a, "f");
    assert_true(t->a->entry.attr.mtime_ns > before);
    int64_t shown = t->a->entry.attr.mtime_ns;
    assert_true(fake_kv_object(&t->k, "f")->siblings[0].attrs.mtime_ns == shown);
}

static void test_f28_times_are_published_as_they_were_shown(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "x");
    do_getattr(t->a, node);
    int64_t shown = t->a->entry.attr.mtime_ns;
    later(t->a);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_true(fake_kv_object(&t->k, "f")->siblings[0].attrs.mtime_ns == shown);
}

static void test_a_chmod_that_fails_leaves_nothing_behind(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "text", "f"), 0);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_chmod(t->a, "f", 0600), ETIMEDOUT);
    t->k.refuse_puts = DYN_OK;
    do_lookup(t->a, "f");
    assert_int_equal(t->a->entry.attr.mode & 07777, 0644);
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        T(test_f12_a_file_created_and_held_open_is_published_in_the_background),
        T(test_f12_truncation_alone_waits_for_flush),
        T(test_f7_release_publishes_what_is_still_dirty),
        T(test_f7_a_release_that_cannot_publish_is_in_pending_and_in_the_log),
        T(test_f7_drain_publishes_all),
        T(test_f8_after_a_failed_flush_the_file_does_not_revert),
        T(test_f8_every_flush_fails_until_it_is_out),
        T(test_f8_a_newcomer_survives_a_retried_flush),
        T(test_f9_a_maybe_put_does_not_conflict_with_its_own_author),
        T(test_f9_a_maybe_append_is_applied_once),
        T(test_f9_a_write_that_was_minted_twice_is_changed_on),
        T(test_f9_a_write_that_was_minted_twice_and_replaced_is_not_changed),
        T(test_f9_a_late_copy_of_a_write_brings_nothing_back),
        T(test_f9_a_late_copy_of_a_write_does_not_stand_beside_its_successor),
        T(test_f9_successors_go_on_from_each_other),
        T(test_f9_who_takes_a_name_leaves_a_version_that_it_does_not_name),
        T(test_f9_a_write_that_was_minted_twice_is_removed),
        T(test_f9_a_dirty_file_that_was_minted_twice_is_renamed),
        T(test_f9_a_late_copy_of_an_edit_that_failed_brings_nothing_back),
        T(test_f9_a_removal_leaves_what_it_does_not_name),
        T(test_f9_an_own_line_of_descent_is_not_carried_over_to_another_version),
        T(test_appends_of_two_mounts_are_rebased_not_conflicts),
        T(test_f13_fsync_of_a_clean_file_asks_for_a_sync_once),
        T(test_f13_fsync_of_a_dirty_file_publishes_at_quorum),
        T(test_a_shell_redirection_is_one_put),
        T(test_truncation_alone_is_published_by_the_last_close),
        T(test_f27_a_flush_with_nothing_new_asks_nobody),
        T(test_f27_flushes_share_the_publication_under_way_and_one_more),
        T(test_f28_unchanged_bytes_move_no_value_but_publish_times),
        T(test_f28_times_are_published_as_they_were_shown),
        T(test_a_chmod_that_fails_leaves_nothing_behind),
    };
    return cmocka_run_group_tests_name("fs_publish", tests, NULL, NULL);
}
