/* SPDX-License-Identifier: Apache-2.0 */
/* Objects to test with: short ways to write siblings, a comparison of every field, and a seeded
 * generator. Header only, so that each test stays one file. */
#ifndef DYN_TESTS_HISTORIES_H
#define DYN_TESTS_HISTORIES_H

#include <string.h>

#include "model/object.h"

#define MAYBE __attribute__((unused))

static inline struct actor actor_of(uint64_t node)
{
    return (struct actor){node, {7, 1}};
}

static inline struct dot dot_of(uint64_t node, uint64_t counter)
{
    return (struct dot){actor_of(node), counter};
}

/* Its value is loaded. */
static MAYBE struct sibling file_sibling(struct dot dot, const char *text, uint64_t time_ns)
{
    struct sibling s = {.dot = dot, .value_dot = dot, .time_ns = time_ns, .type = SIBLING_FILE};
    s.attrs.mode = 0644;
    s.size = strlen(text);
    s.value = blob_new(text, s.size);
    digest_sha256(slice_str(text), s.value_hash);
    return s;
}

static MAYBE void write_file(struct object *o, const struct cover *cover, struct dot dot,
                             const char *text, uint64_t time_ns)
{
    struct sibling s = file_sibling(dot, text, time_ns);
    object_write(o, cover != NULL ? cover : &COVER_EMPTY, &s, time_ns / 1000000);
}

static MAYBE void write_delete(struct object *o, const struct cover *cover, struct dot dot,
                               uint64_t time_ns)
{
    struct sibling s = {.dot = dot, .time_ns = time_ns, .type = SIBLING_DELETE};
    object_write(o, cover != NULL ? cover : &COVER_EMPTY, &s, time_ns / 1000000);
}

/* Every field but the values, by the encoding that says them all. */
static MAYBE bool object_identical(const struct object *a, const struct object *b)
{
    struct buf x = BUF_EMPTY, y = BUF_EMPTY;
    object_encode(a, &x);
    object_encode(b, &y);
    bool same = slice_equal(buf_slice(&x), buf_slice(&y));
    buf_release(&x);
    buf_release(&y);
    return same;
}

/* splitmix64 (Steele, Lea and Flood, 2014): any seed is good. */
static MAYBE uint64_t next_random(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static MAYBE uint64_t random_below(uint64_t *seed, uint64_t n)
{
    return next_random(seed) % n;
}

/* A clock and siblings with every field filled in at random, zero often; entry-like ones have the
 * digest of their xattrs only. No values. */
static MAYBE void random_sibling(uint64_t *seed, struct dot dot, struct sibling *s)
{
    *s = (struct sibling){.dot = dot, .value_dot = dot, .time_ns = next_random(seed)};
    s->type = (enum sibling_type)random_below(seed, 4);
    if (s->type == SIBLING_FILE || s->type == SIBLING_SYMLINK) {
        s->size = random_below(seed, 3) == 0 ? 0 : next_random(seed) >> random_below(seed, 64);
        digest_sha256(slice_of(&s->time_ns, s->size == 0 ? 0 : 8), s->value_hash);
    }
    if (random_below(seed, 2) == 0)
        s->value_dot = random_below(seed, 2) == 0 ? dot_of(random_below(seed, 9), 3)
                                                  : (struct dot){.counter = 0};
    if (random_below(seed, 2) == 0)
        s->base_dot = dot_of(random_below(seed, 9), 1 + random_below(seed, 1000));
    if (random_below(seed, 3) != 0) {
        s->attrs.mode = (uint32_t)random_below(seed, 010000);
        s->attrs.uid = (uint32_t)next_random(seed);
        s->attrs.gid = (uint32_t)random_below(seed, 2);
        s->attrs.mtime_ns = (int64_t)next_random(seed);
        s->attrs.ctime_ns = s->attrs.mtime_ns + (int64_t)random_below(seed, 2);
        s->attrs.atime_ns = (int64_t)(next_random(seed) >> 32);
    }
    s->attrs.ino = random_below(seed, 2) == 0 ? 0 : next_random(seed);
    if (random_below(seed, 2) == 0)
        s->origin = (struct origin){next_random(seed), next_random(seed) >> 40, 1};
    if (random_below(seed, 3) == 0)
        xattrs_set(NULL, slice_str("user.note"), slice_of(&s->time_ns, 8), &s->attrs.xattrs);
    else if (random_below(seed, 3) == 0)
        digest_sha256(slice_str("some list"), s->attrs.xattrs_hash);
}

static MAYBE void random_object(uint64_t *seed, struct object *o)
{
    uint64_t actors = random_below(seed, 5);
    for (uint64_t a = 0; a < actors; a++) {
        struct dot last = dot_of(a * 2 + random_below(seed, 2), 1 + random_below(seed, 1000));
        clock_advance(&o->clock, &last, next_random(seed) >> random_below(seed, 64));
        for (uint64_t i = random_below(seed, 4); i > 0 && last.counter > i; i--) {
            struct sibling s;
            random_sibling(seed, (struct dot){last.actor, last.counter - i + 1}, &s);
            object_insert(o, &s);
        }
    }
}

#endif
