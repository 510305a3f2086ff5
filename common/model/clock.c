/* SPDX-License-Identifier: Apache-2.0 */
/* See clock.h. A clock is an array of pairs sorted by actor, so comparing and joining are one walk
 * over both, and equal clocks have equal bytes. A pair's time follows its counter: join takes the
 * greater (counter, time), which keeps it commutative and associative even if two nodes should
 * disagree about a time. */
#include "model/clock.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

/* node, boot, and one byte at least for each of run, counter and time */
#define PAIR_ENCODED_MIN 19

static int u64_compare(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

int epoch_compare(struct epoch a, struct epoch b)
{
    return a.boot != b.boot ? u64_compare(a.boot, b.boot) : u64_compare(a.run, b.run);
}

int actor_compare(const struct actor *a, const struct actor *b)
{
    return a->node != b->node ? u64_compare(a->node, b->node) : epoch_compare(a->epoch, b->epoch);
}

int dot_compare(const struct dot *a, const struct dot *b)
{
    int c = actor_compare(&a->actor, &b->actor);
    return c != 0 ? c : u64_compare(a->counter, b->counter);
}

bool dot_equal(const struct dot *a, const struct dot *b)
{
    return dot_compare(a, b) == 0;
}

bool dot_is_none(const struct dot *d)
{
    return d->counter == 0;
}

void clock_release(struct clock *c)
{
    free(c->pairs);
    *c = CLOCK_EMPTY;
}

void clock_copy(struct clock *to, const struct clock *from)
{
    if (to == from)
        return;
    if (to->cap < from->n) {
        free(to->pairs);
        to->pairs = mem_reallocarray(NULL, from->n, sizeof(*to->pairs));
        to->cap = from->n;
    }
    if (from->n != 0)
        memcpy(to->pairs, from->pairs, from->n * sizeof(*to->pairs));
    to->n = from->n;
}

/* Index of the first pair whose actor is not below a. */
static uint32_t lower_bound(const struct clock *c, const struct actor *a)
{
    uint32_t lo = 0, hi = c->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (actor_compare(&c->pairs[mid].actor, a) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool clock_index(const struct clock *c, const struct actor *a, uint32_t *index)
{
    uint32_t i = lower_bound(c, a);
    if (i == c->n || actor_compare(&c->pairs[i].actor, a) != 0)
        return false;
    *index = i;
    return true;
}

uint64_t clock_get(const struct clock *c, const struct actor *a)
{
    uint32_t i;
    return clock_index(c, a, &i) ? c->pairs[i].counter : 0;
}

bool clock_covers(const struct clock *c, const struct dot *d)
{
    return clock_get(c, &d->actor) >= d->counter;
}

bool clock_dominates(const struct clock *a, const struct clock *b)
{
    uint32_t i = 0;
    for (uint32_t k = 0; k < b->n; k++) {
        while (i < a->n && actor_compare(&a->pairs[i].actor, &b->pairs[k].actor) < 0)
            i++;
        if (i == a->n || actor_compare(&a->pairs[i].actor, &b->pairs[k].actor) != 0 ||
            a->pairs[i].counter < b->pairs[k].counter)
            return false;
    }
    return true;
}

enum clock_order clock_compare(const struct clock *a, const struct clock *b)
{
    bool ab = clock_dominates(a, b), ba = clock_dominates(b, a);
    if (ab && ba)
        return CLOCK_EQUAL;
    return ab ? CLOCK_AFTER : ba ? CLOCK_BEFORE : CLOCK_CONCURRENT;
}

static void reserve(struct clock *c, uint32_t n)
{
    if (n <= c->cap)
        return;
    uint32_t cap = c->cap * 2 < n ? n : c->cap * 2;
    c->pairs = mem_reallocarray(c->pairs, cap, sizeof(*c->pairs));
    c->cap = cap;
}

static void pair_raise(struct clock_pair *p, uint64_t counter, uint64_t time_ms)
{
    if (counter > p->counter || (counter == p->counter && time_ms > p->time_ms)) {
        p->counter = counter;
        p->time_ms = time_ms;
    }
}

void clock_advance(struct clock *c, const struct dot *d, uint64_t time_ms)
{
    assert(!dot_is_none(d));
    uint32_t i = lower_bound(c, &d->actor);
    if (i < c->n && actor_compare(&c->pairs[i].actor, &d->actor) == 0) {
        pair_raise(&c->pairs[i], d->counter, time_ms);
        return;
    }
    reserve(c, c->n + 1);
    memmove(&c->pairs[i + 1], &c->pairs[i], (c->n - i) * sizeof(*c->pairs));
    c->pairs[i] = (struct clock_pair){d->actor, d->counter, time_ms};
    c->n++;
}

/* Raises the pairs that both have; returns how many of other's actors `into` lacks. */
static uint32_t raise_common(struct clock *into, const struct clock *other)
{
    uint32_t i = 0, missing = 0;
    for (uint32_t k = 0; k < other->n; k++) {
        const struct clock_pair *p = &other->pairs[k];
        while (i < into->n && actor_compare(&into->pairs[i].actor, &p->actor) < 0)
            i++;
        if (i < into->n && actor_compare(&into->pairs[i].actor, &p->actor) == 0)
            pair_raise(&into->pairs[i], p->counter, p->time_ms);
        else
            missing++;
    }
    return missing;
}

void clock_join(struct clock *into, const struct clock *other)
{
    uint32_t missing = raise_common(into, other);
    if (missing == 0)
        return;
    /* Merge from the back, within into's own storage. */
    reserve(into, into->n + missing);
    uint32_t i = into->n, k = other->n, at = into->n + missing;
    into->n = at;
    while (k > 0) {
        int c = i == 0 ? -1 : actor_compare(&into->pairs[i - 1].actor, &other->pairs[k - 1].actor);
        if (c > 0) {
            into->pairs[--at] = into->pairs[--i];
        } else if (c == 0) {
            into->pairs[--at] = into->pairs[--i];
            k--;
        } else {
            into->pairs[--at] = other->pairs[--k];
        }
    }
    assert(at == i);
}

void clock_remove(struct clock *c, uint32_t index)
{
    assert(index < c->n);
    c->n--;
    memmove(&c->pairs[index], &c->pairs[index + 1], (c->n - index) * sizeof(*c->pairs));
}

void clock_forget(struct clock *c, uint64_t before_ms)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->n; i++)
        if (c->pairs[i].time_ms > before_ms)
            c->pairs[kept++] = c->pairs[i];
    c->n = kept;
}

bool clock_lacks_own(const struct clock *c, const struct clock *other, const struct actor *a)
{
    return clock_get(other, a) > clock_get(c, a);
}

static void actor_encode(const struct actor *a, struct buf *out)
{
    buf_put_u64(out, a->node);
    buf_put_u64(out, a->epoch.boot);
    buf_put_varint(out, a->epoch.run);
}

static void actor_decode(struct reader *r, struct actor *a)
{
    a->node = read_u64(r);
    a->epoch.boot = read_u64(r);
    uint64_t run = read_varint(r);
    if (run > UINT32_MAX)
        reader_fail(r);
    a->epoch.run = (uint32_t)run;
}

void dot_encode(const struct dot *d, struct buf *out)
{
    actor_encode(&d->actor, out);
    buf_put_varint(out, d->counter);
}

void dot_decode(struct reader *r, struct dot *d)
{
    struct dot got = {0};
    actor_decode(r, &got.actor);
    got.counter = read_varint(r);
    if (reader_ok(r))
        *d = got;
}

void clock_encode(const struct clock *c, struct buf *out)
{
    buf_reserve(out, 4 + (size_t)c->n * 32);
    buf_put_varint(out, c->n);
    for (uint32_t i = 0; i < c->n; i++) {
        actor_encode(&c->pairs[i].actor, out);
        buf_put_varint(out, c->pairs[i].counter);
        buf_put_varint(out, c->pairs[i].time_ms);
    }
}

void clock_decode(struct reader *r, struct clock *c)
{
    uint64_t n = read_varint(r);
    if (n > CLOCK_PAIRS_MAX || n > reader_left(r) / PAIR_ENCODED_MIN)
        reader_fail(r);
    if (!reader_ok(r))
        return;
    struct clock got = CLOCK_EMPTY;
    reserve(&got, (uint32_t)n);
    for (; got.n < n && reader_ok(r); got.n++) {
        struct clock_pair *p = &got.pairs[got.n];
        actor_decode(r, &p->actor);
        p->counter = read_varint(r);
        p->time_ms = read_varint(r);
        if (p->counter == 0 || (got.n > 0 && actor_compare(&p[-1].actor, &p->actor) >= 0))
            reader_fail(r);
    }
    if (!reader_ok(r)) {
        clock_release(&got);
        return;
    }
    clock_release(c);
    *c = got;
}

static char *put_hex(char *at, uint64_t v)
{
    int shift = 60;
    while (shift > 0 && v >> shift == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[v >> shift & 15];
    return at;
}

void dot_format(const struct dot *d, char *out)
{
    const uint64_t parts[] = {d->actor.node, d->actor.epoch.boot, d->actor.epoch.run, d->counter};
    char *at = out;
    for (int i = 0; i < 4; i++) {
        if (i != 0)
            *at++ = '.';
        at = put_hex(at, parts[i]);
    }
    *at = '\0';
    assert(at - out < DOT_TEXT_MAX);
}

/* One hexadecimal number as dot_format prints it: lower case, no leading zero. */
static bool take_hex(struct slice *s, uint64_t *out)
{
    uint64_t v = 0;
    size_t n = 0;
    for (; n < s->len; n++) {
        uint8_t ch = s->data[n];
        if (!((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'f')))
            break;
        if (n == 16 || (n == 1 && v == 0))
            return false;
        v = v << 4 | (ch <= '9' ? (uint64_t)(ch - '0') : (uint64_t)(ch - 'a' + 10));
    }
    if (n == 0)
        return false;
    *s = slice_of(s->data + n, s->len - n);
    *out = v;
    return true;
}

int dot_parse(struct slice text, struct dot *out)
{
    uint64_t parts[4];
    for (int i = 0; i < 4; i++) {
        if (i != 0) {
            if (text.len == 0 || text.data[0] != '.')
                return DYN_ERR_INVALID;
            text = slice_of(text.data + 1, text.len - 1);
        }
        if (!take_hex(&text, &parts[i]))
            return DYN_ERR_INVALID;
    }
    if (text.len != 0 || parts[2] > UINT32_MAX || parts[3] == 0)
        return DYN_ERR_INVALID;
    *out = (struct dot){{parts[0], {parts[1], (uint32_t)parts[2]}}, parts[3]};
    return DYN_OK;
}
