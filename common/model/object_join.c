/* SPDX-License-Identifier: Apache-2.0 */
/* How versions meet: the join of two replicas' objects, and a write at its coordinator. Both end in
 * the same collapse, a pure function of the set of siblings, so that every node that has seen the
 * same dots keeps the same ones. The rule must not be "mine stays": two nodes that each kept their
 * own of two equal siblings would, at the next join, both drop the other's (HAZARDS E7). Keeping
 * the greatest of a total order is safe because its dot is dropped only by who holds a greater. */
#include <assert.h>
#include <stdlib.h>

#include "model/object.h"

void cover_release(struct cover *c)
{
    clock_release(&c->clock);
    free(c->dots);
    *c = COVER_EMPTY;
}

/* Index of the first dot not below d; dots are sorted. */
static uint32_t cover_lower_bound(const struct cover *c, const struct dot *d)
{
    uint32_t lo = 0, hi = c->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (dot_compare(&c->dots[mid], d) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

void cover_add_dot(struct cover *c, const struct dot *d)
{
    uint32_t i = cover_lower_bound(c, d);
    if (i < c->n && dot_equal(&c->dots[i], d))
        return;
    if (c->n == c->cap) {
        c->cap = c->cap == 0 ? 4 : c->cap * 2;
        c->dots = mem_reallocarray(c->dots, c->cap, sizeof(*c->dots));
    }
    memmove(&c->dots[i + 1], &c->dots[i], (c->n - i) * sizeof(*c->dots));
    c->dots[i] = *d;
    c->n++;
}

bool cover_has(const struct cover *c, const struct dot *d)
{
    uint32_t i = cover_lower_bound(c, d);
    return (i < c->n && dot_equal(&c->dots[i], d)) || clock_covers(&c->clock, d);
}

bool cover_within(const struct cover *c, const struct object *o)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (!clock_covers(&o->clock, &c->dots[i]))
            return false;
    return clock_dominates(&o->clock, &c->clock);
}

#define COMPARE(a, b)                                                                              \
    do {                                                                                           \
        if ((a) != (b))                                                                            \
            return (a) < (b) ? -1 : 1;                                                             \
    } while (0)

int sibling_absorb_order(const struct sibling *a, const struct sibling *b)
{
    COMPARE(a->origin.seq, b->origin.seq);
    return sibling_order(a, b);
}

static int compare_by_stream(const void *left, const void *right)
{
    const struct sibling *a = *(struct sibling *const *)left;
    const struct sibling *b = *(struct sibling *const *)right;
    COMPARE(a->origin.writer, b->origin.writer);
    COMPARE(a->origin.stream, b->origin.stream);
    return sibling_absorb_order(b, a); /* the survivor comes first */
}

static void content_xattrs(const struct sibling *s, uint8_t out[DIGEST_LEN])
{
    if (s->attrs.xattrs != NULL && s->attrs.xattrs->len != 0)
        xattrs_digest(s->attrs.xattrs, out);
    else
        memcpy(out, s->attrs.xattrs_hash, DIGEST_LEN);
}

/* A total order whose ties are exactly sibling_same_content, and in which the survivor of a tie
 * comes first. */
static int compare_by_content(const void *left, const void *right)
{
    const struct sibling *a = *(struct sibling *const *)left;
    const struct sibling *b = *(struct sibling *const *)right;
    if (!sibling_same_content(a, b)) {
        COMPARE(a->type, b->type);
        COMPARE(a->size, b->size);
        COMPARE(a->manifest_len, b->manifest_len);
        int c = a->size == 0 ? 0 : memcmp(a->value_hash, b->value_hash, DIGEST_LEN);
        if (c != 0)
            return c;
        COMPARE(a->attrs.mode, b->attrs.mode);
        COMPARE(a->attrs.uid, b->attrs.uid);
        COMPARE(a->attrs.gid, b->attrs.gid);
        uint8_t ha[DIGEST_LEN], hb[DIGEST_LEN];
        content_xattrs(a, ha);
        content_xattrs(b, hb);
        return memcmp(ha, hb, DIGEST_LEN);
    }
    return sibling_absorb_order(b, a);
}

/* Takes over a loaded value with the same bytes, so that nobody has to fetch it. */
static void adopt_value(struct sibling *to, const struct sibling *from)
{
    if (to->value == NULL && from->value != NULL && to->size == from->size &&
        to->manifest_len == from->manifest_len &&
        memcmp(to->value_hash, from->value_hash, DIGEST_LEN) == 0)
        to->value = blob_ref(from->value);
}

static bool same_stream(const struct sibling *a, const struct sibling *b)
{
    return a->origin.writer != 0 && a->origin.writer == b->origin.writer &&
           a->origin.stream == b->origin.stream;
}

/* Removes the siblings whose dot was set to none, keeping the order of the rest. */
static void sweep(struct object *o)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < o->n; i++) {
        if (dot_is_none(&o->siblings[i].dot))
            sibling_release(&o->siblings[i]);
        else
            o->siblings[kept++] = o->siblings[i];
    }
    o->n = kept;
}

/* Of each run of siblings that `same` holds for, in an array sorted so that the survivor leads, all
 * but the first lose their dot. Returns the number of survivors, moved to the front. */
static uint32_t keep_first_of_runs(struct sibling **list, uint32_t n,
                                   bool (*same)(const struct sibling *, const struct sibling *))
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (kept > 0 && same(list[kept - 1], list[i])) {
            adopt_value(list[kept - 1], list[i]);
            list[i]->dot = (struct dot){0};
        } else {
            list[kept++] = list[i];
        }
    }
    return kept;
}

/* Streams first: a write that its own author has replaced must not absorb someone else's. */
bool object_collapse(struct object *o)
{
    struct sibling *few[16], **list = few;
    uint32_t n = o->n;
    if (n < 2)
        return false;
    if (n > 16)
        list = mem_reallocarray(NULL, n, sizeof(struct sibling *));
    for (uint32_t i = 0; i < n; i++)
        list[i] = &o->siblings[i];
    qsort(list, n, sizeof(struct sibling *), compare_by_stream);
    uint32_t kept = keep_first_of_runs(list, n, same_stream);
    qsort(list, kept, sizeof(struct sibling *), compare_by_content);
    kept = keep_first_of_runs(list, kept, sibling_same_content);
    if (list != few)
        free(list);
    if (kept < n)
        sweep(o);
    return kept < n;
}

/* One dot has one record. Should a fault have made two, all nodes must settle on the same. */
static int compare_records(const struct sibling *a, const struct sibling *b)
{
    COMPARE(a->time_ns, b->time_ns);
    COMPARE(a->type, b->type);
    COMPARE(a->size, b->size);
    int c = memcmp(a->value_hash, b->value_hash, DIGEST_LEN);
    if (c == 0)
        c = dot_compare(&a->value_dot, &b->value_dot);
    if (c == 0)
        c = dot_compare(&a->base_dot, &b->base_dot);
    if (c != 0)
        return c;
    COMPARE(a->attrs.mode, b->attrs.mode);
    COMPARE(a->attrs.uid, b->attrs.uid);
    COMPARE(a->attrs.gid, b->attrs.gid);
    COMPARE(a->attrs.mtime_ns, b->attrs.mtime_ns);
    COMPARE(a->attrs.ctime_ns, b->attrs.ctime_ns);
    COMPARE(a->attrs.atime_ns, b->attrs.atime_ns);
    COMPARE(a->attrs.ino, b->attrs.ino);
    COMPARE(a->origin.writer, b->origin.writer);
    COMPARE(a->origin.stream, b->origin.stream);
    COMPARE(a->origin.seq, b->origin.seq);
    uint8_t ha[DIGEST_LEN], hb[DIGEST_LEN];
    content_xattrs(a, ha);
    content_xattrs(b, hb);
    return memcmp(ha, hb, DIGEST_LEN);
}

/* Both sides hold the dot. */
static bool join_records(struct sibling *mine, const struct sibling *theirs)
{
    bool replace = compare_records(mine, theirs) < 0;
    if (replace) {
        struct sibling old = *mine;
        sibling_copy(mine, theirs);
        adopt_value(mine, &old);
        sibling_release(&old);
    } else {
        adopt_value(mine, theirs);
    }
    return replace;
}

static bool same_dots(const struct object *a, const struct object *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!dot_equal(&a->siblings[i].dot, &b->siblings[i].dot))
            return false;
    return true;
}

/* Merges the sibling lists under the clocks as they were. */
static bool join_siblings(struct object *into, const struct object *other)
{
    bool changed = false;
    if (same_dots(into, other)) {
        for (uint32_t i = 0; i < into->n; i++)
            changed |= join_records(&into->siblings[i], &other->siblings[i]);
        return changed;
    }
    uint32_t cap = into->n + other->n, n = 0, i = 0, k = 0;
    struct sibling *out = mem_reallocarray(NULL, cap, sizeof(*out));
    while (i < into->n || k < other->n) {
        struct sibling *a = i < into->n ? &into->siblings[i] : NULL;
        const struct sibling *b = k < other->n ? &other->siblings[k] : NULL;
        int c = a == NULL ? 1 : b == NULL ? -1 : dot_compare(&a->dot, &b->dot);
        if (c == 0) {
            changed |= join_records(a, b);
            out[n++] = *a;
        } else if (c < 0 && clock_covers(&other->clock, &a->dot)) {
            sibling_release(a); /* they have seen it and dropped it */
            changed = true;
        } else if (c < 0) {
            out[n++] = *a;
        } else if (!clock_covers(&into->clock, &b->dot)) {
            sibling_copy(&out[n++], b);
            changed = true;
        }
        i += c <= 0;
        k += c >= 0;
    }
    free(into->siblings);
    into->siblings = out;
    into->n = n;
    into->cap = cap;
    return changed;
}

bool entry_join(struct object *into, const struct object *other)
{
    if (into == other)
        return false;
    bool changed = join_siblings(into, other);
    if (!clock_dominates(&into->clock, &other->clock))
        changed = true;
    clock_join(&into->clock, &other->clock);
    return changed;
}

bool object_join(struct object *into, const struct object *other)
{
    bool changed = entry_join(into, other);
    return object_collapse(into) || changed;
}

void object_write(struct object *o, const struct cover *cover, struct sibling *new_sibling,
                  uint64_t time_ms)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (cover_has(cover, &o->siblings[i].dot))
            o->siblings[i].dot = (struct dot){0};
    sweep(o);
    clock_join(&o->clock, &cover->clock);
    if (new_sibling == NULL)
        return;
    assert(!clock_covers(&o->clock, &new_sibling->dot));
    bool has_value = new_sibling->type == SIBLING_FILE || new_sibling->type == SIBLING_SYMLINK;
    if (has_value && dot_is_none(&new_sibling->value_dot))
        new_sibling->value_dot = new_sibling->dot;
    clock_advance(&o->clock, &new_sibling->dot, time_ms);
    object_insert(o, new_sibling);
    object_collapse(o);
}
