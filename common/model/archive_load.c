/* SPDX-License-Identifier: Apache-2.0 */
/* See archive_load.h.
 *
 *   RING -> CHECK, file by file -> SETTINGS -> DIRS, depth by depth
 *        -> CHUNKS -> KEYS -> UPLOADS, each file by file -> DONE
 *
 * Now and then it is noted beside the archive how far the last three are. Should the
 * restore break off, the next one goes on from there; where nothing can be noted, it begins anew,
 * which costs time and nothing else. */
#include "model/archive_load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/archive_load_private.h"
#include "model/key.h"

#define LOOK_US 100000u
#define RING_WAIT_US 10000000u
#define NOTE_FORMAT "dynamount restore, run %" SCNu64 ", phase %u, file %" SCNu32 "\n"
#define NOTE_MAX 256u
#define NOTE_US 2000000u /* between notes */

static uint64_t now(const struct archive_load *l)
{
    return l->cfg.time.mono_us(l->cfg.time.ctx);
}

void load_again(struct archive_load *l)
{
    timer_set(l->cfg.timers, &l->timer, now(l));
}

void load_failed(struct archive_load *l, int err, char *message)
{
    if (l->err == DYN_OK) {
        l->err = err;
        l->text = message;
    } else {
        free(message);
    }
    load_again(l);
}

static void begin_phase(struct archive_load *l, enum archive_load_phase phase)
{
    static const enum archive_load_phase last = LOAD_UPLOADS;
    l->phase = l->progress.phase = phase;
    l->file = phase == l->from ? l->from_file : 0;
    l->progress.files = phase == LOAD_CHECK ? ARCHIVE_KINDS * l->manifest.q
                        : phase <= last     ? l->manifest.q
                                            : 0;
    load_again(l);
}

/* ---- how far an earlier one came --------------------------------------------------------- */

static void note_name(const struct archive_load *l, char out[ARCHIVE_NAME_MAX])
{
    snprintf(out, ARCHIVE_NAME_MAX, "restore-%016" PRIx64 ".state", ring_cluster(l->ring));
}

/* Of a part alone nothing is noted: it is another restore each time. */
static void note(struct archive_load *l)
{
    char name[ARCHIVE_NAME_MAX];
    struct archive_file *f;
    struct buf text = BUF_EMPTY;
    const struct archive_port *port = &l->cfg.port;
    note_name(l, name);
    if (l->cfg.below.len != 0 || port->create(port->ctx, name, &f) != DYN_OK)
        return; /* a place that is only read */
    buf_printf(&text, "dynamount restore, run %" PRIu64 ", phase %u, file %" PRIu32 "\n",
               l->manifest.run, (unsigned)l->phase, l->file);
    if (port->append(port->ctx, f, buf_slice(&text)) == DYN_OK)
        (void)!port->commit(port->ctx, f);
    else
        port->discard(port->ctx, f);
    buf_release(&text);
}

static void read_note(struct archive_load *l)
{
    char name[ARCHIVE_NAME_MAX];
    struct archive_file *f;
    struct buf text = BUF_EMPTY;
    uint64_t size, run;
    unsigned phase;
    uint32_t file;
    const struct archive_port *port = &l->cfg.port;
    note_name(l, name);
    if (l->cfg.below.len != 0 || port->open(port->ctx, name, &f, &size) != DYN_OK)
        return;
    if (size < NOTE_MAX && port->read(port->ctx, f, 0, (size_t)size, &text) == DYN_OK) {
        buf_put_u8(&text, 0);
        if (sscanf((const char *)text.data, NOTE_FORMAT, &run, &phase, &file) == 3 &&
            run == l->manifest.run && phase >= LOAD_CHUNKS && phase <= LOAD_UPLOADS &&
            file <= l->manifest.q) {
            l->from = (enum archive_load_phase)phase;
            l->from_file = file;
        }
    }
    port->close(port->ctx, f);
    buf_release(&text);
}

static void remove_note(struct archive_load *l)
{
    char name[ARCHIVE_NAME_MAX];
    note_name(l, name);
    (void)!l->cfg.port.remove(l->cfg.port.ctx, name); /* it is fine if there is none */
}

/* ---- what is wanted ---------------------------------------------------------------------- */

static bool is_dir(const struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (o->siblings[i].type == SIBLING_DIR)
            return true;
    return false;
}

static bool within(struct slice key, struct slice dir)
{
    return slice_has_prefix(key, dir) &&
           (key.len == dir.len || dir.len == 0 || key.data[dir.len] == '/');
}

static bool wanted_key(const struct archive_load *l, const struct range_row *row)
{
    struct slice below = l->cfg.below;
    if (within(row->key, below))
        return true;
    return is_dir(&row->object) && within(below, row->key); /* the way there */
}

static int by_id(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct upload_id));
}

static bool wanted_chunk(const struct archive_load *l, struct slice key, bool record)
{
    struct upload_id upload;
    if (l->cfg.below.len == 0)
        return true;
    int err = record ? upload_key_parse(key, &upload) : chunk_key_parse(key, &upload);
    return err == DYN_OK && l->n_uploads > 0 &&
           bsearch(&upload, l->uploads, l->n_uploads, sizeof(upload), by_id) != NULL;
}

static void note_uploads(struct archive_load *l, const struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++) {
        const struct blob *b = o->siblings[i].uploads;
        for (size_t at = 0; b != NULL && at + UPLOAD_ID_LEN <= b->len; at += UPLOAD_ID_LEN) {
            if (l->n_uploads == l->cap_uploads) {
                l->cap_uploads = l->cap_uploads == 0 ? 64 : 2 * l->cap_uploads;
                l->uploads = mem_reallocarray(l->uploads, l->cap_uploads, sizeof(*l->uploads));
            }
            memcpy(l->uploads[l->n_uploads++].bytes, b->data + at, UPLOAD_ID_LEN);
        }
    }
}

static uint32_t depth_of(struct slice key)
{
    uint32_t depth = key.len == 0 ? 0 : 1;
    for (size_t i = 0; i < key.len; i++)
        depth += key.data[i] == '/';
    return depth;
}

static void note_dir(struct archive_load *l, const struct range_row *row)
{
    if (l->n_dirs == l->cap_dirs) {
        l->cap_dirs = l->cap_dirs == 0 ? 64 : 2 * l->cap_dirs;
        l->dirs = mem_reallocarray(l->dirs, l->cap_dirs, sizeof(*l->dirs));
    }
    struct load_dir *d = &l->dirs[l->n_dirs++];
    *d = (struct load_dir){.raw = BUF_EMPTY, .depth = depth_of(row->key)};
    load_seal(l, row, &d->raw);
}

/* ---- checking ---------------------------------------------------------------------------- */

static const struct archive_part *part_of(const struct archive_load *l, uint32_t file,
                                          char name[ARCHIVE_NAME_MAX])
{
    enum archive_kind kind = file < l->manifest.q ? ARCHIVE_KEYS : ARCHIVE_CHUNKS;
    uint32_t partition = file % l->manifest.q;
    const struct archive_part *part = archive_manifest_part(&l->manifest, kind, partition);
    archive_name(kind, partition, part->run, name);
    return part;
}

static void damaged(struct archive_load *l, const char *name, int err)
{
    const struct archive_reader *r = &l->reader;
    if (r->pieces == 0)
        load_failed(l, err, mem_printf("%s: %s", name, dyn_err_message(err)));
    else
        load_failed(l, err,
                    mem_printf("%s: piece %" PRIu32 ", at byte %" PRIu64 ": %s", name, r->pieces,
                               r->piece_at, dyn_err_message(err)));
}

static void look_at_row(struct archive_load *l, const struct range_row *row)
{
    l->progress.rows++;
    if (l->reader.head.kind == ARCHIVE_KEYS && wanted_key(l, row)) {
        if (is_dir(&row->object))
            note_dir(l, row);
        if (l->cfg.below.len != 0)
            note_uploads(l, &row->object);
    }
}

static int check_rows(struct archive_load *l)
{
    struct range_row row;
    int err;
    while ((err = archive_next(&l->reader, &row)) == DYN_OK) {
        look_at_row(l, &row);
        object_release(&row.object);
    }
    return err == DYN_ERR_NOT_FOUND ? DYN_OK : err;
}

static void check_file(struct archive_load *l)
{
    char name[ARCHIVE_NAME_MAX];
    const struct archive_part *part = part_of(l, l->file, name);
    const struct archive_head *h = &l->reader.head;
    int err = archive_open(&l->reader, &l->cfg.port, name);
    if (err == DYN_ERR_NOT_FOUND)
        err = DYN_ERR_CORRUPT; /* the manifest names it */
    if (err == DYN_OK)
        err = check_rows(l);
    if (err == DYN_OK && memcmp(l->reader.foot.digest, part->foot.digest, DIGEST_LEN) != 0)
        err = DYN_ERR_CORRUPT; /* whole, but another one */
    if (err == DYN_OK && (h->cluster != l->manifest.cluster || h->q != l->manifest.q ||
                          h->partition != l->file % l->manifest.q ||
                          h->kind != (l->file < l->manifest.q ? ARCHIVE_KEYS : ARCHIVE_CHUNKS)))
        err = DYN_ERR_CORRUPT;
    if (err != DYN_OK)
        damaged(l, name, err);
    archive_close(&l->reader);
    l->progress.file = ++l->file;
    load_again(l);
}

static int by_depth(const void *a, const void *b)
{
    uint32_t x = ((const struct load_dir *)a)->depth, y = ((const struct load_dir *)b)->depth;
    return x < y ? -1 : x > y;
}

static void checked(struct archive_load *l)
{
    if (l->n_dirs > 1)
        qsort(l->dirs, l->n_dirs, sizeof(*l->dirs), by_depth);
    if (l->n_uploads > 1)
        qsort(l->uploads, l->n_uploads, sizeof(*l->uploads), by_id);
    l->progress.rows = l->progress.bytes = 0;
    begin_phase(l, l->cfg.client == NULL ? LOAD_DONE : LOAD_SETTINGS);
}

/* ---- settings of directories ------------------------------------------------------------- */

static bool is_set(const struct settings *s, const struct setting_row *row)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->rows[i].setting == row->setting && s->rows[i].dir_len == row->dir_len &&
            (row->dir_len == 0 || memcmp(s->rows[i].dir, row->dir, row->dir_len) == 0))
            return true;
    return false;
}

static void set_next(struct archive_load *l, const struct settings *there);

static void on_settings(void *arg, const struct settings_reply *reply)
{
    struct archive_load *l = arg;
    l->outstanding--;
    if (reply->status != DYN_OK)
        load_failed(l, reply->status,
                    mem_printf("the settings of directories: %s", dyn_err_message(reply->status)));
    else
        set_next(l, &reply->table);
}

/* What is set there, or was, is newer. */
static void set_next(struct archive_load *l, const struct settings *there)
{
    const struct settings *s = &l->manifest.settings;
    struct settings_request q = {.n = 0};
    if (there == NULL) {
        l->outstanding++;
        l->kv.settings(l->kv.ctx, &q, on_settings, l);
        return;
    }
    for (; l->next_setting < s->n; l->next_setting++) {
        const struct setting_row *row = &s->rows[l->next_setting];
        struct slice dir = slice_of(row->dir, row->dir_len);
        bool settable = row->setting < SETTINGS_END; /* others the cluster finds by itself */
        if (!settable || row->value == 0 || is_set(there, row) || !within(dir, l->cfg.below))
            continue;
        l->next_setting++;
        q.dir = dir;
        q.changes[q.n++] = (struct setting_change){(enum dir_setting)row->setting, row->value};
        l->outstanding++;
        l->kv.settings(l->kv.ctx, &q, on_settings, l);
        return;
    }
    begin_phase(l, l->from > LOAD_DIRS ? l->from : LOAD_DIRS);
}

/* ---- sending ----------------------------------------------------------------------------- */

static void send_dirs(struct archive_load *l)
{
    while (l->next_dir < l->n_dirs && load_may_send(l)) {
        const struct load_dir *d = &l->dirs[l->next_dir];
        l->alone = false;
        load_add_raw(l, buf_slice(&d->raw), d->bytes);
        l->next_dir++;
        if (l->next_dir == l->n_dirs || l->dirs[l->next_dir].depth != d->depth) {
            load_flush(l);
            l->alone = true; /* what lies in them comes when they are there */
        }
    }
    if (l->next_dir == l->n_dirs && l->sending == 0)
        begin_phase(l, LOAD_CHUNKS);
}

static bool wanted(const struct archive_load *l, const struct range_row *row)
{
    struct upload_id upload;
    if (l->phase == LOAD_KEYS)
        return !is_dir(&row->object) && wanted_key(l, row);
    bool record = upload_key_parse(row->key, &upload) == DYN_OK;
    return record == (l->phase == LOAD_UPLOADS) && wanted_chunk(l, row->key, record);
}

/* On to the next file. Rows of small files travel together, so all that was sent has arrived only
 * now and then; and at the end of a phase. */
static void end_file(struct archive_load *l)
{
    bool last = l->file + 1 == l->manifest.q;
    if (last || now(l) - l->noted_us >= NOTE_US) {
        load_flush(l);
        l->alone = true;
        if (l->sending > 0)
            return;
        l->noted_us = now(l);
        l->file++;
        note(l);
    } else {
        l->file++;
    }
    archive_close(&l->reader);
    l->reading = l->file_ended = false;
    l->progress.file = l->file;
    load_again(l);
}

/* Rows of the file at hand, until there is no room for more. */
static void send_rows(struct archive_load *l, const char *name)
{
    struct range_row row;
    while (!l->file_ended && l->err == DYN_OK && load_may_send(l)) {
        l->alone = false;
        int err = archive_next(&l->reader, &row);
        if (err == DYN_ERR_NOT_FOUND) {
            l->file_ended = true;
        } else if (err != DYN_OK) {
            damaged(l, name, err); /* since it was checked */
        } else {
            if (wanted(l, &row))
                load_add(l, &row);
            object_release(&row.object);
        }
    }
}

static void send_files(struct archive_load *l)
{
    char name[ARCHIVE_NAME_MAX];
    if (l->file == l->manifest.q) {
        begin_phase(l, l->phase + 1);
        return;
    }
    const struct archive_part *part =
        part_of(l, l->file + (l->phase == LOAD_KEYS ? 0 : l->manifest.q), name);
    if (part->foot.rows == 0)
        l->file_ended = true;
    if (!l->file_ended && !l->reading) {
        int err = archive_open(&l->reader, &l->cfg.port, name);
        if (err != DYN_OK) {
            damaged(l, name, err);
            return;
        }
        l->reading = true;
    }
    send_rows(l, name);
    if (l->file_ended)
        end_file(l);
}

/* ---- the beginning ----------------------------------------------------------------------- */

static void on_empty(void *arg, const struct list_reply *reply)
{
    struct archive_load *l = arg;
    l->outstanding--;
    if (reply->status != DYN_OK)
        load_failed(l, reply->status,
                    mem_printf("the cluster: %s", dyn_err_message(reply->status)));
    else if (reply->n > 0)
        load_failed(l, DYN_ERR_EXISTS, mem_strdup("the cluster is not empty"));
    else
        begin_phase(l, LOAD_CHECK);
}

static void open_archive(struct archive_load *l)
{
    struct archive_manifest *m = &l->manifest;
    int err = archive_manifest_load(&l->cfg.port, m);
    if (err != DYN_OK) {
        load_failed(l, err, mem_printf("%s: %s", ARCHIVE_MANIFEST, dyn_err_message(err)));
        return;
    }
    l->progress.rows_total = archive_manifest_sum(m).rows;
    bool other = l->ring != NULL && ring_cluster(l->ring) != m->cluster;
    if (other && !l->cfg.into_new) {
        load_failed(l, DYN_ERR_REFUSED,
                    mem_printf("the archive is of cluster %016" PRIx64 ", not of %016" PRIx64,
                               m->cluster, ring_cluster(l->ring)));
        return;
    }
    if (l->ring != NULL)
        read_note(l);
    if (other && !l->cfg.merge && l->from == LOAD_CHECK) {
        struct list_request q = {.limit = 1};
        l->outstanding++;
        l->kv.list(l->kv.ctx, &q, on_empty, l);
        return;
    }
    begin_phase(l, LOAD_CHECK);
}

static void find_ring(struct archive_load *l)
{
    if (l->cfg.client == NULL) {
        open_archive(l);
    } else if (client_ring(l->cfg.client) != NULL) {
        l->ring = ring_ref(client_ring(l->cfg.client));
        open_archive(l);
    } else if (now(l) - l->began_us > RING_WAIT_US) {
        load_failed(l, DYN_ERR_UNREACHABLE,
                    mem_printf("the cluster: %s", dyn_err_message(DYN_ERR_UNREACHABLE)));
    } else {
        timer_set(l->cfg.timers, &l->timer, now(l) + LOOK_US);
    }
}

static void finish(struct archive_load *l)
{
    if (l->outstanding > 0 || l->sending > 0) {
        timer_set(l->cfg.timers, &l->timer, now(l) + LOOK_US);
        return;
    }
    if (l->err == DYN_OK && l->ring != NULL)
        remove_note(l);
    l->ended = true;
    l->done(l->arg, l->err);
}

static void go_on(struct archive_load *l)
{
    if (l->manifest.q == 0) {
        if (l->outstanding == 0)
            find_ring(l);
        return;
    }
    switch (l->phase) {
    case LOAD_CHECK:
        if (l->outstanding > 0)
            return; /* is it empty? */
        if (l->file == ARCHIVE_KINDS * l->manifest.q)
            checked(l);
        else
            check_file(l);
        return;
    case LOAD_SETTINGS:
        if (!l->asked)
            set_next(l, NULL);
        l->asked = true;
        return;
    case LOAD_DIRS:
        send_dirs(l);
        return;
    default:
        send_files(l);
    }
}

static void on_timer(struct timer *t, void *arg)
{
    (void)t;
    struct archive_load *l = arg;
    if (l->ended)
        return;
    if (l->err != DYN_OK || l->phase == LOAD_DONE)
        finish(l);
    else
        go_on(l);
}

struct archive_load *archive_load_start(const struct archive_load_config *cfg,
                                        void (*done)(void *arg, int err), void *arg)
{
    struct archive_load *l = mem_new(struct archive_load);
    l->cfg = *cfg;
    if (cfg->client != NULL)
        l->kv = client_kv(cfg->client);
    l->done = done;
    l->arg = arg;
    l->began_us = now(l);
    timer_init(&l->timer, on_timer, l);
    load_again(l);
    return l;
}

void archive_load_progress(const struct archive_load *l, struct archive_load_progress *out)
{
    *out = l->progress;
}

const char *archive_load_message(const struct archive_load *l)
{
    return l->text == NULL ? "" : l->text;
}

const struct archive_manifest *archive_load_manifest(const struct archive_load *l)
{
    return &l->manifest;
}

void archive_load_free(struct archive_load *l)
{
    if (l == NULL)
        return;
    timer_cancel(l->cfg.timers, &l->timer);
    if (l->message != NULL) {
        buf_release(&l->message->rows);
        free(l->message);
    }
    archive_close(&l->reader);
    for (uint32_t i = 0; i < l->n_dirs; i++)
        buf_release(&l->dirs[i].raw);
    free(l->dirs);
    free(l->uploads);
    archive_manifest_release(&l->manifest);
    ring_unref(l->ring);
    free(l->text);
    free(l);
}
