/* SPDX-License-Identifier: Apache-2.0 */
/* The store behind an object buffer: what it acknowledges from memory and what not, that reads see
 * all of it, and that whoever starts after a kill is told that the tail may be gone. The contract
 * of port/store.h is held against it in test_store.c. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "store_subject.h"
#include "unit.h"

struct order {
    uint32_t acks[16], n;
};

struct write {
    struct store_write req;
    struct order *order;
    uint32_t number;
    int err;
    bool done;
};

static void acknowledged(struct store_write *req, int err)
{
    struct write *w = req->arg;
    assert_false(w->done);
    w->done = true;
    w->err = err;
    w->order->acks[w->order->n++] = w->number;
}

static void hand_over(struct subject *s, struct write *w, uint32_t number, struct order *order,
                      enum store_sync sync)
{
    struct store_batch b = STORE_BATCH_EMPTY;
    char key[16];
    snprintf(key, sizeof(key), "k%02u", number);
    *w = (struct write){.order = order, .number = number};
    w->req = (struct store_write){.done = acknowledged, .arg = w};
    store_batch_put(&b, STORE_HINT, slice_str(key), slice_str("v"));
    assert_int_equal(s->port.write(s->port.ctx, &b, sync, &w->req), DYN_OK);
}

static void end_turn(struct subject *s)
{
    s->dirty = false;
    store_rocksdb_flush_turn(s->rocksdb);
}

/* No thread's work counts before the loop polls: what is acknowledged here was so from memory. */
static void test_no_more_is_acknowledged_from_memory_than_there_is_room_for(void **state)
{
    (void)state;
    struct subject s;
    struct order order = {0};
    struct write w[6];
    struct store_stats stats;
    subject_open(&s, SUBJECT_BUFFERED);
    for (uint32_t i = 0; i < 6; i++)
        hand_over(&s, &w[i], i, &order, STORE_BUFFERED);
    assert_int_equal(order.n, 0); /* never inside the turn */
    s.port.stats(s.port.ctx, &stats);
    assert_true(stats.buffered == 6 && stats.buffer_full == 6 - SUBJECT_BUFFER);
    end_turn(&s);
    assert_int_equal(order.n, SUBJECT_BUFFER);
    subject_run(&s, &w[5].done);
    assert_int_equal(order.n, 6);
    for (uint32_t i = 0; i < 6; i++)
        assert_true(order.acks[i] == i && w[i].err == DYN_OK);
    s.port.stats(s.port.ctx, &stats);
    assert_true(stats.buffered == 0);
    subject_close(&s);
}

static void test_synced_is_never_acknowledged_from_memory(void **state)
{
    (void)state;
    struct subject s;
    struct order order = {0};
    struct write synced, buffered;
    struct store_stats stats;
    subject_open(&s, SUBJECT_BUFFERED);
    hand_over(&s, &synced, 0, &order, STORE_SYNCED);
    hand_over(&s, &buffered, 1, &order, STORE_BUFFERED);
    end_turn(&s);
    assert_true(!synced.done && buffered.done);
    subject_run(&s, &synced.done);
    assert_int_equal(synced.err, DYN_OK);
    s.port.stats(s.port.ctx, &stats);
    assert_true(stats.syncs >= 1 && stats.buffered == 0);
    subject_close(&s);
}

static void test_a_sync_covers_what_was_acknowledged_from_memory(void **state)
{
    (void)state;
    struct subject s;
    struct order order = {0};
    struct write w, sync = {.order = &order, .number = 1};
    subject_open(&s, SUBJECT_BUFFERED);
    hand_over(&s, &w, 0, &order, STORE_BUFFERED);
    end_turn(&s);
    assert_true(w.done);
    sync.req = (struct store_write){.done = acknowledged, .arg = &sync};
    s.port.sync(s.port.ctx, &sync.req);
    subject_run(&s, &sync.done);
    struct store_stats stats;
    s.port.stats(s.port.ctx, &stats);
    assert_true(sync.err == DYN_OK && stats.syncs >= 1 && stats.buffered == 0);
    subject_close(&s);
}

static void test_what_nobody_waits_for_is_synced_all_the_same(void **state)
{
    (void)state;
    struct subject s;
    struct order order = {0};
    struct write w;
    struct store_stats stats = {0};
    subject_open(&s, SUBJECT_BUFFERED);
    hand_over(&s, &w, 0, &order, STORE_BUFFERED);
    end_turn(&s);
    assert_true(w.done);
    for (int wakes = 0; stats.syncs == 0 && wakes < 100; wakes++) {
        subject_wait(&s);
        s.port.stats(s.port.ctx, &stats);
    }
    assert_true(stats.syncs == 1 && stats.buffered == 0);
    subject_close(&s);
}

struct seen {
    char text[100];
    bool done;
    int err;
};

static void got(struct store_get *req, int err, struct slice value)
{
    struct seen *seen = req->arg;
    snprintf(seen->text, sizeof(seen->text), "%.*s", (int)value.len, (const char *)value.data);
    seen->err = err;
    seen->done = true;
}

static void put_rows(struct subject *s, enum store_family f, const char *first, const char *second,
                     const char *deleted)
{
    struct store_batch b = STORE_BATCH_EMPTY;
    store_batch_put(&b, f, slice_str("a"), slice_str(first));
    assert_int_equal(s->port.write(s->port.ctx, &b, STORE_BUFFERED, NULL), DYN_OK);
    store_batch_put(&b, f, slice_str("a"), slice_str(second));
    store_batch_delete(&b, f, slice_str(deleted));
    assert_int_equal(s->port.write(s->port.ctx, &b, STORE_BUFFERED, NULL), DYN_OK);
}

/* Hints are in no cache of rows: it is the buffer that answers, at once. */
static void test_gets_see_the_buffer_at_once(void **state)
{
    (void)state;
    struct subject s;
    struct seen a = {.err = 1}, b = {.err = 1}, c = {.err = 1};
    subject_open(&s, SUBJECT_BUFFERED);
    assert_int_equal(subject_put(&s, STORE_HINT, "b", "old"), DYN_OK);
    subject_restart(&s);
    put_rows(&s, STORE_HINT, "first", "second", "b");
    struct store_get reads[] = {
        {.family = STORE_HINT, .key = slice_str("a"), .done = got, .arg = &a},
        {.family = STORE_HINT, .key = slice_str("b"), .done = got, .arg = &b},
        {.family = STORE_HINT, .key = slice_str("c"), .done = got, .arg = &c}};
    for (int i = 0; i < 2; i++)
        s.port.get(s.port.ctx, &reads[i]);
    assert_true(a.done && b.done);
    assert_int_equal(a.err, DYN_OK);
    assert_string_equal(a.text, "second");
    assert_int_equal(b.err, DYN_ERR_NOT_FOUND);
    s.port.get(s.port.ctx, &reads[2]);
    subject_run(&s, &c.done);
    assert_int_equal(c.err, DYN_ERR_NOT_FOUND);
    subject_close(&s);
}

static void scanned(struct store_scan *req, int err, bool more)
{
    struct seen *seen = req->arg;
    assert_false(more);
    seen->err = err;
    seen->done = true;
}

static bool scanned_row(struct store_scan *req, struct slice key, struct slice value)
{
    struct seen *seen = req->arg;
    size_t len = strlen(seen->text);
    snprintf(seen->text + len, sizeof(seen->text) - len, "%.*s=%.*s;", (int)key.len,
             (const char *)key.data, (int)value.len, (const char *)value.data);
    return true;
}

static struct store_scan scan_of(enum store_family f, const char *prefix, struct seen *seen)
{
    return (struct store_scan){.family = f,
                               .prefix = slice_str(prefix),
                               .max_rows = 100,
                               .max_bytes = 10000,
                               .row = scanned_row,
                               .done = scanned,
                               .arg = seen};
}

static void test_a_scan_waits_for_rows_of_the_buffer_that_it_could_meet_alone(void **state)
{
    (void)state;
    struct subject s;
    struct seen meets = {.err = 1}, passes = {.err = 1};
    subject_open(&s, SUBJECT_BUFFERED);
    assert_int_equal(subject_put(&s, STORE_META, "b", "old"), DYN_OK);
    assert_int_equal(subject_put(&s, STORE_META, "c", "stays"), DYN_OK);
    assert_int_equal(subject_put(&s, STORE_META, "x1", "apart"), DYN_OK);
    subject_restart(&s);
    put_rows(&s, STORE_META, "first", "second", "b");
    struct store_scan all = scan_of(STORE_META, "", &meets),
                      others = scan_of(STORE_META, "x", &passes);
    s.port.scan(s.port.ctx, &all);
    assert_false(meets.done);
    while (!passes.done && passes.err == 1) { /* it may need the disk, and no flush of the buffer */
        s.port.scan(s.port.ctx, &others);
        s.dirty = false;
        subject_run(&s, &passes.done);
    }
    assert_string_equal(passes.text, "x1=apart;");
    assert_false(meets.done);
    s.dirty = true;
    subject_run(&s, &meets.done);
    assert_int_equal(meets.err, DYN_OK);
    assert_string_equal(meets.text, "a=second;c=stays;x1=apart;");
    subject_close(&s);
}

static void test_a_clean_stop_writes_what_is_left(void **state)
{
    (void)state;
    struct subject s;
    struct order order = {0};
    struct write w[10];
    struct buf value = BUF_EMPTY;
    subject_open(&s, SUBJECT_BUFFERED);
    for (uint32_t i = 0; i < 10; i++)
        hand_over(&s, &w[i], i, &order, i % 2 == 0 ? STORE_BUFFERED : STORE_SYNCED);
    subject_restart(&s);
    assert_int_equal(order.n, 10);
    assert_true(store_rocksdb_was_clean(s.rocksdb));
    assert_false(store_rocksdb_lost_tail(s.rocksdb));
    assert_int_equal(subject_get(&s, STORE_HINT, slice_str("k09"), &value), DYN_OK);
    buf_release(&value);
    subject_close(&s);
}

static void test_a_batch_that_cannot_be_written_stops_the_store(void **state)
{
    (void)state;
    struct subject s;
    struct rlimit old, small;
    struct order order = {0};
    struct write after;
    struct buf big = BUF_EMPTY, value = BUF_EMPTY;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct seen late = {.err = 1};
    subject_open(&s, SUBJECT_BUFFERED);
    assert_int_equal(subject_put(&s, STORE_META, "a", "v"), DYN_OK);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){.rlim_cur = 256 << 10, .rlim_max = old.rlim_max}; /* a disk's refusal */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 1 << 19; i++)
        buf_put_u8(&big, 'x');
    store_batch_put(&b, STORE_META, slice_str("big"), buf_slice(&big));
    assert_int_equal(subject_write(&s, &b, STORE_BUFFERED), DYN_OK); /* too early to know */
    hand_over(&s, &after, 0, &order, STORE_SYNCED);
    subject_run(&s, &after.done);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(after.err, DYN_ERR_IO);
    assert_int_equal(s.failed, DYN_ERR_IO);
    assert_int_equal(subject_put(&s, STORE_META, "b", "v"), DYN_ERR_STOPPED);
    assert_int_equal(subject_get(&s, STORE_META, slice_str("a"), &value), DYN_OK);
    struct store_scan scan = scan_of(STORE_META, "", &late);
    s.port.scan(s.port.ctx, &scan); /* it must see what will never be written */
    assert_true(late.done && late.err == DYN_ERR_STOPPED);
    subject_restart(&s);
    s.failed = DYN_OK;
    assert_true(store_rocksdb_lost_tail(s.rocksdb));
    assert_int_equal(subject_get(&s, STORE_META, slice_str("big"), &value), DYN_ERR_NOT_FOUND);
    buf_release(&big);
    buf_release(&value);
    subject_close(&s);
}

enum { KILLED_ROWS = 2000 };

/* Puts rows, each acknowledged before the next, the last synced one `synced`, and is killed. */
static void put_and_be_killed(struct subject *s, uint32_t synced)
{
    for (uint32_t i = 0; i < KILLED_ROWS; i++) {
        struct store_batch b = STORE_BATCH_EMPTY;
        store_batch_put(&b, STORE_META, slice_of(&i, sizeof(i)), slice_str("v"));
        if (subject_write(s, &b, i == synced ? STORE_SYNCED : STORE_BUFFERED) != DYN_OK)
            _exit(2);
    }
    kill(getpid(), SIGKILL);
}

static void run_until_killed(struct subject *s, enum subject_kind kind, uint32_t synced)
{
    int status;
    store_rocksdb_close(s->rocksdb);
    s->rocksdb = NULL;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char *message = NULL;
        s->kind = kind;
        struct store_rocksdb_config c = subject_config(s);
        if (store_rocksdb_open(&c, &s->host, &s->rocksdb, &message) != DYN_OK ||
            store_rocksdb_tail_noted(s->rocksdb, &message) != DYN_OK)
            _exit(1);
        s->port = store_rocksdb_port(s->rocksdb);
        put_and_be_killed(s, synced);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void open_again(struct subject *s, enum subject_kind kind)
{
    char *message = NULL;
    s->kind = kind;
    struct store_rocksdb_config c = subject_config(s);
    assert_int_equal(store_rocksdb_open(&c, &s->host, &s->rocksdb, &message), DYN_OK);
    s->port = store_rocksdb_port(s->rocksdb);
}

static void test_after_a_kill_the_tail_counts_as_lost_and_the_rest_is_whole(void **state)
{
    (void)state;
    enum { SYNCED = 1000 };
    struct subject s;
    struct buf value = BUF_EMPTY;
    bool lost = false;
    subject_open(&s, SUBJECT_BUFFERED);
    run_until_killed(&s, SUBJECT_BUFFERED, SYNCED);
    open_again(&s, SUBJECT_BUFFERED);
    assert_false(store_rocksdb_was_clean(s.rocksdb));
    assert_true(store_rocksdb_lost_tail(s.rocksdb));
    assert_true(store_rocksdb_lost(s.rocksdb) == 0);
    for (uint32_t i = 0; i < KILLED_ROWS; i++) {
        int err = subject_get(&s, STORE_META, slice_of(&i, sizeof(i)), &value);
        assert_true(err == DYN_OK || (err == DYN_ERR_NOT_FOUND && i > SYNCED));
        assert_false(lost && err == DYN_OK); /* some beginning is there */
        lost = err != DYN_OK;
    }
    buf_release(&value);
    subject_close(&s);
}

/* The run before had no buffer and noted the machine's start, which is still the same. */
static void test_a_run_with_a_buffer_takes_the_note_of_a_run_without_away(void **state)
{
    (void)state;
    struct subject s;
    subject_open(&s, SUBJECT_ROCKSDB);
    run_until_killed(&s, SUBJECT_ROCKSDB, 0);
    open_again(&s, SUBJECT_ROCKSDB);
    assert_false(store_rocksdb_lost_tail(s.rocksdb));
    run_until_killed(&s, SUBJECT_BUFFERED, 0);
    open_again(&s, SUBJECT_ROCKSDB);
    assert_true(store_rocksdb_lost_tail(s.rocksdb));
    run_until_killed(&s, SUBJECT_ROCKSDB, 0); /* and one without notes it again */
    open_again(&s, SUBJECT_ROCKSDB);
    assert_false(store_rocksdb_lost_tail(s.rocksdb));
    subject_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_more_is_acknowledged_from_memory_than_there_is_room_for),
        cmocka_unit_test(test_synced_is_never_acknowledged_from_memory),
        cmocka_unit_test(test_a_sync_covers_what_was_acknowledged_from_memory),
        cmocka_unit_test(test_what_nobody_waits_for_is_synced_all_the_same),
        cmocka_unit_test(test_gets_see_the_buffer_at_once),
        cmocka_unit_test(test_a_scan_waits_for_rows_of_the_buffer_that_it_could_meet_alone),
        cmocka_unit_test(test_a_clean_stop_writes_what_is_left),
        cmocka_unit_test(test_a_batch_that_cannot_be_written_stops_the_store),
        cmocka_unit_test(test_after_a_kill_the_tail_counts_as_lost_and_the_rest_is_whole),
        cmocka_unit_test(test_a_run_with_a_buffer_takes_the_note_of_a_run_without_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
