/* SPDX-License-Identifier: Apache-2.0 */
/* See fragment.h. */
#include "model/fragment.h"

#include <assert.h>

#include "base/digest.h"
#include "base/err.h"
#include "model/key.h"

#define TAG_LEN 3 /* NUL and the fragment */

static void put_tag(uint32_t fragment, struct buf *out)
{
    buf_put_u8(out, 0);
    buf_put_u8(out, (uint8_t)(fragment >> 8));
    buf_put_u8(out, (uint8_t)fragment);
}

uint32_t fragment_of_name(struct slice name, uint32_t depth)
{
    uint8_t hash[POSITION_LEN];
    assert(depth <= FRAGMENT_DEPTH_MAX);
    if (depth == 0)
        return 0;
    digest_md5(name, hash);
    return hash[POSITION_LEN - 1] & ((1u << depth) - 1);
}

void fragment_position_name(struct slice dir, uint32_t fragment, struct buf *out)
{
    assert(fragment < FRAGMENTS_MAX);
    buf_put_slice(out, dir);
    if (fragment != 0)
        put_tag(fragment, out);
}

uint32_t fragment_partition(const struct ring *ring, struct slice dir, uint32_t fragment)
{
    struct buf name = BUF_EMPTY;
    fragment_position_name(dir, fragment, &name);
    uint32_t partition = ring_partition_of(ring, buf_slice(&name));
    buf_release(&name);
    return partition;
}

void entry_id(uint32_t fragment, struct slice key, struct buf *out)
{
    buf_reserve(out, TAG_LEN + key.len);
    if (fragment != 0)
        put_tag(fragment, out);
    buf_put_slice(out, key);
}

struct slice entry_id_split(struct slice id, uint32_t *fragment)
{
    *fragment = 0;
    if (id.len < TAG_LEN || id.data[0] != 0)
        return id;
    *fragment = (uint32_t)id.data[1] << 8 | id.data[2];
    return slice_of(id.data + TAG_LEN, id.len - TAG_LEN);
}

struct slice entry_id_dir(struct slice id)
{
    uint32_t fragment;
    struct slice key = entry_id_split(id, &fragment);
    return slice_of(id.data, id.len - key.len + key_parent(key).len);
}

bool entry_id_parse(struct slice id, struct slice *key, uint32_t *fragment)
{
    *key = entry_id_split(id, fragment);
    bool tagged = key->len != id.len;
    return !tagged || (*fragment != 0 && *fragment < FRAGMENTS_MAX);
}

bool fragment_id_valid(struct slice id)
{
    uint32_t fragment;
    struct slice dir;
    if (!entry_id_parse(id, &dir, &fragment))
        return false;
    return dir.len == 0 || key_check(dir, NULL) == DYN_OK;
}
