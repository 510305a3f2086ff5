/* SPDX-License-Identifier: Apache-2.0 */
/* See oracle.h: the record of writes, and which of them can have covered which. What is judged
 * while the cluster runs stands in oracle_reads.c, the end in oracle_final.c. */
#include "oracle_private.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

/* A request whose asker gave up can still take effect for this long: its coordinator's deadline,
 * and messages that the network held back. */
#define AFTERMATH_US (20 * (uint64_t)SIM_SECOND)

struct oracle *oracle_new(struct sim_world *w)
{
    struct oracle *o = mem_new(struct oracle);
    o->world = w;
    return o;
}

static void key_release(struct oracle_key *k)
{
    for (uint32_t i = 0; i < k->n; i++) {
        cover_release(&k->writes[i]->cover);
        free(k->writes[i]->kept);
        free(k->writes[i]);
    }
    free(k->writes);
    free(k->seen);
    buf_release(&k->name);
}

void oracle_allow_false_conflicts(struct oracle *o)
{
    o->false_conflicts = true;
}

void oracle_expect_reaping(struct oracle *o)
{
    o->reaping = true;
}

bool oracle_reaping(const struct oracle *o)
{
    return o->reaping;
}

bool oracle_false_conflicts(const struct oracle *o)
{
    return o->false_conflicts;
}

void oracle_free(struct oracle *o)
{
    if (o == NULL)
        return;
    for (uint32_t i = 0; i < o->n; i++)
        key_release(&o->keys[i]);
    free(o->keys);
    free(o);
}

uint32_t oracle_key(struct oracle *o, struct slice key)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (slice_equal(buf_slice(&o->keys[i].name), key))
            return i;
    o->keys = mem_reallocarray(o->keys, o->n + 1, sizeof(*o->keys));
    o->keys[o->n] = (struct oracle_key){0};
    buf_put_slice(&o->keys[o->n].name, key);
    return o->n++;
}

uint32_t oracle_key_count(const struct oracle *o)
{
    return o->n;
}

struct slice oracle_key_name(const struct oracle *o, uint32_t key)
{
    return buf_slice(&o->keys[key].name);
}

bool oracle_may_be_directory(const struct oracle *o, struct slice key)
{
    for (uint32_t i = 0; i < o->n; i++) {
        struct slice name = buf_slice(&o->keys[i].name);
        if (o->keys[i].n > 0 && name.len > key.len &&
            (key.len == 0 || (slice_has_prefix(name, key) && name.data[key.len] == '/')))
            return true;
    }
    return false;
}

void oracle_text(const struct oracle *o, const struct oracle_write *w, char *out, size_t len)
{
    char dot[DOT_TEXT_MAX] = "no dot";
    struct slice name = buf_slice(&o->keys[w->key].name);
    if (!dot_is_none(&w->dot))
        dot_format(&w->dot, dot);
    snprintf(out, len, "write %u of %.*s (%s%s, %s, began %llu, ended %llu)", w->id, (int)name.len,
             (const char *)name.data,
             w->drops_only ? "drop"
                           : (const char *[]){"delete", "file", "directory", "symlink"}[w->type],
             w->status == WRITE_ACKED     ? " acknowledged"
             : w->status == WRITE_REFUSED ? " refused"
                                          : " maybe",
             dot, (unsigned long long)w->began_us, (unsigned long long)w->ended_us);
}

static void cover_copy(struct cover *to, const struct cover *from)
{
    clock_copy(&to->clock, &from->clock);
    for (uint32_t i = 0; i < from->n; i++)
        cover_add_dot(to, &from->dots[i]);
}

/* A change of attributes alone has the bytes that its author had seen. */
static void take_value(const struct oracle_key *k, struct oracle_write *w, const struct dot *value)
{
    for (uint32_t i = 0; i < k->n_seen; i++) {
        if (!dot_equal(&k->seen[i].value_dot, value))
            continue;
        w->size = k->seen[i].size;
        memcpy(w->hash, k->seen[i].hash, DIGEST_LEN);
    }
}

struct oracle_write *oracle_put(struct oracle *o, const struct put_request *q,
                                const struct cover *cover)
{
    uint32_t key = oracle_key(o, q->key);
    struct oracle_key *k = &o->keys[key];
    struct oracle_write *w = mem_new(struct oracle_write);
    k->writes = mem_reallocarray(k->writes, k->n + 1, sizeof(struct oracle_write *));
    k->writes[k->n++] = w;
    w->id = ++o->last_id;
    w->key = key;
    w->origin = q->origin;
    w->type = q->type;
    w->mode = q->attrs.mode;
    w->size = q->value.len;
    if (q->type == SIBLING_FILE || q->type == SIBLING_SYMLINK)
        digest_sha256(q->value, w->hash);
    if ((q->flags & PUT_KEEP_VALUE) != 0)
        take_value(k, w, &q->value_dot);
    w->drops_only = (q->flags & PUT_DROP_ONLY) != 0;
    w->current = (q->flags & PUT_CURRENT) != 0;
    w->strict = q->opt.sloppy == SLOPPY_NO;
    w->n = q->opt.n;
    w->w = q->opt.w;
    w->durability = q->opt.durability;
    w->began_us = o->world->now_us;
    cover_copy(&w->cover, cover);
    return w;
}

/* Refusals that speak of the request itself: nothing was stored. Not DYN_ERR_EXISTS: whoever passed
 * the request on may have tried a first node, that stored it and did not answer in time. */
static bool refused(int status)
{
    return status == DYN_ERR_INVALID || status == DYN_ERR_BAD_CONTEXT ||
           status == DYN_ERR_TOO_LARGE || status == DYN_ERR_UNSUPPORTED;
}

/* What an acknowledged write covered, now that its coordinator shows what it holds. */
static void note_cover(struct oracle_write *w, const struct object *now)
{
    w->kept = mem_reallocarray(NULL, now->n + w->cover.n + 1, sizeof(*w->kept));
    if (w->current) {
        /* Whatever it found: all that the clock has seen and that is gone. */
        clock_join(&w->cover.clock, &now->clock);
        for (uint32_t i = 0; i < now->n; i++)
            w->kept[w->n_kept++] = now->siblings[i].dot;
    }
    /* A version that was named and that R nodes do not know of cannot be removed: naming it joins
     * nothing into the clock (E6). It stays beside this one, when it comes. */
    for (uint32_t i = 0; i < w->cover.n; i++)
        if (!clock_covers(&now->clock, &w->cover.dots[i]))
            w->kept[w->n_kept++] = w->cover.dots[i];
}

void oracle_put_ended(struct oracle *o, struct oracle_write *w, int status,
                      const struct put_reply *reply)
{
    w->ended_us = o->world->now_us;
    if (reply == NULL)
        return;
    if (refused(status))
        w->status = WRITE_REFUSED;
    if (status != DYN_OK)
        return;
    w->status = WRITE_ACKED;
    note_cover(w, &reply->object);
    oracle_learn(o, w, &reply->dot);
    oracle_saw_object(o, w->key, &reply->object, false);
}

void oracle_learn(struct oracle *o, struct oracle_write *w, const struct dot *dot)
{
    char a[256], b[256];
    struct oracle_key *k = &o->keys[w->key];
    if (dot_is_none(dot))
        return;
    /* A repeat of a write is answered with the dot it had; one that collapsed at once with the dot
     * of the one that stayed; any other write has a dot of its own. */
    for (uint32_t i = 0; i < k->n; i++) {
        struct oracle_write *other = k->writes[i];
        if (other == w || !dot_equal(&other->dot, dot) || oracle_same_origin(other, w))
            continue;
        if (oracle_stays_for(other, w))
            return;
        oracle_text(o, w, a, sizeof(a));
        oracle_text(o, other, b, sizeof(b));
        sim_violation(o->world, "one dot for two writes: %s and %s", a, b);
    }
    w->dot = *dot;
}

void oracle_synced(struct oracle *o, uint32_t key, const struct dot *dot)
{
    struct oracle_key *k = &o->keys[key];
    for (uint32_t i = 0; i < k->n; i++)
        if (dot_equal(&k->writes[i]->dot, dot))
            k->writes[i]->synced = true;
}

void oracle_power_lost(struct oracle *o)
{
    for (uint32_t i = 0; i < o->n; i++) {
        for (uint32_t j = 0; j < o->keys[i].n; j++) {
            struct oracle_write *w = o->keys[i].writes[j];
            w->power_lost = true;
        }
    }
}

bool oracle_same_origin(const struct oracle_write *a, const struct oracle_write *b)
{
    return a->origin.writer == b->origin.writer && a->origin.stream == b->origin.stream &&
           a->origin.seq == b->origin.seq;
}

bool oracle_stays_for(const struct oracle_write *stays, const struct oracle_write *w)
{
    bool later = w->origin.writer != 0 && stays->origin.writer == w->origin.writer &&
                 stays->origin.stream == w->origin.stream && stays->origin.seq >= w->origin.seq;
    bool deletes = stays->type == SIBLING_DELETE && w->type == SIBLING_DELETE;
    return later || deletes || oracle_same_content(stays, w);
}

bool oracle_lasts(const struct oracle_write *w)
{
    return w->status == WRITE_ACKED &&
           !(w->power_lost && !w->synced && w->durability == DURABILITY_BUFFERED);
}

bool oracle_covers(const struct oracle_write *by, const struct dot *dot)
{
    if (dot_is_none(dot) || dot_equal(&by->dot, dot) || !cover_has(&by->cover, dot))
        return false;
    for (uint32_t i = 0; i < by->n_kept; i++)
        if (dot_equal(&by->kept[i], dot))
            return false;
    return true;
}

bool oracle_may_remove(const struct oracle_write *by, const struct dot *dot)
{
    for (uint32_t i = 0; i < by->cover.n; i++) /* named: removed wherever it was known */
        if (dot_equal(&by->cover.dots[i], dot))
            return true;
    return oracle_covers(by, dot);
}

/* May `by`, in whatever way, have removed `w`? */
static bool may_cover(const struct oracle_write *by, const struct oracle_write *w)
{
    if (by == w || by->status == WRITE_REFUSED)
        return false;
    /* Whatever was there: known of one attempt at most, and it can have been tried at two nodes. */
    if (by->current)
        return by->ended_us == 0 || w->began_us < by->ended_us + AFTERMATH_US;
    if (dot_is_none(&w->dot)) /* known by clocks alone: no way to tell */
        return by->cover.clock.n > 0;
    return oracle_may_remove(by, &w->dot);
}

bool oracle_may_be_covered(const struct oracle *o, const struct oracle_write *w)
{
    const struct oracle_key *k = &o->keys[w->key];
    for (uint32_t i = 0; i < k->n; i++)
        if (may_cover(k->writes[i], w))
            return true;
    return false;
}

bool oracle_same_content(const struct oracle_write *a, const struct oracle_write *b)
{
    return a->type == b->type && a->mode == b->mode && a->size == b->size &&
           memcmp(a->hash, b->hash, DIGEST_LEN) == 0 && !a->drops_only && !b->drops_only;
}
