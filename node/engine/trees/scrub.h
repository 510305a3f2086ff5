/* SPDX-License-Identifier: Apache-2.0 */
/* The slow scrub: a walk over all rows, once in cfg.scrub_us, that finds what nobody would notice
 * otherwise (HAZARDS E17, E18, E19): leaves that are not what their rows make them, values that are
 * missing or rotten, entries that lag behind their objects or show what no object has. */
#ifndef DYN_ENGINE_SCRUB_H
#define DYN_ENGINE_SCRUB_H

#include "engine/core.h"

struct scrub *scrub_new(struct engine *e);
void scrub_free(struct scrub *s);
void scrub_start(struct scrub *s);

#endif
