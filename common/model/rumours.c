/* SPDX-License-Identifier: Apache-2.0 */
/* See rumours.h. Of two starts of one node the one with the higher count is the later; equal counts
 * with different incarnations are two processes, and any total order will do for the table, since
 * each of the two sees that the other exists. */
#include "model/rumours.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define RUMOURS_FORMAT 1

void rumours_release(struct rumours *r)
{
    history_release(&r->history);
    free(r->boots);
    buf_release(&r->plan);
    *r = RUMOURS_EMPTY;
}

/* ---- starts ------------------------------------------------------------------------------- */

static uint32_t boot_slot(const struct rumours *r, uint64_t node)
{
    uint32_t lo = 0, hi = r->n_boots;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (r->boots[mid].node < node)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct boot *rumours_boot(const struct rumours *r, uint64_t node)
{
    uint32_t at = boot_slot(r, node);
    return at < r->n_boots && r->boots[at].node == node ? &r->boots[at] : NULL;
}

static bool is_later(const struct boot *a, const struct boot *than)
{
    return a->count != than->count ? a->count > than->count : a->incarnation > than->incarnation;
}

void rumours_set_boot(struct rumours *r, const struct boot *boot)
{
    uint32_t at = boot_slot(r, boot->node);
    if (at < r->n_boots && r->boots[at].node == boot->node) {
        if (is_later(boot, &r->boots[at]))
            r->boots[at] = *boot;
        return;
    }
    if (r->n_boots == BOOTS_MAX)
        return;
    if (r->n_boots == r->cap_boots) {
        r->cap_boots = r->cap_boots == 0 ? 8 : r->cap_boots * 2;
        r->boots = mem_reallocarray(r->boots, r->cap_boots, sizeof(*r->boots));
    }
    memmove(&r->boots[at + 1], &r->boots[at], (r->n_boots - at) * sizeof(*r->boots));
    r->boots[at] = *boot;
    r->n_boots++;
}

bool rumours_join_boots(struct rumours *into, const struct rumours *other,
                        void (*told)(void *arg, const struct boot *boot), void *arg)
{
    bool news = false;
    for (uint32_t i = 0; i < other->n_boots; i++) {
        const struct boot *theirs = &other->boots[i], *ours = rumours_boot(into, theirs->node);
        bool rival = ours != NULL && theirs->count == ours->count &&
                     theirs->incarnation != ours->incarnation;
        if (ours != NULL && !rival && !is_later(theirs, ours))
            continue;
        news = true;
        if (told != NULL)
            told(arg, theirs);
        const struct boot neither = {theirs->node, theirs->count + 1, 0};
        rumours_set_boot(into, rival ? &neither : theirs);
    }
    return news;
}

bool rumours_join_plan(struct rumours *into, const struct rumours *other)
{
    if (other->plan_stamp < into->plan_stamp ||
        (other->plan_stamp == into->plan_stamp && other->plan_node <= into->plan_node))
        return false;
    into->plan_stamp = other->plan_stamp;
    into->plan_node = other->plan_node;
    buf_clear(&into->plan);
    buf_put_slice(&into->plan, buf_slice(&other->plan));
    return true;
}

/* ---- digests ------------------------------------------------------------------------------ */

void rumours_boots_encode(const struct rumours *r, struct buf *out)
{
    buf_put_varint(out, r->n_boots);
    for (uint32_t i = 0; i < r->n_boots; i++) {
        buf_put_u64(out, r->boots[i].node);
        buf_put_varint(out, r->boots[i].count);
        buf_put_u64(out, r->boots[i].incarnation);
    }
}

void rumours_digest(const struct rumours *r, struct rumours_digest *out)
{
    struct buf bytes = BUF_EMPTY;
    *out = (struct rumours_digest){.history = history_epoch(&r->history),
                                   .plan_stamp = r->plan_stamp,
                                   .plan_node = r->plan_node};
    rumours_boots_encode(r, &bytes);
    digest_sha256(buf_slice(&bytes), out->boots);
    buf_release(&bytes);
}

bool rumours_digest_equal(const struct rumours_digest *a, const struct rumours_digest *b)
{
    return history_epoch_equal(&a->history, &b->history) &&
           memcmp(a->boots, b->boots, DIGEST_LEN) == 0 && a->plan_stamp == b->plan_stamp &&
           a->plan_node == b->plan_node;
}

void rumours_digest_encode(const struct rumours_digest *d, struct buf *out)
{
    buf_put_u32(out, d->history.length);
    buf_put(out, d->history.digest, DIGEST_LEN);
    buf_put(out, d->boots, DIGEST_LEN);
    buf_put_varint(out, d->plan_stamp);
    buf_put_u64(out, d->plan_node);
}

void rumours_digest_decode(struct reader *r, struct rumours_digest *d)
{
    d->history.length = read_u32(r);
    read_copy(r, d->history.digest, DIGEST_LEN);
    read_copy(r, d->boots, DIGEST_LEN);
    d->plan_stamp = read_varint(r);
    d->plan_node = read_u64(r);
}

/* ---- the whole ---------------------------------------------------------------------------- */

void rumours_encode(const struct rumours *r, struct buf *out)
{
    struct buf history = BUF_EMPTY;
    buf_put_u8(out, RUMOURS_FORMAT);
    history_encode(&r->history, &history);
    buf_put_bytes(out, buf_slice(&history));
    buf_release(&history);
    rumours_boots_encode(r, out);
    buf_put_varint(out, r->plan_stamp);
    buf_put_u64(out, r->plan_node);
    buf_put_bytes(out, buf_slice(&r->plan));
}

void rumours_boots_decode(struct reader *reader, struct rumours *r)
{
    uint64_t n = read_varint(reader), last = 0;
    if (n > BOOTS_MAX)
        reader_fail(reader);
    for (uint64_t i = 0; i < n && reader_ok(reader); i++) {
        struct boot b = {.node = read_u64(reader)};
        b.count = read_varint(reader);
        b.incarnation = read_u64(reader);
        if (b.node <= last)
            reader_fail(reader);
        last = b.node;
        if (reader_ok(reader))
            rumours_set_boot(r, &b);
    }
}

void rumours_decode(struct reader *reader, struct rumours *out)
{
    struct rumours got = RUMOURS_EMPTY;
    if (read_u8(reader) != RUMOURS_FORMAT)
        reader_fail(reader);
    struct slice history = read_bytes(reader);
    if (reader_ok(reader)) {
        struct reader inner = reader_of(history);
        history_decode(&inner, &got.history);
        if (!reader_done(&inner))
            reader_fail(reader);
    }
    rumours_boots_decode(reader, &got);
    got.plan_stamp = read_varint(reader);
    got.plan_node = read_u64(reader);
    struct slice plan = read_bytes(reader);
    if (plan.len > PLAN_LEN_MAX)
        reader_fail(reader);
    if (!reader_ok(reader)) {
        rumours_release(&got);
        return;
    }
    buf_put_slice(&got.plan, plan);
    rumours_release(out);
    *out = got;
}
