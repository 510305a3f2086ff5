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

#endif
