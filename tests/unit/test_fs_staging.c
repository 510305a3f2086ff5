/* SPDX-License-Identifier: Apache-2.0 */
/* What the cluster has not taken outlives a kill -9 of the mount (F8): kept when it should be,
 * resumed under its old context, published once. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/mem.h"
#include "fake_stage.h"
#include "model/core.h"
#include "unit.h"

#define CLUSTER 77

static char first; /* done borrows op->data only while it runs */

static void take_first(struct fs_op *op)
{
    first = op->data.len == 0 ? 0 : (char)op->data.data[0];
    ((struct call *)op->arg)->done = true;
}

struct bench {
    struct fake_kv k;
    struct fake_stage stage;
    struct mount *a, *b;
    uint64_t mounts;
};

static struct mount *new_mount(struct bench *t, void (*change)(struct fs_config *c))
{
    struct mount *m = mount_new(&t->k, 10 + t->mounts++, change);
    m->cluster = CLUSTER;
    return m;
}

static int set_up(void **state)
{
    struct bench *t = mem_new(struct bench);
    fake_kv_init(&t->k);
    fake_stage_init(&t->stage, &t->k);
    t->a = new_mount(t, NULL);
    t->b = new_mount(t, NULL);
    fake_stage_use(&t->stage, t->a);
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *t = *state;
    mount_free(t->a);
    mount_free(t->b);
    fake_stage_release(&t->stage);
    fake_kv_release(&t->k);
    free(t);
    return 0;
}

/* kill -9, and the next start; the cluster is what it was. */
static void restart(struct bench *t, void (*change)(struct fs_config *c))
{
    mount_free(t->a);
    t->a = new_mount(t, change);
    fake_stage_load(&t->stage, t->a);
}

static void restart_and_go_on(struct bench *t)
{
    restart(t, NULL);
    fs_resume(t->a->fs, CLUSTER);
}

static void half_a_minute(struct bench *t)
{
    fake_kv_run(&t->k, 30000000, NULL);
}

static void test_a_failed_write_is_published_by_the_next_start(void **state)
{
    struct bench *t = *state;
    assert_int_equal(sh_echo(t->a, "before", "f"), 0);
    assert_int_equal(fake_stage_count(&t->stage), 0);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_echo(t->a, "after", "f"), ETIMEDOUT);
    assert_int_equal(fake_stage_count(&t->stage), 1); /* when close has returned */
    restart_and_go_on(t);
    assert_string_equal(sh_cat(t->a, "f"), "after");
    assert_non_null(strstr(sh_cat(t->a, ".dynamount/pending"), "5 bytes\tf\tfailed"));
    assert_int_equal(fs_dirty_count(t->a->fs), 1);
    t->k.refuse_puts = DYN_OK;
    half_a_minute(t);
    assert_true(fake_kv_holds(&t->k, "f", "after"));
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
    assert_int_equal(fake_stage_count(&t->stage), 0);
}

/* The record has the whole, so the next start finds out by itself what was appended (F27). */
static void test_a_failed_append_is_sent_by_the_next_start_as_what_was_appended(void **state)
{
    struct bench *t = *state;
    static char text[8193];
    memset(text, 'l', sizeof(text) - 1);
    assert_int_equal(sh_echo(t->a, text, "log"), 0);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_append(t->a, "+more", "log"), ETIMEDOUT);
    restart_and_go_on(t);
    t->k.refuse_puts = DYN_OK;
    uint64_t before = t->k.bytes_put;
    half_a_minute(t);
    assert_int_equal(t->k.bytes_put - before, 5);
    assert_int_equal(fake_kv_live(&t->k, "log"), 1);
    assert_int_equal(strlen(sh_cat(t->b, "log")), sizeof(text) - 1 + 5);
    assert_int_equal(fake_stage_count(&t->stage), 0);
}

static void test_it_waits_for_its_cluster_and_is_pending_meanwhile(void **state)
{
    struct bench *t = *state;
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_echo(t->a, "x", "new"), ETIMEDOUT);
    t->k.refuse_puts = DYN_OK;
    restart(t, NULL);
    t->a->cluster = 0;
    half_a_minute(t);
    assert_int_equal(fake_kv_live(&t->k, "new"), 0);
    assert_non_null(strstr(sh_cat(t->a, ".dynamount/pending"), "1 bytes\tnew\tof an earlier run"));
    assert_int_equal(fs_dirty_count(t->a->fs), 1);
    t->a->cluster = CLUSTER;
    assert_string_equal(sh_cat(t->a, "new"), "x"); /* the first answer tells which cluster it is */
    half_a_minute(t);
    assert_true(fake_kv_holds(&t->k, "new", "x"));
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
}

static void test_what_was_written_for_another_cluster_is_set_aside(void **state)
{
    struct bench *t = *state;
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_echo(t->a, "x", "new"), ETIMEDOUT);
    t->k.refuse_puts = DYN_OK;
    restart(t, NULL);
    t->a->cluster = CLUSTER + 1;
    fs_resume(t->a->fs, CLUSTER + 1);
    half_a_minute(t);
    assert_int_equal(fake_kv_live(&t->k, "new"), 0);
    assert_int_equal(t->stage.set_aside, 1);
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
}

static void test_what_came_later_is_never_overwritten(void **state)
{
    struct bench *t = *state;
    assert_int_equal(sh_echo(t->a, "before", "f"), 0);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_echo(t->a, "mine", "f"), ETIMEDOUT);
    fake_kv_write(&t->k, "f", "theirs", true);
    t->k.refuse_puts = DYN_OK;
    restart_and_go_on(t);
    half_a_minute(t);
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    assert_true(fake_kv_holds(&t->k, "f", "theirs"));
    assert_true(fake_kv_holds(&t->k, "f", "mine"));
}

static void test_the_version_it_was_written_over_goes(void **state)
{
    struct bench *t = *state;
    fake_kv_write(&t->k, "f", "one", false);
    fake_kv_write(&t->k, "f", "two", false);
    sh_ls(t->a, ""); /* both are shown, so a write settles the conflict (F1) */
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_echo(t->a, "merged", "f"), ETIMEDOUT);
    t->k.refuse_puts = DYN_OK;
    fake_kv_write(&t->k, "f", "three", false);
    restart_and_go_on(t);
    half_a_minute(t);
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    assert_true(fake_kv_holds(&t->k, "f", "three"));
    assert_true(fake_kv_holds(&t->k, "f", "merged"));
}

/* O_EXCL was told that nobody answers, the mount was killed, and a slow node makes the file. */
static void test_what_a_failed_exclusive_create_makes_later_is_removed_by_the_next(void **state)
{
    struct bench *t = *state;
    struct sibling late;
    struct call c;
    fake_kv_freeze(&t->k);
    t->k.lose = 1;
    call_init(t->a, &c);
    fs_create(t->a->fs, &c.op, FS_ROOT, slice_str("lock"), 0644, O_WRONLY | O_CREAT | O_EXCL);
    fake_kv_take_copy(&t->k, "lock", &late);
    fake_kv_roll_back(&t->k);
    assert_int_equal(call_wait(t->a, &c), ETIMEDOUT);
    assert_int_equal(fake_stage_count(&t->stage), 1); /* when open has returned */
    restart_and_go_on(t);
    assert_non_null(strstr(sh_cat(t->a, ".dynamount/pending"), "\tremoval\tlock"));
    fake_kv_copy_arrives(&t->k, "lock", &late);
    half_a_minute(t);
    assert_int_equal(fake_kv_live(&t->k, "lock"), 0);
    assert_string_equal(sh_cat(t->a, ".dynamount/pending"), "");
    assert_int_equal(fake_stage_count(&t->stage), 0);
}

/* The put arrived, its answer did not, and then the mount was killed. */
static void test_a_put_that_arrived_is_not_published_again(void **state)
{
    struct bench *t = *state;
    assert_int_equal(sh_echo(t->a, "before", "f"), 0);
    t->k.lose = 1;
    assert_int_equal(sh_echo(t->a, "after", "f"), ETIMEDOUT);
    assert_true(fake_kv_holds(&t->k, "f", "after"));
    struct dot dot = object_newest(fake_kv_object(&t->k, "f"))->dot;
    restart_and_go_on(t);
    half_a_minute(t);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(dot_equal(&object_newest(fake_kv_object(&t->k, "f"))->dot, &dot));
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
}

/* What is put next is in the record before it leaves: the older state that a record without this
 * rule would hold must not come back beside what has arrived. */
static void test_a_later_put_that_arrived_is_known_too(void **state)
{
    struct bench *t = *state;
    struct call c;
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "first");
    assert_int_equal(do_flush(t->a, node, fh), ETIMEDOUT);
    do_write(t->a, node, fh, 0, "later");
    t->k.refuse_puts = DYN_OK;
    call_init(t->a, &c);
    fs_flush(t->a->fs, &c.op, node, fh);
    while (!fake_kv_holds(&t->k, "f", "later"))
        fake_kv_run(&t->k, 1, NULL);
    assert_false(c.done);
    fake_kv_write(&t->k, "f", "edited elsewhere", true);
    restart_and_go_on(t);
    half_a_minute(t);
    assert_true(fake_kv_holds(&t->k, "f", "edited elsewhere"));
    assert_false(fake_kv_holds(&t->k, "f", "first"));
}

static void test_the_record_follows_what_is_written_after_it(void **state)
{
    struct bench *t = *state;
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "first");
    assert_int_equal(do_flush(t->a, node, fh), ETIMEDOUT);
    do_write(t->a, node, fh, 5, " and more");
    fake_kv_run(&t->k, 1500000, NULL);
    t->k.refuse_puts = DYN_OK;
    restart_and_go_on(t);
    half_a_minute(t);
    assert_true(fake_kv_holds(&t->k, "f", "first and more"));
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
}

static void test_a_publication_that_takes_long_is_kept_before_it_fails(void **state)
{
    struct bench *t = *state;
    struct call c;
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    do_write(t->a, node, fh, 0, "x");
    t->k.hold = true;
    call_init(t->a, &c);
    fs_flush(t->a->fs, &c.op, node, fh);
    fake_kv_run(&t->k, 1500000, NULL);
    assert_false(c.done);
    assert_int_equal(fake_stage_count(&t->stage), 1);
    fake_kv_let_go(&t->k);
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_int_equal(fake_stage_count(&t->stage), 0);
}

static void test_appends_are_resumed_after_what_came_meanwhile(void **state)
{
    struct bench *t = *state;
    assert_int_equal(sh_echo(t->a, "one.", "log"), 0);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_append(t->a, "mine.", "log"), ETIMEDOUT);
    fake_kv_write(&t->k, "log", "one.theirs.", true);
    t->k.refuse_puts = DYN_OK;
    restart_and_go_on(t);
    half_a_minute(t);
    assert_int_equal(fake_kv_live(&t->k, "log"), 1);
    assert_true(fake_kv_holds(&t->k, "log", "one.theirs.mine."));
}

static void test_the_record_goes_with_the_file(void **state)
{
    struct bench *t = *state;
    assert_int_equal(sh_echo(t->a, "before", "f"), 0);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_echo(t->a, "after", "f"), ETIMEDOUT);
    assert_int_equal(fake_stage_count(&t->stage), 1);
    t->k.refuse_puts = DYN_OK;
    assert_int_equal(sh_rm(t->a, "f"), 0);
    assert_int_equal(fake_stage_count(&t->stage), 0);
    restart_and_go_on(t);
    half_a_minute(t);
    assert_int_equal(fake_kv_live(&t->k, "f"), 0);
}

static void test_a_chmod_that_failed_is_not_resumed(void **state)
{
    struct bench *t = *state;
    assert_int_equal(sh_echo(t->a, "x", "f"), 0);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_chmod(t->a, "f", 0600), ETIMEDOUT);
    later(t->a);
    assert_int_equal(fake_stage_count(&t->stage), 0);
}

static void test_attributes_come_back_too(void **state)
{
    struct bench *t = *state;
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_echo(t->a, "x", "f"), ETIMEDOUT);
    assert_int_equal(sh_chmod(t->a, "f", 0600), 0); /* along with the next attempt */
    assert_int_equal(sh_setxattr(t->a, "f", "user.note", "kept"), 0);
    do_lookup(t->a, "f");
    struct fs_attr was = t->a->entry.attr;
    later(t->a);
    restart_and_go_on(t);
    assert_int_not_equal(do_lookup(t->a, "f"), 0);
    assert_int_equal(t->a->entry.attr.mode, S_IFREG | 0600);
    assert_int_equal(t->a->entry.attr.mtime_ns, was.mtime_ns);
    assert_int_equal(t->a->entry.attr.ino, was.ino);
    assert_string_equal(sh_getxattr(t->a, "f", "user.note"), "kept");
    assert_string_equal(sh_ls(t->a, ""), "f ");
    t->k.refuse_puts = DYN_OK;
    half_a_minute(t);
    assert_int_equal(object_newest(fake_kv_object(&t->k, "f"))->attrs.mode, 0600);
}

static void test_a_conflict_file_that_was_written_replaces_that_side_alone(void **state)
{
    struct bench *t = *state;
    fake_kv_write(&t->k, "f", "one", false);
    fake_kv_run(&t->k, 1000, NULL);
    fake_kv_write(&t->k, "f", "two", false);
    assert_string_equal(sh_ls(t->a, ""), "f f.conflict.1 ");
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_echo(t->a, "edited", "f.conflict.1"), ETIMEDOUT);
    t->k.refuse_puts = DYN_OK;
    restart_and_go_on(t);
    half_a_minute(t);
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    assert_true(fake_kv_holds(&t->k, "f", "two"));
    assert_true(fake_kv_holds(&t->k, "f", "edited"));
    assert_string_equal(sh_cat(t->a, "f"), "two");
}

static void test_a_disk_that_takes_nothing_changes_nothing_else(void **state)
{
    struct bench *t = *state;
    t->stage.fail = DYN_ERR_NO_SPACE;
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_echo(t->a, "x", "f"), ETIMEDOUT);
    assert_string_equal(sh_cat(t->a, "f"), "x");
    t->k.refuse_puts = DYN_OK;
    half_a_minute(t);
    assert_true(fake_kv_holds(&t->k, "f", "x"));
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
}

static void test_a_disk_that_hangs_makes_nobody_wait_for_long(void **state)
{
    struct bench *t = *state;
    t->stage.deaf = true;
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    uint64_t begun = t->k.now_us;
    assert_int_equal(sh_echo(t->a, "x", "f"), ETIMEDOUT);
    assert_in_range(t->k.now_us - begun, 1, 10000000);
    t->k.refuse_puts = DYN_OK;
    half_a_minute(t);
    assert_true(fake_kv_holds(&t->k, "f", "x"));
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
}

static void little_room(struct fs_config *c)
{
    c->staged_max = 1500;
}

static void test_no_more_is_kept_than_there_may_be(void **state)
{
    struct bench *t = *state;
    restart(t, little_room);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    char text[1001] = "";
    memset(text, 'x', sizeof(text) - 1);
    assert_int_equal(sh_echo(t->a, text, "a"), ETIMEDOUT);
    assert_int_equal(sh_echo(t->a, text, "b"), ETIMEDOUT);
    assert_int_equal(fake_stage_count(&t->stage), 1);
    t->k.refuse_puts = DYN_OK;
    half_a_minute(t);
    assert_true(fake_kv_holds(&t->k, "b", text));
}

static bool keep(void *arg, const struct fs_leftover *l)
{
    (void)l;
    return *(bool *)arg;
}

static void begin(void *arg, const struct fs_leftover *l)
{
    (void)arg;
    (void)l;
}

static void piece(void *arg, uint64_t off, struct slice bytes)
{
    (void)arg;
    (void)off;
    (void)bytes;
}

static void test_what_is_kept_at_the_end_is_not_resumed_as_well(void **state)
{
    struct bench *t = *state;
    bool kept = false;
    const struct fs_leftovers take = {&kept, begin, piece, keep};
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(sh_echo(t->a, "x", "f"), ETIMEDOUT);
    fs_leftovers(t->a->fs, &take);
    assert_int_equal(fake_stage_count(&t->stage), 1);
    kept = true;
    fs_leftovers(t->a->fs, &take);
    assert_int_equal(fake_stage_count(&t->stage), 0);
}

/* mv whose second half fails, and then the mount is killed. */
static void test_an_old_name_that_is_owed_is_dropped_by_the_next_start(void **state)
{
    struct bench *t = *state;
    struct call c;
    assert_int_equal(sh_echo(t->a, "x", "from"), 0);
    do_lookup(t->a, "from");
    do_lookup(t->a, "to");
    call_init(t->a, &c);
    fs_rename(t->a->fs, &c.op, FS_ROOT, slice_str("from"), FS_ROOT, slice_str("to"), 0);
    while (!fake_kv_holds(&t->k, "to", "x"))
        fake_kv_run(&t->k, 1, NULL);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_int_equal(fake_stage_count(&t->stage), 1); /* before mv was told */
    restart_and_go_on(t);
    assert_int_equal(do_lookup(t->a, "from"), 0);
    assert_non_null(strstr(sh_cat(t->a, ".dynamount/pending"), "removal\tfrom"));
    fake_kv_write(&t->k, "from", "theirs", false);
    t->k.refuse_puts = DYN_OK;
    half_a_minute(t);
    assert_int_equal(fake_kv_live(&t->k, "from"), 1);
    assert_true(fake_kv_holds(&t->k, "from", "theirs"));
    assert_int_equal(fake_stage_count(&t->stage), 0);
}

#define MIB (1u << 20)

static void write_mib(struct mount *m, uint64_t node, uint64_t fh, uint32_t number, char what)
{
    struct call c;
    char *bytes = mem_alloc(MIB);
    memset(bytes, what, MIB);
    call_init(m, &c);
    fs_write(m->fs, &c.op, node, fh, (uint64_t)number * MIB, slice_of(bytes, MIB));
    assert_int_equal(call_wait(m, &c), 0);
    free(bytes);
}

static char first_of(struct mount *m, uint64_t node, uint64_t fh, uint32_t number)
{
    struct call c;
    call_init(m, &c);
    c.op.done = take_first;
    fs_read(m->fs, &c.op, node, fh, (uint64_t)number * MIB, 100);
    assert_int_equal(call_wait(m, &c), 0);
    return first;
}

static void expect_chunks(struct mount *m, const char *path, const char *chunks)
{
    assert_int_equal(do_open(m, path, O_RDONLY), 0);
    uint64_t node = m->node, fh = m->fh;
    for (uint32_t i = 0; chunks[i] != 0; i++)
        assert_int_equal(first_of(m, node, fh, i), chunks[i]);
    assert_int_equal(do_getattr(m, node), 0);
    assert_int_equal(m->entry.attr.size, strlen(chunks) * MIB);
    do_close(m, node, fh);
}

/* Five chunks of which three have left when the cluster stops taking any. */
static void half_a_large_file(struct bench *t)
{
    assert_int_equal(do_open(t->a, "large", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    for (uint32_t i = 0; i < 3; i++)
        write_mib(t->a, node, fh, i, (char)('a' + i));
    fake_kv_run(&t->k, 100000, NULL);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    for (uint32_t i = 3; i < 5; i++)
        write_mib(t->a, node, fh, i, (char)('a' + i));
    assert_int_equal(do_flush(t->a, node, fh), ETIMEDOUT);
}

static void test_of_a_large_file_only_what_was_not_sent_is_kept_and_sent(void **state)
{
    struct bench *t = *state;
    half_a_large_file(t);
    assert_int_equal(t->a->fs->counters.chunk_puts, 3);
    assert_int_equal(fake_stage_count(&t->stage), 1);
    assert_int_equal(t->stage.chunks_put, 2);
    restart_and_go_on(t);
    expect_chunks(t->a, "large", "abcde");
    t->k.refuse_puts = DYN_OK;
    half_a_minute(t);
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
    assert_int_equal(t->a->fs->counters.chunk_puts, 2);
    assert_int_equal(fake_stage_count(&t->stage), 0);
    expect_chunks(t->b, "large", "abcde");
}

static void test_of_a_large_file_only_what_changed_is_written_again(void **state)
{
    struct bench *t = *state;
    half_a_large_file(t);
    write_mib(t->a, t->a->node, t->a->fh, 1, 'B');
    write_mib(t->a, t->a->node, t->a->fh, 4, 'E');
    fake_kv_run(&t->k, 1500000, NULL);
    assert_int_equal(t->stage.chunks_put, 4);
    restart_and_go_on(t);
    t->k.refuse_puts = DYN_OK;
    half_a_minute(t);
    expect_chunks(t->b, "large", "aBcdE");
}

/* A resumed change over the version that it was made to: its other chunks are shared. */
static void test_an_edit_of_a_large_file_is_resumed_over_the_version_it_edited(void **state)
{
    struct bench *t = *state;
    assert_int_equal(do_open(t->a, "large", O_WRONLY | O_CREAT), 0);
    for (uint32_t i = 0; i < 4; i++)
        write_mib(t->a, t->a->node, t->a->fh, i, 'x');
    assert_int_equal(do_close(t->a, t->a->node, t->a->fh), 0);
    assert_int_equal(do_open(t->a, "large", O_WRONLY), 0);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    write_mib(t->a, t->a->node, t->a->fh, 2, 'y');
    assert_int_equal(do_flush(t->a, t->a->node, t->a->fh), ETIMEDOUT);
    t->k.refuse_puts = DYN_OK;
    restart_and_go_on(t);
    half_a_minute(t);
    assert_int_equal(t->a->fs->counters.chunk_puts, 1);
    assert_int_equal(fake_kv_live(&t->k, "large"), 1);
    expect_chunks(t->b, "large", "xxyx");
}

/* Tokens are fetched again then, and what was fetched for the rebase is let go once. */
static void test_a_refused_context_after_a_rebase_is_fetched_again(void **state)
{
    struct bench *t = *state;
    assert_int_equal(sh_echo(t->a, "one.", "log"), 0);
    assert_int_equal(do_open(t->a, "log", O_WRONLY | O_APPEND), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    assert_int_equal(do_write(t->a, node, fh, 0, "mine."), 0);
    fake_kv_write(&t->k, "log", "one.theirs.", true);
    later(t->a);
    struct call c;
    uint32_t gets = t->k.gets;
    call_init(t->a, &c);
    t->k.refuse_puts = DYN_ERR_BAD_CONTEXT;
    fs_flush(t->a->fs, &c.op, node, fh);
    while (t->k.gets < gets + 3) /* the key, the version to append to, the key again */
        fake_kv_run(&t->k, 1, NULL);
    t->k.refuse_puts = DYN_OK;
    assert_int_equal(call_wait(t->a, &c), 0);
    do_release(t->a, node, fh);
    assert_int_equal(fake_kv_live(&t->k, "log"), 1);
    assert_true(fake_kv_holds(&t->k, "log", "one.theirs.mine."));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CLAIM(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        CLAIM(test_a_failed_write_is_published_by_the_next_start),
        CLAIM(test_what_a_failed_exclusive_create_makes_later_is_removed_by_the_next),
        CLAIM(test_a_failed_append_is_sent_by_the_next_start_as_what_was_appended),
        CLAIM(test_it_waits_for_its_cluster_and_is_pending_meanwhile),
        CLAIM(test_what_was_written_for_another_cluster_is_set_aside),
        CLAIM(test_what_came_later_is_never_overwritten),
        CLAIM(test_the_version_it_was_written_over_goes),
        CLAIM(test_a_put_that_arrived_is_not_published_again),
        CLAIM(test_a_later_put_that_arrived_is_known_too),
        CLAIM(test_the_record_follows_what_is_written_after_it),
        CLAIM(test_a_publication_that_takes_long_is_kept_before_it_fails),
        CLAIM(test_appends_are_resumed_after_what_came_meanwhile),
        CLAIM(test_the_record_goes_with_the_file),
        CLAIM(test_a_chmod_that_failed_is_not_resumed),
        CLAIM(test_attributes_come_back_too),
        CLAIM(test_a_conflict_file_that_was_written_replaces_that_side_alone),
        CLAIM(test_a_disk_that_takes_nothing_changes_nothing_else),
        CLAIM(test_a_disk_that_hangs_makes_nobody_wait_for_long),
        CLAIM(test_no_more_is_kept_than_there_may_be),
        CLAIM(test_what_is_kept_at_the_end_is_not_resumed_as_well),
        CLAIM(test_an_old_name_that_is_owed_is_dropped_by_the_next_start),
        CLAIM(test_a_refused_context_after_a_rebase_is_fetched_again),
        CLAIM(test_of_a_large_file_only_what_was_not_sent_is_kept_and_sent),
        CLAIM(test_of_a_large_file_only_what_changed_is_written_again),
        CLAIM(test_an_edit_of_a_large_file_is_resumed_over_the_version_it_edited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
