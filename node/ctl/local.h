/* SPDX-License-Identifier: Apache-2.0 */
/* A local cluster: any number of nodes in one folder, for trying out, for tests and for one
 * machine.
 *
 *     DIR/cluster                 how it began (adapter/cluster_file.h)
 *     DIR/secret                  what its nodes know each other by, mode 0600
 *     DIR/nodeK/dynanode.conf     each node's configuration, K from 1 (01 from ten)
 *     DIR/nodeK/data/             its store
 *     DIR/nodeK/dynanode.log      its log
 *     DIR/nodeK/output.log        what it says outside of its log
 *     DIR/nodeK/pid               its process while `cluster up` has it running: id, start time */
#ifndef DYN_CTL_LOCAL_H
#define DYN_CTL_LOCAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct local_node {
    char *name, *dir, *address; /* "node1", its folder, HOST:PORT */
    pid_t pid;                  /* 0: not running, or not started by `cluster up` */
    int pidfd;                  /* -1: none; becomes readable when the process ends */
};

struct local {
    char *dir;
    struct local_node *nodes; /* by number */
    unsigned n;
};

/* Reads DIR and finds which nodes run. DYN_ERR_INVALID or DYN_ERR_IO with *message. */
int local_open(const char *dir, struct local *l, char **message);
void local_release(struct local *l);

/* Starts `program --config DIR/nodeK/dynanode.conf` in a session of its own and records it. */
int local_start(struct local_node *n, const char *program, char **message);
/* Has the process ended? Then *status is as from waitpid, or -1 when it was another's child. */
bool local_ended(struct local_node *n, int *status);
/* Forgets a process that has ended. */
void local_forget(struct local_node *n);
/* Sends the signal to the very process that was started, never to one that took over its id. */
int local_signal(struct local_node *n, int signo);
/* Does GET /healthz answer 200? Waits at most timeout_ms. */
bool local_healthy(const struct local_node *n, int timeout_ms);
/* The last lines of what the node has said, for messages; the caller frees. */
char *local_last_words(const struct local_node *n);

/* The program beside this one, else the one on PATH; the caller frees. */
char *local_program(const char *name);

uint64_t local_now_ms(void); /* monotonic */
void local_pause_ms(unsigned ms);

#endif
