/* SPDX-License-Identifier: Apache-2.0 */
/* The socket that a node listens on. */
#ifndef DYN_ADAPTER_HTTP_LISTEN_H
#define DYN_ADAPTER_HTTP_LISTEN_H

#include <stdint.h>

/* address: "host:port", "[::1]:port"; port 0: any. *out: not blocking, the caller closes it.
 * DYN_ERR_INVALID: it does not parse; DYN_ERR_IO: it cannot be bound. *message (caller frees). */
int http_listen(const char *address, int *out, uint16_t *port, char **message);

#endif
