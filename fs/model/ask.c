/* SPDX-License-Identifier: Apache-2.0 */
/* Gets, and what becomes of an answer that knows less than this mount does (F15, E22). Entries and
 * objects lie on different replicas, and after a split either may be home first: a listing shows a
 * version whose bytes the replicas asked still lack. To say that it is not there would be a lie. A
 * question for names and attributes needs nothing more, for the answer is joined with what is
 * remembered (seen.h). One for bytes or extended attributes is asked again: from all replicas, and
 * so that an answer must know what this mount can name, which sends the coordinator to stand-ins.
 *
 *   GET -> good enough -> got
 *       -> lags -> PAUSE -> GET again ...
 *       -> STALE, the bytes are not there -> PROBE -> the version was replaced -> got (STALE)
 *                                                  -> lags -> PAUSE -> GET again ...
 *   at the operation's deadline: the memory is given up, got (TIMEOUT); the next asks the cluster
 */
#include <assert.h>

#include "base/err.h"
#include "model/owed.h"
#include "model/resume.h"
#include "model/seen.h"

#define PAUSE_FIRST_US 20000u
#define PAUSE_LAST_US 500000u

static void ask(struct task *t);

static void on_pause(struct timer *pause, void *arg)
{
    (void)pause;
    ask(arg);
}

static const struct sibling *newest_shown(const struct seen *s)
{
    const struct sibling *newest = NULL;
    for (uint32_t i = 0; i < s->view.n; i++) {
        const struct sibling *at = &s->view.siblings[i];
        if (sibling_live(at) && !owed_has(s, &at->dot) &&
            (newest == NULL || sibling_order(at, newest) > 0))
            newest = at;
    }
    return newest;
}

/* The answer knows what this mount shows under the name, or something newer. */
static bool knows_newest(const struct seen *s, const struct object *answer)
{
    const struct sibling *mine = newest_shown(s), *theirs = object_newest(answer);
    return mine == NULL || clock_covers(&answer->clock, &mine->dot) ||
           (theirs != NULL && sibling_order(theirs, mine) > 0);
}

static bool knows_all(const struct seen *s, const struct object *answer)
{
    for (uint32_t i = 0; i < s->view.n; i++)
        if (!clock_covers(&answer->clock, &s->view.siblings[i].dot))
            return false;
    return true;
}

static bool good_enough(struct task *t, const struct get_reply *p)
{
    const struct get_request *q = &t->ask.q;
    struct seen *s = seen_find(t->fs, buf_slice(&t->ask.key));
    bool good = true;
    if (p->status != DYN_OK)
        good = p->status != DYN_ERR_STALE && t->ask.tries == 0; /* the port has tried to the end */
    else if (t->ask.probing)
        good = clock_covers(&p->object.clock, &q->value_dot) &&
               object_find_value(&p->object, &q->value_dot) == NULL;
    else if (s == NULL || !seen_remembers(s) || q->want == GET_DOT)
        good = true;
    else if (q->want == GET_META || q->want == GET_ALL)
        good = (q->want == GET_META && !t->ask.whole) || knows_all(s, &p->object);
    else
        good = knows_newest(s, &p->object);
    seen_unref(s);
    return good;
}

static void tokens_refused(struct task *t)
{
    struct seen *s = seen_find(t->fs, buf_slice(&t->ask.key));
    if (s != NULL)
        seen_drop_tokens(s);
    seen_unref(s);
}

static void give_up(struct task *t)
{
    struct get_reply none = {.status = DYN_ERR_TIMEOUT, .object = OBJECT_EMPTY};
    struct seen *s = seen_find(t->fs, buf_slice(&t->ask.key));
    if (s != NULL)
        seen_forget_view(s);
    seen_unref(s);
    t->on.got(t, &none);
}

static void on_get(void *arg, const struct get_reply *p)
{
    struct task *t = arg;
    struct fs *fs = t->fs;
    uint64_t now = fs_now_us(fs);
    t->kv_id = 0;
    resume_look(t->fs);
    if (good_enough(t, p)) {
        struct get_reply replaced = *p;
        if (t->ask.probing)
            replaced.status = DYN_ERR_STALE;
        t->ask.probing = false;
        fs->asked_us = t->asked_us;
        t->on.got(t, t->ask.q.want == GET_DOT ? &replaced : p);
        fs->asked_us = 0;
        return;
    }
    if (now >= t->ask.until_us) {
        give_up(t);
        return;
    }
    if (p->status == DYN_ERR_STALE && !t->ask.probing) {
        t->ask.probing = true;
        ask(t);
        return;
    }
    if (p->status == DYN_ERR_BAD_CONTEXT)
        tokens_refused(t);
    t->ask.probing = false;
    t->ask.tries++;
    t->fs->counters.lagging++;
    uint64_t left = t->ask.until_us - now;
    timer_set(t->fs->timers, &t->ask.pause,
              now + (t->ask.pause_us < left ? t->ask.pause_us : left));
    t->ask.pause_us = t->ask.pause_us * 2 < PAUSE_LAST_US ? t->ask.pause_us * 2 : PAUSE_LAST_US;
}

/* What is shown and has a token: the coordinator asks on until it knows that. */
static void demand(struct task *t, struct get_request *q, struct contexts *contexts)
{
    struct cover shown = COVER_EMPTY;
    struct seen *s = seen_find(t->fs, q->key);
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < s->view.n; i++)
        cover_add_dot(&shown, &s->view.siblings[i].dot);
    seen_contexts(s, &shown, contexts);
    q->at_least = contexts->list;
    q->n_at_least = contexts->n;
    cover_release(&shown);
    seen_unref(s);
}

static void ask(struct task *t)
{
    struct fs *fs = t->fs;
    struct get_request q = t->ask.q;
    struct contexts contexts = {.bytes = BUF_EMPTY};
    uint64_t now = fs_now_us(fs);
    q.key = buf_slice(&t->ask.key);
    if (t->ask.probing)
        q.want = GET_META;
    if (t->ask.tries > 0) {
        demand(t, &q, &contexts);
        if (t->ask.tries % 2 == 1 && fs->host.replicas != NULL)
            q.opt.r = fs->host.replicas(fs->host.ctx);
        uint64_t left_ms = t->ask.until_us > now ? (t->ask.until_us - now) / 1000 : 0;
        q.opt.timeout_ms = left_ms > 100 ? (uint32_t)left_ms : 100;
    }
    fs->counters.gets++;
    t->asked_us = now;
    t->kv_id = fs->kv.get(fs->kv.ctx, &q, on_get, t);
    contexts_release(&contexts);
}

static void get(struct task *t, struct get_request *q, bool whole,
                void (*got)(struct task *t, const struct get_reply *p))
{
    struct fs *fs = t->fs;
    assert(t->kv_id == 0 && !timer_is_set(&t->ask.pause));
    task_options(fs, &q->opt);
    t->on.got = got;
    buf_clear(&t->ask.key);
    buf_put_slice(&t->ask.key, q->key);
    t->ask.q = *q;
    t->ask.whole = whole;
    t->ask.probing = false;
    if (t->ask.until_us == 0 ||
        t->ask.tries == 0) /* lags of one operation add up to one deadline */
        t->ask.until_us = fs_now_us(fs) + fs->cfg.deadline_us;
    t->ask.tries = 0;
    t->ask.pause_us = PAUSE_FIRST_US;
    timer_init(&t->ask.pause, on_pause, t);
    ask(t);
}

bool task_got_other(const struct task *t, const struct seen *s)
{
    return !slice_equal(buf_slice(&t->ask.key), seen_key(s));
}

void task_get(struct task *t, struct slice key, enum get_want want, const struct dot *value_dot,
              void (*got)(struct task *t, const struct get_reply *p))
{
    struct get_request q = {.key = key, .want = want};
    if (value_dot != NULL)
        q.value_dot = *value_dot;
    get(t, &q, false, got);
}

void task_get_whole(struct task *t, struct slice key,
                    void (*got)(struct task *t, const struct get_reply *p))
{
    struct get_request q = {.key = key, .want = GET_META};
    get(t, &q, true, got);
}

void task_get_all(struct task *t, struct slice key,
                  void (*got)(struct task *t, const struct get_reply *p))
{
    struct get_request q = {.key = key, .want = GET_META};
    q.opt.r = t->fs->host.replicas == NULL ? 0 : t->fs->host.replicas(t->fs->host.ctx);
    get(t, &q, false, got);
}

void task_get_strict_all(struct task *t, struct slice key,
                         void (*got)(struct task *t, const struct get_reply *p))
{
    struct get_request q = {.key = key, .want = GET_META};
    q.opt.sloppy = SLOPPY_NO;
    q.opt.r = t->fs->host.replicas == NULL ? 0 : t->fs->host.replicas(t->fs->host.ctx);
    get(t, &q, false, got);
}

void task_get_strict(struct task *t, struct slice key,
                     void (*got)(struct task *t, const struct get_reply *p))
{
    struct get_request q = {.key = key, .want = GET_META};
    q.opt.sloppy = SLOPPY_NO;
    q.opt.r = fs_majority(t->fs);
    get(t, &q, false, got);
}
