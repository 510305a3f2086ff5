/* SPDX-License-Identifier: Apache-2.0 */
/* What a seed stands for: the size of the cluster, its quorums, what clients do and how often, and
 * which faults there are. Each seed leaves some things out, because a mistake often shows only
 * where nothing else covers it up: one blind "overwrite whatever is there" excuses every loss
 * before it. */
#ifndef DYN_SIM_PLAN_H
#define DYN_SIM_PLAN_H

#include "engine/engine.h"
#include "sim_net.h"

enum op_kind {
    OP_GET,
    OP_PUT,     /* with the context of what was read last */
    OP_BLIND,   /* without context */
    OP_CURRENT, /* over whatever is there */
    OP_DELETE,
    OP_DELETE_CURRENT,
    OP_DROP,    /* one sibling, PUT_DROP_ONLY */
    OP_REPLACE, /* one sibling */
    OP_CHMOD,   /* PUT_KEEP_VALUE */
    OP_CREATE,  /* PUT_IF_ABSENT */
    OP_LIST,
    OP_MKDIR,
    OP_RMDIR,
    OP_SYNC,
    OP_FORGED, /* with a context that nobody gave */
    OP_KINDS
};

enum sim_fault {
    FAULT_KILL,
    FAULT_AMBUSH,   /* kill it in the middle of spreading a write */
    FAULT_POWER,    /* one node */
    FAULT_BLACKOUT, /* all nodes at once */
    FAULT_STOP,     /* cleanly */
    FAULT_SPLIT,    /* two halves */
    FAULT_ISOLATE,  /* one node from all others */
    FAULT_ONE_WAY,  /* some node hears another no more */
    FAULT_SLOW_NODE,
    FAULT_SLOW_DISK,
    FAULT_BAD_DISK,
    FAULT_LOSSY, /* the whole network, for a while */
    FAULT_WALL_JUMP,
    FAULT_CHANGE,    /* of membership: a join, a leave, another weight */
    FAULT_FULL_DISK, /* nothing more goes on one node's */
    FAULT_LOST,      /* a member is gone for good, with its disk: replaced or removed */
    FAULT_BAD_ROWS,  /* some objects cannot be read at one node, for a while */
    FAULT_N,         /* no fault: a directory has another N from now on */
    FAULT_KINDS
};

struct sim_plan {
    uint32_t nodes, q, n, r, w;
    uint32_t members;    /* of the nodes, at first; the others wait to be joined */
    uint32_t users, ops; /* ops: of all users together */
    uint32_t files, dirs;
    uint32_t op_weight[OP_KINDS];
    uint32_t fault_weight[FAULT_KINDS]; /* all 0: a calm seed */
    uint64_t fault_every_us, fault_lasts_us;
    uint64_t think_us;
    uint32_t page;                 /* entries of a listing's page, at most */
    bool ends_in_kill;             /* of all nodes at once, while the last requests are under way */
    uint32_t strict_permille;      /* of requests; the others are sloppy */
    uint32_t vary_permille;        /* of requests with an r and w of their own */
    uint32_t durability_weight[4]; /* by enum durability */
    uint32_t same_value_permille;  /* of values that others write too */
    uint32_t append_permille;      /* of values that extend one that the user knows (F27) */
    uint32_t mount_permille;       /* of writes in an author's stream, as a mount does */
    uint32_t retry_permille;       /* of unanswered writes that are sent again elsewhere */
    uint32_t kv_permille, library_permille; /* of requests; the others as bare frames */
    uint32_t away_permille;                 /* of requests that do not go to the user's own node */
    struct sim_net_config net;
    uint32_t deaf_permille; /* of the writes to one node after the other that are lost */
    bool object_buffer;     /* nodes acknowledge from memory; a kill takes that along */
    uint64_t disk_us;       /* a disk call takes up to this */
    uint64_t exchange_us, scrub_us;
    uint64_t owed_delay_us;
    uint64_t replica_timeout_us;
    uint32_t clock_pairs; /* truncation (E4); 0: as configured by default, so never */
    uint64_t clock_age_ms;
    uint32_t fragment_entries; /* directories are split from so many entries on; 0: never */
    uint64_t reap_us, reap_after_ms, message_life_us; /* reap_us 0: nothing is reaped */
    uint64_t retired_us;                              /* the same */
    uint64_t thin_us;                                 /* directories have an N; 0: none has */
};

/* A seed may have a leaning of its own: clocks that are cut early, a directory that is listed all
 * the time, files that come and go while their deletes are reaped, one change of membership after
 * the other, directories with an N of their own, or changes among nodes that cannot read all they
 * have. Whoever looks for a planted bug chooses the one in which it shows. */
enum sim_leaning {
    LEANING_ANY,
    LEANING_NONE,
    LEANING_TRUNCATION,
    LEANING_LISTING,
    LEANING_REAP,
    LEANING_CHANGES,
    LEANING_THIN,
    LEANING_SOURCES,
    LEANING_FENCES
};
void sim_plan_make(struct sim_plan *p, uint64_t seed, enum sim_leaning leaning);
extern const char *const op_names[OP_KINDS];
extern const char *const fault_names[FAULT_KINDS];

#endif
