/* SPDX-License-Identifier: Apache-2.0 */
/* One user of the simulated cluster and the request that it has out. Private to the workload. */
#ifndef DYN_SIM_USER_H
#define DYN_SIM_USER_H

#include "sim_workload.h"

#define USER_KEYS_MAX 64

/* What an user remembers of a key: the last reply to a read or a write of its own. */
struct memory {
    bool known;
    struct buf token;
    struct object object; /* without values */
    struct dot written;   /* its own last acknowledged write, for sync */
    struct buf floor;     /* the token of that write, for session guarantees (E22) */
    struct clock floor_clock;
    struct buf
        value; /* the bytes of a version that it has read or written, and which one that is */
    struct extension extends;
};

/* The request in flight, over all of its attempts and pages. */
struct op {
    enum op_kind kind;
    uint32_t key;
    enum sim_via via;
    uint32_t node, attempts;
    uint64_t began_us;
    struct sim_request request;
    struct buf value, context; /* what the request borrows */
    struct slice context_slice;
    struct cover cover;
    struct oracle_write *write;
    struct list_entry *entries; /* of all pages so far; owned, names too */
    uint32_t n_entries, pages;
    struct buf after;
    bool then_delete; /* the listing comes before a rmdir's delete */
};

struct user {
    struct sim_workload *workload;
    uint32_t index, home;
    struct sim_client client;
    struct sim_random random, appending;
    struct timer think;
    struct memory memory[USER_KEYS_MAX];
    uint64_t seq;
    struct op op;
};

struct sim_workload {
    struct sim_cluster *cluster;
    struct sim_plan plan;
    struct oracle *oracle;
    struct user *users;
    struct buf keys[USER_KEYS_MAX];
    uint32_t n_keys, ops_left, busy, acked, reads;
};

/* Makes and sends a request of this kind; user_idle() follows when it has ended. */
void user_begin(struct user *a, enum op_kind kind, uint32_t key);
void user_idle(struct user *a);
void user_op_release(struct op *op);
void user_remember(struct user *a, uint32_t key, struct slice token, const struct object *object);

#endif
