/* SPDX-License-Identifier: Apache-2.0 */
/* See progress.h. It goes to stderr, so that results can go elsewhere. */
#include "ctl/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "ctl/local.h"

#define EACH_MS 200u
#define BAR 30u

static bool silent(const struct ctl *c)
{
    return c->json || isatty(STDERR_FILENO) != 1;
}

void progress_show(const struct ctl *c, struct progress_line *line, const char *what, uint64_t done,
                   uint64_t total, struct buf *tail)
{
    struct buf text = BUF_EMPTY;
    uint64_t now = local_now_ms();
    if (!silent(c) && (line->shown_ms == 0 || now - line->shown_ms >= EACH_MS)) {
        line->shown_ms = now;
        uint64_t full = total == 0 ? 0 : done >= total ? BAR : done * BAR / total;
        buf_put_u8(&text, '[');
        for (unsigned i = 0; i < BAR; i++)
            buf_put_u8(&text, i < full ? '#' : ' ');
        buf_printf(&text, "] %" PRIu64 " of %" PRIu64 " %s, ", done, total, what);
        buf_put_slice(&text, buf_slice(tail));
        fprintf(stderr, "\r%-*.*s", (int)line->width, (int)text.len, (const char *)text.data);
        fflush(stderr);
        line->width = text.len > line->width ? (unsigned)text.len : line->width;
    }
    buf_release(&text);
    buf_release(tail);
}

void progress_end(const struct ctl *c, struct progress_line *line)
{
    if (silent(c) || line->width == 0)
        return;
    fprintf(stderr, "\r%*s\r", (int)line->width, "");
    fflush(stderr);
}
