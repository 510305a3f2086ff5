/* SPDX-License-Identifier: Apache-2.0 */
/* JSON bodies of anybody's requests. What parses is no deeper than allowed, can be asked anything,
 * and prints to text that parses and prints the same again. */
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "fuzz.h"

#define DEPTH_MAX 8

static unsigned ask_everything(const struct json *j)
{
    uint64_t number = 0;
    bool truth;
    unsigned deepest = 0, n = 0;
    json_bool(j, &truth);
    if (json_u64(j, &number) && json_str(j) == NULL)
        CLAIM(number <= UINT64_C(1) << 53);
    CLAIM(json_str(j) == NULL || json_len(j) == 0);
    json_get(j, "a");
    for (const struct json *e = json_first(j); e != NULL; e = json_next(e)) {
        unsigned depth = ask_everything(e);
        deepest = depth > deepest ? depth : deepest;
        n++;
    }
    CLAIM(n == json_len(j));
    CLAIM(n == 0 || json_at(j, n - 1) != NULL);
    CLAIM(json_at(j, n) == NULL);
    return deepest + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct json *j = NULL, *again = NULL;
    struct buf once = BUF_EMPTY, twice = BUF_EMPTY;
    if (json_parse(slice_of(data, len), DEPTH_MAX, &j) != DYN_OK) {
        CLAIM(j == NULL);
        return 0;
    }
    CLAIM(ask_everything(j) <= DEPTH_MAX + 1);
    json_print(j, len % 2 == 0, &once);
    CLAIM(json_parse(buf_slice(&once), DEPTH_MAX, &again) == DYN_OK);
    json_print(again, len % 2 == 0, &twice);
    CLAIM(slice_equal(buf_slice(&once), buf_slice(&twice)));
    buf_release(&once);
    buf_release(&twice);
    json_free(j);
    json_free(again);
    return 0;
}
