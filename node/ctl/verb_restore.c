/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl restore: a former version of a key becomes a new one, with its attributes. What that
 * replaces is exactly what a read has shown just before: whatever comes in between stays.
 * A folder in place of the key is a backup (restore_backup.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "ctl/history.h"
#include "ctl/restore_backup.h"
#include "ctl/versions.h"
#include "model/context.h"
#include "model/key.h"

static const struct args_option options[] = {
    {"beside", NULL, "replace nothing: it stands beside what is there now", 0},
    {"to", "FILE", "write its bytes to FILE (- is stdout) instead, and change nothing", 0},
    {"w", "W", "answers to wait for (default: the cluster's)", 0},
    {"durability", "WHICH", "buffered, one or quorum (default: the cluster's)", 0},
    RESTORE_BACKUP_OPTIONS,
    {NULL, NULL, NULL, 0},
};

static const char help[] =
    "Puts the version DOT of KEY back, as 'dynactl history' lists it: its bytes, mode, owner and\n"
    "extended attributes. It replaces what is there now (which is kept in its turn), but no "
    "version\n"
    "that comes in meanwhile; with --beside nothing. Without DOT, of a key that was deleted, it "
    "is\n"
    "the newest one. The exit status is 4 if that version is not kept (any more).\n"
    "\n"
    "Examples:\n"
    "  dynactl restore notes/today\n"
    "  dynactl restore notes/today $(dynactl history --json notes/today | jq -r '.kept[0].dot')\n"
    "  dynactl restore --to - notes/today 4c5dff203c89a2c6.f9b0deceb4e26414.9.1 | less\n"
    "\n" RESTORE_BACKUP_HELP;

static int failed(struct slice key, int err, unsigned answered, unsigned needed)
{
    return ctl_failed("restore", key, err, answered, needed);
}

/* Which one is meant: DOT, or the newest that is kept of a key that is not there. */
static int choose(const struct ctl *c, struct session *s, struct slice key,
                  const struct object *now, struct dot *dot)
{
    struct kept_reply all;
    int status = CTL_OK;
    if (c->args.n_words > 1) {
        if (dot_parse(slice_str(c->args.words[1]), dot) != DYN_OK)
            return ctl_usage(c, mem_printf("'%s' is no version's dot", c->args.words[1]));
        return CTL_OK;
    }
    if (object_live(now))
        return ctl_usage(c, mem_printf("which version? '%.*s' is there; 'dynactl history' lists "
                                       "what there was",
                                       (int)key.len, (const char *)key.data));
    history_ask(s, key, NULL, &all);
    if (all.status != DYN_OK) {
        status = failed(key, all.status, all.answered, all.asked);
    } else if (all.list.n == 0) {
        history_note_missing(&all);
        status = ctl_fail(CTL_NOT_FOUND, "no version of '%.*s' is kept", (int)key.len,
                          (const char *)key.data);
    } else {
        *dot = kept_version(&all.list.k[0])->dot;
    }
    kept_reply_release(&all);
    return status;
}

static int fetch(struct session *s, struct slice key, const struct object *now,
                 const struct dot *dot, struct kept_reply *reply, const struct sibling **version)
{
    char text[DOT_TEXT_MAX];
    dot_format(dot, text);
    if (versions_live(now, dot) != NULL)
        return ctl_fail(CTL_CONFLICT,
                        "'%.*s': this version is there now: nothing is to be restored",
                        (int)key.len, (const char *)key.data);
    history_ask(s, key, dot, reply);
    if (reply->status == DYN_ERR_NOT_FOUND)
        return ctl_fail(CTL_NOT_FOUND, "'%.*s': no node keeps the version %s, or its bytes",
                        (int)key.len, (const char *)key.data, text);
    if (reply->status != DYN_OK)
        return failed(key, reply->status, reply->answered, reply->asked);
    *version = kept_version(kept_list_find(&reply->list, dot));
    return CTL_OK;
}

static int to_file(const struct ctl *c, struct session *s, struct slice key,
                   const struct sibling *version)
{
    const char *path = args_value(&c->args, "to");
    bool out = strcmp(path, "-") == 0;
    int fd = out ? STDOUT_FILENO : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return ctl_fail(CTL_ERROR, "%s: %s", path, strerror(errno));
    int status = history_print(s, key, version, fd);
    if (!out && close(fd) != 0 && status == CTL_OK)
        status = ctl_fail(CTL_ERROR, "%s: %s", path, strerror(errno));
    return status;
}

static bool has_directory(const struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (o->siblings[i].type == SIBLING_DIR)
            return true;
    return false;
}

static int report(const struct ctl *c, struct slice key, const struct session_put *p)
{
    if (!c->json) {
        versions_note_conflict(key, &p->object);
        return CTL_OK;
    }
    struct json *j = json_object();
    struct buf text = BUF_EMPTY;
    char dot[DOT_TEXT_MAX] = "";
    if (!dot_is_none(&p->dot))
        dot_format(&p->dot, dot);
    json_add_bytes(j, "key", key);
    json_add_str(j, "dot", dot);
    versions_add_json(j, "versions", &p->object);
    json_print(j, true, &text);
    buf_put_u8(&text, '\n');
    json_free(j);
    return ctl_print(&text);
}

static int put_back(const struct ctl *c, struct session *s, struct put_request *q,
                    const struct session_get *now, const struct sibling *version)
{
    struct buf context = BUF_EMPTY;
    struct session_put p;
    if (has_directory(&now->object))
        return ctl_fail(CTL_CONFLICT,
                        "'%.*s' is a directory now: restore it with --to FILE, and put it "
                        "elsewhere",
                        (int)q->key.len, (const char *)q->key.data);
    if (version->manifest_len != 0) {
        struct slice manifest = slice_of(version->value->data, version->value->len);
        int status = history_hold_chunks(s, q->key, manifest);
        if (status != CTL_OK)
            return status;
        q->flags |= PUT_MANIFEST;
    }
    if (!args_has(&c->args, "beside") && now->token.len != 0)
        context_all(buf_slice(&now->token), &context);
    struct slice contexts = buf_slice(&context);
    q->type = version->type;
    q->attrs = version->attrs;
    q->base_dot = version->value_dot;
    q->contexts = &contexts;
    q->n_contexts = context.len != 0;
    if (version->value != NULL)
        q->value = slice_of(version->value->data, version->value->len);
    session_put(s, q, &p);
    int status =
        p.status == DYN_OK ? report(c, q->key, &p) : failed(q->key, p.status, p.answered, p.needed);
    session_put_release(&p);
    buf_release(&context);
    return status;
}

static int run(struct ctl *c)
{
    struct put_request q = {.key = slice_str(c->args.words[0])};
    struct kept_reply reply = {.list = KEPT_LIST_EMPTY};
    const struct sibling *version = NULL;
    struct session *s = NULL;
    struct session_get now;
    struct dot dot = {.counter = 0};
    char *message = NULL;
    const char *rule;
    int status;
    if (restore_backup_meant(c))
        return restore_backup(c);
    if (key_check(q.key, &rule) != DYN_OK)
        return ctl_usage(c, mem_printf("'%s' is no key: %s", c->args.words[0], rule));
    if (session_options(c, &q.opt, &message) != DYN_OK)
        return ctl_usage(c, message);
    if (args_has(&c->args, "to") && args_has(&c->args, "beside"))
        return ctl_usage(c, mem_strdup("--to and --beside exclude each other"));
    if (session_open(c, &s, &status) != DYN_OK)
        return status;
    const struct get_request get = {.key = q.key, .want = GET_META};
    session_get(s, &get, &now);
    status = now.status == DYN_OK || now.status == DYN_ERR_NOT_FOUND
                 ? choose(c, s, q.key, &now.object, &dot)
                 : failed(q.key, now.status, now.answered, now.needed);
    if (status == CTL_OK)
        status = fetch(s, q.key, &now.object, &dot, &reply, &version);
    if (status == CTL_OK && args_has(&c->args, "to"))
        status = to_file(c, s, q.key, version);
    else if (status == CTL_OK)
        status = put_back(c, s, &q, &now, version);
    kept_reply_release(&reply);
    session_get_release(&now);
    session_close(s);
    return status;
}

const struct ctl_verb ctl_verb_restore = {
    "restore",
    "KEY [DOT]|DIR",
    "put a former version of a key back, or a backup",
    help,
    options,
    1,
    2,
    true,
    run,
};
