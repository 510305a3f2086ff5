/* SPDX-License-Identifier: Apache-2.0 */
/* See numbering.h. */
#include "model/numbering.h"

#include "base/err.h"
#include "model/key.h"
#include "model/projection.h"

#define PAGE 256u

static void on_list(struct task *t, const struct list_reply *p);

static void list(struct numbering *n)
{
    task_list(n->t, key_parent(seen_key(n->s)), buf_slice(&n->cursor), PAGE, on_list);
}

static void on_list(struct task *t, const struct list_reply *p)
{
    struct numbering *n = t->numbering;
    struct buf key = BUF_EMPTY;
    bool beyond = false;
    for (uint32_t i = 0; p->status == DYN_OK && i < p->n && !beyond; i++) {
        beyond = !slice_has_prefix(p->entries[i].name, buf_slice(&n->prefix));
        buf_clear(&key);
        key_join(key_parent(seen_key(n->s)), p->entries[i].name, &key);
        struct seen *s = seen_get(t->fs, buf_slice(&key));
        seen_listed(s, &p->entries[i].object);
        seen_unref(s);
    }
    buf_release(&key);
    if (p->status == DYN_OK && !beyond && p->more) {
        buf_clear(&n->cursor);
        buf_put_slice(&n->cursor, p->cursor);
        list(n);
        return;
    }
    t->numbering = NULL;
    n->done(t, fs_errno(p->status));
}

void numbering_start(struct numbering *n, struct task *t, struct seen *s,
                     void (*done)(struct task *t, int err))
{
    numbering_release(n);
    *n = (struct numbering){.t = t, .s = s, .done = done};
    projection_prefix(seen_name(s), &n->prefix);
    buf_put_slice(&n->cursor, buf_slice(&n->prefix));
    t->numbering = n;
    list(n);
}

void numbering_release(struct numbering *n)
{
    buf_release(&n->prefix);
    buf_release(&n->cursor);
}

bool numbering_covered(struct slice name, struct slice last)
{
    struct buf prefix = BUF_EMPTY;
    projection_prefix(name, &prefix);
    bool covered =
        slice_compare(last, buf_slice(&prefix)) > 0 && !slice_has_prefix(last, buf_slice(&prefix));
    buf_release(&prefix);
    return covered;
}
