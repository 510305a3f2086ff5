/* SPDX-License-Identifier: Apache-2.0 */
/* What an archive is as a whole: one JSON text, the file "manifest.json". It names each file of
 * archive_file.h that belongs to it, with the digest of all its bytes. It is written last, in one
 * step, so an archive is what its manifest says, whatever else lies beside it: the files of a run
 * that broke off, or of the run before. */
#ifndef DYN_MODEL_ARCHIVE_MANIFEST_H
#define DYN_MODEL_ARCHIVE_MANIFEST_H

#include "model/archive_file.h"
#include "model/history.h"
#include "model/settings.h"

#define ARCHIVE_MANIFEST "manifest.json"
#define ARCHIVE_MANIFEST_MAX (256u << 20) /* bytes */

struct archive_part {
    uint64_t run; /* that wrote it; 0: there is none */
    struct archive_foot foot;
};

struct archive_manifest {
    uint64_t cluster;
    uint32_t q, n, r, w;
    struct history_epoch ring; /* when it began */
    uint64_t run, begun_ms, ended_ms;
    struct settings settings;
    struct archive_part *parts; /* ARCHIVE_KINDS * q */
};
#define ARCHIVE_MANIFEST_EMPTY ((struct archive_manifest){0})
void archive_manifest_release(struct archive_manifest *m);
void archive_manifest_parts(struct archive_manifest *m); /* makes them, of q */
struct archive_part *archive_manifest_part(const struct archive_manifest *m, enum archive_kind kind,
                                           uint32_t partition);
struct archive_foot archive_manifest_sum(const struct archive_manifest *m); /* counts only */

void archive_manifest_encode(const struct archive_manifest *m, struct buf *out);
/* m: empty, replaced. DYN_ERR_CORRUPT; DYN_ERR_UNSUPPORTED: of a later version. */
int archive_manifest_decode(struct slice text, struct archive_manifest *m);

/* DYN_ERR_NOT_FOUND: there is no (whole) archive. */
int archive_manifest_load(const struct archive_port *port, struct archive_manifest *m);
int archive_manifest_store(const struct archive_port *port, const struct archive_manifest *m);

#endif
