/* SPDX-License-Identifier: Apache-2.0 */
/* See fence_list.h. */
#include "engine/transfer/fence_list.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

#define FORMAT 1
#define FENCES_MAX 65536u

void fence_list_encode(const struct fence_list *l, struct buf *out)
{
    buf_put_u8(out, FORMAT);
    buf_put_varint(out, l->n);
    for (uint32_t i = 0; i < l->n; i++) {
        buf_put_u32(out, l->partitions[i]);
        buf_put_u64(out, l->fences[i]);
    }
}

int fence_list_decode(struct slice body, struct fence_list *l)
{
    struct reader r = reader_of_format(body, FORMAT);
    struct fence_list got = {.n = 0};
    uint64_t n = read_varint(&r);
    if (n > FENCES_MAX || n * 12 > reader_left(&r))
        reader_fail(&r);
    if (reader_ok(&r) && n > 0) {
        got.partitions = mem_reallocarray(NULL, n, sizeof(*got.partitions));
        got.fences = mem_reallocarray(NULL, n, sizeof(*got.fences));
    }
    for (; reader_ok(&r) && got.n < n; got.n++) {
        got.partitions[got.n] = read_u32(&r);
        got.fences[got.n] = read_u64(&r);
    }
    if (!reader_ok(&r)) {
        fence_list_release(&got);
        return DYN_ERR_PROTOCOL;
    }
    *l = got;
    return DYN_OK;
}

void fence_list_release(struct fence_list *l)
{
    free(l->partitions);
    free(l->fences);
    *l = (struct fence_list){0};
}
