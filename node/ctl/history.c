/* SPDX-License-Identifier: Apache-2.0 */
/* See history.h. */
#include "ctl/history.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "ctl/large.h"
#include "model/read_quorum.h"
#include "model/ring.h"

/* Those of the key that are up, then all others; returns how many. */
static uint32_t whom_to_ask(struct session *s, const struct ring *ring, struct slice key,
                            uint64_t *nodes, uint32_t cap)
{
    uint64_t list[READ_QUORUM_NODES];
    uint32_t n = 0, most = READ_QUORUM_NODES < cap ? READ_QUORUM_NODES : cap;
    uint32_t listed =
        ring_preference_list(ring, ring_partition_of(ring, key), ring_n(ring), list, most);
    for (int up = 1; up >= 0; up--)
        for (uint32_t i = 0; i < listed; i++)
            if (session_node_up(s, list[i]) == (up == 1))
                nodes[n++] = list[i];
    return n;
}

void history_ask(struct session *s, struct slice key, const struct dot *dot, struct kept_reply *out)
{
    struct kept_request q = {.key = key, .want = dot != NULL ? KEPT_VALUE : KEPT_LIST};
    struct buf body = BUF_EMPTY;
    uint64_t nodes[READ_QUORUM_NODES];
    struct ring *ring;
    *out = (struct kept_reply){.list = KEPT_LIST_EMPTY};
    out->status = session_ring(s, &ring);
    if (out->status != DYN_OK)
        return;
    if (dot != NULL)
        q.dot = *dot;
    kept_request_encode(&q, &body);
    uint32_t n = whom_to_ask(s, ring, key, nodes, READ_QUORUM_NODES);
    out->status = DYN_ERR_UNREACHABLE;
    for (uint32_t i = 0; i < n; i++) {
        struct buf answer = BUF_EMPTY;
        struct kept_reply reply;
        int err = session_call(s, nodes[i], FRAME_VERSIONS, buf_slice(&body), 0, &answer);
        if (err == DYN_OK)
            err = kept_reply_decode(buf_slice(&answer), &reply);
        buf_release(&answer);
        if (err == DYN_OK && reply.status != DYN_ERR_STOPPED && reply.status != DYN_ERR_OVERLOAD) {
            *out = reply;
            break;
        }
        if (err == DYN_OK) {
            err = reply.status;
            kept_reply_release(&reply);
        }
        out->status = err;
    }
    buf_release(&body);
}

void history_note_missing(const struct kept_reply *reply)
{
    if (reply->answered < reply->asked)
        fprintf(stderr, "dynactl: note: %u of %u nodes answered: the others may keep more\n",
                reply->answered, reply->asked);
}

int history_print(struct session *s, struct slice key, const struct sibling *version, int fd)
{
    const struct blob *value = version->value;
    if (value == NULL)
        return CTL_OK;
    if (version->manifest_len != 0)
        return large_print(s, key, slice_of(value->data, value->len), fd);
    return ctl_write_to(fd, slice_of(value->data, value->len));
}

/* ---- chunks ------------------------------------------------------------------------------ */

static void on_ref(struct upload_ref *r, int err)
{
    *(int *)r->arg = err;
}

static bool chunk_there(struct session *s, const struct manifest *m, const struct chunk *c,
                        int *err)
{
    struct buf key = BUF_EMPTY;
    struct session_get g;
    chunk_key(&m->uploads[c->upload], c->number, &key);
    const struct get_request q = {.key = buf_slice(&key), .want = GET_META};
    session_get(s, &q, &g);
    bool there = g.status == DYN_OK && object_live(&g.object);
    *err = there                                                 ? DYN_OK
           : g.status == DYN_OK || g.status == DYN_ERR_NOT_FOUND ? DYN_ERR_NOT_FOUND
                                                                 : g.status;
    session_get_release(&g);
    buf_release(&key);
    return there;
}

int history_hold_chunks(struct session *s, struct slice key, struct slice manifest)
{
    struct manifest m = MANIFEST_EMPTY;
    int err = manifest_decode(manifest, &m), added = DYN_OK;
    uint32_t lost = 0;
    if (err != DYN_OK)
        return ctl_failed("restore", key, DYN_ERR_CORRUPT, 0, 0);
    struct upload_ref r = {.done = on_ref, .arg = &added};
    if (m.n_uploads > 0) {
        upload_ref_start(session_chunks(s), &r, key, m.uploads, m.n_uploads, 0);
        while (r.id != 0)
            session_turn(s);
    }
    err = added;
    for (uint32_t i = 0; i < m.n && err == DYN_OK; i++) {
        lost += !chunk_there(s, &m, &m.chunks[i], &err);
        err = err == DYN_ERR_NOT_FOUND ? DYN_OK : err;
    }
    int status = CTL_OK;
    if (err != DYN_OK)
        status = ctl_failed("restore", key, err, 0, 0);
    else if (lost > 0)
        status =
            ctl_fail(CTL_NOT_FOUND, "'%.*s': %u of the %u pieces of this version are gone for good",
                     (int)key.len, (const char *)key.data, lost, m.n);
    manifest_release(&m);
    return status;
}
