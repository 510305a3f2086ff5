/* SPDX-License-Identifier: Apache-2.0 */
/* Settings as people write them: names, words, and what to say when one is wrong. */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/settings.h"

static const char *const names[SETTINGS_END] = {
    [SETTING_RECONCILE] = "reconcile",   [SETTING_R] = "r",           [SETTING_W] = "w",
    [SETTING_DURABILITY] = "durability", [SETTING_SLOPPY] = "sloppy", [SETTING_N] = "n"};
static const char *const words[SETTINGS_END][4] = {
    [SETTING_RECONCILE] = {"default", "siblings", "lww", "union"},
    [SETTING_DURABILITY] = {"default", "buffered", "one", "quorum"},
    [SETTING_SLOPPY] = {"default", "yes", "no", NULL},
};

const char *setting_name(enum dir_setting setting)
{
    return names[setting];
}

void setting_print(enum dir_setting setting, uint8_t value, struct buf *out)
{
    if (value < 4 && words[setting][value] != NULL)
        buf_put_str(out, words[setting][value]);
    else if (value == 0)
        buf_put_str(out, "default");
    else
        buf_printf(out, "%u", value);
}

static int parse_word(enum dir_setting setting, struct slice value, uint8_t *out, char **message)
{
    struct buf choices = BUF_EMPTY;
    for (uint8_t i = 0; i < 4 && words[setting][i] != NULL; i++) {
        if (slice_equal(value, slice_str(words[setting][i]))) {
            *out = i;
            buf_release(&choices);
            return DYN_OK;
        }
        buf_printf(&choices, "%s%s", i == 0 ? "" : ", ", words[setting][i]);
    }
    *message = mem_printf("%s is one of: %.*s", names[setting], (int)choices.len,
                          (const char *)choices.data);
    buf_release(&choices);
    return DYN_ERR_INVALID;
}

int setting_parse(struct slice name, struct slice value, uint32_t n, enum dir_setting *setting,
                  uint8_t *out, char **message)
{
    uint32_t most = n == 0 || n > 8 ? 8 : n;
    enum dir_setting found = 0;
    for (enum dir_setting i = 1; i < SETTINGS_END; i++)
        if (slice_equal(name, slice_str(names[i])))
            found = i;
    if (found == 0) {
        *message = mem_printf("there is no setting '%.*s': they are reconcile, n, r, w, durability "
                              "and sloppy",
                              (int)(name.len < 64 ? name.len : 64), (const char *)name.data);
        return DYN_ERR_INVALID;
    }
    *setting = found;
    if (value.len == 0 || slice_equal(value, slice_str("default"))) {
        *out = 0;
        return DYN_OK;
    }
    if (words[found][0] != NULL)
        return parse_word(found, value, out, message);
    if (value.len == 1 && value.data[0] >= '1' && value.data[0] <= '0' + most) {
        *out = (uint8_t)(value.data[0] - '0');
        return DYN_OK;
    }
    *message = mem_printf("%s is a number from 1 to %u, or default", names[found], most);
    return DYN_ERR_INVALID;
}
