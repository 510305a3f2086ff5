/* SPDX-License-Identifier: Apache-2.0 */
/* opendir, readdir(plus), releasedir: a cursor over a snapshot of names, fetched page by page as
 * the reader advances. A cookie is an ordinal of the snapshot, so `rm` while reading is stable; the
 * attributes are those of the moment of the answer. Projections follow their base.
 *
 * What is known of a name costs many times its bytes, so of rows that the reader has passed only
 * the names are kept. Should he come back (seekdir), their page is listed again.
 *
 *   LIST -> [NUMBERS, for each name with a conflict that is new here] -> rows -> fill
 *   the last page: -> [GET, for each name that this mount wrote and the listing lacks] -> fill
 *   a row of which only the name is left: LIST -> fill
 */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "model/control.h"
#include "model/numbering.h"
#include "model/owed.h"
#include "model/place.h"
#include "model/publish.h"
#include "model/told.h"

#define PAGE 1024u
/* Rows before the last one listed that stay whole: more than an answer to the kernel holds, which
 * may come back for what its caller had no room for. */
#define WHOLE 8192u

struct row {
    struct seen *seen; /* referenced; NULL: only the name is left */
    uint32_t number;
    uint32_t name_at; /* in the cursor's names: its length, then the name itself or its base */
};

struct cursor {
    struct list link;  /* fs->cursors */
    struct inode *dir; /* held */
    struct row *rows;
    size_t n, cap;
    size_t n_listed;             /* the first rows, of pages: by name */
    size_t whole;                /* from this one on they have more than their names, ... */
    size_t again_from, again_to; /* ... as these have again */
    struct buf names;
    struct buf after;
    bool started, complete;
    uint32_t readings; /* that go on, though their reader was killed */
    bool released;
    uint64_t id;
    struct seen **page; /* of the page that becomes rows; referenced */
    size_t n_page, cap_page;
    struct buf page_last; /* its last name; empty: nothing comes after it */
};

struct reading {
    struct task t;
    struct cursor *c;
    uint64_t off;
    bool plus;
    fs_fill fill;
    struct numbering numbering;
    size_t at;           /* in the page */
    struct seen *recent; /* being asked for; referenced */
};

static void drop_page(struct cursor *c)
{
    for (size_t i = 0; i < c->n_page; i++)
        seen_unref(c->page[i]);
    c->n_page = 0;
}

static void clear(struct cursor *c)
{
    drop_page(c);
    for (size_t i = 0; i < c->n; i++)
        seen_unref(c->rows[i].seen);
    c->n = c->n_listed = c->whole = c->again_from = c->again_to = 0;
    buf_clear(&c->names);
    buf_clear(&c->after);
    c->started = c->complete = false;
    c->id = ++c->dir->fs->next_cursor;
}

static void cursor_free(struct cursor *c)
{
    clear(c);
    list_remove(&c->link);
    inode_drop(c->dir);
    free(c->rows);
    free(c->page);
    buf_release(&c->names);
    buf_release(&c->page_last);
    buf_release(&c->after);
    free(c);
}

static void add_row(struct cursor *c, struct seen *s, uint32_t number)
{
    if (c->n == c->cap) {
        c->cap = c->cap == 0 ? 16 : c->cap * 2;
        c->rows = mem_reallocarray(c->rows, c->cap, sizeof(*c->rows));
    }
    struct slice name = seen_name(s);
    c->rows[c->n++] = (struct row){seen_ref(s), number, (uint32_t)c->names.len};
    buf_put_u8(&c->names, (uint8_t)name.len);
    buf_put_slice(&c->names, name);
    s->listed_by = c->id;
}

static struct slice row_name(const struct cursor *c, size_t row)
{
    const uint8_t *at = c->names.data + c->rows[row].name_at;
    return slice_of(at + 1, at[0]);
}

/* Has a page brought the name? It may have been forgotten since, and be known anew. */
static bool was_listed(const struct cursor *c, const struct seen *s)
{
    size_t low = 0, high = c->n_listed;
    if (s->listed_by == c->id)
        return true;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (slice_compare(row_name(c, mid), seen_name(s)) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < c->n_listed && slice_equal(row_name(c, low), seen_name(s));
}

static void forget_passed(struct cursor *c)
{
    for (; c->whole + WHOLE < c->n_listed; c->whole++) {
        seen_unref(c->rows[c->whole].seen);
        c->rows[c->whole].seen = NULL;
    }
}

static void add_versions(struct cursor *c, struct seen *s, const struct versions *v)
{
    if (v->n != 0)
        add_row(c, s, 0);
    for (uint32_t i = 1; i < v->n && !c->dir->fs->cfg.hide_conflicts; i++)
        if (v->v[i].number != 0)
            add_row(c, s, v->v[i].number);
}

/* Names that only this mount has so far. */
static void add_unpublished(struct cursor *c)
{
    struct fs *fs = c->dir->fs;
    struct slice key = seen_key(c->dir->seen);
    for (struct list *l = fs->dirty.next; l != &fs->dirty; l = l->next) {
        struct inode *i = container_of(l, struct inode, in_dirty);
        struct slice name = seen_key(i->seen);
        if (i->unlinked || inode_published(i) || owed_leaves_live(i->seen) ||
            !slice_equal(key_parent(name), key))
            continue;
        add_row(c, i->seen, 0);
    }
}

/* Remembers the page whole before any of it is shown: a name in it may be one that a projection
 * before it must not take. */
static void hold_page(struct cursor *c, const struct list_reply *p)
{
    struct buf key = BUF_EMPTY;
    for (uint32_t i = 0; i < p->n; i++) {
        buf_clear(&key);
        key_join(seen_key(c->dir->seen), p->entries[i].name, &key);
        if (c->n_page == c->cap_page) {
            c->cap_page = c->cap_page == 0 ? 16 : c->cap_page * 2;
            c->page = mem_reallocarray(c->page, c->cap_page, sizeof(struct seen *));
        }
        struct seen *s = c->page[c->n_page++] = seen_get(c->dir->fs, buf_slice(&key));
        seen_listed(s, &p->entries[i].object);
    }
    buf_release(&key);
}

static void take_page(struct cursor *c, const struct list_reply *p)
{
    hold_page(c, p);
    buf_clear(&c->after);
    buf_put_slice(&c->after, p->cursor);
    buf_clear(&c->page_last);
    if (p->more && p->n != 0)
        buf_put_slice(&c->page_last, p->entries[p->n - 1].name);
    c->complete = !p->more;
    if (p->dir_mtime_ns > c->dir->seen->dir_mtime_ns)
        c->dir->seen->dir_mtime_ns = p->dir_mtime_ns;
}

static bool fill_dot(struct reading *r, uint64_t at)
{
    struct fs_entry e;
    struct inode *dir = r->c->dir;
    inode_entry(dir, &e);
    e.node = 0;
    struct seen *up = seen_key(dir->seen).len == 0 || dir->id == FS_ROOT
                          ? NULL
                          : seen_find(dir->fs, key_parent(seen_key(dir->seen)));
    struct inode *parent = up == NULL ? NULL : inode_of(up, 0);
    if (at == 1 && parent != NULL)
        e.attr.ino = parent->st_ino;
    seen_unref(up);
    return r->fill(r->t.op, slice_str(at == 0 ? "." : ".."), &e, at + 1);
}

/* The inode of a row as it is now; NULL: it is gone. Held. */
static struct inode *row_inode(struct fs *fs, const struct row *row)
{
    struct inode *i = inode_of(row->seen, row->number);
    if (i != NULL && inode_busy(i))
        return inode_hold(i);
    struct versions v;
    versions_of(row->seen, &v);
    const struct version *at = versions_by_number(&v, row->number);
    if (at != NULL && (row->number == 0 || at != &v.v[0])) /* an alias is not listed (F2) */
        i = inode_hold(inode_show(fs, row->seen, at, row->number));
    else
        i = NULL;
    versions_release(&v);
    return i;
}

/* False: it did not fit. */
static bool fill_row(struct reading *r, const struct row *row, uint64_t at)
{
    struct inode *i = row_inode(r->t.fs, row);
    if (i == NULL)
        return true;
    struct fs_entry e;
    struct buf name = BUF_EMPTY;
    inode_entry(i, &e);
    if (!r->plus)
        e.node = 0;
    if (row->number == 0)
        buf_put_slice(&name, seen_name(row->seen));
    else
        projection_name(seen_name(row->seen), row->number, &name);
    bool fitted = r->fill(r->t.op, buf_slice(&name), &e, at + 1);
    if (fitted && r->plus)
        inode_count_lookup(i);
    buf_release(&name);
    inode_drop(i);
    return fitted;
}

static void release(struct task *t)
{
    struct reading *r = container_of(t, struct reading, t);
    numbering_release(&r->numbering);
    seen_unref(r->recent);
    if (--r->c->readings == 0 && r->c->released)
        cursor_free(r->c);
}

static void go_on(struct reading *r);

static void make_rows(struct reading *r);
static void list_again(struct reading *r, struct slice after);
static void confirm_recents(struct reading *r, struct seen *after);

static void on_recent(struct task *t, const struct get_reply *p)
{
    struct reading *r = container_of(t, struct reading, t);
    struct seen *s = r->recent;
    struct versions v;
    if (p->status == DYN_OK)
        seen_got(s, p);
    versions_of(s, &v);
    if (!r->t.fs->cfg.hide_conflicts)
        projection_number(s, &v);
    add_versions(r->c, s, &v);
    s->listed_by = r->c->id;
    versions_release(&v);
    confirm_recents(r, s);
}

/* What this mount has written lately and the listing has not: the entry may lag behind (F15), or
 * somebody has removed the file meanwhile. The file itself tells. */
static void confirm_recents(struct reading *r, struct seen *after)
{
    struct cursor *c = r->c;
    struct seen *s = seen_recent(c->dir->seen, after != NULL && after->dir != NULL ? after : NULL);
    while (s != NULL && was_listed(c, s))
        s = seen_recent(c->dir->seen, s);
    if (s != NULL)
        seen_ref(s);
    seen_unref(r->recent);
    r->recent = s;
    if (s != NULL) {
        task_get(&r->t, seen_key(s), GET_META, NULL, on_recent);
        return;
    }
    add_unpublished(c);
    go_on(r);
}

static void on_numbered(struct task *t, int err)
{
    struct reading *r = container_of(t, struct reading, t);
    struct versions v;
    if (err != 0) {
        task_end(t, err);
        return;
    }
    struct seen *s = r->c->page[r->at];
    versions_of(s, &v);
    projection_number(s, &v);
    versions_release(&v);
    make_rows(r);
}

/* Turns the page into rows; versions that have no conflict name yet get one. */
static void make_rows(struct reading *r)
{
    struct cursor *c = r->c;
    bool hide = r->t.fs->cfg.hide_conflicts;
    for (; r->at < c->n_page; r->at++) {
        struct seen *s = c->page[r->at];
        struct versions v;
        versions_of(s, &v);
        if (!hide && projection_unnumbered(&v)) {
            if (c->page_last.len != 0 &&
                !numbering_covered(seen_name(s), buf_slice(&c->page_last))) {
                versions_release(&v);
                numbering_start(&r->numbering, &r->t, s, on_numbered);
                return;
            }
            projection_number(s, &v);
        }
        add_versions(c, s, &v);
        versions_release(&v);
    }
    drop_page(c);
    c->n_listed = c->n;
    forget_passed(c);
    if (c->complete)
        confirm_recents(r, NULL);
    else
        go_on(r);
}

static void on_list(struct task *t, const struct list_reply *p)
{
    struct reading *r = container_of(t, struct reading, t);
    if (p->status != DYN_OK || t->op == NULL) {
        task_end(t, p->status == DYN_OK ? 0 : fs_errno(p->status));
        return;
    }
    r->c->started = true;
    take_page(r->c, p);
    r->at = 0;
    make_rows(r);
}

/* Takes s for a row of which only the name was left. */
static void have_again(struct cursor *c, size_t row, struct seen *s)
{
    size_t most = row == c->again_to ? WHOLE : 0;
    for (; c->again_to - c->again_from > most; c->again_from++) {
        seen_unref(c->rows[c->again_from].seen);
        c->rows[c->again_from].seen = NULL;
    }
    if (row != c->again_to)
        c->again_from = row;
    c->again_to = row + 1;
    c->rows[row].seen = s;
}

/* Does this mount still remember what the row is about? */
static bool recall(struct cursor *c, size_t row)
{
    struct fs *fs = c->dir->fs;
    struct buf key = BUF_EMPTY;
    key_join(seen_key(c->dir->seen), row_name(c, row), &key);
    struct seen *s = seen_find(fs, buf_slice(&key));
    buf_release(&key);
    if (s == NULL || s->learnt_us == 0 ||
        fs_now_us(fs) - s->learnt_us >= told_time(s, fs->cfg.entry_us)) {
        seen_unref(s);
        return false;
    }
    have_again(c, row, s);
    return true;
}

static void on_again(struct task *t, const struct list_reply *p)
{
    struct reading *r = container_of(t, struct reading, t);
    struct cursor *c = r->c;
    struct buf key = BUF_EMPTY;
    size_t first = (size_t)(r->off - 2), row = first;
    if (p->status != DYN_OK || t->op == NULL) {
        task_end(t, p->status == DYN_OK ? 0 : fs_errno(p->status));
        return;
    }
    hold_page(c, p);
    /* Rows that the page lacks are gone: nothing is known of them, so they are passed over. */
    for (; row < c->n_listed && c->rows[row].seen == NULL &&
           (!p->more || slice_compare(row_name(c, row), p->cursor) <= 0);
         row++) {
        buf_clear(&key);
        key_join(seen_key(c->dir->seen), row_name(c, row), &key);
        have_again(c, row, seen_get(c->dir->fs, buf_slice(&key)));
    }
    buf_release(&key);
    drop_page(c);
    if (row == first && row < c->n_listed && c->rows[row].seen == NULL)
        list_again(r, p->cursor);
    else
        go_on(r);
}

static void list_again(struct reading *r, struct slice after)
{
    task_list(&r->t, seen_key(r->c->dir->seen), after, PAGE, on_again);
}

static void list_row_again(struct reading *r)
{
    struct cursor *c = r->c;
    size_t row = (size_t)(r->off - 2), before = row;
    while (before > 0 && slice_equal(row_name(c, before - 1), row_name(c, row)))
        before--; /* its other versions */
    list_again(r, before == 0 ? slice_of(NULL, 0) : row_name(c, before - 1));
}

static void go_on(struct reading *r)
{
    struct cursor *c = r->c;
    uint64_t at = r->off;
    bool room = true;
    if (r->t.op == NULL) { /* nobody is left to be told */
        task_end(&r->t, EINTR);
        return;
    }
    for (; room && at < 2; at += room)
        room = fill_dot(r, at);
    if (room && at - 2 >= c->n && !c->complete) {
        r->off = at;
        task_list(&r->t, seen_key(c->dir->seen), buf_slice(&c->after), PAGE, on_list);
        return;
    }
    for (; room && at - 2 < c->n; at += room) {
        size_t row = (size_t)(at - 2);
        if (c->rows[row].seen == NULL && !recall(c, row)) {
            r->off = at;
            list_row_again(r);
            return;
        }
        room = fill_row(r, &c->rows[row], at);
    }
    task_end(&r->t, 0);
}

void fs_opendir(struct fs *fs, struct fs_op *op, uint64_t node)
{
    bool control = node == NODE_CONTROL;
    struct inode *dir = inode_find(fs, node);
    if (!control && (dir == NULL || dir->s.type != SIBLING_DIR)) {
        op_end(fs, op, dir == NULL ? ESTALE : ENOTDIR);
        return;
    }
    struct cursor *c = control ? NULL : mem_new(struct cursor);
    if (c != NULL) {
        c->dir = inode_hold(dir);
        told_touch(dir->seen);
        list_append(&fs->cursors, &c->link);
        clear(c);
    }
    op->open = (struct fs_open){.fh = (uint64_t)(uintptr_t)c};
    op_end(fs, op, 0);
}

void fs_readdir(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh, uint64_t off,
                bool plus, fs_fill fill)
{
    if (control_readdir(fs, op, node, off, fill))
        return;
    struct cursor *c = (struct cursor *)(uintptr_t)fh;
    if (off == 0 && c->started)
        clear(c); /* rewinddir: a new snapshot */
    if (c->dir->unlinked)
        c->complete = true;
    struct reading *r = task_new(fs, op, sizeof(*r), release);
    r->t.abandonable = true;
    r->c = c;
    c->readings++;
    r->off = off;
    r->plus = plus;
    r->fill = fill;
    go_on(r);
}

void fs_releasedir(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh)
{
    (void)node;
    struct cursor *c = (struct cursor *)(uintptr_t)fh;
    if (c != NULL && c->readings == 0)
        cursor_free(c);
    else if (c != NULL)
        c->released = true;
    op_end(fs, op, 0);
}

void dir_free_all(struct fs *fs)
{
    for (struct list *l; (l = list_first(&fs->cursors)) != NULL;)
        cursor_free(container_of(l, struct cursor, link));
}
