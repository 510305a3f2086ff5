/* SPDX-License-Identifier: Apache-2.0 */
/* See restore_backup.h, and model/archive_load.h for what it does. */
#include "ctl/restore_backup.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adapter/loop.h"
#include "adapter/secret_file.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "ctl/admin.h"
#include "ctl/archive_dir.h"
#include "ctl/progress.h"
#include "ctl/session.h"
#include "model/archive_load.h"
#include "model/key.h"

struct restore {
    struct archive_load *load;
    bool over;
    int err;
};

static void on_done(void *arg, int err)
{
    struct restore *r = arg;
    r->over = true;
    r->err = err;
}

static void show(struct ctl *c, const struct restore *r, struct progress_line *line)
{
    static const char *const phases[] = {"files checked",
                                         "settings set",
                                         "files, directories",
                                         "files of chunks sent",
                                         "files of keys sent",
                                         "files of uploads sent",
                                         "files"};
    struct archive_load_progress p;
    struct buf tail = BUF_EMPTY;
    archive_load_progress(r->load, &p);
    buf_printf(&tail, "%" PRIu64 " of %" PRIu64 " states", p.rows, p.rows_total);
    if (p.phase > LOAD_CHECK) {
        buf_put_str(&tail, ", ");
        admin_put_bytes(p.bytes, &tail);
    }
    progress_show(c, line, phases[p.phase], p.file, p.files, &tail);
}

static int failed(const struct restore *r, const struct archive_dir *d, const char *dir)
{
    const char *what = archive_load_message(r->load);
    int error = archive_dir_errno(d);
    switch (r->err) {
    case DYN_ERR_NOT_FOUND:
        return ctl_fail(CTL_NOT_FOUND, "%s: there is no whole backup: %s", dir, what);
    case DYN_ERR_CORRUPT:
        return ctl_fail(CTL_ERROR, "%s: damaged: %s", dir, what);
    case DYN_ERR_REFUSED:
        return ctl_fail(CTL_CONFLICT, "%s: %s; --into-new says that this is meant", dir, what);
    case DYN_ERR_EXISTS:
        return ctl_fail(CTL_CONFLICT, "%s; --merge puts versions beside each other", what);
    case DYN_ERR_DENIED:
        return ctl_fail(CTL_ERROR, "%s: %s; --secret FILE names the cluster's own secret", dir,
                        what);
    case DYN_ERR_NO_SPACE:
        return ctl_fail(
            CTL_UNAVAILABLE,
            "%s: too little room on the nodes; it can be run again, and goes on from here", what);
    case DYN_ERR_IO:
        return ctl_fail(CTL_ERROR, "%s: %s (%s)", dir, what,
                        error != 0 ? strerror(error) : "the node's disk");
    default:
        return ctl_fail(ctl_status_of(r->err) == CTL_USAGE ? CTL_ERROR : ctl_status_of(r->err),
                        "%s; it can be run again, and goes on from here", what);
    }
}

/* What the run that wrote the backup could not read. */
static int lacking(int status, const struct archive_foot *sum)
{
    if (status == CTL_OK && sum->lacking > 0)
        return ctl_fail(CTL_ERROR,
                        "the backup was not whole when it was written: %" PRIu32
                        " values or versions could not be read",
                        sum->lacking);
    return status;
}

static int report(struct ctl *c, const struct restore *r, const char *dir, bool check)
{
    const struct archive_manifest *m = archive_load_manifest(r->load);
    struct archive_foot sum = archive_manifest_sum(m);
    struct archive_load_progress p;
    struct buf text = BUF_EMPTY;
    char cluster[20];
    snprintf(cluster, sizeof(cluster), "%016" PRIx64, m->cluster);
    archive_load_progress(r->load, &p);
    if (c->json) {
        struct json *j = json_object();
        json_add_str(j, "cluster", cluster);
        json_add_u64(j, "run", m->run);
        json_add_u64(j, "begun_ms", m->begun_ms);
        json_add_u64(j, "states", sum.rows);
        json_add_u64(j, "value_bytes", sum.value_bytes);
        json_add_u64(j, "lacking", sum.lacking);
        if (!check) {
            json_add_u64(j, "sent", p.rows);
            json_add_u64(j, "sent_bytes", p.bytes);
        }
        json_print(j, true, &text);
        buf_put_u8(&text, '\n');
        json_free(j);
        return lacking(ctl_print(&text), &sum);
    }
    buf_printf(&text, "%s: of cluster %s, begun ", dir, cluster);
    ctl_put_time(m->begun_ms * 1000000, &text);
    buf_printf(&text, ", %" PRIu64 " states, ", sum.rows);
    admin_put_bytes(sum.value_bytes, &text);
    if (check && sum.lacking == 0)
        buf_put_str(&text, " of values: whole\n");
    else if (check)
        buf_put_str(&text, " of values: as it was written\n");
    else
        buf_printf(&text, " of values; %" PRIu64 " states brought back\n", p.rows);
    return lacking(ctl_print(&text), &sum);
}

/* The cluster's secret, where one is given or lies in its folder. CTL_OK also without. */
static int load_seal(struct ctl *c, struct mac **seal)
{
    const char *given = args_value(&c->args, "secret"), *cluster = args_value(&c->args, "cluster");
    struct buf secret = BUF_EMPTY;
    char *message = NULL, *path = NULL;
    int status = CTL_OK;
    if (given != NULL)
        path = mem_strdup(given);
    else if (cluster != NULL)
        path = mem_printf("%s/secret", cluster);
    if (path != NULL) {
        if (secret_file_load(path, &secret, &message) == DYN_OK)
            *seal = mac_new(buf_slice(&secret));
        else
            status = ctl_fail(CTL_USAGE, "%s", message);
        secret_file_release(&secret);
    } else if (args_has(&c->args, "into-new")) {
        status = ctl_usage(c, mem_strdup("--into-new needs --secret FILE, or --cluster DIR"));
    }
    free(path);
    free(message);
    return status;
}

static int run_to_the_end(struct ctl *c, struct loop *loop, struct archive_load_config *cfg,
                          struct archive_dir *dir)
{
    struct restore r = {.over = false};
    struct progress_line line = {0};
    const char *name = c->args.words[0];
    cfg->port = archive_dir_port(dir);
    cfg->time = loop_time(loop);
    cfg->timers = loop_timers(loop);
    r.load = archive_load_start(cfg, on_done, &r);
    while (!r.over) {
        loop_turn(loop, UINT64_MAX);
        show(c, &r, &line);
    }
    progress_end(c, &line);
    int status = r.err == DYN_OK ? report(c, &r, name, cfg->client == NULL) : failed(&r, dir, name);
    archive_load_free(r.load);
    return status;
}

static int check(struct ctl *c, struct archive_dir *dir)
{
    struct archive_load_config cfg = {.client = NULL};
    struct loop *loop = loop_new();
    if (loop == NULL)
        return ctl_fail(CTL_ERROR, "the system gives no event loop");
    int status = run_to_the_end(c, loop, &cfg, dir);
    loop_free(loop);
    return status;
}

static int restore(struct ctl *c, struct archive_dir *dir, struct slice below)
{
    struct archive_load_config cfg = {.into_new = args_has(&c->args, "into-new"),
                                      .merge = args_has(&c->args, "merge"),
                                      .below = below};
    struct session *s;
    struct ring *ring;
    int status = load_seal(c, &cfg.seal);
    if (status != CTL_OK)
        return status;
    if (session_open(c, &s, &status) == DYN_OK) {
        cfg.client = session_client(s);
        if (session_ring(s, &ring) == DYN_OK)
            status = run_to_the_end(c, session_loop(s), &cfg, dir);
        else
            status = ctl_fail(CTL_UNAVAILABLE, "no node of %s answers: are the nodes running?",
                              session_seeds(s));
        session_close(s);
    }
    mac_free(cfg.seal);
    return status;
}

bool restore_backup_meant(const struct ctl *c)
{
    const char *word = c->args.words[0];
    if (c->args.n_words != 1)
        return false;
    if (word[0] == '/' || strcmp(word, ".") == 0 || strcmp(word, "..") == 0 ||
        strncmp(word, "./", 2) == 0 || strncmp(word, "../", 3) == 0) /* no key begins so */
        return true;
    char *manifest = mem_printf("%s/%s", word, ARCHIVE_MANIFEST);
    bool there = access(manifest, F_OK) == 0;
    free(manifest);
    return there || args_has(&c->args, "check") || args_has(&c->args, "into-new") ||
           args_has(&c->args, "below");
}

int restore_backup(struct ctl *c)
{
    const char *path = args_value(&c->args, "below"), *rule = NULL;
    struct slice below = path == NULL ? slice_of(NULL, 0) : slice_str(path);
    struct archive_dir *dir;
    char *message = NULL;
    while (below.len > 0 && below.data[below.len - 1] == '/')
        below.len--;
    if (path != NULL && key_check(below, &rule) != DYN_OK)
        return ctl_usage(c, mem_printf("--below %s: %s", path, rule));
    int err = archive_dir_open(c->args.words[0], false, &dir, &message);
    if (err != DYN_OK) {
        int status = ctl_fail(err == DYN_ERR_NOT_FOUND ? CTL_NOT_FOUND : CTL_ERROR, "%s", message);
        free(message);
        return status;
    }
    int status = args_has(&c->args, "check") ? check(c, dir) : restore(c, dir, below);
    archive_dir_close(dir);
    return status;
}
