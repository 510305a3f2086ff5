/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl cluster up and down: the processes of a local cluster. Both end with a statement about
 * each node that can be relied on: it serves, it has ended, or it did not, and why. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "ctl/ctl.h"
#include "ctl/local.h"

#define TIMEOUT_MS 30000
#define STEP_MS 20
#define HEALTH_MS 1000

static const struct args_option up_options[] = {
    {"timeout", "TIME", "how long the nodes may take until they serve (default: 30s)", 0},
    {"program", "PATH", "the node's program (default: dynanode, beside dynactl or on PATH)", 0},
    {NULL, NULL, NULL, 0},
};

static const char up_help[] =
    "Starts each node of the local cluster in DIR that is not running yet, and waits until all of\n"
    "them serve. If one does not, its last words are shown and the exit status is 5; those that\n"
    "run go on running.\n"
    "\n"
    "Examples:\n"
    "  dynactl cluster create /tmp/try --nodes 3 && dynactl cluster up /tmp/try\n"
    "  dynactl --cluster /tmp/try status\n";

static const struct args_option down_options[] = {
    {"timeout", "TIME", "how long the nodes may take to end (default: 30s)", 0},
    {"kill", NULL, "after that time, kill what still runs", 0},
    {NULL, NULL, NULL, 0},
};

static const char down_help[] =
    "Asks each node of the local cluster in DIR to end (SIGTERM), and waits. Only processes that\n"
    "'cluster up' started are touched. The data stays: 'cluster up' goes on with it.\n"
    "\n"
    "Examples:\n"
    "  dynactl cluster down /tmp/try && rm -r /tmp/try\n"
    "  dynactl cluster down --timeout 5s --kill /tmp/try\n";

static int open_local(struct ctl *c, struct local *l, uint64_t *timeout_ms)
{
    char *message = NULL;
    *timeout_ms = TIMEOUT_MS;
    if (args_ms(&c->args, "timeout", 1, 3600000, timeout_ms, &message) != DYN_OK)
        return ctl_usage(c, message);
    if (local_open(c->args.words[0], l, &message) != DYN_OK) {
        ctl_fail(CTL_ERROR, "%s", message);
        free(message);
        return CTL_ERROR;
    }
    return CTL_OK;
}

static int start_all(struct local *l, const char *program)
{
    for (unsigned i = 0; i < l->n; i++) {
        char *message = NULL;
        if (l->nodes[i].pid != 0)
            continue;
        if (local_healthy(&l->nodes[i], HEALTH_MS))
            return ctl_fail(CTL_ERROR,
                            "%s: something else serves at %s already: stop it, or change 'listen' "
                            "in %s/dynanode.conf",
                            l->nodes[i].name, l->nodes[i].address, l->nodes[i].dir);
        if (local_start(&l->nodes[i], program, &message) != DYN_OK) {
            ctl_fail(CTL_ERROR, "%s", message);
            free(message);
            return CTL_ERROR;
        }
    }
    return CTL_OK;
}

static void say_end(struct local_node *n, int status)
{
    char *words = local_last_words(n);
    if (status != -1 && WIFEXITED(status))
        ctl_fail(CTL_ERROR, "%s ended with status %d. Its last words:\n%s", n->name,
                 WEXITSTATUS(status), words);
    else
        ctl_fail(CTL_ERROR, "%s ended%s. Its last words:\n%s", n->name,
                 status != -1 ? " by a signal" : "", words);
    local_forget(n);
    free(words);
}

/* Until each serves, one has ended, or the time is over. */
static int wait_ready(struct local *l, uint64_t timeout_ms)
{
    uint64_t deadline = local_now_ms() + timeout_ms;
    unsigned at = 0;
    while (at < l->n) {
        struct local_node *n = &l->nodes[at];
        int status;
        if (local_ended(n, &status)) {
            say_end(n, status);
            return CTL_UNAVAILABLE;
        }
        if (local_healthy(n, HEALTH_MS)) {
            at++;
        } else if (local_now_ms() >= deadline) {
            char *words = local_last_words(n);
            ctl_fail(CTL_UNAVAILABLE, "%s does not serve at %s in time. Its last words:\n%s",
                     n->name, n->address, words);
            free(words);
            return CTL_UNAVAILABLE;
        } else {
            local_pause_ms(STEP_MS);
        }
    }
    return CTL_OK;
}

static int report(const struct ctl *c, const struct local *l)
{
    struct buf text = BUF_EMPTY;
    if (c->json) {
        struct json *root = json_object(), *nodes = json_add_array(root, "nodes");
        for (unsigned i = 0; i < l->n; i++) {
            struct json *j = json_add_object(nodes, NULL);
            json_add_str(j, "name", l->nodes[i].name);
            json_add_str(j, "address", l->nodes[i].address);
            json_add_bool(j, "running", l->nodes[i].pid != 0);
            if (l->nodes[i].pid != 0)
                json_add_u64(j, "pid", (uint64_t)l->nodes[i].pid);
        }
        json_print(root, true, &text);
        buf_put_u8(&text, '\n');
        json_free(root);
        return ctl_print(&text);
    }
    for (unsigned i = 0; i < l->n; i++) {
        buf_printf(&text, "%s  %s  ", l->nodes[i].name, l->nodes[i].address);
        if (l->nodes[i].pid != 0)
            buf_printf(&text, "running, pid %ld\n", (long)l->nodes[i].pid);
        else
            buf_put_str(&text, "not running\n");
    }
    return ctl_print(&text);
}

/* An absolute path, because nodes run in the root folder; the caller frees. NULL: none there. */
static char *find_program(const struct ctl *c)
{
    const char *given = args_value(&c->args, "program");
    char *found = given != NULL ? mem_strdup(given) : local_program("dynanode");
    char *program = realpath(found, NULL);
    if (program == NULL || access(program, X_OK) != 0) {
        ctl_fail(CTL_ERROR, "%s: there is no such program; --program says where it is", found);
        free(program);
        program = NULL;
    }
    free(found);
    return program;
}

static int run_up(struct ctl *c)
{
    struct local l = {.n = 0};
    uint64_t timeout_ms;
    char *program = find_program(c);
    int status = program == NULL ? CTL_ERROR : open_local(c, &l, &timeout_ms);
    if (status == CTL_OK)
        status = start_all(&l, program);
    if (status == CTL_OK)
        status = wait_ready(&l, timeout_ms);
    if (status == CTL_OK)
        status = report(c, &l);
    local_release(&l);
    free(program);
    return status;
}

static unsigned signal_all(struct local *l, int signo)
{
    unsigned failed = 0;
    for (unsigned i = 0; i < l->n; i++) {
        struct local_node *n = &l->nodes[i];
        if (n->pid != 0 && local_signal(n, signo) != DYN_OK) {
            ctl_fail(CTL_ERROR, "%s: process %ld may not be signalled: is it another user's?",
                     n->name, (long)n->pid);
            failed++;
        }
    }
    return failed;
}

/* How many still run when all have ended or the time is over. */
static unsigned wait_ended(struct local *l, uint64_t timeout_ms)
{
    uint64_t deadline = local_now_ms() + timeout_ms;
    for (;;) {
        unsigned running = 0;
        for (unsigned i = 0; i < l->n; i++) {
            struct local_node *n = &l->nodes[i];
            int status;
            if (n->pid == 0)
                continue;
            if (local_ended(n, &status))
                local_forget(n);
            else
                running++;
        }
        if (running == 0 || local_now_ms() >= deadline)
            return running;
        local_pause_ms(STEP_MS);
    }
}

static int run_down(struct ctl *c)
{
    struct local l = {.n = 0};
    uint64_t timeout_ms;
    int status = open_local(c, &l, &timeout_ms);
    if (status == CTL_OK && signal_all(&l, SIGTERM) != 0)
        status = CTL_ERROR;
    if (status == CTL_OK && wait_ended(&l, timeout_ms) != 0) {
        if (args_has(&c->args, "kill")) {
            signal_all(&l, SIGKILL);
            status = wait_ended(&l, TIMEOUT_MS) == 0 ? CTL_OK : CTL_ERROR;
        } else {
            status = CTL_ERROR;
        }
        if (status != CTL_OK)
            ctl_fail(CTL_ERROR, "not all nodes have ended; --kill would end them the hard way");
    }
    if (l.n != 0 && (status != CTL_OK || c->json || c->terminal))
        report(c, &l);
    local_release(&l);
    return status;
}

const struct ctl_verb ctl_verb_cluster_up = {
    "cluster up", "DIR", "start a local cluster", up_help, up_options, 1, 1, false, run_up,
};
const struct ctl_verb ctl_verb_cluster_down = {
    "cluster down", "DIR", "stop a local cluster", down_help, down_options, 1, 1, false, run_down,
};
