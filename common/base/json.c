/* SPDX-License-Identifier: Apache-2.0 */
/* The one file that includes cJSON. What cJSON leaves open is closed here: its depth limit is fixed
 * and its own, so depth is counted before it sees a byte; it reads past text without a NUL in some
 * versions, so it gets a terminated copy; it prints doubles to 15 digits when it thinks that is
 * near enough, so large integers are printed as text. */
#include "base/json.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

#define EXACT_DIGITS_MAX UINT64_C(999999999999999) /* what 15 digits say exactly */
#define INTEGER_MAX (UINT64_C(1) << 53)            /* beyond, doubles skip integers */

static cJSON *node(const struct json *j)
{
    return (cJSON *)(uintptr_t)j;
}

static struct json *made(cJSON *j)
{
    if (j == NULL)
        abort(); /* out of memory, as in base/mem.h */
    return (struct json *)j;
}

struct json *json_object(void)
{
    return made(cJSON_CreateObject());
}

struct json *json_array(void)
{
    return made(cJSON_CreateArray());
}

void json_free(struct json *j)
{
    cJSON_Delete(node(j));
}

static struct json *add(struct json *parent, const char *name, struct json *child)
{
    assert((name != NULL) == (cJSON_IsObject(node(parent)) != 0));
    if (name != NULL ? !cJSON_AddItemToObject(node(parent), name, node(child))
                     : !cJSON_AddItemToArray(node(parent), node(child)))
        abort();
    return child;
}

/* Length of the UTF-8 sequence at s (RFC 3629, section 4), 0 when it is not one. */
static size_t utf8_len(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xc2 && s[0] <= 0xdf   ? 2
               : s[0] >= 0xe0 && s[0] <= 0xef ? 3
               : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                              : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

static bool utf8_valid(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    while (*s != 0) {
        size_t n = utf8_len(s);
        if (n == 0)
            return false;
        s += n;
    }
    return true;
}

void json_add_str(struct json *parent, const char *name, const char *value)
{
    if (utf8_valid(value))
        add(parent, name, made(cJSON_CreateString(value)));
    else
        json_add_bytes(parent, name, slice_str(value));
}

static void add_text(struct json *parent, const char *name, struct buf *text)
{
    buf_put_u8(text, 0);
    add(parent, name, made(cJSON_CreateString((const char *)text->data)));
    buf_release(text);
}

void json_add_bytes(struct json *parent, const char *name, struct slice value)
{
    struct buf text = BUF_EMPTY;
    buf_put_percent(&text, value, "/");
    add_text(parent, name, &text);
}

void json_add_hex(struct json *parent, const char *name, struct slice value)
{
    struct buf text = BUF_EMPTY;
    buf_put_hex(&text, value);
    add_text(parent, name, &text);
}

void json_add_u64(struct json *parent, const char *name, uint64_t value)
{
    struct json *child;
    if (value <= EXACT_DIGITS_MAX) {
        child = made(cJSON_CreateNumber((double)value));
    } else {
        char *text = mem_printf("%llu", (unsigned long long)value);
        child = made(value <= INTEGER_MAX ? cJSON_CreateRaw(text) : cJSON_CreateString(text));
        free(text);
    }
    add(parent, name, child);
}

void json_add_bool(struct json *parent, const char *name, bool value)
{
    add(parent, name, made(cJSON_CreateBool(value)));
}

struct json *json_add_object(struct json *parent, const char *name)
{
    return add(parent, name, json_object());
}

struct json *json_add_array(struct json *parent, const char *name)
{
    return add(parent, name, json_array());
}

void json_add_copy(struct json *parent, const char *name, const struct json *value)
{
    add(parent, name, made(cJSON_Duplicate(node(value), true)));
}

void json_print(const struct json *j, bool pretty, struct buf *out)
{
    char *text = pretty ? cJSON_Print(node(j)) : cJSON_PrintUnformatted(node(j));
    if (text == NULL)
        abort();
    buf_put_str(out, text);
    cJSON_free(text);
}

/* Counts brackets outside strings. Whether they match is the parser's question. */
static bool depth_within(struct slice text, unsigned max_depth)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > max_depth)
                return false;
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return true;
}

int json_parse(struct slice text, unsigned max_depth, struct json **out)
{
    if (text.len == 0 || memchr(text.data, 0, text.len) != NULL || !depth_within(text, max_depth))
        return DYN_ERR_INVALID;
    char *copy = mem_strndup((const char *)text.data, text.len);
    cJSON *j = cJSON_ParseWithLengthOpts(copy, text.len + 1, NULL, true);
    free(copy);
    if (j == NULL)
        return DYN_ERR_INVALID;
    *out = (struct json *)j;
    return DYN_OK;
}

const struct json *json_get(const struct json *object, const char *name)
{
    if (object == NULL || !cJSON_IsObject(node(object)))
        return NULL;
    return (const struct json *)cJSON_GetObjectItemCaseSensitive(node(object), name);
}

static bool is_array(const struct json *j)
{
    return j != NULL && cJSON_IsArray(node(j));
}

const struct json *json_at(const struct json *array, unsigned index)
{
    if (!is_array(array) || index > INT32_MAX)
        return NULL;
    return (const struct json *)cJSON_GetArrayItem(node(array), (int)index);
}

unsigned json_len(const struct json *array)
{
    return is_array(array) ? (unsigned)cJSON_GetArraySize(node(array)) : 0;
}

const struct json *json_first(const struct json *array)
{
    return is_array(array) ? (const struct json *)node(array)->child : NULL;
}

const struct json *json_next(const struct json *element)
{
    return (const struct json *)node(element)->next;
}

const char *json_str(const struct json *j)
{
    return j != NULL && cJSON_IsString(node(j)) ? node(j)->valuestring : NULL;
}

static bool parse_digits(const char *s, uint64_t *out)
{
    uint64_t v = 0;
    if (*s == '\0')
        return false;
    for (; *s != '\0'; s++)
        if (*s < '0' || *s > '9' || __builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (unsigned)(*s - '0'), &v))
            return false;
    *out = v;
    return true;
}

bool json_u64(const struct json *j, uint64_t *out)
{
    if (j == NULL)
        return false;
    const cJSON *n = node(j);
    if (cJSON_IsString(n) || cJSON_IsRaw(n))
        return parse_digits(n->valuestring, out);
    if (!cJSON_IsNumber(n) || !(n->valuedouble >= 0 && n->valuedouble <= (double)INTEGER_MAX) ||
        (double)(uint64_t)n->valuedouble != n->valuedouble)
        return false;
    *out = (uint64_t)n->valuedouble;
    return true;
}

bool json_bool(const struct json *j, bool *out)
{
    if (j == NULL || !cJSON_IsBool(node(j)))
        return false;
    *out = cJSON_IsTrue(node(j));
    return true;
}
