/* SPDX-License-Identifier: Apache-2.0 */
/* What the store in memory does beyond the contract: it loses, fails, fills up and goes back, as
 * its owner says. */
#include <stdlib.h>
#include <string.h>

#include "adapter/store_memory.h"
#include "base/err.h"
#include "store_subject.h"
#include "unit.h"

#define OPEN(s, kind)                                                                              \
    struct subject s;                                                                              \
    subject_open(&s, kind)

static bool holds(struct subject *s, const char *key)
{
    struct buf value = BUF_EMPTY;
    int err = subject_get(s, STORE_META, slice_str(key), &value);
    buf_release(&value);
    assert_true(err == DYN_OK || err == DYN_ERR_NOT_FOUND);
    return err == DYN_OK;
}

static int put_synced(struct subject *s, const char *key)
{
    struct store_batch b = STORE_BATCH_EMPTY;
    store_batch_put(&b, STORE_META, slice_str(key), slice_str("v"));
    return subject_write(s, &b, STORE_SYNCED);
}

static void test_a_crash_loses_what_was_not_synced_and_nothing_else(void **state)
{
    (void)state;
    OPEN(s, SUBJECT_MEMORY);
    subject_put(&s, STORE_META, "a", "v");
    assert_int_equal(put_synced(&s, "b"), DYN_OK); /* covers a */
    subject_put(&s, STORE_META, "c", "v");
    assert_int_equal(store_memory_unsynced(s.memory), 1);
    assert_true(holds(&s, "c"));
    store_memory_crash(s.memory, 0);
    assert_true(holds(&s, "a") && holds(&s, "b") && !holds(&s, "c"));
    assert_false(store_memory_was_clean(s.memory));
    subject_close(&s);
}

static void test_a_torn_log_keeps_a_prefix_of_whole_batches(void **state)
{
    (void)state;
    OPEN(s, SUBJECT_MEMORY);
    struct store_batch b = STORE_BATCH_EMPTY;
    subject_put(&s, STORE_META, "a", "v");
    store_batch_put(&b, STORE_META, slice_str("b1"), slice_str("v"));
    store_batch_put(&b, STORE_META, slice_str("b2"), slice_str("v"));
    subject_write(&s, &b, STORE_BUFFERED);
    subject_put(&s, STORE_META, "c", "v");
    assert_int_equal(store_memory_unsynced(s.memory), 3);
    store_memory_crash(s.memory, 2);
    assert_true(holds(&s, "a") && holds(&s, "b1") && holds(&s, "b2") && !holds(&s, "c"));
    store_memory_crash(s.memory, 0); /* what survived once is on the disk */
    assert_true(holds(&s, "b2"));
    subject_close(&s);
}

static void test_a_clean_stop_keeps_all_and_is_known_once(void **state)
{
    (void)state;
    OPEN(s, SUBJECT_MEMORY);
    assert_true(store_memory_was_clean(s.memory)); /* new */
    subject_put(&s, STORE_META, "a", "v");
    store_memory_stop(s.memory);
    assert_true(store_memory_was_clean(s.memory));
    assert_false(store_memory_was_clean(s.memory));
    store_memory_crash(s.memory, 0);
    assert_true(holds(&s, "a"));
    subject_close(&s);
}

static bool is_a(void *arg, enum store_family f, struct slice key)
{
    (void)arg;
    return f == STORE_META && slice_equal(key, slice_str("a"));
}

static bool count_garbled(struct store_scan *req, struct slice key, struct slice value)
{
    uint32_t *n = req->arg;
    (void)key;
    *n += slice_equal(value, slice_str("?"));
    return true;
}

static void nothing(struct store_scan *req, int err, bool more)
{
    (void)req;
    assert_int_equal(err, DYN_OK);
    assert_false(more);
}

static void test_a_garbled_row_reads_as_other_bytes_until_it_is_mended(void **state)
{
    (void)state;
    OPEN(s, SUBJECT_MEMORY);
    struct buf value = BUF_EMPTY;
    struct store_port port = store_memory_port(s.memory);
    put_synced(&s, "a");
    put_synced(&s, "b");
    for (int bad = 1; bad >= 0; bad--) {
        uint32_t n = 0;
        store_memory_garble(s.memory, bad ? is_a : NULL, NULL);
        buf_clear(&value);
        assert_int_equal(subject_get(&s, STORE_META, slice_str("a"), &value), DYN_OK);
        assert_true(slice_equal(buf_slice(&value), slice_str(bad ? "?" : "v")));
        struct store_scan scan = {.family = STORE_META,
                                  .max_rows = 10,
                                  .max_bytes = 1000,
                                  .row = count_garbled,
                                  .done = nothing,
                                  .arg = &n};
        port.scan(port.ctx, &scan);
        assert_int_equal(n, bad);
    }
    buf_release(&value);
    subject_close(&s);
}

static void test_a_snapshot_may_be_restored_again_and_elsewhere(void **state)
{
    (void)state;
    OPEN(s, SUBJECT_MEMORY);
    OPEN(other, SUBJECT_MEMORY);
    put_synced(&s, "old");
    subject_put(&s, STORE_META, "unsynced", "v");
    struct store_memory_image *image = store_memory_snapshot(s.memory);
    for (int i = 0; i < 2; i++) {
        put_synced(&s, "new");
        assert_true(holds(&s, "new"));
        store_memory_restore(s.memory, image);
        assert_true(holds(&s, "old") && !holds(&s, "new") && !holds(&s, "unsynced"));
    }
    store_memory_restore(other.memory, image);
    put_synced(&other, "other");
    assert_true(holds(&other, "old") && !holds(&s, "other"));
    store_memory_image_free(image);
    subject_close(&s);
    subject_close(&other);
}

static void test_a_full_disk_refuses_puts_one_by_one_and_takes_deletes(void **state)
{
    (void)state;
    OPEN(s, SUBJECT_MEMORY);
    struct store_batch b = STORE_BATCH_EMPTY;
    put_synced(&s, "a");
    store_memory_set_capacity(s.memory, 3);
    assert_int_equal(subject_put(&s, STORE_META, "b", "vv"), DYN_ERR_NO_SPACE);
    assert_false(holds(&s, "b"));
    assert_int_equal(subject_put(&s, STORE_META, "a", "w"), DYN_OK);
    store_batch_put(&b, STORE_META, slice_str("a"), slice_str("deleted"));
    b.deletes = true;
    assert_int_equal(subject_write(&s, &b, STORE_SYNCED), DYN_OK);
    store_batch_delete(&b, STORE_META, slice_str("a"));
    assert_int_equal(subject_write(&s, &b, STORE_SYNCED), DYN_OK);
    assert_int_equal(subject_put(&s, STORE_META, "b", "vv"), DYN_OK);
    assert_int_equal(s.failed, DYN_OK);
    subject_close(&s);
}

static void test_a_failed_write_stops_all_writing_but_not_reading(void **state)
{
    (void)state;
    OPEN(s, SUBJECT_MEMORY);
    put_synced(&s, "a");
    store_memory_fail_next_write(s.memory);
    assert_int_equal(subject_put(&s, STORE_META, "b", "v"), DYN_ERR_IO);
    assert_int_equal(s.failed, DYN_ERR_IO);
    assert_int_equal(subject_put(&s, STORE_META, "c", "v"), DYN_ERR_STOPPED);
    assert_int_equal(put_synced(&s, "d"), DYN_ERR_STOPPED);
    assert_true(holds(&s, "a") && !holds(&s, "b") && !holds(&s, "c"));
    store_memory_crash(s.memory, 0);
    assert_int_equal(put_synced(&s, "d"), DYN_OK);
    subject_close(&s);
}

static void test_reads_fail_as_told(void **state)
{
    (void)state;
    OPEN(s, SUBJECT_MEMORY);
    struct buf out = BUF_EMPTY;
    bool more;
    put_synced(&s, "a");
    store_memory_fail_reads(s.memory, DYN_ERR_CORRUPT);
    assert_int_equal(subject_get(&s, STORE_META, slice_str("a"), &out), DYN_ERR_CORRUPT);
    assert_int_equal(subject_scan(&s, STORE_META, "", "", 9, 999, 0, &out, &more), DYN_ERR_CORRUPT);
    store_memory_fail_reads(s.memory, DYN_OK);
    assert_true(holds(&s, "a"));
    buf_release(&out);
    subject_close(&s);
}

static void test_rot_flips_one_bit_that_a_restart_does_not_mend(void **state)
{
    (void)state;
    OPEN(s, SUBJECT_MEMORY);
    struct buf value = BUF_EMPTY;
    put_synced(&s, "a");
    assert_true(store_memory_rot(s.memory, STORE_META, slice_str("a"), 0));
    assert_false(store_memory_rot(s.memory, STORE_META, slice_str("b"), 0));
    store_memory_crash(s.memory, 0);
    assert_int_equal(subject_get(&s, STORE_META, slice_str("a"), &value), DYN_OK);
    assert_int_equal(value.len, 1);
    assert_int_equal(value.data[0], 'v' ^ 1);
    buf_release(&value);
    subject_close(&s);
}

struct noted {
    struct store_write write;
    struct store_get get;
    int done; /* how manieth, from 1 */
    int err;
    int *count;
};

static void note_write(struct store_write *req, int err)
{
    struct noted *n = req->arg;
    n->err = err;
    n->done = ++*n->count;
}

static void note_get(struct store_get *req, int err, struct slice value)
{
    struct noted *n = req->arg;
    (void)value;
    n->err = err;
    n->done = ++*n->count;
}

static void test_deferred_requests_wait_for_steps_and_reads_may_overtake(void **state)
{
    (void)state;
    OPEN(s, SUBJECT_DEFERRED);
    struct store_batch b = STORE_BATCH_EMPTY;
    int count = 0;
    struct noted n[3] = {{.count = &count}, {.count = &count}, {.count = &count}};
    for (int i = 0; i < 2; i++) {
        n[i].write = (struct store_write){.done = note_write, .arg = &n[i]};
        store_batch_put(&b, STORE_META, slice_str("k"), slice_str("v"));
        s.port.write(s.port.ctx, &b, STORE_SYNCED, &n[i].write);
        if (i == 0) { /* sees the first write, not what comes after */
            n[2].get = (struct store_get){
                .family = STORE_META, .key = slice_str("k"), .done = note_get, .arg = &n[2]};
            s.port.get(s.port.ctx, &n[2].get);
        }
    }
    assert_int_equal(store_memory_pending(s.memory), 3);
    assert_int_equal(count, 0);
    assert_true(store_memory_step(s.memory, 1));
    assert_int_equal(n[2].done, 1);
    assert_int_equal(n[2].err, DYN_OK);
    assert_true(store_memory_step(s.memory, 1)); /* the younger write picked: the older goes */
    assert_int_equal(n[0].done, 2);
    assert_int_equal(store_memory_unsynced(s.memory), 1);
    store_memory_crash(s.memory, 0);
    assert_false(store_memory_step(s.memory, 0));
    assert_int_equal(n[1].done, 0);
    subject_close(&s);
}

static void test_a_sync_covers_what_was_handed_over_before_it_only(void **state)
{
    (void)state;
    OPEN(s, SUBJECT_DEFERRED);
    struct store_batch b = STORE_BATCH_EMPTY;
    int count = 0;
    struct noted n = {.count = &count};
    store_batch_put(&b, STORE_META, slice_str("before"), slice_str("v"));
    s.port.write(s.port.ctx, &b, STORE_BUFFERED, NULL);
    n.write = (struct store_write){.done = note_write, .arg = &n};
    s.port.sync(s.port.ctx, &n.write);
    store_batch_put(&b, STORE_META, slice_str("after"), slice_str("v"));
    s.port.write(s.port.ctx, &b, STORE_BUFFERED, NULL);
    while (store_memory_step(s.memory, 0))
        ;
    assert_int_equal(n.done, 1);
    store_memory_crash(s.memory, 0);
    assert_true(holds(&s, "before") && !holds(&s, "after"));
    subject_close(&s);
}

static void test_a_kill_takes_only_what_no_writer_knows_to_be_taken(void **state)
{
    (void)state;
    OPEN(s, SUBJECT_DEFERRED);
    struct store_batch b = STORE_BATCH_EMPTY;
    const char *keys[] = {"told", "first", "last"};
    struct noted n[3];
    int count = 0;
    for (int i = 0; i < 3; i++) {
        n[i] = (struct noted){.count = &count, .write = {.done = note_write, .arg = &n[i]}};
        store_batch_put(&b, STORE_META, slice_str(keys[i]), slice_str("v"));
        s.port.write(s.port.ctx, &b, STORE_BUFFERED, &n[i].write);
    }
    assert_int_equal(store_memory_untold(s.memory), 3);
    assert_true(store_memory_step(s.memory, 0));
    assert_int_equal(n[0].done, 1);
    assert_int_equal(store_memory_untold(s.memory), 2);
    store_memory_kill(s.memory, 1);
    assert_int_equal(store_memory_untold(s.memory), 0);
    assert_false(store_memory_lost_tail(s.memory));
    assert_true(holds(&s, "told") && holds(&s, "first") && !holds(&s, "last"));
    assert_int_equal(count, 1);
    subject_close(&s);
}

static void note(struct store_write *req, int err)
{
    assert_int_equal(err, DYN_OK);
    *(bool *)req->arg = true;
}

static void test_a_buffered_store_acknowledges_at_once_what_need_not_be_synced(void **state)
{
    (void)state;
    OPEN(s, SUBJECT_DEFERRED);
    bool buffered = false, synced = false;
    struct store_write requests[] = {{.done = note, .arg = &synced},
                                     {.done = note, .arg = &buffered}};
    struct store_batch b = STORE_BATCH_EMPTY;
    store_memory_set_buffered(s.memory, true);
    store_batch_put(&b, STORE_META, slice_str("a"), slice_str("v"));
    assert_int_equal(s.port.write(s.port.ctx, &b, STORE_SYNCED, &requests[0]), DYN_OK);
    store_batch_put(&b, STORE_META, slice_str("b"), slice_str("v"));
    assert_int_equal(s.port.write(s.port.ctx, &b, STORE_BUFFERED, &requests[1]), DYN_OK);
    assert_true(buffered && !synced);
    subject_run(&s, &synced);
    assert_int_equal(store_memory_unsynced(s.memory), 1); /* and it is no more than that */
    subject_close(&s);
}

static void test_many_changes_agree_with_a_plain_table(void **state)
{
    (void)state;
    OPEN(s, SUBJECT_MEMORY);
    enum { KEYS = 257 };
    uint8_t model[KEYS] = {0}, synced[KEYS] = {0};
    uint32_t random = 12345;
    for (int i = 0; i < 20000; i++) {
        struct store_batch b = STORE_BATCH_EMPTY;
        random = random * 1664525 + 1013904223;
        uint16_t key = (uint16_t)((random >> 8) % KEYS);
        uint8_t value = (uint8_t)(random >> 20 | 1);
        if (random >> 30 == 0) {
            store_batch_delete(&b, STORE_META, slice_of(&key, 2));
            model[key] = 0;
        } else {
            store_batch_put(&b, STORE_META, slice_of(&key, 2), slice_of(&value, 1));
            model[key] = value;
        }
        bool sync = (random >> 12) % 16 == 0;
        assert_int_equal(subject_write(&s, &b, sync ? STORE_SYNCED : STORE_BUFFERED), DYN_OK);
        if (sync)
            memcpy(synced, model, sizeof(model));
        if ((random >> 16) % 512 == 0) {
            store_memory_crash(s.memory, 0);
            memcpy(model, synced, sizeof(model));
        }
        if (i % 100 == 0) {
            for (key = 0; key < KEYS; key++) {
                struct buf got = BUF_EMPTY;
                int err = subject_get(&s, STORE_META, slice_of(&key, 2), &got);
                assert_int_equal(err, model[key] == 0 ? DYN_ERR_NOT_FOUND : DYN_OK);
                if (err == DYN_OK)
                    assert_int_equal(got.data[0], model[key]);
                buf_release(&got);
            }
        }
    }
    subject_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_crash_loses_what_was_not_synced_and_nothing_else),
        cmocka_unit_test(test_a_torn_log_keeps_a_prefix_of_whole_batches),
        cmocka_unit_test(test_a_clean_stop_keeps_all_and_is_known_once),
        cmocka_unit_test(test_a_garbled_row_reads_as_other_bytes_until_it_is_mended),
        cmocka_unit_test(test_a_snapshot_may_be_restored_again_and_elsewhere),
        cmocka_unit_test(test_a_full_disk_refuses_puts_one_by_one_and_takes_deletes),
        cmocka_unit_test(test_a_failed_write_stops_all_writing_but_not_reading),
        cmocka_unit_test(test_reads_fail_as_told),
        cmocka_unit_test(test_rot_flips_one_bit_that_a_restart_does_not_mend),
        cmocka_unit_test(test_deferred_requests_wait_for_steps_and_reads_may_overtake),
        cmocka_unit_test(test_a_sync_covers_what_was_handed_over_before_it_only),
        cmocka_unit_test(test_a_kill_takes_only_what_no_writer_knows_to_be_taken),
        cmocka_unit_test(test_a_buffered_store_acknowledges_at_once_what_need_not_be_synced),
        cmocka_unit_test(test_many_changes_agree_with_a_plain_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
