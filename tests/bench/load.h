/* SPDX-License-Identifier: Apache-2.0 */
/* What the load generator's core (load.c) and the protocols that it speaks share. A protocol turns
 * a key into the bytes of a request and knows when an answer is whole; everything that costs time
 * or is measured is the same for all of them. */
#ifndef DYN_TESTS_BENCH_LOAD_H
#define DYN_TESTS_BENCH_LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define TARGETS_MAX 64

struct load_options {
    struct sockaddr_in targets[TARGETS_MAX];
    unsigned n_targets, clients, keys, size;
    double seconds;
    double rate;                /* requests a second; 0: as fast as they are answered */
    bool random;                /* values that cannot be compressed */
    uint64_t requests;          /* 0: until the time is over */
    bool put, until_input_ends; /* or the end of standard input, a pipe, comes first */
    const char *path, *query;
};

struct load_client {
    int fd;
    struct buf out, in; /* what is yet to be sent, from `sent` on; what came for this request */
    size_t sent;
    uint64_t started_ns, number; /* of the request */
    void *session;               /* the protocol's */
};

struct load_protocol {
    const char *name;
    void (*open)(struct load_client *c); /* NULL: nothing to be done */
    void (*close)(struct load_client *c);
    /* Appends a request to c->out. value: o->size bytes. */
    void (*request)(struct load_client *c, const struct load_options *o, uint64_t key,
                    const uint8_t *value);
    /* More has come into c->in. 0: the answer is not whole. Otherwise a status; 200 to 299 is good.
     */
    int (*answer)(struct load_client *c);
};

extern const struct load_protocol load_http, load_redis, load_etcd;

#endif
