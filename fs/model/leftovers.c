/* SPDX-License-Identifier: Apache-2.0 */
/* Unpublished content, for whoever can still keep it when the mount has to end (F8). */
#include "model/content.h"
#include "model/large.h"
#include "model/publish.h"
#include "model/staging.h"

static void take_large(struct large *large, struct fs_leftover *l, const struct fs_leftovers *take)
{
    for (uint64_t off = 0; (off = large_seek(large, off, false)) < l->size;) {
        struct blob *bytes = NULL;
        uint32_t len = 0, index = (uint32_t)(off / CHUNK_LEN);
        uint64_t start = (uint64_t)index * CHUNK_LEN;
        enum large_look look = large_look(large, index, &bytes, &len);
        if (look == LARGE_HERE)
            take->piece(take->arg, start, slice_of(bytes->data, len));
        else if (look == LARGE_AWAY)
            l->whole = false;
        off = start + CHUNK_LEN;
    }
}

void fs_leftovers(struct fs *fs, const struct fs_leftovers *take)
{
    for (struct list *at = fs->dirty.next; at != &fs->dirty; at = at->next) {
        struct inode *i = container_of(at, struct inode, in_dirty);
        if (!i->dirty_data || i->s.type != SIBLING_FILE)
            continue;
        struct fs_leftover l = {.key = seen_key(i->seen),
                                .size = inode_size(i),
                                .mode = i->s.attrs.mode,
                                .mtime_ns = i->s.attrs.mtime_ns,
                                .whole = true};
        take->begin(take->arg, &l);
        if (i->large != NULL)
            take_large(i->large, &l, take);
        else if (content_here(i))
            take->piece(take->arg, 0, content_bytes(i));
        else
            l.whole = false;
        /* Of what is kept in part the record stays: the next mount can publish all of it. */
        if (take->end(take->arg, &l) && l.whole)
            staging_drop_at_end(&i->staging);
    }
}
