/* SPDX-License-Identifier: Apache-2.0 */
/* Memory is bounded whatever is looked at: what the kernel has let go is forgotten, and what it has
 * not costs little. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "fs_world.h"
#include "model/core.h"
#include "unit.h"

#define NAMES 60000u
#define FILES 2000u
#define ROUNDS 20u
#define KEY_BYTES_MAX 1500u /* of a key that is remembered; it was 830 when this was written */

static size_t in_use(void)
{
    return mallinfo2().uordblks;
}

static void forget(struct mount *m, uint64_t node)
{
    if (node != 0)
        fs_forget(m->fs, node, 1);
}

/* As `find` and `cp -r` do, on names that are there and on names that are not. */
static void test_tens_of_thousands_of_lookups_leave_a_bounded_memory(void **state)
{
    struct world *t = *state;
    char name[64];
    for (uint32_t i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "file-of-some-length-%06u", i);
        fake_kv_write(&t->k, name, "text", false);
    }
    size_t before = in_use();
    for (uint32_t i = 0; i < NAMES; i++) {
        snprintf(name, sizeof(name), "name-of-some-length-%06u", i);
        do_lookup(t->a, name);
    }
    assert_true(t->a->fs->seens.n <= 20100);
    size_t absent = in_use() - before;
    assert_true(absent < 20100 * KEY_BYTES_MAX);
    for (uint32_t i = 0; i < ROUNDS * FILES; i++) {
        snprintf(name, sizeof(name), "file-of-some-length-%06u", i % FILES);
        forget(t->a, do_lookup(t->a, name));
    }
    assert_true(t->a->fs->inodes.n < 10);
    assert_true(t->a->fs->seens.n <= 20100);
    assert_true(in_use() - before < 20100 * KEY_BYTES_MAX);
    printf("# %zu bytes for each of %zu keys remembered\n", (in_use() - before) / t->a->fs->seens.n,
           t->a->fs->seens.n);
}

/* What the kernel remembers this mount has to, too; it lets go when memory is short. */
static void test_an_inode_that_the_kernel_holds_costs_little(void **state)
{
    struct world *t = *state;
    char name[64];
    uint64_t nodes[FILES];
    for (uint32_t i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "file-of-some-length-%06u", i);
        fake_kv_write(&t->k, name, "text", false);
    }
    size_t before = in_use();
    for (uint32_t i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "file-of-some-length-%06u", i);
        nodes[i] = do_lookup(t->a, name);
    }
    size_t each = (in_use() - before) / FILES;
    printf("# %zu bytes for each inode with its key\n", each);
    assert_true(each < 4096);
    for (uint32_t i = 0; i < FILES; i++)
        forget(t->a, nodes[i]);
    assert_true(t->a->fs->inodes.n < 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tens_of_thousands_of_lookups_leave_a_bounded_memory,
                                        world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_an_inode_that_the_kernel_holds_costs_little,
                                        world_set_up, world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
