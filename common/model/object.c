/* SPDX-License-Identifier: Apache-2.0 */
/* See object.h. This file: siblings, questions about an object, its projection and its hash.
 * Joining and writing are in object_join.c, bytes in object_codec.c. An object is one array of
 * siblings sorted by dot, because nearly every object has exactly one. */
#include "model/object.h"

#include <assert.h>
#include <stdlib.h>

void sibling_release(struct sibling *s)
{
    blob_unref(s->attrs.xattrs);
    blob_unref(s->uploads);
    blob_unref(s->value);
    *s = (struct sibling){0};
}

void sibling_copy(struct sibling *to, const struct sibling *from)
{
    *to = *from;
    blob_ref(to->attrs.xattrs);
    blob_ref(to->uploads);
    blob_ref(to->value);
}

bool sibling_live(const struct sibling *s)
{
    return s->type != SIBLING_DELETE;
}

uint64_t sibling_value_len(const struct sibling *s)
{
    return s->manifest_len != 0 ? s->manifest_len : s->size;
}

int sibling_order(const struct sibling *a, const struct sibling *b)
{
    if (a->time_ns != b->time_ns)
        return a->time_ns < b->time_ns ? -1 : 1;
    return dot_compare(&a->dot, &b->dot);
}

static bool same_xattrs(const struct attrs *a, const struct attrs *b)
{
    bool has_a = a->xattrs != NULL && a->xattrs->len != 0;
    bool has_b = b->xattrs != NULL && b->xattrs->len != 0;
    if (has_a && has_b)
        return slice_equal(slice_of(a->xattrs->data, a->xattrs->len),
                           slice_of(b->xattrs->data, b->xattrs->len));
    if (!has_a && !has_b)
        return memcmp(a->xattrs_hash, b->xattrs_hash, DIGEST_LEN) == 0;
    uint8_t hash[DIGEST_LEN];
    xattrs_digest(has_a ? a->xattrs : b->xattrs, hash);
    return memcmp(hash, has_a ? b->xattrs_hash : a->xattrs_hash, DIGEST_LEN) == 0;
}

bool sibling_same_content(const struct sibling *a, const struct sibling *b)
{
    if (a->type != b->type)
        return false;
    if (a->type == SIBLING_DELETE)
        return true;
    return a->size == b->size && a->manifest_len == b->manifest_len &&
           a->attrs.mode == b->attrs.mode && a->attrs.uid == b->attrs.uid &&
           a->attrs.gid == b->attrs.gid &&
           (a->size == 0 || memcmp(a->value_hash, b->value_hash, DIGEST_LEN) == 0) &&
           same_xattrs(&a->attrs, &b->attrs);
}

void object_release(struct object *o)
{
    clock_release(&o->clock);
    for (uint32_t i = 0; i < o->n; i++)
        sibling_release(&o->siblings[i]);
    free(o->siblings);
    *o = OBJECT_EMPTY;
}

void object_copy(struct object *to, const struct object *from)
{
    if (to == from)
        return;
    struct object copy = OBJECT_EMPTY;
    clock_copy(&copy.clock, &from->clock);
    if (from->n != 0) {
        copy.siblings = mem_reallocarray(NULL, from->n, sizeof(*copy.siblings));
        copy.cap = from->n;
    }
    for (; copy.n < from->n; copy.n++)
        sibling_copy(&copy.siblings[copy.n], &from->siblings[copy.n]);
    object_release(to);
    *to = copy;
}

/* Index of the first sibling whose dot is not below d. */
static uint32_t lower_bound(const struct object *o, const struct dot *d)
{
    uint32_t lo = 0, hi = o->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (dot_compare(&o->siblings[mid].dot, d) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

void object_insert(struct object *o, struct sibling *s)
{
    assert(!dot_is_none(&s->dot) && clock_covers(&o->clock, &s->dot));
    uint32_t i = lower_bound(o, &s->dot);
    assert(i == o->n || !dot_equal(&o->siblings[i].dot, &s->dot));
    if (o->n == o->cap) {
        o->cap = o->cap == 0 ? 1 : o->cap * 2;
        o->siblings = mem_reallocarray(o->siblings, o->cap, sizeof(*o->siblings));
    }
    memmove(&o->siblings[i + 1], &o->siblings[i], (o->n - i) * sizeof(*o->siblings));
    o->siblings[i] = *s;
    o->n++;
    *s = (struct sibling){0};
}

bool object_is_absent(const struct object *o)
{
    return o->clock.n == 0 && o->n == 0;
}

bool object_live(const struct object *o)
{
    return object_live_count(o) != 0;
}

uint32_t object_live_count(const struct object *o)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < o->n; i++)
        n += sibling_live(&o->siblings[i]);
    return n;
}

const struct sibling *object_newest(const struct object *o)
{
    const struct sibling *best = NULL;
    for (uint32_t i = 0; i < o->n; i++) {
        const struct sibling *s = &o->siblings[i];
        if (sibling_live(s) && (best == NULL || sibling_order(s, best) > 0))
            best = s;
    }
    return best;
}

const struct sibling *object_newest_covered(const struct object *o, const struct cover *cover,
                                            enum sibling_type type)
{
    const struct sibling *best = NULL;
    for (uint32_t i = 0; i < o->n; i++) {
        const struct sibling *s = &o->siblings[i];
        if (sibling_live(s) && s->type == type && cover_has(cover, &s->dot) &&
            (best == NULL || sibling_order(s, best) > 0))
            best = s;
    }
    return best;
}

void attrs_inherit(struct attrs *a, const struct sibling *before, bool mode, bool uid, bool gid)
{
    if (before == NULL)
        return;
    const struct attrs *from = &before->attrs;
    bool unset = from->mode == 0 && from->ino == 0 && from->ctime_ns == 0; /* never given any */
    if (mode && !unset)
        a->mode = from->mode;
    if (uid)
        a->uid = from->uid;
    if (gid)
        a->gid = from->gid;
    a->ino = from->ino;
    blob_unref(a->xattrs);
    a->xattrs = blob_ref(from->xattrs);
}

const struct sibling *object_find(const struct object *o, const struct dot *d)
{
    uint32_t i = lower_bound(o, d);
    return i < o->n && dot_equal(&o->siblings[i].dot, d) ? &o->siblings[i] : NULL;
}

const struct sibling *object_find_value(const struct object *o, const struct dot *value_dot)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (dot_equal(&o->siblings[i].value_dot, value_dot))
            return &o->siblings[i];
    return NULL;
}

const struct sibling *object_find_origin(const struct object *o, const struct origin *origin)
{
    if (origin->writer == 0)
        return NULL;
    for (uint32_t i = 0; i < o->n; i++) {
        const struct origin *at = &o->siblings[i].origin;
        if (at->writer == origin->writer && at->stream == origin->stream && at->seq == origin->seq)
            return &o->siblings[i];
    }
    return NULL;
}

void object_cover_stream(const struct object *o, const struct origin *origin, struct cover *dots)
{
    for (uint32_t i = 0; origin->writer != 0 && i < o->n; i++) {
        const struct origin *at = &o->siblings[i].origin;
        if (at->writer == origin->writer && at->stream == origin->stream && at->seq < origin->seq)
            cover_add_dot(dots, &o->siblings[i].dot);
    }
}

void object_cover_dots(const struct object *o, const struct cover *from, struct cover *dots)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (cover_has(from, &o->siblings[i].dot))
            cover_add_dot(dots, &o->siblings[i].dot);
}

uint32_t object_live_outside(const struct object *o, const struct cover *cover)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < o->n; i++)
        n += sibling_live(&o->siblings[i]) && !cover_has(cover, &o->siblings[i].dot);
    return n;
}

void object_project(const struct object *o, struct object *entry)
{
    struct object copy = OBJECT_EMPTY;
    object_copy(&copy, o);
    for (uint32_t i = 0; i < copy.n; i++) {
        struct sibling *s = &copy.siblings[i];
        blob_unref(s->value);
        s->value = NULL;
        blob_unref(s->uploads);
        s->uploads = NULL;
        if (s->attrs.xattrs != NULL) {
            xattrs_digest(s->attrs.xattrs, s->attrs.xattrs_hash);
            blob_unref(s->attrs.xattrs);
            s->attrs.xattrs = NULL;
        }
    }
    object_release(entry);
    *entry = copy;
}

void object_prefix(const struct object *o, uint32_t n, struct object *out)
{
    struct object prefix = OBJECT_EMPTY;
    assert(n <= o->n);
    for (uint32_t i = 0; i < n; i++) {
        struct sibling copy;
        uint32_t at = 0;
        bool known = clock_index(&o->clock, &o->siblings[i].dot.actor, &at);
        clock_advance(&prefix.clock, &o->siblings[i].dot, known ? o->clock.pairs[at].time_ms : 0);
        sibling_copy(&copy, &o->siblings[i]);
        object_insert(&prefix, &copy);
    }
    object_release(out);
    *out = prefix;
}

bool object_equal(const struct object *a, const struct object *b)
{
    if (a->n != b->n || a->clock.n != b->clock.n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!dot_equal(&a->siblings[i].dot, &b->siblings[i].dot))
            return false;
    return clock_compare(&a->clock, &b->clock) == CLOCK_EQUAL;
}

bool object_values_loaded(const struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++) {
        const struct sibling *s = &o->siblings[i];
        if (sibling_live(s) && s->size != 0 && s->value == NULL)
            return false;
    }
    return true;
}

void object_hash(const struct object *o, uint8_t out[DIGEST_LEN])
{
    struct buf b = BUF_EMPTY;
    buf_reserve(&b, 8 + ((size_t)o->clock.n + o->n) * 32);
    buf_put_varint(&b, o->clock.n);
    for (uint32_t i = 0; i < o->clock.n; i++)
        dot_encode(&(struct dot){o->clock.pairs[i].actor, o->clock.pairs[i].counter}, &b);
    for (uint32_t i = 0; i < o->n; i++)
        dot_encode(&o->siblings[i].dot, &b);
    digest_sha256(buf_slice(&b), out);
    buf_release(&b);
}

bool object_is_dir(const struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (o->siblings[i].type == SIBLING_DIR)
            return true;
    return false;
}

struct dot object_survivor(const struct object *o, const struct sibling *written)
{
    if (object_find(o, &written->dot) != NULL)
        return written->dot;
    for (uint32_t i = 0; i < o->n; i++)
        if (sibling_same_content(&o->siblings[i], written))
            return o->siblings[i].dot;
    const struct sibling *later = object_find_origin(o, &written->origin);
    return later != NULL ? later->dot : written->dot;
}
