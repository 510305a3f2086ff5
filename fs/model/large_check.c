/* SPDX-License-Identifier: Apache-2.0 */
/* What was sent and is not published yet, and what is shared with a version that may have been
 * superseded, is kept for as long as the uploads' records are renewed (E8, E23). A machine that
 * slept, a mount that was stopped, or one that resumes what an earlier run has sent (F8) may come
 * too late for that: then each chunk is looked for before a manifest names it. One that is gone is
 * sent again if its bytes are still here; otherwise the file cannot be published, and says so,
 * instead of naming what nobody has.
 *
 *   SURE --UPLOAD_SAFE_S went by--> LAPSED --references said again--> LOOKING --all there--> SURE
 *                                                     (gone: sent again ---^)
 */
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "model/large_private.h"

#define SAFE_NS (UPLOAD_SAFE_S * 1000000000ll)

/* By the wall clock, which goes on while a machine sleeps. */
void large_look_for_lapse(struct large *l)
{
    if (l->lapsed || fs_wall_ns(l->fs) - l->sure_ns < SAFE_NS)
        return;
    l->lapsed = true;
    l->check_next = 0;
    l->reserved = 0; /* all references are said again */
    l->base_old = true;
    l->borrowed_told = false;
}

void large_sure(struct large *l)
{
    if (!l->lapsed)
        l->sure_ns = fs_wall_ns(l->fs);
}

static bool same_chunk(const struct large *l, const struct large_check *c)
{
    struct upload_id upload;
    struct chunk now;
    return large_next_stored(l, c->chunk.index, &upload, &now) && now.index == c->chunk.index &&
           now.number == c->chunk.number && memcmp(&upload, &c->upload, sizeof(upload)) == 0;
}

/* false: its bytes are not here. */
static bool send_again(struct large *l, const struct large_check *c)
{
    struct blob *bytes = chunk_cache_find(l->fs, &c->upload, &c->chunk);
    if (bytes == NULL || bytes->len < c->chunk.len)
        return false;
    blob_ref(bytes);
    bool written =
        large_write(l, (uint64_t)c->chunk.index * CHUNK_LEN, slice_of(bytes->data, c->chunk.len));
    blob_unref(bytes);
    return written;
}

static void on_got(struct chunk_get *g, int err, struct blob *bytes)
{
    struct large_check *c = g->arg;
    struct large *l = c->large;
    (void)bytes;
    if (err == DYN_ERR_NOT_FOUND && same_chunk(l, c) && !send_again(l, c)) {
        fs_say(l->fs, LOG_LEVEL_ERROR,
               "chunk %u of %.*s was collected before it could be published, and is not here",
               c->chunk.index, (int)seen_key(l->inode->seen).len,
               (const char *)seen_key(l->inode->seen).data);
        err = DYN_ERR_IO;
    }
    if (err != DYN_OK && err != DYN_ERR_NOT_FOUND) {
        l->check_next = 0; /* with the next attempt, from the start */
        large_failed(l, err);
        return;
    }
    large_send_check(l);
}

bool large_checked(struct large *l)
{
    bool looking = false;
    if (!l->lapsed)
        return true;
    for (unsigned i = 0; i < CHECKS_MAX; i++) {
        struct large_check *c = &l->checks[i];
        if (c->get.id == 0 && large_next_stored(l, l->check_next, &c->upload, &c->chunk)) {
            l->check_next = (uint64_t)c->chunk.index + 1;
            c->large = l;
            c->get.done = on_got;
            c->get.arg = c;
            chunk_get_start(&l->fs->io, &c->get, &c->upload, &c->chunk);
        }
        looking |= c->get.id != 0;
    }
    if (looking)
        return false;
    l->lapsed = false;
    l->sure_ns = fs_wall_ns(l->fs);
    return true;
}

void large_check_stop(struct large *l)
{
    for (unsigned i = 0; i < CHECKS_MAX; i++)
        if (l->checks[i].get.id != 0)
            chunk_get_cancel(&l->checks[i].get);
}
