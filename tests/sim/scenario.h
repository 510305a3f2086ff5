/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios: interleavings of HAZARDS-ENGINE.md played by hand on a simulated cluster. A scenario
 * places keys, cuts links, drops or holds single messages and stops nodes at chosen moments, where
 * the random simulation has to be lucky. */
#ifndef DYN_SIM_SCENARIO_H
#define DYN_SIM_SCENARIO_H

#include "base/err.h"
#include "sim_client.h"
#include "sim_converge.h"
#include "unit.h"

struct scenario {
    struct sim_world world;
    struct sim_cluster *cluster;
    struct sim_client client;
    struct request_options opt; /* of all requests; change at will */
    uint64_t requests;
};

/* What a request brought back. Release it; reuse without is fine too. */
struct answer {
    int status;
    struct object object;
    struct buf token;
    struct dot dot;     /* of a put */
    struct buf listing; /* of a list: live names, each with a space after it */
    uint32_t pages;
    bool implicit_dir;
};

void scenario_begin(struct scenario *s, uint32_t nodes, uint32_t n, uint32_t r, uint32_t w);
/* The same with settings of the engine's own; they begin as engine_config_defaults. */
void scenario_begin_with(struct scenario *s, uint32_t nodes, uint32_t n, uint32_t r, uint32_t w,
                         const struct engine_config *engine);
/* The same from another seed, for what is decided over several. */
void scenario_begin_seed(struct scenario *s, uint64_t seed, uint32_t nodes, uint32_t n, uint32_t r,
                         uint32_t w, const struct engine_config *engine);
/* Another cluster than that of the other scenarios: other nodes, another id. */
void scenario_begin_other(struct scenario *s, uint32_t nodes, uint32_t n, uint32_t r, uint32_t w);
void scenario_end(struct scenario *s); /* fails the test when there was a violation */

/* Only the first `members` of the nodes are; the others wait to be joined. */
void scenario_begin_members(struct scenario *s, uint32_t nodes, uint32_t members, uint32_t n,
                            uint32_t r, uint32_t w, const struct engine_config *engine);
/* Has a change committed by this node, and runs until all agree and nothing moves. */
void scenario_change(struct scenario *s, uint32_t node, const struct member_event *part);

/* A top-level file key whose first primaries are these nodes, in any order among n; static storage
 * of the scenario's caller: out has 32 bytes. */
void scenario_key(struct scenario *s, const uint32_t *primaries, uint32_t n, const char *dir,
                  char *out);

/* All go to `node` by its kv port and run the cluster until they have ended. */
void scenario_get(struct scenario *s, uint32_t node, const char *key, struct answer *a);
/* value NULL: a delete. context: NULL or one that context_all or context_dots made. */
void scenario_put(struct scenario *s, uint32_t node, const char *key, const char *value,
                  const struct buf *context, uint32_t flags, struct answer *a);
void scenario_mkdir(struct scenario *s, uint32_t node, const char *key, struct answer *a);
void scenario_list(struct scenario *s, uint32_t node, const char *dir, uint32_t limit,
                   struct answer *a);
void answer_release(struct answer *a);

/* The same for what needs a request of its own. */
void scenario_send(struct scenario *s, enum sim_via via, uint32_t node, const struct sim_request *q,
                   struct answer *a);
struct put_request scenario_put_request(struct scenario *s, const char *key, const char *value);

/* A context of the whole token, or of the one sibling with this value. Release it. */
struct buf context_whole(const struct answer *a);
struct buf context_of_value(const struct answer *a, const char *value);
bool answer_has(const struct answer *a, const char *value); /* a live sibling */
uint32_t answer_live(const struct answer *a);

void scenario_cut(struct scenario *s, uint32_t a, uint32_t b, bool cut); /* both ways */
void scenario_isolate(struct scenario *s, uint32_t node, bool cut);      /* from all other nodes */
void scenario_settle(struct scenario *s);

#endif
