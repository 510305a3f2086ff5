/* SPDX-License-Identifier: Apache-2.0 */
/* See cluster_file.h. People edit this file, so a mistake in it is told with its line; and all
 * rules on what a history may be stay where they are, in model/history.c. */
#include "adapter/cluster_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/wire.h"

#define FILE_MAX (4u << 20)
#define DEFAULT_Q 256
#define DEFAULT_N 3
#define DEFAULT_WEIGHT 100
#define FIELDS_MAX 4

struct parse {
    struct member_event create;
    struct member_event *joins;
    uint32_t n, cap;
    bool seen[5]; /* cluster, q, n, r, w */
};

static const char *const setting_names[5] = {"cluster", "q", "n", "r", "w"};

int node_id_parse(struct slice text, uint64_t *out)
{
    uint64_t v = 0;
    if (text.len != NODE_ID_TEXT_LEN)
        return DYN_ERR_INVALID;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = c - (unsigned)'0';
        else if (c >= 'a' && c <= 'f')
            digit = c - (unsigned)'a' + 10;
        else if (c >= 'A' && c <= 'F')
            digit = c - (unsigned)'A' + 10;
        else
            return DYN_ERR_INVALID;
        v = v << 4 | digit;
    }
    if (v == 0)
        return DYN_ERR_INVALID;
    *out = v;
    return DYN_OK;
}

void node_id_format(uint64_t node, char out[NODE_ID_TEXT_LEN + 1])
{
    snprintf(out, NODE_ID_TEXT_LEN + 1, "%016" PRIx64, node);
}

static bool blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && blank(s.data[0]))
        s = slice_of(s.data + 1, s.len - 1);
    while (s.len > 0 && blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

/* Splits at blanks; returns how many fields there are, at most FIELDS_MAX + 1. */
static unsigned split(struct slice s, struct slice fields[FIELDS_MAX])
{
    unsigned n = 0;
    for (s = trim(s); s.len > 0; s = trim(s)) {
        size_t len = 0;
        while (len < s.len && !blank(s.data[len]))
            len++;
        if (n == FIELDS_MAX)
            return n + 1;
        fields[n++] = slice_of(s.data, len);
        s = slice_of(s.data + len, s.len - len);
    }
    return n;
}

static bool parse_u32(struct slice s, uint32_t *out)
{
    uint64_t v = 0;
    if (s.len == 0 || s.len > 9)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(s.data[i] - '0');
    }
    *out = (uint32_t)v;
    return true;
}

static char *text_of(struct slice s)
{
    return mem_strndup((const char *)s.data, s.len);
}

/* Each of these returns what is wrong, or NULL. */
static const char *take_member(struct parse *p, struct slice value)
{
    struct slice f[FIELDS_MAX];
    unsigned n = split(value, f);
    struct member_event ev = {.type = MEMBER_JOIN, .weight = DEFAULT_WEIGHT};

    if (n < 2 || n > FIELDS_MAX)
        return "a member is written: ID HOST:PORT [WEIGHT [ZONE]]";
    if (node_id_parse(f[0], &ev.node) != DYN_OK)
        return "a node's id is 16 hexadecimal digits, not all 0";
    if (ev.node <= NODE_SEED_MAX)
        return "ids up to 1024 are not for nodes";
    if (n > 2 && !parse_u32(f[2], &ev.weight))
        return "a weight is a number from 1 to 1000";
    if (p->n == MEMBERS_MAX)
        return "too many members";
    for (uint32_t i = 0; i < p->n; i++) {
        if (p->joins[i].node == ev.node)
            return "this node id stands in another line already";
    }
    ev.stamp = 2 + p->n;
    ev.address = text_of(f[1]);
    if (n > 3 && !slice_equal(f[3], slice_str("-")))
        ev.zone = text_of(f[3]);
    if (p->n == p->cap) {
        p->cap = p->cap == 0 ? 8 : p->cap * 2;
        p->joins = mem_reallocarray(p->joins, p->cap, sizeof(*p->joins));
    }
    p->joins[p->n++] = ev;
    return NULL;
}

static const char *take_setting(struct parse *p, unsigned which, struct slice value)
{
    uint32_t *numbers[5] = {NULL, &p->create.q, &p->create.n, &p->create.r, &p->create.w};
    if (p->seen[which])
        return "this setting stands in another line already";
    p->seen[which] = true;
    if (which == 0) {
        return node_id_parse(value, &p->create.cluster) == DYN_OK
                   ? NULL
                   : "a cluster's id is 16 hexadecimal digits, not all 0";
    }
    return parse_u32(value, numbers[which]) ? NULL : "not a number";
}

static const char *take_line(struct parse *p, struct slice line)
{
    const uint8_t *comment = line.len == 0 ? NULL : memchr(line.data, '#', line.len);
    if (line.len != 0 && memchr(line.data, 0, line.len) != NULL)
        return "a NUL byte";
    if (comment != NULL)
        line.len = (size_t)(comment - line.data);
    line = trim(line);
    if (line.len == 0)
        return NULL;
    const uint8_t *equals = memchr(line.data, '=', line.len);
    if (equals == NULL)
        return "not of the form 'key = value'";
    struct slice key = trim(slice_of(line.data, (size_t)(equals - line.data)));
    struct slice value = trim(slice_of(equals + 1, (size_t)(line.data + line.len - (equals + 1))));
    if (slice_equal(key, slice_str("member")))
        return take_member(p, value);
    for (unsigned i = 0; i < 5; i++) {
        if (slice_equal(key, slice_str(setting_names[i])))
            return take_setting(p, i, value);
    }
    return "unknown key; there are cluster, q, n, r, w and member";
}

static void apply_defaults(struct parse *p)
{
    struct member_event *c = &p->create;
    c->stamp = 1;
    c->type = MEMBER_CREATE;
    if (!p->seen[1])
        c->q = DEFAULT_Q;
    if (!p->seen[2])
        c->n = p->n < DEFAULT_N ? p->n : DEFAULT_N;
    if (!p->seen[3])
        c->r = c->n / 2 + 1;
    if (!p->seen[4])
        c->w = c->n / 2 + 1;
}

static const char *build(const struct parse *p, struct history *h)
{
    const char *rule = NULL;
    if (!p->seen[0])
        return "no line 'cluster = ID'";
    if (p->n == 0)
        return "no line 'member = ...'";
    if (history_add(h, &p->create, &rule) != DYN_OK)
        return rule;
    for (uint32_t i = 0; i < p->n; i++) {
        if (history_add(h, &p->joins[i], &rule) != DYN_OK)
            return rule;
    }
    return NULL;
}

static void parse_release(struct parse *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        free(p->joins[i].address);
        free(p->joins[i].zone);
    }
    free(p->joins);
}

int cluster_file_parse(const char *name, struct slice text, struct history *h, char **message)
{
    struct parse p = {.n = 0};
    struct history built = HISTORY_EMPTY;
    const char *wrong = NULL;
    int err = DYN_ERR_INVALID;

    for (unsigned line = 1; text.len > 0; line++) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end == NULL ? text.len : (size_t)(end - text.data);
        wrong = take_line(&p, slice_of(text.data, len));
        if (wrong != NULL) {
            *message = mem_printf("%s:%u: %s", name, line, wrong);
            goto out;
        }
        len += end != NULL;
        text = slice_of(text.data + len, text.len - len);
    }
    apply_defaults(&p);
    wrong = build(&p, &built);
    if (wrong != NULL) {
        *message = mem_printf("%s: %s", name, wrong);
        goto out;
    }
    history_release(h);
    *h = built;
    built = HISTORY_EMPTY;
    err = DYN_OK;
out:
    history_release(&built);
    parse_release(&p);
    return err;
}

int cluster_file_load(const char *path, struct history *h, char **message)
{
    struct buf text = BUF_EMPTY;
    int err = DYN_ERR_IO, fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 1;

    if (fd < 0) {
        *message = mem_printf("%s: %s", path, strerror(errno));
        return DYN_ERR_IO;
    }
    while (n > 0 && text.len <= FILE_MAX) {
        buf_reserve(&text, 65536);
        n = read(fd, text.data + text.len, 65536);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n > 0)
            text.len += (size_t)n;
    }
    if (n < 0) {
        *message = mem_printf("%s: %s", path, strerror(errno));
    } else if (text.len > FILE_MAX) {
        *message = mem_printf("%s: over 4 MiB: not a cluster file", path);
        err = DYN_ERR_TOO_LARGE;
    } else {
        err = cluster_file_parse(path, buf_slice(&text), h, message);
    }
    buf_release(&text);
    close(fd);
    return err;
}

void cluster_file_format(const struct history *h, struct buf *out)
{
    buf_put_str(out,
                "# How this cluster began. All its first nodes are started with this same file.\n");
    for (uint32_t i = 0; i < h->n; i++) {
        const struct member_event *ev = &h->events[i];
        char id[NODE_ID_TEXT_LEN + 1];
        if (ev->type == MEMBER_CREATE) {
            node_id_format(ev->cluster, id);
            buf_printf(out, "cluster = %s\nq = %u\nn = %u\nr = %u\nw = %u\n", id, ev->q, ev->n,
                       ev->r, ev->w);
        } else if (ev->type == MEMBER_JOIN) {
            node_id_format(ev->node, id);
            buf_printf(out, "member = %s %s %u %s\n", id, ev->address, ev->weight,
                       ev->zone == NULL ? "-" : ev->zone);
        }
    }
}
