/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds a key, and who is next. */
#include "engine/replica/keylock.h"
#include "unit.h"

struct waiter {
    struct keylock lock;
    struct keylock_table *table;
    int *order, turn;
    bool release_at_once;
};

static void granted(struct keylock *lock, void *arg)
{
    struct waiter *w = arg;
    w->turn = ++*w->order;
    if (w->release_at_once)
        keylock_release(w->table, lock);
}

static bool acquire(struct keylock_table *t, struct waiter *w, const char *key, int *order)
{
    keylock_init(&w->lock);
    w->table = t;
    w->order = order;
    return keylock_acquire(t, &w->lock, LOCK_KEY, slice_str(key), granted, w);
}

static void test_waiters_are_served_in_the_order_in_which_they_asked(void **state)
{
    (void)state;
    struct keylock_table *t = keylock_table_new();
    struct waiter w[4] = {0};
    int order = 0;
    assert_true(acquire(t, &w[0], "k", &order));
    for (int i = 1; i < 4; i++)
        assert_false(acquire(t, &w[i], "k", &order));
    for (int i = 0; i < 4; i++) {
        assert_int_equal(order, i);
        keylock_release(t, &w[i].lock);
    }
    assert_int_equal(w[1].turn, 1);
    assert_int_equal(w[3].turn, 3);
    assert_int_equal(keylock_count(t), 0);
    keylock_table_free(t);
}

static void test_other_keys_and_other_classes_do_not_wait(void **state)
{
    (void)state;
    struct keylock_table *t = keylock_table_new();
    struct waiter a = {0}, b = {0}, c = {0};
    int order = 0;
    assert_true(acquire(t, &a, "k", &order));
    assert_true(acquire(t, &b, "l", &order));
    keylock_init(&c.lock);
    assert_true(keylock_acquire(t, &c.lock, LOCK_DIR, slice_str("k"), granted, &c));
    assert_int_equal(keylock_count(t), 3);
    keylock_release(t, &a.lock);
    keylock_release(t, &b.lock);
    keylock_release(t, &c.lock);
    keylock_release(t, &c.lock); /* not held any more: nothing happens */
    keylock_table_free(t);
}

static void test_a_waiter_that_gives_up_is_passed_over(void **state)
{
    (void)state;
    struct keylock_table *t = keylock_table_new();
    struct waiter w[3] = {0};
    int order = 0;
    for (int i = 0; i < 3; i++)
        acquire(t, &w[i], "k", &order);
    keylock_release(t, &w[1].lock);
    assert_int_equal(order, 0);
    keylock_release(t, &w[0].lock);
    assert_int_equal(w[1].turn, 0);
    assert_int_equal(w[2].turn, 1);
    keylock_release(t, &w[2].lock);
    keylock_table_free(t);
}

/* Each grant releases inside its callback: the stack must not grow with the queue. */
static void test_a_long_queue_on_a_hot_key_needs_no_deep_stack(void **state)
{
    (void)state;
    enum { MANY = 200000 };
    static struct waiter w[MANY];
    struct keylock_table *t = keylock_table_new();
    int order = 0;
    for (int i = 0; i < MANY; i++) {
        w[i].release_at_once = true;
        acquire(t, &w[i], "hot", &order);
    }
    keylock_release(t, &w[0].lock);
    assert_int_equal(order, MANY - 1);
    assert_int_equal(keylock_count(t), 0);
    keylock_table_free(t);
}

static void test_nothing_is_granted_after_the_table_is_shut(void **state)
{
    (void)state;
    struct keylock_table *t = keylock_table_new();
    struct waiter a = {0}, b = {0};
    int order = 0;
    acquire(t, &a, "k", &order);
    acquire(t, &b, "k", &order);
    keylock_table_shut(t);
    keylock_release(t, &a.lock);
    assert_int_equal(order, 0);
    keylock_release(t, &b.lock);
    keylock_table_free(t);
}

static void test_long_keys_are_locked_whole(void **state)
{
    (void)state;
    static char one[4096], two[4096];
    memset(one, 'x', sizeof(one) - 1);
    memcpy(two, one, sizeof(one));
    two[4094] = 'y';
    struct keylock_table *t = keylock_table_new();
    struct waiter a = {0}, b = {0}, c = {0};
    int order = 0;
    assert_true(acquire(t, &a, one, &order));
    assert_true(acquire(t, &b, two, &order));
    assert_false(acquire(t, &c, one, &order));
    keylock_release(t, &a.lock);
    assert_int_equal(c.turn, 1);
    keylock_release(t, &b.lock);
    keylock_release(t, &c.lock);
    keylock_table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waiters_are_served_in_the_order_in_which_they_asked),
        cmocka_unit_test(test_other_keys_and_other_classes_do_not_wait),
        cmocka_unit_test(test_a_waiter_that_gives_up_is_passed_over),
        cmocka_unit_test(test_a_long_queue_on_a_hot_key_needs_no_deep_stack),
        cmocka_unit_test(test_nothing_is_granted_after_the_table_is_shut),
        cmocka_unit_test(test_long_keys_are_locked_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
