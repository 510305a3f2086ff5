/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of the filesystem where races, failures or odd times once broke them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/mem.h"
#include "fs_world.h"
#include "unit.h"

static void split(struct world *t)
{
    fake_kv_write(&t->k, "f", "old", false);
    fake_kv_write(&t->k, "f", "new", false);
}

static void test_f16_chmod_drops_no_sibling_that_was_read(void **state)
{
    struct world *t = *state;
    split(t);
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "old");
    assert_int_equal(sh_chmod(t->a, "f", 0600), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    assert_true(fake_kv_holds(&t->k, "f", "old"));
}

static void test_f16_touch_drops_no_sibling_that_was_shown(void **state)
{
    struct world *t = *state;
    split(t);
    sh_ls(t->a, "");
    assert_int_equal(do_open(t->a, "f", O_WRONLY), 0); /* touch(1): open, utimensat, close */
    uint64_t node = t->a->node, fh = t->a->fh;
    struct fs_attr attr = {0};
    struct call c;
    call_init(t->a, &c);
    fs_setattr(t->a->fs, &c.op, node, 0, &attr, FS_SET_MTIME_NOW | FS_SET_ATIME_NOW);
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    assert_true(fake_kv_holds(&t->k, "f", "old"));
}

static void test_f1_append_keeps_a_side_that_was_read_before_it_was_a_conflict(void **state)
{
    struct world *t = *state;
    struct dot base = fake_kv_write(&t->k, "log", "0", false);
    assert_int_equal(sh_append(t->a, "a", "log"), 0);
    assert_string_equal(sh_cat(t->a, "log"), "0a"); /* during the split; no conflict in sight */
    fake_kv_write_over(&t->k, "log", "0b", &base);  /* the other side's, newer */
    later(t->a);
    assert_int_equal(sh_append(t->a, "c", "log"), 0); /* the cron job, nobody looked */
    assert_true(fake_kv_holds(&t->k, "log", "0bc"));
    assert_true(fake_kv_holds(&t->k, "log", "0a"));
}

static void test_f9_a_repeated_rename_does_not_conflict_with_its_own_maybe(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "g", "before", false);
    assert_string_equal(sh_cat(t->a, "g"), "before");
    assert_int_equal(sh_echo(t->a, "x", "tmp"), 0);
    t->k.lose = 1;
    assert_int_equal(sh_mv(t->a, "tmp", "g"), ETIMEDOUT);
    fake_kv_run(&t->k, 3000000, NULL);
    assert_int_equal(sh_mv(t->a, "tmp", "g"), 0);
    assert_int_equal(fake_kv_live(&t->k, "g"), 1);
    assert_int_equal(fake_kv_live(&t->k, "tmp"), 0);
}

static void test_f9_a_write_after_a_maybe_rename_does_not_conflict_with_it(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "x", "tmp"), 0);
    t->k.lose = 1;
    assert_int_equal(sh_mv(t->a, "tmp", "g"), ETIMEDOUT); /* g was never there */
    assert_int_equal(sh_mv(t->a, "tmp", "g"), 0);
    assert_int_equal(fake_kv_live(&t->k, "g"), 1);
}

static void test_mv_of_a_file_that_another_mount_rewrote_finds_it(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "one", false);
    sh_ls(t->a, ""); /* shows it, fetches no bytes */
    assert_int_not_equal(do_lookup(t->a, "f"), 0);
    fake_kv_write(&t->k, "f", "two", true);
    struct call c;
    call_init(t->a, &c); /* within the second: the kernel does not look it up again */
    fs_rename(t->a->fs, &c.op, FS_ROOT, slice_str("f"), FS_ROOT, slice_str("g"), 0);
    int err = call_wait(t->a, &c);
    assert_int_not_equal(err, ENOENT); /* ESTALE would do: the kernel then looks again */
}

static void test_f11_rmdir_never_drops_a_file(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_mkdir(t->b, "d"), 0);
    sh_ls(t->a, ""); /* a knows d from a listing alone */
    assert_int_not_equal(do_lookup(t->a, "d"), 0);
    assert_int_equal(sh_rmdir(t->b, "d"), 0);
    assert_int_equal(sh_echo(t->b, "precious", "d"), 0);
    struct call c;
    call_init(t->a, &c);
    fs_rmdir(t->a->fs, &c.op, FS_ROOT, slice_str("d"));
    call_wait(t->a, &c);
    assert_true(fake_kv_holds(&t->k, "d", "precious"));
}

static void test_rm_never_drops_a_directory(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->b, "x", "d"), 0);
    sh_ls(t->a, "");
    assert_int_not_equal(do_lookup(t->a, "d"), 0);
    assert_int_equal(sh_rm(t->b, "d"), 0);
    assert_int_equal(sh_mkdir(t->b, "d"), 0);
    struct call c;
    call_init(t->a, &c);
    fs_unlink(t->a->fs, &c.op, FS_ROOT, slice_str("d"));
    call_wait(t->a, &c);
    assert_int_equal(fake_kv_live(&t->k, "d"), 1);
}

/* Starts an exclusive and a plain create of f at once; the plain one is awaited. */
static void contend(struct world *t, struct call *excl, struct call *plain)
{
    call_init(t->a, excl);
    call_init(t->a, plain);
    plain->op.caller.pid++;
    fs_create(t->a->fs, &excl->op, FS_ROOT, slice_str("f"), 0644, O_WRONLY | O_CREAT | O_EXCL);
    fs_create(t->a->fs, &plain->op, FS_ROOT, slice_str("f"), 0644, O_WRONLY | O_CREAT | O_TRUNC);
    assert_int_equal(call_wait(t->a, plain), 0);
}

static void test_f14_a_write_beside_an_o_excl_that_loses_is_not_lost(void **state)
{
    struct world *t = *state;
    struct call excl, plain;
    fake_kv_write(&t->k, "f", "theirs", false); /* a has not seen it */
    contend(t, &excl, &plain);
    uint64_t node = plain.op.entry.node, fh = plain.op.open.fh;
    assert_int_equal(do_write(t->a, node, fh, 0, "mine"), 0);
    assert_int_equal(call_wait(t->a, &excl), EEXIST);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_true(fake_kv_holds(&t->k, "f", "mine"));
    assert_string_equal(sh_cat(t->a, "f"), "mine");
}

static void test_f14_a_write_beside_an_o_excl_that_is_withdrawn_is_not_lost(void **state)
{
    struct world *t = *state;
    struct call excl, plain;
    call_init(t->a, &excl);
    fs_create(t->a->fs, &excl.op, FS_ROOT, slice_str("f"), 0644, O_WRONLY | O_CREAT | O_EXCL);
    while (fake_kv_live(&t->k, "f") == 0)
        fake_kv_run(&t->k, 1, NULL);
    fake_kv_write(&t->k, "f", "theirs", false); /* the check will find two */
    call_init(t->a, &plain);
    plain.op.caller.pid++;
    fs_create(t->a->fs, &plain.op, FS_ROOT, slice_str("f"), 0644, O_WRONLY | O_CREAT | O_TRUNC);
    assert_int_equal(call_wait(t->a, &plain), 0);
    uint64_t node = plain.op.entry.node, fh = plain.op.open.fh;
    assert_int_equal(do_write(t->a, node, fh, 0, "mine"), 0);
    assert_int_equal(call_wait(t->a, &excl), EEXIST);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_true(fake_kv_holds(&t->k, "f", "mine"));
}

static void test_f14_a_write_beside_an_o_excl_that_wins_is_the_same_file(void **state)
{
    struct world *t = *state;
    struct call excl, plain;
    t->k.hold = true; /* the plain create has looked before anything is stored */
    call_init(t->a, &plain);
    plain.op.caller.pid++;
    fs_create(t->a->fs, &plain.op, FS_ROOT, slice_str("f"), 0644, O_WRONLY | O_CREAT | O_TRUNC);
    call_init(t->a, &excl);
    fs_create(t->a->fs, &excl.op, FS_ROOT, slice_str("f"), 0644, O_WRONLY | O_CREAT | O_EXCL);
    fake_kv_let_go(&t->k);
    assert_int_equal(call_wait(t->a, &plain), 0);
    uint64_t node = plain.op.entry.node;
    assert_int_equal(do_write(t->a, node, plain.op.open.fh, 0, "mine"), 0);
    assert_int_equal(call_wait(t->a, &excl), 0);
    assert_int_equal(excl.op.entry.node, node);
    assert_int_equal(do_write(t->a, node, excl.op.open.fh, 0, "MI"), 0);
    assert_int_equal(do_close(t->a, node, excl.op.open.fh), 0);
    assert_int_equal(do_close(t->a, node, plain.op.open.fh), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(fake_kv_holds(&t->k, "f", "MIne"));
}

static void test_f28_times_of_1970_are_times(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "x", "f"), 0);
    struct fs_attr attr = {0};
    assert_int_equal(do_setattr(t->a, "f", &attr, FS_SET_MTIME | FS_SET_ATIME), 0);
    later(t->a);
    assert_int_not_equal(do_lookup(t->a, "f"), 0);
    assert_int_equal(t->a->entry.attr.mtime_ns, 0);
    assert_int_not_equal(do_lookup(t->b, "f"), 0);
    assert_int_equal(t->b->entry.attr.mtime_ns, 0);
}

static void test_f28_an_atime_of_1970_is_a_time(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "x", "f"), 0);
    struct fs_attr attr = {.mtime_ns = 5000000000};
    assert_int_equal(do_setattr(t->a, "f", &attr, FS_SET_MTIME | FS_SET_ATIME), 0);
    assert_int_not_equal(do_lookup(t->a, "f"), 0);
    assert_int_equal(t->a->entry.attr.atime_ns, 0);
}

static void test_flush_of_an_empty_file_says_when_it_was_not_stored(void **state)
{
    struct world *t = *state;
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT | O_TRUNC), 0);
    assert_int_not_equal(do_close(t->a, t->a->node, t->a->fh), 0);
}

static void test_flush_of_an_empty_file_has_stored_it(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT | O_TRUNC), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    assert_int_equal(do_flush(t->a, node, fh), 0); /* RELEASE comes later, nobody waits for it */
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    do_release(t->a, node, fh);
}

static void test_readlink_of_a_symlink_that_was_replaced_can_be_repeated(void **state)
{
    struct world *t = *state;
    struct call c;
    call_init(t->b, &c);
    fs_symlink(t->b->fs, &c.op, FS_ROOT, slice_str("l"), slice_str("one"));
    assert_int_equal(call_wait(t->b, &c), 0);
    uint64_t node = do_lookup(t->a, "l");
    assert_int_not_equal(node, 0);
    call_init(t->b, &c);
    fs_symlink(t->b->fs, &c.op, FS_ROOT, slice_str("m"), slice_str("two"));
    assert_int_equal(call_wait(t->b, &c), 0);
    assert_int_equal(sh_mv(t->b, "m", "l"), 0);
    for (int tries = 0; tries < 2; tries++) { /* the kernel repeats once, after ESTALE */
        call_init(t->a, &c);
        fs_readlink(t->a->fs, &c.op, node);
        int err = call_wait(t->a, &c);
        if (err == 0)
            return;
        assert_int_equal(err, ESTALE);
        node = do_lookup(t->a, "l");
    }
    fail_msg("ESTALE twice");
}

static void test_f18_append_beside_a_pending_chmod_is_rebased(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "log", "0", false);
    assert_int_equal(do_open(t->a, "log", O_WRONLY | O_APPEND), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    struct call c;
    struct fs_attr attr = {.mode = 0600};
    call_init(t->a, &c);
    fs_setattr(t->a->fs, &c.op, node, 0, &attr, FS_SET_MODE);
    do_write(t->a, node, fh, 0, "a"); /* while the chmod is on its way */
    assert_int_equal(call_wait(t->a, &c), 0);
    fake_kv_write(&t->k, "log", "0b", true);
    fake_kv_run(&t->k, 100000, NULL);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(fake_kv_live(&t->k, "log"), 1);
    assert_true(fake_kv_holds(&t->k, "log", "0ba"));
}

static void test_setxattr_on_a_listed_file_with_a_truncation_under_way_works(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "abc", false);
    sh_ls(t->a, "");
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_TRUNC), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    assert_int_equal(sh_setxattr(t->a, "f", "user.x", "1"), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_string_equal(sh_getxattr(t->a, "f", "user.x"), "1");
}

static void test_rm_of_a_file_whose_publication_hangs_does_not_wait_for_two_deadlines(void **state)
{
    struct world *t = *state;
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_echo(t->a, "x", "f"), ETIMEDOUT);
    assert_int_equal(sh_rm(t->a, "f"), 0); /* never published, but the first put may have arrived */
    t->k.refuse_puts = DYN_OK;
    fake_kv_run(&t->k, 60000000, NULL);
    assert_int_equal(fake_kv_live(&t->k, "f"), 0);
}

static void test_rm_of_a_file_whose_create_was_a_maybe_removes_it(void **state)
{
    struct world *t = *state;
    t->k.lose = 1; /* the put happens, its answer is lost */
    assert_int_equal(sh_echo(t->a, "x", "f"), ETIMEDOUT);
    assert_int_equal(sh_rm(t->a, "f"), 0);
    fake_kv_run(&t->k, 60000000, NULL);
    assert_int_equal(fake_kv_live(&t->k, "f"), 0);
}

static void test_mv_of_a_file_whose_create_was_a_maybe_leaves_nothing_behind(void **state)
{
    struct world *t = *state;
    t->k.lose = 1;
    assert_int_equal(sh_echo(t->a, "x", "f"), ETIMEDOUT);
    assert_int_equal(sh_mv(t->a, "f", "g"), 0);
    fake_kv_run(&t->k, 60000000, NULL);
    assert_int_equal(fake_kv_live(&t->k, "g"), 1);
    assert_int_equal(fake_kv_live(&t->k, "f"), 0);
}

static void test_rm_of_a_file_whose_edit_was_a_maybe_removes_it(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "before", false);
    t->k.lose = 1;
    assert_int_equal(sh_echo(t->a, "x", "f"), ETIMEDOUT);
    assert_int_equal(sh_rm(t->a, "f"), 0);
    fake_kv_run(&t->k, 60000000, NULL);
    assert_int_equal(fake_kv_live(&t->k, "f"), 0);
}

static void test_mv_of_a_file_whose_edit_was_a_maybe_leaves_nothing_behind(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "before", false);
    t->k.lose = 1;
    assert_int_equal(sh_echo(t->a, "x", "f"), ETIMEDOUT);
    assert_int_equal(sh_mv(t->a, "f", "g"), 0);
    fake_kv_run(&t->k, 60000000, NULL);
    assert_int_equal(fake_kv_live(&t->k, "f"), 0);
}

static void test_a_save_over_a_maybe_edit_leaves_one_version(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "before", false);
    t->k.lose = 1;
    assert_int_equal(sh_echo(t->a, "x", "f"), ETIMEDOUT);
    assert_int_equal(sh_echo(t->a, "saved", "f.tmp"), 0);
    assert_int_equal(sh_mv(t->a, "f.tmp", "f"), 0);
    fake_kv_run(&t->k, 60000000, NULL);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(fake_kv_holds(&t->k, "f", "saved"));
}

/* Starts `other` on f's node while f is being renamed to g: its answer comes when the inode has
 * the new name already, and is about the old one. */
static void rename_under(struct world *t,
                         void (*other)(struct mount *m, struct call *c, uint64_t node))
{
    struct call mv, c;
    assert_int_equal(sh_echo(t->a, "bytes", "f"), 0);
    later(t->a);
    uint64_t node = do_lookup(t->a, "f");
    assert_string_equal(sh_cat(t->a, "f"), "bytes");
    later(t->a); /* getattr has to ask */
    call_init(t->a, &mv);
    call_init(t->a, &c);
    fs_rename(t->a->fs, &mv.op, FS_ROOT, slice_str("f"), FS_ROOT, slice_str("g"), 0);
    fake_kv_write(&t->k, "f", "another mount's", true);
    other(t->a, &c, node);
    assert_int_equal(call_wait(t->a, &mv), 0);
    call_wait(t->a, &c);
    if (c.op.err == 0 && c.op.open.fh != 0)
        do_close(t->a, node, c.op.open.fh);
}

static void one_g_and_quickly(struct world *t)
{
    later(t->a);
    assert_string_equal(sh_ls(t->a, ""), "f g ");
    uint64_t before = t->k.now_us;
    assert_int_equal(sh_echo(t->a, "more", "g"), 0);
    assert_true(t->k.now_us - before < 1000000);
    assert_int_equal(fake_kv_live(&t->k, "g"), 1);
    assert_string_equal(sh_ls(t->a, ""), "f g ");
}

static void start_open(struct mount *m, struct call *c, uint64_t node)
{
    fs_open_file(m->fs, &c->op, node, O_RDONLY);
}

static void start_getattr(struct mount *m, struct call *c, uint64_t node)
{
    fs_getattr(m->fs, &c->op, node, 0);
}

static void start_getxattr(struct mount *m, struct call *c, uint64_t node)
{
    fs_getxattr(m->fs, &c->op, node, slice_str("user.dynamount.dot"));
}

static void test_f10_an_open_under_a_rename_does_not_mix_two_keys(void **state)
{
    rename_under(*state, start_open);
    one_g_and_quickly(*state);
}

static void test_f10_a_getattr_under_a_rename_does_not_mix_two_keys(void **state)
{
    rename_under(*state, start_getattr);
    one_g_and_quickly(*state);
}

static void test_f10_a_getxattr_under_a_rename_does_not_mix_two_keys(void **state)
{
    rename_under(*state, start_getxattr);
    one_g_and_quickly(*state);
}

#define CLAIM(t) cmocka_unit_test_setup_teardown(t, world_set_up, world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(test_f10_an_open_under_a_rename_does_not_mix_two_keys),
        CLAIM(test_f10_a_getattr_under_a_rename_does_not_mix_two_keys),
        CLAIM(test_f10_a_getxattr_under_a_rename_does_not_mix_two_keys),
        CLAIM(test_f16_chmod_drops_no_sibling_that_was_read),
        CLAIM(test_f16_touch_drops_no_sibling_that_was_shown),
        CLAIM(test_f1_append_keeps_a_side_that_was_read_before_it_was_a_conflict),
        CLAIM(test_f9_a_repeated_rename_does_not_conflict_with_its_own_maybe),
        CLAIM(test_f9_a_write_after_a_maybe_rename_does_not_conflict_with_it),
        CLAIM(test_mv_of_a_file_that_another_mount_rewrote_finds_it),
        CLAIM(test_f11_rmdir_never_drops_a_file),
        CLAIM(test_rm_never_drops_a_directory),
        CLAIM(test_f14_a_write_beside_an_o_excl_that_loses_is_not_lost),
        CLAIM(test_f14_a_write_beside_an_o_excl_that_is_withdrawn_is_not_lost),
        CLAIM(test_f14_a_write_beside_an_o_excl_that_wins_is_the_same_file),
        CLAIM(test_f28_times_of_1970_are_times),
        CLAIM(test_f28_an_atime_of_1970_is_a_time),
        CLAIM(test_flush_of_an_empty_file_says_when_it_was_not_stored),
        CLAIM(test_flush_of_an_empty_file_has_stored_it),
        CLAIM(test_readlink_of_a_symlink_that_was_replaced_can_be_repeated),
        CLAIM(test_f18_append_beside_a_pending_chmod_is_rebased),
        CLAIM(test_setxattr_on_a_listed_file_with_a_truncation_under_way_works),
        CLAIM(test_rm_of_a_file_whose_publication_hangs_does_not_wait_for_two_deadlines),
        CLAIM(test_rm_of_a_file_whose_create_was_a_maybe_removes_it),
        CLAIM(test_mv_of_a_file_whose_create_was_a_maybe_leaves_nothing_behind),
        CLAIM(test_rm_of_a_file_whose_edit_was_a_maybe_removes_it),
        CLAIM(test_mv_of_a_file_whose_edit_was_a_maybe_leaves_nothing_behind),
        CLAIM(test_a_save_over_a_maybe_edit_leaves_one_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
