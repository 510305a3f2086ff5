/* SPDX-License-Identifier: Apache-2.0 */
/* What conflicting versions come to under the rules of a directory: pure functions of the set of
 * siblings, so that every node comes to the same. */
#include <stdlib.h>

#include "base/mem.h"
#include "model/object.h"

void object_keep_newest(struct object *o)
{
    uint32_t newest = 0;
    for (uint32_t i = 1; i < o->n; i++)
        if (sibling_order(&o->siblings[i], &o->siblings[newest]) > 0)
            newest = i;
    for (uint32_t i = 0; i < o->n; i++)
        if (i != newest)
            sibling_release(&o->siblings[i]);
    if (o->n > 1) {
        o->siblings[0] = o->siblings[newest];
        o->n = 1;
    }
}

/* ---- the union of lines ---- */

struct lines { /* a set of what has been put out already: open addressing, at most half full */
    struct slice *slots;
    size_t n, cap;
};

static size_t hash_of(struct slice s)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ s.data[i]) * 0x100000001b3u;
    return (size_t)(h ^ h >> 32);
}

static struct slice *slot_of(struct lines *l, struct slice line)
{
    size_t at = hash_of(line) & (l->cap - 1);
    while (l->slots[at].data != NULL && !slice_equal(l->slots[at], line))
        at = (at + 1) & (l->cap - 1);
    return &l->slots[at];
}

static void grow(struct lines *l)
{
    struct lines bigger = {.cap = l->cap == 0 ? 64 : l->cap * 2};
    bigger.slots = mem_zalloc(bigger.cap * sizeof(*bigger.slots));
    for (size_t i = 0; i < l->cap; i++)
        if (l->slots[i].data != NULL)
            *slot_of(&bigger, l->slots[i]) = l->slots[i];
    bigger.n = l->n;
    free(l->slots);
    *l = bigger;
}

static bool add(struct lines *l, struct slice line)
{
    if (l->n * 2 >= l->cap)
        grow(l);
    struct slice *slot = slot_of(l, line);
    if (slot->data != NULL)
        return false;
    *slot = line;
    l->n++;
    return true;
}

static void put_lines(struct lines *l, struct slice text, struct buf *out)
{
    while (text.len > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.data) : text.len;
        if (add(l, slice_of(text.data, len))) {
            buf_put(out, text.data, len);
            buf_put_u8(out, '\n');
        }
        size_t skip = end != NULL ? len + 1 : len;
        text = slice_of(text.data + skip, text.len - skip);
    }
}

static int oldest_first(const void *a, const void *b)
{
    return sibling_order(*(const struct sibling *const *)a, *(const struct sibling *const *)b);
}

bool object_union_lines(const struct object *o, uint64_t max, struct buf *out)
{
    const struct sibling **list = mem_reallocarray(NULL, o->n + 1, sizeof(*list));
    struct lines lines = {0};
    uint64_t sizes = 0;
    uint32_t n = 0;
    bool possible = true;
    for (uint32_t i = 0; i < o->n && possible; i++) {
        const struct sibling *s = &o->siblings[i];
        if (!sibling_live(s))
            continue;
        sizes += s->size;
        possible =
            s->type == SIBLING_FILE && s->manifest_len == 0 && (s->size == 0 || s->value != NULL);
        list[n++] = s;
    }
    /* a line that several have is counted more than once: who is near the limit is left alone */
    possible = possible && n > 1 && sizes + n <= max;
    if (possible)
        qsort(list, n, sizeof(*list), oldest_first);
    for (uint32_t i = 0; i < n && possible; i++)
        if (list[i]->value != NULL)
            put_lines(&lines, slice_of(list[i]->value->data, list[i]->value->len), out);
    free(lines.slots);
    free(list);
    return possible;
}
