/* SPDX-License-Identifier: Apache-2.0 */
/* A cluster of one node in memory behind a struct kv_port: real objects, writes, joins and tokens,
 * none of the distribution. What several mounts and other writers do to one key, a test can thus
 * order by hand: replies come after a delay on a fake clock, can be held, lost or refused. */
#ifndef DYN_TESTS_FAKE_KV_H
#define DYN_TESTS_FAKE_KV_H

#include "base/clock_port.h"
#include "base/timers.h"
#include "port/kv.h"

struct fake_row {
    struct buf key;
    struct object object; /* values loaded */
    uint64_t changed_ns;  /* when it last came or went */
};

struct fake_kv {
    uint64_t now_us; /* one clock for time and timers */
    struct timers timers;
    struct mac *mac;
    struct fake_row *rows; /* by key */
    size_t n, cap;
    struct actor actor;
    uint64_t minted;
    uint64_t next_id, delay_us, random;
    struct list *replies;

    /* faults */
    bool hold;             /* replies wait for fake_kv_let_go */
    int refuse;            /* every request answers this instead of being done; DYN_OK: none */
    int refuse_puts;       /* as above, puts only */
    int refuse_gets;       /* as above, gets only */
    uint32_t lose;         /* so many puts are done and answered DYN_ERR_TIMEOUT */
    uint32_t lag;          /* so many gets see what was there at fake_kv_freeze */
    uint64_t lag_until_us; /* as all gets do until then, ... */
    uint8_t lag_below_r;   /* ... not those that ask at least so many replicas; 0: those too */
    uint64_t overlook;     /* puts do not find what the node of this number has minted; 0: none */
    bool stale_lists;      /* listings show the entries of when this was set */
    struct fake_row *frozen;
    size_t n_frozen;

    /* what was asked */
    uint32_t gets, puts, lists, syncs;
    uint32_t demanded; /* contexts that gets named as the least to be known */
    uint64_t bytes_put;
    struct put_request last_put; /* scalars only */
    uint8_t most_durable;        /* of the puts, enum durability */
    enum get_want last_want;
};

void fake_kv_init(struct fake_kv *k);
void fake_kv_release(struct fake_kv *k);
struct kv_port fake_kv_port(struct fake_kv *k);
struct time_port fake_kv_time(struct fake_kv *k);
struct random_port fake_kv_random(struct fake_kv *k);

/* Lets time pass until nothing is due within `limit_us`, or until *stop becomes true. */
void fake_kv_run(struct fake_kv *k, uint64_t limit_us, const bool *stop);
void fake_kv_let_go(struct fake_kv *k); /* ends hold; what was held is answered next */
void fake_kv_freeze(struct fake_kv *k);
/* All that was written since fake_kv_freeze is lost, on every disk. */
void fake_kv_roll_back(struct fake_kv *k);
/* A deleted key is forgotten (E15). */
void fake_kv_reap(struct fake_kv *k, const char *key);
void fake_kv_forget_counts(struct fake_kv *k);

/* Another writer. base: whether it supersedes what is there, as a mount would that had read it, or
 * stands beside it, as one on the other side of a split. */
struct dot fake_kv_write(struct fake_kv *k, const char *key, const char *value, bool supersedes);
/* The newest version was minted twice, since its author asked a second coordinator when the first
 * was slow, and was answered by the one whose dot has since given way. */
void fake_kv_mint_again(struct fake_kv *k, const char *key);
/* The newest version, to reach the cluster once more: by another coordinator, which was asked when
 * the first was slow, and is slower still. */
void fake_kv_take_copy(struct fake_kv *k, const char *key, struct sibling *copy);
void fake_kv_copy_arrives(struct fake_kv *k, const char *key, struct sibling *copy); /* released */
/* As curl does: a version beside what is there, made by no filesystem. */
struct dot fake_kv_curl(struct fake_kv *k, const char *key, const char *value);
/* A write that had seen only one of the siblings. */
struct dot fake_kv_write_over(struct fake_kv *k, const char *key, const char *value,
                              const struct dot *over);
struct dot fake_kv_chmod_beside(struct fake_kv *k, const char *key, const struct dot *of,
                                uint32_t mode);
/* By another node, and beside what is there. */
struct dot fake_kv_write_at(struct fake_kv *k, uint64_t node, const char *key, const char *value);
struct dot fake_kv_mkdir(struct fake_kv *k, const char *key);
void fake_kv_delete(struct fake_kv *k, const char *key);
const struct object *fake_kv_object(struct fake_kv *k, const char *key); /* never NULL */
/* Number of live versions, and whether one of them holds these bytes. */
uint32_t fake_kv_live(struct fake_kv *k, const char *key);
bool fake_kv_holds(struct fake_kv *k, const char *key, const char *value);

#endif
