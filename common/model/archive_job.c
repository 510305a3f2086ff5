/* SPDX-License-Identifier: Apache-2.0 */
/* One partition on its way into an archive:
 *
 *   ROOTS    of all voters' trees: is it as it was?                    --yes--> over
 *   HINTED   which keys do others keep for them?
 *   LISTING  a page of each voter's keys, with hashes; merged key by key with those of the file
 *            that is there, all in the order of positions
 *   FETCHING the states that are in no file yet, a few at a time, in that order; VALUES that did
 *            not fit into an answer one by one                         --> LISTING
 *   LISTING  --nothing is left--> the new file is closed               --> over
 *   any      --a node fails, or knows other owners--> PAUSED --> ROOTS, without those that are down
 *
 * A node that fails in the middle has given a part of its keys, which is worth nothing: so all is
 * done again, a few times. A file is there when it is whole. A copy that its node cannot read is
 * counted as lacking, unless those that can be read are enough by themselves. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/archive_private.h"

#define ATTEMPTS 12u
#define AGAIN_US 1000000u
#define CALL_US 5000000u

static void begin(struct save_job *j);

static uint64_t now(const struct save_job *j)
{
    return j->s->cfg.time.mono_us(j->s->cfg.time.ctx);
}

static struct ring *ring_now(const struct save_job *j)
{
    return client_ring(j->s->cfg.client);
}

/* ---- life -------------------------------------------------------------------------------- */

static void drop_page(struct save_source *src)
{
    range_reply_release(&src->page);
    buf_release(&src->body);
    src->at = 0;
}

static void clear(struct save_job *j)
{
    for (uint32_t i = 0; i < j->n_sources; i++)
        drop_page(&j->sources[i]);
    for (uint32_t i = 0; i < j->n_hinted; i++)
        buf_release(&j->hinted[i].key);
    free(j->hinted);
    j->hinted = NULL;
    for (uint32_t i = 0; i < j->n_items; i++)
        save_item_release(&j->items[i]);
    if (j->at_base)
        object_release(&j->base_row.object);
    if (j->has_base)
        archive_close(&j->base);
    if (j->writing)
        archive_abandon(&j->writer);
    object_release(&j->state_row.object);
    buf_release(&j->state_body);
    buf_release(&j->cursor);
    j->n_sources = j->n_hinted = j->at_hinted = j->n_items = j->written = 0;
    j->at_base = j->has_base = j->base_ended = j->writing = false;
    j->turn++;
    j->asking = 0;
}

static void on_timer(struct timer *t, void *arg)
{
    (void)t;
    begin(arg);
}

struct save_job *save_job_new(struct archive_save *s)
{
    struct save_job *j = mem_new(struct save_job);
    j->s = s;
    timer_init(&j->timer, on_timer, j);
    return j;
}

void save_job_free(struct save_job *j)
{
    if (j == NULL)
        return;
    timer_cancel(j->s->cfg.timers, &j->timer);
    clear(j);
    free(j);
}

bool save_job_idle(const struct save_job *j)
{
    return j->state == JOB_IDLE;
}

static void over(struct save_job *j, int err)
{
    clear(j);
    j->state = JOB_IDLE;
    save_job_ended(j, err);
}

/* The archive itself fails: nothing is to be tried again. */
void save_job_archive_failed(struct save_job *j, const char *name, int err)
{
    save_failed(j->s, err, mem_printf("%s: %s", name, dyn_err_message(err)));
    over(j, err);
}

static bool is_unreadable(const struct save_job *j, uint64_t node)
{
    for (uint32_t i = 0; i < j->n_unreadable; i++)
        if (j->unreadable[i] == node)
            return true;
    return false;
}

/* Not so; from the start, a little later. */
void save_job_again(struct save_job *j, int err, uint64_t node)
{
    int status = err == DYN_ERR_CORRUPT ? DYN_ERR_IO : err; /* corrupt are files of the archive */
    if (++j->attempt >= ATTEMPTS || j->s->err != DYN_OK) {
        char *what =
            node == 0 ? mem_printf("partition %" PRIu32, j->partition)
                      : mem_printf("partition %" PRIu32 " at node %016" PRIx64, j->partition, node);
        save_failed(j->s, status, mem_printf("%s: %s", what, dyn_err_message(err)));
        free(what);
        over(j, status);
        return;
    }
    if (err == DYN_ERR_CORRUPT && j->n_unreadable < SAVE_SOURCES_MAX && !is_unreadable(j, node))
        j->unreadable[j->n_unreadable++] = node; /* without it, if that can be done */
    clear(j);
    j->state = JOB_PAUSED;
    if (err == DYN_ERR_REFUSED)
        save_learn(j->s); /* it knows other owners */
    timer_set(j->s->cfg.timers, &j->timer, now(j) + AGAIN_US);
}

/* ---- asking ------------------------------------------------------------------------------ */

static void on_answer(void *arg, int err, struct slice body)
{
    struct save_question *q = arg;
    struct save_job *j = q->j;
    j->s->outstanding--;
    if (q->turn == j->turn)
        q->answered(j, q->source, err, body);
    free(q);
}

void save_job_ask(struct save_job *j, uint32_t source, uint64_t node,
                  struct archive_request *request,
                  void (*answered)(struct save_job *j, uint32_t source, int err, struct slice body))
{
    struct save_question *q = mem_new(struct save_question);
    struct buf body = BUF_EMPTY;
    struct ring *ring = ring_now(j);
    *q = (struct save_question){j, j->turn, source, answered};
    request->range.ring = *ring_epoch(ring);
    request->range.fence = ring_fence(ring, j->partition);
    request->range.partition = j->partition;
    archive_request_encode(request, &body);
    j->s->outstanding++;
    j->asking++;
    client_call(j->s->cfg.client, node, FRAME_ARCHIVE, &body,
                j->s->cfg.call_us != 0 ? j->s->cfg.call_us : CALL_US, on_answer, q);
}

/* A reply of rows in this form, or why not. */
int save_open_reply(struct slice body, enum range_form form, int err, struct buf *keep,
                    struct range_reply *reply)
{
    if (err != DYN_OK)
        return err;
    buf_clear(keep);
    buf_put_slice(keep, body);
    err = range_reply_decode(buf_slice(keep), reply);
    if (err == DYN_ERR_CORRUPT)
        err = DYN_ERR_PROTOCOL; /* on its way */
    else if (err == DYN_OK && reply->status != DYN_OK)
        err = reply->status;
    else if (err == DYN_OK && reply->form != form)
        err = DYN_ERR_PROTOCOL;
    if (err != DYN_OK)
        range_reply_release(reply);
    return err;
}

/* ---- roots ------------------------------------------------------------------------------- */

static bool unchanged(const struct save_job *j, const struct archive_head *head,
                      const struct archive_foot *foot)
{
    const struct archive_root *root = &j->sources[0].root;
    return j->level && foot->level && foot->a == root->a && foot->b == root->b &&
           foot->lacking == 0 && head->cluster == ring_cluster(j->s->ring) &&
           head->q == j->s->now.q && head->partition == j->partition && head->kind == j->kind;
}

/* The file that is there stays. */
static void keep_file(struct save_job *j, uint64_t run, const struct archive_foot *foot)
{
    struct archive_part *part = archive_manifest_part(&j->s->now, j->kind, j->partition);
    *part = (struct archive_part){.run = run, .foot = *foot};
    j->s->progress.unchanged++;
    over(j, DYN_OK);
}

static int open_base(struct save_job *j, const char *name)
{
    int err = archive_open(&j->base, &j->s->cfg.port, name);
    if (err != DYN_OK)
        return err;
    j->has_base = true;
    const struct archive_head *h = &j->base.head;
    bool fits = h->cluster == ring_cluster(j->s->ring) && h->q == j->s->now.q &&
                h->partition == j->partition && h->kind == j->kind;
    return fits ? DYN_OK : DYN_ERR_CORRUPT;
}

static void write_begin(struct save_job *j)
{
    struct archive_save *s = j->s;
    char name[ARCHIVE_NAME_MAX];
    const struct archive_head head = {.cluster = ring_cluster(s->ring),
                                      .q = s->now.q,
                                      .partition = j->partition,
                                      .kind = j->kind};
    archive_name(j->kind, j->partition, s->now.run, name);
    int err = archive_begin(&j->writer, &s->cfg.port, name, &head);
    if (err != DYN_OK) {
        save_job_archive_failed(j, name, err);
        return;
    }
    j->writing = true;
    j->writer.foot.begun_ms = s->cfg.time.wall_ns(s->cfg.time.ctx) / 1000000;
    j->writer.foot.copies = j->n_sources;
    j->writer.foot.owners = j->owners;
    j->writer.foot.level = j->level;
    if (j->level) {
        j->writer.foot.a = j->sources[0].root.a;
        j->writer.foot.b = j->sources[0].root.b;
    }
    j->state = JOB_HINTED;
    save_job_step(j);
}

static void compare(struct save_job *j)
{
    struct archive_save *s = j->s;
    char *name = j->base_name;
    uint64_t run;
    struct archive_head head;
    struct archive_foot foot;
    j->level = j->n_sources == j->owners && s->n_standins == 0;
    for (uint32_t i = 0; i < j->n_sources; i++) {
        const struct archive_root *root = &j->sources[i].root;
        j->level &= root->status == DYN_OK && root->a == j->sources[0].root.a &&
                    root->b == j->sources[0].root.b;
    }
    if (save_base(s, j->kind, j->partition, name, &run)) {
        int err = archive_foot_read(&s->cfg.port, name, &head, &foot);
        if (err == DYN_OK && unchanged(j, &head, &foot)) {
            keep_file(j, run, &foot);
            return;
        }
        if (err == DYN_OK)
            err = open_base(j, name);
        j->poor = err == DYN_OK && foot.lacking > 0;
        if (err != DYN_OK) {
            save_job_archive_failed(j, name, err);
            return;
        }
    }
    write_begin(j);
}

/* Nodes that may have forgotten what they acknowledged say so. */
static void drop_voteless(struct save_job *j)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < j->n_sources; i++)
        if (j->sources[i].root.status != DYN_ERR_OVERLOAD)
            j->sources[n++] = j->sources[i];
    j->n_sources = n;
}

static void on_root(struct save_job *j, uint32_t source, int err, struct slice body)
{
    struct save_source *src = &j->sources[source];
    if (err == DYN_OK)
        err = archive_root_decode(body, &src->root);
    if (err == DYN_OK && src->root.status != DYN_OK && src->root.status != DYN_ERR_NOT_FOUND &&
        src->root.status != DYN_ERR_OVERLOAD)
        err = src->root.status;
    if (err != DYN_OK && j->err == DYN_OK) {
        j->err = err;
        j->err_node = src->node;
    }
    if (--j->asking > 0)
        return;
    drop_voteless(j);
    if (j->err != DYN_OK)
        save_job_again(j, j->err, j->err_node);
    else if (j->n_sources < j->least)
        save_job_again(j, DYN_ERR_NO_QUORUM, 0);
    else
        compare(j);
}

/* Who votes on it and is up. Fewer than N - W + 1 may all have missed an acknowledged write. */
static bool choose_sources(struct save_job *j)
{
    struct ring *ring = ring_now(j);
    uint64_t nodes[SAVE_SOURCES_MAX];
    uint32_t n = ring_n(ring), w = ring_w(ring);
    n = n < SAVE_SOURCES_MAX ? n : SAVE_SOURCES_MAX;
    uint32_t voters = ring_voters(ring, j->partition, n);
    voters = ring_preference_list(ring, j->partition, n, nodes, voters);
    j->owners = voters;
    for (uint32_t i = 0; i < voters; i++)
        if (client_node_up(j->s->cfg.client, nodes[i]) && !is_unreadable(j, nodes[i]))
            j->sources[j->n_sources++] = (struct save_source){.node = nodes[i]};
    j->least = voters + 1 > w ? voters + 1 - w : 1;
    return j->n_sources >= j->least;
}

static void begin(struct save_job *j)
{
    j->state = JOB_ROOTS;
    j->err = DYN_OK;
    j->poor = false;
    j->rows = j->kept = 0;
    j->lacking = j->stale = j->at_standin = 0;
    if (!choose_sources(j)) {
        if (j->n_unreadable > 0)
            save_job_again(j, DYN_ERR_IO, j->unreadable[0]);
        else
            save_job_again(j, DYN_ERR_NO_QUORUM, 0);
        return;
    }
    uint32_t n = j->n_sources;
    for (uint32_t i = 0; i < n; i++) {
        struct archive_request q = {.op = ARCHIVE_ROOT};
        save_job_ask(j, i, j->sources[i].node, &q, on_root);
    }
}

void save_job_start(struct save_job *j, enum archive_kind kind, uint32_t partition)
{
    assert(j->state == JOB_IDLE);
    j->kind = kind;
    j->partition = partition;
    j->attempt = 0;
    j->n_unreadable = 0;
    begin(j);
}

/* ---- what others keep -------------------------------------------------------------------- */

static int by_order(const void *a, const void *b)
{
    const struct save_hinted *x = a, *y = b;
    return save_order(&x->position, buf_slice(&x->key), &y->position, buf_slice(&y->key));
}

static bool of_this_kind(const struct save_job *j, struct slice key)
{
    return key_internal(key) == (j->kind == ARCHIVE_CHUNKS);
}

static void on_hinted(struct save_job *j, uint32_t source, int err, struct slice body)
{
    struct range_reply reply = {.n = 0};
    struct buf keep = BUF_EMPTY;
    const struct save_standin *in = &j->s->standins[j->at_standin];
    (void)source;
    j->asking--;
    err = save_open_reply(body, RANGE_HASHES, err, &keep, &reply);
    for (uint32_t i = 0; err == DYN_OK && i < reply.n; i++) {
        if (!of_this_kind(j, reply.rows[i].key))
            continue;
        j->hinted = mem_reallocarray(j->hinted, j->n_hinted + 1, sizeof(*j->hinted));
        struct save_hinted *h = &j->hinted[j->n_hinted++];
        *h = (struct save_hinted){.position = position_of(reply.rows[i].key), .node = in->node};
        buf_put_slice(&h->key, reply.rows[i].key);
    }
    buf_clear(&j->cursor);
    if (err == DYN_OK && reply.more)
        buf_put_slice(&j->cursor, reply.cursor);
    else
        j->at_standin++;
    range_reply_release(&reply);
    buf_release(&keep);
    if (err != DYN_OK)
        save_job_again(j, err, in->node);
    else
        save_job_step(j);
}

static void ask_standins(struct save_job *j)
{
    if (j->at_standin < j->s->n_standins) {
        const struct save_standin *in = &j->s->standins[j->at_standin];
        struct archive_request q = {
            .op = ARCHIVE_HINTED, .target = in->target, .range.after = buf_slice(&j->cursor)};
        save_job_ask(j, 0, in->node, &q, on_hinted);
        return;
    }
    if (j->n_hinted > 1)
        qsort(j->hinted, j->n_hinted, sizeof(*j->hinted), by_order);
    j->state = JOB_LISTING;
    save_job_step(j);
}

/* ---- merging lists ----------------------------------------------------------------------- */

/* Past rows that are not of this kind. */
static void settle(struct save_job *j, struct save_source *src)
{
    while (src->at < src->page.n && !of_this_kind(j, src->page.rows[src->at].key))
        src->at++;
    if (src->at < src->page.n)
        src->position = position_of(src->page.rows[src->at].key);
}

static void on_list(struct save_job *j, uint32_t source, int err, struct slice body)
{
    struct save_source *src = &j->sources[source];
    struct buf keep = BUF_EMPTY;
    struct range_reply reply = {.n = 0};
    j->asking--;
    err = save_open_reply(body, RANGE_HASHES, err, &keep, &reply);
    if (err != DYN_OK) {
        buf_release(&keep);
        save_job_again(j, err, src->node);
        return;
    }
    drop_page(src);
    src->page = reply;
    src->body = keep;
    src->ended = !reply.more || reply.cursor.len == 0;
    settle(j, src);
    if (j->asking == 0)
        save_job_step(j);
}

/* Asks for the pages that are missing; false: none is. */
static bool ask_lists(struct save_job *j)
{
    uint32_t n = j->n_sources;
    for (uint32_t i = 0; i < n; i++) {
        struct save_source *src = &j->sources[i];
        if (src->ended || src->at < src->page.n)
            continue;
        struct archive_request q = {.op = ARCHIVE_LIST, .range.after = src->page.cursor};
        save_job_ask(j, i, src->node, &q, on_list);
    }
    return j->asking > 0;
}

/* The next row of the earlier file; false: it is damaged, and the job over. */
static bool load_base(struct save_job *j)
{
    if (!j->has_base || j->at_base || j->base_ended)
        return true;
    int err = archive_next(&j->base, &j->base_row);
    if (err == DYN_OK) {
        j->at_base = true;
        j->base_position = position_of(j->base_row.key);
        return true;
    }
    if (err == DYN_ERR_NOT_FOUND) {
        j->base_ended = true;
        return true;
    }
    save_job_archive_failed(j, j->base_name, err);
    return false;
}

static struct slice source_key(const struct save_source *src)
{
    return src->page.rows[src->at].key;
}

/* The least key of all heads; false: there is none. */
static bool least(struct save_job *j, struct position *position, struct slice *key)
{
    bool found = false;
    for (uint32_t i = 0; i < j->n_sources + 2; i++) {
        const struct position *p;
        struct slice k;
        if (i < j->n_sources) {
            const struct save_source *src = &j->sources[i];
            if (src->at == src->page.n)
                continue;
            p = &src->position;
            k = source_key(src);
        } else if (i == j->n_sources) {
            if (j->at_hinted == j->n_hinted)
                continue;
            p = &j->hinted[j->at_hinted].position;
            k = buf_slice(&j->hinted[j->at_hinted].key);
        } else {
            if (!j->at_base)
                continue;
            p = &j->base_position;
            k = j->base_row.key;
        }
        if (found && save_order(p, k, position, *key) >= 0)
            continue;
        *position = *p;
        *key = k;
        found = true;
    }
    return found;
}

/* The rows of the earlier file about this key; false as load_base. */
static bool take_base(struct save_job *j, struct save_item *it)
{
    while (j->at_base && slice_equal(j->base_row.key, buf_slice(&it->key))) {
        save_item_add(it, &j->base_row);
        if (j->poor && !(j->base_row.prefix == 0 && object_values_loaded(&j->base_row.object)))
            memset(it->rows[it->n_rows - 1].hash, 0, DIGEST_LEN); /* perhaps there is more of it */
        j->batch_bytes += j->base_row.raw.len;
        object_release(&j->base_row.object);
        j->at_base = false;
        it->n_base = it->n_rows;
        if (!load_base(j))
            return false;
    }
    return true;
}

static bool take_key(struct save_job *j, const struct position *position, struct slice key)
{
    struct save_item *it = &j->items[j->n_items++];
    static const uint8_t unknown[DIGEST_LEN] = {0};
    *it = (struct save_item){.position = *position};
    buf_put_slice(&it->key, key);
    if (!take_base(j, it))
        return false;
    for (uint32_t i = 0; i < j->n_sources; i++) {
        struct save_source *src = &j->sources[i];
        if (src->at == src->page.n || !slice_equal(source_key(src), buf_slice(&it->key)))
            continue;
        save_item_state(it, src->page.rows[src->at].hash, src->node);
        src->at++;
        settle(j, src);
    }
    for (; j->at_hinted < j->n_hinted; j->at_hinted++) {
        const struct save_hinted *h = &j->hinted[j->at_hinted];
        if (!slice_equal(buf_slice(&h->key), buf_slice(&it->key)))
            break;
        save_item_state(it, unknown, h->node);
    }
    return true;
}

static bool lists_at_hand(const struct save_job *j)
{
    for (uint32_t i = 0; i < j->n_sources; i++)
        if (j->sources[i].at == j->sources[i].page.n && !j->sources[i].ended)
            return false;
    return true;
}

static void close_file(struct save_job *j)
{
    struct archive_save *s = j->s;
    char name[ARCHIVE_NAME_MAX];
    archive_name(j->kind, j->partition, s->now.run, name);
    j->writer.foot.lacking = j->lacking;
    j->writing = false;
    struct archive_part part = {.run = s->now.run};
    int err = archive_end(&j->writer);
    part.foot = j->writer.foot;
    if (err != DYN_OK) {
        save_job_archive_failed(j, name, err);
        return;
    }
    *archive_manifest_part(&s->now, j->kind, j->partition) = part;
    s->progress.rows += j->rows;
    s->progress.kept += j->kept;
    over(j, DYN_OK);
}

static void list_more(struct save_job *j)
{
    struct position position;
    struct slice key;
    if (ask_lists(j))
        return;
    j->batch_bytes = 0;
    while (j->n_items < SAVE_BATCH && j->batch_bytes < SAVE_BATCH_BYTES && lists_at_hand(j)) {
        if (!load_base(j))
            return;
        if (!least(j, &position, &key))
            break;
        if (!take_key(j, &position, key))
            return;
    }
    if (j->n_items > 0) {
        j->state = JOB_FETCHING;
        save_job_step(j);
    } else if (lists_at_hand(j)) {
        close_file(j);
    } else {
        save_job_step(j); /* a page had nothing of this kind */
    }
}

/* ---- the next step ----------------------------------------------------------------------- */

void save_job_step(struct save_job *j)
{
    switch (j->state) {
    case JOB_HINTED:
        ask_standins(j);
        return;
    case JOB_LISTING:
        list_more(j);
        return;
    case JOB_FETCHING:
        save_fetch_more(j);
        return;
    case JOB_VALUES:
        save_next_value(j);
        return;
    default:
        assert(false && "no step from here");
    }
}
