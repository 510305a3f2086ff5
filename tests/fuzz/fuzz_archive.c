/* SPDX-License-Identifier: Apache-2.0 */
/* What comes out of an archive, and what is asked for one: sealed states, requests, manifests. The
 * first byte says which. What decodes must encode and decode again to the same. */
#include "base/err.h"
#include "fuzz.h"
#include "model/archive_manifest.h"
#include "model/range_wire.h"

static bool again_request(struct slice in, struct buf *out)
{
    struct archive_request q;
    if (archive_request_decode(in, &q) != DYN_OK)
        return false;
    archive_request_encode(&q, out);
    range_request_release(&q.range);
    return true;
}

static bool again_root(struct slice in, struct buf *out)
{
    struct archive_root p;
    if (archive_root_decode(in, &p) != DYN_OK)
        return false;
    archive_root_encode(&p, out);
    return true;
}

static bool again_targets(struct slice in, struct buf *out)
{
    struct archive_targets p;
    if (archive_targets_decode(in, &p) != DYN_OK)
        return false;
    archive_targets_encode(&p, out);
    archive_targets_release(&p);
    return true;
}

static bool again_rows(struct slice in, struct buf *out)
{
    struct restore_request q;
    if (restore_request_decode(in, &q) != DYN_OK)
        return false;
    restore_request_begin(out, q.n);
    for (uint32_t i = 0; i < q.n; i++)
        range_sealed_put(&q.rows[i], &q.rows[i].object, out);
    restore_request_release(&q);
    return true;
}

static bool again_reply(struct slice in, struct buf *out)
{
    struct restore_reply p;
    if (restore_reply_decode(in, &p) != DYN_OK)
        return false;
    restore_reply_encode(&p, out);
    restore_reply_release(&p);
    return true;
}

static bool again_manifest(struct slice in, struct buf *out)
{
    struct archive_manifest m = ARCHIVE_MANIFEST_EMPTY;
    if (archive_manifest_decode(in, &m) != DYN_OK)
        return false;
    archive_manifest_encode(&m, out);
    archive_manifest_release(&m);
    return true;
}

static bool (*const bodies[])(struct slice in, struct buf *out) = {
    again_request, again_root, again_targets, again_rows, again_reply, again_manifest,
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
