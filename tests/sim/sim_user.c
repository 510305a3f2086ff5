/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_user.h: an user's requests, their repeats, and what it learns from the answers. */
#include "sim_user.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

#define PAGES_MAX 100
#define MODE_FILE 0644

static void answered(void *arg, const struct sim_reply *r);

static void entries_release(struct op *op)
{
    for (uint32_t i = 0; i < op->n_entries; i++) {
        free((void *)(uintptr_t)op->entries[i].name.data);
        object_release(&op->entries[i].object);
    }
    free(op->entries);
    op->entries = NULL;
    op->n_entries = 0;
}

void user_op_release(struct op *op)
{
    entries_release(op);
    buf_release(&op->value);
    buf_release(&op->context);
    buf_release(&op->after);
    cover_release(&op->cover);
    *op = (struct op){0};
}

void user_remember(struct user *u, uint32_t key, struct slice token, const struct object *object)
{
    struct memory *m = &u->memory[key];
    m->known = true;
    buf_clear(&m->token);
    buf_put_slice(&m->token, token);
    object_copy(&m->object, object);
    for (uint32_t i = 0; i < m->object.n; i++) { /* keep no bytes */
        blob_unref(m->object.siblings[i].value);
        m->object.siblings[i].value = NULL;
    }
}

/* Bytes that a later write may say that it extends (F27). */
static void remember_value(struct memory *m, const struct sibling *s, struct slice bytes)
{
    m->extends = (struct extension){.base = s->value_dot, .len = bytes.len};
    memcpy(m->extends.digest, s->value_hash, DIGEST_LEN);
    buf_clear(&m->value);
    buf_put_slice(&m->value, bytes);
}

static void remember_read(struct memory *m, const struct object *o)
{
    const struct sibling *s = object_newest(o);
    if (s != NULL && s->type == SIBLING_FILE && s->value != NULL)
        remember_value(m, s, slice_of(s->value->data, s->value->len));
}

static void remember_written(struct memory *m, const struct put_request *q,
                             const struct put_reply *r)
{
    const struct sibling *s = object_find(&r->object, &r->dot);
    uint8_t hash[DIGEST_LEN];
    digest_sha256(q->value, hash);
    if (s != NULL && s->type == SIBLING_FILE && s->size > 0 && s->size == q->value.len &&
        digest_equal(hash, s->value_hash))
        remember_value(m, s, q->value);
}

static struct request_options draw_options(struct user *u)
{
    const struct sim_plan *p = &u->workload->plan;
    struct sim_random *r = &u->random;
    struct request_options opt = {.n = (uint8_t)p->n, .r = (uint8_t)p->r, .w = (uint8_t)p->w};
    if (sim_random_chance(r, p->vary_permille)) {
        opt.r = (uint8_t)sim_random_range(r, 1, p->n);
        opt.w = (uint8_t)sim_random_range(r, 1, p->n);
    }
    uint32_t total = 0;
    for (uint32_t i = 0; i < 4; i++)
        total += p->durability_weight[i];
    uint64_t at = sim_random_below(r, total);
    for (uint8_t i = 0; i < 4 && opt.durability == 0; i++) {
        if (at < p->durability_weight[i])
            opt.durability = i;
        else
            at -= p->durability_weight[i];
    }
    opt.sloppy = sim_random_chance(r, p->strict_permille) ? SLOPPY_NO : SLOPPY_YES;
    opt.timeout_ms = (uint32_t)sim_random_range(r, 500, 6000);
    return opt;
}

static void draw_way(struct user *u)
{
    const struct sim_plan *p = &u->workload->plan;
    struct op *op = &u->op;
    op->node = sim_random_chance(&u->random, p->away_permille)
                   ? (uint32_t)sim_random_below(&u->random, p->nodes)
                   : u->home;
    if (sim_random_chance(&u->random, p->library_permille))
        op->via = VIA_LIBRARY;
    else
        op->via = sim_random_chance(&u->random, p->kv_permille) ? VIA_KV : VIA_FRAME;
}

/* Chances of their own, so that a seed without appends is what it was before there were any. */
static bool draw_append(struct user *u)
{
    struct op *op = &u->op;
    const struct memory *m = &u->memory[op->key];
    if (!sim_random_chance(&u->appending, u->workload->plan.append_permille) ||
        extension_is_none(&m->extends) || m->value.len > 8000)
        return false;
    buf_put_slice(&op->value, buf_slice(&m->value));
    buf_printf(&op->value, "and %u.%llu ", u->index, (unsigned long long)u->seq);
    op->request.put.extends = m->extends;
    return true;
}

static void draw_value(struct user *u)
{
    struct op *op = &u->op;
    if (draw_append(u))
        return;
    if (sim_random_chance(&u->random, u->workload->plan.same_value_permille)) {
        buf_printf(&op->value, "same %u", (unsigned)sim_random_below(&u->random, 2));
        return;
    }
    uint64_t extra = sim_random_below(&u->random, 40);
    if (sim_random_chance(&u->random, 20))
        extra = sim_random_range(&u->random, 1000, 6000);
    buf_printf(&op->value, "user %u op %llu ", u->index, (unsigned long long)u->seq);
    for (uint64_t i = 0; i < extra; i++)
        buf_put_u8(&op->value, (uint8_t)('a' + i % 26));
}

/* A context of everything that was shown, or of some siblings by name. */
static void take_context(struct user *u, const struct dot *dots, uint32_t n)
{
    struct op *op = &u->op;
    const struct memory *m = &u->memory[op->key];
    if (dots == NULL) {
        context_all(buf_slice(&m->token), &op->context);
        clock_copy(&op->cover.clock, &m->object.clock);
    } else if (context_dots(buf_slice(&m->token), dots, n, &op->context) != DYN_OK) {
        sim_violation(u->workload->cluster->world, "a token does not name what its object shows");
    } else {
        for (uint32_t i = 0; i < n; i++)
            cover_add_dot(&op->cover, &dots[i]);
    }
}

/* The shown siblings as explicit dots, as a mount names them (HAZARDS-FS F1). */
static void take_shown(struct user *u)
{
    const struct object *o = &u->memory[u->op.key].object;
    if (o->n == 0 || sim_random_chance(&u->random, 500)) {
        take_context(u, NULL, 0);
        return;
    }
    struct dot *dots = mem_reallocarray(NULL, o->n, sizeof(*dots));
    for (uint32_t i = 0; i < o->n; i++)
        dots[i] = o->siblings[i].dot;
    take_context(u, dots, o->n);
    free(dots);
}

static const struct sibling *draw_sibling(struct user *u)
{
    const struct object *o = &u->memory[u->op.key].object;
    uint64_t at = sim_random_below(&u->random, object_live_count(o));
    for (uint32_t i = 0; i < o->n; i++)
        if (sibling_live(&o->siblings[i]) && at-- == 0)
            return &o->siblings[i];
    return NULL;
}

static void fill_put(struct user *u)
{
    struct op *op = &u->op;
    struct put_request *q = &op->request.put;
    const struct sibling *s = NULL;
    q->type = SIBLING_FILE;
    q->attrs.mode = MODE_FILE;
    switch (op->kind) {
    case OP_PUT:
        take_shown(u);
        break;
    case OP_CURRENT:
    case OP_DELETE_CURRENT:
        q->flags = PUT_CURRENT;
        break;
    case OP_DELETE:
        take_shown(u);
        break;
    case OP_RMDIR:
        take_context(u, NULL, 0);
        break;
    case OP_DROP:
        s = draw_sibling(u);
        take_context(u, &s->dot, 1);
        q->flags = PUT_DROP_ONLY;
        break;
    case OP_REPLACE:
        s = draw_sibling(u);
        take_context(u, &s->dot, 1);
        if (sim_random_chance(&u->random, 500)) {
            q->flags = PUT_INHERIT_TIME;
            q->inherit_dot = s->dot;
        }
        break;
    case OP_CHMOD:
        s = draw_sibling(u);
        take_context(u, &s->dot, 1);
        q->flags = PUT_KEEP_VALUE;
        q->type = s->type;
        q->value_dot = s->value_dot;
        q->attrs.mode = 0600 + (uint32_t)sim_random_below(&u->random, 8);
        break;
    case OP_CREATE:
        q->flags = PUT_IF_ABSENT;
        break;
    case OP_MKDIR:
        q->type = SIBLING_DIR;
        q->attrs.mode = 0755;
        if (sim_random_chance(&u->random, 300))
            q->flags = PUT_IF_ABSENT;
        break;
    case OP_FORGED:
        take_context(u, NULL, 0);
        op->context.data[sim_random_below(&u->random, op->context.len)] ^= 0x10;
        break;
    default:
        break;
    }
    if (op->kind == OP_DELETE || op->kind == OP_DELETE_CURRENT || op->kind == OP_DROP ||
        op->kind == OP_RMDIR)
        q->type = SIBLING_DELETE;
    if (q->type == SIBLING_FILE && op->kind != OP_CHMOD)
        draw_value(u);
}

static void fill_origin(struct user *u)
{
    struct put_request *q = &u->op.request.put;
    bool mount = q->type != SIBLING_DELETE && u->op.kind == OP_PUT &&
                 sim_random_chance(&u->random, u->workload->plan.mount_permille);
    q->origin.writer = u->index + 1;
    q->origin.stream = mount ? u->op.key + 1 : 1000 + u->seq;
    q->origin.seq = mount ? u->seq : 1;
}

static void log_cover(struct user *u)
{
    struct sim_world *world = u->workload->cluster->world;
    const struct cover *c = &u->op.cover;
    char dot[DOT_TEXT_MAX];
    if (world->log == NULL)
        return;
    for (uint32_t i = 0; i < c->n; i++) {
        dot_format(&c->dots[i], dot);
        sim_log(world, "      over %s", dot);
    }
    for (uint32_t i = 0; i < c->clock.n; i++) {
        dot_format(&(struct dot){c->clock.pairs[i].actor, c->clock.pairs[i].counter}, dot);
        sim_log(world, "      over all up to %s", dot);
    }
}

static void send(struct user *u)
{
    struct op *op = &u->op;
    op->attempts++;
    op->request.type = FRAME_GET;
    if (op->kind == OP_LIST || op->then_delete)
        op->request.type = FRAME_LIST;
    else if (op->kind == OP_SYNC)
        op->request.type = FRAME_SYNC;
    else if (op->kind != OP_GET)
        op->request.type = FRAME_PUT;
    if (op->request.type == FRAME_PUT)
        op->write = oracle_put(u->workload->oracle, &op->request.put, &op->cover);
    struct slice key = buf_slice(&u->workload->keys[op->key]);
    sim_event(u->workload->cluster->world, "ask", u->index, op->kind, op->node, key);
    sim_log(u->workload->cluster->world, "user %u %s%s %.*s at %u%s, write %u", u->index,
            op_names[op->kind], op->attempts > 1 ? " again" : "", (int)key.len,
            (const char *)key.data, op->node,
            op->via == VIA_KV      ? ""
            : op->via == VIA_FRAME ? " by frame"
                                   : " by library",
            op->write != NULL ? op->write->id : 0);
    log_cover(u);
    sim_client_call(&u->client, op->via, op->node, &op->request, answered, u);
}

static void begin_put(struct user *u)
{
    struct op *op = &u->op;
    struct put_request *q = &op->request.put;
    *q =
        (struct put_request){.opt = draw_options(u), .key = buf_slice(&u->workload->keys[op->key])};
    u->seq++;
    fill_put(u);
    fill_origin(u);
    q->value = buf_slice(&op->value);
    op->context_slice = buf_slice(&op->context);
    q->contexts = op->context.len > 0 ? &op->context_slice : NULL;
    q->n_contexts = op->context.len > 0;
    q->attrs.mtime_ns = q->attrs.ctime_ns = (int64_t)u->seq;
    send(u);
}

static void begin_get(struct user *u)
{
    struct op *op = &u->op;
    struct memory *m = &u->memory[op->key];
    struct get_request *q = &op->request.get;
    *q = (struct get_request){.opt = draw_options(u),
                              .key = buf_slice(&u->workload->keys[op->key]),
                              .want = sim_random_chance(&u->random, 300) ? GET_META : GET_ALL};
    if (m->floor.len > 0 && sim_random_chance(&u->random, 250)) {
        context_all(buf_slice(&m->floor), &op->context);
        op->context_slice = buf_slice(&op->context);
        q->at_least = &op->context_slice;
        q->n_at_least = 1;
    }
    send(u);
}

static void begin_list(struct user *u, struct slice dir)
{
    struct op *op = &u->op;
    op->request.list = (struct list_request){
        .opt = draw_options(u),
        .dir = dir,
        .limit = (uint32_t)sim_random_range(&u->random, 1, u->workload->plan.page)};
    send(u);
}

void user_begin(struct user *u, enum op_kind kind, uint32_t key)
{
    struct sim_workload *w = u->workload;
    struct op *op = &u->op;
    op->kind = kind;
    op->key = key;
    op->began_us = w->cluster->world->now_us;
    draw_way(u);
    if (kind == OP_GET) {
        begin_get(u);
    } else if (kind == OP_LIST) {
        /* A file stands for the root. */
        begin_list(u, key < w->plan.files ? slice_str("") : buf_slice(&w->keys[key]));
    } else if (kind == OP_RMDIR) {
        op->then_delete = true;
        begin_list(u, buf_slice(&w->keys[key]));
    } else if (kind == OP_SYNC) {
        op->request.sync = (struct sync_request){
            .opt = draw_options(u), .key = buf_slice(&w->keys[key]), .dot = u->memory[key].written};
        send(u);
    } else {
        begin_put(u);
    }
}

/* The versions that a reply shows, for the readable log. */
static void log_object(struct user *u, const struct object *o)
{
    struct sim_world *world = u->workload->cluster->world;
    char dot[DOT_TEXT_MAX];
    if (world->log == NULL)
        return;
    for (uint32_t i = 0; i < o->n; i++) {
        const struct sibling *s = &o->siblings[i];
        dot_format(&s->dot, dot);
        sim_log(world, "      %s %s of %llu.%llu.%llu", dot, sibling_live(s) ? "version" : "delete",
                (unsigned long long)s->origin.writer, (unsigned long long)s->origin.stream,
                (unsigned long long)s->origin.seq);
    }
    for (uint32_t i = 0; i < o->clock.n; i++) {
        dot_format(&(struct dot){o->clock.pairs[i].actor, o->clock.pairs[i].counter}, dot);
        sim_log(world, "      %s in the clock", dot);
    }
}

static void got(struct user *u, const struct get_reply *r)
{
    struct op *op = &u->op;
    struct sim_world *world = u->workload->cluster->world;
    if (r->status != DYN_OK)
        return;
    u->workload->reads++;
    log_object(u, &r->object);
    oracle_got(u->workload->oracle, &op->request.get, op->began_us, r);
    remember_read(&u->memory[op->key], &r->object);
    if (op->request.get.n_at_least > 0 && !oracle_false_conflicts(u->workload->oracle) &&
        !clock_dominates(&r->object.clock, &u->memory[op->key].floor_clock))
        sim_violation(world, "a read does not dominate the context that it was given (E22)");
    if (op->request.get.want == GET_ALL && !object_values_loaded(&r->object))
        sim_violation(world, "a read of all values lacks one");
    if (r->answered < r->needed)
        sim_violation(world, "a read succeeded with %u of %u answers", r->answered, r->needed);
    user_remember(u, op->key, r->token, &r->object);
}

/* Says whether it has sent the request again, to another node: same origin, same context. */
static bool put_again(struct user *u, const struct sim_reply *r)
{
    struct op *op = &u->op;
    if (r->status == DYN_OK || op->write->status == WRITE_REFUSED || op->attempts > 2 ||
        !sim_random_chance(&u->random, u->workload->plan.retry_permille))
        return false;
    op->node = (uint32_t)sim_random_below(&u->random, u->workload->plan.nodes);
    op->via = VIA_KV;
    send(u);
    return true;
}

static bool put_ended(struct user *u, const struct sim_reply *r)
{
    struct op *op = &u->op;
    struct sim_world *world = u->workload->cluster->world;
    const struct put_reply *put = r->answered ? r->put : NULL;
    oracle_put_ended(u->workload->oracle, op->write, r->status, put);
    if (op->kind == OP_FORGED && r->status == DYN_OK)
        sim_violation(world, "a put with a forged context was accepted (E3)");
    if (op->kind != OP_FORGED && r->answered && r->status == DYN_ERR_BAD_CONTEXT)
        sim_violation(world, "a genuine context was refused");
    if (put != NULL && r->status == DYN_OK) {
        struct memory *m = &u->memory[op->key];
        u->workload->acked++;
        log_object(u, &put->object);
        if (put->answered < put->needed)
            sim_violation(world, "a put succeeded with %u of %u answers", put->answered,
                          put->needed);
        user_remember(u, op->key, put->token, &put->object);
        remember_written(m, &op->request.put, put);
        m->written = put->dot;
        buf_clear(&m->floor);
        buf_put_slice(&m->floor, put->token);
        clock_copy(&m->floor_clock, &put->object.clock);
    }
    return put_again(u, r);
}

static void keep_entries(struct op *op, const struct list_reply *r)
{
    op->entries = mem_reallocarray(op->entries, op->n_entries + r->n + 1, sizeof(*op->entries));
    for (uint32_t i = 0; i < r->n; i++) {
        struct list_entry *e = &op->entries[op->n_entries++];
        e->name = slice_of(mem_dup(r->entries[i].name.data, r->entries[i].name.len),
                           r->entries[i].name.len);
        e->object = OBJECT_EMPTY;
        object_copy(&e->object, &r->entries[i].object);
    }
}

/* Says whether there is more to ask. */
static bool listed(struct user *u, const struct sim_reply *r)
{
    struct op *op = &u->op;
    if (r->status != DYN_OK)
        return false;
    keep_entries(op, r->list);
    if (r->list->more) {
        if (++op->pages > PAGES_MAX) {
            sim_violation(u->workload->cluster->world, "a listing has no end");
            return false;
        }
        buf_clear(&op->after);
        buf_put_slice(&op->after, r->list->cursor);
        op->request.list.after = buf_slice(&op->after);
        send(u);
        return true;
    }
    u->workload->reads++;
    oracle_listed(u->workload->oracle, &op->request.list, op->began_us, op->entries, op->n_entries);
    if (op->then_delete && op->n_entries == 0) {
        op->then_delete = false;
        begin_put(u);
        return true;
    }
    return false;
}

static void answered(void *arg, const struct sim_reply *r)
{
    struct user *u = arg;
    struct op *op = &u->op;
    bool more = false;
    sim_event(u->workload->cluster->world, "answer", u->index, (uint64_t)-r->status, r->answered,
              slice_of(NULL, 0));
    sim_log(u->workload->cluster->world, "user %u is told: %s%s", u->index, dyn_err_code(r->status),
            r->answered ? "" : " (nobody said so)");
    if (r->type == FRAME_PUT)
        more = put_ended(u, r);
    else if (r->type == FRAME_LIST)
        more = listed(u, r);
    else if (r->type == FRAME_GET && r->answered)
        got(u, r->get);
    else if (r->type == FRAME_SYNC && r->status == DYN_OK)
        oracle_synced(u->workload->oracle, oracle_key(u->workload->oracle, op->request.sync.key),
                      &op->request.sync.dot);
    if (!more)
        user_idle(u);
}
