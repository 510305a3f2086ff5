/* SPDX-License-Identifier: Apache-2.0 */
/* What nodes ask and answer about reaping. The first byte says which body follows. What decodes
 * encodes to bytes that decode to the same again. */
#include "engine/reap/reap_wire.h"

#include "base/err.h"
#include "fuzz.h"

static bool again_request(struct slice in, struct buf *out)
{
    struct reap_request m;
    if (reap_request_decode(in, &m) != DYN_OK)
        return false;
    CLAIM(m.n <= REAP_ITEMS_MAX && m.step != REAP_LOOK);
    reap_request_encode(&m, out);
    reap_request_release(&m);
    return true;
}

static bool again_reply(struct slice in, struct buf *out)
{
    struct reap_reply m;
    if (reap_reply_decode(in, &m) != DYN_OK)
        return false;
    reap_reply_encode(&m, out);
    reap_reply_release(&m);
    return true;
}

static bool again_clear(struct slice in, struct buf *out)
{
    struct clear_request m;
    if (clear_request_decode(in, &m) != DYN_OK)
        return false;
    clear_request_encode(&m, out);
    clear_request_release(&m);
    return true;
}

static bool again_clear_reply(struct slice in, struct buf *out)
{
    struct clear_reply m;
    if (clear_reply_decode(in, &m) != DYN_OK)
        return false;
    clear_reply_encode(&m, out);
    clear_reply_release(&m);
    return true;
}

static bool (*const bodies[])(struct slice in, struct buf *out) = {again_request, again_reply,
                                                                   again_clear, again_clear_reply};

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
