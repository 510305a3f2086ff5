/* SPDX-License-Identifier: Apache-2.0 */
/* Under which origin a file's next change is published (F9). A put that was slow at one node is
 * asked of another, so its twin may be minted long after it has been replaced: of one stream only
 * the highest sequence stands, and so it is the twin that goes. For that a file's changes are one
 * stream; and where a file takes a name that another of this mount had, the stream goes with the
 * name (seen_next_origin). */
#include "model/inode.h"
#include "model/publish.h"

static bool in_line(const struct inode *i)
{
    const struct origin *line = &i->seen->line;
    return i->stream != 0 && i->stream == line->stream && i->writer == line->writer;
}

/* A file that has lost its name to another of this mount, which has gone on with its stream. */
static bool was_succeeded(const struct inode *i)
{
    return in_line(i) && i->seen->line.seq > i->seq && inode_of(i->seen, 0) != i;
}

static void next_origin(struct inode *i, struct origin *out)
{
    struct seen *s = i->seen;
    bool named = i->number == 0 && inode_of(s, 0) == i;
    if (i->stream == 0 && named) {
        struct cover cover = COVER_EMPTY;
        publish_cover(i, &cover);
        seen_next_origin(s, &cover, out);
        cover_release(&cover);
    } else if (i->stream == 0 || was_succeeded(i)) {
        *out = (struct origin){i->fs->cfg.mount_id, i->fs->next_stream++, 1};
    } else {
        uint64_t last = in_line(i) && s->line.seq > i->seq ? s->line.seq : i->seq;
        *out = (struct origin){i->writer, i->stream, last + 1};
        if (in_line(i) || named)
            s->line = *out;
    }
}

void publish_origin(struct inode *i, struct origin *out)
{
    struct origin o = {i->writer, i->stream, i->seq};
    if (i->stream == 0 || i->seq == 0 || i->seq_gen != i->gen) {
        next_origin(i, &o);
        i->writer = o.writer;
        i->stream = o.stream;
        i->seq = o.seq;
        i->seq_gen = i->gen;
    }
    *out = i->seen->put = o;
}
