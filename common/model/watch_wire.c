/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of the frames of watch.h. */
#include "model/watch.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/fragment.h"
#include "model/key.h"
#include "model/wire_codec.h"

static void put_dirs(const struct slice *dirs, uint32_t n, struct buf *out)
{
    assert(n <= INTEREST_DIRS_MAX);
    buf_put_varint(out, n);
    for (uint32_t i = 0; i < n; i++)
        buf_put_bytes(out, dirs[i]);
}

static struct slice read_dir(struct reader *r)
{
    struct slice dir = wire_read_bytes(r, ENTRY_ID_MAX);
    if (!fragment_id_valid(dir))
        reader_fail(r);
    return dir;
}

/* *dirs: the caller frees, also when the reader failed. */
static void read_dirs(struct reader *r, const struct slice **dirs, uint32_t *n)
{
    *n = wire_read_u32(r, INTEREST_DIRS_MAX);
    *dirs = NULL;
    if (*n == 0)
        return;
    struct slice *list = mem_reallocarray(NULL, *n, sizeof(*list));
    for (uint32_t i = 0; i < *n; i++)
        list[i] = read_dir(r);
    *dirs = list;
}

void interest_request_encode(const struct interest_request *q, struct buf *out)
{
    wire_begin(out);
    buf_put_u64(out, q->session);
    buf_put_u8(out, q->begin);
    put_dirs(q->add, q->n_add, out);
    put_dirs(q->drop, q->n_drop, out);
}

int interest_request_decode(struct slice body, struct interest_request *q)
{
    struct interest_request got = {.n_add = 0};
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    got.session = read_u64(&r);
    got.begin = wire_read_bool(&r);
    read_dirs(&r, &got.add, &got.n_add);
    read_dirs(&r, &got.drop, &got.n_drop);
    if (!reader_ok(&r) || got.session == 0) {
        interest_request_release(&got);
        return DYN_ERR_PROTOCOL;
    }
    *q = got;
    return DYN_OK;
}

void interest_request_release(struct interest_request *q)
{
    free((void *)(uintptr_t)q->add);
    free((void *)(uintptr_t)q->drop);
    *q = (struct interest_request){.n_add = 0};
}

uint8_t interest_taken(uint32_t fragments)
{
    uint8_t taken = 1;
    while (fragments >> taken != 0)
        taken++;
    return taken;
}

uint32_t interest_fragments(uint8_t taken)
{
    uint8_t most = FRAGMENT_DEPTH_MAX + 1;
    return 1u << ((taken < most ? taken : most) - 1);
}

void interest_reply_encode(const struct interest_reply *p, struct buf *out)
{
    wire_begin(out);
    wire_put_status(p->status, 0, 0, out);
    buf_put_bytes(out, slice_of(p->taken, p->n));
}

int interest_reply_decode(struct slice body, struct interest_reply *p)
{
    struct interest_reply got = {.n = 0};
    uint8_t answered, needed;
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_status(&r, &got.status, &answered, &needed);
    struct slice taken = wire_read_bytes(&r, INTEREST_DIRS_MAX);
    if (!reader_ok(&r))
        return DYN_ERR_PROTOCOL;
    got.n = (uint32_t)taken.len;
    if (taken.len != 0)
        memcpy(got.taken, taken.data, taken.len);
    *p = got;
    return DYN_OK;
}

void watch_request_encode(const struct watch_request *q, struct buf *out)
{
    wire_begin(out);
    buf_put_u64(out, q->session);
    buf_put_varint(out, q->hold_ms);
}

int watch_request_decode(struct slice body, struct watch_request *q)
{
    struct watch_request got;
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    got.session = read_u64(&r);
    got.hold_ms = wire_read_u32(&r, UINT32_MAX);
    if (!reader_ok(&r) || got.session == 0)
        return DYN_ERR_PROTOCOL;
    *q = got;
    return DYN_OK;
}

void watch_reply_begin(int status, uint64_t number, uint32_t n, struct buf *out)
{
    assert(n <= WATCH_EVENTS_MAX);
    wire_begin(out);
    wire_put_status(status, 0, 0, out);
    buf_put_u64(out, number);
    buf_put_varint(out, n);
}

void watch_reply_event(enum watch_kind kind, struct slice dir, struct slice name, bool came_or_went,
                       struct slice state, struct buf *out)
{
    buf_put_u8(out, (uint8_t)kind);
    buf_put_bytes(out, dir);
    buf_put_bytes(out, name);
    buf_put_u8(out, came_or_went);
    buf_put_slice(out, state);
}

static void read_event(struct reader *r, struct watch_event *e)
{
    *e = (struct watch_event){.state = OBJECT_EMPTY};
    uint8_t kind = read_u8(r);
    if (kind < WATCH_NAME || kind > WATCH_ENDED)
        reader_fail(r);
    e->kind = (enum watch_kind)kind;
    e->dir = read_dir(r);
    e->name = wire_read_bytes(r, KEY_NAME_MAX);
    if ((e->name.len != 0) != (kind == WATCH_NAME) ||
        (e->name.len != 0 && key_name_check(e->name, NULL) != DYN_OK))
        reader_fail(r);
    e->came_or_went = wire_read_bool(r);
    if (kind == WATCH_NAME || kind == WATCH_SELF)
        object_decode(r, &e->state);
}

int watch_reply_decode(struct slice body, struct watch_reply *p)
{
    struct watch_reply got = {.n = 0};
    uint8_t answered, needed;
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_status(&r, &got.status, &answered, &needed);
    got.number = read_u64(&r);
    uint32_t n = wire_read_u32(&r, WATCH_EVENTS_MAX);
    if (reader_ok(&r) && n > 0)
        got.events = mem_reallocarray(NULL, n, sizeof(*got.events));
    while (reader_ok(&r) && got.n < n)
        read_event(&r, &got.events[got.n++]);
    if (!reader_ok(&r)) {
        watch_reply_release(&got);
        return DYN_ERR_PROTOCOL;
    }
    *p = got;
    return DYN_OK;
}

void watch_reply_release(struct watch_reply *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        object_release(&p->events[i].state);
    free(p->events);
    p->events = NULL;
    p->n = 0;
}
