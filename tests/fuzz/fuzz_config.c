/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files. What is refused comes with a message; what is taken, each key can be asked
 * for in each way, and no answer is out of its range. */
#include <string.h>

#include "base/config.h"
#include "base/err.h"
#include "fuzz.h"

static void claim_message(int err, char *message)
{
    CLAIM((err == DYN_OK) == (message == NULL));
    CLAIM(message == NULL || strlen(message) > 0);
    free(message);
}

static void ask_everything(struct config *c, const char *key)
{
    const char *text = NULL;
    uint64_t v = 5;
    bool truth;
    char *message = NULL;
    CLAIM(config_get_str(c, key, &text, &message) == DYN_OK && text != NULL && message == NULL);
    CLAIM(strchr(text, '\n') == NULL);
    int (*const numbers[])(struct config *, const char *, uint64_t, uint64_t, uint64_t *,
                           char **) = {config_get_u64, config_get_size, config_get_ms};
    for (int i = 0; i < 3; i++) {
        message = NULL;
        int err = numbers[i](c, key, 3, 1000, &v, &message);
        CLAIM(v >= 3 && v <= 1000);
        claim_message(err, message);
    }
    message = NULL;
    int err = config_get_bool(c, key, &truth, &message);
    claim_message(err, message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct config *c = NULL;
    char *message = NULL;
    int err = config_parse(slice_of(data, len), "f", &c, &message);
    CLAIM((err == DYN_OK) == (c != NULL));
    claim_message(err, message);
    if (c == NULL)
        return 0;
    const char *last = NULL;
    for (const char *key; (key = config_unknown(c)) != NULL; last = key) {
        CLAIM(key != last);
        ask_everything(c, key);
    }
    config_free(c);
    return 0;
}
