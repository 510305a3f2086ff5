/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of requests and replies: the first byte says which, the rest is the body. What decodes
 * must encode, and that encoding must decode and encode to itself. */
#include "base/err.h"
#include "fuzz.h"
#include "model/kept.h"
#include "model/settings.h"
#include "model/watch.h"
#include "model/wire.h"

/* One function for each body: decodes, and encodes what came out. */
#define BODY_WITH_RELEASE(name)                                                                    \
    static bool again_##name(struct slice in, struct buf *out)                                     \
    {                                                                                              \
        struct name x;                                                                             \
        if (name##_decode(in, &x) != DYN_OK)                                                       \
            return false;                                                                          \
        name##_encode(&x, out);                                                                    \
        name##_release(&x);                                                                        \
        return true;                                                                               \
    }
#define BODY(name)                                                                                 \
    static void name##_release(struct name *x)                                                     \
    {                                                                                              \
        (void)x;                                                                                   \
    }                                                                                              \
    BODY_WITH_RELEASE(name)

BODY_WITH_RELEASE(get_request)
BODY_WITH_RELEASE(get_reply)
BODY_WITH_RELEASE(put_request)
BODY_WITH_RELEASE(put_reply)
BODY(list_request)
BODY_WITH_RELEASE(list_reply)
BODY(sync_request)
BODY(sync_reply)
BODY_WITH_RELEASE(ring_reply)
BODY(settings_request)
BODY_WITH_RELEASE(settings_reply)
BODY_WITH_RELEASE(settings_sync)
BODY(direct_get)
BODY_WITH_RELEASE(direct_reply)
BODY(behind)
BODY_WITH_RELEASE(interest_request)
BODY(interest_reply)
BODY(watch_request)

/* A node encodes an answer event by event. */
static void watch_reply_encode(const struct watch_reply *p, struct buf *out)
{
    struct buf state = BUF_EMPTY;
    watch_reply_begin(p->status, p->number, p->n, out);
    for (uint32_t i = 0; i < p->n; i++) {
        const struct watch_event *e = &p->events[i];
        buf_clear(&state);
        if (e->kind == WATCH_NAME || e->kind == WATCH_SELF)
            object_encode(&e->state, &state);
        watch_reply_event(e->kind, e->dir, e->name, e->came_or_went, buf_slice(&state), out);
    }
    buf_release(&state);
}
BODY_WITH_RELEASE(watch_reply)
BODY(kept_request)
BODY_WITH_RELEASE(kept_reply)

static bool (*const bodies[])(struct slice in, struct buf *out) = {
    again_get_request,    again_get_reply,        again_put_request,    again_put_reply,
    again_list_request,   again_list_reply,       again_sync_request,   again_sync_reply,
    again_ring_reply,     again_settings_request, again_settings_reply, again_settings_sync,
    again_direct_get,     again_direct_reply,     again_behind,         again_interest_request,
    again_interest_reply, again_watch_request,    again_watch_reply,    again_kept_request,
    again_kept_reply,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct buf once = BUF_EMPTY, twice = BUF_EMPTY;
    if (len == 0)
        return 0;
    bool (*again)(struct slice in, struct buf * out) =
        bodies[data[0] % (sizeof(bodies) / sizeof(bodies[0]))];
    if (again(slice_of(data + 1, len - 1), &once)) {
        CLAIM(again(buf_slice(&once), &twice));
        CLAIM(slice_equal(buf_slice(&once), buf_slice(&twice)));
    }
    buf_release(&once);
    buf_release(&twice);
    return 0;
}
