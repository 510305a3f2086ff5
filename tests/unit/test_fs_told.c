/* SPDX-License-Identifier: Apache-2.0 */
/* What a mount believes because nobody has told it otherwise, for how long, and when not. */
#include <errno.h>
#include <fcntl.h>

#include "base/err.h"
#include "fs_world.h"
#include "unit.h"

#define SECOND 1000000u

static void want(void *ctx, struct slice dir)
{
    (void)dir;
    ++*(uint32_t *)ctx;
}

static void drop(void *ctx, struct slice dir)
{
    (void)ctx, (void)dir;
}

static uint32_t wanted;

static struct watch_events watched(struct world *t)
{
    const struct watch_port port = {&wanted, want, drop};
    wanted = 0;
    fs_watch(t->a->fs, &port);
    return fs_watch_events(t->a->fs);
}

static void pass(struct world *t, uint64_t us)
{
    const bool never = false;
    uint64_t until = t->k.now_us + us;
    fake_kv_run(&t->k, us, &never);
    t->k.now_us = until > t->k.now_us ? until : t->k.now_us;
}

/* The root, used for longer than a moment, is covered, and has been asked for anew since. */
static struct watch_events told_of_root(struct world *t)
{
    struct watch_events e = watched(t);
    do_lookup(t->a, "f");
    pass(t, 2 * SECOND);
    do_lookup(t->a, "f");
    assert_int_equal(wanted, 1);
    e.covered(e.ctx, slice_str(""));
    pass(t, 3 * SECOND);
    do_lookup(t->a, "f");
    pass(t, 2 * SECOND);
    return e;
}

static uint32_t asked_by_lookup(struct world *t)
{
    fake_kv_forget_counts(&t->k);
    do_lookup(t->a, "f");
    return t->k.gets + t->k.lists;
}

static void tell(struct world *t, const struct watch_events *e, const char *name, bool came_or_went)
{
    struct watch_event event = {.kind = WATCH_NAME,
                                .dir = slice_str(""),
                                .name = slice_str(name),
                                .came_or_went = came_or_went,
                                .state = OBJECT_EMPTY};
    object_project(fake_kv_object(&t->k, name), &event.state);
    e->changed(e->ctx, &event);
    object_release(&event.state);
}

static void test_what_nobody_tells_of_is_asked_for_after_a_second(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "one", false);
    do_lookup(t->a, "f");
    pass(t, 2 * SECOND);
    assert_int_equal(asked_by_lookup(t), 1);
}

static void test_what_is_told_of_is_believed_for_push_and_no_longer(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "one", false);
    told_of_root(t);
    assert_int_equal(asked_by_lookup(t), 0);
    pass(t, 20 * SECOND);
    assert_int_equal(asked_by_lookup(t), 0);
    pass(t, 20 * SECOND);
    assert_int_equal(asked_by_lookup(t), 1);
}

static void test_a_change_that_is_told_is_seen_without_asking(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "one", false);
    struct watch_events e = told_of_root(t);
    uint64_t node = do_lookup(t->a, "f");
    fake_kv_write(&t->k, "f", "longer", true);
    tell(t, &e, "f", false);
    fake_kv_forget_counts(&t->k);
    assert_int_equal(do_getattr(t->a, node), 0);
    assert_int_equal(t->a->entry.attr.size, 6);
    assert_int_equal(t->k.gets + t->k.lists, 0);
    fake_kv_delete(&t->k, "f");
    tell(t, &e, "f", true);
    assert_int_equal(do_getattr(t->a, node), ESTALE); /* then the kernel looks the name up */
    assert_int_equal(do_lookup(t->a, "f"), 0);
    assert_int_equal(t->a->err, ENOENT);
}

static void test_a_loss_brings_the_second_back(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "one", false);
    struct watch_events e = told_of_root(t);
    assert_int_equal(asked_by_lookup(t), 0);
    e.lost(e.ctx, slice_str(""));
    assert_int_equal(asked_by_lookup(t), 1);
    e.covered(e.ctx, slice_str(""));
    pass(t, 1500000);
    assert_int_equal(asked_by_lookup(t), 1); /* what was learnt before is not believed */
    pass(t, 1500000);
    assert_int_equal(asked_by_lookup(t), 1); /* nor what was learnt just after */
    pass(t, 2 * SECOND);
    assert_int_equal(asked_by_lookup(t), 0);
}

static void test_too_many_changes_are_as_good_as_a_loss_for_what_was_known(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "one", false);
    struct watch_events e = told_of_root(t);
    const struct watch_event all = {.kind = WATCH_ALL, .dir = slice_str(""), .state = OBJECT_EMPTY};
    fake_kv_write(&t->k, "f", "longer", true);
    e.changed(e.ctx, &all);
    assert_int_equal(asked_by_lookup(t), 1);
    assert_int_equal(t->a->entry.attr.size, 6);
}

static void test_what_is_told_settles_no_conflict(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "one", false);
    struct watch_events e = told_of_root(t);
    assert_int_equal(do_open(t->a, "f", O_WRONLY), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    fake_kv_write(&t->k, "f", "two", false); /* beside it, and nobody here has been shown it */
    tell(t, &e, "f", false);
    do_write(t->a, node, fh, 0, "mine");
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_true(fake_kv_holds(&t->k, "f", "two") && fake_kv_holds(&t->k, "f", "mine"));
    assert_false(fake_kv_holds(&t->k, "f", "one"));
}

static void test_a_directory_in_passing_is_not_worth_it(void **state)
{
    struct world *t = *state;
    watched(t);
    fake_kv_write(&t->k, "f", "one", false);
    for (int i = 0; i < 100; i++)
        do_lookup(t->a, "f");
    assert_int_equal(wanted, 0);
}

int main(void)
{
#define CLAIM(t) cmocka_unit_test_setup_teardown(t, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        CLAIM(test_what_nobody_tells_of_is_asked_for_after_a_second),
        CLAIM(test_what_is_told_of_is_believed_for_push_and_no_longer),
        CLAIM(test_a_change_that_is_told_is_seen_without_asking),
        CLAIM(test_a_loss_brings_the_second_back),
        CLAIM(test_too_many_changes_are_as_good_as_a_loss_for_what_was_known),
        CLAIM(test_what_is_told_settles_no_conflict),
        CLAIM(test_a_directory_in_passing_is_not_worth_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
