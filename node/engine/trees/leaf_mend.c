/* SPDX-License-Identifier: Apache-2.0 */
/* See leaf_mend.h. The sum and the rows are read without a lock; when a row of the leaf has changed
 * meanwhile, which trees_handed() tells, all is read again. Nothing changes between that look and
 * the mending's batch, so what is added is what is wrong. */
#include "engine/trees/leaf_mend.h"

#include <assert.h>

#include "base/err.h"
#include "engine/trees/tree_private.h"

#define TRIES 8u

static void read_leaf(struct leaf_mend *m);

static void finish(struct leaf_mend *m)
{
    m->e->trees->mending = NULL;
    m->done(m);
}

static bool add_difference(struct leaf_mend *m)
{
    struct engine *e = m->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct tree_hash delta = m->sum;
    for (uint32_t i = 0; i < m->rows.n; i++)
        tree_hash_add(&delta, &m->rows.rows[i].hash);
    if (tree_hash_none(&delta) || e->failed != DYN_OK)
        return true;
    trees_mend(e->trees, &b, m->partition, m->leaf, &delta);
    int err = e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, NULL);
    trees_handed(e->trees, err == DYN_OK);
    store_batch_release(&b);
    return err == DYN_OK;
}

static void on_rows(struct leaf_rows *l, int err)
{
    struct leaf_mend *m = l->arg;
    bool again = err == DYN_OK && m->touched && ++m->tries < TRIES;
    if (err == DYN_OK && !m->touched && l->unreadable == 0)
        m->right = add_difference(m);
    leaf_rows_release(l);
    if (again)
        read_leaf(m);
    else
        finish(m);
}

static void on_sum(struct store_get *req, int err, struct slice value)
{
    struct leaf_mend *m = req->arg;
    uint32_t leaf;
    m->sum = (struct tree_hash){0, 0};
    if (err != DYN_ERR_NOT_FOUND &&
        (err != DYN_OK || !trees_leaf_sum(buf_slice(&m->row), value, &leaf, &m->sum))) {
        finish(m);
        return;
    }
    m->rows = (struct leaf_rows){
        .e = m->e, .partition = m->partition, .leaf = m->leaf, .done = on_rows, .arg = m};
    leaf_rows_read(&m->rows);
}

static void read_leaf(struct leaf_mend *m)
{
    m->touched = false;
    buf_clear(&m->row);
    trees_sum_row(m->e->trees, m->partition, m->leaf, &m->row);
    m->get = (struct store_get){
        .family = STORE_TREE, .key = buf_slice(&m->row), .done = on_sum, .arg = m};
    m->e->ports.store.get(m->e->ports.store.ctx, &m->get);
}

void leaf_mend_start(struct leaf_mend *m)
{
    struct trees *t = m->e->trees;
    assert(t->mending == NULL);
    m->tries = 0;
    m->row = BUF_EMPTY;
    m->rows = (struct leaf_rows){.rows = NULL};
    t->mending = m;
    m->right = !trees_complete(t);
    if (!m->right)
        read_leaf(m);
    else
        finish(m); /* those who build it count the row */
}

void leaf_mend_release(struct leaf_mend *m)
{
    if (m->e->trees->mending == m)
        m->e->trees->mending = NULL;
    leaf_rows_release(&m->rows);
    buf_release(&m->row);
}
