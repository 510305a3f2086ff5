/* SPDX-License-Identifier: Apache-2.0 */
/* The envelope of the binary protocol. Many small requests share one POST, so that HTTP's cost is
 * paid once for all of them; one authenticator over the whole batch is then enough for all its
 * frames. Whatever opens is whole: a receiver walks the frames without a further check. */
#include "model/wire.h"

#include <assert.h>

#include "base/err.h"

static const uint8_t batch_magic[4] = {'D', 'Y', 'N', '1'}, hashed_magic[4] = {'D', 'Y', 'N', '2'};
static const uint8_t no_mac[DIGEST_LEN];

#define MAC_LEN (BATCH_HEADER_LEN - BATCH_PREFIX_LEN)

_Static_assert(MAC_LEN == DIGEST_LEN, "the header holds one authenticator");

static void put_prefix(const struct batch_header *h, const uint8_t magic[4], struct buf *out)
{
    buf_put(out, magic, sizeof(batch_magic));
    buf_put_u64(out, h->cluster);
    buf_put_u64(out, h->from);
    buf_put_u64(out, h->to);
}

void response_begin(const struct batch_header *h, struct buf *out)
{
    put_prefix(h, batch_magic, out);
}

void batch_begin(const struct batch_header *h, struct buf *out)
{
    assert(out->len == 0);
    put_prefix(h, h->hashed ? hashed_magic : batch_magic, out);
    buf_put(out, no_mac, sizeof(no_mac));
}

static void batch_mac(struct mac *mac, struct slice batch, uint8_t out[DIGEST_LEN])
{
    const struct slice parts[2] = {
        slice_of(batch.data, BATCH_PREFIX_LEN),
        slice_of(batch.data + BATCH_HEADER_LEN, batch.len - BATCH_HEADER_LEN),
    };
    if (memcmp(batch.data, hashed_magic, sizeof(hashed_magic)) == 0)
        mac_compute_hashed(mac, parts, 2, out);
    else
        mac_compute(mac, parts, 2, out);
}

void batch_seal(struct mac *mac, struct buf *batch)
{
    assert(batch->len >= BATCH_HEADER_LEN);
    if (mac != NULL)
        batch_mac(mac, buf_slice(batch), batch->data + BATCH_PREFIX_LEN);
}

static int prefix_open(struct slice prefix, struct batch_header *h)
{
    struct reader r = reader_of(prefix);
    uint8_t magic[4];
    read_copy(&r, magic, sizeof(magic));
    struct batch_header got = {.cluster = read_u64(&r)};
    got.from = read_u64(&r);
    got.to = read_u64(&r);
    got.hashed = memcmp(magic, hashed_magic, sizeof(magic)) == 0;
    bool good = got.hashed ? got.from != 0 : memcmp(magic, batch_magic, sizeof(magic)) == 0;
    if (!reader_done(&r) || !good)
        return DYN_ERR_PROTOCOL;
    *h = got;
    return DYN_OK;
}

int response_open(struct slice prefix, struct batch_header *h)
{
    struct batch_header got;
    int err = prefix_open(prefix, &got);
    if (err == DYN_OK && got.hashed) /* that is for requests */
        err = DYN_ERR_PROTOCOL;
    if (err == DYN_OK)
        *h = got;
    return err;
}

static bool client_frame(uint8_t type)
{
    return (type >= FRAME_GET && type <= FRAME_BEHIND) || type == FRAME_ADMIN ||
           type == FRAME_WATCH || type == FRAME_INTEREST || type == FRAME_SETTINGS ||
           type == FRAME_ARCHIVE || type == FRAME_RESTORE || type == FRAME_VERSIONS;
}

/* Whole frames of types that the sender may use, and nothing after them. */
static int check_frames(struct slice frames, bool from_client)
{
    while (frames.len != 0) {
        uint8_t type;
        uint64_t rid;
        struct slice body;
        if (frame_take(&frames, &type, &rid, &body) != 1 || type >= FRAME_REPLY)
            return DYN_ERR_PROTOCOL;
        if (from_client && !client_frame(type))
            return DYN_ERR_DENIED;
    }
    return DYN_OK;
}

int batch_open(struct mac *mac, struct slice batch, struct batch_header *h, struct slice *frames)
{
    struct batch_header got;
    uint8_t want[DIGEST_LEN] = {0};

    if (batch.len < BATCH_HEADER_LEN)
        return DYN_ERR_PROTOCOL;
    int err = prefix_open(slice_of(batch.data, BATCH_PREFIX_LEN), &got);
    if (err != DYN_OK)
        return err;
    if (got.from != 0) {
        if (mac == NULL)
            return DYN_ERR_DENIED;
        batch_mac(mac, batch, want);
    }
    if (!digest_equal(want, batch.data + BATCH_PREFIX_LEN))
        return DYN_ERR_DENIED;
    struct slice rest = slice_of(batch.data + BATCH_HEADER_LEN, batch.len - BATCH_HEADER_LEN);
    err = check_frames(rest, got.from == 0);
    if (err != DYN_OK)
        return err;
    *h = got;
    *frames = rest;
    return DYN_OK;
}

void frame_append(struct buf *out, uint8_t type, uint64_t rid, struct slice body)
{
    assert(body.len <= FRAME_LEN_MAX);
    buf_reserve(out, FRAME_HEADER_LEN + body.len);
    buf_put_u8(out, type);
    buf_put_u32(out, (uint32_t)body.len);
    buf_put_u64(out, rid);
    buf_put_slice(out, body);
}

int frame_take(struct slice *in, uint8_t *type, uint64_t *rid, struct slice *body)
{
    struct reader r = reader_of(*in);
    uint8_t got_type = read_u8(&r);
    uint32_t len = read_u32(&r);
    uint64_t got_rid = read_u64(&r);
    if (reader_ok(&r) && len > FRAME_LEN_MAX)
        return DYN_ERR_PROTOCOL; /* before waiting for bytes that must never be collected */
    struct slice got_body = read_raw(&r, len);
    if (!reader_ok(&r))
        return 0;
    *type = got_type;
    *rid = got_rid;
    *body = got_body;
    *in = slice_of(r.p, (size_t)(r.end - r.p));
    return 1;
}
