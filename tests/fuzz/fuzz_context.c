/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts and keys: text that comes in the headers and paths of anybody's HTTP requests, and the
 * tokens that clients take apart themselves. Nothing that is made up here may verify. */
#include "base/err.h"
#include "fuzz.h"
#include "model/context.h"
#include "model/key.h"

static void claim_nothing_verifies(struct mac *mac, struct slice context)
{
    struct cover cover = COVER_EMPTY;
    CLAIM(context_verify(mac, 1, slice_str("key"), context, &cover) != DYN_OK);
    CLAIM(cover.n == 0);
    cover_release(&cover);
}

static void take_token(struct slice token)
{
    struct dot *dots;
    uint32_t n;
    if (token_dots(token, &dots, &n) != DYN_OK)
        return;
    struct buf context = BUF_EMPTY;
    CLAIM(context_dots(token, dots, n, &context) == DYN_OK || n == 0);
    buf_release(&context);
    free(dots);
}

static void take_key(struct slice text)
{
    struct buf key = BUF_EMPTY;
    if (percent_decode(text, &key) == DYN_OK && key_check(buf_slice(&key), NULL) == DYN_OK) {
        struct buf joined = BUF_EMPTY;
        key_join(key_parent(buf_slice(&key)), key_name(buf_slice(&key)), &joined);
        CLAIM(slice_equal(buf_slice(&joined), buf_slice(&key)));
        CLAIM(key_name_check(key_name(buf_slice(&key)), NULL) == DYN_OK);
        buf_release(&joined);
    }
    buf_release(&key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct slice input = slice_of(data, len);
    struct buf context = BUF_EMPTY;
    struct mac *mac = mac_new(slice_str("secret"));
    if (context_parse(input, &context) == DYN_OK)
        claim_nothing_verifies(mac, buf_slice(&context));
    claim_nothing_verifies(mac, input);
    take_token(input);
    take_key(input);
    buf_release(&context);
    mac_free(mac);
    return 0;
}
