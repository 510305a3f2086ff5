/* SPDX-License-Identifier: Apache-2.0 */
/* A keep-alive connection to an HTTP server, once it stands: carries one request at a time and
 * takes its answer apart. Made for many small exchanges: what goes out leaves with one system call,
 * what comes in costs one, and nothing changes about what the poller watches. */
#ifndef DYN_ADAPTER_NET_CONN_H
#define DYN_ADAPTER_NET_CONN_H

#include "adapter/loop.h"
#include "model/http_answer.h"

struct net_conn;

struct net_conn_owner {
    void *arg;
    /* Some of the answer's body has been added to net_conn_body(). The connection must live on. */
    void (*body)(void *arg);
    /* The answer is whole: DYN_OK, and the next request may follow. Otherwise the connection is of
     * no use any more: DYN_ERR_UNREACHABLE, DYN_ERR_PROTOCOL; also while nothing was asked. */
    void (*ended)(void *arg, int err);
};

/* fd: connected and not blocking; the caller closes it after net_conn_free. body_max: bytes of a
 * body that the owner has not taken. */
struct net_conn *net_conn_new(struct loop *l, int fd, uint64_t body_max,
                              const struct net_conn_owner *owner);
void net_conn_free(struct net_conn *c); /* NULL is fine */

/* Both slices are borrowed until the answer has ended. Nothing of the owner's runs inside. */
void net_conn_send(struct net_conn *c, struct slice head, struct slice body);
/* What has come of the body and was not taken; the owner takes it out. */
struct buf *net_conn_body(struct net_conn *c);
/* Of the answer that comes or has just ended. */
int net_conn_status(const struct net_conn *c); /* 0: not known yet */
bool net_conn_closes(const struct net_conn *c);
bool net_conn_heard(const struct net_conn *c); /* something of it has come */
int net_conn_errno(const struct net_conn *c);  /* of the system call that failed last; 0: none */

#endif
