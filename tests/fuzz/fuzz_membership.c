/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies that nodes exchange about the cluster: gossip, votes, pieces of partitions, fences, plans.
 * The first byte says which. What decodes must encode and decode again to the same. */
#include "base/err.h"
#include "engine/membership/commit.h"
#include "engine/membership/gossip.h"
#include "engine/transfer/fence_list.h"
#include "engine/transfer/range.h"
#include "fuzz.h"
#include "model/plan.h"

static bool again_digest(struct slice in, struct buf *out)
{
    struct rumours_digest d;
    int status;
    if (gossip_digest_decode(in, &status, &d) != DYN_OK)
        return false;
    gossip_digest_encode(status, &d, out);
    return true;
}

static bool again_exchange(struct slice in, struct buf *out)
{
    struct rumours r = RUMOURS_EMPTY;
    int status;
    if (gossip_exchange_decode(in, &status, &r) != DYN_OK)
        return false;
    gossip_exchange_encode(status, &r, out);
    rumours_release(&r);
    return true;
}

static bool again_vote(struct slice in, struct buf *out)
{
    struct vote_request q;
    if (vote_request_decode(in, &q) != DYN_OK)
        return false;
    vote_request_encode(&q, out);
    return true;
}

static bool again_promise(struct slice in, struct buf *out)
{
    struct vote_reply p;
    if (vote_reply_decode(in, &p) != DYN_OK)
        return false;
    vote_reply_encode(&p, out);
    return true;
}

static bool again_range(struct slice in, struct buf *out)
{
    struct range_request q;
    if (range_request_decode(in, &q) != DYN_OK)
        return false;
    range_request_encode(&q, out);
    range_request_release(&q);
    return true;
}

/* Has a digest at its end, so whoever fuzzes it gets it for free. */
static bool take_piece(struct slice in, struct buf *out)
{
    struct buf body = BUF_EMPTY;
    struct range_reply p;
    uint8_t digest[DIGEST_LEN];
    (void)out;
    digest_sha256(in, digest);
    buf_put_slice(&body, in);
    buf_put(&body, digest, sizeof(digest));
    if (range_reply_decode(buf_slice(&body), &p) == DYN_OK)
        range_reply_release(&p);
    buf_release(&body);
    return false;
}

static bool again_fences(struct slice in, struct buf *out)
{
    struct fence_list l;
    if (fence_list_decode(in, &l) != DYN_OK)
        return false;
    fence_list_encode(&l, out);
    fence_list_release(&l);
    return true;
}

static bool again_plan(struct slice in, struct buf *out)
{
    struct plan p = PLAN_EMPTY;
    if (plan_decode(in, &p) != DYN_OK)
        return false;
    plan_encode(&p, out);
    plan_release(&p);
    return true;
}

static bool (*const bodies[])(struct slice in, struct buf *out) = {
    again_digest, again_exchange, again_vote,   again_promise,
    again_range,  take_piece,     again_fences, again_plan,
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
