/* SPDX-License-Identifier: Apache-2.0 */
/* How the store on RocksDB keeps large values in files (store_files.h): what a batch brings goes to
 * a file before the batch goes anywhere, files are synced ahead of the log, and what needs no hurry
 * (making spare files, removing those of deleted values, looking for files without a row) is done
 * by a thread of its own, a piece at a time. */
#include <stdlib.h>

#include "adapter/store_rocksdb_private.h"
#include "base/err.h"
#include "base/mem.h"

int store_rocksdb_take_out(struct store_rocksdb *s, struct store_batch *batch)
{
    char *message = NULL;
    uint64_t ticket = (s->buffer != NULL ? store_buffer_last(s->buffer) : s->written) + 1;
    if (s->files == NULL)
        return DYN_OK;
    int err = store_files_take_out(s->files, batch, ticket, &message);
    if (err == DYN_ERR_NO_SPACE) { /* nothing of the batch is stored: no failure of the disk */
        store_disk_full(s->disk);
        free(message);
    } else if (err != DYN_OK) {
        store_rocksdb_stop_writing(s, err, message);
        err = s->failure;
    }
    return err;
}

/* ---- upkeep ---- */

static int get_row(void *arg, struct slice key, struct buf *row)
{
    struct rocks_value *value = NULL;
    int err = rocks_get(arg, STORE_VALUE, key, false, &value);
    if (err == DYN_OK)
        buf_put_slice(row, rocks_value_slice(value));
    rocks_value_free(value);
    return err;
}

static void tidy_run(struct lane_job *job)
{
    struct files_job *t = container_of(job, struct files_job, job);
    const struct store_files_rows rows = {get_row, t->s->db};
    t->spares = store_files_tidy(t->s->files, t->durable, &rows);
}

static void start_tidy(struct store_rocksdb *s, bool spares)
{
    if (s->files == NULL || s->tidy.running || s->closing || s->stopped)
        return;
    if (!store_files_tidy_due(s->files, s->durable, spares))
        return;
    s->tidy.running = true;
    s->tidy.durable = s->durable;
    lanes_submit(s->lanes, LANE_FILES, &s->tidy.job);
}

/* On with what is left; but spare files that could not be made are for another time. */
static void tidy_finish(struct lane_job *job)
{
    struct files_job *t = container_of(job, struct files_job, job);
    t->running = false;
    start_tidy(t->s, t->spares);
}

void store_rocksdb_tidy(struct store_rocksdb *s)
{
    start_tidy(s, true);
}

/* ---- start ---- */

/* With a buffer the loop writes nothing itself. What is in files already is read and goes. */
static uint64_t min_bytes(const struct store_rocksdb_config *config)
{
    return config->buffer_objects > 0 ? 0 : config->file_bytes;
}

uint32_t store_rocksdb_format(const struct store_rocksdb_config *config)
{
    return min_bytes(config) > 0 ? STORE_FORMAT_FILES : STORE_FORMAT_ROWS;
}

int store_rocksdb_files_open(struct store_rocksdb *s, const struct store_rocksdb_config *config,
                             char **message)
{
    s->tidy.job = (struct lane_job){.run = tidy_run, .finish = tidy_finish};
    s->tidy.s = s;
    if (s->identity.format < STORE_FORMAT_FILES)
        return DYN_OK;
    char *folder = mem_printf("%s/values", config->path);
    const struct store_files_rows rows = {get_row, s->db};
    const struct store_files_config files = {.folder = folder,
                                             .min_bytes = min_bytes(config),
                                             .spares = config->spare_files,
                                             .orphans = !s->identity.clean};
    int err = store_files_open(&files, &rows, &s->files, message);
    free(folder);
    return err;
}
