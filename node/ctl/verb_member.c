/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl join, leave, remove, replace, weight, zone and abort: each stages one part of a change of
 * membership. Nothing moves until 'dynactl commit', and 'dynactl plan' shows what would. */
#include <stdlib.h>
#include <string.h>

#include "adapter/cluster_file.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "ctl/admin.h"

static const struct args_option no_options[] = {{NULL, NULL, NULL, 0}};

static const struct args_option join_options[] = {
    {"weight", "WEIGHT", "1 to 1000: its share of the data, 100 is one (default: 100)", 0},
    {"zone", "ZONE", "copies of a key lie in different zones where there are enough", 0},
    {NULL, NULL, NULL, 0},
};

#define STAGED                                                                                     \
    "The change is staged, not done: 'dynactl plan' shows what it would move, 'dynactl commit'\n"  \
    "does it, 'dynactl abort' drops it. Several can be staged and committed as one.\n"

static const char join_help[] =
    "Stages that the node at HOST:PORT joins the cluster. It must be running, with the cluster's\n"
    "secret and some of its nodes as 'seeds', see dynanode.conf(5); the cluster asks it for its "
    "id.\n"
    "\n" STAGED "\n"
    "Examples:\n"
    "  dynactl join 10.0.0.4:7000 && dynactl plan && dynactl commit\n"
    "  dynactl join 10.0.0.5:7000 --weight 200 --zone west\n";

static const char leave_help[] =
    "Stages that a node leaves: what it holds moves to the others, and until that is done it goes\n"
    "on serving. When 'dynactl status' says that it has left, it may be stopped. Remove it then:\n"
    "as long as it is only away its copies could come back, and no deletes are reaped. Use this\n"
    "for a node that works; one that is gone for good is removed or replaced. NODE is an id or an\n"
    "address.\n"
    "\n" STAGED "\n"
    "Example:\n"
    "  dynactl leave 10.0.0.2:7000 && dynactl plan && dynactl commit\n";

static const char remove_help[] =
    "Stages that a node which is gone for good is removed. The others fill up from the copies "
    "that\n"
    "are left. Its id may never come back, and writes that nobody but it has are lost; so 'plan'\n"
    "refuses to remove as many at once as could hold the only copies of an acknowledged write.\n"
    "NODE is an id or an address.\n"
    "\n" STAGED "\n"
    "Example:\n"
    "  dynactl remove 10.0.0.2:7000 && dynactl plan && dynactl commit\n";

static const char replace_help[] =
    "Stages that the node at HOST:PORT takes the place of NODE, whose disk or machine is lost: it\n"
    "gets exactly its partitions, filled from the other copies, and nothing else moves. NODE is\n"
    "removed, its id may never come back. HOST:PORT may be the address that NODE had: a new id "
    "with\n"
    "an empty disk.\n"
    "\n" STAGED "\n"
    "Example:\n"
    "  dynactl replace 7f3a51c09d2e4b68 10.0.0.2:7000 && dynactl plan && dynactl commit\n";

static const char weight_help[] =
    "Stages another weight for a node: 100 is one share of the data, 200 two. NODE is an id or an\n"
    "address.\n"
    "\n" STAGED "\n"
    "Example:\n"
    "  dynactl weight 10.0.0.3:7000 50\n";

static const char zone_help[] =
    "Stages another zone for a node; '-' is none. Copies of a key lie in different zones where\n"
    "there are enough. NODE is an id or an address.\n"
    "\n" STAGED "\n"
    "Example:\n"
    "  dynactl zone 10.0.0.3:7000 east\n";

static const char abort_help[] = "Drops what is staged: about one node, or everything. A change "
                                 "that is committed is not undone\n"
                                 "by this; another change can be.\n"
                                 "\n"
                                 "Examples:\n"
                                 "  dynactl abort\n"
                                 "  dynactl abort 10.0.0.3:7000\n";

/* The id of a member, or of a node that is staged, by id or address; the caller frees. */
static char *find_node(struct ctl *c, struct session *s, const char *word, int *status)
{
    uint64_t id;
    struct ring *ring;
    char text[NODE_ID_TEXT_LEN + 1];
    if (node_id_parse(slice_str(word), &id) == DYN_OK)
        return mem_strdup(word);
    *status = CTL_UNAVAILABLE;
    int err = session_ring(s, &ring);
    if (err != DYN_OK) {
        ctl_fail(CTL_UNAVAILABLE, "no node of %s answers", session_seeds(s));
        return NULL;
    }
    for (uint32_t i = 0; i < ring_member_count(ring) + ring_former_count(ring); i++) {
        const struct ring_member *m = i < ring_member_count(ring)
                                          ? ring_member_at(ring, i)
                                          : ring_former_at(ring, i - ring_member_count(ring));
        if (strcmp(m->address, word) != 0)
            continue;
        node_id_format(m->node, text);
        return mem_strdup(text);
    }
    *status = ctl_fail(
        CTL_NOT_FOUND,
        "%s is no member: 'dynactl status' lists the members, with ids and addresses", word);
    (void)c;
    return NULL;
}

static int parse_weight(struct ctl *c, const char *text, uint64_t *out)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || v < 1 || v > 1000)
        return ctl_usage(c, mem_printf("'%s' is no weight: 1 to 1000, 100 is one share", text));
    *out = v;
    return CTL_OK;
}

/* Sends one part; says what is staged now. */
static int stage(struct ctl *c, struct session *s, struct json *request /* taken */)
{
    struct json *reply = NULL;
    int status = admin_ask(s, request, &reply);
    if (status == CTL_OK)
        status = admin_print_staged(c, reply);
    json_free(reply);
    return status;
}

static struct json *part_of(const char *type)
{
    struct json *j = json_object();
    json_add_str(j, "op", "stage");
    json_add_str(j, "type", type);
    return j;
}

static int run_join(struct ctl *c)
{
    struct session *s;
    int status;
    uint64_t weight = 100;
    const char *given = args_value(&c->args, "weight"), *zone = args_value(&c->args, "zone");
    if (given != NULL && (status = parse_weight(c, given, &weight)) != CTL_OK)
        return status;
    if (session_open(c, &s, &status) != DYN_OK)
        return status;
    struct json *j = part_of("join");
    json_add_str(j, "address", c->args.words[0]);
    json_add_u64(j, "weight", weight);
    if (zone != NULL)
        json_add_str(j, "zone", zone);
    status = stage(c, s, j);
    session_close(s);
    return status;
}

static int run_replace(struct ctl *c)
{
    struct session *s;
    int status;
    if (session_open(c, &s, &status) != DYN_OK)
        return status;
    char *old = find_node(c, s, c->args.words[0], &status);
    if (old != NULL) {
        struct ring *ring;
        uint64_t id = 0;
        struct json *j = part_of("join");
        json_add_str(j, "address", c->args.words[1]);
        json_add_str(j, "replaces", old);
        if (node_id_parse(slice_str(old), &id) == DYN_OK && session_ring(s, &ring) == DYN_OK &&
            ring_contact(ring, id) != NULL) { /* it takes its place in every respect */
            const struct ring_member *m = ring_contact(ring, id);
            if (m->zone != NULL)
                json_add_str(j, "zone", m->zone);
            if (m->weight != 0)
                json_add_u64(j, "weight", m->weight);
        }
        status = stage(c, s, j);
    }
    free(old);
    session_close(s);
    return status;
}

/* What is about one member: type is the verb's name. */
static int run_about(struct ctl *c, const char *field, const char *value, uint64_t number)
{
    struct session *s;
    int status;
    if (session_open(c, &s, &status) != DYN_OK)
        return status;
    char *node = find_node(c, s, c->args.words[0], &status);
    if (node != NULL) {
        struct json *j = part_of(c->verb->name);
        json_add_str(j, "node", node);
        if (value != NULL)
            json_add_str(j, field, value);
        else if (field != NULL)
            json_add_u64(j, field, number);
        status = stage(c, s, j);
    }
    free(node);
    session_close(s);
    return status;
}

static int run_out(struct ctl *c)
{
    return run_about(c, NULL, NULL, 0);
}

static int run_weight(struct ctl *c)
{
    uint64_t weight = 0;
    int status = parse_weight(c, c->args.words[1], &weight);
    return status != CTL_OK ? status : run_about(c, "weight", NULL, weight);
}

static int run_zone(struct ctl *c)
{
    return run_about(c, "zone", c->args.words[1], 0);
}

static int run_abort(struct ctl *c)
{
    struct session *s;
    int status;
    if (session_open(c, &s, &status) != DYN_OK)
        return status;
    struct json *j = json_object();
    if (c->args.n_words == 0) {
        json_add_str(j, "op", "abort");
        status = stage(c, s, j);
    } else {
        char *node = find_node(c, s, c->args.words[0], &status);
        json_add_str(j, "op", "unstage");
        if (node != NULL) {
            json_add_str(j, "node", node);
            status = stage(c, s, j);
        } else {
            json_free(j);
        }
        free(node);
    }
    session_close(s);
    return status;
}

#define VERB(name, words, summary, help, options, min, max, run)                                   \
    {                                                                                              \
        name, words, summary, help, options, min, max, true, run                                   \
    }
const struct ctl_verb ctl_verb_join =
    VERB("join", "HOST:PORT", "stage that a node joins", join_help, join_options, 1, 1, run_join);
const struct ctl_verb ctl_verb_leave =
    VERB("leave", "NODE", "stage that a node leaves", leave_help, no_options, 1, 1, run_out);
const struct ctl_verb ctl_verb_remove = VERB("remove", "NODE", "stage that a lost node is removed",
                                             remove_help, no_options, 1, 1, run_out);
const struct ctl_verb ctl_verb_replace =
    VERB("replace", "NODE HOST:PORT", "stage that a new node takes a lost one's place",
         replace_help, no_options, 2, 2, run_replace);
const struct ctl_verb ctl_verb_weight = VERB("weight", "NODE WEIGHT", "stage another weight",
                                             weight_help, no_options, 2, 2, run_weight);
const struct ctl_verb ctl_verb_zone =
    VERB("zone", "NODE ZONE", "stage another zone", zone_help, no_options, 2, 2, run_zone);
const struct ctl_verb ctl_verb_abort =
    VERB("abort", "[NODE]", "drop what is staged", abort_help, no_options, 0, 1, run_abort);
