/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that know less than the mount has shown (F15, E22): after a split entries may be home
 * before objects are, and what was listed is not yet with the replicas that are asked. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/err.h"
#include "fs_world.h"
#include "unit.h"

#define SECOND 1000000u

/* From here on gets see what is there now, for so many seconds. */
static void lag(struct world *t, uint64_t seconds)
{
    fake_kv_freeze(&t->k);
    t->k.lag_until_us = t->k.now_us + seconds * SECOND;
}

static uint64_t elapsed(struct world *t, uint64_t since)
{
    return (t->k.now_us - since) / SECOND;
}

static void test_a_listed_file_is_read_when_its_bytes_are_home(void **state)
{
    struct world *t = *state;
    lag(t, 10);
    fake_kv_write(&t->k, "f", "bytes", false);
    assert_string_equal(sh_ls(t->a, ""), "f ");
    assert_string_equal(sh_cat(t->a, "f"), "bytes"); /* never ENOENT */
}

static void test_a_listed_conflict_is_read_when_its_bytes_are_home(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "old", false);
    lag(t, 10);
    fake_kv_write(&t->k, "f", "new", false);
    assert_string_equal(sh_ls(t->a, ""), "f f.conflict.1 ");
    assert_string_equal(sh_cat(t->a, "f"), "new");
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "old");
}

static void test_attributes_do_not_wait(void **state)
{
    struct world *t = *state;
    lag(t, 10);
    fake_kv_write(&t->k, "f", "bytes", false);
    sh_ls(t->a, "");
    uint64_t begun = t->k.now_us;
    later(t->a);
    assert_int_not_equal(do_lookup(t->a, "f"), 0);
    assert_int_equal(t->a->entry.attr.size, 5);
    assert_true(elapsed(t, begun) <= 2);
}

static void test_what_all_replicas_know_is_read_at_once(void **state)
{
    struct world *t = *state;
    lag(t, 1000);
    t->k.lag_below_r = 3;
    t->a->replicas = 3;
    fake_kv_write(&t->k, "f", "bytes", false);
    sh_ls(t->a, "");
    uint64_t begun = t->k.now_us;
    assert_string_equal(sh_cat(t->a, "f"), "bytes");
    assert_int_equal(elapsed(t, begun), 0);
}

static void test_the_coordinator_is_told_what_it_must_know(void **state)
{
    struct world *t = *state;
    lag(t, 1);
    assert_int_equal(sh_echo(t->a, "mine", "f"), 0); /* its token came with the put */
    struct call c;
    call_init(t->a, &c);
    fs_forget(t->a->fs, do_lookup(t->a, "f"), 100); /* the bytes are no longer in memory */
    assert_string_equal(sh_cat(t->a, "f"), "mine");
    assert_true(t->k.demanded > 0);
}

static void test_what_never_comes_is_a_timeout_and_then_the_clusters_word_stands(void **state)
{
    struct world *t = *state;
    lag(t, 1000);
    fake_kv_write(&t->k, "f", "bytes", false);
    sh_ls(t->a, "");
    uint64_t begun = t->k.now_us;
    assert_null(sh_cat(t->a, "f"));
    assert_int_equal(t->a->err, ETIMEDOUT);
    assert_true(elapsed(t, begun) >= 19 && elapsed(t, begun) <= 21); /* the deadline, once */
    later(t->a);
    assert_int_equal(do_lookup(t->a, "f"), 0);
    assert_int_equal(t->a->err, ENOENT);
}

static void test_a_listed_file_is_removed_when_it_can_be_named(void **state)
{
    struct world *t = *state;
    lag(t, 8);
    fake_kv_write(&t->k, "f", "bytes", false);
    sh_ls(t->a, "");
    assert_int_equal(sh_rm(t->a, "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 0);
}

static void test_a_listed_file_is_renamed_when_its_bytes_are_home(void **state)
{
    struct world *t = *state;
    lag(t, 8);
    fake_kv_write(&t->k, "f", "bytes", false);
    sh_ls(t->a, "");
    assert_int_equal(sh_mv(t->a, "f", "g"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 0);
    assert_true(fake_kv_holds(&t->k, "g", "bytes"));
}

static void test_extended_attributes_are_not_taken_for_absent(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->b, "x", "f"), 0);
    lag(t, 5);
    assert_int_equal(sh_setxattr(t->b, "f", "user.colour", "red"), 0);
    sh_ls(t->a, ""); /* without them */
    assert_string_equal(sh_getxattr(t->a, "f", "user.colour"), "red");
    lag(t, 5);
    assert_int_equal(sh_setxattr(t->b, "f", "user.shape", "round"), 0);
    sh_ls(t->a, "");
    assert_int_equal(sh_chmod(t->a, "f", 0600), 0);
    t->k.lag_until_us = 0;
    assert_string_equal(sh_getxattr(t->b, "f", "user.shape"), "round");
    assert_string_equal(sh_getxattr(t->b, "f", "user.colour"), "red");
}

static void test_bytes_that_were_replaced_are_not_waited_for(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "one", false);
    fake_kv_write(&t->k, "f", "two", false);
    sh_ls(t->a, "");
    uint64_t node = do_lookup(t->a, "f.conflict.1");
    assert_int_not_equal(node, 0);
    fake_kv_write(&t->k, "f", "three", true); /* over both */
    uint64_t begun = t->k.now_us;
    struct call c;
    call_init(t->a, &c);
    fs_open_file(t->a->fs, &c.op, node, O_RDONLY);
    assert_int_equal(call_wait(t->a, &c), ESTALE);
    assert_int_equal(elapsed(t, begun), 0);
    assert_null(sh_cat(t->a, "f.conflict.1"));
    assert_int_equal(t->a->err, ENOENT);
    assert_string_equal(sh_cat(t->a, "f"), "three");
}

static void test_a_listing_that_lags_shows_what_this_mount_has_made(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_mkdir(t->a, "d"), 0);
    fake_kv_write(&t->k, "d/old", "x", false);
    fake_kv_freeze(&t->k);
    assert_int_equal(sh_echo(t->a, "x", "d/new"), 0);
    assert_int_equal(sh_mkdir(t->a, "d/sub"), 0);
    assert_int_equal(sh_mv(t->a, "d/old", "d/moved"), 0);
    t->k.stale_lists = true;
    assert_string_equal(sh_ls(t->a, "d"), "new sub moved ");
    later(t->a);
    assert_string_equal(sh_ls(t->a, "d"), "new sub moved ");
}

static void test_what_another_mount_removed_is_asked_for_once_and_not_listed(void **state)
{
    struct world *t = *state;
    assert_int_equal(sh_echo(t->a, "x", "f"), 0);
    assert_int_equal(sh_echo(t->a, "x", "g"), 0);
    later(t->a);
    assert_int_equal(sh_rm(t->b, "f"), 0);
    fake_kv_forget_counts(&t->k);
    assert_string_equal(sh_ls(t->a, ""), "g ");
    assert_int_equal(t->k.gets, 1);
    fake_kv_forget_counts(&t->k);
    assert_string_equal(sh_ls(t->a, ""), "g ");
    assert_int_equal(t->k.gets, 0);
}

/* It was deleted, and that forgotten, in less time than it should: an answer that knows nothing of
 * it takes nothing back, however often it is asked for (E22), and does not keep it either. */
static void
test_what_answers_know_nothing_of_is_remembered_for_ten_minutes_and_no_more(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "bytes", false);
    assert_int_not_equal(do_lookup(t->a, "f"), 0);
    fake_kv_delete(&t->k, "f");
    fake_kv_reap(&t->k, "f");
    for (uint32_t minutes = 1; minutes < 20; minutes++) {
        t->k.now_us += 60ull * SECOND;
        bool there = do_lookup(t->a, "f") != 0;
        assert_true(there == (minutes < 10));
    }
    assert_int_equal(sh_echo(t->a, "new", "f"), 0);
    assert_string_equal(sh_cat(t->b, "f"), "new");
}

/* What answers do know of is remembered from the last of them on. */
static void test_what_is_seen_again_is_remembered_anew(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "bytes", false);
    for (uint32_t minutes = 0; minutes < 30; minutes += 5) {
        assert_int_not_equal(do_lookup(t->a, "f"), 0);
        t->k.now_us += 5 * 60ull * SECOND;
    }
    fake_kv_delete(&t->k, "f");
    fake_kv_reap(&t->k, "f");
    t->k.now_us += 4 * 60ull * SECOND;
    assert_int_not_equal(do_lookup(t->a, "f"), 0);
    t->k.now_us += 60ull * SECOND;
    assert_int_equal(do_lookup(t->a, "f"), 0);
}

#define CLAIM(t) cmocka_unit_test_setup_teardown(t, world_set_up, world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(test_a_listed_file_is_read_when_its_bytes_are_home),
        CLAIM(test_a_listed_conflict_is_read_when_its_bytes_are_home),
        CLAIM(test_attributes_do_not_wait),
        CLAIM(test_what_all_replicas_know_is_read_at_once),
        CLAIM(test_the_coordinator_is_told_what_it_must_know),
        CLAIM(test_what_never_comes_is_a_timeout_and_then_the_clusters_word_stands),
        CLAIM(test_a_listed_file_is_removed_when_it_can_be_named),
        CLAIM(test_a_listed_file_is_renamed_when_its_bytes_are_home),
        CLAIM(test_extended_attributes_are_not_taken_for_absent),
        CLAIM(test_a_listing_that_lags_shows_what_this_mount_has_made),
        CLAIM(test_what_another_mount_removed_is_asked_for_once_and_not_listed),
        CLAIM(test_bytes_that_were_replaced_are_not_waited_for),
        CLAIM(test_what_answers_know_nothing_of_is_remembered_for_ten_minutes_and_no_more),
        CLAIM(test_what_is_seen_again_is_remembered_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
