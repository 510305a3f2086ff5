/* SPDX-License-Identifier: Apache-2.0 */
/* The heads of a directory's fragments (entry_place.h): each is an entry to be spread like any
 * other, some at a time, for there may be hundreds. */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/replication.h"
#include "engine/fragments/fragments.h"

#define IN_FLIGHT 8u

struct heads {
    struct background background; /* first */
    struct engine *e;
    struct buf key; /* of the heads */
    struct object object;
    uint64_t born_us;
    struct quorum quorum;
    uint32_t next, n, active;
    int err;
    struct timer later; /* ends in a turn of its own */
    void (*done)(void *arg, int err);
    void *arg;
};

static void heads_free(struct heads *h)
{
    background_end(h->e, &h->background);
    timer_cancel(h->e->ports.timers, &h->later);
    object_release(&h->object);
    buf_release(&h->key);
    free(h);
}

static void abandon(struct background *b)
{
    heads_free(container_of(b, struct heads, background));
}

static void on_later(struct timer *t, void *arg)
{
    (void)t;
    struct heads *h = arg;
    void (*done)(void *a, int err) = h->done;
    void *done_arg = h->arg;
    int err = h->err;
    heads_free(h);
    done(done_arg, err);
}

static void go_on(struct heads *h);

static void on_settled(void *arg, int err)
{
    struct heads *h = arg;
    if (err != DYN_OK)
        h->err = err;
    h->active--;
    go_on(h);
}

static void go_on(struct heads *h)
{
    struct engine *e = h->e;
    while (h->next < h->n && h->active < IN_FLIGHT && h->err == DYN_OK) {
        const struct replication_params p = {.key = buf_slice(&h->key),
                                             .fragment = h->next++,
                                             .object = &h->object,
                                             .born_us = h->born_us,
                                             .quorum = h->quorum,
                                             .roles = ROLE_ENTRY,
                                             .settled = on_settled,
                                             .arg = h};
        h->active++;
        replication_start(e, &p);
    }
    if (h->active == 0)
        timer_set(e->ports.timers, &h->later, engine_now(e));
}

void fragment_heads_spread(struct engine *e, struct slice dir, const struct object *object,
                           uint64_t born_us, const struct quorum *quorum,
                           void (*done)(void *arg, int err), void *arg)
{
    struct heads *h = mem_new(struct heads);
    h->e = e;
    h->object = OBJECT_EMPTY;
    object_copy(&h->object, object);
    buf_put_slice(&h->key, dir);
    buf_put_u8(&h->key, '/');
    h->born_us = born_us != 0 ? born_us : engine_now(e);
    h->quorum = *quorum;
    h->next = 1; /* the head of fragment 0 is the object itself */
    h->n = dir.len > 0 && !object_is_absent(object) ? fragments_listed(e, dir) : 1;
    h->done = done;
    h->arg = arg;
    timer_init(&h->later, on_later, h);
    background_add(e, &h->background, abandon);
    go_on(h);
}
