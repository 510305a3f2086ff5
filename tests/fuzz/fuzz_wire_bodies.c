/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of all frames: what a client or a peer can send after the envelope was accepted. The
 * first byte of an input chooses the body. */
#include "base/err.h"
#include "fuzz.h"
#include "model/wire.h"

/* The state that the encoding comes from may have more than one form on the wire (varints need not
 * be minimal), so the claim is about the second round: it changes nothing any more. */
#define ROUND_TRIP(body, release)                                                                  \
    static void body##_trip(struct slice in)                                                       \
    {                                                                                              \
        struct body first, second;                                                                 \
        struct buf once = BUF_EMPTY, twice = BUF_EMPTY;                                            \
        if (body##_decode(in, &first) != DYN_OK)                                                   \
            return;                                                                                \
        body##_encode(&first, &once);                                                              \
        CLAIM(body##_decode(buf_slice(&once), &second) == DYN_OK);                                 \
        body##_encode(&second, &twice);                                                            \
        CLAIM(slice_equal(buf_slice(&once), buf_slice(&twice)));                                   \
        release(&first);                                                                           \
        release(&second);                                                                          \
        buf_release(&once);                                                                        \
        buf_release(&twice);                                                                       \
    }

#define NOTHING_TO_RELEASE(body) (void)(body)

ROUND_TRIP(get_request, get_request_release)
ROUND_TRIP(get_reply, get_reply_release)
ROUND_TRIP(put_request, put_request_release)
ROUND_TRIP(put_reply, put_reply_release)
ROUND_TRIP(list_request, NOTHING_TO_RELEASE)
ROUND_TRIP(list_reply, list_reply_release)
ROUND_TRIP(sync_request, NOTHING_TO_RELEASE)
ROUND_TRIP(sync_reply, NOTHING_TO_RELEASE)
ROUND_TRIP(ring_reply, ring_reply_release)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static void (*const trips[])(struct slice) = {
        get_request_trip, get_reply_trip,    put_request_trip, put_reply_trip,  list_request_trip,
        list_reply_trip,  sync_request_trip, sync_reply_trip,  ring_reply_trip,
    };
    if (len > 0)
        trips[data[0] % (sizeof(trips) / sizeof(trips[0]))](slice_of(data + 1, len - 1));
    return 0;
}
