/* SPDX-License-Identifier: Apache-2.0 */
/* See extend.h. */
#include "engine/replica/extend.h"

#include "base/err.h"

static void finish(struct extend *x, int err)
{
    struct engine_stats *stats = &x->e->stats;
    if (err == DYN_OK)
        stats->values_extended++;
    else if (err == DYN_ERR_BASE_LACKING)
        stats->bases_lacking++;
    x->done(x, err);
}

/* Bytes that are not what their row says are noted, as the scrub would note them. */
static int build(struct extend *x, const struct sibling *s)
{
    struct slice base = slice_of(s->value->data, s->value->len);
    int err = extension_build(&x->base, base, x->suffix, &x->whole, x->hash);
    if (err == DYN_OK)
        return DYN_OK;
    replica_lost(x->e, x->key, &s->value_dot);
    return DYN_ERR_BASE_LACKING;
}

static void on_read(struct replica_read *r, int err)
{
    struct extend *x = r->arg;
    const struct sibling *base = NULL;
    for (uint32_t i = 0; i < r->object.n && err == DYN_OK && base == NULL; i++) {
        const struct sibling *s = &r->object.siblings[i];
        if (s->value != NULL && extension_of(&x->base, s))
            base = s;
    }
    if (err == DYN_OK)
        err = base == NULL ? DYN_ERR_BASE_LACKING : build(x, base);
    replica_read_release(r);
    x->reading = false;
    finish(x, err);
}

static bool has_room(const struct extend *x, uint64_t bytes)
{
    const struct engine *e = x->e;
    return e->extended_bytes < e->cfg.extended_max &&
           bytes <= e->cfg.extended_max - e->extended_bytes;
}

void extend_start(struct extend *x)
{
    uint64_t bytes = x->base.len + x->suffix.len;
    if (!has_room(x, bytes)) {
        finish(x, DYN_ERR_BASE_LACKING);
        return;
    }
    x->held = bytes;
    x->e->extended_bytes += bytes;
    x->read = (struct replica_read){.e = x->e,
                                    .key = x->key,
                                    .load = LOAD_DOTS,
                                    .dots = &x->base.base,
                                    .n_dots = 1,
                                    .done = on_read,
                                    .arg = x};
    x->reading = true;
    replica_read_start(&x->read);
}

void extend_release(struct extend *x)
{
    if (x->reading)
        replica_read_release(&x->read);
    x->reading = false;
    if (x->held > 0) /* else it may never have been started */
        x->e->extended_bytes -= x->held;
    x->held = 0;
    blob_unref(x->whole);
    x->whole = NULL;
}

/* ---- between nodes ----------------------------------------------------------------------- */

static bool is_extended(const struct extended *x, const struct sibling *s)
{
    return s->value != NULL && s->value->len > x->base.len && s->manifest_len == 0 &&
           dot_equal(&s->value_dot, &x->value_dot);
}

bool extend_describe(const struct extended *x, const struct peer_put *m, struct buf *body)
{
    struct blob *whole = NULL;
    struct peer_extend d = {.base = x->base, .value_dot = x->value_dot, .put = *m};
    if (extension_is_none(&x->base))
        return false;
    d.put.object = OBJECT_EMPTY;
    object_copy(&d.put.object, &m->object);
    for (uint32_t i = 0; i < d.put.object.n; i++) {
        struct sibling *s = &d.put.object.siblings[i];
        if (!is_extended(x, s))
            continue;
        blob_unref(whole);
        whole = s->value; /* taken */
        s->value = NULL;
    }
    if (whole != NULL) {
        d.suffix = slice_of(whole->data + x->base.len, whole->len - (size_t)x->base.len);
        peer_extend_encode(&d, body);
    }
    object_release(&d.put.object);
    bool described = whole != NULL;
    blob_unref(whole);
    return described;
}

void extend_attach(const struct extend *x, const struct dot *value_dot, struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++) {
        struct sibling *s = &o->siblings[i];
        if (s->value != NULL || s->type != SIBLING_FILE || s->manifest_len != 0 ||
            s->size != x->whole->len || !dot_equal(&s->value_dot, value_dot) ||
            !digest_equal(s->value_hash, x->hash))
            continue;
        s->value = blob_ref(x->whole);
    }
}
