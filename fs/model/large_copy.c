/* SPDX-License-Identifier: Apache-2.0 */
/* See large_copy.h. */
#include "model/large_copy.h"

#include "base/err.h"

static void on_ref(struct upload_ref *r, int err)
{
    struct large_copy *c = r->arg;
    c->done(c, err);
}

static void on_stored(struct large_wait *w, int err)
{
    struct large_copy *c = w->arg;
    struct large *l = c->inode->large;
    struct manifest m;
    if (err != DYN_OK || l == NULL) {
        c->done(c, err == DYN_ERR_CANCELED ? DYN_OK : err);
        return;
    }
    struct buf bytes = BUF_EMPTY;
    large_manifest(l, &m);
    manifest_encode(&m, &bytes);
    c->manifest = blob_new(bytes.data, bytes.len);
    buf_release(&bytes);
    c->ref = (struct upload_ref){.done = on_ref, .arg = c};
    if (m.n_uploads == 0)
        c->done(c, DYN_OK); /* nothing but a hole */
    else
        upload_ref_start(&c->inode->fs->io, &c->ref, c->key, m.uploads, m.n_uploads, 0);
    manifest_release(&m);
}

void large_copy_start(struct large_copy *c, struct inode *i, struct slice key,
                      void (*done)(struct large_copy *c, int err), void *arg)
{
    *c = (struct large_copy){.done = done, .arg = arg, .inode = i, .key = key};
    c->store = (struct large_wait){
        .durability = (enum durability)i->fs->cfg.durability, .done = on_stored, .arg = c};
    list_init(&c->store.link);
    large_store(i->large, &c->store);
}

void large_copy_release(struct large_copy *c)
{
    if (c->store.link.next != NULL)
        list_remove(&c->store.link);
    upload_ref_cancel(&c->ref);
    blob_unref(c->manifest);
    c->manifest = NULL;
}
