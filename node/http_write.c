/* SPDX-License-Identifier: Apache-2.0 */
/* PUT and DELETE of a key. A write that names one sibling by its dot first reads, because only a
 * token of this cluster, not the dot alone, may cover anything. A DELETE first looks whether it
 * would take a directory away from what lies in it.
 *
 *   PUT    [-> the body comes in pieces, into chunks] -> put
 *   with sibling=DOT: get -> put
 *   DELETE get -> [a directory: list until something is found] -> put
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "http_call.h"
#include "http_upload.h"
#include "model/context.h"

static void answer_write(struct http_call *o, const struct put_reply *reply)
{
    char dot[DOT_TEXT_MAX];
    struct buf body = BUF_EMPTY;
    struct http_request *r = http_call_end(o, 204);
    http_call_token(r, reply->token);
    if (!dot_is_none(&reply->dot)) {
        dot_format(&reply->dot, dot);
        http_reply_header(r, "Dynamount-Dot", dot);
    }
    http_call_number(r, "Dynamount-Siblings", object_live_count(&reply->object));
    http_reply(r, 204, NULL, &body);
}

static void written(void *arg, const struct put_reply *reply)
{
    struct http_call *o = arg;
    o->pending = 0;
    if (reply->status != DYN_OK)
        http_call_fail(o, reply->status, NULL, reply->answered, reply->needed);
    else
        answer_write(o, reply);
}

static void uploaded(void *arg, int err, struct slice value, bool manifest)
{
    struct http_call *o = arg;
    if (err != DYN_OK) {
        http_call_fail(o, err,
                       err == DYN_ERR_CONFLICT
                           ? "the upload stood still for longer than its lease, "
                             "and parts of it are gone: send them again, all of it"
                           : NULL,
                       0, 0);
        return;
    }
    o->put.value = value;
    if (manifest)
        o->put.flags |= PUT_MANIFEST;
    o->pending = o->cfg->kv.put(o->cfg->kv.ctx, &o->put, written, o);
}

static void start_put(struct http_call *o)
{
    o->put.opt = o->options.opt;
    o->put.key = buf_slice(&o->key);
    o->put.contexts = o->contexts.slices;
    o->put.n_contexts = o->contexts.n;
    if (o->kind == HTTP_OP_PUT && http_request_streams(o->r)) {
        /* What holds for the key's directory is not known here, and chunks lie elsewhere. */
        enum durability d = o->put.opt.durability == DURABILITY_DEFAULT
                                ? DURABILITY_QUORUM
                                : (enum durability)o->put.opt.durability;
        o->upload = http_upload_new(o->cfg, o->r, o->put.key, d, uploaded, o);
        http_upload_begin(o->upload); /* o may be gone */
        return;
    }
    o->put.value = o->kind == HTTP_OP_PUT ? http_request_body(o->r) : slice_of(NULL, 0);
    o->pending = o->cfg->kv.put(o->cfg->kv.ctx, &o->put, written, o);
}

static void read_before_write(void *arg, const struct get_reply *reply)
{
    struct http_call *o = arg;
    struct buf context = BUF_EMPTY;
    o->pending = 0;
    if (reply->status != DYN_OK) {
        http_call_fail(o, reply->status, NULL, reply->answered, reply->needed);
    } else if (context_dots(reply->token, &o->options.sibling, 1, &context) != DYN_OK) {
        http_call_fail(o, DYN_ERR_STALE, NULL, 0, 0);
    } else {
        o->contexts.bytes[0] = buf_take(&context);
        o->contexts.slices[0] = buf_slice(&o->contexts.bytes[0]);
        o->contexts.n = 1;
        start_put(o);
    }
    buf_release(&context);
}

/* If-Match: * covers whatever the coordinator has; If-None-Match: * wants nothing to be there. */
static int conditions(struct http_call *o, char **message)
{
    const char *match = http_request_header(o->r, "If-Match");
    const char *none = http_request_header(o->r, "If-None-Match");
    if ((match != NULL && strcmp(match, "*") != 0) || (none != NULL && strcmp(none, "*") != 0)) {
        *message = mem_strdup("If-Match and If-None-Match take '*' alone");
        return DYN_ERR_INVALID;
    }
    if ((match != NULL) + (none != NULL) + (o->contexts.n > 0) + o->options.has_sibling > 1) {
        *message = mem_strdup("a context, If-Match, If-None-Match and sibling= exclude each other");
        return DYN_ERR_INVALID;
    }
    if (match != NULL)
        o->put.flags |= PUT_CURRENT;
    if (none != NULL)
        o->put.flags |= PUT_IF_ABSENT;
    return DYN_OK;
}

static int write_type(struct http_call *o, char **message)
{
    const char *type = http_request_header(o->r, "Dynamount-Type");
    struct slice body = http_request_body(o->r);
    o->put.type = SIBLING_FILE;
    if (type != NULL && strcmp(type, http_type_name(SIBLING_DIR)) == 0)
        o->put.type = SIBLING_DIR;
    else if (type != NULL && strcmp(type, http_type_name(SIBLING_SYMLINK)) == 0)
        o->put.type = SIBLING_SYMLINK;
    else if (type != NULL && strcmp(type, http_type_name(SIBLING_FILE)) != 0)
        *message = mem_strdup("Dynamount-Type is file, directory or symlink");
    if (*message == NULL && o->put.type != SIBLING_FILE && http_request_streams(o->r))
        *message = mem_strdup("only a file has a body without a length, or over the limit");
    if (*message == NULL && o->put.type == SIBLING_DIR && body.len > 0)
        *message = mem_strdup("a directory has no bytes");
    if (*message == NULL && o->put.type == SIBLING_SYMLINK && (body.len == 0 || body.len > 4095))
        *message = mem_strdup("a symlink's target has 1 to 4095 bytes");
    return *message == NULL ? DYN_OK : DYN_ERR_INVALID;
}

static const struct {
    const char *header;
    uint32_t flag;
} own_attrs[] = {{"Dynamount-Mode", PUT_OWN_MODE},
                 {"Dynamount-Uid", PUT_OWN_UID},
                 {"Dynamount-Gid", PUT_OWN_GID}};

static int prepare_put(struct http_call *o, char **message)
{
    int64_t now = (int64_t)o->cfg->time.wall_ns(o->cfg->time.ctx);
    int err = write_type(o, message);
    if (err != DYN_OK)
        return err;
    o->put.attrs = (struct attrs){.mode = o->put.type == SIBLING_DIR ? 0755 : 0644,
                                  .mtime_ns = now,
                                  .ctime_ns = now,
                                  .atime_ns = now};
    o->put.flags |= PUT_KEEP_ATTRS; /* those of what it replaces, but what the headers say */
    for (unsigned i = 0; i < sizeof(own_attrs) / sizeof(own_attrs[0]); i++)
        if (http_request_header(o->r, own_attrs[i].header) != NULL)
            o->put.flags |= own_attrs[i].flag;
    return http_attrs_parse(o->r, &o->put.attrs, message);
}

static void list_before_delete(struct http_call *o, struct slice after);

static void listed_before_delete(void *arg, const struct list_reply *reply)
{
    struct http_call *o = arg;
    o->pending = 0;
    if (reply->status != DYN_OK)
        http_call_fail(o, reply->status, NULL, reply->answered, reply->needed);
    else if (reply->n > 0)
        http_call_fail(o, DYN_ERR_NOT_EMPTY, NULL, 0, 0);
    else if (reply->more)
        list_before_delete(o, reply->cursor);
    else
        start_put(o);
}

static void list_before_delete(struct http_call *o, struct slice after)
{
    const struct list_request q = {
        .opt = o->options.opt, .dir = buf_slice(&o->key), .after = after, .limit = 100};
    o->pending = o->cfg->kv.list(o->cfg->kv.ctx, &q, listed_before_delete, o);
}

/* Beside a file, a context may mean the file alone. */
static bool deletes_directory(const struct http_call *o, const struct object *object)
{
    uint32_t dirs = 0;
    for (uint32_t i = 0; i < object->n; i++)
        dirs += object->siblings[i].type == SIBLING_DIR;
    return dirs > 0 && (o->contexts.n == 0 || dirs == object_live_count(object));
}

/* What lies in a directory would stay, and bring it back without its mode and owner. When it cannot
 * be read, the delete goes ahead: a write must not need more nodes than W. */
static void looked_before_delete(void *arg, const struct get_reply *reply)
{
    struct http_call *o = arg;
    o->pending = 0;
    if (reply->status == DYN_OK && reply->implicit_dir && o->contexts.n == 0)
        http_call_fail(o, DYN_ERR_NOT_EMPTY, NULL, 0, 0);
    else if (reply->status == DYN_OK && deletes_directory(o, &reply->object))
        list_before_delete(o, slice_of(NULL, 0));
    else
        start_put(o);
}

void http_write_take(struct http_call *o)
{
    char *message = NULL;
    int err =
        http_contexts_parse(http_request_header(o->r, "Dynamount-Context"), &o->contexts, &message);
    if (err == DYN_OK)
        err = conditions(o, &message);
    if (err == DYN_OK && o->kind == HTTP_OP_PUT) {
        err = prepare_put(o, &message);
    } else if (err == DYN_OK) {
        o->put.type = SIBLING_DELETE;
        if (o->options.has_sibling)
            o->put.flags |= PUT_DROP_ONLY;
        else if (o->contexts.n == 0)
            o->put.flags |= PUT_CURRENT; /* covering nothing, it would delete nothing */
    }
    if (err != DYN_OK)
        http_call_refuse(o, err, message);
    else if (o->options.has_sibling)
        http_call_get(o, GET_META, read_before_write);
    else if (o->kind == HTTP_OP_DELETE)
        http_call_get(o, GET_META, looked_before_delete);
    else
        start_put(o);
}
