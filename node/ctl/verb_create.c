/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl cluster create: everything that a local cluster of any size needs, in one folder. What
 * can be wrong with the wishes is found before the folder is touched, and the folder must be new or
 * empty, so that nothing is ever overwritten. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapter/cluster_file.h"
#include "adapter/loop.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "ctl/ctl.h"
#include "ctl/ports.h"
#include "model/history.h"
#include "model/wire.h"

#define NODES_MAX 1000
#define SECRET_LEN 32

static const struct args_option options[] = {
    {"nodes", "COUNT", "how many nodes (default: 3, or as many as --listen names)", 0},
    {"n", "N", "replicas of each key (default: 3, or the nodes there are)", 0},
    {"r", "R", "answers that a read waits for (default: N/2 + 1)", 0},
    {"w", "W", "answers that a write waits for (default: N/2 + 1)", 0},
    {"q", "Q", "partitions, a power of two, fixed for ever (default: 256)", 0},
    {"zones", "A,B,..", "zones, given to the nodes in turn", 0},
    {"listen", "HOST:PORT,..", "an address for each node (default: 127.0.0.1, free ports)", 0},
    {"base-port", "PORT", "on 127.0.0.1, this port for the first node, and so on", 0},
    {NULL, NULL, NULL, 0},
};

static const char help[] =
    "Makes the folder DIR with configuration, secret and members of a cluster whose nodes all run\n"
    "on this machine. 'dynactl cluster up DIR' starts it.\n"
    "\n"
    "Examples:\n"
    "  dynactl cluster create /tmp/try --nodes 3\n"
    "  dynactl cluster create /tmp/try --nodes 5 --n 3 --r 2 --w 2 --zones east,west\n"
    "  dynactl cluster create /tmp/try --nodes 3 --base-port 7000\n";

struct plan {
    uint64_t nodes, q, n, r, w, base_port;
    char *dir; /* absolute */
    char *addresses[NODES_MAX];
    uint64_t ids[NODES_MAX];
    struct history history;
};

static void plan_release(struct plan *p)
{
    for (unsigned i = 0; i < NODES_MAX; i++)
        free(p->addresses[i]);
    free(p->dir);
    history_release(&p->history);
    free(p);
}

static unsigned pieces(const char *list)
{
    unsigned n = 1;
    for (const char *p = list; *p != '\0'; p++)
        n += *p == ',';
    return n;
}

/* The i-th piece of a list with commas, i counted modulo its length if `around`. Empty: none. */
static struct slice piece(const char *list, unsigned i, bool around)
{
    unsigned at = 0;
    if (around)
        i %= pieces(list);
    while (at < i && *list != '\0')
        at += *list++ == ',';
    return slice_of(list, at == i ? strcspn(list, ",") : 0);
}

static int choose_addresses(const struct ctl *c, struct plan *p, char **message)
{
    const char *listen = args_value(&c->args, "listen");
    if (listen == NULL && p->base_port == 0) {
        if (ports_choose(p->addresses, p->nodes) == DYN_OK)
            return DYN_OK;
        *message = mem_strdup("not enough free ports");
        return DYN_ERR_INVALID;
    }
    for (unsigned i = 0; i < p->nodes; i++) {
        struct slice s = listen == NULL ? slice_of(NULL, 0) : piece(listen, i, false);
        if (listen == NULL) {
            p->addresses[i] = mem_printf("127.0.0.1:%u", (unsigned)p->base_port + i);
        } else if (s.len != 0) {
            p->addresses[i] = mem_strndup((const char *)s.data, s.len);
        } else {
            *message = mem_strdup("--listen must give as many addresses as there are nodes");
            return DYN_ERR_INVALID;
        }
    }
    if (listen != NULL && piece(listen, (unsigned)p->nodes, false).len != 0) {
        *message = mem_strdup("--listen gives more addresses than there are nodes");
        return DYN_ERR_INVALID;
    }
    for (unsigned i = 0; i < p->nodes; i++)
        for (unsigned k = 0; k < i; k++)
            if (strcmp(p->addresses[i], p->addresses[k]) == 0) {
                *message = mem_printf("--listen gives %s to two nodes", p->addresses[i]);
                return DYN_ERR_INVALID;
            }
    return DYN_OK;
}

static int take_numbers(const struct ctl *c, struct plan *p, char **message)
{
    const char *listen = args_value(&c->args, "listen");
    p->nodes = listen == NULL ? 3 : pieces(listen);
    p->q = 256;
    if (args_u64(&c->args, "nodes", 1, NODES_MAX, &p->nodes, message) != DYN_OK)
        return DYN_ERR_INVALID;
    p->n = p->nodes < 3 ? p->nodes : 3;
    if (args_u64(&c->args, "n", 1, 8, &p->n, message) != DYN_OK)
        return DYN_ERR_INVALID;
    if (p->n > p->nodes) {
        *message = mem_printf("--n %" PRIu64 ": there are only %" PRIu64 " nodes", p->n, p->nodes);
        return DYN_ERR_INVALID;
    }
    p->r = p->w = p->n / 2 + 1;
    if (args_u64(&c->args, "r", 1, p->n, &p->r, message) != DYN_OK ||
        args_u64(&c->args, "w", 1, p->n, &p->w, message) != DYN_OK ||
        args_u64(&c->args, "q", 1, PARTITIONS_MAX, &p->q, message) != DYN_OK ||
        args_u64(&c->args, "base-port", 1, 65536 - p->nodes, &p->base_port, message) != DYN_OK)
        return DYN_ERR_INVALID;
    if (p->base_port != 0 && args_has(&c->args, "listen")) {
        *message = mem_strdup("--listen and --base-port exclude each other");
        return DYN_ERR_INVALID;
    }
    return DYN_OK;
}

static uint64_t random_id(void)
{
    struct random_port random = loop_random();
    uint64_t id;
    do
        id = random_u64(&random);
    while (id <= NODE_SEED_MAX);
    return id;
}

static int make_history(const struct ctl *c, struct plan *p, char **message)
{
    const char *zones = args_value(&c->args, "zones"), *rule = NULL;
    struct member_event create = {.stamp = 1,
                                  .type = MEMBER_CREATE,
                                  .cluster = random_id(),
                                  .q = (uint32_t)p->q,
                                  .n = (uint32_t)p->n,
                                  .r = (uint32_t)p->r,
                                  .w = (uint32_t)p->w};
    int err = history_add(&p->history, &create, &rule);
    for (unsigned i = 0; i < p->nodes && err == DYN_OK; i++) {
        struct slice zone = zones == NULL ? slice_of(NULL, 0) : piece(zones, i, true);
        struct member_event join = {.stamp = 2 + i,
                                    .node = p->ids[i] = random_id(),
                                    .type = MEMBER_JOIN,
                                    .weight = 100,
                                    .address = p->addresses[i]};
        if (zones != NULL)
            join.zone = mem_strndup((const char *)zone.data, zone.len);
        err = history_add(&p->history, &join, &rule);
        free(join.zone);
    }
    if (err != DYN_OK)
        *message = mem_strdup(rule);
    return err;
}

/* ---- the folder ---- */

static int make_dir(const char *path, bool may_be_there, char **message)
{
    if (mkdir(path, 0755) == 0 || (may_be_there && errno == EEXIST))
        return DYN_OK;
    *message = mem_printf("%s: %s", path, strerror(errno));
    return DYN_ERR_IO;
}

static int check_empty(const char *path, char **message)
{
    DIR *d = opendir(path);
    int err = DYN_OK;
    if (d == NULL) {
        *message = mem_printf("%s: %s", path, strerror(errno));
        return DYN_ERR_IO;
    }
    for (struct dirent *e; (e = readdir(d)) != NULL && err == DYN_OK;) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            *message = mem_printf("%s: the folder is not empty: choose a new one", path);
            err = DYN_ERR_EXISTS;
        }
    }
    closedir(d);
    return err;
}

static int write_in(const struct plan *p, const char *name, struct slice content, unsigned mode,
                    char **message)
{
    char *path = mem_printf("%s/%s", p->dir, name);
    int err = ctl_write_file(path, content, mode, message);
    free(path);
    return err;
}

static int write_node(const struct plan *p, unsigned i, char **message)
{
    /* Names of one length, so that every program sorts them alike. */
    int digits = p->nodes < 10 ? 1 : p->nodes < 100 ? 2 : p->nodes < 1000 ? 3 : 4;
    char *name = mem_printf("node%0*u", digits, i + 1),
         *file = mem_printf("%s/dynanode.conf", name);
    char *dir = mem_printf("%s/%s", p->dir, name);
    struct buf text = BUF_EMPTY;
    buf_printf(&text,
               "# A node of the local cluster in %s; see dynanode.conf(5).\n"
               "node = %016" PRIx64 "\n"
               "listen = %s\n"
               "data = %s/data\n"
               "cluster_file = %s/cluster\n"
               "secret_file = %s/secret\n"
               "log = %s/dynanode.log\n",
               p->dir, p->ids[i], p->addresses[i], dir, p->dir, p->dir, dir);
    int err = make_dir(dir, false, message);
    if (err == DYN_OK)
        err = write_in(p, file, buf_slice(&text), 0644, message);
    buf_release(&text);
    free(dir);
    free(file);
    free(name);
    return err;
}

static int write_all(struct plan *p, const char *dir, char **message)
{
    struct random_port random = loop_random();
    struct buf text = BUF_EMPTY;
    uint8_t secret[SECRET_LEN];
    int err = make_dir(dir, true, message);
    if (err == DYN_OK)
        err = check_empty(dir, message);
    if (err != DYN_OK)
        return err;
    p->dir = realpath(dir, NULL);
    if (p->dir == NULL) {
        *message = mem_printf("%s: %s", dir, strerror(errno));
        return DYN_ERR_IO;
    }
    if (strpbrk(p->dir, "#\n") != NULL) {
        *message = mem_printf("%s: a path with '#' cannot stand in a configuration", p->dir);
        return DYN_ERR_INVALID;
    }
    random.bytes(random.ctx, secret, sizeof(secret));
    buf_put_hex(&text, slice_of(secret, sizeof(secret)));
    buf_put_u8(&text, '\n');
    err = write_in(p, "secret", buf_slice(&text), 0600, message);
    buf_clear(&text);
    cluster_file_format(&p->history, &text);
    if (err == DYN_OK)
        err = write_in(p, "cluster", buf_slice(&text), 0644, message);
    for (unsigned i = 0; i < p->nodes && err == DYN_OK; i++)
        err = write_node(p, i, message);
    buf_release(&text);
    return err;
}

static bool leaves_this_machine(const struct plan *p)
{
    for (unsigned i = 0; i < p->nodes; i++) {
        const char *a = p->addresses[i];
        if (strncmp(a, "127.", 4) != 0 && strncmp(a, "[::1]", 5) != 0 &&
            strncmp(a, "localhost:", 10) != 0)
            return true;
    }
    return false;
}

static int report(const struct ctl *c, const struct plan *p)
{
    struct buf text = BUF_EMPTY;
    if (c->json) {
        struct json *root = json_object();
        json_add_str(root, "dir", p->dir);
        struct json *nodes = json_add_array(root, "nodes");
        for (unsigned i = 0; i < p->nodes; i++)
            json_add_str(nodes, NULL, p->addresses[i]);
        json_print(root, true, &text);
        buf_put_u8(&text, '\n');
        json_free(root);
    } else {
        buf_printf(&text, "%" PRIu64 " nodes in %s, N %" PRIu64 ", R %" PRIu64 ", W %" PRIu64 ":",
                   p->nodes, p->dir, p->n, p->r, p->w);
        for (unsigned i = 0; i < p->nodes; i++)
            buf_printf(&text, " %s", p->addresses[i]);
        buf_printf(&text, "\nstart them with: dynactl cluster up %s\n", p->dir);
        if (leaves_this_machine(p))
            buf_put_str(&text, "other machines reach these addresses: until there is TLS, each "
                               "dynanode.conf must say 'insecure = yes', on a network that you "
                               "trust\n");
    }
    return ctl_print(&text);
}

static int run(struct ctl *c)
{
    struct plan *p = mem_new(struct plan);
    char *message = NULL;
    int status;
    if (take_numbers(c, p, &message) != DYN_OK || choose_addresses(c, p, &message) != DYN_OK ||
        make_history(c, p, &message) != DYN_OK) {
        status = ctl_usage(c, message);
    } else if (write_all(p, c->args.words[0], &message) != DYN_OK) {
        status = ctl_fail(CTL_ERROR, "%s", message);
        free(message);
    } else {
        status = report(c, p);
    }
    plan_release(p);
    return status;
}

const struct ctl_verb ctl_verb_cluster_create = {
    "cluster create", "DIR", "make a local cluster in a folder", help, options, 1, 1, false, run,
};
