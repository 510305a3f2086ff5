/* SPDX-License-Identifier: Apache-2.0 */
/* Keys are paths without a leading slash; positions are MD5 of the key on a 128-bit ring (Dynamo,
 * section 4.2). The empty key is the root directory: internal code may name it, a client may not
 * put it. */
#ifndef DYN_MODEL_KEY_H
#define DYN_MODEL_KEY_H

#include <stdint.h>

#include "base/buf.h"

#define KEY_LEN_MAX 4095
#define KEY_NAME_MAX 255
#define POSITION_LEN 16

struct position {
    uint8_t bytes[POSITION_LEN];
};

/* DYN_OK, or DYN_ERR_INVALID with *rule (if not NULL) set to a static sentence naming the rule that
 * is broken. */
int key_check(struct slice key, const char **rule);

/* One path component: the same rules without '/'. */
int key_name_check(struct slice name, const char **rule);

/* Below this directory the cluster keeps what is its own (the chunks of large files, and who refers
 * to them). Such keys are in no directory's listing: they are found by name alone. Users may not
 * write them. */
#define KEY_INTERNAL ".dynamount"
bool key_internal(struct slice key);

struct slice key_parent(struct slice key); /* "" for a top-level key; borrowed */
struct slice key_name(struct slice key);   /* last component; borrowed */
void key_join(struct slice dir, struct slice name,
              struct buf *out); /* appends dir/name, or name in the root */

struct position position_of(struct slice key);

/* Which of q equal ranges (q a power of two, 1 to 2^24) the position falls into: its leading bits.
 */
uint32_t position_partition(const struct position *pos, uint32_t q);

#endif
