/* SPDX-License-Identifier: Apache-2.0 */
/* .dynamount/conflicts: every key below the mount's root that has versions in conflict, seen by
 * this mount before or not. Opening it walks the tree, a page of one directory at a time, depth
 * first. What it finds is remembered as after a listing, but was shown under no name: reading this
 * file settles nothing, whatever resolve= says (F1).
 *
 *   LIST -> its conflicts are put down, its directories pushed -> LIST ... -> no directory is left
 *        -> a listing fails, or nobody waits any more -> over */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/control.h"
#include "model/place.h"
#include "model/projection.h"

#define DIRS_MAX 1000000u
#define TEXT_MAX (64u << 20)

struct level {
    struct buf dir, after; /* after: where its listing goes on */
};

struct walk {
    struct task t;
    struct level *dirs; /* a stack, the one being listed on top */
    uint32_t n, cap;
    struct buf out;
    bool cut;
};

static void release(struct task *t)
{
    struct walk *w = container_of(t, struct walk, t);
    while (w->n > 0) {
        w->n--;
        buf_release(&w->dirs[w->n].dir);
        buf_release(&w->dirs[w->n].after);
    }
    free(w->dirs);
    buf_release(&w->out);
}

static void push(struct walk *w, struct slice dir, struct slice after)
{
    if (w->n == DIRS_MAX) {
        w->cut = true;
        return;
    }
    if (w->n == w->cap) {
        w->cap = w->cap == 0 ? 16 : w->cap * 2;
        w->dirs = mem_reallocarray(w->dirs, w->cap, sizeof(*w->dirs));
    }
    struct level *l = &w->dirs[w->n++];
    *l = (struct level){BUF_EMPTY, BUF_EMPTY};
    buf_put_slice(&l->dir, dir);
    buf_put_slice(&l->after, after);
}

static void put_versions(struct seen *s, struct buf *out)
{
    struct versions v;
    versions_of(s, &v);
    for (uint32_t i = 0; i < v.n && v.n > 1; i++) {
        char dot[DOT_TEXT_MAX];
        dot_format(&v.v[i].s.dot, dot);
        buf_put_percent(out, seen_key(s), "/ ");
        if (i == 0)
            buf_printf(out, "\tname");
        else if (v.v[i].number != 0)
            buf_printf(out, "\tconflict.%u", v.v[i].number);
        else
            buf_printf(out, "\tnot shown yet");
        buf_printf(out, "\t%s\t%llu bytes\n", dot, (unsigned long long)v.v[i].s.size);
    }
    versions_release(&v);
}

static bool has_directory(const struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (o->siblings[i].type == SIBLING_DIR)
            return true;
    return false;
}

static void take_entry(struct walk *w, struct slice dir, const struct list_entry *e)
{
    struct buf key = BUF_EMPTY;
    key_join(dir, e->name, &key);
    if (object_live_count(&e->object) > 1) {
        struct seen *s = seen_get(w->t.fs, buf_slice(&key));
        seen_listed(s, &e->object);
        if (w->out.len < TEXT_MAX)
            put_versions(s, &w->out);
        else
            w->cut = true;
        seen_unref(s);
    }
    if (has_directory(&e->object))
        push(w, buf_slice(&key), slice_of(NULL, 0));
    buf_release(&key);
}

static void next(struct walk *w);

static void on_listed(struct task *t, const struct list_reply *p)
{
    struct walk *w = container_of(t, struct walk, t);
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    struct buf dir = buf_take(&w->dirs[--w->n].dir);
    buf_release(&w->dirs[w->n].after);
    if (p->more) /* below its own directories, which are walked first */
        push(w, buf_slice(&dir), p->cursor);
    for (uint32_t i = 0; i < p->n; i++)
        take_entry(w, buf_slice(&dir), &p->entries[i]);
    buf_release(&dir);
    next(w);
}

static void next(struct walk *w)
{
    if (w->t.op == NULL) { /* interrupted: nobody waits for it */
        task_end(&w->t, EINTR);
    } else if (w->n > 0) {
        const struct level *l = &w->dirs[w->n - 1];
        task_list(&w->t, buf_slice(&l->dir), buf_slice(&l->after), 0, on_listed);
    } else {
        if (w->cut)
            buf_put_str(&w->out, "(there are more)\n");
        control_opened(w->t.fs, w->t.op, &w->out);
        task_end(&w->t, 0);
    }
}

void control_conflicts(struct fs *fs, struct fs_op *op)
{
    struct walk *w = task_new(fs, op, sizeof(*w), release);
    w->t.abandonable = true;
    push(w, buf_slice(&fs->root), slice_of(NULL, 0));
    next(w);
}
