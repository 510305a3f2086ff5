/* SPDX-License-Identifier: Apache-2.0 */
/* See put_value.h. */
#include "engine/coordinate/put_value.h"

#include "base/err.h"
#include "model/manifest.h"

static void on_extended(struct extend *x, int err)
{
    struct put_value *v = x->arg;
    v->building = false;
    if (err == DYN_OK) {
        v->bytes = blob_ref(x->whole);
        v->len = x->whole->len;
        memcpy(v->hash, x->hash, DIGEST_LEN);
    }
    v->lacking = err == DYN_ERR_BASE_LACKING;
    v->done(v, v->lacking ? DYN_OK : err);
}

void put_value_start(struct put_value *v, struct engine *e, struct slice key,
                     const struct put_request *q, void (*done)(struct put_value *v, int err),
                     void *arg)
{
    *v = (struct put_value){.suffix = BUF_EMPTY, .done = done, .arg = arg};
    if (q->flags & PUT_EXTENDS) {
        v->base = q->extends;
        buf_put_slice(&v->suffix, q->value);
        v->extend = (struct extend){.e = e,
                                    .key = key,
                                    .suffix = buf_slice(&v->suffix),
                                    .base = q->extends,
                                    .done = on_extended,
                                    .arg = v};
        v->building = true;
        extend_start(&v->extend);
        return;
    }
    if (q->type == SIBLING_FILE || q->type == SIBLING_SYMLINK) {
        v->bytes = q->value.len > 0 ? blob_new(q->value.data, q->value.len) : NULL;
        v->len = q->value.len;
        digest_sha256(q->value, v->hash);
    }
    done(v, DYN_OK);
}

void put_value_release(struct put_value *v)
{
    extend_release(&v->extend);
    blob_unref(v->bytes);
    v->bytes = NULL;
    buf_release(&v->suffix);
}

static int keep(const struct put_request *q, const struct object *o, const struct row_state *state,
                bool read, struct sibling *s)
{
    const struct sibling *src = object_find_value(o, &q->value_dot);
    bool thin = src != NULL && row_state_thin(state, &src->value_dot);
    if (src == NULL || thin) /* W are to hold it with its value */
        return !read ? NEED_READ : thin ? DYN_ERR_NO_QUORUM : DYN_ERR_STALE;
    s->value_dot = src->value_dot;
    s->base_dot = src->value_dot;
    s->size = src->size;
    s->manifest_len = src->manifest_len;
    s->allocated = src->allocated;
    s->uploads = blob_ref(src->uploads);
    memcpy(s->value_hash, src->value_hash, DIGEST_LEN);
    return DYN_OK;
}

int put_value_fill(const struct put_value *v, const struct put_request *q, const struct object *o,
                   const struct row_state *state, bool read, struct sibling *s)
{
    if (q->flags & PUT_KEEP_VALUE)
        return keep(q, o, state, read, s);
    if (s->type != SIBLING_FILE && s->type != SIBLING_SYMLINK)
        return DYN_OK;
    s->size = v->len;
    memcpy(s->value_hash, v->hash, DIGEST_LEN);
    s->value = blob_ref(v->bytes);
    return q->flags & PUT_MANIFEST ? manifest_describe(q->value, s) : DYN_OK; /* checked before */
}

struct extended put_value_extended(const struct put_value *v, const struct dot *dot)
{
    return (struct extended){.value_dot = *dot, .base = v->base};
}
