/* SPDX-License-Identifier: Apache-2.0 */
/* See context.h.
 *
 *   token   := format(1) clock varint:n { varint:index varint:counter }*n mac(16)
 *            | format(2) varint:n { bytes:token }*n        tokens of several replicas, side by side
 *   context := choice(1: all) token | choice(2: some) varint:n varint:index*n token
 *            | choice(3: several) varint:n { bytes:context }*n
 *
 * What stands side by side is of the plain kinds: each is verified for itself, and what they cover
 * adds up. So a client that reads from replicas by itself hands back just what they have shown.
 *
 * The authenticator is over the cluster, the key and the token, so a token of another key or
 * cluster is refused; the choice is outside it, because any part of what a reader was shown is his
 * to name. A node checks the authenticator before it looks at anything inside. */
#include "model/context.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"

#define FORMAT 1
#define FORMAT_JOINED 2
#define LABEL "dynamount context 1"

enum choice { CHOICE_ALL = 1, CHOICE_SOME = 2, CHOICE_SEVERAL = 3 };

static void authenticate(struct mac *mac, uint64_t cluster, struct slice key, struct slice body,
                         uint8_t out[DIGEST_LEN])
{
    uint8_t head[sizeof(LABEL) + 12];
    memcpy(head, LABEL, sizeof(LABEL));
    for (unsigned i = 0; i < 8; i++)
        head[sizeof(LABEL) + i] = (uint8_t)(cluster >> (8 * i));
    for (unsigned i = 0; i < 4; i++) /* its length separates the key from the token */
        head[sizeof(LABEL) + 8 + i] = (uint8_t)(key.len >> (8 * i));
    const struct slice parts[] = {slice_of(head, sizeof(head)), key, body};
    mac_compute(mac, parts, 3, out);
}

void token_make(struct mac *mac, uint64_t cluster, struct slice key, const struct object *o,
                struct buf *out)
{
    buf_reserve(out, 32 + DIGEST_LEN + (size_t)o->clock.n * 32 + (size_t)o->n * 12);
    size_t start = out->len;
    buf_put_u8(out, FORMAT);
    clock_encode(&o->clock, out);
    buf_put_varint(out, o->n);
    for (uint32_t i = 0; i < o->n; i++) {
        uint32_t index = 0;
        bool covered = clock_index(&o->clock, &o->siblings[i].dot.actor, &index);
        assert(covered);
        (void)covered;
        buf_put_varint(out, index);
        buf_put_varint(out, o->siblings[i].dot.counter);
    }
    uint8_t tag[DIGEST_LEN];
    authenticate(mac, cluster, key, slice_of(out->data + start, out->len - start), tag);
    buf_put(out, tag, DIGEST_LEN);
}

/* A token taken apart. */
struct token {
    struct clock clock;
    struct dot *dots; /* sorted */
    uint32_t n;
};

static void token_release(struct token *t)
{
    clock_release(&t->clock);
    free(t->dots);
}

static int plain_parse(struct slice token, struct token *out)
{
    struct token t = {CLOCK_EMPTY, NULL, 0};
    if (token.len < DIGEST_LEN || token.len > CONTEXT_LEN_MAX)
        return DYN_ERR_BAD_CONTEXT;
    struct reader r = reader_of_format(slice_of(token.data, token.len - DIGEST_LEN), FORMAT);
    clock_decode(&r, &t.clock);
    uint64_t n = read_varint(&r);
    if (n > OBJECT_SIBLINGS_MAX || n > reader_left(&r) / 2)
        reader_fail(&r);
    if (reader_ok(&r) && n != 0)
        t.dots = mem_reallocarray(NULL, (size_t)n, sizeof(*t.dots));
    while (reader_ok(&r) && t.n < n) {
        uint64_t index = read_varint(&r), counter = read_varint(&r);
        if (index >= t.clock.n || counter == 0 || counter > t.clock.pairs[index].counter) {
            reader_fail(&r);
            break;
        }
        t.dots[t.n] = (struct dot){t.clock.pairs[index].actor, counter};
        if (t.n > 0 && dot_compare(&t.dots[t.n - 1], &t.dots[t.n]) >= 0)
            reader_fail(&r);
        t.n++;
    }
    if (!reader_done(&r)) {
        token_release(&t);
        return DYN_ERR_BAD_CONTEXT;
    }
    *out = t;
    return DYN_OK;
}

/* The members of a joined token, or the token itself. 0: it is malformed. */
static uint32_t token_members(struct slice token, struct slice members[TOKENS_MAX])
{
    struct reader r = reader_of(token);
    if (token.len == 0 || token.len > CONTEXT_LEN_MAX)
        return 0;
    if (read_u8(&r) != FORMAT_JOINED) {
        members[0] = token;
        return 1;
    }
    uint64_t n = read_varint(&r);
    if (n < 2 || n > TOKENS_MAX)
        return 0;
    for (uint64_t i = 0; i < n; i++)
        members[i] = read_bytes(&r);
    return reader_done(&r) ? (uint32_t)n : 0;
}

static bool token_has(const struct token *t, const struct dot *d);

/* A sibling that another member has seen and does not hold was superseded there. */
static bool survives(const struct token *members, uint32_t n, const struct dot *d)
{
    for (uint32_t i = 0; i < n; i++)
        if (!token_has(&members[i], d) && clock_covers(&members[i].clock, d))
            return false;
    return true;
}

static int by_dot(const void *a, const void *b)
{
    return dot_compare(a, b);
}

static void token_merge(const struct token *members, uint32_t n, struct token *out)
{
    size_t most = 1;
    for (uint32_t i = 0; i < n; i++)
        most += members[i].n;
    *out = (struct token){CLOCK_EMPTY, mem_reallocarray(NULL, most, sizeof(*out->dots)), 0};
    for (uint32_t i = 0; i < n; i++) {
        clock_join(&out->clock, &members[i].clock);
        for (uint32_t k = 0; k < members[i].n; k++)
            if (survives(members, n, &members[i].dots[k]))
                out->dots[out->n++] = members[i].dots[k];
    }
    qsort(out->dots, out->n, sizeof(*out->dots), by_dot);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < out->n; i++)
        if (kept == 0 || !dot_equal(&out->dots[kept - 1], &out->dots[i]))
            out->dots[kept++] = out->dots[i];
    out->n = kept;
}

static int token_parse(struct slice token, struct token *out)
{
    struct slice slices[TOKENS_MAX];
    struct token members[TOKENS_MAX];
    uint32_t n = token_members(token, slices), parsed = 0;
    if (n == 1)
        return plain_parse(token, out);
    while (parsed < n && plain_parse(slices[parsed], &members[parsed]) == DYN_OK)
        parsed++;
    bool good = n != 0 && parsed == n;
    if (good)
        token_merge(members, n, out);
    for (uint32_t i = 0; i < parsed; i++)
        token_release(&members[i]);
    return good ? DYN_OK : DYN_ERR_BAD_CONTEXT;
}

int token_join(const struct slice *tokens, uint32_t n, struct buf *out)
{
    struct slice members[TOKENS_MAX];
    uint32_t kept = 0;
    size_t len = 2;
    for (uint32_t i = 0; i < n; i++) {
        struct token t;
        uint32_t same = 0;
        while (same < kept && !slice_equal(members[same], tokens[i]))
            same++;
        if (same < kept)
            continue;
        if (kept == TOKENS_MAX || plain_parse(tokens[i], &t) != DYN_OK)
            return DYN_ERR_BAD_CONTEXT;
        token_release(&t);
        members[kept++] = tokens[i];
        len += tokens[i].len + 4;
    }
    if (kept == 0 || len > CONTEXT_LEN_MAX - 8)
        return DYN_ERR_BAD_CONTEXT;
    if (kept == 1) {
        buf_put_slice(out, members[0]);
        return DYN_OK;
    }
    buf_put_u8(out, FORMAT_JOINED);
    buf_put_varint(out, kept);
    for (uint32_t i = 0; i < kept; i++)
        buf_put_bytes(out, members[i]);
    return DYN_OK;
}

int token_dots(struct slice token, struct dot **dots, uint32_t *n)
{
    struct token t;
    int err = token_parse(token, &t);
    if (err != DYN_OK)
        return err;
    *dots = t.dots;
    *n = t.n;
    t.dots = NULL;
    token_release(&t);
    return DYN_OK;
}

void context_all(struct slice token, struct buf *out)
{
    struct slice members[TOKENS_MAX];
    uint32_t n = token_members(token, members);
    buf_reserve(out, 1 + token.len);
    if (n < 2) {
        buf_put_u8(out, CHOICE_ALL);
        buf_put_slice(out, token);
        return;
    }
    buf_put_u8(out, CHOICE_SEVERAL);
    buf_put_varint(out, n);
    for (uint32_t i = 0; i < n; i++) {
        buf_put_varint(out, members[i].len + 1);
        buf_put_u8(out, CHOICE_ALL);
        buf_put_slice(out, members[i]);
    }
}

/* The index of d among t's dots, or t->n. */
static uint32_t token_find(const struct token *t, const struct dot *d)
{
    uint32_t lo = 0, hi = t->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (dot_compare(&t->dots[mid], d) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < t->n && dot_equal(&t->dots[lo], d) ? lo : t->n;
}

static bool token_has(const struct token *t, const struct dot *d)
{
    return token_find(t, d) < t->n;
}

static int plain_dots(struct slice token, const struct dot *dots, uint32_t n, struct buf *out)
{
    struct token t;
    if (plain_parse(token, &t) != DYN_OK)
        return DYN_ERR_INVALID;
    int err = DYN_OK;
    bool *chosen = mem_zalloc(t.n + 1);
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = token_find(&t, &dots[i]);
        if (at == t.n) {
            err = DYN_ERR_INVALID;
            goto out;
        }
        count += !chosen[at];
        chosen[at] = true;
    }
    buf_put_u8(out, CHOICE_SOME);
    buf_put_varint(out, count);
    for (uint32_t i = 0; i < t.n; i++)
        if (chosen[i])
            buf_put_varint(out, i);
    buf_put_slice(out, token);
out:
    free(chosen);
    token_release(&t);
    return err;
}

/* Of the dots not yet named, those that this member has: appended as a context of their own. */
static void member_dots(struct slice member, const struct dot *dots, bool *named, uint32_t n,
                        uint32_t *contexts, struct buf *out)
{
    struct token t;
    struct dot *mine = mem_reallocarray(NULL, n + 1, sizeof(*mine));
    struct buf context = BUF_EMPTY;
    uint32_t n_mine = 0;
    if (plain_parse(member, &t) == DYN_OK) {
        for (uint32_t i = 0; i < n; i++) {
            if (named[i] || !token_has(&t, &dots[i]))
                continue;
            named[i] = true;
            mine[n_mine++] = dots[i];
        }
        token_release(&t);
    }
    if (n_mine > 0 && plain_dots(member, mine, n_mine, &context) == DYN_OK) {
        buf_put_bytes(out, buf_slice(&context));
        (*contexts)++;
    }
    buf_release(&context);
    free(mine);
}

int context_dots(struct slice token, const struct dot *dots, uint32_t n, struct buf *out)
{
    struct slice members[TOKENS_MAX] = {token};
    uint32_t n_members = token_members(token, members), contexts = 0, missing = 0;
    if (n_members < 2 || n == 0)
        return plain_dots(members[0], dots, n, out);
    bool *named = mem_zalloc(n + 1);
    struct buf several = BUF_EMPTY;
    for (uint32_t i = 0; i < n_members; i++)
        member_dots(members[i], dots, named, n, &contexts, &several);
    for (uint32_t i = 0; i < n; i++)
        missing += !named[i];
    if (missing == 0) {
        buf_put_u8(out, CHOICE_SEVERAL);
        buf_put_varint(out, contexts);
        buf_put_slice(out, buf_slice(&several));
    }
    buf_release(&several);
    free(named);
    return missing == 0 ? DYN_OK : DYN_ERR_INVALID;
}

/* Reads the choice: *n chosen indices follow in *indices. The token is what is left of r. */
static void choice_read(struct reader *r, enum choice *choice, uint64_t *n, struct reader *indices)
{
    uint8_t byte = read_u8(r);
    *n = 0;
    if (byte != CHOICE_ALL && byte != CHOICE_SOME)
        reader_fail(r);
    *choice = (enum choice)byte;
    if (byte == CHOICE_SOME)
        *n = read_varint(r);
    *indices = *r;
    for (uint64_t i = 0; i < *n && reader_ok(r); i++)
        read_varint(r);
}

/* Adds the chosen dots, all or none. */
static int cover_some(const struct token *t, uint64_t n, struct reader indices, struct cover *cover)
{
    struct reader check = indices;
    uint64_t next = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t index = read_varint(&check);
        if (index < next || index >= t->n)
            return DYN_ERR_BAD_CONTEXT;
        next = index + 1;
    }
    for (uint64_t i = 0; i < n; i++)
        cover_add_dot(cover, &t->dots[read_varint(&indices)]);
    return DYN_OK;
}

/* mac NULL: whatever it claims. */
static int plain_verify(struct mac *mac, uint64_t cluster, struct slice key, struct slice context,
                        struct cover *cover)
{
    struct reader r = reader_of(context), indices;
    enum choice choice;
    uint64_t n;
    if (context.len > CONTEXT_LEN_MAX)
        return DYN_ERR_BAD_CONTEXT;
    choice_read(&r, &choice, &n, &indices);
    size_t left = reader_left(&r);
    if (!reader_ok(&r) || left < DIGEST_LEN)
        return DYN_ERR_BAD_CONTEXT;
    struct slice token = read_raw(&r, left);
    struct slice body = slice_of(token.data, token.len - DIGEST_LEN);
    if (mac != NULL) {
        uint8_t tag[DIGEST_LEN];
        authenticate(mac, cluster, key, body, tag);
        if (!digest_equal(tag, body.data + body.len))
            return DYN_ERR_BAD_CONTEXT;
    }
    struct token t;
    int err = plain_parse(token, &t);
    if (err != DYN_OK)
        return err;
    if (choice == CHOICE_ALL)
        clock_join(&cover->clock, &t.clock);
    else
        err = cover_some(&t, n, indices, cover);
    token_release(&t);
    return err;
}

static int verify(struct mac *mac, uint64_t cluster, struct slice key, struct slice context,
                  struct cover *cover)
{
    struct reader r = reader_of(context);
    struct cover sum = COVER_EMPTY;
    int err = DYN_OK;
    if (context.len == 0 || context.len > CONTEXT_LEN_MAX)
        return DYN_ERR_BAD_CONTEXT;
    if (read_u8(&r) != CHOICE_SEVERAL)
        return plain_verify(mac, cluster, key, context, cover);
    uint64_t n = read_varint(&r);
    if (n == 0 || n > TOKENS_MAX)
        return DYN_ERR_BAD_CONTEXT;
    for (uint64_t i = 0; i < n && err == DYN_OK; i++) {
        struct slice one = read_bytes(&r);
        err = reader_ok(&r) ? plain_verify(mac, cluster, key, one, &sum) : DYN_ERR_BAD_CONTEXT;
    }
    if (err == DYN_OK && !reader_done(&r))
        err = DYN_ERR_BAD_CONTEXT;
    if (err == DYN_OK) {
        clock_join(&cover->clock, &sum.clock);
        for (uint32_t i = 0; i < sum.n; i++)
            cover_add_dot(cover, &sum.dots[i]);
    }
    cover_release(&sum);
    return err;
}

int context_verify(struct mac *mac, uint64_t cluster, struct slice key, struct slice context,
                   struct cover *cover)
{
    assert(mac != NULL);
    return verify(mac, cluster, key, context, cover);
}

int context_believe(struct slice context, struct cover *cover)
{
    return verify(NULL, 0, slice_of(NULL, 0), context, cover);
}

/* A plain context's only version. */
static bool plain_sole(struct slice context, struct dot *dot)
{
    struct reader r = reader_of(context), indices;
    enum choice choice;
    uint64_t n;
    struct token t;
    choice_read(&r, &choice, &n, &indices);
    if (!reader_ok(&r) || plain_parse(read_raw(&r, reader_left(&r)), &t) != DYN_OK)
        return false;
    uint64_t which = choice == CHOICE_SOME ? read_varint(&indices) : 0;
    bool sole = (choice == CHOICE_SOME ? n : t.n) == 1 && which < t.n;
    if (sole)
        *dot = t.dots[which];
    token_release(&t);
    return sole;
}

bool context_sole(struct slice context, struct dot *dot)
{
    struct reader r = reader_of(context);
    struct dot first, other;
    if (context.len == 0 || read_u8(&r) != CHOICE_SEVERAL)
        return plain_sole(context, dot);
    uint64_t n = read_varint(&r);
    if (n == 0 || n > TOKENS_MAX || !plain_sole(read_bytes(&r), &first))
        return false;
    for (uint64_t i = 1; i < n; i++)
        if (!plain_sole(read_bytes(&r), &other) || !dot_equal(&first, &other))
            return false;
    *dot = first;
    return true;
}

struct dot context_base(const struct slice *contexts, uint32_t n, const struct cover *cover,
                        const struct object *o)
{
    const struct sibling *newest = NULL;
    struct dot base = {.counter = 0};
    for (uint32_t i = 0; i < o->n; i++) {
        const struct sibling *s = &o->siblings[i];
        if (s->type == SIBLING_FILE && cover_has(cover, &s->dot) &&
            (newest == NULL || sibling_order(newest, s) < 0))
            newest = s;
    }
    if (newest != NULL)
        return newest->value_dot;
    return n == 1 && context_sole(contexts[0], &base) ? base : (struct dot){.counter = 0};
}

void context_format(struct slice context, struct buf *out)
{
    buf_reserve(out, context.len / 3 * 4 + 4);
    buf_put_base64url(out, context);
}

int context_parse(struct slice text, struct buf *out)
{
    if (text.len == 0 || text.len > (CONTEXT_LEN_MAX + 2) / 3 * 4 ||
        base64url_decode(text, out) != DYN_OK)
        return DYN_ERR_BAD_CONTEXT;
    return DYN_OK;
}
