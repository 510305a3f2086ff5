/* SPDX-License-Identifier: Apache-2.0 */
/* See naming.h. */
#include "model/naming.h"

#include "base/err.h"

#define PAUSE_FIRST_US 20000u
#define PAUSE_LAST_US 500000u

static void ask(struct naming *n);

static void on_timer(struct timer *t, void *arg)
{
    (void)t;
    ask(arg);
}

static uint64_t pause(uint32_t tries)
{
    uint64_t us = PAUSE_FIRST_US << (tries < 8 ? tries : 8);
    return us > PAUSE_LAST_US ? PAUSE_LAST_US : us;
}

static void on_get(struct task *t, const struct get_reply *p)
{
    struct naming *n = t->naming;
    struct fs *fs = t->fs;
    uint64_t next = fs_now_us(fs) + pause(n->tries);
    if (p->status == DYN_OK)
        seen_got(n->s, p);
    /* All replicas need not be there; a quorum has answered before. */
    bool again = p->status == DYN_OK ? !seen_names_live(n->s, n->dots) : n->tries > 0;
    if (again && next < n->until_us) {
        n->tries++;
        timer_set(fs->timers, &n->timer, next);
        return;
    }
    if (again) /* a version that nobody has: the cluster's word stands from here on */
        seen_forget_view(n->s);
    t->naming = NULL;
    n->done(t, p);
}

static void ask(struct naming *n)
{
    if (n->tries % 2 == 0)
        task_get(n->t, seen_key(n->s), GET_META, NULL, on_get);
    else
        task_get_all(n->t, seen_key(n->s), on_get);
}

void naming_start(struct naming *n, struct task *t, struct seen *s, const struct cover *dots,
                  void (*done)(struct task *t, const struct get_reply *p))
{
    *n = (struct naming){.t = t, .s = s, .dots = dots, .done = done};
    n->until_us = fs_now_us(t->fs) + t->fs->cfg.deadline_us / 2;
    timer_init(&n->timer, on_timer, n);
    t->naming = n;
    ask(n);
}

void naming_release(struct naming *n)
{
    if (n->t != NULL)
        timer_cancel(n->t->fs->timers, &n->timer);
}
