/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_audit.h. */
#include "sim_audit.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/fragments.h"
#include "engine/thin/thin_job.h"

struct listed {
    struct buf key;
    struct object object;
};

struct sim_listing {
    struct listed *rows;
    uint32_t n;
};

struct sim_listing *sim_listing_new(void)
{
    return mem_new(struct sim_listing);
}

void sim_listing_clear(struct sim_listing *l)
{
    for (uint32_t i = 0; i < l->n; i++) {
        buf_release(&l->rows[i].key);
        object_release(&l->rows[i].object);
    }
    l->n = 0;
}

void sim_listing_free(struct sim_listing *l)
{
    sim_listing_clear(l);
    free(l->rows);
    free(l);
}

void sim_listing_add(struct sim_listing *l, struct slice dir, const struct list_entry *entry)
{
    l->rows = mem_reallocarray(l->rows, l->n + 1, sizeof(*l->rows));
    struct listed *row = &l->rows[l->n++];
    *row = (struct listed){BUF_EMPTY, OBJECT_EMPTY};
    key_join(dir, entry->name, &row->key);
    object_copy(&row->object, &entry->object);
}

static const struct listed *listing_find(const struct sim_listing *l, struct slice key)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (slice_equal(buf_slice(&l->rows[i].key), key))
            return &l->rows[i];
    return NULL;
}

static void log_versions(struct sim_cluster *c, const char *of, const struct object *o)
{
    char dot[DOT_TEXT_MAX];
    for (uint32_t i = 0; i < o->n; i++) {
        dot_format(&o->siblings[i].dot, dot);
        sim_log(c->world, "      %s %s%s", of, dot,
                sibling_live(&o->siblings[i]) ? "" : ", a delete");
    }
    for (uint32_t i = 0; i < o->clock.n; i++) {
        dot_format(&(struct dot){o->clock.pairs[i].actor, o->clock.pairs[i].counter}, dot);
        sim_log(c->world, "      %s has seen %s", of, dot);
    }
}

/* Every live version of a is one of b. */
static bool live_within(const struct object *a, const struct object *b)
{
    for (uint32_t i = 0; i < a->n; i++)
        if (sibling_live(&a->siblings[i]) && object_find(b, &a->siblings[i].dot) == NULL)
            return false;
    return true;
}

static const struct object *find_object(const struct oracle *o, const struct object *objects,
                                        struct slice key)
{
    for (uint32_t i = 0; i < oracle_key_count(o); i++)
        if (slice_equal(oracle_key_name(o, i), key))
            return &objects[i];
    return NULL;
}

static void audit_entry(struct sim_cluster *c, const struct sim_listing *l, const struct oracle *o,
                        const struct object *objects, uint32_t i)
{
    const struct object none = OBJECT_EMPTY, *object = &objects[i];
    struct slice key = oracle_key_name(o, i);
    const struct listed *row = listing_find(l, key);
    const struct object *entry = row != NULL ? &row->object : &none;
    if ((live_within(entry, object) && live_within(object, entry)) || oracle_false_conflicts(o))
        return;
    sim_violation(c->world, "%.*s %s", (int)key.len, (const char *)key.data,
                  !object_live(entry)    ? "lives and is not listed"
                  : !object_live(object) ? "is listed and does not live"
                                         : "is listed with other versions than it has");
    log_versions(c, "entry", entry);
    log_versions(c, "object", object);
}

static void audit_parent(struct sim_cluster *c, const struct oracle *o,
                         const struct object *objects, uint32_t i)
{
    struct slice key = oracle_key_name(o, i), parent = key_parent(key);
    const struct object *dir = find_object(o, objects, parent);
    if (object_live(&objects[i]) && parent.len > 0 && (dir == NULL || !object_live(dir)))
        sim_violation(c->world, "%.*s lives under a dead directory", (int)key.len,
                      (const char *)key.data);
}

void sim_audit_listing(struct sim_cluster *c, const struct sim_listing *l, const struct oracle *o,
                       const struct object *objects)
{
    for (uint32_t i = 0; i < oracle_key_count(o); i++) {
        if (oracle_key_name(o, i).len == 0)
            continue; /* the root is in no directory */
        audit_entry(c, l, o, objects, i);
        audit_parent(c, o, objects, i);
    }
    for (uint32_t i = 0; i < l->n; i++) {
        struct slice key = buf_slice(&l->rows[i].key);
        if (find_object(o, objects, key) == NULL)
            sim_violation(c->world, "%.*s is listed and nobody wrote it", (int)key.len,
                          (const char *)key.data);
    }
}

struct row_read {
    struct store_get get;
    bool over;
    int err;
    struct buf value;
};

static void row_done(struct store_get *get, int err, struct slice value)
{
    struct row_read *r = get->arg;
    r->over = true;
    r->err = err;
    buf_put_slice(&r->value, value);
}

/* The row's bytes into out; the disk has been told to answer at once. */
static int row_get(struct sim_node *node, enum store_family family, struct slice key,
                   struct buf *out)
{
    struct row_read r = {.get = {.family = family, .key = key, .done = row_done}};
    struct store_port store = sim_disk_port(node->disk);
    r.get.arg = &r;
    store.get(store.ctx, &r.get);
    buf_clear(out);
    buf_put_slice(out, buf_slice(&r.value));
    buf_release(&r.value);
    return r.over ? r.err : DYN_ERR_IO;
}

/* What others keep for this node, by the N of the key's directory, is not to be here. */
static bool kept_by_others(const struct sim_node *node, struct slice key, const struct place *at,
                           const struct row_state *state, const struct sibling *s)
{
    return node->engine != NULL && row_state_thin(state, &s->value_dot) &&
           !thin_is_to_hold(node->engine, at->partition, key, false);
}

static void audit_values(struct sim_node *node, struct slice key, const struct place *at,
                         const struct object *object, const struct row_state *state)
{
    struct buf row = BUF_EMPTY, value = BUF_EMPTY;
    for (uint32_t i = 0; i < object->n; i++) {
        const struct sibling *s = &object->siblings[i];
        if (!sibling_live(s) || s->size == 0 || kept_by_others(node, key, at, state, s))
            continue;
        buf_clear(&row);
        row_value(at, key, &s->value_dot, &row);
        int err = row_get(node, STORE_VALUE, buf_slice(&row), &value);
        if (err != DYN_OK || value.len != s->size)
            sim_violation(node->cluster->world, "node %u lacks the bytes of a version of %.*s",
                          node->index, (int)key.len, (const char *)key.data);
    }
    buf_release(&row);
    buf_release(&value);
}

static void audit_replica(struct sim_node *node, struct slice key, const struct object *expected)
{
    struct place at = place_of(node->cluster->ring, key);
    struct buf row = BUF_EMPTY, value = BUF_EMPTY;
    struct object object = OBJECT_EMPTY;
    struct row_state state = ROW_STATE_NONE;
    row_object(&at, key, &row);
    int err = row_get(node, STORE_META, buf_slice(&row), &value);
    if (err == DYN_OK)
        err = row_decode(buf_slice(&value), &state, &object);
    bool forgotten = !object_live(expected) && object_is_absent(&object);
    if (err != DYN_OK && err != DYN_ERR_NOT_FOUND)
        sim_violation(node->cluster->world, "node %u cannot read its row: %s", node->index,
                      dyn_err_code(err));
    if (forgotten && node->cluster->cfg.engine.reap_us != 0) {
        ; /* reaped since it was read */
    } else if (object_equal(&object, expected)) {
        audit_values(node, key, &at, expected, &state);
    } else {
        sim_violation(node->cluster->world, "node %u differs from the merged object of %.*s",
                      node->index, (int)key.len, (const char *)key.data);
        log_versions(node->cluster, "replica", &object);
        log_versions(node->cluster, "merged", expected);
    }
    object_release(&object);
    row_state_release(&state);
    buf_release(&row);
    buf_release(&value);
}

/* What one node holds under a key, or under the id of its entry. False, after saying why, when it
 * cannot be read. */
static bool held(struct sim_node *node, struct slice key, bool entry, struct object *out)
{
    struct buf row = BUF_EMPTY, value = BUF_EMPTY;
    enum row_kind kind = entry ? ROW_ENTRY : ROW_OBJECT;
    struct place at = place_of_row(node->cluster->ring, kind, key);
    struct row_state state = ROW_STATE_NONE;
    row_of_id(&at, kind, key, &row);
    int err = row_get(node, STORE_META, buf_slice(&row), &value);
    if (err == DYN_OK)
        err = row_decode(buf_slice(&value), &state, out);
    if (err != DYN_OK && err != DYN_ERR_NOT_FOUND)
        sim_violation(node->cluster->world, "node %u cannot read its row: %s", node->index,
                      dyn_err_code(err));
    else if (!entry)
        audit_values(node, key, &at, out, &state);
    row_state_release(&state);
    buf_release(&row);
    buf_release(&value);
    return err == DYN_OK || err == DYN_ERR_NOT_FOUND;
}

static uint32_t owners_of(const struct sim_cluster *c, struct slice key, bool entry, uint32_t n,
                          uint32_t *nodes)
{
    struct place at = place_of_row(sim_cluster_ring(c), entry ? ROW_ENTRY : ROW_OBJECT, key);
    return sim_cluster_owners(c, at.partition, n, nodes);
}

static void audit_level(struct sim_cluster *c, struct slice key, bool entry, uint32_t n)
{
    uint32_t nodes[SIM_NODES_MAX];
    struct object first = OBJECT_EMPTY, other = OBJECT_EMPTY;
    uint32_t replicas = owners_of(c, key, entry, n, nodes);
    if (replicas == 0 || !held(&c->nodes[nodes[0]], key, entry, &first))
        return;
    for (uint32_t k = 1; k < replicas; k++) {
        object_release(&other);
        if (!held(&c->nodes[nodes[k]], key, entry, &other) || object_equal(&first, &other))
            continue;
        bool dead = !object_live(&first) && !object_live(&other);
        if (c->cfg.engine.reap_us != 0 && dead &&
            (object_is_absent(&first) || object_is_absent(&other)))
            continue; /* one has been told to let go, the other is about to be */
        sim_violation(c->world, "nodes %u and %u differ in the %s of %.*s, which nobody has read",
                      nodes[0], nodes[k], entry ? "entry" : "object", (int)key.len,
                      (const char *)key.data);
        log_versions(c, "one", &first);
        log_versions(c, "other", &other);
    }
    object_release(&first);
    object_release(&other);
}

/* Nothing is left in a fragment of the directory that it does not belong to (E26). */
static void audit_stray(struct sim_cluster *c, struct slice id, uint32_t n)
{
    uint32_t nodes[SIM_NODES_MAX], fragment;
    struct slice key = entry_id_split(id, &fragment);
    uint32_t replicas = owners_of(c, id, true, n, nodes);
    for (uint32_t k = 0; k < replicas; k++) {
        struct object o = OBJECT_EMPTY;
        if (held(&c->nodes[nodes[k]], id, true, &o) && !object_is_absent(&o))
            sim_violation(c->world, "node %u keeps the entry of %.*s in fragment %u", nodes[k],
                          (int)key.len, (const char *)key.data, fragment);
        object_release(&o);
    }
}

static void audit_entries(struct sim_cluster *c, struct slice key, uint32_t n)
{
    uint32_t some = 0;
    while (c->nodes[some].engine == NULL) /* it is lost */
        some++;
    const struct engine *e = c->nodes[some].engine;
    uint32_t depth = fragments_depth(e, key_parent(key)), belongs = engine_fragment(e, key);
    uint32_t before = FRAGMENTS_MAX;
    for (uint32_t d = 0; d <= depth; d++) {
        uint32_t fragment = fragment_of_name(key_name(key), d);
        struct buf id = BUF_EMPTY;
        entry_id(fragment, key, &id);
        if (fragment == belongs && fragment != before)
            audit_level(c, buf_slice(&id), true, n);
        else if (fragment != before)
            audit_stray(c, buf_slice(&id), n);
        before = fragment;
        buf_release(&id);
    }
}

void sim_audit_level(struct sim_cluster *c, const struct oracle *o, uint32_t n)
{
    for (uint32_t i = 0; i < c->cfg.nodes; i++)
        sim_disk_pace(c->nodes[i].disk, 0);
    for (uint32_t i = 0; i < oracle_key_count(o); i++) {
        struct slice key = oracle_key_name(o, i);
        audit_level(c, key, false, n);
        if (key.len > 0)
            audit_entries(c, key, n);
    }
}

void sim_audit_replicas(struct sim_cluster *c, const struct oracle *o, const struct object *objects,
                        uint32_t n)
{
    for (uint32_t i = 0; i < c->cfg.nodes; i++)
        sim_disk_pace(c->nodes[i].disk, 0);
    for (uint32_t i = 0; i < oracle_key_count(o); i++) {
        uint32_t nodes[SIM_NODES_MAX];
        struct slice key = oracle_key_name(o, i);
        uint32_t replicas = sim_cluster_replicas(c, key, n, nodes);
        for (uint32_t k = 0; k < replicas; k++)
            audit_replica(&c->nodes[nodes[k]], key, &objects[i]);
    }
}
