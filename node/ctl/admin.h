/* SPDX-License-Identifier: Apache-2.0 */
/* Asking a cluster to change (FRAME_ADMIN), and showing what it says. */
#ifndef DYN_CTL_ADMIN_H
#define DYN_CTL_ADMIN_H

#include "base/json.h"
#include "ctl/session.h"

/* Asks members, one after the other, until one answers. CTL_OK with *reply (the caller frees), or
 * another exit status, and why has been said. */
int admin_ask(struct session *s, struct json *request /* taken */, struct json **reply);
/* The same of one node, quietly: DYN_OK or why there is no answer. */
int admin_ask_node(struct session *s, uint64_t node, const char *request, struct json **reply);

int admin_print_staged(struct ctl *c, const struct json *plan);
void admin_put_parts(const struct json *plan, struct buf *out);
void admin_put_bytes(uint64_t bytes, struct buf *out);
uint64_t admin_number(const struct json *object, const char *name);  /* 0: absent */
const char *admin_text(const struct json *object, const char *name); /* "": absent */

#endif
