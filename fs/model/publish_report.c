/* SPDX-License-Identifier: Apache-2.0 */
/* See publish.h: what people are told of publications that fail. */
#include <errno.h>

#include "base/log.h"
#include "model/publish.h"

static const char *reason(int err)
{
    return err == ETIMEDOUT ? "no quorum answers"
           : err == ENOSPC  ? "no space"
           : err == EACCES  ? "not allowed"
                            : "refused";
}

/* The last close of a mapping, or of a file that nobody flushed, has nobody to tell (F7). So the
 * log is told, once when it begins to fail and once when that is over. */
void publish_say(const struct inode *i, int was)
{
    struct buf key = BUF_EMPTY;
    if (i->unlinked || (i->error == 0) == (was == 0))
        return;
    buf_put_percent(&key, seen_key(i->seen), "/ ");
    buf_put_u8(&key, 0);
    if (i->error != 0)
        fs_say(i->fs, LOG_LEVEL_WARN,
               "could not be published, and is tried again (see .dynamount/pending): %s: %.300s",
               reason(i->error), (const char *)key.data);
    else
        fs_say(i->fs, LOG_LEVEL_INFO, "is published after all: %.300s", (const char *)key.data);
    buf_release(&key);
}

void publish_report_error(int err, struct buf *out)
{
    if (err != 0)
        buf_printf(out, "\tfailed: %s", reason(err));
}

void publish_report(struct fs *fs, struct buf *out)
{
    uint64_t now = fs_now_us(fs);
    for (struct list *l = fs->dirty.next; l != &fs->dirty; l = l->next) {
        struct inode *i = container_of(l, struct inode, in_dirty);
        buf_printf(out, "%llu s\t%llu bytes\t", (unsigned long long)((now - i->dirty_us) / 1000000),
                   (unsigned long long)inode_size(i));
        buf_put_percent(out, seen_key(i->seen), "/ ");
        publish_report_error(i->error, out);
        buf_put_str(out, "\n");
    }
}
