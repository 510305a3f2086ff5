/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on directories that are split (E26): the work of a flat directory falls to all nodes,
 * and while it grows, whoever knows of it and whoever does not, nothing is lost to a listing, no
 * removed file comes back, and what lives can be reached (E16). */
#include "scenario.h"

#include "engine/fragments/fragments.h"
#include "engine/peer_wire.h"

static struct engine_config small_fragments(uint32_t entries)
{
    struct engine_config engine;
    engine_config_defaults(&engine);
    engine.fragment_entries = entries;
    engine.fragment_rate = 0; /* decided by size */
    return engine;
}

static uint32_t depth_at(const struct scenario *s, uint32_t node, const char *dir)
{
    return fragments_depth(s->cluster->nodes[node].engine, slice_str(dir));
}

static void create(struct scenario *s, uint32_t node, const char *dir, uint32_t i)
{
    struct answer put = {0};
    char key[80];
    snprintf(key, sizeof(key), "%s/f%04u", dir, i);
    scenario_put(s, node, key, "x", NULL, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    answer_release(&put);
}

static uint32_t listed(struct scenario *s, uint32_t node, const char *dir, uint32_t limit)
{
    struct answer seen = {0};
    uint32_t names = 0;
    const char *last = "";
    scenario_list(s, node, dir, limit, &seen);
    assert_int_equal(seen.status, DYN_OK);
    char *name = (char *)seen.listing.data;
    for (char *end = strchr(name, ' '); end != NULL; end = strchr(name, ' ')) {
        *end = '\0';
        assert_true(strcmp(last, name) < 0); /* in order, none twice */
        last = name;
        name = end + 1;
        names++;
    }
    answer_release(&seen);
    return names;
}

static void grow_to(struct scenario *s, const char *dir, uint32_t depth)
{
    for (uint32_t i = 0; i < 120 && depth_at(s, 0, dir) < depth; i++)
        sim_cluster_run(s->cluster, SIM_SECOND);
    assert_true(depth_at(s, 0, dir) >= depth);
}

/* ---- load -------------------------------------------------------------------------------- */

static uint64_t entries_to[SIM_NODES_MAX];

static enum sim_fate count_entries(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                   struct slice body)
{
    (void)arg;
    (void)from;
    /* the roles come after format, ring and fence; see peer_put_encode */
    size_t roles = 1 + 4 + DIGEST_LEN + 8;
    if (type == FRAME_REPLICA_PUT && body.len > roles && to < SIM_NODES_MAX)
        entries_to[to] += (body.data[roles] & ROLE_ENTRY) != 0;
    return FATE_CHANCE;
}

/* The share of the entries that the busiest of the nodes has, in parts of a fair share. */
static double busiest(struct scenario *s, uint32_t nodes, uint32_t from, uint32_t to)
{
    uint64_t most = 0, all = 0;
    memset(entries_to, 0, sizeof(entries_to));
    sim_net_set_judge(s->cluster->net, count_entries, NULL);
    for (uint32_t i = from; i < to; i++)
        create(s, i % nodes, "flat", i);
    sim_net_set_judge(s->cluster->net, NULL, NULL);
    for (uint32_t i = 0; i < nodes; i++) {
        all += entries_to[i];
        most = entries_to[i] > most ? entries_to[i] : most;
    }
    return (double)most * nodes / (double)all;
}

static double flat_load(uint32_t fragment_entries)
{
    const uint32_t nodes = 12;
    struct scenario s;
    struct engine_config engine = small_fragments(fragment_entries);
    scenario_begin_with(&s, nodes, 3, 2, 2, &engine);
    for (uint32_t i = 0; i < 400; i++) {
        create(&s, i % nodes, "flat", i);
        if (i % 40 == 0)
            sim_cluster_run(s.cluster, 4 * SIM_SECOND);
    }
    scenario_settle(&s);
    print_message("depth %u\n", depth_at(&s, 0, "flat"));
    double load = busiest(&s, nodes, 400, 800);
    assert_int_equal(listed(&s, 5, "flat", 70), 800);
    scenario_end(&s);
    return load;
}

static void test_a_flat_directory_is_the_work_of_all_nodes(void **state)
{
    (void)state;
    double whole = flat_load(0), split = flat_load(10);
    print_message("the busiest of 12 nodes has %.2f of a fair share, %.2f where nothing is split\n",
                  split, whole);
    assert_true(whole > 3.5); /* three nodes of twelve do everything */
    assert_true(split < 2.0);
}

static void test_a_directory_that_is_hot_is_split_however_small_it_is(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = small_fragments(0);
    struct answer put = {0};
    char key[32];
    engine.fragment_rate = 5;
    scenario_begin_with(&s, 6, 3, 2, 2, &engine);
    for (uint32_t i = 0; i < 600; i++) { /* 30 files, which are overwritten 20 times a second */
        snprintf(key, sizeof(key), "%s/f%04u", i % 10 == 0 ? "calm" : "hot", i % 30);
        scenario_put(&s, i % 6, key, "x", NULL, PUT_CURRENT, &put);
        assert_int_equal(put.status, DYN_OK);
        sim_cluster_run(s.cluster, 45000);
    }
    scenario_settle(&s);
    assert_true(depth_at(&s, 0, "hot") >= 1);
    assert_int_equal(depth_at(&s, 0, "calm"), 0);
    assert_int_equal(listed(&s, 2, "hot", 10), 27);
    answer_release(&put);
    scenario_end(&s);
}

/* ---- growing ----------------------------------------------------------------------------- */

static void create_some(struct scenario *s, const char *dir, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++)
        create(s, i % s->cluster->cfg.nodes, dir, i);
}

static void test_what_lies_before_a_split_is_listed_while_it_is_moved(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = small_fragments(6);
    scenario_begin_with(&s, 6, 3, 2, 2, &engine);
    create_some(&s, "d", 0, 40);
    for (uint32_t i = 0; i < 200; i++) { /* over all of announcing, activating and moving */
        assert_int_equal(listed(&s, i % 6, "d", 1 + i % 50), 40);
        sim_cluster_run(s.cluster, SIM_SECOND / 10);
    }
    scenario_settle(&s);
    assert_true(depth_at(&s, 0, "d") >= 1);
    create_some(&s, "d", 40, 60);
    assert_int_equal(listed(&s, 3, "d", 7), 60);
    scenario_end(&s);
}

/* All replicas of the directory must have the announcement on their disks. */
static void test_no_directory_grows_while_a_replica_has_no_room_to_note_it(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = small_fragments(6);
    uint32_t home[3];
    scenario_begin_with(&s, 6, 3, 2, 2, &engine);
    sim_cluster_replicas(s.cluster, slice_str("d"), 3, home);
    sim_disk_fill(s.cluster->nodes[home[2]].disk, true);
    for (uint32_t i = 0; i < 20; i++)
        create(&s, home[0], "d", i);
    sim_cluster_run(s.cluster, 30 * (uint64_t)SIM_SECOND);
    assert_int_equal(fragments_listed(s.cluster->nodes[home[0]].engine, slice_str("d")), 2);
    assert_int_equal(depth_at(&s, home[0], "d"), 0);
    sim_disk_fill(s.cluster->nodes[home[2]].disk, false);
    grow_to(&s, "d", 1);
    scenario_settle(&s);
    assert_int_equal(listed(&s, home[1], "d", 100), 20);
    scenario_end(&s);
}

static uint32_t who_is_not_home(struct scenario *s, const char *dir)
{
    uint32_t nodes[SIM_NODES_MAX];
    uint32_t n = sim_cluster_replicas(s->cluster, slice_str(dir), 3, nodes);
    for (uint32_t node = 0; node < s->cluster->cfg.nodes; node++) {
        bool home = false;
        for (uint32_t i = 0; i < n; i++)
            home |= nodes[i] == node;
        if (!home)
            return node;
    }
    return 0;
}

static enum sim_fate hold_first_fragment(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                         struct slice body)
{
    struct peer_list m;
    (void)arg;
    (void)from;
    (void)to;
    bool first =
        type == FRAME_REPLICA_LIST && peer_list_decode(body, &m) == DYN_OK && m.fragment == 0;
    return first ? FATE_HOLD : FATE_CHANCE;
}

static void count_names(void *arg, const struct sim_reply *r)
{
    *(int *)arg = r->status == DYN_OK ? (int)r->list->n : r->status;
}

/* The new fragments are asked before the entries have come there, the old one after they were
 * moved. */
static void test_a_listing_misses_nothing_that_moves_meanwhile(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = small_fragments(6);
    int names = -1000;
    scenario_begin_with(&s, 6, 3, 2, 2, &engine);
    create_some(&s, "d", 0, 40);
    uint32_t coordinator = who_is_not_home(&s, "d");
    for (uint32_t i = 0; i < 2000 && depth_at(&s, coordinator, "d") == 0; i++)
        sim_cluster_run(s.cluster, 20000);
    assert_int_equal(depth_at(&s, coordinator, "d"), 1);
    sim_net_set_judge(s.cluster->net, hold_first_fragment, NULL);
    struct sim_request q = {.type = FRAME_LIST,
                            .list = {.opt = s.opt, .dir = slice_str("d"), .limit = 100}};
    q.list.opt.timeout_ms = 5000;
    sim_client_call(&s.client, VIA_KV, coordinator, &q, count_names, &names);
    sim_cluster_run(s.cluster, 4 * SIM_SECOND);
    assert_int_equal(names, -1000);
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    sim_net_release_held(s.cluster->net);
    sim_cluster_run(s.cluster, SIM_SECOND);
    assert_int_equal(names, 40);
    scenario_settle(&s);
    scenario_end(&s);
}

static uint32_t deaf; /* a node that hears nothing of settings */

static enum sim_fate no_settings(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                 struct slice body)
{
    (void)arg;
    (void)body;
    bool settings = type == FRAME_SETTINGS_SYNC;
    return settings && (to == deaf || from == deaf) ? FATE_DROP : FATE_CHANCE;
}

/* One node goes on as if the directory had not been split. */
static void test_a_coordinator_that_does_not_know_of_a_split_hides_nothing(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = small_fragments(6);
    scenario_begin_with(&s, 6, 3, 2, 2, &engine);
    deaf = who_is_not_home(&s, "d");
    sim_net_set_judge(s.cluster->net, no_settings, NULL);
    uint32_t knows = deaf == 0 ? 1 : 0;
    for (uint32_t i = 0; i < 20; i++)
        create(&s, knows, "d", i);
    for (uint32_t i = 0; i < 60 && depth_at(&s, knows, "d") == 0; i++)
        sim_cluster_run(s.cluster, SIM_SECOND);
    assert_true(depth_at(&s, knows, "d") > 0);
    assert_int_equal(depth_at(&s, deaf, "d"), 0);
    for (uint32_t i = 20; i < 30; i++) {
        create(&s, deaf, "d", i);
        create(&s, knows, "d", 10 + i);
    }
    assert_int_equal(listed(&s, knows, "d", 100), 40);
    assert_int_equal(listed(&s, deaf, "d", 100), 40); /* it is told with the first pages */
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    scenario_settle(&s);
    for (uint32_t node = 0; node < 6; node++)
        assert_int_equal(listed(&s, node, "d", 4), 40);
    scenario_end(&s);
}

/* A directory whose fragment 1 lies first with a node that is none of its own. */
static uint32_t first_of_fragment_1(struct scenario *s, char dir[16])
{
    uint32_t own[SIM_NODES_MAX], first[SIM_NODES_MAX];
    for (uint32_t i = 0; i < 1000; i++) {
        bool home = false;
        snprintf(dir, 16, "d%u", i);
        struct place at = place_of_fragment(sim_cluster_ring(s->cluster), slice_str(dir), 1);
        sim_cluster_replicas(s->cluster, slice_str(dir), 3, own);
        sim_cluster_owners(s->cluster, at.partition, 3, first);
        for (uint32_t k = 0; k < 3; k++)
            home |= own[k] == first[0];
        if (!home)
            return first[0];
    }
    fail();
    return 0;
}

/* A node that has heard of a split that is coming, and not that it has come, is given entries of a
 * fragment that nothing belongs to yet. It leaves them there. */
static void test_who_has_missed_the_end_of_a_split_moves_nothing_back(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = small_fragments(30);
    char dir[16];
    scenario_begin_with(&s, 6, 3, 2, 2, &engine);
    deaf = first_of_fragment_1(&s, dir);
    const struct engine *behind = s.cluster->nodes[deaf].engine;
    uint32_t knows = deaf == 0 ? 1 : 0;
    for (uint32_t i = 0; i < 40; i++)
        create(&s, knows, dir, i);
    for (uint32_t i = 0; i < 20000 && fragments_listed(behind, slice_str(dir)) < 2; i++)
        sim_cluster_run(s.cluster, SIM_SECOND / 1000);
    assert_int_equal(depth_at(&s, deaf, dir), 0);
    sim_net_set_judge(s.cluster->net, no_settings, NULL);
    for (uint32_t i = 0; i < 60 && depth_at(&s, knows, dir) == 0; i++)
        sim_cluster_run(s.cluster, SIM_SECOND);
    assert_int_equal(depth_at(&s, knows, dir), 1);
    sim_cluster_run(s.cluster, 60 * (uint64_t)SIM_SECOND);
    assert_int_equal(depth_at(&s, deaf, dir), 0);
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    assert_int_equal(listed(&s, knows, dir, 100), 40);
    scenario_settle(&s);
    assert_int_equal(listed(&s, deaf, dir, 100), 40);
    scenario_end(&s);
}

/* ---- owners that change ------------------------------------------------------------------ */

enum { DIRS = 4, FILES = 16, AWAY = 5 };

static void got_row(struct store_get *get, int err, struct slice value)
{
    (void)value;
    *(int *)get->arg = err;
}

/* How many of the entries that belong elsewhere a node has on its disk in fragment 0. */
static uint32_t strays(const struct scenario *s, uint32_t node, const char *dir)
{
    struct ring *ring = sim_cluster_ring(s->cluster);
    struct store_port store = sim_disk_port(s->cluster->nodes[node].disk);
    struct place at = place_of_fragment(ring, slice_str(dir), 0);
    uint32_t found = 0;
    for (uint32_t i = 0; i < FILES; i++) {
        char key[32];
        struct buf row = BUF_EMPTY;
        int err = 1;
        snprintf(key, sizeof(key), "%s/f%04u", dir, i);
        row_of_id(&at, ROW_ENTRY, slice_str(key), &row);
        struct store_get get = {
            .family = STORE_META, .key = buf_slice(&row), .done = got_row, .arg = &err};
        store.get(store.ctx, &get);
        assert_int_not_equal(err, 1);
        found += err == DYN_OK && engine_fragment(s->cluster->nodes[0].engine, slice_str(key)) != 0;
        buf_release(&row);
    }
    return found;
}

static bool owns_first_fragment(const struct scenario *s, uint32_t node, const char *dir)
{
    uint32_t owner[1];
    struct place at = place_of_fragment(sim_cluster_ring(s->cluster), slice_str(dir), 0);
    sim_cluster_owners(s->cluster, at.partition, 1, owner);
    return owner[0] == node;
}

/* A node leaves, and keeps its copies for a day. Meanwhile directories are split. When it comes
 * back it has entries in fragment 0 that have been moved from there; nobody else does. */
static void test_entries_of_before_a_split_are_moved_from_who_comes_back(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = small_fragments(6);
    char dirs[DIRS][16], address[32];
    uint32_t left[DIRS], back = 0;
    scenario_begin_with(&s, 6, 1, 1, 1, &engine);
    for (uint32_t i = 0, n = 0; n < DIRS; i++) {
        snprintf(dirs[n], sizeof(dirs[n]), "d%u", i);
        if (!owns_first_fragment(&s, AWAY, dirs[n]))
            continue;
        create_some(&s, dirs[n++], 0, 6);
    }
    scenario_settle(&s);
    struct member_event leave = {.type = MEMBER_LEAVE, .node = s.cluster->nodes[AWAY].id};
    scenario_change(&s, 0, &leave);
    for (uint32_t i = 0; i < DIRS; i++) {
        create_some(&s, dirs[i], 6, FILES);
        grow_to(&s, dirs[i], 1);
    }
    sim_cluster_run(s.cluster, 60 * (uint64_t)SIM_SECOND);
    for (uint32_t i = 0; i < DIRS; i++) {
        left[i] = strays(&s, AWAY, dirs[i]);
        for (uint32_t node = 0; node < AWAY; node++)
            assert_true(!owns_first_fragment(&s, node, dirs[i]) || strays(&s, node, dirs[i]) == 0);
    }
    struct member_event join = sim_join_of(s.cluster, AWAY, 0, address);
    scenario_change(&s, 0, &join);
    sim_cluster_run(s.cluster, 60 * (uint64_t)SIM_SECOND);
    for (uint32_t i = 0; i < DIRS; i++) {
        back += left[i] > 0 && owns_first_fragment(&s, AWAY, dirs[i]);
        for (uint32_t node = 0; node < 6; node++)
            assert_true(!owns_first_fragment(&s, node, dirs[i]) || strays(&s, node, dirs[i]) == 0);
        assert_int_equal(listed(&s, i % 6, dirs[i], 100), FILES);
    }
    assert_true(back > 0);
    scenario_end(&s);
}

/* ---- what lives can be reached ----------------------------------------------------------- */

static void delete_all(struct scenario *s, const char *dir, uint32_t n)
{
    struct answer gone = {0};
    char key[32];
    for (uint32_t i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "%s/f%04u", dir, i);
        scenario_put(s, i % s->cluster->cfg.nodes, key, NULL, NULL, PUT_CURRENT, &gone);
        assert_int_equal(gone.status, DYN_OK);
    }
    answer_release(&gone);
}

/* Of half of the files the entries that still live lie where they do not belong any more, and their
 * ends elsewhere. */
static void test_a_directory_that_is_emptied_while_it_is_split_stays_removed(void **state)
{
    (void)state;
    struct scenario s;
    struct answer dir = {0};
    struct engine_config engine = small_fragments(6);
    scenario_begin_with(&s, 6, 3, 2, 2, &engine);
    scenario_mkdir(&s, 0, "d", &dir);
    create_some(&s, "d", 0, 12);
    grow_to(&s, "d", 1);
    delete_all(&s, "d", 12);
    assert_int_equal(listed(&s, 1, "d", 100), 0);
    scenario_put(&s, 2, "d", NULL, NULL, PUT_CURRENT, &dir);
    assert_int_equal(dir.status, DYN_OK);
    sim_cluster_run(s.cluster, 30 * (uint64_t)SIM_SECOND);
    scenario_settle(&s);
    for (uint32_t node = 0; node < 6; node++) {
        scenario_get(&s, node, "d", &dir);
        assert_int_equal(answer_live(&dir), 0);
        assert_false(dir.implicit_dir);
    }
    answer_release(&dir);
    scenario_end(&s);
}

/* A key of d that lies in a fragment other than 0, whose only replica is this node or, with it 99,
 * any that is not the directory's own. */
static void split_key(struct scenario *s, uint32_t *fragment_owner, char *key)
{
    struct sim_cluster *c = s->cluster;
    const struct engine *e = c->nodes[0].engine;
    uint32_t home[SIM_NODES_MAX], owner[SIM_NODES_MAX], object[SIM_NODES_MAX];
    sim_cluster_replicas(c, slice_str("d"), 1, home);
    for (uint32_t i = 0; i < 10000; i++) {
        snprintf(key, 32, "d/g%u", i);
        uint32_t fragment = engine_fragment(e, slice_str(key));
        struct place at = place_of_fragment(sim_cluster_ring(c), slice_str("d"), fragment);
        sim_cluster_owners(c, at.partition, 1, owner);
        sim_cluster_replicas(c, slice_str(key), 1, object);
        if (fragment != 0 && owner[0] != home[0] && object[0] != home[0]) {
            *fragment_owner = owner[0];
            return;
        }
    }
    fail_msg("no such key");
}

static void split_and_empty(struct scenario *s, struct answer *dir)
{
    scenario_mkdir(s, 0, "d", dir);
    create_some(s, "d", 0, 20);
    grow_to(s, "d", 1);
    scenario_settle(s);
    create_some(s, "d", 20, 60);
    grow_to(s, "d", 2);
    delete_all(s, "d", 60);
    scenario_settle(s);
    scenario_get(s, 0, "d", dir);
    assert_int_equal(answer_live(dir), 1);
}

/* The one replica of the directory removes it; the one replica of a fragment, cut off from it,
 * takes a file. */
static void test_a_file_created_in_a_fragment_of_a_removed_directory_stays_in_reach(void **state)
{
    (void)state;
    struct scenario s;
    struct answer dir = {0}, put = {0}, seen = {0};
    struct engine_config engine = small_fragments(6);
    uint32_t home[1], owner;
    char key[32];
    scenario_begin_with(&s, 5, 1, 1, 1, &engine);
    split_and_empty(&s, &dir);
    split_key(&s, &owner, key);
    sim_cluster_replicas(s.cluster, slice_str("d"), 1, home);
    scenario_cut(&s, home[0], owner, true);
    scenario_put(&s, home[0], "d", NULL, NULL, PUT_CURRENT, &dir);
    scenario_put(&s, owner, key, "leaf", NULL, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    sim_net_heal(s.cluster->net);
    scenario_settle(&s);
    scenario_get(&s, 0, "d", &seen);
    assert_int_equal(answer_live(&seen), 1);
    assert_int_equal(listed(&s, 2, "d", 100), 1);
    answer_release(&dir);
    answer_release(&put);
    answer_release(&seen);
    scenario_end(&s);
}

/* The removal comes first, and is known in each fragment when it is answered. */
static void test_a_create_after_the_removal_of_its_directory_makes_it_again(void **state)
{
    (void)state;
    struct scenario s;
    struct answer dir = {0}, put = {0}, seen = {0};
    struct engine_config engine = small_fragments(6);
    uint32_t owner;
    char key[32];
    scenario_begin_with(&s, 5, 1, 1, 1, &engine);
    split_and_empty(&s, &dir);
    split_key(&s, &owner, key);
    scenario_put(&s, 1, "d", NULL, NULL, PUT_CURRENT, &dir);
    assert_int_equal(dir.status, DYN_OK);
    scenario_put(&s, 3, key, "leaf", NULL, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    scenario_get(&s, 0, "d", &seen); /* at once */
    assert_int_equal(answer_live(&seen), 1);
    answer_release(&dir);
    answer_release(&put);
    answer_release(&seen);
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_directory_that_is_hot_is_split_however_small_it_is),
        cmocka_unit_test(test_what_lies_before_a_split_is_listed_while_it_is_moved),
        cmocka_unit_test(test_no_directory_grows_while_a_replica_has_no_room_to_note_it),
        cmocka_unit_test(test_a_listing_misses_nothing_that_moves_meanwhile),
        cmocka_unit_test(test_a_coordinator_that_does_not_know_of_a_split_hides_nothing),
        cmocka_unit_test(test_who_has_missed_the_end_of_a_split_moves_nothing_back),
        cmocka_unit_test(test_entries_of_before_a_split_are_moved_from_who_comes_back),
        cmocka_unit_test(test_a_directory_that_is_emptied_while_it_is_split_stays_removed),
        cmocka_unit_test(test_a_file_created_in_a_fragment_of_a_removed_directory_stays_in_reach),
        cmocka_unit_test(test_a_create_after_the_removal_of_its_directory_makes_it_again),
        cmocka_unit_test(test_a_flat_directory_is_the_work_of_all_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
