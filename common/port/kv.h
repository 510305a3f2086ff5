/* SPDX-License-Identifier: Apache-2.0 */
/* The cluster as its users see it: get, put, list, sync. The engine offers it to its HTTP front,
 * the client library to dynactl and dynamount, and tests put a simulated cluster behind a
 * filesystem through it.
 *
 * Contract. Requests are copied or encoded inside the call. done runs exactly once, later, never
 * inside the call; the reply is borrowed during done. A reply's status carries every failure.
 * cancel drops the callback (done will not run), the operation itself may still happen. */
#ifndef DYN_PORT_KV_H
#define DYN_PORT_KV_H

#include "model/settings.h"
#include "model/wire.h"

typedef void (*kv_get_done)(void *arg, const struct get_reply *reply);
typedef void (*kv_put_done)(void *arg, const struct put_reply *reply);
typedef void (*kv_list_done)(void *arg, const struct list_reply *reply);
typedef void (*kv_sync_done)(void *arg, const struct sync_reply *reply);
typedef void (*kv_settings_done)(void *arg, const struct settings_reply *reply);

struct kv_port {
    void *ctx;
    /* Each returns an id for cancel, never 0. */
    uint64_t (*get)(void *ctx, const struct get_request *req, kv_get_done done, void *arg);
    uint64_t (*put)(void *ctx, const struct put_request *req, kv_put_done done, void *arg);
    uint64_t (*list)(void *ctx, const struct list_request *req, kv_list_done done, void *arg);
    uint64_t (*sync)(void *ctx, const struct sync_request *req, kv_sync_done done, void *arg);
    void (*cancel)(void *ctx, uint64_t id);
    /* Changes or reads the settings of directories; cannot be cancelled. May be NULL. */
    void (*settings)(void *ctx, const struct settings_request *req, kv_settings_done done,
                     void *arg);
};

#endif
