/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of port/store.h, held against each store: in memory, in memory with deferred
 * answers, RocksDB, and RocksDB behind an object buffer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "store_subject.h"
#include "unit.h"

static const enum subject_kind memory = SUBJECT_MEMORY, deferred = SUBJECT_DEFERRED,
                               rocksdb = SUBJECT_ROCKSDB, buffered = SUBJECT_BUFFERED,
                               files = SUBJECT_FILES;

static int open_subject(void **state)
{
    struct subject *s = mem_new(struct subject);
    subject_open(s, *(const enum subject_kind *)*state);
    *state = s;
    return 0;
}

static int close_subject(void **state)
{
    struct subject *s = *state;
    subject_close(s);
    free(s);
    return 0;
}

static void assert_row(struct subject *s, enum store_family f, const char *key, const char *value)
{
    struct buf got = BUF_EMPTY;
    int err = subject_get(s, f, slice_str(key), &got);
    assert_int_equal(err, value == NULL ? DYN_ERR_NOT_FOUND : DYN_OK);
    if (value != NULL)
        assert_true(slice_equal(buf_slice(&got), slice_str(value)));
    buf_release(&got);
}

static void assert_scan(struct subject *s, const char *prefix, const char *from, uint32_t max_rows,
                        uint64_t max_bytes, uint32_t stop_after, const char *rows, bool more)
{
    struct buf got = BUF_EMPTY;
    bool got_more;
    int err =
        subject_scan(s, STORE_META, prefix, from, max_rows, max_bytes, stop_after, &got, &got_more);
    assert_int_equal(err, DYN_OK);
    buf_put_u8(&got, 0);
    assert_string_equal((const char *)got.data, rows);
    assert_int_equal(got_more, more);
    buf_release(&got);
}

static void test_a_row_that_was_put_is_read_and_one_that_was_deleted_is_not(void **state)
{
    struct subject *s = *state;
    struct store_batch b = STORE_BATCH_EMPTY;
    assert_row(s, STORE_META, "a", NULL);
    assert_int_equal(subject_put(s, STORE_META, "a", "1"), DYN_OK);
    assert_int_equal(subject_put(s, STORE_META, "empty", ""), DYN_OK);
    assert_row(s, STORE_META, "a", "1");
    assert_row(s, STORE_META, "empty", "");
    assert_int_equal(subject_put(s, STORE_META, "a", "2"), DYN_OK);
    assert_row(s, STORE_META, "a", "2");
    store_batch_delete(&b, STORE_META, slice_str("a"));
    store_batch_delete(&b, STORE_META, slice_str("never was"));
    assert_int_equal(subject_write(s, &b, STORE_SYNCED), DYN_OK);
    assert_row(s, STORE_META, "a", NULL);
}

static void test_families_are_apart(void **state)
{
    struct subject *s = *state;
    for (int f = 0; f < STORE_FAMILIES; f++) {
        char value[2] = {(char)('0' + f), 0};
        assert_row(s, (enum store_family)f, "k", NULL);
        assert_int_equal(subject_put(s, (enum store_family)f, "k", value), DYN_OK);
    }
    for (int f = 0; f < STORE_FAMILIES; f++) {
        char value[2] = {(char)('0' + f), 0};
        assert_row(s, (enum store_family)f, "k", value);
    }
}

static void test_the_operations_of_a_batch_apply_in_their_order(void **state)
{
    struct subject *s = *state;
    struct store_batch b = STORE_BATCH_EMPTY;
    store_batch_put(&b, STORE_META, slice_str("x"), slice_str("1"));
    store_batch_delete(&b, STORE_META, slice_str("x"));
    store_batch_put(&b, STORE_META, slice_str("y"), slice_str("1"));
    store_batch_put(&b, STORE_META, slice_str("y"), slice_str("2"));
    assert_int_equal(subject_write(s, &b, STORE_BUFFERED), DYN_OK);
    assert_row(s, STORE_META, "x", NULL);
    assert_row(s, STORE_META, "y", "2");
}

static void add(struct store_batch *b, const char *key, uint8_t first, uint8_t last)
{
    uint8_t operand[STORE_MERGE_LEN] = {first};
    operand[STORE_MERGE_LEN - 1] = last;
    store_batch_merge(b, STORE_TREE, slice_str(key), operand);
}

static void assert_sum(struct subject *s, const char *key, uint8_t first, uint8_t last)
{
    struct buf got = BUF_EMPTY;
    assert_int_equal(subject_get(s, STORE_TREE, slice_str(key), &got), DYN_OK);
    assert_int_equal(got.len, STORE_MERGE_LEN);
    assert_int_equal(got.data[0], first);
    assert_int_equal(got.data[STORE_MERGE_LEN - 1], last);
    buf_release(&got);
}

static void test_merges_add_up(void **state)
{
    struct subject *s = *state;
    struct store_batch b = STORE_BATCH_EMPTY;
    add(&b, "a", 1, 128);
    assert_int_equal(subject_write(s, &b, STORE_BUFFERED), DYN_OK);
    assert_sum(s, "a", 1, 128);
    for (uint8_t i = 0; i < 100; i++) { /* more than RocksDB lets stand in a row */
        b = STORE_BATCH_EMPTY;
        add(&b, "a", i, 0);
        add(&b, "b", 7, i);
        assert_int_equal(subject_write(s, &b, STORE_BUFFERED), DYN_OK);
    }
    assert_sum(s, "a", 1, 128); /* the numbers from 0 to 99 cancel */
    assert_sum(s, "b", 0, 0);
    subject_restart(s);
    assert_sum(s, "a", 1, 128);
    b = STORE_BATCH_EMPTY;
    store_batch_delete(&b, STORE_TREE, slice_str("a"));
    add(&b, "a", 2, 2);
    add(&b, "a", 4, 0);
    assert_int_equal(subject_write(s, &b, STORE_BUFFERED), DYN_OK);
    assert_sum(s, "a", 6, 2);
}

static void test_reads_see_what_was_handed_over_before_them(void **state)
{
    struct subject *s = *state;
    char key[16], value[16];
    for (int i = 0; i < 50; i++) {
        struct store_batch b = STORE_BATCH_EMPTY;
        snprintf(key, sizeof(key), "k%d", i % 7);
        snprintf(value, sizeof(value), "%d", i);
        store_batch_put(&b, STORE_META, slice_str(key), slice_str(value));
        s->port.write(s->port.ctx, &b, STORE_BUFFERED, NULL); /* nobody waits for it */
        assert_row(s, STORE_META, key, value);
    }
    struct store_batch b = STORE_BATCH_EMPTY;
    store_batch_put(&b, STORE_META, slice_str("k9"), slice_str("last"));
    s->port.write(s->port.ctx, &b, STORE_BUFFERED, NULL);
    assert_scan(s, "k", "k5", 100, 1000, 0, "k5=47;k6=48;k9=last;", false);
}

static void test_a_scan_gives_the_rows_of_a_prefix_in_order(void **state)
{
    struct subject *s = *state;
    const char *keys[] = {"b", "a/2", "a/1", "a/10", "a", "a0", "a/3"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        assert_int_equal(subject_put(s, STORE_META, keys[i], "v"), DYN_OK);
    assert_scan(s, "a/", "", 100, 1000, 0, "a/1=v;a/10=v;a/2=v;a/3=v;", false);
    assert_scan(s, "", "", 100, 1000, 0, "a=v;a/1=v;a/10=v;a/2=v;a/3=v;a0=v;b=v;", false);
    assert_scan(s, "a/", "a/2", 100, 1000, 0, "a/2=v;a/3=v;", false);
    assert_scan(s, "a/", "a/11", 100, 1000, 0, "a/2=v;a/3=v;", false);
    assert_scan(s, "a/", "A", 100, 1000, 0, "a/1=v;a/10=v;a/2=v;a/3=v;", false);
    assert_scan(s, "a/", "a0", 100, 1000, 0, "", false);
    assert_scan(s, "c", "", 100, 1000, 0, "", false);
}

static void test_values_are_walked_in_order_though_memory_hashes_them(void **state)
{
    struct subject *s = *state;
    struct buf got = BUF_EMPTY;
    bool more;
    const char *keys[] = {"b", "a/2", "a/1", "a/10", "a", "a0", "a/3"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        assert_int_equal(subject_put(s, STORE_VALUE, keys[i], "v"), DYN_OK);
    assert_int_equal(subject_scan(s, STORE_VALUE, "a/", "", 100, 1000, 0, &got, &more), DYN_OK);
    buf_put_u8(&got, 0);
    assert_string_equal((const char *)got.data, "a/1=v;a/10=v;a/2=v;a/3=v;");
    assert_false(more);
    buf_release(&got);
}

/* Whatever part of their start keys have in common: rows of trees are hashed by six bytes of it,
 * those of an index by eight. */
static void test_rows_of_trees_are_walked_by_any_prefix(void **state)
{
    struct subject *s = *state;
    const char *keys[] = {"part1lb",  "part2la",   "part1l",   "part1ka",   "part1la",   "par",
                          "part1lbc", "part3kxyb", "part3kxz", "part3kxya", "part3kyya", "part3kx"};
    const struct {
        const char *prefix, *want;
    } walks[] = {
        {"part1l", "part1l=v;part1la=v;part1lb=v;part1lbc=v;"},
        {"part1lb", "part1lb=v;part1lbc=v;"},
        {"part1", "part1ka=v;part1l=v;part1la=v;part1lb=v;part1lbc=v;"},
        {"part3kxy", "part3kxya=v;part3kxyb=v;"},
        {"part3kxya", "part3kxya=v;"},
        {"part3kx", "part3kx=v;part3kxya=v;part3kxyb=v;part3kxz=v;"},
        {"part3k", "part3kx=v;part3kxya=v;part3kxyb=v;part3kxz=v;part3kyya=v;"},
        {"par", "par=v;part1ka=v;part1l=v;part1la=v;part1lb=v;part1lbc=v;part2la=v;"
                "part3kx=v;part3kxya=v;part3kxyb=v;part3kxz=v;part3kyya=v;"},
        {"part3l", ""},
    };
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        assert_int_equal(subject_put(s, STORE_TREE, keys[i], "v"), DYN_OK);
    for (int restarted = 0; restarted < 2; restarted++) {
        for (size_t i = 0; i < sizeof(walks) / sizeof(walks[0]); i++) {
            struct buf got = BUF_EMPTY;
            bool more;
            assert_int_equal(
                subject_scan(s, STORE_TREE, walks[i].prefix, "", 100, 1000, 0, &got, &more),
                DYN_OK);
            buf_put_u8(&got, 0);
            assert_string_equal((const char *)got.data, walks[i].want);
            buf_release(&got);
        }
        subject_restart(s);
    }
}

static void test_a_scan_stops_at_its_bounds_and_says_whether_rows_are_left(void **state)
{
    struct subject *s = *state;
    const char *keys[] = {"p1", "p2", "p3", "q"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        assert_int_equal(subject_put(s, STORE_META, keys[i], "v"), DYN_OK);
    assert_scan(s, "p", "", 2, 1000, 0, "p1=v;p2=v;", true);
    assert_scan(s, "p", "", 3, 1000, 0, "p1=v;p2=v;p3=v;", false);
    assert_scan(s, "p", "", 100, 4, 0, "p1=v;p2=v;", true); /* three bytes a row */
    assert_scan(s, "p", "", 100, 1, 0, "p1=v;", true);
    assert_scan(s, "p", "", 100, 9, 0, "p1=v;p2=v;p3=v;", false);
    assert_scan(s, "p", "", 100, 1000, 1, "p1=v;", true);
    assert_scan(s, "p", "", 100, 1000, 3, "p1=v;p2=v;p3=v;", false);
}

static void test_prefixes_of_the_highest_bytes_have_an_end(void **state)
{
    struct subject *s = *state;
    assert_int_equal(subject_put(s, STORE_META, "a\xff\xff", "1"), DYN_OK);
    assert_int_equal(subject_put(s, STORE_META, "a\xff\xffz", "2"), DYN_OK);
    assert_int_equal(subject_put(s, STORE_META, "b", "3"), DYN_OK);
    assert_int_equal(subject_put(s, STORE_META, "\xff\xff", "4"), DYN_OK);
    assert_scan(s, "a\xff\xff", "", 100, 1000, 0, "a\xff\xff=1;a\xff\xffz=2;", false);
    assert_scan(s, "\xff", "", 100, 1000, 0, "\xff\xff=4;", false);
}

static void test_values_of_megabytes_come_back_whole(void **state)
{
    struct subject *s = *state;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf big = BUF_EMPTY, got = BUF_EMPTY;
    for (uint32_t i = 0; i < 3u << 20; i += 4)
        buf_put_u32(&big, i * 2654435761u);
    for (int i = 0; i < 4; i++)
        store_batch_put(&b, STORE_VALUE, slice_str(&"big0"[i]), buf_slice(&big));
    assert_int_equal(subject_write(s, &b, STORE_SYNCED), DYN_OK);
    subject_restart(s);
    for (int i = 0; i < 4; i++) {
        buf_clear(&got);
        assert_int_equal(subject_get(s, STORE_VALUE, slice_str(&"big0"[i]), &got), DYN_OK);
        assert_true(slice_equal(buf_slice(&got), buf_slice(&big)));
    }
    buf_release(&big);
    buf_release(&got);
}

static void test_keys_and_values_may_hold_any_byte(void **state)
{
    struct subject *s = *state;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf got = BUF_EMPTY;
    uint8_t all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    store_batch_put(&b, STORE_META, slice_of(all, 256), slice_of(all, 256));
    assert_int_equal(subject_write(s, &b, STORE_BUFFERED), DYN_OK);
    assert_int_equal(subject_get(s, STORE_META, slice_of(all, 256), &got), DYN_OK);
    assert_true(slice_equal(buf_slice(&got), slice_of(all, 256)));
    assert_int_equal(subject_get(s, STORE_META, slice_of(all, 255), &got), DYN_ERR_NOT_FOUND);
    buf_release(&got);
}

struct counted {
    uint32_t done, order_broken;
};

struct numbered_write {
    struct store_write req;
    struct counted *counted;
    uint32_t number;
    bool all;
};

static void count_done(struct store_write *req, int err)
{
    struct numbered_write *w = req->arg;
    assert_int_equal(err, DYN_OK);
    w->counted->order_broken += w->counted->done != w->number;
    w->counted->done++;
    w->all = true;
}

static void test_synced_writes_complete_once_each_and_in_order(void **state)
{
    struct subject *s = *state;
    enum { N = 300 };
    struct counted counted = {0, 0};
    struct numbered_write *w = mem_zalloc(N * sizeof(*w));
    for (uint32_t i = 0; i < N; i++) {
        struct store_batch b = STORE_BATCH_EMPTY;
        store_batch_put(&b, STORE_META, slice_of(&i, sizeof(i)), slice_str("v"));
        w[i] = (struct numbered_write){.counted = &counted, .number = i};
        w[i].req = (struct store_write){.done = count_done, .arg = &w[i]};
        if (i % 3 == 2)
            s->port.sync(s->port.ctx, &w[i].req);
        else
            s->port.write(s->port.ctx, &b, STORE_SYNCED, &w[i].req);
        store_batch_release(&b);
    }
    subject_run(s, &w[N - 1].all);
    assert_int_equal(counted.done, N);
    assert_int_equal(counted.order_broken, 0);
    free(w);
}

static void test_a_sync_with_nothing_to_sync_completes(void **state)
{
    struct subject *s = *state;
    for (int i = 0; i < 2; i++) {
        struct counted counted = {0, 0};
        struct numbered_write w = {.counted = &counted};
        w.req = (struct store_write){.done = count_done, .arg = &w};
        s->port.sync(s->port.ctx, &w.req);
        subject_run(s, &w.all);
        assert_int_equal(subject_put(s, STORE_META, "a", "1"), DYN_OK);
    }
}

struct chain {
    struct subject *s;
    struct store_write write;
    struct store_get get;
    uint32_t left;
    bool done;
};

static void chain_got(struct store_get *req, int err, struct slice value);

static void chain_wrote(struct store_write *req, int err)
{
    struct chain *c = req->arg;
    assert_int_equal(err, DYN_OK);
    c->get = (struct store_get){
        .family = STORE_META, .key = slice_str("chain"), .done = chain_got, .arg = c};
    c->s->port.get(c->s->port.ctx, &c->get);
}

static void chain_put(struct chain *c)
{
    struct store_batch b = STORE_BATCH_EMPTY;
    store_batch_put(&b, STORE_META, slice_str("chain"), slice_of(&c->left, sizeof(c->left)));
    c->write = (struct store_write){.done = chain_wrote, .arg = c};
    c->s->port.write(c->s->port.ctx, &b, c->left % 2 == 0 ? STORE_SYNCED : STORE_BUFFERED,
                     &c->write);
}

static void chain_got(struct store_get *req, int err, struct slice value)
{
    struct chain *c = req->arg;
    assert_int_equal(err, DYN_OK);
    assert_true(slice_equal(value, slice_of(&c->left, sizeof(c->left))));
    if (--c->left == 0)
        c->done = true;
    else
        chain_put(c);
}

static void test_callbacks_may_ask_for_more(void **state)
{
    struct chain c = {.s = *state, .left = 100};
    chain_put(&c);
    subject_run(c.s, &c.done);
    assert_int_equal(c.left, 0);
}

static void test_rows_survive_a_clean_restart_and_long_scans_page(void **state)
{
    struct subject *s = *state;
    enum { ROWS = 20000 };
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf got = BUF_EMPTY;
    char key[16];
    bool more;
    for (int i = 0; i < ROWS; i++) {
        snprintf(key, sizeof(key), "r%05d", i);
        store_batch_put(&b, STORE_META, slice_str(key), slice_str("0123456789"));
    }
    assert_int_equal(subject_write(s, &b, STORE_BUFFERED), DYN_OK);
    subject_restart(s);
    assert_int_equal(subject_scan(s, STORE_META, "r", "", UINT32_MAX, UINT64_MAX, 0, &got, &more),
                     DYN_OK);
    assert_false(more);
    assert_int_equal(got.len, ROWS * 18);
    for (int i = 0; i < ROWS; i++) {
        snprintf(key, sizeof(key), "r%05d=", i);
        assert_memory_equal(got.data + i * 18, key, 7);
    }
    buf_clear(&got);
    assert_int_equal(subject_scan(s, STORE_META, "r", "r00005", 10000, UINT64_MAX, 0, &got, &more),
                     DYN_OK);
    assert_true(more);
    assert_int_equal(got.len, 10000 * 18);
    buf_clear(&got);
    assert_int_equal(subject_scan(s, STORE_META, "r", "", 10, UINT64_MAX, 0, &got, &more), DYN_OK);
    assert_true(more);
    assert_int_equal(got.len, 10 * 18);
    buf_release(&got);
}

static void test_stats_count(void **state)
{
    struct subject *s = *state;
    struct store_stats before, after;
    s->port.stats(s->port.ctx, &before);
    assert_int_equal(subject_put(s, STORE_META, "a", "1"), DYN_OK);
    assert_row(s, STORE_META, "a", "1");
    s->port.stats(s->port.ctx, &after);
    assert_true(after.writes == before.writes + 1);
    assert_true(after.reads_memory + after.reads_disk ==
                before.reads_memory + before.reads_disk + 1);
    assert_true(after.bytes_used >= before.bytes_used);
    assert_true(after.bytes_free > 0);
}

#define ON(kind, test)                                                                             \
    {                                                                                              \
#test " (" #kind ")", test, open_subject, close_subject, (void *)(uintptr_t)&kind          \
    }
#define EACH(test)                                                                                 \
    ON(memory, test), ON(deferred, test), ON(rocksdb, test), ON(buffered, test), ON(files, test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_a_row_that_was_put_is_read_and_one_that_was_deleted_is_not),
        EACH(test_families_are_apart),
        EACH(test_the_operations_of_a_batch_apply_in_their_order),
        EACH(test_merges_add_up),
        EACH(test_reads_see_what_was_handed_over_before_them),
        EACH(test_a_scan_gives_the_rows_of_a_prefix_in_order),
        EACH(test_values_are_walked_in_order_though_memory_hashes_them),
        EACH(test_rows_of_trees_are_walked_by_any_prefix),
        EACH(test_a_scan_stops_at_its_bounds_and_says_whether_rows_are_left),
        EACH(test_prefixes_of_the_highest_bytes_have_an_end),
        EACH(test_values_of_megabytes_come_back_whole),
        EACH(test_keys_and_values_may_hold_any_byte),
        EACH(test_synced_writes_complete_once_each_and_in_order),
        EACH(test_a_sync_with_nothing_to_sync_completes),
        EACH(test_callbacks_may_ask_for_more),
        EACH(test_rows_survive_a_clean_restart_and_long_scans_page),
        EACH(test_stats_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
