/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_random.h. Not for secrets: the engine's epochs are as random as the seed. */
#include "sim_random.h"

#include <assert.h>
#include <string.h>

static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void sim_random_init(struct sim_random *r, uint64_t seed, const char *stream, uint64_t index)
{
    uint64_t x = seed;
    for (const char *p = stream; *p != '\0'; p++)
        x = splitmix(&x) ^ (uint64_t)(unsigned char)*p;
    x = splitmix(&x) ^ index;
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix(&x);
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t sim_random_u64(struct sim_random *r)
{
    uint64_t *s = r->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t sim_random_below(struct sim_random *r, uint64_t n)
{
    assert(n > 0);
    return sim_random_u64(r) % n;
}

uint64_t sim_random_range(struct sim_random *r, uint64_t lo, uint64_t hi)
{
    assert(lo <= hi);
    return lo + sim_random_below(r, hi - lo + 1);
}

bool sim_random_chance(struct sim_random *r, uint64_t permille)
{
    return sim_random_below(r, 1000) < permille;
}

static void fill(void *ctx, void *out, size_t len)
{
    uint8_t *p = out;
    while (len > 0) {
        uint64_t v = sim_random_u64(ctx);
        size_t n = len < sizeof(v) ? len : sizeof(v);
        memcpy(p, &v, n);
        p += n;
        len -= n;
    }
}

struct random_port sim_random_port(struct sim_random *r)
{
    return (struct random_port){r, fill};
}
