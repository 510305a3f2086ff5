/* SPDX-License-Identifier: Apache-2.0 */
/* Directories renamed with what lies below them (F25). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "fs_world.h"
#include "model/core.h"
#include "unit.h"

/* d/a, d/sub/b, d/sub/deep/c, d/x with a conflict */
static void make_tree(struct world *t)
{
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    assert_int_equal(sh_mkdir(t->a, "d/sub"), 0);
    assert_int_equal(sh_mkdir(t->a, "d/sub/deep"), 0);
    assert_int_equal(sh_echo(t->a, "A", "d/a"), 0);
    assert_int_equal(sh_echo(t->a, "B", "d/sub/b"), 0);
    assert_int_equal(sh_echo(t->a, "C", "d/sub/deep/c"), 0);
    fake_kv_write(&t->k, "d/x", "older", false);
    fake_kv_write(&t->k, "d/x", "newer", false);
}

static void tree_is_at(struct mount *m, const char *dir)
{
    char path[64];
    static const struct {
        const char *name, *text;
    } files[] = {
        {"a", "A"}, {"sub/b", "B"}, {"sub/deep/c", "C"}, {"x", "newer"}, {"x.conflict.1", "older"}};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, files[i].name);
        assert_non_null(sh_cat(m, path));
        assert_string_equal(m->text, files[i].text);
    }
    assert_string_equal(sh_ls(m, dir), "a sub x x.conflict.1 ");
}

static void nothing_below(struct world *t, const char *dir)
{
    for (size_t i = 0; i < t->k.n; i++) {
        struct slice key = buf_slice(&t->k.rows[i].key);
        size_t len = strlen(dir);
        if (key.len >= len && memcmp(key.data, dir, len) == 0 &&
            (key.len == len || key.data[len] == '/'))
            assert_false(object_live(&t->k.rows[i].object));
    }
}

static void test_a_tree_moves_whole(void **state)
{
    struct world *t = *state;
    make_tree(t);
    do_lookup(t->a, "d/sub/b");
    uint64_t ino = t->a->entry.attr.ino;
    assert_int_equal(sh_chmod(t->a, "d/sub/b", 0640), 0);
    assert_int_equal(sh_setxattr(t->a, "d/a", "user.k", "v"), 0);
    assert_int_equal(sh_mv(t->a, "d", "e"), 0);
    nothing_below(t, "d");
    tree_is_at(t->a, "e");
    tree_is_at(t->b, "e");
    assert_string_equal(sh_ls(t->a, ""), "e ");
    do_lookup(t->b, "e/sub/b");
    assert_int_equal(t->b->entry.attr.ino, ino);
    assert_int_equal(t->b->entry.attr.mode & 07777, 0640);
    assert_string_equal(sh_getxattr(t->b, "e/a", "user.k"), "v");
    assert_null(sh_getxattr(t->b, "e", "user.dynamount.moving"));
    assert_string_equal(sh_cat(t->a, ".dynamount/pending"), "");
}

/* Each answer takes half a minute, and the copying more than the two minutes after which a
 * move counts as broken off. */
static void test_a_move_that_takes_long_is_not_taken_over(void **state)
{
    struct world *t = *state;
    struct call c;
    make_tree(t);
    do_lookup(t->a, "d");
    do_lookup(t->a, "e");
    uint64_t begun = t->k.now_us;
    t->k.delay_us = 28000000;
    call_init(t->a, &c);
    fs_rename(t->a->fs, &c.op, FS_ROOT, slice_str("d"), FS_ROOT, slice_str("e"), 0);
    while (!c.done) {
        fake_kv_run(&t->k, 15000000, &c.done);
        if (fake_kv_live(&t->k, "d") == 0)
            break;
        uint64_t seen = do_lookup(t->b, "d");
        assert_int_not_equal(seen, 0);
        later(t->b); /* its attributes are asked for again */
        assert_int_equal(do_getattr(t->b, seen), 0);
        assert_true(list_empty(&t->b->fs->moves));
    }
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_true(t->k.now_us - begun > 240000000);
    t->k.delay_us = 100;
    later(t->b);
    nothing_below(t, "d");
    tree_is_at(t->b, "e");
}

/* As above, but it is dropping the old names that takes longer than two minutes. */
static void test_a_move_whose_drops_take_long_is_not_taken_over(void **state)
{
    struct world *t = *state;
    struct call c;
    char name[32];
    make_tree(t);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "d/sub/n%d", i);
        fake_kv_write(&t->k, name, "N", false);
    }
    do_lookup(t->a, "d");
    do_lookup(t->a, "e");
    call_init(t->a, &c);
    fs_rename(t->a->fs, &c.op, FS_ROOT, slice_str("d"), FS_ROOT, slice_str("e"), 0);
    for (int i = 0; i < 1000000 && !c.done && fake_kv_live(&t->k, "d/sub/n99") != 0; i++)
        fake_kv_run(&t->k, 1, NULL);
    assert_false(c.done);
    assert_int_equal(fake_kv_live(&t->k, "e"), 1);
    assert_int_equal(fake_kv_live(&t->k, "d/a"), 1); /* it has begun to drop, the deepest first */
    uint64_t begun = t->k.now_us, looks = 0;
    t->k.delay_us = 28000000;
    while (!c.done) {
        fake_kv_run(&t->k, 15000000, &c.done);
        if (fake_kv_live(&t->k, "d") == 0)
            break;
        uint64_t seen = do_lookup(t->b, "d");
        if (seen == 0)
            break; /* it went while b was looking */
        later(t->b);
        if (do_getattr(t->b, seen) == 0)
            looks++;
        assert_true(list_empty(&t->b->fs->moves));
    }
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_true(t->k.now_us - begun > 180000000);
    assert_true(looks > 2);
    t->k.delay_us = 100;
    later(t->b);
    nothing_below(t, "d");
    assert_null(sh_getxattr(t->b, "e", "user.dynamount.moving"));
    assert_int_equal(fake_kv_live(&t->k, "e/sub/n42"), 1);
    fake_kv_run(&t->k, 300000000, NULL);
    nothing_below(t, "d"); /* nor has a late renewal brought it back */
}

static void test_a_tree_moves_onto_an_empty_folder_and_no_other(void **state)
{
    struct world *t = *state;
    make_tree(t);
    assert_int_equal(sh_mkdir(t->a, "full"), 0);
    assert_int_equal(sh_echo(t->a, "x", "full/x"), 0);
    assert_int_equal(sh_mv(t->a, "d", "full"), ENOTEMPTY);
    assert_int_equal(sh_echo(t->a, "x", "file"), 0);
    assert_int_equal(sh_mv(t->a, "d", "file"), ENOTDIR);
    tree_is_at(t->a, "d");
    assert_int_equal(sh_mkdir(t->a, "empty"), 0);
    assert_int_equal(sh_mv(t->a, "d", "empty"), 0);
    tree_is_at(t->b, "empty");
    assert_int_equal(fake_kv_live(&t->k, "empty"), 1);
    nothing_below(t, "d");
}

static void test_files_that_are_open_move_along(void **state)
{
    struct world *t = *state;
    make_tree(t);
    assert_int_equal(do_open(t->a, "d/a", O_RDONLY), 0);
    uint64_t read_node = t->a->node, read_fh = t->a->fh;
    assert_int_equal(do_open(t->a, "d/sub/b", O_RDWR), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    assert_int_equal(do_write(t->a, node, fh, 0, "unpublished"), 0);
    assert_int_equal(do_open(t->a, "d/new", O_WRONLY | O_CREAT), 0);
    uint64_t new_node = t->a->node, new_fh = t->a->fh;
    assert_int_equal(sh_mv(t->a, "d", "e"), 0);
    assert_int_equal(do_lookup(t->a, "e/sub/b"), node);
    assert_int_equal(do_lookup(t->a, "e/new"), new_node);
    assert_int_equal(do_write(t->a, node, fh, 11, " and more"), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(do_write(t->a, new_node, new_fh, 0, "new"), 0);
    assert_int_equal(do_close(t->a, new_node, new_fh), 0);
    assert_string_equal(do_read(t->a, read_node, read_fh), "A");
    do_release(t->a, read_node, read_fh);
    nothing_below(t, "d");
    assert_true(fake_kv_holds(&t->k, "e/sub/b", "unpublished and more"));
    assert_int_equal(fake_kv_live(&t->k, "e/sub/b"), 1);
    assert_true(fake_kv_holds(&t->k, "e/new", "new"));
}

static struct call *start_mv(struct world *t)
{
    struct call *c = mem_new(struct call);
    do_lookup(t->a, "d");
    do_lookup(t->a, "e");
    call_init(t->a, c);
    fs_rename(t->a->fs, &c->op, FS_ROOT, slice_str("d"), FS_ROOT, slice_str("e"), 0);
    return c;
}

static void until_live(struct world *t, const char *key, uint32_t live)
{
    for (int i = 0; i < 1000000 && fake_kv_live(&t->k, key) != live; i++)
        fake_kv_run(&t->k, 1, NULL);
    assert_int_equal(fake_kv_live(&t->k, key), live);
}

static void test_what_changes_meanwhile_is_kept(void **state)
{
    struct world *t = *state;
    make_tree(t);
    struct call *c = start_mv(t);
    until_live(t, "e/sub/b", 1);
    fake_kv_write(&t->k, "d/newcomer", "N", false);  /* by others, */
    fake_kv_write(&t->k, "d/sub/b", "theirs", true); /* who see the old name */
    assert_int_equal(call_wait(t->a, c), 0);
    free(c);
    assert_true(fake_kv_holds(&t->k, "d/newcomer", "N"));
    assert_true(fake_kv_holds(&t->k, "d/sub/b", "theirs"));
    assert_true(fake_kv_holds(&t->k, "e/sub/b", "B"));
    tree_is_at(t->b, "e");
}

static void test_a_file_written_here_during_the_move_is_under_the_new_name(void **state)
{
    struct world *t = *state;
    make_tree(t);
    uint64_t node = do_lookup(t->a, "d/a");
    struct call *c = start_mv(t), w;
    until_live(t, "e/a", 1);
    call_init(t->a, &w);
    fs_open_file(t->a->fs, &w.op, node, O_WRONLY | O_TRUNC);
    assert_int_equal(call_wait(t->a, &w), 0);
    assert_int_equal(do_write(t->a, node, w.op.open.fh, 0, "late"), 0);
    assert_int_equal(do_close(t->a, node, w.op.open.fh), 0);
    assert_int_equal(call_wait(t->a, c), 0);
    free(c);
    fake_kv_run(&t->k, 60000000, NULL);
    assert_true(fake_kv_holds(&t->k, "e/a", "late"));
    assert_int_equal(fake_kv_live(&t->k, "e/a"), 1);
    nothing_below(t, "d");
}

static void test_a_move_that_fails_leaves_the_old_tree_and_nothing_else(void **state)
{
    struct world *t = *state;
    make_tree(t);
    struct call *c = start_mv(t);
    until_live(t, "e/a", 1);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(call_wait(t->a, c), ETIMEDOUT);
    free(c);
    tree_is_at(t->a, "d");
    assert_int_equal(do_lookup(t->a, "e"), 0);
    t->k.refuse_puts = DYN_OK;
    fake_kv_run(&t->k, 60000000, NULL);
    nothing_below(t, "e");
    tree_is_at(t->b, "d");
    fake_kv_run(&t->k, 300000000, NULL);
    tree_is_at(t->b, "d"); /* nobody finishes it */
    assert_string_equal(sh_ls(t->b, ""), "d ");
}

static void test_drops_that_fail_are_made_later(void **state)
{
    struct world *t = *state;
    make_tree(t);
    struct call *c = start_mv(t);
    until_live(t, "d/sub/deep/c", 0);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(call_wait(t->a, c), 0);
    free(c);
    assert_string_equal(sh_ls(t->a, ""), "e ");
    tree_is_at(t->a, "e");
    t->k.refuse_puts = DYN_OK;
    fake_kv_run(&t->k, 60000000, NULL);
    nothing_below(t, "d");
    assert_string_equal(sh_ls(t->b, ""), "e ");
}

/* The mount is gone in the middle; another one that looks at the old name finishes. */
static void crash_when(struct world *t, const char *key, uint32_t live)
{
    make_tree(t);
    struct call *c = start_mv(t);
    until_live(t, key, live);
    mount_free(t->a);
    free(c);
    fake_kv_run(&t->k, 1000000, NULL);
    assert_non_null(sh_ls(t->b, "d")); /* too early: whoever began it may be at it */
    fake_kv_run(&t->k, 10000000, NULL);
    assert_int_not_equal(fake_kv_live(&t->k, "d"), 0);
    fake_kv_run(&t->k, 150000000, NULL);
    sh_ls(t->b, "d");
    fake_kv_run(&t->k, 10000000, NULL);
    nothing_below(t, "d");
    tree_is_at(t->b, "e");
    assert_int_equal(fake_kv_live(&t->k, "e/a"), 1);
    t->a = mount_new(&t->k, 3, NULL);
    tree_is_at(t->a, "e");
}

static void test_a_crash_while_copying_is_finished_by_another_mount(void **state)
{
    crash_when(*state, "e/a", 1);
}

static void test_a_crash_while_dropping_is_finished_by_another_mount(void **state)
{
    crash_when(*state, "d/sub/deep/c", 0);
}

static void few(struct fs_config *c)
{
    c->rename_limit = 5;
}

static void test_a_tree_over_the_limit_is_left_to_mv(void **state)
{
    struct world *t = *state;
    make_tree(t);
    struct mount *m = mount_new(&t->k, 9, few);
    assert_int_equal(sh_mv(m, "d", "e"), EXDEV);
    tree_is_at(m, "d");
    nothing_below(t, "e");
    mount_free(m);
}

static void test_a_killed_mv_does_not_wait_and_the_move_goes_on(void **state)
{
    struct world *t = *state;
    make_tree(t);
    struct call *c = start_mv(t);
    until_live(t, "e/a", 1);
    fs_interrupt(&c->op);
    assert_true(c->done);
    assert_int_equal(c->op.err, EINTR);
    free(c);
    fake_kv_run(&t->k, 10000000, NULL);
    nothing_below(t, "d");
    tree_is_at(t->b, "e");
}

#define CLAIM(t) cmocka_unit_test_setup_teardown(t, world_set_up, world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(test_a_tree_moves_whole),
        CLAIM(test_a_move_that_takes_long_is_not_taken_over),
        CLAIM(test_a_move_whose_drops_take_long_is_not_taken_over),
        CLAIM(test_a_tree_moves_onto_an_empty_folder_and_no_other),
        CLAIM(test_files_that_are_open_move_along),
        CLAIM(test_what_changes_meanwhile_is_kept),
        CLAIM(test_a_file_written_here_during_the_move_is_under_the_new_name),
        CLAIM(test_a_move_that_fails_leaves_the_old_tree_and_nothing_else),
        CLAIM(test_drops_that_fail_are_made_later),
        CLAIM(test_a_crash_while_copying_is_finished_by_another_mount),
        CLAIM(test_a_crash_while_dropping_is_finished_by_another_mount),
        CLAIM(test_a_tree_over_the_limit_is_left_to_mv),
        CLAIM(test_a_killed_mv_does_not_wait_and_the_move_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
