/* SPDX-License-Identifier: Apache-2.0 */
/* See http_cluster.h. */
#include "http_cluster.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "adapter/cluster_file.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "engine/membership/membership.h"
#include "http_query.h"
#include "model/wire.h"

#define DEPTH 4
#define WEIGHT_DEFAULT 100
#define NODE_RATE (40u << 20) /* bytes a second that a node takes while it fills: an estimate */
#define TRANSFERS_SHOWN 256u

struct op { /* outlives its caller's stack when it has to wait */
    const struct http_status *s;
    void (*done)(void *arg, int status, struct slice body);
    void *arg;
    struct member_event part; /* strings owned */
};

static void answer(struct op *op, int status, struct json *j)
{
    struct buf text = BUF_EMPTY;
    json_print(j, false, &text);
    buf_put_str(&text, "\n");
    json_free(j);
    op->done(op->arg, status, buf_slice(&text));
    buf_release(&text);
    member_event_release(&op->part);
    free(op);
}

static void refuse(struct op *op, int err, const char *why)
{
    struct json *j = json_object();
    json_add_str(j, "error", dyn_err_code(err));
    json_add_str(j, "message", why != NULL ? why : dyn_err_message(err));
    answer(op, err == DYN_ERR_REFUSED ? 409 : http_status_of(err), j);
}

static void add_node(struct json *j, const char *name, uint64_t node)
{
    char text[NODE_ID_TEXT_LEN + 1];
    node_id_format(node, text);
    json_add_str(j, name, text);
}

/* ---- the plan ---------------------------------------------------------------------------- */

static const char *const type_names[] = {
    [MEMBER_JOIN] = "join",     [MEMBER_LEAVE] = "leave", [MEMBER_REMOVE] = "remove",
    [MEMBER_WEIGHT] = "weight", [MEMBER_ZONE] = "zone",   [MEMBER_ADDRESS] = "address",
};

static void add_part(struct json *parts, const struct member_event *p)
{
    struct json *j = json_add_object(parts, NULL);
    json_add_str(j, "type", p->replaces != 0 ? "replace" : type_names[p->type]);
    add_node(j, "node", p->node);
    if (p->replaces != 0)
        add_node(j, "replaces", p->replaces);
    if (p->address != NULL)
        json_add_str(j, "address", p->address);
    if (p->zone != NULL)
        json_add_str(j, "zone", p->zone);
    if (p->weight != 0)
        json_add_u64(j, "weight", p->weight);
}

static void add_pair(struct json *j, const char *name, uint64_t before, uint64_t after)
{
    struct json *pair = json_add_object(j, name);
    json_add_u64(pair, "before", before);
    json_add_u64(pair, "after", after);
}

/* What a copy of a partition takes, judged by what this node has. */
static uint64_t copy_bytes(const struct op *op, const struct plan_outcome *o)
{
    struct store_stats disk = {0};
    op->s->store.stats(op->s->store.ctx, &disk);
    for (uint32_t i = 0; i < o->n_nodes; i++)
        if (o->nodes[i].node == op->s->node && o->nodes[i].copies_before > 0)
            return disk.bytes_used / o->nodes[i].copies_before;
    return 0;
}

static void add_outcome(struct op *op, struct json *j, const struct plan_outcome *o)
{
    uint64_t each = copy_bytes(op, o), slowest = 0;
    struct json *nodes = json_add_array(j, "nodes");
    json_add_hex(j, "digest", slice_of(o->digest, DIGEST_LEN));
    json_add_u64(j, "moving_partitions", o->moving);
    json_add_u64(j, "copies_moved", o->copies_moved);
    json_add_u64(j, "bytes_moved", o->copies_moved * each);
    for (uint32_t i = 0; i < o->n_nodes; i++) {
        const struct plan_node *n = &o->nodes[i];
        struct json *k = json_add_object(nodes, NULL);
        add_node(k, "node", n->node);
        json_add_str(k, "address", n->address);
        add_pair(k, "tokens", n->tokens_before, n->tokens_after);
        add_pair(k, "copies", n->copies_before, n->copies_after);
        json_add_u64(k, "gains", n->gains);
        json_add_u64(k, "loses", n->loses);
        slowest = n->gains > slowest ? n->gains : slowest;
    }
    json_add_u64(j, "seconds", (slowest * each + NODE_RATE - 1) / NODE_RATE);
    add_pair(j, "weakest_list_zones", o->weakest_before, o->weakest_after);
    add_pair(j, "balance_permille", o->balance_before, o->balance_after);
    if (o->refused != NULL)
        json_add_str(j, "refused", o->refused);
}

static void show_plan(struct op *op)
{
    struct ring *ring = engine_ring(op->s->engine);
    struct plan p = PLAN_EMPTY;
    struct plan_outcome o;
    struct json *j = json_object();
    membership_plan(op->s->engine, &p);
    json_add_hex(j, "base", slice_of(ring_config(ring), DIGEST_LEN));
    struct json *parts = json_add_array(j, "staged");
    for (uint32_t i = 0; i < p.n; i++)
        add_part(parts, &p.parts[i]);
    if (p.n > 0 && plan_outcome(&p, ring, op->s->node, &o) == DYN_OK) {
        add_outcome(op, j, &o);
        plan_outcome_release(&o);
    } else if (p.n > 0) {
        json_add_str(j, "refused",
                     "what is staged does not fit the members of now: abort it, and "
                     "stage it again");
    }
    plan_release(&p);
    answer(op, 200, j);
}

static void on_done(void *arg, int err, const char *why)
{
    struct op *op = arg;
    if (err != DYN_OK)
        refuse(op, err, why);
    else
        show_plan(op);
}

/* ---- staging ----------------------------------------------------------------------------- */

static bool read_node(const struct json *q, const char *name, uint64_t *out)
{
    const struct json *j = json_get(q, name);
    const char *text = j == NULL ? NULL : json_str(j);
    return text != NULL && node_id_parse(slice_str(text), out) == DYN_OK;
}

static char *read_text(const struct json *q, const char *name)
{
    const struct json *j = json_get(q, name);
    const char *text = j == NULL ? NULL : json_str(j);
    return text == NULL ? NULL : mem_strdup(text);
}

static void on_whois(void *arg, int err, uint64_t node)
{
    struct op *op = arg;
    if (err == DYN_ERR_REFUSED) {
        refuse(op, err, "the node at this address belongs to another cluster");
    } else if (err != DYN_OK) {
        refuse(op, DYN_ERR_UNREACHABLE,
               "no node answers at this address: start it first, with the cluster's secret and "
               "'seeds', and see that the cluster can reach it");
    } else {
        op->part.node = node;
        membership_stage(op->s->engine, &op->part, on_done, op);
    }
}

static void stage(struct op *op, const struct json *q)
{
    char *type = read_text(q, "type");
    uint64_t weight = WEIGHT_DEFAULT;
    struct member_event *p = &op->part;
    for (unsigned t = MEMBER_JOIN; t <= MEMBER_ADDRESS; t++)
        if (type != NULL && strcmp(type, type_names[t]) == 0)
            p->type = (enum member_event_type)t;
    free(type);
    p->address = read_text(q, "address");
    p->zone = read_text(q, "zone");
    if (p->zone != NULL && strcmp(p->zone, "-") == 0) {
        free(p->zone);
        p->zone = NULL;
    }
    bool ok = p->type != 0;
    if (json_get(q, "weight") != NULL)
        ok &= json_u64(json_get(q, "weight"), &weight) && weight <= UINT32_MAX;
    p->weight = (uint32_t)weight;
    if (json_get(q, "replaces") != NULL)
        ok &= read_node(q, "replaces", &p->replaces);
    bool named = read_node(q, "node", &p->node);
    if (!ok || (!named && (json_get(q, "node") != NULL || p->type != MEMBER_JOIN)) ||
        (!named && p->address == NULL)) {
        refuse(op, DYN_ERR_INVALID,
               "a part has a type, and a node's id of 16 hexadecimal digits "
               "(or, for a join, an address)");
        return;
    }
    if (named) {
        membership_stage(op->s->engine, p, on_done, op);
        return;
    }
    p->node = 1; /* to be found out */
    const char *rule = member_event_rule(p);
    int err =
        rule != NULL ? DYN_ERR_INVALID : membership_whois(op->s->engine, p->address, on_whois, op);
    if (err != DYN_OK)
        refuse(op, err, rule);
}

static void unstage(struct op *op, const struct json *q)
{
    uint64_t node;
    if (read_node(q, "node", &node))
        membership_unstage(op->s->engine, node, on_done, op);
    else
        refuse(op, DYN_ERR_INVALID, "a node's id is 16 hexadecimal digits");
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_digest(const struct json *j, uint8_t out[DIGEST_LEN])
{
    const char *text = json_str(j);
    if (text == NULL || strlen(text) != (size_t)2 * DIGEST_LEN)
        return false;
    for (size_t i = 0; i < DIGEST_LEN; i++) {
        int hi = hex_digit(text[2 * i]), lo = hex_digit(text[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        out[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

static void commit(struct op *op, const struct json *q)
{
    uint8_t digest[DIGEST_LEN];
    const struct json *given = json_get(q, "digest");
    if (given != NULL && !read_digest(given, digest)) {
        refuse(op, DYN_ERR_INVALID, "a digest is 32 hexadecimal digits, as the plan shows it");
        return;
    }
    bool force = false;
    if (json_get(q, "force") != NULL && !json_bool(json_get(q, "force"), &force)) {
        refuse(op, DYN_ERR_INVALID, "force is true or false");
        return;
    }
    membership_commit(op->s->engine, given != NULL ? digest : NULL, force, on_done, op);
}

/* ---- transfers --------------------------------------------------------------------------- */

static void show_transfers(struct op *op)
{
    struct engine_transfer *t = mem_reallocarray(NULL, TRANSFERS_SHOWN, sizeof(*t));
    struct engine_moves moves;
    struct json *j = json_object();
    engine_moves(op->s->engine, &moves);
    add_node(j, "node", op->s->node);
    json_add_u64(j, "moving", moves.moving);
    json_add_u64(j, "filling_here", moves.filling_here);
    json_add_u64(j, "leaving_here", moves.leaving_here);
    json_add_u64(j, "filled_since_start", moves.filled_since_start);
    json_add_u64(j, "bytes_since_start", moves.bytes_since_start);
    json_add_u64(j, "rows_since_start", moves.rows_since_start);
    json_add_bool(j, "disk_is_old", moves.disk_is_old);
    json_add_u64(j, "voteless", moves.voteless);
    struct json *list = json_add_array(j, "transfers");
    uint32_t n = engine_transfers(op->s->engine, t, TRANSFERS_SHOWN);
    for (uint32_t i = 0; i < n; i++) {
        struct json *k = json_add_object(list, NULL);
        json_add_u64(k, "partition", t[i].partition);
        if (t[i].source != 0)
            add_node(k, "source", t[i].source);
        json_add_str(k, "state", t[i].filled ? "filled" : t[i].runs ? "running" : "waiting");
        json_add_u64(k, "permille", t[i].permille);
        json_add_u64(k, "rows", t[i].rows);
        json_add_u64(k, "bytes", t[i].bytes);
    }
    free(t);
    answer(op, 200, j);
}

/* ---- face -------------------------------------------------------------------------------- */

void http_cluster_run(const struct http_status *s, struct slice request,
                      void (*done)(void *arg, int status, struct slice body), void *arg)
{
    struct json *q = NULL;
    struct op *op = mem_new(struct op);
    *op = (struct op){.s = s, .done = done, .arg = arg};
    char *name = json_parse(request, DEPTH, &q) == DYN_OK ? read_text(q, "op") : NULL;
    if (name == NULL)
        refuse(op, DYN_ERR_INVALID, "a request is a JSON object with \"op\"");
    else if (strcmp(name, "stage") == 0)
        stage(op, q);
    else if (strcmp(name, "unstage") == 0)
        unstage(op, q);
    else if (strcmp(name, "abort") == 0)
        membership_unstage(s->engine, 0, on_done, op);
    else if (strcmp(name, "plan") == 0)
        show_plan(op);
    else if (strcmp(name, "commit") == 0)
        commit(op, q);
    else if (strcmp(name, "transfers") == 0)
        show_transfers(op);
    else
        refuse(op, DYN_ERR_INVALID, "op is stage, unstage, abort, plan, commit or transfers");
    free(name);
    json_free(q);
}

struct waiting {            /* an HTTP request whose answer takes a while */
    struct http_request *r; /* NULL: it has gone */
};

static void on_gone(void *arg)
{
    ((struct waiting *)arg)->r = NULL;
}

static void on_answer(void *arg, int status, struct slice body)
{
    struct waiting *w = arg;
    struct buf copy = BUF_EMPTY;
    if (w->r != NULL) {
        buf_put_slice(&copy, body);
        http_reply(w->r, status, "application/json", &copy);
    }
    free(w);
}

static const struct {
    const char *path;
    enum http_method method;
    const char *op; /* NULL: the body says it, which is one part of a plan */
} routes[] = {
    {"plan", HTTP_GET, "{\"op\":\"plan\"}"},           {"plan", HTTP_POST, NULL},
    {"plan", HTTP_DELETE, "{\"op\":\"abort\"}"},       {"commit", HTTP_POST, NULL},
    {"transfers", HTTP_GET, "{\"op\":\"transfers\"}"},
};

/* The body's object with the "op" that its path stands for. */
static void put_op(struct slice body, const char *name, struct buf *out)
{
    struct json *given = NULL, *j = json_object();
    json_add_str(j, "op", name);
    static const char *const fields[] = {"type",   "node",     "address", "zone",
                                         "weight", "replaces", "digest",  "force"};
    if (body.len > 0 && json_parse(body, DEPTH, &given) != DYN_OK) {
        buf_put_str(out, "not JSON");
        json_free(j);
        return;
    }
    for (size_t i = 0; given != NULL && i < sizeof(fields) / sizeof(fields[0]); i++)
        if (json_get(given, fields[i]) != NULL)
            json_add_copy(j, fields[i], json_get(given, fields[i]));
    json_print(j, false, out);
    json_free(given);
    json_free(j);
}

void http_cluster_take(const struct http_status *s, struct http_request *r, struct slice rest)
{
    bool known = false;
    enum http_method method = http_request_method(r);
    if (method == HTTP_HEADERS)
        method = HTTP_GET;
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (!slice_equal(rest, slice_str(routes[i].path)))
            continue;
        known = true;
        if (method != routes[i].method)
            continue;
        struct buf request = BUF_EMPTY;
        struct waiting *w = mem_new(struct waiting);
        w->r = r;
        if (routes[i].op != NULL)
            buf_put_str(&request, routes[i].op);
        else
            put_op(http_request_body(r), strcmp(routes[i].path, "plan") == 0 ? "stage" : "commit",
                   &request);
        http_request_on_gone(r, on_gone, w);
        http_cluster_run(s, buf_slice(&request), on_answer, w);
        buf_release(&request);
        return;
    }
    if (known)
        http_reply_error(r, 405, "method",
                         "plan takes GET, POST and DELETE, commit POST, "
                         "transfers GET");
    else
        http_reply_error(r, 404, "no_such_page",
                         "there is /v1/cluster, and below it plan, commit "
                         "and transfers");
}
