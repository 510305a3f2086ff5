/* SPDX-License-Identifier: Apache-2.0 */
/* Puts that say which version their value extends, on a cluster without faults from a seed: the
 * bytes that are not sent are those that the nodes have, and nothing else depends on it (F27). */
#include "engine/replica/extend.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "played_cluster.h"
#include "unit.h"

#define SECOND 1000000u
#define BASE_LEN 20000u

struct log {
    struct played_cluster *c;
    struct put_request q;
    struct buf value, context;
    struct slice contexts[1];
    struct extension base; /* the value as it was acknowledged last */
    struct dot dot;
    int status;
};

/* What was seen on the way between nodes. */
struct seen {
    uint64_t to; /* not 0: extensions to it are made unreadable, as to an older version */
    uint32_t extensions, wholes;
    size_t largest;
};

static bool look(void *arg, uint64_t from, uint64_t to, uint8_t type, struct buf *body)
{
    struct seen *s = arg;
    (void)from;
    if (type != FRAME_REPLICA_EXTEND && type != FRAME_REPLICA_PUT)
        return true;
    s->extensions += type == FRAME_REPLICA_EXTEND;
    s->wholes += type == FRAME_REPLICA_PUT && body->len > BASE_LEN;
    if (type == FRAME_REPLICA_EXTEND && body->len > s->largest)
        s->largest = body->len;
    if (type == FRAME_REPLICA_EXTEND && to == s->to)
        body->data[0] ^= 0xff;
    return true;
}

static void take_reply(struct log *l)
{
    struct put_reply reply;
    assert_int_equal(l->c->client_type, FRAME_PUT + FRAME_REPLY);
    assert_int_equal(put_reply_decode(buf_slice(&l->c->client_reply), &reply), DYN_OK);
    l->status = reply.status;
    if (reply.status == DYN_OK) {
        l->dot = reply.dot;
        l->base = (struct extension){.base = reply.dot, .len = l->value.len};
        digest_sha256(buf_slice(&l->value), l->base.digest);
        buf_clear(&l->context);
        context_all(reply.token, &l->context);
    }
    put_reply_release(&reply);
}

static void send(struct log *l, uint32_t at, bool extends)
{
    struct buf body = BUF_EMPTY;
    l->q.value = buf_slice(&l->value);
    l->contexts[0] = buf_slice(&l->context);
    l->q.contexts = l->contexts;
    l->q.n_contexts = l->context.len > 0;
    l->q.extends = l->base;
    if (extends)
        put_request_encode_extending(&l->q, &body);
    else
        put_request_encode(&l->q, &body);
    played_ask(l->c, at, FRAME_PUT, &body);
    take_reply(l);
}

static void append(struct log *l, uint32_t at, const char *text)
{
    buf_put_str(&l->value, text);
    l->q.origin.seq++;
    send(l, at, true);
}

static struct log *log_new(uint32_t nodes, uint32_t n, uint32_t r, uint32_t w)
{
    struct log *l = mem_new(struct log);
    l->c = played_cluster_new(nodes, n, r, w);
    l->q = (struct put_request){.key = slice_str("log"),
                                .type = SIBLING_FILE,
                                .attrs = {.mode = 0644},
                                .origin = {.writer = 7, .stream = 9, .seq = 1}};
    for (uint32_t i = 0; i < BASE_LEN / 10; i++)
        buf_printf(&l->value, "line %04u\n", i);
    send(l, 0, false);
    assert_int_equal(l->status, DYN_OK);
    played_run(l->c, SECOND);
    return l;
}

static void log_free(struct log *l)
{
    played_cluster_free(l->c);
    buf_release(&l->value);
    buf_release(&l->context);
    free(l);
}

/* On each replica by itself, whole. */
static void assert_everywhere(struct log *l)
{
    for (uint32_t i = 0; i < l->c->n; i++) {
        struct get_request q = {.opt = {.r = 1}, .key = l->q.key, .want = GET_ALL};
        struct get_reply reply = played_get(l->c, i, &q);
        assert_int_equal(reply.status, DYN_OK);
        assert_int_equal(reply.object.n, 1);
        const struct blob *b = reply.object.siblings[0].value;
        assert_non_null(b);
        assert_true(slice_equal(slice_of(b->data, b->len), buf_slice(&l->value)));
        get_reply_release(&reply);
    }
}

static uint64_t lacking(const struct played_cluster *c)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        struct engine_stats stats;
        engine_stats(c->nodes[i].engine, &stats);
        sum += stats.bases_lacking;
    }
    return sum;
}

static void test_only_what_was_appended_travels(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct log *l = log_new(3, 3, 2, 3);
    l->c->judge = look;
    l->c->judge_arg = &seen;
    for (uint32_t i = 0; i < 20; i++) {
        append(l, 0, "one line more\n");
        assert_int_equal(l->status, DYN_OK);
    }
    assert_int_equal(seen.extensions, 40);
    assert_int_equal(seen.wholes, 0);
    assert_true(seen.largest < 1000);
    assert_everywhere(l);
    log_free(l);
}

static void test_the_chain_goes_on_at_another_node(void **state)
{
    (void)state;
    struct log *l = log_new(3, 3, 2, 2);
    for (uint32_t i = 0; i < 9; i++) {
        append(l, i % 3, "a line\n");
        assert_int_equal(l->status, DYN_OK);
        played_run(l->c, SECOND);
    }
    assert_everywhere(l);
    log_free(l);
}

/* The whole is sent, once, to whoever cannot make it, and to nobody else. */
static void test_a_replica_without_the_base_gets_the_whole(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct log *l = log_new(3, 3, 2, 2);
    l->c->nodes[2].up = false;
    append(l, 0, "it does not hear of this one\n");
    assert_int_equal(l->status, DYN_OK);
    l->c->nodes[2].up = true;
    played_run(l->c, 5000); /* the hint may come before, or not: either is fine */
    l->c->judge = look;
    l->c->judge_arg = &seen;
    append(l, 0, "but of this one\n");
    assert_int_equal(l->status, DYN_OK);
    played_run(l->c, 10 * SECOND);
    assert_true(seen.wholes <= 2);
    l->c->judge = NULL;
    assert_everywhere(l);
    log_free(l);
}

static void test_an_older_replica_gets_the_whole(void **state)
{
    (void)state;
    struct seen seen = {.to = 3};
    struct log *l = log_new(3, 3, 2, 3);
    l->c->judge = look;
    l->c->judge_arg = &seen;
    append(l, 0, "a line\n");
    assert_int_equal(l->status, DYN_OK);
    assert_int_equal(seen.extensions, 2);
    assert_int_equal(seen.wholes, 1);
    l->c->judge = NULL;
    assert_everywhere(l);
    log_free(l);
}

/* By now the coordinator has something else: the author sends the whole, and what it has not seen
 * stands beside it. */
static void test_a_base_that_was_replaced_is_lacking_and_the_whole_is_a_conflict(void **state)
{
    (void)state;
    struct log *l = log_new(3, 3, 2, 2);
    struct slice none = {NULL, 0};
    assert_int_equal(played_write(l->c, 1, "log", "instead", PUT_CURRENT, none), DYN_OK);
    played_run(l->c, SECOND);
    append(l, 0, "a line\n");
    assert_int_equal(l->status, DYN_ERR_BASE_LACKING);
    assert_true(lacking(l->c) > 0);
    char *values = played_values(l->c, 0, "log");
    assert_string_equal(values, "instead"); /* nothing has come of it */
    free(values);
    send(l, 0, false);
    assert_int_equal(l->status, DYN_OK);
    values = played_values(l->c, 2, "log");
    assert_true(strncmp(values, "instead|line 0000", 17) == 0);
    free(values);
    log_free(l);
}

/* As of any put: what had its effect before is answered with the dot that it had, though its base
 * has gone by it, and also when it has been replaced since (late_copy.h). */
static void test_a_repeat_is_the_same_write(void **state)
{
    (void)state;
    struct log *l = log_new(3, 3, 2, 2);
    const struct slice none = {NULL, 0};
    struct extension before = l->base;
    append(l, 0, "a line\n");
    assert_int_equal(l->status, DYN_OK);
    played_run(l->c, SECOND);
    const struct dot first = l->dot;
    for (uint32_t i = 0; i < 3; i++) {
        l->base = before;
        send(l, i, true);
        assert_int_equal(l->status, DYN_OK);
        assert_true(dot_equal(&l->dot, &first));
    }
    assert_everywhere(l);
    assert_int_equal(played_write(l->c, 1, "log", "instead", PUT_CURRENT, none), DYN_OK);
    played_run(l->c, SECOND);
    l->base = before;
    send(l, 2, true);
    assert_int_equal(l->status, DYN_OK);
    assert_true(dot_equal(&l->dot, &first));
    char *values = played_values(l->c, 0, "log");
    assert_string_equal(values, "instead");
    free(values);
    log_free(l);
}

static void test_a_description_that_is_wrong_is_refused(void **state)
{
    (void)state;
    struct log *l = log_new(3, 3, 2, 2);
    struct extension good = l->base;
    l->base.digest[3] ^= 1;
    append(l, 0, "x");
    assert_int_equal(l->status, DYN_ERR_BASE_LACKING);
    l->base = good;
    l->base.base.counter++;
    send(l, 0, true);
    assert_int_equal(l->status, DYN_ERR_BASE_LACKING);
    l->base = good;
    l->base.len--;
    send(l, 0, true);
    assert_int_equal(l->status, DYN_ERR_BASE_LACKING);
    l->base = good;
    l->q.flags = PUT_MANIFEST;
    send(l, 0, true);
    assert_int_equal(l->status, DYN_ERR_INVALID);
    l->q.flags = PUT_KEEP_VALUE;
    send(l, 0, true);
    assert_int_equal(l->status, DYN_ERR_INVALID);
    l->q.flags = 0;
    l->q.type = SIBLING_SYMLINK;
    send(l, 0, true);
    assert_int_equal(l->status, DYN_ERR_INVALID);
    l->q.type = SIBLING_FILE;
    send(l, 0, true);
    assert_int_equal(l->status, DYN_OK);
    assert_everywhere(l);
    log_free(l);
}

/* What follows is small, what comes of it is not. */
static void test_the_limit_is_that_of_the_whole(void **state)
{
    (void)state;
    struct log *l = log_new(3, 3, 2, 2);
    struct buf body = BUF_EMPTY;
    l->q.flags = PUT_EXTENDS;
    l->q.extends = l->base;
    l->q.extends.len = VALUE_LEN_MAX;
    l->q.value = slice_str("x");
    put_request_encode(&l->q, &body);
    played_ask(l->c, 0, FRAME_PUT, &body);
    take_reply(l);
    assert_int_equal(l->status, DYN_ERR_TOO_LARGE);
    l->q.extends = l->base;
    l->q.value = slice_of(NULL, 0);
    put_request_encode(&l->q, &body);
    played_ask(l->c, 0, FRAME_PUT, &body);
    take_reply(l);
    assert_int_equal(l->status, DYN_ERR_INVALID); /* nothing follows */
    log_free(l);
}

/* A small message asks for much memory: there is a limit, and over it the whole is to be sent. What
 * is not held any more does not count. */
static void test_values_that_are_made_take_no_more_than_they_may(void **state)
{
    (void)state;
    struct log *l = log_new(3, 3, 2, 2);
    static const uint64_t limits[] = {BASE_LEN / 2, BASE_LEN + 1000};
    for (uint32_t i = 0; i < 2; i++) {
        l->c->cfg.extended_max = limits[i];
        for (uint32_t k = 0; k < 3; k++) {
            played_crash(l->c, k, false);
            played_restart(l->c, k);
        }
        played_run(l->c, 10 * SECOND);
        append(l, 0, "a line\n");
        assert_int_equal(l->status, i == 0 ? DYN_ERR_BASE_LACKING : DYN_OK);
        if (i == 0)
            send(l, 0, false);
        assert_int_equal(l->status, DYN_OK);
        played_run(l->c, SECOND);
    }
    for (uint32_t i = 0; i < 20; i++) {
        append(l, 0, "a line\n");
        assert_int_equal(l->status, DYN_OK);
        played_run(l->c, SECOND);
    }
    assert_everywhere(l);
    log_free(l);
}

/* A node that is no primary passes the description on. */
static void test_it_is_forwarded_as_it_is(void **state)
{
    (void)state;
    struct log *l = log_new(5, 3, 2, 3);
    for (uint32_t i = 0; i < 5; i++) {
        append(l, i, "a line\n");
        assert_int_equal(l->status, DYN_OK);
        played_run(l->c, SECOND);
    }
    assert_int_equal(lacking(l->c), 0);
    log_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_what_was_appended_travels),
        cmocka_unit_test(test_the_chain_goes_on_at_another_node),
        cmocka_unit_test(test_a_replica_without_the_base_gets_the_whole),
        cmocka_unit_test(test_an_older_replica_gets_the_whole),
        cmocka_unit_test(test_a_base_that_was_replaced_is_lacking_and_the_whole_is_a_conflict),
        cmocka_unit_test(test_a_repeat_is_the_same_write),
        cmocka_unit_test(test_a_description_that_is_wrong_is_refused),
        cmocka_unit_test(test_the_limit_is_that_of_the_whole),
        cmocka_unit_test(test_values_that_are_made_take_no_more_than_they_may),
        cmocka_unit_test(test_it_is_forwarded_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
