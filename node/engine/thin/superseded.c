/* SPDX-License-Identifier: Apache-2.0 */
/* See superseded.h. */
#include "engine/thin/superseded.h"

#include "base/mem.h"

uint32_t superseded_vouched(const struct object *o, const struct row_state *s, struct dot **dots)
{
    uint32_t n = 0;
    *dots = NULL;
    for (uint32_t i = 0; i < o->n && s->n_thin > 0; i++) {
        const struct dot *d = &o->siblings[i].value_dot;
        if (!sibling_live(&o->siblings[i]) || !row_state_vouched(s, d))
            continue;
        if (*dots == NULL)
            *dots = mem_reallocarray(NULL, o->n, sizeof(**dots));
        (*dots)[n++] = *d;
    }
    return n;
}

bool superseded_is_first(const struct engine *e, struct slice key, uint64_t node)
{
    uint64_t first;
    uint32_t partition = ring_partition_of(e->ring, key);
    return ring_preference_list(e->ring, partition, ring_n(e->ring), &first, 1) == 1 &&
           first == node;
}

bool superseded_drop(struct object *o, const struct dot *value_dot)
{
    uint32_t kept = 0, before = o->n;
    for (uint32_t i = 0; i < before; i++) {
        struct sibling *s = &o->siblings[i];
        if (sibling_live(s) && s->size > 0 && dot_equal(&s->value_dot, value_dot))
            sibling_release(s);
        else
            o->siblings[kept++] = *s;
    }
    o->n = kept;
    return kept < before;
}
