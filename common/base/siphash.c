/* SPDX-License-Identifier: Apache-2.0 */
/* See siphash.h. libcrypto has it too, but there each hash takes a lookup of parameters that costs
 * more than the hash; the unit test compares the two. */
#include "base/siphash.h"

struct state {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t v, unsigned by)
{
    return v << by | v >> (64 - by);
}

static inline void rounds(struct state *s, int n)
{
    for (int i = 0; i < n; i++) {
        s->v0 += s->v1;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v3;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 += s->v3;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 += s->v1;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v2 = rotate(s->v2, 32);
    }
}

static uint64_t load_word(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

static uint64_t load(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static void absorb(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    rounds(s, 2);
    s->v0 ^= word;
}

static void squeeze(struct state *s, uint8_t *out)
{
    rounds(s, 4);
    uint64_t v = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
    v = htole64(v);
    memcpy(out, &v, sizeof(v));
}

void siphash128(const struct siphash_key *key, struct slice in, uint8_t out[DIGEST_LEN])
{
    struct state s = {
        0x736f6d6570736575ull ^ key->k0,
        0x646f72616e646f6dull ^ key->k1 ^ 0xee,
        0x6c7967656e657261ull ^ key->k0,
        0x7465646279746573ull ^ key->k1,
    };
    size_t whole = in.len / 8 * 8;
    for (size_t i = 0; i < whole; i += 8)
        absorb(&s, load_word(in.data + i));
    uint64_t rest = in.len > whole ? load(in.data + whole, in.len - whole) : 0;
    absorb(&s, rest | (uint64_t)in.len << 56);
    s.v2 ^= 0xee;
    squeeze(&s, out);
    s.v1 ^= 0xdd;
    squeeze(&s, out + 8);
}
