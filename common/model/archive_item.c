/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of one key in an archive: the states that its copies have, each once, taken from the
 * earlier file where that has it, and fetched where not. */
#include "model/archive_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void save_item_release(struct save_item *it)
{
    for (uint32_t i = 0; i < it->n_rows; i++)
        buf_release(&it->rows[i].raw);
    free(it->rows);
    free(it->wants);
    buf_release(&it->key);
    *it = (struct save_item){0};
}

int save_order(const struct position *a, struct slice key_a, const struct position *b,
               struct slice key_b)
{
    int order = memcmp(a->bytes, b->bytes, POSITION_LEN);
    return order != 0 ? order : slice_compare(key_a, key_b);
}

uint64_t save_value_bytes(const struct object *o)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < o->n; i++)
        bytes += o->siblings[i].value == NULL ? 0 : o->siblings[i].value->len;
    return bytes;
}

bool save_hash_known(const uint8_t hash[DIGEST_LEN])
{
    static const uint8_t zeros[DIGEST_LEN] = {0};
    return memcmp(hash, zeros, DIGEST_LEN) != 0;
}

void save_item_state(struct save_item *it, const uint8_t hash[DIGEST_LEN], uint64_t node)
{
    bool have = false;
    for (uint32_t i = 0; i < it->n_rows && save_hash_known(hash); i++) {
        if (memcmp(it->rows[i].hash, hash, DIGEST_LEN) == 0)
            have = it->rows[i].wanted = true;
    }
    for (uint32_t i = 0; i < it->n_wants && !have && save_hash_known(hash); i++)
        have = memcmp(it->wants[i].hash, hash, DIGEST_LEN) == 0;
    if (have)
        return;
    it->wants = mem_reallocarray(it->wants, it->n_wants + 1, sizeof(*it->wants));
    struct save_want *want = &it->wants[it->n_wants++];
    *want = (struct save_want){.node = node};
    memcpy(want->hash, hash, DIGEST_LEN);
}

static struct save_row *new_row(struct save_item *it, const struct range_row *row)
{
    it->rows = mem_reallocarray(it->rows, it->n_rows + 1, sizeof(*it->rows));
    struct save_row *to = &it->rows[it->n_rows++];
    *to = (struct save_row){.raw = BUF_EMPTY};
    memcpy(to->hash, row->hash, DIGEST_LEN);
    return to;
}

void save_item_add(struct save_item *it, const struct range_row *row)
{
    struct save_row *to = new_row(it, row);
    buf_put_slice(&to->raw, row->raw);
    to->value_bytes = save_value_bytes(&row->object);
}

/* One row with the values of siblings [from, end) of those before `end`. */
static void add_part(struct save_item *it, const struct range_row *row, uint32_t from, uint32_t end)
{
    struct range_row part = *row;
    struct object values = OBJECT_EMPTY;
    object_copy(&values, &row->object);
    for (uint32_t i = 0; i < values.n; i++) {
        if (i >= from && i < end)
            continue;
        blob_unref(values.siblings[i].value);
        values.siblings[i].value = NULL;
    }
    part.prefix = end == row->object.n ? 0 : end;
    struct save_row *to = new_row(it, row);
    range_sealed_put(&part, &values, &to->raw);
    to->value_bytes = save_value_bytes(&values);
    object_release(&values);
}

void save_item_add_split(struct save_item *it, const struct range_row *row)
{
    uint64_t bytes = 0;
    uint32_t from = 0;
    for (uint32_t i = 0; i < row->object.n; i++) {
        const struct blob *value = row->object.siblings[i].value;
        uint64_t len = value == NULL ? 0 : value->len;
        if (bytes > 0 && bytes + len > ARCHIVE_VALUES_MAX) {
            add_part(it, row, from, i);
            from = i;
            bytes = 0;
        }
        bytes += len;
    }
    add_part(it, row, from, row->object.n);
}

struct save_want *save_item_next(struct save_item *it)
{
    for (uint32_t i = 0; i < it->n_wants; i++)
        if (!it->wants[i].done)
            return &it->wants[i];
    return NULL;
}
