/* SPDX-License-Identifier: Apache-2.0 */
/* See late_copy.h. */
#include "engine/coordinate/late_copy.h"

#include "base/err.h"

static bool same_put(const struct sibling *s, const struct origin *origin)
{
    return origin->writer != 0 && s->origin.writer == origin->writer &&
           s->origin.stream == origin->stream && s->origin.seq >= origin->seq;
}

const struct sibling *origin_find(const struct object *o, const struct origin *origin)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (same_put(&o->siblings[i], origin))
            return &o->siblings[i];
    return NULL;
}

bool late_copy_possible(const struct late_copy *l, const struct replica_write *w,
                        const struct origin *origin, const struct cover *named)
{
    if (l->looked || origin->writer == 0 || w->state.kept.n == 0)
        return false;
    for (uint32_t i = 0; i < w->stored.n; i++)
        if (!cover_has(named, &w->stored.siblings[i].dot))
            return true;
    return false;
}

static void on_read(struct kept_read *r, int err)
{
    struct late_copy *l = r->arg;
    for (uint32_t i = 0; err == DYN_OK && i < r->list.n; i++) /* else a false conflict at worst */
        if (same_put(kept_version(&r->list.k[i]), &l->origin))
            l->dot = kept_version(&r->list.k[i])->dot;
    late_copy_release(l);
    l->looked = true;
    l->done(l);
}

void late_copy_look(struct late_copy *l)
{
    l->read =
        (struct kept_read){.e = l->e, .key = l->key, .want = KEPT_LIST, .done = on_read, .arg = l};
    l->reading = true;
    kept_read_start(&l->read);
}

void late_copy_release(struct late_copy *l)
{
    if (l->reading)
        kept_read_release(&l->read);
    l->reading = false;
}
