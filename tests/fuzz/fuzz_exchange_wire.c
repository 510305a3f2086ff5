/* SPDX-License-Identifier: Apache-2.0 */
/* What peers ask and answer in an exchange. The first byte says which body follows. What decodes
 * encodes to bytes that decode to the same again. */
#include "engine/trees/exchange_wire.h"

#include "base/err.h"
#include "fuzz.h"

static bool again_roots(struct slice in, struct buf *out)
{
    struct tree_roots m;
    if (tree_roots_decode(in, &m) != DYN_OK)
        return false;
    tree_roots_encode(&m, out);
    tree_roots_release(&m);
    return true;
}

static bool again_roots_reply(struct slice in, struct buf *out)
{
    struct tree_roots_reply m;
    if (tree_roots_reply_decode(in, &m) != DYN_OK)
        return false;
    tree_roots_reply_encode(&m, out);
    tree_roots_reply_release(&m);
    return true;
}

static bool again_nodes(struct slice in, struct buf *out)
{
    struct tree_nodes m;
    if (tree_nodes_decode(in, &m) != DYN_OK)
        return false;
    tree_nodes_encode(&m, out);
    return true;
}

static bool again_nodes_reply(struct slice in, struct buf *out)
{
    struct tree_nodes_reply m;
    if (tree_nodes_reply_decode(in, &m) != DYN_OK)
        return false;
    tree_nodes_reply_encode(&m, out);
    return true;
}

static bool again_leaves(struct slice in, struct buf *out)
{
    struct tree_leaves m;
    if (tree_leaves_decode(in, &m) != DYN_OK)
        return false;
    CLAIM(tree_leaves_rows(&m) <= TREE_ROWS_MAX);
    tree_leaves_encode(&m, out);
    tree_leaves_release(&m);
    return true;
}

static bool again_leaves_reply(struct slice in, struct buf *out)
{
    struct tree_leaves_reply m;
    struct tree_leaves_page page = {0};
    if (tree_leaves_reply_decode(in, &m) != DYN_OK)
        return false;
    for (uint32_t i = 0; i < m.count; i++)
        tree_leaves_page_row(&page, m.rows[i].kind, m.rows[i].key, &m.rows[i].object);
    for (uint32_t i = 0; i < m.n_unknown; i++)
        tree_leaves_page_unknown(&page, m.unknown[i]);
    tree_leaves_page_end(&page, m.status, out);
    tree_leaves_reply_release(&m);
    return true;
}

static bool (*const bodies[])(struct slice in, struct buf *out) = {
    again_roots,       again_roots_reply, again_nodes,
    again_nodes_reply, again_leaves,      again_leaves_reply,
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
