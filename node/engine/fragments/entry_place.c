/* SPDX-License-Identifier: Apache-2.0 */
/* See entry_place.h. */
#include "engine/fragments/entry_place.h"

#include <assert.h>

#include "base/digest.h"
#include "base/err.h"

#define TAG_LEN 3 /* NUL and the fragment */

uint32_t fragment_of_name(struct slice name, uint32_t depth)
{
    uint8_t hash[POSITION_LEN];
    assert(depth <= FRAGMENT_DEPTH_MAX);
    if (depth == 0)
        return 0;
    digest_md5(name, hash);
    return hash[POSITION_LEN - 1] & ((1u << depth) - 1);
}

struct place place_of_fragment(const struct ring *ring, struct slice dir, uint32_t fragment)
{
    struct place at;
    struct buf name = BUF_EMPTY;
    assert(fragment < FRAGMENTS_MAX);
    if (fragment == 0)
        return place_of(ring, dir);
    buf_put_slice(&name, dir);
    buf_put_u8(&name, 0);
    buf_put_u8(&name, (uint8_t)(fragment >> 8));
    buf_put_u8(&name, (uint8_t)fragment);
    at = place_of(ring, buf_slice(&name));
    buf_release(&name);
    return at;
}

void entry_id(uint32_t fragment, struct slice key, struct buf *out)
{
    buf_reserve(out, TAG_LEN + key.len);
    if (fragment != 0) {
        buf_put_u8(out, 0);
        buf_put_u8(out, (uint8_t)(fragment >> 8));
        buf_put_u8(out, (uint8_t)fragment);
    }
    buf_put_slice(out, key);
}

void entry_head_id(uint32_t fragment, struct slice dir, struct buf *out)
{
    entry_id(fragment, dir, out);
    buf_put_u8(out, '/');
}

struct slice entry_id_split(struct slice id, uint32_t *fragment)
{
    *fragment = 0;
    if (id.len < TAG_LEN || id.data[0] != 0)
        return id;
    *fragment = (uint32_t)id.data[1] << 8 | id.data[2];
    return slice_of(id.data + TAG_LEN, id.len - TAG_LEN);
}

bool entry_key_is_head(struct slice key)
{
    return key.len > 0 && key.data[key.len - 1] == '/';
}

bool entry_id_valid(struct slice id)
{
    uint32_t fragment;
    struct slice key = entry_id_split(id, &fragment);
    bool tagged = key.len != id.len;
    if (tagged && (fragment == 0 || fragment >= FRAGMENTS_MAX))
        return false;
    if (entry_key_is_head(key))
        return tagged && key_check(slice_of(key.data, key.len - 1), NULL) == DYN_OK;
    if (key_check(key, NULL) != DYN_OK)
        return false;
    uint32_t depth = 0;
    while (fragment >> depth != 0)
        depth++;
    return fragment_of_name(key_name(key), depth) == fragment;
}

bool row_id_valid(enum row_kind kind, struct slice id)
{
    if (kind == ROW_ENTRY)
        return entry_id_valid(id);
    return kind == ROW_OBJECT && (id.len == 0 || key_check(id, NULL) == DYN_OK);
}

struct place place_of_entry(const struct ring *ring, struct slice id)
{
    uint32_t fragment;
    struct slice key = entry_id_split(id, &fragment);
    return place_of_fragment(ring, key_parent(key), fragment);
}

struct place place_of_row(const struct ring *ring, enum row_kind kind, struct slice id)
{
    return kind == ROW_ENTRY ? place_of_entry(ring, id) : place_of(ring, id);
}

void row_of_id(const struct place *at, enum row_kind kind, struct slice id, struct buf *out)
{
    if (kind == ROW_OBJECT) {
        row_object(at, id, out);
        return;
    }
    uint32_t fragment;
    struct slice key = entry_id_split(id, &fragment);
    row_fragment_prefix(at, key_parent(key), fragment, out);
    buf_put_slice(out, key_name(key));
}

void row_fragment_prefix(const struct place *at, struct slice dir, uint32_t fragment,
                         struct buf *out)
{
    if (fragment == 0)
        row_entry_prefix(at, dir, out);
    else
        row_split_prefix(at, dir, fragment, out);
}
