/* SPDX-License-Identifier: Apache-2.0 */
/* A line on a terminal that says how far something is. Nothing is shown to a script. */
#ifndef DYN_CTL_PROGRESS_H
#define DYN_CTL_PROGRESS_H

#include "ctl/ctl.h"

struct progress_line { /* zeroed at first */
    uint64_t shown_ms;
    unsigned width; /* of what stands there */
};

/* "[####    ] 12 of 512 what, tail"; at most some times a second. tail is released. */
void progress_show(const struct ctl *c, struct progress_line *line, const char *what, uint64_t done,
                   uint64_t total, struct buf *tail);
void progress_end(const struct ctl *c, struct progress_line *line); /* takes the line away */

#endif
