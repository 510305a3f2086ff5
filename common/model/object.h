/* SPDX-License-Identifier: Apache-2.0 */
/* An object is a clock and its siblings: a dotted version vector set (Almeida et al., "Scalable and
 * Accurate Causality Tracking for Eventually Consistent Stores", 2014). Merging two replicas'
 * objects never reads a value, so values hang off siblings as optional shared blobs. A directory
 * entry is the same type without values: projection and merge commute. */
#ifndef DYN_MODEL_OBJECT_H
#define DYN_MODEL_OBJECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/mem.h"
#include "model/clock.h"

/* Decode limit. Puts without context stop at 1,000 (E24), but the nodes that coordinate on both
 * sides of a split each count to 1,000 by themselves, and their join must still be readable. */
#define OBJECT_SIBLINGS_MAX 65536
#define VALUE_LEN_MAX                                                                              \
    (8u << 20) /* bytes of one value; larger ones need chunks, which are not there yet */
#define XATTRS_LEN_MAX 65536
#define UPLOAD_ID_LEN 16
#define UPLOADS_MAX 1024 /* that one version's chunks come from */

enum sibling_type { SIBLING_DELETE = 0, SIBLING_FILE = 1, SIBLING_DIR = 2, SIBLING_SYMLINK = 3 };

struct attrs {
    uint32_t mode; /* permission bits, 07777 */
    uint32_t uid, gid;
    int64_t mtime_ns, ctime_ns, atime_ns; /* the client's clock, since 1970 (F28) */
    uint64_t ino;                         /* made at create, kept by rename (F30); 0: none given */
    struct blob *xattrs;                  /* encoded xattr list, NULL: none; kept out of entries */
    uint8_t xattrs_hash[DIGEST_LEN]; /* in an entry: xattrs_digest of the list left out, so that
                                        it collapses exactly as its object does; else zeros */
};

/* Who wrote, from the client's side: a repeat of (writer, stream, seq) is the same write, and of
 * one (writer, stream) only the highest seq lives (E7, F9). For a mount: (mount id, nodeid,
 * sequence). For one-off requests: (client id, random, 1). writer 0: not given. */
struct origin {
    uint64_t writer, stream, seq;
};

struct sibling {
    struct dot dot;
    struct dot
        value_dot; /* the write that made these bytes; differs after a metadata-only change (F16) */
    struct dot base_dot; /* value_dot of the version this write's author had read, none if none
                            (F16, common ancestor) */
    uint64_t time_ns; /* orders siblings: wall clock of the coordinator, or inherited (F3, F28) */
    enum sibling_type type;
    struct attrs attrs;
    struct origin origin;
    uint64_t size; /* bytes of the file; for a symlink the length of its target */
    uint8_t
        value_hash[DIGEST_LEN]; /* digest_sha256 of the value; zeros for a directory or a delete */
    /* A large file's value is its manifest (manifest.h): the chunks that its bytes lie in. */
    uint32_t manifest_len; /* bytes of that; 0: the value is the file's bytes themselves */
    uint64_t allocated;    /* with a manifest: bytes that are no holes */
    struct blob *uploads;  /* with a manifest: the uploads whose chunks it names, UPLOAD_ID_LEN
                              bytes each (E8); NULL: none. Kept out of entries */
    struct blob *value;    /* NULL: not loaded (or size 0) */
};

struct object {
    struct clock clock;
    struct sibling *siblings; /* sorted by dot */
    uint32_t n, cap;
};

#define OBJECT_EMPTY ((struct object){CLOCK_EMPTY, NULL, 0, 0})

void sibling_release(struct sibling *s);
void sibling_copy(struct sibling *to,
                  const struct sibling *from);       /* to: uninitialized; shares blobs */
bool sibling_live(const struct sibling *s);          /* not a delete */
uint64_t sibling_value_len(const struct sibling *s); /* bytes of what is stored as its value */

/* Appends s, taken, without collapse; its dot must be new to the siblings and covered by the clock
 * already. For decoding and tests: everything else goes through object_write and object_join. */
void object_insert(struct object *o, struct sibling *s);

/* The order of names, the same everywhere: (time_ns, dot). */
int sibling_order(const struct sibling *a, const struct sibling *b);

/* The order of collapse, the same everywhere: (origin.seq, time_ns, dot). Seq leads, so that the
 * two rules of collapse never disagree about who is greater (see object_join.c). */
int sibling_absorb_order(const struct sibling *a, const struct sibling *b);

/* Same type, mode, owner, xattrs, size and bytes; times and inode do not count. Deletes are all the
 * same. Siblings of entries compare as their objects' do. */
bool sibling_same_content(const struct sibling *a, const struct sibling *b);

void object_release(struct object *o);
void object_copy(struct object *to, const struct object *from); /* to: initialized; replaced */
bool object_is_absent(const struct object *o); /* nothing known: empty clock, no siblings */
bool object_live(const struct object *o);      /* at least one live sibling */
bool object_is_dir(const struct object *o);    /* one of its siblings is a directory */
uint32_t object_live_count(const struct object *o);
const struct sibling *
object_newest(const struct object *o); /* newest live one by sibling_order; NULL when dead */
const struct sibling *object_find(const struct object *o, const struct dot *d); /* by dot; NULL */
const struct sibling *object_find_value(const struct object *o, const struct dot *value_dot);
/* The sibling that the same write of the same client made, if it still lives: a retry is answered
 * from it (E7). origin->writer 0: NULL. */
const struct sibling *object_find_origin(const struct object *o, const struct origin *origin);

/* What became of a sibling that was just written: its own dot, or that of an equal or later one
 * that absorbed it at once (E7). */
struct dot object_survivor(const struct object *o, const struct sibling *written);

/* Least upper bound: a sibling survives if both hold it, or if the side that lacks it has not seen
 * its dot. Then collapse: of one (writer, stream) the highest seq stays, then of siblings with the
 * same content the greatest by sibling_absorb_order (E7, F9); equal seqs count as one write. A
 * survivor takes over a loaded value of its size and hash from either side or from a sibling that
 * it absorbed. into: initialized. Returns whether `into` changed (clock or siblings; a value that
 * became loaded does not count).
 *
 * What holds: join is commutative and idempotent, and replicas that go on exchanging end with the
 * same object: clocks form a lattice, and under equal clocks a join is an intersection. It is
 * associative too as long as no absorbing sibling is itself superseded by a write that had not seen
 * what it absorbed. Otherwise the absorbed sibling either goes along with its twin (they were one
 * version to whoever wrote) or stays as a conflict, by the order of exchange; never does a sibling
 * vanish that neither a cover nor an absorber, itself alive or so replaced, accounts for. */
bool object_join(struct object *into, const struct object *other);

/* The join of two entries: the same without the collapse. Replicas of the object and of its entry
 * meet versions in different orders, and collapse depends on order: a version that an equal one
 * absorbed in the entry, but not in the object, would be gone with that other for good, and a live
 * file out of sight. So an entry follows what the object's replicas made of it, and collapses
 * nothing. */
bool entry_join(struct object *into, const struct object *other);

/* Only the collapse, for showing a merged entry. Returns whether anything went. */
bool object_collapse(struct object *o);

/* What a put covers. Explicit dots cover exactly those siblings and do not join the clock (E6). */
struct cover {
    struct clock clock;
    struct dot *dots;
    uint32_t n, cap;
};
#define COVER_EMPTY ((struct cover){CLOCK_EMPTY, NULL, 0, 0})
void cover_release(struct cover *c);
void cover_add_dot(struct cover *c, const struct dot *d);
/* Adds what the same author wrote before it in the same stream. The version that a drop names may
 * have given way to its twin, which another coordinator has minted for the same write. */
void object_cover_stream(const struct object *o, const struct origin *origin, struct cover *dots);
/* Adds the dots of what is in the object and covered: an operation on them joins nothing into the
 * clock (E6). */
void object_cover_dots(const struct object *o, const struct cover *from, struct cover *dots);
uint32_t object_live_outside(const struct object *o, const struct cover *cover);
bool cover_has(const struct cover *c, const struct dot *d); /* in the clock or among the dots */
/* True when the object has seen all that the cover names: only then may a put be applied to it
 * alone (E6). */
bool cover_within(const struct cover *c, const struct object *o);
/* The newest live one of that type that the cover names; NULL. */
const struct sibling *object_newest_covered(const struct object *o, const struct cover *cover,
                                            enum sibling_type type);
/* What a write that says nothing of them takes over from the version that it replaces (NULL is
 * fine): inode number and extended attributes, and mode, uid and gid where asked for. */
void attrs_inherit(struct attrs *a, const struct sibling *before, bool mode, bool uid, bool gid);

/* Applies one write at its coordinator: drops covered siblings, joins the cover's clock, advances
 * by the new sibling's dot, adds the new sibling (taken: moved out of *new_sibling), collapses. It
 * may be NULL: only drop (rm of one sibling while others live). Its dot must be covered neither by
 * the object nor by the cover, or the write would be lost at the next join (E1): asserted. A file's
 * or symlink's value_dot that is none becomes its dot. The new sibling may be absorbed at once by
 * an equal or later one; the write is then stored all the same, under that one's dot. */
void object_write(struct object *o, const struct cover *cover, struct sibling *new_sibling,
                  uint64_t time_ms);

/* What conflicting versions come to under the rules of a directory; see object_reconcile.c. */
void object_keep_newest(struct object *o); /* of all siblings, deletes too; the clock stays */
/* The lines of all live versions, each once, in the order of the versions' age. False, where it
 * cannot be done: a version is no file, a value is not loaded, there is only one, or more than max
 * bytes could come of it; out may hold something then. */
bool object_union_lines(const struct object *o, uint64_t max, struct buf *out);

/* Clock truncation (E4): what the coordinator of a put may cut. See object_truncate.c. */
struct truncation {
    uint32_t keep;               /* pairs that stay in any case; from 1 */
    uint64_t before_ms;          /* wall clock: only pairs made by then */
    struct actor open;           /* under which this node mints; epoch.run 0: none */
    const struct object *before; /* as it was until this put; may be NULL */
};
/* Cuts the oldest pairs beyond `keep` that may go, and adds them to cut. Nothing of an object that
 * holds a delete. For objects only, never for entries. */
void object_truncate(struct object *o, const struct truncation *t, struct clock *cut);
/* At a replica that has merged such a put: cuts along, unless it knows more or must keep the pair.
 * Returns whether the clock changed. Where an epoch's own pair went, the caller must mint under it
 * no more. */
bool object_follow_cut(struct object *o, const struct clock *cut);

/* The entry of an object: same clock and siblings, without values and xattrs. */
void object_project(const struct object *o,
                    struct object *entry); /* entry: initialized; replaced */

/* What the object was when it held only its first n siblings and had seen nothing else: an older
 * state, whose join with o is o. So an object whose values are too many for one message travels as
 * growing prefixes, each of which a replica may store. out: initialized; replaced; shares blobs. */
void object_prefix(const struct object *o, uint32_t n, struct object *out);

/* Clock and dots: what a replica must agree on with its peers. */
bool object_equal(const struct object *a,
                  const struct object *b); /* clock and siblings' dots; values loaded or not */
void object_hash(const struct object *o,
                 uint8_t out[DIGEST_LEN]); /* over the canonical encoding of clock and dots; times
                                              do not count */

/* Encoding without values. Fields a later version adds ride in tagged form and are refused only if
 * marked essential. */
void object_encode(const struct object *o, struct buf *out);
void object_decode(struct reader *r,
                   struct object *o); /* o initialized, replaced; reader fails on any broken rule */

/* The values that are loaded, as (value_dot, bytes) pairs. Decoding attaches each to every sibling
 * of o naming that value_dot, and fails the reader when the size or the digest disagrees. */
void object_values_encode(const struct object *o, struct buf *out);
void object_values_decode(struct reader *r, struct object *o);
bool object_values_loaded(
    const struct object *o); /* each live sibling's value is loaded or empty */

/* The xattr list inside attrs.xattrs: (name, value) pairs sorted by name. */
bool xattrs_valid(struct slice list); /* every rule on a list, for decoding */
void xattrs_digest(const struct blob *list, uint8_t out[DIGEST_LEN]); /* zeros for an empty list */
int xattrs_get(const struct blob *list, struct slice name,
               struct slice *value); /* DYN_ERR_NOT_FOUND; borrowed */
/* Makes a new list; value.data NULL removes. DYN_ERR_NOT_FOUND, DYN_ERR_INVALID name,
 * DYN_ERR_TOO_LARGE over XATTRS_LEN_MAX. *out may be NULL: empty. */
int xattrs_set(const struct blob *list, struct slice name, struct slice value, struct blob **out);
/* Walks: *at starts at 0. Returns false at the end. */
bool xattrs_next(const struct blob *list, size_t *at, struct slice *name, struct slice *value);

#endif
