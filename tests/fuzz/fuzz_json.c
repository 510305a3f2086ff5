/* SPDX-License-Identifier: Apache-2.0 */
/* JSON from HTTP requests and from answers of nodes: what parses must print to text that parses to
 * the same text again. */
#include "base/err.h"
#include "base/json.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct json *first, *second;
    struct buf once = BUF_EMPTY, twice = BUF_EMPTY;
    if (json_parse(slice_of(data, len), 8, &first) != DYN_OK)
        return 0;
    json_print(first, false, &once);
    CLAIM(json_parse(buf_slice(&once), 8, &second) == DYN_OK);
    json_print(second, true, &twice);
    buf_clear(&twice);
    json_print(second, false, &twice);
    CLAIM(slice_equal(buf_slice(&once), buf_slice(&twice)));
    json_free(first);
    json_free(second);
    buf_release(&once);
    buf_release(&twice);
    return 0;
}
