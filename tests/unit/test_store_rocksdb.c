/* SPDX-License-Identifier: Apache-2.0 */
/* What the store on RocksDB promises beyond the contract: it knows whose it is and how its last run
 * ended, it stops at a failed write, and it notices synced rows that a bad log has lost. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapter/rocks.h"
#include "base/err.h"
#include "base/mem.h"
#include "store_subject.h"
#include "unit.h"

static int reopen(struct subject *s, uint64_t cluster, uint64_t node, char **message)
{
    struct store_rocksdb_config c = subject_config(s);
    c.cluster = cluster;
    c.node = node;
    store_rocksdb_close(s->rocksdb);
    s->rocksdb = NULL;
    int err = store_rocksdb_open(&c, &s->host, &s->rocksdb, message);
    if (err == DYN_OK)
        s->port = store_rocksdb_port(s->rocksdb);
    return err;
}

static void refuse(struct subject *s, uint64_t cluster, uint64_t node, int err, const char *why)
{
    char *message = NULL;
    assert_int_equal(reopen(s, cluster, node, &message), err);
    assert_non_null(strstr(message, why));
    free(message);
}

static void accept(struct subject *s, uint64_t cluster, uint64_t node)
{
    char *message = NULL;
    uint64_t its_cluster, its_node;
    if (reopen(s, cluster, node, &message) != DYN_OK)
        fail_msg("%s", message);
    store_rocksdb_identity(s->rocksdb, &its_cluster, &its_node);
    if (cluster != 0)
        assert_true(its_cluster == cluster);
    if (node != 0)
        assert_true(its_node == node);
}

static void test_a_store_of_another_cluster_or_node_is_refused(void **state)
{
    (void)state;
    struct subject s;
    uint64_t cluster = 1, node = 1;
    subject_open(&s, SUBJECT_ROCKSDB);
    store_rocksdb_identity(s.rocksdb, &cluster, &node);
    assert_true(cluster == 0 && node == 0);
    accept(&s, 7, 8);
    accept(&s, 7, 8);
    accept(&s, 0, 0);
    store_rocksdb_identity(s.rocksdb, &cluster, &node);
    assert_true(cluster == 7 && node == 8);
    refuse(&s, 9, 8, DYN_ERR_INVALID, "belongs to cluster 0000000000000007");
    refuse(&s, 7, 9, DYN_ERR_INVALID, "belongs to node 0000000000000008");
    accept(&s, 7, 8);
    assert_int_equal(store_rocksdb_adopt(s.rocksdb, 1, 2), DYN_ERR_EXISTS);
    subject_close(&s);
}

static void test_an_identity_may_be_given_later(void **state)
{
    (void)state;
    struct subject s;
    subject_open(&s, SUBJECT_ROCKSDB);
    assert_int_equal(store_rocksdb_adopt(s.rocksdb, 3, 4), DYN_OK);
    accept(&s, 3, 4);
    subject_close(&s);
}

static void test_a_newer_format_is_refused(void **state)
{
    (void)state;
    struct subject s;
    struct rocks *r = NULL;
    struct buf format = BUF_EMPTY;
    char path[80], *message = NULL;
    subject_open(&s, SUBJECT_ROCKSDB);
    store_rocksdb_close(s.rocksdb);
    s.rocksdb = NULL;
    snprintf(path, sizeof(path), "%s/db", s.dir);
    struct rocks_config c = {path, 1 << 20, 1 << 20, 4096};
    assert_int_equal(rocks_open(&c, &r, &message), DYN_OK);
    buf_put_u32(&format, 99);
    rocks_batch_put(r, ROCKS_OWN, slice_str("format"), buf_slice(&format));
    assert_int_equal(rocks_write(r, &message), DYN_OK);
    rocks_close(r);
    buf_release(&format);
    refuse(&s, 0, 0, DYN_ERR_INVALID, "has format 99");
    subject_close(&s);
}

static void test_a_store_in_use_is_refused(void **state)
{
    (void)state;
    struct subject s;
    subject_open(&s, SUBJECT_ROCKSDB);
    struct store_rocksdb_config c = subject_config(&s);
    struct store_rocksdb *second = NULL;
    char *message = NULL;
    assert_int_equal(store_rocksdb_open(&c, &s.host, &second, &message), DYN_ERR_EXISTS);
    assert_non_null(strstr(message, "in use by another process"));
    assert_null(second);
    free(message);
    subject_close(&s);
}

static void test_a_clean_stop_is_known_by_the_next_start(void **state)
{
    (void)state;
    struct subject s;
    subject_open(&s, SUBJECT_ROCKSDB);
    assert_true(store_rocksdb_was_created(s.rocksdb));
    assert_true(store_rocksdb_was_clean(s.rocksdb));
    subject_put(&s, STORE_META, "a", "v");
    for (int i = 0; i < 2; i++) {
        subject_restart(&s);
        assert_false(store_rocksdb_was_created(s.rocksdb));
        assert_true(store_rocksdb_was_clean(s.rocksdb));
        assert_true(store_rocksdb_lost(s.rocksdb) == 0);
    }
    subject_close(&s);
}

/* Runs a process that puts rows 0 to n - 1, each synced, and is killed with the store open. noted:
 * its engine has taken care of how the run before ended. */
static void put_and_die(struct subject *s, int n, bool noted)
{
    pid_t pid;
    int status;
    subject_open(s, SUBJECT_ROCKSDB);
    store_rocksdb_close(s->rocksdb);
    s->rocksdb = NULL;
    pid = fork();
    if (pid == 0) {
        char *message = NULL;
        if (reopen(s, 0, 0, &message) != DYN_OK)
            _exit(1);
        if (noted && store_rocksdb_tail_noted(s->rocksdb, &message) != DYN_OK)
            _exit(3);
        for (int i = 0; i < n; i++) {
            struct store_batch b = STORE_BATCH_EMPTY;
            char value[1000];
            memset(value, 'v', sizeof(value));
            store_batch_put(&b, STORE_META, slice_of(&i, sizeof(i)), slice_of(value, 1000));
            if (subject_write(s, &b, STORE_SYNCED) != DYN_OK)
                _exit(2);
        }
        kill(getpid(), SIGKILL);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void test_a_kill_takes_nothing_along_that_the_kernel_had(void **state)
{
    (void)state;
    struct subject s;
    put_and_die(&s, 3, true);
    accept(&s, 0, 0);
    assert_false(store_rocksdb_was_clean(s.rocksdb));
    assert_false(store_rocksdb_lost_tail(s.rocksdb));
    subject_close(&s);
}

static void test_after_a_kill_all_rows_are_there_and_the_stop_was_not_clean(void **state)
{
    (void)state;
    struct subject s;
    struct buf value = BUF_EMPTY;
    put_and_die(&s, 20, false);
    accept(&s, 0, 0);
    assert_false(store_rocksdb_was_clean(s.rocksdb));
    assert_true(store_rocksdb_lost_tail(s.rocksdb)); /* under which start that was is not noted */
    assert_true(store_rocksdb_lost(s.rocksdb) == 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(subject_get(&s, STORE_META, slice_of(&i, sizeof(i)), &value), DYN_OK);
    accept(&s, 0, 0);
    assert_true(store_rocksdb_was_clean(s.rocksdb));
    buf_release(&value);
    subject_close(&s);
}

/* Flips a byte in the middle of the newest non-empty log. */
static void damage_log(const struct subject *s)
{
    char path[400], newest[400] = "";
    struct stat st;
    snprintf(path, sizeof(path), "%s/db", s->dir);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strstr(e->d_name, ".log") == NULL)
            continue;
        snprintf(path, sizeof(path), "%s/db/%s", s->dir, e->d_name);
        if (stat(path, &st) == 0 && st.st_size > 10000 && strcmp(path, newest) > 0)
            memcpy(newest, path, sizeof(newest));
    }
    closedir(d);
    assert_true(newest[0] != '\0');
    int fd = open(newest, O_RDWR);
    char byte;
    assert_int_equal(pread(fd, &byte, 1, 10000), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 10000), 1);
    close(fd);
}

static void test_synced_rows_behind_a_bad_record_of_the_log_are_missed(void **state)
{
    (void)state;
    struct subject s;
    struct buf value = BUF_EMPTY;
    int last = 19;
    put_and_die(&s, 20, true);
    damage_log(&s);
    accept(&s, 0, 0);
    assert_int_equal(subject_get(&s, STORE_META, slice_of(&last, sizeof(last)), &value),
                     DYN_ERR_NOT_FOUND); /* replay stopped without a word */
    assert_false(store_rocksdb_was_clean(s.rocksdb));
    assert_in_range(store_rocksdb_lost(s.rocksdb), 5, 20);
    buf_release(&value);
    subject_close(&s);
}

static void test_a_failed_write_stops_all_writing_but_not_reading(void **state)
{
    (void)state;
    struct subject s;
    struct rlimit old, small = {0, 0};
    struct buf big = BUF_EMPTY, value = BUF_EMPTY;
    struct store_batch b = STORE_BATCH_EMPTY;
    subject_open(&s, SUBJECT_ROCKSDB);
    assert_int_equal(subject_put(&s, STORE_META, "a", "v"), DYN_OK);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    /* No file may grow past this: a disk that refuses. RocksDB's own log, 60 KB, fits. */
    small.rlim_cur = 256 << 10;
    small.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 1 << 19; i++)
        buf_put_u8(&big, 'x');
    store_batch_put(&b, STORE_META, slice_str("big"), buf_slice(&big));
    int err = subject_write(&s, &b, STORE_SYNCED);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(err, DYN_ERR_IO);
    assert_int_equal(s.failed, DYN_ERR_IO);
    assert_int_equal(subject_put(&s, STORE_META, "b", "v"), DYN_ERR_STOPPED);
    store_batch_delete(&b, STORE_META, slice_str("a"));
    assert_int_equal(subject_write(&s, &b, STORE_SYNCED), DYN_ERR_STOPPED);
    assert_int_equal(subject_get(&s, STORE_META, slice_str("a"), &value), DYN_OK);
    subject_restart(&s);
    s.failed = DYN_OK;
    assert_false(store_rocksdb_was_clean(s.rocksdb));
    buf_clear(&value);
    assert_int_equal(subject_get(&s, STORE_META, slice_str("a"), &value), DYN_OK);
    assert_int_equal(subject_get(&s, STORE_META, slice_str("b"), &value), DYN_ERR_NOT_FOUND);
    buf_release(&big);
    buf_release(&value);
    subject_close(&s);
}

static void test_a_read_that_needs_the_disk_completes_later_and_right(void **state)
{
    (void)state;
    struct subject s;
    struct store_stats stats;
    struct buf value = BUF_EMPTY;
    subject_open(&s, SUBJECT_ROCKSDB);
    assert_int_equal(subject_put(&s, STORE_VALUE, "a", "v"), DYN_OK);
    subject_restart(&s);
    assert_int_equal(subject_get(&s, STORE_VALUE, slice_str("a"), &value), DYN_OK);
    assert_int_equal(value.len, 1);
    s.port.stats(s.port.ctx, &stats);
    assert_true(stats.reads_disk == 1 && stats.reads_memory == 0);
    assert_int_equal(subject_get(&s, STORE_VALUE, slice_str("a"), &value), DYN_OK);
    s.port.stats(s.port.ctx, &stats);
    assert_true(stats.reads_disk == 1 && stats.reads_memory == 1);
    buf_release(&value);
    subject_close(&s);
}

/* RocksDB opens only the first 16 of its files at a start. Of a file that it has not opened, a read
 * that may use memory alone says "found, and empty" instead of "incomplete": even of a row that is
 * not there. */
static void test_rows_in_files_that_are_not_open_yet_are_read_whole(void **state)
{
    (void)state;
    struct subject s;
    static const enum store_family families[] = {STORE_META, STORE_VALUE, STORE_HINT, STORE_TREE,
                                                 STORE_LOCAL};
    char key[16];
    struct buf value = BUF_EMPTY;
    subject_open(&s, SUBJECT_ROCKSDB);
    for (int round = 0; round < 12; round++) {
        for (size_t f = 0; f < 5; f++) {
            snprintf(key, sizeof(key), "row %02d", round);
            assert_int_equal(subject_put(&s, families[f], key, key), DYN_OK);
        }
        subject_restart(&s);
        for (int row = 0; row < 2 * round; row++) {
            for (size_t f = 0; f < 5; f++) {
                snprintf(key, sizeof(key), "row %02d%s", row / 2, row % 2 ? "?" : "");
                buf_clear(&value);
                int err = subject_get(&s, families[f], slice_str(key), &value);
                assert_int_equal(err, row % 2 ? DYN_ERR_NOT_FOUND : DYN_OK);
                if (err == DYN_OK)
                    assert_true(slice_equal(buf_slice(&value), slice_str(key)));
            }
        }
    }
    buf_release(&value);
    subject_close(&s);
}

static void note_done(struct store_get *req, int err, struct slice value)
{
    (void)value;
    assert_int_equal(err, DYN_OK);
    *(bool *)req->arg = true;
}

/* A read is with a thread when its row is written: what the thread finds is no longer so. */
static void test_a_read_from_disk_does_not_hide_what_was_written_meanwhile(void **state)
{
    (void)state;
    struct subject s;
    struct store_stats stats;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf value = BUF_EMPTY;
    bool done = false;
    struct store_get req = {
        .family = STORE_META, .key = slice_str("a"), .done = note_done, .arg = &done};
    subject_open(&s, SUBJECT_ROCKSDB);
    assert_int_equal(subject_put(&s, STORE_META, "a", "old"), DYN_OK);
    subject_restart(&s);
    s.port.get(s.port.ctx, &req);
    s.port.stats(s.port.ctx, &stats);
    assert_true(!done && stats.reads_disk == 1);
    store_batch_put(&b, STORE_META, slice_str("a"), slice_str("new"));
    assert_int_equal(s.port.write(s.port.ctx, &b, STORE_BUFFERED, NULL), DYN_OK);
    s.dirty = false; /* the batch stays in its turn, so the thread finds the old row */
    subject_run(&s, &done);
    assert_int_equal(subject_get(&s, STORE_META, slice_str("a"), &value), DYN_OK);
    assert_true(slice_equal(buf_slice(&value), slice_str("new")));
    buf_release(&value);
    subject_close(&s);
}

/* Values are in no cache before somebody has read them. */
static void test_a_read_finds_what_its_own_turn_has_written(void **state)
{
    (void)state;
    struct subject s;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf value = BUF_EMPTY;
    char key[16];
    subject_open(&s, SUBJECT_ROCKSDB);
    for (int i = 0; i < 300; i++) {
        for (int early = 0; early < i % 3; early++) { /* a turn of one row, or of several */
            snprintf(key, sizeof(key), "early%d.%d", i, early);
            store_batch_put(&b, STORE_VALUE, slice_str(key), slice_str("other"));
        }
        snprintf(key, sizeof(key), "key%d", i);
        store_batch_put(&b, STORE_VALUE, slice_str(key), slice_str(key));
        assert_int_equal(s.port.write(s.port.ctx, &b, STORE_BUFFERED, NULL), DYN_OK);
        buf_clear(&value);
        assert_int_equal(subject_get(&s, STORE_VALUE, slice_str(key), &value), DYN_OK);
        assert_true(slice_equal(buf_slice(&value), slice_str(key)));
        store_batch_delete(&b, STORE_VALUE, slice_str(key));
        assert_int_equal(s.port.write(s.port.ctx, &b, STORE_BUFFERED, NULL), DYN_OK);
        buf_clear(&value);
        assert_int_equal(subject_get(&s, STORE_VALUE, slice_str(key), &value), DYN_ERR_NOT_FOUND);
    }
    buf_release(&value);
    subject_close(&s);
}

/* Rows i of both files, as one table each below the first level. */
static void make_two_tables(const char *dir)
{
    struct rocks *r = NULL;
    char path[80], *message = NULL;
    snprintf(path, sizeof(path), "%s/db", dir);
    struct rocks_config c = {path, 1 << 20, 1 << 20, 4096};
    assert_int_equal(rocks_open(&c, &r, &message), DYN_OK);
    for (char table = 'a'; table <= 'b'; table++) {
        for (char row = '0'; row <= '9'; row++) {
            const char key[] = {table, row, 0};
            rocks_batch_put(r, STORE_META, slice_str(key), slice_str("v"));
        }
        assert_int_equal(rocks_write(r, &message), DYN_OK);
        rocks_reclaim(r, STORE_META);
    }
    rocks_close(r);
}

/* A scan in memory that comes from a table that is there to one that is not has not reached the
 * end. */
static void test_a_scan_does_not_end_where_the_next_table_is_not_in_memory(void **state)
{
    (void)state;
    struct subject s;
    struct buf out = BUF_EMPTY, whole = BUF_EMPTY;
    bool more = true;
    subject_open(&s, SUBJECT_ROCKSDB);
    store_rocksdb_close(s.rocksdb);
    s.rocksdb = NULL;
    make_two_tables(s.dir);
    accept(&s, 0, 0);
    for (char table = 'a'; table <= 'b'; table++)
        for (char row = '0'; row <= '9'; row++)
            buf_printf(&whole, "%c%c=v;", table, row);
    assert_int_equal(subject_scan(&s, STORE_META, "a", "", 5, 1000, 0, &out, &more), DYN_OK);
    buf_clear(&out);
    assert_int_equal(subject_scan(&s, STORE_META, "", "", 100, 1000, 0, &out, &more), DYN_OK);
    assert_true(slice_equal(buf_slice(&out), buf_slice(&whole)));
    assert_false(more);
    buf_release(&out);
    buf_release(&whole);
    subject_close(&s);
}

static uint32_t tables(const char *path)
{
    uint32_t n = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;)
        n += strstr(e->d_name, ".sst") != NULL;
    closedir(dir);
    return n;
}

/* Who is told to stop does not rewrite all its values first. */
static void test_room_is_made_until_the_store_closes(void **state)
{
    (void)state;
    struct subject s;
    struct rocks *r = NULL;
    char path[80], *message = NULL;
    subject_open(&s, SUBJECT_ROCKSDB);
    store_rocksdb_close(s.rocksdb);
    s.rocksdb = NULL;
    snprintf(path, sizeof(path), "%s/db", s.dir);
    struct rocks_config c = {path, 1 << 20, 1 << 20, 4096};
    assert_int_equal(rocks_open(&c, &r, &message), DYN_OK);
    uint32_t before = tables(path);
    for (int stopped = 0; stopped < 2; stopped++) {
        for (int i = 0; i < 3; i++) {
            rocks_batch_put(r, STORE_VALUE, slice_str("a"), slice_str("v"));
            assert_int_equal(rocks_write(r, &message), DYN_OK);
            assert_int_equal(rocks_flush(r, &message), DYN_OK);
        }
        assert_int_equal(tables(path), before + 3 + (uint32_t)stopped);
        if (stopped)
            rocks_reclaim_no_more(r);
        rocks_reclaim(r, STORE_VALUE);
        uint32_t left = stopped ? before + 4 : before + 1;
        for (int i = 0; i < 2000 && tables(path) != left; i++)
            usleep(10000); /* files that nobody needs go right after */
        assert_int_equal(tables(path), left);
    }
    rocks_close(r);
    accept(&s, 0, 0);
    subject_close(&s);
}

struct chained { /* a read, and what is asked for when it has ended */
    struct subject *s;
    struct store_get get;
    struct store_scan scan;
    int gets[2], scanned;
    uint32_t n;
};

static void on_chained_scan(struct store_scan *req, int err, bool more)
{
    ((struct chained *)req->arg)->scanned = err;
    assert_false(more);
}

static bool no_row(struct store_scan *req, struct slice key, struct slice value)
{
    (void)req, (void)key, (void)value;
    return true;
}

static void on_chained(struct store_get *req, int err, struct slice value)
{
    struct chained *c = req->arg;
    (void)value;
    c->gets[c->n++] = err;
    if (c->n == 1) {
        c->get.key = slice_str("b");
        c->s->port.get(c->s->port.ctx, &c->get);
        return;
    }
    c->scan = (struct store_scan){.family = STORE_META,
                                  .max_rows = 10,
                                  .max_bytes = 1000,
                                  .row = no_row,
                                  .done = on_chained_scan,
                                  .arg = c};
    c->s->port.scan(c->s->port.ctx, &c->scan);
}

/* A node that is told to stop twice, or whose disk is slow, gives up what is under way. */
static void test_what_ends_as_the_store_closes_may_ask_for_more_in_vain(void **state)
{
    (void)state;
    struct subject s;
    struct chained c = {.s = &s, .scanned = 1};
    subject_open(&s, SUBJECT_ROCKSDB);
    for (char row = 'a'; row <= 'c'; row++) {
        const char key[] = {row, 0};
        assert_int_equal(subject_put(&s, STORE_META, key, "v"), DYN_OK);
        subject_restart(&s); /* each lies in a table of its own */
    }
    c.get = (struct store_get){
        .family = STORE_META, .key = slice_str("a"), .done = on_chained, .arg = &c};
    s.port.get(s.port.ctx, &c.get);
    assert_int_equal(c.n, 0);
    store_rocksdb_close(s.rocksdb);
    s.rocksdb = NULL;
    assert_true(c.n == 2 && c.gets[0] == DYN_OK && c.gets[1] == DYN_ERR_STOPPED);
    assert_int_equal(c.scanned, DYN_ERR_STOPPED);
    subject_close(&s);
}

static void test_when_room_is_low_new_data_is_refused_and_deleting_goes_on(void **state)
{
    (void)state;
    struct subject s;
    struct store_batch b = STORE_BATCH_EMPTY;
    char *message = NULL, ballast[80];
    subject_open(&s, SUBJECT_ROCKSDB);
    struct store_rocksdb_config c = subject_config(&s);
    snprintf(ballast, sizeof(ballast), "%s/BALLAST", s.dir);
    c.ballast_bytes = 1 << 20;
    store_rocksdb_close(s.rocksdb);
    assert_int_equal(store_rocksdb_open(&c, &s.host, &s.rocksdb, &message), DYN_OK);
    assert_int_equal(access(ballast, F_OK), 0);
    store_rocksdb_close(s.rocksdb);
    c.reserve_bytes = UINT64_MAX / 4; /* more than any disk has */
    assert_int_equal(store_rocksdb_open(&c, &s.host, &s.rocksdb, &message), DYN_OK);
    assert_int_not_equal(access(ballast, F_OK), 0); /* given back */
    s.port = store_rocksdb_port(s.rocksdb);
    assert_int_equal(subject_put(&s, STORE_VALUE, "a", "v"), DYN_ERR_NO_SPACE);
    assert_int_equal(subject_put(&s, STORE_HINT, "a", "v"), DYN_ERR_NO_SPACE);
    assert_int_equal(subject_put(&s, STORE_META, "tombstone", "v"), DYN_OK);
    store_batch_delete(&b, STORE_VALUE, slice_str("a"));
    store_batch_put(&b, STORE_HINT, slice_str("owed"), slice_str("v"));
    b.deletes = true;
    assert_int_equal(subject_write(&s, &b, STORE_SYNCED), DYN_OK);
    store_batch_put(&b, STORE_VALUE, slice_str("a"), slice_str("v"));
    b.deletes = true; /* so it says, but it brings a value */
    assert_int_equal(subject_write(&s, &b, STORE_SYNCED), DYN_ERR_NO_SPACE);
    assert_int_equal(s.failed, DYN_OK);
    subject_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_store_of_another_cluster_or_node_is_refused),
        cmocka_unit_test(test_an_identity_may_be_given_later),
        cmocka_unit_test(test_a_newer_format_is_refused),
        cmocka_unit_test(test_a_store_in_use_is_refused),
        cmocka_unit_test(test_a_clean_stop_is_known_by_the_next_start),
        cmocka_unit_test(test_a_kill_takes_nothing_along_that_the_kernel_had),
        cmocka_unit_test(test_after_a_kill_all_rows_are_there_and_the_stop_was_not_clean),
        cmocka_unit_test(test_synced_rows_behind_a_bad_record_of_the_log_are_missed),
        cmocka_unit_test(test_a_failed_write_stops_all_writing_but_not_reading),
        cmocka_unit_test(test_a_read_that_needs_the_disk_completes_later_and_right),
        cmocka_unit_test(test_rows_in_files_that_are_not_open_yet_are_read_whole),
        cmocka_unit_test(test_a_read_from_disk_does_not_hide_what_was_written_meanwhile),
        cmocka_unit_test(test_a_read_finds_what_its_own_turn_has_written),
        cmocka_unit_test(test_a_scan_does_not_end_where_the_next_table_is_not_in_memory),
        cmocka_unit_test(test_room_is_made_until_the_store_closes),
        cmocka_unit_test(test_what_ends_as_the_store_closes_may_ask_for_more_in_vain),
        cmocka_unit_test(test_when_room_is_low_new_data_is_refused_and_deleting_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
