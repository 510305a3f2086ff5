/* SPDX-License-Identifier: Apache-2.0 */
/* A batch as bytes: for each operation one byte of type and family, the key, and for all but a
 * delete the value. One allocation for a whole batch, moved (not copied) when it is handed to a
 * store, and replayable by the store that keeps a log of them. */
#include "port/store.h"

#include <assert.h>

enum { TYPE_SHIFT = 4, FAMILY_MASK = 15 };

_Static_assert((int)STORE_FAMILIES <= (int)FAMILY_MASK, "a family fits in four bits");

void store_batch_release(struct store_batch *b)
{
    buf_release(&b->ops);
    b->count = 0;
    b->deletes = false;
}

void store_batch_put(struct store_batch *b, enum store_family f, struct slice key,
                     struct slice value)
{
    assert(f < STORE_FAMILIES);
    buf_put_u8(&b->ops, (uint8_t)(STORE_PUT << TYPE_SHIFT | f));
    buf_put_bytes(&b->ops, key);
    buf_put_bytes(&b->ops, value);
    b->count++;
}

void store_batch_delete(struct store_batch *b, enum store_family f, struct slice key)
{
    assert(f < STORE_FAMILIES);
    buf_put_u8(&b->ops, (uint8_t)(STORE_DELETE << TYPE_SHIFT | f));
    buf_put_bytes(&b->ops, key);
    b->count++;
}

void store_batch_merge(struct store_batch *b, enum store_family f, struct slice key,
                       const uint8_t operand[STORE_MERGE_LEN])
{
    assert(f < STORE_FAMILIES);
    buf_put_u8(&b->ops, (uint8_t)(STORE_MERGE << TYPE_SHIFT | f));
    buf_put_bytes(&b->ops, key);
    buf_put_bytes(&b->ops, slice_of(operand, STORE_MERGE_LEN));
    b->count++;
}

void store_merge(uint8_t row[STORE_MERGE_LEN], const uint8_t operand[STORE_MERGE_LEN])
{
    for (int i = 0; i < STORE_MERGE_LEN; i++)
        row[i] ^= operand[i];
}

bool store_batch_next(const struct store_batch *b, size_t *at, enum store_op_type *type,
                      enum store_family *f, struct slice *key, struct slice *value)
{
    assert(*at <= b->ops.len);
    if (*at == b->ops.len)
        return false;
    struct reader r = reader_of(slice_of(b->ops.data + *at, b->ops.len - *at));
    uint8_t head = read_u8(&r);
    *type = (enum store_op_type)(head >> TYPE_SHIFT);
    *f = (enum store_family)(head & FAMILY_MASK);
    *key = read_bytes(&r);
    *value = *type == STORE_DELETE ? slice_of(NULL, 0) : read_bytes(&r);
    assert(reader_ok(&r)); /* only the functions above write here */
    *at = b->ops.len - reader_left(&r);
    return true;
}
