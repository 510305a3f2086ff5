/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl status and ring: how the cluster is, asked of each member itself, and who owns what.
 * Whether a node is up is what matters most, so a node that does not answer is a line of the
 * answer, not an error. */
#include <inttypes.h>
#include <stdlib.h>

#include "adapter/cluster_file.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "ctl/session.h"
#include "ctl/survey.h"
#include "model/key.h"

static const struct args_option status_options[] = {
    {NULL, NULL, NULL, 0},
};

static const char status_help[] =
    "Asks each member for its status: is it up, how long has it been, what was it asked for, and\n"
    "how many hints (writes kept for a node that was down) wait for it anywhere. With --json, "
    "each\n"
    "member has its whole own status. The exit status is 0 if any node answered.\n"
    "\n"
    "Examples:\n"
    "  dynactl --node 127.0.0.1:7000 status\n"
    "  dynactl status --json | jq '.members[] | select(.up | not) | .address'\n";

/* What all nodes together hold for this one. */
static uint64_t hints_for(const struct survey *v, uint64_t node)
{
    char id[NODE_ID_TEXT_LEN + 1];
    uint64_t sum = 0;
    node_id_format(node, id);
    for (uint32_t i = 0; i < v->n; i++) {
        const struct json *members = v->told[i] == NULL ? NULL : json_get(v->told[i], "members");
        if (members == NULL)
            continue;
        for (const struct json *m = json_first(members); m != NULL; m = json_next(m)) {
            const struct json *its = json_get(m, "node");
            const char *text = its == NULL ? NULL : json_str(its);
            if (text != NULL && strcmp(text, id) == 0)
                sum += survey_number(m, "hints");
        }
    }
    return sum;
}

static void put_duration(uint64_t s, struct buf *out)
{
    char text[32];
    if (s < 120)
        snprintf(text, sizeof(text), "%" PRIu64 "s", s);
    else if (s < 7200)
        snprintf(text, sizeof(text), "%" PRIu64 "m", s / 60);
    else if (s < 172800)
        snprintf(text, sizeof(text), "%" PRIu64 "h", s / 3600);
    else
        snprintf(text, sizeof(text), "%" PRIu64 "d", s / 86400);
    buf_printf(out, "%6s", text);
}

static void put_cluster(const struct ring *r, struct buf *out)
{
    char id[NODE_ID_TEXT_LEN + 1];
    node_id_format(ring_cluster(r), id);
    buf_printf(out, "cluster %s   N %u  R %u  W %u   %u partitions   ring of %u events, ", id,
               ring_n(r), ring_r(r), ring_w(r), ring_q(r), ring_epoch(r)->length);
    buf_put_hex(out, slice_of(ring_epoch(r)->digest, 4));
    buf_put_u8(out, '\n');
}

static void put_leaving(const struct json *told, struct buf *out)
{
    uint64_t partitions = survey_number(json_get(told, "moves"), "leaving_here");
    uint64_t hints = survey_number(json_get(told, "stats"), "hints_now");
    if (partitions + hints > 0)
        buf_printf(out, "  (leaving: %" PRIu64 " partitions and %" PRIu64 " hints to hand over)",
                   partitions, hints);
    else
        buf_put_str(out, "  (has left: it may be stopped)");
}

/* Its disk is older than what it has acknowledged, or may be (after a start, for a moment). */
static void put_voteless(const struct json *told, struct buf *out)
{
    uint64_t partitions = told == NULL ? 0 : survey_number(json_get(told, "moves"), "voteless");
    if (partitions > 0)
        buf_printf(out, "  (catching up: counts in no read of %" PRIu64 " partitions yet)",
                   partitions);
}

static void status_text(const struct survey *v, struct buf *out)
{
    uint32_t up = 0, members = ring_member_count(v->ring);
    for (uint32_t i = 0; i < members; i++)
        up += v->errs[i] == DYN_OK;
    put_cluster(v->ring, out);
    buf_printf(out, "%u of %u nodes up", up, members);
    if (ring_moving(v->ring) > 0)
        buf_printf(out, ", %u partitions move", ring_moving(v->ring));
    buf_put_str(out, "\n\n");
    buf_printf(out, "%-16s  %-21s  %-8s  %6s  %-5s %6s  %9s  %9s  %6s\n", "NODE", "ADDRESS", "ZONE",
               "TOKENS", "STATE", "UPTIME", "GETS", "PUTS", "HINTS");
    for (uint32_t i = 0; i < v->n; i++) {
        const struct ring_member *m = survey_member(v->ring, i);
        if (i >= members && v->errs[i] != DYN_OK)
            continue; /* it has left, and is stopped */
        const struct json *stats = v->told[i] == NULL ? NULL : json_get(v->told[i], "stats");
        char id[NODE_ID_TEXT_LEN + 1];
        node_id_format(m->node, id);
        buf_printf(out, "%s  %-21s  %-8s  %6u  ", id, m->address, m->zone == NULL ? "-" : m->zone,
                   m->tokens);
        if (v->errs[i] == DYN_OK) {
            buf_put_str(out, "up    ");
            put_duration(survey_number(v->told[i], "uptime_s"), out);
            buf_printf(out, "  %9" PRIu64 "  %9" PRIu64, survey_number(stats, "gets"),
                       survey_number(stats, "puts"));
        } else {
            buf_printf(out, "%-5s %6s  %9s  %9s", "down", "-", "-", "-");
        }
        buf_printf(out, "  %6" PRIu64, hints_for(v, m->node));
        if (v->errs[i] != DYN_OK)
            buf_printf(out, "  (%s)", dyn_err_message(v->errs[i]));
        if (i >= members)
            put_leaving(v->told[i], out);
        put_voteless(v->told[i], out);
        buf_put_u8(out, '\n');
    }
}

static void add_cluster(struct json *root, const struct ring *r)
{
    char id[NODE_ID_TEXT_LEN + 1];
    node_id_format(ring_cluster(r), id);
    json_add_str(root, "cluster", id);
    json_add_u64(root, "q", ring_q(r));
    json_add_u64(root, "n", ring_n(r));
    json_add_u64(root, "r", ring_r(r));
    json_add_u64(root, "w", ring_w(r));
    struct json *epoch = json_add_object(root, "epoch");
    json_add_u64(epoch, "length", ring_epoch(r)->length);
    json_add_hex(epoch, "digest", slice_of(ring_epoch(r)->digest, DIGEST_LEN));
}

static struct json *add_member(struct json *array, const struct ring_member *m)
{
    struct json *j = json_add_object(array, NULL);
    char id[NODE_ID_TEXT_LEN + 1];
    node_id_format(m->node, id);
    json_add_str(j, "node", id);
    json_add_str(j, "address", m->address);
    if (m->zone != NULL)
        json_add_str(j, "zone", m->zone);
    json_add_u64(j, "weight", m->weight);
    json_add_u64(j, "tokens", m->tokens);
    return j;
}

static int print_json(struct json *root)
{
    struct buf text = BUF_EMPTY;
    json_print(root, true, &text);
    buf_put_u8(&text, '\n');
    return ctl_print(&text);
}

static int status_json(const struct survey *v)
{
    struct json *root = json_object();
    add_cluster(root, v->ring);
    struct json *members = json_add_array(root, "members");
    for (uint32_t i = 0; i < v->n; i++) {
        struct json *j = add_member(members, survey_member(v->ring, i));
        if (i >= ring_member_count(v->ring))
            json_add_bool(j, "left", true);
        json_add_bool(j, "up", v->errs[i] == DYN_OK);
        json_add_u64(j, "hints", hints_for(v, v->nodes[i]));
        if (v->errs[i] != DYN_OK)
            json_add_str(j, "error", dyn_err_code(v->errs[i]));
        else
            json_add_copy(j, "status", v->told[i]);
    }
    int status = print_json(root);
    json_free(root);
    return status;
}

static int run_status(struct ctl *c)
{
    struct session *s = NULL;
    struct ring *ring;
    struct survey v = {.n = 0};
    int status = survey_open(c, &s, &ring);
    if (s == NULL)
        return status;
    survey_take(&v, s, ring);
    if (c->json) {
        status = status_json(&v);
    } else {
        struct buf text = BUF_EMPTY;
        status_text(&v, &text);
        status = ctl_print(&text);
    }
    survey_release(&v);
    session_close(s);
    return status;
}

/* ---- ring ---- */

static const struct args_option ring_options[] = {
    {"partitions", NULL, "each partition with its preference list", 0},
    {NULL, NULL, NULL, 0},
};

static const char ring_help[] =
    "Shows the members and how many of the ring's partitions each holds; with KEY, where that key\n"
    "lives: its position, its partition, and the nodes of its preference list, primaries first.\n"
    "\n"
    "Examples:\n"
    "  dynactl --node 127.0.0.1:7000 ring\n"
    "  dynactl ring notes/today\n"
    "  dynactl ring --json --partitions | jq '.partitions[17]'\n";

#define LIST_MAX 64

static uint32_t preference(const struct ring *r, uint32_t partition, bool primaries,
                           uint64_t nodes[LIST_MAX])
{
    uint32_t n = ring_n(r) < LIST_MAX ? ring_n(r) : LIST_MAX;
    return ring_preference_list(r, partition, n, nodes, primaries ? n : LIST_MAX);
}

static void add_nodes(struct json *parent, const char *name, const uint64_t *nodes, uint32_t n)
{
    struct json *array = json_add_array(parent, name);
    for (uint32_t i = 0; i < n; i++) {
        char id[NODE_ID_TEXT_LEN + 1];
        node_id_format(nodes[i], id);
        json_add_str(array, NULL, id);
    }
}

static int ring_as_json(const struct ctl *c, const struct ring *r)
{
    struct json *root = json_object();
    uint64_t nodes[LIST_MAX];
    add_cluster(root, r);
    struct json *members = json_add_array(root, "members");
    for (uint32_t i = 0; i < ring_member_count(r); i++)
        add_member(members, ring_member_at(r, i));
    if (c->args.n_words > 0) {
        struct slice key = slice_str(c->args.words[0]);
        struct position pos = position_of(key);
        uint32_t partition = ring_partition_of(r, key);
        uint32_t n = preference(r, partition, false, nodes);
        json_add_bytes(root, "key", key);
        json_add_hex(root, "position", slice_of(pos.bytes, POSITION_LEN));
        json_add_u64(root, "partition", partition);
        add_nodes(root, "preference_list", nodes, n);
    }
    if (args_has(&c->args, "partitions")) {
        struct json *all = json_add_array(root, "partitions");
        for (uint32_t p = 0; p < ring_q(r); p++) {
            struct json *j = json_add_object(all, NULL);
            json_add_u64(j, "partition", p);
            add_nodes(j, "primaries", nodes, preference(r, p, true, nodes));
        }
    }
    int status = print_json(root);
    json_free(root);
    return status;
}

static void put_list(const struct ring *r, uint32_t partition, struct buf *out)
{
    uint64_t nodes[LIST_MAX];
    uint32_t n = preference(r, partition, true, nodes);
    buf_printf(out, "%9u ", partition);
    for (uint32_t i = 0; i < n; i++)
        buf_printf(out, "  %016" PRIx64, nodes[i]);
    buf_put_u8(out, '\n');
}

static void put_key(const struct ring *r, struct slice key, struct buf *out)
{
    struct position pos = position_of(key);
    uint64_t nodes[LIST_MAX];
    uint32_t partition = ring_partition_of(r, key), n = preference(r, partition, false, nodes);
    buf_put_str(out, "\nposition  ");
    buf_put_hex(out, slice_of(pos.bytes, POSITION_LEN));
    buf_printf(out, "\npartition %u\n", partition);
    for (uint32_t i = 0; i < n; i++) {
        const struct ring_member *m = ring_member_find(r, nodes[i]);
        buf_printf(out, "%-9s %016" PRIx64 "  %s\n", i < ring_n(r) ? "primary" : "fallback",
                   nodes[i], m == NULL ? "?" : m->address);
    }
}

static int run_ring(struct ctl *c)
{
    struct session *s = NULL;
    struct ring *r;
    struct buf text = BUF_EMPTY;
    const char *rule;
    if (c->args.n_words > 0 && key_check(slice_str(c->args.words[0]), &rule) != DYN_OK)
        return ctl_usage(c, mem_printf("'%s' is no key: %s", c->args.words[0], rule));
    int status = survey_open(c, &s, &r);
    if (s == NULL)
        return status;
    if (c->json) {
        status = ring_as_json(c, r);
    } else {
        put_cluster(r, &text);
        buf_printf(&text, "\n%-16s  %-21s  %-8s  %6s  %6s\n", "NODE", "ADDRESS", "ZONE", "WEIGHT",
                   "TOKENS");
        for (uint32_t i = 0; i < ring_member_count(r); i++) {
            const struct ring_member *m = ring_member_at(r, i);
            buf_printf(&text, "%016" PRIx64 "  %-21s  %-8s  %6u  %6u\n", m->node, m->address,
                       m->zone == NULL ? "-" : m->zone, m->weight, m->tokens);
        }
        if (c->args.n_words > 0)
            put_key(r, slice_str(c->args.words[0]), &text);
        if (args_has(&c->args, "partitions")) {
            buf_put_str(&text, "\nPARTITION  PRIMARIES\n");
            for (uint32_t p = 0; p < ring_q(r); p++)
                put_list(r, p, &text);
        }
        status = ctl_print(&text);
    }
    session_close(s);
    return status;
}

const struct ctl_verb ctl_verb_status = {
    "status", "",         "show the nodes and how they are", status_help, status_options, 0, 0,
    true,     run_status,
};
const struct ctl_verb ctl_verb_ring = {
    "ring", "[KEY]", "show who owns what", ring_help, ring_options, 0, 1, true, run_ring,
};
