/* SPDX-License-Identifier: Apache-2.0 */
/* How the chunks of large files leave (large.h). The mount as a whole sends a few at a time, in the
 * order in which they became full or too old; each belongs to the upload of its file, whose record
 * is there before the first of them, names the key before a manifest does, and reserves numbers
 * ahead, so that a client that dies leaves nothing that nobody could find (E8). */
#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "model/large_private.h"

#define SENDING_MAX 6
#define FRESH_US (UPLOAD_SAFE_S / 2 * 1000000ull) /* of what may be relied on, half is used */
#define ROLL_NUMBERS 1024u /* an upload of so many chunks, most of them replaced, is ended */

static void pump(struct fs *fs);

/* ---- room -------------------------------------------------------------------------------- */

static void room_changed(struct fs *fs, int err)
{
    if (err != DYN_OK)
        fs->room_err = err;
    if (!fs->closing)
        timer_set(fs->timers, &fs->room_timer, fs_now_us(fs));
}

void large_room(struct timer *t, void *arg)
{
    struct fs *fs = arg;
    struct list waits;
    (void)t;
    int err = fs->staging >= fs->cfg.staging_max ? fs->room_err : DYN_OK;
    fs->room_err = DYN_OK;
    pump(fs);
    list_init(&waits);
    for (struct list *l; (l = list_first(&fs->room_waits)) != NULL;) {
        list_remove(l);
        list_append(&waits, l);
    }
    for (struct list *l; (l = list_first(&waits)) != NULL;) {
        struct large_wait *w = container_of(l, struct large_wait, link);
        list_remove(l);
        w->done(w, err);
    }
}

static void queue(struct slot *s)
{
    if (s->queued || s->state != SLOT_DIRTY)
        return;
    list_remove(&s->link);
    list_append(&s->large->fs->slots_queued, &s->link);
    s->queued = true;
}

static void queue_oldest(struct fs *fs)
{
    struct list *first = list_first(&fs->slots_dirty);
    if (first != NULL && fs->staging > fs->cfg.staging_max / 2)
        queue(container_of(first, struct slot, link));
}

bool large_must_wait(const struct large *l, size_t more)
{
    return l->held || large_storing(l) || l->fs->staging + more > l->fs->cfg.staging_max;
}

void large_wait_room(struct large *l, struct large_wait *w)
{
    list_append(&l->fs->room_waits, &w->link);
    queue_oldest(l->fs);
    pump(l->fs);
}

void large_hold(struct large *l, bool held)
{
    if (l->held && !held)
        room_changed(l->fs, DYN_OK);
    l->held = held;
}

/* ---- the states of a slot ---------------------------------------------------------------- */

void large_slot_dirty(struct slot *s)
{
    struct fs *fs = s->large->fs;
    s->state = SLOT_DIRTY;
    s->built = false;
    s->stamp = ++fs->next_stamp;
    s->large->n_dirty++;
    fs->staging += CHUNK_LEN;
    list_append(&fs->slots_dirty, &s->link);
}

void large_written(struct slot *s, bool full)
{
    struct fs *fs = s->large->fs;
    s->built = false;
    s->stamp = ++fs->next_stamp;
    if (full || large_storing(s->large))
        queue(s);
    queue_oldest(fs);
    pump(fs);
}

static void stop_sending(struct slot *s)
{
    assert(s->state == SLOT_SENDING);
    chunk_put_cancel(&s->put);
    s->large->fs->sending--;
    s->state = SLOT_DIRTY;
}

void large_slot_recall(struct slot *s)
{
    stop_sending(s);
    list_append(&s->large->fs->slots_dirty, &s->link);
}

void large_slot_clean(struct slot *s)
{
    struct fs *fs = s->large->fs;
    if (s->state == SLOT_SENDING)
        stop_sending(s);
    if (s->state == SLOT_DIRTY) {
        s->large->n_dirty--;
        fs->staging -= CHUNK_LEN;
        room_changed(fs, DYN_OK);
    }
    list_remove(&s->link);
    blob_unref(s->bytes);
    s->bytes = NULL;
    s->state = SLOT_HOLE;
    s->queued = s->built = false;
}

static void stored(struct slot *s)
{
    struct fs *fs = s->large->fs;
    s->bytes->len = s->sent_len;
    chunk_cache_add(fs, &s->upload, &s->chunk, s->bytes);
    large_slot_clean(s);
    s->state = SLOT_STORED;
}

/* ---- the upload's record ----------------------------------------------------------------- */

static bool ref_holds(const struct large *l)
{
    return l->reserved != 0 && fs_now_us(l->fs) - l->ref_us < FRESH_US &&
           slice_equal(buf_slice(&l->ref_key), seen_key(l->inode->seen));
}

void large_failed(struct large *l, int err)
{
    l->error = err;
    room_changed(l->fs, err);
    large_send_check(l);
}

static bool base_fresh(const struct large *l)
{
    return l->base.n_uploads == 0 || (!l->base_old && fs_now_us(l->fs) - l->base_us < FRESH_US);
}

/* One of the references was said; is that so of all? */
static void told(struct large *l)
{
    large_look_for_lapse(l);
    if (base_fresh(l) && (l->next_number == 0 || ref_holds(l)) &&
        (l->n_borrowed == 0 || l->borrowed_told))
        large_sure(l);
}

static void on_ref(struct upload_ref *r, int err)
{
    struct large *l = r->arg;
    if (err != DYN_OK) {
        buf_clear(&l->ref_key);
        l->reserved = 0;
        large_failed(l, err);
        return;
    }
    l->reserved = l->asked_numbers;
    l->ref_us = l->asked_us;
    told(l);
    room_changed(l->fs, DYN_OK); /* chunks may wait for this */
    large_send_check(l);
}

static void ask_ref(struct large *l, uint32_t numbers)
{
    if (l->ref.id != 0)
        return;
    l->asked_numbers = numbers > UPLOAD_NUMBERS ? numbers : UPLOAD_NUMBERS;
    l->asked_us = fs_now_us(l->fs);
    l->ref.done = on_ref;
    l->ref.arg = l;
    buf_clear(&l->ref_key);
    buf_put_slice(&l->ref_key, seen_key(l->inode->seen));
    upload_ref_start(&l->fs->io, &l->ref, buf_slice(&l->ref_key), &l->upload, 1, l->asked_numbers);
}

/* May the upload's next number be used? */
static bool upload_ready(struct large *l)
{
    if (!l->has_upload) {
        upload_id_new(&l->fs->io, &l->upload);
        l->has_upload = true;
        l->next_number = l->reserved = 0;
    }
    if (!ref_holds(l) || l->next_number == l->reserved) {
        ask_ref(l, l->next_number * 2);
        return false;
    }
    if (l->next_number > l->reserved / 2)
        ask_ref(l, l->reserved * 2);
    return true;
}

static void on_base_ref(struct upload_ref *r, int err)
{
    struct large *l = r->arg;
    if (err != DYN_OK) {
        large_failed(l, err);
        return;
    }
    l->base_us = fs_now_us(l->fs);
    l->base_old = false;
    told(l);
    large_send_check(l);
}

void large_borrow(struct large *l, const struct upload_id *upload)
{
    for (uint32_t i = l->n_borrowed; i > 0; i--)
        if (memcmp(&l->borrowed[i - 1], upload, sizeof(*upload)) == 0)
            return;
    if (l->n_borrowed == l->cap_borrowed) {
        l->cap_borrowed = l->cap_borrowed == 0 ? 4 : l->cap_borrowed * 2;
        l->borrowed = mem_reallocarray(l->borrowed, l->cap_borrowed, sizeof(*l->borrowed));
    }
    l->borrowed[l->n_borrowed++] = *upload;
    l->borrowed_told = false;
}

static void on_borrowed_ref(struct upload_ref *r, int err)
{
    struct large *l = r->arg;
    l->borrowed_told = err == DYN_OK && r->n == l->n_borrowed;
    if (err != DYN_OK) {
        large_failed(l, err);
        return;
    }
    told(l);
    large_send_check(l);
}

static bool ask_borrowed_refs(struct large *l)
{
    if (l->n_borrowed == 0 || l->borrowed_told)
        return false;
    if (l->borrowed_ref.id != 0)
        return true;
    l->borrowed_ref.done = on_borrowed_ref;
    l->borrowed_ref.arg = l;
    upload_ref_start(&l->fs->io, &l->borrowed_ref, seen_key(l->inode->seen), l->borrowed,
                     l->n_borrowed, 0);
    return true;
}

/* ---- sending ----------------------------------------------------------------------------- */

static enum durability wanted_durability(const struct large *l)
{
    enum durability d = l->fs->cfg.durability;
    for (const struct list *it = l->waits.next; it != &l->waits; it = it->next) {
        const struct large_wait *w = container_of(it, const struct large_wait, link);
        if (w->durability > d)
            d = w->durability;
    }
    return d;
}

static void note_unsynced(struct large *l, const struct slot *s)
{
    if (l->n_unsynced == l->cap_unsynced) {
        l->cap_unsynced = l->cap_unsynced == 0 ? 16 : l->cap_unsynced * 2;
        l->unsynced = mem_reallocarray(l->unsynced, l->cap_unsynced, sizeof(*l->unsynced));
    }
    l->unsynced[l->n_unsynced++] =
        (struct unsynced){.upload = s->upload, .number = s->chunk.number, .dot = s->put.dot};
}

static void on_sent(struct chunk_put *p, int err)
{
    struct slot *s = p->arg;
    struct large *l = s->large;
    struct fs *fs = l->fs;
    fs->sending--;
    if (err != DYN_OK) {
        s->state = SLOT_DIRTY;
        list_append(&fs->slots_dirty, &s->link);
        large_failed(l, err);
        return;
    }
    fs->counters.chunk_puts++;
    fs->counters.value_bytes_put += s->sent_len;
    s->state = SLOT_DIRTY; /* until it is counted as what it is */
    if (s->durability != DURABILITY_QUORUM)
        note_unsynced(l, s);
    else
        large_note_synced(fs, &s->upload, s->chunk.number);
    stored(s);
    large_send_check(l);
    pump(fs);
}

/* The bytes that the version has there already, read and written back, need no new chunk (F28). */
static bool same_as_base(struct slot *s)
{
    struct large *l = s->large;
    const struct chunk *c = manifest_find(&l->base, s->index);
    if (l->fold != NULL || c == NULL || c->len != s->chunk.len ||
        !digest_equal(c->digest, s->chunk.digest))
        return false;
    s->upload = l->base.uploads[c->upload];
    s->chunk.number = c->number;
    return true;
}

static void send(struct slot *s)
{
    struct large *l = s->large;
    struct fs *fs = l->fs;
    struct slice bytes = slice_of(s->bytes->data, s->chunk.len);
    list_remove(&s->link);
    s->queued = false;
    s->sent_len = s->chunk.len;
    if (bytes.len == 0) { /* truncated away */
        large_slot_clean(s);
        return;
    }
    digest_sha256(bytes, s->chunk.digest);
    if (same_as_base(s)) {
        stored(s);
        return;
    }
    s->upload = l->upload;
    s->chunk.number = l->next_number++;
    s->state = SLOT_SENDING;
    s->durability = wanted_durability(l);
    s->put.done = on_sent;
    s->put.arg = s;
    fs->sending++;
    chunk_put_start(&fs->io, &s->put, &s->upload, s->chunk.number, bytes, s->durability);
}

static void pump(struct fs *fs)
{
    list_for_each_safe(it, tmp, &fs->slots_queued)
    {
        struct slot *s = container_of(it, struct slot, link);
        if (fs->sending >= SENDING_MAX || fs->closing)
            return;
        if (upload_ready(s->large))
            send(s);
    }
}

/* ---- storing ----------------------------------------------------------------------------- */

bool large_storing(const struct large *l)
{
    return !list_empty(&l->waits);
}

bool large_stored(const struct large *l)
{
    return l->n_dirty == 0;
}

static void tell(struct large *l, int err)
{
    struct list waits;
    struct fs *fs = l->fs;
    l->error = DYN_OK;
    list_init(&waits);
    for (struct list *it; (it = list_first(&l->waits)) != NULL;) {
        list_remove(it);
        list_append(&waits, it);
    }
    room_changed(fs, DYN_OK);                                   /* writers waited for this, too */
    for (struct list *it; (it = list_first(&waits)) != NULL;) { /* l may go with one of them */
        struct large_wait *w = container_of(it, struct large_wait, link);
        list_remove(it);
        w->done(w, err);
    }
}

static void start_syncs(struct large *l);

static void on_synced(void *arg, const struct sync_reply *p)
{
    struct large_sync *y = arg;
    struct large *l = y->large;
    y->id = 0;
    if (p->status != DYN_OK) {
        l->n_unsynced++;
        assert(l->n_unsynced <= l->cap_unsynced);
        l->unsynced[l->n_unsynced - 1] = y->chunk;
        large_failed(l, p->status);
        return;
    }
    large_note_synced(l->fs, &y->chunk.upload, y->chunk.number);
    large_send_check(l);
}

static bool syncing(const struct large *l)
{
    for (uint32_t i = 0; i < SYNCS_MAX; i++)
        if (l->syncs[i].id != 0)
            return true;
    return false;
}

bool large_synced(const struct large *l)
{
    return l->n_unsynced == 0 && !syncing(l);
}

static void start_syncs(struct large *l)
{
    struct fs *fs = l->fs;
    for (uint32_t i = 0; i < SYNCS_MAX && l->n_unsynced > 0; i++) {
        struct large_sync *y = &l->syncs[i];
        struct buf key = BUF_EMPTY;
        if (y->id != 0)
            continue;
        y->large = l;
        y->chunk = l->unsynced[--l->n_unsynced];
        chunk_key(&y->chunk.upload, y->chunk.number, &key);
        struct sync_request q = {.key = buf_slice(&key), .dot = y->chunk.dot};
        q.opt.timeout_ms = fs->io.timeout_ms;
        q.opt.durability = DURABILITY_QUORUM;
        fs->counters.syncs++;
        y->id = fs->kv.sync(fs->kv.ctx, &q, on_synced, y);
        buf_release(&key);
    }
}

static void queue_all(struct large *l)
{
    list_for_each_safe(it, tmp, &l->fs->slots_dirty)
    {
        struct slot *s = container_of(it, struct slot, link);
        if (s->large == l)
            queue(s);
    }
}

static bool ask_base_refs(struct large *l)
{
    if (base_fresh(l))
        return false;
    if (l->base_ref.id != 0)
        return true;
    l->base_ref.done = on_base_ref;
    l->base_ref.arg = l;
    upload_ref_start(&l->fs->io, &l->base_ref, seen_key(l->inode->seen), l->base.uploads,
                     l->base.n_uploads, 0);
    return true;
}

/* A version may be superseded while it is open here, and what was sent waits for its publication:
 * both are said again before their time is over, or their chunks would be collected (E23). */
static void renew(struct large *l)
{
    ask_base_refs(l);
    if (l->n_borrowed > 0 && l->borrowed_ref.id == 0) {
        l->borrowed_told = false;
        ask_borrowed_refs(l);
    }
    if (l->next_number > 0 && !ref_holds(l))
        ask_ref(l, l->reserved > l->next_number * 2 ? l->reserved : l->next_number * 2);
}

void large_renew(struct timer *t, void *arg)
{
    struct fs *fs = arg;
    size_t slot = 0;
    bool any = false;
    for (struct table_node *n = NULL; (n = table_walk(&fs->inodes, &slot, n)) != NULL;) {
        const struct inode *i = container_of(n, struct inode, node);
        any |= i->large != NULL;
        if (i->large != NULL && (i->n_open != 0 || i->staged))
            renew(i->large);
    }
    if (any)
        timer_set(fs->timers, t, fs_now_us(fs) + RENEW_US);
}

void large_send_check(struct large *l)
{
    if (!large_storing(l))
        return;
    if (l->error != DYN_OK) {
        tell(l, l->error);
        return;
    }
    if (l->n_dirty > 0) {
        queue_all(l);
        pump(l->fs);
    }
    if (l->n_dirty > 0 || !large_folded(l))
        return;
    large_look_for_lapse(l);
    if (l->next_number > 0 && !ref_holds(l)) {
        ask_ref(l, l->next_number * 2);
        return;
    }
    if (ask_base_refs(l) || ask_borrowed_refs(l) || !large_checked(l))
        return;
    if (wanted_durability(l) == DURABILITY_QUORUM && !large_synced(l)) {
        start_syncs(l);
        return;
    }
    tell(l, DYN_OK);
}

void large_store(struct large *l, struct large_wait *w)
{
    list_append(&l->waits, &w->link);
    l->error = DYN_OK;
    large_send_check(l);
}

void large_roll(struct large *l)
{
    if (l->next_number < ROLL_NUMBERS || l->next_number < 2 * l->base.n || l->n_dirty > 0)
        return;
    l->has_upload = false;
    l->next_number = l->reserved = 0;
}

void large_send_stop(struct large *l)
{
    struct fs *fs = l->fs;
    upload_ref_cancel(&l->ref);
    upload_ref_cancel(&l->base_ref);
    upload_ref_cancel(&l->borrowed_ref);
    large_check_stop(l);
    large_fold_stop(l);
    for (uint32_t i = 0; i < SYNCS_MAX; i++)
        if (l->syncs[i].id != 0)
            fs->kv.cancel(fs->kv.ctx, l->syncs[i].id);
    free(l->unsynced);
    tell(l, DYN_ERR_CANCELED);
}
