/* SPDX-License-Identifier: Apache-2.0 */
/* See move.h: the order of things, and what becomes of inodes. Copies and drops: move_work.c. */
#include "model/move.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "model/content.h"
#include "model/move_private.h"
#include "model/publish.h"

#define PAGE 1000u
#define ROUNDS_MAX 4u           /* of copying what changed meanwhile */
#define STALE_NS 120000000000ll /* a record is renewed before: whoever began it is gone */

static void settle(struct moving *m);
static void walk(struct moving *m);

static void release(struct task *t)
{
    struct moving *m = container_of(t, struct moving, t);
    for (unsigned i = 0; i < MOVE_PARALLEL; i++) {
        owed_wait_cancel(&m->drops[i].wait);
        seen_unref(m->drops[i].seen);
    }
    for (size_t i = 0; i < m->n; i++) {
        buf_release(&m->items[i]->suffix);
        cover_release(&m->items[i]->dots);
        cover_release(&m->items[i]->put);
        free(m->items[i]);
    }
    free(m->items);
    move_record_release(m);
    table_release(&m->by_suffix);
    list_remove(&m->link);
    seen_unref(m->from);
    seen_unref(m->to);
    buf_release(&m->after);
}

static void end(struct moving *m, int err)
{
    void (*done)(void *arg, int err) = m->done;
    void *arg = m->arg;
    task_end(&m->t, 0);
    if (done != NULL)
        done(arg, err);
}

/* Items */

struct move_item *move_item_find(struct moving *m, struct slice suffix)
{
    struct table_node *n = table_first(&m->by_suffix, table_hash(&m->by_suffix, suffix));
    for (; n != NULL; n = table_next(n)) {
        struct move_item *item = container_of(n, struct move_item, node);
        if (slice_equal(buf_slice(&item->suffix), suffix))
            return item;
    }
    return NULL;
}

static struct move_item *add_item(struct moving *m, struct slice suffix, bool dir)
{
    struct move_item *item = move_item_find(m, suffix);
    if (item != NULL)
        return item;
    if (m->n == m->cap) {
        m->cap = m->cap == 0 ? 64 : m->cap * 2;
        m->items = mem_reallocarray(m->items, m->cap, sizeof(struct move_item *));
    }
    item = m->items[m->n++] = mem_new(struct move_item);
    buf_put_slice(&item->suffix, suffix);
    item->dir = dir;
    table_insert(&m->by_suffix, &item->node, table_hash(&m->by_suffix, suffix));
    return item;
}

struct seen *move_seen(struct moving *m, const struct move_item *item, bool target)
{
    struct buf key = BUF_EMPTY;
    buf_put_slice(&key, seen_key(target ? m->to : m->from));
    buf_put_slice(&key, buf_slice(&item->suffix));
    struct seen *s = seen_get(m->t.fs, buf_slice(&key));
    buf_release(&key);
    return s;
}

/* What comes after the directory's key, if the key is it or below it. */
static bool below(const struct moving *m, struct slice key, struct slice *suffix)
{
    struct slice dir = seen_key(m->from);
    if (!slice_has_prefix(key, dir) || (key.len > dir.len && key.data[dir.len] != '/'))
        return false;
    *suffix = slice_of(key.data + dir.len, key.len - dir.len);
    return true;
}

/* SETTLE */

static void settled(struct moving *m)
{
    if (m->err != 0)
        move_failed(m, m->err);
    else if (m->walked)
        move_copy(m);
    else
        walk(m);
}

static void on_published(void *arg, int err)
{
    struct moving *m = arg;
    if (m->t.fs->closing)
        return;
    if (err != 0)
        m->err = err;
    if (--m->waiting == 0)
        settled(m);
}

/* Publishes all that is unpublished below. */
static void settle(struct moving *m)
{
    struct fs *fs = m->t.fs;
    struct slice suffix;
    m->waiting = 1;
    list_for_each_safe(it, tmp, &fs->dirty)
    {
        struct inode *i = container_of(it, struct inode, in_dirty);
        if (i->unlinked || !below(m, seen_key(i->seen), &suffix))
            continue;
        m->waiting++;
        publish(i, DURABILITY_DEFAULT, on_published, m);
    }
    on_published(m, 0);
}

/* WALK */

static bool too_much(const struct moving *m, const struct object *o)
{
    bool large = false;
    for (uint32_t i = 0; i < o->n; i++)
        large |= o->siblings[i].size > m->t.fs->cfg.value_max;
    return large || m->n >= m->t.fs->cfg.rename_limit;
}

static void on_list(struct task *t, const struct list_reply *p)
{
    struct moving *m = container_of(t, struct moving, t);
    struct buf suffix = BUF_EMPTY, key = BUF_EMPTY;
    int err = fs_errno(p->status);
    for (uint32_t i = 0; err == 0 && i < p->n; i++) {
        const struct list_entry *e = &p->entries[i];
        bool dir = false;
        buf_clear(&suffix);
        buf_put_slice(&suffix, buf_slice(&m->items[m->at]->suffix));
        buf_put_str(&suffix, "/");
        buf_put_slice(&suffix, e->name);
        buf_clear(&key);
        buf_put_slice(&key, seen_key(m->to));
        buf_put_slice(&key, buf_slice(&suffix));
        for (uint32_t k = 0; k < e->object.n; k++)
            dir |= e->object.siblings[k].type == SIBLING_DIR;
        struct move_item *item = add_item(m, buf_slice(&suffix), dir);
        struct seen *s = move_seen(m, item, false);
        seen_listed(s, &e->object);
        if (too_much(m, &s->view))
            err = EXDEV;
        else if (key.len > KEY_LEN_MAX)
            err = ENAMETOOLONG;
        seen_unref(s);
    }
    buf_release(&suffix);
    buf_release(&key);
    if (err != 0) {
        end(m, err);
        return;
    }
    buf_clear(&m->after);
    if (p->more)
        buf_put_slice(&m->after, p->cursor);
    else
        m->at++;
    walk(m);
}

static void walk(struct moving *m)
{
    while (m->at < m->n && !m->items[m->at]->dir)
        m->at++;
    if (m->at == m->n) {
        m->walked = true;
        move_record(m);
        return;
    }
    struct seen *s = move_seen(m, m->items[m->at], false);
    task_list(&m->t, seen_key(s), buf_slice(&m->after), PAGE, on_list);
    seen_unref(s);
}

/* CHECK */

/* Has the file changed on this mount since it was copied? Then it is copied again. */
static bool changed(struct moving *m, const struct inode *i, struct slice suffix)
{
    struct move_item *item = move_item_find(m, suffix);
    if (item == NULL) {
        add_item(m, suffix, i->s.type == SIBLING_DIR);
        return true;
    }
    for (uint32_t k = 0; k < i->dots.n; k++) {
        if (cover_has(&item->dots, &i->dots.dots[k]))
            continue;
        item->copied = false;
        return true;
    }
    return false;
}

/* What this mount has removed meanwhile is removed under the new name too. */
static void follow_removals(struct moving *m)
{
    for (size_t k = 0; k < m->n; k++) {
        struct move_item *item = m->items[k];
        struct seen *s = move_seen(m, item, false);
        if (s->learnt_us != 0 && !owed_leaves_live(s) && !s->implicit_dir && item->put.n != 0) {
            struct seen *to = move_seen(m, item, true);
            owed_add(to, &item->put);
            seen_unref(to);
            item->put.n = 0;
        }
        seen_unref(s);
    }
}

static void carry(struct inode *i, const struct version *v)
{
    i->s.dot = v->s.dot;
    i->s.value_dot = v->s.value_dot;
    i->s.base_dot = v->s.base_dot;
    cover_clear(&i->dots);
    cover_join_dots(&i->dots, &v->dots);
    cover_clear(&i->context);
    i->stream = 0;
}

/* The inode answers for the new name from here on. */
static void rebind(struct moving *m, struct inode *i, struct slice suffix)
{
    struct buf key = BUF_EMPTY;
    struct versions v;
    if (i->number != 0) { /* numbers may differ there: the kernel looks the name up again */
        inode_unname(i);
        return;
    }
    buf_put_slice(&key, seen_key(m->to));
    buf_put_slice(&key, suffix);
    struct seen *s = seen_get(m->t.fs, buf_slice(&key));
    buf_release(&key);
    struct inode *old = inode_of(s, 0);
    if (old != NULL)
        inode_unlink(old);
    bool pages = dot_equal(&i->pages_dot, &i->s.value_dot);
    inode_rebind(i, s, 0);
    versions_of(s, &v);
    const struct version *at = versions_by_number(&v, 0);
    if (at != NULL && inode_busy(i)) {
        carry(i, at);
    } else if (at != NULL) {
        inode_adopt(i, at);
        i->kernel_dot = i->s.dot;
        i->pages_dot = pages ? i->s.value_dot : (struct dot){0};
    }
    versions_release(&v);
    seen_unref(s);
}

static void rebind_all(struct moving *m)
{
    struct fs *fs = m->t.fs;
    size_t slot = 0, n = 0;
    struct inode **all = mem_reallocarray(NULL, fs->inodes.n + 1, sizeof(struct inode *));
    for (struct table_node *at = NULL; (at = table_walk(&fs->inodes, &slot, at)) != NULL;) {
        struct inode *i = container_of(at, struct inode, node);
        struct slice suffix;
        if (!i->unlinked && !list_empty(&i->in_seen) && below(m, seen_key(i->seen), &suffix))
            all[n++] = inode_hold(i);
    }
    for (size_t k = 0; k < n; k++) {
        struct slice suffix;
        if (below(m, seen_key(all[k]->seen), &suffix))
            rebind(m, all[k], suffix);
        inode_drop(all[k]);
    }
    free(all);
}

/* What was put into the copy of a directory has changed its time. Its own attributes, put last,
 * stand (F29): as cp -a does it. */
static void put_dirs_again(struct moving *m)
{
    m->dirs_again = true;
    for (size_t k = 0; k < m->n; k++)
        m->items[k]->copied = m->items[k]->copied && !m->items[k]->dir;
    move_copy(m);
}

/* Everything is under the new name: again what changed meanwhile, then this mount goes over. */
void move_copied(struct moving *m)
{
    struct fs *fs = m->t.fs;
    size_t slot = 0;
    bool again = false;
    for (struct table_node *at = NULL; (at = table_walk(&fs->inodes, &slot, at)) != NULL;) {
        struct inode *i = container_of(at, struct inode, node);
        struct slice suffix;
        if (i->unlinked || list_empty(&i->in_seen) || i->number != 0 ||
            !below(m, seen_key(i->seen), &suffix) || suffix.len == 0)
            continue;
        again |= changed(m, i, suffix) || i->pub != NULL || (inode_dirty(i) && m->rounds == 0);
    }
    if (again && m->rounds++ < ROUNDS_MAX) {
        move_record_go_on(m);
        settle(m);
        return;
    }
    if (!m->dirs_again) {
        put_dirs_again(m);
        return;
    }
    if (!move_record_rests(m))
        return;
    follow_removals(m);
    move_record_keep(m);
    rebind_all(m);
    m->from->implicit_dir = false;
    inode_touch_dir(fs, key_parent(seen_key(m->from)));
    inode_touch_dir(fs, key_parent(seen_key(m->to)));
    move_drop(m);
}

/* UNDO */

void move_failed(struct moving *m, int err)
{
    for (size_t k = 0; k < m->n; k++) {
        if (m->items[k]->put.n == 0)
            continue;
        struct seen *to = move_seen(m, m->items[k], true);
        owed_add(to, &m->items[k]->put);
        seen_unref(to);
    }
    move_record_clear(m);
    end(m, err);
}

void move_done(struct moving *m)
{
    end(m, 0);
}

static struct moving *new_move(struct fs *fs, struct seen *from, struct seen *to)
{
    struct moving *m = task_new(fs, NULL, sizeof(*m), release);
    m->from = seen_ref(from);
    m->to = seen_ref(to);
    list_append(&fs->moves, &m->link);
    move_record_init(m);
    table_init(&m->by_suffix, random_u64(&fs->random));
    add_item(m, slice_of("", 0), true);
    return m;
}

void move_start(struct fs *fs, struct seen *from, struct seen *to, void (*done)(void *arg, int err),
                void *arg)
{
    struct moving *m = new_move(fs, from, to);
    m->done = done;
    m->arg = arg;
    settle(m);
}

bool move_under_way(const struct fs *fs, const struct seen *s)
{
    for (const struct list *l = fs->moves.next; l != &fs->moves; l = l->next) {
        const struct moving *m = container_of((struct list *)(uintptr_t)l, struct moving, link);
        if (m->from == s || m->to == s)
            return true;
    }
    return false;
}

void move_resume(struct inode *dir)
{
    struct fs *fs = dir->fs;
    struct slice value;
    if (fs->cfg.read_only || dir->s.type != SIBLING_DIR || !dir->xattrs_known ||
        xattrs_get(dir->s.attrs.xattrs, slice_str(XATTR_MOVING), &value) != DYN_OK ||
        move_under_way(fs, dir->seen))
        return;
    char *text = mem_strndup((const char *)value.data, value.len), *key;
    long long since = strtoll(text, &key, 10);
    struct slice target = slice_str(*key == ' ' ? key + 1 : "");
    if (fs_wall_ns(fs) - since > STALE_NS && key_check(target, NULL) == DYN_OK &&
        !slice_equal(target, seen_key(dir->seen))) {
        fs_say(fs, LOG_LEVEL_INFO, "finishing a rename that was broken off, to %s", key + 1);
        struct seen *to = seen_get(fs, target);
        struct moving *m = new_move(fs, dir->seen, to);
        m->resumed = true;
        seen_unref(to);
        settle(m);
    }
    free(text);
}
