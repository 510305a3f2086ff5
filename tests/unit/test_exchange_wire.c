/* SPDX-License-Identifier: Apache-2.0 */
/* Questions and answers of the exchange come back as they were, and no cut of one decodes to
 * something that was not said. */
#include "engine/trees/exchange_wire.h"

#include <stdlib.h>

#include "base/err.h"
#include "unit.h"

static const struct tree_scope scope = {.ring = {.length = 4, .digest = {1, 2, 3}}, .n = 3};

static void assert_scope(const struct tree_scope *s)
{
    assert_true(history_epoch_equal(&s->ring, &scope.ring));
    assert_int_equal(s->n, 3);
}

static void test_roots(void **state)
{
    (void)state;
    uint32_t partitions[] = {0, 255, 70000};
    struct tree_hash roots[] = {{0, 0}, {1, 2}, {UINT64_MAX, 7}};
    struct tree_roots m = {scope, 3, partitions, roots}, back;
    struct buf b = BUF_EMPTY;
    tree_roots_encode(&m, &b);
    assert_int_equal(tree_roots_decode(buf_slice(&b), &back), DYN_OK);
    assert_scope(&back.scope);
    assert_int_equal(back.count, 3);
    assert_memory_equal(back.partition, partitions, sizeof(partitions));
    assert_memory_equal(back.root, roots, sizeof(roots));
    tree_roots_release(&back);
    for (size_t n = 0; n < b.len; n++)
        assert_int_not_equal(tree_roots_decode(slice_of(b.data, n), &back), DYN_OK);
    buf_release(&b);
}

static void test_nodes_of_no_level_are_refused(void **state)
{
    (void)state;
    struct tree_nodes m = {.scope = scope, .partition = 5, .level = 1, .count = 1}, back;
    struct buf b = BUF_EMPTY;
    m.node[0].index = 15;
    m.node[0].child[3] = 99;
    tree_nodes_encode(&m, &b);
    assert_int_equal(tree_nodes_decode(buf_slice(&b), &back), DYN_OK);
    assert_int_equal(back.node[0].index, 15);
    assert_int_equal(back.node[0].child[3], 99);
    for (size_t n = 0; n < b.len; n++)
        assert_int_not_equal(tree_nodes_decode(slice_of(b.data, n), &back), DYN_OK);
    buf_clear(&b);
    m.node[0].index = 16; /* the first level has 16 */
    tree_nodes_encode(&m, &b);
    assert_int_equal(tree_nodes_decode(buf_slice(&b), &back), DYN_ERR_PROTOCOL);
    buf_release(&b);
}

static void test_masks(void **state)
{
    (void)state;
    struct tree_nodes_reply m = {.status = DYN_OK, .count = 2, .differs = {0x8001, 0}}, back;
    struct buf b = BUF_EMPTY;
    tree_nodes_reply_encode(&m, &b);
    assert_int_equal(tree_nodes_reply_decode(buf_slice(&b), &back), DYN_OK);
    assert_int_equal(back.count, 2);
    assert_int_equal(back.differs[0], 0x8001);
    buf_release(&b);
}

static void test_leaves_and_what_differs_in_them(void **state)
{
    (void)state;
    struct tree_row_sum rows[] = {{1, 2}, {3, 4}, {5, 6}};
    struct tree_leaves m = {.scope = scope,
                            .partition = 1,
                            .count = 2,
                            .leaf = {7, 65535},
                            .n_rows = {1, 2},
                            .rows = rows},
                       back;
    struct buf b = BUF_EMPTY;
    tree_leaves_encode(&m, &b);
    assert_int_equal(tree_leaves_decode(buf_slice(&b), &back), DYN_OK);
    assert_int_equal(tree_leaves_rows(&back), 3);
    assert_memory_equal(back.rows, rows, sizeof(rows));
    tree_leaves_release(&back);
    for (size_t n = 0; n < b.len; n++)
        assert_int_not_equal(tree_leaves_decode(slice_of(b.data, n), &back), DYN_OK);
    buf_release(&b);
}

static void test_a_reply_to_leaves(void **state)
{
    (void)state;
    struct tree_leaves_page page = {0};
    struct tree_leaves_reply back;
    struct object o = OBJECT_EMPTY;
    struct dot dot = {{1, {2, 3}}, 4};
    struct buf b = BUF_EMPTY;
    clock_advance(&o.clock, &dot, 1000);
    tree_leaves_page_row(&page, ROW_ENTRY, slice_str("dir/name"), &o);
    tree_leaves_page_unknown(&page, 42);
    tree_leaves_page_end(&page, DYN_OK, &b);
    assert_int_equal(tree_leaves_reply_decode(buf_slice(&b), &back), DYN_OK);
    assert_int_equal(back.count, 1);
    assert_int_equal(back.rows[0].kind, ROW_ENTRY);
    assert_true(slice_equal(back.rows[0].key, slice_str("dir/name")));
    assert_true(object_equal(&back.rows[0].object, &o));
    assert_int_equal(back.n_unknown, 1);
    assert_int_equal(back.unknown[0], 42);
    tree_leaves_reply_release(&back);
    for (size_t n = 0; n < b.len; n++)
        assert_int_not_equal(tree_leaves_reply_decode(slice_of(b.data, n), &back), DYN_OK);
    object_release(&o);
    buf_release(&b);
}

static void test_a_row_of_no_key_and_an_absent_object_are_refused(void **state)
{
    (void)state;
    struct object none = OBJECT_EMPTY, o = OBJECT_EMPTY;
    struct tree_leaves_reply back;
    struct buf b = BUF_EMPTY;
    clock_advance(&o.clock, &(struct dot){{1, {2, 3}}, 4}, 1000);
    const struct {
        enum row_kind kind;
        const char *key;
        const struct object *object;
    } bad[] = {{ROW_OBJECT, "k", &none},
               {ROW_ENTRY, "", &o},
               {ROW_OBJECT, "a//b", &o},
               {ROW_DIRSTAT, "d", &o}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tree_leaves_page page = {0};
        tree_leaves_page_row(&page, bad[i].kind, slice_str(bad[i].key), bad[i].object);
        buf_clear(&b);
        tree_leaves_page_end(&page, DYN_OK, &b);
        assert_int_equal(tree_leaves_reply_decode(buf_slice(&b), &back), DYN_ERR_PROTOCOL);
    }
    object_release(&o);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roots),
        cmocka_unit_test(test_nodes_of_no_level_are_refused),
        cmocka_unit_test(test_masks),
        cmocka_unit_test(test_leaves_and_what_differs_in_them),
        cmocka_unit_test(test_a_reply_to_leaves),
        cmocka_unit_test(test_a_row_of_no_key_and_an_absent_object_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
