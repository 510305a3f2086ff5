/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of a mount: found is what is in them, and all can be taken out quickly. */
#include "model/table.h"

#include <stdlib.h>
#include <time.h>

#include "base/list.h"
#include "base/mem.h"
#include "unit.h"

struct element {
    struct table_node node;
    uint64_t key;
};

static struct element *add(struct table *t, uint64_t key)
{
    struct element *e = mem_new(struct element);
    e->key = key;
    table_insert(t, &e->node, table_hash(t, slice_of(&key, sizeof(key))));
    return e;
}

static struct element *find(const struct table *t, uint64_t key)
{
    struct table_node *n = table_first(t, table_hash(t, slice_of(&key, sizeof(key))));
    for (; n != NULL; n = table_next(n))
        if (container_of(n, struct element, node)->key == key)
            return container_of(n, struct element, node);
    return NULL;
}

static void take_out(struct table *t, struct table_node *n)
{
    table_remove(t, n);
    free(container_of(n, struct element, node));
}

static void test_what_was_put_in_is_found_until_it_is_taken_out(void **state)
{
    (void)state;
    struct table t;
    table_init(&t, 7);
    assert_null(find(&t, 1));
    assert_null(table_any(&t));
    for (uint64_t k = 0; k < 1000; k++)
        add(&t, k);
    for (uint64_t k = 0; k < 1000; k += 2)
        take_out(&t, &find(&t, k)->node);
    for (uint64_t k = 0; k < 1000; k++)
        assert_true((find(&t, k) != NULL) == (k % 2 == 1));
    /* Something comes in while all are being taken out. */
    size_t taken = 0;
    for (struct table_node *n; (n = table_any(&t)) != NULL; taken++) {
        take_out(&t, n);
        if (taken < 500)
            add(&t, 1000 + taken);
    }
    assert_int_equal(taken, 1000);
    assert_int_equal(t.n, 0);
    table_release(&t);
}

static double seconds_to_empty(uint64_t n)
{
    struct table t;
    struct timespec from, to;
    table_init(&t, 7);
    for (uint64_t k = 0; k < n; k++)
        add(&t, k);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (struct table_node *e; (e = table_any(&t)) != NULL;)
        take_out(&t, e);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    table_release(&t);
    return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
}

/* A mount that knew 100,000 names took half a minute to end. */
static void test_emptying_takes_time_linear_in_the_elements(void **state)
{
    (void)state;
    double small = seconds_to_empty(20000), large = seconds_to_empty(320000);
    /* 16 times as many: 16 times as long and some cache misses; 256 times if it were quadratic. */
    assert_true(large < 80 * small + 0.05);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_put_in_is_found_until_it_is_taken_out),
        cmocka_unit_test(test_emptying_takes_time_linear_in_the_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
