/* SPDX-License-Identifier: Apache-2.0 */
/* The table of operations and the rules of HAZARDS-FS where no other file has them: what is refused
 * in the control tree, which inode a name is, how long things stay and how long they may take. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/err.h"
#include "fs_bytes.h"
#include "model/core.h"
#include "unit.h"

#define REFUSED(err, operation, ...)                                                               \
    do {                                                                                           \
        struct call c;                                                                             \
        call_init(t->a, &c);                                                                       \
        operation(t->a->fs, &c.op, __VA_ARGS__);                                                   \
        assert_int_equal(call_wait(t->a, &c), err);                                                \
    } while (0)

static void test_the_control_tree_is_changed_by_nothing(void **state)
{
    struct world *t = *state;
    struct slice own = slice_str(".dynamount"), status = slice_str("status"), f = slice_str("f");
    uint64_t dir = do_lookup(t->a, ".dynamount"), file = do_lookup(t->a, ".dynamount/status");
    struct fs_attr attr = {.mode = 0700};
    assert_int_equal(sh_echo(t->a, "x", "f"), 0);
    for (int i = 0; i < 2; i++) { /* over it, and in it */
        uint64_t parent = i == 0 ? FS_ROOT : dir;
        struct slice name = i == 0 ? own : status;
        REFUSED(EPERM, fs_create, parent, name, 0644, O_WRONLY);
        REFUSED(EPERM, fs_mknod, parent, name, S_IFREG | 0644);
        REFUSED(EPERM, fs_mkdir, parent, name, 0755);
        REFUSED(EPERM, fs_symlink, parent, name, f);
        REFUSED(EPERM, fs_unlink, parent, name);
        REFUSED(EPERM, fs_rmdir, parent, name);
        REFUSED(EPERM, fs_rename, parent, name, FS_ROOT, slice_str("g"), 0);
        REFUSED(EPERM, fs_rename, FS_ROOT, f, parent, name, 0);
    }
    REFUSED(EPERM, fs_setattr, file, 0, &attr, FS_SET_MODE);
    REFUSED(EPERM, fs_setattr, dir, 0, &attr, FS_SET_MODE);
    REFUSED(EPERM, fs_setxattr, file, slice_str("user.a"), f, 0);
    REFUSED(EPERM, fs_removexattr, file, slice_str("user.a"));
    REFUSED(EACCES, fs_open_file, file, O_RDWR);
    assert_string_equal(sh_cat(t->a, "f"), "x");
    assert_non_null(strstr(sh_cat(t->a, ".dynamount/status"), "resolve"));
    assert_string_equal(sh_ls(t->a, ""), "f ");
}

/* Programs read it as it is now, not as the kernel has it. */
static void test_control_files_are_read_past_the_cache(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, ".dynamount/pending", O_RDONLY), 0);
    assert_true(t->a->open.direct_io);
    do_release(t->a, t->a->node, t->a->fh);
}

static void test_f30_a_name_that_changes_its_type_is_another_inode(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "x", "f"), 0);
    uint64_t file = do_lookup(t->a, "f"), ino = t->a->entry.attr.ino;
    assert_int_equal(sh_rm(t->b, "f"), 0);
    assert_int_equal(sh_mkdir(t->b, "f"), 0);
    later(t->a);
    uint64_t dir = do_lookup(t->a, "f");
    assert_int_not_equal(dir, 0);
    assert_int_not_equal(dir, file);
    assert_int_not_equal(t->a->entry.attr.ino, ino);
    assert_true(S_ISDIR(t->a->entry.attr.mode));
    assert_int_equal(sh_rmdir(t->b, "f"), 0);
    assert_int_equal(sh_echo(t->b, "y", "f"), 0);
    later(t->a);
    uint64_t again = do_lookup(t->a, "f");
    assert_true(again != file && again != dir); /* a nodeid is never given twice */
}

static void test_f30_a_conflict_file_has_a_number_of_its_own_on_every_mount(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "base", "f"), 0);
    fake_kv_write(&t->k, "f", "one", true);
    fake_kv_write(&t->k, "f", "two", false);
    later(t->a);
    assert_string_equal(sh_ls(t->a, ""), "f f.conflict.1 ");
    uint64_t inos[2];
    struct mount *mounts[2] = {t->a, t->b};
    for (int i = 0; i < 2; i++) {
        assert_int_not_equal(do_lookup(mounts[i], "f"), 0);
        uint64_t base = mounts[i]->entry.attr.ino;
        assert_int_not_equal(do_lookup(mounts[i], "f.conflict.1"), 0);
        inos[i] = mounts[i]->entry.attr.ino;
        assert_int_not_equal(inos[i], base);
    }
    assert_int_equal(inos[0], inos[1]);
}

/* What a handle has published by itself it may replace, and nothing that came meanwhile. */
static void test_f12_a_file_held_open_settles_no_newcomer(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "base", "f"), 0);
    assert_int_equal(do_open(t->a, "f", O_WRONLY), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "1st!");
    fake_kv_run(&t->k, 31000000, NULL);
    assert_true(fake_kv_holds(&t->k, "f", "1st!"));
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    const struct dot theirs = fake_kv_write(&t->k, "f", "theirs", false);
    do_write(t->a, node, fh, 0, "2nd!");
    fake_kv_run(&t->k, 31000000, NULL);
    assert_true(fake_kv_holds(&t->k, "f", "2nd!"));
    assert_non_null(object_find(fake_kv_object(&t->k, "f"), &theirs));
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
}

/* An editor has read a version and closed it; a listing then shows the next one. */
static void test_f4_what_was_opened_counts_until_it_is_forgotten(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "first", "f"), 0);
    assert_string_equal(sh_cat(t->a, "f"), "first");
    const struct dot theirs = fake_kv_write(&t->k, "f", "theirs", true);
    later(t->a);
    assert_string_equal(sh_ls(t->a, ""), "f ");
    do_lookup(t->a, "f");
    assert_int_equal(sh_echo(t->a, "edited", "f.tmp"), 0);
    assert_int_equal(sh_mv(t->a, "f.tmp", "f"), 0);
    assert_true(fake_kv_holds(&t->k, "f", "edited"));
    assert_non_null(object_find(fake_kv_object(&t->k, "f"), &theirs));
}

static void test_f6_a_replaced_large_version_is_read_to_its_end_by_who_has_it_open(void **state)
{
    struct world *t = *state;
    make_file(t->a, "big", 6 * MIB, 1);
    assert_int_equal(do_open(t->b, "big", O_RDONLY), 0);
    uint64_t node = t->b->node, fh = t->b->fh;
    expect_bytes(t->b, node, fh, 0, MIB, 1);
    make_file(t->a, "big", 6 * MIB, 2);
    assert_int_equal(fake_kv_live(&t->k, "big"), 1);
    later(t->b);
    expect_bytes(t->b, node, fh, 3 * MIB, 3 * MIB, 1);
    assert_int_equal(do_open(t->b, "big", O_RDONLY), 0);
    assert_int_not_equal(t->b->node, node); /* F17 */
    expect_bytes(t->b, t->b->node, t->b->fh, 3 * MIB, 3 * MIB, 2);
    do_close(t->b, t->b->node, t->b->fh);
    do_release(t->b, node, fh);
}

/* The deadline is for lack of progress. */
static void test_f24_a_close_that_gets_on_may_take_longer_than_the_deadline(void **state)
{
    struct world *t = *state;
    struct call c;
    assert_int_equal(do_open(t->a, "big", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    t->k.delay_us = t->a->fs->cfg.deadline_us / 2;
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(put_bytes(t->a, node, fh, (uint64_t)i * MIB, MIB, 1), 0);
    uint64_t begun = t->k.now_us;
    call_init(t->a, &c);
    fs_flush(t->a->fs, &c.op, node, fh);
    while (!c.done)
        fake_kv_run(&t->k, 1000000, NULL);
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_true(t->k.now_us - begun > 2 * t->a->fs->cfg.deadline_us);
    t->k.delay_us = 100;
    do_release(t->a, node, fh);
    assert_int_equal(do_open(t->b, "big", O_RDONLY), 0);
    expect_bytes(t->b, t->b->node, t->b->fh, 39 * MIB, MIB, 1);
    do_close(t->b, t->b->node, t->b->fh);
}

/* mknod of a regular file is a create that leaves nothing open, for exporters and old programs. */
static void test_mknod_makes_a_regular_file_and_nothing_else(void **state)
{
    struct world *t = *state;
    REFUSED(0, fs_mknod, FS_ROOT, slice_str("f"), S_IFREG | 0640);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_int_not_equal(do_lookup(t->b, "f"), 0);
    assert_int_equal(t->b->entry.attr.mode, S_IFREG | 0640);
    REFUSED(EEXIST, fs_mknod, FS_ROOT, slice_str("f"), S_IFREG | 0640);
    REFUSED(EPERM, fs_mknod, FS_ROOT, slice_str("p"), S_IFIFO | 0640);
    REFUSED(EPERM, fs_mknod, FS_ROOT, slice_str("s"), S_IFSOCK | 0640);
    REFUSED(EPERM, fs_mknod, FS_ROOT, slice_str("c"), S_IFCHR | 0640);
    assert_string_equal(sh_ls(t->a, ""), "f ");
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
}

/* Attributes of a file with unpublished bytes go with these. */
static void test_chmod_of_a_dirty_file_is_published_with_its_bytes(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "old", "f"), 0);
    assert_int_equal(do_open(t->a, "f", O_WRONLY), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "new");
    fake_kv_forget_counts(&t->k);
    assert_int_equal(sh_chmod(t->a, "f", 0600), 0);
    assert_int_equal(t->k.puts, 0);
    assert_int_equal(do_getattr(t->a, node), 0);
    assert_int_equal(t->a->entry.attr.mode & 07777, 0600);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(t->k.puts, 1);
    do_lookup(t->b, "f");
    assert_int_equal(t->b->entry.attr.mode & 07777, 0600);
    assert_true(fake_kv_holds(&t->k, "f", "new"));
}

static void test_f10_a_create_under_a_removed_name_is_another_inode(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "old", "f"), 0);
    assert_int_equal(do_open(t->a, "f", O_RDWR), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_getattr(t->a, node);
    uint64_t ino = t->a->entry.attr.ino;
    assert_int_equal(sh_rm(t->a, "f"), 0);
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT), 0);
    assert_int_not_equal(t->a->node, node);
    uint64_t other = t->a->node, other_fh = t->a->fh;
    do_getattr(t->a, other);
    assert_int_not_equal(t->a->entry.attr.ino, ino);
    do_write(t->a, other, other_fh, 0, "new");
    do_write(t->a, node, fh, 0, "gone");
    assert_string_equal(do_read(t->a, node, fh), "gone");
    assert_int_equal(do_close(t->a, other, other_fh), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_true(fake_kv_holds(&t->k, "f", "new"));
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
}

static void test_f15_a_name_that_is_not_there_is_not_remembered(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_lookup(t->a, "f"), 0);
    fake_kv_write(&t->k, "f", "here", false);
    assert_int_not_equal(do_lookup(t->a, "f"), 0);
    assert_true(t->a->entry.entry_us > 0);
    fake_kv_forget_counts(&t->k);
    struct call c;
    call_init(t->a, &c);
    fs_lookup(t->a->fs, &c.op, FS_ROOT, slice_str("g"));
    call_wait(t->a, &c);
    assert_int_equal(c.op.entry.entry_us, 0); /* nor by the kernel */
}

/* Thousands of creates in one directory must not queue up at its object. */
static void test_f29_a_create_puts_one_key(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    do_lookup(t->a, "d");
    int64_t before = t->a->entry.attr.mtime_ns;
    struct dot dot = object_newest(fake_kv_object(&t->k, "d"))->dot;
    later(t->a);
    fake_kv_forget_counts(&t->k);
    assert_int_equal(sh_echo(t->a, "x", "d/f"), 0);
    assert_int_equal(t->k.puts, 1);
    assert_true(dot_equal(&object_newest(fake_kv_object(&t->k, "d"))->dot, &dot));
    do_lookup(t->b, "d");
    assert_true(t->b->entry.attr.mtime_ns > before);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        T(test_the_control_tree_is_changed_by_nothing),
        T(test_control_files_are_read_past_the_cache),
        T(test_f30_a_name_that_changes_its_type_is_another_inode),
        T(test_f30_a_conflict_file_has_a_number_of_its_own_on_every_mount),
        T(test_f12_a_file_held_open_settles_no_newcomer),
        T(test_f4_what_was_opened_counts_until_it_is_forgotten),
        T(test_f6_a_replaced_large_version_is_read_to_its_end_by_who_has_it_open),
        T(test_f24_a_close_that_gets_on_may_take_longer_than_the_deadline),
        T(test_mknod_makes_a_regular_file_and_nothing_else),
        T(test_chmod_of_a_dirty_file_is_published_with_its_bytes),
        T(test_f10_a_create_under_a_removed_name_is_another_inode),
        T(test_f15_a_name_that_is_not_there_is_not_remembered),
        T(test_f29_a_create_puts_one_key),
    };
    return cmocka_run_group_tests_name("fs_table", tests, NULL, NULL);
}
