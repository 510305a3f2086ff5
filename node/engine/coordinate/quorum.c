/* SPDX-License-Identifier: Apache-2.0 */
/* What a request's options mean at this node: a request may say how many copies it wants, the
 * directories above its key may, and the cluster does. Whoever is nearest to the key decides, and
 * nobody may ask for more than there is. */
#include "base/err.h"
#include "engine/coordinate/dir_settings.h"
#include "engine/core.h"

static uint32_t at_most(uint32_t v, uint32_t max)
{
    return v < max ? v : max;
}

/* A request's own word, else the directory's, else the cluster's. */
static uint32_t chosen(uint32_t asked, uint32_t dir, uint32_t cluster, uint32_t most)
{
    return asked != 0 ? asked : at_most(dir != 0 ? dir : cluster, most);
}

int engine_quorum(const struct engine *e, const struct request_options *opt, struct slice key,
                  struct quorum *out)
{
    struct rules rules;
    settings_keeper_rules(e->settings, key, &rules);
    const uint8_t *dir = rules.value;
    uint32_t members = ring_member_count(e->ring);
    uint32_t n = opt->n != 0 ? opt->n : at_most(at_most(ring_n(e->ring), members), N_MAX);
    uint32_t r = chosen(opt->r, dir[SETTING_R], ring_r(e->ring), n);
    uint32_t w = chosen(opt->w, dir[SETTING_W], ring_w(e->ring), n);
    if (n == 0 || n > members || n > N_MAX || n > at_most(ring_n(e->ring), N_MAX) || r > n ||
        w > n || opt->durability > DURABILITY_QUORUM || opt->sloppy > SLOPPY_NO)
        return DYN_ERR_INVALID;
    uint32_t durability =
        chosen(opt->durability, dir[SETTING_DURABILITY], e->cfg.durability, DURABILITY_QUORUM);
    uint32_t sloppy =
        chosen(opt->sloppy, dir[SETTING_SLOPPY], e->cfg.sloppy ? SLOPPY_YES : SLOPPY_NO, SLOPPY_NO);
    *out = (struct quorum){
        .n = n,
        .r = r,
        .w = w,
        .durability = (enum durability)durability,
        .sloppy = sloppy == SLOPPY_YES,
        .timeout_us = e->cfg.request_timeout_us,
        .reconcile = dir[SETTING_RECONCILE],
    };
    if (opt->timeout_ms != 0) /* bounded: else a few thousand clients could hold every request */
        out->timeout_us = (uint64_t)at_most(opt->timeout_ms, REQUEST_TIMEOUT_MS_MAX) * 1000;
    return DYN_OK;
}

void engine_forget_cut(const struct engine *e, struct clock *c)
{
    uint64_t now = engine_wall_ms(e), age = e->cfg.clock_age_ms;
    clock_forget(c, now > age ? now - age : 0);
}
