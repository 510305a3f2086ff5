/* SPDX-License-Identifier: Apache-2.0 */
/* See owed.h. */
#include "model/owed.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "model/inode.h"
#include "model/naming.h"
#include "model/publish.h"
#include "model/staging.h"

#define BACKOFF_FIRST_US 1000000u
#define BACKOFF_LAST_US 30000000u

struct dropping;

struct owed {
    struct list link;  /* fs->owed */
    struct seen *seen; /* referenced */
    struct cover dots;
    struct origin origin; /* of the drop, the same for each repeat (F9) */
    struct list waits;
    struct dropping *attempt; /* NULL: none on its way */
    struct timer timer;
    uint64_t since_us, backoff_us;
    int error;
    uint64_t version; /* counts changes of dots */
    struct staging *staging;
};

struct dropping {
    struct task t;
    struct owed *o;
    struct lock_wait lock;
    struct naming naming;
    struct cover dots; /* what this attempt drops */
    bool named, again;
    struct staging_wait kept;
    int err;
};

static void try_now(struct owed *o);
static void prepare(struct dropping *d);

static void on_timer(struct timer *t, void *arg)
{
    (void)t;
    try_now(arg);
}

static struct owed *owed_of(struct seen *s)
{
    struct fs *fs = s->fs;
    struct owed *o = s->owed;
    if (o != NULL)
        return o;
    o = s->owed = mem_new(struct owed);
    o->seen = seen_ref(s);
    o->since_us = fs_now_us(fs);
    list_init(&o->waits);
    list_append(&fs->owed, &o->link);
    fs->n_owed++;
    timer_init(&o->timer, on_timer, o);
    return o;
}

void owed_add(struct seen *s, const struct cover *dots)
{
    struct fs *fs = s->fs;
    struct owed *o = owed_of(s);
    o->version++;
    staging_changed(o->staging);
    cover_join_dots(&o->dots, dots);
    for (uint32_t i = 0; i < dots->n; i++)
        seen_hide(s, &dots->dots[i]);
    seen_drop_origin(s, &o->dots, &o->origin);
    timer_set(fs->timers, &o->timer, fs_now_us(fs) + BACKOFF_FIRST_US);
}

void owed_add_unfound(struct seen *s, const struct cover *named, const struct object *answer)
{
    struct cover unfound = COVER_EMPTY;
    for (uint32_t i = 0; i < named->n; i++) {
        const struct known *k = seen_known(s, &named->dots[i]);
        if (k != NULL && k->token != NULL && !clock_covers(&answer->clock, &k->dot))
            cover_add_dot(&unfound, &k->dot);
    }
    if (unfound.n != 0)
        owed_add(s, &unfound);
    cover_release(&unfound);
}

static void tell(struct list *waits, int err)
{
    struct list ready;
    list_init(&ready);
    for (struct list *l; (l = list_first(waits)) != NULL;) {
        list_remove(l);
        list_append(&ready, l);
    }
    for (struct list *l; (l = list_first(&ready)) != NULL;) {
        struct owed_wait *w = container_of(l, struct owed_wait, link);
        list_remove(l);
        w->done(w, err);
    }
}

static void owed_free(struct owed *o)
{
    struct fs *fs = o->seen->fs;
    list_remove(&o->link);
    fs->n_owed--;
    timer_cancel(fs->timers, &o->timer);
    staging_drop(&o->staging);
    staging_free(&o->staging); /* the filesystem ends: the record stays */
    cover_release(&o->dots);
    o->seen->owed = NULL;
    seen_unref(o->seen);
    free(o);
}

/* Takes the debt away and tells those who waited for it. */
static void settle(struct owed *o, int err)
{
    struct list waits;
    list_init(&waits);
    for (struct list *l; (l = list_first(&o->waits)) != NULL;) {
        list_remove(l);
        list_append(&waits, l);
    }
    if (o->attempt != NULL)
        o->attempt->o = NULL;
    owed_free(o);
    tell(&waits, err);
}

static void release(struct task *t)
{
    struct dropping *d = container_of(t, struct dropping, t);
    naming_release(&d->naming);
    staging_wait_cancel(&d->kept);
    cover_release(&d->dots);
    seen_unlock(&d->lock);
}

/* What a record says. */
static uint64_t version(const void *of)
{
    return ((const struct owed *)of)->version;
}

static void describe(void *of, struct buf *body, struct stage_chunk **chunks, uint32_t *n)
{
    struct owed *o = of;
    struct fs *fs = o->seen->fs;
    uint64_t age_us = fs_now_us(fs) - o->since_us;
    struct staged s = {.kind = STAGED_DROP, .origin = o->origin, .error = o->error};
    (void)chunks;
    (void)n;
    s.since_ns = (uint64_t)fs_wall_ns(fs) - age_us * 1000;
    staging_put_seen(o->seen, &o->dots, &s);
    staged_encode(&s, body);
    staged_release(&s);
}

static const struct staging_source source = {version, describe};

static void end(void *arg)
{
    struct dropping *d = arg;
    struct owed *o = d->o;
    struct fs *fs = d->t.fs;
    int err = d->err;
    d->o = NULL;
    task_end(&d->t, 0);
    if (o == NULL)
        return;
    o->attempt = NULL;
    o->error = err;
    if (err == 0) {
        inode_touch_dir(fs, key_parent(seen_key(o->seen)));
        settle(o, 0);
        return;
    }
    o->backoff_us = o->backoff_us == 0 ? BACKOFF_FIRST_US : o->backoff_us * 2;
    if (o->backoff_us > BACKOFF_LAST_US)
        o->backoff_us = BACKOFF_LAST_US;
    timer_set(fs->timers, &o->timer, fs_now_us(fs) + o->backoff_us);
    tell(&o->waits, err);
}

/* The rename is about to be answered: what it owes must outlive this process. */
static void finish(struct dropping *d, int err)
{
    d->err = err;
    if (err != 0 && d->o != NULL)
        staging_save(d->t.fs, &d->o->staging, &source, d->o, &d->kept, end, d);
    else
        end(d);
}

static void on_drop(struct task *t, const struct put_reply *p)
{
    struct dropping *d = container_of(t, struct dropping, t);
    if (d->o != NULL && p->status == DYN_ERR_BAD_CONTEXT && !d->again) {
        d->again = true;
        d->named = false;
        seen_drop_tokens(d->o->seen);
        prepare(d);
        return;
    }
    if (d->o == NULL || p->status != DYN_OK) {
        finish(d, fs_errno(p->status));
        return;
    }
    bool found = true;
    for (uint32_t i = 0; i < d->dots.n; i++)
        found &= clock_covers(&p->object.clock, &d->dots.dots[i]);
    seen_put(d->o->seen, p);
    d->o->seen->implicit_dir = false;
    bool never = fs_now_us(t->fs) - d->o->since_us > SEEN_MEMORY_US; /* nobody has it */
    finish(d, found || never ? 0 : ETIMEDOUT);
}

static void drop(struct dropping *d)
{
    struct owed *o = d->o;
    struct contexts contexts;
    seen_contexts(o->seen, &d->dots, &contexts);
    if (contexts.n == 0) { /* nothing of it is left to drop; to name nothing would drop all */
        contexts_release(&contexts);
        finish(d, 0);
        return;
    }
    struct put_request q = {.key = seen_key(o->seen),
                            .flags = PUT_DROP_ONLY,
                            .type = SIBLING_DELETE,
                            .origin = o->origin,
                            .contexts = contexts.list,
                            .n_contexts = contexts.n};
    q.attrs.mtime_ns = q.attrs.ctime_ns = fs_wall_ns(d->t.fs);
    task_put(&d->t, &q, on_drop);
    contexts_release(&contexts);
}

static void on_tokens(struct task *t, const struct get_reply *p)
{
    struct dropping *d = container_of(t, struct dropping, t);
    if (d->o == NULL || p->status != DYN_OK)
        finish(d, fs_errno(p->status));
    else
        prepare(d);
}

static void prepare(struct dropping *d)
{
    struct owed *o = d->o;
    if (!d->named && !seen_can_name(o->seen, &d->dots)) {
        d->named = true;
        naming_start(&d->naming, &d->t, o->seen, &d->dots, on_tokens);
    } else if (!seen_names_live(o->seen, &d->dots)) {
        finish(d, ETIMEDOUT); /* to name less would drop the wrong thing, or nothing */
    } else {
        drop(d);
    }
}

static void granted(struct lock_wait *w)
{
    struct dropping *d = w->arg;
    if (d->o == NULL) {
        task_end(&d->t, 0);
        return;
    }
    cover_join_dots(&d->dots, &d->o->dots);
    prepare(d);
}

static void try_now(struct owed *o)
{
    if (o->attempt != NULL)
        return;
    timer_cancel(o->seen->fs->timers, &o->timer);
    struct dropping *d = task_new(o->seen->fs, NULL, sizeof(*d), release);
    d->o = o;
    o->attempt = d;
    seen_lock(o->seen, &d->lock, granted, d);
}

void owed_pay(struct seen *s, struct owed_wait *w, void (*done)(struct owed_wait *w, int err),
              void *arg)
{
    *w = (struct owed_wait){.done = done, .arg = arg};
    list_init(&w->link);
    if (s->owed == NULL) {
        done(w, 0);
        return;
    }
    list_append(&s->owed->waits, &w->link);
    try_now(s->owed);
}

void owed_wait_cancel(struct owed_wait *w)
{
    if (w->link.next != NULL)
        list_remove(&w->link);
}

void owed_resume(struct seen *s, const struct cover *dots, const struct origin *origin,
                 uint64_t age_us, uint64_t record, uint64_t bytes)
{
    struct fs *fs = s->fs;
    bool fresh = s->owed == NULL;
    owed_add(s, dots);
    if (!fresh) { /* one record says both, and is written before the other goes */
        staging_save(fs, &s->owed->staging, &source, s->owed, NULL, NULL, NULL);
        fs->stage.drop(fs->stage.ctx, record);
        return;
    }
    s->owed->origin = *origin;
    s->owed->since_us = fs_now_us(fs) - age_us;
    staging_adopt(fs, &s->owed->staging, &source, s->owed, record, bytes);
    try_now(s->owed);
}

void owed_forgive(struct seen *s)
{
    if (s->owed != NULL)
        settle(s->owed, 0);
}

bool owed_has(const struct seen *s, const struct dot *d)
{
    return s->owed != NULL && cover_has(&s->owed->dots, d);
}

void owed_collect(const struct seen *s, struct cover *out)
{
    if (s->owed != NULL)
        cover_join_dots(out, &s->owed->dots);
}

struct seen *owed_below(struct fs *fs, struct slice dir_key)
{
    for (struct list *l = fs->owed.next; l != &fs->owed; l = l->next) {
        struct seen *s = container_of(l, struct owed, link)->seen;
        if (slice_equal(key_parent(seen_key(s)), dir_key))
            return s;
    }
    return NULL;
}

bool owed_leaves_live(const struct seen *s)
{
    for (uint32_t i = 0; i < s->view.n; i++)
        if (sibling_live(&s->view.siblings[i]) && !owed_has(s, &s->view.siblings[i].dot))
            return true;
    return false;
}

uint32_t owed_count(const struct fs *fs)
{
    return fs->n_owed;
}

void owed_hurry(struct fs *fs)
{
    for (struct list *l = fs->owed.next; l != &fs->owed; l = l->next) {
        struct owed *o = container_of(l, struct owed, link);
        if (o->attempt == NULL)
            timer_set(fs->timers, &o->timer, fs_now_us(fs));
    }
}

void owed_report(struct fs *fs, struct buf *out)
{
    uint64_t now = fs_now_us(fs);
    for (struct list *l = fs->owed.next; l != &fs->owed; l = l->next) {
        const struct owed *o = container_of(l, struct owed, link);
        buf_printf(out, "%llu s\tremoval\t", (unsigned long long)((now - o->since_us) / 1000000));
        buf_put_percent(out, seen_key(o->seen), "/ ");
        publish_report_error(o->error, out);
        buf_put_str(out, "\n");
    }
}

/* Their waits belonged to tasks, which have ended. */
void owed_free_all(struct fs *fs)
{
    for (struct list *l; (l = list_first(&fs->owed)) != NULL;)
        owed_free(container_of(l, struct owed, link));
}
