/* SPDX-License-Identifier: Apache-2.0 */
/* Directories: listings and their cookies, emptiness, renames, times (F11, F15, F29), the control
 * tree, and how few requests a listing or a walk takes. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"
#include "fs_world.h"
#include "model/core.h"
#include "unit.h"

static void fill_dir(struct world *t, const char *dir, int n)
{
    char key[64];
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "%s/f%04d", dir, i);
        fake_kv_write(&t->k, key, "x", false);
    }
}

static uint32_t count_words(const char *text)
{
    uint32_t n = 0;
    for (; *text != 0; text++)
        n += *text == ' ';
    return n;
}

static void test_a_listing_of_2000_files_is_a_few_requests(void **state)
{
    struct world *t = *state;
    fake_kv_mkdir(&t->k, "d");
    fill_dir(t, "d", 2000);
    assert_int_equal(count_words(sh_ls(t->a, "d")), 2000);
    assert_int_equal(t->k.gets, 1); /* the directory's own lookup */
    assert_true(t->k.lists <= 3);
    fake_kv_forget_counts(&t->k);
    for (int i = 0; i < 50; i++) { /* ls -l asks for each file what the listing has brought */
        char path[32];
        snprintf(path, sizeof(path), "d/f%04d", i);
        assert_int_not_equal(do_lookup(t->a, path), 0);
    }
    assert_int_equal(t->k.gets, 0);
}

static void forget(struct mount *m, uint64_t node)
{
    fs_forget(m->fs, node, 1);
}

/* find, and programs that try names that are not there: the kernel forgets in the end, and what the
 * mount remembers of keys by itself has a bound. */
static void test_many_lookups_leave_bounded_memory(void **state)
{
    struct world *t = *state;
    char path[32];
    fake_kv_mkdir(&t->k, "d");
    fill_dir(t, "d", 2000);
    uint64_t dir = do_lookup(t->a, "d");
    for (int i = 0; i < 40000; i++) {
        snprintf(path, sizeof(path), "%s%04d", i % 50 == 0 ? "f" : "none",
                 i % 50 == 0 ? i / 50 : i);
        struct call c;
        call_init(t->a, &c);
        fs_lookup(t->a->fs, &c.op, dir, slice_str(path));
        if (call_wait(t->a, &c) == 0)
            forget(t->a, c.op.entry.node);
    }
    assert_in_range(t->a->fs->seens.n, 1, 20100);
    assert_in_range(t->a->fs->inodes.n, 1, 10);
    assert_in_range(t->a->fs->memory, 0, 0);
}

static void test_f29_a_walk_by_name_fetches_the_listing(void **state)
{
    struct world *t = *state;
    fake_kv_mkdir(&t->k, "d");
    fill_dir(t, "d", 100);
    for (int i = 0; i < 100; i++) {
        char path[32];
        snprintf(path, sizeof(path), "d/f%04d", i);
        assert_int_not_equal(do_lookup(t->a, path), 0);
    }
    assert_int_equal(t->k.lists, 1);
    assert_true(t->k.gets <= 4);
}

/* Over and over: what was learnt a second ago runs out in the middle of a walk. */
static void test_f29_a_walk_that_begins_in_the_middle_fetches_two_pages(void **state)
{
    struct world *t = *state;
    fake_kv_mkdir(&t->k, "d");
    fill_dir(t, "d", 100);
    for (int i = 0; i < 100; i++) {
        char path[32];
        snprintf(path, sizeof(path), "d/f%04d", (i + 50) % 100);
        assert_int_not_equal(do_lookup(t->a, path), 0);
    }
    assert_int_equal(t->k.lists, 2);
    assert_true(t->k.gets <= 8);
}

struct numbered {
    uint64_t ino;
    char path[16];
};

static int by_ino(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* What du, rm -r and chmod -R do in a directory of more than 10,000: they sort what they have read
 * by inode number, and it is then no more what was learnt within the second. */
static void test_f29_a_walk_by_inode_number_is_one_by_name_where_files_were_made_so(void **state)
{
    enum { FILES = 2000 };
    struct world *t = *state;
    struct numbered *files = mem_zalloc(FILES * sizeof(*files));
    fake_kv_mkdir(&t->k, "d");
    for (int i = 0; i < FILES; i++) {
        snprintf(files[i].path, sizeof(files[i].path), "d/f%04d", i);
        assert_int_equal(sh_echo(t->a, "x", files[i].path), 0);
    }
    for (int i = 0; i < FILES; i++) {
        assert_int_not_equal(do_lookup(t->b, files[i].path), 0);
        files[i].ino = t->b->entry.attr.ino;
    }
    qsort(files, FILES, sizeof(*files), by_ino);
    later(t->b);
    fake_kv_forget_counts(&t->k);
    for (int i = 0; i < FILES; i++) {
        if (i > 0)
            assert_int_not_equal(files[i].ino, files[i - 1].ino);
        assert_int_not_equal(do_lookup(t->b, files[i].path), 0);
    }
    assert_in_range(t->k.gets + t->k.lists, 1, 20);
    free(files);
}

static void test_f29_a_create_changes_the_mtime_of_its_directory(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    uint64_t dir = do_lookup(t->a, "d");
    int64_t before = t->a->entry.attr.mtime_ns;
    later(t->a);
    fake_kv_forget_counts(&t->k);
    assert_int_equal(sh_echo(t->a, "x", "d/f"), 0);
    assert_int_equal(t->k.puts, 1); /* no write of a hot key */
    do_getattr(t->a, dir);
    assert_true(t->a->entry.attr.mtime_ns > before);
}

static int64_t mtime_of(struct mount *m, const char *path)
{
    later(m);
    assert_int_not_equal(do_lookup(m, path), 0);
    return m->entry.attr.mtime_ns;
}

static void test_f29_a_time_that_was_set_stands_until_an_entry_changes(void **state)
{
    struct world *t = *state;
    const struct fs_attr old = {.mtime_ns = 1000000007, .atime_ns = 5};
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    assert_int_equal(sh_echo(t->a, "x", "d/f"), 0);
    int64_t made = mtime_of(t->b, "d");
    assert_int_equal(do_setattr(t->a, "d", &old, FS_SET_MTIME | FS_SET_ATIME), 0); /* cp -a, last */
    assert_int_equal(mtime_of(t->a, "d"), old.mtime_ns);
    assert_int_equal(mtime_of(t->b, "d"), old.mtime_ns);
    assert_int_equal(sh_echo(t->b, "more", "d/f"), 0); /* no entry comes or goes */
    assert_int_equal(mtime_of(t->a, "d"), old.mtime_ns);
    assert_int_equal(sh_rm(t->b, "d/f"), 0);
    assert_true(mtime_of(t->a, "d") > made);
    int64_t removed = mtime_of(t->a, "d");
    assert_int_equal(sh_chmod(t->a, "d", 0700), 0); /* sets no time but ctime */
    assert_int_equal(mtime_of(t->a, "d"), removed);
    assert_int_equal(mtime_of(t->b, "d"), removed);
}

/* Reads a directory one entry an answer. */
struct slow_reader {
    char name[64];
    uint64_t next;
    bool full;
};

static bool one_only(struct fs_op *op, struct slice name, const struct fs_entry *e, uint64_t next)
{
    struct call *c = op->arg;
    struct slow_reader *r = (struct slow_reader *)(void *)(c + 1);
    (void)e;
    if (r->full)
        return false;
    r->full = true;
    snprintf(r->name, sizeof(r->name), "%.*s", (int)name.len, (const char *)name.data);
    r->next = next;
    return true;
}

static void test_removing_while_reading_skips_nothing(void **state)
{
    struct world *t = *state;
    struct {
        struct call c;
        struct slow_reader r;
    } s;
    fake_kv_mkdir(&t->k, "d");
    fill_dir(t, "d", 30);
    uint64_t dir = do_lookup(t->a, "d"), fh, off = 0;
    call_init(t->a, &s.c);
    fs_opendir(t->a->fs, &s.c.op, dir);
    call_wait(t->a, &s.c);
    fh = s.c.op.open.fh;
    for (;;) {
        s.r = (struct slow_reader){.full = false};
        call_init(t->a, &s.c);
        fs_readdir(t->a->fs, &s.c.op, dir, fh, off, true, one_only);
        assert_int_equal(call_wait(t->a, &s.c), 0);
        if (!s.r.full)
            break;
        off = s.r.next;
        char path[80];
        snprintf(path, sizeof(path), "d/%s", s.r.name);
        if (s.r.name[0] == 'f')
            assert_int_equal(sh_rm(t->a, path), 0);
    }
    call_init(t->a, &s.c);
    fs_releasedir(t->a->fs, &s.c.op, dir, fh);
    call_wait(t->a, &s.c);
    assert_int_equal(sh_rmdir(t->a, "d"), 0);
}

static void test_a_directory_with_an_unpublished_file_is_not_empty(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    assert_int_equal(do_open(t->a, "d/f", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    assert_int_equal(sh_rmdir(t->a, "d"), ENOTEMPTY);
    assert_int_equal(sh_rm(t->a, "d/f"), 0);
    assert_int_equal(sh_rmdir(t->a, "d"), 0);
    do_close(t->a, node, fh);
    assert_int_equal(fake_kv_live(&t->k, "d"), 0);
}

static void test_f11_rmdir_asks_the_objects_behind_stale_entries(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    fake_kv_write(&t->k, "d/f", "x", false);
    assert_int_equal(sh_rmdir(t->a, "d"), ENOTEMPTY);
    fake_kv_freeze(&t->k);
    t->k.stale_lists = true;
    fake_kv_delete(&t->k, "d/f"); /* by another mount: the listing still has it */
    assert_int_equal(sh_rmdir(t->a, "d"), 0);
    assert_int_equal(fake_kv_live(&t->k, "d"), 0);
}

static void test_f11_a_file_created_during_rmdir_keeps_its_directory(void **state)
{
    struct world *t = *state;
    struct call c;
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    call_init(t->a, &c);
    fs_rmdir(t->a->fs, &c.op, FS_ROOT, slice_str("d"));
    fake_kv_write(&t->k, "d/f", "x", false); /* after the listing was answered */
    assert_int_equal(call_wait(t->a, &c), ENOTEMPTY);
    assert_int_equal(fake_kv_live(&t->k, "d"), 1);
    later(t->a);
    assert_string_equal(sh_ls(t->a, "d"), "f ");
}

static void test_f15_rm_r_succeeds_while_listings_lag(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    assert_int_equal(sh_echo(t->a, "x", "d/f"), 0);
    fake_kv_freeze(&t->k);
    t->k.stale_lists = true;
    assert_int_equal(sh_rm(t->a, "d/f"), 0);
    assert_int_equal(sh_rmdir(t->a, "d"), 0);
}

static void test_an_implied_directory_is_one(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "x/y/z", "deep", false); /* as a PUT over HTTP */
    assert_string_equal(sh_cat(t->a, "x/y/z"), "deep");
    do_lookup(t->a, "x");
    assert_true(S_ISDIR(t->a->entry.attr.mode));
}

static void test_directories_are_renamed_and_only_onto_empty_ones(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    assert_int_equal(sh_mv(t->a, "d", "e"), 0);
    assert_string_equal(sh_ls(t->a, ""), "e ");
    assert_int_equal(fake_kv_live(&t->k, "d"), 0);
    assert_int_equal(sh_echo(t->a, "x", "e/f"), 0);
    assert_int_equal(sh_mv(t->a, "e", "g"), 0);
    assert_string_equal(sh_ls(t->a, "g"), "f ");
    assert_int_equal(sh_mkdir(t->a, "h"), 0);
    assert_int_equal(sh_mv(t->a, "h", "g"), ENOTEMPTY);
}

static void test_mkdir_on_what_is_there_is_refused(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "x", false);
    assert_int_equal(sh_mkdir(t->a, "f"), EEXIST);
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    assert_int_equal(sh_mkdir(t->b, "d"), EEXIST);
}

static void test_a_new_file_inherits_the_group_of_a_setgid_directory(void **state)
{
    struct world *t = *state;
    struct fs_attr a = {.mode = 02775, .gid = 42};
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    assert_int_equal(do_setattr(t->a, "d", &a, FS_SET_MODE | FS_SET_GID), 0);
    assert_int_equal(sh_echo(t->a, "x", "d/f"), 0);
    do_lookup(t->a, "d/f");
    assert_int_equal(t->a->entry.attr.gid, 42);
    assert_int_equal(sh_mkdir(t->a, "d/e"), 0);
    do_lookup(t->a, "d/e");
    assert_int_equal(t->a->entry.attr.mode & 07777, 02755);
}

static void test_the_control_tree_is_reachable_not_listed_not_writable(void **state)
{
    struct world *t = *state;
    assert_string_equal(sh_ls(t->a, ""), "");
    assert_non_null(strstr(sh_cat(t->a, ".dynamount/status"), "resolve    shown"));
    assert_non_null(strstr(sh_cat(t->a, ".dynamount/metrics"), "dynamount_gets_total"));
    assert_int_equal(sh_mkdir(t->a, ".dynamount"), EPERM);
    assert_int_equal(sh_mkdir(t->a, ".dynamount/x"), EPERM);
    assert_int_equal(do_open(t->a, ".dynamount/status", O_WRONLY), EACCES);
    fake_kv_write(&t->k, "f", "old", false);
    fake_kv_write(&t->k, "f", "new", false);
    sh_ls(t->a, "");
    assert_non_null(strstr(sh_cat(t->a, ".dynamount/conflicts"), "f\tconflict.1\t"));
}

static void test_all_conflicts_are_listed_also_those_nobody_has_looked_at(void **state)
{
    struct world *t = *state;
    static const char *const keys[] = {"f", "d/g", "d/e/h", "z/i"}, *const dirs[] = {"d", "d/e",
                                                                                     "z"};
    char line[32];
    for (int i = 0; i < 3; i++)
        assert_int_equal(sh_mkdir(t->b, dirs[i]), 0);
    fake_kv_write(&t->k, "d/plain", "x", false);
    for (int i = 0; i < 4; i++) {
        fake_kv_write(&t->k, keys[i], "old", false);
        fake_kv_write(&t->k, keys[i], "newer", false);
    }
    const char *text = sh_cat(t->a, ".dynamount/conflicts");
    for (int i = 0; i < 4; i++) {
        snprintf(line, sizeof(line), "%s\tname\t", keys[i]);
        assert_non_null(strstr(text, line));
        snprintf(line, sizeof(line), "%s\tnot shown yet\t", keys[i]);
        assert_non_null(strstr(text, line));
    }
    assert_null(strstr(text, "plain"));
    assert_non_null(strstr(text, "\t5 bytes\n"));
    sh_ls(t->a, "d/e");
    assert_non_null(strstr(sh_cat(t->a, ".dynamount/conflicts"), "d/e/h\tconflict.1\t"));
    assert_int_equal(sh_echo(t->a, "mine", "f"), 0); /* what that showed was under no name */
    assert_non_null(strstr(sh_cat(t->a, ".dynamount/conflicts"), "f\tname\t"));
}

static void test_names_that_are_too_long_are_refused(void **state)
{
    struct world *t = *state;
    char name[300];
    memset(name, 'n', sizeof(name));
    name[256] = 0;
    assert_int_equal(sh_mkdir(t->a, name), ENAMETOOLONG);
    name[255] = 0;
    assert_int_equal(sh_mkdir(t->a, name), 0);
}

static void below(struct fs_config *c)
{
    c->root = slice_str("sub");
}

static void test_a_subdirectory_can_be_the_root(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "sub/f", "x", false);
    fake_kv_write(&t->k, "outside", "x", false);
    struct mount *m = mount_new(&t->k, 3, below);
    assert_string_equal(sh_ls(m, ""), "f ");
    assert_int_equal(sh_echo(m, "y", "g"), 0);
    assert_true(fake_kv_holds(&t->k, "sub/g", "y"));
    mount_free(m);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        T(test_a_listing_of_2000_files_is_a_few_requests),
        T(test_many_lookups_leave_bounded_memory),
        T(test_f29_a_walk_by_name_fetches_the_listing),
        T(test_f29_a_walk_that_begins_in_the_middle_fetches_two_pages),
        T(test_f29_a_walk_by_inode_number_is_one_by_name_where_files_were_made_so),
        T(test_f29_a_create_changes_the_mtime_of_its_directory),
        T(test_f29_a_time_that_was_set_stands_until_an_entry_changes),
        T(test_removing_while_reading_skips_nothing),
        T(test_a_directory_with_an_unpublished_file_is_not_empty),
        T(test_f11_rmdir_asks_the_objects_behind_stale_entries),
        T(test_f11_a_file_created_during_rmdir_keeps_its_directory),
        T(test_f15_rm_r_succeeds_while_listings_lag),
        T(test_an_implied_directory_is_one),
        T(test_directories_are_renamed_and_only_onto_empty_ones),
        T(test_mkdir_on_what_is_there_is_refused),
        T(test_a_new_file_inherits_the_group_of_a_setgid_directory),
        T(test_the_control_tree_is_reachable_not_listed_not_writable),
        T(test_all_conflicts_are_listed_also_those_nobody_has_looked_at),
        T(test_names_that_are_too_long_are_refused),
        T(test_a_subdirectory_can_be_the_root),
    };
    return cmocka_run_group_tests_name("fs_dirs", tests, NULL, NULL);
}
