/* SPDX-License-Identifier: Apache-2.0 */
/* How rows get from an archive into a cluster: in messages to one node after the other, each of
 * which spreads its rows and says of each what became of it.
 *
 *   FILLED -> SENT -> all rows are stored                                             -> over
 *             SENT -> some are not, or the node does not answer -> PAUSED -> SENT, to another
 *             SENT -> refused for good, or tried too often             -> the restore fails */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/archive_load_private.h"

#define PARALLEL 8u
#define CALL_US 20000000u
#define AGAIN_US 1000000u
#define ATTEMPTS 20u

static void send(struct load_message *m);

static uint64_t now(const struct archive_load *l)
{
    return l->cfg.time.mono_us(l->cfg.time.ctx);
}

static void message_over(struct load_message *m)
{
    struct archive_load *l = m->l;
    timer_cancel(l->cfg.timers, &m->timer);
    buf_release(&m->rows);
    free(m);
    l->sending--;
    load_again(l);
}

/* Only rows whose status is not DYN_OK stay. Returns the first such status. */
static int keep_failed(struct load_message *m, const struct restore_reply *reply)
{
    struct buf left = BUF_EMPTY;
    uint32_t n = 0, begin = 0;
    int err = DYN_OK;
    for (uint32_t i = 0; i < m->n; i++) {
        uint32_t end = m->end[i];
        if (reply->rows[i] != DYN_OK) {
            err = err == DYN_OK ? reply->rows[i] : err;
            buf_put(&left, m->rows.data + begin, end - begin);
            m->end[n++] = (uint32_t)left.len;
        }
        begin = end;
    }
    m->l->progress.rows += m->n - n;
    buf_release(&m->rows);
    m->rows = left;
    m->n = n;
    return err;
}

static char *key_text(const struct load_message *m)
{
    struct reader r = reader_of(buf_slice(&m->rows));
    struct range_row row;
    struct buf text = BUF_EMPTY;
    range_sealed_read(&r, &row);
    object_release(&row.object);
    buf_put_percent(&text, row.key, "/ ");
    char *copy = mem_strndup((const char *)text.data, text.len);
    buf_release(&text);
    return copy;
}

static void message_failed(struct load_message *m, int err)
{
    char *key = key_text(m);
    load_failed(m->l, err,
                err == DYN_ERR_DENIED
                    ? mem_printf("'%s' does not have the seal of this cluster", key)
                    : mem_printf("'%s': %s", key, dyn_err_message(err)));
    free(key);
    message_over(m);
}

static void on_reply(void *arg, int err, struct slice body)
{
    struct load_message *m = arg;
    struct archive_load *l = m->l;
    struct restore_reply reply = {.n = 0};
    l->outstanding--;
    if (err == DYN_OK)
        err = restore_reply_decode(body, &reply);
    if (err == DYN_OK)
        err = reply.status;
    if (err == DYN_OK && reply.n != m->n)
        err = DYN_ERR_PROTOCOL;
    if (err == DYN_OK)
        err = keep_failed(m, &reply);
    restore_reply_release(&reply);
    if (err == DYN_OK) {
        l->progress.bytes += m->bytes;
        message_over(m);
        return;
    }
    bool final = err == DYN_ERR_DENIED || err == DYN_ERR_UNSUPPORTED || err == DYN_ERR_PROTOCOL;
    if (final || l->err != DYN_OK || ++m->attempt == ATTEMPTS)
        message_failed(m, err);
    else
        timer_set(l->cfg.timers, &m->timer, now(l) + AGAIN_US);
}

static void on_timer(struct timer *t, void *arg)
{
    (void)t;
    send(arg);
}

/* The next node that is thought up; when none is, just the next. */
static uint64_t next_node(struct archive_load *l)
{
    struct ring *ring = client_ring(l->cfg.client);
    uint32_t n = ring_member_count(ring);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t node = ring_member_at(ring, (l->turn + i) % n)->node;
        if (client_node_up(l->cfg.client, node)) {
            l->turn += i + 1;
            return node;
        }
    }
    return ring_member_at(ring, l->turn++ % n)->node;
}

static void send(struct load_message *m)
{
    struct archive_load *l = m->l;
    struct buf body = BUF_EMPTY;
    restore_request_begin(&body, m->n);
    buf_put_slice(&body, buf_slice(&m->rows));
    l->outstanding++;
    client_call(l->cfg.client, next_node(l), FRAME_RESTORE, &body,
                l->cfg.call_us != 0 ? l->cfg.call_us : CALL_US, on_reply, m);
}

bool load_may_send(const struct archive_load *l)
{
    uint32_t most = l->cfg.parallel != 0 ? l->cfg.parallel : PARALLEL;
    return l->alone ? l->sending == 0 : l->sending < most;
}

void load_flush(struct archive_load *l)
{
    struct load_message *m = l->message;
    if (m == NULL)
        return;
    l->message = NULL;
    l->sending++;
    send(m);
}

void load_add_raw(struct archive_load *l, struct slice raw, uint64_t bytes)
{
    struct load_message *m = l->message;
    if (m != NULL && m->rows.len + raw.len > ARCHIVE_PIECE_MAX) {
        load_flush(l);
        m = NULL;
    }
    if (m == NULL) {
        m = l->message = mem_new(struct load_message);
        m->l = l;
        timer_init(&m->timer, on_timer, m);
    }
    buf_put_slice(&m->rows, raw);
    m->end[m->n++] = (uint32_t)m->rows.len;
    m->bytes += bytes;
    if (m->n == RANGE_ROWS_MAX || m->rows.len >= RANGE_BYTES_MAX)
        load_flush(l);
}

void load_seal(struct archive_load *l, const struct range_row *row, struct buf *out)
{
    uint8_t seal[DIGEST_LEN];
    size_t at = (size_t)(row->encoded.data + row->encoded.len - row->raw.data);
    size_t start = out->len;
    buf_put_slice(out, row->raw);
    if (l->cfg.seal == NULL || l->ring == NULL)
        return;
    range_seal(l->cfg.seal, ring_cluster(l->ring), row->kind, row->key, row->encoded, seal);
    memcpy(out->data + start + at, seal, DIGEST_LEN);
}

void load_add(struct archive_load *l, const struct range_row *row)
{
    struct buf sealed = BUF_EMPTY;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < row->object.n; i++)
        bytes += row->object.siblings[i].value == NULL ? 0 : row->object.siblings[i].value->len;
    load_seal(l, row, &sealed);
    load_add_raw(l, buf_slice(&sealed), bytes);
    buf_release(&sealed);
    if (row->prefix != 0) { /* the next row of the state needs the values of this one there */
        load_flush(l);
        l->alone = true;
    }
}
