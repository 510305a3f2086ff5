/* SPDX-License-Identifier: Apache-2.0 */
/* See context.h.
 *
 *   token   := format(1) clock varint:n { varint:index varint:counter }*n mac(16)
 *   context := choice(1: all) token | choice(2: some) varint:n varint:index*n token
 *
 * The authenticator is over the cluster, the key and the token, so a token of another key or
 * cluster is refused; the choice is outside it, because any part of what a reader was shown is his
 * to name. A node checks the authenticator before it looks at anything inside. */
#include "model/context.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"

#define FORMAT 1
#define LABEL "dynamount context 1"

enum choice { CHOICE_ALL = 1, CHOICE_SOME = 2 };

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

static int token_parse(struct slice token, struct token *out)
{
    struct token t = {CLOCK_EMPTY, NULL, 0};
    if (token.len < DIGEST_LEN || token.len > CONTEXT_LEN_MAX)
        return DYN_ERR_BAD_CONTEXT;
    struct reader r = reader_of(slice_of(token.data, token.len - DIGEST_LEN));
    if (read_u8(&r) != FORMAT)
        reader_fail(&r);
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
    buf_reserve(out, 1 + token.len);
    buf_put_u8(out, CHOICE_ALL);
    buf_put_slice(out, token);
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

int context_dots(struct slice token, const struct dot *dots, uint32_t n, struct buf *out)
{
    struct token t;
    if (token_parse(token, &t) != DYN_OK)
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

/* Takes a context apart: its choice, and the token, mac and all. */
static int context_open(struct slice context, enum choice *choice, uint64_t *n,
                        struct reader *indices, struct slice *token)
{
    struct reader r = reader_of(context);
    if (context.len > CONTEXT_LEN_MAX)
        return DYN_ERR_BAD_CONTEXT;
    choice_read(&r, choice, n, indices);
    size_t left = reader_left(&r);
    if (!reader_ok(&r) || left < DIGEST_LEN)
        return DYN_ERR_BAD_CONTEXT;
    *token = read_raw(&r, left);
    return DYN_OK;
}

int context_verify(struct mac *mac, uint64_t cluster, struct slice key, struct slice context,
                   struct cover *cover)
{
    struct reader indices;
    enum choice choice;
    uint64_t n;
    struct slice token;
    int err = context_open(context, &choice, &n, &indices, &token);
    if (err != DYN_OK)
        return err;
    struct slice body = slice_of(token.data, token.len - DIGEST_LEN);
    uint8_t tag[DIGEST_LEN];
    authenticate(mac, cluster, key, body, tag);
    if (!digest_equal(tag, body.data + body.len))
        return DYN_ERR_BAD_CONTEXT;
    return context_believe(context, cover);
}

int context_believe(struct slice context, struct cover *cover)
{
    struct reader indices;
    enum choice choice;
    uint64_t n;
    struct slice token;
    struct token t;
    int err = context_open(context, &choice, &n, &indices, &token);
    if (err == DYN_OK)
        err = token_parse(token, &t);
    if (err != DYN_OK)
        return err;
    if (choice == CHOICE_ALL)
        clock_join(&cover->clock, &t.clock);
    else
        err = cover_some(&t, n, indices, cover);
    token_release(&t);
    return err;
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
