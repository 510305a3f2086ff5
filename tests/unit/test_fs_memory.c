/* SPDX-License-Identifier: Apache-2.0 */
/* Memory is bounded whatever is looked at: what the kernel has let go is forgotten, and what it has
 * not costs little. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

#define NAMES_MAX 500u

static void few_names(struct fs_config *c)
{
    c->names_max = NAMES_MAX;
}

/* A kernel whose memory is never short: it gives back what it is asked for, some time later. */
static uint64_t wanted[FILES * ROUNDS];
static uint32_t n_wanted;

static void take_note(struct mount *m, const struct fs_held *held)
{
    (void)m;
    wanted[n_wanted++] = held->node;
}

static void give_back(struct mount *m)
{
    while (n_wanted > 0)
        forget(m, wanted[--n_wanted]);
}

static void write_files(struct world *t, const char *in)
{
    char name[64];
    for (uint32_t i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "%sfile-%06u", in, i);
        fake_kv_write(&t->k, name, "text", false);
    }
}

static void test_no_more_names_are_kept_than_names_max_says(void **state)
{
    struct world *t = *state;
    struct mount *m = mount_new(&t->k, 3, few_names);
    char name[64];
    size_t most = 0;
    n_wanted = 0;
    m->let_go = take_note;
    write_files(t, "");
    for (uint32_t i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "file-%06u", i);
        assert_true(do_lookup(m, name) != 0);
        if (i % 10 == 0)
            give_back(m);
        most = m->fs->inodes.n > most ? m->fs->inodes.n : most;
    }
    assert_true(most <= NAMES_MAX + NAMES_MAX / 16 + 20);
    assert_true(m->fs->inodes.n > NAMES_MAX / 2); /* and not many fewer */
    assert_true(m->asked_back < FILES + 100);     /* each once */
    mount_free(m);
}

/* It gives nothing back, for all is in use: then it is asked again, but not at each lookup. */
static void test_what_is_in_use_is_asked_for_seldom(void **state)
{
    struct world *t = *state;
    struct mount *m = mount_new(&t->k, 3, few_names);
    char name[64];
    write_files(t, "");
    for (uint32_t i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "file-%06u", i);
        assert_true(do_lookup(m, name) != 0);
    }
    assert_int_equal(m->fs->inodes.n, FILES + 1);
    assert_true(m->asked_back < 3 * FILES);
    later(m);
    assert_true(do_lookup(m, name) != 0);
    uint32_t before = m->asked_back;
    later(m); /* the rest, once */
    later(m);
    assert_int_equal(m->asked_back - before, FILES - NAMES_MAX + NAMES_MAX / 16 + 1);
    mount_free(m);
}

static struct {
    uint64_t parent, node;
    char name[16];
} asked[FILES];
static uint32_t n_asked;

static void write_down(struct mount *m, const struct fs_held *held)
{
    (void)m;
    assert_true(held->name.len < sizeof(asked[0].name));
    asked[n_asked].parent = held->parent;
    asked[n_asked].node = held->node;
    if (held->name.len > 0)
        memcpy(asked[n_asked].name, held->name.data, held->name.len);
    asked[n_asked++].name[held->name.len] = 0;
}

static bool was_asked(uint64_t node, uint64_t parent, const char *name)
{
    for (uint32_t i = 0; i < n_asked; i++)
        if (asked[i].node == node)
            return asked[i].parent == parent && strcmp(asked[i].name, name) == 0;
    return false;
}

static bool named(uint64_t node)
{
    for (uint32_t i = 0; i < n_asked; i++)
        if (asked[i].node == node)
            return true;
    return false;
}

/* By its directory and name too, for kernels that must be asked so; a directory by itself alone.
 * The longest unused ones go; what is open, changed or just used stays. */
static void test_what_is_asked_back_is_said_by_node_and_by_name(void **state)
{
    struct world *t = *state;
    struct mount *m = mount_new(&t->k, 3, few_names);
    char name[64];
    n_asked = 0;
    fake_kv_mkdir(&t->k, "d");
    fake_kv_mkdir(&t->k, "d/sub");
    write_files(t, "d/");
    fake_kv_write(&t->k, "d/plain", "text", false);
    fake_kv_write(&t->k, "d/open", "text", false);
    uint64_t plain = do_lookup(m, "d/plain"), sub = do_lookup(m, "d/sub");
    assert_int_equal(do_open(m, "d/open", 0), 0);
    uint64_t open = m->node, fh = m->fh, d = do_lookup(m, "d");
    m->let_go = write_down;
    for (uint32_t i = 0; i < NAMES_MAX + NAMES_MAX / 16; i++) {
        snprintf(name, sizeof(name), "d/file-%06u", i);
        assert_true(do_lookup(m, name) != 0);
    }
    uint64_t last = do_lookup(m, name);
    assert_true(was_asked(plain, d, "plain"));
    assert_true(was_asked(sub, 0, ""));
    assert_false(named(open));
    assert_false(named(last));
    assert_int_equal(do_close(m, open, fh), 0);
    mount_free(m);
}

/* A reader of a directory, some entries at a time. */
#define BIG 40000u
#define AT_ONCE 300u

static struct {
    uint32_t n;
    uint64_t next;
    char first[64], last[64];
} got;

static bool some(struct fs_op *op, struct slice name, const struct fs_entry *e, uint64_t next)
{
    (void)op;
    (void)e;
    if (got.n == AT_ONCE)
        return false;
    got.n++;
    got.next = next;
    snprintf(got.last, sizeof(got.last), "%.*s", (int)name.len, (const char *)name.data);
    if (got.n == 1)
        memcpy(got.first, got.last, sizeof(got.first));
    return true;
}

static uint32_t read_at(struct mount *m, uint64_t dir, uint64_t fh, uint64_t off)
{
    struct call c;
    got.n = 0;
    got.next = off;
    call_init(m, &c);
    fs_readdir(m->fs, &c.op, dir, fh, off, false, some);
    assert_int_equal(call_wait(m, &c), 0);
    return got.n;
}

static void name_of_big(uint32_t i, char name[64])
{
    snprintf(name, 64, "big/file-%06u", i);
}

static void test_reading_a_huge_directory_takes_the_memory_of_its_names(void **state)
{
    struct world *t = *state;
    struct call c;
    char name[64];
    uint32_t n = 0;
    fake_kv_mkdir(&t->k, "big");
    for (uint32_t i = 0; i < BIG; i++) {
        name_of_big(i, name);
        fake_kv_write(&t->k, name, "", false);
    }
    uint64_t dir = do_lookup(t->a, "big"), off = 0;
    call_init(t->a, &c);
    fs_opendir(t->a->fs, &c.op, dir);
    assert_int_equal(call_wait(t->a, &c), 0);
    uint64_t fh = c.op.open.fh;
    for (; read_at(t->a, dir, fh, off) > 0; off = got.next)
        n += got.n;
    assert_int_equal(n, BIG + 2); /* . and .. */
    assert_true(t->a->fs->seens.n < BIG * 3 / 4);

    /* He comes back: the names are the same, at the same places, but for what is gone. */
    later(t->a);
    fake_kv_delete(&t->k, "big/file-000101");
    assert_int_equal(read_at(t->a, dir, fh, 102), AT_ONCE);
    assert_string_equal(got.first, "file-000100");
    assert_string_equal(got.last, "file-000400");
    assert_int_equal(read_at(t->a, dir, fh, got.next), AT_ONCE);
    assert_string_equal(got.first, "file-000401");
    fake_kv_delete(&t->k, "big/file-000000");
    assert_int_equal(read_at(t->a, dir, fh, 0), AT_ONCE); /* rewinddir: a new snapshot */
    assert_int_equal(read_at(t->a, dir, fh, 2), AT_ONCE);
    assert_string_equal(got.first, "file-000001");

    /* What this mount writes while it reads is not listed twice, though it has been forgotten. */
    for (n = AT_ONCE, off = got.next; off < BIG - 2000; off = got.next)
        n += read_at(t->a, dir, fh, off);
    assert_int_equal(sh_echo(t->a, "new", "big/file-000007"), 0);
    assert_int_equal(sh_echo(t->a, "new", "big/zz"), 0);
    for (; read_at(t->a, dir, fh, off) > 0; off = got.next)
        n += got.n;
    assert_int_equal(n, BIG - 2 + 1);
    assert_string_equal(got.last, "zz");
    call_init(t->a, &c);
    fs_releasedir(t->a->fs, &c.op, dir, fh);
    call_wait(t->a, &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tens_of_thousands_of_lookups_leave_a_bounded_memory,
                                        world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_an_inode_that_the_kernel_holds_costs_little,
                                        world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_no_more_names_are_kept_than_names_max_says,
                                        world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_reading_a_huge_directory_takes_the_memory_of_its_names,
                                        world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_in_use_is_asked_for_seldom, world_set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_asked_back_is_said_by_node_and_by_name,
                                        world_set_up, world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
