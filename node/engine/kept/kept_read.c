/* SPDX-License-Identifier: Apache-2.0 */
/* What this node keeps of one key: SCAN (the rows) -> VALUES (those that are wanted, one by one) ->
 * done. No lock: between the two a version may go, and its value is then not there. */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/kept/kept.h"

#define SCAN_BYTES (8u << 20)

static void next_value(struct kept_read *r);

static bool wants(const struct kept_read *r, const struct sibling *s)
{
    if (s->value != NULL || s->size == 0)
        return false;
    return r->want == KEPT_VALUE || (r->want == KEPT_MANIFESTS && s->manifest_len != 0);
}

static void on_value(struct store_get *req, int err, struct slice value)
{
    struct kept_read *r = req->arg;
    struct sibling *s = &r->list.k[r->next].object.siblings[0];
    uint8_t hash[DIGEST_LEN];
    if (err != DYN_OK && err != DYN_ERR_NOT_FOUND && err != DYN_ERR_CORRUPT) {
        r->done(r, err);
        return;
    }
    if (err == DYN_OK && value.len == sibling_value_len(s)) {
        digest_sha256(value, hash);
        if (digest_equal(hash, s->value_hash))
            s->value = blob_new(value.data, value.len);
    }
    r->loaded += s->value != NULL ? value.len : 0;
    r->next++;
    next_value(r);
}

static void next_value(struct kept_read *r)
{
    for (; r->next < r->list.n; r->next++) {
        const struct sibling *s = kept_version(&r->list.k[r->next]);
        if (!wants(r, s))
            continue;
        if (r->loaded != 0 && r->loaded + sibling_value_len(s) > r->e->cfg.frame_values_max) {
            r->cut = true;
            continue;
        }
        buf_clear(&r->row);
        row_value(&r->at, r->key, &s->value_dot, &r->row);
        r->get = (struct store_get){
            .family = STORE_VALUE, .key = buf_slice(&r->row), .done = on_value, .arg = r};
        r->e->ports.store.get(r->e->ports.store.ctx, &r->get);
        return;
    }
    r->done(r, DYN_OK);
}

static void on_scanned(struct store_scan *req, int err, bool more)
{
    struct kept_read *r = req->arg;
    r->cut |= more;
    if (err != DYN_OK)
        r->done(r, err);
    else
        next_value(r);
}

static bool on_row(struct store_scan *req, struct slice key, struct slice value)
{
    struct kept_read *r = req->arg;
    struct reader in = reader_of(value);
    struct kept k = {.object = OBJECT_EMPTY};
    (void)key;
    kept_decode(&in, &k);
    bool good = reader_done(&in);
    if (good && r->want == KEPT_VALUE)
        good = dot_equal(&kept_version(&k)->dot, &r->dot);
    if (good)
        kept_list_add(&r->list, &k);
    else
        kept_release(&k); /* a row of a later version, or not what is wanted */
    return true;
}

void kept_read_start(struct kept_read *r)
{
    r->at = place_of(r->e->ring, r->key);
    row_kept_prefix(&r->at, r->key, &r->row);
    r->scan = (struct store_scan){.family = STORE_HINT,
                                  .prefix = buf_slice(&r->row),
                                  .max_rows = KEPT_LIST_MAX,
                                  .max_bytes = SCAN_BYTES,
                                  .row = on_row,
                                  .done = on_scanned,
                                  .arg = r};
    r->e->ports.store.scan(r->e->ports.store.ctx, &r->scan);
}

void kept_read_release(struct kept_read *r)
{
    kept_list_release(&r->list);
    buf_release(&r->row);
}
