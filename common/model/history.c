/* SPDX-License-Identifier: Apache-2.0 */
/* See history.h. Nodes that were apart must agree on one history by exchanging events in any order.
 * So the history is a set, kept sorted by a total order over the whole content of an event, and
 * each rule that a history must obey is monotone: what two valid histories of one cluster have
 * together obeys it too. (That a removed node may not come back is no such rule: history_add()
 * refuses it, and the ring ignores it where two histories meet in it.) */
#include "model/history.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#define HISTORY_FORMAT 1
#define EVENTS_MAX 65536
#define WEIGHT_MAX 1000
#define REPLICAS_MAX 16

void member_event_release(struct member_event *ev)
{
    for (uint32_t i = 0; i < ev->n_parts; i++)
        member_event_release(&ev->parts[i]);
    free(ev->parts);
    free(ev->partitions);
    free(ev->address);
    free(ev->zone);
    *ev = (struct member_event){0};
}

bool member_event_takes_out(const struct member_event *change, uint64_t node)
{
    for (uint32_t i = 0; i < change->n_parts; i++) {
        const struct member_event *part = &change->parts[i];
        if ((part->type == MEMBER_REMOVE && part->node == node) ||
            (part->type == MEMBER_JOIN && part->replaces == node))
            return true;
    }
    return false;
}

void history_release(struct history *h)
{
    for (uint32_t i = 0; i < h->n; i++)
        member_event_release(&h->events[i]);
    free(h->events);
    *h = HISTORY_EMPTY;
}

static bool has_weight(enum member_event_type t)
{
    return t == MEMBER_JOIN || t == MEMBER_WEIGHT;
}

static bool has_address(enum member_event_type t)
{
    return t == MEMBER_JOIN || t == MEMBER_ADDRESS;
}

static bool has_zone(enum member_event_type t)
{
    return t == MEMBER_JOIN || t == MEMBER_ZONE;
}

static bool has_base(enum member_event_type t)
{
    return t == MEMBER_CHANGE || t == MEMBER_FILLED || t == MEMBER_CLOSED;
}

static bool has_partitions(enum member_event_type t)
{
    return t == MEMBER_FILLED || t == MEMBER_CLOSED;
}

/* Copies the fields that mean something for the type and clears the others, so that equal events
 * have equal encodings. */
static struct member_event event_copy(const struct member_event *ev)
{
    struct member_event c = {.stamp = ev->stamp, .node = ev->node, .type = ev->type};
    if (has_weight(ev->type))
        c.weight = ev->weight;
    if (has_address(ev->type))
        c.address = mem_strdup(ev->address);
    if (has_zone(ev->type) && ev->zone != NULL)
        c.zone = mem_strdup(ev->zone);
    if (ev->type == MEMBER_JOIN)
        c.replaces = ev->replaces;
    if (ev->type == MEMBER_CREATE) {
        c.cluster = ev->cluster;
        c.q = ev->q;
        c.n = ev->n;
        c.r = ev->r;
        c.w = ev->w;
    }
    if (has_base(ev->type))
        memcpy(c.base, ev->base, DIGEST_LEN);
    if (ev->type == MEMBER_CHANGE) {
        c.parts = mem_reallocarray(NULL, ev->n_parts, sizeof(*c.parts));
        for (; c.n_parts < ev->n_parts; c.n_parts++) {
            c.parts[c.n_parts] = event_copy(&ev->parts[c.n_parts]);
            c.parts[c.n_parts].stamp = 0;
        }
    }
    if (has_partitions(ev->type)) {
        c.partitions = mem_dup(ev->partitions, ev->n_partitions * sizeof(*c.partitions));
        c.n_partitions = ev->n_partitions;
    }
    return c;
}

void member_event_copy(struct member_event *to, const struct member_event *from)
{
    *to = event_copy(from);
}

void history_copy(struct history *to, const struct history *from)
{
    if (to == from)
        return;
    history_release(to);
    to->events = mem_reallocarray(NULL, from->n == 0 ? 1 : from->n, sizeof(*to->events));
    to->cap = from->n == 0 ? 1 : from->n;
    for (uint32_t i = 0; i < from->n; i++)
        to->events[to->n++] = event_copy(&from->events[i]);
}

static int compare_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int compare_str(const char *a, const char *b)
{
    return a == NULL || b == NULL ? (a != NULL) - (b != NULL) : strcmp(a, b);
}

static int event_compare(const struct member_event *a, const struct member_event *b);

static int compare_lists(const struct member_event *a, const struct member_event *b)
{
    int c = compare_u64(a->n_parts, b->n_parts);
    for (uint32_t i = 0; i < a->n_parts && c == 0; i++)
        c = event_compare(&a->parts[i], &b->parts[i]);
    if (c == 0)
        c = compare_u64(a->n_partitions, b->n_partitions);
    for (uint32_t i = 0; i < a->n_partitions && c == 0; i++)
        c = compare_u64(a->partitions[i], b->partitions[i]);
    return c;
}

static int event_compare(const struct member_event *a, const struct member_event *b)
{
    const uint64_t pairs[][2] = {
        {a->stamp, b->stamp},
        {a->node, b->node},
        {a->type, b->type},
        {a->weight, b->weight},
        {a->replaces, b->replaces},
        {a->cluster, b->cluster},
        {a->q, b->q},
        {a->n, b->n},
        {a->r, b->r},
        {a->w, b->w},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        int c = compare_u64(pairs[i][0], pairs[i][1]);
        if (c != 0)
            return c;
    }
    int c = compare_str(a->address, b->address);
    if (c == 0)
        c = compare_str(a->zone, b->zone);
    if (c == 0)
        c = memcmp(a->base, b->base, DIGEST_LEN);
    return c != 0 ? c : compare_lists(a, b);
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* name:port, 1.2.3.4:port or [1:2::3]:port. */
static bool address_ok(const char *a)
{
    if (a == NULL || strlen(a) > MEMBER_ADDRESS_MAX)
        return false;
    const char *host_end;
    if (a[0] == '[') {
        host_end = a + 1 + strspn(a + 1, "0123456789abcdefABCDEF:.");
        if (*host_end != ']' || host_end == a + 1)
            return false;
        host_end++;
    } else {
        host_end = a;
        while (is_alnum(*host_end) || (*host_end != '\0' && strchr(".-_", *host_end) != NULL))
            host_end++;
        if (host_end == a)
            return false;
    }
    if (*host_end != ':')
        return false;
    const char *port = host_end + 1;
    size_t digits = strspn(port, "0123456789");
    if (digits == 0 || digits > 5 || port[digits] != '\0' || port[0] == '0')
        return false;
    return strtoul(port, NULL, 10) <= 65535;
}

static bool zone_ok(const char *z)
{
    if (z == NULL)
        return true;
    size_t len = strlen(z);
    if (len == 0 || len > MEMBER_ZONE_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_alnum(z[i]) && strchr(".-_", z[i]) == NULL)
            return false;
    }
    return true;
}

static const char *change_rule(const struct member_event *ev)
{
    const char *rule = NULL;
    if (ev->n_parts == 0 || ev->n_parts > CHANGE_PARTS_MAX)
        return "a change has 1 to 256 parts";
    for (uint32_t i = 0; i < ev->n_parts && rule == NULL; i++) {
        if (ev->parts[i].type < MEMBER_JOIN || ev->parts[i].type > MEMBER_ADDRESS)
            return "this is no part of a change";
        rule = member_event_rule(&ev->parts[i]);
    }
    return rule;
}

static const char *partitions_rule(const struct member_event *ev)
{
    if (ev->n_partitions == 0 || ev->n_partitions > PARTITIONS_MAX)
        return "an event about partitions names some";
    for (uint32_t i = 0; i < ev->n_partitions; i++)
        if (ev->partitions[i] >= PARTITIONS_MAX ||
            (i > 0 && ev->partitions[i] <= ev->partitions[i - 1]))
            return "partitions are named in ascending order";
    return NULL;
}

const char *member_event_rule(const struct member_event *ev)
{
    if (ev->type < MEMBER_CREATE || ev->type > MEMBER_CLOSED)
        return "unknown type of membership event";
    if (ev->type == MEMBER_CREATE) {
        if (ev->cluster == 0)
            return "a cluster's id must not be zero";
        if (ev->q == 0 || ev->q > PARTITIONS_MAX || (ev->q & (ev->q - 1)) != 0)
            return "the number of partitions must be a power of two, at most 2^20";
        if (ev->n == 0 || ev->n > REPLICAS_MAX)
            return "N must be 1 to 16";
        if (ev->r == 0 || ev->r > ev->n || ev->w == 0 || ev->w > ev->n)
            return "R and W must be 1 to N";
        return NULL;
    }
    if (ev->node == 0)
        return "a node's id must not be zero";
    if (has_weight(ev->type) && (ev->weight == 0 || ev->weight > WEIGHT_MAX))
        return "a weight must be 1 to 1000";
    if (has_address(ev->type) && !address_ok(ev->address))
        return "an address must be host:port";
    if (has_zone(ev->type) && !zone_ok(ev->zone))
        return "a zone must be 1 to 63 letters, digits, dots, dashes or underscores";
    if (ev->type == MEMBER_JOIN && ev->replaces == ev->node)
        return "a node cannot replace itself";
    if (ev->type == MEMBER_CHANGE)
        return change_rule(ev);
    return has_partitions(ev->type) ? partitions_rule(ev) : NULL;
}

/* Where the event is or belongs; *there says which. */
static uint32_t history_slot(const struct history *h, const struct member_event *ev, bool *there)
{
    uint32_t lo = 0, hi = h->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (event_compare(&h->events[mid], ev) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *there = lo < h->n && event_compare(&h->events[lo], ev) == 0;
    return lo;
}

static bool happened_before(const struct history *h, uint32_t slot, uint64_t node,
                            enum member_event_type type)
{
    for (uint32_t i = 0; i < slot; i++) {
        const struct member_event *ev = &h->events[i];
        if (ev->type == type && ev->node == node)
            return true;
        if (type == MEMBER_REMOVE && ev->type == MEMBER_JOIN && ev->replaces == node)
            return true;
    }
    return false;
}

static uint32_t joined_nodes(const struct history *h)
{
    uint32_t joins = 0;
    for (uint32_t i = 0; i < h->n; i++) {
        enum member_event_type t = h->events[i].type;
        if (t == MEMBER_JOIN && h->events[i].replaces == 0)
            joins++;
        else if ((t == MEMBER_LEAVE || t == MEMBER_REMOVE) && joins > 0)
            joins--;
    }
    return joins;
}

/* What an event at this slot must obey in its history. */
static const char *history_rule(const struct history *h, uint32_t slot,
                                const struct member_event *ev)
{
    if (ev->type == MEMBER_CREATE)
        return h->n == 0 ? NULL : "a history has one creation, its first event";
    if (h->n == 0 || slot == 0)
        return "a history starts with its cluster's creation";
    if (h->n >= EVENTS_MAX)
        return "too many membership events";
    if (has_base(ev->type))
        return NULL; /* the ring says whether it means something */
    for (uint32_t i = 0; i < slot; i++)
        if (h->events[i].type == MEMBER_CHANGE)
            return "membership changes by committed changes only";
    if (ev->type == MEMBER_JOIN) {
        if (happened_before(h, slot, ev->node, MEMBER_REMOVE))
            return "this node id was removed and may not join again";
        if (ev->replaces != 0 && !happened_before(h, slot, ev->replaces, MEMBER_JOIN))
            return "the node to replace is not known";
        if (ev->replaces == 0 && joined_nodes(h) >= MEMBERS_MAX)
            return "too many members";
    } else if (!happened_before(h, slot, ev->node, MEMBER_JOIN)) {
        return "no such node has joined before";
    }
    return NULL;
}

uint64_t history_next_stamp(const struct history *h)
{
    return h->n == 0 ? 1 : h->events[h->n - 1].stamp + 1;
}

static void history_insert(struct history *h, uint32_t slot, struct member_event ev)
{
    if (h->n == h->cap) {
        h->cap = h->cap == 0 ? 8 : h->cap * 2;
        h->events = mem_reallocarray(h->events, h->cap, sizeof(*h->events));
    }
    memmove(&h->events[slot + 1], &h->events[slot], (h->n - slot) * sizeof(*h->events));
    h->events[slot] = ev;
    h->n++;
}

int history_add(struct history *h, const struct member_event *ev, const char **rule)
{
    const char *broken = member_event_rule(ev);
    if (broken == NULL) {
        bool there;
        struct member_event clean = event_copy(ev);
        uint32_t slot = history_slot(h, &clean, &there);
        broken = there ? NULL : history_rule(h, slot, &clean);
        if (!there && broken == NULL)
            history_insert(h, slot, clean);
        else
            member_event_release(&clean);
    }
    if (broken != NULL && rule != NULL)
        *rule = broken;
    return broken == NULL ? DYN_OK : DYN_ERR_INVALID;
}

int history_join(struct history *into, const struct history *other, bool *changed)
{
    struct history sum = HISTORY_EMPTY;
    uint32_t a = 0, b = 0;
    if (into->n > 0 && other->n > 0 && event_compare(&into->events[0], &other->events[0]) != 0)
        return DYN_ERR_INVALID;
    sum.cap = into->n + other->n + 1;
    sum.events = mem_reallocarray(NULL, sum.cap, sizeof(*sum.events));
    while (a < into->n || b < other->n) {
        int c = a == into->n    ? 1
                : b == other->n ? -1
                                : event_compare(&into->events[a], &other->events[b]);
        sum.events[sum.n++] = event_copy(c <= 0 ? &into->events[a] : &other->events[b]);
        a += c <= 0;
        b += c >= 0;
    }
    if (sum.n > EVENTS_MAX) {
        history_release(&sum);
        return DYN_ERR_TOO_LARGE;
    }
    *changed = sum.n != into->n;
    history_release(into);
    *into = sum;
    return DYN_OK;
}

struct history_epoch history_epoch(const struct history *h)
{
    struct history_epoch e = {.length = h->n};
    struct buf bytes = BUF_EMPTY;
    history_encode(h, &bytes);
    digest_sha256(buf_slice(&bytes), e.digest);
    buf_release(&bytes);
    return e;
}

bool history_epoch_equal(const struct history_epoch *a, const struct history_epoch *b)
{
    return a->length == b->length && memcmp(a->digest, b->digest, DIGEST_LEN) == 0;
}

static void put_str(struct buf *out, const char *s)
{
    buf_put_bytes(out, s == NULL ? slice_of(NULL, 0) : slice_str(s));
}

void member_event_encode(const struct member_event *ev, struct buf *out)
{
    buf_put_varint(out, ev->stamp);
    buf_put_u64(out, ev->node);
    buf_put_u8(out, (uint8_t)ev->type);
    if (has_weight(ev->type))
        buf_put_varint(out, ev->weight);
    if (has_address(ev->type))
        put_str(out, ev->address);
    if (has_zone(ev->type))
        put_str(out, ev->zone);
    if (ev->type == MEMBER_JOIN)
        buf_put_u64(out, ev->replaces);
    if (ev->type == MEMBER_CREATE) {
        buf_put_u64(out, ev->cluster);
        buf_put_varint(out, ev->q);
        buf_put_varint(out, ev->n);
        buf_put_varint(out, ev->r);
        buf_put_varint(out, ev->w);
    }
    if (has_base(ev->type))
        buf_put(out, ev->base, DIGEST_LEN);
    if (ev->type == MEMBER_CHANGE) {
        buf_put_varint(out, ev->n_parts);
        for (uint32_t i = 0; i < ev->n_parts; i++)
            member_event_encode(&ev->parts[i], out);
    }
    if (has_partitions(ev->type)) { /* as distances: most are short */
        buf_put_varint(out, ev->n_partitions);
        for (uint32_t i = 0; i < ev->n_partitions; i++)
            buf_put_varint(out, ev->partitions[i] - (i == 0 ? 0 : ev->partitions[i - 1]));
    }
}

void history_encode(const struct history *h, struct buf *out)
{
    buf_put_u8(out, HISTORY_FORMAT);
    buf_put_varint(out, h->n);
    for (uint32_t i = 0; i < h->n; i++)
        member_event_encode(&h->events[i], out);
}

static uint32_t read_small(struct reader *r)
{
    uint64_t v = read_varint(r);
    if (v > UINT32_MAX)
        reader_fail(r);
    return (uint32_t)v;
}

/* NULL for an empty string; a NUL inside fails. */
static char *read_str(struct reader *r, size_t max)
{
    struct slice s = read_bytes(r);
    if (s.len > max || (s.len > 0 && memchr(s.data, 0, s.len) != NULL))
        reader_fail(r);
    return s.len == 0 || !reader_ok(r) ? NULL : mem_strndup((const char *)s.data, s.len);
}

static struct member_event read_event(struct reader *r, bool part);

static void read_parts(struct reader *r, struct member_event *ev)
{
    uint64_t n = read_varint(r);
    if (n > CHANGE_PARTS_MAX)
        reader_fail(r);
    if (!reader_ok(r) || n == 0)
        return;
    ev->parts = mem_reallocarray(NULL, n, sizeof(*ev->parts));
    while (ev->n_parts < n && reader_ok(r))
        ev->parts[ev->n_parts++] = read_event(r, true);
}

static void read_partitions(struct reader *r, struct member_event *ev)
{
    uint64_t n = read_varint(r), at = 0;
    if (n > PARTITIONS_MAX || n > reader_left(r)) /* a byte each at least */
        reader_fail(r);
    if (!reader_ok(r) || n == 0)
        return;
    ev->partitions = mem_reallocarray(NULL, n, sizeof(*ev->partitions));
    while (ev->n_partitions < n && reader_ok(r)) {
        uint64_t step = read_varint(r);
        at += step;
        if (step > PARTITIONS_MAX || at >= PARTITIONS_MAX)
            reader_fail(r);
        else
            ev->partitions[ev->n_partitions++] = (uint32_t)at;
    }
}

/* part: of a change, which nothing but JOIN to ADDRESS can be; so changes do not nest. */
static struct member_event read_event(struct reader *r, bool part)
{
    struct member_event ev = {.stamp = read_varint(r), .node = read_u64(r)};
    ev.type = (enum member_event_type)read_u8(r);
    if (part && (ev.type < MEMBER_JOIN || ev.type > MEMBER_ADDRESS || ev.stamp != 0))
        reader_fail(r);
    if (has_weight(ev.type))
        ev.weight = read_small(r);
    if (has_address(ev.type))
        ev.address = read_str(r, MEMBER_ADDRESS_MAX);
    if (has_zone(ev.type))
        ev.zone = read_str(r, MEMBER_ZONE_MAX);
    if (ev.type == MEMBER_JOIN)
        ev.replaces = read_u64(r);
    if (ev.type == MEMBER_CREATE) {
        ev.cluster = read_u64(r);
        ev.q = read_small(r);
        ev.n = read_small(r);
        ev.r = read_small(r);
        ev.w = read_small(r);
    }
    if (has_base(ev.type) && reader_ok(r))
        read_copy(r, ev.base, DIGEST_LEN);
    if (ev.type == MEMBER_CHANGE && reader_ok(r))
        read_parts(r, &ev);
    if (has_partitions(ev.type) && reader_ok(r))
        read_partitions(r, &ev);
    if (reader_ok(r) && member_event_rule(&ev) != NULL)
        reader_fail(r);
    return ev;
}

void member_event_decode(struct reader *r, struct member_event *ev)
{
    *ev = read_event(r, false);
    if (!reader_ok(r))
        member_event_release(ev);
}

struct joined {
    uint64_t node;
    uint32_t at; /* slot of the event */
};

static int compare_joined(const void *a, const void *b)
{
    const struct joined *x = a, *y = b;
    int c = compare_u64(x->node, y->node);
    return c != 0 ? c : compare_u64(x->at, y->at);
}

/* Slot of the first join of a node, UINT32_MAX when there is none. */
static uint32_t first_join(const struct joined *joins, uint32_t n, uint64_t node)
{
    uint32_t lo = 0, hi = n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (joins[mid].node < node)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && joins[lo].node == node ? joins[lo].at : UINT32_MAX;
}

/* Each event comes after a join of the node that it is about. */
static bool joins_precede(const struct history *h)
{
    struct joined *joins = mem_reallocarray(NULL, h->n + 1, sizeof(*joins));
    uint32_t n = 0;
    bool ok = true;
    for (uint32_t i = 0; i < h->n; i++) {
        if (h->events[i].type == MEMBER_JOIN)
            joins[n++] = (struct joined){h->events[i].node, i};
    }
    qsort(joins, n, sizeof(*joins), compare_joined);
    for (uint32_t i = 1; i < h->n && ok; i++) {
        const struct member_event *ev = &h->events[i];
        uint64_t subject = ev->type == MEMBER_JOIN ? ev->replaces : ev->node;
        if (subject != 0 && !has_base(ev->type))
            ok = first_join(joins, n, subject) < i;
    }
    free(joins);
    return ok;
}

void history_decode(struct reader *r, struct history *h)
{
    struct history got = HISTORY_EMPTY;
    read_format(r, HISTORY_FORMAT);
    uint64_t n = read_varint(r);
    if (n > EVENTS_MAX)
        reader_fail(r);
    for (uint64_t i = 0; i < n && reader_ok(r); i++) {
        history_insert(&got, got.n, read_event(r, false));
        if ((got.events[i].type == MEMBER_CREATE) != (i == 0) ||
            (i > 0 && event_compare(&got.events[i - 1], &got.events[i]) >= 0))
            reader_fail(r);
    }
    if (reader_ok(r) && !joins_precede(&got))
        reader_fail(r);
    if (!reader_ok(r)) {
        history_release(&got);
        return;
    }
    history_release(h);
    *h = got;
}
