/* SPDX-License-Identifier: Apache-2.0 */
/* Free ports on loopback, for nodes of local clusters. */
#ifndef DYN_CTL_PORTS_H
#define DYN_CTL_PORTS_H

#include <stdint.h>

/* `n` addresses "127.0.0.1:PORT" (the caller frees); DYN_ERR_IO: there are not so many. */
int ports_choose(char **addresses, uint64_t n);

#endif
