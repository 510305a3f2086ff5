/* SPDX-License-Identifier: Apache-2.0 */
/* Answering what a peer asks in an exchange (exchange.h). */
#ifndef DYN_ENGINE_EXCHANGE_SERVE_H
#define DYN_ENGINE_EXCHANGE_SERVE_H

#include "engine/core.h"

void exchange_serve(struct engine *e, uint64_t origin, uint64_t rid, uint8_t type,
                    struct slice body);

#endif
