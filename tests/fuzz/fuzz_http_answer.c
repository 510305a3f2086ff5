/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP answers: each input whole and byte by byte must end at the same places, with the same body.
 */
#include "base/buf.h"
#include "fuzz.h"
#include "model/http_answer.h"

struct trace {
    uint64_t digest; /* of the body's bytes and of where answers ended */
    bool bad;
};

static void mix(struct trace *t, uint64_t value)
{
    t->digest = (t->digest ^ value) * UINT64_C(0x100000001b3);
}

static struct trace feed(const uint8_t *data, size_t len, size_t piece)
{
    struct http_answer a = HTTP_ANSWER_EMPTY;
    struct trace t = {.digest = 1};
    bool more = false;
    for (size_t at = 0; (at < len || !more) && !t.bad;) {
        size_t n = len - at < piece ? len - at : piece, used = 0;
        struct slice body = slice_of(NULL, 0);
        enum http_answer_event event = http_answer_feed(&a, slice_of(data + at, n), &used, &body);
        CLAIM(used <= n);
        more = event == HTTP_ANSWER_MORE;
        CLAIM(used == n || event != HTTP_ANSWER_MORE);
        at += used;
        for (size_t i = 0; event == HTTP_ANSWER_BODY && i < body.len; i++)
            mix(&t, body.data[i]);
        t.bad = event == HTTP_ANSWER_BAD;
        if (event == HTTP_ANSWER_DONE) {
            CLAIM(a.status >= 200 && a.status <= 999);
            mix(&t, at);
            http_answer_next(&a);
        }
    }
    http_answer_release(&a);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct trace whole = feed(data, len, SIZE_MAX), bytes = feed(data, len, 1);
    CLAIM(whole.bad == bytes.bad);
    CLAIM(whole.bad || whole.digest == bytes.digest);
    return 0;
}
