/* SPDX-License-Identifier: Apache-2.0 */
/* See walk.h. Directories are read page by page and depth first, so memory does not grow with the
 * store. */
#include "ctl/walk.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "ctl/versions.h"
#include "model/key.h"

int walk_dir(struct ctl *c, struct slice *dir)
{
    const char *rule;
    *dir = slice_str(c->args.n_words > 0 ? c->args.words[0] : "");
    while (dir->len > 0 && dir->data[dir->len - 1] == '/')
        dir->len--;
    if (dir->len > 0 && key_check(*dir, &rule) != DYN_OK)
        return ctl_usage(c, mem_printf("'%s' is no directory's key: %s", c->args.words[0], rule));
    return CTL_OK;
}

int walk_entries(struct session *s, const char *what, const struct request_options *opt,
                 struct slice dir,
                 bool (*row)(void *arg, struct slice dir, const struct list_entry *e), void *arg)
{
    struct buf after = BUF_EMPTY;
    bool more = true;
    int status = CTL_OK;
    while (more && status == CTL_OK) {
        struct list_request q = {.opt = *opt, .dir = dir, .after = buf_slice(&after)};
        struct session_list l;
        session_list(s, &q, &l);
        if (l.status != DYN_OK)
            status = ctl_failed(what, dir, l.status, l.answered, l.needed);
        for (uint32_t i = 0; i < l.n && status == CTL_OK; i++) {
            if (!row(arg, dir, &l.entries[i]))
                status = CTL_ERROR;
        }
        more = l.more;
        /* A cursor that does not move would make this endless. */
        if (more && status == CTL_OK && slice_compare(buf_slice(&l.cursor), q.after) <= 0)
            status = ctl_fail(CTL_ERROR, "%s: a node's listing does not go on", what);
        buf_clear(&after);
        buf_put_slice(&after, buf_slice(&l.cursor));
        session_list_release(&l);
    }
    buf_release(&after);
    return status;
}

struct walk {
    bool (*found)(void *arg, struct slice key, const struct object *o);
    void *arg;
    char **dirs; /* still to be read: a stack */
    size_t n, cap;
};

static void push(struct walk *w, struct slice dir)
{
    if (w->n == w->cap) {
        w->cap = w->cap == 0 ? 16 : w->cap * 2;
        w->dirs = mem_reallocarray(w->dirs, w->cap, sizeof(*w->dirs));
    }
    w->dirs[w->n++] = mem_strndup((const char *)dir.data, dir.len);
}

static bool walk_row(void *arg, struct slice dir, const struct list_entry *e)
{
    struct walk *w = arg;
    struct buf key = BUF_EMPTY;
    bool on = true, is_dir = false;
    key_join(dir, e->name, &key);
    for (uint32_t i = 0; i < e->object.n; i++)
        is_dir = is_dir || e->object.siblings[i].type == SIBLING_DIR;
    if (is_dir)
        push(w, buf_slice(&key));
    if (versions_conflict(&e->object))
        on = w->found(w->arg, buf_slice(&key), &e->object);
    buf_release(&key);
    return on;
}

int walk_conflicts(struct session *s, const struct request_options *opt, struct slice dir,
                   bool (*found)(void *arg, struct slice key, const struct object *o), void *arg)
{
    struct walk w = {.found = found, .arg = arg};
    int status = CTL_OK;
    push(&w, dir);
    while (w.n > 0 && status == CTL_OK) {
        char *next = w.dirs[--w.n];
        status = walk_entries(s, "conflicts", opt, slice_str(next), walk_row, &w);
        free(next);
    }
    while (w.n > 0)
        free(w.dirs[--w.n]);
    free(w.dirs);
    return status;
}
