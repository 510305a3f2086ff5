/* SPDX-License-Identifier: Apache-2.0 */
/* The cluster file: how a cluster begins. Each first node is started with the same one, and so all
 * derive the same history, and from it the same ring, before they have met. From then on the
 * history in a node's store is what counts, and gossip keeps it equal.
 *
 *     cluster = 9f0c1de2a3b44556        16 hexadecimal digits, not 0
 *     q = 256                           partitions, a power of two; default 256
 *     n = 3                             replicas; default 3, or the members there are
 *     r = 2                             answers to a read; default n / 2 + 1
 *     w = 2                             answers to a write; default n / 2 + 1
 *     member = 00c0ffee00c0ffee 127.0.0.1:7000 100 east
 *
 * A member line gives the node's id, its address, and, where wanted, weight (default 100) and zone
 * (none, or "-"). Members join in the order of their lines. '#' starts a comment. */
#ifndef DYN_ADAPTER_CLUSTER_FILE_H
#define DYN_ADAPTER_CLUSTER_FILE_H

#include "base/buf.h"
#include "model/history.h"

/* h: initialized; replaced on success, untouched otherwise. On failure DYN_ERR_INVALID and *message
 * (caller frees), a sentence with name and line. */
int cluster_file_parse(const char *name, struct slice text, struct history *h, char **message);
/* The same from a file; also DYN_ERR_IO, DYN_ERR_TOO_LARGE (over 4 MiB). */
int cluster_file_load(const char *path, struct history *h, char **message);

/* The text for a history of one creation followed by joins; other events are left out. */
void cluster_file_format(const struct history *h, struct buf *out);

/* "00c0ffee00c0ffee": exactly 16 hexadecimal digits, not all 0. DYN_ERR_INVALID. */
int node_id_parse(struct slice text, uint64_t *out);
#define NODE_ID_TEXT_LEN 16
void node_id_format(uint64_t node, char out[NODE_ID_TEXT_LEN + 1]);

#endif
