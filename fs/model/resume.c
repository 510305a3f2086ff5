/* SPDX-License-Identifier: Apache-2.0 */
/* See resume.h. */
#include "model/resume.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "model/content.h"
#include "model/inode.h"
#include "model/large.h"
#include "model/owed.h"
#include "model/publish.h"
#include "model/staging.h"
#include "model/unseen.h"

#define RECORDS_MAX 65536u

struct resumed {
    struct list link; /* fs->resumed */
    uint64_t id, bytes;
    struct buf body;
    struct blob **chunks;
    uint32_t n;
};

static void resumed_free(struct fs *fs, struct resumed *r)
{
    list_remove(&r->link);
    fs->n_resumed--;
    fs->staged_bytes -= r->bytes;
    for (uint32_t i = 0; i < r->n; i++)
        blob_unref(r->chunks[i]);
    free(r->chunks);
    buf_release(&r->body);
    free(r);
}

/* One chunk for each dirty slot, no longer and no shorter than that says. */
static bool fits(const struct staged *s, const struct slice *chunks, uint32_t n)
{
    uint32_t at = 0;
    if (n != s->large.n_dirty)
        return false;
    for (uint32_t i = 0; i < s->large.n; i++)
        if (s->large.slots[i].state == STAGED_DIRTY &&
            chunks[at++].len != s->large.slots[i].chunk.len)
            return false;
    return true;
}

int fs_resume_record(struct fs *fs, uint64_t id, struct slice body, const struct slice *chunks,
                     uint32_t n)
{
    struct staged s;
    int err = staged_decode(body, &s);
    if (err != DYN_OK)
        return err;
    bool ok = fits(&s, chunks, n) && fs->n_resumed < RECORDS_MAX;
    staged_release(&s);
    if (!ok)
        return DYN_ERR_CORRUPT;
    struct resumed *r = mem_new(struct resumed);
    r->id = id;
    r->bytes = body.len;
    buf_put_slice(&r->body, body);
    r->chunks = mem_reallocarray(NULL, n + 1, sizeof(struct blob *));
    for (; r->n < n; r->n++) { /* room to write on */
        struct blob *b = r->chunks[r->n] = blob_new(NULL, CHUNK_LEN);
        memset(b->data, 0, CHUNK_LEN);
        memcpy(b->data, chunks[r->n].data, chunks[r->n].len);
        r->bytes += chunks[r->n].len;
    }
    list_append(&fs->resumed, &r->link);
    fs->n_resumed++;
    fs->staged_bytes += r->bytes;
    return DYN_OK;
}

/* ---- going on ---------------------------------------------------------------------------- */

/* The name shows it, unless something unpublished is there already: then it has none on this mount,
 * and comes up as the conflict that it is. */
static struct inode *make_inode(struct fs *fs, struct seen *s, uint32_t number)
{
    struct inode *old = inode_of(s, number);
    bool busy = old != NULL && inode_busy(old);
    if (old != NULL && !busy)
        inode_unname(old);
    struct inode *i = inode_new(fs, s, number, SIBLING_FILE);
    if (busy || number != 0) /* numbers are those of a mount that has ended */
        inode_unname(i);
    return i;
}

static void take_content(struct inode *i, const struct staged *d, struct resumed *r)
{
    if (d->is_large) {
        large_restore(i, &d->large, r->chunks);
        return;
    }
    struct blob *b = blob_new(d->content.data, d->content.len);
    if (d->data)
        content_restore(i, d->content);
    else
        content_load(i, b);
    blob_unref(b);
}

static uint64_t age_us(const struct fs *fs, const struct staged *d)
{
    int64_t ns = fs_wall_ns(fs) - (int64_t)d->since_ns;
    uint64_t us = ns < 0 ? 0 : (uint64_t)ns / 1000;
    return us > fs_now_us(fs) ? fs_now_us(fs) : us;
}

static void resume_file(struct fs *fs, struct seen *s, const struct staged *d, struct resumed *r)
{
    struct inode *i = make_inode(fs, s, d->number);
    sibling_release(&i->s);
    sibling_copy(&i->s, &d->shown);
    i->st_ino = d->shown.attrs.ino != 0 ? d->shown.attrs.ino : inode_new_ino(fs);
    i->xattrs_known = d->xattrs_known;
    cover_join_dots(&i->dots, &d->dots);
    cover_join_dots(&i->context, &d->cover);
    i->written = true;
    take_content(i, d, r);
    if (d->data)
        publish_mark(i, true);
    if (d->meta)
        publish_mark(i, false);
    i->appended_only = d->appended_only;
    i->appended_from = d->appended_from;
    i->writer = d->origin.writer;
    i->stream = d->origin.stream;
    i->seq = d->origin.seq;
    i->seq_gen = i->gen;
    i->error = d->error;
    i->dirty_us = fs_now_us(fs) - age_us(fs, d);
    staging_adopt(fs, &i->staging, &staging_of_files, i, r->id, r->bytes);
    publish(i, DURABILITY_DEFAULT, NULL, NULL);
}

static void go_on(struct fs *fs, struct resumed *r, uint64_t cluster)
{
    struct staged d;
    if (staged_decode(buf_slice(&r->body), &d) != DYN_OK)
        return; /* it was decoded before */
    struct buf name = BUF_EMPTY;
    buf_put_percent(&name, d.key, "/ ");
    buf_put_u8(&name, 0);
    if (d.cluster != 0 && d.cluster != cluster) {
        fs_say(
            fs, LOG_LEVEL_ERROR,
            "%s was written for another cluster, %016llx, and is set aside in the staging folder",
            (const char *)name.data, (unsigned long long)d.cluster);
        fs->stage.set_aside(fs->stage.ctx, r->id, "of another cluster");
    } else {
        fs_say(fs, LOG_LEVEL_INFO, "%s %s, as an earlier run of this mount could not",
               d.kind == STAGED_FILE ? "publishing" : "dropping the old name",
               (const char *)name.data);
        struct seen *s = seen_get(fs, d.key);
        seen_restore(s, &d.view, d.tokens, d.n_tokens);
        if (d.kind == STAGED_FILE)
            resume_file(fs, s, &d, r);
        else if (d.kind == STAGED_UNSEEN)
            unseen_resume(s, &d.origin, age_us(fs, &d), r->id, r->bytes);
        else
            owed_resume(s, &d.cover, &d.origin, age_us(fs, &d), r->id, r->bytes);
        seen_unref(s);
    }
    buf_release(&name);
    staged_release(&d);
}

void fs_resume(struct fs *fs, uint64_t cluster)
{
    for (struct list *l; (l = list_first(&fs->resumed)) != NULL;) {
        struct resumed *r = container_of(l, struct resumed, link);
        go_on(fs, r, cluster);
        resumed_free(fs, r);
    }
}

void resume_look(struct fs *fs)
{
    uint64_t cluster =
        fs->n_resumed == 0 || fs->host.cluster == NULL ? 0 : fs->host.cluster(fs->host.ctx);
    if (cluster != 0)
        fs_resume(fs, cluster);
}

/* ---- the rest ---------------------------------------------------------------------------- */

void resume_report(struct fs *fs, struct buf *out)
{
    for (struct list *l = fs->resumed.next; l != &fs->resumed; l = l->next) {
        struct resumed *r = container_of(l, struct resumed, link);
        struct staged d;
        if (staged_decode(buf_slice(&r->body), &d) != DYN_OK)
            continue; /* it was decoded before */
        int64_t age = (fs_wall_ns(fs) - (int64_t)d.since_ns) / 1000000000;
        buf_printf(out, "%lld s\t", (long long)(age < 0 ? 0 : age));
        if (d.kind == STAGED_FILE)
            buf_printf(out, "%llu bytes\t",
                       (unsigned long long)(d.is_large ? d.large.size : d.content.len));
        else
            buf_put_str(out, "removal\t");
        buf_put_percent(out, d.key, "/ ");
        buf_put_str(out, "\tof an earlier run: waits for the cluster\n");
        staged_release(&d);
    }
}

void resume_free_all(struct fs *fs)
{
    for (struct list *l; (l = list_first(&fs->resumed)) != NULL;)
        resumed_free(fs, container_of(l, struct resumed, link));
}
