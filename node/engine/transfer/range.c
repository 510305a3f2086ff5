/* SPDX-License-Identifier: Apache-2.0 */
/* See range.h. Nothing here changes a row; what is read may change meanwhile, and that is fine: a
 * write that comes after the receiver became an owner goes to the receiver too. */
#include "engine/transfer/range.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/entry_place.h"
#include "engine/membership/catchup.h"
#include "engine/membership/view.h"
#include "engine/pace.h"
#include "engine/peer_wire.h"
#include "engine/slices.h"
#include "engine/transfer/fence_list.h"
#include "engine/trees/tree.h"

#define SCAN_BYTES (512u << 10)
#define TAKE_ROWS 128u

bool range_rows_valid(const struct range_row *rows, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!row_id_valid((enum row_kind)rows[i].kind, rows[i].key))
            return false;
    return true;
}

/* ---- serving ----------------------------------------------------------------------------- */

struct taken { /* one row of a piece in order */
    enum row_kind kind;
    uint8_t *key;
    size_t key_len;
    struct object object;
    struct row_state state;
    struct place at;
    uint32_t n_values; /* of which are being read */
    bool again;        /* one of its values was not there: it has changed meanwhile, or lost it */
};

struct taken_value {
    struct giving *g;
    uint32_t row, sibling;
    struct buf key;
    struct store_get get;
};

struct giving {                   /* one frame being served */
    struct background background; /* first */
    struct engine *e;
    uint64_t origin, rid;
    uint8_t type;
    struct buf body, out, prefix, cursor;
    struct archive_request q; /* of a peer's frame only q.range, and the op that it comes to */
    struct store_scan scan;
    struct replica_read read;
    struct tree_load load;
    struct slice_wait slice;
    struct pace_wait pace;
    bool reading;
    uint32_t rows, next;

    struct taken *taken; /* in order */
    struct taken_value *values;
    uint32_t n_taken, cap_taken, n_values, n_reading;
    uint64_t bytes; /* of the piece, about */
    struct buf from;
    bool more;
};

static void release_taken(struct giving *g)
{
    for (uint32_t i = 0; i < g->n_values; i++)
        buf_release(&g->values[i].key);
    free(g->values);
    for (uint32_t i = 0; i < g->n_taken; i++) {
        object_release(&g->taken[i].object);
        row_state_release(&g->taken[i].state);
        free(g->taken[i].key);
    }
    free(g->taken);
}

static void giving_free(struct giving *g)
{
    background_end(g->e, &g->background);
    slices_forget(g->e->slices, &g->slice);
    pace_done(g->e->pace, &g->pace);
    trees_forget(&g->load);
    if (g->reading)
        replica_read_release(&g->read);
    release_taken(g);
    range_request_release(&g->q.range);
    buf_release(&g->from);
    buf_release(&g->body);
    buf_release(&g->out);
    buf_release(&g->prefix);
    buf_release(&g->cursor);
    free(g);
}

static void abandon(struct background *b)
{
    giving_free(container_of(b, struct giving, background));
}

static void answer(struct giving *g)
{
    struct net_port *net = &g->e->ports.net;
    net->reply(net->ctx, g->origin, g->rid, (uint8_t)(g->type + FRAME_REPLY), &g->out);
    giving_free(g);
}

static void give(struct giving *g, int status, bool more)
{
    range_reply_end(&g->out, status, g->rows, more, buf_slice(&g->cursor));
    answer(g);
}

static bool for_archive(const struct giving *g)
{
    return g->type == FRAME_ARCHIVE;
}

static int check_range(const struct giving *g)
{
    const struct engine *e = g->e;
    const struct range_request *q = &g->q.range;
    if (!e->serving || e->failed != DYN_OK)
        return DYN_ERR_STOPPED;
    if (q->partition >= ring_q(e->ring))
        return DYN_ERR_INVALID;
    if (!history_epoch_equal(&q->ring, ring_epoch(e->ring)) &&
        q->fence != ring_fence(e->ring, q->partition))
        return DYN_ERR_REFUSED;
    /* Who may have forgotten what it acknowledged is no source, but for what others do not have. */
    bool counts = !for_archive(g) || g->q.op == ARCHIVE_ROOT || g->q.op == ARCHIVE_LIST;
    return !counts || catchup_votes(e->catchup, q->partition) ? DYN_OK : DYN_ERR_OVERLOAD;
}

/* ---- lists ------------------------------------------------------------------------------- */

static const uint8_t UNKNOWN[DIGEST_LEN] = {0}; /* the hash of a state that is to be fetched */

/* What the row is about; false for rows that are no state. */
static bool parse_row(struct slice row, struct buf *name, enum row_kind *kind)
{
    struct place at;
    return row_meta_parse(row, &at, kind, name) == DYN_OK && *kind != ROW_DIRSTAT;
}

static bool hash_row(struct slice value, uint8_t hash[DIGEST_LEN])
{
    struct object o = OBJECT_EMPTY;
    struct epoch mark;
    bool good = object_row_decode(value, &mark, &o) == DYN_OK;
    if (good)
        object_hash(&o, hash);
    object_release(&o);
    return good;
}

static void list_row(struct giving *g, enum row_kind kind, struct slice key,
                     const uint8_t hash[DIGEST_LEN])
{
    struct range_row row = {.kind = (uint8_t)kind, .key = key};
    range_name_put(&row, &g->out);
    buf_put(&g->out, hash, DIGEST_LEN);
    g->rows++;
}

static void remember_cursor(struct giving *g, struct slice key)
{
    buf_clear(&g->cursor);
    buf_put_slice(&g->cursor, key);
    buf_put_u8(&g->cursor, 0); /* the least key after this one */
}

static bool on_row(struct store_scan *req, struct slice key, struct slice value)
{
    struct giving *g = req->arg;
    struct buf name = BUF_EMPTY;
    enum row_kind kind;
    uint8_t hash[DIGEST_LEN];
    remember_cursor(g, key);
    /* An archive needs no entries: whoever brings an object back brings its entry too. What cannot
     * be read is listed for it: that there is something is known. */
    if (parse_row(key, &name, &kind) && (kind == ROW_OBJECT || !for_archive(g))) {
        if (hash_row(value, hash))
            list_row(g, kind, buf_slice(&name), hash);
        else if (for_archive(g))
            list_row(g, kind, buf_slice(&name), UNKNOWN);
    }
    buf_release(&name);
    return g->rows < RANGE_ROWS_MAX;
}

/* A hint of the partition: the state lies where any other does. */
static bool on_hint(struct store_scan *req, struct slice key, struct slice value)
{
    struct giving *g = req->arg;
    uint32_t partition;
    enum row_kind kind;
    struct slice about;
    (void)value;
    remember_cursor(g, key);
    if (row_hint_parse(key, &partition, &kind, &about) == DYN_OK && kind == ROW_OBJECT)
        list_row(g, kind, about, UNKNOWN);
    return g->rows < RANGE_ROWS_MAX;
}

static void on_scanned(struct store_scan *req, int err, bool more)
{
    struct giving *g = req->arg;
    give(g, err, more);
}

static void give_list(struct giving *g, enum store_family family,
                      bool (*row)(struct store_scan *req, struct slice key, struct slice value))
{
    if (family == STORE_HINT)
        row_hint_prefix(g->q.target, &g->prefix);
    buf_put_u32_be(&g->prefix, g->q.range.partition);
    if (g->q.range.after.len > 0 && !slice_has_prefix(g->q.range.after, buf_slice(&g->prefix))) {
        give(g, DYN_ERR_INVALID, false);
        return;
    }
    g->scan = (struct store_scan){.family = family,
                                  .prefix = buf_slice(&g->prefix),
                                  .from = g->q.range.after,
                                  .max_rows = UINT32_MAX,
                                  .max_bytes = SCAN_BYTES,
                                  .row = row,
                                  .done = on_scanned,
                                  .arg = g};
    g->e->ports.store.scan(g->e->ports.store.ctx, &g->scan);
}

/* ---- pieces ------------------------------------------------------------------------------ */

static void give_next(struct giving *g);

/* Many large versions of one key do not fit into a frame: the receiver fetches their values one by
 * one. */
static void leave_out(struct object *o, uint64_t most)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < o->n; i++)
        bytes += o->siblings[i].value != NULL ? o->siblings[i].value->len : 0;
    for (uint32_t i = 0; i < o->n && o->n > 1 && bytes > most; i++) {
        blob_unref(o->siblings[i].value);
        o->siblings[i].value = NULL;
    }
}

static void put_sealed(struct giving *g, struct slice key, const struct object *o)
{
    struct engine *e = g->e;
    struct buf encoded = BUF_EMPTY;
    struct range_row row = {.kind = RANGE_OBJECT, .key = key};
    object_encode(o, &encoded);
    row.encoded = buf_slice(&encoded);
    range_seal(e->mac, ring_cluster(e->ring), row.kind, key, row.encoded, row.seal);
    range_sealed_put(&row, o, &g->out);
    buf_release(&encoded);
    g->rows++;
}

static void put_state(struct giving *g, const struct range_row *row, struct object *o)
{
    leave_out(o, g->e->cfg.frame_values_max);
    if (for_archive(g)) {
        if (!object_is_absent(o)) /* or it has gone meanwhile */
            put_sealed(g, row->key, o);
        return;
    }
    range_name_put(row, &g->out);
    object_encode(o, &g->out);
    object_values_encode(o, &g->out);
    g->rows++;
}

static void on_state(struct replica_read *read, int err)
{
    struct giving *g = read->arg;
    g->reading = false;
    if (err == DYN_OK)
        put_state(g, &g->q.range.rows[g->next++], &read->object);
    replica_read_release(read);
    if (err != DYN_OK)
        give(g, g->rows > 0 ? DYN_OK : err, true); /* what there is; the rest is asked for again */
    else
        give_next(g);
}

static void give_next(struct giving *g)
{
    if (g->next == g->q.range.n || g->out.len >= RANGE_BYTES_MAX) {
        give(g, DYN_OK, g->next < g->q.range.n);
        return;
    }
    const struct range_row *row = &g->q.range.rows[g->next];
    g->read = (struct replica_read){.e = g->e,
                                    .key = row->key,
                                    .load = row->kind == RANGE_OBJECT ? LOAD_ALL : LOAD_NONE,
                                    .entry = row->kind == RANGE_ENTRY,
                                    .done = on_state,
                                    .arg = g};
    g->reading = true;
    replica_read_start(&g->read);
}

/* ---- pieces in order --------------------------------------------------------------------- */

static void take_rows(struct giving *g);
static void put_taken(struct giving *g);

static bool has_value_here(const struct taken *t, const struct sibling *s)
{
    return sibling_live(s) && s->size > 0 && !row_state_lacks(&t->state, &s->value_dot);
}

static struct range_row named(const struct taken *t)
{
    return (struct range_row){.kind = (uint8_t)t->kind, .key = slice_of(t->key, t->key_len)};
}

static void on_again(struct replica_read *read, int err)
{
    struct giving *g = read->arg;
    const struct range_row row = named(&g->taken[g->next++]);
    g->reading = false;
    if (err == DYN_OK)
        put_state(g, &row, &read->object);
    replica_read_release(read);
    if (err != DYN_OK)
        give(g, err, true);
    else
        put_taken(g);
}

static void read_again(struct giving *g, const struct taken *t)
{
    g->read = (struct replica_read){.e = g->e,
                                    .key = slice_of(t->key, t->key_len),
                                    .load = LOAD_ALL,
                                    .done = on_again,
                                    .arg = g};
    g->reading = true;
    replica_read_start(&g->read);
}

static void put_taken(struct giving *g)
{
    while (g->next < g->n_taken) {
        struct taken *t = &g->taken[g->next];
        if (t->again) {
            read_again(g, t);
            return;
        }
        const struct range_row row = named(t);
        put_state(g, &row, &t->object);
        g->next++;
    }
    give(g, DYN_OK, g->more);
}

static void value_settled(struct giving *g)
{
    if (--g->n_reading == 0)
        put_taken(g);
}

static void on_value(struct store_get *req, int err, struct slice value)
{
    const struct taken_value *v = req->arg;
    struct giving *g = v->g;
    struct taken *t = &g->taken[v->row];
    struct sibling *s = &t->object.siblings[v->sibling];
    if (err == DYN_OK && value.len == sibling_value_len(s))
        s->value = blob_new(value.data, value.len);
    else
        t->again = true;
    value_settled(g);
}

/* No lock is held over a row and its values: what has changed in between is read once more. */
static void read_values(struct giving *g)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n_taken; i++)
        n += g->taken[i].n_values;
    g->values = mem_zalloc((n + 1) * sizeof(*g->values));
    g->n_reading = 1; /* this function: reads may end inside */
    for (uint32_t i = 0; i < g->n_taken; i++) {
        const struct taken *t = &g->taken[i];
        for (uint32_t k = 0, left = t->n_values; left > 0; k++) {
            const struct sibling *s = &t->object.siblings[k];
            if (!has_value_here(t, s))
                continue;
            struct taken_value *v = &g->values[g->n_values++];
            *v = (struct taken_value){.g = g, .row = i, .sibling = k};
            row_value(&t->at, slice_of(t->key, t->key_len), &s->value_dot, &v->key);
            v->get = (struct store_get){
                .family = STORE_VALUE, .key = buf_slice(&v->key), .done = on_value, .arg = v};
            left--;
        }
    }
    g->n_reading += g->n_values;
    for (uint32_t i = 0; i < n; i++)
        g->e->ports.store.get(g->e->ports.store.ctx, &g->values[i].get);
    value_settled(g);
}

/* How many of its values go along, the first ones up to what a frame may hold. */
static void plan_values(struct giving *g, struct taken *t)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; t->kind == ROW_OBJECT && i < t->object.n; i++) {
        const struct sibling *s = &t->object.siblings[i];
        if (!has_value_here(t, s))
            continue;
        if (bytes > 0 && bytes + sibling_value_len(s) > g->e->cfg.frame_values_max)
            break;
        bytes += sibling_value_len(s);
        t->n_values++;
    }
    g->bytes += bytes;
}

static bool is_full(const struct giving *g)
{
    return g->bytes >= RANGE_BYTES_MAX || g->n_taken == RANGE_ROWS_MAX;
}

static bool on_take(struct store_scan *req, struct slice key, struct slice value)
{
    struct giving *g = req->arg;
    struct taken t = {.object = OBJECT_EMPTY, .state = ROW_STATE_NONE};
    struct buf name = BUF_EMPTY;
    if (is_full(g)) { /* so there is this row, and it is for the next piece */
        g->more = true;
        return false;
    }
    remember_cursor(g, key);
    if (row_meta_parse(key, &t.at, &t.kind, &name) != DYN_OK || t.kind == ROW_DIRSTAT ||
        row_decode(value, &t.state, &t.object) != DYN_OK) {
        object_release(&t.object);
        row_state_release(&t.state);
        buf_release(&name);
        return true;
    }
    t.key_len = name.len;
    t.key = mem_dup(name.data, name.len);
    buf_release(&name);
    g->bytes += key.len + value.len;
    plan_values(g, &t);
    if (g->n_taken == g->cap_taken) {
        g->cap_taken = g->cap_taken == 0 ? TAKE_ROWS : g->cap_taken * 2;
        g->taken = mem_reallocarray(g->taken, g->cap_taken, sizeof(*g->taken));
    }
    g->taken[g->n_taken++] = t;
    return true;
}

static void on_taken(struct store_scan *req, int err, bool more)
{
    struct giving *g = req->arg;
    if (err != DYN_OK) {
        give(g, err, false);
        return;
    }
    if (more && !g->more && !is_full(g)) {
        take_rows(g);
        return;
    }
    g->more |= more;
    read_values(g);
}

/* A few rows at a time: how many make a piece is known when they are there. */
static void take_rows(struct giving *g)
{
    buf_clear(&g->from);
    buf_put_slice(&g->from, g->cursor.len > 0 ? buf_slice(&g->cursor) : g->q.range.after);
    g->scan = (struct store_scan){.family = STORE_META,
                                  .prefix = buf_slice(&g->prefix),
                                  .from = buf_slice(&g->from),
                                  .max_rows = TAKE_ROWS,
                                  .max_bytes = SCAN_BYTES,
                                  .row = on_take,
                                  .done = on_taken,
                                  .arg = g};
    g->e->ports.store.scan(g->e->ports.store.ctx, &g->scan);
}

static void give_in_order(struct giving *g)
{
    buf_put_u32_be(&g->prefix, g->q.range.partition);
    if (g->q.range.after.len > 0 && !slice_has_prefix(g->q.range.after, buf_slice(&g->prefix)))
        give(g, DYN_ERR_INVALID, false);
    else
        take_rows(g);
}

/* ---- roots ------------------------------------------------------------------------------- */

static void give_root(struct giving *g, int status)
{
    struct tree_hash root = {0, 0};
    if (status == DYN_OK && !trees_root(g->e->trees, g->q.range.partition, &root))
        status = DYN_ERR_NOT_FOUND;
    struct archive_root p = {.status = status, .a = root.a, .b = root.b};
    buf_clear(&g->out);
    archive_root_encode(&p, &g->out);
    answer(g);
}

static void on_tree(struct tree_load *l, int err)
{
    give_root(l->arg, err);
}

static void give_targets(struct giving *g)
{
    struct engine_hints *held = mem_zalloc(ARCHIVE_TARGETS_MAX * sizeof(*held));
    uint64_t *nodes = mem_zalloc(ARCHIVE_TARGETS_MAX * sizeof(*nodes));
    bool serves = g->e->serving && g->e->failed == DYN_OK;
    uint32_t n = engine_hints(g->e, held, ARCHIVE_TARGETS_MAX);
    struct archive_targets p = {.status = serves ? DYN_OK : DYN_ERR_STOPPED, .nodes = nodes};
    for (; p.n < n && p.n < ARCHIVE_TARGETS_MAX; p.n++)
        nodes[p.n] = held[p.n].target;
    buf_clear(&g->out);
    archive_targets_encode(&p, &g->out);
    free(nodes);
    free(held);
    answer(g);
}

/* ---- frames ------------------------------------------------------------------------------ */

static void serve_fences(struct engine *e, uint64_t origin, uint64_t rid, struct slice body)
{
    struct fence_list l = {.n = 0};
    struct buf out = BUF_EMPTY;
    int err = fence_list_decode(body, &l);
    for (uint32_t i = 0; i < l.n && err == DYN_OK; i++)
        if (l.partitions[i] >= ring_q(e->ring) ||
            l.fences[i] != ring_fence(e->ring, l.partitions[i]))
            err = DYN_ERR_REFUSED;
    fence_list_release(&l);
    peer_status_encode(e->serving ? err : DYN_ERR_STOPPED, &out);
    e->ports.net.reply(e->ports.net.ctx, origin, rid, FRAME_FENCED + FRAME_REPLY, &out);
}

static void serve(struct giving *g)
{
    switch (g->q.op) {
    case ARCHIVE_ROOT:
        if (!trees_complete(g->e->trees)) {
            give_root(g, DYN_ERR_NOT_FOUND);
            return;
        }
        g->load = (struct tree_load){.done = on_tree, .arg = g};
        trees_load(g->e->trees, g->q.range.partition, &g->load);
        return;
    case ARCHIVE_LIST:
        give_list(g, STORE_META, on_row);
        return;
    case ARCHIVE_HINTED:
        give_list(g, STORE_HINT, on_hint);
        return;
    default:
        if (g->q.range.n == 0 && !for_archive(g))
            give_in_order(g);
        else
            give_next(g);
    }
}

static void on_slice(struct slice_wait *w)
{
    serve(w->arg);
}

static struct giving *giving_new(struct engine *e, uint64_t origin, uint64_t rid, uint8_t type,
                                 struct slice body)
{
    struct giving *g = mem_new(struct giving);
    g->e = e;
    g->origin = origin;
    g->rid = rid;
    g->type = type;
    buf_put_slice(&g->body, body);
    slice_wait_init(&g->slice, WORK_TRANSFER, on_slice, g);
    background_add(e, &g->background, abandon);
    return g;
}

static void refuse_or(struct giving *g, int err, void (*go_on)(struct giving *g))
{
    if (err == DYN_OK)
        go_on(g);
    else if (g->q.op == ARCHIVE_ROOT)
        give_root(g, err);
    else
        give(g, err, false);
}

static void wait_for_slice(struct giving *g)
{
    slices_ask(g->e->slices, &g->slice); /* behind the requests of users */
}

/* It may have waited: the ring is another, or this node's own copy counts no more. */
static void on_pace(struct pace_wait *w)
{
    struct giving *g = container_of(w, struct giving, pace);
    refuse_or(g, check_range(g), serve);
}

/* A root costs nothing, and closes a move. */
static void serve_paced(struct giving *g)
{
    if (g->q.op == ARCHIVE_ROOT)
        serve(g);
    else
        pace_ask(g->e->pace, &g->pace, on_pace);
}

void range_frame(struct engine *e, uint64_t origin, uint64_t rid, uint8_t type, struct slice body)
{
    if (type == FRAME_FENCED) {
        serve_fences(e, origin, rid, body);
        return;
    }
    struct giving *g = giving_new(e, origin, rid, type, body);
    g->q.op = type == FRAME_RANGE_FETCH  ? ARCHIVE_FETCH
              : type == FRAME_RANGE_ROOT ? ARCHIVE_ROOT
                                         : ARCHIVE_LIST;
    range_reply_begin(&g->out, type == FRAME_RANGE_FETCH ? RANGE_STATES : RANGE_HASHES);
    int err = range_request_decode(buf_slice(&g->body), &g->q.range);
    if (err == DYN_OK && !range_rows_valid(g->q.range.rows, g->q.range.n))
        err = DYN_ERR_PROTOCOL;
    if (err == DYN_OK)
        err = check_range(g);
    refuse_or(g, err, serve_paced);
}

void range_archive_frame(struct engine *e, uint64_t origin, uint64_t rid, struct slice body)
{
    struct giving *g = giving_new(e, origin, rid, FRAME_ARCHIVE, body);
    int err = archive_request_decode(buf_slice(&g->body), &g->q);
    range_reply_begin(&g->out, g->q.op == ARCHIVE_FETCH ? RANGE_SEALED : RANGE_HASHES);
    if (err == DYN_OK && g->q.op == ARCHIVE_STANDS_IN) {
        give_targets(g); /* of the whole cluster: whatever the ring */
        return;
    }
    if (err == DYN_OK)
        err = check_range(g);
    refuse_or(g, err, wait_for_slice);
}
