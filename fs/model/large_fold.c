/* SPDX-License-Identifier: Apache-2.0 */
/* A version lists the uploads that its chunks belong to, UPLOADS_MAX at most, and each mount that
 * edits a file for a while adds one. A file that has been edited so often could not be saved any
 * more. So before that the uploads that the fewest chunks are left of are folded: these chunks are
 * read and sent again under the upload of today, a few at a time. Of a file with a thousand uploads
 * that is mostly a few hundred chunks, once in hundreds of edits. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "model/large_private.h"

#define FOLD_AT (UPLOADS_MAX - 64u)
#define FOLD_TO (UPLOADS_MAX / 2u)
#define BATCH 8u

struct large_fold {
    struct chunk_wait wait;
    uint32_t *indices; /* of chunks that are to be sent again */
    uint32_t n, at;
};

struct share {
    uint32_t upload, chunks;
};

static int by_chunks(const void *a, const void *b)
{
    const struct share *x = a, *y = b;
    if (x->chunks != y->chunks)
        return x->chunks < y->chunks ? -1 : 1;
    return x->upload < y->upload ? -1 : x->upload > y->upload;
}

/* What a manifest would be now, as far as uploads are concerned. */
static void gather(const struct large *l, struct manifest *m)
{
    struct upload_id upload;
    struct chunk c;
    for (uint64_t at = 0; large_next_stored(l, at, &upload, &c); at = (uint64_t)c.index + 1)
        manifest_add(m, &upload, &c);
}

static void on_load(struct chunk_wait *w, int err)
{
    struct large *l = w->arg;
    if (err != DYN_OK)
        large_failed(l, err == DYN_ERR_NOT_FOUND ? DYN_ERR_IO : err);
    else
        large_send_check(l);
}

/* NULL: there is room. */
static struct large_fold *plan(struct large *l)
{
    struct manifest m = MANIFEST_EMPTY;
    gather(l, &m);
    if (m.n_uploads <= FOLD_AT) {
        manifest_release(&m);
        return NULL;
    }
    struct share *shares = mem_zalloc(m.n_uploads * sizeof(*shares));
    bool *folded = mem_zalloc(m.n_uploads * sizeof(*folded));
    for (uint32_t i = 0; i < m.n_uploads; i++)
        shares[i].upload = i;
    for (uint32_t i = 0; i < m.n; i++)
        shares[m.chunks[i].upload].chunks++;
    qsort(shares, m.n_uploads, sizeof(*shares), by_chunks);
    for (uint32_t i = 0; i < m.n_uploads - FOLD_TO; i++)
        folded[shares[i].upload] = true;
    struct large_fold *f = mem_new(struct large_fold);
    f->wait = (struct chunk_wait){.done = on_load, .arg = l};
    list_init(&f->wait.link);
    f->indices = mem_reallocarray(NULL, m.n, sizeof(*f->indices));
    for (uint32_t i = 0; i < m.n; i++) {
        const struct upload_id *upload = &m.uploads[m.chunks[i].upload];
        bool todays = l->has_upload && memcmp(upload, &l->upload, sizeof(*upload)) == 0;
        if (folded[m.chunks[i].upload] && !todays)
            f->indices[f->n++] = m.chunks[i].index;
    }
    free(shares);
    free(folded);
    manifest_release(&m);
    return f;
}

/* false: its bytes are on their way. */
static bool send_again(struct large *l, struct large_fold *f, uint32_t index)
{
    struct blob *bytes = NULL;
    uint32_t len = 0;
    switch (large_look(l, index, &bytes, &len)) {
    case LARGE_AWAY:
        large_load(l, index, &f->wait);
        return false;
    case LARGE_HERE:
        blob_ref(bytes);
        large_write(l, (uint64_t)index * CHUNK_LEN, slice_of(bytes->data, len));
        blob_unref(bytes);
        return true;
    default: /* a hole by now */
        return true;
    }
}

bool large_folded(struct large *l)
{
    if (l->fold == NULL && l->base.n_uploads + l->n_borrowed < FOLD_AT)
        return true;
    if (l->fold == NULL)
        l->fold = plan(l);
    struct large_fold *f = l->fold;
    if (f == NULL)
        return true;
    if (!list_empty(&f->wait.link))
        return false;
    for (uint32_t batch = 0; batch < BATCH && f->at < f->n; batch++, f->at++)
        if (!send_again(l, f, f->indices[f->at]))
            return false;
    if (l->n_dirty > 0)
        return false; /* comes again when these have left */
    large_fold_stop(l);
    return true;
}

void large_fold_stop(struct large *l)
{
    if (l->fold == NULL)
        return;
    list_remove(&l->fold->wait.link);
    free(l->fold->indices);
    free(l->fold);
    l->fold = NULL;
}
