/* SPDX-License-Identifier: Apache-2.0 */
/* A staging folder on a disk, from one run to the next. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapter/stage_dir.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "unit.h"

struct bench {
    char root[64], *folder;
    struct loop *loop;
    struct stage_dir *dir;
    struct buf seen; /* what the last load handed over */
    int answer;
};

static void open_dir(struct bench *t)
{
    char *message = NULL;
    int err =
        stage_dir_open(t->folder, "/mnt/my data", "/mnt/my data\n", t->loop, &t->dir, &message);
    if (err != DYN_OK)
        fail_msg("%s", message);
}

static int set_up(void **state)
{
    struct bench *t = mem_new(struct bench);
    snprintf(t->root, sizeof(t->root), "/tmp/stage.XXXXXX");
    assert_non_null(mkdtemp(t->root));
    t->folder = mem_printf("%s/below/staged", t->root);
    t->loop = loop_new();
    log_set_level(LOG_LEVEL_ERROR);
    open_dir(t);
    *state = t;
    return 0;
}

static void remove_tree(const char *path)
{
    DIR *dir = opendir(path);
    for (const struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *child = mem_printf("%s/%s", path, e->d_name);
        if (unlink(child) != 0)
            remove_tree(child);
        free(child);
    }
    if (dir != NULL)
        closedir(dir);
    rmdir(path);
}

static int tear_down(void **state)
{
    struct bench *t = *state;
    stage_dir_free(t->dir);
    loop_free(t->loop);
    remove_tree(t->root);
    buf_release(&t->seen);
    free(t->folder);
    free(t);
    return 0;
}

static void reopen(struct bench *t)
{
    stage_dir_free(t->dir);
    t->dir = NULL;
    open_dir(t);
}

static int take(void *arg, uint64_t id, struct slice body, const struct slice *chunks, uint32_t n)
{
    struct bench *t = arg;
    buf_printf(&t->seen, "%llx %.*s", (unsigned long long)id, (int)body.len,
               (const char *)body.data);
    for (uint32_t i = 0; i < n; i++)
        buf_printf(&t->seen, "+%.*s", (int)chunks[i].len, (const char *)chunks[i].data);
    buf_put_str(&t->seen, "\n");
    return t->answer;
}

static const char *load(struct bench *t, uint32_t taken)
{
    buf_clear(&t->seen);
    assert_int_equal(stage_dir_load(t->dir, take, t), taken);
    buf_put_u8(&t->seen, 0);
    return (const char *)t->seen.data;
}

static void on_done(struct stage_put *p, int err)
{
    *(int *)p->arg = err;
}

static void put(struct bench *t, uint64_t id, const char *body, const struct stage_chunk *chunks,
                uint32_t n)
{
    int err = 1;
    struct stage_put p = {.done = on_done, .arg = &err};
    struct stage_port port = stage_dir_port(t->dir);
    port.put(port.ctx, &p, id, slice_str(body), chunks, n);
    assert_int_equal(err, 1); /* never inside the call */
    while (err == 1)
        loop_turn(t->loop, 1000000);
    assert_int_equal(err, DYN_OK);
}

static unsigned count_files(const char *path)
{
    unsigned n = 0;
    DIR *dir = opendir(path);
    for (const struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
        n += e->d_name[0] != '.';
    if (dir != NULL)
        closedir(dir);
    return n;
}

static char *path_of(struct bench *t, const char *name)
{
    return mem_printf("%s/%s", stage_dir_path(t->dir), name);
}

static void test_records_come_back_with_their_chunks(void **state)
{
    struct bench *t = *state;
    struct blob *a = blob_new("aaaa", 4), *b = blob_new("bbbb", 4);
    const struct stage_chunk both[2] = {{1, a, 4}, {2, b, 3}};
    put(t, 5, "five", both, 2);
    put(t, 5, "five again", both, 2);
    reopen(t);
    assert_string_equal(load(t, 1), "5 five again+aaaa+bbb\n");
    put(t, 5, "less", &both[1], 1); /* the other chunk goes */
    assert_int_equal(count_files(stage_dir_path(t->dir)), 2);
    reopen(t);
    assert_string_equal(load(t, 1), "5 less+bbb\n");
    blob_unref(a);
    blob_unref(b);
}

static void test_what_is_dropped_is_gone_and_the_folder_with_it(void **state)
{
    struct bench *t = *state;
    struct blob *a = blob_new("aaaa", 4);
    const struct stage_chunk chunk = {1, a, 4};
    put(t, 5, "five", &chunk, 1);
    struct stage_port port = stage_dir_port(t->dir);
    port.drop(port.ctx, 5);
    char *path = mem_strdup(stage_dir_path(t->dir));
    stage_dir_free(t->dir); /* waits */
    t->dir = NULL;
    assert_int_equal(access(path, F_OK), -1);
    free(path);
    blob_unref(a);
}

static void spoil(const char *path)
{
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "!", 1, 2), 1);
    close(fd);
}

static void test_damaged_records_and_chunks_are_set_aside(void **state)
{
    struct bench *t = *state;
    struct blob *a = blob_new("aaaa", 4);
    const struct stage_chunk chunk = {1, a, 4};
    char *record = path_of(t, "0000000000000005"),
         *of_6 = path_of(t, "0000000000000006.0000000000000001");
    put(t, 5, "five", &chunk, 1);
    put(t, 6, "six", &chunk, 1);
    put(t, 7, "seven", &chunk, 1);
    spoil(record);
    spoil(of_6);
    log_set_level(LOG_LEVEL_ERROR + 1);
    reopen(t);
    assert_string_equal(load(t, 1), "7 seven+aaaa\n");
    log_set_level(LOG_LEVEL_ERROR);
    char *aside = path_of(t, "damaged");
    assert_int_equal(count_files(aside), 4); /* both records, both chunks: nothing is thrown away */
    assert_int_equal(count_files(stage_dir_path(t->dir)), 3);
    free(aside);
    free(record);
    free(of_6);
    blob_unref(a);
}

static void test_what_its_owner_refuses_is_set_aside(void **state)
{
    struct bench *t = *state;
    put(t, 5, "five", NULL, 0);
    reopen(t);
    t->answer = DYN_ERR_CORRUPT;
    log_set_level(LOG_LEVEL_ERROR + 1);
    load(t, 0);
    t->answer = DYN_OK;
    assert_string_equal(load(t, 0), "");
    char *aside = path_of(t, "damaged");
    assert_int_equal(count_files(aside), 1);
    free(aside);
}

static void test_what_no_record_names_is_swept_and_the_rest_left_alone(void **state)
{
    struct bench *t = *state;
    static const char *const names[] = {"00000000000000aa.0000000000000001", "00000000000000aa.new",
                                        "notes of somebody"};
    for (unsigned i = 0; i < 3; i++) {
        char *path = path_of(t, names[i]);
        close(open(path, O_WRONLY | O_CREAT, 0600));
        free(path);
    }
    assert_string_equal(load(t, 0), "");
    assert_int_equal(count_files(stage_dir_path(t->dir)), 1);
}

static void test_a_folder_that_others_may_write_to_is_refused(void **state)
{
    struct bench *t = *state;
    struct stage_dir *other;
    char *message = NULL, *path = mem_strdup(stage_dir_path(t->dir));
    put(t, 5, "five", NULL, 0);
    stage_dir_free(t->dir);
    t->dir = NULL;
    assert_int_equal(chmod(path, 0770), 0);
    assert_int_equal(
        stage_dir_open(t->folder, "/mnt/my data", "/mnt/my data\n", t->loop, &other, &message),
        DYN_ERR_DENIED);
    assert_non_null(strstr(message, "chmod 700"));
    free(message);
    assert_int_equal(chmod(path, 0700), 0);
    free(path);
    open_dir(t);
    assert_string_equal(load(t, 1), "5 five\n");
}

static void test_two_of_one_mount_do_not_meet_and_the_next_gathers_both(void **state)
{
    struct bench *t = *state;
    struct stage_dir *first = t->dir;
    put(t, 1, "first", NULL, 0);
    open_dir(t); /* while the first still drains */
    assert_string_not_equal(stage_dir_path(first), stage_dir_path(t->dir));
    put(t, 2, "second", NULL, 0);
    stage_dir_free(first);
    reopen(t);
    const char *all = load(t, 2);
    assert_true(strstr(all, "1 first") != NULL && strstr(all, "2 second") != NULL);
}

static void test_mounts_of_their_own_have_folders_of_their_own(void **state)
{
    struct bench *t = *state;
    struct stage_dir *other;
    char *message = NULL;
    put(t, 1, "mine", NULL, 0);
    assert_int_equal(
        stage_dir_open(t->folder, "/mnt/my data", "/mnt/my data\nsub", t->loop, &other, &message),
        DYN_OK);
    assert_int_equal(stage_dir_load(other, take, t), 0);
    stage_dir_free(other);
}

static void test_a_cancelled_put_is_not_told(void **state)
{
    struct bench *t = *state;
    int err = 1;
    struct stage_put p = {.done = on_done, .arg = &err};
    struct stage_port port = stage_dir_port(t->dir);
    port.put(port.ctx, &p, 5, slice_str("five"), NULL, 0);
    port.cancel(port.ctx, &p);
    reopen(t);
    assert_int_equal(err, 1);
    assert_string_equal(load(t, 1), "5 five\n"); /* written or not: here it was */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CLAIM(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        CLAIM(test_records_come_back_with_their_chunks),
        CLAIM(test_what_is_dropped_is_gone_and_the_folder_with_it),
        CLAIM(test_damaged_records_and_chunks_are_set_aside),
        CLAIM(test_what_its_owner_refuses_is_set_aside),
        CLAIM(test_what_no_record_names_is_swept_and_the_rest_left_alone),
        CLAIM(test_a_folder_that_others_may_write_to_is_refused),
        CLAIM(test_two_of_one_mount_do_not_meet_and_the_next_gathers_both),
        CLAIM(test_mounts_of_their_own_have_folders_of_their_own),
        CLAIM(test_a_cancelled_put_is_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
