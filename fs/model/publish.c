/* SPDX-License-Identifier: Apache-2.0 */
/* See publish.h. */
#include "model/publish.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "model/content.h"
#include "model/large.h"
#include "model/naming.h"
#include "model/owed.h"
#include "model/rebase.h"
#include "model/staging.h"
#include "model/xattr_names.h"

#define BACKOFF_FIRST_US 1000000u
#define BACKOFF_LAST_US 30000000u
#define SLOW_US 1000000u /* a publication that takes longer is kept on this machine, too */
#define REBASES_MAX 8u   /* onto versions that keep coming; then it is the conflict that it is */
#define APPEND_FRESH_US 2000u /* a read of the key this young needs no repeat before an append */

struct waiter {
    struct list link;
    uint64_t gen;
    enum durability durability;
    void (*done)(void *arg, int err);
    void *arg;
};

struct publication {
    struct task t;
    struct inode *inode; /* held */
    struct lock_wait lock;
    enum durability durability;
    uint64_t gen;
    struct origin origin;
    struct blob *sent;        /* the value: bytes, or a manifest */
    uint8_t hash[DIGEST_LEN]; /* of sent, with hashed */
    struct large_wait store;
    struct naming naming;
    struct cover cover;    /* what is superseded */
    bool refreshed, again; /* again: a context was refused once */
    bool stored;           /* large: the chunks are where they should be */
    struct rebase rebase;
    uint32_t rebases;
    struct staging_wait kept;
    struct timer slow;
    uint64_t chunk_puts; /* of the mount, when last looked at */
    bool ahead;          /* what is put now is on this machine, or that has been tried */
    int err, was;        /* was: what the attempt before this one ended with */
    bool hashed;
    bool keeps, sought; /* keeps: the put names a stored value; sought: it was not found once */
};

static void begin(struct inode *i);
static void prepare(struct publication *p);

void publish_mark(struct inode *i, bool data)
{
    struct fs *fs = i->fs;
    if (data)
        i->dirty_data = true;
    else
        i->dirty_meta = true;
    i->gen++;
    staging_changed(i->staging);
    if (i->unlinked || !list_empty(&i->in_dirty))
        return;
    list_append(&fs->dirty, &i->in_dirty);
    fs->n_dirty++;
    i->dirty_us = fs_now_us(fs);
    timer_set(fs->timers, &i->timer, i->dirty_us + fs->cfg.dirty_us);
}

static void clean(struct inode *i)
{
    i->dirty_data = i->dirty_meta = false;
    i->appended_only = false;
    i->written = false;
    i->error = 0;
    i->backoff_us = 0;
    timer_cancel(i->fs->timers, &i->timer);
    staging_drop(&i->staging);
    if (list_empty(&i->in_dirty))
        return;
    list_remove(&i->in_dirty);
    i->fs->n_dirty--;
}

void publish_forget(struct inode *i)
{
    clean(i);
    content_release(i);
}

void publish_cover(const struct inode *i, struct cover *out)
{
    cover_join_dots(out, &i->dots);
    if (i->number != 0)
        return; /* writing into name.conflict.N replaces that sibling alone */
    if (!i->dirty_data && inode_published(i))
        return; /* a change of attributes settles nothing (F16) */
    cover_join_dots(out, &i->context);
    owed_collect(i->seen, out); /* what a rename took away from here */
    if (i->fs->cfg.resolve == FS_RESOLVE_EXPLICIT)
        return;
    /* An append settles a conflict only with versions that were read as sides of it: somebody may
     * have read one long before there was a conflict. */
    if (i->appended_only)
        seen_collect_all(i->seen, KNOWN_READ | KNOWN_LISTED, out);
    else
        seen_collect(i->seen, KNOWN_READ, out);
}

static void release(struct task *t)
{
    struct publication *p = container_of(t, struct publication, t);
    naming_release(&p->naming);
    cover_release(&p->cover);
    rebase_release(&p->rebase);
    staging_wait_cancel(&p->kept);
    timer_cancel(t->fs->timers, &p->slow);
    seen_unlock(&p->lock);
    list_remove(&p->store.link);
    blob_unref(p->sent);
    inode_drop(p->inode);
}

/* Tells those who wait for no more than what is out, or everyone when it failed. */
static void tell(struct inode *i, uint64_t gen, enum durability durability, int err)
{
    struct list ready;
    list_init(&ready);
    list_for_each_safe(it, tmp, &i->waiters)
    {
        struct waiter *w = container_of(it, struct waiter, link);
        if (err == 0 && (w->gen > gen || w->durability > durability))
            continue;
        list_remove(it);
        list_append(&ready, it);
    }
    for (struct list *l; (l = list_first(&ready)) != NULL;) {
        struct waiter *w = container_of(l, struct waiter, link);
        list_remove(l);
        if (w->done != NULL)
            w->done(w->arg, err);
        free(w);
    }
}

static void retry_later(struct inode *i)
{
    struct fs *fs = i->fs;
    i->backoff_us = i->backoff_us == 0 ? BACKOFF_FIRST_US : i->backoff_us * 2;
    if (i->backoff_us > BACKOFF_LAST_US)
        i->backoff_us = BACKOFF_LAST_US;
    timer_set(fs->timers, &i->timer, fs_now_us(fs) + i->backoff_us);
}

static void end(void *arg)
{
    struct publication *p = arg;
    struct inode *i = inode_hold(p->inode);
    uint64_t gen = p->gen;
    enum durability durability = p->durability;
    int err = p->err;
    i->pub = NULL;
    task_end(&p->t, 0);
    if (err != 0 && inode_dirty(i) && !i->unlinked)
        retry_later(i);
    tell(i, gen, durability, err);
    if (i->pub == NULL && !list_empty(&i->waiters)) {
        if (err == 0 && !inode_dirty(i) && !i->unlinked)
            publish_mark(i, false); /* an fsync that came while it went out asks for more (F13) */
        if (inode_dirty(i) && !i->unlinked)
            begin(i);
        else
            tell(i, UINT64_MAX, DURABILITY_QUORUM, 0);
    }
    inode_drop(i);
}

/* Whoever is told of a failure may rely on the mount: even a kill -9 does not end what it holds. */
static void finish(struct publication *p, int err)
{
    struct inode *i = p->inode;
    p->err = i->error = err;
    publish_say(i, p->was);
    timer_cancel(i->fs->timers, &p->slow);
    if (err == 0) {
        end(p);
        return;
    }
    i->fs->counters.publish_failures++;
    staging_save_file(i, &p->kept, end, p);
}

/* A large file may take its time as long as its chunks leave. */
static void on_slow(struct timer *t, void *arg)
{
    struct publication *p = arg;
    struct fs *fs = p->inode->fs;
    bool leaving = p->inode->large != NULL && fs->counters.chunk_puts != p->chunk_puts;
    p->chunk_puts = fs->counters.chunk_puts;
    if (leaving)
        timer_set(fs->timers, t, fs_now_us(fs) + SLOW_US);
    else
        staging_save_file(p->inode, NULL, NULL, NULL);
}

/* The stored form of what was sent: by its dot, or whoever absorbed it (E7). */
static const struct sibling *stored(const struct put_reply *p, const struct origin *origin)
{
    const struct sibling *s = object_find(&p->object, &p->dot);
    return s != NULL ? s : object_find_origin(&p->object, origin);
}

static void served_by_own_write(struct inode *i)
{
    struct seen *s = i->seen;
    seen_flag(s, &i->dots, i->number == 0 ? KNOWN_SHOWN : KNOWN_SHOWN | KNOWN_LISTED);
    if (i->number != 0)
        return;
    cover_clear(&s->name_shown);
    cover_join_dots(&s->name_shown, &i->dots);
    cover_clear(&s->served);
    cover_join_dots(&s->served, &i->dots);
    s->was_served = true;
}

/* The version's value now is this. */
static void take_value(struct sibling *s, struct slice value, const uint8_t *hash, bool manifest)
{
    s->size = value.len;
    s->manifest_len = 0;
    blob_unref(s->uploads);
    s->uploads = NULL;
    if (hash != NULL)
        memcpy(s->value_hash, hash, DIGEST_LEN);
    else
        digest_sha256(value, s->value_hash);
    if (manifest)
        manifest_describe(value, s); /* this mount has made it */
}

void publish_took(struct inode *i, const struct put_reply *p, const struct origin *origin,
                  struct blob *sent, const uint8_t *hash, uint64_t gen)
{
    bool appended = i->appended_only;
    seen_put(i->seen, p);
    const struct sibling *s = stored(p, origin);
    bool manifest = s != NULL ? s->manifest_len != 0 : i->large != NULL;
    i->s.dot = p->dot;
    i->s.base_dot = i->s.value_dot;
    if (sent != NULL) {
        i->s.value_dot = p->dot;
        take_value(&i->s, slice_of(sent->data, sent->len), hash, manifest);
    }
    if (s != NULL) {
        i->s.dot = s->dot;
        i->s.value_dot = s->value_dot;
        i->s.base_dot = s->base_dot;
        i->s.time_ns = s->time_ns;
    }
    i->s.origin = *origin;
    i->xattrs_known = true;
    i->learnt_us = i->seen->learnt_us;
    cover_clear(&i->dots);
    cover_add_dot(&i->dots, &i->s.dot);
    cover_clear(&i->context);
    i->kernel_dot = i->s.dot;
    if (sent != NULL)
        i->pages_dot = appended ? (struct dot){0} : i->s.value_dot;
    served_by_own_write(i);
    if (i->large != NULL && (manifest || sent == NULL))
        large_settle(i->large, sent == NULL ? slice_of(NULL, 0) : slice_of(sent->data, sent->len));
    if (i->gen == gen) {
        if (i->large != NULL) {
            i->staged = false;
        } else if (i->staged) { /* also when these were the bytes that were there already (F28) */
            struct blob *b = sent != NULL ? blob_ref(sent) : blob_new(i->stage.data, i->stage.len);
            content_settle(i, b);
            blob_unref(b);
        }
        clean(i);
    } else if (sent != NULL) {
        if (i->appended_only)
            i->appended_from = i->s.size;
        content_load(i, sent);
    }
}

/* The stored value of a put that keeps it is not there. Who asked a second coordinator, because the
 * first was slow, may have been answered by the one whose dot then gave way to the other's: the
 * same write stands under that one. (F9) */
static void on_sought(struct task *t, const struct get_reply *r)
{
    struct publication *p = container_of(t, struct publication, t);
    struct inode *i = p->inode;
    const struct sibling *same = NULL;
    if (r->status == DYN_OK) {
        seen_got(i->seen, r);
        same = object_find_origin(&r->object, &i->s.origin);
    }
    if (same == NULL) {
        finish(p, r->status == DYN_OK ? ESTALE : fs_errno(r->status));
        return;
    }
    i->s.dot = same->dot;
    i->s.value_dot = same->value_dot;
    i->s.base_dot = same->base_dot;
    cover_clear(&i->dots);
    cover_add_dot(&i->dots, &same->dot);
    served_by_own_write(i);
    prepare(p);
}

static void on_put(struct task *t, const struct put_reply *r)
{
    struct publication *p = container_of(t, struct publication, t);
    struct inode *i = p->inode;
    if (r->status == DYN_ERR_STALE && p->keeps && !p->sought) {
        p->sought = true;
        task_get_all(t, seen_key(i->seen), on_sought);
        return;
    }
    if (r->status == DYN_ERR_BAD_CONTEXT && !p->again) {
        p->again = true;
        p->refreshed = false;
        seen_drop_tokens(i->seen);
        prepare(p);
        return;
    }
    if (r->status != DYN_OK) {
        finish(p, fs_errno(r->status));
        return;
    }
    i->fs->counters.published++;
    publish_took(i, r, &p->origin, p->sent, p->hashed ? p->hash : NULL, p->gen);
    owed_add_unfound(i->seen, &p->cover, &r->object);
    if (p->durability == DURABILITY_QUORUM) {
        i->durable_dot = i->s.dot;
        seen_synced(i->seen, &r->dot);
    }
    finish(p, 0);
}

/* Has the content changed, compared with the version that is replaced? (F28) */
static bool new_bytes(const struct inode *i)
{
    if (!inode_published(i))
        return true;
    if (!i->dirty_data || i->s.type != SIBLING_FILE)
        return false;
    struct slice bytes = content_bytes(i);
    if (bytes.len != i->s.size || i->s.manifest_len != 0)
        return true;
    uint8_t hash[DIGEST_LEN];
    digest_sha256(bytes, hash);
    return bytes.len != 0 && memcmp(hash, i->s.value_hash, DIGEST_LEN) != 0;
}

/* The same for large content; then it is p->sent. */
static bool new_manifest(struct publication *p)
{
    struct inode *i = p->inode;
    struct manifest m;
    struct buf bytes = BUF_EMPTY;
    large_manifest(i->large, &m);
    bool new = !inode_published(i) || i->s.manifest_len == 0 || !large_same(i->large, &m);
    if (new) {
        manifest_encode(&m, &bytes);
        p->sent = blob_new(bytes.data, bytes.len);
        buf_release(&bytes);
    }
    manifest_release(&m);
    return new;
}

static void put(struct publication *p)
{
    struct inode *i = p->inode;
    struct contexts contexts;
    cover_clear(&p->cover);
    publish_cover(i, &p->cover);
    seen_contexts(i->seen, &p->cover, &contexts);
    publish_origin(i, &p->origin);
    p->gen = i->gen;
    struct put_request q = {.key = seen_key(i->seen),
                            .type = i->s.type,
                            .attrs = i->s.attrs,
                            .origin = p->origin,
                            .base_dot = i->s.value_dot,
                            .contexts = contexts.list,
                            .n_contexts = contexts.n};
    memset(q.attrs.xattrs_hash, 0, DIGEST_LEN);
    struct blob *unmarked = NULL;
    if (i->s.attrs.xattrs != NULL && xattrs_set(i->s.attrs.xattrs, slice_str(XATTR_EXCLUSIVE),
                                                slice_of(NULL, 0), &unmarked) == DYN_OK)
        q.attrs.xattrs = unmarked;
    q.opt.durability = (uint8_t)p->durability;
    blob_unref(p->sent);
    p->sent = NULL;
    p->hashed = false;
    bool large = i->large != NULL && i->dirty_data;
    bool bytes = large ? new_manifest(p) : i->large == NULL && new_bytes(i);
    if (bytes && large) {
        q.value = slice_of(p->sent->data, p->sent->len);
        q.flags |= PUT_MANIFEST;
    } else if (bytes) {
        struct slice content = content_bytes(i);
        p->sent = blob_new(content.data, content.len);
        q.value = content;
        if (inode_published(i)) /* only what was appended need travel (F27) */
            p->hashed = extension_find(&i->s, i->loaded, content, &q.extends, p->hash);
    } else if (i->s.type != SIBLING_DIR) {
        q.flags |= PUT_KEEP_VALUE;
        q.value_dot = i->s.value_dot;
    }
    p->keeps = (q.flags & PUT_KEEP_VALUE) != 0;
    if (!dot_is_none(&i->s.dot) && (i->number != 0 || !bytes)) {
        q.flags |= PUT_INHERIT_TIME; /* F3 */
        q.inherit_dot = i->s.dot;
    }
    task_put(&p->t, &q, on_put);
    blob_unref(unmarked);
    contexts_release(&contexts);
}

static void on_rebased(struct task *t, int err)
{
    struct publication *p = container_of(t, struct publication, t);
    p->stored = false;
    if (err != 0) {
        finish(p, err);
        return;
    }
    /* Staging much anew takes a while, in which somebody else may have appended. */
    if (p->inode->large != NULL && p->rebases++ < REBASES_MAX)
        p->refreshed = false;
    prepare(p);
}

/* A listing leaves extended attributes out; a put must not. */
static void take_xattrs(struct inode *i, const struct object *answer)
{
    const struct sibling *s = object_find(answer, &i->s.dot);
    if (i->xattrs_known || s == NULL)
        return;
    blob_unref(i->s.attrs.xattrs);
    i->s.attrs.xattrs = blob_ref(s->attrs.xattrs);
    i->xattrs_known = true;
}

static void on_refresh(struct task *t, const struct get_reply *r)
{
    struct publication *p = container_of(t, struct publication, t);
    if (r->status != DYN_OK) {
        finish(p, fs_errno(r->status));
        return;
    }
    take_xattrs(p->inode, &r->object);
    rebase_release(&p->rebase);
    if (rebase_start(&p->rebase, t, p->inode, &r->object, on_rebased))
        return;
    prepare(p);
}

static bool needs_refresh(const struct publication *p, const struct cover *cover)
{
    const struct inode *i = p->inode;
    if (p->refreshed)
        return false;
    if (!seen_can_name(i->seen, cover) || (!dot_is_none(&i->s.dot) && !i->xattrs_known))
        return true;
    return i->appended_only && inode_published(i) &&
           (i->error != 0 || fs_now_us(i->fs) - i->seen->got_us > APPEND_FRESH_US);
}

static void on_stored(struct large_wait *w, int err)
{
    struct publication *p = w->arg;
    p->stored = err == DYN_OK;
    if (err == DYN_OK || err == DYN_ERR_CANCELED) /* canceled: it is not large any more */
        prepare(p);
    else
        finish(p, fs_errno(err));
}

/* Large content: all chunks are with W replicas before a manifest names them (E8), and on their
 * disks before anybody is told that the file is (F13), whatever of it has changed. */
static bool needs_storing(const struct publication *p)
{
    const struct inode *i = p->inode;
    if (i->large == NULL || (p->stored && large_stored(i->large)))
        return false;
    return i->dirty_data || (p->durability == DURABILITY_QUORUM && !large_synced(i->large));
}

static void store(struct publication *p)
{
    p->stored = false;
    p->store = (struct large_wait){.durability = p->durability, .done = on_stored, .arg = p};
    list_init(&p->store.link);
    large_store(p->inode->large, &p->store);
}

/* What is appended to a large file takes a while to send. So the newest version is looked for after
 * that, and not before. */
static bool sends_first(const struct publication *p)
{
    const struct inode *i = p->inode;
    return i->large != NULL && i->appended_only && !p->refreshed && needs_storing(p);
}

static void on_ahead(void *arg)
{
    prepare(arg);
}

/* A record is never older than what may reach the cluster (staging.h). */
static bool write_ahead(struct publication *p)
{
    if (p->ahead || staging_current(p->inode->staging))
        return false;
    p->ahead = true;
    staging_save_file(p->inode, &p->kept, on_ahead, p);
    return true;
}

static void prepare(struct publication *p)
{
    struct inode *i = p->inode;
    if (i->unlinked || (!inode_dirty(i) && inode_published(i))) {
        p->gen = i->gen;
        finish(p, 0);
        return;
    }
    if (sends_first(p)) {
        store(p);
        return;
    }
    cover_clear(&p->cover);
    publish_cover(i, &p->cover);
    if (!needs_refresh(p, &p->cover)) {
        if (write_ahead(p))
            return;
        if (needs_storing(p))
            store(p);
        else
            put(p);
        return;
    }
    p->refreshed = true;
    naming_start(&p->naming, &p->t, i->seen, &p->cover, on_refresh);
}

static void granted(struct lock_wait *w)
{
    struct publication *p = w->arg;
    if (w->seen != p->inode->seen) { /* renamed while waiting */
        struct lock_wait old = p->lock;
        list_init(&old.link);
        seen_lock(p->inode->seen, &p->lock, granted, p);
        seen_unlock(&old);
        return;
    }
    prepare(p);
}

static void begin(struct inode *i)
{
    struct publication *p = task_new(i->fs, NULL, sizeof(*p), release);
    p->inode = inode_hold(i);
    list_init(&p->store.link);
    p->durability = i->fs->cfg.durability;
    for (struct list *l = i->waiters.next; l != &i->waiters; l = l->next) {
        struct waiter *w = container_of(l, struct waiter, link);
        if (w->durability > p->durability)
            p->durability = w->durability;
    }
    i->pub = p;
    p->was = i->error;
    timer_init(&p->slow, on_slow, p);
    p->chunk_puts = i->fs->counters.chunk_puts;
    timer_set(i->fs->timers, &p->slow, fs_now_us(i->fs) + SLOW_US);
    seen_lock(i->seen, &p->lock, granted, p);
}

void publish(struct inode *i, enum durability durability, void (*done)(void *arg, int err),
             void *arg)
{
    if (i->unlinked || (!inode_dirty(i) && i->pub == NULL)) {
        if (done != NULL)
            done(arg, 0);
        return;
    }
    struct waiter *w = mem_new(struct waiter);
    *w = (struct waiter){.gen = i->gen,
                         .durability =
                             durability == DURABILITY_DEFAULT ? i->fs->cfg.durability : durability,
                         .done = done,
                         .arg = arg};
    list_append(&i->waiters, &w->link);
    if (i->pub == NULL)
        begin(i);
}

static void op_published(void *arg, int err)
{
    struct fs_op *op = arg;
    op->flushed = NULL;
    op_end(op->fs, op, err);
}

void publish_op(struct inode *i, enum durability durability, struct fs_op *op)
{
    op->fs = i->fs;
    op->state = NULL;
    op->flushed = i;
    publish(i, durability, op_published, op);
}

void publish_leave(struct fs_op *op)
{
    list_for_each_safe(it, tmp, &op->flushed->waiters)
    {
        struct waiter *w = container_of(it, struct waiter, link);
        if (w->arg != op)
            continue;
        list_remove(it);
        free(w);
        op_published(op, EINTR);
        return;
    }
}

bool publish_can_wait(const struct inode *i)
{
    return i->dirty_data && !i->dirty_meta && !i->written && i->pub == NULL && i->error == 0;
}

void publish_abandon(struct inode *i)
{
    clean(i);
    tell(i, UINT64_MAX, DURABILITY_QUORUM, 0);
}

void publish_stop(struct inode *i)
{
    i->pub = NULL;
    clean(i);
    tell(i, UINT64_MAX, DURABILITY_QUORUM, EIO);
}

void publish_timer(struct timer *t, void *arg)
{
    struct inode *i = arg;
    struct fs *fs = i->fs;
    if (i->staged && !i->written && i->dirty_data && i->n_writers != 0 && inode_published(i)) {
        timer_set(fs->timers, t, fs_now_us(fs) + fs->cfg.dirty_us); /* F12: O_TRUNC alone waits */
        return;
    }
    publish(i, DURABILITY_DEFAULT, NULL, NULL);
}
