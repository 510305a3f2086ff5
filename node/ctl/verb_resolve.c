/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl resolve: settles a conflict by one put, whose context is exactly the versions that were
 * read: one that comes in meanwhile stays beside the outcome. What is dropped is kept for a while
 * (dynactl history). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "ctl/history.h"
#include "ctl/large.h"
#include "ctl/merge.h"
#include "ctl/versions.h"
#include "ctl/walk.h"
#include "model/context.h"
#include "model/key.h"

static const struct args_option options[] = {
    {"keep", "DOT", "this version becomes the only one", 0},
    {"newest", NULL, "the newest version becomes the only one", 0},
    {"merge", "COMMAND", "a command makes one of two, and of the common ancestor if there is one",
     0},
    {"recursive", NULL, "KEY is a directory: all conflicts below it", 'r'},
    {"w", "W", "answers to wait for (default: the cluster's)", 0},
    {"durability", "WHICH", "buffered, one or quorum (default: the cluster's)", 0},
    {NULL, NULL, NULL, 0},
};

static const char help[] =
    "Settles the conflict of KEY: of versions side by side ('dynactl conflicts' lists them) one "
    "is\n"
    "left. A version that is written meanwhile stays beside it. What is dropped can be had back "
    "for\n"
    "a day: 'dynactl history', 'dynactl restore'.\n"
    "\n"
    "COMMAND is run by sh. In it %ours and %theirs stand for files with two of the versions (ours "
    "is\n"
    "the newest), %base for one with the version that both were made from, empty if none is "
    "known.\n"
    "They are also in the variables LOCAL, REMOTE and BASE, and the key in DYNAMOUNT_KEY. What it\n"
    "prints is the outcome; but if it names %merged or $MERGED, that file is, which is ours at "
    "first.\n"
    "Of more than two versions one after the other is merged into the outcome. If it ends with\n"
    "another status than 0, nothing is changed, and the exit status is 3.\n"
    "\n"
    "If KEY has no conflict nothing is changed, and the exit status is 1.\n"
    "\n"
    "Examples:\n"
    "  dynactl resolve cart --newest\n"
    "  dynactl resolve cart --keep $(dynactl conflicts --json | jq -r "
    "'.conflicts[0].versions[1].dot')\n"
    "  dynactl resolve notes/today --merge 'diff3 -m %ours %base %theirs'\n"
    "  dynactl resolve notes/today --merge 'git merge-file -p %ours %base %theirs'\n"
    "  dynactl resolve notes/today --merge 'vimdiff %merged %theirs'\n"
    "  dynactl resolve -r notes --newest\n";

struct resolve {
    struct ctl *c;
    struct session *s;
    struct request_options opt;
    const char *merge;
    struct dot keep;
    bool has_keep;
    struct json *resolved, *failed; /* NULL: text */
    char **keys;                    /* of a tree */
    size_t n_keys, cap_keys;
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int say_failed(struct slice key, int err, unsigned answered, unsigned needed)
{
    return ctl_failed("resolve", key, err, answered, needed);
}

static int report(struct resolve *v, struct slice key, const struct session_get *was,
                  const struct session_put *p)
{
    char dot[DOT_TEXT_MAX] = "";
    versions_note_conflict(key, &p->object);
    if (v->resolved == NULL) {
        if (v->c->terminal || v->keys != NULL) {
            struct buf line = BUF_EMPTY;
            ctl_put_name(v->c, key, &line);
            buf_printf(&line, ": %u versions, now one\n", object_live_count(&was->object));
            return ctl_print(&line);
        }
        return CTL_OK;
    }
    struct json *j = json_add_object(v->resolved, NULL);
    if (!dot_is_none(&p->dot))
        dot_format(&p->dot, dot);
    json_add_bytes(j, "key", key);
    json_add_str(j, "dot", dot);
    versions_add_json(j, "before", &was->object);
    versions_add_json(j, "versions", &p->object);
    return CTL_OK;
}

/* q says what is put; its context is all that was read. */
static int put_outcome(struct resolve *v, struct put_request *q, const struct session_get *g)
{
    struct buf context = BUF_EMPTY;
    struct session_put p;
    context_all(buf_slice(&g->token), &context);
    struct slice contexts = buf_slice(&context);
    q->opt = v->opt;
    q->contexts = &contexts;
    q->n_contexts = 1;
    session_put(v->s, q, &p);
    int status = p.status == DYN_OK ? report(v, q->key, g, &p)
                                    : say_failed(q->key, p.status, p.answered, p.needed);
    session_put_release(&p);
    buf_release(&context);
    return status;
}

/* ---- one of them ------------------------------------------------------------------------- */

/* A directory with something in it would come back, and the conflict with it. */
static int check_directories(struct resolve *v, struct slice key, const struct object *o,
                             const struct sibling *kept)
{
    struct session_list l;
    bool any = false;
    for (uint32_t i = 0; i < o->n; i++)
        any |= o->siblings[i].type == SIBLING_DIR;
    if (!any || kept->type == SIBLING_DIR)
        return CTL_OK;
    const struct list_request q = {.dir = key, .limit = 1};
    session_list(v->s, &q, &l);
    int status = CTL_OK;
    if (l.status != DYN_OK)
        status = say_failed(key, l.status, l.answered, l.needed);
    else if (l.n > 0 || l.more)
        status = ctl_fail(CTL_ERROR,
                          "'%.*s' is also a directory, which is not empty: keep the directory, and "
                          "the file under another name ('dynactl get --sibling', 'dynactl put')",
                          (int)key.len, (const char *)key.data);
    session_list_release(&l);
    return status;
}

static int keep_one(struct resolve *v, struct slice key, const struct session_get *g)
{
    const struct sibling *s =
        v->has_keep ? versions_live(&g->object, &v->keep) : object_newest(&g->object);
    if (s == NULL)
        return ctl_fail(CTL_NOT_FOUND, "'%.*s' has no such version (any more)", (int)key.len,
                        (const char *)key.data);
    int status = check_directories(v, key, &g->object, s);
    if (status != CTL_OK)
        return status;
    struct put_request q = {.key = key, .type = s->type, .attrs = s->attrs};
    if (s->type != SIBLING_DIR) {
        q.flags = PUT_KEEP_VALUE;
        q.value_dot = s->value_dot;
    }
    return put_outcome(v, &q, g);
}

/* ---- all of them ------------------------------------------------------------------------- */

static int write_version(struct resolve *v, const struct merge *m, enum merge_file which,
                         struct slice key, const struct sibling *s)
{
    char *message = NULL;
    int fd = merge_write(m, which, &message), status = CTL_OK;
    if (fd < 0) {
        status = ctl_fail(CTL_ERROR, "%s", message);
        free(message);
        return status;
    }
    if (s != NULL)
        status = history_print(v->s, key, s, fd);
    if (close(fd) != 0 && status == CTL_OK)
        status = ctl_fail(CTL_ERROR, "%s: %s", m->paths[which], strerror(errno));
    return status;
}

/* The bytes of a version that is there now. */
static int write_sibling(struct resolve *v, const struct merge *m, enum merge_file which,
                         struct slice key, const struct sibling *s)
{
    const struct get_request q = {.key = key, .want = GET_DOT, .value_dot = s->value_dot};
    struct session_get g = {.status = DYN_OK, .object = OBJECT_EMPTY};
    const struct sibling *with = s;
    if (s->size != 0) {
        session_get(v->s, &q, &g);
        with = g.status == DYN_OK ? object_find_value(&g.object, &s->value_dot) : NULL;
    }
    int status =
        with == NULL || (s->size != 0 && with->value == NULL)
            ? say_failed(key, g.status == DYN_OK ? DYN_ERR_STALE : g.status, g.answered, g.needed)
            : write_version(v, m, which, key, with);
    session_get_release(&g);
    return status;
}

/* The version that both are made from, or nothing. One of the two, where the other is made of
 * it. */
static int write_base(struct resolve *v, const struct merge *m, struct slice key,
                      const struct kept_list *l, const struct sibling *ours,
                      const struct sibling *theirs)
{
    if (!dot_is_none(&ours->base_dot) && dot_equal(&ours->base_dot, &theirs->value_dot))
        return write_sibling(v, m, MERGE_BASE, key, theirs);
    if (!dot_is_none(&theirs->base_dot) && dot_equal(&theirs->base_dot, &ours->value_dot))
        return write_sibling(v, m, MERGE_BASE, key, ours);
    const struct kept *base = kept_ancestor(l, ours, theirs);
    struct kept_reply value = {.status = DYN_ERR_NOT_FOUND, .list = KEPT_LIST_EMPTY};
    const struct sibling *s = NULL;
    if (base != NULL)
        history_ask(v->s, key, &kept_version(base)->dot, &value);
    if (value.status == DYN_OK)
        s = kept_version(kept_list_find(&value.list, &kept_version(base)->dot));
    if (s == NULL)
        fprintf(stderr, "dynactl: note: '%.*s': no common ancestor is known: %%base is empty\n",
                (int)key.len, (const char *)key.data);
    int status = write_version(v, m, MERGE_BASE, key, s);
    kept_reply_release(&value);
    return status;
}

/* The outcome takes the place of ours, for the next one. */
static int run_command(const struct merge *m, struct slice key)
{
    char *message = NULL;
    int err = merge_run(m, key, &message), status = CTL_OK;
    if (err == DYN_ERR_CONFLICT)
        status = ctl_fail(CTL_CONFLICT, "'%.*s' is not resolved: %s", (int)key.len,
                          (const char *)key.data, message);
    else if (err != DYN_OK)
        status = ctl_fail(CTL_ERROR, "%s", message);
    else if (rename(m->paths[MERGE_RESULT], m->paths[MERGE_OURS]) != 0)
        status = ctl_fail(CTL_ERROR, "%s: %s", m->paths[MERGE_RESULT], strerror(errno));
    free(message);
    return status;
}

static int merge_all(struct resolve *v, const struct merge *m, struct slice key,
                     const struct sibling *const *list, uint32_t n)
{
    struct kept_reply kept;
    history_ask(v->s, key, NULL, &kept);
    int status = write_sibling(v, m, MERGE_OURS, key, list[0]);
    for (uint32_t i = 1; i < n && status == CTL_OK; i++) {
        status = write_sibling(v, m, MERGE_THEIRS, key, list[i]);
        if (status == CTL_OK)
            status = write_base(v, m, key, &kept.list, list[0], list[i]);
        if (status == CTL_OK)
            status = run_command(m, key);
    }
    kept_reply_release(&kept);
    return status;
}

static int put_merged(struct resolve *v, const struct merge *m, struct slice key,
                      const struct session_get *g, const struct sibling *ours)
{
    struct put_request q = {
        .key = key, .type = SIBLING_FILE, .attrs = ours->attrs, .base_dot = ours->value_dot};
    struct buf value = BUF_EMPTY, manifest = BUF_EMPTY;
    char *message = NULL;
    int fd = -1, status = CTL_OK;
    q.attrs.mtime_ns = q.attrs.ctime_ns = now_ns();
    if (large_begin(m->paths[MERGE_OURS], &value, &fd, &message) != DYN_OK) {
        status = ctl_fail(CTL_ERROR, "%s", message);
    } else if (value.len > CHUNK_LEN) {
        status = large_send(v->s, key, &v->opt, buf_slice(&value), fd, &manifest);
        q.flags = PUT_MANIFEST;
        q.value = buf_slice(&manifest);
    } else {
        q.value = buf_slice(&value);
    }
    if (status == CTL_OK)
        status = put_outcome(v, &q, g);
    if (fd >= 0)
        close(fd);
    free(message);
    buf_release(&value);
    buf_release(&manifest);
    return status;
}

static int merge_versions(struct resolve *v, struct slice key, const struct session_get *g)
{
    uint32_t n;
    const struct sibling **list = versions_sorted(&g->object, &n);
    char *message = NULL;
    struct merge m = {.folder = NULL};
    int status = CTL_OK;
    for (uint32_t i = 0; i < n && status == CTL_OK; i++)
        if (list[i]->type != SIBLING_FILE)
            status = ctl_fail(CTL_ERROR,
                              "'%.*s': one of its versions is a %s, and only files can be merged: "
                              "choose with --keep or --newest",
                              (int)key.len, (const char *)key.data, versions_type(list[i]));
    if (status == CTL_OK && merge_open(&m, v->merge, key, &message) != DYN_OK)
        status = ctl_fail(CTL_ERROR, "%s", message);
    if (status == CTL_OK)
        status = merge_all(v, &m, key, list, n);
    if (status == CTL_OK)
        status = put_merged(v, &m, key, g, list[0]);
    merge_close(&m);
    free(message);
    free(list);
    return status;
}

/* ---- the verb ---------------------------------------------------------------------------- */

static int resolve_key(struct resolve *v, struct slice key)
{
    const struct get_request q = {.opt = v->opt, .key = key, .want = GET_META};
    struct session_get g;
    int status;
    session_get(v->s, &q, &g);
    if (g.status != DYN_OK)
        status = say_failed(key, g.status, g.answered, g.needed);
    else if (!object_live(&g.object))
        status = say_failed(key, DYN_ERR_NOT_FOUND, 0, 0);
    else if (!versions_conflict(&g.object))
        status = v->keys != NULL ? CTL_OK /* somebody was quicker */
                                 : ctl_fail(CTL_ERROR, "'%.*s' has no conflict", (int)key.len,
                                            (const char *)key.data);
    else if (v->merge != NULL)
        status = merge_versions(v, key, &g);
    else
        status = keep_one(v, key, &g);
    session_get_release(&g);
    return status;
}

static bool note_key(void *arg, struct slice key, const struct object *o)
{
    struct resolve *v = arg;
    (void)o;
    if (v->n_keys == v->cap_keys) {
        v->cap_keys *= 2;
        v->keys = mem_reallocarray(v->keys, v->cap_keys, sizeof(*v->keys));
    }
    v->keys[v->n_keys++] = mem_strndup((const char *)key.data, key.len);
    return true;
}

/* First they are all found, for a walk that changes what it walks through could go on for ever. One
 * that is not resolved does not stop the others. */
static int resolve_tree(struct resolve *v, struct slice dir)
{
    v->cap_keys = 16;
    v->keys = mem_reallocarray(NULL, v->cap_keys, sizeof(*v->keys));
    int status = walk_conflicts(v->s, &v->opt, dir, note_key, v);
    bool walked = status == CTL_OK;
    for (size_t i = 0; i < v->n_keys; i++) {
        int one = walked ? resolve_key(v, slice_str(v->keys[i])) : CTL_OK;
        if (one != CTL_OK && v->failed != NULL)
            json_add_bytes(v->failed, NULL, slice_str(v->keys[i]));
        status = status == CTL_OK ? one : status;
        free(v->keys[i]);
    }
    free(v->keys);
    return status;
}

static int run_with(struct resolve *v, bool tree, struct slice key)
{
    struct json *root = v->c->json ? json_object() : NULL;
    struct buf text = BUF_EMPTY;
    if (root != NULL) {
        v->resolved = json_add_array(root, "resolved");
        v->failed = json_add_array(root, "failed");
    }
    int status = tree ? resolve_tree(v, key) : resolve_key(v, key);
    if (root != NULL && (status == CTL_OK || tree)) {
        json_print(root, true, &text);
        buf_put_u8(&text, '\n');
        int printed = ctl_print(&text);
        status = status == CTL_OK ? printed : status;
    }
    json_free(root);
    return status;
}

static int read_choice(struct ctl *c, struct resolve *v, bool tree)
{
    const char *keep = args_value(&c->args, "keep");
    int choices = (keep != NULL) + args_has(&c->args, "newest") + args_has(&c->args, "merge");
    char *message = NULL;
    v->merge = args_value(&c->args, "merge");
    v->has_keep = keep != NULL;
    if (choices != 1)
        return ctl_usage(c, mem_strdup("say how, once: --keep DOT, --newest or --merge COMMAND"));
    if (tree && keep != NULL)
        return ctl_usage(c, mem_strdup("--keep names a version of one key, so not with -r"));
    if (keep != NULL && dot_parse(slice_str(keep), &v->keep) != DYN_OK)
        return ctl_usage(c, mem_printf("--keep %s: this is no version's dot", keep));
    if (v->merge != NULL && v->merge[0] == '\0')
        return ctl_usage(c, mem_strdup("--merge: the command is empty"));
    if (session_options(c, &v->opt, &message) != DYN_OK)
        return ctl_usage(c, message);
    return CTL_OK;
}

static int run(struct ctl *c)
{
    struct resolve v = {.c = c};
    struct slice key = slice_str(c->args.words[0]);
    bool tree = args_has(&c->args, "recursive");
    const char *rule;
    int status = CTL_OK;
    if (tree)
        status = walk_dir(c, &key);
    else if (key_check(key, &rule) != DYN_OK)
        status = ctl_usage(c, mem_printf("'%s' is no key: %s", c->args.words[0], rule));
    if (status == CTL_OK)
        status = read_choice(c, &v, tree);
    if (status == CTL_OK && session_open(c, &v.s, &status) == DYN_OK)
        status = run_with(&v, tree, key);
    session_close(v.s);
    return status;
}

const struct ctl_verb ctl_verb_resolve = {
    "resolve", "KEY", "settle a conflict: keep one version, or merge", help, options, 1, 1,
    true,      run,
};
