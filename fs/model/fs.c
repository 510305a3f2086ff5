/* SPDX-License-Identifier: Apache-2.0 */
/* See fs.h: the filesystem's life: configuration, the root, draining, the end. */
#include "model/fs.h"

#include <errno.h>
#include <stdlib.h>

#include "model/content.h"
#include "model/control.h"
#include "model/held.h"
#include "model/large_private.h"
#include "model/open.h"
#include "model/owed.h"
#include "model/place.h"
#include "model/publish.h"
#include "model/resume.h"
#include "model/told.h"
#include "model/unseen.h"

#define DRAIN_AGAIN_US 200000u
#define SPACE_WAIT_US 1000000u
#define SPACE_LOOK_US 20000u

void fs_config_defaults(struct fs_config *c)
{
    *c = (struct fs_config){.attr_us = 1000000,
                            .entry_us = 1000000,
                            .push_us = 30000000,
                            .names_max = 100000,
                            .resolve = FS_RESOLVE_SHOWN,
                            .deadline_us = 20000000,
                            .value_max = FILE_LEN_MAX,
                            .inline_max = CHUNK_LEN,
                            .staging_max = 64u << 20,
                            .cache_max = 32u << 20,
                            .dirty_us = 30000000,
                            .memory_max = 256u << 20,
                            .staged_max = 512u << 20,
                            .durability = DURABILITY_BUFFERED,
                            .rename_limit = 10000};
}

static void make_root(struct fs *fs)
{
    struct seen *s = seen_get(fs, buf_slice(&fs->root));
    fs->next_node = FS_ROOT;
    struct inode *root = inode_new(fs, s, 0, SIBLING_DIR);
    root->st_ino = FS_ROOT;
    root->s.time_ns = fs->time.wall_ns(fs->time.ctx); /* until something in it changes */
    fs->next_node = NODE_FIRST;
    seen_unref(s);
}

struct fs *fs_new(const struct fs_config *cfg, const struct kv_port *kv,
                  const struct time_port *time, const struct random_port *random,
                  struct timers *timers, const struct fs_host *host)
{
    struct fs *fs = mem_new(struct fs);
    fs->cfg = *cfg;
    buf_put_slice(&fs->root, cfg->root);
    fs->cfg.root = buf_slice(&fs->root);
    fs->kv = *kv;
    fs->time = *time;
    fs->random = *random;
    fs->timers = timers;
    fs->host = *host;
    table_init(&fs->inodes, random_u64(random));
    table_init(&fs->seens, random_u64(random));
    table_init(&fs->aliases, random_u64(random));
    list_init(&fs->idle);
    held_init(fs);
    list_init(&fs->tasks);
    list_init(&fs->handles);
    list_init(&fs->cursors);
    list_init(&fs->dirty);
    list_init(&fs->contents);
    list_init(&fs->moves);
    list_init(&fs->owed);
    list_init(&fs->unseen);
    list_init(&fs->resumed);
    list_init(&fs->drains);
    list_init(&fs->told);
    list_init(&fs->slots_dirty);
    list_init(&fs->slots_queued);
    list_init(&fs->room_waits);
    timer_init(&fs->room_timer, large_room, fs);
    timer_init(&fs->renew_timer, large_renew, fs);
    chunk_cache_init(&fs->chunks, random_u64(random), cfg->cache_max);
    fs->io = (struct chunk_io){.kv = *kv,
                               .time = *time,
                               .random = *random,
                               .writer = cfg->mount_id,
                               .timeout_ms = (uint32_t)(cfg->deadline_us / 1000)};
    fs->next_stream = 1;
    make_root(fs);
    return fs;
}

void fs_set_stage(struct fs *fs, const struct stage_port *stage)
{
    fs->stage = *stage;
}

struct drain {
    struct list link;
    struct fs *fs;
    struct timer timer;
    uint64_t until_us;
    uint32_t waiting;
    void (*done)(void *arg, uint32_t still_dirty);
    void *arg;
};

static void drain_free(struct drain *d)
{
    timer_cancel(d->fs->timers, &d->timer);
    list_remove(&d->link);
    free(d);
}

/* Who waits for a publication is told by publish_stop, every other op by the end of its task; so
 * nobody refers to the filesystem afterwards. While closing no inode is freed before its turn. */
void fs_free(struct fs *fs)
{
    if (fs == NULL)
        return;
    fs->closing = true;
    size_t slot = 0;
    for (struct table_node *n = NULL; (n = table_walk(&fs->inodes, &slot, n)) != NULL;)
        publish_stop(container_of(n, struct inode, node));
    for (struct list *l; (l = list_first(&fs->tasks)) != NULL;) {
        struct task *t = container_of(l, struct task, link);
        if (t->kv_id != 0)
            fs->kv.cancel(fs->kv.ctx, t->kv_id);
        t->kv_id = 0;
        task_end(t, ENOTCONN);
    }
    for (struct list *l; (l = list_first(&fs->drains)) != NULL;)
        drain_free(container_of(l, struct drain, link));
    for (struct list *l; (l = list_first(&fs->handles)) != NULL;) {
        struct handle *h = container_of(l, struct handle, link);
        if (h->inode == NULL)
            control_release(h);
        else
            open_release(h);
    }
    told_release(fs);
    unseen_free_all(fs);
    owed_free_all(fs);
    resume_free_all(fs);
    dir_free_all(fs);
    inode_free_all(fs);
    timer_cancel(fs->timers, &fs->room_timer);
    timer_cancel(fs->timers, &fs->held_timer);
    timer_cancel(fs->timers, &fs->renew_timer);
    chunk_cache_release(&fs->chunks);
    seen_free_all(fs);
    table_release(&fs->inodes);
    table_release(&fs->seens);
    table_release(&fs->aliases);
    buf_release(&fs->root);
    free(fs->synced);
    free(fs);
}

bool fs_in_use(const struct fs *fs)
{
    if (!list_empty(&fs->handles) || !list_empty(&fs->cursors))
        return true;
    for (const struct list *l = fs->tasks.next; l != &fs->tasks; l = l->next)
        if (container_of((struct list *)(uintptr_t)l, struct task, link)->op != NULL)
            return true;
    return false;
}

uint32_t fs_dirty_count(const struct fs *fs)
{
    return fs->n_dirty + owed_count(fs) + unseen_count(fs) + fs->n_resumed;
}

static void drain_round(struct drain *d);

static void drain_end_round(struct drain *d)
{
    struct fs *fs = d->fs;
    uint64_t now = fs_now_us(fs);
    if (fs_dirty_count(fs) != 0 && now < d->until_us) {
        uint64_t next = now + DRAIN_AGAIN_US;
        timer_set(fs->timers, &d->timer, next < d->until_us ? next : d->until_us);
        return;
    }
    void (*done)(void *arg, uint32_t still_dirty) = d->done;
    void *arg = d->arg;
    drain_free(d);
    done(arg, fs_dirty_count(fs));
}

static void drained_one(void *arg, int err)
{
    struct drain *d = arg;
    (void)err; /* it is tried again until the limit */
    if (--d->waiting == 0 && !d->fs->closing)
        drain_end_round(d);
}

static void drain_round(struct drain *d)
{
    struct fs *fs = d->fs;
    d->waiting = 1;
    owed_hurry(fs);
    unseen_hurry(fs);
    list_for_each_safe(it, tmp, &fs->dirty)
    {
        d->waiting++;
        publish(container_of(it, struct inode, in_dirty), DURABILITY_DEFAULT, drained_one, d);
    }
    drained_one(d, 0);
}

static void drain_timer(struct timer *t, void *arg)
{
    (void)t;
    drain_round(arg);
}

void fs_drain(struct fs *fs, uint64_t limit_us, void (*done)(void *arg, uint32_t still_dirty),
              void *arg)
{
    struct drain *d = mem_new(struct drain);
    d->fs = fs;
    d->done = done;
    d->arg = arg;
    d->until_us = fs_now_us(fs) + limit_us;
    list_append(&fs->drains, &d->link);
    timer_init(&d->timer, drain_timer, d);
    drain_round(d);
}

/* statfs: what the nodes have said of their disks. A mount that has just started waits a moment for
 * that; while no node answers nothing is known, and nothing is what it says (`df` leaves such a
 * filesystem out). */
struct statting {
    struct task t;
    struct timer timer;
    uint64_t until_us;
};

static void release_stat(struct task *t)
{
    timer_cancel(t->fs->timers, &container_of(t, struct statting, t)->timer);
}

static void look_at_space(struct timer *t, void *arg)
{
    struct statting *s = arg;
    struct fs *fs = s->t.fs;
    uint64_t total = 0, unused = 0;
    bool known = fs->host.space == NULL || fs->host.space(fs->host.ctx, &total, &unused);
    if (!known && fs_now_us(fs) < s->until_us && s->t.op != NULL) {
        timer_set(fs->timers, t, fs_now_us(fs) + SPACE_LOOK_US);
        return;
    }
    if (s->t.op != NULL)
        s->t.op->statfs = (struct fs_statfs){.block_size = 4096,
                                             .blocks = total / 4096,
                                             .blocks_free = unused / 4096,
                                             .files = 1u << 30,
                                             .files_free = 1u << 30,
                                             .name_max = KEY_NAME_MAX};
    task_end(&s->t, 0);
}

void fs_stat_fs(struct fs *fs, struct fs_op *op, uint64_t node)
{
    uint64_t wait = fs->cfg.deadline_us < SPACE_WAIT_US ? fs->cfg.deadline_us : SPACE_WAIT_US;
    (void)node;
    struct statting *s = task_new(fs, op, sizeof(*s), release_stat);
    s->t.abandonable = true;
    s->until_us = fs_now_us(fs) + wait;
    timer_init(&s->timer, look_at_space, s);
    look_at_space(&s->timer, s);
}
