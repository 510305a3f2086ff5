/* SPDX-License-Identifier: Apache-2.0 */
/* See archive_save.h.
 *
 *   RING -> SETTINGS -> SURVEY (who keeps hints?) -> all partitions' keys
 *        -> SURVEY -> all partitions' chunks -> [it took long: once more from SURVEY]
 *        -> the manifest is stored -> what it does not name is removed */
#include "model/archive_save.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/archive_private.h"
#include "model/chunk_io.h"

#define PARALLEL 8u
#define RING_US 100000u /* between looks whether there is a ring */
#define RING_WAIT_US 10000000u
#define STATUS_US 2000000u
#define ROUNDS_MAX 5u
#define ROUND_MAX_US (UPLOAD_SAFE_S * 1000000ull) /* chunks stay at least twice as long */
#define STANDINS_MAX 4096u

static void survey(struct archive_save *s);
static void run_jobs(struct archive_save *s);

static uint64_t now(const struct archive_save *s)
{
    return s->cfg.time.mono_us(s->cfg.time.ctx);
}

static uint64_t wall_ms(const struct archive_save *s)
{
    return s->cfg.time.wall_ns(s->cfg.time.ctx) / 1000000;
}

void save_failed(struct archive_save *s, int err, char *message)
{
    if (s->err == DYN_OK) {
        s->err = err;
        s->message = message;
    } else {
        free(message);
    }
}

/* Late answers may still come: the caller hears of the end when none will. */
static void end(struct archive_save *s)
{
    s->ended = true;
    timer_set(s->cfg.timers, &s->timer, now(s));
}

static void failed(struct archive_save *s, int err, const char *what)
{
    save_failed(s, err, mem_printf("%s: %s", what, dyn_err_message(err)));
    end(s);
}

/* ---- the end ----------------------------------------------------------------------------- */

struct removal {
    struct archive_save *s;
    char **names;
    uint32_t n;
};

static void consider(void *arg, const char *name)
{
    struct removal *r = arg;
    enum archive_kind kind;
    uint32_t partition;
    uint64_t run;
    const struct archive_manifest *m = &r->s->now;
    if (!archive_name_parse(name, &kind, &partition, &run) ||
        (partition < m->q && archive_manifest_part(m, kind, partition)->run == run))
        return;
    r->names = mem_reallocarray(r->names, r->n + 1, sizeof(*r->names));
    r->names[r->n++] = mem_strdup(name);
}

/* A file that stays although nothing names it is no harm. */
static void remove_unnamed(struct archive_save *s)
{
    struct removal r = {.s = s};
    const struct archive_port *port = &s->cfg.port;
    (void)!port->list(port->ctx, consider, &r);
    for (uint32_t i = 0; i < r.n; i++) {
        (void)!port->remove(port->ctx, r.names[i]);
        free(r.names[i]);
    }
    free(r.names);
}

static void store_manifest(struct archive_save *s)
{
    const struct archive_port *port = &s->cfg.port;
    s->now.ended_ms = wall_ms(s);
    int err = port->sync(port->ctx); /* what it names, before it */
    if (err == DYN_OK)
        err = archive_manifest_store(port, &s->now);
    if (err == DYN_OK)
        err = port->sync(port->ctx);
    if (err != DYN_OK) {
        failed(s, err, ARCHIVE_MANIFEST);
        return;
    }
    remove_unnamed(s);
    end(s);
}

/* ---- passes ------------------------------------------------------------------------------ */

static void pass_ended(struct archive_save *s)
{
    if (s->err != DYN_OK) {
        end(s);
    } else if (s->kind == ARCHIVE_KEYS) {
        s->kind = ARCHIVE_CHUNKS;
        survey(s);
    } else if (now(s) - s->round_began_us > ROUND_MAX_US && s->rounds < ROUNDS_MAX) {
        s->kind = ARCHIVE_KEYS; /* chunks of the first keys may have gone before they were read */
        s->rounds++;
        s->round_began_us = now(s);
        s->progress.total += ARCHIVE_KINDS * s->now.q;
        survey(s);
    } else {
        store_manifest(s);
    }
}

static void run_jobs(struct archive_save *s)
{
    uint32_t parallel = s->cfg.parallel != 0 ? s->cfg.parallel : PARALLEL;
    for (uint32_t i = 0; i < parallel && i < SAVE_PARALLEL_MAX; i++) {
        if (s->err != DYN_OK || s->next == s->now.q)
            break;
        if (s->jobs[i] == NULL)
            s->jobs[i] = save_job_new(s);
        if (!save_job_idle(s->jobs[i]))
            continue;
        s->progress.partition = s->next;
        s->running++;
        save_job_start(s->jobs[i], s->kind, s->next++);
    }
}

static void on_timer(struct timer *t, void *arg);

void save_job_ended(struct save_job *j, int err)
{
    struct archive_save *s = j->s;
    s->running--;
    s->progress.done += err == DYN_OK;
    timer_set(s->cfg.timers, &s->timer, now(s)); /* the job is still on the stack */
}

static void look_at_jobs(struct archive_save *s)
{
    run_jobs(s);
    if (s->running == 0 && (s->next == s->now.q || s->err != DYN_OK))
        pass_ended(s);
}

static void begin_pass(struct archive_save *s)
{
    s->next = 0;
    look_at_jobs(s);
}

/* Nobody vouches for a file that no manifest names: power may have failed while it was written. */
static bool whole(struct archive_save *s, const char *name)
{
    struct archive_reader r;
    struct range_row row;
    int err = archive_open(&r, &s->cfg.port, name);
    while (err == DYN_OK) {
        err = archive_next(&r, &row);
        if (err == DYN_OK)
            object_release(&row.object);
    }
    bool ended = r.ended;
    archive_close(&r);
    return ended;
}

bool save_base(struct archive_save *s, enum archive_kind kind, uint32_t partition,
               char name[ARCHIVE_NAME_MAX], uint64_t *run)
{
    struct archive_file *f;
    uint64_t size,
        before = s->before.q == 0 ? 0 : archive_manifest_part(&s->before, kind, partition)->run;
    const struct archive_port *port = &s->cfg.port;
    if (s->cfg.all && archive_manifest_part(&s->now, kind, partition)->run == 0)
        return false;
    archive_name(kind, partition, s->now.run, name); /* a run like this one broke off */
    bool mine = archive_manifest_part(&s->now, kind, partition)->run == s->now.run;
    if (port->open(port->ctx, name, &f, &size) == DYN_OK) {
        port->close(port->ctx, f);
        if (mine || whole(s, name)) {
            *run = s->now.run;
            return true;
        }
    }
    archive_name(kind, partition, before, name);
    *run = before;
    return before != 0;
}

/* ---- who stands in for whom -------------------------------------------------------------- */

struct survey { /* of one node */
    struct archive_save *s;
    uint64_t node;
};

static void on_targets(void *arg, int err, struct slice body)
{
    struct survey *v = arg;
    struct archive_save *s = v->s;
    struct archive_targets p = {.n = 0};
    s->outstanding--;
    if (err == DYN_OK)
        err = archive_targets_decode(body, &p);
    for (uint32_t i = 0; i < p.n && s->n_standins < STANDINS_MAX; i++) {
        s->standins = mem_reallocarray(s->standins, s->n_standins + 1, sizeof(*s->standins));
        s->standins[s->n_standins++] = (struct save_standin){v->node, p.nodes[i]};
    }
    archive_targets_release(&p);
    free(v);
    if (--s->surveys == 0)
        begin_pass(s);
}

/* Who does not answer is not asked for what it keeps either. */
static void survey(struct archive_save *s)
{
    struct ring *ring = client_ring(s->cfg.client);
    uint32_t members = ring_member_count(ring), all = members + ring_former_count(ring);
    s->n_standins = 0;
    s->surveys = all;
    for (uint32_t i = 0; i < all; i++) {
        const struct ring_member *m =
            i < members ? ring_member_at(ring, i) : ring_former_at(ring, i - members);
        struct archive_request q = {.op = ARCHIVE_STANDS_IN};
        struct survey *v = mem_new(struct survey);
        struct buf body = BUF_EMPTY;
        *v = (struct survey){s, m->node};
        archive_request_encode(&q, &body);
        s->outstanding++;
        client_call(s->cfg.client, m->node, FRAME_ARCHIVE, &body, STATUS_US, on_targets, v);
    }
}

/* ---- the beginning ----------------------------------------------------------------------- */

static void on_settings(void *arg, const struct settings_reply *reply)
{
    struct archive_save *s = arg;
    s->outstanding--;
    if (reply->status != DYN_OK) {
        failed(s, reply->status, "the settings of directories");
        return;
    }
    settings_join(&s->now.settings, &reply->table);
    survey(s);
}

static void open_archive(struct archive_save *s)
{
    struct ring *ring = s->ring;
    struct archive_manifest *m = &s->now;
    int err = archive_manifest_load(&s->cfg.port, &s->before);
    if (err != DYN_OK && err != DYN_ERR_NOT_FOUND) {
        failed(s, err, ARCHIVE_MANIFEST);
        return;
    }
    if (s->before.q != 0 &&
        (s->before.cluster != ring_cluster(ring) || s->before.q != ring_q(ring))) {
        save_failed(s, DYN_ERR_REFUSED,
                    mem_printf("the archive is of cluster %016" PRIx64 ", not of %016" PRIx64,
                               s->before.cluster, ring_cluster(ring)));
        end(s);
        return;
    }
    m->cluster = ring_cluster(ring);
    m->q = ring_q(ring);
    m->n = ring_n(ring);
    m->r = ring_r(ring);
    m->w = ring_w(ring);
    m->ring = *ring_epoch(ring);
    m->run = s->before.run + 1;
    m->begun_ms = wall_ms(s);
    archive_manifest_parts(m);
    s->progress.total = ARCHIVE_KINDS * m->q;
    s->round_began_us = now(s);
    struct settings_request q = {.n = 0};
    s->outstanding++;
    s->kv.settings(s->kv.ctx, &q, on_settings, s);
}

static void on_root(void *arg, const struct get_reply *reply)
{
    struct archive_save *s = arg;
    (void)reply; /* its epoch is what the client looks at */
    s->outstanding--;
}

void save_learn(struct archive_save *s)
{
    struct get_request q = {.want = GET_META};
    s->outstanding++;
    s->kv.get(s->kv.ctx, &q, on_root, s);
}

static void on_timer(struct timer *t, void *arg)
{
    struct archive_save *s = arg;
    if (s->ended && s->outstanding > 0) {
        timer_set(s->cfg.timers, t, now(s) + RING_US);
    } else if (s->ended) {
        s->done(s->arg, s->err);
    } else if (s->ring == NULL && client_ring(s->cfg.client) != NULL) {
        s->ring = ring_ref(client_ring(s->cfg.client));
        open_archive(s);
    } else if (s->ring == NULL && now(s) - s->round_began_us > RING_WAIT_US) {
        failed(s, DYN_ERR_UNREACHABLE, "the cluster");
    } else if (s->ring == NULL) {
        timer_set(s->cfg.timers, t, now(s) + RING_US);
    } else {
        look_at_jobs(s);
    }
}

struct archive_save *archive_save_start(const struct archive_save_config *cfg,
                                        void (*done)(void *arg, int err), void *arg)
{
    struct archive_save *s = mem_new(struct archive_save);
    s->cfg = *cfg;
    s->kv = client_kv(cfg->client);
    s->done = done;
    s->arg = arg;
    s->round_began_us = now(s);
    timer_init(&s->timer, on_timer, s);
    timer_set(cfg->timers, &s->timer, now(s));
    return s;
}

void archive_save_progress(const struct archive_save *s, struct archive_progress *out)
{
    *out = s->progress;
}

const char *archive_save_message(const struct archive_save *s)
{
    return s->message == NULL ? "" : s->message;
}

const struct archive_manifest *archive_save_manifest(const struct archive_save *s)
{
    return &s->now;
}

void archive_save_free(struct archive_save *s)
{
    if (s == NULL)
        return;
    timer_cancel(s->cfg.timers, &s->timer);
    for (uint32_t i = 0; i < SAVE_PARALLEL_MAX; i++)
        save_job_free(s->jobs[i]);
    archive_manifest_release(&s->before);
    archive_manifest_release(&s->now);
    ring_unref(s->ring);
    free(s->standins);
    free(s->message);
    free(s);
}
