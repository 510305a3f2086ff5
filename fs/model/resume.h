/* SPDX-License-Identifier: Apache-2.0 */
/* What an earlier run of this mount left in the staging folder goes on here (F8). A record waits
 * until it is known which cluster answers, since nothing may be published to another one than it
 * was written for. Then the file is dirty again, as if this mount had written it: shown, listed in
 * `pending`, tried again, under the versions that it was to supersede then and no later ones. */
#ifndef DYN_FS_RESUME_H
#define DYN_FS_RESUME_H

#include "model/core.h"

/* Is the cluster known by now? An answer of it has come: what goes on here counts for whoever looks
 * at that. */
void resume_look(struct fs *fs);
void resume_report(struct fs *fs, struct buf *out); /* for .dynamount/pending */
void resume_free_all(struct fs *fs);                /* the records stay */

#endif
