/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold for every reply, at any time: see oracle.h. */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "oracle_private.h"

struct oracle_write *oracle_author(struct oracle *o, uint32_t key, const struct sibling *s)
{
    struct oracle_key *k = &o->keys[key];
    struct oracle_write *found = NULL;
    for (uint32_t i = 0; i < k->n; i++) {
        struct oracle_write *w = k->writes[i];
        if (dot_equal(&w->dot, &s->dot) && !dot_is_none(&s->dot))
            return w;
        /* A repeated write has one origin and several attempts: any that may have happened. */
        if (w->status != WRITE_REFUSED && w->origin.writer == s->origin.writer &&
            w->origin.stream == s->origin.stream && w->origin.seq == s->origin.seq &&
            (found == NULL || !dot_is_none(&found->dot)))
            found = w;
    }
    if (found != NULL && dot_is_none(&found->dot))
        oracle_learn(o, found, &s->dot);
    return found;
}

static void check_content(struct oracle *o, uint32_t key, const struct sibling *s,
                          const struct oracle_write *w)
{
    char text[256];
    bool same = w->drops_only
                    ? s->type == SIBLING_DELETE
                    : s->type == w->type && (s->type == SIBLING_DELETE ||
                                             (s->attrs.mode == w->mode && s->size == w->size &&
                                              memcmp(s->value_hash, w->hash, 16) == 0));
    if (same)
        return;
    oracle_text(o, w, text, sizeof(text));
    sim_violation(o->world, "key %u shows another content than that of %s", key, text);
}

static void check_value(struct oracle *o, uint32_t key, const struct sibling *s)
{
    uint8_t hash[DIGEST_LEN];
    if (s->value == NULL)
        return;
    digest_sha256(slice_of(s->value->data, s->value->len), hash);
    if (s->value->len != s->size || memcmp(hash, s->value_hash, DIGEST_LEN) != 0)
        sim_violation(o->world, "key %u shows bytes that are not those of its version", key);
}

/* A dot has one content for ever. */
static void check_seen(struct oracle *o, uint32_t key, const struct sibling *s)
{
    struct oracle_key *k = &o->keys[key];
    struct oracle_seen *seen = NULL;
    char dot[DOT_TEXT_MAX];
    for (uint32_t i = 0; i < k->n_seen && seen == NULL; i++)
        if (dot_equal(&k->seen[i].dot, &s->dot))
            seen = &k->seen[i];
    if (seen == NULL) {
        k->seen = mem_reallocarray(k->seen, k->n_seen + 1, sizeof(*k->seen));
        seen = &k->seen[k->n_seen++];
        *seen = (struct oracle_seen){s->dot,  s->value_dot, s->type,  s->attrs.mode,
                                     s->size, {0},          s->origin};
        memcpy(seen->hash, s->value_hash, DIGEST_LEN);
    }
    if (seen->type == s->type && seen->mode == s->attrs.mode && seen->size == s->size &&
        memcmp(seen->hash, s->value_hash, DIGEST_LEN) == 0 && seen->origin.seq == s->origin.seq &&
        seen->origin.stream == s->origin.stream && seen->origin.writer == s->origin.writer)
        return;
    dot_format(&s->dot, dot);
    sim_violation(o->world, "key %u: dot %s has two contents", key, dot);
}

static void check_pair(struct oracle *o, uint32_t key, const struct sibling *a,
                       const struct sibling *b)
{
    if (!sibling_live(a) || !sibling_live(b))
        return;
    if (sibling_same_content(a, b))
        sim_violation(o->world, "key %u shows the same content twice", key);
    if (a->origin.writer != 0 && a->origin.writer == b->origin.writer &&
        a->origin.stream == b->origin.stream)
        sim_violation(o->world, "key %u shows two versions of one author's stream", key);
}

static void check_sibling(struct oracle *o, uint32_t key, const struct object *object,
                          const struct sibling *s)
{
    char dot[DOT_TEXT_MAX];
    struct slice name = buf_slice(&o->keys[key].name);
    const struct oracle_write *w = oracle_author(o, key, s);
    if (w != NULL) {
        check_content(o, key, s, w);
    } else if (s->type != SIBLING_DIR || !oracle_may_be_directory(o, name)) {
        dot_format(&s->dot, dot);
        sim_violation(o->world, "%.*s shows a version that nobody wrote: %s", (int)name.len,
                      (const char *)name.data, dot);
    }
    if (!clock_covers(&object->clock, &s->dot))
        sim_violation(o->world, "key %u: the clock does not cover a version beside it", key);
    check_seen(o, key, s);
    check_value(o, key, s);
}

void oracle_saw_object(struct oracle *o, uint32_t key, const struct object *object, bool entry)
{
    (void)entry;
    for (uint32_t i = 0; i < object->n; i++) {
        check_sibling(o, key, object, &object->siblings[i]);
        for (uint32_t j = 0; j < i; j++)
            check_pair(o, key, &object->siblings[j], &object->siblings[i]);
    }
}

/* Was this write acknowledged by a quorum that any read of r of the same n replicas must meet? */
static bool binds(const struct oracle_write *w, const struct request_options *opt,
                  uint64_t began_us)
{
    return oracle_lasts(w) && w->strict && opt->sloppy == SLOPPY_NO && w->ended_us < began_us &&
           w->n == opt->n && (uint32_t)w->w + opt->r > opt->n &&
           !(w->power_lost && w->durability != DURABILITY_QUORUM);
}

void oracle_got(struct oracle *o, const struct get_request *q, uint64_t began_us,
                const struct get_reply *reply)
{
    char text[256], dot[DOT_TEXT_MAX];
    uint32_t key = oracle_key(o, q->key);
    oracle_saw_object(o, key, &reply->object, false);
    for (uint32_t i = 0; i < o->keys[key].n && !o->false_conflicts; i++) {
        const struct oracle_write *w = o->keys[key].writes[i];
        if (!binds(w, &q->opt, began_us))
            continue;
        bool forgotten = o->reaping && (w->type == SIBLING_DELETE || oracle_may_be_gone(o, w));
        oracle_text(o, w, text, sizeof(text));
        if (!dot_is_none(&w->dot) && !clock_covers(&reply->object.clock, &w->dot) && !forgotten)
            sim_violation(o->world, "a strict read of R=%u does not know %s", q->opt.r, text);
        for (uint32_t j = 0; j < reply->object.n; j++)
            if (oracle_covers(w, &reply->object.siblings[j].dot)) {
                dot_format(&reply->object.siblings[j].dot, dot);
                sim_violation(o->world, "a strict read of R=%u shows %s, which %s covered",
                              q->opt.r, dot, text);
            }
    }
}

enum expect { EXPECT_ANYTHING, EXPECT_LISTED, EXPECT_NOT_LISTED };

/* An attempt that came late, after its repeat elsewhere was acknowledged and even covered, is a
 * version of its own. */
static bool tried_twice(const struct oracle_key *k, const struct oracle_write *w)
{
    for (uint32_t i = 0; i < k->n_seen; i++)
        if (memcmp(&k->seen[i].origin, &w->origin, sizeof(w->origin)) == 0 &&
            !dot_equal(&k->seen[i].dot, &w->dot))
            return true;
    return false;
}

/* Only when every write of a key binds is its liveness certain. */
static enum expect expect_entry(const struct oracle *o, const struct oracle_key *k,
                                const struct list_request *q, uint64_t began_us)
{
    bool live = false, any = false;
    if (o->false_conflicts)
        return EXPECT_ANYTHING;
    for (uint32_t i = 0; i < k->n; i++) {
        const struct oracle_write *w = k->writes[i];
        if (w->status == WRITE_REFUSED)
            continue;
        if (!binds(w, &q->opt, began_us))
            return EXPECT_ANYTHING;
        any = true;
        bool covered = w->type == SIBLING_DELETE;
        for (uint32_t j = 0; j < k->n && !covered; j++)
            covered = j != i && k->writes[j]->status == WRITE_ACKED &&
                      oracle_covers(k->writes[j], &w->dot);
        if (covered ? tried_twice(k, w) : oracle_may_be_gone(o, w))
            return EXPECT_ANYTHING;
        live |= !covered;
    }
    if (!any || (!live && oracle_may_be_directory(o, buf_slice(&k->name))))
        return EXPECT_ANYTHING; /* what lies under it may have brought it back (E16) */
    return live ? EXPECT_LISTED : EXPECT_NOT_LISTED;
}

void oracle_listed(struct oracle *o, const struct list_request *q, uint64_t began_us,
                   const struct list_entry *entries, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct buf path = BUF_EMPTY;
        key_join(q->dir, entries[i].name, &path);
        oracle_saw_object(o, oracle_key(o, buf_slice(&path)), &entries[i].object, true);
        buf_release(&path);
        if (i > 0 && slice_compare(entries[i - 1].name, entries[i].name) >= 0)
            sim_violation(o->world, "a listing is not in ascending order");
    }
    for (uint32_t k = 0; k < o->n; k++) {
        struct slice name = buf_slice(&o->keys[k].name);
        if (name.len == 0 || !slice_equal(key_parent(name), q->dir))
            continue;
        enum expect expect = expect_entry(o, &o->keys[k], q, began_us);
        bool listed = false;
        for (uint32_t i = 0; i < n && !listed; i++)
            listed =
                slice_equal(entries[i].name, key_name(name)) && object_live(&entries[i].object);
        if (expect != EXPECT_ANYTHING && listed != (expect == EXPECT_LISTED))
            sim_violation(o->world, "a strict listing of R=%u %s %.*s", q->opt.r,
                          listed ? "shows the deleted" : "lacks the created", (int)name.len,
                          (const char *)name.data);
    }
}
