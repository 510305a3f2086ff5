/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl plan, commit and transfers: what a staged change would do, doing it, and watching it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "ctl/admin.h"
#include "ctl/local.h"

#define BAR 30u
#define LOOK_MS 100u

static const struct args_option plan_options[] = {{NULL, NULL, NULL, 0}};
static const struct args_option commit_options[] = {
    {"digest", "HEX", "commit only if the plan is the one with this digest", 0},
    {"wait", NULL, "until everything has moved", 0},
    {"force", NULL, "by those who stay alone: a majority is lost for good (dangerous)", 0},
    {NULL, NULL, NULL, 0},
};
static const struct args_option transfers_options[] = {
    {"wait", NULL, "until everything has moved", 0},
    {NULL, NULL, NULL, 0},
};

static const char plan_help[] = "Shows what is staged and what committing it would do: how much "
                                "moves and for how long, how the\n"
                                "data would be spread, in how many zones the copies of the worst "
                                "placed keys would lie. The time\n"
                                "is an estimate, at 40 MiB a second for each node. A plan that is "
                                "not safe is refused, and says\n"
                                "why; the exit status is 3 then.\n"
                                "\n"
                                "Examples:\n"
                                "  dynactl join 10.0.0.4:7000 && dynactl plan\n"
                                "  dynactl plan --json | jq .bytes_moved\n";

static const char commit_help[] =
    "Commits what is staged. It takes effect when a majority of the members has stored it; reads "
    "and\n"
    "writes go on all the time. Data moves in the background: 'dynactl transfers' shows how far "
    "it\n"
    "is. Only one change can follow a given membership, so if somebody else was faster, or the "
    "plan\n"
    "is not the one with --digest any more, nothing is done and the exit status is 3.\n"
    "\n"
    "When a majority is lost for good (one of two nodes, say), nothing can be committed. --force "
    "is\n"
    "the way out: a plan that removes or replaces all that are lost is committed by the others, "
    "who\n"
    "must all answer. What only the lost nodes had is lost. If they are not lost but out of "
    "reach,\n"
    "they go on as a cluster of their own, and what is written there never comes together with "
    "this\n"
    "one: be sure that they are gone. It is refused when one of them answers, or when a majority "
    "is\n"
    "left.\n"
    "\n"
    "Examples:\n"
    "  dynactl plan && dynactl commit --wait\n"
    "  dynactl commit --digest $(dynactl plan --json | jq -r .digest)\n";

static const char transfers_help[] =
    "Shows which partitions are on their way to which node. On a terminal, with --wait, as a bar\n"
    "that moves; the exit status is 0 when nothing is left to move.\n"
    "\n"
    "Examples:\n"
    "  dynactl transfers\n"
    "  dynactl transfers --wait\n"
    "  dynactl transfers --json | jq .moving\n";

static uint64_t in_pair(const struct json *object, const char *name, const char *which)
{
    const struct json *pair = object == NULL ? NULL : json_get(object, name);
    return admin_number(pair, which);
}

static void put_nodes(const struct json *plan, struct buf *out)
{
    const struct json *nodes = json_get(plan, "nodes");
    buf_printf(out, "\n%-16s  %-21s  %13s  %15s  %6s  %6s\n", "NODE", "ADDRESS", "TOKENS", "COPIES",
               "GAINS", "LOSES");
    for (const struct json *n = nodes == NULL ? NULL : json_first(nodes); n != NULL;
         n = json_next(n))
        buf_printf(out,
                   "%-16s  %-21s  %5" PRIu64 " > %5" PRIu64 "  %6" PRIu64 " > %6" PRIu64
                   "  %6" PRIu64 "  %6" PRIu64 "\n",
                   admin_text(n, "node"), admin_text(n, "address"), in_pair(n, "tokens", "before"),
                   in_pair(n, "tokens", "after"), in_pair(n, "copies", "before"),
                   in_pair(n, "copies", "after"), admin_number(n, "gains"),
                   admin_number(n, "loses"));
}

static void put_plan(const struct json *plan, struct buf *out)
{
    const struct json *parts = json_get(plan, "staged");
    if (parts == NULL || json_len(parts) == 0) {
        buf_put_str(out, "nothing is staged; 'dynactl --help' lists what can be: join, leave, "
                         "remove, replace, weight, zone\n");
        return;
    }
    buf_put_str(out, "staged:\n");
    admin_put_parts(plan, out);
    if (json_get(plan, "digest") != NULL) {
        put_nodes(plan, out);
        buf_printf(out, "\n%" PRIu64 " copies of %" PRIu64 " partitions would move, about ",
                   admin_number(plan, "copies_moved"), admin_number(plan, "moving_partitions"));
        admin_put_bytes(admin_number(plan, "bytes_moved"), out);
        buf_printf(out, " in %" PRIu64 " s\n", admin_number(plan, "seconds"));
        buf_printf(out, "zones in the weakest preference list: %" PRIu64 " > %" PRIu64 "\n",
                   in_pair(plan, "weakest_list_zones", "before"),
                   in_pair(plan, "weakest_list_zones", "after"));
        buf_printf(out, "balance: %.1f%% > %.1f%%\n",
                   (double)in_pair(plan, "balance_permille", "before") / 10,
                   (double)in_pair(plan, "balance_permille", "after") / 10);
        buf_printf(out, "digest: %s\n", admin_text(plan, "digest"));
    }
    if (json_get(plan, "refused") != NULL)
        buf_printf(out, "\nREFUSED: %s\n", admin_text(plan, "refused"));
    else
        buf_put_str(out, "'dynactl commit' does it\n");
}

static int run_plan(struct ctl *c)
{
    struct session *s;
    struct json *reply = NULL, *q;
    struct buf text = BUF_EMPTY;
    int status;
    if (session_open(c, &s, &status) != DYN_OK)
        return status;
    q = json_object();
    json_add_str(q, "op", "plan");
    status = admin_ask(s, q, &reply);
    if (status == CTL_OK) {
        bool refused = json_get(reply, "refused") != NULL;
        if (c->json) {
            json_print(reply, true, &text);
            buf_put_u8(&text, '\n');
        } else {
            put_plan(reply, &text);
        }
        status = ctl_print(&text);
        if (status == CTL_OK && refused)
            status = CTL_CONFLICT;
    }
    json_free(reply);
    session_close(s);
    return status;
}

/* ---- transfers --------------------------------------------------------------------------- */

struct look { /* at all nodes */
    uint64_t moving, filling, permille, bytes, answered;
    struct json *told; /* an array of what each said */
};

static void look_at(struct look *l, const struct json *one)
{
    const struct json *list = json_get(one, "transfers");
    uint64_t moving = admin_number(one, "moving");
    l->answered++;
    if (moving > l->moving)
        l->moving = moving;
    l->bytes += admin_number(one, "bytes_since_start");
    for (const struct json *t = list == NULL ? NULL : json_first(list); t != NULL;
         t = json_next(t)) {
        l->filling++;
        l->permille += admin_number(t, "permille");
    }
    json_add_copy(l->told, NULL, one);
}

static int look(struct session *s, struct look *l)
{
    struct ring *ring;
    *l = (struct look){.told = json_array()};
    if (session_ring(s, &ring) != DYN_OK)
        return ctl_fail(CTL_UNAVAILABLE, "no node of %s answers", session_seeds(s));
    ring = ring_ref(ring);
    for (uint32_t i = 0; i < ring_member_count(ring) + ring_former_count(ring); i++) {
        struct json *one = NULL;
        const struct ring_member *m = i < ring_member_count(ring)
                                          ? ring_member_at(ring, i)
                                          : ring_former_at(ring, i - ring_member_count(ring));
        if (session_node_up(s, m->node) &&
            admin_ask_node(s, m->node, "{\"op\":\"transfers\"}", &one) == DYN_OK)
            look_at(l, one);
        json_free(one);
    }
    ring_unref(ring);
    if (l->answered > 0)
        return CTL_OK;
    return ctl_fail(CTL_UNAVAILABLE, "no node of %s answers", session_seeds(s));
}

static void put_rows(const struct look *l, struct buf *out)
{
    bool any = false;
    for (const struct json *one = json_first(l->told); one != NULL; one = json_next(one)) {
        const struct json *list = json_get(one, "transfers");
        for (const struct json *t = list == NULL ? NULL : json_first(list); t != NULL;
             t = json_next(t)) {
            if (!any)
                buf_printf(out, "%9s  %-16s  %-16s  %-8s  %6s  %8s  %s\n", "PARTITION", "TO",
                           "FROM", "STATE", "DONE", "ROWS", "BYTES");
            any = true;
            buf_printf(out, "%9" PRIu64 "  %-16s  %-16s  %-8s  %5.1f%%  %8" PRIu64 "  ",
                       admin_number(t, "partition"), admin_text(one, "node"),
                       admin_text(t, "source"), admin_text(t, "state"),
                       (double)admin_number(t, "permille") / 10, admin_number(t, "rows"));
            admin_put_bytes(admin_number(t, "bytes"), out);
            buf_put_u8(out, '\n');
        }
    }
    if (l->moving == 0)
        buf_put_str(out, "nothing moves\n");
    else
        buf_printf(out, "%" PRIu64 " partitions move\n", l->moving);
}

static void put_bar(const struct look *l, uint64_t most, struct buf *out)
{
    uint64_t done = most - (l->moving < most ? l->moving : most);
    uint64_t full = most == 0 ? BAR : done * BAR / most;
    buf_put_str(out, "\r[");
    for (unsigned i = 0; i < BAR; i++)
        buf_put_u8(out, i < full ? '#' : ' ');
    buf_printf(out, "] %" PRIu64 " of %" PRIu64 " partitions moved, ", done, most);
    admin_put_bytes(l->bytes, out);
    buf_put_str(out, " so far   ");
}

/* Until nothing moves: a bar for people, quiet for scripts. */
static int wait_moved(struct ctl *c, struct session *s, struct look *l)
{
    uint64_t most = 0;
    for (;;) {
        int status = look(s, l);
        if (l->moving > most)
            most = l->moving;
        if (c->terminal && !c->json && most > 0 && status == CTL_OK) {
            struct buf text = BUF_EMPTY;
            put_bar(l, most, &text);
            ctl_print(&text);
        }
        if (status != CTL_OK || l->moving == 0) {
            if (c->terminal && !c->json && most > 0)
                ctl_write(slice_str("\n"));
            return status;
        }
        json_free(l->told);
        local_pause_ms(LOOK_MS);
    }
}

static int print_look(struct ctl *c, const struct look *l)
{
    struct buf text = BUF_EMPTY;
    if (c->json) {
        struct json *j = json_object();
        json_add_u64(j, "moving", l->moving);
        json_add_u64(j, "filling", l->filling);
        json_add_copy(j, "nodes", l->told);
        json_print(j, true, &text);
        buf_put_u8(&text, '\n');
        json_free(j);
    } else {
        put_rows(l, &text);
    }
    return ctl_print(&text);
}

static int run_transfers(struct ctl *c)
{
    struct session *s;
    struct look l;
    int status;
    if (session_open(c, &s, &status) != DYN_OK)
        return status;
    status = args_has(&c->args, "wait") ? wait_moved(c, s, &l) : look(s, &l);
    if (status == CTL_OK)
        status = print_look(c, &l);
    json_free(l.told);
    session_close(s);
    return status;
}

static int run_commit(struct ctl *c)
{
    struct session *s;
    struct json *reply = NULL, *q;
    struct look l = {.told = NULL};
    const char *digest = args_value(&c->args, "digest");
    int status;
    if (session_open(c, &s, &status) != DYN_OK)
        return status;
    q = json_object();
    json_add_str(q, "op", "commit");
    if (digest != NULL)
        json_add_str(q, "digest", digest);
    if (args_has(&c->args, "force"))
        json_add_bool(q, "force", true);
    status = admin_ask(s, q, &reply);
    if (status == CTL_OK && args_has(&c->args, "wait"))
        status = wait_moved(c, s, &l);
    if (status == CTL_OK && c->json) {
        struct buf text = BUF_EMPTY;
        json_print(reply, true, &text);
        buf_put_u8(&text, '\n');
        status = ctl_print(&text);
    } else if (status == CTL_OK) {
        status = ctl_write(slice_str(args_has(&c->args, "wait")
                                         ? "committed, and everything has moved\n"
                                         : "committed; 'dynactl transfers' shows what moves\n"));
    }
    json_free(l.told);
    json_free(reply);
    session_close(s);
    return status;
}

const struct ctl_verb ctl_verb_plan = {
    "plan", "",       "show what the staged change would do", plan_help, plan_options, 0, 0,
    true,   run_plan,
};
const struct ctl_verb ctl_verb_commit = {
    "commit", "", "do the staged change", commit_help, commit_options, 0, 0, true, run_commit,
};
const struct ctl_verb ctl_verb_transfers = {
    "transfers", "",   "show what moves", transfers_help, transfers_options, 0,
    0,           true, run_transfers,
};
