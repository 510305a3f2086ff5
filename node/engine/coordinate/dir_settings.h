/* SPDX-License-Identifier: Apache-2.0 */
/* This node's copy of the table of settings by directory (model/settings.h): loaded at start, asked
 * at each request, changed for clients, kept on disk and brought to the others: pushed when it
 * changes, and compared with some other node's from time to time, for whoever was away. */
#ifndef DYN_ENGINE_DIR_SETTINGS_H
#define DYN_ENGINE_DIR_SETTINGS_H

#include "engine/core.h"
#include "model/settings.h"

struct settings_keeper *settings_keeper_new(struct engine *e);
void settings_keeper_free(struct settings_keeper *k);
void settings_keeper_load(struct settings_keeper *k, void (*done)(void *arg, int err), void *arg);
void settings_keeper_start(struct settings_keeper *k); /* comparing */

/* What holds for a key. Cheap where nothing is set. */
bool settings_keeper_has_copies(const struct settings_keeper *k); /* has any directory an N? */
/* The N of the nearest directory above key that has one; 0: none has. */
uint8_t settings_keeper_copies(const struct settings_keeper *k, struct slice key);
void settings_keeper_rules(const struct settings_keeper *k, struct slice key, struct rules *out);

/* How far directories are split (fragments.h). Cheap where none is. */
uint8_t settings_keeper_growth(const struct settings_keeper *k, struct slice dir);
void settings_keeper_growths(const struct settings_keeper *k,
                             bool (*each)(void *arg, struct slice dir, uint8_t growth), void *arg);
/* Makes it grow, as a change that nobody waits for. */
void settings_raise(struct engine *e, struct slice dir, uint8_t growth);
/* The body of a FRAME_SETTINGS_SYNC that tells all that is known here, and whether its reply
 * confirms that the other has it all. */
void settings_tell(struct engine *e, struct buf *body);
/* The body of one that asks what the other knows: settings_confirmed() learns it from the reply. A
 * sync of the store that is asked for after that has it on disk. */
void settings_ask(struct engine *e, struct buf *body);
int settings_confirmed(struct engine *e, struct slice reply);

/* FRAME_SETTINGS_SYNC of a peer; FRAME_SETTINGS of a client. */
void settings_serve_sync(struct engine *e, uint64_t origin, uint64_t rid, struct slice body);
void settings_serve(struct engine *e, uint64_t origin, uint64_t rid, struct slice body);
/* The same for callers in this process; done runs later. */
void settings_change(struct engine *e, const struct settings_request *q,
                     void (*done)(void *arg, const struct settings_reply *reply), void *arg);

#endif
