/* SPDX-License-Identifier: Apache-2.0 */
/* A partition that gets another owner is fetched whole, from who may give it, in pieces that are
 * checked, whatever becomes of its sources and of itself on the way (E10, E13). */
#include "engine/transfer/transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "engine/coordinate/dir_settings.h"
#include "engine/transfer/range.h"
#include "played_cluster.h"
#include "unit.h"

#define SECOND 1000000u
#define KEYS 120u
#define LEAVER 3u /* the fourth node: what it had goes to the others */

struct watch {
    struct played_cluster *c;
    uint64_t seen[256];    /* frames of each type that arrived */
    uint64_t states;       /* that came in pieces */
    uint8_t lost;          /* frames of this type do not; 0: all do */
    uint64_t spoilt_from;  /* a bit of each piece of this node is another one; 0: none */
    uint32_t die_at_piece; /* the leaver is out of reach when it is asked for so many pieces */
};

static uint64_t states_in(const struct buf *piece)
{
    struct range_reply r;
    if (range_reply_decode(buf_slice(piece), &r) != DYN_OK)
        return 0;
    uint64_t n = r.n;
    range_reply_release(&r);
    return n;
}

static bool judge(void *arg, uint64_t from, uint64_t to, uint8_t type, struct buf *body)
{
    struct watch *w = arg;
    if (type == w->lost && w->lost != 0)
        return false;
    w->seen[type]++;
    if (type == FRAME_RANGE_FETCH + FRAME_REPLY)
        w->states += states_in(body);
    if (type == FRAME_RANGE_FETCH + FRAME_REPLY && from == w->spoilt_from)
        body->data[body->len / 2] ^= 4;
    if (type == FRAME_RANGE_FETCH && to == LEAVER + 1 && w->die_at_piece != 0 &&
        --w->die_at_piece == 0)
        w->c->nodes[LEAVER].up = false;
    return true;
}

static void key_of(uint32_t i, char out[32])
{
    snprintf(out, 32, "d%u/k%u", i % 3, i);
}

/* Four nodes with data, and the fourth about to leave. */
static struct played_cluster *begin(struct watch *w)
{
    struct played_cluster *c = played_cluster_new(4, 3, 2, 2);
    char key[32];
    for (uint32_t i = 0; i < KEYS; i++) {
        key_of(i, key);
        assert_int_equal(played_write(c, i % 4, key, key, 0, slice_of(NULL, 0)), DYN_OK);
    }
    played_run(c, 5 * SECOND);
    *w = (struct watch){.c = c};
    c->judge = judge;
    c->judge_arg = w;
    return c;
}

static void leave(struct played_cluster *c)
{
    const struct member_event part = {.type = MEMBER_LEAVE, .node = LEAVER + 1};
    played_change(c, 0, &part);
}

static uint32_t moving(const struct played_cluster *c)
{
    return ring_moving(engine_ring(c->nodes[0].engine));
}

static void run_until_settled(struct played_cluster *c, uint32_t seconds)
{
    for (uint32_t i = 0; i < seconds * 10 && moving(c) > 0; i++)
        played_run(c, SECOND / 10);
    assert_int_equal(moving(c), 0);
}

/* Each of the three has all of it, as it was written. */
static void assert_all_have_all(struct played_cluster *c)
{
    char key[32];
    c->judge = NULL;
    c->nodes[LEAVER].up = false;
    for (uint32_t i = 0; i < KEYS; i++) {
        key_of(i, key);
        struct get_request q = {
            .key = slice_str(key), .want = GET_ALL, .opt = {.r = 3, .sloppy = SLOPPY_NO}};
        for (uint32_t at = 0; at < 3; at++) {
            for (uint32_t k = 0; k < 3; k++)
                c->nodes[k].up = k == at;
            q.opt.r = 1;
            struct get_reply r = played_get(c, at, &q);
            assert_int_equal(r.status, DYN_OK);
            assert_int_equal(r.object.n, 1);
            const struct blob *v = r.object.siblings[0].value;
            assert_true(slice_equal(slice_of(v->data, v->len), slice_str(key)));
            get_reply_release(&r);
        }
    }
}

static void end(struct played_cluster *c)
{
    played_cluster_free(c);
}

static void test_who_leaves_hands_everything_over(void **state)
{
    (void)state;
    struct watch w;
    struct played_cluster *c = begin(&w);
    struct engine_moves m;
    leave(c);
    assert_true(moving(c) > 0);
    run_until_settled(c, 30);
    uint64_t filled = 0;
    for (uint32_t i = 0; i < 3; i++) {
        engine_moves(c->nodes[i].engine, &m);
        filled += m.filled_since_start;
        assert_int_equal(m.filling_here, 0);
    }
    assert_int_equal(filled, 48); /* its quarter of 64 partitions, three copies each */
    assert_all_have_all(c);
    end(c);
}

static void test_a_piece_that_was_spoilt_on_the_way_is_taken_of_another_source(void **state)
{
    (void)state;
    struct watch w;
    struct played_cluster *c = begin(&w);
    w.spoilt_from = LEAVER + 1; /* whom all ask first */
    leave(c);
    run_until_settled(c, 60);
    assert_true(w.seen[FRAME_RANGE_FETCH + FRAME_REPLY] > 0);
    assert_all_have_all(c);
    end(c);
}

static void test_a_source_that_dies_in_the_middle_is_replaced_by_others(void **state)
{
    (void)state;
    struct watch w;
    struct played_cluster *c = begin(&w);
    w.die_at_piece = 5;
    leave(c);
    run_until_settled(c, 60);
    assert_int_equal(w.die_at_piece, 0);
    assert_all_have_all(c);
    end(c);
}

static void test_pieces_that_are_here_are_not_fetched_again_after_a_crash(void **state)
{
    (void)state;
    struct watch w;
    struct played_cluster *c = begin(&w);
    w.lost = FRAME_RANGE_ROOT; /* so nothing is ever confirmed, and all is fetched */
    leave(c);
    for (uint32_t i = 0; i < 600; i++)
        played_run(c, SECOND / 10);
    assert_true(w.states > 20);
    assert_true(moving(c) > 0);
    for (uint32_t i = 0; i < 3; i++) {
        played_crash(c, i, false);
        played_restart(c, i);
    }
    memset(w.seen, 0, sizeof(w.seen));
    w.states = 0;
    w.lost = 0;
    run_until_settled(c, 60);
    assert_true(w.seen[FRAME_RANGE_LIST] > 0); /* compared again */
    assert_int_equal(w.states, 0);
    assert_all_have_all(c);
    end(c);
}

static void test_nothing_is_filled_before_the_trees_are_equal(void **state)
{
    (void)state;
    struct watch w;
    struct engine_moves m;
    struct engine_transfer t[64];
    struct played_cluster *c = begin(&w);
    w.lost = FRAME_RANGE_ROOT;
    leave(c);
    uint32_t at_first = moving(c), runs = 0;
    played_run(c, 9 * SECOND);
    assert_int_equal(moving(c), at_first);
    for (uint32_t i = 0; i < 3; i++) {
        engine_moves(c->nodes[i].engine, &m);
        assert_int_equal(m.filled_since_start, 0);
        uint32_t n = engine_transfers(c->nodes[i].engine, t, 64);
        assert_int_equal(n, m.filling_here);
        for (uint32_t k = 0; k < n; k++) {
            assert_false(t[k].filled);
            assert_true(t[k].permille < 1000);
            runs += t[k].runs;
        }
    }
    assert_true(runs > 0);
    w.lost = 0;
    run_until_settled(c, 60);
    assert_all_have_all(c);
    end(c);
}

/* A frame as a peer sends it, and the status of its answer. */
static int ask_as_peer(struct played_cluster *c, uint32_t at, uint8_t type, uint64_t fence_off)
{
    struct net_events ev = engine_events(c->nodes[at].engine);
    struct buf body = BUF_EMPTY;
    struct ring *ring = engine_ring(c->nodes[at].engine);
    struct range_row row = {.kind = RANGE_OBJECT, .key = slice_str("d0/k0")};
    uint32_t p = ring_partition_of(ring, row.key);
    struct range_request q = {.ring = *ring_epoch(ring),
                              .fence = ring_fence(ring, p) + fence_off,
                              .partition = p,
                              .rows = &row,
                              .n = type == FRAME_RANGE_FETCH};
    q.ring.length += (uint32_t)fence_off;
    range_request_encode(&q, &body);
    c->client_type = 0;
    ev.receive_request(ev.ctx, PLAYED_CLIENT, 2, 1, type, buf_slice(&body));
    buf_release(&body);
    for (uint32_t i = 0; i < 100 && c->client_type == 0; i++)
        played_run(c, 1000);
    assert_int_equal(c->client_type, type + FRAME_REPLY);
    struct range_reply r;
    struct archive_root root;
    if (type == FRAME_RANGE_ROOT) {
        assert_int_equal(archive_root_decode(buf_slice(&c->client_reply), &root), DYN_OK);
        return root.status;
    }
    assert_int_equal(range_reply_decode(buf_slice(&c->client_reply), &r), DYN_OK);
    int status = r.status;
    if (status == DYN_OK)
        assert_true(r.n > 0);
    range_reply_release(&r);
    return status;
}

/* Or it would tell of fewer fragments than are in use (E26). */
static void test_who_has_filled_knows_how_far_its_sources_know_directories_to_be_split(void **state)
{
    (void)state;
    struct watch w;
    struct played_cluster *c = begin(&w);
    struct slice dir = slice_str("split");
    w.lost = FRAME_SETTINGS_SYNC;
    settings_raise(c->nodes[LEAVER].engine, dir, 2);
    played_run(c, SECOND / 10);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(settings_keeper_growth(c->nodes[i].engine->settings, dir), 0);
    w.lost = 0;
    leave(c);
    run_until_settled(c, 3); /* before they would compare anyhow */
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(settings_keeper_growth(c->nodes[i].engine->settings, dir), 2);
    end(c);
}

static void test_who_knows_other_owners_gets_nothing(void **state)
{
    (void)state;
    static const uint8_t types[] = {FRAME_RANGE_LIST, FRAME_RANGE_FETCH, FRAME_RANGE_ROOT};
    struct watch w;
    struct played_cluster *c = begin(&w);
    uint32_t owner = 0;
    uint64_t nodes[3];
    ring_preference_list(c->ring, ring_partition_of(c->ring, slice_str("d0/k0")), 3, nodes, 3);
    owner = (uint32_t)nodes[0] - 1;
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(ask_as_peer(c, owner, types[i], 0), DYN_OK);
        assert_int_equal(ask_as_peer(c, owner, types[i], 1), DYN_ERR_REFUSED);
    }
    end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_leaves_hands_everything_over),
        cmocka_unit_test(test_a_piece_that_was_spoilt_on_the_way_is_taken_of_another_source),
        cmocka_unit_test(test_a_source_that_dies_in_the_middle_is_replaced_by_others),
        cmocka_unit_test(test_pieces_that_are_here_are_not_fetched_again_after_a_crash),
        cmocka_unit_test(test_nothing_is_filled_before_the_trees_are_equal),
        cmocka_unit_test(
            test_who_has_filled_knows_how_far_its_sources_know_directories_to_be_split),
        cmocka_unit_test(test_who_knows_other_owners_gets_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
