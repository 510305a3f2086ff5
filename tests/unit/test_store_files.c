/* SPDX-License-Identifier: Apache-2.0 */
/* Values in files: wherever the process or the disk fails between the steps, a row that was
 * acknowledged has its bytes, what has gone bad is not given out, and no file stays for nobody. */
#include "adapter/store_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapter/rocks.h"
#include "base/err.h"
#include "store_subject.h"
#include "unit.h"

enum { MANY_SPARES = 2000, SOME_SPARES = 32 };

/* The files of a folder that have bytes; *path: the last of them. */
static int files_in(const char *folder, char path[400])
{
    int n = 0;
    struct stat st;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        char at[400];
        snprintf(at, sizeof(at), "%s/%s", folder, e->d_name);
        if (stat(at, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
            continue;
        n++;
        if (path != NULL)
            memcpy(path, at, sizeof(at));
    }
    if (dir != NULL)
        closedir(dir);
    return n;
}

/* Those that have their names: all of them were synced. */
static int named_files(const struct subject *s, char path[400])
{
    int n = 0;
    for (int i = 0; i < 16; i++) {
        char folder[100];
        snprintf(folder, sizeof(folder), "%s/values/%x", s->dir, (unsigned)i);
        n += files_in(folder, path);
    }
    return n;
}

/* Those that wait for theirs. */
static int new_files(const struct subject *s, char path[400])
{
    char folder[100];
    snprintf(folder, sizeof(folder), "%s/values", s->dir);
    return files_in(folder, path);
}

static int files_of(const struct subject *s)
{
    return named_files(s, NULL) + new_files(s, NULL);
}

/* Until so many have their names and none waits for one. */
static void await_files(struct subject *s, int wanted)
{
    for (int i = 0; i < 3000 && (new_files(s, NULL) > 0 || named_files(s, NULL) != wanted); i++) {
        usleep(10000);
        store_rocksdb_flush_turn(s->rocksdb);
        store_rocksdb_poll(s->rocksdb);
    }
    assert_int_equal(named_files(s, NULL), wanted);
    assert_int_equal(new_files(s, NULL), 0);
}

static int put_synced(struct subject *s, const char *key, const char *value)
{
    struct store_batch b = STORE_BATCH_EMPTY;
    store_batch_put(&b, STORE_VALUE, slice_str(key), slice_str(value));
    return subject_write(s, &b, STORE_SYNCED);
}

static int delete_row(struct subject *s, const char *key, enum store_sync sync)
{
    struct store_batch b = STORE_BATCH_EMPTY;
    store_batch_delete(&b, STORE_VALUE, slice_str(key));
    return subject_write(s, &b, sync);
}

static void expect(struct subject *s, const char *key, const char *value)
{
    struct buf got = BUF_EMPTY;
    assert_int_equal(subject_get(s, STORE_VALUE, slice_str(key), &got), DYN_OK);
    assert_true(slice_equal(buf_slice(&got), slice_str(value)));
    buf_release(&got);
}

static void expect_error(struct subject *s, const char *key, int err)
{
    struct buf got = BUF_EMPTY;
    assert_int_equal(subject_get(s, STORE_VALUE, slice_str(key), &got), err);
    assert_int_equal(got.len, 0);
    buf_release(&got);
}

static void open_with(struct subject *s, uint64_t file_bytes, uint32_t spares)
{
    struct store_rocksdb_config c = subject_config(s);
    char *message = NULL;
    c.file_bytes = file_bytes;
    c.spare_files = spares;
    if (store_rocksdb_open(&c, &s->host, &s->rocksdb, &message) != DYN_OK)
        fail_msg("%s", message);
    s->port = store_rocksdb_port(s->rocksdb);
    if (file_bytes > 0)
        subject_await_spares(s, spares);
}

static void close_store(struct subject *s)
{
    store_rocksdb_close(s->rocksdb);
    s->rocksdb = NULL;
}

/* As a kill leaves it: without the mark of a clean stop. */
static void take_clean_mark(struct subject *s)
{
    struct rocks *r = NULL;
    char path[80], *message = NULL;
    snprintf(path, sizeof(path), "%s/db", s->dir);
    struct rocks_config c = {path, 1 << 20, 1 << 20, 4096};
    assert_int_equal(rocks_open(&c, &r, &message), DYN_OK);
    rocks_batch_delete(r, ROCKS_OWN, slice_str("clean"));
    assert_int_equal(rocks_write(r, &message), DYN_OK);
    rocks_close(r);
}

static void test_a_value_lies_in_a_file_and_goes_with_its_row(void **state)
{
    (void)state;
    struct subject s;
    struct store_stats before, after;
    subject_open(&s, SUBJECT_FILES);
    s.port.stats(s.port.ctx, &before);
    assert_int_equal(subject_put(&s, STORE_VALUE, "a", "some bytes"), DYN_OK);
    assert_int_equal(subject_put(&s, STORE_META, "a", "some bytes"), DYN_OK);
    assert_int_equal(files_of(&s), 1);
    expect(&s, "a", "some bytes");
    s.port.stats(s.port.ctx, &after);
    assert_true(after.bytes_used >= before.bytes_used + 10);
    subject_restart(&s);
    expect(&s, "a", "some bytes");
    assert_int_equal(delete_row(&s, "a", STORE_SYNCED), DYN_OK);
    expect_error(&s, "a", DYN_ERR_NOT_FOUND);
    await_files(&s, 0);
    subject_close(&s);
}

static void test_a_file_outlives_its_row_until_the_deletion_is_durable(void **state)
{
    (void)state;
    struct subject s;
    subject_open(&s, SUBJECT_FILES);
    assert_int_equal(put_synced(&s, "a", "one"), DYN_OK);
    assert_int_equal(delete_row(&s, "a", STORE_BUFFERED), DYN_OK);
    assert_int_equal(files_of(&s), 1);
    await_files(&s, 0); /* the store syncs by itself when nobody asks */
    subject_close(&s);
}

static void test_what_is_written_again_stays(void **state)
{
    (void)state;
    struct subject s;
    struct store_batch b = STORE_BATCH_EMPTY;
    subject_open(&s, SUBJECT_FILES);
    assert_int_equal(put_synced(&s, "a", "one"), DYN_OK);
    assert_int_equal(put_synced(&s, "a", "one"), DYN_OK);
    store_batch_delete(&b, STORE_VALUE, slice_str("a"));
    store_batch_put(&b, STORE_VALUE, slice_str("a"), slice_str("one"));
    assert_int_equal(subject_write(&s, &b, STORE_SYNCED), DYN_OK);
    assert_int_equal(delete_row(&s, "a", STORE_BUFFERED), DYN_OK);
    assert_int_equal(put_synced(&s, "a", "one"), DYN_OK);
    assert_int_equal(put_synced(&s, "b", "two"), DYN_OK);
    assert_int_equal(delete_row(&s, "b", STORE_SYNCED), DYN_OK);
    await_files(&s, 1); /* b's is gone, and what was due before it */
    expect(&s, "a", "one");
    subject_restart(&s);
    expect(&s, "a", "one");
    subject_close(&s);
}

static void test_rot_is_not_given_out(void **state)
{
    (void)state;
    struct subject s;
    char path[400];
    subject_open(&s, SUBJECT_FILES);
    assert_int_equal(put_synced(&s, "a", "some bytes"), DYN_OK);
    assert_int_equal(named_files(&s, path), 1);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, 3, SEEK_SET);
    fputc('X', f);
    fclose(f);
    expect_error(&s, "a", DYN_ERR_CORRUPT);
    assert_int_equal(truncate(path, 4), 0);
    expect_error(&s, "a", DYN_ERR_CORRUPT);
    unlink(path);
    expect_error(&s, "a", DYN_ERR_NOT_FOUND);
    assert_int_equal(put_synced(&s, "a", "some bytes"), DYN_OK); /* whoever heals it */
    expect(&s, "a", "some bytes");
    assert_int_equal(s.failed, DYN_OK);
    subject_close(&s);
}

static void test_a_value_that_looks_like_a_reference_is_none(void **state)
{
    (void)state;
    struct subject s;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf ref = BUF_EMPTY, got = BUF_EMPTY;
    struct rocks *r = NULL;
    struct rocks_value *row = NULL;
    char path[80], *message = NULL;
    subject_open(&s, SUBJECT_FILES);
    assert_int_equal(put_synced(&s, "a", "some bytes"), DYN_OK);
    close_store(&s);
    snprintf(path, sizeof(path), "%s/db", s.dir);
    struct rocks_config c = {path, 1 << 20, 1 << 20, 4096};
    assert_int_equal(rocks_open(&c, &r, &message), DYN_OK);
    assert_int_equal(rocks_get(r, STORE_VALUE, slice_str("a"), false, &row), DYN_OK);
    buf_put_slice(&ref, rocks_value_slice(row));
    rocks_value_free(row);
    rocks_close(r);
    assert_true(store_files_is_ref(buf_slice(&ref)));
    open_with(&s, 1 << 20, SOME_SPARES);
    store_batch_put(&b, STORE_VALUE, slice_str("b"), buf_slice(&ref));
    assert_int_equal(subject_write(&s, &b, STORE_SYNCED), DYN_OK);
    assert_int_equal(subject_get(&s, STORE_VALUE, slice_str("b"), &got), DYN_OK);
    assert_true(slice_equal(buf_slice(&got), buf_slice(&ref)));
    buf_release(&ref);
    buf_release(&got);
    subject_close(&s);
}

static void test_a_store_from_before_opens_and_keeps_its_rows(void **state)
{
    (void)state;
    struct subject s;
    subject_open(&s, SUBJECT_ROCKSDB);
    assert_int_equal(put_synced(&s, "old", "in its row"), DYN_OK);
    assert_int_equal(files_of(&s), 0);
    close_store(&s);
    open_with(&s, 1, SOME_SPARES);
    assert_int_equal(put_synced(&s, "new", "in a file"), DYN_OK);
    assert_int_equal(files_of(&s), 1);
    expect(&s, "old", "in its row");
    close_store(&s);
    open_with(&s, 0, SOME_SPARES); /* no new ones; those that are there are read, and go */
    expect(&s, "new", "in a file");
    assert_int_equal(put_synced(&s, "newer", "in its row"), DYN_OK);
    assert_int_equal(files_of(&s), 1);
    assert_int_equal(delete_row(&s, "new", STORE_SYNCED), DYN_OK);
    await_files(&s, 0);
    expect(&s, "old", "in its row");
    subject_close(&s);
}

/* A device that is always full takes the place of all spare files that are made at the start. */
static void fill_spares(const struct subject *s)
{
    char at[64], link[400], folder[100];
    unsigned number, filled = 0;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    snprintf(folder, sizeof(folder), "%s/values/new.", s->dir);
    for (int fd = 3; fd < 1024; fd++) {
        snprintf(at, sizeof(at), "/proc/self/fd/%d", fd);
        ssize_t len = readlink(at, link, sizeof(link) - 1);
        if (len <= 0)
            continue;
        link[len] = 0;
        const char *end = strrchr(link, '.');
        if (strncmp(link, folder, strlen(folder)) == 0 && sscanf(end, ".%u", &number) == 1 &&
            number < SOME_SPARES) {
            assert_int_equal(dup2(full, fd), fd);
            filled++;
        }
    }
    close(full);
    assert_true(filled >= SOME_SPARES - 1);
}

static void test_a_full_disk_refuses_a_value_and_changes_nothing(void **state)
{
    (void)state;
    struct subject s;
    struct store_batch b = STORE_BATCH_EMPTY;
    subject_open(&s, SUBJECT_FILES);
    assert_int_equal(put_synced(&s, "a", "one"), DYN_OK);
    fill_spares(&s); /* but one that may be made meanwhile */
    store_batch_put(&b, STORE_META, slice_str("m"), slice_str("row"));
    store_batch_delete(&b, STORE_VALUE, slice_str("a"));
    store_batch_put(&b, STORE_VALUE, slice_str("b"), slice_str("two"));
    store_batch_put(&b, STORE_VALUE, slice_str("c"), slice_str("three"));
    assert_int_equal(subject_write(&s, &b, STORE_SYNCED), DYN_ERR_NO_SPACE);
    await_files(&s, 1);
    expect_error(&s, "b", DYN_ERR_NOT_FOUND);
    expect_error(&s, "c", DYN_ERR_NOT_FOUND);
    struct buf got = BUF_EMPTY;
    assert_int_equal(subject_get(&s, STORE_META, slice_str("m"), &got), DYN_ERR_NOT_FOUND);
    assert_int_equal(s.failed, DYN_OK);
    close_store(&s);
    open_with(&s, 1, SOME_SPARES);
    assert_int_equal(put_synced(&s, "d", "four"), DYN_OK);
    expect(&s, "a", "one");
    assert_int_equal(s.failed, DYN_OK);
    subject_close(&s);
}

static void test_without_a_spare_file_a_value_lies_in_its_row(void **state)
{
    (void)state;
    struct subject s;
    subject_open(&s, SUBJECT_FILES);
    assert_int_equal(put_synced(&s, "a", "one"), DYN_OK);
    assert_int_equal(files_of(&s), 1);
    close_store(&s);
    open_with(&s, 1, 0);
    assert_int_equal(put_synced(&s, "b", "two"), DYN_OK);
    assert_int_equal(files_of(&s), 1);
    assert_int_equal(put_synced(&s, "a", "one"), DYN_OK); /* its file is nobody's then, */
    await_files(&s, 0);
    expect(&s, "a", "one");
    expect(&s, "b", "two");
    close_store(&s);
    open_with(&s, 1, SOME_SPARES);
    assert_int_equal(put_synced(&s, "a", "one"), DYN_OK); /* and the other way round */
    await_files(&s, 1);
    expect(&s, "a", "one");
    expect(&s, "b", "two");
    subject_close(&s);
}

/* A name says that the bytes are on the platter: only a sync gives one. */
static void test_a_value_is_synced_before_its_file_has_its_name(void **state)
{
    (void)state;
    struct subject s;
    struct store_batch b = STORE_BATCH_EMPTY;
    subject_open(&s, SUBJECT_FILES);
    store_batch_put(&b, STORE_META, slice_str("m"), slice_str("row"));
    assert_int_equal(subject_write(&s, &b, STORE_SYNCED), DYN_OK); /* for a second: no other sync */
    assert_int_equal(subject_put(&s, STORE_VALUE, "a", "one"), DYN_OK);
    assert_int_equal(new_files(&s, NULL), 1);
    assert_int_equal(named_files(&s, NULL), 0);
    expect(&s, "a", "one");
    assert_int_equal(put_synced(&s, "b", "two"), DYN_OK);
    assert_int_equal(new_files(&s, NULL), 0);
    assert_int_equal(named_files(&s, NULL), 2);
    expect(&s, "a", "one");
    subject_close(&s);
}

static void test_a_sync_of_files_that_fails_fails_the_sync_and_stops_the_store(void **state)
{
    (void)state;
    struct subject s;
    struct store_batch b = STORE_BATCH_EMPTY;
    char path[400];
    subject_open(&s, SUBJECT_FILES);
    store_batch_put(&b, STORE_META, slice_str("m"), slice_str("row"));
    assert_int_equal(subject_write(&s, &b, STORE_SYNCED), DYN_OK); /* for a second: no other sync */
    assert_int_equal(subject_put(&s, STORE_VALUE, "a", "one"), DYN_OK);
    assert_int_equal(new_files(&s, path), 1);
    unlink(path);
    store_batch_put(&b, STORE_META, slice_str("m"), slice_str("row"));
    assert_int_equal(subject_write(&s, &b, STORE_SYNCED), DYN_ERR_IO);
    assert_int_equal(s.failed, DYN_ERR_IO);
    assert_int_equal(subject_put(&s, STORE_META, "n", "row"), DYN_ERR_STOPPED);
    subject_close(&s);
}

static int no_row(void *arg, struct slice key, struct buf *row)
{
    (void)arg;
    (void)key;
    (void)row;
    return DYN_ERR_NOT_FOUND;
}

static void write_without_row(const struct subject *s, const char *key, bool synced)
{
    char path[100], *message = NULL;
    struct store_files *f = NULL;
    struct store_batch b = STORE_BATCH_EMPTY;
    const struct store_files_rows rows = {no_row, NULL};
    snprintf(path, sizeof(path), "%s/values", s->dir);
    const struct store_files_config c = {.folder = path, .min_bytes = 1, .spares = 1};
    assert_int_equal(store_files_open(&c, &rows, &f, &message), DYN_OK);
    assert_true(store_files_tidy(f, 0, &rows));
    store_batch_put(&b, STORE_VALUE, slice_str(key), slice_str("some bytes"));
    assert_int_equal(store_files_take_out(f, &b, 1, &message), DYN_OK);
    if (synced)
        assert_int_equal(store_files_sync(f, &message), DYN_OK);
    store_batch_release(&b);
    store_files_free(f);
}

static void test_what_a_kill_leaves_between_the_steps_is_removed(void **state)
{
    (void)state;
    struct subject s;
    char path[100];
    subject_open(&s, SUBJECT_FILES);
    assert_int_equal(put_synced(&s, "a", "one"), DYN_OK);
    close_store(&s);
    write_without_row(&s, "deleted", true);
    write_without_row(&s, "not handed over", false);
    snprintf(path, sizeof(path), "%s/values/new.77", s.dir); /* not written to its end */
    FILE *half = fopen(path, "w");
    assert_non_null(half);
    fputs("half a va", half);
    fclose(half);
    take_clean_mark(&s);
    assert_int_equal(named_files(&s, NULL), 2);
    assert_int_equal(new_files(&s, NULL), 2);
    open_with(&s, 1, SOME_SPARES);
    assert_int_equal(subject_put(&s, STORE_VALUE, "c", "three"), DYN_OK); /* while it looks */
    await_files(&s, 2);
    expect(&s, "a", "one");
    expect(&s, "c", "three");
    expect_error(&s, "deleted", DYN_ERR_NOT_FOUND);
    expect_error(&s, "not handed over", DYN_ERR_NOT_FOUND);
    subject_close(&s);
}

static void
test_a_look_for_files_without_a_row_that_a_stop_ends_goes_on_at_the_next_start(void **state)
{
    (void)state;
    struct subject s;
    subject_open(&s, SUBJECT_FILES);
    assert_int_equal(put_synced(&s, "a", "one"), DYN_OK);
    close_store(&s);
    write_without_row(&s, "deleted", true);
    take_clean_mark(&s);
    open_with(&s, 1, SOME_SPARES);
    close_store(&s);
    open_with(&s, 1, SOME_SPARES);
    assert_true(store_rocksdb_was_clean(s.rocksdb));
    await_files(&s, 1);
    expect(&s, "a", "one");
    subject_close(&s);
}

/* Puts and deletes values, and is killed in the middle; says through the pipe what was taken. */
static void run_until_killed(struct subject *s, int out)
{
    char key[16], value[64];
    open_with(s, 1, MANY_SPARES);
    for (uint32_t i = 0;; i++) {
        if (i == MANY_SPARES / 2)
            pause(); /* the kill comes */
        snprintf(key, sizeof(key), "k%u", i);
        snprintf(value, sizeof(value), "the value of %u", i);
        if (subject_put(s, STORE_VALUE, key, value) != DYN_OK)
            _exit(1);
        snprintf(key, sizeof(key), "k%u", i / 2);
        if (i % 4 == 3 && delete_row(s, key, i % 8 == 3 ? STORE_SYNCED : STORE_BUFFERED) != DYN_OK)
            _exit(1);
        if (write(out, &i, sizeof(i)) != sizeof(i))
            _exit(1);
    }
}

static bool was_deleted(uint32_t k, uint32_t last)
{
    for (uint32_t i = 3; i <= last; i += 4)
        if (i / 2 == k)
            return true;
    return false;
}

static void test_after_a_kill_each_row_has_its_file_and_each_file_its_row(void **state)
{
    (void)state;
    struct subject s;
    int ends[2], status;
    uint32_t last = 0, i, left = 0;
    char key[16], value[64];
    subject_open(&s, SUBJECT_FILES);
    close_store(&s);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0)
        run_until_killed(&s, ends[1]);
    close(ends[1]);
    while (last < 700 && read(ends[0], &i, sizeof(i)) == sizeof(i))
        last = i;
    kill(child, SIGKILL);
    while (read(ends[0], &i, sizeof(i)) == sizeof(i))
        last = i;
    close(ends[0]);
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status) && last >= 700);
    open_with(&s, 1, SOME_SPARES);
    assert_false(store_rocksdb_was_clean(s.rocksdb));
    for (i = 0; i <= last; i++) {
        struct buf got = BUF_EMPTY;
        snprintf(key, sizeof(key), "k%u", i);
        snprintf(value, sizeof(value), "the value of %u", i);
        if (was_deleted(i, last)) {
            expect_error(&s, key, DYN_ERR_NOT_FOUND);
        } else if (was_deleted(i, last + 1)) { /* it may have been on its way */
            int err = subject_get(&s, STORE_VALUE, slice_str(key), &got);
            assert_true(err == DYN_OK || err == DYN_ERR_NOT_FOUND);
            left += err == DYN_OK;
        } else {
            expect(&s, key, value);
            left++;
        }
        buf_release(&got);
    }
    struct buf got = BUF_EMPTY; /* and so may the next value have been */
    snprintf(key, sizeof(key), "k%u", last + 1);
    left += subject_get(&s, STORE_VALUE, slice_str(key), &got) == DYN_OK;
    buf_release(&got);
    await_files(&s, (int)left);
    subject_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_value_lies_in_a_file_and_goes_with_its_row),
        cmocka_unit_test(test_a_file_outlives_its_row_until_the_deletion_is_durable),
        cmocka_unit_test(test_what_is_written_again_stays),
        cmocka_unit_test(test_rot_is_not_given_out),
        cmocka_unit_test(test_a_value_that_looks_like_a_reference_is_none),
        cmocka_unit_test(test_a_store_from_before_opens_and_keeps_its_rows),
        cmocka_unit_test(test_a_full_disk_refuses_a_value_and_changes_nothing),
        cmocka_unit_test(test_without_a_spare_file_a_value_lies_in_its_row),
        cmocka_unit_test(test_a_value_is_synced_before_its_file_has_its_name),
        cmocka_unit_test(test_a_sync_of_files_that_fails_fails_the_sync_and_stops_the_store),
        cmocka_unit_test(test_what_a_kill_leaves_between_the_steps_is_removed),
        cmocka_unit_test(
            test_a_look_for_files_without_a_row_that_a_stop_ends_goes_on_at_the_next_start),
        cmocka_unit_test(test_after_a_kill_each_row_has_its_file_and_each_file_its_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
