/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper of a node's kept versions: how many bytes they are, and who goes when.
 *
 *   IDLE --time, or too many bytes--> SCAN (a slice of rows) -> [one is too old: TRIM its key] ->
 *   SCAN ... -> the end: what was seen is counted, by age -> IDLE, or at once again
 *
 * Rows lie by key, so that a key's history is one scan; a second index by age would cost each write
 * a row. Instead each pass counts bytes by age, and where they are more than the node's bound,
 * finds the age from which on they would fit: that is what the next pass takes for too old. While
 * twice the bound is reached nothing is kept. */
#include "engine/kept/kept.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/kept/kept_trim.h"
#include "engine/slices.h"

#define SLICE_ROWS 256u
#define SLICE_BYTES (1u << 20)
#define PASSES 24u /* in the time that versions are kept */
#define PASS_MIN_US 1000000u
#define PASS_MAX_US 3600000000u
#define AGES 40u /* powers of two of milliseconds */
#define NO_ROOM_US 60000000u

struct kept_keeper {
    struct engine *e;
    struct timer timer;
    struct slice_wait slice;
    uint64_t rows, bytes; /* kept here, as far as is known */
    bool running;
    uint64_t age_ms;           /* from which on a version is too old, in this pass */
    uint64_t no_room_until_us; /* monotonic */
    /* of this pass */
    struct buf cursor, key; /* key: to be trimmed */
    struct store_scan scan;
    bool found;
    uint64_t seen_rows, seen_bytes, added_rows, added_bytes;
    uint64_t by_age[AGES], oldest_ms;
};

static uint64_t later(const struct kept_keeper *k)
{
    uint64_t us = k->e->cfg.history_ms / PASSES * 1000;
    return us < PASS_MIN_US ? PASS_MIN_US : us > PASS_MAX_US ? PASS_MAX_US : us;
}

static void arm(struct kept_keeper *k, uint64_t in_us)
{
    uint64_t when = engine_now(k->e) + in_us;
    if (k->running)
        return;
    if (!timer_is_set(&k->timer) || when < k->timer.when_us)
        timer_set(k->e->ports.timers, &k->timer, when);
}

/* ---- counting ---------------------------------------------------------------------------- */

static uint32_t age_bucket(uint64_t age_ms)
{
    uint32_t i = 0;
    while (i + 1 < AGES && age_ms >= 1ull << (i + 1))
        i++;
    return i;
}

/* Such an age that what is younger is within the bound, if bytes are spread evenly over the ages
 * that one bucket holds. */
static uint64_t fitting_age(const struct kept_keeper *k, uint64_t max)
{
    uint64_t younger = 0;
    for (uint32_t i = 0; i < AGES; i++) {
        if (younger + k->by_age[i] > max) {
            uint64_t from = i == 0 ? 0 : 1ull << i, to = 2ull << i;
            to = to < k->oldest_ms ? to : k->oldest_ms;
            double part = (double)(max - younger) / (double)k->by_age[i];
            return to <= from ? from : from + (uint64_t)((double)(to - from) * part);
        }
        younger += k->by_age[i];
    }
    return k->e->cfg.history_ms;
}

static void end_pass(struct kept_keeper *k)
{
    struct engine *e = k->e;
    bool full = engine_now(e) < k->no_room_until_us;
    uint64_t max = full ? k->seen_bytes / 2 : e->cfg.history_max, before = k->age_ms;
    k->running = false;
    k->rows = k->seen_rows + k->added_rows;
    k->bytes = k->seen_bytes + k->added_bytes;
    k->age_ms = e->cfg.history_ms;
    bool again = k->seen_bytes > max;
    if (again) {
        uint64_t fits = fitting_age(k, max / 10 * 9);
        k->age_ms = fits < before ? fits : before / 2; /* that was not enough */
    }
    if (again && !full)
        arm(k, PASS_MIN_US);
    else if (e->cfg.history_ms != 0) /* else nothing is left, and nothing will come */
        arm(k, full ? NO_ROOM_US / 4 : later(k));
}

/* ---- a pass ------------------------------------------------------------------------------ */

static void go_on(struct kept_keeper *k)
{
    slices_ask(k->e->slices, &k->slice);
}

static void on_trimmed(void *arg)
{
    go_on(arg);
}

static bool on_row(struct store_scan *req, struct slice row, struct slice value)
{
    struct kept_keeper *k = req->arg;
    struct reader r = reader_of(value);
    struct kept kept = {.object = OBJECT_EMPTY};
    struct slice key;
    uint64_t now = engine_wall_ms(k->e);
    buf_clear(&k->cursor);
    buf_put_slice(&k->cursor, row);
    buf_put_u8(&k->cursor, 0);
    kept_decode(&r, &kept);
    if (reader_done(&r) && row_kept_parse(row, &key) == DYN_OK) {
        uint64_t age = now > kept.since_ms ? now - kept.since_ms : 0;
        uint64_t cost = kept_cost(kept_version(&kept));
        k->found = age >= k->age_ms;
        if (k->found) {
            buf_clear(&k->key);
            buf_put_slice(&k->key, key);
        } else {
            k->seen_rows++;
            k->seen_bytes += cost;
            k->by_age[age_bucket(age)] += cost;
            k->oldest_ms = age > k->oldest_ms ? age : k->oldest_ms;
        }
    }
    kept_release(&kept);
    return !k->found;
}

static void on_scanned(struct store_scan *req, int err, bool more)
{
    struct kept_keeper *k = req->arg;
    if (err != DYN_OK) {
        k->running = false;
        arm(k, later(k));
    } else if (k->found) { /* all of the key that are too old; those before are counted */
        kept_trim_start(k->e, buf_slice(&k->key), k->age_ms, on_trimmed, k);
    } else if (more) {
        go_on(k);
    } else {
        end_pass(k);
    }
}

static void on_slice(struct slice_wait *w)
{
    static const uint8_t prefix[] = {ROW_KEPT};
    struct kept_keeper *k = w->arg;
    struct engine *e = k->e;
    if (e->stopping || e->failed != DYN_OK) {
        k->running = false;
        return;
    }
    k->found = false;
    k->scan = (struct store_scan){.family = STORE_HINT,
                                  .prefix = slice_of(prefix, 1),
                                  .from = buf_slice(&k->cursor),
                                  .max_rows = SLICE_ROWS,
                                  .max_bytes = SLICE_BYTES,
                                  .row = on_row,
                                  .done = on_scanned,
                                  .arg = k};
    e->ports.store.scan(e->ports.store.ctx, &k->scan);
}

static void on_timer(struct timer *t, void *arg)
{
    struct kept_keeper *k = arg;
    (void)t;
    k->running = true;
    k->seen_rows = k->seen_bytes = k->added_rows = k->added_bytes = 0;
    memset(k->by_age, 0, sizeof(k->by_age));
    k->oldest_ms = 0;
    buf_clear(&k->cursor);
    go_on(k);
}

/* ---- what others ask and tell ------------------------------------------------------------ */

void kept_keeper_note(struct kept_keeper *k, int64_t rows, int64_t bytes)
{
    k->rows = rows < 0 && (uint64_t)-rows > k->rows ? 0 : k->rows + (uint64_t)rows;
    k->bytes = bytes < 0 && (uint64_t)-bytes > k->bytes ? 0 : k->bytes + (uint64_t)bytes;
    if (bytes > 0 && k->running) { /* perhaps seen by this pass too: it is about right */
        k->added_rows += (uint64_t)rows;
        k->added_bytes += (uint64_t)bytes;
    }
    if (bytes > 0 && k->bytes > k->e->cfg.history_max)
        arm(k, PASS_MIN_US);
}

bool kept_keeper_takes(const struct kept_keeper *k, uint64_t bytes)
{
    uint64_t max = k->e->cfg.history_max;
    return bytes <= max && k->bytes + bytes <= 2 * max && engine_now(k->e) >= k->no_room_until_us;
}

void kept_keeper_no_room(struct kept_keeper *k)
{
    k->no_room_until_us = engine_now(k->e) + NO_ROOM_US;
    if (k->bytes > 0)
        arm(k, PASS_MIN_US);
}

void kept_keeper_stats(const struct kept_keeper *k, struct engine_stats *out)
{
    out->kept_now = k->rows;
    out->kept_bytes = k->bytes;
}

struct kept_keeper *kept_keeper_new(struct engine *e)
{
    struct kept_keeper *k = mem_new(struct kept_keeper);
    k->e = e;
    k->age_ms = e->cfg.history_ms;
    timer_init(&k->timer, on_timer, k);
    slice_wait_init(&k->slice, WORK_SCRUB, on_slice, k);
    return k;
}

void kept_keeper_free(struct kept_keeper *k)
{
    if (k == NULL)
        return;
    timer_cancel(k->e->ports.timers, &k->timer);
    slices_forget(k->e->slices, &k->slice);
    buf_release(&k->cursor);
    buf_release(&k->key);
    free(k);
}

/* What an earlier start has kept is counted first of all. */
void kept_keeper_start(struct kept_keeper *k)
{
    arm(k, PASS_MIN_US);
}
