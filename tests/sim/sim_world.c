/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_world.h. */
#include "sim_world.h"

#include <stdarg.h>
#include <stdlib.h>

#include "base/mem.h"

/* Any wall time will do, as long as it is the same in each run: 2026-01-01. */
#define WALL_ORIGIN_NS 1767225600000000000u

void sim_world_init(struct sim_world *w, uint64_t seed, FILE *log)
{
    *w = (struct sim_world){.seed = seed, .log = log, .trace_hash = 0xcbf29ce484222325u};
    w->now_us = SIM_SECOND;
    timers_init(&w->timers);
}

void sim_world_release(struct sim_world *w)
{
    timers_release(&w->timers);
    for (uint32_t i = 0; i < SIM_VIOLATIONS_KEPT; i++)
        free(w->texts[i]);
}

static uint64_t world_mono(void *ctx)
{
    return ((struct sim_world *)ctx)->now_us;
}

static uint64_t world_wall(void *ctx)
{
    return WALL_ORIGIN_NS + ((struct sim_world *)ctx)->now_us * 1000;
}

struct time_port sim_world_time(struct sim_world *w)
{
    return (struct time_port){w, world_mono, world_wall};
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9fb21c651e98df25u;
    return h ^ (h >> 28);
}

void sim_event(struct sim_world *w, const char *what, uint64_t a, uint64_t b, uint64_t c,
               struct slice bytes)
{
    uint64_t h = mix(w->trace_hash, w->now_us);
    for (const char *p = what; *p != '\0'; p++)
        h = mix(h, (uint64_t)(unsigned char)*p);
    h = mix(mix(mix(h, a), b), c);
    size_t i = 0;
    for (; i + 8 <= bytes.len; i += 8) {
        uint64_t v;
        memcpy(&v, bytes.data + i, 8);
        h = mix(h, v);
    }
    for (; i < bytes.len; i++)
        h = mix(h, bytes.data[i]);
    w->trace_hash = mix(h, bytes.len);
    w->events++;
}

static void print_time(const struct sim_world *w)
{
    fprintf(w->log, "%4llu.%06llu ", (unsigned long long)(w->now_us / SIM_SECOND),
            (unsigned long long)(w->now_us % SIM_SECOND));
}

void sim_log(struct sim_world *w, const char *fmt, ...)
{
    if (w->log == NULL)
        return;
    va_list ap;
    print_time(w);
    va_start(ap, fmt);
    vfprintf(w->log, fmt, ap);
    va_end(ap);
    fputc('\n', w->log);
}

void sim_violation(struct sim_world *w, const char *fmt, ...)
{
    struct buf text = BUF_EMPTY;
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    buf_printf(&text, "at %llu us: %s", (unsigned long long)w->now_us, line);
    buf_put_u8(&text, 0);
    if (w->violations < SIM_VIOLATIONS_KEPT)
        w->texts[w->violations] = mem_strdup((const char *)text.data);
    w->violations++;
    sim_log(w, "VIOLATION %s", line);
    sim_event(w, "violation", w->violations, 0, 0, buf_slice(&text));
    buf_release(&text);
}
