/* SPDX-License-Identifier: Apache-2.0 */
/* "Do you agree about who holds these?": the body of FRAME_FENCED, which asks a peer for its fences
 * of partitions (E10). */
#ifndef DYN_ENGINE_FENCE_LIST_H
#define DYN_ENGINE_FENCE_LIST_H

#include <stdint.h>

#include "base/buf.h"

struct fence_list {
    uint32_t *partitions;
    uint64_t *fences;
    uint32_t n;
};
void fence_list_encode(const struct fence_list *l, struct buf *out);
int fence_list_decode(struct slice body, struct fence_list *l);
void fence_list_release(struct fence_list *l);

#endif
