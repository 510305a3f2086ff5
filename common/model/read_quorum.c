/* SPDX-License-Identifier: Apache-2.0 */
/* See read_quorum.h. */
#include "model/read_quorum.h"

#include <assert.h>

#include "base/err.h"

void read_quorum_init(struct read_quorum *q, uint32_t r, struct cover *at_least)
{
    *q = (struct read_quorum){.r = r, .merged = OBJECT_EMPTY, .at_least = COVER_EMPTY};
    if (at_least != NULL) {
        q->at_least = *at_least;
        *at_least = COVER_EMPTY;
    }
}

void read_quorum_release(struct read_quorum *q)
{
    for (uint32_t i = 0; i < q->n; i++)
        object_release(&q->copies[i].object);
    object_release(&q->merged);
    cover_release(&q->at_least);
    q->n = q->n_votes = 0;
}

bool read_quorum_answered(const struct read_quorum *q, uint64_t node)
{
    for (uint32_t i = 0; i < q->n; i++)
        if (q->copies[i].node == node)
            return true;
    return false;
}

void read_quorum_add(struct read_quorum *q, uint64_t node, bool primary, bool votes,
                     struct object *object)
{
    if (q->n == READ_QUORUM_NODES || read_quorum_answered(q, node)) {
        object_release(object);
        *object = OBJECT_EMPTY;
        return;
    }
    object_join(&q->merged, object);
    q->copies[q->n++] = (struct read_copy){node, primary, votes, *object};
    q->n_votes += votes;
    *object = OBJECT_EMPTY;
}

static bool enough(const struct read_quorum *q)
{
    uint32_t primaries = 0;
    for (uint32_t i = 0; i < q->n; i++)
        primaries += q->copies[i].primary;
    return q->n_votes >= q->r || (q->all != 0 && primaries >= q->all) ||
           (q->last_resort && q->n >= q->r);
}

bool read_quorum_complete(const struct read_quorum *q)
{
    return enough(q) && cover_within(&q->at_least, &q->merged);
}

static const struct read_copy *copy_of(const struct read_quorum *q, uint64_t node)
{
    for (uint32_t i = 0; i < q->n; i++)
        if (q->copies[i].node == node)
            return &q->copies[i];
    return NULL;
}

bool read_quorum_current(const struct read_quorum *q, uint64_t node)
{
    const struct read_copy *c = copy_of(q, node);
    return c != NULL && object_equal(&c->object, &q->merged);
}

uint32_t read_quorum_stale(const struct read_quorum *q)
{
    uint32_t stale = 0;
    for (uint32_t i = 0; i < q->n; i++)
        if (!object_equal(&q->copies[i].object, &q->merged))
            stale++;
    return stale;
}

static bool wanted(const struct read_quorum *q, const struct sibling *s, enum value_choice choice,
                   const struct dot *dot)
{
    switch (choice) {
    case VALUE_NONE:
        return false;
    case VALUE_NEWEST:
        return s == object_newest(&q->merged);
    case VALUE_ALL:
        return true;
    case VALUE_DOT:
        return dot_equal(&s->value_dot, dot);
    }
    return false;
}

int read_quorum_missing(const struct read_quorum *q, enum value_choice choice,
                        const struct dot *dot, struct dot *value_dot)
{
    for (uint32_t i = 0; i < q->merged.n; i++) {
        const struct sibling *s = &q->merged.siblings[i];
        if (sibling_live(s) && s->size > 0 && s->value == NULL && wanted(q, s, choice, dot)) {
            *value_dot = s->value_dot;
            return DYN_OK;
        }
    }
    return DYN_ERR_NOT_FOUND;
}

uint32_t read_quorum_holders(const struct read_quorum *q, const struct dot *value_dot,
                             uint64_t *nodes, uint32_t cap)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < q->n && n < cap; i++)
        if (object_find_value(&q->copies[i].object, value_dot) != NULL)
            nodes[n++] = q->copies[i].node;
    return n;
}

void read_quorum_attach(struct read_quorum *q, const struct object *from)
{
    for (uint32_t i = 0; i < q->merged.n; i++) {
        struct sibling *s = &q->merged.siblings[i];
        const struct sibling *other = object_find_value(from, &s->value_dot);
        if (s->value == NULL && other != NULL && other->value != NULL && other->size == s->size &&
            other->manifest_len == s->manifest_len &&
            digest_equal(other->value_hash, s->value_hash))
            s->value = blob_ref(other->value);
    }
}
