/* SPDX-License-Identifier: Apache-2.0 */
/* dynamount: wires the kernel's FUSE channel, the filesystem, the client library and the network to
 * one event loop, and sees the mount through its life: mount, look for the cluster, tell the
 * caller, and at the end publish what is still dirty, in a time that has a limit.
 *
 * A mount ends in two ways. Somebody unmounts: the kernel closes the channel, and whatever is open
 * counts as released. Or a signal: all that is dirty is published while the mount still works, then
 * it is taken away. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adapter/caller.h"
#include "adapter/fuse_channel.h"
#include "adapter/log_syslog.h"
#include "adapter/loop.h"
#include "adapter/net_curl.h"
#include "adapter/stage_dir.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster_space.h"
#include "daemon.h"
#include "local_cluster.h"
#include "model/client.h"
#include "model/fs.h"
#include "mount_options.h"
#include "mount_point.h"
#include "mount_watch.h"
#include "recovery.h"

#define GREETING_US 1000000u        /* how long the first answer may take before a warning */
#define RESUME_LOOK_US 20000u       /* until the cluster is known that an earlier run wrote for */
#define PROGRESS_US 1000000u        /* between reports on what is still to be published */
#define LOCAL_LOOK_US 50000u        /* between looks whether it still runs */
#define LOCAL_GREETING_US 30000000u /* ... that of a node of our own, which may have to recover */

enum exit_status {
    EXIT_OK = 0,
    EXIT_NOT_MOUNTED = 1,
    EXIT_USAGE = 2,
    EXIT_UNPUBLISHED = 3, /* the mount is gone; changes that no quorum took are on this machine */
};

struct mount {
    struct mount_options o;
    char *mountpoint;            /* absolute */
    char *log;                   /* absolute, NULL: no file */
    struct log_syslog *syslog;   /* NULL: not logged there */
    char *recovered;             /* absolute, NULL: nowhere to keep what is not published */
    struct local_cluster *local; /* NULL: the cluster is somebody else's */
    struct loop *loop;
    struct time_port time;
    struct random_port random;
    struct fuse_channel *channel;
    struct net_curl *net;
    struct client *client;
    struct cluster_space *space;
    struct kv_port kv;
    struct fs *fs;
    char *staging;           /* absolute, NULL: nothing is kept of what is not published */
    struct stage_dir *stage; /* NULL: the same */
    struct timer resume;
    struct mount_watch *mounted;
    struct loop_watch *watch;
    struct loop_signal *signals[3];
    bool ending;
    uint32_t dirty_at_end; /* what progress is told against */
    struct timer progress;
    uint32_t unpublished;
};

static const char usage[] =
    "Usage: dynamount [-f] [-d] [-o OPTION[,OPTION...]] HOST:PORT[,HOST:PORT...][:/SUBDIR] FOLDER\n"
    "       dynamount [-f] [-d] [-o OPTION[,OPTION...]] --local DIR FOLDER\n"
    "Mounts a Dynamount cluster on a folder, by the address of at least one of its nodes, or for\n"
    "this machine alone with a node of its own.\n"
    "\n"
    "  --local DIR     run a node on the data in DIR (made if it is not there) while mounted\n"
    "  -f              stay in the foreground, log to stderr\n"
    "  -d              as -f, and trace each operation\n"
    "  -h, --help      show this text\n"
    "  -V, --version   show the version\n"
    "\n"
    "Options after -o:\n"
    "  allow_other              let other users in\n"
    "  ro                       mount read-only\n"
    "  uid=U, gid=G             show all files as owned by this user, this group\n"
    "  umask=M                  take these bits (octal) away from all modes\n"
    "  conflicts=show|hide      list conflict files (show), or find them by name only\n"
    "  resolve=shown|read|explicit\n"
    "                           what writing a file settles: all its versions that this mount has\n"
    "                           shown (shown), those it has opened (read), only its own "
    "(explicit)\n"
    "  durability=buffered|one|quorum\n"
    "                           who has synced when close returns (buffered: nobody yet)\n"
    "  r=N, w=N                 how many replicas must answer a read, a write (the cluster's "
    "setting)\n"
    "  coordinate=client|server who asks the replicas when something is read: this mount (client), "
    "or\n"
    "                           a node\n"
    "  deadline=TIME            give up after so long without progress (20s)\n"
    "  attr_timeout=TIME, entry_timeout=TIME\n"
    "                           how long the kernel may keep attributes and names (1)\n"
    "  push=TIME                how long names and attributes are believed without being asked "
    "for\n"
    "                           again, while a node tells of changes (30); 0: it is not asked to\n"
    "  names=N                  memory for so many names that the kernel remembers (100000), some "
    "2.5 KB\n"
    "                           each; 0: for all that it likes to\n"
    "  publish=TIME             how long changes to a file that is held open stay unpublished "
    "(30s)\n"
    "  rename_limit=N           rename directories of up to so many files as a whole (10000)\n"
    "  drain=TIME               longest wait for the cluster when unmounting (60s)\n"
    "  staging=SIZE             memory for what is written to large files and not yet sent (64M)\n"
    "  staging_dir=FOLDER       where they are kept while the cluster does not take them\n"
    "  recovered=FOLDER         where changes go that could not be published before the end\n"
    "  log=FILE|syslog          where to log (syslog); a file is reopened on SIGHUP\n"
    "  log_level=LEVEL          debug, info, warn or error\n"
    "and those of mount(8). Unmount with umount or fusermount3 -u. See dynamount(1).\n";

/* Ending */

static void drained(void *arg, uint32_t still_dirty)
{
    struct mount *m = arg;
    m->unpublished = still_dirty;
    loop_stop(m->loop);
}

static void tell_progress(struct timer *t, void *arg)
{
    struct mount *m = arg;
    uint32_t dirty = fs_dirty_count(m->fs);
    if (dirty > 0)
        log_info("dynamount", "%u of %u changed files are still to be published", dirty,
                 m->dirty_at_end > dirty ? m->dirty_at_end : dirty);
    timer_set(loop_timers(m->loop), t, loop_now_us() + PROGRESS_US);
}

static void begin_end(struct mount *m)
{
    if (m->ending)
        return;
    m->ending = true;
    local_cluster_ending(m->local);
    m->dirty_at_end = fs_dirty_count(m->fs);
    if (m->dirty_at_end > 0)
        log_info("dynamount", "publishing %u changed files before the end", m->dirty_at_end);
    timer_set(loop_timers(m->loop), &m->progress, loop_now_us() + PROGRESS_US);
    fs_drain(m->fs, m->o.drain_us, drained, m);
}

static void channel_ended(void *arg)
{
    struct mount *m = arg;
    loop_watch_free(m->watch);
    m->watch = NULL;
    log_info("dynamount", "%s is unmounted", m->mountpoint);
    begin_end(m);
}

static bool in_use(void *arg)
{
    struct mount *m = arg;
    return fs_in_use(m->fs);
}

/* Unmounted here, while other mount namespaces hold copies that nobody will take away. */
static void mount_gone(void *arg)
{
    struct mount *m = arg;
    log_info("dynamount", "%s is unmounted; copies in other mount namespaces end with it",
             m->mountpoint);
    fuse_channel_disown(m->channel);
    begin_end(m);
}

static void caught(void *arg, int signo)
{
    struct mount *m = arg;
    if (signo == SIGHUP) {
        if (log_reopen() != DYN_OK)
            log_error("dynamount", "cannot reopen %s", m->log != NULL ? m->log : "stderr");
        return;
    }
    log_info("dynamount", "signal %d", signo);
    if (m->ending) { /* asked twice: not waiting for the cluster any longer */
        m->unpublished = fs_dirty_count(m->fs);
        loop_stop(m->loop);
    }
    begin_end(m);
}

/* What the filesystem asks of its host */

static void fs_says(void *arg, int level, const char *text)
{
    (void)arg;
    log_line((enum log_level)level, "fs", "%s", text);
}

static void drop_attributes(void *arg, uint64_t node)
{
    struct mount *m = arg;
    fuse_channel_inval_attrs(m->channel, node);
}

static void attributes_outdated(void *arg, uint64_t node)
{
    struct mount *m = arg;
    fuse_channel_outdate(m->channel, node);
}

static void give_back(void *arg, const struct fs_held *held)
{
    struct mount *m = arg;
    fuse_channel_let_go(m->channel, held);
}

static bool caller_holds(void *arg, uint32_t pid, uint64_t ino)
{
    (void)arg;
    return caller_has_open(pid, ino);
}

static void report_peers(void *arg, struct buf *out)
{
    struct mount *m = arg;
    buf_printf(out, "source: %s\nmounted on: %s\n", m->o.source, m->mountpoint);
    const struct ring *ring = client_ring(m->client);
    if (ring == NULL) {
        const char *why = net_curl_last_failure(m->net);
        buf_printf(out, "cluster: not reached yet\n%s%s%s", why != NULL ? "last failure: " : "",
                   why != NULL ? why : "", why != NULL ? "\n" : "");
        return;
    }
    buf_printf(out, "cluster: %016llx\n", (unsigned long long)ring_cluster(ring));
    for (uint32_t i = 0; i < ring_member_count(ring); i++) {
        const struct ring_member *member = ring_member_at(ring, i);
        buf_printf(out, "node %016llx at %s: %s\n", (unsigned long long)member->node,
                   member->address, client_node_up(m->client, member->node) ? "up" : "down");
    }
    struct client_watch_stats watch;
    client_watch_stats(m->client, &watch);
    buf_printf(out, "told of %llu directories by %llu nodes: %llu changes, %llu times lost\n",
               (unsigned long long)watch.dirs, (unsigned long long)watch.sessions,
               (unsigned long long)watch.events, (unsigned long long)watch.lost);
}

static uint8_t count_replicas(void *arg)
{
    struct mount *m = arg;
    const struct ring *ring = client_ring(m->client);
    return ring == NULL ? 0 : (uint8_t)ring_n(ring);
}

static uint64_t cluster_id(void *arg)
{
    struct mount *m = arg;
    const struct ring *ring = client_ring(m->client);
    return ring == NULL ? 0 : ring_cluster(ring);
}

static bool tell_space(void *arg, uint64_t *total, uint64_t *unused)
{
    struct mount *m = arg;
    return cluster_space_get(m->space, total, unused);
}

static void channel_readable(void *arg, unsigned events)
{
    (void)events;
    struct mount *m = arg;
    fuse_channel_ready(m->channel);
}

/* Beginning */

static uint64_t random_id(struct mount *m)
{
    uint64_t id;
    do
        id = random_u64(&m->random);
    while (id == 0);
    return id;
}

static void connect_cluster(struct mount *m)
{
    struct net_curl_config net_cfg;
    net_curl_config_defaults(&net_cfg);
    net_cfg.posts_soft++; /* one is held by a node that tells of changes */
    m->net = net_curl_new(m->loop, &net_cfg);
    struct net_port net = net_curl_port(m->net);
    struct client_config cfg = {
        .id = random_id(m),
        .seeds = (const char *const *)m->o.seeds,
        .n_seeds = m->o.n_seeds,
        .timeout_us = m->o.fs.deadline_us,
        .nodes_coordinate = m->o.nodes_coordinate,
    };
    if (m->local != NULL)
        cfg.seeds = local_cluster_addresses(m->local, &cfg.n_seeds);
    m->client = client_new(&cfg, &net, &m->time, &m->random, loop_timers(m->loop));
    struct net_events events = client_events(m->client);
    net_curl_set_events(m->net, &events);
    m->kv = client_kv(m->client);
    m->space = cluster_space_new(m->client, &m->time, loop_timers(m->loop));
}

static void make_filesystem(struct mount *m)
{
    m->o.fs.mount_id = random_id(m);
    m->o.fs.root = slice_str(m->o.subdir);
    if (!m->o.fs.map_uid)
        m->o.fs.uid = getuid();
    if (!m->o.fs.map_gid)
        m->o.fs.gid = getgid();
    struct fs_host host = {
        .ctx = m,
        .inval_attrs = drop_attributes,
        .log = fs_says,
        .status = report_peers,
        .replicas = count_replicas,
        .space = tell_space,
        .still_open = caller_holds,
        .cluster = cluster_id,
        .outdated = attributes_outdated,
        .let_go = give_back,
    };
    m->fs = fs_new(&m->o.fs, &m->kv, &m->time, &m->random, loop_timers(m->loop), &host);
    struct watch_events events = fs_watch_events(m->fs);
    if (m->o.fs.push_us != 0) {
        struct watch_port port = client_watch(m->client, &events);
        fs_watch(m->fs, &port);
    }
    fuse_channel_serve(m->channel, m->fs);
}

/* What an earlier run could not publish */

static int take_record(void *arg, uint64_t id, struct slice body, const struct slice *chunks,
                       uint32_t n)
{
    struct mount *m = arg;
    return fs_resume_record(m->fs, id, body, chunks, n);
}

static void look_for_cluster(struct timer *t, void *arg)
{
    struct mount *m = arg;
    uint64_t cluster = cluster_id(m);
    if (cluster != 0)
        fs_resume(m->fs, cluster);
    else
        timer_set(loop_timers(m->loop), t, loop_now_us() + RESUME_LOOK_US);
}

static void resume(struct mount *m)
{
    if (m->stage == NULL)
        return;
    struct stage_port port = stage_dir_port(m->stage);
    fs_set_stage(m->fs, &port);
    uint32_t n = stage_dir_load(m->stage, take_record, m);
    if (n == 0)
        return;
    log_warn("dynamount", "%u changes that an earlier run could not publish are in %s", n,
             stage_dir_path(m->stage));
    timer_init(&m->resume, look_for_cluster, m);
    timer_set(loop_timers(m->loop), &m->resume, loop_now_us());
}

static int make_channel(struct mount *m)
{
    buf_put_u8(&m->o.kernel, 0);
    struct fuse_channel_config cfg = {
        .source = m->o.source,
        .options = (const char *)m->o.kernel.data,
        .allow_other = m->o.allow_other,
        .debug = m->o.debug,
        .timers = loop_timers(m->loop),
        .time = &m->time,
        .ended = channel_ended,
        .arg = m,
    };
    m->channel = fuse_channel_new(&cfg);
    if (m->channel == NULL)
        return DYN_ERR_INVALID;
    return fuse_channel_mount(m->channel, m->mountpoint);
}

static void log_to_syslog(struct mount *m)
{
    m->syslog = log_syslog_new(LOG_SYSLOG_PATH, "dynamount");
    if (m->syslog != NULL)
        log_to(log_syslog_sink(m->syslog));
}

static int open_log(struct mount *m, char **message)
{
    if (strcmp(m->o.log, "syslog") == 0) {
        log_to_syslog(m);
        return DYN_OK;
    }
    int err = mount_point_absolute(m->o.log, &m->log, message);
    if (err != DYN_OK)
        return err;
    if (mount_point_contains(m->mountpoint, m->log)) {
        *message = mem_printf(
            "the log %s must not be inside the mount, which would wait for itself", m->log);
        return DYN_ERR_INVALID;
    }
    err = log_open(m->log);
    if (err != DYN_OK)
        *message = mem_printf("cannot write the log %s", m->log);
    return err;
}

/* given: NULL where the machine's own is to be used. */
static int choose_folder(struct mount *m, const char *given, const char *own, char **out,
                         char **message)
{
    if (given == NULL) {
        *out = state_folder(own);
        if (*out != NULL && mount_point_contains(m->mountpoint, *out)) {
            free(*out);
            *out = NULL;
        }
        return DYN_OK;
    }
    int err = mount_point_absolute(given, out, message);
    if (err == DYN_OK && mount_point_contains(m->mountpoint, *out)) {
        *message = mem_printf("the folder %s must not be inside the mount", *out);
        err = DYN_ERR_INVALID;
    }
    return err;
}

/* A mount works without, but whoever has named a folder wants that one. */
static int open_staging(struct mount *m, char **message)
{
    if (m->staging == NULL || m->o.fs.read_only)
        return DYN_OK;
    char *what = mem_printf("%s\n%s", m->mountpoint, m->o.subdir);
    int err = stage_dir_open(m->staging, m->mountpoint, what, m->loop, &m->stage, message);
    free(what);
    if (err == DYN_OK && mount_point_contains(m->mountpoint, stage_dir_path(m->stage))) {
        *message = mem_printf("the folder %s must not be inside the mount", m->staging);
        err = DYN_ERR_INVALID;
    }
    if (err == DYN_OK || m->o.staging_dir != NULL)
        return err;
    log_warn("dynamount", "no place for what cannot be published, a crash would lose it: %s",
             *message);
    free(*message);
    *message = NULL;
    stage_dir_free(m->stage);
    m->stage = NULL;
    return DYN_OK;
}

static int open_local(struct mount *m, char **message)
{
    char *folder;
    int err = mount_point_absolute(m->o.local, &folder, message);
    if (err != DYN_OK)
        return err;
    if (mount_point_contains(m->mountpoint, folder)) {
        *message = mem_printf("the data in %s must not be inside the mount", folder);
        err = DYN_ERR_INVALID;
    } else {
        err = local_cluster_open(folder, m->mountpoint, &m->local, message);
        free(m->o.source); /* for mount(8), which may be asked from another folder */
        m->o.source = mem_printf("local:%s", folder);
    }
    free(folder);
    return err;
}

/* All that can go wrong before there is a mount: DYN_OK, or an error with *message, or without when
 * libfuse has told stderr already. */
static int prepare(struct mount *m, char **message)
{
    int err = mount_point_prepare(m->o.mountpoint, &m->mountpoint, message);
    if (err == DYN_OK && m->o.log != NULL)
        err = open_log(m, message);
    if (err == DYN_OK)
        err = choose_folder(m, m->o.recovered, "recovered", &m->recovered, message);
    if (err == DYN_OK)
        err = choose_folder(m, m->o.staging_dir, "staged", &m->staging, message);
    if (err == DYN_OK && m->o.local != NULL)
        err = open_local(m, message);
    return err;
}

static int start(struct mount *m, char **message)
{
    int err = prepare(m, message);
    if (err != DYN_OK)
        return err;
    m->loop = loop_new();
    if (m->loop == NULL)
        return DYN_ERR_IO;
    m->time = loop_time(m->loop);
    m->random = loop_random();
    err = open_staging(m, message);
    if (err == DYN_OK)
        err = make_channel(m);
    if (err != DYN_OK)
        return err;
    static const int signals[3] = {SIGINT, SIGTERM, SIGHUP};
    for (int i = 0; i < 3; i++)
        m->signals[i] = loop_signal_new(m->loop, signals[i], caught, m);
    return DYN_OK;
}

/* What is to be the root of the mount, as the cluster has it. */
struct root_check {
    bool pending, known, is_dir, is_other;
};

static void on_root(void *arg, const struct get_reply *reply)
{
    struct root_check *c = arg;
    c->pending = false;
    c->known = reply->status == DYN_OK;
    c->is_dir = reply->implicit_dir;
    for (uint32_t i = 0; i < reply->object.n && c->known; i++) {
        enum sibling_type type = reply->object.siblings[i].type;
        c->is_dir |= type == SIBLING_DIR;
        c->is_other |= type == SIBLING_FILE || type == SIBLING_SYMLINK;
    }
}

/* A file in the place of the root would hide what is written under it, and be in conflict with it
 * (the directory keeps the name). Nothing there is a directory yet to be made. */
static int check_root(struct mount *m, uint64_t until)
{
    struct root_check c = {.pending = true};
    struct get_request q = {.key = slice_str(m->o.subdir), .want = GET_META};
    if (q.key.len == 0)
        return EXIT_OK;
    uint64_t id = m->kv.get(m->kv.ctx, &q, on_root, &c);
    for (uint64_t now = loop_now_us(); now < until && c.pending && !m->ending; now = loop_now_us())
        loop_turn(m->loop, until - now);
    if (c.pending)
        m->kv.cancel(m->kv.ctx, id);
    if (c.known && c.is_other && !c.is_dir) {
        fprintf(stderr, "dynamount: %s is no directory in the cluster\n", m->o.subdir);
        return EXIT_NOT_MOUNTED;
    }
    if (c.known && !c.is_dir)
        fprintf(stderr,
                "dynamount: there is no directory %s in the cluster yet; the first file makes it\n",
                m->o.subdir);
    return EXIT_OK;
}

/* A mount may come before its cluster (fstab), so nobody answering is no error. But whoever has
 * mistyped an address wants to hear of it now, not when the first program has waited in vain. */
static int greet(struct mount *m)
{
    uint64_t until = loop_now_us() + (m->local != NULL ? LOCAL_GREETING_US : GREETING_US);
    char *message = NULL;
    for (uint64_t now = loop_now_us(); now < until && !m->ending; now = loop_now_us()) {
        if (client_ring(m->client) != NULL)
            return check_root(m, until);
        if (m->local != NULL && local_cluster_failed(m->local, &message)) {
            fprintf(stderr, "dynamount: %s", message);
            free(message);
            return EXIT_NOT_MOUNTED;
        }
        loop_turn(m->loop,
                  m->local != NULL && until - now > LOCAL_LOOK_US ? LOCAL_LOOK_US : until - now);
    }
    const char *why = net_curl_last_failure(m->net);
    fprintf(
        stderr,
        "dynamount: mounted, but no node at %s has answered yet%s%s%s; until one does, programs "
        "wait and then see ETIMEDOUT\n",
        m->o.source, why != NULL ? " (" : "", why != NULL ? why : "", why != NULL ? ")" : "");
    return EXIT_OK;
}

/* report: negative in the foreground. */
static int serve(struct mount *m, int report)
{
    timer_init(&m->progress, tell_progress, m);
    connect_cluster(m);
    make_filesystem(m);
    resume(m);
    m->watch = loop_watch_new(m->loop, fuse_channel_fd(m->channel), LOOP_READ, channel_readable, m);
    struct mount_watch_config watch = {.mountpoint = m->mountpoint,
                                       .timers = loop_timers(m->loop),
                                       .time = &m->time,
                                       .in_use = in_use,
                                       .gone = mount_gone,
                                       .arg = m};
    m->mounted = mount_watch_new(&watch);
    int status = greet(m);
    if (status == EXIT_OK) {
        if (report >= 0 && m->o.log == NULL)
            log_to_syslog(m);
        if (report >= 0)
            daemon_report(report);
        if (m->local != NULL)
            local_cluster_watch(m->local, m->loop);
        log_info("dynamount", "%s is mounted on %s", m->o.source, m->mountpoint);
        recovery_remind(m->recovered);
        loop_run(m->loop);
    }
    timer_cancel(loop_timers(m->loop), &m->progress);
    timer_cancel(loop_timers(m->loop), &m->resume);
    mount_watch_free(m->mounted);
    loop_watch_free(m->watch);
    fuse_channel_unmount(m->channel);
    if (m->unpublished > 0) {
        uint32_t lost = recovery_save(m->fs, m->recovered);
        log_error("dynamount", "%u changed files could not be published, %u of them are lost",
                  m->unpublished, lost);
    }
    return status == EXIT_OK && m->unpublished > 0 ? EXIT_UNPUBLISHED : status;
}

static void mount_release(struct mount *m)
{
    fs_free(m->fs);
    stage_dir_free(m->stage);
    fuse_channel_free(m->channel);
    cluster_space_free(m->space);
    client_free(m->client);
    net_curl_free(m->net);
    local_cluster_close(m->local);
    for (int i = 0; i < 3; i++)
        loop_signal_free(m->signals[i]);
    loop_free(m->loop);
    free(m->mountpoint);
    log_to(NULL);
    log_syslog_free(m->syslog);
    free(m->log);
    free(m->recovered);
    free(m->staging);
    mount_options_release(&m->o);
}

static int run(struct mount *m)
{
    int report = -1;
    if (!m->o.foreground && daemon_begin(&report) != DYN_OK) {
        fprintf(stderr, "dynamount: cannot go into the background: %s\n", strerror(errno));
        return EXIT_NOT_MOUNTED;
    }
    char *message = NULL;
    int err = start(m, &message);
    if (err != DYN_OK) {
        if (message != NULL)
            fprintf(stderr, "dynamount: %s\n", message);
        free(message);
        return EXIT_NOT_MOUNTED;
    }
    return serve(m, report);
}

int main(int argc, char **argv)
{
    struct mount m = {.unpublished = 0};
    struct fs_config defaults;
    fs_config_defaults(&defaults);
    mount_options_init(&m.o, &defaults);
    signal(SIGPIPE, SIG_IGN);

    char *message = NULL;
    int status = EXIT_OK;
    if (mount_options_parse(&m.o, argc, argv, &message) != DYN_OK) {
        fprintf(stderr, "dynamount: %s\nTry dynamount --help.\n", message);
        free(message);
        status = EXIT_USAGE;
    } else if (m.o.help) {
        fputs(usage, stdout);
    } else if (m.o.version) {
        puts("dynamount " DYNAMOUNT_VERSION);
    } else {
        log_set_level(m.o.log_level);
        status = run(&m);
    }
    mount_release(&m);
    return status;
}
