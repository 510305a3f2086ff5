/* SPDX-License-Identifier: Apache-2.0 */
/* See http_framing.h. One function for each group of states; each takes one byte, and the body is
 * stepped over whole.
 *
 *   LINE_METHOD -> LINE_TARGET -> LINE_VERSION -> LINE_LF -> FIELD
 *   FIELD -> NAME -> VALUE -> VALUE_LF -> FIELD
 *   FIELD -> HEAD_LF -> (HEAD) -> BODY | CHUNK_SIZE | (DONE)
 *   CHUNK_SIZE -> CHUNK_SIZE_LF -> CHUNK_DATA -> CHUNK_CR -> CHUNK_LF -> CHUNK_SIZE
 *   CHUNK_SIZE_LF of size 0 -> LAST_CR -> LAST_LF -> (DONE)
 */
#include "model/http_framing.h"

#include <assert.h>

enum {
    LINE_METHOD,
    LINE_TARGET,
    LINE_VERSION,
    LINE_LF,
    FIELD,
    NAME,
    VALUE,
    VALUE_LF,
    HEAD_LF,
    HEAD_READ, /* between the HEAD event and the body */
    BODY,
    CHUNK_SIZE,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_CR,
    CHUNK_LF,
    LAST_CR,
    LAST_LF,
    REFUSED,
};

#define CHUNK_DIGITS_MAX 8 /* of a chunk's size */
#define LENGTH_MAX (UINT64_MAX / 16)

static const char version[] = "HTTP/1.1";

static void message_begin(struct http_framing *f)
{
    const struct http_limits limits = f->limits;
    *f = (struct http_framing){.limits = limits};
}

void http_framing_init(struct http_framing *f, const struct http_limits *limits)
{
    f->limits = *limits;
    message_begin(f);
}

bool http_framing_open(const struct http_framing *f)
{
    return f->state != REFUSED && (f->state != LINE_METHOD || f->head_len != 0);
}

bool http_framing_in_data(const struct http_framing *f)
{
    return f->state == BODY || f->state == CHUNK_DATA;
}

bool http_framing_in_head(const struct http_framing *f)
{
    return f->state < HEAD_READ;
}

static void refuse(struct http_framing *f, enum http_framing_error e)
{
    f->state = REFUSED;
    f->error = (uint8_t)e;
}

static bool is_token(uint8_t c)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return true;
    return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool is_method(const struct http_framing *f, const char *name)
{
    return f->method_len == strlen(name) && memcmp(f->method, name, f->method_len) == 0;
}

static void method_byte(struct http_framing *f, uint8_t c)
{
    if (c == ' ') {
        if (f->method_len == 0)
            refuse(f, HTTP_BAD_REQUEST_LINE);
        else if (is_method(f, "GET") || is_method(f, "HEAD") || is_method(f, "PUT") ||
                 is_method(f, "POST") || is_method(f, "DELETE"))
            f->state = LINE_TARGET;
        else
            refuse(f, HTTP_BAD_METHOD);
        f->head_only = is_method(f, "HEAD");
    } else if (!is_token(c)) {
        refuse(f, HTTP_BAD_REQUEST_LINE);
    } else if (f->method_len == sizeof(f->method)) {
        refuse(f, HTTP_BAD_METHOD);
    } else {
        f->method[f->method_len++] = (char)c;
    }
}

/* Origin form only: there is no proxy here, and "//host" is read as an authority by some. */
static void target_byte(struct http_framing *f, uint8_t c)
{
    if (c == ' ' && f->target_len > 0) {
        f->state = LINE_VERSION;
        f->at = 0;
        return;
    }
    if (c <= ' ' || c >= 0x7f || c == '#' || (f->target_len == 0 && c != '/') ||
        (f->target_len == 1 && c == '/')) {
        refuse(f, c < ' ' || c == 0x7f ? HTTP_BAD_REQUEST_LINE : HTTP_BAD_TARGET);
        return;
    }
    if (f->target_len < HTTP_TARGET_START) {
        f->target[f->target_len++] = (char)c;
    }
}

static void version_byte(struct http_framing *f, uint8_t c)
{
    const uint8_t len = sizeof(version) - 1;
    if (f->at == len && c == '\r')
        f->state = LINE_LF;
    else if (f->at < 5 && c == (uint8_t)version[f->at])
        f->at++;
    else if (f->at < 5 || f->at == len)
        refuse(f, c == '\n' ? HTTP_BAD_LINE_END : HTTP_BAD_REQUEST_LINE);
    else if (c == (uint8_t)version[f->at])
        f->at++;
    else
        refuse(f, f->at != 6 && c >= '0' && c <= '9' ? HTTP_BAD_VERSION : HTTP_BAD_REQUEST_LINE);
}

static void field_byte(struct http_framing *f, uint8_t c)
{
    if (c == '\r') {
        f->state = HEAD_LF;
    } else if (c == ' ' || c == '\t') {
        refuse(f, HTTP_FOLDED_HEADER);
    } else if (c == '\n') {
        refuse(f, HTTP_BAD_LINE_END);
    } else if (!is_token(c)) {
        refuse(f, HTTP_BAD_HEADER_NAME); /* an empty name too */
    } else if (++f->n_headers > f->limits.headers_max) {
        refuse(f, HTTP_HEAD_TOO_LARGE);
    } else {
        f->name[0] = (char)lower(c);
        f->name_len = 1;
        f->state = NAME;
    }
}

static bool name_is(const struct http_framing *f, const char *name)
{
    return f->name_len == strlen(name) && memcmp(f->name, name, f->name_len) == 0;
}

static void name_byte(struct http_framing *f, uint8_t c)
{
    if (c == ':') {
        f->state = VALUE;
        f->value_len = 0;
    } else if (!is_token(c)) {
        refuse(f, c == '\n' ? HTTP_BAD_LINE_END : HTTP_BAD_HEADER_NAME);
    } else if (f->name_len < sizeof(f->name)) {
        f->name[f->name_len++] = (char)lower(c); /* longer ones are none of ours */
    }
}

static bool value_is(const struct http_framing *f, const char *text)
{
    size_t len = strlen(text);
    if (f->value_len != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (lower((uint8_t)f->value[i]) != (uint8_t)text[i])
            return false;
    return true;
}

static void length_field(struct http_framing *f)
{
    uint64_t v = 0;
    if (f->has_length) {
        refuse(f, HTTP_REPEATED_LENGTH);
        return;
    }
    if (f->value_len == sizeof(f->value)) { /* perhaps cut off */
        refuse(f, HTTP_BAD_LENGTH);
        return;
    }
    for (unsigned i = 0; i < f->value_len; i++) {
        if (f->value[i] < '0' || f->value[i] > '9' || v > LENGTH_MAX / 10) {
            refuse(f, HTTP_BAD_LENGTH);
            return;
        }
        v = v * 10 + (uint64_t)(f->value[i] - '0');
    }
    if (f->value_len == 0) {
        refuse(f, HTTP_BAD_LENGTH);
        return;
    }
    f->has_length = true;
    f->length = v;
}

static void value_ended(struct http_framing *f)
{
    while (f->value_len > 0 && f->value_len < sizeof(f->value) &&
           (f->value[f->value_len - 1] == ' ' || f->value[f->value_len - 1] == '\t'))
        f->value_len--;
    if (name_is(f, "content-length")) {
        length_field(f);
    } else if (name_is(f, "transfer-encoding")) {
        if (f->has_coding || !value_is(f, "chunked"))
            refuse(f, HTTP_BAD_CODING);
        f->has_coding = true;
    } else if (name_is(f, "host")) {
        if (f->has_host)
            refuse(f, HTTP_BAD_HOST);
        f->has_host = true;
    } else if (name_is(f, "expect")) {
        if (f->has_expect || !value_is(f, "100-continue"))
            refuse(f, HTTP_BAD_EXPECT);
        f->has_expect = true;
    }
}

static void value_byte(struct http_framing *f, uint8_t c)
{
    if (c == '\r') {
        f->state = VALUE_LF;
        value_ended(f); /* may refuse */
    } else if (c == '\n') {
        refuse(f, HTTP_BAD_LINE_END);
    } else if ((c < ' ' && c != '\t') || c == 0x7f) {
        refuse(f, HTTP_BAD_HEADER_VALUE);
    } else if (f->value_len < sizeof(f->value) && (f->value_len > 0 || (c != ' ' && c != '\t'))) {
        f->value[f->value_len++] = (char)c; /* a full buffer equals nothing that is compared */
    }
}

static enum http_framing_event head_ended(struct http_framing *f)
{
    f->state = HEAD_READ;
    if (f->has_length && f->has_coding)
        refuse(f, HTTP_BOTH_LENGTHS);
    else if (!f->has_host)
        refuse(f, HTTP_BAD_HOST);
    else if (f->head_only && (f->has_coding || f->length != 0))
        refuse(f, HTTP_UNWANTED_BODY);
    else if (f->length > f->limits.body_max)
        refuse(f, HTTP_BODY_TOO_LARGE);
    return f->state == REFUSED ? HTTP_BAD : HTTP_HEAD;
}

static void head_byte(struct http_framing *f, uint8_t c)
{
    switch (f->state) {
    case LINE_METHOD:
        method_byte(f, c);
        break;
    case LINE_TARGET:
        target_byte(f, c);
        break;
    case LINE_VERSION:
        version_byte(f, c);
        break;
    case FIELD:
        field_byte(f, c);
        break;
    case NAME:
        name_byte(f, c);
        break;
    case VALUE:
        value_byte(f, c);
        break;
    default: /* LINE_LF, VALUE_LF, HEAD_LF: the second half of a line's end */
        if (c != '\n')
            refuse(f, HTTP_BAD_LINE_END);
        else if (f->state != HEAD_LF)
            f->state = FIELD;
        break;
    }
}

static enum http_framing_event feed_head(struct http_framing *f, struct slice in, size_t *used)
{
    for (size_t i = 0; i < in.len; i++) {
        bool last = f->state == HEAD_LF;
        if (++f->head_len > f->limits.head_max)
            refuse(f, HTTP_HEAD_TOO_LARGE);
        else
            head_byte(f, in.data[i]);
        if (f->state == REFUSED || last) {
            *used = i + 1;
            return f->state == REFUSED ? HTTP_BAD : head_ended(f);
        }
    }
    *used = in.len;
    return HTTP_MORE;
}

static int hex_digit(uint8_t c)
{
    uint8_t l = lower(c);
    if (l >= '0' && l <= '9')
        return l - '0';
    return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

static void chunk_size_byte(struct http_framing *f, uint8_t c)
{
    int digit = hex_digit(c);
    if (c == '\r' && f->at > 0) {
        f->state = CHUNK_SIZE_LF;
    } else if (digit < 0 || f->at == CHUNK_DIGITS_MAX) {
        refuse(f, HTTP_BAD_CHUNK);
    } else {
        f->left = f->left * 16 + (uint64_t)digit;
        f->at++;
    }
}

static void chunk_begins(struct http_framing *f)
{
    f->body += f->left;
    if (f->body > f->limits.body_max)
        refuse(f, HTTP_BODY_TOO_LARGE);
    else
        f->state = f->left == 0 ? LAST_CR : CHUNK_DATA;
}

static void next_chunk(struct http_framing *f)
{
    f->state = CHUNK_SIZE;
    f->left = 0;
    f->at = 0;
}

/* A byte around chunks: sizes and line ends. */
static void chunk_byte(struct http_framing *f, uint8_t c)
{
    switch (f->state) {
    case CHUNK_SIZE:
        chunk_size_byte(f, c);
        break;
    case CHUNK_SIZE_LF:
        if (c == '\n')
            chunk_begins(f);
        else
            refuse(f, HTTP_BAD_CHUNK);
        break;
    case CHUNK_CR:
        if (c == '\r')
            f->state = CHUNK_LF;
        else
            refuse(f, HTTP_BAD_CHUNK);
        break;
    case CHUNK_LF:
        if (c == '\n')
            next_chunk(f);
        else
            refuse(f, HTTP_BAD_CHUNK);
        break;
    case LAST_CR:
        if (c == '\r')
            f->state = LAST_LF;
        else
            refuse(f, HTTP_TRAILER);
        break;
    default:
        assert(f->state == LAST_LF);
        if (c != '\n')
            refuse(f, HTTP_BAD_CHUNK);
        else
            f->state = LINE_METHOD;
        break;
    }
}

static enum http_framing_event feed_body(struct http_framing *f, struct slice in, size_t *used)
{
    size_t i = 0;
    while (i < in.len && f->state != REFUSED && f->state != LINE_METHOD) {
        if (f->state == BODY || f->state == CHUNK_DATA) {
            size_t n = f->left < in.len - i ? (size_t)f->left : in.len - i;
            f->left -= n;
            i += n;
            if (f->left == 0)
                f->state = f->state == BODY ? LINE_METHOD : CHUNK_CR;
        } else {
            chunk_byte(f, in.data[i++]);
        }
    }
    *used = i;
    if (f->state == REFUSED)
        return HTTP_BAD;
    if (f->state != LINE_METHOD)
        return HTTP_MORE;
    message_begin(f);
    return HTTP_DONE;
}

enum http_framing_event http_framing_feed(struct http_framing *f, struct slice in, size_t *used)
{
    *used = 0;
    if (f->state == REFUSED)
        return HTTP_BAD;
    if (f->state < HEAD_READ)
        return feed_head(f, in, used);
    if (f->state == HEAD_READ) {
        if (f->length > f->limits.body_max) { /* lowered by the caller */
            refuse(f, HTTP_BODY_TOO_LARGE);
            return HTTP_BAD;
        }
        if (f->has_coding) {
            next_chunk(f);
        } else if (f->length == 0) {
            message_begin(f);
            return HTTP_DONE;
        } else {
            f->state = BODY;
            f->left = f->length;
        }
    }
    return feed_body(f, in, used);
}

static const struct {
    int status;
    const char *message;
} errors[] = {
    [HTTP_CLEAN] = {200, "the request is clean"},
    [HTTP_BAD_REQUEST_LINE] = {400, "the request line is not METHOD SP TARGET SP HTTP/1.1"},
    [HTTP_BAD_TARGET] = {400, "the request target must begin with one '/' and hold only visible "
                              "ASCII without '#': percent-encode the rest"},
    [HTTP_BAD_METHOD] = {501, "the method is none of GET, HEAD, PUT, POST, DELETE"},
    [HTTP_BAD_VERSION] = {505, "only HTTP/1.1 is spoken here"},
    [HTTP_BAD_LINE_END] = {400, "lines must end in CR LF, and neither may stand alone"},
    [HTTP_BAD_HEADER_NAME] = {400, "a header name is empty or holds a byte that is not allowed"},
    [HTTP_BAD_HEADER_VALUE] = {400, "a header value holds a control character"},
    [HTTP_FOLDED_HEADER] = {400, "a header is folded over lines or begins with space"},
    [HTTP_BAD_LENGTH] = {400, "Content-Length is not a plain decimal number"},
    [HTTP_REPEATED_LENGTH] = {400, "Content-Length is given more than once"},
    [HTTP_BOTH_LENGTHS] = {400, "Content-Length and Transfer-Encoding are both given"},
    [HTTP_BAD_CODING] = {400, "the only transfer coding is one 'chunked'"},
    [HTTP_BAD_HOST] = {400, "exactly one Host header is needed"},
    [HTTP_BAD_EXPECT] = {417, "the only expectation that can be met is 100-continue"},
    [HTTP_BAD_CHUNK] = {400, "a chunk is not SIZE CR LF DATA CR LF"},
    [HTTP_TRAILER] = {400, "trailers are not accepted"},
    [HTTP_UNWANTED_BODY] = {400, "a HEAD request has no body"},
    [HTTP_HEAD_TOO_LARGE] = {431, "the request line and headers are larger than the limit"},
    [HTTP_BODY_TOO_LARGE] = {413, "the body is larger than the limit"},
    [HTTP_HEAD_TOO_SLOW] = {408, "the request line and headers did not arrive in time"},
    [HTTP_BODY_TOO_SLOW] = {408, "the body arrives too slowly"},
    [HTTP_BODIES_TOO_MANY] = {503, "too many large bodies are being received, try again later"},
};

int http_framing_status(enum http_framing_error e)
{
    return errors[e].status;
}

const char *http_framing_message(enum http_framing_error e)
{
    return errors[e].message;
}
