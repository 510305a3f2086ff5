/* SPDX-License-Identifier: Apache-2.0 */
/* Files on one mount: names, handles and versions (F5, F10, F14 to F19, F23, F30), and how few
 * requests the common flows take. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/mem.h"
#include "fs_world.h"
#include "model/manifest.h"
#include "unit.h"

static void test_echo_then_cat_is_one_put_and_few_gets(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "hello", "k"), 0);
    assert_int_equal(t->k.puts, 1);
    assert_int_equal(t->k.gets, 1); /* the lookup; the create that follows at once trusts it */
    fake_kv_forget_counts(&t->k);
    assert_string_equal(sh_cat(t->a, "k"), "hello");
    assert_int_equal(t->k.gets, 1); /* the open; its bytes are the ones put */
    assert_int_equal(t->k.puts, 0);
}

static void test_create_reads_the_key_again_when_time_has_passed(void **state)
{
    struct world *t = *state;
    struct call c;
    assert_int_equal(do_lookup(t->a, "k"), 0);
    fake_kv_write(&t->k, "k", "theirs", false);
    later(t->a);
    call_init(t->a, &c);
    fs_create(t->a->fs, &c.op, FS_ROOT, slice_str("k"), 0644, O_RDWR | O_CREAT);
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_string_equal(do_read(t->a, c.op.entry.node, c.op.open.fh), "theirs");
    do_close(t->a, c.op.entry.node, c.op.open.fh);
    assert_int_equal(fake_kv_live(&t->k, "k"), 1);
}

static void test_created_file_is_visible_on_this_mount_before_it_is_published(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, "k", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    assert_int_equal(do_write(t->a, node, fh, 0, "abc"), 0);
    assert_string_equal(sh_ls(t->a, ""), "k ");
    assert_int_equal(do_lookup(t->a, "k"), node);
    assert_int_equal(t->a->entry.attr.size, 3);
    assert_string_equal(sh_cat(t->a, "k"), "abc");
    assert_int_equal(t->k.puts, 0); /* the close of a reader publishes nothing */
    do_close(t->a, node, fh);
    assert_int_equal(t->k.puts, 1);
}

static void test_unlink_of_an_unpublished_file_asks_nobody(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, "k", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "abc");
    assert_int_equal(sh_rm(t->a, "k"), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(t->k.puts, 0);
    assert_int_equal(do_lookup(t->a, "k"), 0);
}

static void test_f5_opening_a_newer_version_invalidates_attributes_and_pages(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "short", false);
    assert_string_equal(sh_cat(t->a, "f"), "short");
    uint64_t node = t->a->node;
    fake_kv_write(&t->k, "f", "much longer", true);
    struct call c; /* the kernel's name cache has it: open without a lookup */
    call_init(t->a, &c);
    fs_open_file(t->a->fs, &c.op, node, O_RDONLY);
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_int_equal(t->a->invals, 1);
    assert_false(c.op.open.keep_cache);
    assert_string_equal(do_read(t->a, node, c.op.open.fh), "much longer");
    do_close(t->a, node, c.op.open.fh);
}

/* The close of a reader costs the kernel no request. */
static void test_only_a_writers_close_has_something_to_tell(void **state)
{
    struct world *t = *state;
    static const int flags[] = {O_RDONLY, O_WRONLY, O_RDWR, O_WRONLY | O_APPEND};
    fake_kv_write(&t->k, "f", "text", false);
    sh_cat(t->a, "f");
    uint64_t node = t->a->node;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        struct call c;
        call_init(t->a, &c);
        fs_open_file(t->a->fs, &c.op, node, flags[i]);
        assert_int_equal(call_wait(t->a, &c), 0);
        assert_true(c.op.open.no_flush == (flags[i] == O_RDONLY));
        do_close(t->a, node, c.op.open.fh);
    }
}

static void test_pages_are_kept_when_the_version_is_unchanged(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "text", false);
    sh_cat(t->a, "f");
    assert_false(t->a->open.keep_cache);
    sh_cat(t->a, "f");
    assert_true(t->a->open.keep_cache);
    assert_int_equal(t->a->invals, 0);
}

static void test_f10_an_unlinked_file_stays_usable_and_is_never_published(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "t", "old", false);
    assert_int_equal(do_open(t->a, "t", O_RDWR), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    assert_int_equal(sh_rm(t->a, "t"), 0);
    assert_int_equal(do_getattr(t->a, node), 0);
    assert_int_equal(t->a->entry.attr.nlink, 0);
    assert_int_equal(do_write(t->a, node, fh, 3, "er"), 0);
    assert_string_equal(do_read(t->a, node, fh), "older");
    assert_int_equal(sh_echo(t->a, "new", "t"), 0);
    assert_int_not_equal(t->a->node, node);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(fake_kv_live(&t->k, "t"), 1);
    assert_true(fake_kv_holds(&t->k, "t", "new"));
}

static void test_f10_rename_rebinds_open_handles(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, "a", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "one");
    assert_int_equal(sh_mv(t->a, "a", "b"), 0);
    do_write(t->a, node, fh, 3, "two");
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(fake_kv_live(&t->k, "a"), 0);
    assert_true(fake_kv_holds(&t->k, "b", "onetwo"));
    assert_int_equal(fake_kv_live(&t->k, "b"), 1);
}

static void test_rename_of_an_unpublished_file_is_one_put(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, "a", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "one");
    assert_int_equal(sh_mv(t->a, "a", "b"), 0);
    assert_int_equal(t->k.puts, 1);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(t->k.puts, 1);
    assert_int_equal(do_lookup(t->a, "a"), 0);
}

static void test_rename_onto_an_open_file_detaches_it(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "b", "old", false);
    assert_int_equal(do_open(t->a, "b", O_RDWR), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    assert_int_equal(sh_echo(t->a, "new", "a"), 0);
    assert_int_equal(sh_mv(t->a, "a", "b"), 0);
    assert_string_equal(do_read(t->a, node, fh), "old");
    do_write(t->a, node, fh, 0, "xxx");
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_string_equal(sh_cat(t->a, "b"), "new");
    assert_int_equal(fake_kv_live(&t->k, "b"), 1);
}

static void test_f14_o_excl_is_strict_and_published_at_once(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, "lock", O_WRONLY | O_CREAT | O_EXCL), 0);
    assert_int_equal(fake_kv_live(&t->k, "lock"), 1);
    assert_int_equal(t->k.last_put.opt.sloppy, SLOPPY_NO);
    assert_true(t->k.last_put.flags & PUT_IF_ABSENT);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "pid");
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(fake_kv_live(&t->k, "lock"), 1);
    assert_true(fake_kv_holds(&t->k, "lock", "pid"));
}

static void test_f14_o_excl_withdraws_when_another_was_as_quick(void **state)
{
    struct world *t = *state;
    struct call c;
    call_init(t->a, &c);
    fs_create(t->a->fs, &c.op, FS_ROOT, slice_str("lock"), 0644, O_WRONLY | O_CREAT | O_EXCL);
    fake_kv_write(&t->k, "lock", "theirs", false); /* the put is done, its check is not */
    assert_int_equal(call_wait(t->a, &c), EEXIST);
    assert_int_equal(fake_kv_live(&t->k, "lock"), 1);
    assert_true(fake_kv_holds(&t->k, "lock", "theirs"));
}

/* Nobody else has made it: only that could not be found out. */
static void test_f14_o_excl_without_an_answer_to_its_check_says_so(void **state)
{
    struct world *t = *state;
    struct call c;
    call_init(t->a, &c);
    fs_create(t->a->fs, &c.op, FS_ROOT, slice_str("lock"), 0644, O_WRONLY | O_CREAT | O_EXCL);
    assert_int_equal(fake_kv_live(&t->k, "lock"), 1);
    t->k.refuse_gets = DYN_ERR_NO_QUORUM;
    assert_int_equal(call_wait(t->a, &c), ETIMEDOUT);
    assert_int_equal(fake_kv_live(&t->k, "lock"), 0); /* it holds up nobody */
    t->k.refuse_gets = DYN_OK;
    assert_int_equal(do_open(t->a, "lock", O_WRONLY | O_CREAT | O_EXCL), 0);
}

/* A slow coordinator, a second one was asked, and both have minted: no other has made the file. */
static void test_f14_o_excl_wins_against_its_own_twin(void **state)
{
    struct world *t = *state;
    struct call c;
    call_init(t->a, &c);
    fs_create(t->a->fs, &c.op, FS_ROOT, slice_str("lock"), 0644, O_WRONLY | O_CREAT | O_EXCL);
    fake_kv_mint_again(&t->k, "lock");
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_int_equal(fake_kv_live(&t->k, "lock"), 1);
    uint64_t node = c.op.entry.node, fh = c.op.open.fh;
    assert_int_equal(do_write(t->a, node, fh, 0, "pid"), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(fake_kv_live(&t->k, "lock"), 1);
    assert_true(fake_kv_holds(&t->k, "lock", "pid"));
}

/* The versions of two clusters that are one again: how many live? */
static uint32_t live_together(struct fake_kv *one, struct fake_kv *other, const char *key)
{
    struct object o = OBJECT_EMPTY;
    object_copy(&o, fake_kv_object(one, key));
    object_join(&o, fake_kv_object(other, key));
    uint32_t live = object_live_count(&o);
    object_release(&o);
    return live;
}

static void test_f14_equal_files_of_o_excl_do_not_collapse_into_one(void **state)
{
    struct world *t = *state;
    struct fake_kv far;
    fake_kv_init(&far);
    far.actor.node ^= 1;
    struct mount *m = mount_new(&far, 3, NULL);
    assert_int_equal(do_open(t->a, "lock", O_WRONLY | O_CREAT | O_EXCL), 0);
    assert_int_equal(do_open(m, "lock", O_WRONLY | O_CREAT | O_EXCL), 0);
    assert_int_equal(live_together(&t->k, &far, "lock"), 2);
    /* Bytes tell files apart by themselves, and equal ones are one file again (E7). */
    assert_int_equal(do_write(t->a, t->a->node, t->a->fh, 0, "same"), 0);
    assert_int_equal(do_write(m, m->node, m->fh, 0, "same"), 0);
    assert_int_equal(do_close(t->a, t->a->node, t->a->fh), 0);
    assert_int_equal(do_close(m, m->node, m->fh), 0);
    assert_int_equal(live_together(&t->k, &far, "lock"), 1);
    mount_free(m);
    fake_kv_release(&far);
}

static void test_f14_o_excl_fails_on_what_is_there_or_without_a_quorum(void **state)
{
    struct world *t = *state;
    struct call c;
    fake_kv_write(&t->k, "f", "x", false);
    call_init(t->a, &c); /* the kernel's lookup was before that */
    fs_create(t->a->fs, &c.op, FS_ROOT, slice_str("f"), 0644, O_WRONLY | O_CREAT | O_EXCL);
    assert_int_equal(call_wait(t->a, &c), EEXIST);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(do_open(t->a, "g", O_WRONLY | O_CREAT | O_EXCL), ETIMEDOUT);
    later(t->a); /* whether it was made after all is looked up */
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
}

static void test_f15_a_lagging_answer_does_not_take_back_what_was_written(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "gone", "x", false);
    fake_kv_freeze(&t->k);
    t->k.stale_lists = true; /* listings now show "gone" and nothing else */
    assert_int_equal(sh_echo(t->a, "y", "here"), 0);
    assert_int_equal(sh_rm(t->a, "gone"), 0);
    assert_string_equal(sh_ls(t->a, ""), "here ");
    assert_int_equal(do_lookup(t->a, "gone"), 0);
    t->k.stale_lists = false;
    assert_string_equal(sh_ls(t->a, ""), "here ");
}

static void test_f17_readers_keep_their_snapshot_and_the_name_gets_a_new_inode(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "one", false);
    assert_int_equal(do_open(t->a, "f", O_RDONLY), 0);
    uint64_t node = t->a->node, fh = t->a->fh, ino = t->a->entry.attr.ino;
    fake_kv_write(&t->k, "f", "two", true);
    struct call c; /* the kernel's name cache still has the old inode */
    call_init(t->a, &c);
    fs_open_file(t->a->fs, &c.op, node, O_RDONLY);
    assert_int_equal(call_wait(t->a, &c), ESTALE);
    assert_int_equal(do_open(t->a, "f", O_RDONLY), 0);
    assert_int_not_equal(t->a->node, node);
    assert_int_equal(t->a->entry.attr.ino, ino);
    assert_string_equal(do_read(t->a, t->a->node, t->a->fh), "two");
    do_close(t->a, t->a->node, t->a->fh);
    assert_string_equal(do_read(t->a, node, fh), "one");
    do_close(t->a, node, fh);
}

static void test_f17_an_inode_with_a_writer_adopts_the_new_version(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "one", false);
    assert_int_equal(do_open(t->a, "f", O_RDWR), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    fake_kv_write(&t->k, "f", "two!", true);
    assert_int_equal(do_open(t->a, "f", O_RDONLY), 0);
    assert_int_equal(t->a->node, node);
    assert_string_equal(do_read(t->a, node, t->a->fh), "two!");
    do_close(t->a, node, t->a->fh);
    do_write(t->a, node, fh, 4, "mine");
    do_close(t->a, node, fh);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(fake_kv_holds(&t->k, "f", "two!mine"));
}

static void test_f18_append_ignores_the_kernels_offset(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "12345", false);
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_APPEND), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    assert_true(t->a->open.direct_io);
    uint32_t before = t->a->invals;
    do_write(t->a, node, fh, 2, "6");
    assert_int_equal(t->a->invals, before + 1);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_true(fake_kv_holds(&t->k, "f", "123456"));
}

static void test_f19_attributes_as_backup_tools_need_them(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "12345", false);
    do_lookup(t->a, "f");
    assert_int_equal(t->a->entry.attr.blocks, 1);
    assert_int_equal(t->a->entry.attr.nlink, 1);
    assert_int_equal(t->a->entry.attr.blksize, 1 << 20);
    sh_mkdir(t->a, "d");
    do_lookup(t->a, "d");
    assert_int_equal(t->a->entry.attr.nlink, 1);
}

static void test_f30_the_inode_number_survives_rename_and_another_mount(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "x", "f"), 0);
    do_lookup(t->a, "f");
    uint64_t ino = t->a->entry.attr.ino;
    assert_int_equal(sh_mv(t->a, "f", "g"), 0);
    do_lookup(t->a, "g");
    assert_int_equal(t->a->entry.attr.ino, ino);
    struct mount *b = mount_new(&t->k, 3, NULL);
    do_lookup(b, "g");
    assert_int_equal(b->entry.attr.ino, ino);
    mount_free(b);
}

static void as_user(struct fs_config *c)
{
    c->uid = 1000;
    c->gid = 100;
}

static void assert_owner(struct mount *m, const char *path, uint32_t uid, uint32_t gid)
{
    assert_int_not_equal(do_lookup(m, path), 0);
    assert_int_equal(m->entry.attr.uid, uid);
    assert_int_equal(m->entry.attr.gid, gid);
}

static void test_what_no_filesystem_made_belongs_to_who_mounts(void **state)
{
    struct world *t = *state;
    struct mount *m = mount_new(&t->k, 77, as_user);
    do_getattr(m, FS_ROOT);
    assert_int_equal(m->entry.attr.uid, 1000);
    fake_kv_curl(&t->k, "f", "x");
    sh_echo(t->b, "roots", "r"); /* by a filesystem, and its maker is uid 0 */
    assert_owner(m, "f", 1000, 100);
    assert_owner(m, "r", 0, 0);
    assert_owner(t->a, "f", 0, 0); /* a mount by root */
    assert_int_equal(sh_mv(m, "f", "g"), 0);
    assert_owner(m, "g", 1000, 100);
    later(t->a);
    assert_owner(t->a, "g", 1000, 100); /* his for good */
    mount_free(m);
}

static void test_files_over_the_limit_are_refused_and_nothing_is_lost(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "x");
    assert_int_equal(do_write(t->a, node, fh, FILE_LEN_MAX, "y"), EFBIG);
    assert_int_equal(do_write(t->a, node, fh, UINT64_MAX - 1, "y"), EFBIG);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_true(fake_kv_holds(&t->k, "f", "x"));
    struct fs_attr a = {.size = FILE_LEN_MAX + 1};
    assert_int_equal(do_setattr(t->a, "f", &a, FS_SET_SIZE), EFBIG);
}

static void test_truncate_without_a_handle_is_published_at_once(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "123456", false);
    struct fs_attr a = {.size = 3};
    assert_int_equal(do_setattr(t->a, "f", &a, FS_SET_SIZE), 0);
    assert_int_equal(t->a->entry.attr.size, 3);
    assert_true(fake_kv_holds(&t->k, "f", "123"));
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
}

static void test_f16_chmod_moves_no_bytes_and_keeps_xattrs(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "text", "f"), 0);
    assert_int_equal(sh_setxattr(t->a, "f", "user.note", "kept"), 0);
    struct mount *b = mount_new(&t->k, 3, NULL);
    assert_string_equal(sh_ls(b, ""), "f "); /* a listing leaves xattrs out */
    fake_kv_forget_counts(&t->k);
    assert_int_equal(sh_chmod(b, "f", 0600), 0);
    assert_int_equal(t->k.bytes_put, 0);
    assert_string_equal(sh_getxattr(b, "f", "user.note"), "kept");
    later(t->a);
    assert_string_equal(sh_getxattr(t->a, "f", "user.note"), "kept");
    assert_string_equal(sh_cat(t->a, "f"), "text");
    do_lookup(t->a, "f");
    assert_int_equal(t->a->entry.attr.mode & 07777, 0600);
    mount_free(b);
}

static void test_own_xattrs_are_readable_not_settable(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "old", false);
    fake_kv_write(&t->k, "f", "new", false);
    assert_string_equal(sh_getxattr(t->a, "f", "user.dynamount.siblings"), "2");
    assert_string_equal(sh_getxattr(t->a, "f", "user.dynamount.replicas"), "0000000000000005");
    assert_true(strlen(sh_getxattr(t->a, "f", "user.dynamount.context")) > 20);
    assert_true(strlen(sh_getxattr(t->a, "f", "user.dynamount.dot")) > 4);
    assert_int_equal(sh_setxattr(t->a, "f", "user.dynamount.dot", "1"), EPERM);
    assert_null(sh_getxattr(t->a, "f", "security.capability"));
    assert_int_equal(t->a->err, ENODATA);
    assert_null(sh_getxattr(t->a, "f", "system.posix_acl_access"));
    assert_int_equal(t->a->err, EOPNOTSUPP);
}

static void read_only(struct fs_config *c)
{
    c->read_only = true;
}

static void test_a_read_only_mount_refuses_changes(void **state)
{
    struct world *t = *state;
    struct mount *m = mount_new(&t->k, 3, read_only);
    fake_kv_write(&t->k, "f", "x", false);
    assert_int_equal(sh_echo(m, "y", "f"), EROFS);
    assert_int_equal(sh_mkdir(m, "d"), EROFS);
    assert_int_equal(sh_rm(m, "f"), EROFS);
    assert_int_equal(sh_chmod(m, "f", 0600), EROFS);
    assert_int_equal(sh_mv(m, "f", "g"), EROFS);
    assert_string_equal(sh_cat(m, "f"), "x");
    mount_free(m);
}

static void test_f23_an_interrupted_lookup_ends_and_so_does_a_flush_whose_put_goes_on(void **state)
{
    struct world *t = *state;
    struct call c;
    t->k.hold = true;
    call_init(t->a, &c);
    fs_lookup(t->a->fs, &c.op, FS_ROOT, slice_str("f"));
    fs_interrupt(&c.op);
    assert_true(c.done);
    assert_int_equal(c.op.err, EINTR);
    fake_kv_let_go(&t->k);
    fake_kv_run(&t->k, 10000, NULL);
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT), 0);
    do_write(t->a, t->a->node, t->a->fh, 0, "x");
    call_init(t->a, &c);
    fs_flush(t->a->fs, &c.op, t->a->node, t->a->fh);
    fs_interrupt(&c.op);
    assert_true(c.done);
    assert_int_equal(c.op.err, EINTR);
    assert_int_equal(fs_dirty_count(t->a->fs), 1);
    fake_kv_run(&t->k, 10000, NULL);
    assert_true(fake_kv_holds(&t->k, "f", "x"));
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
    do_release(t->a, t->a->node, t->a->fh);
}

static void small_memory(struct fs_config *c)
{
    c->memory_max = 100;
}

static void test_content_gives_way_and_comes_back(void **state)
{
    struct world *t = *state;
    struct mount *m = mount_new(&t->k, 3, small_memory);
    char name[8], text[65];
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        memset(text, 'a' + i, 64);
        text[64] = 0;
        fake_kv_write(&t->k, name, text, false);
    }
    assert_int_equal(do_open(m, "f0", O_RDONLY), 0);
    uint64_t node = m->node, fh = m->fh;
    for (int i = 1; i < 5; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        assert_non_null(sh_cat(m, name));
    }
    memset(text, 'a', 64);
    assert_string_equal(do_read(m, node, fh), text);
    do_close(m, node, fh);
    mount_free(m);
}

static void test_the_filesystem_can_end_with_operations_on_their_way(void **state)
{
    struct world *t = *state;
    struct mount *m = mount_new(&t->k, 3, NULL);
    struct call c[3];
    assert_int_equal(do_open(m, "f", O_WRONLY | O_CREAT), 0);
    do_write(m, m->node, m->fh, 0, "x");
    t->k.hold = true;
    for (int i = 0; i < 3; i++)
        call_init(m, &c[i]);
    fs_flush(m->fs, &c[0].op, m->node, m->fh);
    fs_lookup(m->fs, &c[1].op, FS_ROOT, slice_str("g"));
    fs_unlink(m->fs, &c[2].op, FS_ROOT, slice_str("f")); /* waits for the flush */
    mount_free(m);
    for (int i = 0; i < 3; i++)
        assert_true(c[i].done && c[i].op.err != 0);
    t->k.hold = false;
    fake_kv_run(&t->k, 10000, NULL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        T(test_echo_then_cat_is_one_put_and_few_gets),
        T(test_create_reads_the_key_again_when_time_has_passed),
        T(test_created_file_is_visible_on_this_mount_before_it_is_published),
        T(test_unlink_of_an_unpublished_file_asks_nobody),
        T(test_f5_opening_a_newer_version_invalidates_attributes_and_pages),
        T(test_only_a_writers_close_has_something_to_tell),
        T(test_pages_are_kept_when_the_version_is_unchanged),
        T(test_f10_an_unlinked_file_stays_usable_and_is_never_published),
        T(test_f10_rename_rebinds_open_handles),
        T(test_rename_of_an_unpublished_file_is_one_put),
        T(test_rename_onto_an_open_file_detaches_it),
        T(test_f14_o_excl_is_strict_and_published_at_once),
        T(test_f14_o_excl_withdraws_when_another_was_as_quick),
        T(test_f14_o_excl_without_an_answer_to_its_check_says_so),
        T(test_f14_o_excl_wins_against_its_own_twin),
        T(test_f14_equal_files_of_o_excl_do_not_collapse_into_one),
        T(test_f14_o_excl_fails_on_what_is_there_or_without_a_quorum),
        T(test_f15_a_lagging_answer_does_not_take_back_what_was_written),
        T(test_f17_readers_keep_their_snapshot_and_the_name_gets_a_new_inode),
        T(test_f17_an_inode_with_a_writer_adopts_the_new_version),
        T(test_f18_append_ignores_the_kernels_offset),
        T(test_f19_attributes_as_backup_tools_need_them),
        T(test_f30_the_inode_number_survives_rename_and_another_mount),
        T(test_what_no_filesystem_made_belongs_to_who_mounts),
        T(test_files_over_the_limit_are_refused_and_nothing_is_lost),
        T(test_truncate_without_a_handle_is_published_at_once),
        T(test_f16_chmod_moves_no_bytes_and_keeps_xattrs),
        T(test_own_xattrs_are_readable_not_settable),
        T(test_a_read_only_mount_refuses_changes),
        T(test_f23_an_interrupted_lookup_ends_and_so_does_a_flush_whose_put_goes_on),
        T(test_content_gives_way_and_comes_back),
        T(test_the_filesystem_can_end_with_operations_on_their_way),
    };
    return cmocka_run_group_tests_name("fs_files", tests, NULL, NULL);
}
