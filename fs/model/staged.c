/* SPDX-License-Identifier: Apache-2.0 */
/* See staged.h. */
#include "model/staged.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "model/key.h"

#define FORMAT 1
#define DOTS_MAX 4096u
#define SLOTS_MAX (1u << 20)

enum flag {
    PUBLISHED = 1,
    XATTRS_KNOWN = 2,
    DATA = 4,
    META = 8,
    APPENDED_ONLY = 16,
    LARGE = 32,
};

/* A version that never was published has no dot, and the codec of objects wants one. */
static const struct dot stand_in = {{1, {1, 1}}, 1};

/* ---- encoding ---------------------------------------------------------------------------- */

static void put_dots(const struct cover *c, struct buf *out)
{
    buf_put_varint(out, c->n);
    for (uint32_t i = 0; i < c->n; i++)
        dot_encode(&c->dots[i], out);
}

static void put_shown(const struct staged *s, struct buf *out)
{
    struct object o = OBJECT_EMPTY;
    struct sibling copy;
    sibling_copy(&copy, &s->shown);
    blob_unref(copy.value);
    copy.value = NULL;
    if (!s->published)
        copy.dot = stand_in;
    clock_advance(&o.clock, &copy.dot, 0);
    object_insert(&o, &copy);
    object_encode(&o, out);
    object_release(&o);
}

static void put_slot(const struct staged_slot *slot, struct buf *out)
{
    buf_put_varint(out, slot->chunk.index);
    buf_put_u8(out, (uint8_t)slot->state);
    buf_put_varint(out, slot->chunk.len);
    if (slot->state != STAGED_STORED)
        return;
    buf_put(out, slot->upload.bytes, UPLOAD_ID_LEN);
    buf_put_varint(out, slot->chunk.number);
    buf_put(out, slot->chunk.digest, DIGEST_LEN);
}

static void put_large(const struct staged_large *l, struct buf *out)
{
    buf_put_bytes(out, l->manifest);
    buf_put_varint(out, l->cut);
    buf_put_varint(out, l->size);
    buf_put_u64(out, (uint64_t)l->since_ns);
    buf_put_varint(out, l->n);
    for (uint32_t i = 0; i < l->n; i++)
        put_slot(&l->slots[i], out);
}

static unsigned flags_of(const struct staged *s)
{
    return (s->published ? PUBLISHED : 0u) | (s->xattrs_known ? XATTRS_KNOWN : 0u) |
           (s->data ? DATA : 0u) | (s->meta ? META : 0u) | (s->appended_only ? APPENDED_ONLY : 0u) |
           (s->is_large ? LARGE : 0u);
}

static void put_file(const struct staged *s, struct buf *out)
{
    buf_put_varint(out, s->number);
    buf_put_varint(out, (uint64_t)s->error);
    buf_put_u8(out, (uint8_t)flags_of(s));
    put_shown(s, out);
    put_dots(&s->dots, out);
    buf_put_varint(out, s->appended_from);
    if (s->is_large)
        put_large(&s->large, out);
    else
        buf_put_bytes(out, s->content);
}

void staged_encode(const struct staged *s, struct buf *out)
{
    buf_reserve(out, s->content.len + s->key.len + 1024);
    buf_put_u8(out, FORMAT);
    buf_put_u8(out, (uint8_t)s->kind);
    buf_put_u64(out, s->cluster);
    buf_put_varint(out, s->since_ns);
    buf_put_bytes(out, s->key);
    object_encode(&s->view, out);
    buf_put_varint(out, s->n_tokens);
    for (uint32_t i = 0; i < s->n_tokens; i++)
        buf_put_bytes(out, s->tokens[i]);
    put_dots(&s->cover, out);
    buf_put_u64(out, s->origin.writer);
    buf_put_varint(out, s->origin.stream);
    buf_put_varint(out, s->origin.seq);
    if (s->kind == STAGED_FILE)
        put_file(s, out);
}

/* ---- decoding ---------------------------------------------------------------------------- */

static uint32_t read_u32_up_to(struct reader *r, uint32_t max)
{
    uint64_t v = read_varint(r);
    if (v > max)
        reader_fail(r);
    return reader_ok(r) ? (uint32_t)v : 0;
}

static void read_dots(struct reader *r, struct cover *c)
{
    uint32_t n = read_u32_up_to(r, DOTS_MAX);
    for (uint32_t i = 0; i < n && reader_ok(r); i++) {
        struct dot d = {.counter = 0};
        dot_decode(r, &d);
        if (dot_is_none(&d))
            reader_fail(r);
        else if (reader_ok(r))
            cover_add_dot(c, &d);
    }
}

static void read_shown(struct reader *r, struct staged *s)
{
    struct object o = OBJECT_EMPTY;
    object_decode(r, &o);
    if (!reader_ok(r) || o.n != 1 || o.siblings[0].type != SIBLING_FILE)
        reader_fail(r);
    else
        sibling_copy(&s->shown, &o.siblings[0]);
    if (!s->published)
        s->shown.dot = (struct dot){.counter = 0};
    object_release(&o);
}

static void read_slot(struct reader *r, struct staged_slot *slot)
{
    slot->chunk.index = read_u32_up_to(r, UINT32_MAX);
    uint8_t state = read_u8(r);
    if (state > STAGED_DIRTY)
        reader_fail(r);
    slot->state = (enum staged_state)state;
    slot->chunk.len = read_u32_up_to(r, CHUNK_LEN);
    if (slot->state == STAGED_STORED) {
        read_copy(r, slot->upload.bytes, UPLOAD_ID_LEN);
        slot->chunk.number = read_u32_up_to(r, UINT32_MAX);
        read_copy(r, slot->chunk.digest, DIGEST_LEN);
        if (slot->chunk.len == 0)
            reader_fail(r);
    }
}

static void read_large(struct reader *r, struct staged_large *l)
{
    struct manifest m = MANIFEST_EMPTY;
    l->manifest = read_bytes(r);
    if (l->manifest.len > MANIFEST_LEN_MAX ||
        (l->manifest.len != 0 && manifest_decode(l->manifest, &m) != DYN_OK))
        reader_fail(r);
    l->cut = read_varint(r);
    l->size = read_varint(r);
    if (l->cut > m.size || l->size > FILE_LEN_MAX)
        reader_fail(r);
    manifest_release(&m);
    l->since_ns = (int64_t)read_u64(r);
    uint32_t n = read_u32_up_to(r, SLOTS_MAX);
    for (uint32_t i = 0; i < n && reader_ok(r); i++) {
        struct staged_slot slot = {.state = STAGED_HOLE};
        read_slot(r, &slot);
        bool ascends = l->n == 0 || l->slots[l->n - 1].chunk.index < slot.chunk.index;
        uint64_t start = (uint64_t)slot.chunk.index * CHUNK_LEN;
        if (!ascends || start > l->size || slot.chunk.len > l->size - start)
            reader_fail(r);
        else if (reader_ok(r))
            staged_add_slot(l, &slot);
    }
}

static void read_file(struct reader *r, struct staged *s)
{
    s->number = read_u32_up_to(r, UINT32_MAX);
    s->error = (int)read_u32_up_to(r, 4095);
    unsigned flags = read_u8(r);
    s->published = (flags & PUBLISHED) != 0;
    s->xattrs_known = (flags & XATTRS_KNOWN) != 0;
    s->data = (flags & DATA) != 0;
    s->meta = (flags & META) != 0;
    s->appended_only = (flags & APPENDED_ONLY) != 0;
    s->is_large = (flags & LARGE) != 0;
    read_shown(r, s);
    read_dots(r, &s->dots);
    s->appended_from = read_varint(r);
    if (s->is_large)
        read_large(r, &s->large);
    else
        s->content = read_bytes(r);
    uint64_t size = s->is_large ? s->large.size : s->content.len;
    if (!(s->data || s->meta) || s->content.len > VALUE_LEN_MAX || s->appended_from > size)
        reader_fail(r);
}

static void read_tokens(struct reader *r, struct staged *s)
{
    uint32_t n = read_u32_up_to(r, CONTEXTS_MAX);
    while (s->n_tokens < n && reader_ok(r)) {
        struct slice token = read_bytes(r);
        if (token.len > CONTEXT_LEN_MAX)
            reader_fail(r);
        s->tokens[s->n_tokens++] = token;
    }
}

int staged_decode(struct slice body, struct staged *s)
{
    struct staged got = {.n_tokens = 0};
    struct reader r = reader_of(body);
    uint8_t format = read_u8(&r);
    if (reader_ok(&r) && format != FORMAT)
        return DYN_ERR_UNSUPPORTED;
    uint8_t kind = read_u8(&r);
    if (kind != STAGED_FILE && kind != STAGED_DROP && kind != STAGED_UNSEEN)
        reader_fail(&r);
    got.kind = (enum staged_kind)kind;
    got.cluster = read_u64(&r);
    got.since_ns = read_varint(&r);
    got.key = read_bytes(&r);
    object_decode(&r, &got.view);
    read_tokens(&r, &got);
    read_dots(&r, &got.cover);
    got.origin.writer = read_u64(&r);
    got.origin.stream = read_varint(&r);
    got.origin.seq = read_varint(&r);
    if (reader_ok(&r) && kind == STAGED_FILE)
        read_file(&r, &got);
    if (!reader_done(&r) || key_check(got.key, NULL) != DYN_OK || got.origin.writer == 0) {
        staged_release(&got);
        return DYN_ERR_CORRUPT;
    }
    *s = got;
    return DYN_OK;
}

void staged_add_slot(struct staged_large *l, const struct staged_slot *slot)
{
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 16 : l->cap * 2;
        l->slots = mem_reallocarray(l->slots, l->cap, sizeof(*l->slots));
    }
    l->slots[l->n++] = *slot;
    l->n_dirty += slot->state == STAGED_DIRTY;
}

void staged_release(struct staged *s)
{
    object_release(&s->view);
    cover_release(&s->cover);
    cover_release(&s->dots);
    sibling_release(&s->shown);
    free(s->large.slots);
    buf_release(&s->large.own);
    *s = (struct staged){.n_tokens = 0};
}
