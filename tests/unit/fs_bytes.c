/* SPDX-License-Identifier: Apache-2.0 */
/* See fs_bytes.h. */
#include "fs_bytes.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/mem.h"
#include "unit.h"

static uint8_t byte_at(uint64_t off, uint8_t salt)
{
    return (uint8_t)(off * 31 + (off >> 12) * 7 + salt);
}

int put_bytes(struct mount *m, uint64_t node, uint64_t fh, uint64_t off, size_t len, uint8_t salt)
{
    uint8_t *data = mem_alloc(len);
    struct call c;
    for (size_t i = 0; i < len; i++)
        data[i] = byte_at(off + i, salt);
    call_init(m, &c);
    fs_write(m->fs, &c.op, node, fh, off, slice_of(data, len));
    int err = call_wait(m, &c);
    if (err == 0)
        assert_int_equal(c.op.written, len);
    free(data);
    return err;
}

struct reading {
    struct call c;
    struct buf got;
};

static void on_read(struct fs_op *op)
{
    struct reading *r = op->arg;
    buf_put_slice(&r->got, op->data); /* borrowed during done */
    r->c.done = true;
}

struct buf get_bytes(struct mount *m, uint64_t node, uint64_t fh, uint64_t off, uint32_t len)
{
    struct reading r = {.got = BUF_EMPTY};
    call_init(m, &r.c);
    r.c.op.done = on_read;
    r.c.op.arg = &r;
    fs_read(m->fs, &r.c.op, node, fh, off, len);
    assert_int_equal(call_wait(m, &r.c), 0);
    return r.got;
}

void expect_bytes(struct mount *m, uint64_t node, uint64_t fh, uint64_t off, size_t len,
                  uint8_t salt)
{
    struct buf got = get_bytes(m, node, fh, off, (uint32_t)len);
    assert_int_equal(got.len, len);
    for (size_t i = 0; i < len; i++)
        if (got.data[i] != byte_at(off + i, salt))
            fail_msg("byte %llu", (unsigned long long)(off + i));
    buf_release(&got);
}

void make_file(struct mount *m, const char *path, uint64_t len, uint8_t salt)
{
    assert_int_equal(do_open(m, path, O_RDWR | O_CREAT), 0);
    uint64_t node = m->node, fh = m->fh;
    for (uint64_t at = 0; at < len; at += 128u << 10)
        assert_int_equal(
            put_bytes(m, node, fh, at, len - at < 128u << 10 ? len - at : 128u << 10, salt), 0);
    assert_int_equal(do_close(m, node, fh), 0);
}
