/* SPDX-License-Identifier: Apache-2.0 */
/* What nodes say to each other about keys and directories, and the keys of rows. The first byte
 * says which body follows. What decodes encodes to bytes that decode to the same again. */
#include "engine/peer_wire.h"

#include "base/err.h"
#include "engine/fragments/entry_place.h"
#include "fuzz.h"

/* An entry is written under nothing but a key, or the head of a fragment other than the first. */
static bool again_put(struct slice in, struct buf *out)
{
    struct peer_put m;
    struct buf id = BUF_EMPTY;
    if (peer_put_decode(in, &m) != DYN_OK)
        return false;
    entry_id(m.fragment, m.key, &id);
    CLAIM(!(m.roles & ROLE_ENTRY) || entry_id_valid(buf_slice(&id)));
    CLAIM(!(m.roles & ROLE_OBJECT) || row_id_valid(ROW_OBJECT, m.key));
    CLAIM((m.roles & ROLE_ENTRY) || m.fragment == 0);
    peer_put_encode(&m, out);
    peer_put_release(&m);
    buf_release(&id);
    return true;
}

static bool again_extend(struct slice in, struct buf *out)
{
    struct peer_extend m;
    if (peer_extend_decode(in, &m) != DYN_OK)
        return false;
    CLAIM(m.suffix.len > 0 && m.base.len > 0 && m.base.len + m.suffix.len <= VALUE_LEN_MAX);
    peer_extend_encode(&m, out);
    peer_extend_release(&m);
    return true;
}

static bool again_put_reply(struct slice in, struct buf *out)
{
    struct peer_put_reply m;
    if (peer_put_reply_decode(in, &m) != DYN_OK)
        return false;
    peer_put_reply_encode(&m, out);
    peer_put_reply_release(&m);
    return true;
}

static bool again_get(struct slice in, struct buf *out)
{
    struct peer_get m;
    if (peer_get_decode(in, &m) != DYN_OK)
        return false;
    CLAIM(row_id_valid(m.entry ? ROW_ENTRY : ROW_OBJECT, m.key));
    peer_get_encode(&m, out);
    peer_get_release(&m);
    return true;
}

static bool again_get_reply(struct slice in, struct buf *out)
{
    struct peer_get_reply m;
    if (peer_get_reply_decode(in, &m) != DYN_OK)
        return false;
    peer_get_reply_encode(&m, out);
    peer_get_reply_release(&m);
    return true;
}

static bool again_list(struct slice in, struct buf *out)
{
    struct peer_list m;
    if (peer_list_decode(in, &m) != DYN_OK)
        return false;
    CLAIM(m.fragment < FRAGMENTS_MAX);
    peer_list_encode(&m, out);
    return true;
}

static bool again_list_reply(struct slice in, struct buf *out)
{
    struct peer_list_reply m;
    struct peer_list_page page;
    if (peer_list_reply_decode(in, &m) != DYN_OK)
        return false;
    const struct peer_list_end end = {.status = m.status,
                                      .more = m.more,
                                      .voteless = m.voteless,
                                      .growth = m.growth,
                                      .dir_mtime_ns = m.dir_mtime_ns};
    peer_list_page_begin(&page);
    for (uint32_t i = 0; i < m.n; i++)
        peer_list_page_row(&page, m.entries[i].name, &m.entries[i].object);
    peer_list_page_end(&page, &end);
    buf_put_slice(out, buf_slice(&page.body));
    buf_release(&page.body);
    peer_list_reply_release(&m);
    return true;
}

static bool again_clear(struct slice in, struct buf *out)
{
    struct peer_owed_clear m;
    if (peer_owed_clear_decode(in, &m) != DYN_OK)
        return false;
    peer_owed_clear_encode(&m, out);
    return true;
}

static bool again_holds(struct slice in, struct buf *out)
{
    struct peer_holds m;
    if (peer_holds_decode(in, &m) != DYN_OK)
        return false;
    CLAIM(row_id_valid(ROW_OBJECT, m.key));
    peer_holds_encode(&m, out);
    peer_holds_release(&m);
    return true;
}

/* The key of a row: what it is taken apart to makes it again. */
static bool again_row(struct slice in, struct buf *out)
{
    struct place at;
    enum row_kind kind;
    struct buf id = BUF_EMPTY;
    bool good = row_meta_parse(in, &at, &kind, &id) == DYN_OK && row_id_valid(kind, buf_slice(&id));
    if (good)
        row_of_id(&at, kind, buf_slice(&id), out);
    CLAIM(!good || slice_equal(in, buf_slice(out)));
    buf_release(&id);
    return good;
}

static bool (*const bodies[])(struct slice in, struct buf *out) = {
    again_put,        again_put_reply, again_get, again_get_reply, again_list,
    again_list_reply, again_clear,     again_row, again_extend,    again_holds};

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
