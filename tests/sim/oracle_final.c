/* SPDX-License-Identifier: Apache-2.0 */
/* The judgement at the end: see oracle.h. */
#include "oracle_private.h"

/* Is this write in the object: itself, or as the one that it collapsed into? */
static bool stands_in(const struct oracle_write *w, const struct object *merged)
{
    for (uint32_t i = 0; i < merged->n; i++) {
        const struct sibling *s = &merged->siblings[i];
        if (!sibling_live(s))
            continue;
        if (dot_equal(&s->dot, &w->dot))
            return true;
        if (s->type == w->type && s->attrs.mode == w->mode && s->size == w->size &&
            memcmp(s->value_hash, w->hash, DIGEST_LEN) == 0)
            return true;
        if (w->origin.writer != 0 && s->origin.writer == w->origin.writer &&
            s->origin.stream == w->origin.stream && s->origin.seq >= w->origin.seq)
            return true;
    }
    return false;
}

static bool may_be_removed(const struct oracle_key *k, const struct dot *dot)
{
    for (uint32_t i = 0; i < k->n; i++)
        if (k->writes[i]->status != WRITE_REFUSED && oracle_may_remove(k->writes[i], dot))
            return true;
    return false;
}

/* One write can have got several dots, when whoever passed it on tried a second node. */
static bool other_dot_may_be_covered(const struct oracle *o, const struct oracle_write *w)
{
    const struct oracle_key *k = &o->keys[w->key];
    for (uint32_t i = 0; i < k->n_seen; i++) {
        const struct oracle_seen *seen = &k->seen[i];
        if (seen->origin.writer != w->origin.writer || seen->origin.stream != w->origin.stream ||
            seen->origin.seq != w->origin.seq)
            continue;
        if (may_be_removed(k, &seen->dot))
            return true;
    }
    return false;
}

/* Could a version that this write collapsed into have been covered in its stead? */
static bool twin_may_be_covered(const struct oracle *o, const struct oracle_write *w)
{
    const struct oracle_key *k = &o->keys[w->key];
    for (uint32_t i = 0; i < k->n; i++) {
        const struct oracle_write *twin = k->writes[i];
        if (twin == w || twin->status == WRITE_REFUSED || twin->drops_only)
            continue;
        if (oracle_stays_for(twin, w) &&
            (oracle_may_be_covered(o, twin) || other_dot_may_be_covered(o, twin)))
            return true;
    }
    return false;
}

/* Or a directory that the cluster had made by itself, for what lies under it (E16): no write stands
 * for that, but who removes a directory has seen it. */
static bool made_directory_may_be_covered(const struct oracle *o, const struct oracle_write *w)
{
    const struct oracle_key *k = &o->keys[w->key];
    for (uint32_t i = 0; w->type == SIBLING_DIR && i < k->n_seen; i++) {
        const struct oracle_seen *seen = &k->seen[i];
        if (seen->type != SIBLING_DIR || seen->mode != w->mode || dot_equal(&seen->dot, &w->dot))
            continue;
        if (may_be_removed(k, &seen->dot))
            return true;
    }
    return false;
}

bool oracle_may_be_gone(const struct oracle *o, const struct oracle_write *w)
{
    return oracle_may_be_covered(o, w) || twin_may_be_covered(o, w) ||
           other_dot_may_be_covered(o, w) || made_directory_may_be_covered(o, w);
}

static void check_lost(struct oracle *o, const struct oracle_write *w, const struct object *merged)
{
    char text[256];
    if (!oracle_lasts(w) || w->type == SIBLING_DELETE || w->drops_only || stands_in(w, merged))
        return;
    if (oracle_may_be_gone(o, w))
        return;
    oracle_text(o, w, text, sizeof(text));
    sim_violation(o->world, "lost: %s", text);
}

/* The attempt that was answered: it cannot be lost, or is not. */
static bool took_effect(const struct oracle_write *w, const struct object *merged)
{
    return oracle_lasts(w) || (w->status == WRITE_ACKED && clock_covers(&merged->clock, &w->dot));
}

static void check_extra(struct oracle *o, uint32_t key, const struct sibling *s,
                        const struct object *merged)
{
    char text[256], dot[DOT_TEXT_MAX];
    struct oracle_key *k = &o->keys[key];
    for (uint32_t i = 0; i < k->n; i++) {
        const struct oracle_write *by = k->writes[i];
        if (!by->final && !oracle_lasts(by))
            continue;
        /* Of a write that took effect by another attempt, at a node that may have known less, only
         * what it joined into the clock is certain; of one that is about what is there, nothing. */
        bool joined = !by->current && clock_covers(&by->cover.clock, &s->dot);
        if (!oracle_covers(by, &s->dot) || !(took_effect(by, merged) || joined))
            continue;
        dot_format(&s->dot, dot);
        oracle_text(o, by, text, sizeof(text));
        sim_violation(o->world, "returned: version %s, which was covered by %s", dot, text);
        return;
    }
}

void oracle_final(struct oracle *o, uint32_t key, const struct object *merged)
{
    struct oracle_key *k = &o->keys[key];
    oracle_saw_object(o, key, merged, false);
    for (uint32_t i = 0; i < merged->n; i++) {
        struct oracle_write *w = oracle_author(o, key, &merged->siblings[i]);
        if (w != NULL)
            w->final = true;
    }
    for (uint32_t i = 0; i < k->n; i++)
        check_lost(o, k->writes[i], merged);
    for (uint32_t i = 0; i < merged->n; i++)
        if (sibling_live(&merged->siblings[i]) && !o->false_conflicts)
            check_extra(o, key, &merged->siblings[i], merged);
}
