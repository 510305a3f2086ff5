/* SPDX-License-Identifier: Apache-2.0 */
/* Who is killed while he waits for a cluster that does not answer need not wait (F23): whatever the
 * operation, it ends at once, its handles are closed while its requests are still on their way, and
 * what it began to change is whole when the cluster is back: made or not made. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"
#include "fs_world.h"
#include "unit.h"

static struct slice name_of(const char *text)
{
    return slice_str(text);
}

/* The cluster falls silent, then the operation begins. */
static struct fs_op *silent(struct world *t, struct call *c)
{
    t->k.hold = true;
    call_init(t->a, c);
    return &c->op;
}

static void killed(struct world *t, struct call *c)
{
    assert_false(c->done);
    fs_interrupt(&c->op);
    assert_true(c->done);
    assert_int_equal(c->op.err, EINTR);
    (void)t;
}

static void back(struct world *t)
{
    fake_kv_let_go(&t->k);
    fake_kv_run(&t->k, 40000000, NULL);
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
}

static void test_mkdir_and_symlink(void **state)
{
    struct world *t = *state;
    struct call c, d;
    fs_mkdir(t->a->fs, silent(t, &c), FS_ROOT, name_of("dir"), S_IFDIR | 0755);
    fs_symlink(t->a->fs, silent(t, &d), FS_ROOT, name_of("link"), slice_str("x"));
    killed(t, &c);
    killed(t, &d);
    back(t);
    assert_string_equal(sh_ls(t->a, ""), "dir link ");
    assert_string_equal(sh_ls(t->b, ""), "dir link ");
}

static void test_rm_rmdir_and_mv(void **state)
{
    struct world *t = *state;
    struct call c, d, e;
    assert_int_equal(sh_echo(t->a, "1", "f"), 0);
    assert_int_equal(sh_echo(t->a, "2", "g"), 0);
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    fs_unlink(t->a->fs, silent(t, &c), FS_ROOT, name_of("f"));
    fs_rmdir(t->a->fs, silent(t, &d), FS_ROOT, name_of("d"));
    fs_rename(t->a->fs, silent(t, &e), FS_ROOT, name_of("g"), FS_ROOT, name_of("h"), 0);
    killed(t, &c);
    killed(t, &d);
    killed(t, &e);
    back(t);
    assert_string_equal(sh_ls(t->a, ""), "h ");
    assert_string_equal(sh_ls(t->b, ""), "h ");
    assert_string_equal(sh_cat(t->b, "h"), "2");
}

static void test_chmod_and_truncate(void **state)
{
    struct world *t = *state;
    struct call c, d;
    struct fs_attr mode = {.mode = 0600}, size = {.size = 2};
    assert_int_equal(sh_echo(t->a, "text", "f"), 0);
    assert_int_equal(sh_echo(t->a, "text", "g"), 0);
    uint64_t f = do_lookup(t->a, "f"), g = do_lookup(t->a, "g");
    fs_setattr(t->a->fs, silent(t, &c), f, 0, &mode, FS_SET_MODE);
    fs_setattr(t->a->fs, silent(t, &d), g, 0, &size, FS_SET_SIZE);
    killed(t, &c);
    killed(t, &d);
    back(t);
    do_lookup(t->b, "f");
    assert_int_equal(t->b->entry.attr.mode & 07777, 0600);
    assert_string_equal(sh_cat(t->b, "g"), "te");
}

static void test_create_leaves_nothing_or_one_file(void **state)
{
    struct world *t = *state;
    struct call c, d;
    later(t->a);
    fs_create(t->a->fs, silent(t, &c), FS_ROOT, name_of("f"), 0644, O_CREAT | O_WRONLY);
    fs_create(t->a->fs, silent(t, &d), FS_ROOT, name_of("lock"), 0644, O_CREAT | O_EXCL | O_WRONLY);
    killed(t, &c);
    killed(t, &d);
    back(t);
    assert_string_equal(sh_ls(t->b, ""), "lock ");
    assert_int_equal(do_open(t->a, "lock", O_CREAT | O_EXCL | O_WRONLY), EEXIST);
    assert_int_equal(sh_rm(t->a, "lock"), 0);
}

static void test_close_and_fsync(void **state)
{
    struct world *t = *state;
    struct call c, d;
    assert_int_equal(do_open(t->a, "f", O_CREAT | O_WRONLY), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "text");
    fs_fsync(t->a->fs, silent(t, &c), node, fh);
    fs_flush(t->a->fs, silent(t, &d), node, fh);
    killed(t, &d);
    killed(t, &c);
    do_release(t->a, node, fh);
    assert_int_equal(fs_dirty_count(t->a->fs), 1);
    back(t);
    assert_true(fake_kv_holds(&t->k, "f", "text"));
}

static void test_another_that_waits_for_the_same_publication_is_told(void **state)
{
    struct world *t = *state;
    struct call c, d;
    assert_int_equal(do_open(t->a, "f", O_CREAT | O_WRONLY), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "text");
    fs_flush(t->a->fs, silent(t, &c), node, fh);
    fs_flush(t->a->fs, silent(t, &d), node, fh);
    killed(t, &c);
    fake_kv_let_go(&t->k);
    assert_int_equal(call_wait(t->a, &d), 0);
    do_release(t->a, node, fh);
}

static void test_a_sync_of_a_clean_file_and_of_a_directory(void **state)
{
    struct world *t = *state;
    struct call c, d;
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    assert_int_equal(sh_echo(t->a, "1", "d/f"), 0);
    assert_int_equal(do_open(t->a, "d/f", O_RDONLY), 0);
    uint64_t node = t->a->node, fh = t->a->fh, dir = do_lookup(t->a, "d");
    fs_fsync(t->a->fs, silent(t, &c), node, fh);
    fs_fsyncdir(t->a->fs, silent(t, &d), dir, 0);
    killed(t, &c);
    killed(t, &d);
    do_release(t->a, node, fh);
    back(t);
}

static void little_memory(struct fs_config *c)
{
    c->memory_max = 10;
    c->inline_max = 1000;
    c->staging_max = 2000;
}

/* Its content has given way to that of others, so a write has to fetch it first. */
static void test_a_write_whose_handle_is_closed_before_its_bytes_are_placed(void **state)
{
    struct world *t = *state;
    struct call c;
    struct mount *m = mount_new(&t->k, 3, little_memory);
    fake_kv_write(&t->k, "f", "some text", false);
    fake_kv_write(&t->k, "g", "other text", false);
    assert_int_equal(do_open(m, "f", O_WRONLY), 0);
    uint64_t node = m->node, fh = m->fh;
    assert_non_null(sh_cat(m, "g"));
    t->k.hold = true;
    call_init(m, &c);
    fs_write(m->fs, &c.op, node, fh, 5, slice_str("TEXT"));
    if (!c.done) {
        fs_interrupt(&c.op);
        assert_int_equal(c.op.err, EINTR);
    }
    do_release(m, node, fh);
    fake_kv_let_go(&t->k);
    fake_kv_run(&t->k, 40000000, NULL);
    assert_int_equal(fs_dirty_count(m->fs), 0);
    assert_true(fake_kv_holds(&t->k, "f", "some TEXT") || fake_kv_holds(&t->k, "f", "some text"));
    mount_free(m);
}

static bool fill(struct fs_op *op, struct slice name, const struct fs_entry *entry, uint64_t off)
{
    (void)name, (void)entry, (void)off;
    assert_false(op->err != 0);
    return true;
}

static void test_a_listing_whose_directory_is_closed_before_it_comes(void **state)
{
    struct world *t = *state;
    struct call c;
    fake_kv_mkdir(&t->k, "d");
    fake_kv_write(&t->k, "d/f", "x", false);
    uint64_t dir = do_lookup(t->a, "d");
    call_init(t->a, &c);
    fs_opendir(t->a->fs, &c.op, dir);
    assert_int_equal(call_wait(t->a, &c), 0);
    uint64_t fh = c.op.open.fh;
    for (int round = 0; round < 2; round++) {
        fs_readdir(t->a->fs, silent(t, &c), dir, fh, 0, true, fill);
        killed(t, &c);
        if (round == 0)
            back(t);
    }
    call_init(t->a, &c);
    fs_releasedir(t->a->fs, &c.op, dir, fh);
    assert_int_equal(call_wait(t->a, &c), 0);
    back(t);
    assert_string_equal(sh_ls(t->a, "d"), "f ");
}

static void test_the_filesystem_can_end_before_what_was_given_up_has(void **state)
{
    struct world *t = *state;
    struct call c, d, e;
    assert_int_equal(do_open(t->a, "f", O_CREAT | O_WRONLY), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "text");
    fs_flush(t->a->fs, silent(t, &c), node, fh);
    fs_mkdir(t->a->fs, silent(t, &d), FS_ROOT, name_of("dir"), S_IFDIR | 0755);
    call_init(t->a, &e);
    fs_opendir(t->a->fs, &e.op, FS_ROOT);
    uint64_t dir = e.op.open.fh;
    fs_readdir(t->a->fs, silent(t, &e), FS_ROOT, dir, 0, true, fill);
    killed(t, &c);
    killed(t, &d);
    killed(t, &e);
    mount_free(t->a);
    t->a = NULL;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        T(test_mkdir_and_symlink),
        T(test_rm_rmdir_and_mv),
        T(test_chmod_and_truncate),
        T(test_create_leaves_nothing_or_one_file),
        T(test_close_and_fsync),
        T(test_another_that_waits_for_the_same_publication_is_told),
        T(test_a_sync_of_a_clean_file_and_of_a_directory),
        T(test_a_write_whose_handle_is_closed_before_its_bytes_are_placed),
        T(test_a_listing_whose_directory_is_closed_before_it_comes),
        T(test_the_filesystem_can_end_before_what_was_given_up_has),
    };
    return cmocka_run_group_tests_name("fs_killed", tests, NULL, NULL);
}
