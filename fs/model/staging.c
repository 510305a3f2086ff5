/* SPDX-License-Identifier: Apache-2.0 */
/* See staging.h. */
#include "model/staging.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "model/content.h"
#include "model/large.h"
#include "model/publish.h"

#define FOLLOW_US 1000000u /* a change after the first record is written within */
#define LIMIT_US 5000000u  /* nobody waits longer for this machine's disk */

struct staging {
    struct fs *fs;
    const struct staging_source *source;
    void *of;
    uint64_t id;
    struct stage_put put;
    uint64_t writing, written; /* versions; 0: none */
    uint64_t bytes;            /* of the last record, counted in fs->staged_bytes */
    struct list waits;
    struct timer timer;
    bool told; /* that it could not be kept */
};

static void write_now(struct staging *s);

static uint64_t version(const struct staging *s)
{
    return s->source->version(s->of);
}

static void tell(struct list *waits)
{
    struct list ready;
    list_init(&ready);
    for (struct list *l; (l = list_first(waits)) != NULL;) {
        list_remove(l);
        list_append(&ready, l);
    }
    for (struct list *l; (l = list_first(&ready)) != NULL;) {
        struct staging_wait *w = container_of(l, struct staging_wait, link);
        staging_wait_cancel(w);
        w->done(w->arg);
    }
}

static void on_limit(struct timer *t, void *arg)
{
    struct staging_wait *w = arg;
    (void)t;
    staging_wait_cancel(w);
    w->done(w->arg);
}

static void failed(struct staging *s, int err)
{
    if (!s->told)
        fs_say(s->fs, LOG_LEVEL_WARN,
               "a change that is not published yet cannot be kept on this machine either (%s): it "
               "ends with the mount",
               dyn_err_message(err));
    s->told = true;
}

static void on_written(struct stage_put *p, int err)
{
    struct staging *s = p->arg;
    if (err == DYN_OK)
        s->written = s->writing;
    else
        failed(s, err);
    s->writing = 0;
    if (err == DYN_OK && s->written != version(s)) {
        if (!list_empty(&s->waits))
            write_now(s);
        else
            staging_changed(s);
    }
    if (s->writing == 0)
        tell(&s->waits); /* s may go with it */
}

static void on_timer(struct timer *t, void *arg)
{
    struct staging *s = arg;
    (void)t;
    if (s->writing == 0 && s->written != version(s))
        write_now(s);
}

static void count(struct staging *s, uint64_t bytes)
{
    s->fs->staged_bytes = s->fs->staged_bytes - s->bytes + bytes;
    s->bytes = bytes;
}

static void write_now(struct staging *s)
{
    struct fs *fs = s->fs;
    struct buf body = BUF_EMPTY;
    struct stage_chunk *chunks = NULL;
    uint32_t n = 0;
    timer_cancel(fs->timers, &s->timer);
    s->source->describe(s->of, &body, &chunks, &n);
    uint64_t bytes = body.len;
    for (uint32_t i = 0; i < n; i++)
        bytes += chunks[i].len;
    if (fs->staged_bytes - s->bytes + bytes <= fs->cfg.staged_max) {
        count(s, bytes);
        s->writing = version(s);
        s->put = (struct stage_put){.done = on_written, .arg = s};
        fs->stage.put(fs->stage.ctx, &s->put, s->id, buf_slice(&body), chunks, n);
    } else {
        failed(s, DYN_ERR_NO_SPACE);
    }
    buf_release(&body);
    free(chunks);
}

static struct staging *make(struct fs *fs, const struct staging_source *source, void *of)
{
    struct staging *s = mem_new(struct staging);
    *s = (struct staging){.fs = fs, .source = source, .of = of};
    list_init(&s->waits);
    timer_init(&s->timer, on_timer, s);
    return s;
}

void staging_save(struct fs *fs, struct staging **at, const struct staging_source *source, void *of,
                  struct staging_wait *w, void (*done)(void *arg), void *arg)
{
    struct staging *s = *at;
    if (w != NULL)
        *w = (struct staging_wait){.fs = fs, .done = done, .arg = arg};
    if (fs->stage.put != NULL && !fs->closing) {
        if (s == NULL) {
            s = *at = make(fs, source, of);
            s->id = random_u64(&fs->random);
        }
        if (s->writing == 0 && s->written != version(s))
            write_now(s);
    }
    if (w == NULL)
        return;
    if (s == NULL || s->writing == 0) {
        done(arg);
        return;
    }
    list_append(&s->waits, &w->link);
    timer_init(&w->limit, on_limit, w);
    timer_set(fs->timers, &w->limit, fs_now_us(fs) + LIMIT_US);
}

void staging_wait_cancel(struct staging_wait *w)
{
    if (w->link.next == NULL)
        return;
    list_remove(&w->link);
    timer_cancel(w->fs->timers, &w->limit);
}

bool staging_current(const struct staging *s)
{
    return s == NULL || s->written == version(s) || (s->told && s->writing == 0);
}

void staging_changed(struct staging *s)
{
    if (s != NULL && !s->fs->closing && !timer_is_set(&s->timer))
        timer_set(s->fs->timers, &s->timer, fs_now_us(s->fs) + FOLLOW_US);
}

void staging_moved(struct staging *s)
{
    if (s != NULL)
        s->written = 0;
    staging_changed(s);
}

void staging_free(struct staging **at)
{
    struct staging *s = *at;
    if (s == NULL)
        return;
    *at = NULL;
    if (s->writing != 0)
        s->fs->stage.cancel(s->fs->stage.ctx, &s->put);
    timer_cancel(s->fs->timers, &s->timer);
    count(s, 0);
    for (struct list *l; (l = list_first(&s->waits)) != NULL;) { /* told soon: not from in here */
        struct staging_wait *w = container_of(l, struct staging_wait, link);
        list_remove(l);
        timer_set(s->fs->timers, &w->limit, fs_now_us(s->fs));
    }
    free(s);
}

void staging_drop_at_end(struct staging **at)
{
    if (*at == NULL)
        return;
    struct fs *fs = (*at)->fs;
    uint64_t id = (*at)->id;
    staging_free(at);
    fs->stage.drop(fs->stage.ctx, id);
}

void staging_drop(struct staging **at)
{
    if (*at != NULL && !(*at)->fs->closing)
        staging_drop_at_end(at);
}

void staging_adopt(struct fs *fs, struct staging **at, const struct staging_source *source,
                   void *of, uint64_t id, uint64_t bytes)
{
    struct staging *s = *at = make(fs, source, of);
    s->id = id;
    s->written = version(s);
    count(s, bytes);
}

/* ---- what a record says ------------------------------------------------------------------ */

void staging_put_seen(struct seen *s, const struct cover *cover, struct staged *out)
{
    struct fs *fs = s->fs;
    out->cluster = fs->host.cluster == NULL ? 0 : fs->host.cluster(fs->host.ctx);
    out->key = seen_key(s);
    object_copy(&out->view, &s->view);
    cover_join_dots(&out->cover, cover);
    for (uint32_t i = 0; i < s->n && out->n_tokens < CONTEXTS_MAX; i++) {
        const struct blob *token = s->known[i].token;
        bool first = token != NULL;
        for (uint32_t k = 0; k < i && first; k++)
            first = s->known[k].token != token;
        if (first)
            out->tokens[out->n_tokens++] = slice_of(token->data, token->len);
    }
}

static uint64_t file_version(const void *of)
{
    const struct inode *i = of;
    return i->gen;
}

static void describe_file(void *of, struct buf *body, struct stage_chunk **chunks, uint32_t *n)
{
    struct inode *i = of;
    struct fs *fs = i->fs;
    struct cover cover = COVER_EMPTY;
    uint64_t age_us = fs_now_us(fs) - i->dirty_us;
    struct staged s = {.kind = STAGED_FILE,
                       .number = i->number,
                       .error = i->error,
                       .published = !dot_is_none(&i->s.dot),
                       .xattrs_known = i->xattrs_known,
                       .data = i->dirty_data,
                       .meta = i->dirty_meta,
                       .appended_only = i->appended_only,
                       .appended_from = i->appended_only ? i->appended_from : 0,
                       .is_large = i->large != NULL};
    s.since_ns = (uint64_t)fs_wall_ns(fs) - age_us * 1000;
    publish_cover(i, &cover);
    staging_put_seen(i->seen, &cover, &s);
    publish_origin(i, &s.origin);
    sibling_copy(&s.shown, &i->s);
    cover_join_dots(&s.dots, &i->dots);
    if (i->large != NULL)
        large_describe(i->large, &s.large, chunks, n);
    else
        s.content = content_bytes(i);
    staged_encode(&s, body);
    cover_release(&cover);
    staged_release(&s);
}

const struct staging_source staging_of_files = {file_version, describe_file};

/* ---- files ------------------------------------------------------------------------------- */

static bool kept(const struct inode *i)
{
    return i->s.type == SIBLING_FILE && inode_dirty(i) && !i->unlinked &&
           (i->large != NULL || content_here(i));
}

void staging_save_file(struct inode *i, struct staging_wait *w, void (*done)(void *arg), void *arg)
{
    if (kept(i)) {
        staging_save(i->fs, &i->staging, &staging_of_files, i, w, done, arg);
        return;
    }
    if (w != NULL) {
        *w = (struct staging_wait){.fs = i->fs};
        done(arg);
    }
}
