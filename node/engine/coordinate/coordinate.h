/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinators of client requests. Each takes a request that this node is to coordinate and
 * answers it. */
#ifndef DYN_ENGINE_COORDINATE_H
#define DYN_ENGINE_COORDINATE_H

#include "engine/request.h"

void coordinate_get(struct request *r);
void coordinate_put(struct request *r);
void coordinate_list(struct request *r);
void coordinate_sync(struct request *r);

/* Verifies a request's contexts into what they cover together. DYN_ERR_BAD_CONTEXT. */
int coordinate_cover(struct engine *e, struct slice key, const struct slice *contexts, uint32_t n,
                     struct cover *cover);

/* What the writer had read, as it says itself, or else as its contexts do (context_base). */
struct dot coordinate_base(const struct put_request *q, const struct cover *cover,
                           const struct object *o);

#endif
