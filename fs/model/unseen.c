/* SPDX-License-Identifier: Apache-2.0 */
/* See unseen.h. */
#include "model/unseen.h"

#include <stdlib.h>

#include "base/err.h"
#include "model/inode.h"
#include "model/owed.h"
#include "model/publish.h"

#define BACKOFF_FIRST_US 1000000u
#define BACKOFF_LAST_US 30000000u
#define QUIET_US 10000000u /* a node that answers reads has by then read its older mail, too */

struct looking;

struct unseen {
    struct list link;  /* fs->unseen */
    struct seen *seen; /* referenced */
    struct origin put; /* that one, and earlier ones of its stream */
    struct looking *attempt;
    struct timer timer;
    uint64_t since_us, backoff_us;
    uint64_t clear_us; /* when all replicas first had nothing of it, 0: not yet */
    bool absent;       /* a quorum had nothing of it */
    int error;
    uint64_t version; /* counts changes of put */
    struct staging *staging;
};

struct looking {
    struct task t;
    struct unseen *u; /* NULL: it is over */
    struct lock_wait lock;
};

static void look(struct unseen *u);

static void on_timer(struct timer *t, void *arg)
{
    (void)t;
    look(arg);
}

static uint64_t version(const void *of)
{
    return ((const struct unseen *)of)->version;
}

static void describe(void *of, struct buf *body, struct stage_chunk **chunks, uint32_t *n)
{
    struct unseen *u = of;
    struct fs *fs = u->seen->fs;
    struct cover nothing = COVER_EMPTY;
    uint64_t age_us = fs_now_us(fs) - u->since_us;
    struct staged s = {.kind = STAGED_UNSEEN, .origin = u->put, .error = u->error};
    (void)chunks;
    (void)n;
    s.since_ns = (uint64_t)fs_wall_ns(fs) - age_us * 1000;
    staging_put_seen(u->seen, &nothing, &s);
    staged_encode(&s, body);
    staged_release(&s);
}

static const struct staging_source source = {version, describe};

static bool in_stream(const struct origin *o, const struct origin *put)
{
    return o->writer == put->writer && o->stream == put->stream;
}

static struct unseen *unseen_of(struct seen *s, const struct origin *put)
{
    struct fs *fs = s->fs;
    struct unseen *u;
    for (struct list *l = fs->unseen.next; l != &fs->unseen; l = l->next) {
        u = container_of(l, struct unseen, link);
        if (u->seen == s && in_stream(&u->put, put))
            return u;
    }
    u = mem_new(struct unseen);
    u->seen = seen_ref(s);
    timer_init(&u->timer, on_timer, u);
    list_append(&fs->unseen, &u->link);
    return u;
}

static void unseen_free(struct unseen *u)
{
    struct fs *fs = u->seen->fs;
    if (u->attempt != NULL)
        u->attempt->u = NULL;
    list_remove(&u->link);
    timer_cancel(fs->timers, &u->timer);
    staging_drop(&u->staging);
    staging_free(&u->staging); /* the filesystem ends: the record stays */
    seen_unref(u->seen);
    free(u);
}

static void begin(struct unseen *u, const struct origin *put, uint64_t age_us)
{
    struct fs *fs = u->seen->fs;
    if (u->put.writer == 0 || put->seq > u->put.seq)
        u->put = *put;
    u->version++;
    u->since_us = fs_now_us(fs) - age_us;
    u->clear_us = 0;
    u->absent = false;
    u->backoff_us = BACKOFF_FIRST_US;
    timer_set(fs->timers, &u->timer, fs_now_us(fs) + BACKOFF_FIRST_US);
}

void unseen_add(struct seen *s, const struct origin *put, struct staging_wait *w,
                void (*done)(void *arg), void *arg)
{
    struct unseen *u = unseen_of(s, put);
    begin(u, put, 0);
    staging_save(s->fs, &u->staging, &source, u, w, done, arg);
}

void unseen_resume(struct seen *s, const struct origin *put, uint64_t age_us, uint64_t record,
                   uint64_t bytes)
{
    struct fs *fs = s->fs;
    struct unseen *u = unseen_of(s, put);
    bool fresh = u->version == 0;
    begin(u, put, age_us);
    if (fresh) {
        staging_adopt(fs, &u->staging, &source, u, record, bytes);
        return;
    }
    staging_save(fs, &u->staging, &source, u, NULL, NULL, NULL);
    fs->stage.drop(fs->stage.ctx, record);
}

/* ---- looking ----------------------------------------------------------------------------- */

static void release(struct task *t)
{
    struct looking *l = container_of(t, struct looking, t);
    if (l->u != NULL)
        l->u->attempt = NULL;
    seen_unlock(&l->lock);
}

static void again(struct looking *l)
{
    struct unseen *u = l->u;
    struct fs *fs = l->t.fs;
    if (u != NULL && fs_now_us(fs) - u->since_us > SEEN_MEMORY_US) {
        unseen_free(u);
    } else if (u != NULL) {
        timer_set(fs->timers, &u->timer, fs_now_us(fs) + u->backoff_us);
        u->backoff_us = u->backoff_us * 2 < BACKOFF_LAST_US ? u->backoff_us * 2 : BACKOFF_LAST_US;
    }
    task_end(&l->t, 0);
}

/* What the put made, to be dropped; true: also that something later of its stream is there, which
 * stands wherever the two meet. */
static bool find(const struct unseen *u, const struct object *o, struct cover *made)
{
    bool later = false;
    for (uint32_t i = 0; i < o->n; i++) {
        const struct sibling *s = &o->siblings[i];
        if (!in_stream(&s->origin, &u->put))
            continue;
        if (s->origin.seq > u->put.seq)
            later = true;
        else if (sibling_live(s) && !owed_has(u->seen, &s->dot))
            cover_add_dot(made, &s->dot);
    }
    return later;
}

/* No other change of the key is on its way, and none waits that has its place in the stream. */
static bool dirty(const struct seen *s)
{
    for (const struct list *l = s->inodes.next; l != &s->inodes; l = l->next)
        if (inode_dirty(container_of(l, struct inode, in_seen)))
            return true;
    return false;
}

static void granted(struct lock_wait *w)
{
    struct looking *l = container_of(w, struct looking, lock);
    struct cover made = COVER_EMPTY;
    if (l->u != NULL && !find(l->u, &l->u->seen->view, &made) && made.n != 0 &&
        !dirty(l->u->seen)) {
        owed_add(l->u->seen, &made);
        inode_touch_dir(l->t.fs, key_parent(seen_key(l->u->seen)));
    }
    cover_release(&made);
    again(l);
}

/* `all`: every replica has answered, not just a quorum. */
static void answered(struct looking *l, const struct get_reply *p, bool all)
{
    struct unseen *u = l->u;
    struct cover made = COVER_EMPTY;
    uint64_t now = fs_now_us(l->t.fs);
    seen_got(u->seen, p);
    u->error = 0;
    bool later = find(u, &u->seen->view, &made);
    bool none = made.n == 0 && u->seen->owed == NULL;
    cover_release(&made);
    u->absent = none;
    if (!none || !all)
        u->clear_us = 0;
    else if (u->clear_us == 0)
        u->clear_us = now;
    if (later || (none && all && now - u->clear_us >= QUIET_US)) {
        unseen_free(u);
        task_end(&l->t, 0);
    } else if (none) {
        again(l);
    } else {
        u->backoff_us = BACKOFF_FIRST_US;
        seen_lock(u->seen, &l->lock, granted, l);
    }
}

static void on_quorum(struct task *t, const struct get_reply *p)
{
    struct looking *l = container_of(t, struct looking, t);
    if (l->u != NULL && p->status == DYN_OK) {
        answered(l, p, false);
        return;
    }
    if (l->u != NULL)
        l->u->error = fs_errno(p->status);
    again(l);
}

static void on_all(struct task *t, const struct get_reply *p)
{
    struct looking *l = container_of(t, struct looking, t);
    if (l->u != NULL && p->status == DYN_OK)
        answered(l, p, true);
    else if (l->u != NULL)
        task_get_strict(t, seen_key(l->u->seen), on_quorum);
    else
        again(l);
}

static void look(struct unseen *u)
{
    if (u->attempt != NULL)
        return;
    timer_cancel(u->seen->fs->timers, &u->timer);
    struct looking *l = task_new(u->seen->fs, NULL, sizeof(*l), release);
    l->u = u;
    u->attempt = l;
    task_get_strict_all(&l->t, seen_key(u->seen), on_all);
}

/* ---- the rest ---------------------------------------------------------------------------- */

uint32_t unseen_count(const struct fs *fs)
{
    uint32_t n = 0;
    for (const struct list *l = fs->unseen.next; l != &fs->unseen; l = l->next)
        n += !container_of(l, struct unseen, link)->absent;
    return n;
}

void unseen_hurry(struct fs *fs)
{
    for (struct list *l = fs->unseen.next; l != &fs->unseen; l = l->next) {
        struct unseen *u = container_of(l, struct unseen, link);
        if (u->attempt == NULL)
            timer_set(fs->timers, &u->timer, fs_now_us(fs));
    }
}

void unseen_report(struct fs *fs, struct buf *out)
{
    uint64_t now = fs_now_us(fs);
    for (struct list *l = fs->unseen.next; l != &fs->unseen; l = l->next) {
        const struct unseen *u = container_of(l, struct unseen, link);
        if (u->seen->owed != NULL)
            continue; /* which is listed */
        buf_printf(out, "%llu s\tremoval\t", (unsigned long long)((now - u->since_us) / 1000000));
        buf_put_percent(out, seen_key(u->seen), "/ ");
        publish_report_error(u->error, out);
        buf_put_str(out, "\n");
    }
}

void unseen_free_all(struct fs *fs)
{
    for (struct list *l; (l = list_first(&fs->unseen)) != NULL;)
        unseen_free(container_of(l, struct unseen, link));
}
