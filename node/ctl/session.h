/* SPDX-License-Identifier: Apache-2.0 */
/* A conversation of dynactl with a cluster: the client library on a loop of its own, with calls
 * that wait for their answer, because a command has nothing else to do. */
#ifndef DYN_CTL_SESSION_H
#define DYN_CTL_SESSION_H

#include "ctl/ctl.h"
#include "model/chunk_io.h"
#include "model/client.h"
#include "port/kv.h"

struct session;
struct loop;

/* From --node, --cluster, DYNAMOUNT_NODES and --timeout. On failure *status is the exit status, and
 * said why. Connects to nobody yet. */
int session_open(struct ctl *c, struct session **out, int *status);
void session_close(struct session *s); /* NULL is fine */

/* Waits for the ring. DYN_ERR_UNREACHABLE, DYN_ERR_TIMEOUT. Borrowed. */
int session_ring(struct session *s, struct ring **out);
bool session_node_up(struct session *s, uint64_t node);
/* For chunks: what was started there goes on in turns. */
struct chunk_io *session_chunks(struct session *s);
void session_turn(struct session *s);
/* For what has state machines of its own. */
struct client *session_client(struct session *s);
struct loop *session_loop(struct session *s);
/* For messages: the addresses that were given. */
const char *session_seeds(const struct session *s);
bool session_names(const struct session *s, const char *address); /* is it one of them? */

struct session_get {
    int status;
    uint8_t answered, needed;
    struct object object;
    struct buf token;
    uint64_t replicas[8];
    uint8_t n_replicas;
};
struct session_put {
    int status;
    uint8_t answered, needed;
    struct dot dot;
    struct object object;
    struct buf token;
};
struct session_list {
    int status;
    uint8_t answered, needed;
    struct list_entry *entries; /* names owned */
    uint32_t n;
    bool more;
    struct buf cursor;
};

/* Each fills *out, whose _release the caller calls in any case. */
void session_get(struct session *s, const struct get_request *q, struct session_get *out);
void session_get_release(struct session_get *g);
void session_put(struct session *s, const struct put_request *q, struct session_put *out);
void session_put_release(struct session_put *p);
void session_list(struct session *s, const struct list_request *q, struct session_list *out);
void session_list_release(struct session_list *l);

/* Settings of directories; *out as above, but for settings_reply_release. */
void session_settings(struct session *s, const struct settings_request *q,
                      struct settings_reply *out);

/* FRAME_STATUS to each of the nodes at once, two seconds for an answer; out[i] holds the JSON, or
 * is empty with errs[i]. */
void session_statuses(struct session *s, const uint64_t *nodes, uint32_t n, struct buf *out,
                      int *errs);

/* One request to one node. DYN_OK with the reply's body in *out. */
int session_call(struct session *s, uint64_t node, uint8_t type, struct slice body,
                 uint64_t timeout_us, struct buf *out);

/* From --n --r --w --durability --sloppy, as far as the verb has them. DYN_ERR_INVALID with
 * *message. */
int session_options(const struct ctl *c, struct request_options *out, char **message);

#endif
