/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl cluster add: a further node in the folder of a local cluster. Like a machine that is new
 * in a rack it knows nothing but the cluster's secret and where some of its nodes are; it becomes a
 * member by 'dynactl join' like any other. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "adapter/loop.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "ctl/ctl.h"
#include "ctl/local.h"
#include "ctl/ports.h"

static const struct args_option options[] = {
    {"listen", "HOST:PORT", "its address (default: 127.0.0.1, a free port)", 0},
    {NULL, NULL, NULL, 0},
};

static const char help[] =
    "Adds a node to the local cluster in DIR: a folder with its configuration. 'dynactl cluster "
    "up\n"
    "DIR' starts it; it passes requests on, and holds nothing until it is joined.\n"
    "\n"
    "Examples:\n"
    "  dynactl cluster add /tmp/try && dynactl cluster up /tmp/try\n"
    "  dynactl --cluster /tmp/try join 127.0.0.1:7003\n"
    "  dynactl --cluster /tmp/try plan && dynactl --cluster /tmp/try commit --wait\n";

/* The next number, in as many digits as the last one has. */
static char *next_name(const struct local *l)
{
    const char *last = l->nodes[l->n - 1].name + strlen("node");
    return mem_printf("node%0*lu", (int)strlen(last), strtoul(last, NULL, 10) + 1);
}

static char *choose_address(const struct ctl *c)
{
    const char *listen = args_value(&c->args, "listen");
    char *address = NULL;
    if (listen != NULL)
        return mem_strdup(listen);
    return ports_choose(&address, 1) == DYN_OK ? address : NULL;
}

static int write_config(const struct local *l, const char *dir, uint64_t id, const char *address,
                        char **message)
{
    struct buf text = BUF_EMPTY;
    char *file = mem_printf("%s/dynanode.conf", dir);
    buf_printf(&text,
               "# A node that was added to the local cluster in %s; see dynanode.conf(5).\n"
               "node = %016" PRIx64 "\n"
               "listen = %s\n"
               "data = %s/data\n"
               "seeds = ",
               l->dir, id, address, dir);
    for (unsigned i = 0; i < l->n && i < 16; i++)
        buf_printf(&text, "%s%s", i == 0 ? "" : ",", l->nodes[i].address);
    buf_printf(&text, "\nsecret_file = %s/secret\nlog = %s/dynanode.log\n", l->dir, dir);
    int err = DYN_OK;
    if (mkdir(dir, 0755) != 0) {
        *message = mem_printf("%s cannot be made", dir);
        err = DYN_ERR_IO;
    }
    if (err == DYN_OK)
        err = ctl_write_file(file, buf_slice(&text), 0644, message);
    buf_release(&text);
    free(file);
    return err;
}

static int report(const struct ctl *c, const char *name, uint64_t id, const char *address)
{
    struct buf text = BUF_EMPTY;
    if (c->json) {
        struct json *j = json_object();
        char *hex = mem_printf("%016" PRIx64, id);
        json_add_str(j, "name", name);
        json_add_str(j, "node", hex);
        json_add_str(j, "address", address);
        json_print(j, true, &text);
        buf_put_u8(&text, '\n');
        free(hex);
        json_free(j);
    } else {
        const char *dir = c->args.words[0];
        buf_printf(&text,
                   "%s  %s  %016" PRIx64 "\n"
                   "start it with: dynactl cluster up %s\n"
                   "then: dynactl --cluster %s join %s\n",
                   name, address, id, dir, dir, address);
    }
    return ctl_print(&text);
}

static int run(struct ctl *c)
{
    struct local l = {.n = 0};
    struct random_port random = loop_random();
    char *message = NULL;
    int status = CTL_ERROR;
    uint64_t id = random_u64(&random) | 1ull << 63; /* above the numbers of seeds */
    if (local_open(c->args.words[0], &l, &message) != DYN_OK) {
        ctl_fail(CTL_ERROR, "%s", message);
        free(message);
        return CTL_ERROR;
    }
    char *name = next_name(&l), *dir = mem_printf("%s/%s", l.dir, name);
    char *address = choose_address(c);
    if (address == NULL) {
        ctl_fail(CTL_ERROR, "not enough free ports");
    } else if (write_config(&l, dir, id, address, &message) != DYN_OK) {
        ctl_fail(CTL_ERROR, "%s", message);
        free(message);
    } else {
        status = report(c, name, id, address);
    }
    free(address);
    free(dir);
    free(name);
    local_release(&l);
    return status;
}

const struct ctl_verb ctl_verb_cluster_add = {
    "cluster add", "DIR", "add a node to a local cluster", help, options, 1, 1, false, run,
};
