/* SPDX-License-Identifier: Apache-2.0 */
/* How a partition's states come into its file (see archive_job.c). They are fetched in the order in
 * which they are written, so that no more than an answer is ever held; values that do not fit into
 * one are fetched by themselves. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/archive_private.h"

#define STALE_MAX 20u

/* ---- fetching ---------------------------------------------------------------------------- */

static bool is_source(const struct save_job *j, uint64_t node)
{
    for (uint32_t i = 0; i < j->n_sources; i++)
        if (j->sources[i].node == node)
            return true;
    return false;
}

static bool has_unread(const struct save_item *it)
{
    for (uint32_t i = 0; i < it->n_wants; i++)
        if (it->wants[i].unread)
            return true;
    return false;
}

/* An acknowledged write may be missing: it may be on the stand-in, or on the voters, that cannot
 * read what they have of this key. */
static bool lacks(const struct save_job *j, const struct save_item *it)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < it->n_wants; i++) {
        if (it->wants[i].unread && !is_source(j, it->wants[i].node))
            return true;
        voters += it->wants[i].unread;
    }
    return voters + j->least > j->n_sources;
}

/* What the earlier file had and no copy has any more is left out, if all copies could be read. */
static bool stays(const struct save_job *j, const struct save_item *it, const struct save_row *row)
{
    return row->wanted || has_unread(it) ||
           (j->n_sources < j->owners && save_hash_known(row->hash));
}

/* False: the file cannot be written. */
static bool write_items(struct save_job *j)
{
    for (; j->written < j->n_items; j->written++) {
        struct save_item *it = &j->items[j->written];
        if (save_item_next(it) != NULL)
            break;
        j->lacking += lacks(j, it);
        for (uint32_t i = 0; i < it->n_rows; i++) {
            const struct save_row *row = &it->rows[i];
            if (!stays(j, it, row))
                continue;
            int err = archive_put(&j->writer, buf_slice(&row->raw), row->value_bytes);
            if (err != DYN_OK) {
                char name[ARCHIVE_NAME_MAX];
                archive_name(j->kind, j->partition, j->s->now.run, name);
                save_job_archive_failed(j, name, err);
                return false;
            }
            j->rows++;
            j->kept += i < it->n_base;
        }
        save_item_release(it);
    }
    return true;
}

static void begin_values(struct save_job *j, struct save_item *it, struct save_want *want,
                         const struct range_row *row)
{
    struct reader in;
    buf_clear(&j->state_body);
    buf_put_slice(&j->state_body, row->raw);
    in = reader_of(buf_slice(&j->state_body));
    object_release(&j->state_row.object);
    range_sealed_read(&in, &j->state_row);
    assert(reader_ok(&in));
    j->state_item = it;
    j->state_want = want;
    j->at_sibling = 0;
    j->state = JOB_VALUES;
}

static void fetched(struct save_job *j, struct save_item *it, const struct range_row *row)
{
    save_item_add(it, row);
    it->rows[it->n_rows - 1].wanted = true;
    j->s->progress.bytes += save_value_bytes(&row->object);
}

/* The answer's rows are the first of those that were asked for, less what has gone meanwhile. */
static void take_states(struct save_job *j, const struct range_reply *reply, uint64_t node)
{
    uint32_t r = 0, left = j->asked;
    for (uint32_t i = j->written; i < j->n_items && left > 0; i++) {
        struct save_item *it = &j->items[i];
        struct save_want *want = save_item_next(it);
        if (want == NULL)
            continue;
        assert(want->node == node);
        left--;
        if (r == reply->n && reply->more)
            return;
        bool here = r < reply->n && slice_equal(reply->rows[r].key, buf_slice(&it->key));
        if (here && !object_values_loaded(&reply->rows[r].object)) {
            begin_values(j, it, want, &reply->rows[r]);
            return; /* what comes after it is asked for again */
        }
        if (here)
            fetched(j, it, &reply->rows[r]);
        r += here;
        want->done = true;
    }
}

static void on_states(struct save_job *j, uint32_t source, int err, struct slice body)
{
    struct buf keep = BUF_EMPTY;
    struct range_reply reply = {.n = 0};
    struct save_want *want = save_item_next(&j->items[j->written]);
    (void)source;
    j->asking--;
    err = save_open_reply(body, RANGE_SEALED, err, &keep, &reply);
    if (err == DYN_OK && reply.n == 0 && reply.more)
        err = DYN_ERR_PROTOCOL;
    if (err == DYN_ERR_CORRUPT && !save_hash_known(want->hash)) { /* the first one's row */
        want->done = want->unread = true;
        err = DYN_OK;
    } else if (err == DYN_OK) {
        take_states(j, &reply, want->node);
    }
    range_reply_release(&reply);
    buf_release(&keep);
    if (err != DYN_OK)
        save_job_again(j, err, want->node);
    else
        save_job_step(j);
}

void save_fetch_more(struct save_job *j)
{
    struct range_row rows[RANGE_ROWS_MAX];
    struct archive_request q = {.op = ARCHIVE_FETCH, .range.rows = rows};
    uint64_t node = 0;
    if (!write_items(j))
        return;
    for (uint32_t i = j->written; i < j->n_items && q.range.n < RANGE_ROWS_MAX; i++) {
        struct save_want *want = save_item_next(&j->items[i]);
        if (want == NULL)
            continue;
        if (q.range.n > 0 && want->node != node)
            break;
        node = want->node;
        rows[q.range.n++] =
            (struct range_row){.kind = RANGE_OBJECT, .key = buf_slice(&j->items[i].key)};
        if (want + 1 != j->items[i].wants + j->items[i].n_wants)
            break; /* it has more than one state to come */
    }
    j->asked = q.range.n;
    if (q.range.n > 0) {
        save_job_ask(j, 0, node, &q, on_states);
        return;
    }
    j->n_items = j->written = 0;
    j->state = JOB_LISTING;
    save_job_step(j);
}

/* ---- values one by one ------------------------------------------------------------------- */

static void on_value(void *arg, const struct get_reply *reply)
{
    struct save_question *q = arg;
    struct save_job *j = q->j;
    bool mine = q->turn == j->turn;
    j->s->outstanding--;
    free(q);
    if (!mine)
        return;
    struct sibling *s = &j->state_row.object.siblings[j->at_sibling];
    const struct sibling *found =
        reply->status == DYN_OK ? object_find_value(&reply->object, &s->value_dot) : NULL;
    bool ok = found != NULL && found->value != NULL &&
              memcmp(found->value_hash, s->value_hash, DIGEST_LEN) == 0 &&
              found->value->len == sibling_value_len(s);
    if (ok) {
        s->value = blob_ref(found->value);
        j->s->progress.bytes += found->value->len;
    } else if (reply->status == DYN_ERR_STALE && j->stale++ < STALE_MAX) {
        j->state = JOB_FETCHING; /* superseded meanwhile: what is there now */
        save_job_step(j);
        return;
    } else if (reply->status != DYN_OK && reply->status != DYN_ERR_NOT_FOUND &&
               reply->status != DYN_ERR_STALE) {
        save_job_again(j, reply->status, j->state_want->node);
        return;
    } else {
        j->lacking++; /* no copy has it: the others are saved all the same */
    }
    j->at_sibling++;
    save_job_step(j);
}

void save_next_value(struct save_job *j)
{
    struct object *o = &j->state_row.object;
    while (j->at_sibling < o->n) {
        const struct sibling *s = &o->siblings[j->at_sibling];
        if (sibling_live(s) && s->size > 0 && s->value == NULL)
            break;
        j->at_sibling++;
    }
    if (j->at_sibling == o->n) {
        uint32_t before = j->state_item->n_rows;
        save_item_add_split(j->state_item, &j->state_row);
        for (uint32_t i = before; i < j->state_item->n_rows; i++)
            j->state_item->rows[i].wanted = true;
        j->state_want->done = true;
        object_release(&j->state_row.object);
        j->state = JOB_FETCHING;
        save_job_step(j);
        return;
    }
    struct save_question *q = mem_new(struct save_question);
    struct get_request get = {.key = j->state_row.key,
                              .want = GET_DOT,
                              .value_dot = o->siblings[j->at_sibling].value_dot};
    *q = (struct save_question){.j = j, .turn = j->turn};
    j->s->outstanding++;
    j->s->kv.get(j->s->kv.ctx, &get, on_value, q);
}
