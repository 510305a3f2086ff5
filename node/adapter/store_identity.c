/* SPDX-License-Identifier: Apache-2.0 */
/* See store_identity.h. Four rows: the format (a number; a store of a lower one is opened, and
 * raised when it is to have what a lower one does not know, of a higher one refused), the identity
 * (cluster and node), and the mark of a clean stop, which lives from the end of a run to the start
 * of the next; and which start of the machine the last run began under and in which folder, for a
 * process that dies leaves the page cache, while a machine that dies, and a copy that was made of a
 * live store, do not. */
#include "adapter/store_identity.h"

#include <stdio.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/mem.h"

#define FORMAT ((uint32_t)STORE_FORMAT_FILES)

static const char row_format[] = "format", row_identity[] = "identity", row_clean[] = "clean",
                  row_boot[] = "boot";
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* Copies a row out; DYN_ERR_NOT_FOUND leaves out empty. */
static int read_row(struct rocks *r, const char *name, struct buf *out)
{
    struct rocks_value *v = NULL;
    int err = rocks_get(r, ROCKS_OWN, slice_str(name), false, &v);
    if (err == DYN_OK)
        buf_put_slice(out, rocks_value_slice(v));
    rocks_value_free(v);
    return err;
}

static int write_synced(struct rocks *r, char **message)
{
    int err = rocks_write(r, message);
    return err == DYN_OK ? rocks_sync(r, message) : err;
}

static int write_format(struct rocks *r, uint32_t format, char **message)
{
    struct buf row = BUF_EMPTY;
    buf_put_u32(&row, format);
    rocks_batch_put(r, ROCKS_OWN, slice_str(row_format), buf_slice(&row));
    buf_release(&row);
    return write_synced(r, message);
}

static int check_format(struct rocks *r, const char *path, uint32_t wanted,
                        struct store_identity *id, char **message)
{
    struct buf row = BUF_EMPTY;
    int err = read_row(r, row_format, &row);
    struct reader in = reader_of(buf_slice(&row));
    uint32_t format = read_u32(&in);
    if (err == DYN_ERR_NOT_FOUND && rocks_sequence(r) == 0) {
        id->created = true;
        format = wanted;
        err = write_format(r, format, message);
    } else if (err != DYN_OK || !reader_done(&in) || format == 0) {
        err = DYN_ERR_CORRUPT;
        *message = mem_printf("the store in %s has no readable format: it is damaged or was not "
                              "made by dynanode",
                              path);
    } else if (format > FORMAT) {
        err = DYN_ERR_INVALID;
        *message = mem_printf("the store in %s has format %u, this version knows only up to %u: "
                              "use a newer version",
                              path, format, FORMAT);
    } else if (format < wanted) {
        format = wanted;
        err = write_format(r, format, message);
    }
    id->format = format;
    buf_release(&row);
    return err;
}

static int check_identity(struct rocks *r, const char *path, uint64_t cluster, uint64_t node,
                          struct store_identity *id, char **message)
{
    struct buf row = BUF_EMPTY;
    int err = read_row(r, row_identity, &row);
    struct reader in = reader_of(buf_slice(&row));
    uint64_t its_cluster = read_u64(&in), its_node = read_u64(&in);
    bool readable = reader_done(&in) && its_cluster != 0 && its_node != 0;
    buf_release(&row);
    if (err == DYN_ERR_NOT_FOUND) {
        if (cluster == 0 || node == 0)
            return DYN_OK;
        id->cluster = cluster;
        id->node = node;
        return store_identity_adopt(r, cluster, node, message);
    }
    if (err != DYN_OK || !readable) {
        *message = mem_printf("the store in %s has no readable identity: it is damaged", path);
        return DYN_ERR_CORRUPT;
    }
    if (cluster != 0 && its_cluster != cluster) {
        *message = mem_printf("the store in %s belongs to cluster %016llx, not to %016llx", path,
                              (unsigned long long)its_cluster, (unsigned long long)cluster);
        return DYN_ERR_INVALID;
    }
    if (node != 0 && its_node != node) {
        *message = mem_printf("the store in %s belongs to node %016llx, not to %016llx", path,
                              (unsigned long long)its_node, (unsigned long long)node);
        return DYN_ERR_INVALID;
    }
    id->cluster = its_cluster;
    id->node = its_node;
    return DYN_OK;
}

static int take_clean_mark(struct rocks *r, struct store_identity *id, char **message)
{
    struct buf row = BUF_EMPTY;
    int err = read_row(r, row_clean, &row);
    buf_release(&row);
    id->clean = id->created || err == DYN_OK;
    if (err == DYN_ERR_NOT_FOUND)
        return DYN_OK;
    if (err != DYN_OK) {
        *message = mem_strdup("cannot read the mark of a clean stop");
        return err;
    }
    rocks_batch_delete(r, ROCKS_OWN, slice_str(row_clean));
    return write_synced(r, message);
}

/* This start of the machine, and this folder: a copy of it is another one. Empty where the system
 * does not say. */
static void put_boot(const char *path, struct buf *out)
{
    char boot[64];
    struct stat st;
    FILE *f = fopen(BOOT_ID, "re");
    if (f == NULL)
        return;
    if (fgets(boot, sizeof(boot), f) != NULL && stat(path, &st) == 0) {
        buf_put_str(out, boot);
        buf_put_u64(out, (uint64_t)st.st_dev);
        buf_put_u64(out, (uint64_t)st.st_ino);
    }
    fclose(f);
}

/* Not the same is the careful answer. */
static int compare_boot(struct rocks *r, const char *path, struct store_identity *id,
                        char **message)
{
    struct buf row = BUF_EMPTY, now = BUF_EMPTY;
    put_boot(path, &now);
    int err = read_row(r, row_boot, &row);
    id->same_boot = now.len > 0 && err == DYN_OK && slice_equal(buf_slice(&row), buf_slice(&now));
    buf_release(&row);
    buf_release(&now);
    if (err == DYN_OK || err == DYN_ERR_NOT_FOUND)
        return DYN_OK;
    *message = mem_strdup("cannot read under which start of the machine the last run was");
    return err;
}

int store_identity_mark_boot(struct rocks *r, const char *path, char **message)
{
    struct buf now = BUF_EMPTY;
    put_boot(path, &now);
    rocks_batch_put(r, ROCKS_OWN, slice_str(row_boot), buf_slice(&now));
    buf_release(&now);
    return write_synced(r, message);
}

int store_identity_forget_boot(struct rocks *r, char **message)
{
    rocks_batch_delete(r, ROCKS_OWN, slice_str(row_boot));
    return write_synced(r, message);
}

int store_identity_open(struct rocks *r, const char *path, uint32_t format, uint64_t cluster,
                        uint64_t node, struct store_identity *out, char **message)
{
    struct store_identity id = {0};
    int err = check_format(r, path, format, &id, message);
    if (err == DYN_OK)
        err = check_identity(r, path, cluster, node, &id, message);
    if (err == DYN_OK)
        err = take_clean_mark(r, &id, message);
    if (err == DYN_OK)
        err = compare_boot(r, path, &id, message);
    if (err == DYN_OK)
        *out = id;
    return err;
}

int store_identity_adopt(struct rocks *r, uint64_t cluster, uint64_t node, char **message)
{
    struct buf row = BUF_EMPTY;
    buf_put_u64(&row, cluster);
    buf_put_u64(&row, node);
    rocks_batch_put(r, ROCKS_OWN, slice_str(row_identity), buf_slice(&row));
    buf_release(&row);
    return write_synced(r, message);
}

int store_identity_mark_clean(struct rocks *r, char **message)
{
    rocks_batch_put(r, ROCKS_OWN, slice_str(row_clean), slice_str("1"));
    return write_synced(r, message);
}
