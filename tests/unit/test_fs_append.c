/* SPDX-License-Identifier: Apache-2.0 */
/* Appends that meet a newer version, where either is large (F1, F9, F18, F24). */
#include <errno.h>
#include <fcntl.h>

#include "base/err.h"
#include "fs_bytes.h"
#include "model/core.h"
#include "unit.h"

/* Bytes whose place says what they are, appended. */
static void append_bytes(struct mount *m, uint64_t node, uint64_t fh, uint64_t at, size_t len,
                         uint8_t salt)
{
    for (size_t done = 0, n; done < len; done += n) {
        n = len - done < MIB ? len - done : MIB;
        assert_int_equal(put_bytes(m, node, fh, at + done, n, salt), 0);
    }
}

static void expect_file(struct mount *m, const char *path, const uint64_t ends[], uint32_t n)
{
    assert_int_equal(do_open(m, path, O_RDONLY), 0);
    uint64_t node = m->node, fh = m->fh, at = 0;
    for (uint32_t i = 0; i < n; at = ends[i++])
        expect_bytes(m, node, fh, at, ends[i] - at, (uint8_t)(i + 1));
    struct buf rest = get_bytes(m, node, fh, at, 100);
    assert_int_equal(rest.len, 0);
    buf_release(&rest);
    do_close(m, node, fh);
}

/* a's file of `before` bytes; both open it for appending, a appends `first` and b then `second`.
 * What b's bytes look like depends on where they are to lie: after a's. */
static void append_both(struct world *t, uint64_t before, uint64_t first, uint64_t second)
{
    const uint64_t ends[3] = {before, before + first, before + first + second};
    make_file(t->a, "log", before, 1);
    assert_int_equal(do_open(t->b, "log", O_WRONLY | O_APPEND), 0);
    uint64_t node_b = t->b->node, fh_b = t->b->fh;
    assert_int_equal(do_open(t->a, "log", O_WRONLY | O_APPEND), 0);
    uint64_t node_a = t->a->node, fh_a = t->a->fh;
    append_bytes(t->b, node_b, fh_b, before + first, second, 3);
    append_bytes(t->a, node_a, fh_a, before, first, 2);
    assert_int_equal(do_close(t->a, node_a, fh_a), 0);
    later(t->b);
    assert_int_equal(do_close(t->b, node_b, fh_b), 0);
    assert_int_equal(fake_kv_live(&t->k, "log"), 1);
    later(t->a);
    expect_file(t->a, "log", ends, 3);
    expect_file(t->b, "log", ends, 3);
}

static void test_f18_appends_of_two_mounts_to_a_large_file_lose_nothing(void **state)
{
    append_both(*state, 3 * MIB + 1000, 5000, 7000);
}

static void test_f18_what_was_sent_already_is_appended_too(void **state)
{
    append_both(*state, 2 * MIB + 1000, 3000, 4 * MIB + 77);
}

static void test_f18_an_append_to_what_became_large_elsewhere(void **state)
{
    append_both(*state, 1000, 2 * MIB, 500);
}

static void test_f18_an_append_that_makes_a_file_large(void **state)
{
    append_both(*state, MIB / 2, MIB / 4, MIB / 2);
}

static void test_f18_an_append_to_a_large_file_that_was_emptied(void **state)
{
    struct world *t = *state;
    const uint64_t end = 300;
    make_file(t->a, "log", 3 * MIB, 9);
    assert_int_equal(do_open(t->b, "log", O_WRONLY | O_APPEND), 0);
    uint64_t node = t->b->node, fh = t->b->fh;
    assert_int_equal(sh_echo(t->a, "", "log"), 0);
    append_bytes(t->b, node, fh, 0, end, 1);
    later(t->b);
    assert_int_equal(do_close(t->b, node, fh), 0);
    assert_int_equal(fake_kv_live(&t->k, "log"), 1);
    expect_file(t->b, "log", &end, 1);
}

static void test_f18_writes_while_an_append_is_staged_anew_are_kept(void **state)
{
    struct world *t = *state;
    const uint64_t ends[3] = {3 * MIB + 1000, 3 * MIB + 1500, 3 * MIB + 3500};
    struct call c;
    make_file(t->a, "log", ends[0], 1);
    assert_int_equal(do_open(t->b, "log", O_WRONLY | O_APPEND), 0);
    uint64_t node = t->b->node, fh = t->b->fh;
    assert_int_equal(do_open(t->a, "log", O_WRONLY | O_APPEND), 0);
    append_bytes(t->a, t->a->node, t->a->fh, ends[0], 500, 2);
    assert_int_equal(do_close(t->a, t->a->node, t->a->fh), 0);
    append_bytes(t->b, node, fh, ends[1], 1000, 3);
    later(t->b);
    call_init(t->b, &c);
    fs_flush(t->b->fs, &c.op, node, fh);
    for (uint32_t step = 0; !c.done && step < 10; step++) { /* in the midst of it */
        fake_kv_run(&t->k, 150, NULL);
        append_bytes(t->b, node, fh, ends[1] + 1000 + step * 100, 100, 3);
    }
    assert_int_equal(call_wait(t->b, &c), 0);
    assert_int_equal(do_getattr(t->b, node), 0);
    uint64_t size = t->b->entry.attr.size;
    assert_in_range(size, ends[1] + 1100, ends[2]);
    assert_int_equal(do_close(t->b, node, fh), 0);
    later(t->b);
    assert_int_equal(fake_kv_live(&t->k, "log"), 1);
    expect_file(t->a, "log", (const uint64_t[3]){ends[0], ends[1], size}, 3);
}

/* What is kept of other mounts' bytes, and of ours that have not left. */
static void small(struct fs_config *c)
{
    c->staging_max = 4 * MIB;
    c->cache_max = 4 * MIB;
}

/* Before its close b finds that a has appended `first`; and when it has staged anew some of its
 * own, a appends `later` more, of which it knows nothing either. */
static void append_much(struct world *t, uint64_t before, uint64_t first, uint64_t more,
                        uint64_t second)
{
    const uint64_t ends[4] = {before, before + first, before + first + more,
                              before + first + more + second};
    uint64_t peak = 0, puts = 0;
    bool late = more == 0;
    struct call c;
    mount_free(t->b);
    struct mount *b = t->b = mount_new(&t->k, 2, small);
    make_file(t->a, "log", before, 1);
    assert_int_equal(do_open(b, "log", O_WRONLY | O_APPEND), 0);
    uint64_t node = b->node, fh = b->fh;
    append_bytes(b, node, fh, ends[2], second, 4);
    assert_int_equal(do_open(t->a, "log", O_WRONLY | O_APPEND), 0);
    uint64_t node_a = t->a->node, fh_a = t->a->fh;
    append_bytes(t->a, node_a, fh_a, before, first, 2);
    assert_int_equal(do_flush(t->a, node_a, fh_a), 0);
    later(b);
    call_init(b, &c);
    fs_flush(b->fs, &c.op, node, fh);
    puts = b->fs->counters.chunk_puts;
    while (!c.done) {
        fake_kv_run(&t->k, 20, NULL);
        if (!late && b->fs->counters.chunk_puts > puts + 8) {
            late = true;
            append_bytes(t->a, node_a, fh_a, ends[1], more, 3);
            assert_int_equal(do_flush(t->a, node_a, fh_a), 0);
        }
        uint64_t held = b->fs->staging + b->fs->chunks.bytes;
        peak = held > peak ? held : peak;
    }
    assert_true(late);
    assert_int_equal(call_wait(b, &c), 0);
    do_release(b, node, fh);
    assert_int_equal(do_close(t->a, node_a, fh_a), 0);
    assert_in_range(peak, 2 * MIB, 10 * MIB); /* of 20 that were appended */
    assert_int_equal(b->fs->staging, 0);
    assert_int_equal(b->fs->counters.rebased, more == 0 ? 1 : 2);
    assert_int_equal(fake_kv_live(&t->k, "log"), 1);
    later(t->a);
    expect_file(t->a, "log", ends, 4);
    expect_file(b, "log", ends, 4);
}

static void test_f9_an_append_of_any_length_is_staged_anew_in_bounded_memory(void **state)
{
    append_much(*state, 3 * MIB + 1000, 20 * MIB + 77, 0, 20 * MIB + 500);
}

static void test_f9_an_append_that_comes_while_another_is_staged_anew_is_no_conflict(void **state)
{
    append_much(*state, MIB + 1, 3 * MIB, 5 * MIB + 3, 20 * MIB);
}

/* On the other side of a split somebody has appended as much. Nobody has seen both: both stand. */
static void test_f1_a_long_append_settles_nothing_that_nobody_read(void **state)
{
    struct world *t = *state;
    const uint64_t ends[2] = {1000, 20 * MIB};
    make_file(t->a, "log", ends[0], 1);
    assert_int_equal(do_open(t->a, "log", O_WRONLY | O_APPEND), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    append_bytes(t->a, node, fh, ends[0], ends[1] - ends[0], 2);
    const struct dot theirs = fake_kv_write(&t->k, "log", "theirs", false);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(t->a->fs->counters.rebased, 0);
    assert_int_equal(fake_kv_live(&t->k, "log"), 2);
    assert_non_null(object_find(fake_kv_object(&t->k, "log"), &theirs));
    expect_file(t->a, "log", ends, 2);
}

/* When it cannot be stored, close says so, and it is appended once when it can. */
static void test_f9_a_long_append_that_fails_midway_is_applied_once(void **state)
{
    struct world *t = *state;
    const uint64_t ends[3] = {1000, 2 * MIB, 22 * MIB};
    struct call c;
    make_file(t->a, "log", ends[0], 1);
    assert_int_equal(do_open(t->b, "log", O_WRONLY | O_APPEND), 0);
    uint64_t node = t->b->node, fh = t->b->fh;
    append_bytes(t->b, node, fh, ends[1], ends[2] - ends[1], 3);
    assert_int_equal(do_open(t->a, "log", O_WRONLY | O_APPEND), 0);
    append_bytes(t->a, t->a->node, t->a->fh, ends[0], ends[1] - ends[0], 2);
    assert_int_equal(do_close(t->a, t->a->node, t->a->fh), 0);
    later(t->b);
    call_init(t->b, &c);
    uint64_t puts = t->b->fs->counters.chunk_puts;
    fs_flush(t->b->fs, &c.op, node, fh);
    while (!c.done) {
        fake_kv_run(&t->k, 20, NULL);
        if (t->b->fs->counters.chunk_puts > puts + 12)
            t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    }
    assert_int_equal(call_wait(t->b, &c), ETIMEDOUT);
    assert_int_equal(t->k.refuse_puts, DYN_ERR_NO_QUORUM);
    do_release(t->b, node, fh);
    assert_int_equal(fake_kv_live(&t->k, "log"), 1);
    t->k.refuse_puts = DYN_OK;
    fake_kv_run(&t->k, 60000000, NULL);
    assert_int_equal(fs_dirty_count(t->b->fs), 0);
    assert_int_equal(fake_kv_live(&t->k, "log"), 1);
    expect_file(t->a, "log", ends, 3);
}

/* ---- what travels ------------------------------------------------------------------------ */

#define SMALL (500u << 10)

static uint64_t bytes_of_append(struct mount *m, uint64_t at, size_t len)
{
    struct fake_kv *k = m->k;
    uint64_t before = k->bytes_put;
    assert_int_equal(do_open(m, "log", O_WRONLY | O_APPEND), 0);
    append_bytes(m, m->node, m->fh, at, len, 2);
    assert_int_equal(do_close(m, m->node, m->fh), 0);
    return k->bytes_put - before;
}

static void test_f27_an_append_travels_as_the_appended_bytes(void **state)
{
    struct world *t = *state;
    make_file(t->a, "log", SMALL, 1);
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(bytes_of_append(t->a, SMALL + i * 100, 100), 100);
    assert_int_equal(t->a->fs->counters.value_bytes_put, SMALL + 1000);
    expect_file(t->b, "log", (const uint64_t[2]){SMALL, SMALL + 1000}, 2);
    assert_int_equal(bytes_of_append(t->b, SMALL + 1000, 100), 100); /* it has read what is there */
    assert_int_equal(fake_kv_live(&t->k, "log"), 1);
    later(t->a);
    expect_file(t->a, "log", (const uint64_t[2]){SMALL, SMALL + 1100}, 2);
}

/* One open file, flushed as each child of a make exits. */
static void test_f27_each_flush_of_an_open_log_sends_what_is_new(void **state)
{
    struct world *t = *state;
    make_file(t->a, "log", SMALL, 1);
    assert_int_equal(do_open(t->a, "log", O_WRONLY | O_APPEND), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    for (uint64_t i = 0; i < 5; i++) {
        uint64_t before = t->k.bytes_put;
        append_bytes(t->a, node, fh, SMALL + i * 70, 70, 2);
        assert_int_equal(do_flush(t->a, node, fh), 0);
        assert_int_equal(do_flush(t->a, node, fh), 0); /* with nothing new */
        assert_int_equal(t->k.bytes_put - before, 70);
    }
    assert_int_equal(do_close(t->a, node, fh), 0);
    expect_file(t->b, "log", (const uint64_t[2]){SMALL, SMALL + 350}, 2);
}

/* What was loaded has given way meanwhile: the digest of what is there tells as well. */
static void test_f27_an_append_needs_no_second_copy_of_the_file(void **state)
{
    struct world *t = *state;
    make_file(t->a, "log", SMALL, 1);
    assert_int_equal(do_open(t->a, "log", O_WRONLY | O_APPEND), 0);
    uint64_t node = t->a->node, fh = t->a->fh, before = t->k.bytes_put;
    append_bytes(t->a, node, fh, SMALL, 100, 2);
    t->k.refuse_puts = DYN_ERR_NO_QUORUM;
    assert_int_equal(do_flush(t->a, node, fh), ETIMEDOUT);
    append_bytes(t->a, node, fh, SMALL + 100, 100, 2);
    t->k.refuse_puts = DYN_OK;
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(t->k.bytes_put - before, 100 + 200);
    expect_file(t->b, "log", (const uint64_t[2]){SMALL, SMALL + 200}, 2);
}

static void test_f27_what_is_no_append_travels_whole(void **state)
{
    struct world *t = *state;
    make_file(t->a, "log", SMALL, 1);
    assert_int_equal(do_open(t->a, "log", O_WRONLY), 0);
    uint64_t node = t->a->node, fh = t->a->fh, before = t->k.bytes_put;
    assert_int_equal(put_bytes(t->a, node, fh, 1000, 10, 7), 0);
    assert_int_equal(put_bytes(t->a, node, fh, SMALL, 10, 1), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(t->k.bytes_put - before, SMALL + 10);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        T(test_f18_appends_of_two_mounts_to_a_large_file_lose_nothing),
        T(test_f18_what_was_sent_already_is_appended_too),
        T(test_f18_an_append_to_what_became_large_elsewhere),
        T(test_f18_an_append_that_makes_a_file_large),
        T(test_f18_an_append_to_a_large_file_that_was_emptied),
        T(test_f18_writes_while_an_append_is_staged_anew_are_kept),
        T(test_f9_an_append_of_any_length_is_staged_anew_in_bounded_memory),
        T(test_f9_an_append_that_comes_while_another_is_staged_anew_is_no_conflict),
        T(test_f1_a_long_append_settles_nothing_that_nobody_read),
        T(test_f9_a_long_append_that_fails_midway_is_applied_once),
        T(test_f27_an_append_travels_as_the_appended_bytes),
        T(test_f27_each_flush_of_an_open_log_sends_what_is_new),
        T(test_f27_an_append_needs_no_second_copy_of_the_file),
        T(test_f27_what_is_no_append_travels_whole),
    };
    return cmocka_run_group_tests_name("fs_append", tests, NULL, NULL);
}
