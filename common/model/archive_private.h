/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the writing of archives: archive_save.c runs the whole, archive_job.c reads one partition
 * at all its nodes, archive_item.c holds what becomes of one key. */
#ifndef DYN_MODEL_ARCHIVE_PRIVATE_H
#define DYN_MODEL_ARCHIVE_PRIVATE_H

#include "model/archive_save.h"
#include "model/key.h"
#include "model/moves.h"

#define SAVE_PARALLEL_MAX 16u
#define SAVE_SOURCES_MAX 8u         /* voters of a partition */
#define SAVE_BATCH 256u             /* keys */
#define SAVE_BATCH_BYTES (4u << 20) /* of states taken from an earlier file */

/* X keeps hints for a node: it may have states that no voter has. */
struct save_standin {
    uint64_t node, target;
};

/* A state that is in the file already, or has been fetched. */
struct save_row {
    struct buf raw;
    uint8_t hash[DIGEST_LEN];
    uint64_t value_bytes;
    bool wanted; /* of an earlier file: some copy still has it */
};

struct save_want { /* a state to be fetched */
    uint8_t hash[DIGEST_LEN];
    uint64_t node;
    bool done;
    bool unread; /* the node cannot read it */
};

struct save_item { /* one key */
    struct position position;
    struct buf key;
    struct save_want *wants;
    uint32_t n_wants;
    struct save_row *rows;   /* in the order in which they are written */
    uint32_t n_rows, n_base; /* the first n_base of an earlier file */
};
void save_item_release(struct save_item *it);
/* Some copy has this state; a hash of zeros: one that is not known yet. */
void save_item_state(struct save_item *it, const uint8_t hash[DIGEST_LEN], uint64_t node);
void save_item_add(struct save_item *it, const struct range_row *row);
/* All rows of a state whose values are loaded, as many as they need (archive_file.h). */
void save_item_add_split(struct save_item *it, const struct range_row *row);
struct save_want *save_item_next(struct save_item *it); /* NULL: all is here */
bool save_hash_known(const uint8_t hash[DIGEST_LEN]);
/* Positions, then keys: the order of a partition's rows in a store. */
int save_order(const struct position *a, struct slice key_a, const struct position *b,
               struct slice key_b);
uint64_t save_value_bytes(const struct object *o);

enum save_job_state {
    JOB_IDLE,
    JOB_ROOTS,
    JOB_HINTED,
    JOB_LISTING,
    JOB_FETCHING,
    JOB_VALUES,
    JOB_PAUSED
};

struct save_source { /* one voter */
    uint64_t node;
    struct buf body; /* what page borrows from */
    struct range_reply page;
    uint32_t at;
    struct position position; /* of the row at hand */
    bool ended;               /* there is no page after this one */
    struct archive_root root;
};

struct save_hinted { /* a key that a stand-in keeps */
    struct position position;
    struct buf key;
    uint64_t node;
};

struct save_job {
    struct archive_save *s;
    enum save_job_state state; /* drawn in archive_job.c */
    enum archive_kind kind;
    uint32_t partition, attempt;
    uint64_t turn; /* answers to questions of an earlier one are not wanted any more */
    uint32_t asking;
    int err; /* of this attempt */
    uint64_t err_node;
    struct timer timer;
    struct save_source sources[SAVE_SOURCES_MAX];
    uint32_t n_sources, owners, least;
    uint64_t unreadable[SAVE_SOURCES_MAX]; /* nodes whose disks do not give the partition */
    uint32_t n_unreadable;
    struct save_hinted *hinted;
    uint32_t n_hinted, at_hinted, at_standin;
    struct buf cursor; /* of the list of hints at hand */
    bool level;
    char base_name[ARCHIVE_NAME_MAX];
    struct archive_reader base;
    bool has_base, base_ended, at_base;
    bool poor;                 /* something is missing in the base */
    struct range_row base_row; /* the next one, if at_base */
    struct position base_position;
    struct archive_writer writer;
    bool writing;
    struct save_item items[SAVE_BATCH];
    uint32_t n_items, written;
    uint64_t batch_bytes;
    /* a state whose values are fetched one by one */
    struct buf state_body;
    struct range_row state_row;
    struct save_item *state_item;
    struct save_want *state_want;
    uint32_t asked; /* states in the question under way */
    uint32_t at_sibling, lacking, stale;
    uint64_t rows, kept;
};

struct save_question { /* one call */
    struct save_job *j;
    uint64_t turn;
    uint32_t source;
    void (*answered)(struct save_job *j, uint32_t source, int err, struct slice body);
};

/* Between the two files of a job. */
void save_job_step(struct save_job *j);
void save_job_again(struct save_job *j, int err, uint64_t node);
void save_job_archive_failed(struct save_job *j, const char *name, int err);
void save_job_ask(struct save_job *j, uint32_t source, uint64_t node,
                  struct archive_request *request,
                  void (*answered)(struct save_job *j, uint32_t source, int err,
                                   struct slice body));
int save_open_reply(struct slice body, enum range_form form, int err, struct buf *keep,
                    struct range_reply *reply);
void save_fetch_more(struct save_job *j);
void save_next_value(struct save_job *j);

struct save_job *save_job_new(struct archive_save *s);
void save_job_free(struct save_job *j);
bool save_job_idle(const struct save_job *j);
void save_job_start(struct save_job *j, enum archive_kind kind, uint32_t partition);

struct archive_save {
    struct archive_save_config cfg;
    struct kv_port kv;
    void (*done)(void *arg, int err);
    void *arg;
    struct archive_manifest before; /* of the archive that is there; q 0: none */
    struct archive_manifest now;
    struct ring *ring; /* at the start, for q and the cluster; jobs use the client's of the time */
    enum archive_kind kind;
    uint32_t next, running; /* partitions of this pass */
    uint32_t rounds;
    uint64_t round_began_us;
    struct save_standin *standins;
    uint32_t n_standins;
    uint32_t surveys; /* status calls under way */
    struct save_job *jobs[SAVE_PARALLEL_MAX];
    uint32_t outstanding; /* calls whose callbacks have to come */
    int err;
    char *message;
    bool ended;
    struct timer timer;
    struct archive_progress progress;
};
/* From a job: the file is there (or the one before stays), or what went wrong. */
void save_job_ended(struct save_job *j, int err);
/* Has the client look whether there is another ring. */
void save_learn(struct archive_save *s);
/* The first failure counts. message: taken. */
void save_failed(struct archive_save *s, int err, char *message);
/* Which file of this partition is there; false: none that is to be used. */
bool save_base(struct archive_save *s, enum archive_kind kind, uint32_t partition,
               char name[ARCHIVE_NAME_MAX], uint64_t *run);

#endif
