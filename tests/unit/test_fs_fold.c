/* SPDX-License-Identifier: Apache-2.0 */
/* A large file may be edited more often than a version can list uploads (large_fold.c). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "fs_world.h"
#include "model/large_private.h"
#include "unit.h"

#define MIB (1u << 20)
#define CHUNKS 1100u

/* As another mount, or this one on another day, would edit it: under an upload of its own. */
static void begin_another_upload(struct mount *m, uint64_t node)
{
    struct inode *i = inode_find(m->fs, node);
    assert_non_null(i);
    if (i->large == NULL)
        return;
    i->large->has_upload = false;
    i->large->next_number = i->large->reserved = 0;
}

static void text_of(uint32_t chunk, char out[16])
{
    snprintf(out, 16, "chunk %06u", chunk);
}

static void little_memory(struct fs_config *c)
{
    c->cache_max = 4 * MIB; /* so that what is folded has to be read */
}

static void test_a_file_that_was_edited_a_thousand_times_can_be_saved(void **state)
{
    struct world *t = *state;
    char text[16];
    uint32_t most = 0;
    struct mount *m = mount_new(&t->k, 9, little_memory);
    assert_int_equal(do_open(m, "big", O_RDWR | O_CREAT), 0);
    uint64_t node = m->node, fh = m->fh;
    for (uint32_t i = 0; i < CHUNKS; i++) {
        begin_another_upload(m, node);
        text_of(i, text);
        assert_int_equal(do_write(m, node, fh, (uint64_t)i * MIB, text), 0);
        assert_int_equal(do_write(m, node, fh, (uint64_t)(i + 2) * MIB, "."),
                         0); /* large at once */
        assert_int_equal(do_flush(m, node, fh), 0);
        const struct sibling *s = object_newest(fake_kv_object(&t->k, "big"));
        assert_true(s->manifest_len != 0);
        uint32_t uploads = s->uploads->len / UPLOAD_ID_LEN;
        most = uploads > most ? uploads : most;
    }
    do_close(m, node, fh);
    assert_in_range(most, UPLOADS_MAX / 2 + 1, UPLOADS_MAX - 1);
    assert_true(m->fs->counters.chunk_puts < 3 * CHUNKS + UPLOADS_MAX);
    assert_int_equal(do_open(t->b, "big", O_RDONLY), 0);
    for (uint32_t i = 0; i < CHUNKS; i += 7) {
        text_of(i, text);
        assert_non_null(do_read_at(t->b, t->b->node, t->b->fh, (uint64_t)i * MIB));
        assert_memory_equal(t->b->text, text, 12);
    }
    do_close(t->b, t->b->node, t->b->fh);
    mount_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_file_that_was_edited_a_thousand_times_can_be_saved,
                                        world_set_up, world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
