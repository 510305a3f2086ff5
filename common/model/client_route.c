/* SPDX-License-Identifier: Apache-2.0 */
/* Whom to ask. Any node would do, but a primary of the key saves a hop, a near one saves time, and
 * the same one for all would be a hot spot. So reads go to a random one of the near primaries;
 * writes of a key go to the first near one in ring order, which keeps clocks short and spreads over
 * the nodes because keys do. A node that is thought down, or was tried, comes last. */
#include "model/client_private.h"

#include "model/key.h"
#include "model/ring.h"

#define PRIMARIES_MAX 8u
#define CANDIDATES_MAX 64u
#define NEAR_SLACK_US 500u /* differences below this are noise */
#define EXPLORE_ONE_IN 64u /* reads that go to a far primary, to see whether it is far still */
#define READ_PATIENCE_US 50000u
#define WRITE_PATIENCE_US 250000u

static bool tried(const struct client_op *op, uint64_t node)
{
    for (uint32_t i = 0; i < op->n_tried; i++) {
        if (op->tried[i] == node)
            return true;
    }
    return false;
}

static uint64_t rtt(const struct client_op *op, uint64_t node)
{
    return detector_rtt_us(op->client->detector, node);
}

static uint32_t below(struct client *c, uint32_t n)
{
    return (uint32_t)(random_u64(&c->random) % n);
}

/* Drops from nodes[] what was tried or is down. */
static uint32_t keep_healthy(const struct client_op *op, uint64_t *nodes, uint32_t n)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!tried(op, nodes[i]) && detector_up(op->client->detector, nodes[i]))
            nodes[kept++] = nodes[i];
    }
    return kept;
}

/* An unknown round trip counts as near: somebody has to try. */
static uint32_t keep_near(const struct client_op *op, uint64_t *nodes, uint32_t n)
{
    uint64_t least = UINT64_MAX;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t t = rtt(op, nodes[i]);
        least = t < least ? t : least;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (rtt(op, nodes[i]) / 2 <= least + NEAR_SLACK_US)
            nodes[kept++] = nodes[i];
    }
    return kept;
}

static uint64_t pick_primary(struct client_op *op, uint64_t *nodes, uint32_t n)
{
    bool write = op->type == CLIENT_PUT;
    n = keep_healthy(op, nodes, n);
    if (n == 0)
        return 0;
    if (write || below(op->client, EXPLORE_ONE_IN) != 0)
        n = keep_near(op, nodes, n);
    return nodes[write ? 0 : below(op->client, n)];
}

static void shuffle(struct client *c, uint64_t *nodes, uint32_t n)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t k = below(c, i);
        uint64_t other = nodes[k];
        nodes[k] = nodes[i - 1];
        nodes[i - 1] = other;
    }
}

/* Those of all[] that are up, or are not, and not in nodes[] already. */
static uint32_t append_new(const struct client_op *op, uint64_t *nodes, uint32_t count,
                           const uint64_t *all, uint32_t n, bool up)
{
    for (uint32_t i = 0; i < n; i++) {
        bool listed = false;
        for (uint32_t k = 0; k < count; k++)
            listed |= nodes[k] == all[i];
        if (!listed && detector_up(op->client->detector, all[i]) == up)
            nodes[count++] = all[i];
    }
    return count;
}

uint32_t client_route_reads(struct client_op *op, uint64_t *nodes, uint32_t cap, uint32_t *n_up)
{
    const struct ring *ring = op->client->ring;
    uint64_t all[PRIMARIES_MAX], near[PRIMARIES_MAX];
    uint32_t partition = ring_partition_of(ring, buf_slice(&op->key)), count = 0;
    uint32_t n = op->n != 0 ? op->n : ring_n(ring);
    n = n < cap ? n : cap;
    n = n < PRIMARIES_MAX ? n : PRIMARIES_MAX;
    n = ring_preference_list(ring, partition, n, all, ring_voters(ring, partition, n));
    shuffle(op->client, all, n);
    memcpy(near, all, n * sizeof(*near));
    uint32_t n_near = *n_up = keep_healthy(op, near, n);
    if (below(op->client, EXPLORE_ONE_IN) != 0)
        n_near = keep_near(op, near, n_near);
    for (uint32_t i = 0; i < n_near; i++)
        nodes[count++] = near[i];
    count = append_new(op, nodes, count, all, n, true);
    count = append_new(op, nodes, count, all, n, false);
    return count;
}

/* 0: none is up that was not tried; then the order of the list is as good as any. */
static uint64_t any_member(struct client_op *op)
{
    const struct ring *ring = op->client->ring;
    uint32_t n = ring_member_count(ring), from = below(op->client, n);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t node = ring_member_at(ring, (from + i) % n)->node;
        if (!tried(op, node) && detector_up(op->client->detector, node))
            return node;
    }
    return 0;
}

uint64_t client_route(struct client_op *op)
{
    const struct ring *ring = op->client->ring;
    uint64_t primaries[PRIMARIES_MAX], all[CANDIDATES_MAX];
    uint32_t partition = ring_partition_of(ring, buf_slice(&op->key));
    uint32_t n = op->n != 0 ? op->n : ring_n(ring);

    if (op->n_tried == CLIENT_TRIED_MAX)
        return 0;
    uint64_t any = op->client->cfg.any_member ? any_member(op) : 0;
    if (any != 0)
        return any;
    n = n < PRIMARIES_MAX ? n : PRIMARIES_MAX;
    uint64_t node =
        pick_primary(op, primaries, ring_preference_list(ring, partition, n, primaries, n));
    if (node != 0)
        return node;
    uint32_t count = ring_preference_list(ring, partition, n, all, CANDIDATES_MAX);
    uint64_t last_hope = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (tried(op, all[i]))
            continue;
        if (detector_up(op->client->detector, all[i]))
            return all[i];
        if (last_hope == 0)
            last_hope = all[i];
    }
    return last_hope;
}

uint64_t client_patience_us(const struct client_op *op, uint64_t node)
{
    uint64_t most = op->client->cfg.attempt_us;
    uint64_t least = op->type == CLIENT_PUT ? WRITE_PATIENCE_US : READ_PATIENCE_US;
    uint64_t usual = rtt(op, node);
    uint64_t since = detector_down_since_us(op->client->detector, node);
    if (since != 0 && client_now(op->client) - since >= CLIENT_LOST_US)
        return READ_PATIENCE_US; /* its probes would have told */
    if (key_internal(buf_slice(&op->key)) && op->type != CLIENT_SYNC) /* a chunk is a megabyte: */
        return op->type == CLIENT_PUT ? most : 2 * most; /* to move it twice makes all later */
    if (usual == 0)
        usual = WRITE_PATIENCE_US / 8;
    uint64_t us = usual > most / 8 ? most : usual * 8;
    us = us < least ? least : us;
    for (uint32_t i = 1; i < op->n_tried && us < most; i++)
        us *= 2; /* if all are slow, asking more of them faster does not help */
    return us < most ? us : most;
}
