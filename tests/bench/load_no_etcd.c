/* SPDX-License-Identifier: Apache-2.0 */
/* In the place of load_etcd.c where there is no library for HTTP/2. */
#include <stdio.h>
#include <stdlib.h>

#include "load.h"

static void request(struct load_client *c, const struct load_options *o, uint64_t key,
                    const uint8_t *value)
{
    (void)c;
    (void)o;
    (void)key;
    (void)value;
    fprintf(stderr, "load: built without libnghttp2, so it cannot speak to etcd\n");
    exit(2);
}

static int answer(struct load_client *c)
{
    (void)c;
    return 500;
}

const struct load_protocol load_etcd = {.name = "etcd", .request = request, .answer = answer};
