/* SPDX-License-Identifier: Apache-2.0 */
/* See plan.h. The ring after the change is simply built, from the history with one more event, and
 * compared with the ring before. */
#include "model/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

void plan_release(struct plan *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        member_event_release(&p->parts[i]);
    free(p->parts);
    *p = PLAN_EMPTY;
}

void plan_encode(const struct plan *p, struct buf *out)
{
    buf_put_varint(out, p->n);
    for (uint32_t i = 0; i < p->n; i++)
        member_event_encode(&p->parts[i], out);
}

static void append(struct plan *p, const struct member_event *part)
{
    p->parts = mem_reallocarray(p->parts, p->n + 1, sizeof(*p->parts));
    member_event_copy(&p->parts[p->n], part);
    p->parts[p->n++].stamp = 0;
}

int plan_decode(struct slice bytes, struct plan *p)
{
    struct reader r = reader_of(bytes);
    struct plan got = PLAN_EMPTY;
    uint64_t n = bytes.len == 0 ? 0 : read_varint(&r);
    if (n > CHANGE_PARTS_MAX)
        reader_fail(&r);
    for (uint64_t i = 0; i < n && reader_ok(&r); i++) {
        struct member_event part = {0};
        member_event_decode(&r, &part);
        if (reader_ok(&r) && (part.type < MEMBER_JOIN || part.type > MEMBER_ADDRESS))
            reader_fail(&r);
        if (reader_ok(&r))
            append(&got, &part);
        member_event_release(&part);
    }
    if (!reader_done(&r)) {
        plan_release(&got);
        return DYN_ERR_CORRUPT;
    }
    plan_release(p);
    *p = got;
    return DYN_OK;
}

/* ---- staging ------------------------------------------------------------------------------ */

static bool address_taken(const struct ring *ring, const struct member_event *part)
{
    for (uint32_t i = 0; i < ring_member_count(ring); i++) {
        const struct ring_member *m = ring_member_at(ring, i);
        if (m->node != part->node && m->node != part->replaces &&
            strcmp(m->address, part->address) == 0)
            return true;
    }
    return false;
}

static const char *join_rule(const struct ring *ring, const struct member_event *part)
{
    if (ring_member_find(ring, part->node) != NULL)
        return "this node is a member already";
    if (ring_banned(ring, part->node))
        return "this node id was removed from the cluster and may not come back: give the machine "
               "an empty disk and a new id";
    if (part->replaces != 0 && ring_contact(ring, part->replaces) == NULL)
        return "the node to replace is no member";
    if (address_taken(ring, part))
        return "another member has this address: remove or replace that one";
    return NULL;
}

static const char *part_rule(const struct ring *ring, const struct member_event *part)
{
    bool member = ring_member_find(ring, part->node) != NULL;
    switch (part->type) {
    case MEMBER_JOIN:
        return join_rule(ring, part);
    case MEMBER_REMOVE:
        return ring_contact(ring, part->node) != NULL ? NULL : "no such member";
    case MEMBER_ADDRESS:
        if (member && address_taken(ring, part))
            return "another member has this address";
        return member ? NULL : "no such member";
    default:
        return member ? NULL : "no such member";
    }
}

static bool about_the_same(const struct member_event *a, const struct member_event *b)
{
    bool in_or_out = a->type <= MEMBER_REMOVE && b->type <= MEMBER_REMOVE;
    return a->node == b->node && (a->type == b->type || in_or_out);
}

static void drop(struct plan *p, uint32_t i)
{
    member_event_release(&p->parts[i]);
    memmove(&p->parts[i], &p->parts[i + 1], (p->n - i - 1) * sizeof(*p->parts));
    p->n--;
}

int plan_stage(struct plan *p, const struct ring *ring, const struct member_event *part,
               const char **rule)
{
    const char *broken = member_event_rule(part);
    if (broken == NULL)
        broken = part_rule(ring, part);
    for (uint32_t i = 0; i < p->n && broken == NULL; i++) {
        if (about_the_same(&p->parts[i], part))
            drop(p, i--);
        else if (part->type == MEMBER_JOIN && p->parts[i].type == MEMBER_JOIN &&
                 strcmp(part->address, p->parts[i].address) == 0)
            broken = "another node with this address is to join already";
    }
    if (broken == NULL && p->n == CHANGE_PARTS_MAX)
        broken = "a change has at most 256 parts: commit these first";
    if (broken != NULL) {
        *rule = broken;
        return DYN_ERR_INVALID;
    }
    append(p, part);
    return DYN_OK;
}

bool plan_unstage(struct plan *p, uint64_t node)
{
    uint32_t n = p->n;
    for (uint32_t i = 0; i < p->n; i++)
        if (p->parts[i].node == node)
            drop(p, i--);
    return p->n != n;
}

/* ---- what it would do --------------------------------------------------------------------- */

static const char *zone_of(const struct ring *ring, uint64_t node)
{
    const struct ring_member *m = ring_contact(ring, node);
    return m == NULL ? NULL : m->zone;
}

static uint32_t zones_in(const struct ring *ring, const uint64_t *row, uint32_t n)
{
    uint32_t zones = 0;
    for (uint32_t i = 0; i < n; i++) {
        const char *zone = zone_of(ring, row[i]);
        bool seen = false;
        for (uint32_t k = 0; k < i && zone != NULL; k++) {
            const char *other = zone_of(ring, row[k]);
            seen |= other != NULL && strcmp(other, zone) == 0;
        }
        zones += !seen;
    }
    return zones;
}

/* Where p is to be in the end: its targets while it moves. */
static uint32_t final_row(const struct ring *ring, uint32_t p, uint64_t row[MOVES_N_MAX])
{
    const struct move *mv = ring_move(ring, p);
    uint32_t n = ring_n(ring) < MOVES_N_MAX ? ring_n(ring) : MOVES_N_MAX;
    if (mv == NULL) {
        uint32_t members = ring_member_count(ring);
        return ring_preference_list(ring, p, n, row, n < members ? n : members);
    }
    memcpy(row, mv->targets, mv->n_targets * sizeof(*row));
    return mv->n_targets;
}

static struct plan_node *node_of(struct plan_outcome *o, uint64_t node)
{
    for (uint32_t i = 0; i < o->n_nodes; i++)
        if (o->nodes[i].node == node)
            return &o->nodes[i];
    return NULL;
}

static void add_nodes(struct plan_outcome *o, const struct ring *ring, bool after)
{
    for (uint32_t i = 0; i < ring_member_count(ring); i++) {
        const struct ring_member *m = ring_member_at(ring, i);
        struct plan_node *n = node_of(o, m->node);
        if (n == NULL) {
            o->nodes = mem_reallocarray(o->nodes, o->n_nodes + 1, sizeof(*o->nodes));
            n = &o->nodes[o->n_nodes++];
            *n = (struct plan_node){.node = m->node};
        }
        n->address = m->address;
        *(after ? &n->tokens_after : &n->tokens_before) = m->tokens;
    }
}

static bool in_row(const uint64_t *row, uint32_t n, uint64_t node)
{
    for (uint32_t i = 0; i < n; i++)
        if (row[i] == node)
            return true;
    return false;
}

/* Does the change take out a node that the move may wait for: that was to fill the partition, or to
 * be filled from? Lost, it keeps the move from ending. Whom else the partition goes to, fills it
 * from the old voters that stay. */
static bool frees(const struct plan_outcome *o, const struct move *mv)
{
    for (uint32_t i = 0; i < mv->n_targets; i++)
        if (member_event_takes_out(&o->change, mv->targets[i]))
            return true;
    for (uint32_t i = 0; i < mv->n_voters; i++)
        if (member_event_takes_out(&o->change, mv->voters[i]))
            return true;
    return false;
}

/* The nodes' places in o->nodes do not change any more: found by bisection would be faster, but a
 * plan is made by hand. */
static void compare_partition(struct plan_outcome *o, uint32_t p)
{
    uint64_t old[MOVES_N_MAX], new[MOVES_N_MAX];
    uint32_t n_old = final_row(o->before, p, old), n_new = final_row(o->after, p, new);
    uint32_t zones_old = zones_in(o->before, old, n_old),
             zones_new = zones_in(o->after, new, n_new);
    bool moves = false;
    for (uint32_t i = 0; i < n_old; i++) {
        struct plan_node *n = node_of(o, old[i]);
        if (n == NULL)
            continue; /* leaving since before */
        n->copies_before++;
        n->loses += !in_row(new, n_new, old[i]);
    }
    for (uint32_t i = 0; i < n_new; i++) {
        struct plan_node *n = node_of(o, new[i]);
        bool gained = !in_row(old, n_old, new[i]);
        if (n == NULL)
            continue;
        n->copies_after++;
        n->gains += gained;
        o->copies_moved += gained;
        moves |= gained;
    }
    moves |= n_old != n_new;
    o->moving += moves;
    if (zones_old < o->weakest_before)
        o->weakest_before = zones_old;
    if (zones_new < o->weakest_after)
        o->weakest_after = zones_new;
    const struct move *mv = ring_move(o->after, p);
    uint32_t stay = mv != NULL ? mv->n_voters : n_new;
    const struct move *still = ring_move(o->before, p);
    bool twice = moves && still != NULL && !frees(o, still);
    o->impossible |= twice || (moves && stay == 0);
    if (twice && o->refused == NULL)
        o->refused = mem_printf("partition %u is still moving from the change before, and this one "
                                "would move it again: 'dynactl transfers' shows how far it is",
                                p);
    /* An acknowledged write may be on any W of the old row: of those who stay, N - W + 1 must have
     * been in it, or nobody who is asked may know of it. */
    uint32_t need = n_old >= ring_w(o->before) ? n_old - ring_w(o->before) + 1 : 1;
    if (moves && stay < need && o->refused == NULL)
        o->refused = mem_printf("of the %u nodes of partition %u only %u would be left to copy it "
                                "from, and what is only on the others would be lost: remove one "
                                "node, wait for its heirs to fill, then the next",
                                n_old, p, stay);
}

static uint32_t balance(const struct plan_outcome *o, const struct ring *ring, bool after)
{
    uint64_t sum = 0, weights = 0, worst = 0, most_weight = 1;
    for (uint32_t i = 0; i < ring_member_count(ring); i++) {
        const struct ring_member *m = ring_member_at(ring, i);
        for (uint32_t k = 0; k < o->n_nodes; k++) {
            if (o->nodes[k].node != m->node)
                continue;
            uint64_t copies = after ? o->nodes[k].copies_after : o->nodes[k].copies_before;
            sum += copies;
            weights += m->weight;
            if (copies * most_weight > worst * m->weight) {
                worst = copies;
                most_weight = m->weight;
            }
        }
    }
    /* mean load by weight over the greatest: (sum / weights) / (worst / most_weight) */
    return worst == 0 || weights == 0 ? 1000
                                      : (uint32_t)(1000 * sum * most_weight / (weights * worst));
}

static void check_members(struct plan_outcome *o)
{
    uint32_t n = ring_n(o->before), had = ring_member_count(o->before),
             has = ring_member_count(o->after);
    if (has < n && has < had && o->refused == NULL)
        o->refused = mem_printf("%u members would be left, fewer than the %u copies of each key "
                                "(N): join others in the same change",
                                has, n);
    if (o->weakest_after < o->weakest_before && o->refused == NULL)
        o->refused = mem_printf("the copies of some keys would lie in %u zones instead of %u: join "
                                "a node in another zone in the same change",
                                o->weakest_after, o->weakest_before);
}

static void make_change(const struct plan *p, const struct ring *ring, uint64_t node,
                        struct member_event *out)
{
    struct member_event ev = {.stamp = history_next_stamp(ring_history(ring)),
                              .node = node,
                              .type = MEMBER_CHANGE,
                              .parts = p->parts,
                              .n_parts = p->n};
    memcpy(ev.base, ring_config(ring), DIGEST_LEN);
    member_event_copy(out, &ev);
}

static void digest_plan(const struct plan *p, const struct ring *ring, uint8_t out[DIGEST_LEN])
{
    struct buf bytes = BUF_EMPTY;
    buf_put(&bytes, ring_config(ring), DIGEST_LEN);
    plan_encode(p, &bytes);
    digest_sha256(buf_slice(&bytes), out);
    buf_release(&bytes);
}

int plan_outcome(const struct plan *p, struct ring *ring, uint64_t node, struct plan_outcome *out)
{
    struct history h = HISTORY_EMPTY;
    struct plan_outcome o = {.weakest_before = UINT32_MAX, .weakest_after = UINT32_MAX};
    if (p->n == 0)
        return DYN_ERR_INVALID;
    make_change(p, ring, node, &o.change);
    history_copy(&h, ring_history(ring));
    int err = history_add(&h, &o.change, NULL);
    if (err == DYN_OK)
        err = ring_build(&h, &o.after);
    history_release(&h);
    if (err != DYN_OK || memcmp(ring_config(o.after), ring_config(ring), DIGEST_LEN) == 0) {
        ring_unref(o.after);
        member_event_release(&o.change);
        return DYN_ERR_INVALID;
    }
    o.before = ring_ref(ring);
    add_nodes(&o, o.before, false);
    add_nodes(&o, o.after, true);
    for (uint32_t q = 0; q < ring_q(ring); q++)
        compare_partition(&o, q);
    o.balance_before = balance(&o, o.before, false);
    o.balance_after = balance(&o, o.after, true);
    check_members(&o);
    digest_plan(p, ring, o.digest);
    *out = o;
    return DYN_OK;
}

void plan_outcome_release(struct plan_outcome *o)
{
    member_event_release(&o->change);
    ring_unref(o->before);
    ring_unref(o->after);
    free(o->nodes);
    free(o->refused);
    *o = (struct plan_outcome){0};
}
