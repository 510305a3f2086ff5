/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl put and rm: the commands that change a key. What a change replaces is always explicit: a
 * context that was read before, whatever is there, or nothing. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "ctl/large.h"
#include "ctl/session.h"
#include "ctl/versions.h"
#include "model/context.h"
#include "model/key.h"

static const struct args_option put_options[] = {
    {"context", "TEXT|@FILE", "replace the versions that this context was read with", 0},
    {"if-match", NULL, "replace whatever versions are there", 0},
    {"if-absent", NULL, "fail (status 3) if any version is there", 0},
    {"mode", "OCTAL", "permissions (default: those of FILE, else 644)", 0},
    {"n", "N", "replicas (default: the cluster's)", 0},
    {"r", "R", "answers a read waits for (default: the cluster's)", 0},
    {"w", "W", "answers to wait for (default: the cluster's)", 0},
    {"durability", "WHICH", "buffered, one or quorum (default: the cluster's)", 0},
    {"sloppy", "yes|no", "may stand-ins count for nodes that are down (default: the cluster's)", 0},
    {"upload-lease", "TIME", "what the nodes' upload_lease says, when it is not 1h", 0},
    {NULL, NULL, NULL, 0},
};

static const char put_help[] =
    "Stores FILE, or stdin, under KEY. Without --context, --if-match or --if-absent it replaces\n"
    "nothing: where a version is already, the new one stands beside it.\n"
    "\n"
    "Examples:\n"
    "  echo milk | dynactl put --if-absent cart\n"
    "  dynactl put --if-match notes/today today.txt\n"
    "  dynactl get --context-to ctx cart >cart && edit cart && dynactl put --context @ctx cart "
    "cart\n";

static const struct args_option rm_options[] = {
    {"context", "TEXT|@FILE", "remove the versions that this context was read with", 0},
    {"sibling", "DOT", "remove this version only", 0},
    {"n", "N", "replicas (default: the cluster's)", 0},
    {"r", "R", "answers a read waits for (default: the cluster's)", 0},
    {"w", "W", "answers to wait for (default: the cluster's)", 0},
    {"durability", "WHICH", "buffered, one or quorum (default: the cluster's)", 0},
    {"sloppy", "yes|no", "may stand-ins count for nodes that are down (default: the cluster's)", 0},
    {NULL, NULL, NULL, 0},
};

static const char rm_help[] =
    "Removes the versions of KEY that it finds, or those of --context. A version that is written\n"
    "meanwhile survives. The exit status is 4 if there is nothing to remove.\n"
    "\n"
    "Examples:\n"
    "  dynactl rm notes/today\n"
    "  dynactl rm --sibling $(dynactl get --json cart | jq -r '.versions[-1].dot') cart\n";

/* From --context. *out stays empty when it was not given. */
static int read_context(const struct ctl *c, struct buf *out, char **message)
{
    const char *text = args_value(&c->args, "context");
    struct buf file = BUF_EMPTY;
    int err = DYN_OK;
    if (text == NULL)
        return DYN_OK;
    if (text[0] == '@') {
        err = ctl_read_file(text + 1, 2 * CONTEXT_LEN_MAX, &file, message);
        if (err != DYN_OK)
            return err;
    } else {
        buf_put_str(&file, text);
    }
    while (file.len > 0 && (file.data[file.len - 1] == '\n' || file.data[file.len - 1] == '\r'))
        file.len--;
    if (file.len != 0 && context_parse(buf_slice(&file), out) != DYN_OK) {
        *message = mem_strdup("--context: this is no context");
        err = DYN_ERR_INVALID;
    }
    buf_release(&file);
    return err;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int fill_attrs(const struct ctl *c, const char *path, struct attrs *a)
{
    const char *mode = args_value(&c->args, "mode");
    struct stat st;
    a->mode = 0644;
    a->uid = getuid();
    a->gid = getgid();
    a->mtime_ns = a->ctime_ns = a->atime_ns = now_ns();
    if (mode != NULL) {
        char *end;
        unsigned long v = strtoul(mode, &end, 8);
        if (mode[0] < '0' || mode[0] > '7' || *end != '\0' || v > 07777)
            return DYN_ERR_INVALID;
        a->mode = (uint32_t)v;
    } else if (strcmp(path, "-") != 0 && stat(path, &st) == 0) {
        a->mode = st.st_mode & 0777;
    }
    return DYN_OK;
}

static int report_put(const struct ctl *c, struct slice key, const struct session_put *p)
{
    char dot[DOT_TEXT_MAX] = "";
    if (!dot_is_none(&p->dot))
        dot_format(&p->dot, dot);
    if (c->json) {
        struct json *j = json_object();
        struct buf text = BUF_EMPTY;
        json_add_bytes(j, "key", key);
        json_add_str(j, "dot", dot);
        json_add_u64(j, "answered", p->answered);
        json_add_u64(j, "needed", p->needed);
        versions_add_json(j, "versions", &p->object);
        json_print(j, true, &text);
        buf_put_u8(&text, '\n');
        json_free(j);
        return ctl_print(&text);
    }
    versions_note_conflict(key, &p->object);
    return CTL_OK;
}

static int send_put(struct ctl *c, struct session *s, const char *what, struct put_request *q)
{
    struct session_put p;
    session_put(s, q, &p);
    int status = p.status == DYN_OK ? report_put(c, q->key, &p)
                                    : ctl_failed(what, q->key, p.status, p.answered, p.needed);
    session_put_release(&p);
    return status;
}

static int check_common(const struct ctl *c, struct slice key, struct request_options *opt,
                        struct buf *context)
{
    const char *rule;
    char *message = NULL;
    if (key_check(key, &rule) != DYN_OK)
        return ctl_usage(c, mem_printf("'%s' is no key: %s", c->args.words[0], rule));
    if (key_internal(key))
        return ctl_usage(c, mem_printf("what is below " KEY_INTERNAL " is the cluster's own"));
    if (session_options(c, opt, &message) != DYN_OK || read_context(c, context, &message) != DYN_OK)
        return ctl_usage(c, message);
    return CTL_OK;
}

static int run_put(struct ctl *c)
{
    const char *path = c->args.n_words > 1 ? c->args.words[1] : "-";
    struct put_request q = {.key = slice_str(c->args.words[0]), .type = SIBLING_FILE};
    struct buf value = BUF_EMPTY, context = BUF_EMPTY;
    struct session *s = NULL;
    char *message = NULL;
    uint64_t lease_ms = 0;
    int fd = -1;
    int choices = args_has(&c->args, "context") + args_has(&c->args, "if-match") +
                  args_has(&c->args, "if-absent");
    int status = check_common(c, q.key, &q.opt, &context);

    if (status == CTL_OK && choices > 1)
        status =
            ctl_usage(c, mem_strdup("--context, --if-match and --if-absent exclude each other"));
    if (status == CTL_OK && fill_attrs(c, path, &q.attrs) != DYN_OK)
        status = ctl_usage(c, mem_strdup("--mode: an octal number up to 7777 is wanted"));
    if (status == CTL_OK &&
        args_ms(&c->args, "upload-lease", 1000, UINT32_MAX, &lease_ms, &message) != DYN_OK) {
        status = ctl_usage(c, message);
        message = NULL;
    }
    if (status == CTL_OK && large_begin(path, &value, &fd, &message) != DYN_OK)
        status = ctl_fail(CTL_ERROR, "%s", message);
    if (status == CTL_OK)
        session_open(c, &s, &status);
    if (s != NULL) {
        struct slice contexts = buf_slice(&context);
        q.flags = (args_has(&c->args, "if-match") ? PUT_CURRENT : 0u) |
                  (args_has(&c->args, "if-absent") ? PUT_IF_ABSENT : 0u);
        q.contexts = &contexts;
        q.n_contexts = context.len != 0;
        session_chunks(s)->lease_ms = lease_ms;
        if (value.len > CHUNK_LEN) {
            struct buf manifest = BUF_EMPTY;
            status = large_send(s, q.key, &q.opt, buf_slice(&value), fd, &manifest);
            buf_release(&value);
            value = manifest;
            q.flags |= PUT_MANIFEST;
        }
        q.value = buf_slice(&value);
        if (status == CTL_OK)
            status = send_put(c, s, "put", &q);
        session_close(s);
    }
    if (fd > STDIN_FILENO)
        close(fd);
    free(message);
    buf_release(&value);
    buf_release(&context);
    return status;
}

/* What lies in a directory would stay, and bring it back without its mode and owner. */
static int check_empty(struct session *s, const struct put_request *q)
{
    struct list_request list = {.opt = {.r = q->opt.r, .n = q->opt.n}, .dir = q->key, .limit = 100};
    struct buf cursor = BUF_EMPTY;
    int status = CTL_OK;
    for (bool more = true; more && status == CTL_OK;) {
        struct session_list l;
        session_list(s, &list, &l);
        if (l.status != DYN_OK)
            status = ctl_failed("rm", q->key, l.status, l.answered, l.needed);
        else if (l.n > 0)
            status = ctl_failed("rm", q->key, DYN_ERR_NOT_EMPTY, 0, 0);
        more = l.more;
        buf_clear(&cursor);
        buf_put_slice(&cursor, buf_slice(&l.cursor));
        list.after = buf_slice(&cursor);
        session_list_release(&l);
    }
    buf_release(&cursor);
    return status;
}

static bool has_directory(const struct object *o)
{
    bool found = false;
    for (uint32_t i = 0; i < o->n && !found; i++)
        found = o->siblings[i].type == SIBLING_DIR;
    return found;
}

/* What rm removes when no context was given: what a read finds now. A directory beside a newer file
 * is a directory still. */
static int find_context(const struct ctl *c, struct session *s, const struct put_request *q,
                        struct buf *context)
{
    struct get_request get = {.opt = q->opt, .key = q->key, .want = GET_META};
    const char *which = args_value(&c->args, "sibling");
    struct session_get g;
    struct dot dot;
    int status = CTL_OK;

    session_get(s, &get, &g);
    const struct sibling *newest = object_newest(&g.object);
    if (g.status != DYN_OK)
        status = ctl_failed("rm", q->key, g.status, g.answered, g.needed);
    else if (newest == NULL)
        status = ctl_failed("rm", q->key, DYN_ERR_NOT_FOUND, 0, 0);
    else if (which == NULL && has_directory(&g.object) && (status = check_empty(s, q)) != CTL_OK)
        ;
    else if (which == NULL)
        context_all(buf_slice(&g.token), context);
    else if (dot_parse(slice_str(which), &dot) != DYN_OK)
        status = ctl_usage(c, mem_printf("--sibling %s: this is no version's dot", which));
    else if (versions_live(&g.object, &dot) == NULL ||
             context_dots(buf_slice(&g.token), &dot, 1, context) != DYN_OK)
        status = ctl_fail(CTL_NOT_FOUND, "'%.*s' has no such version (any more)", (int)q->key.len,
                          (const char *)q->key.data);
    session_get_release(&g);
    return status;
}

static int run_rm(struct ctl *c)
{
    struct put_request q = {.key = slice_str(c->args.words[0]), .type = SIBLING_DELETE};
    struct buf context = BUF_EMPTY;
    struct session *s = NULL;
    int status = check_common(c, q.key, &q.opt, &context);

    if (status == CTL_OK && args_has(&c->args, "context") && args_has(&c->args, "sibling"))
        status = ctl_usage(c, mem_strdup("--context and --sibling exclude each other"));
    if (status == CTL_OK)
        session_open(c, &s, &status);
    if (s != NULL && context.len == 0)
        status = find_context(c, s, &q, &context);
    if (s != NULL && status == CTL_OK) {
        struct slice contexts = buf_slice(&context);
        q.flags = args_has(&c->args, "sibling") ? PUT_DROP_ONLY : 0;
        q.attrs.mtime_ns = q.attrs.ctime_ns = now_ns();
        q.contexts = &contexts;
        q.n_contexts = 1;
        status = send_put(c, s, "rm", &q);
    }
    session_close(s);
    buf_release(&context);
    return status;
}

const struct ctl_verb ctl_verb_put = {
    "put", "KEY [FILE|-]", "store a file or stdin under a key", put_help, put_options, 1, 2,
    true,  run_put,
};
const struct ctl_verb ctl_verb_rm = {
    "rm", "KEY", "remove a key", rm_help, rm_options, 1, 1, true, run_rm,
};
