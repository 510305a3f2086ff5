/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl backup: a live cluster into a folder (model/archive_save.h). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "adapter/loop.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "ctl/admin.h"
#include "ctl/archive_dir.h"
#include "ctl/local.h"
#include "ctl/progress.h"
#include "ctl/session.h"
#include "model/archive_save.h"

static const struct args_option backup_options[] = {
    {"all", NULL, "fetch everything anew, use nothing of what is in DIR", 0},
    {NULL, NULL, NULL, 0},
};

static const char backup_help[] =
    "Writes what is in the cluster into the folder DIR, while the cluster is in use: every key "
    "with\n"
    "all its versions, what was deleted, large files, and the settings of directories. Each key "
    "is\n"
    "as it was at some moment of the run; what was acknowledged before it began is in it.\n"
    "\n"
    "  dynactl backup /mnt/archive/mine\n"
    "\n"
    "Run it again, and only what has changed is fetched. A run that breaks off leaves the backup\n"
    "before it whole, and the next one goes on from where it stopped. Of each partition N - W + 1\n"
    "copies must answer; with fewer nothing of it can be vouched for, and the run ends with 5.\n"
    "Where a node cannot read what it has, others do; are they too few, all else is written, what\n"
    "is missing is counted, and the run ends with 1.\n"
    "\n"
    "DIR holds two files for each partition and 'manifest.json', which names them with their "
    "digests\n"
    "and says when it was and of which cluster. 'dynactl restore --check DIR' reads all of it. "
    "Whoever\n"
    "can read DIR can read everything that is in the cluster: keep it as safe.\n";

struct backup {
    struct archive_save *save;
    bool over;
    int err;
};

static void on_done(void *arg, int err)
{
    struct backup *b = arg;
    b->over = true;
    b->err = err;
}

static void show(struct ctl *c, const struct backup *b, struct progress_line *line)
{
    struct archive_progress p;
    struct buf tail = BUF_EMPTY;
    archive_save_progress(b->save, &p);
    admin_put_bytes(p.bytes, &tail);
    buf_printf(&tail, " fetched, %" PRIu32 " files unchanged", p.unchanged);
    progress_show(c, line, "partition files", p.done, p.total, &tail);
}

static int failed(const struct backup *b, const struct archive_dir *d, const char *dir)
{
    const char *what = archive_save_message(b->save);
    int error = archive_dir_errno(d);
    switch (b->err) {
    case DYN_ERR_REFUSED:
        return ctl_fail(CTL_CONFLICT, "%s: %s: give another folder", dir, what);
    case DYN_ERR_NO_SPACE:
        return ctl_fail(CTL_ERROR, "%s: %s: make room and run it again, it goes on from here", dir,
                        what);
    case DYN_ERR_CORRUPT:
        return ctl_fail(CTL_ERROR,
                        "%s: %s: a file of an earlier run is damaged; --all writes all "
                        "of them anew",
                        dir, what);
    case DYN_ERR_IO:
        return ctl_fail(CTL_ERROR, "%s: %s (%s)", dir, what,
                        error != 0 ? strerror(error) : "the node's disk");
    default:
        return ctl_fail(ctl_status_of(b->err),
                        "%s: what has been fetched is kept, run it again when the nodes are up",
                        what);
    }
}

static uint32_t thin_parts(const struct archive_manifest *m)
{
    uint32_t n = 0;
    for (size_t i = 0; i < (size_t)m->q * ARCHIVE_KINDS; i++)
        n += m->parts[i].foot.copies < m->parts[i].foot.owners;
    return n;
}

static int report(struct ctl *c, const struct backup *b, const char *dir)
{
    const struct archive_manifest *m = archive_save_manifest(b->save);
    struct archive_foot sum = archive_manifest_sum(m);
    struct archive_progress p;
    struct buf text = BUF_EMPTY;
    uint64_t ms = m->ended_ms > m->begun_ms ? m->ended_ms - m->begun_ms : 0;
    archive_save_progress(b->save, &p);
    if (c->json) {
        struct json *j = json_object();
        char cluster[20];
        snprintf(cluster, sizeof(cluster), "%016" PRIx64, m->cluster);
        json_add_str(j, "cluster", cluster);
        json_add_u64(j, "run", m->run);
        json_add_u64(j, "files", p.total);
        json_add_u64(j, "unchanged", p.unchanged);
        json_add_u64(j, "states", sum.rows);
        json_add_u64(j, "states_kept", p.kept);
        json_add_u64(j, "value_bytes", sum.value_bytes);
        json_add_u64(j, "fetched_bytes", p.bytes);
        json_add_u64(j, "lacking", sum.lacking);
        json_add_u64(j, "files_of_some_copies", thin_parts(m));
        json_add_u64(j, "milliseconds", ms);
        json_print(j, true, &text);
        buf_put_u8(&text, '\n');
        json_free(j);
    } else {
        buf_printf(&text, "%s: %" PRIu64 " states, ", dir, sum.rows);
        admin_put_bytes(sum.value_bytes, &text);
        buf_put_str(&text, " of values; ");
        admin_put_bytes(p.bytes, &text);
        buf_printf(&text, " fetched, %" PRIu32 " of %" PRIu32 " files as they were, in %.1f s\n",
                   p.unchanged, p.total, (double)ms / 1000);
        if (thin_parts(m) > 0)
            buf_printf(&text,
                       "%" PRIu32 " files have what some of the copies had: nodes were down. What "
                       "was acknowledged is in them\n",
                       thin_parts(m));
    }
    int status = ctl_print(&text);
    if (sum.lacking > 0)
        return ctl_fail(CTL_ERROR,
                        "the backup is not whole: %" PRIu32 " values or versions are missing, as "
                        "too few copies of them could be read",
                        sum.lacking);
    return status;
}

static int run_backup(struct ctl *c)
{
    struct session *s;
    struct archive_dir *dir;
    struct ring *ring;
    struct backup b = {.over = false};
    struct progress_line line = {0};
    char *message = NULL;
    int status;
    if (session_open(c, &s, &status) != DYN_OK)
        return status;
    if (session_ring(s, &ring) != DYN_OK) {
        session_close(s);
        return ctl_fail(CTL_UNAVAILABLE, "no node answers: are the nodes running?");
    }
    if (archive_dir_open(c->args.words[0], true, &dir, &message) != DYN_OK) {
        status = ctl_fail(CTL_ERROR, "%s", message);
        free(message);
        session_close(s);
        return status;
    }
    const struct archive_save_config cfg = {.client = session_client(s),
                                            .port = archive_dir_port(dir),
                                            .time = loop_time(session_loop(s)),
                                            .timers = loop_timers(session_loop(s)),
                                            .all = args_has(&c->args, "all")};
    b.save = archive_save_start(&cfg, on_done, &b);
    while (!b.over) {
        session_turn(s);
        show(c, &b, &line);
    }
    progress_end(c, &line);
    status = b.err == DYN_OK ? report(c, &b, c->args.words[0]) : failed(&b, dir, c->args.words[0]);
    archive_save_free(b.save);
    archive_dir_close(dir);
    session_close(s);
    return status;
}

const struct ctl_verb ctl_verb_backup = {
    "backup",    "DIR",          "write all that is in the cluster into a folder",
    backup_help, backup_options, 1,
    1,           true,           run_backup,
};
