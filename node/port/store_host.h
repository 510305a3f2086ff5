/* SPDX-License-Identifier: Apache-2.0 */
/* What a store asks of the loop that owns it. */
#ifndef DYN_PORT_STORE_HOST_H
#define DYN_PORT_STORE_HOST_H

struct store_host {
    void *ctx;
    /* Asks the loop to call the store's poll function soon. May come from any thread; calls before
     * the poll may be merged into one. */
    void (*wake)(void *ctx);
    /* On the loop's thread: a batch waits, call the store's flush function at the end of this turn.
     * Called again only after that flush has begun; so also by what the flush's callbacks hand
     * over, which wants a flush of its own before the loop sleeps. */
    void (*dirty)(void *ctx);
    /* Once, on the loop's thread: the disk failed, nothing more will be written, the node must stop
     * (HAZARDS E20). err: DYN_ERR_IO or DYN_ERR_CORRUPT. message: borrowed. */
    void (*failed)(void *ctx, int err, const char *message);
};

#endif
