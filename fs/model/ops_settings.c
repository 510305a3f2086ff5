/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of directories as extended attributes: user.dynamount.reconcile, .n, .r, .w,
 * .durability and .sloppy. Set and removed on directories; shown, with what is inherited, on
 * everything below one that sets them. The cluster keeps them in a table of its own, not with the
 * directory. */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/inode.h"
#include "model/settings.h"
#include "model/xattr_names.h"

/* What waits for an answer that cannot be called off: the task may end before. */
struct waiting {
    struct settings_task *task; /* NULL: ended */
};

struct settings_task {
    struct task t;
    struct inode *inode; /* held */
    struct waiting *waiting;
    enum dir_setting setting; /* of a get */
    bool sets;
    struct buf out;
};

static void release(struct task *t)
{
    struct settings_task *s = container_of(t, struct settings_task, t);
    if (s->waiting != NULL)
        s->waiting->task = NULL;
    inode_drop(s->inode);
    buf_release(&s->out);
}

static bool find_setting(struct slice name, enum dir_setting *out)
{
    struct slice own = slice_str(XATTR_OWN);
    if (!slice_has_prefix(name, own))
        return false;
    struct slice rest = slice_of(name.data + own.len, name.len - own.len);
    for (enum dir_setting i = 1; i < SETTINGS_END; i++) {
        if (slice_equal(rest, slice_str(setting_name(i)))) {
            *out = i;
            return true;
        }
    }
    return false;
}

bool xattr_is_setting(struct slice name)
{
    enum dir_setting setting;
    return find_setting(name, &setting);
}

static void answered(void *arg, const struct settings_reply *reply)
{
    struct waiting *w = arg;
    struct settings_task *s = w->task;
    struct rules rules;
    free(w);
    if (s == NULL)
        return;
    s->waiting = NULL;
    if (reply->status != DYN_OK || s->sets) {
        task_end(&s->t, fs_errno(reply->status));
        return;
    }
    settings_rules(&reply->table, seen_key(s->inode->seen), &rules);
    if (rules.value[s->setting] == 0) {
        task_end(&s->t, ENODATA);
        return;
    }
    setting_print(s->setting, rules.value[s->setting], &s->out);
    if (s->t.op != NULL)
        s->t.op->data = buf_slice(&s->out);
    task_end(&s->t, 0);
}

static struct settings_task *begin(struct fs *fs, struct fs_op *op, uint64_t node, bool sets)
{
    struct inode *i = inode_find(fs, node);
    bool control = node >= NODE_CONTROL && node < NODE_FIRST;
    int err = 0;
    if (i == NULL)
        err = !control ? ESTALE : sets ? EPERM : ENODATA;
    else if (fs->kv.settings == NULL)
        err = sets ? EOPNOTSUPP : ENODATA;
    else if (sets)
        err = fs->cfg.read_only ? EROFS : i->s.type != SIBLING_DIR ? ENOTDIR : 0;
    if (err != 0) {
        op_end(fs, op, err);
        return NULL;
    }
    struct settings_task *s = task_new(fs, op, sizeof(*s), release);
    s->inode = inode_hold(i);
    s->sets = sets;
    s->t.abandonable = true;
    return s;
}

static void ask(struct settings_task *s, const struct settings_request *q)
{
    struct fs *fs = s->t.fs;
    s->waiting = mem_new(struct waiting);
    s->waiting->task = s;
    fs->kv.settings(fs->kv.ctx, q, answered, s->waiting);
}

void xattr_get_setting(struct fs *fs, struct fs_op *op, uint64_t node, struct slice name)
{
    struct settings_task *s = begin(fs, op, node, false);
    const struct settings_request q = {0};
    if (s == NULL)
        return;
    find_setting(name, &s->setting);
    ask(s, &q);
}

void xattr_set_setting(struct fs *fs, struct fs_op *op, uint64_t node, struct slice name,
                       struct slice value)
{
    struct settings_request q = {.n = 1};
    struct slice own = slice_str(XATTR_OWN);
    struct slice rest = slice_of(name.data + own.len, name.len - own.len);
    uint8_t n = fs->host.replicas == NULL ? 0 : fs->host.replicas(fs->host.ctx);
    char *message = NULL;
    if (setting_parse(rest, value, n, &q.changes[0].setting, &q.changes[0].value, &message) !=
        DYN_OK) {
        fs_say(fs, 1, "%s", message);
        free(message);
        op_end(fs, op, EINVAL);
        return;
    }
    struct settings_task *s = begin(fs, op, node, true);
    if (s == NULL)
        return;
    q.dir = seen_key(s->inode->seen);
    ask(s, &q);
}
