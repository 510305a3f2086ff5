/* SPDX-License-Identifier: Apache-2.0 */
/* What the nodes keep of a key's former versions, and the bytes of one of them. */
#ifndef DYN_CTL_HISTORY_H
#define DYN_CTL_HISTORY_H

#include "ctl/session.h"
#include "model/kept.h"

/* Asks one node after the other, those of the key first, until one has asked all. dot: of the one
 * version that is wanted with its value, NULL: all without. out->status tells failures too; the
 * caller releases it in any case. */
void history_ask(struct session *s, struct slice key, const struct dot *dot,
                 struct kept_reply *out);

/* On stderr, if not all nodes have answered. */
void history_note_missing(const struct kept_reply *reply);

/* The bytes of a version whose value is loaded, to a descriptor; a large file's from its chunks. An
 * exit status; said why. */
int history_print(struct session *s, struct slice key, const struct sibling *version, int fd);

/* A large file: are all its chunks still there, and will they stay? First a reference that keeps
 * them is added, then each is looked for. An exit status; said why. */
int history_hold_chunks(struct session *s, struct slice key, struct slice manifest);

#endif
