/* SPDX-License-Identifier: Apache-2.0 */
/* Large files: chunks leave while a file is written, an edit moves one, a rename none, and memory
 * has a bound (E8, E23, F6, F24). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "fs_bytes.h"
#include "model/chunk_io.h"
#include "model/core.h"
#include "unit.h"

static const struct sibling *version(struct world *t, const char *key)
{
    return object_newest(fake_kv_object(&t->k, key));
}

static void test_a_large_file_is_chunks_and_a_manifest(void **state)
{
    struct world *t = *state;
    make_file(t->a, "big", 5 * MIB + 1000, 3);
    const struct sibling *s = version(t, "big");
    assert_int_equal(s->size, 5 * MIB + 1000);
    assert_true(s->manifest_len != 0 && s->manifest_len < 1000);
    assert_int_equal(s->uploads->len, UPLOAD_ID_LEN);
    assert_int_equal(do_open(t->b, "big", O_RDONLY), 0);
    uint64_t node = t->b->node, fh = t->b->fh;
    expect_bytes(t->b, node, fh, 0, 100, 3);
    expect_bytes(t->b, node, fh, MIB - 50, 100, 3);
    expect_bytes(t->b, node, fh, 4 * MIB, MIB + 1000, 3);
    struct buf end = get_bytes(t->b, node, fh, 5 * MIB + 990, 4096);
    assert_int_equal(end.len, 10);
    buf_release(&end);
    do_close(t->b, node, fh);
}

static void test_a_small_file_stays_one_value(void **state)
{
    struct world *t = *state;
    make_file(t->a, "small", MIB, 3);
    assert_int_equal(version(t, "small")->manifest_len, 0);
    assert_int_equal(version(t, "small")->size, MIB);
}

static void test_full_chunks_leave_while_the_file_is_written(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, "big", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(put_bytes(t->a, node, fh, (uint64_t)i * MIB, MIB, 1), 0);
    fake_kv_run(&t->k, 100000, NULL);
    assert_true(t->a->fs->counters.chunk_puts >= 7);
    assert_null(version(t, "big")); /* nobody sees anything before it is closed */
    do_close(t->a, node, fh);
}

static void test_f6_an_edit_moves_one_chunk(void **state)
{
    struct world *t = *state;
    make_file(t->a, "big", 20 * MIB, 3);
    fake_kv_forget_counts(&t->k);
    assert_int_equal(do_open(t->b, "big", O_RDWR), 0);
    uint64_t node = t->b->node, fh = t->b->fh;
    assert_int_equal(put_bytes(t->b, node, fh, 7 * MIB + 12345, 4096, 9), 0);
    assert_int_equal(do_close(t->b, node, fh), 0);
    assert_true(t->k.bytes_put < MIB + 4096);
    assert_int_equal(t->b->fs->counters.chunk_gets, 1);
    assert_int_equal(version(t, "big")->size, 20 * MIB);
    later(t->a);
    assert_int_equal(do_open(t->a, "big", O_RDONLY), 0);
    expect_bytes(t->a, t->a->node, t->a->fh, 7 * MIB + 12345, 4096, 9);
    expect_bytes(t->a, t->a->node, t->a->fh, 7 * MIB, 12345, 3);
    expect_bytes(t->a, t->a->node, t->a->fh, 8 * MIB - 100, 200, 3);
    do_close(t->a, t->a->node, t->a->fh);
}

static void test_f24_what_is_overwritten_whole_is_not_fetched(void **state)
{
    struct world *t = *state;
    make_file(t->a, "big", 4 * MIB, 3);
    assert_int_equal(do_open(t->b, "big", O_RDWR), 0);
    uint64_t node = t->b->node, fh = t->b->fh;
    assert_int_equal(put_bytes(t->b, node, fh, MIB, MIB, 9), 0);
    assert_int_equal(do_close(t->b, node, fh), 0);
    assert_int_equal(t->b->fs->counters.chunk_gets, 0);
}

/* What close has left in memory is synced with its manifest, also when that is all there is to do,
 * or when no byte of it changes. */
static void test_f13_fsync_of_a_large_file_syncs_its_chunks(void **state)
{
    struct world *t = *state;
    make_file(t->a, "big", 4 * MIB, 3);
    t->k.syncs = 0;
    assert_int_equal(do_open(t->a, "big", O_RDONLY), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    t->k.refuse = DYN_ERR_NO_QUORUM;
    assert_int_equal(do_fsync(t->a, node, fh), ETIMEDOUT);
    t->k.refuse = DYN_OK;
    t->k.syncs = 0;
    assert_int_equal(do_fsync(t->a, node, fh), 0);
    assert_int_equal(t->k.syncs, 5);
    assert_int_equal(do_fsync(t->a, node, fh), 0);
    assert_int_equal(t->k.syncs, 5);
    do_close(t->a, node, fh);

    struct fs_attr mode = {.mode = 0600};
    struct call change, sync;
    make_file(t->a, "other", 3 * MIB, 3);
    assert_int_equal(do_open(t->a, "other", O_RDWR), 0);
    node = t->a->node, fh = t->a->fh;
    t->k.hold = true;
    call_init(t->a, &change);
    fs_setattr(t->a->fs, &change.op, node, fh, &mode, FS_SET_MODE);
    call_init(t->a, &sync);
    fs_fsync(t->a->fs, &sync.op, node, fh);
    t->k.syncs = 0;
    fake_kv_let_go(&t->k);
    assert_int_equal(call_wait(t->a, &change), 0);
    assert_int_equal(call_wait(t->a, &sync), 0);
    assert_int_equal(t->k.syncs, 3); /* the new attributes are put synced */
    do_close(t->a, node, fh);
}

/* Whoever has written it: then no version of its chunks is known here. */
static void test_f13_fsync_syncs_chunks_that_another_mount_has_sent(void **state)
{
    struct world *t = *state;
    make_file(t->a, "big", 40 * MIB, 3);
    assert_int_equal(do_open(t->b, "big", O_RDONLY), 0);
    uint64_t node = t->b->node, fh = t->b->fh;
    t->k.refuse = DYN_ERR_NO_QUORUM;
    assert_int_equal(do_fsync(t->b, node, fh), ETIMEDOUT);
    t->k.refuse = DYN_OK;
    t->k.syncs = 0;
    struct call sync;
    t->k.hold = true;
    call_init(t->b, &sync);
    fs_fsync(t->b->fs, &sync.op, node, fh);
    fake_kv_run(&t->k, 1000000, NULL);
    assert_in_range(t->k.syncs, 1, 16); /* so many at once */
    fake_kv_let_go(&t->k);
    assert_int_equal(call_wait(t->b, &sync), 0);
    assert_int_equal(t->k.syncs, 41);
    assert_int_equal(do_fsync(t->b, node, fh), 0);
    assert_int_equal(t->k.syncs, 41);
    do_close(t->b, node, fh);
}

static void test_f13_fsync_after_an_edit_syncs_the_chunks_that_it_left(void **state)
{
    struct world *t = *state;
    make_file(t->a, "big", 5 * MIB, 3);
    t->k.syncs = 0;
    assert_int_equal(do_open(t->b, "big", O_RDWR), 0);
    uint64_t node = t->b->node, fh = t->b->fh;
    assert_int_equal(put_bytes(t->b, node, fh, MIB, MIB, 9), 0);
    assert_int_equal(do_fsync(t->b, node, fh), 0);
    assert_int_equal(t->k.syncs, 4); /* the fifth, and the manifest, are put synced */
    assert_int_equal(do_close(t->b, node, fh), 0);
    /* Of another's edit only what is new, and the manifest. */
    assert_int_equal(do_open(t->a, "big", O_RDWR), 0);
    assert_int_equal(put_bytes(t->a, t->a->node, t->a->fh, 2 * MIB, MIB, 9), 0);
    assert_int_equal(do_close(t->a, t->a->node, t->a->fh), 0);
    later(t->b);
    assert_int_equal(do_open(t->b, "big", O_RDONLY), 0);
    t->k.syncs = 0;
    assert_int_equal(do_fsync(t->b, t->b->node, t->b->fh), 0);
    assert_int_equal(t->k.syncs, 2);
    do_close(t->b, t->b->node, t->b->fh);
}

static void test_f13_fsync_syncs_chunks_that_were_copied_by_reference(void **state)
{
    struct world *t = *state;
    struct call c;
    make_file(t->a, "big", 3 * MIB, 3);
    assert_int_equal(do_open(t->b, "big", O_RDONLY), 0);
    uint64_t from = t->b->node, from_fh = t->b->fh;
    assert_int_equal(do_open(t->b, "copy", O_WRONLY | O_CREAT), 0);
    uint64_t to = t->b->node, to_fh = t->b->fh;
    call_init(t->b, &c);
    fs_copy_range(t->b->fs, &c.op, from, 0, to, to_fh, 0, 3 * MIB);
    assert_int_equal(call_wait(t->b, &c), 0);
    t->k.syncs = 0;
    assert_int_equal(do_fsync(t->b, to, to_fh), 0);
    assert_int_equal(t->k.syncs, 3);
    do_close(t->b, to, to_fh);
    do_close(t->b, from, from_fh);
}

/* No chunk, no success, though the manifest is there. */
static void test_f13_fsync_tells_that_a_chunk_is_lost(void **state)
{
    struct world *t = *state;
    make_file(t->a, "big", 5 * MIB, 3);
    assert_int_equal(do_open(t->b, "big", O_RDONLY), 0);
    for (size_t i = 0; i < t->k.n; i++)
        if (slice_has_prefix(buf_slice(&t->k.rows[i].key), slice_str(".dynamount/chunk/")))
            object_release(&t->k.rows[i].object);
    assert_int_equal(do_fsync(t->b, t->b->node, t->b->fh), EIO);
    do_close(t->b, t->b->node, t->b->fh);
}

static void test_f13_the_filesystem_can_end_while_chunks_are_synced(void **state)
{
    struct world *t = *state;
    struct call c;
    make_file(t->a, "big", 40 * MIB, 3);
    assert_int_equal(do_open(t->b, "big", O_RDONLY), 0);
    t->k.hold = true;
    call_init(t->b, &c);
    fs_fsync(t->b->fs, &c.op, t->b->node, t->b->fh);
    mount_free(t->b);
    t->b = NULL;
    assert_true(c.done);
    assert_int_not_equal(c.op.err, 0);
}

static void test_f28_unchanged_bytes_move_nothing(void **state)
{
    struct world *t = *state;
    make_file(t->a, "big", 4 * MIB, 3);
    struct dot value = version(t, "big")->value_dot;
    fake_kv_forget_counts(&t->k);
    assert_int_equal(do_open(t->b, "big", O_RDWR), 0);
    uint64_t node = t->b->node, fh = t->b->fh;
    assert_int_equal(put_bytes(t->b, node, fh, MIB + 5, 1000, 3), 0);
    assert_int_equal(do_close(t->b, node, fh), 0);
    assert_true(t->k.bytes_put < 1000);
    assert_true(dot_equal(&value, &version(t, "big")->value_dot));
}

/* The record of an upload, as a key. */
static void record_of(const struct sibling *s, char *out, size_t room)
{
    struct upload_id id;
    struct buf key = BUF_EMPTY;
    memcpy(&id, s->uploads->data, sizeof(id));
    upload_key(&id, &key);
    assert_true(key.len < room);
    memcpy(out, key.data, key.len);
    out[key.len] = 0;
    buf_release(&key);
}

static bool record_names(struct world *t, const char *record, const char *key)
{
    const struct object *o = fake_kv_object(&t->k, record);
    for (uint32_t i = 0; i < o->n; i++) {
        struct slice name;
        uint32_t numbers;
        const struct blob *v = o->siblings[i].value;
        if (upload_ref_decode(slice_of(v->data, v->len), &name, &numbers) == DYN_OK &&
            slice_equal(name, slice_str(key)))
            return true;
    }
    return false;
}

static void test_e23_a_rename_moves_no_bytes_and_adds_a_reference(void **state)
{
    struct world *t = *state;
    char record[128];
    make_file(t->a, "big", 10 * MIB, 3);
    record_of(version(t, "big"), record, sizeof(record));
    assert_true(record_names(t, record, "big"));
    assert_false(record_names(t, record, "other"));
    fake_kv_forget_counts(&t->k);
    assert_int_equal(sh_mv(t->b, "big", "other"), 0);
    assert_true(t->k.bytes_put < 4096);
    assert_true(record_names(t, record, "other"));
    assert_int_equal(fake_kv_live(&t->k, "big"), 0);
    later(t->a);
    assert_int_equal(do_open(t->a, "other", O_RDONLY), 0);
    expect_bytes(t->a, t->a->node, t->a->fh, 9 * MIB, MIB, 3);
    do_close(t->a, t->a->node, t->a->fh);
}

static void test_f25_a_folder_moves_with_a_large_file_and_no_bytes(void **state)
{
    struct world *t = *state;
    char record[128];
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    make_file(t->a, "d/big", 10 * MIB, 3);
    record_of(version(t, "d/big"), record, sizeof(record));
    assert_int_equal(do_open(t->a, "d/big", O_RDWR), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    expect_bytes(t->a, node, fh, 0, MIB, 3);
    fake_kv_forget_counts(&t->k);
    assert_int_equal(sh_mv(t->a, "d", "e"), 0);
    assert_true(t->k.bytes_put < 4096);
    assert_true(record_names(t, record, "e/big"));
    assert_int_equal(fake_kv_live(&t->k, "d/big"), 0);
    expect_bytes(t->a, node, fh, 9 * MIB, MIB, 3);
    assert_int_equal(put_bytes(t->a, node, fh, 0, MIB, 7), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(fake_kv_live(&t->k, "e/big"), 1);
    assert_int_equal(do_open(t->b, "e/big", O_RDONLY), 0);
    expect_bytes(t->b, t->b->node, t->b->fh, 0, MIB, 7);
    expect_bytes(t->b, t->b->node, t->b->fh, 9 * MIB, MIB, 3);
    do_close(t->b, t->b->node, t->b->fh);
}

static void test_f24_writers_wait_when_too_much_is_on_its_way(void **state)
{
    struct world *t = *state;
    uint8_t *data = mem_zalloc(MIB);
    struct call c;
    uint32_t taken = 0;
    assert_int_equal(do_open(t->a, "big", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    put_bytes(t->a, node, fh, 0, 2 * MIB, 1);
    t->k.hold = true;
    for (; taken < 100; taken++) {
        call_init(t->a, &c);
        fs_write(t->a->fs, &c.op, node, fh, (2ull + taken) * MIB, slice_of(data, MIB));
        if (!c.done)
            break;
    }
    assert_in_range(taken, 8, 64);
    assert_true(t->a->fs->staging <= t->a->fs->cfg.staging_max);
    fake_kv_let_go(&t->k);
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(version(t, "big")->size, (3ull + taken) * MIB);
    free(data);
}

static void test_f8_chunks_that_could_not_leave_are_sent_later(void **state)
{
    struct world *t = *state;
    assert_int_equal(do_open(t->a, "big", O_WRONLY | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(put_bytes(t->a, node, fh, (uint64_t)i * MIB, MIB, 1), 0);
    assert_int_equal(do_flush(t->a, node, fh), ETIMEDOUT);
    assert_int_equal(fs_dirty_count(t->a->fs), 1);
    expect_bytes(t->a, node, fh, MIB - 10, 20, 1);
    t->k.refuse_puts = DYN_OK;
    fake_kv_run(&t->k, 60000000, NULL);
    assert_int_equal(fs_dirty_count(t->a->fs), 0);
    assert_int_equal(version(t, "big")->size, 4 * MIB);
    do_release(t->a, node, fh);
}

/* Who has a version open says so again and again, or its chunks would be collected. */
static void test_e23_what_is_open_is_referred_to_again(void **state)
{
    struct world *t = *state;
    char record[128];
    make_file(t->a, "big", 3 * MIB, 3);
    record_of(version(t, "big"), record, sizeof(record));
    assert_int_equal(do_open(t->b, "big", O_RDONLY), 0);
    uint64_t before = object_newest(fake_kv_object(&t->k, record))->time_ns;
    for (uint32_t i = 0; i < 60; i++)
        fake_kv_run(&t->k, 60000000, NULL);
    uint64_t after = object_newest(fake_kv_object(&t->k, record))->time_ns;
    assert_true(after - before > 2400ull * 1000000000);
    do_close(t->b, t->b->node, t->b->fh);
}

static void test_a_sparse_file_holds_what_was_written(void **state)
{
    struct world *t = *state;
    struct fs_attr a = {.size = 10ull << 30};
    assert_int_equal(do_open(t->a, "sparse", O_RDWR | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    assert_int_equal(do_setattr(t->a, "sparse", &a, FS_SET_SIZE), 0);
    assert_int_equal(put_bytes(t->a, node, fh, 5ull << 30, 100, 1), 0);
    assert_int_equal(put_bytes(t->a, node, fh, (9ull << 30) + MIB - 10, 20, 1), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_true(t->k.bytes_put < 2 * MIB);
    later(t->b);
    do_lookup(t->b, "sparse");
    assert_int_equal(t->b->entry.attr.size, 10ull << 30);
    assert_true(t->b->entry.attr.blocks * 512 < 2 * MIB); /* F19 */
    assert_int_equal(do_open(t->b, "sparse", O_RDONLY), 0);
    expect_bytes(t->b, t->b->node, t->b->fh, 5ull << 30, 100, 1);
    expect_bytes(t->b, t->b->node, t->b->fh, (9ull << 30) + MIB - 10, 20, 1);
    struct buf zeros = get_bytes(t->b, t->b->node, t->b->fh, (5ull << 30) + 100, 1000);
    for (size_t i = 0; i < zeros.len; i++)
        assert_int_equal(zeros.data[i], 0);
    assert_int_equal(zeros.len, 1000);
    buf_release(&zeros);
    do_close(t->b, t->b->node, t->b->fh);
}

static void test_what_was_cut_off_does_not_come_back(void **state)
{
    struct world *t = *state;
    make_file(t->a, "big", 3 * MIB, 3);
    assert_int_equal(do_open(t->a, "big", O_RDWR), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    struct fs_attr a = {.size = MIB + 100};
    struct call c;
    call_init(t->a, &c);
    fs_setattr(t->a->fs, &c.op, node, fh, &a, FS_SET_SIZE);
    assert_int_equal(call_wait(t->a, &c), 0);
    a.size = 3 * MIB;
    call_init(t->a, &c);
    fs_setattr(t->a->fs, &c.op, node, fh, &a, FS_SET_SIZE);
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    later(t->b);
    assert_int_equal(do_open(t->b, "big", O_RDONLY), 0);
    expect_bytes(t->b, t->b->node, t->b->fh, MIB, 100, 3);
    struct buf rest = get_bytes(t->b, t->b->node, t->b->fh, MIB + 100, MIB);
    assert_int_equal(rest.len, MIB);
    for (size_t i = 0; i < rest.len; i++)
        assert_int_equal(rest.data[i], 0);
    buf_release(&rest);
    do_close(t->b, t->b->node, t->b->fh);
}

static uint64_t seek(struct mount *m, uint64_t node, uint64_t off, int whence, int err)
{
    struct call c;
    call_init(m, &c);
    fs_lseek(m->fs, &c.op, node, off, whence);
    assert_int_equal(call_wait(m, &c), err);
    return c.op.offset;
}

static void test_holes_are_found_and_made(void **state)
{
    struct world *t = *state;
    const int data = 3, hole = 4; /* SEEK_DATA, SEEK_HOLE */
    struct call c;
    make_file(t->a, "f", 4 * MIB, 3);
    assert_int_equal(do_open(t->a, "f", O_RDWR), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    assert_int_equal(seek(t->a, node, 100, data, 0), 100);
    assert_int_equal(seek(t->a, node, 100, hole, 0), 4 * MIB);
    call_init(t->a, &c); /* punch a hole that begins and ends within chunks */
    fs_fallocate(t->a->fs, &c.op, node, fh, 1 | 2, MIB / 2, 2 * MIB);
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_int_equal(seek(t->a, node, 0, hole, 0), MIB);
    assert_int_equal(seek(t->a, node, MIB + 5, data, 0), 2 * MIB);
    expect_bytes(t->a, node, fh, 0, MIB / 2, 3);
    expect_bytes(t->a, node, fh, MIB / 2 + 2 * MIB, MIB, 3);
    struct buf zeros = get_bytes(t->a, node, fh, MIB / 2, 2 * MIB);
    for (size_t i = 0; i < zeros.len; i++)
        assert_int_equal(zeros.data[i], 0);
    buf_release(&zeros);
    call_init(t->a, &c);
    fs_fallocate(t->a->fs, &c.op, node, fh, 0, 9 * MIB, MIB);
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_int_equal(seek(t->a, node, 5 * MIB, data, ENXIO), 10 * MIB);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(version(t, "f")->size, 10 * MIB);
    assert_int_equal(version(t, "f")->allocated, 3 * MIB);
}

static void test_a_copy_by_reference_moves_no_bytes(void **state)
{
    struct world *t = *state;
    char record[128];
    struct call c;
    make_file(t->a, "from", 6 * MIB + 77, 3);
    record_of(version(t, "from"), record, sizeof(record));
    assert_int_equal(do_open(t->a, "from", O_RDONLY), 0);
    uint64_t from = t->a->node, from_fh = t->a->fh;
    assert_int_equal(do_open(t->a, "to", O_RDWR | O_CREAT), 0);
    uint64_t to = t->a->node, to_fh = t->a->fh;
    fake_kv_forget_counts(&t->k);
    call_init(t->a, &c);
    fs_copy_range(t->a->fs, &c.op, from, 0, to, to_fh, 0, 1 << 30);
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_int_equal(c.op.written, 6 * MIB + 77);
    call_init(t->a, &c); /* what is no whole chunk is the caller's to copy */
    fs_copy_range(t->a->fs, &c.op, from, 5, to, to_fh, 0, 1 << 30);
    assert_int_equal(call_wait(t->a, &c), EOPNOTSUPP);
    assert_int_equal(do_close(t->a, to, to_fh), 0);
    assert_true(t->k.bytes_put < 4096);
    assert_true(record_names(t, record, "to"));
    do_close(t->a, from, from_fh);
    assert_int_equal(do_open(t->b, "to", O_RDONLY), 0);
    expect_bytes(t->b, t->b->node, t->b->fh, 5 * MIB, MIB + 77, 3);
    do_close(t->b, t->b->node, t->b->fh);
}

/* Against a model: whatever is written, cut, closed, read by another mount or renamed. */
static void test_random_operations_do_what_a_plain_file_does(void **state)
{
    struct world *t = *state;
    const size_t most = 6 * MIB;
    uint8_t *model = mem_zalloc(most + MIB), *data = mem_alloc(2 * MIB);
    size_t size = 0;
    uint32_t seed = 12345;
    assert_int_equal(do_open(t->a, "f", O_RDWR | O_CREAT), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    for (uint32_t n = 0; n < 300; n++) {
        static const size_t lens[] = {1, 100, 4096, 65536, 300000, MIB, 1500000};
        seed = seed * 1103515245 + 12345;
        uint32_t what = seed >> 16 & 15;
        seed = seed * 1103515245 + 12345;
        size_t off = (seed >> 8) % most, len = lens[(seed >> 4) % 7];
        struct call c;
        call_init(t->a, &c);
        if (what < 7) {
            off = what < 3 && off > size ? size : off;
            len = len < most - off ? len : most - off;
            for (size_t i = 0; i < len; i++)
                data[i] = (uint8_t)(seed + i * 7);
            fs_write(t->a->fs, &c.op, node, fh, off, slice_of(data, len));
            assert_int_equal(call_wait(t->a, &c), 0);
            memcpy(model + off, data, len);
            size = off + len > size ? off + len : size;
        } else if (what < 11) {
            struct buf got = get_bytes(t->a, node, fh, off, (uint32_t)len);
            size_t want = off >= size ? 0 : size - off < len ? size - off : len;
            assert_int_equal(got.len, want);
            assert_memory_equal(got.data == NULL ? model : got.data, model + off, want);
            buf_release(&got);
        } else if (what < 13) {
            struct fs_attr a = {.size = n % 5 == 0 ? 0 : off};
            fs_setattr(t->a->fs, &c.op, node, fh, &a, FS_SET_SIZE);
            assert_int_equal(call_wait(t->a, &c), 0);
            if (a.size < size)
                memset(model + a.size, 0, size - a.size);
            size = a.size;
        } else if (what == 13) {
            assert_int_equal(do_fsync(t->a, node, fh), 0);
        } else {
            assert_int_equal(do_close(t->a, node, fh), 0);
            later(t->b);
            assert_int_equal(do_open(t->b, "f", O_RDONLY), 0);
            struct buf got = get_bytes(t->b, t->b->node, t->b->fh, 0, (uint32_t)most);
            assert_int_equal(got.len, size);
            assert_memory_equal(got.data == NULL ? model : got.data, model, size);
            buf_release(&got);
            do_close(t->b, t->b->node, t->b->fh);
            assert_int_equal(do_open(t->a, "f", O_RDWR), 0);
            node = t->a->node;
            fh = t->a->fh;
        }
        assert_int_equal(fake_kv_live(&t->k, "f") <= 1, 1);
    }
    do_close(t->a, node, fh);
    assert_int_equal(t->a->fs->staging, 0);
    free(model);
    free(data);
}

/* A file of three chunks that are sent and not published, and then the machine sleeps for as long
 * as collection takes; the first chunk is gone. */
static void sleep_over_the_lease(struct world *t, uint64_t *node, uint64_t *fh)
{
    assert_int_equal(do_open(t->a, "big", O_WRONLY | O_CREAT), 0);
    *node = t->a->node;
    *fh = t->a->fh;
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(put_bytes(t->a, *node, *fh, (uint64_t)i * MIB, MIB, 1), 0);
    fake_kv_run(&t->k, 100000, NULL);
    assert_int_equal(t->a->fs->counters.chunk_puts, 3);
    struct upload_id upload;
    struct buf key = BUF_EMPTY;
    for (size_t i = 0; i < t->k.n; i++) /* the record of the upload tells which it is */
        if (upload_key_parse(buf_slice(&t->k.rows[i].key), &upload) == DYN_OK)
            break;
    chunk_key(&upload, 0, &key);
    buf_put_u8(&key, 0);
    assert_int_equal(fake_kv_live(&t->k, (const char *)key.data), 1);
    fake_kv_delete(&t->k, (const char *)key.data);
    buf_release(&key);
    t->k.now_us += 3 * 3600 * 1000000ull; /* no timer has run meanwhile */
}

static void test_e8_what_was_collected_under_a_sleeping_mount_is_sent_again(void **state)
{
    struct world *t = *state;
    uint64_t node, fh;
    sleep_over_the_lease(t, &node, &fh);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(t->a->fs->counters.chunk_puts, 4);
    assert_int_equal(do_open(t->b, "big", O_RDONLY), 0);
    expect_bytes(t->b, t->b->node, t->b->fh, 0, MIB, 1);
    expect_bytes(t->b, t->b->node, t->b->fh, 2 * MIB, MIB, 1);
    do_close(t->b, t->b->node, t->b->fh);
}

static void test_e8_no_manifest_names_what_nobody_has(void **state)
{
    struct world *t = *state;
    uint64_t node, fh;
    sleep_over_the_lease(t, &node, &fh);
    chunk_cache_release(&t->a->fs->chunks);
    chunk_cache_init(&t->a->fs->chunks, 1, 32 * MIB);
    assert_int_equal(do_flush(t->a, node, fh), EIO);
    assert_null(version(t, "big"));
    assert_int_equal(fs_dirty_count(t->a->fs), 1);
    assert_int_equal(put_bytes(t->a, node, fh, 0, MIB, 1), 0); /* written again, it can be */
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(do_open(t->b, "big", O_RDONLY), 0);
    expect_bytes(t->b, t->b->node, t->b->fh, 0, MIB, 1);
    do_close(t->b, t->b->node, t->b->fh);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        T(test_e8_what_was_collected_under_a_sleeping_mount_is_sent_again),
        T(test_e8_no_manifest_names_what_nobody_has),
        T(test_a_large_file_is_chunks_and_a_manifest),
        T(test_a_small_file_stays_one_value),
        T(test_full_chunks_leave_while_the_file_is_written),
        T(test_f6_an_edit_moves_one_chunk),
        T(test_f24_what_is_overwritten_whole_is_not_fetched),
        T(test_f13_fsync_of_a_large_file_syncs_its_chunks),
        T(test_f13_fsync_syncs_chunks_that_another_mount_has_sent),
        T(test_f13_fsync_after_an_edit_syncs_the_chunks_that_it_left),
        T(test_f13_fsync_syncs_chunks_that_were_copied_by_reference),
        T(test_f13_fsync_tells_that_a_chunk_is_lost),
        T(test_f13_the_filesystem_can_end_while_chunks_are_synced),
        T(test_f28_unchanged_bytes_move_nothing),
        T(test_e23_a_rename_moves_no_bytes_and_adds_a_reference),
        T(test_f25_a_folder_moves_with_a_large_file_and_no_bytes),
        T(test_f24_writers_wait_when_too_much_is_on_its_way),
        T(test_f8_chunks_that_could_not_leave_are_sent_later),
        T(test_e23_what_is_open_is_referred_to_again),
        T(test_a_sparse_file_holds_what_was_written),
        T(test_what_was_cut_off_does_not_come_back),
        T(test_holes_are_found_and_made),
        T(test_a_copy_by_reference_moves_no_bytes),
        T(test_random_operations_do_what_a_plain_file_does),
    };
    return cmocka_run_group_tests_name("fs_large", tests, NULL, NULL);
}
