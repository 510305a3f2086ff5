/* SPDX-License-Identifier: Apache-2.0 */
/* See memory_archive.h. What was replaced stays until the end, for who has it open. */
#include "memory_archive.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

struct archive_file {
    struct memory_archive_file *file;
    char *name; /* of a file being written */
};

static struct memory_archive_file *find(struct memory_archive *a, const char *name)
{
    for (uint32_t i = 0; i < a->n; i++)
        if (a->files[i]->name != NULL && strcmp(a->files[i]->name, name) == 0)
            return a->files[i];
    return NULL;
}

static void forget(struct memory_archive_file *f)
{
    if (f == NULL)
        return;
    free(f->name);
    f->name = NULL;
}

static int create(void *ctx, const char *name, struct archive_file **out)
{
    struct memory_archive *a = ctx;
    struct archive_file *f = mem_new(struct archive_file);
    f->file = mem_new(struct memory_archive_file);
    f->name = mem_strdup(name);
    a->files = mem_reallocarray(a->files, a->n + 1, sizeof(struct memory_archive_file *));
    a->files[a->n++] = f->file;
    *out = f;
    return DYN_OK;
}

static int append(void *ctx, struct archive_file *f, struct slice bytes)
{
    struct memory_archive *a = ctx;
    if (bytes.len > a->room)
        return DYN_ERR_NO_SPACE;
    a->room -= bytes.len;
    buf_put_slice(&f->file->bytes, bytes);
    return DYN_OK;
}

static void discard(void *ctx, struct archive_file *f)
{
    (void)ctx;
    if (f == NULL)
        return;
    free(f->name);
    free(f);
}

static int commit(void *ctx, struct archive_file *f)
{
    forget(find(ctx, f->name));
    f->file->name = f->name;
    f->name = NULL;
    discard(ctx, f);
    return DYN_OK;
}

static int sync_all(void *ctx)
{
    (void)ctx;
    return DYN_OK;
}

static int open_file(void *ctx, const char *name, struct archive_file **out, uint64_t *size)
{
    struct memory_archive_file *file = find(ctx, name);
    if (file == NULL)
        return DYN_ERR_NOT_FOUND;
    *out = mem_new(struct archive_file);
    (*out)->file = file;
    *size = file->bytes.len;
    return DYN_OK;
}

static int read_file(void *ctx, struct archive_file *f, uint64_t at, size_t len, struct buf *out)
{
    (void)ctx;
    if (at > f->file->bytes.len || len > f->file->bytes.len - at)
        return DYN_ERR_CORRUPT;
    buf_put(out, f->file->bytes.data + at, len);
    return DYN_OK;
}

static int remove_file(void *ctx, const char *name)
{
    forget(find(ctx, name));
    return DYN_OK;
}

static int list(void *ctx, void (*name)(void *arg, const char *name), void *arg)
{
    struct memory_archive *a = ctx;
    for (uint32_t i = 0; i < a->n; i++)
        if (a->files[i]->name != NULL)
            name(arg, a->files[i]->name);
    return DYN_OK;
}

void memory_archive_init(struct memory_archive *a)
{
    *a = (struct memory_archive){.room = SIZE_MAX};
}

void memory_archive_release(struct memory_archive *a)
{
    for (uint32_t i = 0; i < a->n; i++) {
        forget(a->files[i]);
        buf_release(&a->files[i]->bytes);
        free(a->files[i]);
    }
    free(a->files);
}

struct archive_port memory_archive_port(struct memory_archive *a)
{
    return (struct archive_port){a,         create,    append,  commit,      sync_all, discard,
                                 open_file, read_file, discard, remove_file, list};
}

struct buf *memory_archive_find(struct memory_archive *a, const char *name)
{
    struct memory_archive_file *f = find(a, name);
    return f == NULL ? NULL : &f->bytes;
}
