/* SPDX-License-Identifier: Apache-2.0 */
/* The envelope and its frames. Opening with a mac rejects nearly all inputs, so a client's batch,
 * which needs none, is what gets further; frames are also taken from the bare input. */
#include "base/err.h"
#include "fuzz.h"
#include "model/wire.h"

static void take_frames(struct slice frames)
{
    uint8_t type;
    uint64_t rid;
    struct slice body;
    size_t left = frames.len;
    while (frame_take(&frames, &type, &rid, &body) == 1) {
        CLAIM(body.len + FRAME_HEADER_LEN == left - frames.len);
        left = frames.len;
    }
    CLAIM(frames.len == left); /* what is not a whole frame stays */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct slice input = slice_of(data, len), frames;
    struct batch_header h;
    struct mac *mac = mac_new(slice_str("secret"));
    if (batch_open(mac, input, &h, &frames) == DYN_OK) {
        CLAIM(frames.len + BATCH_HEADER_LEN == len);
        take_frames(frames);
    }
    take_frames(input);
    mac_free(mac);
    return 0;
}
