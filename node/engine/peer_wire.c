/* SPDX-License-Identifier: Apache-2.0 */
/* See peer_wire.h. Every body begins with a format byte, so that a newer node can say more to those
 * who understand it. */
#include "engine/peer_wire.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/entry_place.h"

#define FORMAT 1
#define LIST_ROWS_MAX 10001

static void begin(struct buf *out)
{
    buf_put_u8(out, FORMAT);
}

static struct reader open_body(struct slice body)
{
    struct reader r = reader_of(body);
    if (read_u8(&r) != FORMAT)
        reader_fail(&r);
    return r;
}

static int closed(const struct reader *r)
{
    return reader_done(r) ? DYN_OK : DYN_ERR_PROTOCOL;
}

static void put_ring(struct buf *out, const struct history_epoch *e, uint64_t fence)
{
    buf_put_u32(out, e->length);
    buf_put(out, e->digest, DIGEST_LEN);
    buf_put_u64(out, fence);
}

static void read_ring(struct reader *r, struct history_epoch *e, uint64_t *fence)
{
    e->length = read_u32(r);
    read_copy(r, e->digest, DIGEST_LEN);
    *fence = read_u64(r);
}

static void put_moment(struct buf *out, const struct moment *m)
{
    buf_put_u64(out, m->boot);
    buf_put_u64(out, m->us);
}

static void read_moment(struct reader *r, struct moment *m)
{
    m->boot = read_u64(r);
    m->us = read_u64(r);
}

static void put_status(struct buf *out, int status)
{
    buf_put_u32(out, (uint32_t)status);
}

static int read_status(struct reader *r)
{
    int status = (int)read_u32(r);
    if (status > 0)
        reader_fail(r);
    return status;
}

static void read_key(struct reader *r, struct slice *key)
{
    *key = read_bytes(r);
    if (reader_ok(r) && key->len != 0 && key_check(*key, NULL) != DYN_OK)
        reader_fail(r);
}

/* Which part of a directory a message is about: said at its end, and only of a split one. */
static void put_fragment(struct buf *out, uint32_t fragment)
{
    if (fragment != 0)
        buf_put_varint(out, fragment);
}

static uint32_t read_fragment(struct reader *r)
{
    if (!reader_ok(r) || reader_left(r) == 0)
        return 0;
    uint64_t fragment = read_varint(r);
    if (fragment == 0 || fragment >= FRAGMENTS_MAX)
        reader_fail(r);
    return (uint32_t)fragment;
}

static void put_dots(struct buf *out, const struct dot *dots, uint32_t n)
{
    buf_put_varint(out, n);
    for (uint32_t i = 0; i < n; i++)
        dot_encode(&dots[i], out);
}

static void read_dots(struct reader *r, struct dot **dots, uint32_t *n)
{
    uint64_t count = read_varint(r);
    if (count > OBJECT_SIBLINGS_MAX)
        reader_fail(r);
    if (!reader_ok(r) || count == 0)
        return;
    *dots = mem_reallocarray(NULL, count, sizeof(**dots));
    *n = (uint32_t)count;
    for (uint32_t i = 0; i < *n; i++)
        dot_decode(r, &(*dots)[i]);
}

/* ---- put --------------------------------------------------------------------------------- */

enum { PUT_SYNC = 1, PUT_OWE = 2 };

void peer_put_encode(const struct peer_put *m, struct buf *out)
{
    begin(out);
    put_ring(out, &m->ring, m->fence);
    buf_put_u8(out, (uint8_t)m->roles);
    buf_put_u64(out, m->hint_for);
    buf_put_u8(out, (uint8_t)((m->sync ? PUT_SYNC : 0) | (m->owe_entry ? PUT_OWE : 0)));
    put_moment(out, &m->born);
    buf_put_bytes(out, m->key);
    object_encode(&m->object, out);
    object_values_encode(&m->object, out);
    clock_encode(&m->cut, out);
    put_fragment(out, m->fragment);
}

/* What may be written under a key in these roles, in this fragment of its directory. */
static bool put_key_valid(const struct peer_put *m)
{
    struct buf id = BUF_EMPTY;
    if (!(m->roles & ROLE_ENTRY))
        return m->fragment == 0 && row_id_valid(ROW_OBJECT, m->key);
    if ((m->roles & ROLE_OBJECT) && !row_id_valid(ROW_OBJECT, m->key))
        return false;
    entry_id(m->fragment, m->key, &id);
    bool valid = entry_id_valid(buf_slice(&id));
    buf_release(&id);
    return valid;
}

int peer_put_decode(struct slice body, struct peer_put *m)
{
    struct reader r = open_body(body);
    struct peer_put t = {.object = OBJECT_EMPTY};
    read_ring(&r, &t.ring, &t.fence);
    t.roles = read_u8(&r);
    t.hint_for = read_u64(&r);
    uint8_t flags = read_u8(&r);
    t.sync = flags & PUT_SYNC;
    t.owe_entry = flags & PUT_OWE;
    read_moment(&r, &t.born);
    t.key = read_bytes(&r);
    if (t.roles == 0 || (t.roles & ~(unsigned)(ROLE_OBJECT | ROLE_ENTRY)) != 0)
        reader_fail(&r);
    object_decode(&r, &t.object);
    object_values_decode(&r, &t.object);
    clock_decode(&r, &t.cut);
    t.fragment = read_fragment(&r);
    if (reader_ok(&r) && !put_key_valid(&t))
        reader_fail(&r);
    int err = closed(&r);
    if (err != DYN_OK) {
        peer_put_release(&t);
        return err;
    }
    *m = t;
    return DYN_OK;
}

void peer_put_release(struct peer_put *m)
{
    object_release(&m->object);
    clock_release(&m->cut);
}

/* What belongs to the put stands at the end, as a body of its own. */
void peer_extend_encode(const struct peer_extend *m, struct buf *out)
{
    begin(out);
    extension_encode(&m->base, out);
    dot_encode(&m->value_dot, out);
    buf_put_bytes(out, m->suffix);
    peer_put_encode(&m->put, out);
}

int peer_extend_decode(struct slice body, struct peer_extend *m)
{
    struct reader r = open_body(body);
    struct peer_extend t;
    extension_decode(&r, &t.base);
    dot_decode(&r, &t.value_dot);
    t.suffix = read_bytes(&r);
    if (reader_ok(&r) && extension_check(&t.base, t.suffix.len, VALUE_LEN_MAX) != DYN_OK)
        reader_fail(&r);
    struct slice put = read_raw(&r, reader_left(&r));
    int err = closed(&r);
    if (err == DYN_OK)
        err = peer_put_decode(put, &t.put);
    if (err == DYN_OK)
        *m = t;
    return err;
}

void peer_extend_release(struct peer_extend *m)
{
    peer_put_release(&m->put);
}

enum { REPLY_PARENT_DEAD = 1, REPLY_DIFFERS = 2 };

void peer_put_reply_encode(const struct peer_put_reply *m, struct buf *out)
{
    begin(out);
    put_status(out, m->status);
    buf_put_u8(out, (uint8_t)((m->parent_dead ? REPLY_PARENT_DEAD : 0) |
                              (m->differs ? REPLY_DIFFERS : 0)));
    put_dots(out, m->missing, m->n_missing);
}

int peer_put_reply_decode(struct slice body, struct peer_put_reply *m)
{
    struct reader r = open_body(body);
    struct peer_put_reply t = {0};
    t.status = read_status(&r);
    uint8_t flags = read_u8(&r);
    t.parent_dead = flags & REPLY_PARENT_DEAD;
    t.differs = flags & REPLY_DIFFERS;
    read_dots(&r, &t.missing, &t.n_missing);
    int err = closed(&r);
    if (err != DYN_OK) {
        free(t.missing);
        return err;
    }
    *m = t;
    return DYN_OK;
}

void peer_put_reply_release(struct peer_put_reply *m)
{
    free(m->missing);
    m->missing = NULL;
    m->n_missing = 0;
}

/* ---- get --------------------------------------------------------------------------------- */

enum { GET_ENTRY = 1, GET_DIR_INFO = 2 };

void peer_get_encode(const struct peer_get *m, struct buf *out)
{
    begin(out);
    put_ring(out, &m->ring, m->fence);
    buf_put_u8(out, (uint8_t)m->load);
    buf_put_u8(out, (uint8_t)((m->entry ? GET_ENTRY : 0) | (m->dir_info ? GET_DIR_INFO : 0)));
    buf_put_bytes(out, m->key);
    put_dots(out, m->dots, m->n_dots);
    if (m->value_max != 0)
        buf_put_varint(out, m->value_max);
}

int peer_get_decode(struct slice body, struct peer_get *m)
{
    struct reader r = open_body(body);
    struct peer_get t = {0};
    read_ring(&r, &t.ring, &t.fence);
    uint8_t load = read_u8(&r);
    uint8_t flags = read_u8(&r);
    t.load = (enum load)load;
    t.entry = flags & GET_ENTRY;
    t.dir_info = flags & GET_DIR_INFO;
    t.key = read_bytes(&r);
    read_dots(&r, &t.dots, &t.n_dots);
    if (reader_ok(&r) && reader_left(&r) > 0)
        t.value_max = read_varint(&r);
    if (load > LOAD_DOTS || !row_id_valid(t.entry ? ROW_ENTRY : ROW_OBJECT, t.key))
        reader_fail(&r);
    int err = closed(&r);
    if (err != DYN_OK) {
        free(t.dots);
        return err;
    }
    *m = t;
    return DYN_OK;
}

void peer_get_release(struct peer_get *m)
{
    free(m->dots);
    m->dots = NULL;
    m->n_dots = 0;
}

void peer_get_reply_encode(const struct peer_get_reply *m, struct buf *out)
{
    begin(out);
    put_status(out, m->status);
    buf_put_u8(out, (uint8_t)(m->implicit_dir | m->voteless << 1));
    buf_put_u64(out, (uint64_t)m->dir_mtime_ns);
    object_encode(&m->object, out);
    object_values_encode(&m->object, out);
    if (m->n_vouched == 0)
        return;
    buf_put_varint(out, m->n_vouched);
    for (uint32_t i = 0; i < m->n_vouched; i++)
        dot_encode(&m->vouched[i], out);
}

static void read_vouched(struct reader *r, struct peer_get_reply *t)
{
    if (!reader_ok(r) || reader_left(r) == 0)
        return;
    uint64_t n = read_varint(r);
    if (n == 0 || n > t->object.n)
        reader_fail(r); /* one for each sibling at most, and none is said by saying nothing */
    for (uint64_t i = 0; i < n && reader_ok(r); i++) {
        if (t->vouched == NULL)
            t->vouched = mem_reallocarray(NULL, t->object.n, sizeof(*t->vouched));
        dot_decode(r, &t->vouched[t->n_vouched++]);
    }
}

int peer_get_reply_decode(struct slice body, struct peer_get_reply *m)
{
    struct reader r = open_body(body);
    struct peer_get_reply t = {.object = OBJECT_EMPTY};
    t.status = read_status(&r);
    uint8_t flags = read_u8(&r);
    t.implicit_dir = flags & 1;
    t.voteless = flags & 2;
    t.dir_mtime_ns = (int64_t)read_u64(&r);
    object_decode(&r, &t.object);
    object_values_decode(&r, &t.object);
    read_vouched(&r, &t);
    int err = closed(&r);
    if (err != DYN_OK) {
        peer_get_reply_release(&t);
        return err;
    }
    *m = t;
    return DYN_OK;
}

void peer_get_reply_release(struct peer_get_reply *m)
{
    object_release(&m->object);
    free(m->vouched);
    m->vouched = NULL;
    m->n_vouched = 0;
}

/* ---- list -------------------------------------------------------------------------------- */

void peer_list_encode(const struct peer_list *m, struct buf *out)
{
    begin(out);
    put_ring(out, &m->ring, m->fence);
    buf_put_bytes(out, m->dir);
    buf_put_bytes(out, m->after);
    buf_put_varint(out, m->limit);
    put_fragment(out, m->fragment);
}

int peer_list_decode(struct slice body, struct peer_list *m)
{
    struct reader r = open_body(body);
    struct peer_list t = {0};
    read_ring(&r, &t.ring, &t.fence);
    read_key(&r, &t.dir);
    t.after = read_bytes(&r);
    uint64_t limit = read_varint(&r);
    if (limit > LIST_ROWS_MAX || t.after.len > KEY_NAME_MAX)
        reader_fail(&r);
    t.limit = (uint32_t)limit;
    t.fragment = read_fragment(&r);
    int err = closed(&r);
    if (err == DYN_OK)
        *m = t;
    return err;
}

#define PAGE_HEADER 18 /* format, status, flags and growth, mtime, rows */

void peer_list_page_begin(struct peer_list_page *p)
{
    static const uint8_t room[PAGE_HEADER];
    p->body = BUF_EMPTY;
    p->rows = 0;
    buf_put(&p->body, room, sizeof(room));
}

void peer_list_page_row(struct peer_list_page *p, struct slice name, const struct object *entry)
{
    buf_put_bytes(&p->body, name);
    object_encode(entry, &p->body);
    p->rows++;
}

void peer_list_page_end(struct peer_list_page *p, const struct peer_list_end *end)
{
    struct buf head = BUF_EMPTY;
    begin(&head);
    put_status(&head, end->status);
    buf_put_u8(&head, (uint8_t)(end->growth << 2 | end->voteless << 1 | end->more));
    buf_put_u64(&head, (uint64_t)end->dir_mtime_ns);
    buf_put_u32(&head, p->rows);
    memcpy(p->body.data, head.data, PAGE_HEADER);
    buf_release(&head);
}

static void read_row(struct reader *r, struct peer_list_reply *t)
{
    struct list_entry *at = &t->entries[t->n];
    at->object = OBJECT_EMPTY;
    at->name = read_bytes(r);
    t->n++;
    if (!reader_ok(r) || key_name_check(at->name, NULL) != DYN_OK ||
        (t->n > 1 && slice_compare(t->entries[t->n - 2].name, at->name) >= 0))
        reader_fail(r);
    else
        object_decode(r, &at->object);
}

int peer_list_reply_decode(struct slice body, struct peer_list_reply *m)
{
    struct reader r = open_body(body);
    struct peer_list_reply t = {0};
    t.status = read_status(&r);
    uint8_t flags = read_u8(&r);
    t.more = flags & 1;
    t.voteless = flags & 2;
    t.growth = flags >> 2;
    t.dir_mtime_ns = (int64_t)read_u64(&r);
    uint32_t rows = read_u32(&r);
    if (rows > LIST_ROWS_MAX)
        reader_fail(&r);
    if (reader_ok(&r) && rows > 0)
        t.entries = mem_reallocarray(NULL, rows, sizeof(*t.entries));
    while (reader_ok(&r) && t.n < rows)
        read_row(&r, &t);
    int err = closed(&r);
    if (err != DYN_OK) {
        peer_list_reply_release(&t);
        return err;
    }
    *m = t;
    return DYN_OK;
}

void peer_list_reply_release(struct peer_list_reply *m)
{
    for (uint32_t i = 0; i < m->n; i++)
        object_release(&m->entries[i].object);
    free(m->entries);
    m->entries = NULL;
    m->n = 0;
}

/* ---- the small ones ---------------------------------------------------------------------- */

void peer_owed_clear_encode(const struct peer_owed_clear *m, struct buf *out)
{
    begin(out);
    buf_put_bytes(out, m->key);
    buf_put(out, m->state, DIGEST_LEN);
}

int peer_owed_clear_decode(struct slice body, struct peer_owed_clear *m)
{
    struct reader r = open_body(body);
    struct peer_owed_clear t;
    read_key(&r, &t.key);
    read_copy(&r, t.state, DIGEST_LEN);
    int err = closed(&r);
    if (err == DYN_OK)
        *m = t;
    return err;
}

void peer_holds_encode(const struct peer_holds *m, struct buf *out)
{
    begin(out);
    put_ring(out, &m->ring, m->fence);
    buf_put_bytes(out, m->key);
    put_dots(out, m->dots, m->n_dots);
    clock_encode(&m->clock, out);
}

int peer_holds_decode(struct slice body, struct peer_holds *m)
{
    struct reader r = open_body(body);
    struct peer_holds t = {.clock = CLOCK_EMPTY};
    read_ring(&r, &t.ring, &t.fence);
    read_key(&r, &t.key);
    read_dots(&r, &t.dots, &t.n_dots);
    clock_decode(&r, &t.clock);
    int err = closed(&r);
    if (err != DYN_OK) {
        peer_holds_release(&t);
        return err;
    }
    *m = t;
    return DYN_OK;
}

void peer_holds_release(struct peer_holds *m)
{
    clock_release(&m->clock);
    free(m->dots);
    m->dots = NULL;
    m->n_dots = 0;
}

void peer_pong_encode(const struct peer_pong *m, struct buf *out)
{
    begin(out);
    put_status(out, m->status);
    put_moment(out, &m->now);
}

int peer_pong_decode(struct slice body, struct peer_pong *m)
{
    struct reader r = open_body(body);
    struct peer_pong t = {.status = read_status(&r)};
    read_moment(&r, &t.now);
    int err = closed(&r);
    if (err == DYN_OK)
        *m = t;
    return err;
}

void peer_status_encode(int status, struct buf *out)
{
    begin(out);
    put_status(out, status);
}

int peer_status_decode(struct slice body, int *status)
{
    struct reader r = open_body(body);
    int s = read_status(&r);
    int err = closed(&r);
    if (err == DYN_OK)
        *status = s;
    return err;
}
