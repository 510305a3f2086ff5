/* SPDX-License-Identifier: Apache-2.0 */
/* Four kinds of reply, looked at alike: what the client has to know of each to choose between
 * answering and asking another node. */
#include "base/err.h"
#include "model/client_private.h"

#define ANSWER_COMMON(a, member)                                                                   \
    do {                                                                                           \
        (a)->status = (a)->u.member.status;                                                        \
        (a)->answered = (a)->u.member.answered;                                                    \
        (a)->needed = (a)->u.member.needed;                                                        \
    } while (0)

int client_answer_decode(struct client_answer *a, enum client_op_type type, struct slice body)
{
    int err = DYN_OK;
    a->ring = NULL;
    switch (type) {
    case CLIENT_GET:
        err = get_reply_decode(body, &a->u.get);
        if (err != DYN_OK)
            return err;
        ANSWER_COMMON(a, get);
        a->ring = &a->u.get.ring;
        break;
    case CLIENT_PUT:
        err = put_reply_decode(body, &a->u.put);
        if (err != DYN_OK)
            return err;
        ANSWER_COMMON(a, put);
        a->ring = &a->u.put.ring;
        break;
    case CLIENT_LIST:
        err = list_reply_decode(body, &a->u.list);
        if (err != DYN_OK)
            return err;
        ANSWER_COMMON(a, list);
        a->ring = &a->u.list.ring;
        break;
    case CLIENT_SYNC:
        err = sync_reply_decode(body, &a->u.sync);
        if (err != DYN_OK)
            return err;
        ANSWER_COMMON(a, sync);
        break;
    }
    return DYN_OK;
}

void client_answer_release(struct client_answer *a, enum client_op_type type)
{
    if (type == CLIENT_GET)
        get_reply_release(&a->u.get);
    else if (type == CLIENT_PUT)
        put_reply_release(&a->u.put);
    else if (type == CLIENT_LIST)
        list_reply_release(&a->u.list);
}
