/* SPDX-License-Identifier: Apache-2.0 */
/* Clock truncation (Dynamo, section 4.4). The problem: every start of every node that coordinates a
 * key adds a pair to its clock, for ever. The paper cuts the oldest pair once there are ten. A pair
 * that is gone covers nothing any more: whoever still has a version under it brings it back, as a
 * conflict. That is the price, and the only one that is allowed (HAZARDS E4). So:
 *
 * - Only the coordinator of a put decides on a cut; what joins two copies never does, or one node
 *   would cut for ever what the next gives back. It sends the whole clock and says what it cut:
 *   whoever gets this put joins first, so that the clock still covers what it covered, and then
 *   cuts along where the same rules allow it.
 * - Never the pair of an epoch under which a node still mints: its next dot would be counter 1
 *   again, which the others have long seen, and the write would be lost. A replica that follows a
 *   cut of its own pair closes the epoch in the same batch.
 * - Never the pair of a version that is there: nobody could ever remove it. Nor of one that was
 *   there until this put: who misses this put still shows it.
 * - Never a pair of an object that holds a delete: the tombstone is all that keeps old copies down.
 * - Never one younger than the least age: until then its versions may still be on their way. */
#include <assert.h>

#include "model/object.h"

static bool may_go(const struct object *o, const struct actor *actor, const struct actor *open)
{
    if (open->epoch.run != 0 && actor_compare(actor, open) == 0)
        return false;
    for (uint32_t i = 0; i < o->n; i++)
        if (actor_compare(actor, &o->siblings[i].dot.actor) == 0)
            return false;
    return true;
}

static bool is_tombstone(const struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (!sibling_live(&o->siblings[i]))
            return true;
    return o->n == 0;
}

static bool may_go_now(const struct object *o, const struct truncation *t,
                       const struct clock_pair *p)
{
    return p->time_ms <= t->before_ms && may_go(o, &p->actor, &t->open) &&
           (t->before == NULL || may_go(t->before, &p->actor, &t->open));
}

/* The oldest pair that may go; false: none may. */
static bool oldest(const struct object *o, const struct truncation *t, uint32_t *index)
{
    bool found = false;
    for (uint32_t i = 0; i < o->clock.n; i++) {
        const struct clock_pair *p = &o->clock.pairs[i];
        if (!may_go_now(o, t, p))
            continue;
        if (!found || p->time_ms < o->clock.pairs[*index].time_ms)
            *index = i;
        found = true;
    }
    return found;
}

void object_truncate(struct object *o, const struct truncation *t, struct clock *cut)
{
    uint32_t i = 0;
    assert(t->keep > 0);
    if (is_tombstone(o))
        return;
    while (o->clock.n > t->keep && oldest(o, t, &i)) {
        const struct clock_pair p = o->clock.pairs[i];
        clock_advance(cut, &(struct dot){p.actor, p.counter}, p.time_ms);
        clock_remove(&o->clock, i);
    }
}

bool object_follow_cut(struct object *o, const struct clock *cut)
{
    const struct actor none = {0};
    uint32_t before = o->clock.n, at;
    if (is_tombstone(o))
        return false;
    for (uint32_t i = 0; i < cut->n; i++) {
        const struct clock_pair *p = &cut->pairs[i];
        if (clock_index(&o->clock, &p->actor, &at) && o->clock.pairs[at].counter <= p->counter &&
            may_go(o, &p->actor, &none))
            clock_remove(&o->clock, at);
    }
    return o->clock.n != before;
}
