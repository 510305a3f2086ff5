/* SPDX-License-Identifier: Apache-2.0 */
/* Claims that a review found broken: full disks, slow disks, lost projections, hints that never
 * leave. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/replica/rows.h"
#include "model/key.h"
#include "played_cluster.h"
#include "unit.h"

static const struct slice no_context = {NULL, 0};

static void expect_values(struct played_cluster *c, uint32_t at, const char *key, const char *want)
{
    char *got = played_values(c, at, key);
    assert_string_equal(got, want);
    free(got);
}

static struct put_reply put_text(struct played_cluster *c, uint32_t at, const char *key,
                                 const char *value, uint32_t flags, uint8_t durability)
{
    struct put_request q = {.opt = {.durability = durability},
                            .key = slice_str(key),
                            .flags = flags,
                            .type = SIBLING_FILE,
                            .attrs = {.mode = 0644},
                            .value = slice_str(value)};
    return played_put(c, at, &q);
}

static void fill_disk(struct played_cluster *c, uint32_t at, bool full)
{
    struct store_port port = store_memory_port(c->nodes[at].store);
    struct store_stats s;
    port.stats(port.ctx, &s);
    store_memory_set_capacity(c->nodes[at].store, full ? s.bytes_used : 0);
}

static void primaries(const struct played_cluster *c, const char *key, uint64_t out[3])
{
    ring_preference_list(c->ring, ring_partition_of(c->ring, slice_str(key)), 3, out, 3);
}

/* A key "dN/x" whose object and entry replicas have no node in common. */
static void find_split_key(const struct played_cluster *c, char *dir, char *key)
{
    for (int i = 0; i < 10000; i++) {
        uint64_t o[3], d[3];
        bool common = false;
        snprintf(dir, 16, "d%d", i);
        snprintf(key, 16, "d%d/x", i);
        primaries(c, key, o);
        primaries(c, dir, d);
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 3; b++)
                common |= o[a] == d[b];
        if (!common)
            return;
    }
    fail();
}

/* E1, E20: the full disk refused the write, the peers took it. */
static void test_a_dot_is_not_given_twice_after_a_full_disk(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct put_reply one = put_text(c, 0, "a", "one", 0, 0);
    played_run(c, 1000000);
    fill_disk(c, 0, true);
    struct put_reply two = put_text(c, 0, "a", "two, which is longer", PUT_CURRENT, 0);
    assert_int_equal(two.status, DYN_OK); /* W of the others have it */
    fill_disk(c, 0, false);
    struct put_reply three = put_text(c, 0, "a", "three", 0, 0);
    assert_int_equal(three.status, DYN_OK);
    assert_false(dot_equal(&two.dot, &three.dot));
    put_reply_release(&one);
    put_reply_release(&two);
    put_reply_release(&three);
    played_cluster_free(c);
}

static void test_an_acknowledged_write_survives_a_full_disk(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    assert_int_equal(played_write(c, 0, "a", "one", 0, no_context), DYN_OK);
    played_run(c, 1000000);
    fill_disk(c, 0, true);
    assert_int_equal(played_write(c, 0, "a", "two, which is longer", PUT_CURRENT, no_context),
                     DYN_OK);
    fill_disk(c, 0, false);
    played_run(c, 1000000);
    assert_int_equal(played_write(c, 0, "a", "3", 0, no_context), DYN_OK); /* without context */
    played_run(c, 1000000);
    char *got = played_values(c, 1, "a");
    assert_non_null(strstr(got, "two"));
    free(got);
    played_cluster_free(c);
}

/* A primary whose own disk refused its own write is a primary that missed it. */
static void test_a_coordinator_with_a_full_disk_leaves_a_hint_for_itself(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(5, 3, 2, 2);
    uint64_t p[3];
    primaries(c, "a", p);
    uint32_t at = (uint32_t)p[0] - 1;
    fill_disk(c, at, true);
    assert_int_equal(played_write(c, at, "a", "one", 0, no_context), DYN_OK);
    played_run(c, 1000000);
    assert_true(played_hints(c) > 0);
    fill_disk(c, at, false);
    played_cluster_free(c);
}

/* F14: the merge of what R had failed here, and absence was taken for granted. */
static void test_exclusive_create_fails_although_the_disk_is_full(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    played_crash(c, 0, false);
    assert_int_equal(played_write(c, 1, "lock", "first", 0, no_context), DYN_OK);
    played_restart(c, 0);
    fill_disk(c, 0, true);
    assert_int_not_equal(played_write(c, 0, "lock", "second", PUT_IF_ABSENT, no_context), DYN_OK);
    fill_disk(c, 0, false);
    played_cluster_free(c);
}

/* E25: one rotten value, and each drain ends after its first slice: 32 hints a second, and none
 * at all behind 32 bad ones. */
static void test_one_bad_hint_does_not_hold_up_the_others(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    char first[16] = "";
    uint32_t least = UINT32_MAX;
    played_crash(c, 2, false);
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%02d", i);
        assert_int_equal(played_write(c, 0, key, "value", 0, no_context), DYN_OK);
        uint32_t partition = ring_partition_of(c->ring, slice_str(key));
        if (partition < least) {
            least = partition;
            memcpy(first, key, sizeof(first));
        }
    }
    played_run(c, 1000000);
    struct get_request g = {.key = slice_str(first), .want = GET_META};
    struct get_reply got = played_get(c, 0, &g);
    struct buf row = BUF_EMPTY;
    struct place at = place_of(c->ring, slice_str(first));
    row_value(&at, slice_str(first), &got.object.siblings[0].value_dot, &row);
    assert_true(store_memory_rot(c->nodes[0].store, STORE_VALUE, buf_slice(&row), 0));
    buf_release(&row);
    get_reply_release(&got);
    played_restart(c, 2);
    played_run(c, 3000000);
    assert_true(played_hints(c) <= 1);
    played_cluster_free(c);
}

/* The bytes of hints are what E25's limit goes by. */
static void test_an_overwritten_hint_counts_its_new_size(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    char *big = mem_alloc(65537);
    memset(big, 'x', 65536);
    big[65536] = 0;
    played_crash(c, 2, false);
    assert_int_equal(played_write(c, 0, "a", "1", 0, no_context), DYN_OK);
    played_run(c, 1000000);
    assert_int_equal(played_write(c, 0, "a", big, PUT_CURRENT, no_context), DYN_OK);
    played_run(c, 1000000);
    struct engine_stats s;
    engine_stats(c->nodes[0].engine, &s);
    assert_true(s.hints_bytes >= 65536);
    free(big);
    played_cluster_free(c);
}

/* A returning node that missed a put says 404 to a delete of what W others hold. */
static void test_a_stale_coordinator_deletes_what_a_quorum_holds(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    played_crash(c, 0, false);
    assert_int_equal(played_write(c, 1, "a", "one", 0, no_context), DYN_OK);
    played_restart(c, 0);
    assert_int_equal(played_delete(c, 0, "a"), DYN_OK);
    expect_values(c, 1, "a", "-");
    played_cluster_free(c);
}

/* E22: ask the rest, then the fallbacks. */
static void test_a_session_reads_its_write_from_a_stand_in(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(5, 3, 2, 2);
    uint64_t p[3];
    uint32_t other = 0;
    primaries(c, "a", p);
    for (int i = 0; i < 3; i++)
        played_crash(c, (uint32_t)p[i] - 1, false);
    while (!c->nodes[other].up)
        other++;
    struct put_request q = {
        .opt = {.w = 1}, .key = slice_str("a"), .type = SIBLING_FILE, .value = slice_str("mine")};
    struct put_reply put = played_put(c, other, &q);
    assert_int_equal(put.status, DYN_OK);
    struct buf context = BUF_EMPTY;
    context_all(put.token, &context);
    put_reply_release(&put);
    for (int i = 0; i < 3; i++)
        played_restart(c, (uint32_t)p[i] - 1);
    struct slice at_least = buf_slice(&context);
    struct get_request g = {
        .key = slice_str("a"), .want = GET_ALL, .at_least = &at_least, .n_at_least = 1};
    struct get_reply got = played_get(c, (uint32_t)p[0] - 1, &g);
    assert_int_equal(got.status, DYN_OK);
    get_reply_release(&got);
    buf_release(&context);
    played_cluster_free(c);
}

static void on_drained(void *arg)
{
    *(bool *)arg = true;
}

static void ignore_put(void *arg, const struct put_reply *reply)
{
    (void)arg;
    (void)reply;
}

static void start_put(struct played_cluster *c, uint32_t at, const char *key)
{
    struct put_request q = {.key = slice_str(key), .type = SIBLING_FILE, .value = slice_str("v")};
    struct kv_port kv = engine_kv(c->nodes[at].engine);
    kv.put(kv.ctx, &q, ignore_put, NULL);
}

/* engine.h: at the latest after the request timeout. */
static void test_a_hanging_disk_does_not_keep_a_node_from_stopping(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    bool drained = false;
    played_write(c, 0, "a", "one", 0, no_context);
    played_slow_disk(c, 0, 1000);
    start_put(c, 0, "a");
    played_run(c, 2100); /* the rows are read, the batch is handed over, no peer has answered */
    c->nodes[0].store_delay_us = UINT64_MAX / 4;
    c->nodes[0].store_due = UINT64_MAX / 2; /* the sync hangs */
    engine_stop(c->nodes[0].engine, on_drained, &drained);
    played_run(c, 20000000);
    assert_true(drained);
    played_crash(c, 0, false);
    played_cluster_free(c);
}

/* What the coordinator left: its own copy and the debt of an entry. Returns its index. */
static uint32_t leave_one_copy(struct played_cluster *c, const char *key, uint64_t p[3])
{
    primaries(c, key, p);
    uint32_t a = (uint32_t)p[0] - 1;
    c->nodes[a].mute = true;
    start_put(c, a, key);
    played_run(c, 1000);
    played_crash(c, a, false);
    c->nodes[a].mute = false;
    played_restart(c, a);
    return a;
}

static void expect_listed(struct played_cluster *c, uint32_t at, const char *dir, const char *want)
{
    char *names = played_names(c, at, dir);
    assert_string_equal(names, want);
    free(names);
}

/* E17: every replica that stores a new clock writes an "entry owed" record, also by repair. */
static void test_what_a_read_repaired_is_listed_in_the_end(void **state)
{
    (void)state;
    char dir[16], key[16];
    uint64_t p[3];
    struct played_cluster *c = played_cluster_new(7, 3, 2, 2);
    find_split_key(c, dir, key);
    uint32_t a = leave_one_copy(c, key, p);
    struct get_request g = {.opt = {.r = 3}, .key = slice_str(key), .want = GET_ALL};
    struct get_reply got = played_get(c, (uint32_t)p[1] - 1, &g);
    assert_int_equal(got.object.n, 1);
    get_reply_release(&got);
    played_run(c, 1000000);
    played_crash(c, a, false); /* for good */
    played_run(c, 60000000);
    expect_values(c, (uint32_t)p[1] - 1, key, "v");
    expect_listed(c, (uint32_t)p[1] - 1, dir, "x");
    played_cluster_free(c);
}

/* The debt is settled with a read of R others, who have not seen what is owed. */
static void test_a_debt_is_settled_by_what_it_stands_for(void **state)
{
    (void)state;
    char dir[16], key[16];
    uint64_t p[3];
    struct played_cluster *c = played_cluster_new(7, 3, 2, 2);
    find_split_key(c, dir, key);
    uint32_t a = leave_one_copy(c, key, p);
    played_slow_disk(c, a, 5000);
    played_run(c, 120000000);
    played_slow_disk(c, a, 0);
    expect_values(c, (uint32_t)p[1] - 1, key, "v");
    played_run(c, 120000000);
    expect_listed(c, (uint32_t)p[1] - 1, dir, "x");
    played_cluster_free(c);
}

/* E11: the debt went on acknowledgements from the page cache. */
static void test_a_debt_outlives_unsynced_entries(void **state)
{
    (void)state;
    char dir[16], key[16];
    uint64_t p[3], d[3];
    struct played_cluster *c = played_cluster_new(7, 3, 2, 2);
    find_split_key(c, dir, key);
    primaries(c, key, p);
    primaries(c, dir, d);
    char other[24];
    snprintf(other, sizeof(other), "%s/y", dir);
    assert_int_equal(played_write(c, 0, other, "v", 0, no_context), DYN_OK);
    played_run(c, 1000000);
    struct put_reply put = put_text(c, (uint32_t)p[0] - 1, key, "v", 0, DURABILITY_ONE);
    assert_int_equal(put.status, DYN_OK);
    put_reply_release(&put);
    played_run(c, 1000000);
    for (int i = 0; i < 3; i++)
        played_crash(c, (uint32_t)d[i] - 1, true);
    for (int i = 0; i < 3; i++)
        played_restart(c, (uint32_t)d[i] - 1);
    played_run(c, 60000000);
    expect_values(c, (uint32_t)p[1] - 1, key, "v");
    expect_listed(c, (uint32_t)p[1] - 1, dir, "x y");
    played_cluster_free(c);
}

/* DESIGN 9: a node that hangs costs no client more than a second. */
static void test_a_forward_to_a_hanging_primary_moves_on_within_a_second(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(5, 3, 2, 2);
    uint64_t p[3];
    uint32_t at = 0;
    primaries(c, "a", p);
    while (p[0] == at + 1 || p[1] == at + 1 || p[2] == at + 1)
        at++;
    c->nodes[p[0] - 1].silent = true;
    uint64_t before = c->now_us;
    assert_int_equal(played_write(c, at, "a", "one", 0, no_context), DYN_OK);
    assert_true(c->now_us - before <= 1000000);
    played_cluster_free(c);
}

/* E7, E15: the forward that was given up arrives after all, when its write was superseded. */
static void test_a_late_forward_brings_no_old_version_back(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(5, 3, 2, 2);
    struct buf context = BUF_EMPTY;
    uint64_t p[3];
    uint32_t at = 0;
    primaries(c, "a", p);
    while (p[0] == at + 1 || p[1] == at + 1 || p[2] == at + 1)
        at++;
    c->nodes[p[0] - 1].held = true;
    assert_int_equal(played_write(c, at, "a", "old", 0, no_context), DYN_OK);
    played_context(c, at, "a", &context);
    assert_int_equal(played_write(c, at, "a", "new", 0, buf_slice(&context)), DYN_OK);
    c->nodes[p[0] - 1].held = false;
    played_run(c, 10000000);
    expect_values(c, at, "a", "new");
    buf_release(&context);
    played_cluster_free(c);
}

/* E24: an old context is as good as none for making siblings without end. */
static void test_a_stale_context_makes_no_siblings_without_end(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(1, 1, 1, 1);
    struct buf context = BUF_EMPTY;
    played_write(c, 0, "a", "one", 0, no_context);
    played_context(c, 0, "a", &context);
    int status = DYN_OK;
    for (int i = 0; i < 1010 && status == DYN_OK; i++) {
        char value[16];
        snprintf(value, sizeof(value), "v%d", i);
        status = played_write(c, 0, "a", value, 0, buf_slice(&context));
    }
    assert_int_equal(status, DYN_ERR_CONFLICT);
    buf_release(&context);
    played_cluster_free(c);
}

static uint64_t draw(uint64_t *s, uint64_t n)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (*s >> 33) % n;
}

static void ignore_get(void *arg, const struct get_reply *reply)
{
    (void)arg;
    (void)reply;
}

static void ignore_list(void *arg, const struct list_reply *reply)
{
    (void)arg;
    (void)reply;
}

static void ignore_sync(void *arg, const struct sync_reply *reply)
{
    (void)arg;
    (void)reply;
}

static void random_request(struct played_cluster *c, uint64_t *s)
{
    static const char *const keys[] = {"a", "d/b", "d/e/f", "d", "d/e", "g/h"};
    struct slice key = slice_str(keys[draw(s, 6)]);
    struct engine *e = c->nodes[draw(s, c->n)].engine;
    struct request_options opt = {.durability = (uint8_t)draw(s, 4),
                                  .sloppy = (uint8_t)draw(s, 3),
                                  .timeout_ms = draw(s, 4) == 0 ? 1 + (uint32_t)draw(s, 20) : 0};
    if (e == NULL)
        return;
    struct kv_port kv = engine_kv(e);
    switch (draw(s, 6)) {
    case 0: {
        struct get_request q = {.opt = opt, .key = key, .want = (enum get_want)draw(s, 3)};
        kv.get(kv.ctx, &q, ignore_get, NULL);
        return;
    }
    case 1: {
        struct list_request q = {.opt = opt, .dir = key, .limit = 1 + (uint32_t)draw(s, 3)};
        kv.list(kv.ctx, &q, ignore_list, NULL);
        return;
    }
    case 2: {
        struct sync_request q = {.opt = opt, .key = key};
        kv.sync(kv.ctx, &q, ignore_sync, NULL);
        return;
    }
    default: {
        static const char *const values[] = {"", "x", "yy", "a rather longer value than those"};
        struct put_request q = {.opt = opt,
                                .key = key,
                                .flags = draw(s, 2)   ? PUT_CURRENT
                                         : draw(s, 2) ? PUT_IF_ABSENT
                                                      : 0,
                                .type = draw(s, 3) ? SIBLING_FILE : SIBLING_DELETE,
                                .value = slice_str(values[draw(s, 4)])};
        if (q.type == SIBLING_DELETE)
            q.value = slice_of(NULL, 0);
        kv.put(kv.ctx, &q, ignore_put, NULL);
    }
    }
}

static void random_fault(struct played_cluster *c, uint64_t *s)
{
    uint32_t i = (uint32_t)draw(s, c->n);
    switch (draw(s, 7)) {
    case 0:
        c->nodes[i].silent = !c->nodes[i].silent;
        return;
    case 1:
        c->nodes[i].mute = !c->nodes[i].mute;
        return;
    case 2:
        if (c->nodes[i].engine != NULL)
            played_slow_disk(c, i, draw(s, 2) ? 50 + draw(s, 300000) : 50);
        return;
    case 3:
        fill_disk(c, i, draw(s, 2));
        return;
    case 4:
        if (c->nodes[i].engine != NULL)
            played_crash(c, i, draw(s, 2));
        return;
    default:
        fill_disk(c, i, false);
        if (c->nodes[i].engine == NULL)
            played_restart(c, i);
    }
}

/* Sanitizers and assertions watch. */
static void test_no_order_of_events_breaks_the_machines(void **state)
{
    (void)state;
    const char *seeds = getenv("REVIEW_SEEDS");
    uint64_t n = seeds == NULL ? 20 : strtoull(seeds, NULL, 10);
    for (uint64_t seed = 1; seed <= n; seed++) {
        uint64_t s = seed;
        struct played_cluster *c = played_cluster_new(3 + (uint32_t)draw(&s, 3), 3, 2, 2);
        for (int i = 0; i < 300; i++) {
            if (draw(&s, 8) == 0)
                random_fault(c, &s);
            else
                random_request(c, &s);
            played_run(c, draw(&s, 3) == 0 ? draw(&s, 700000) : draw(&s, 2000));
        }
        for (uint32_t i = 0; i < c->n; i++)
            if (c->nodes[i].engine != NULL)
                played_crash(c, i, true);
        played_cluster_free(c);
    }
}

static void resume(struct timer *t, void *arg)
{
    (void)t;
    struct played_cluster *c = arg;
    for (uint32_t i = 0; i < c->n; i++)
        c->nodes[i].held = false;
}

/* All disks of a machine may stall for a second: that is no reason for a 503. */
static void test_replicas_that_stall_for_a_while_still_count(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct timer later;
    c->nodes[1].held = c->nodes[2].held = true;
    timer_init(&later, resume, c);
    timer_set(&c->timers, &later, c->now_us + 1500000);
    assert_int_equal(played_write(c, 0, "k", "v", 0, no_context), DYN_OK);
    c->nodes[1].held = c->nodes[2].held = true;
    timer_set(&c->timers, &later, c->now_us + 1500000);
    struct get_request q = {.key = slice_str("k"), .want = GET_ALL};
    struct get_reply reply = played_get(c, 0, &q);
    assert_int_equal(reply.status, DYN_OK);
    get_reply_release(&reply);
    played_cluster_free(c);
}

/* Starts every node again under the settings in c->cfg. */
static void restart_all(struct played_cluster *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        played_crash(c, i, false);
        played_restart(c, i);
    }
}

static void write_siblings(struct played_cluster *c, const char *key, unsigned n)
{
    char value[32];
    for (unsigned i = 0; i < n; i++) {
        snprintf(value, sizeof(value), "value %02u", i);
        assert_int_equal(played_write(c, 0, key, value, 0, no_context), DYN_OK);
        played_run(c, 1000);
    }
}

/* E24: versions together may be larger than any message. */
static void test_more_values_than_a_message_holds_reach_a_node_that_was_away(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    c->cfg.frame_values_max = 20;
    restart_all(c);
    c->nodes[2].up = false;
    write_siblings(c, "k", 10);
    assert_true(played_hints(c) > 0);
    c->nodes[2].up = true;
    played_run(c, 30000000);
    assert_int_equal(played_hints(c), 0);
    c->nodes[0].up = c->nodes[1].up = false;
    struct get_request q = {.opt = {.r = 1}, .key = slice_str("k"), .want = GET_ALL};
    struct get_reply reply = played_get(c, 2, &q);
    assert_int_equal(reply.status, DYN_OK);
    assert_int_equal(object_live_count(&reply.object), 10);
    assert_true(object_values_loaded(&reply.object));
    get_reply_release(&reply);
    played_cluster_free(c);
}

static void test_more_values_than_a_message_holds_are_repaired_by_a_read(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    c->cfg.frame_values_max = 20;
    c->cfg.bug = BUG_NO_HINT; /* so that only the read can bring them */
    restart_all(c);
    c->nodes[2].up = false;
    write_siblings(c, "k", 10);
    c->nodes[2].up = true;
    played_run(c, 5000000);
    struct get_request q = {.opt = {.r = 3}, .key = slice_str("k"), .want = GET_ALL};
    struct get_reply reply = played_get(c, 2, &q);
    assert_int_equal(reply.status, DYN_OK);
    assert_true(object_values_loaded(&reply.object));
    get_reply_release(&reply);
    played_run(c, 5000000);
    c->nodes[0].up = c->nodes[1].up = false;
    q.opt.r = 1;
    reply = played_get(c, 2, &q);
    assert_int_equal(object_live_count(&reply.object), 10);
    assert_true(object_values_loaded(&reply.object));
    get_reply_release(&reply);
    played_cluster_free(c);
}

static void test_an_answer_of_many_versions_is_bounded(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    c->cfg.frame_values_max = 20;
    c->cfg.answer_values_max = 40;
    restart_all(c);
    write_siblings(c, "k", 10);
    struct get_request q = {.key = slice_str("k"), .want = GET_ALL};
    struct get_reply reply = played_get(c, 1, &q);
    uint64_t bytes = 0;
    assert_int_equal(reply.status, DYN_OK);
    assert_int_equal(object_live_count(&reply.object), 10);
    for (uint32_t i = 0; i < reply.object.n; i++)
        bytes += reply.object.siblings[i].value == NULL ? 0 : reply.object.siblings[i].value->len;
    assert_in_range(bytes, 33, 40);                 /* of 8 bytes each, and no more than fit */
    for (uint32_t i = 0; i < reply.object.n; i++) { /* the others come one by one */
        struct get_request one = {.key = slice_str("k"),
                                  .want = GET_DOT,
                                  .value_dot = reply.object.siblings[i].value_dot};
        struct get_reply r = played_get(c, 1, &one);
        assert_int_equal(r.status, DYN_OK);
        assert_non_null(object_find_value(&r.object, &one.value_dot)->value);
        get_reply_release(&r);
    }
    get_reply_release(&reply);
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replicas_that_stall_for_a_while_still_count),
        cmocka_unit_test(test_a_dot_is_not_given_twice_after_a_full_disk),
        cmocka_unit_test(test_an_acknowledged_write_survives_a_full_disk),
        cmocka_unit_test(test_a_coordinator_with_a_full_disk_leaves_a_hint_for_itself),
        cmocka_unit_test(test_exclusive_create_fails_although_the_disk_is_full),
        cmocka_unit_test(test_one_bad_hint_does_not_hold_up_the_others),
        cmocka_unit_test(test_an_overwritten_hint_counts_its_new_size),
        cmocka_unit_test(test_a_stale_coordinator_deletes_what_a_quorum_holds),
        cmocka_unit_test(test_a_session_reads_its_write_from_a_stand_in),
        cmocka_unit_test(test_a_hanging_disk_does_not_keep_a_node_from_stopping),
        cmocka_unit_test(test_what_a_read_repaired_is_listed_in_the_end),
        cmocka_unit_test(test_a_debt_is_settled_by_what_it_stands_for),
        cmocka_unit_test(test_a_debt_outlives_unsynced_entries),
        cmocka_unit_test(test_a_forward_to_a_hanging_primary_moves_on_within_a_second),
        cmocka_unit_test(test_a_late_forward_brings_no_old_version_back),
        cmocka_unit_test(test_a_stale_context_makes_no_siblings_without_end),
        cmocka_unit_test(test_more_values_than_a_message_holds_reach_a_node_that_was_away),
        cmocka_unit_test(test_more_values_than_a_message_holds_are_repaired_by_a_read),
        cmocka_unit_test(test_an_answer_of_many_versions_is_bounded),
        cmocka_unit_test(test_no_order_of_events_breaks_the_machines),
    };
    if (getenv("REVIEW_SEEDS") != NULL)
        cmocka_set_test_filter("test_no_order*");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
