/* SPDX-License-Identifier: Apache-2.0 */
/* Versions that stand beside each other: which of an object's siblings are a conflict, and how they
 * are shown. */
#ifndef DYN_CTL_VERSIONS_H
#define DYN_CTL_VERSIONS_H

#include "base/json.h"
#include "ctl/ctl.h"
#include "model/object.h"

/* Directories beside each other are one directory, so they are no conflict (F11). */
bool versions_conflict(const struct object *o);
const struct sibling *versions_live(const struct object *o, const struct dot *d); /* NULL */
const char *versions_type(const struct sibling *s); /* "file", "directory", "symlink" */

/* After a write, on stderr: where versions still, or again, stand side by side. */
void versions_note_conflict(struct slice key, const struct object *o);

/* The live ones, newest first; the caller frees. */
const struct sibling **versions_sorted(const struct object *o, uint32_t *n);

/* A line for each live version, newest first: dot, time, size, type. */
void versions_print(const struct object *o, const char *indent, struct buf *out);
/* What is said of one: dot, type, size, time, mode, hash. */
void versions_add_one(struct json *object, const struct sibling *s);
/* An array of them added to parent under this name; values too where they are loaded. */
void versions_add_json(struct json *parent, const char *name, const struct object *o);

#endif
