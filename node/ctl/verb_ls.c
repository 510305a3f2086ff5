/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl ls and conflicts: what is in a directory, and where versions stand beside each other in a
 * whole tree. Both read directories page by page, so their memory does not grow with the store. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "ctl/session.h"
#include "ctl/versions.h"
#include "ctl/walk.h"
#include "model/key.h"

static const struct args_option ls_options[] = {
    {"long", NULL, "also mode, versions, size and time", 'l'},
    {"n", "N", "replicas (default: the cluster's)", 0},
    {"r", "R", "answers to wait for (default: the cluster's)", 0},
    {NULL, NULL, NULL, 0},
};

static const char ls_help[] =
    "Lists a directory, one name a line, directories with a slash at the end; without DIR the\n"
    "root. With -l: mode, number of versions, size, time and name of each.\n"
    "\n"
    "Examples:\n"
    "  dynactl --node 127.0.0.1:7000 ls\n"
    "  dynactl ls -l notes\n"
    "  dynactl ls --json notes | jq -r '.entries[].name'\n";

static const struct args_option conflicts_options[] = {
    {"n", "N", "replicas (default: the cluster's)", 0},
    {"r", "R", "answers to wait for (default: the cluster's)", 0},
    {NULL, NULL, NULL, 0},
};

static const char conflicts_help[] =
    "Walks the tree below DIR (without it: everything) and lists each key with more than one\n"
    "version, and these versions: dot, time, size, type. 'dynactl resolve' settles them. The exit\n"
    "status is 0 also when there are conflicts.\n"
    "\n"
    "Examples:\n"
    "  dynactl --node 127.0.0.1:7000 conflicts\n"
    "  dynactl conflicts --json notes | jq -r '.conflicts[].key'\n";

/* ---- ls ---- */

struct ls {
    struct ctl *ctl;
    struct json *array; /* NULL: text */
    bool lines, any;
};

static void put_mode(const struct sibling *s, struct buf *out)
{
    static const char letters[] = "rwxrwxrwx";
    buf_put_u8(out, s->type == SIBLING_DIR ? 'd' : s->type == SIBLING_SYMLINK ? 'l' : '-');
    for (unsigned i = 0; i < 9; i++)
        buf_put_u8(out, (s->attrs.mode >> (8 - i) & 1) != 0 ? (uint8_t)letters[i] : '-');
}

static bool ls_row(void *arg, struct slice dir, const struct list_entry *e)
{
    struct ls *ls = arg;
    const struct sibling *s = object_newest(&e->object);
    struct buf line = BUF_EMPTY;
    (void)dir;
    if (s == NULL)
        return true;
    ls->any = true;
    if (ls->array != NULL) {
        struct json *j = json_add_object(ls->array, NULL);
        json_add_bytes(j, "name", e->name);
        versions_add_json(j, "versions", &e->object);
        return true;
    }
    if (ls->lines) {
        put_mode(s, &line);
        buf_printf(&line, " %3u %12" PRIu64 "  ", object_live_count(&e->object), s->size);
        ctl_put_time((uint64_t)(s->attrs.mtime_ns < 0 ? 0 : s->attrs.mtime_ns), &line);
        buf_put_str(&line, "  ");
    }
    ctl_put_name(ls->ctl, e->name, &line);
    buf_put_str(&line, s->type == SIBLING_DIR ? "/\n" : "\n");
    return ctl_print(&line) == CTL_OK;
}

/* An empty listing: is there such a directory? */
static int check_directory(struct session *s, const struct request_options *opt, struct slice dir)
{
    struct get_request q = {.opt = *opt, .key = dir, .want = GET_META};
    struct session_get g;
    int status = CTL_OK;
    session_get(s, &q, &g);
    const struct sibling *newest = object_newest(&g.object);
    if (g.status != DYN_OK && g.status != DYN_ERR_NOT_FOUND)
        status = ctl_failed("ls", dir, g.status, g.answered, g.needed);
    else if (newest == NULL)
        status = ctl_fail(CTL_NOT_FOUND, "ls '%.*s': there is no such directory", (int)dir.len,
                          (const char *)dir.data);
    else if (newest->type != SIBLING_DIR)
        status = ctl_fail(CTL_ERROR, "ls '%.*s': this is no directory: 'dynactl get' reads it",
                          (int)dir.len, (const char *)dir.data);
    session_get_release(&g);
    return status;
}

static int print_json(struct json *root)
{
    struct buf text = BUF_EMPTY;
    json_print(root, true, &text);
    buf_put_u8(&text, '\n');
    return ctl_print(&text);
}

static int open_for(struct ctl *c, struct slice *dir, struct request_options *opt,
                    struct session **s)
{
    char *message = NULL;
    int status = walk_dir(c, dir);
    if (status != CTL_OK)
        return status;
    if (session_options(c, opt, &message) != DYN_OK)
        return ctl_usage(c, message);
    session_open(c, s, &status);
    return status;
}

static int run_ls(struct ctl *c)
{
    struct request_options opt;
    struct slice dir;
    struct session *s = NULL;
    int status = open_for(c, &dir, &opt, &s);
    if (s == NULL)
        return status;
    struct json *root = json_object();
    struct ls ls = {.ctl = c, .lines = args_has(&c->args, "long")};
    json_add_bytes(root, "dir", dir);
    if (c->json)
        ls.array = json_add_array(root, "entries");
    status = walk_entries(s, "ls", &opt, dir, ls_row, &ls);
    if (status == CTL_OK && !ls.any && dir.len > 0)
        status = check_directory(s, &opt, dir);
    if (status == CTL_OK && c->json)
        status = print_json(root);
    json_free(root);
    session_close(s);
    return status;
}

/* ---- conflicts ---- */

struct report {
    struct ctl *ctl;
    struct json *array; /* NULL: text */
    uint64_t found;
};

static bool report_conflict(void *arg, struct slice key, const struct object *o)
{
    struct report *r = arg;
    r->found++;
    if (r->array != NULL) {
        struct json *j = json_add_object(r->array, NULL);
        json_add_bytes(j, "key", key);
        versions_add_json(j, "versions", o);
        return true;
    }
    struct buf text = BUF_EMPTY;
    ctl_put_name(r->ctl, key, &text);
    buf_put_u8(&text, '\n');
    versions_print(o, "  ", &text);
    return ctl_print(&text) == CTL_OK;
}

static int run_conflicts(struct ctl *c)
{
    struct request_options opt;
    struct slice dir;
    struct session *s = NULL;
    int status = open_for(c, &dir, &opt, &s);
    if (s == NULL)
        return status;
    struct json *root = json_object();
    struct report r = {.ctl = c};
    if (c->json)
        r.array = json_add_array(root, "conflicts");
    status = walk_conflicts(s, &opt, dir, report_conflict, &r);
    if (status == CTL_OK && c->json)
        status = print_json(root);
    else if (status == CTL_OK && r.found == 0 && c->terminal)
        fputs("no conflicts\n", stderr);
    json_free(root);
    session_close(s);
    return status;
}

const struct ctl_verb ctl_verb_ls = {
    "ls", "[DIR]", "list a directory", ls_help, ls_options, 0, 1, true, run_ls,
};
const struct ctl_verb ctl_verb_conflicts = {
    "conflicts",
    "[DIR]",
    "list keys with several versions",
    conflicts_help,
    conflicts_options,
    0,
    1,
    true,
    run_conflicts,
};
