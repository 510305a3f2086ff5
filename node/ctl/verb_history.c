/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl history: the versions of a key that there were, why they went, and by which write. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "ctl/history.h"
#include "ctl/versions.h"
#include "model/key.h"

static const struct args_option options[] = {
    {NULL, NULL, NULL, 0},
};

static const char help[] =
    "Lists the versions of KEY, newest first: those that are there now, and those that were\n"
    "replaced, deleted or dropped and are still kept (for a day, unless dynanode.conf says else).\n"
    "For each: its dot, when it was written, size, type and writer; then why it went, when, and "
    "by\n"
    "which version. 'dynactl restore' brings one back. The exit status is 4 if there is none.\n"
    "\n"
    "Why: overwritten (by a write that had seen it, or by the only writer), resolved (a conflict\n"
    "was settled), dropped (removed from beside others), deleted, outdated (the directory's rule "
    "is\n"
    "lww), united (the rule is union). Of a key that is written all the time only some are kept.\n"
    "\n"
    "Examples:\n"
    "  dynactl history notes/today\n"
    "  dynactl history --json notes/today | jq -r '.kept[0].dot'\n";

static void put_version(const struct sibling *s, const char *mark, struct buf *out)
{
    char dot[DOT_TEXT_MAX];
    dot_format(&s->dot, dot);
    buf_printf(out, "%-4s %s  ", mark, dot);
    ctl_put_time(s->time_ns, out);
    buf_printf(out, "  %10" PRIu64 "  %-7s  %016" PRIx64, s->size, versions_type(s),
               s->origin.writer);
}

static void put_why(const struct kept *k, struct buf *out)
{
    char by[DOT_TEXT_MAX];
    buf_printf(out, "  %s ", kept_why_name(k->why));
    ctl_put_time(k->since_ms * 1000000, out);
    if (dot_is_none(&k->by))
        return;
    dot_format(&k->by, by);
    buf_printf(out, " by %s", by);
}

static int print_text(const struct object *now, const struct kept_reply *reply)
{
    const struct kept_list *l = &reply->list;
    struct buf out = BUF_EMPTY;
    uint32_t n;
    const struct sibling **live = versions_sorted(now, &n);
    for (uint32_t i = 0; i < n; i++) {
        put_version(live[i], "now", &out);
        buf_put_u8(&out, '\n');
    }
    for (uint32_t i = 0, end; i < l->n; i = end) {
        end = kept_list_next(l, i);
        put_version(kept_version(&l->k[i]), "", &out);
        for (uint32_t k = i; k < end; k++)
            put_why(&l->k[k], &out);
        buf_put_u8(&out, '\n');
    }
    free(live);
    history_note_missing(reply);
    return ctl_print(&out);
}

static int print_json(struct slice key, const struct object *now, const struct kept_reply *reply)
{
    struct json *root = json_object();
    struct buf text = BUF_EMPTY;
    json_add_bytes(root, "key", key);
    json_add_u64(root, "answered", reply->answered);
    json_add_u64(root, "asked", reply->asked);
    versions_add_json(root, "versions", now);
    kept_add_json(json_add_array(root, "kept"), &reply->list);
    json_print(root, true, &text);
    buf_put_u8(&text, '\n');
    json_free(root);
    return ctl_print(&text);
}

static int show(const struct ctl *c, struct slice key, const struct session_get *now,
                const struct kept_reply *reply)
{
    if (now->status != DYN_OK && now->status != DYN_ERR_NOT_FOUND)
        return ctl_failed("history", key, now->status, now->answered, now->needed);
    if (reply->status != DYN_OK)
        return ctl_failed("history", key, reply->status, reply->answered, reply->asked);
    bool none = reply->list.n == 0 && !object_live(&now->object);
    if (c->json) {
        int status = print_json(key, &now->object, reply);
        return status == CTL_OK && none ? CTL_NOT_FOUND : status;
    }
    if (none) {
        history_note_missing(reply);
        return ctl_fail(CTL_NOT_FOUND, "'%.*s': there is no such key, and no version of it is kept",
                        (int)key.len, (const char *)key.data);
    }
    return print_text(&now->object, reply);
}

static int run(struct ctl *c)
{
    struct get_request q = {.key = slice_str(c->args.words[0]), .want = GET_META};
    struct session *s = NULL;
    struct session_get now;
    struct kept_reply reply;
    const char *rule;
    int status;
    if (key_check(q.key, &rule) != DYN_OK)
        return ctl_usage(c, mem_printf("'%s' is no key: %s", c->args.words[0], rule));
    if (session_open(c, &s, &status) != DYN_OK)
        return status;
    session_get(s, &q, &now);
    history_ask(s, q.key, NULL, &reply);
    status = show(c, q.key, &now, &reply);
    kept_reply_release(&reply);
    session_get_release(&now);
    session_close(s);
    return status;
}

const struct ctl_verb ctl_verb_history = {
    "history", "KEY", "list a key's versions, former ones too", help, options, 1, 1, true, run,
};
