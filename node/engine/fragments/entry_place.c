/* SPDX-License-Identifier: Apache-2.0 */
/* See entry_place.h. */
#include "engine/fragments/entry_place.h"

#include "base/err.h"

struct place place_of_fragment(const struct ring *ring, struct slice dir, uint32_t fragment)
{
    struct buf name = BUF_EMPTY;
    if (fragment == 0)
        return place_of(ring, dir);
    fragment_position_name(dir, fragment, &name);
    struct place at = place_of(ring, buf_slice(&name));
    buf_release(&name);
    return at;
}

void entry_head_id(uint32_t fragment, struct slice dir, struct buf *out)
{
    entry_id(fragment, dir, out);
    buf_put_u8(out, '/');
}

bool entry_key_is_head(struct slice key)
{
    return key.len > 0 && key.data[key.len - 1] == '/';
}

bool entry_id_valid(struct slice id)
{
    uint32_t fragment;
    struct slice key;
    if (!entry_id_parse(id, &key, &fragment))
        return false;
    if (entry_key_is_head(key))
        return fragment != 0 && key_check(slice_of(key.data, key.len - 1), NULL) == DYN_OK;
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
