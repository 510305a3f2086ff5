/* SPDX-License-Identifier: Apache-2.0 */
/* See kept.h. Replicas take the same version out one after the other, and on the two sides of a
 * split by two different writes; each tells it for itself, so a list is a union over nodes. Two
 * records that name different writes both stay: that is how the version which both sides had seen
 * is found again, where its readers did not say what they had read. */
#include "model/kept.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"

#define FORMAT 1
#define RECORD_COST 256u /* of a row without a value, about */

const char *kept_why_name(enum kept_why why)
{
    static const char *const names[KEPT_WHY_END] = {
        [KEPT_OVERWRITTEN] = "overwritten", [KEPT_DELETED] = "deleted",
        [KEPT_RESOLVED] = "resolved",       [KEPT_DROPPED] = "dropped",
        [KEPT_OUTDATED] = "outdated",       [KEPT_UNITED] = "united",
    };
    return why > 0 && why < KEPT_WHY_END ? names[why] : "unknown";
}

void kept_make(struct kept *k, const struct sibling *s, uint64_t since_ms, enum kept_why why,
               const struct dot *by)
{
    struct sibling copy;
    *k = (struct kept){.since_ms = since_ms, .why = why, .by = *by, .object = OBJECT_EMPTY};
    sibling_copy(&copy, s);
    clock_advance(&k->object.clock, &s->dot, s->time_ns / 1000000);
    object_insert(&k->object, &copy);
}

void kept_release(struct kept *k)
{
    object_release(&k->object);
}

uint64_t kept_cost(const struct sibling *s)
{
    return RECORD_COST + (s->manifest_len != 0 ? s->manifest_len + s->allocated : s->size);
}

void kept_encode(const struct kept *k, struct buf *out)
{
    buf_put_u8(out, FORMAT);
    buf_put_u64(out, k->since_ms);
    buf_put_u8(out, (uint8_t)k->why);
    buf_put_u8(out, !dot_is_none(&k->by));
    if (!dot_is_none(&k->by))
        dot_encode(&k->by, out);
    object_encode(&k->object, out);
}

void kept_decode(struct reader *r, struct kept *k)
{
    read_format(r, FORMAT);
    k->since_ms = read_u64(r);
    uint8_t why = read_u8(r), has_by = read_u8(r);
    k->why = (enum kept_why)why;
    if (why == 0 || has_by > 1)
        reader_fail(r);
    if (has_by == 1)
        dot_decode(r, &k->by);
    if (has_by == 1 && dot_is_none(&k->by))
        reader_fail(r);
    object_decode(r, &k->object);
    if (reader_ok(r) && (k->object.n != 1 || !sibling_live(kept_version(k))))
        reader_fail(r);
    if (!reader_ok(r)) {
        object_release(&k->object);
        k->object = OBJECT_EMPTY;
    }
}

/* ---- lists ------------------------------------------------------------------------------- */

void kept_list_release(struct kept_list *l)
{
    for (uint32_t i = 0; i < l->n; i++)
        kept_release(&l->k[i]);
    free(l->k);
    *l = KEPT_LIST_EMPTY;
}

static int order(const struct kept *a, const struct kept *b)
{
    int c = sibling_order(kept_version(b), kept_version(a));
    return c != 0 ? c : dot_compare(&a->by, &b->by);
}

static void take_value(struct kept *into, const struct kept *from)
{
    struct sibling *to = &into->object.siblings[0];
    const struct sibling *s = kept_version(from);
    if (to->value == NULL && s->value != NULL && digest_equal(to->value_hash, s->value_hash))
        to->value = blob_ref(s->value);
}

void kept_list_add(struct kept_list *l, struct kept *k)
{
    uint32_t at = 0;
    while (at < l->n && order(&l->k[at], k) < 0)
        at++;
    if (at < l->n && order(&l->k[at], k) == 0) {
        struct kept *have = &l->k[at];
        if (k->since_ms < have->since_ms) {
            have->since_ms = k->since_ms;
            have->why = k->why;
        }
        take_value(have, k);
        kept_release(k);
        return;
    }
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 8 : l->cap * 2;
        l->k = mem_reallocarray(l->k, l->cap, sizeof(*l->k));
    }
    memmove(l->k + at + 1, l->k + at, (l->n - at) * sizeof(*l->k));
    l->k[at] = *k;
    l->n++;
}

const struct kept *kept_list_find(const struct kept_list *l, const struct dot *dot)
{
    const struct kept *found = NULL;
    for (uint32_t i = 0; i < l->n; i++) {
        const struct sibling *s = kept_version(&l->k[i]);
        if (dot_equal(&s->dot, dot) && (found == NULL || s->value != NULL))
            found = &l->k[i];
    }
    return found;
}

uint32_t kept_list_next(const struct kept_list *l, uint32_t i)
{
    uint32_t k = i + 1;
    while (k < l->n && dot_equal(&kept_version(&l->k[k])->dot, &kept_version(&l->k[i])->dot))
        k++;
    return k;
}

static void add_went(struct json *array, const struct kept *k)
{
    char by[DOT_TEXT_MAX];
    struct json *j = json_add_object(array, NULL);
    json_add_str(j, "why", kept_why_name(k->why));
    json_add_u64(j, "time_ns", k->since_ms * 1000000);
    if (dot_is_none(&k->by))
        return;
    dot_format(&k->by, by);
    json_add_str(j, "by", by);
}

void kept_add_json(struct json *array, const struct kept_list *l)
{
    for (uint32_t i = 0, end; i < l->n; i = end) {
        const struct sibling *s = kept_version(&l->k[i]);
        struct json *j = json_add_object(array, NULL);
        char dot[DOT_TEXT_MAX], text[24];
        dot_format(&s->dot, dot);
        json_add_str(j, "dot", dot);
        json_add_str(j, "type", s->type == SIBLING_SYMLINK ? "symlink" : "file");
        json_add_u64(j, "size", s->size);
        json_add_u64(j, "time_ns", s->time_ns);
        snprintf(text, sizeof(text), "%04o", s->attrs.mode & 07777);
        json_add_str(j, "mode", text);
        json_add_hex(j, "hash", slice_of(s->value_hash, DIGEST_LEN));
        snprintf(text, sizeof(text), "%016" PRIx64, s->origin.writer);
        json_add_str(j, "writer", text);
        struct json *went = json_add_array(j, "went");
        end = kept_list_next(l, i);
        for (uint32_t k = i; k < end; k++)
            add_went(went, &l->k[k]);
    }
}

/* ---- ancestors --------------------------------------------------------------------------- */

/* k's version lies right behind s: its writer had read k's bytes, or s took k out. */
static bool is_parent(const struct kept *k, const struct sibling *s)
{
    const struct sibling *old = kept_version(k);
    if (dot_equal(&old->dot, &s->dot))
        return false;
    return dot_equal(&k->by, &s->dot) ||
           (!dot_is_none(&s->base_dot) &&
            (dot_equal(&old->value_dot, &s->base_dot) || dot_equal(&old->dot, &s->base_dot)));
}

/* Marks all records of versions that lie behind `from`. todo: room for one more than l->n. */
static void walk_back(const struct kept_list *l, const struct sibling *from, bool *behind,
                      const struct sibling **todo)
{
    uint32_t n = 0;
    todo[n++] = from;
    while (n > 0) {
        const struct sibling *s = todo[--n];
        for (uint32_t i = 0; i < l->n; i++) {
            const struct sibling *old = kept_version(&l->k[i]);
            if (behind[i] || !is_parent(&l->k[i], s))
                continue;
            for (uint32_t k = 0; k < l->n; k++)
                behind[k] |= dot_equal(&kept_version(&l->k[k])->dot, &old->dot);
            todo[n++] = old; /* each version once, so there is room */
        }
    }
}

const struct kept *kept_ancestor(const struct kept_list *l, const struct sibling *a,
                                 const struct sibling *b)
{
    const struct kept *best = NULL;
    bool *behind_a = mem_zalloc(l->n + 1), *behind_b = mem_zalloc(l->n + 1);
    const struct sibling **todo = mem_zalloc((l->n + 1) * sizeof(*todo));
    walk_back(l, a, behind_a, todo);
    walk_back(l, b, behind_b, todo);
    for (uint32_t i = 0; i < l->n && best == NULL; i++) /* the newest first */
        if (behind_a[i] && behind_b[i])
            best = &l->k[i];
    free(behind_a);
    free(behind_b);
    free(todo);
    return best;
}
