/* SPDX-License-Identifier: Apache-2.0 */
/* See chunk_lease.h. */
#include "model/chunk_lease.h"

#include "base/err.h"

static int64_t lease_ns(const struct upload_lease *l)
{
    uint64_t ms = l->io->lease_ms != 0 ? l->io->lease_ms : UPLOAD_LEASE_S * 1000ull;
    return (int64_t)ms * 1000000;
}

/* Of the hour one half may be relied on: clocks differ. */
static int64_t safe_ns(const struct upload_lease *l)
{
    return lease_ns(l) / 2;
}

static int64_t now_ns(const struct upload_lease *l)
{
    return (int64_t)l->io->time.wall_ns(l->io->time.ctx);
}

uint64_t upload_lease_renew_ms(const struct upload_lease *l)
{
    return (uint64_t)(lease_ns(l) / 6 / 1000000);
}

static void look_for_lapse(struct upload_lease *l, int64_t now)
{
    if (l->lapsed || l->sure_ns == 0 || now - l->sure_ns <= safe_ns(l))
        return;
    l->lapsed = true;
    l->next = 0;
}

static void on_ref(struct upload_ref *r, int err)
{
    struct upload_lease *l = r->arg;
    bool waited = l->waited;
    l->waited = false;
    if (err == DYN_OK) {
        look_for_lapse(l, l->asked_ns);
        l->numbers = l->asked;
        l->said_ns = l->asked_ns;
        if (!l->lapsed)
            l->sure_ns = l->asked_ns;
    }
    if (waited) /* else it is time for the next attempt soon enough */
        l->done(l, err);
}

static void say(struct upload_lease *l, uint32_t numbers)
{
    if (l->ref.id != 0)
        return;
    l->asked = numbers;
    l->asked_ns = now_ns(l);
    l->ref.done = on_ref;
    l->ref.arg = l;
    upload_ref_start(l->io, &l->ref, buf_slice(&l->key), &l->id, 1, numbers);
}

void upload_lease_renew(struct upload_lease *l)
{
    if (l->numbers != 0 && now_ns(l) - l->said_ns >= lease_ns(l) / 6)
        say(l, l->numbers);
}

bool upload_lease_number(struct upload_lease *l, uint32_t number)
{
    upload_lease_renew(l);
    if (number < l->numbers)
        return true;
    l->waited = true; /* also for a renewal of fewer: then it comes again */
    say(l, l->numbers == 0 ? UPLOAD_NUMBERS : l->numbers * 2);
    return false;
}

static void on_chunk(struct chunk_get *g, int err, struct blob *bytes)
{
    struct upload_lease *l = ((struct upload_check *)g->arg)->lease;
    (void)bytes;
    if (err != DYN_OK)
        l->next = 0; /* whoever tries again begins anew */
    l->done(l, err == DYN_ERR_NOT_FOUND ? DYN_ERR_CONFLICT : err);
}

bool upload_lease_holds(struct upload_lease *l, const struct manifest *m)
{
    bool looking = false;
    int64_t now = now_ns(l);
    look_for_lapse(l, now);
    if (!l->lapsed || m->n == 0)
        return true;
    if (now - l->said_ns > lease_ns(l) / 6) {
        l->waited = true;
        say(l, l->numbers);
        return false;
    }
    for (uint32_t i = 0; i < UPLOAD_CHECKS; i++) {
        struct upload_check *c = &l->checks[i];
        if (c->get.id == 0 && l->next < m->n) {
            const struct chunk *chunk = &m->chunks[l->next++];
            c->lease = l;
            c->get.done = on_chunk;
            c->get.arg = c;
            chunk_get_start(l->io, &c->get, &m->uploads[chunk->upload], chunk);
        }
        looking |= c->get.id != 0;
    }
    if (looking)
        return false;
    l->lapsed = false;
    l->sure_ns = l->said_ns;
    return true;
}

void upload_lease_init(struct upload_lease *l, struct chunk_io *io, struct slice key,
                       void (*done)(struct upload_lease *l, int err), void *arg)
{
    *l = (struct upload_lease){.io = io, .done = done, .arg = arg};
    buf_put_slice(&l->key, key);
    upload_id_new(io, &l->id);
}

void upload_lease_stop(struct upload_lease *l)
{
    upload_ref_cancel(&l->ref);
    for (uint32_t i = 0; i < UPLOAD_CHECKS; i++)
        if (l->checks[i].get.id != 0)
            chunk_get_cancel(&l->checks[i].get);
    buf_release(&l->key);
}
