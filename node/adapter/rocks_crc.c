/* SPDX-License-Identifier: Apache-2.0 */
/* See rocks_crc.h. RocksDB makes a CRC-32C of each value twice, once in the log and once in the
 * blob file. Whether it does so by the processor's instruction was decided where the library was
 * compiled, and a distribution compiles for the oldest processor: then it goes by tables, at a
 * tenth of the speed, and that was the largest single cost of writing large files.
 *
 * So the program has a function of the same name. A program's functions stand before those of its
 * shared libraries, as with an allocator that replaces malloc, and the library calls this one
 * instead of its own. What it must compute is fixed, as it is on disks: the polynomial of RFC 3720,
 * reflected. Nevertheless both are compared before the first use, and where they differ, where the
 * processor lacks the instructions, or where it is no x86, the library's own does the work.
 *
 * The instruction takes 8 bytes, one may begin each cycle, and each takes three. So three stripes
 * of a long run are summed side by side and put together after: a sum followed by n more bytes is
 * that sum times x^(8n) modulo the polynomial. A carry-less multiplication by x^(8n - 33), and the
 * instruction once more to take the modulus of its 64 bits, are that product: the 33 comes from
 * the bit that a reflected product lies too low and the 32 by which the instruction shifts. */
#include "adapter/rocks_crc.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#define SYMBOL "_ZN7rocksdb6crc32c6ExtendEjPKcm"

typedef uint32_t extend_fn(uint32_t crc, const char *data, size_t n);

/* By bits, as the polynomial is defined: for what has no other, and is short. */
static uint32_t extend_by_bits(uint32_t crc, const char *data, size_t n)
{
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= (uint8_t)data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    return ~crc;
}

#if defined(__x86_64__)

#include <immintrin.h>

#define WITH_CRC __attribute__((target("sse4.2,pclmul")))
enum { STRIPE = 1024 }; /* bytes; a multiple of 8 */

static uint64_t one_stripe_on, two_stripes_on; /* factors, below x^32 */

/* x^n modulo the polynomial, reflected: the highest bit is that of x^0. */
static uint64_t power_of_x(unsigned n)
{
    uint32_t p = 0x80000000;
    for (; n > 0; n--)
        p = p >> 1 ^ (p & 1 ? 0x82f63b78 : 0);
    return p;
}

static uint64_t word_at(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof(w));
    return w;
}

WITH_CRC static uint64_t times(uint64_t crc, uint64_t factor)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)crc),
                                           _mm_cvtsi64_si128((int64_t)factor), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

WITH_CRC static uint32_t extend_fast(uint32_t start, const char *p, size_t n)
{
    uint64_t crc = ~start;
    for (; n >= (size_t)3 * STRIPE; n -= (size_t)3 * STRIPE, p += 3 * STRIPE) {
        uint64_t second = 0, third = 0;
        for (int i = 0; i < STRIPE; i += 8) {
            crc = _mm_crc32_u64(crc, word_at(p + i));
            second = _mm_crc32_u64(second, word_at(p + STRIPE + i));
            third = _mm_crc32_u64(third, word_at(p + 2 * STRIPE + i));
        }
        crc = times(crc, two_stripes_on) ^ times(second, one_stripe_on) ^ third;
    }
    for (; n >= 8; n -= 8, p += 8)
        crc = _mm_crc32_u64(crc, word_at(p));
    for (; n > 0; n--, p++)
        crc = _mm_crc32_u8((uint32_t)crc, (uint8_t)*p);
    return ~(uint32_t)crc;
}

static extend_fn *fast_one(void)
{
    one_stripe_on = power_of_x(8 * STRIPE - 33);
    two_stripes_on = power_of_x(16 * STRIPE - 33);
    __builtin_cpu_init(); /* the library's constructors may run before the compiler's */
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul") ? extend_fast
                                                                                : NULL;
}

#else

static extend_fn *fast_one(void)
{
    return NULL;
}

#endif

static pthread_once_t chosen = PTHREAD_ONCE_INIT;
static extend_fn *the_extend;
static bool in_place;

/* Over lengths with and without stripes, and from a sum that is not the first. */
static bool agree(extend_fn *a, extend_fn *b)
{
    char bytes[8000];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 31 + i / 7);
    for (size_t n = 0; n < sizeof(bytes); n += n / 2 + 1)
        if (a(0, bytes, n) != b(0, bytes, n) ||
            a(0x12345678, bytes + 1, n) != b(0x12345678, bytes + 1, n))
            return false;
    return true;
}

static void choose(void)
{
    void *next = dlsym(RTLD_NEXT, SYMBOL);
    extend_fn *own = NULL, *fast = fast_one();
    memcpy(&own, &next, sizeof(own)); /* ISO C has no cast for it */
    if (own == NULL)
        own = extend_by_bits; /* no shared library: then whoever calls this has no other */
    in_place = fast != NULL && agree(fast, own);
    the_extend = in_place ? fast : own;
}

uint32_t rocks_crc_extend(uint32_t crc, const char *data, size_t n)
{
    pthread_once(&chosen, choose);
    return the_extend(crc, data, n);
}

bool rocks_crc_in_place(void)
{
    void *first = dlsym(RTLD_DEFAULT, SYMBOL);
    extend_fn *ours = rocks_crc_extend;
    pthread_once(&chosen, choose);
    return in_place && memcmp(&first, &ours, sizeof(first)) == 0;
}
