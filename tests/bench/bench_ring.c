/* SPDX-License-Identifier: Apache-2.0 */
/* How evenly do the three strategies of the Dynamo paper's section 6.2 share out the load?
 * Prints, as JSON, what its Figures 8 and 6 show; ring.py draws them. Everything follows from the
 * seed.
 *
 * Figure 8: load-balance efficiency (mean load by the greatest) when all strategies keep the same
 * amount of membership metadata at each node. The paper has no unit for it; here one is an entry
 * of a table, (token, node) or (partition, node). So M units buy strategy 1 T = M / S tokens a
 * node and strategy 3 Q = M partitions. Strategy 2 keeps tokens and the placement of partitions,
 * and the paper wants Q >> S * T: it has Q = 4 * S * T here. Load is what strategies.h says. 1
 * and 2 are drawn several times, 3 has nothing random in it but the names of nodes.
 *
 * Figure 6: nodes out of balance, whose requests in a window of 30 minutes deviate from the mean
 * by 15 % or more (section 6.2). The paper's workload is not public; this one is made up after
 * what the paper says of its own: load has a day's curve whose low is an eighth of its peak, and
 * in busy hours more keys are popular, not the same ones more so. A key in use gets a
 * heavy-tailed number of requests, k or more with probability k^-1.5, at most 100 (the mean is
 * 2.4). It is drawn afresh each window, like the cart of another customer. The fractions are
 * means over several such days. */
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "strategies.h"

enum {
    STRATEGIES = 3,
    UNITS_FIRST = 256,
    UNITS_LAST = 32768,
    SPREAD = 4,     /* Q by S * T of strategy 2 */
    WINDOWS = 48,   /* of 30 minutes */
    KEYS = 24000,   /* in use in a window at the peak */
    HOT_MOST = 100, /* requests of one key in a window */
    DAY_UNITS = 1024,
};

static const double PI = 3.14159265358979323846;

struct options {
    uint32_t nodes, replicas, draws, days;
    uint64_t seed;
};

static void make(struct strategy *s, int which, const struct options *o, uint32_t units,
                 uint64_t seed)
{
    uint32_t tokens = units / o->nodes, shared = units / (o->nodes * (1 + SPREAD));
    tokens = tokens > 0 ? tokens : 1;
    shared = shared > 0 ? shared : 1;
    if (which == 0)
        strategy_tokens(s, o->nodes, o->replicas, tokens, seed);
    else if (which == 1)
        strategy_partitions(s, o->nodes, o->replicas, shared, SPREAD * shared * o->nodes, seed);
    else
        strategy_ring(s, o->nodes, o->replicas, units, seed);
}

/* --- Figure 8 ------------------------------------------------------------------------------- */

static void print_balance(const struct options *o)
{
    uint64_t seed = o->seed;
    printf("\"balance\": [");
    for (uint32_t units = UNITS_FIRST; units <= UNITS_LAST; units *= 2) {
        uint64_t copies = (uint64_t)units * o->replicas;
        uint64_t most = (copies + o->nodes - 1) / o->nodes;
        printf("%s\n {\"units\": %u, \"optimum\": %.6f", units == UNITS_FIRST ? "" : ",", units,
               (double)copies / o->nodes / (double)most);
        for (int which = 0; which < STRATEGIES; which++) {
            double sum = 0, least = 1, greatest = 0;
            uint32_t draws = which == 2 ? 1 : o->draws;
            uint64_t kept = 0;
            for (uint32_t i = 0; i < draws; i++) {
                struct strategy s;
                make(&s, which, o, units, strategy_random(&seed));
                double e = strategy_efficiency(&s);
                sum += e;
                least = e < least ? e : least;
                greatest = e > greatest ? e : greatest;
                kept = s.units;
                strategy_release(&s);
            }
            printf(", \"%d\": {\"units\": %" PRIu64
                   ", \"mean\": %.6f, \"least\": %.6f, \"most\": %.6f}",
                   which + 1, kept, sum / draws, least, greatest);
        }
        printf("}");
    }
    printf("]");
}

/* --- Figure 6 ------------------------------------------------------------------------------- */

/* Load at a time of day by its peak: lowest at 4 h, highest at 16 h. */
static double load_at(uint32_t window)
{
    double hours = (window + 0.5) * 24 / WINDOWS;
    return 1.0 / 8 + 7.0 / 8 * (1 - cos((hours - 4) * 2 * PI / 24)) / 2;
}

/* below[k]: draws of 64 random bits under it are keys with more than k requests. */
static void hot_table(uint64_t below[HOT_MOST])
{
    below[0] = UINT64_MAX;
    for (uint32_t k = 1; k < HOT_MOST; k++)
        below[k] = (uint64_t)ldexp(pow(k + 1, -1.5), 64);
}

static uint32_t draw_requests(const uint64_t below[HOT_MOST], uint64_t *seed)
{
    uint64_t drawn = strategy_random(seed);
    uint32_t k = 1;
    while (k < HOT_MOST && drawn < below[k])
        k++;
    return k;
}

static uint32_t out_of_balance(const uint64_t *load, uint32_t nodes)
{
    uint64_t sum = 0;
    uint32_t out = 0;
    for (uint32_t i = 0; i < nodes; i++)
        sum += load[i];
    double mean = (double)sum / nodes;
    for (uint32_t i = 0; i < nodes; i++)
        out += fabs((double)load[i] - mean) >= 0.15 * mean;
    return out;
}

struct window {
    uint64_t requests, out[STRATEGIES];
};

static void play_window(const struct strategy *s, const uint64_t *below, double share,
                        uint64_t *seed, struct window *w)
{
    uint32_t nodes = s[0].nodes;
    uint64_t *load = mem_zalloc((size_t)STRATEGIES * nodes * sizeof(*load));
    for (uint32_t keys = (uint32_t)(KEYS * share); keys > 0; keys--) {
        uint64_t position = strategy_random(seed);
        uint32_t requests = draw_requests(below, seed);
        w->requests += requests;
        for (int which = 0; which < STRATEGIES; which++) {
            const struct strategy *st = &s[which];
            const uint16_t *list = &st->list[(size_t)strategy_find(st, position) * st->replicas];
            for (uint32_t k = 0; k < st->replicas; k++)
                load[(size_t)which * nodes + list[k]] += requests;
        }
    }
    for (int which = 0; which < STRATEGIES; which++)
        w->out[which] += out_of_balance(&load[(size_t)which * nodes], nodes);
    free(load);
}

static void print_day(const struct options *o)
{
    uint64_t below[HOT_MOST], seed = o->seed ^ UINT64_C(0x6d0a11f5);
    struct window windows[WINDOWS] = {0};
    hot_table(below);
    for (uint32_t day = 0; day < o->days; day++) {
        struct strategy s[STRATEGIES];
        for (int which = 0; which < STRATEGIES; which++)
            make(&s[which], which, o, DAY_UNITS, strategy_random(&seed));
        for (uint32_t i = 0; i < WINDOWS; i++)
            play_window(s, below, load_at(i), &seed, &windows[i]);
        for (int which = 0; which < STRATEGIES; which++)
            strategy_release(&s[which]);
    }
    printf("\"day_units\": %d, \"day\": [", DAY_UNITS);
    for (uint32_t i = 0; i < WINDOWS; i++) {
        printf("%s\n {\"minute\": %u, \"requests\": %" PRIu64, i == 0 ? "" : ",",
               i * (24 * 60 / WINDOWS), windows[i].requests / o->days);
        for (int which = 0; which < STRATEGIES; which++)
            printf(", \"%d\": %.6f", which + 1, (double)windows[i].out[which] / o->days / o->nodes);
        printf("}");
    }
    printf("]");
}

/* --- options -------------------------------------------------------------------------------- */

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || n < least || n > most) {
        fprintf(stderr, "bench_ring: %s is not a number from %" PRIu64 " to %" PRIu64 "\n", text,
                least, most);
        exit(2);
    }
    return n;
}

int main(int argc, char **argv)
{
    struct options o = {.nodes = 30, .replicas = 3, .draws = 20, .days = 10, .seed = 1};
    static const struct option known[] = {
        {"nodes", required_argument, NULL, 's'}, {"replicas", required_argument, NULL, 'n'},
        {"draws", required_argument, NULL, 'd'}, {"days", required_argument, NULL, 'y'},
        {"seed", required_argument, NULL, 'x'},  {0},
    };
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case 's':
            o.nodes = (uint32_t)number(optarg, 1, 1000);
            break;
        case 'n':
            o.replicas = (uint32_t)number(optarg, 1, 8);
            break;
        case 'd':
            o.draws = (uint32_t)number(optarg, 1, 1000);
            break;
        case 'y':
            o.days = (uint32_t)number(optarg, 1, 1000);
            break;
        case 'x':
            o.seed = number(optarg, 0, UINT64_MAX);
            break;
        default:
            return 2;
        }
    }
    if (optind < argc || o.replicas > o.nodes) {
        fprintf(stderr, "usage: bench_ring [--nodes S] [--replicas N <= S] [--draws D] [--days Y]"
                        " [--seed X]\n");
        return 2;
    }
    printf("{\"nodes\": %u, \"replicas\": %u, \"seed\": %" PRIu64
           ", \"draws\": %u, \"days\": %u,\n",
           o.nodes, o.replicas, o.seed, o.draws, o.days);
    print_balance(&o);
    printf(",\n");
    print_day(&o);
    printf("}\n");
    return ferror(stdout) || fflush(stdout) != 0;
}
