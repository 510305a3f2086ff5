/* SPDX-License-Identifier: Apache-2.0 */
/* What the cluster owes its users, judged from outside: from requests and replies alone.
 *
 * By key it keeps every write with what its context covered. A write that was acknowledged
 * happened; one that timed out may have; one refused for a reason of the request did not. Then
 *
 *   at the end    an acknowledged live version that no other write can have covered must be there,
 *                 and none may be there that an acknowledged write covered (lost writes, returned
 *                 deletes, extra siblings)
 *   at all times  a version belongs to a write that may have happened (phantoms); a dot names one
 *                 write with one content for ever; no object holds two versions of the same
 * content, or of one author's stream; and with strict quorums and R + W > N a read or a listing
 * shows what was acknowledged before it began.
 *
 * The same content written twice counts as one version once it has collapsed (HAZARDS E7), and of
 * one author's stream only the last write stays (F9). Writes acknowledged from the page cache are
 * "maybe" once power was lost after them. */
#ifndef DYN_SIM_ORACLE_H
#define DYN_SIM_ORACLE_H

#include "model/key.h"
#include "model/wire.h"
#include "sim_world.h"

enum write_status {
    WRITE_PENDING, /* also after the end, when nobody knows: maybe */
    WRITE_ACKED,
    WRITE_REFUSED, /* certainly without effect */
};

struct oracle_write {
    uint32_t id, key;
    enum write_status status;
    struct origin origin;
    enum sibling_type type;
    uint32_t mode;
    uint64_t size;
    uint8_t hash[DIGEST_LEN];
    bool drops_only, current; /* PUT_DROP_ONLY, PUT_CURRENT */
    bool strict;
    uint8_t n, w;
    enum durability durability;
    bool synced;                 /* by a later sync request */
    bool power_lost;             /* somewhere, since it began */
    uint64_t began_us, ended_us; /* ended 0: has not */
    struct cover cover; /* what its context named; of an acknowledged PUT_CURRENT, what it found */
    struct dot *kept;   /* of an acknowledged write: what it covers and did not remove after all */
    uint32_t n_kept;
    struct dot dot; /* none while unknown */
    bool final;     /* seen in the object at the end */
};

struct oracle;

struct oracle *oracle_new(struct sim_world *w);
void oracle_free(struct oracle *o);
uint32_t oracle_key(struct oracle *o, struct slice key); /* its index, made if new */
uint32_t oracle_key_count(const struct oracle *o);
struct slice oracle_key_name(const struct oracle *o, uint32_t key);
/* Directories that the cluster may make by itself, above every key that was ever written (E16). */
bool oracle_may_be_directory(const struct oracle *o, struct slice key);

/* Clocks are truncated on purpose, sooner than anybody should: what was covered may come back, as a
 * conflict (E4). Then only what is lost, made up or mixed up is judged, not what is too much. */
void oracle_allow_false_conflicts(struct oracle *o);
bool oracle_false_conflicts(const struct oracle *o);
/* Deletes are reaped: nobody need know of a write any more that may be covered. */
void oracle_expect_reaping(struct oracle *o);
bool oracle_reaping(const struct oracle *o);

/* A put goes out; cover: what its contexts name, copied. The defaults of r and w are the request's
 * own: options must be explicit. The write is the oracle's, and stays. */
struct oracle_write *oracle_put(struct oracle *o, const struct put_request *q,
                                const struct cover *cover);
/* Its end. reply NULL: the node did not say. */
void oracle_put_ended(struct oracle *o, struct oracle_write *w, int status,
                      const struct put_reply *reply);
/* A sync that was acknowledged covers this dot of this key. */
void oracle_synced(struct oracle *o, uint32_t key, const struct dot *dot);
void oracle_power_lost(struct oracle *o);

/* Reads that began at began_us (of simulated time) and were answered with DYN_OK just now. */
void oracle_got(struct oracle *o, const struct get_request *q, uint64_t began_us,
                const struct get_reply *reply);
/* entries: of all pages, sorted by name. */
void oracle_listed(struct oracle *o, const struct list_request *q, uint64_t began_us,
                   const struct list_entry *entries, uint32_t n);

/* After everything has converged: what all N replicas answered together. */
void oracle_final(struct oracle *o, uint32_t key, const struct object *merged);

#endif
