/* SPDX-License-Identifier: Apache-2.0 */
/* See move.h: the two passes over the objects of a directory that moves, several at a time.
 *
 *   a copy: GET with all values -> PUT of each version, the oldest first; of a large file the
 *           manifest, after the records of its uploads have been told of the new key (E23)
 *   a drop: owed.h, the deepest first, the directory itself last
 */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "model/chunk_io.h"
#include "model/manifest.h"
#include "model/move.h"
#include "model/move_private.h"

struct copying {
    struct task t;
    struct moving *m;
    struct move_item *item;
    struct seen *from, *to;
    struct object object; /* with values */
    struct versions v;
    struct upload_ref ref;
    bool referenced;   /* for the version that is next */
    uint32_t left;     /* versions still to be put; v.v[left - 1] is next */
    bool plain, again; /* plain: something lives there, of an earlier try; again: was copied */
};

static void next_copy(struct moving *m);

static void release(struct task *t)
{
    struct copying *c = container_of(t, struct copying, t);
    upload_ref_cancel(&c->ref);
    seen_unref(c->from);
    seen_unref(c->to);
    object_release(&c->object);
    versions_release(&c->v);
}

static void end_copy(struct copying *c, int err)
{
    struct moving *m = c->m;
    c->item->copied = err == 0;
    if (err != 0)
        m->err = err;
    task_end(&c->t, 0);
    m->waiting--;
    next_copy(m);
}

static void put_next(struct copying *c);

static void on_put(struct task *t, const struct put_reply *p)
{
    struct copying *c = container_of(t, struct copying, t);
    if (p->status == DYN_ERR_EXISTS && !c->plain) {
        c->plain = true;
        put_next(c);
        return;
    }
    if (p->status != DYN_OK) {
        end_copy(c, fs_errno(p->status));
        return;
    }
    seen_put(c->to, p);
    if (c->again && c->left == c->v.n)
        cover_clear(&c->item->put);
    cover_add_dot(&c->item->put, &p->dot);
    c->left--;
    c->referenced = false;
    put_next(c);
}

/* What the first put of an object replaces under the new name: the empty directory that was there,
 * or the copy made before the file changed. */
static void replaced(const struct copying *c, struct cover *out)
{
    if (c->left != c->v.n)
        return;
    cover_join_dots(out, &c->item->put);
    if (c->item->suffix.len == 0 && !c->m->resumed)
        for (uint32_t i = 0; i < c->to->view.n; i++)
            if (c->to->view.siblings[i].type == SIBLING_DIR)
                cover_add_dot(out, &c->to->view.siblings[i].dot);
}

static void on_ref(struct upload_ref *r, int err)
{
    struct copying *c = r->arg;
    c->referenced = true;
    if (err != DYN_OK)
        end_copy(c, fs_errno(err));
    else
        put_next(c);
}

/* True: it has started, and put_next comes again; or the copy has ended. */
static bool refer(struct copying *c, struct slice manifest)
{
    struct manifest m = MANIFEST_EMPTY;
    if (c->referenced)
        return false;
    if (manifest_decode(manifest, &m) != DYN_OK) {
        end_copy(c, EIO); /* of a later version of this program */
        return true;
    }
    bool holes = m.n_uploads == 0;
    c->ref = (struct upload_ref){.done = on_ref, .arg = c};
    if (!holes)
        upload_ref_start(&c->t.fs->io, &c->ref, seen_key(c->to), m.uploads, m.n_uploads, 0);
    manifest_release(&m);
    return !holes;
}

static void put_next(struct copying *c)
{
    struct fs *fs = c->t.fs;
    if (c->left == 0) {
        end_copy(c, 0);
        return;
    }
    const struct sibling *s = &c->v.v[c->left - 1].s;
    const struct sibling *bytes = object_find_value(&c->object, &s->value_dot);
    bool valued = s->type != SIBLING_DIR && s->size != 0;
    if (valued && (bytes == NULL || bytes->value == NULL)) {
        end_copy(c, EXDEV); /* a value that does not come in one piece */
        return;
    }
    bool large = valued && s->manifest_len != 0;
    if (large && refer(c, slice_of(bytes->value->data, bytes->value->len)))
        return;
    struct contexts contexts;
    struct cover cover = COVER_EMPTY;
    struct blob *unmarked = NULL;
    replaced(c, &cover);
    seen_contexts(c->to, &cover, &contexts);
    struct put_request q = {.key = seen_key(c->to),
                            .type = s->type,
                            .attrs = s->attrs,
                            .origin = {fs->cfg.mount_id, fs->next_stream++, 1},
                            .time_ns = s->time_ns, /* versions keep their order */
                            .contexts = contexts.list,
                            .n_contexts = contexts.n};
    if (s->type == SIBLING_DIR)
        q.attrs.ctime_ns = fs_wall_ns(fs);
    if (!c->plain && cover.n == 0 && c->left == c->v.n)
        q.flags |= PUT_IF_ABSENT;
    if (large)
        q.flags |= PUT_MANIFEST;
    if (valued)
        q.value = slice_of(bytes->value->data, bytes->value->len);
    memset(q.attrs.xattrs_hash, 0, DIGEST_LEN);
    if (s->attrs.xattrs != NULL && xattrs_set(s->attrs.xattrs, slice_str(XATTR_MOVING),
                                              slice_of(NULL, 0), &unmarked) == DYN_OK)
        q.attrs.xattrs = unmarked;
    task_put(&c->t, &q, on_put);
    blob_unref(unmarked);
    cover_release(&cover);
    contexts_release(&contexts);
}

static void on_got(struct task *t, const struct get_reply *p)
{
    struct copying *c = container_of(t, struct copying, t);
    if (p->status != DYN_OK) {
        end_copy(c, fs_errno(p->status));
        return;
    }
    seen_got(c->from, p);
    object_copy(&c->object, &p->object);
    versions_of(c->from, &c->v);
    c->left = c->v.n;
    if (c->item->suffix.len != 0) /* of the directory itself earlier records go as well */
        cover_clear(&c->item->dots);
    for (uint32_t i = 0; i < c->v.n; i++)
        cover_join_dots(&c->item->dots, &c->v.v[i].dots);
    put_next(c);
}

static void next_copy(struct moving *m)
{
    while (m->err == 0 && m->waiting < MOVE_PARALLEL) {
        while (m->at < m->n && m->items[m->at]->copied)
            m->at++;
        if (m->at == m->n)
            break;
        struct copying *c = task_new(m->t.fs, NULL, sizeof(*c), release);
        c->m = m;
        c->item = m->items[m->at++];
        c->again = c->item->put.n != 0;
        c->from = move_seen(m, c->item, false);
        c->to = move_seen(m, c->item, true);
        m->waiting++;
        task_get(&c->t, seen_key(c->from), GET_ALL, NULL, on_got);
    }
    if (m->waiting != 0)
        return;
    if (m->err != 0)
        move_failed(m, m->err);
    else
        move_copied(m);
}

void move_copy(struct moving *m)
{
    m->at = 0;
    m->waiting = 0;
    next_copy(m);
}

/* Drops */

static void next_drop(struct moving *m);

static void dropped(struct owed_wait *w, int err)
{
    struct move_drop *d = w->arg;
    struct seen *s = d->seen;
    d->seen = NULL;
    d->m->waiting--;
    d->m->giving_up |= err != 0; /* what is left goes when the cluster lets it (owed.h) */
    seen_unref(s);
    next_drop(d->m);
}

static struct move_drop *idle(struct moving *m)
{
    for (unsigned i = 0; i < MOVE_PARALLEL; i++)
        if (m->drops[i].seen == NULL)
            return &m->drops[i];
    return NULL;
}

static void next_drop(struct moving *m)
{
    if (m->starting)
        return;
    m->starting = true;
    struct move_drop *d;
    while (m->at > 0 && (d = idle(m)) != NULL) {
        if (m->at == 1 && m->waiting > 0 && !m->giving_up)
            break; /* the directory itself, with the record, when all else is gone */
        if (m->at == 1 && !move_record_rests(m))
            break;
        struct move_item *item = m->items[--m->at];
        if (item->dots.n == 0)
            continue;
        d->m = m;
        d->seen = move_seen(m, item, false);
        owed_add(d->seen, &item->dots);
        if (m->giving_up) {
            seen_unref(d->seen);
            d->seen = NULL;
            continue;
        }
        m->waiting++;
        owed_pay(d->seen, &d->wait, dropped, d);
    }
    m->starting = false;
    if (m->at == 0 && m->waiting == 0)
        move_done(m);
}

void move_drop_on(struct moving *m)
{
    next_drop(m);
}

void move_drop(struct moving *m)
{
    m->at = m->n;
    m->waiting = 0;
    m->starting = false;
    m->dropping = true;
    move_record_go_on(m);
    next_drop(m);
}
