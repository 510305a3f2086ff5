/* SPDX-License-Identifier: Apache-2.0 */
/* See move.h: the record of a move, and who keeps it young. As long as the mover copies or drops,
 * nobody is to take the move for one that was broken off.
 *
 *   copying:  the record is an extended attribute of the directory's inode, published as any other
 *   dropping: the inode answers for the new name; the old one, which goes last, is put as it was,
 *             with the hour of now
 */
#include <stdlib.h>

#include "base/err.h"
#include "model/move.h"
#include "model/move_private.h"
#include "model/publish.h"

#define RENEW_US 40000000u

struct move_renewal {  /* outlives the move, if it must */
    struct moving *m;  /* NULL: it has ended */
    struct inode *dir; /* held */
};

struct move_late {
    struct task t;
    struct moving *m; /* NULL: it has ended */
};

/* The attributes with a record of now; NULL when there is no room for one. */
static struct blob *with_record(struct moving *m, const struct blob *xattrs)
{
    struct buf value = BUF_EMPTY;
    struct blob *list = NULL;
    buf_printf(&value, "%lld ", (long long)fs_wall_ns(m->t.fs));
    buf_put_slice(&value, seen_key(m->to));
    if (xattrs_set(xattrs, slice_str(XATTR_MOVING), buf_slice(&value), &list) != DYN_OK)
        list = NULL; /* then a crash leaves both names */
    buf_release(&value);
    return list;
}

static void set_xattrs(struct inode *i, struct blob *list)
{
    blob_unref(i->s.attrs.xattrs);
    i->s.attrs.xattrs = list;
    publish_mark(i, false);
}

static void record_now(struct moving *m, struct inode *dir)
{
    struct blob *list = with_record(m, dir->s.attrs.xattrs);
    if (list != NULL)
        set_xattrs(dir, list);
}

/* ---- while it copies --------------------------------------------------------------------- */

static void on_record(void *arg, int err)
{
    struct moving *m = arg;
    if (m->t.fs->closing)
        return;
    if (err != 0)
        move_failed(m, err);
    else
        move_copy(m);
}

void move_record(struct moving *m)
{
    struct inode *dir = inode_of(m->from, 0);
    if (dir == NULL) {
        move_copy(m);
        return;
    }
    record_now(m, dir);
    m->recorded = true;
    move_record_go_on(m);
    publish(dir, DURABILITY_DEFAULT, on_record, m);
}

void move_record_clear(struct moving *m)
{
    struct inode *dir = inode_of(m->from, 0);
    struct blob *list = NULL;
    if (!m->recorded || m->resumed || dir == NULL ||
        xattrs_set(dir->s.attrs.xattrs, slice_str(XATTR_MOVING), slice_of(NULL, 0), &list) !=
            DYN_OK)
        return;
    set_xattrs(dir, list);
    publish(dir, DURABILITY_DEFAULT, NULL, NULL);
}

static void on_renewed(void *arg, int err)
{
    struct move_renewal *r = arg;
    struct moving *m = r->m;
    (void)err; /* then the record that is there must do */
    if (m != NULL) {
        m->renewal = NULL;
        cover_join_dots(&m->items[0]->dots, &r->dir->dots); /* dropped with the rest */
    }
    inode_drop(r->dir);
    free(r);
    if (m != NULL && m->renewal_awaited && !m->t.fs->closing)
        move_copied(m);
}

static void renew_inode(struct moving *m)
{
    struct inode *dir = inode_of(m->from, 0);
    if (dir == NULL || m->renewal != NULL)
        return;
    m->renewal = mem_new(struct move_renewal);
    *m->renewal = (struct move_renewal){m, inode_hold(dir)};
    record_now(m, dir);
    publish(dir, DURABILITY_DEFAULT, on_renewed, m->renewal);
}

/* ---- while it drops ---------------------------------------------------------------------- */

static void release_late(struct task *t)
{
    struct move_late *l = container_of(t, struct move_late, t);
    if (l->m != NULL)
        l->m->late = NULL;
}

static void on_late(struct task *t, const struct put_reply *p)
{
    struct moving *m = container_of(t, struct move_late, t)->m;
    if (m != NULL && p->status == DYN_OK) {
        seen_put(m->from, p);
        cover_add_dot(&m->items[0]->dots, &p->dot);
    } /* else the record that is there must do; one that was stored after all is finished by whom
       * it misleads */
    task_end(t, 0);
    if (m != NULL)
        move_drop_on(m);
}

static void renew_late(struct moving *m)
{
    struct fs *fs = m->t.fs;
    struct contexts contexts;
    struct blob *list = m->late == NULL ? with_record(m, m->attrs.xattrs) : NULL;
    if (list == NULL)
        return;
    seen_contexts(m->from, &m->items[0]->dots, &contexts);
    if (contexts.n != 0) {
        struct put_request q = {.key = seen_key(m->from),
                                .type = SIBLING_DIR,
                                .attrs = m->attrs,
                                .origin = {fs->cfg.mount_id, m->stream, ++m->seq},
                                .contexts = contexts.list,
                                .n_contexts = contexts.n};
        memset(q.attrs.xattrs_hash, 0, DIGEST_LEN);
        q.attrs.xattrs = list;
        m->late = task_new(fs, NULL, sizeof(*m->late), release_late);
        m->late->m = m;
        task_put(&m->late->t, &q, on_late);
    }
    contexts_release(&contexts);
    blob_unref(list);
}

void move_record_keep(struct moving *m)
{
    const struct inode *dir = inode_of(m->from, 0);
    if (dir == NULL || !m->recorded)
        return;
    m->attrs = dir->s.attrs;
    m->attrs.xattrs = blob_ref(dir->s.attrs.xattrs);
    m->stream = m->t.fs->next_stream++;
}

/* ---- both -------------------------------------------------------------------------------- */

static void renew(struct timer *t, void *arg)
{
    struct moving *m = arg;
    timer_set(m->t.fs->timers, t, fs_now_us(m->t.fs) + RENEW_US);
    if (m->dropping)
        renew_late(m);
    else
        renew_inode(m);
}

void move_record_init(struct moving *m)
{
    timer_init(&m->renew, renew, m);
}

void move_record_go_on(struct moving *m)
{
    if (m->recorded && !timer_is_set(&m->renew))
        timer_set(m->t.fs->timers, &m->renew, fs_now_us(m->t.fs) + RENEW_US);
}

bool move_record_rests(struct moving *m)
{
    timer_cancel(m->t.fs->timers, &m->renew);
    m->renewal_awaited = m->renewal != NULL;
    return m->renewal == NULL && m->late == NULL;
}

void move_record_release(struct moving *m)
{
    timer_cancel(m->t.fs->timers, &m->renew);
    if (m->renewal != NULL)
        m->renewal->m = NULL;
    if (m->late != NULL)
        m->late->m = NULL;
    blob_unref(m->attrs.xattrs);
}
