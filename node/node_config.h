/* SPDX-License-Identifier: Apache-2.0 */
/* dynanode.conf(5) as a struct: every key checked, unknown ones refused, files read that only the
 * owner may read. */
#ifndef DYN_NODE_CONFIG_H
#define DYN_NODE_CONFIG_H

#include "adapter/http_server.h"
#include "adapter/store_rocksdb.h"
#include "base/log.h"
#include "engine/engine.h"

struct config;

struct node_config {
    uint64_t node;
    char *listen, *data, *log; /* log NULL: standard error */
    char *cluster_file;        /* NULL: seeds know the cluster */
    char *seeds_text, **seeds; /* "host:port" each */
    uint32_t n_seeds;
    enum log_level log_level;
    bool insecure;
    struct buf secret;
    struct engine_config engine;
    struct http_server_config http; /* listen points to the above */
    struct store_rocksdb_config store;
};

/* Paths in the file are relative to its folder. DYN_ERR_INVALID, DYN_ERR_IO, DYN_ERR_DENIED (a
 * secret that others may read) and *message (caller frees). */
int node_config_load(const char *path, struct node_config *out, char **message);
void node_config_release(struct node_config *c);

/* The host part names this machine alone. */
bool address_is_loopback(const char *address);

#endif
