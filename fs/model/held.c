/* SPDX-License-Identifier: Apache-2.0 */
/* See held.h. Asking back is done for many at once, each time that a sixteenth of names_max has
 * come in since, for twice as many: so a lookup costs the same however many are held, and also when
 * all are in use and nothing comes back. A listing that is yet to reach the kernel may name more
 * than that, of which the kernel knows nothing when it is asked: so it is asked for the rest a
 * second later. */
#include "model/held.h"

#define REST_US 1000000u

static uint32_t batch(const struct fs *fs)
{
    return fs->cfg.names_max / 16 + 1;
}

/* Where it lies, for a kernel that can be asked by name only: under its directory's inode. A
 * directory is not, for asking so takes it away from whoever is in it. */
static void name_of(const struct inode *i, struct fs_held *out, struct buf *name)
{
    struct slice key = seen_key(i->seen);
    if (i->s.type == SIBLING_DIR || list_empty(&i->in_seen) || key.len == 0)
        return;
    struct seen *up = seen_find(i->fs, key_parent(key));
    const struct inode *dir = up == NULL ? NULL : inode_of(up, 0);
    if (dir != NULL) {
        out->parent = dir->id;
        if (i->number == 0)
            buf_put_slice(name, seen_name(i->seen));
        else
            projection_name(seen_name(i->seen), i->number, name);
        out->name = buf_slice(name);
    }
    seen_unref(up);
}

static void let_go(struct inode *i)
{
    struct fs *fs = i->fs;
    struct fs_held held = {.node = i->id};
    struct buf name = BUF_EMPTY;
    name_of(i, &held, &name);
    fs->counters.asked_back++;
    fs->host.let_go(fs->host.ctx, &held);
    buf_release(&name);
}

static void ask_back(struct fs *fs, uint32_t n)
{
    for (n = n < fs->n_held ? n : fs->n_held; n > 0; n--) {
        struct inode *i = container_of(list_first(&fs->held), struct inode, in_held);
        list_remove(&i->in_held);
        list_append(&fs->held, &i->in_held);
        if (i->holds == 0 && i->n_open == 0 && !inode_busy(i))
            let_go(i);
    }
    fs->ask_back_at = fs->n_held + batch(fs);
}

static void on_rest(struct timer *t, void *arg)
{
    struct fs *fs = arg;
    (void)t;
    if (fs->n_held > fs->cfg.names_max)
        ask_back(fs, fs->n_held - fs->cfg.names_max + batch(fs));
}

void held_init(struct fs *fs)
{
    list_init(&fs->held);
    timer_init(&fs->held_timer, on_rest, fs);
}

void held_used(struct inode *i)
{
    struct fs *fs = i->fs;
    if (i->nlookup == 0 || i->id == FS_ROOT || fs->host.let_go == NULL || fs->cfg.names_max == 0)
        return;
    if (list_empty(&i->in_held))
        fs->n_held++;
    list_remove(&i->in_held);
    list_append(&fs->held, &i->in_held);
    if (fs->n_held <= fs->cfg.names_max)
        return;
    if (fs->n_held >= fs->ask_back_at)
        ask_back(fs, 2 * batch(fs));
    if (!timer_is_set(&fs->held_timer))
        timer_set(fs->timers, &fs->held_timer, fs_now_us(fs) + REST_US);
}

void held_gone(struct inode *i)
{
    struct fs *fs = i->fs;
    if (list_empty(&i->in_held))
        return;
    list_remove(&i->in_held);
    fs->n_held--;
    if (fs->n_held <= fs->cfg.names_max)
        fs->ask_back_at = 0;
}
