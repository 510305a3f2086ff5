/* SPDX-License-Identifier: Apache-2.0 */
/* See told.h.
 *
 *   directory:  --used twice--> WANTED --covered--> SETTLING --SETTLE_US--> TOLD
 *               WANTED <--- lost, or too much at once (from SETTLING, TOLD)
 *               forgotten: not touched for IDLE_US, or the longest untouched of TOLD_MAX
 *
 * What is believed must have been asked for in TOLD: an earlier answer may lack a change of which
 * the replica told nobody. And a write that reached that replica just before it was covered may
 * still be on its way to the others, of whom an answer came: hence SETTLING. */
#include "model/told.h"

#include <stdlib.h>

#include "model/inode.h"

#define TOLD_MAX 1024u
#define SETTLE_US 2000000u
#define IDLE_US 300000000u
#define PLAIN_US 1000000u /* how long anything is kept of which no node tells */
#define LOOK_US 10000000u /* between looks for what is idle */
/* A walk through a tree uses each directory for a moment, which is too short to be told anything:
 * only one that is used again after a second, and within a minute, is worth it. */
#define AGAIN_US 1000000u
#define WITHIN_US 60000000u

struct told {
    struct list link; /* fs->told, the longest untouched first */
    struct seen *dir; /* referenced */
    uint64_t touched_us;
    uint64_t since_us; /* TOLD from then on; 0: not covered */
};

static void forget(struct told *t)
{
    struct fs *fs = t->dir->fs;
    struct seen *dir = t->dir;
    fs->watch.drop(fs->watch.ctx, seen_key(dir));
    list_remove(&t->link);
    fs->n_told--;
    dir->told = NULL;
    free(t);
    seen_unref(dir);
}

static struct told *longest_untouched(struct fs *fs)
{
    return list_empty(&fs->told) ? NULL : container_of(list_first(&fs->told), struct told, link);
}

static void on_look(struct timer *timer, void *arg)
{
    struct fs *fs = arg;
    uint64_t now = fs_now_us(fs);
    struct told *t;
    while ((t = longest_untouched(fs)) != NULL && now - t->touched_us > IDLE_US)
        forget(t);
    if (t != NULL)
        timer_set(fs->timers, timer, now + LOOK_US);
}

void told_touch(struct seen *dir)
{
    struct fs *fs = dir->fs;
    struct told *t = dir->told;
    uint64_t now = fs_now_us(fs);
    if (fs->watch.want == NULL || fs->cfg.push_us == 0 || fs->closing)
        return;
    if (t != NULL) {
        t->touched_us = now;
        list_remove(&t->link);
        list_append(&fs->told, &t->link);
        return;
    }
    if (dir->touched_us == 0 || now - dir->touched_us > WITHIN_US)
        dir->touched_us = now;
    if (now - dir->touched_us < AGAIN_US)
        return;
    if (fs->n_told >= TOLD_MAX)
        forget(longest_untouched(fs));
    t = dir->told = mem_new(struct told);
    t->dir = seen_ref(dir);
    t->touched_us = now;
    list_append(&fs->told, &t->link);
    fs->n_told++;
    fs->watch.want(fs->watch.ctx, seen_key(dir));
    if (!timer_is_set(&fs->told_timer))
        timer_set(fs->timers, &fs->told_timer, now + LOOK_US);
}

static bool is_directory(const struct seen *s)
{
    for (uint32_t i = 0; i < s->view.n; i++)
        if (s->view.siblings[i].type == SIBLING_DIR)
            return true;
    return s->key.len == 0;
}

static bool told_since(const struct told *t, const struct seen *s)
{
    uint64_t now = fs_now_us(s->fs);
    return t != NULL && t->since_us != 0 && s->asked_us >= t->since_us &&
           now - s->asked_us < s->fs->cfg.push_us;
}

/* A directory's times come from what lies in it (F29), so it must be told of itself. One that only
 * its entries imply has no state that anybody could tell. */
bool told_of(const struct seen *s)
{
    if (s->fs->n_told == 0)
        return false;
    if (is_directory(s))
        return told_since(s->told, s);
    if (s->implicit_dir)
        return false;
    struct seen *dir = seen_find(s->fs, key_parent(seen_key(s)));
    bool told = dir != NULL && told_since(dir->told, s);
    seen_unref(dir);
    return told;
}

uint64_t told_time(const struct seen *s, uint64_t wanted_us)
{
    if (wanted_us <= PLAIN_US || s->fs->watch.want == NULL)
        return wanted_us;
    if (!told_of(s))
        return PLAIN_US;
    uint64_t left = s->fs->cfg.push_us - (fs_now_us(s->fs) - s->asked_us);
    return left < PLAIN_US ? PLAIN_US : left < wanted_us ? left : wanted_us;
}

/* ---- events ------------------------------------------------------------------------------ */

/* The kernel's memory of a second need not be told. */
static void tell_kernel(struct inode *i)
{
    struct fs *fs = i->fs;
    bool keeps = fs->cfg.attr_us > PLAIN_US || fs->cfg.entry_us > PLAIN_US;
    if (keeps && fs->host.outdated != NULL && i->nlookup > 0)
        fs->host.outdated(fs->host.ctx, i->id);
}

/* What the kernel and the inodes hold of it is out of date. */
static void outdate(struct seen *s)
{
    for (struct list *l = s->inodes.next; l != &s->inodes; l = l->next) {
        struct inode *i = container_of(l, struct inode, in_seen);
        i->behind = true;
        tell_kernel(i);
    }
}

static void learn(struct seen *s, const struct object *state)
{
    struct object before = OBJECT_EMPTY;
    object_copy(&before, &s->view);
    seen_listed(s, state);
    if (!object_equal(&before, &s->view))
        outdate(s);
    object_release(&before);
}

static void directory_changed(struct seen *dir, const struct object *entry)
{
    int64_t newest = dir->dir_mtime_ns;
    for (uint32_t i = 0; i < entry->n; i++)
        if ((int64_t)entry->siblings[i].time_ns > newest)
            newest = (int64_t)entry->siblings[i].time_ns;
    if (newest == dir->dir_mtime_ns)
        return;
    dir->dir_mtime_ns = newest;
    outdate(dir);
}

static void name_changed(struct seen *dir, const struct watch_event *e)
{
    struct buf key = BUF_EMPTY;
    key_join(seen_key(dir), e->name, &key);
    struct seen *s = seen_find(dir->fs, buf_slice(&key));
    buf_release(&key);
    if (e->came_or_went)
        directory_changed(dir, &e->state);
    if (s != NULL && s->learnt_us != 0) /* what nobody asked for is of no use */
        learn(s, &e->state);
    seen_unref(s);
}

/* What the kernel was given for long is not known to be true any more. */
static void outdate_all(struct seen *dir)
{
    struct fs *fs = dir->fs;
    size_t slot = 0;
    for (struct table_node *n = NULL; (n = table_walk(&fs->inodes, &slot, n)) != NULL;) {
        struct inode *i = container_of(n, struct inode, node);
        if (i->seen == dir || slice_equal(key_parent(seen_key(i->seen)), seen_key(dir)))
            tell_kernel(i);
    }
}

/* Believed is only what is asked for from now on. */
static void begin_anew(struct told *t, bool covered)
{
    if (t->since_us != 0 &&
        (t->dir->fs->cfg.attr_us > PLAIN_US || t->dir->fs->cfg.entry_us > PLAIN_US))
        outdate_all(t->dir);
    t->since_us = covered ? fs_now_us(t->dir->fs) + SETTLE_US : 0;
}

/* With a reference, if this mount is told of the directory. */
static struct seen *find(void *ctx, struct slice dir)
{
    struct fs *fs = ctx;
    struct seen *s = seen_find(fs, dir);
    if (s != NULL && s->told != NULL)
        return s;
    seen_unref(s);
    return NULL;
}

static void changed(void *ctx, const struct watch_event *e)
{
    struct seen *dir = find(ctx, e->dir);
    if (dir == NULL)
        return;
    dir->fs->counters.told++;
    if (e->kind == WATCH_NAME)
        name_changed(dir, e);
    else if (e->kind == WATCH_SELF)
        learn(dir, &e->state);
    else
        begin_anew(dir->told, true);
    seen_unref(dir);
}

static void covered(void *ctx, struct slice key)
{
    struct seen *dir = find(ctx, key);
    if (dir != NULL)
        begin_anew(dir->told, true);
    seen_unref(dir);
}

static void lost(void *ctx, struct slice key)
{
    struct seen *dir = find(ctx, key);
    if (dir != NULL)
        begin_anew(dir->told, false);
    seen_unref(dir);
}

struct watch_events fs_watch_events(struct fs *fs)
{
    return (struct watch_events){fs, covered, lost, changed};
}

void fs_watch(struct fs *fs, const struct watch_port *port)
{
    fs->watch = *port;
    timer_init(&fs->told_timer, on_look, fs);
}

void told_release(struct fs *fs)
{
    struct told *t;
    while ((t = longest_untouched(fs)) != NULL)
        forget(t);
    if (fs->watch.want != NULL)
        timer_cancel(fs->timers, &fs->told_timer);
}
