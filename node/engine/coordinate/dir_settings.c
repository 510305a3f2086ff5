/* SPDX-License-Identifier: Apache-2.0 */
/* See dir_settings.h. A change goes
 *
 *   APPLIED to a copy -> WRITING (synced) -> joined into the table -> TELLING every other member
 *     -> answered when all have confirmed, or been silent for a replica timeout
 *
 * What a peer brings is joined, written, and then confirmed. What a full disk has refused is in use
 * and not confirmed: it is written again when it is next brought. A change that finds, when it is
 * on disk, that another came meanwhile is written again, together with that. */
#include "engine/coordinate/dir_settings.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/fragments.h"
#include "engine/thin/thin.h"

#define SETTINGS_ROW "settings"
#define COMPARE_US 10000000u
#define TOLD_MAX 64 /* members told at once; the others compare soon enough */

struct settings_keeper {
    struct engine *e;
    struct settings table;
    uint8_t digest[DIGEST_LEN]; /* of the table */
    uint8_t saved[DIGEST_LEN];  /* of the one that is on disk, as far as is known */
    struct store_get get;
    void (*loaded)(void *arg, int err);
    void *loaded_arg;
    struct timer compare;
    struct rpc_call call; /* of the comparison under way */
    uint32_t n_growths;
    bool has_copies;            /* some directory has an N */
    uint8_t copies[DIGEST_LEN]; /* of what directories have as N */
};

static void table_changed(struct settings_keeper *k)
{
    settings_digest(&k->table, k->digest);
    k->n_growths = settings_growths(&k->table, NULL, NULL);
    if (k->n_growths > 0)
        fragments_table_changed(k->e);
    uint8_t before[DIGEST_LEN];
    memcpy(before, k->copies, DIGEST_LEN);
    k->has_copies = settings_copies(&k->table, k->copies);
    if (!digest_equal(before, k->copies))
        thin_look(k->e->thin);
}

uint8_t settings_keeper_growth(const struct settings_keeper *k, struct slice dir)
{
    return k->n_growths == 0 ? 0 : settings_growth(&k->table, dir);
}

void settings_keeper_growths(const struct settings_keeper *k,
                             bool (*each)(void *arg, struct slice dir, uint8_t growth), void *arg)
{
    settings_growths(&k->table, each, arg);
}

struct settings_keeper *settings_keeper_new(struct engine *e)
{
    struct settings_keeper *k = mem_new(struct settings_keeper);
    k->e = e;
    table_changed(k);
    return k;
}

void settings_keeper_free(struct settings_keeper *k)
{
    if (k == NULL)
        return;
    timer_cancel(k->e->ports.timers, &k->compare);
    rpc_cancel(k->e->rpc, &k->call);
    settings_release(&k->table);
    free(k);
}

bool settings_keeper_has_copies(const struct settings_keeper *k)
{
    return k->has_copies;
}

uint8_t settings_keeper_copies(const struct settings_keeper *k, struct slice key)
{
    struct rules rules;
    if (!k->has_copies)
        return 0;
    settings_rules(&k->table, key, &rules);
    return rules.value[SETTING_N];
}

void settings_keeper_rules(const struct settings_keeper *k, struct slice key, struct rules *out)
{
    settings_rules(&k->table, key, out);
}

static void on_loaded(struct store_get *req, int err, struct slice value)
{
    struct settings_keeper *k = req->arg;
    struct reader r = reader_of(value);
    if (err == DYN_OK) {
        settings_decode(&r, &k->table);
        err = reader_ok(&r) ? DYN_OK : DYN_ERR_CORRUPT;
    } else if (err == DYN_ERR_NOT_FOUND) {
        err = DYN_OK;
    }
    table_changed(k);
    memcpy(k->saved, k->digest, DIGEST_LEN);
    k->loaded(k->loaded_arg, err);
}

void settings_keeper_load(struct settings_keeper *k, void (*done)(void *arg, int err), void *arg)
{
    struct store_port *store = &k->e->ports.store;
    k->loaded = done;
    k->loaded_arg = arg;
    k->get = (struct store_get){
        .family = STORE_LOCAL, .key = slice_str(SETTINGS_ROW), .done = on_loaded, .arg = k};
    store->get(store->ctx, &k->get);
}

/* Puts a table on disk; an error means that nothing was taken, and done does not run. */
static int write_table(struct engine *e, const struct settings *table, struct store_write *w)
{
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY;
    if (e->failed != DYN_OK)
        return DYN_ERR_STOPPED;
    settings_encode(table, &row);
    store_batch_put(&b, STORE_LOCAL, slice_str(SETTINGS_ROW), buf_slice(&row));
    int err = e->ports.store.write(e->ports.store.ctx, &b, STORE_SYNCED, w);
    store_batch_release(&b);
    buf_release(&row);
    return err;
}

/* Joins what somebody else knows, and keeps it. That it is on disk is waited for by nobody: whoever
 * told it has it, and will tell it again. */
static void learn(struct settings_keeper *k, const struct settings *theirs)
{
    if (!settings_join(&k->table, theirs))
        return;
    table_changed(k);
    write_table(k->e, &k->table, NULL);
}

/* ---- comparing --------------------------------------------------------------------------- */

static void put_sync(const struct settings_keeper *k, bool table, struct buf *body)
{
    struct settings_sync m = {.has_table = table, .table = k->table};
    memcpy(m.digest, k->digest, DIGEST_LEN);
    settings_sync_encode(&m, body);
}

static void on_compared(struct rpc_call *call, int err, struct slice body)
{
    struct settings_keeper *k = call->arg;
    struct settings_sync reply;
    if (err != DYN_OK || settings_sync_decode(body, &reply) != DYN_OK)
        return;
    if (reply.has_table) {
        learn(k, &reply.table);
        if (!digest_equal(reply.digest, k->digest)) { /* it lacks what we know */
            struct buf ours = BUF_EMPTY;
            put_sync(k, true, &ours);
            engine_tell(k->e, call->node, FRAME_SETTINGS_SYNC, &ours);
        }
    }
    settings_release(&reply.table);
}

/* Some other member that is thought up; 0: there is none. */
static uint64_t some_other(struct engine *e)
{
    uint64_t up[TOLD_MAX], from = random_u64(&e->ports.random);
    uint32_t n = ring_member_count(e->ring), n_up = 0;
    for (uint32_t i = 0; i < n && n_up < TOLD_MAX; i++) {
        uint64_t node = ring_member_at(e->ring, (uint32_t)((from + i) % n))->node;
        if (node != e->cfg.node && detector_up(e->detector, node))
            up[n_up++] = node;
    }
    return n_up == 0 ? 0 : up[from / n % n_up];
}

static void on_compare(struct timer *t, void *arg)
{
    struct settings_keeper *k = arg;
    struct engine *e = k->e;
    uint64_t jitter = random_u64(&e->ports.random) % (COMPARE_US / 4);
    uint64_t node = some_other(e);
    if (node != 0 && !rpc_active(&k->call) && !e->stopping) {
        struct buf body = BUF_EMPTY;
        put_sync(k, false, &body);
        k->call = (struct rpc_call){.done = on_compared, .arg = k};
        rpc_start(e->rpc, &k->call, node, FRAME_SETTINGS_SYNC, &body, e->cfg.replica_timeout_us);
    }
    timer_set(e->ports.timers, t, engine_now(e) + COMPARE_US - COMPARE_US / 8 + jitter);
}

void settings_keeper_start(struct settings_keeper *k)
{
    timer_init(&k->compare, on_compare, k);
    timer_set(k->e->ports.timers, &k->compare, engine_now(k->e) + 1);
}

/* ---- being told -------------------------------------------------------------------------- */

struct hearing {                  /* a peer's table on its way to our disk */
    struct background background; /* first */
    struct engine *e;
    uint64_t origin, rid;
    uint8_t theirs[DIGEST_LEN], wrote[DIGEST_LEN];
    struct store_write write;
};

static void hearing_abandon(struct background *b)
{
    struct hearing *h = container_of(b, struct hearing, background);
    background_end(h->e, b);
    free(h);
}

static void confirm(struct engine *e, uint64_t origin, uint64_t rid, const uint8_t *theirs)
{
    struct buf body = BUF_EMPTY;
    put_sync(e->settings, !digest_equal(theirs, e->settings->digest), &body);
    e->ports.net.reply(e->ports.net.ctx, origin, rid, FRAME_SETTINGS_SYNC + FRAME_REPLY, &body);
}

static void refuse(struct engine *e, uint64_t origin, uint64_t rid)
{
    struct buf body = BUF_EMPTY; /* decodes as nothing: the asker counts a failure */
    e->ports.net.reply(e->ports.net.ctx, origin, rid, FRAME_SETTINGS_SYNC + FRAME_REPLY, &body);
}

static void on_heard(struct store_write *req, int err)
{
    struct hearing *h = req->arg;
    if (err == DYN_OK) {
        memcpy(h->e->settings->saved, h->wrote, DIGEST_LEN);
        confirm(h->e, h->origin, h->rid, h->theirs);
    } else {
        refuse(h->e, h->origin, h->rid);
    }
    hearing_abandon(&h->background);
}

void settings_serve_sync(struct engine *e, uint64_t origin, uint64_t rid, struct slice body)
{
    struct settings_sync m;
    if (!e->serving || settings_sync_decode(body, &m) != DYN_OK) {
        refuse(e, origin, rid);
        return;
    }
    struct settings_keeper *k = e->settings;
    if (m.has_table && settings_join(&k->table, &m.table))
        table_changed(k);
    if (!m.has_table || digest_equal(k->saved, k->digest)) {
        confirm(e, origin, rid, m.digest);
        settings_release(&m.table);
        return;
    }
    struct hearing *h = mem_new(struct hearing);
    h->e = e;
    h->origin = origin;
    h->rid = rid;
    memcpy(h->theirs, m.digest, DIGEST_LEN);
    memcpy(h->wrote, k->digest, DIGEST_LEN);
    settings_release(&m.table);
    background_add(e, &h->background, hearing_abandon);
    h->write = (struct store_write){.done = on_heard, .arg = h};
    int err = write_table(e, &k->table, &h->write);
    if (err != DYN_OK)
        on_heard(&h->write, err);
}

/* ---- changing ---------------------------------------------------------------------------- */

struct change {
    struct background background; /* first */
    struct engine *e;
    struct settings table; /* a copy, with the change */
    struct store_write write;
    struct rpc_call calls[TOLD_MAX];
    uint32_t n_calls, active, known;
    struct timer later; /* answers in a turn of its own */
    int status;
    bool remote;
    uint64_t origin, rid;
    void (*done)(void *arg, const struct settings_reply *reply);
    void *arg;
};

static void change_free(struct change *c)
{
    background_end(c->e, &c->background);
    for (uint32_t i = 0; i < c->n_calls; i++)
        rpc_cancel(c->e->rpc, &c->calls[i]);
    timer_cancel(c->e->ports.timers, &c->later);
    settings_release(&c->table);
    free(c);
}

static void change_abandon(struct background *b)
{
    change_free(container_of(b, struct change, background));
}

static void change_answer(struct timer *t, void *arg)
{
    (void)t;
    struct change *c = arg;
    struct engine *e = c->e;
    const struct settings_reply reply = {.status = c->status,
                                         .known = c->known,
                                         .members = ring_member_count(e->ring),
                                         .table = e->settings->table};
    if (c->remote) {
        struct buf body = BUF_EMPTY;
        settings_reply_encode(&reply, &body);
        e->ports.net.reply(e->ports.net.ctx, c->origin, c->rid, FRAME_SETTINGS + FRAME_REPLY,
                           &body);
    } else if (c->done != NULL) {
        c->done(c->arg, &reply);
    }
    change_free(c);
}

static void change_ends(struct change *c, int status)
{
    c->status = status;
    timer_set(c->e->ports.timers, &c->later, engine_now(c->e));
}

static void on_told(struct rpc_call *call, int err, struct slice body)
{
    struct change *c = call->arg;
    struct settings_sync reply;
    if (err == DYN_OK && settings_sync_decode(body, &reply) == DYN_OK) {
        c->known++;
        if (reply.has_table)
            learn(c->e->settings, &reply.table);
        settings_release(&reply.table);
    }
    if (--c->active == 0)
        change_ends(c, DYN_OK);
}

static void tell_all(struct change *c)
{
    struct engine *e = c->e;
    c->known = 1;
    c->active = 1; /* one for this loop */
    for (uint32_t i = 0; i < ring_member_count(e->ring) && c->n_calls < TOLD_MAX; i++) {
        uint64_t node = ring_member_at(e->ring, i)->node;
        if (node == e->cfg.node || !detector_up(e->detector, node))
            continue;
        struct buf body = BUF_EMPTY;
        struct rpc_call *call = &c->calls[c->n_calls++];
        put_sync(e->settings, true, &body);
        *call = (struct rpc_call){.done = on_told, .arg = c};
        c->active++;
        rpc_start(e->rpc, call, node, FRAME_SETTINGS_SYNC, &body, e->cfg.replica_timeout_us);
    }
    if (--c->active == 0)
        change_ends(c, DYN_OK);
}

static void on_changed(struct store_write *req, int err)
{
    struct change *c = req->arg;
    struct settings_keeper *k = c->e->settings;
    if (err != DYN_OK) {
        change_ends(c, err);
        return;
    }
    settings_digest(&c->table, k->saved);
    settings_join(&k->table, &c->table);
    table_changed(k);
    if (digest_equal(k->saved, k->digest)) {
        tell_all(c);
        return;
    }
    settings_join(&c->table, &k->table); /* others came meanwhile: what was written lacks them */
    err = write_table(c->e, &c->table, &c->write);
    if (err != DYN_OK)
        change_ends(c, err);
}

static int apply(struct change *c, const struct settings_request *q)
{
    struct engine *e = c->e;
    int err = DYN_OK;
    settings_join(&c->table, &e->settings->table);
    for (uint32_t i = 0; i < q->n && err == DYN_OK; i++) {
        enum dir_setting s = q->changes[i].setting;
        if ((s == SETTING_N || s == SETTING_R || s == SETTING_W) &&
            q->changes[i].value > ring_n(e->ring))
            err = DYN_ERR_INVALID;
        else
            err = settings_set(&c->table, q->dir, s, q->changes[i].value, engine_wall_ms(e),
                               e->cfg.node);
    }
    return err;
}

static void begin(struct change *c, const struct settings_request *q)
{
    struct engine *e = c->e;
    background_add(e, &c->background, change_abandon);
    timer_init(&c->later, change_answer, c);
    int err = e->serving && !e->stopping ? apply(c, q) : DYN_ERR_STOPPED;
    if (err == DYN_OK && q->n > 0) {
        c->write = (struct store_write){.done = on_changed, .arg = c};
        err = write_table(e, &c->table, &c->write);
        if (err == DYN_OK)
            return;
    }
    change_ends(c, err);
}

void settings_serve(struct engine *e, uint64_t origin, uint64_t rid, struct slice body)
{
    struct settings_request q;
    struct change *c = mem_new(struct change);
    c->e = e;
    c->remote = true;
    c->origin = origin;
    c->rid = rid;
    if (settings_request_decode(body, &q) != DYN_OK)
        q = (struct settings_request){.n = 1}; /* a setting that there is not: refused */
    begin(c, &q);
}

void settings_change(struct engine *e, const struct settings_request *q,
                     void (*done)(void *arg, const struct settings_reply *reply), void *arg)
{
    struct change *c = mem_new(struct change);
    c->e = e;
    c->done = done;
    c->arg = arg;
    begin(c, q);
}

void settings_raise(struct engine *e, struct slice dir, uint8_t growth)
{
    struct change *c = mem_new(struct change);
    c->e = e;
    background_add(e, &c->background, change_abandon);
    timer_init(&c->later, change_answer, c);
    settings_join(&c->table, &e->settings->table);
    int err = e->stopping ? DYN_ERR_STOPPED : settings_raise_growth(&c->table, dir, growth);
    c->write = (struct store_write){.done = on_changed, .arg = c};
    if (err == DYN_OK)
        err = write_table(e, &c->table, &c->write);
    if (err != DYN_OK)
        change_ends(c, err);
}

void settings_tell(struct engine *e, struct buf *body)
{
    put_sync(e->settings, true, body);
}

void settings_ask(struct engine *e, struct buf *body)
{
    put_sync(e->settings, false, body);
}

int settings_confirmed(struct engine *e, struct slice reply)
{
    struct settings_sync m;
    int err = settings_sync_decode(reply, &m);
    if (err != DYN_OK)
        return err;
    if (m.has_table)
        learn(e->settings, &m.table);
    settings_release(&m.table);
    return DYN_OK;
}
