/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl get: one version to stdout. Several versions are never mixed up silently: the command
 * names them and leaves the choice to its user. */
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "ctl/large.h"
#include "ctl/session.h"
#include "ctl/versions.h"
#include "model/context.h"
#include "model/key.h"

static const struct args_option options[] = {
    {"sibling", "DOT", "of several versions, this one", 0},
    {"all", NULL, "all versions, one after the other, each below a line that names it", 0},
    {"context-to", "FILE", "save the context of what was read, for put and rm", 0},
    {"n", "N", "replicas (default: the cluster's)", 0},
    {"r", "R", "answers to wait for (default: the cluster's)", 0},
    {NULL, NULL, NULL, 0},
};

static const char help[] =
    "Writes the value of KEY to stdout. A key is a path without a leading slash. If several\n"
    "versions stand side by side, they are named and the exit status is 3: choose one with\n"
    "--sibling, or take all with --all. With --json, values are base64url.\n"
    "\n"
    "Examples:\n"
    "  dynactl --node 127.0.0.1:7000 get notes/today\n"
    "  dynactl get --context-to ctx cart >cart && edit cart && dynactl put --context @ctx cart "
    "cart\n"
    "  dynactl get --json cart | jq -r '.versions[].dot'\n";

static int save_context(const struct ctl *c, const struct session_get *g)
{
    const char *path = args_value(&c->args, "context-to");
    struct buf context = BUF_EMPTY, text = BUF_EMPTY;
    char *message = NULL;
    int status = CTL_OK;
    if (path == NULL)
        return CTL_OK;
    if (g->token.len != 0) {
        context_all(buf_slice(&g->token), &context);
        context_format(buf_slice(&context), &text);
        buf_put_u8(&text, '\n');
    }
    if (ctl_write_file(path, buf_slice(&text), 0600, &message) != DYN_OK)
        status = ctl_fail(CTL_ERROR, "%s", message);
    free(message);
    buf_release(&context);
    buf_release(&text);
    return status;
}

static int print_json(struct slice key, const struct session_get *g)
{
    struct json *j = json_object();
    struct buf context = BUF_EMPTY, text = BUF_EMPTY;
    if (g->token.len != 0) {
        context_all(buf_slice(&g->token), &context);
        context_format(buf_slice(&context), &text);
    }
    buf_put_u8(&text, 0);
    json_add_bytes(j, "key", key);
    json_add_str(j, "context", (const char *)text.data);
    json_add_u64(j, "answered", g->answered);
    json_add_u64(j, "needed", g->needed);
    versions_add_json(j, "versions", &g->object);
    buf_clear(&text);
    json_print(j, true, &text);
    buf_put_u8(&text, '\n');
    json_free(j);
    buf_release(&context);
    return ctl_print(&text);
}

static int print_value(struct session *session, struct slice key, const struct sibling *s)
{
    if (s->type == SIBLING_DIR)
        return ctl_fail(CTL_ERROR, "'%.*s' is a directory: 'dynactl ls' lists it", (int)key.len,
                        (const char *)key.data);
    if (s->value == NULL && s->size != 0)
        return ctl_fail(CTL_UNAVAILABLE,
                        "'%.*s': no node that answered has the bytes of this "
                        "version: try again",
                        (int)key.len, (const char *)key.data);
    if (s->manifest_len != 0)
        return large_print(session, key, slice_of(s->value->data, s->value->len), STDOUT_FILENO);
    return s->value == NULL ? CTL_OK : ctl_write(slice_of(s->value->data, s->value->len));
}

static int print_all(struct session *session, struct slice key, const struct object *o)
{
    int status = CTL_OK;
    for (uint32_t i = 0; i < o->n && status == CTL_OK; i++) {
        const struct sibling *s = &o->siblings[i];
        struct buf head = BUF_EMPTY;
        char dot[DOT_TEXT_MAX];
        if (!sibling_live(s))
            continue;
        dot_format(&s->dot, dot);
        buf_printf(&head, "%s==> %s  ", i == 0 ? "" : "\n", dot);
        ctl_put_time(s->time_ns, &head);
        buf_printf(&head, "  %s <==\n", versions_type(s));
        status = ctl_print(&head);
        if (status == CTL_OK && s->type != SIBLING_DIR)
            status = print_value(session, key, s);
    }
    return status;
}

static int several(struct slice key, const struct object *o)
{
    struct buf text = BUF_EMPTY;
    versions_print(o, "  ", &text);
    ctl_fail(CTL_CONFLICT,
             "'%.*s' has %u versions side by side; choose with --sibling DOT, or take --all:\n%.*s",
             (int)key.len, (const char *)key.data, object_live_count(o), (int)text.len - 1,
             (const char *)text.data);
    buf_release(&text);
    return CTL_CONFLICT;
}

static int print_sibling(struct session *session, struct slice key, const struct object *o,
                         const struct dot *dot)
{
    const struct sibling *s = versions_live(o, dot);
    if (s == NULL)
        return ctl_fail(CTL_NOT_FOUND, "'%.*s' has no such version (any more)", (int)key.len,
                        (const char *)key.data);
    return print_value(session, key, s);
}

static int show(const struct ctl *c, struct session *session, struct slice key,
                const struct session_get *g, const struct dot *dot)
{
    if (g->status != DYN_OK)
        return ctl_failed("get", key, g->status, g->answered, g->needed);
    int status = save_context(c, g);
    if (status != CTL_OK)
        return status;
    if (c->json) {
        status = print_json(key, g);
        return status != CTL_OK || object_live(&g->object) ? status : CTL_NOT_FOUND;
    }
    if (!object_live(&g->object))
        return ctl_failed("get", key, DYN_ERR_NOT_FOUND, 0, 0);
    if (args_has(&c->args, "sibling"))
        return print_sibling(session, key, &g->object, dot);
    if (args_has(&c->args, "all"))
        return print_all(session, key, &g->object);
    if (versions_conflict(&g->object))
        return several(key, &g->object);
    return print_value(session, key, object_newest(&g->object));
}

/* A version whose value did not fit into the answer of all is asked for by itself. */
static void get_value(struct session *s, struct get_request *q, const struct dot *dot,
                      struct session_get *g)
{
    const struct sibling *found = g->status == DYN_OK ? object_find(&g->object, dot) : NULL;
    if (found == NULL || found->size == 0 || found->value != NULL)
        return;
    q->want = GET_DOT;
    q->value_dot = found->value_dot;
    session_get_release(g);
    session_get(s, q, g);
}

static int run(struct ctl *c)
{
    struct get_request q = {.key = slice_str(c->args.words[0]), .want = GET_NEWEST};
    struct session *s = NULL;
    struct session_get g;
    struct dot dot;
    char *message = NULL;
    const char *rule, *which = args_value(&c->args, "sibling");
    int status;

    if (key_check(q.key, &rule) != DYN_OK)
        return ctl_usage(c, mem_printf("'%s' is no key: %s", c->args.words[0], rule));
    if (session_options(c, &q.opt, &message) != DYN_OK)
        return ctl_usage(c, message);
    if (which != NULL && dot_parse(slice_str(which), &dot) != DYN_OK)
        return ctl_usage(c, mem_printf("--sibling %s: this is no version's dot", which));
    if (which != NULL || c->json || args_has(&c->args, "all"))
        q.want = GET_ALL;
    if (session_open(c, &s, &status) != DYN_OK)
        return status;
    session_get(s, &q, &g);
    if (which != NULL)
        get_value(s, &q, &dot, &g);
    status = show(c, s, q.key, &g, &dot);
    session_get_release(&g);
    session_close(s);
    return status;
}

const struct ctl_verb ctl_verb_get = {
    "get", "KEY", "write a key's value to stdout", help, options, 1, 1, true, run,
};
