/* SPDX-License-Identifier: Apache-2.0 */
/* The storage node: reads its configuration, wires the engine to store, network and loop, serves
 * until it is told to stop, and leaves everything closed. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "adapter/batch_server.h"
#include "adapter/cluster_file.h"
#include "adapter/loop.h"
#include "adapter/net_curl.h"
#include "adapter/store_rocksdb.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "first_ring.h"
#include "http_api.h"
#include "http_cluster.h"
#include "model/wire.h"
#include "node_config.h"

#define HALT_AFTER_US 2000000u /* what the node last said of itself is told by then */

enum { EXIT_CLEAN = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_DISK = 3, EXIT_FULL = 4 };

#define WARN_EVERY_US 10000000u

/* jemalloc's settings, where it is linked in: the loop and the store's threads do not need more. */
extern const char *malloc_conf;
const char *malloc_conf = "narenas:2";

struct node {
    struct node_config cfg;
    struct history born; /* the cluster file's; empty when there is none */
    struct first_ring *first;
    struct ring *ring; /* that the engine began with; NULL until then */
    struct loop *loop;
    struct loop_hook store_hook;
    struct loop_wake *store_wake;
    struct loop_signal *sig_term, *sig_int, *sig_hup;
    struct store_rocksdb *store;
    struct store_port port;
    struct net_curl *net;
    struct batch_server *batches;
    struct http_server *http;
    struct engine *engine;
    struct net_events engine_events;
    struct http_metrics metrics;
    struct http_uploads uploads;
    struct http_api api;
    struct timer halt_timer;
    uint64_t warned_us, warnings_held; /* of keys with many versions */
    int exit_code;
    bool store_failed;
    bool stopping, closing;
};

/* ---- the store's host ---- */

static void store_woken(void *arg)
{
    struct node *n = arg;
    if (n->store != NULL)
        store_rocksdb_poll(n->store);
}

/* What goes to other nodes goes first: so they work while this node writes. Nobody is told by it
 * that the write is done, and a kill in between leaves what a request cut off may leave. */
static void store_turn_ends(void *arg)
{
    struct node *n = arg;
    if (n->net != NULL)
        net_curl_send_now(n->net);
    if (n->store != NULL)
        store_rocksdb_flush_turn(n->store);
}

static void host_wake(void *ctx)
{
    struct node *n = ctx;
    loop_wake_signal(n->store_wake);
}

static void host_dirty(void *ctx)
{
    struct node *n = ctx;
    loop_hook_arm(n->loop, &n->store_hook);
}

/* The disk failed: nothing that is acknowledged from here on could be kept (HAZARDS E20). */
static void host_failed(void *ctx, int err, const char *message)
{
    struct node *n = ctx;
    bool full = err == DYN_ERR_NO_SPACE;
    log_error("store",
              full ? "%s (%s): the node stops; it can be started again as soon as there is room"
                   : "%s (%s): the node stops; look at the disk before it is started again",
              message, dyn_err_code(err));
    if (n->engine != NULL)
        engine_store_failed(n->engine, full ? DYN_ERR_IO : err);
    n->exit_code = full ? EXIT_FULL : EXIT_DISK;
    n->store_failed = true;
    loop_stop(n->loop);
}

/* A loop of careless writes must not fill the log: one line in ten seconds speaks for all. */
static void many_siblings(void *ctx, struct slice key, uint32_t n)
{
    struct node *node = ctx;
    uint64_t now = loop_now_us();
    node->warnings_held++;
    if (node->warned_us != 0 && now - node->warned_us < WARN_EVERY_US)
        return;
    log_warn("dynanode",
             "'%.*s' has %u versions side by side (and %llu such writes since the last warning): "
             "whoever writes it should hand back the context of what it has read",
             (int)key.len, (const char *)key.data, n, (unsigned long long)node->warnings_held);
    node->warned_us = now;
    node->warnings_held = 0;
}

/* ---- frames and requests ---- */

struct admin { /* a request of an administrator */
    struct node *n;
    uint64_t origin, rid;
};

static void on_admin(void *arg, int status, struct slice body)
{
    struct admin *a = arg;
    struct buf text = BUF_EMPTY;
    (void)status; /* the text says it too */
    buf_put_slice(&text, body);
    batch_server_reply(a->n->batches, a->origin, a->rid, FRAME_ADMIN + FRAME_REPLY, &text);
    free(a);
}

static void receive_request(void *ctx, uint64_t origin, uint64_t from, uint64_t rid, uint8_t type,
                            struct slice body)
{
    struct node *n = ctx;
    if (type == FRAME_STATUS) {
        struct buf text = BUF_EMPTY;
        http_status_cluster(&n->api.status, &text);
        batch_server_reply(n->batches, origin, rid, FRAME_STATUS + FRAME_REPLY, &text);
        return;
    }
    if (type == FRAME_ADMIN) {
        struct admin *a = mem_new(struct admin);
        *a = (struct admin){n, origin, rid};
        http_cluster_run(&n->api.status, body, on_admin, a);
        return;
    }
    n->engine_events.receive_request(n->engine_events.ctx, origin, from, rid, type, body);
}

static void handle_request(void *arg, struct http_request *r)
{
    struct node *n = arg;
    http_api_take(&n->api, r);
}

/* ---- start ---- */

/* The cluster file, where there is one. */
static int load_cluster(struct node *n, char **message)
{
    return n->cfg.cluster_file == NULL ? DYN_OK
                                       : cluster_file_load(n->cfg.cluster_file, &n->born, message);
}

/* A cluster file that names other nodes only is a mistake: this one waits for ever. */
static int check_born(const struct node *n, char **message)
{
    char id[NODE_ID_TEXT_LEN + 1];
    if (n->born.n == 0 || n->cfg.n_seeds > 0 || !store_rocksdb_was_created(n->store))
        return DYN_OK;
    for (uint32_t i = 0; i < n->born.n; i++)
        if (n->born.events[i].node == n->cfg.node)
            return DYN_OK;
    node_id_format(n->cfg.node, id);
    *message = mem_printf("node %s is no member in %s", id, n->cfg.cluster_file);
    return DYN_ERR_INVALID;
}

static int open_store(struct node *n, char **message)
{
    const struct store_host host = {n, host_wake, host_dirty, host_failed};
    n->cfg.store.cluster = n->born.n == 0 ? 0 : n->born.events[0].cluster;
    int err = store_rocksdb_open(&n->cfg.store, &host, &n->store, message);
    if (err != DYN_OK)
        return err;
    if (store_rocksdb_lost(n->store) > 0)
        log_error("store", "%s: at least %llu synced writes are missing from the log", n->cfg.data,
                  (unsigned long long)store_rocksdb_lost(n->store));
    if (!store_rocksdb_was_clean(n->store))
        log_warn(
            "store", "%s: the last run did not end cleanly%s", n->cfg.data,
            store_rocksdb_lost_tail(n->store)
                ? ", and the machine was started again since or the node had an object buffer: "
                  "its copies count in no read until they have been compared with those of "
                  "others"
                : "");
    return check_born(n, message);
}

/* The store is this node's and this cluster's from now on. */
static int claim_store(struct node *n)
{
    uint64_t cluster, node;
    store_rocksdb_identity(n->store, &cluster, &node);
    if (cluster == 0 && node == 0)
        return store_rocksdb_adopt(n->store, ring_cluster(n->ring), n->cfg.node);
    return cluster == ring_cluster(n->ring) ? DYN_OK : DYN_ERR_INVALID;
}

static void open_network(struct node *n)
{
    struct net_curl_config cfg;
    net_curl_config_defaults(&cfg);
    cfg.self = n->cfg.node;
    cfg.cluster = ring_cluster(n->ring);
    cfg.secret = buf_slice(&n->cfg.secret);
    n->net = net_curl_new(n->loop, &cfg);
    struct net_port port = net_curl_port(n->net);
    for (uint32_t i = 0; i < ring_member_count(n->ring); i++) {
        const struct ring_member *m = ring_member_at(n->ring, i);
        if (m->node != n->cfg.node)
            port.set_address(port.ctx, m->node, m->address);
    }
}

static void must_halt(void *ctx, int err, const char *why);
static void on_halt_timer(struct timer *t, void *arg);

static void open_engine(struct node *n)
{
    const struct engine_ports ports = {
        .store = store_rocksdb_port(n->store),
        .net = net_curl_port(n->net),
        .time = loop_time(n->loop),
        .random = loop_random(),
        .timers = loop_timers(n->loop),
        .notices = {n, many_siblings},
    };
    struct batch_server_config cfg;
    const struct net_events batch_events = {.ctx = n, .receive_request = receive_request};
    n->cfg.engine.host = (struct engine_host){.ctx = n, .halt = must_halt};
    timer_init(&n->halt_timer, on_halt_timer, n);
    n->engine = engine_new(&n->cfg.engine, &ports, n->ring);
    n->engine_events = engine_events(n->engine);
    batch_server_config_defaults(&cfg);
    cfg.self = n->cfg.node;
    cfg.cluster = ring_cluster(n->ring);
    cfg.secret = buf_slice(&n->cfg.secret);
    n->batches = batch_server_new(n->loop, &cfg, &batch_events);
    net_curl_set_events(n->net, &n->engine_events);
    net_curl_set_replier(n->net, batch_server_reply, n->batches);
}

static void open_api(struct node *n)
{
    n->api.batches = n->batches;
    http_uploads_init(&n->uploads);
    n->api.kv = (struct http_kv_config){
        .kv = engine_kv(n->engine),
        .time = loop_time(n->loop),
        .random = loop_random(),
        .n = ring_n(n->ring),
        .metrics = &n->metrics,
        .uploads = &n->uploads,
        .upload_lease_ms = n->cfg.engine.collect_lease_ms,
    };
    n->api.status = (struct http_status){
        .engine = n->engine,
        .store = store_rocksdb_port(n->store),
        .http = n->http,
        .batches = n->batches,
        .metrics = &n->metrics,
        .node = n->cfg.node,
        .started_us = loop_now_us(),
        .time = loop_time(n->loop),
    };
}

/* The engine has noted by now whether the disk may have lost what it had not synced. */
static bool note_tail(struct node *n)
{
    char *message = NULL;
    int err = store_rocksdb_tail_noted(n->store, &message);
    if (err == DYN_OK)
        return true;
    log_error("store", "%s: %s", n->cfg.data, message != NULL ? message : dyn_err_message(err));
    free(message);
    n->exit_code = EXIT_DISK;
    loop_stop(n->loop);
    return false;
}

static void engine_ready(void *arg, int err)
{
    struct node *n = arg;
    char id[NODE_ID_TEXT_LEN + 1];
    node_id_format(n->cfg.node, id);
    if (err == DYN_ERR_DENIED) {
        log_error("dynanode",
                  "node %s has been removed from its cluster: an id that was removed "
                  "never comes back, so start it with a new one and an empty disk",
                  id);
        n->exit_code = EXIT_REFUSED;
        loop_stop(n->loop);
        return;
    }
    if (err != DYN_OK) {
        log_error("dynanode", "the engine does not start: %s", dyn_err_message(err));
        n->exit_code = err == DYN_ERR_NO_SPACE ? EXIT_FULL : EXIT_DISK;
        loop_stop(n->loop);
        return;
    }
    if (!note_tail(n))
        return;
    n->api.ready = true;
    if (ring_contact(engine_ring(n->engine), n->cfg.node) == NULL)
        log_info("dynanode",
                 "node %s is no member yet: it passes requests on, and waits for "
                 "'dynactl join %s'",
                 id, n->cfg.listen);
    log_info("dynanode", "ready: node %s serves at %s (port %u)", id, n->cfg.listen,
             http_server_port(n->http));
}

/* ---- end ---- */

/* Two processes with one id, or a node that was removed: going on would do harm. */
static void must_halt(void *ctx, int err, const char *why)
{
    struct node *n = ctx;
    log_error("dynanode", "%s (%s)", why, dyn_err_code(err));
    n->exit_code = EXIT_REFUSED;
    http_server_stop_listening(n->http);
    timer_set(loop_timers(n->loop), &n->halt_timer, loop_now_us() + HALT_AFTER_US);
}

static void on_halt_timer(struct timer *t, void *arg)
{
    struct node *n = arg;
    (void)t;
    loop_stop(n->loop);
}

static void drained(void *arg)
{
    struct node *n = arg;
    loop_stop(n->loop);
}

static void told_to_stop(void *arg, int signo)
{
    struct node *n = arg;
    if (n->stopping) {
        loop_stop(n->loop); /* asked twice: what is in flight is given up */
        return;
    }
    n->stopping = true;
    log_info("dynanode", "stopping on %s", signo == SIGTERM ? "SIGTERM" : "SIGINT");
    http_server_stop_listening(n->http);
    if (n->engine != NULL)
        engine_stop(n->engine, drained, n);
    else
        loop_stop(n->loop);
}

static void told_to_reopen(void *arg, int signo)
{
    (void)arg;
    (void)signo;
    if (log_reopen() != DYN_OK)
        log_warn("dynanode", "the log cannot be reopened");
}

/* Askers go first, then the store completes what the engine still has with it. */
static void node_close(struct node *n)
{
    n->closing = true;
    http_server_free(n->http);
    store_rocksdb_close(n->store);
    first_ring_free(n->first);
    engine_free(n->engine);
    net_curl_free(n->net);
    batch_server_free(n->batches);
    loop_signal_free(n->sig_term);
    loop_signal_free(n->sig_int);
    loop_signal_free(n->sig_hup);
    if (n->loop != NULL)
        loop_hook_cancel(&n->store_hook);
    loop_wake_free(n->store_wake);
    loop_free(n->loop);
    ring_unref(n->ring);
    history_release(&n->born);
    node_config_release(&n->cfg);
}

static void ring_failed(void *arg, int err)
{
    struct node *n = arg;
    if (n->closing)
        return;
    log_error("dynanode", "%s: no membership to start with (%s)%s", n->cfg.data,
              dyn_err_message(err),
              err == DYN_ERR_INVALID ? ": is 'cluster_file' of the same cluster, and is there one, "
                                       "or 'seeds'?"
                                     : "");
    n->exit_code = EXIT_REFUSED;
    loop_stop(n->loop);
}

static void ring_found(void *arg, struct ring *ring)
{
    struct node *n = arg;
    if (n->closing) {
        ring_unref(ring);
        return;
    }
    n->ring = ring;
    int err = claim_store(n);
    if (err != DYN_OK) {
        log_error("dynanode", "%s: %s", n->cfg.data,
                  err == DYN_ERR_INVALID ? "the store belongs to another cluster than the seeds"
                                         : "cannot be given an identity");
        n->exit_code = err == DYN_ERR_INVALID ? EXIT_REFUSED : EXIT_DISK;
        loop_stop(n->loop);
        return;
    }
    open_network(n);
    open_engine(n);
    open_api(n);
    engine_start(n->engine, store_rocksdb_lost_tail(n->store), engine_ready, n);
}

static int node_open(struct node *n, char **message)
{
    int err = load_cluster(n, message);
    if (err != DYN_OK)
        return err;
    n->loop = loop_new();
    if (n->loop == NULL) {
        *message = mem_strdup("no event loop: the system gives no poller");
        return DYN_ERR_IO;
    }
    loop_hook_init(&n->store_hook, store_turn_ends, n);
    n->store_wake = loop_wake_new(n->loop, store_woken, n);
    err = http_server_new(n->loop, &n->cfg.http, handle_request, n, &n->http, message);
    if (err == DYN_OK)
        err = open_store(n, message);
    if (err != DYN_OK)
        return err;
    n->sig_term = loop_signal_new(n->loop, SIGTERM, told_to_stop, n);
    n->sig_int = loop_signal_new(n->loop, SIGINT, told_to_stop, n);
    n->sig_hup = loop_signal_new(n->loop, SIGHUP, told_to_reopen, n);
    n->port = store_rocksdb_port(n->store);
    n->first = first_ring_new(n->loop, &n->port, &n->born, (const char *const *)n->cfg.seeds,
                              n->cfg.n_seeds, ring_found, n);
    first_ring_on_failure(n->first, ring_failed);
    return DYN_OK;
}

static void raise_descriptors(const struct node_config *c)
{
    struct rlimit l;
    rlim_t want = c->http.connections_max + 2048;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur >= want)
        return;
    l.rlim_cur = l.rlim_max == RLIM_INFINITY || l.rlim_max > want ? want : l.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur < want)
        log_warn("dynanode", "only %llu open files are allowed, %llu would be good",
                 (unsigned long long)l.rlim_cur, (unsigned long long)want);
}

static int usage(FILE *to, int code)
{
    fprintf(to, "usage: dynanode --config FILE\n"
                "\n"
                "Runs one storage node of a Dynamount cluster until SIGTERM.\n"
                "\n"
                "  --config FILE  its configuration, see dynanode.conf(5)\n"
                "  --help         show this and exit\n"
                "  --version      show the version and exit\n");
    return code;
}

static int run(const char *config)
{
    struct node n = {.exit_code = EXIT_CLEAN};
    char *message = NULL;
    int err = node_config_load(config, &n.cfg, &message);
    if (err == DYN_OK && n.cfg.log != NULL && (err = log_open(n.cfg.log)) != DYN_OK)
        message = mem_printf("%s: the log cannot be opened: %s", n.cfg.log, strerror(errno));
    if (err == DYN_OK) {
        log_set_level(n.cfg.log_level);
        if (n.cfg.insecure)
            log_warn("dynanode", "insecure = yes: whoever reaches %s can read and write everything",
                     n.cfg.listen);
        raise_descriptors(&n.cfg);
        err = node_open(&n, &message);
    }
    if (err == DYN_OK) {
        loop_run(n.loop);
    } else {
        log_error("dynanode", "%s", message);
        if (n.cfg.log != NULL)
            fprintf(stderr, "dynanode: %s\n", message);
        n.exit_code = err == DYN_ERR_NO_SPACE ? EXIT_FULL : EXIT_REFUSED;
    }
    free(message);
    if (n.store_failed)
        _exit(n.exit_code); /* RocksDB aborts when it is closed after a write that failed */
    node_close(&n);
    if (err == DYN_OK && n.exit_code == EXIT_CLEAN)
        log_info("dynanode", "stopped cleanly");
    return n.exit_code;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'V'},
                                            {NULL, 0, NULL, 0}};
    const char *config = NULL;
    int opt;
    while ((opt = getopt_long(argc, argv, "c:hV", options, NULL)) != -1) {
        if (opt == 'c') {
            config = optarg;
        } else if (opt == 'h') {
            return usage(stdout, EXIT_CLEAN);
        } else if (opt == 'V') {
            printf("dynanode %s\n", DYNAMOUNT_VERSION);
            return EXIT_CLEAN;
        } else {
            return usage(stderr, EXIT_USAGE);
        }
    }
    if (config == NULL || optind != argc)
        return usage(stderr, EXIT_USAGE);
    signal(SIGPIPE, SIG_IGN);
    return run(config);
}
