/* SPDX-License-Identifier: Apache-2.0 */
/* Siblings as files. One object becomes one or more versions: directories are one directory (F11),
 * a change of attributes folds into the change of content that had seen the same bytes (F16), and
 * what is left is a conflict: the directory, else the newest by (time, dot), holds the name, the
 * others are name.conflict.N, newest first, the same on each mount. Within a mount a number sticks
 * to its version and is never given again (F3); a version that takes over the name keeps its
 * conflict name as an alias (F2). Names resolve by table, not by parsing (F20). A stored key that
 * is really called so keeps its name, also against a projection that had it before. */
#ifndef DYN_FS_PROJECTION_H
#define DYN_FS_PROJECTION_H

#include "model/key.h"
#include "model/seen.h"

struct version {
    struct sibling s;  /* with the attributes that folded in; shares blobs, no value */
    struct cover dots; /* of it and of what folded into it */
    uint32_t number;   /* sticky; 0: none given yet */
    bool xattrs;       /* s.attrs.xattrs is known */
};

struct versions {
    struct version *v; /* [0] holds the name */
    uint32_t n;
};

/* By the view. A directory that only its entries prove (E16) is a version without dots. */
void versions_of(struct seen *s, struct versions *out);
void versions_release(struct versions *v);
const struct version *versions_by_number(const struct versions *v, uint32_t number); /* NULL */
/* The one that carries any of these dots, else one that has the same bytes; NULL. */
const struct version *versions_by_dots(const struct versions *v, const struct cover *dots);

/* base.conflict.N, the base cut at a character boundary to fit 255 bytes. */
void projection_name(struct slice base, uint32_t number, struct buf *out);
/* Does the name look like a projection? *base is borrowed from it. */
bool projection_parse(struct slice name, struct slice *base, uint32_t *number);
/* All that might be a projection of the name begins so. */
void projection_prefix(struct slice base, struct buf *out);
/* Does some version need a name and have none? */
bool projection_unnumbered(const struct versions *v);
/* Gives those numbers, passing the names of stored keys, as far as they are known (numbering.h). */
void projection_number(struct seen *s, struct versions *v);

/* A conflict name that this mount has given. */
struct alias {
    struct table_node node;
    struct buf path; /* of the shown name, as a key */
    struct seen *seen;
    uint32_t number;
};
struct alias *projection_find(struct fs *fs, struct slice path); /* NULL */

/* For seen.c, which owns the known versions, and learns what is stored. */
/* s is alive in the cluster under a name that this mount has given to a projection: that one moves
 * on to the next number. */
void projection_yield(struct seen *s);
void projection_drop(struct seen *s, struct known *k);
void projection_hand_on(struct known *from, struct known *to);

#endif
