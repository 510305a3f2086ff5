/* SPDX-License-Identifier: Apache-2.0 */
/* Large content on this machine's disk (staging.h): the overlay as it is, so that after a kill -9
 * nothing is sent again that W replicas have. */
#include "model/content.h"
#include "model/large_private.h"
#include "model/staged.h"

static enum staged_state state_of(const struct slot *s)
{
    switch (s->state) {
    case SLOT_STORED:
        return STAGED_STORED;
    case SLOT_DIRTY:
    case SLOT_SENDING:
        return s->chunk.len == 0 ? STAGED_HOLE : STAGED_DIRTY;
    default:
        return STAGED_HOLE;
    }
}

void large_describe(struct large *l, struct staged_large *out, struct stage_chunk **chunks,
                    uint32_t *n)
{
    out->cut = l->cut;
    out->size = l->size;
    out->since_ns = l->sure_ns;
    if (l->base.n != 0 || l->base.size != 0) {
        manifest_encode(&l->base, &out->own);
        out->manifest = buf_slice(&out->own);
    }
    *chunks = mem_reallocarray(*chunks, *n + l->n + 1, sizeof(**chunks));
    for (uint32_t i = 0; i < l->n; i++) {
        const struct slot *s = l->slots[i];
        struct staged_slot slot = {.state = state_of(s), .upload = s->upload, .chunk = s->chunk};
        slot.chunk.index = s->index;
        if (slot.state == STAGED_HOLE)
            slot.chunk.len = 0;
        else if (slot.state == STAGED_DIRTY)
            (*chunks)[(*n)++] = (struct stage_chunk){s->stamp, s->bytes, s->chunk.len};
        staged_add_slot(out, &slot);
    }
}

void large_restore(struct inode *i, const struct staged_large *from, struct blob **chunks)
{
    struct large *l = i->large = large_new(i);
    uint32_t at = 0;
    if (from->manifest.len != 0)
        large_take(l, from->manifest); /* it was decoded before */
    l->cut = l->built_cut = from->cut;
    l->size = from->size;
    l->sure_ns = from->since_ns;
    l->base_old = true;
    l->sync_next = 0; /* of what was sent it is not known how */
    for (uint32_t k = 0; k < from->n; k++) {
        const struct staged_slot *slot = &from->slots[k];
        struct slot *s = large_slot_get(l, slot->chunk.index);
        s->chunk = slot->chunk;
        if (slot->state == STAGED_DIRTY) {
            s->bytes = blob_ref(chunks[at++]);
            large_slot_dirty(s);
        } else if (slot->state == STAGED_STORED) {
            s->state = SLOT_STORED;
            s->upload = slot->upload;
            large_borrow(l, &slot->upload);
        }
    }
    content_changed(i);
}
