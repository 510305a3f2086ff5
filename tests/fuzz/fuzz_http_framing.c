/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP framing. A message must be cut at the same place in whatever pieces it arrives, or what one
 * segment boundary shows, another could hide: so each input is fed whole and byte by byte. */
#include <string.h>

#include "fuzz.h"
#include "model/http_framing.h"

struct trace {
    uint64_t digest; /* of the events and where in the input they fell */
    enum http_framing_error error;
};

static void mix(struct trace *t, uint64_t value)
{
    t->digest = (t->digest ^ value) * UINT64_C(0x100000001b3);
}

static struct trace feed(const uint8_t *data, size_t len, size_t piece)
{
    const struct http_limits limits = {.head_max = 512, .headers_max = 8, .body_max = 1024};
    struct http_framing f;
    struct trace t = {.digest = 1};
    http_framing_init(&f, &limits);
    for (size_t at = 0; at < len;) {
        size_t n = len - at < piece ? len - at : piece, used = 0;
        enum http_framing_event event = http_framing_feed(&f, slice_of(data + at, n), &used);
        CLAIM(used <= n);
        CLAIM(used > 0 || event != HTTP_MORE);
        at += used;
        if (event == HTTP_BAD) {
            CLAIM(f.error != HTTP_CLEAN);
            CLAIM(http_framing_status(f.error) >= 400 && http_framing_message(f.error) != NULL);
            t.error = f.error;
            break;
        }
        if (event != HTTP_MORE) {
            mix(&t, event);
            mix(&t, at);
        }
    }
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct trace whole = feed(data, len, SIZE_MAX), bytes = feed(data, len, 1);
    CLAIM(whole.error == bytes.error);
    CLAIM(whole.digest == bytes.digest);
    return 0;
}
