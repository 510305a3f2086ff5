/* SPDX-License-Identifier: Apache-2.0 */
/* Levels the load of replicas: whoever would be among the primaries of more partitions than its
 * share is passed over in as many as it has too many. */
#ifndef DYN_MODEL_LEVELLING_H
#define DYN_MODEL_LEVELLING_H

#include <stdint.h>

struct levelling {
    uint32_t q, kept; /* rows and their length */
    uint16_t *rows;   /* q * kept members: the start of each preference list, changed in place */
    uint32_t n;       /* the first n of a row are its primaries */
    uint32_t members; /* below 65,536 */
    const uint32_t *zone; /* by member, below the number of members */
    const uint32_t *most; /* by member: of how many partitions it may be a primary */
    uint32_t rounds;      /* the most primaries of one list in one zone */
};

/* Permutes rows until no member is over its most, or nothing within the rows can mend that. The
 * first of a row stays; zones stay as evenly spread as they were; what is not over stays. Returns
 * by how many copies members are still over, all together. Deterministic. */
uint32_t levelling_run(const struct levelling *lv);

#endif
