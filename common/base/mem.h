/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation that never fails. Linux overcommits, so a failing malloc tells nothing that a program
 * could act on; every size that a peer controls is checked against a configured limit before it
 * gets here. These abort with a message instead of returning NULL, so no caller has an untestable
 * error path. */
#ifndef DYN_BASE_MEM_H
#define DYN_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t size);  /* uninitialized; free() it */
void *mem_zalloc(size_t size); /* zeroed */
void *mem_realloc(void *p, size_t size);
void *mem_reallocarray(void *p, size_t n, size_t size); /* aborts on overflow of n * size */
void *mem_dup(const void *p, size_t size);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define mem_new(type) ((type *)mem_zalloc(sizeof(type)))

/* Immutable bytes shared by reference count: values travel through coordinators, messages and
 * caches without being copied. Not thread-safe: a blob belongs to one loop thread. */
struct blob {
    uint32_t refs;
    uint32_t len;
    uint8_t data[];
};

struct blob *blob_new(const void *data,
                      size_t len);     /* copies; data may be NULL: contents undefined; refs = 1 */
struct blob *blob_ref(struct blob *b); /* NULL stays NULL */
void blob_unref(struct blob *b);       /* NULL is fine */

#endif
