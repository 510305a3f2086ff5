/* SPDX-License-Identifier: Apache-2.0 */
/* See mem.h: allocation failure ends the process, with the size that was asked for. */
#include "base/mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *p, size_t size)
{
    if (p == NULL && size != 0) {
        fprintf(stderr, "out of memory allocating %zu bytes\n", size);
        abort();
    }
    return p;
}

void *mem_alloc(size_t size)
{
    return checked(malloc(size), size);
}

void *mem_zalloc(size_t size)
{
    return checked(calloc(1, size), size);
}

void *mem_realloc(void *p, size_t size)
{
    return checked(realloc(p, size), size);
}

void *mem_reallocarray(void *p, size_t n, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total))
        checked(NULL, SIZE_MAX);
    return checked(realloc(p, total), total);
}

void *mem_dup(const void *p, size_t size)
{
    void *copy = mem_alloc(size);
    if (size != 0)
        memcpy(copy, p, size);
    return copy;
}

char *mem_strdup(const char *s)
{
    return mem_dup(s, strlen(s) + 1);
}

char *mem_strndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *copy = mem_alloc(len + 1);
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

char *mem_printf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return checked(n < 0 ? NULL : s, (size_t)(n < 0 ? 1 : n));
}

struct blob *blob_new(const void *data, size_t len)
{
    assert(len <= UINT32_MAX);
    struct blob *b = mem_alloc(sizeof(*b) + len);
    b->refs = 1;
    b->len = (uint32_t)len;
    if (data != NULL && len != 0)
        memcpy(b->data, data, len);
    return b;
}

struct blob *blob_ref(struct blob *b)
{
    if (b != NULL) {
        assert(b->refs > 0 && b->refs < UINT32_MAX);
        b->refs++;
    }
    return b;
}

void blob_unref(struct blob *b)
{
    if (b == NULL)
        return;
    assert(b->refs > 0);
    if (--b->refs == 0)
        free(b);
}
