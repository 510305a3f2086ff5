/* SPDX-License-Identifier: Apache-2.0 */
/* How the engine's state lies in the store. Big-endian prefixes make byte order the order that
 * scans need: a partition's rows lie together (so that it can move as a unit), and under a
 * directory its entries lie by name.
 *
 *   STORE_META   partition, position(key),  'o', key              -> mark, object
 *                partition, position(dir),  'e', dir, NUL, name   -> an entry, without values
 *                partition, position(dir, fragment), 'f', dir, NUL, fragment, name
 *                                                                 -> the same in a fragment other
 *                                                                    than 0 (entry_place.h)
 *                partition, position(dir, fragment), 'd', dir     -> newest change among the
 *                                                                    entries, i64 ns (F29); how
 *                                                                    many live here, u64
 *   STORE_VALUE  partition, position(key),  key, NUL, value dot   -> bytes
 *   STORE_HINT   'h', target node, partition, kind, key           -> debt record: a hint
 *                'v', partition, position(key), key, NUL, dot     -> a kept version (model/kept.h),
 *                                                                    its value lies as ever
 *                'w', partition, key                              -> the same: an entry owed (E17)
 *                'c', partition, key                              -> the same: the record of an
 *                                                                    upload (collect.h)
 *                'm', partition, dir                              -> the same: a directory owed to
 *                                                                    its entries (E16)
 *                't', partition, key                              -> the same: a tombstone, to be
 *                                                                    reaped (reap.h)
 *                'r', partition                                   -> the same: since when it is
 *                                                                    owned no more (retire.h)
 *                'n', partition, key                              -> the same: this copy is thin,
 *                                                                    some of its values were let
 *                                                                    go (thin.h)
 *                's', partition, key                              -> the same: it may have values
 *                                                                    to let go
 *   STORE_LOCAL  "lease"                                          -> first running number not yet
 *                                                                    leased (E2)
 *   STORE_TREE   see tree.h
 */
#ifndef DYN_ENGINE_ROWS_H
#define DYN_ENGINE_ROWS_H

#include "model/object.h"
#include "model/ring.h"

/* An entry is ROW_ENTRY whatever its fragment: on disk alone, those of others than 0 are 'f'. */
enum row_kind { ROW_OBJECT = 'o', ROW_ENTRY = 'e', ROW_DIRSTAT = 'd' };
enum debt_kind {
    DEBT_HINT = 'h',
    DEBT_ENTRY = 'w',
    DEBT_DIR = 'm',
    DEBT_UPLOAD = 'c',
    DEBT_DEAD = 't',
    DEBT_RETIRED = 'r',
    DEBT_THIN = 'n',
    DEBT_SURPLUS = 's'
};

/* A point on the monotonic clock of one start of a node: no wall clock decides what is safe. */
struct moment {
    uint64_t boot; /* which start; 0: no moment */
    uint64_t us;
};
#define ROW_KEPT 'v'

/* Where a key's rows lie; computed once per request. */
struct place {
    struct position pos;
    uint32_t partition;
};
struct place place_of(const struct ring *ring, struct slice key);

void row_object(const struct place *at, struct slice key, struct buf *out);
void row_entry(const struct place *at_dir, struct slice dir, struct slice name, struct buf *out);
void row_entry_prefix(const struct place *at_dir, struct slice dir, struct buf *out);
/* Of the entries in a fragment other than 0. */
void row_split_prefix(const struct place *at, struct slice dir, uint32_t fragment, struct buf *out);
void row_dirstat(const struct place *at_dir, struct slice dir, struct buf *out);
/* Takes a key of STORE_META apart; of an entry, key is its id (entry_place.h). DYN_ERR_CORRUPT. */
int row_meta_parse(struct slice row, struct place *at, enum row_kind *kind, struct buf *key);
void row_value(const struct place *at, struct slice key, const struct dot *value_dot,
               struct buf *out);
void row_hint_prefix(uint64_t target, struct buf *out);
void row_hint(uint64_t target, uint32_t partition, enum row_kind kind, struct slice key,
              struct buf *out);
/* Takes apart what follows row_hint_prefix. DYN_ERR_CORRUPT. */
int row_hint_parse(struct slice row, uint32_t *partition, enum row_kind *kind, struct slice *key);
void row_debt(enum debt_kind kind, uint32_t partition, struct slice key, struct buf *out);
int row_debt_parse(struct slice row, struct slice *key);

/* Kept versions of a key: all, and up to its end. */
void row_kept_prefix(const struct place *at, struct slice key, struct buf *out);
void row_kept(const struct place *at, struct slice key, const struct dot *dot, struct buf *out);
int row_kept_parse(struct slice row, struct slice *key); /* DYN_ERR_CORRUPT */

struct row_kept { /* about, of the versions that are kept beside an object: see kept.h */
    uint32_t n;
    uint64_t bytes, last_ms; /* when the last one was kept that another write had just replaced */
};

/* What this node alone knows of a row; never sent. */
struct row_state {
    struct epoch mark; /* under which it mints; not hashed either (E1) */
    struct dot *lacks; /* value dots that the object names and this node does not hold (E19) */
    uint32_t n_lacks;
    struct moment prepared; /* when this tombstone was prepared to be reaped (E15) */
    struct row_kept kept;
    struct dot *thin; /* value dots that the object names and that others keep for this node, by the
                         N of its directory (thin.h): in trees they count as held */
    uint32_t n_thin;
    struct dot *hearsay; /* those of them that this node was told of when nobody had them: no keeper
                            has ever said to it that it holds them */
    uint32_t n_hearsay;
};
#define ROW_STATE_NONE ((struct row_state){.lacks = NULL})
void row_state_release(struct row_state *s);
bool row_state_lacks(const struct row_state *s, const struct dot *value_dot); /* or is thin in it */
bool row_state_thin(const struct row_state *s, const struct dot *value_dot);
void row_state_add_lack(struct row_state *s, const struct dot *value_dot);
void row_state_add_thin(struct row_state *s, const struct dot *value_dot);
void row_state_add_hearsay(struct row_state *s, const struct dot *value_dot); /* it is thin */
/* Its keepers have told this node that they held it. */
bool row_state_vouched(const struct row_state *s, const struct dot *value_dot);

/* The row of an object or an entry. */
void row_encode(const struct row_state *s, const struct object *o, struct buf *out);
int row_decode(struct slice row, struct row_state *s, struct object *o); /* DYN_ERR_CORRUPT */
/* The same for whoever does not ask what is lacking. */
void object_row_encode(struct epoch mark, const struct object *o, struct buf *out);
int object_row_decode(struct slice row, struct epoch *mark, struct object *o); /* DYN_ERR_CORRUPT */

/* What a debt record says: since when, how many bytes it stands for, and the state it was made for.
 */
struct debt {
    uint64_t since_ms;
    uint64_t bytes;
    uint8_t state[DIGEST_LEN]; /* object_hash when it was made; newer debts replace older ones */
};
void debt_encode(const struct debt *d, struct buf *out);
int debt_decode(struct slice row, struct debt *d);

#endif
