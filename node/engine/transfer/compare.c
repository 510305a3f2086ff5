/* SPDX-License-Identifier: Apache-2.0 */
/* See compare.h. All rows of a list are read at once: they lie together. */
#include "engine/transfer/compare.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

struct compare_row {
    struct compare *compare;
    enum row_kind kind;
    uint8_t *key;
    size_t key_len;
    uint8_t hash[DIGEST_LEN];
    bool wanted;
    struct replica_read read;
    bool reading;
};

static void settled(struct compare *c)
{
    if (--c->n_active == 0)
        c->done(c);
}

static void on_own(struct replica_read *r, int err)
{
    struct compare_row *row = r->arg;
    uint8_t hash[DIGEST_LEN];
    row->reading = false;
    row->wanted = true;
    if (err == DYN_OK) {
        object_hash(&r->object, hash);
        row->wanted = memcmp(hash, row->hash, DIGEST_LEN) != 0;
    }
    replica_read_release(r);
    settled(row->compare);
}

void compare_start(struct compare *c, const struct range_reply *list)
{
    compare_release(c);
    c->rows = mem_zalloc((list->n + 1) * sizeof(*c->rows));
    c->n = list->n;
    for (uint32_t i = 0; i < c->n; i++) {
        const struct range_row *listed = &list->rows[i];
        c->rows[i] = (struct compare_row){.compare = c,
                                          .kind = (enum row_kind)listed->kind,
                                          .key = mem_dup(listed->key.data, listed->key.len),
                                          .key_len = listed->key.len};
        memcpy(c->rows[i].hash, listed->hash, DIGEST_LEN);
    }
    c->n_active = c->n + 1; /* this loop: reads may end inside */
    for (uint32_t i = 0; i < c->n; i++) {
        struct compare_row *row = &c->rows[i];
        row->read = (struct replica_read){.e = c->e,
                                          .key = slice_of(row->key, row->key_len),
                                          .load = LOAD_NONE,
                                          .entry = row->kind == ROW_ENTRY,
                                          .done = on_own,
                                          .arg = row};
        row->reading = true;
        replica_read_start(&row->read);
    }
    settled(c);
}

bool compare_busy(const struct compare *c)
{
    return c->n_active > 0;
}

uint32_t compare_wanted(const struct compare *c, struct range_row *out)
{
    uint32_t n = 0;
    assert(c->n <= RANGE_ROWS_MAX);
    for (uint32_t i = 0; i < c->n; i++) {
        const struct compare_row *row = &c->rows[i];
        if (row->wanted)
            out[n++] = (struct range_row){.kind = (uint8_t)row->kind,
                                          .key = slice_of(row->key, row->key_len)};
    }
    return n;
}

void compare_fetched(struct compare *c, uint32_t n)
{
    for (uint32_t i = 0; i < c->n && n > 0; i++) {
        n -= c->rows[i].wanted;
        c->rows[i].wanted = false;
    }
}

void compare_release(struct compare *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->rows[i].reading)
            replica_read_release(&c->rows[i].read);
        free(c->rows[i].key);
    }
    free(c->rows);
    c->rows = NULL;
    c->n = c->n_active = 0;
}
