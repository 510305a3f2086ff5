/* SPDX-License-Identifier: Apache-2.0 */
/* Drops that are owed. A rename between keys stores the new name first and drops the old one then,
 * and a cluster may fail between the two. Undoing the first half could fail as well, and would lose
 * what it replaced; so the rename has happened: the old versions are no longer shown on this mount
 * from the moment the new name is stored, and dropped as soon as the cluster lets them. Elsewhere
 * the old name stands as a copy until then. What is owed is listed in .dynamount/pending, and
 * unmounting waits for it. A version that a put was to replace and did not find is owed as well.
 * So is what O_EXCL has made and could not keep, when it cannot be withdrawn at once (F14).
 *
 *   OWED -> LOCK -> [TOKENS] -> DROP -> told, gone
 *    ^---- told that it failed ---/     a refused context goes back to TOKENS, once
 */
#ifndef DYN_FS_OWED_H
#define DYN_FS_OWED_H

#include "model/seen.h"

/* Waiting for a debt; caller-owned. */
struct owed_wait {
    struct list link;
    void (*done)(struct owed_wait *w, int err); /* 0: paid; else the errno of this attempt */
    void *arg;
};

/* The versions are s's no more, here at once. The caller then asks for owed_pay. */
void owed_add(struct seen *s, const struct cover *dots);
/* The same for those of the versions that a put has named and its coordinator, by its answer, did
 * not find: after a split they may still be on their way to it. */
void owed_add_unfound(struct seen *s, const struct cover *named, const struct object *answer);
/* Tries now; done runs once, inside the call when nothing is owed. Take no lock of s before. */
void owed_pay(struct seen *s, struct owed_wait *w, void (*done)(struct owed_wait *w, int err),
              void *arg);
void owed_wait_cancel(struct owed_wait *w); /* fine when zeroed or over */
/* As an earlier run of this mount owed it, by the record of that number. */
void owed_resume(struct seen *s, const struct cover *dots, const struct origin *origin,
                 uint64_t age_us, uint64_t record, uint64_t bytes);
/* The cluster will never let them go: they are shown again. */
void owed_forgive(struct seen *s);
/* Has this mount removed the version? */
bool owed_has(const struct seen *s, const struct dot *d);
void owed_collect(const struct seen *s, struct cover *out);
/* Some key with debts right below the directory, NULL; borrowed. */
struct seen *owed_below(struct fs *fs, struct slice dir_key);
/* Anything alive that this mount has not removed. */
bool owed_leaves_live(const struct seen *s);

uint32_t owed_count(const struct fs *fs);
void owed_hurry(struct fs *fs); /* all are tried now: the mount is ending */
void owed_report(struct fs *fs, struct buf *out);
void owed_free_all(struct fs *fs);

#endif
