/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_disk.h. One request completes at a time, each after its own wait. */
#include "sim_disk.h"

#include <stdlib.h>

#include "adapter/store_memory.h"
#include "base/err.h"
#include "base/mem.h"
#include "engine/replica/rows.h"

struct sim_disk {
    struct sim_world *world;
    uint32_t index;
    struct store_memory *memory;
    struct sim_random random;
    struct timer timer;
    uint64_t up_to_us;
    bool broken, buffered;
    uint32_t garbled_permille;
    uint64_t garbled_salt; /* which of them, this time */
    void (*failed)(void *arg, int err);
    void *arg;
};

static void arm(struct sim_disk *d)
{
    if (!timer_is_set(&d->timer))
        timer_set(&d->world->timers, &d->timer,
                  d->world->now_us + sim_random_below(&d->random, d->up_to_us + 1));
}

static void wake(void *ctx)
{
    arm(ctx);
}

static void fire(struct timer *t, void *arg)
{
    (void)t;
    struct sim_disk *d = arg;
    sim_event(d->world, "disk", d->index, store_memory_pending(d->memory), 0, slice_of(NULL, 0));
    if (store_memory_step(d->memory, sim_random_u64(&d->random)) &&
        store_memory_pending(d->memory) > 0)
        arm(d);
}

static void on_failed(void *ctx, int err, const char *message)
{
    (void)message;
    struct sim_disk *d = ctx;
    d->failed(d->arg, err);
}

struct sim_disk *sim_disk_new(struct sim_world *w, uint32_t index,
                              void (*failed)(void *arg, int err), void *arg)
{
    struct sim_disk *d = mem_new(struct sim_disk);
    d->world = w;
    d->index = index;
    d->failed = failed;
    d->arg = arg;
    d->memory = store_memory_new(&(struct store_host){.ctx = d, .wake = wake, .failed = on_failed});
    sim_random_init(&d->random, w->seed, "disk", index);
    timer_init(&d->timer, fire, d);
    return d;
}

void sim_disk_free(struct sim_disk *d)
{
    if (d == NULL)
        return;
    timer_cancel(&d->world->timers, &d->timer);
    store_memory_free(d->memory);
    free(d);
}

struct store_port sim_disk_port(struct sim_disk *d)
{
    return store_memory_port(d->memory);
}

void sim_disk_pace(struct sim_disk *d, uint64_t up_to_us)
{
    d->up_to_us = up_to_us;
    while (up_to_us == 0 && store_memory_step(d->memory, 0))
        ;
    store_memory_set_deferred(d->memory, up_to_us > 0);
}

void sim_disk_buffer(struct sim_disk *d, bool buffered)
{
    d->buffered = buffered;
    store_memory_set_buffered(d->memory, buffered);
}

static void killed(struct sim_disk *d)
{
    uint32_t untold = store_memory_untold(d->memory), take = 0;
    if (untold > 0)
        take = (uint32_t)sim_random_below(&d->random, (uint64_t)untold + 1);
    sim_event(d->world, "disk kill", d->index, untold, take, slice_of(NULL, 0));
    sim_log(d->world, "disk  %u loses %u of %u batches that were being written", d->index, take,
            untold);
    store_memory_kill(d->memory, take);
}

static void power_lost(struct sim_disk *d, bool all)
{
    uint32_t unsynced = store_memory_unsynced(d->memory), keep = 0;
    if (!all && !sim_random_chance(&d->random, 600))
        keep = (uint32_t)sim_random_below(&d->random, (uint64_t)unsynced + 1);
    sim_event(d->world, "disk crash", d->index, unsynced, keep, slice_of(NULL, 0));
    sim_log(d->world, "disk  %u keeps %u of %u unsynced batches", d->index, keep, unsynced);
    store_memory_crash(d->memory, keep);
}

void sim_disk_crash(struct sim_disk *d, enum sim_crash how)
{
    timer_cancel(&d->world->timers, &d->timer);
    if (how == CRASH_KILL && !d->buffered)
        killed(d);
    else /* with a buffer, what was acknowledged from it is gone too */
        power_lost(d, how == CRASH_TAIL);
    d->broken = false;
}

void sim_disk_stop(struct sim_disk *d)
{
    while (store_memory_step(d->memory, 0))
        ;
    timer_cancel(&d->world->timers, &d->timer);
    store_memory_stop(d->memory);
}

bool sim_disk_lost_tail(const struct sim_disk *d)
{
    return store_memory_lost_tail(d->memory);
}

bool sim_disk_clean(struct sim_disk *d)
{
    return store_memory_was_clean(d->memory);
}

void sim_disk_break(struct sim_disk *d)
{
    store_memory_fail_next_write(d->memory);
    d->broken = true;
}

void sim_disk_fill(struct sim_disk *d, bool full)
{
    struct store_stats s;
    struct store_port port = store_memory_port(d->memory);
    port.stats(port.ctx, &s);
    store_memory_set_capacity(d->memory, full ? s.bytes_used + 1 : 0);
}

bool sim_disk_holds_value(const struct sim_disk *d, struct slice row)
{
    return store_memory_holds(d->memory, STORE_VALUE, row);
}

/* Somewhere among the first partitions. */
struct somewhere {
    uint8_t row[5];
};

static struct somewhere somewhere(struct sim_disk *d)
{
    uint64_t random = sim_random_u64(&d->random);
    return (struct somewhere){{0, 0, 0, (uint8_t)(random & 15), (uint8_t)(random >> 8)}};
}

void sim_disk_rot_row(struct sim_disk *d, bool (*may)(void *arg, struct slice row), void *arg)
{
    struct somewhere from = somewhere(d);
    bool rotten = store_memory_rot_near(d->memory, STORE_META, slice_of(from.row, sizeof(from.row)),
                                        may, arg);
    sim_event(d->world, "rot", d->index, rotten, 1, slice_of(NULL, 0));
    sim_log(d->world, "disk  %u: %s", d->index, rotten ? "a row rots" : "no row to rot");
}

bool sim_disk_object(const struct sim_disk *d, struct slice row, struct object *out)
{
    struct buf value = BUF_EMPTY;
    struct epoch mark;
    bool good = store_memory_peek(d->memory, STORE_META, row, &value) &&
                object_row_decode(buf_slice(&value), &mark, out) == DYN_OK;
    buf_release(&value);
    return good;
}

void sim_disk_rot(struct sim_disk *d, bool (*may)(void *arg, struct slice row), void *arg)
{
    struct somewhere from = somewhere(d);
    bool rotten =
        store_memory_spoil(d->memory, STORE_VALUE, slice_of(from.row, sizeof(from.row)), may, arg);
    sim_event(d->world, "rot", d->index, rotten, 0, slice_of(NULL, 0));
    sim_log(d->world, "disk  %u: %s", d->index, rotten ? "a value rots" : "no value to rot");
}

static uint64_t position_word(const struct position *pos)
{
    struct reader r = reader_of(slice_of(pos->bytes, sizeof(pos->bytes)));
    return read_u64(&r);
}

static bool is_garbled(void *arg, enum store_family f, struct slice row)
{
    const struct sim_disk *d = arg;
    struct sim_random r;
    struct buf key = BUF_EMPTY;
    struct place at;
    enum row_kind kind;
    bool object = f == STORE_META && row_meta_parse(row, &at, &kind, &key) == DYN_OK &&
                  kind == ROW_OBJECT && key.len > 0;
    if (object)
        sim_random_init(&r, d->garbled_salt, "bad rows", position_word(&at.pos));
    buf_release(&key);
    return object && sim_random_chance(&r, d->garbled_permille);
}

void sim_disk_garble(struct sim_disk *d, uint32_t permille)
{
    d->garbled_permille = permille;
    d->garbled_salt = sim_random_u64(&d->random);
    store_memory_garble(d->memory, permille > 0 ? is_garbled : NULL, d);
}

void sim_disk_fail_reads(struct sim_disk *d, bool fail)
{
    store_memory_fail_reads(d->memory, fail ? DYN_ERR_CORRUPT : DYN_OK);
}

struct store_memory_image *sim_disk_backup(const struct sim_disk *d)
{
    return store_memory_snapshot(d->memory);
}

void sim_disk_restore(struct sim_disk *d, struct store_memory_image *image)
{
    if (image != NULL) {
        store_memory_restore(d->memory, image);
        store_memory_image_free(image);
        return;
    }
    store_memory_free(d->memory);
    d->memory = store_memory_new(&(struct store_host){.ctx = d, .wake = wake, .failed = on_failed});
    store_memory_set_buffered(d->memory, d->buffered);
}

bool sim_disk_broken(const struct sim_disk *d)
{
    return d->broken;
}
