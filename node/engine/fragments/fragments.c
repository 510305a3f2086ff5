/* SPDX-License-Identifier: Apache-2.0 */
/* See fragments.h. Once a second each directory that has grown is looked at: is it to be activated
 * by this node, and is a pass due? One of each at a time. */
#include "engine/fragments/fragments.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/dir_settings.h"
#include "engine/coordinate/gather.h"
#include "engine/coordinate/replication.h"
#include "engine/peer_wire.h"
#include "engine/transfer/fence_list.h"
#include "engine/watchers.h"
#include "model/wire.h"

#define SPREAD 8u           /* no more fragments than make so many replicas for each member */
#define ANNOUNCE_US 200000u /* until an announcement is on disk, creates would make more of it */
#define METERS 64u
#define METER_S 10u /* over which changes are counted */

enum stage { CONFIRMING = 1, AGREEING, READING, HEADS, RAISING };

struct split { /* a directory that has grown */
    uint8_t *dir;
    size_t dir_len;
    uint8_t growth;
    bool due;          /* entries here may belong elsewhere */
    uint64_t since_us; /* since when some are left here and nobody moves them; 0: none are */
    uint64_t not_before_us;
};

struct activation {
    struct background background; /* first */
    struct engine *e;
    enum stage stage;
    uint8_t *dir;
    size_t dir_len;
    uint8_t growth;
    uint64_t fence; /* of its partition: the owners that are asked */
    struct rpc_call calls[OWNERS_MAX];
    uint32_t n_calls, n_active;
    int err;
};

struct meter {         /* changes of a fragment's entries in the last seconds */
    uint64_t position; /* the first bytes of it */
    uint64_t count;
};

struct fragments {
    struct engine *e;
    struct timer timer;
    struct split *splits; /* by dir */
    uint32_t n, cap;
    struct activation *activation;
    struct fragment_pass *pass;
    struct buf passing; /* its directory */
    struct meter meters[METERS];
    uint64_t metered_us, announced_us;
    bool *owned; /* by partition: it was this node's when the ring was looked at last */
};

/* ---- what is known ----------------------------------------------------------------------- */

static uint32_t at_most(uint32_t v, uint32_t max)
{
    return v < max ? v : max;
}

uint32_t fragments_depth(const struct engine *e, struct slice dir)
{
    return at_most(settings_keeper_growth(e->settings, dir) / 2u, FRAGMENT_DEPTH_MAX);
}

uint32_t fragments_listed(const struct engine *e, struct slice dir)
{
    uint32_t growth = settings_keeper_growth(e->settings, dir);
    return 1u << at_most((growth + 1) / 2, FRAGMENT_DEPTH_MAX);
}

uint32_t engine_fragment(const struct engine *e, struct slice key)
{
    return fragment_of_name(key_name(key), fragments_depth(e, key_parent(key)));
}

/* Fragments of a name at growing depths have growing numbers: each has one bit more of its hash.
 * What lies deeper than this node knows of was put there by one that knows more: moved back, while
 * that one moves it on, it would leave both. */
bool fragments_stray(const struct engine *e, struct slice dir, struct slice name, uint32_t fragment)
{
    return fragment < fragment_of_name(name, fragments_depth(e, dir));
}

static struct slice dir_of(const struct split *s)
{
    return slice_of(s->dir, s->dir_len);
}

static struct split *find(const struct fragments *f, struct slice dir)
{
    uint32_t low = 0, high = f->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (slice_compare(dir_of(&f->splits[mid]), dir) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < f->n && slice_equal(dir_of(&f->splits[low]), dir) ? &f->splits[low] : NULL;
}

static bool take_growth(void *arg, struct slice dir, uint8_t growth)
{
    struct fragments *f = arg;
    struct split *s = find(f, dir);
    if (s == NULL) { /* the table is in order, so it belongs before what is greater */
        uint32_t at = 0;
        while (at < f->n && slice_compare(dir_of(&f->splits[at]), dir) < 0)
            at++;
        if (f->n == f->cap) {
            f->cap = f->cap == 0 ? 8 : f->cap * 2;
            f->splits = mem_reallocarray(f->splits, f->cap, sizeof(*f->splits));
        }
        memmove(&f->splits[at + 1], &f->splits[at], (f->n - at) * sizeof(*f->splits));
        s = &f->splits[at];
        *s = (struct split){.dir = mem_dup(dir.data, dir.len), .dir_len = dir.len};
        f->n++;
    }
    if (growth > s->growth) {
        s->growth = growth;
        s->due = true;
        s->not_before_us = 0;
    }
    return true;
}

void fragments_table_changed(struct engine *e)
{
    if (e->fragments == NULL)
        return;
    settings_keeper_growths(e->settings, take_growth, e->fragments);
    watchers_look(e->watchers);
}

/* One of its fragments is among these partitions. */
static bool lies_in(const struct engine *e, const struct split *s, const bool *partitions)
{
    for (uint32_t i = 0; i < fragments_listed(e, dir_of(s)); i++)
        if (partitions[place_of_fragment(e->ring, dir_of(s), i).partition])
            return true;
    return false;
}

void fragments_ring_changed(struct engine *e)
{
    struct fragments *f = e->fragments;
    uint32_t q = ring_q(e->ring);
    bool *gained = mem_zalloc(q * sizeof(*gained)), any = false;
    for (uint32_t p = 0; p < q; p++) {
        bool owns = engine_owns(e, p);
        gained[p] = owns && !f->owned[p];
        any |= gained[p];
        f->owned[p] = owns;
    }
    for (uint32_t i = 0; any && i < f->n; i++)
        f->splits[i].due |= lies_in(e, &f->splits[i], gained);
    free(gained);
}

void fragments_learn(struct engine *e, struct slice dir, uint8_t growth)
{
    if (growth > settings_keeper_growth(e->settings, dir) && growth <= 2 * FRAGMENT_DEPTH_MAX)
        settings_raise(e, dir, growth);
}

void fragments_are_moved(struct engine *e, struct slice dir)
{
    struct split *s = find(e->fragments, dir);
    if (s != NULL && s->since_us != 0)
        s->since_us = engine_now(e);
}

uint32_t fragments_pending(const struct fragments *f)
{
    uint32_t n = f->activation != NULL;
    for (uint32_t i = 0; i < f->n; i++)
        n += f->splits[i].due || f->splits[i].growth % 2 != 0;
    return n;
}

/* ---- growing ----------------------------------------------------------------------------- */

static uint64_t first_up(const struct engine *e, uint32_t partition)
{
    uint64_t nodes[N_MAX];
    uint32_t n = ring_preference_list(e->ring, partition, ring_n(e->ring), nodes, N_MAX);
    n = at_most(n, ring_voters(e->ring, partition, ring_n(e->ring)));
    for (uint32_t i = 0; i < n; i++)
        if (nodes[i] == e->cfg.node || detector_up(e->detector, nodes[i]))
            return nodes[i];
    return 0;
}

/* Where every node has every entry anyway, and where there are several fragments for each node
 * already, more of them would only cost. */
static bool would_spread(const struct engine *e, uint32_t depth)
{
    uint32_t members = ring_member_count(e->ring), n = ring_n(e->ring);
    return depth < FRAGMENT_DEPTH_MAX && members > n && (n << depth) < SPREAD * members;
}

static void announce(struct engine *e, struct slice dir, const struct place *at)
{
    uint8_t growth = settings_keeper_growth(e->settings, dir);
    const struct split *s = find(e->fragments, dir);
    bool moving = s != NULL && s->due; /* what it counts may be about to go */
    uint64_t now = engine_now(e);
    if (growth % 2 != 0 || moving || now < e->fragments->announced_us + ANNOUNCE_US ||
        !would_spread(e, growth / 2u) || first_up(e, at->partition) != e->cfg.node)
        return;
    e->fragments->announced_us = now;
    settings_raise(e, dir, (uint8_t)(growth + 1));
}

static bool is_hot(struct fragments *f, const struct place *at)
{
    const struct engine *e = f->e;
    uint64_t position, now = engine_now(e);
    if (e->cfg.fragment_rate == 0)
        return false;
    if (now - f->metered_us > METER_S * 1000000ull) {
        memset(f->meters, 0, sizeof(f->meters));
        f->metered_us = now;
    }
    memcpy(&position, at->pos.bytes, sizeof(position));
    struct meter *m = &f->meters[position % METERS];
    if (m->position != position && m->count > 0)
        m->count--; /* whoever is busier keeps the place */
    else
        *m = (struct meter){position, m->count + 1};
    return m->position == position && m->count > (uint64_t)e->cfg.fragment_rate * METER_S;
}

static void note(struct engine *e, const struct place *at, struct slice dir, struct slice name,
                 uint32_t fragment, uint64_t live_here, bool changed)
{
    struct fragments *f = e->fragments;
    bool large = e->cfg.fragment_entries != 0 && live_here > e->cfg.fragment_entries;
    struct split *s = find(f, dir);
    if (s != NULL && fragments_stray(e, dir, name, fragment))
        s->due = true;
    else if (large || (changed && is_hot(f, at)))
        announce(e, dir, at);
}

void fragments_note(struct engine *e, const struct place *at, struct slice dir, struct slice name,
                    uint32_t fragment, uint64_t live_here)
{
    note(e, at, dir, name, fragment, live_here, true);
}

void fragments_note_moved(struct engine *e, const struct place *at, struct slice dir,
                          struct slice name, uint32_t fragment, uint64_t live_here)
{
    note(e, at, dir, name, fragment, live_here, false);
}

/* ---- activation -------------------------------------------------------------------------- */

static void activation_free(struct activation *a)
{
    a->e->fragments->activation = NULL;
    background_end(a->e, &a->background);
    for (uint32_t i = 0; i < a->n_calls; i++)
        rpc_cancel(a->e->rpc, &a->calls[i]);
    free(a->dir);
    free(a);
}

static void activation_abandon(struct background *b)
{
    activation_free(container_of(b, struct activation, background));
}

static struct slice activated(const struct activation *a)
{
    return slice_of(a->dir, a->dir_len);
}

static void go_to(struct activation *a, enum stage stage)
{
    assert(stage == a->stage + 1);
    a->stage = stage;
}

static void on_heads(void *arg, int err)
{
    struct activation *a = arg;
    go_to(a, RAISING);
    if (err == DYN_OK)
        settings_raise(a->e, activated(a), (uint8_t)(a->growth + 1));
    activation_free(a); /* after an error it begins again, in a second */
}

static void on_dir_read(void *arg, const struct gather_result *result)
{
    struct activation *a = arg;
    struct quorum quorum;
    const struct request_options options = {.durability = DURABILITY_QUORUM};
    int err = result->status;
    go_to(a, HEADS);
    if (err == DYN_OK)
        err = engine_quorum(a->e, &options, activated(a), &quorum);
    if (err != DYN_OK)
        activation_free(a);
    else
        fragment_heads_spread(a->e, activated(a), result->object, result->born_us, &quorum,
                              on_heads, a);
}

static void read_dir(struct activation *a)
{
    struct gather_params p = {
        .key = activated(a), .values = VALUE_NONE, .done = on_dir_read, .arg = a};
    const struct request_options defaults = {0};
    go_to(a, READING);
    if (a->err != DYN_OK || engine_quorum(a->e, &defaults, activated(a), &p.quorum) != DYN_OK)
        activation_free(a);
    else
        gather_start(a->e, &p);
}

static bool same_owners(const struct activation *a, uint32_t partition)
{
    return a->fence == ring_fence(a->e->ring, partition);
}

static void on_agreed(struct rpc_call *call, int err, struct slice body)
{
    struct activation *a = call->arg;
    int status = DYN_OK;
    if (err == DYN_OK)
        err = peer_status_decode(body, &status);
    if (err == DYN_OK)
        err = status;
    if (err != DYN_OK)
        a->err = err;
    if (--a->n_active == 0)
        read_dir(a);
}

static void agree(struct activation *a)
{
    struct engine *e = a->e;
    uint32_t partition = ring_partition_of(e->ring, activated(a));
    const struct fence_list l = {.partitions = &partition, .fences = &a->fence, .n = 1};
    go_to(a, AGREEING);
    if (a->err != DYN_OK || !same_owners(a, partition)) {
        activation_free(a);
        return;
    }
    a->n_active = 1; /* this loop */
    for (uint32_t i = 0; i < a->n_calls; i++) {
        struct buf body = BUF_EMPTY;
        uint64_t node = a->calls[i].node;
        a->calls[i] = (struct rpc_call){.done = on_agreed, .arg = a};
        fence_list_encode(&l, &body);
        a->n_active++;
        rpc_start(e->rpc, &a->calls[i], node, FRAME_FENCED, &body, e->cfg.replica_timeout_us);
    }
    if (--a->n_active == 0)
        read_dir(a);
}

static void on_confirmed(struct rpc_call *call, int err, struct slice body)
{
    struct activation *a = call->arg;
    if (err == DYN_OK)
        err = settings_confirmed(a->e, body);
    if (err != DYN_OK)
        a->err = err;
    if (--a->n_active == 0)
        agree(a);
}

static void activate(struct fragments *f, const struct split *s)
{
    struct engine *e = f->e;
    uint64_t owners[OWNERS_MAX];
    struct activation *a = mem_new(struct activation);
    uint32_t partition = ring_partition_of(e->ring, dir_of(s));
    uint32_t n = engine_owners(e, partition, ring_n(e->ring), owners);
    a->e = e;
    a->fence = ring_fence(e->ring, partition);
    a->stage = CONFIRMING;
    a->dir = mem_dup(s->dir, s->dir_len);
    a->dir_len = s->dir_len;
    a->growth = s->growth;
    f->activation = a;
    background_add(e, &a->background, activation_abandon);
    a->n_active = 1; /* this loop */
    for (uint32_t i = 0; i < n; i++) {
        if (owners[i] == e->cfg.node)
            continue;
        struct buf body = BUF_EMPTY;
        struct rpc_call *call = &a->calls[a->n_calls++];
        *call = (struct rpc_call){.done = on_confirmed, .arg = a};
        settings_tell(e, &body);
        a->n_active++;
        rpc_start(e->rpc, call, owners[i], FRAME_SETTINGS_SYNC, &body, e->cfg.replica_timeout_us);
    }
    if (--a->n_active == 0)
        agree(a);
}

/* ---- once a second ----------------------------------------------------------------------- */

static void on_pass(void *arg, uint32_t left)
{
    struct fragments *f = arg;
    struct engine *e = f->e;
    struct split *s = find(f, buf_slice(&f->passing));
    uint64_t now = engine_now(e);
    f->pass = NULL;
    if (left == 0) {
        s->since_us = 0;
        return;
    }
    s->due = true;
    if (s->since_us == 0)
        s->since_us = now;
    s->not_before_us = now + e->cfg.owed_delay_us / 2;
}

static void look(struct fragments *f, struct split *s)
{
    struct engine *e = f->e;
    uint64_t now = engine_now(e);
    uint32_t home = ring_partition_of(e->ring, dir_of(s));
    if (s->growth % 2 != 0 && f->activation == NULL && first_up(e, home) == e->cfg.node)
        activate(f, s);
    if (!s->due || f->pass != NULL || now < s->not_before_us)
        return;
    s->due = false;
    buf_clear(&f->passing);
    buf_put_slice(&f->passing, dir_of(s));
    bool overdue = s->since_us != 0 && now - s->since_us > e->cfg.owed_delay_us;
    f->pass = fragment_pass_start(e, dir_of(s), overdue, on_pass, f);
}

static void on_timer(struct timer *t, void *arg)
{
    struct fragments *f = arg;
    struct engine *e = f->e;
    timer_set(e->ports.timers, t, engine_now(e) + e->cfg.owed_sweep_us);
    for (uint32_t i = 0; i < f->n && !e->stopping && e->failed == DYN_OK; i++)
        look(f, &f->splits[i]);
}

struct fragments *fragments_new(struct engine *e)
{
    struct fragments *f = mem_new(struct fragments);
    f->e = e;
    f->owned = mem_zalloc(ring_q(e->ring) * sizeof(*f->owned));
    timer_init(&f->timer, on_timer, f);
    return f;
}

void fragments_free(struct fragments *f)
{
    if (f == NULL)
        return;
    timer_cancel(f->e->ports.timers, &f->timer);
    fragment_pass_free(f->pass);
    for (uint32_t i = 0; i < f->n; i++)
        free(f->splits[i].dir);
    free(f->splits);
    free(f->owned);
    buf_release(&f->passing);
    free(f);
}

void fragments_start(struct fragments *f)
{
    timer_set(f->e->ports.timers, &f->timer, engine_now(f->e) + f->e->cfg.owed_sweep_us);
}
