/* SPDX-License-Identifier: Apache-2.0 */
/* See local.h: the folder, and which of its nodes run (adapter/process_id.h). */
#include "ctl/local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapter/process_id.h"
#include "base/config.h"
#include "base/err.h"
#include "base/mem.h"
#include "ctl/ctl.h"

#define NODES_MAX 4096
#define LAST_WORDS 2000

static void find_process(struct local_node *n)
{
    struct process_id found;
    char *path = mem_printf("%s/pid", n->dir);
    if (process_id_load(path, &found)) {
        n->pid = found.pid;
        n->pidfd = found.pidfd;
    }
    free(path);
}

static int read_address(struct local_node *n, char **message)
{
    struct config *config;
    const char *listen = NULL;
    char *path = mem_printf("%s/dynanode.conf", n->dir);
    int err = config_load(path, &config, message);
    if (err == DYN_OK) {
        err = config_get_str(config, "listen", &listen, message);
        if (err == DYN_OK && listen == NULL) {
            *message = mem_printf("%s: no 'listen'", path);
            err = DYN_ERR_INVALID;
        }
        if (err == DYN_OK)
            n->address = mem_strdup(listen);
        config_free(config);
    }
    free(path);
    return err;
}

static int by_number(const void *a, const void *b)
{
    const struct local_node *x = a, *y = b;
    size_t xl = strlen(x->name), yl = strlen(y->name);
    return xl != yl ? (xl > yl) - (xl < yl) : strcmp(x->name, y->name);
}

static bool is_node(int dir, const char *name)
{
    char *path;
    if (strncmp(name, "node", 4) != 0)
        return false;
    path = mem_printf("%s/dynanode.conf", name);
    bool yes = faccessat(dir, path, F_OK, 0) == 0;
    free(path);
    return yes;
}

int local_open(const char *dir, struct local *l, char **message)
{
    struct local got = {.n = 0};
    int err = DYN_OK;
    DIR *d = opendir(dir);
    if (d == NULL) {
        *message = mem_printf("%s: %s", dir, strerror(errno));
        return DYN_ERR_IO;
    }
    char *real = realpath(dir, NULL);
    got.dir = real != NULL ? real : mem_strdup(dir);
    for (struct dirent *e; (e = readdir(d)) != NULL && got.n < NODES_MAX;) {
        if (!is_node(dirfd(d), e->d_name))
            continue;
        got.nodes = mem_reallocarray(got.nodes, got.n + 1, sizeof(*got.nodes));
        got.nodes[got.n++] = (struct local_node){.name = mem_strdup(e->d_name),
                                                 .dir = mem_printf("%s/%s", got.dir, e->d_name),
                                                 .pidfd = -1};
    }
    closedir(d);
    if (got.n == 0) {
        *message =
            mem_printf("%s: no cluster in this folder; 'dynactl cluster create' makes one", dir);
        err = DYN_ERR_INVALID;
    } else {
        qsort(got.nodes, got.n, sizeof(*got.nodes), by_number);
    }
    for (unsigned i = 0; i < got.n && err == DYN_OK; i++) {
        err = read_address(&got.nodes[i], message);
        find_process(&got.nodes[i]);
    }
    if (err != DYN_OK)
        local_release(&got);
    else
        *l = got;
    return err;
}

void local_release(struct local *l)
{
    for (unsigned i = 0; i < l->n; i++) {
        struct local_node *n = &l->nodes[i];
        free(n->name);
        free(n->dir);
        free(n->address);
        if (n->pidfd >= 0)
            close(n->pidfd);
    }
    free(l->nodes);
    free(l->dir);
    *l = (struct local){.n = 0};
}

/* ---- processes ---- */

/* In the child: nothing of dynactl's stays but the environment. Returns only on failure. */
static void become(const char *program, const char *config, int output)
{
    char *argv[] = {mem_strdup(program), mem_strdup("--config"), mem_strdup(config), NULL};
    int in = open("/dev/null", O_RDONLY);
    setsid();
    if (in < 0 || chdir("/") != 0 || dup2(in, STDIN_FILENO) < 0 ||
        dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0)
        return;
    close_range(3, ~0u, 0);
    execv(program, argv);
    fprintf(stderr, "%s: %s\n", program, strerror(errno));
}

static int record(struct local_node *n, char **message)
{
    char *path = mem_printf("%s/pid", n->dir);
    int err = process_id_save(path, n->pid, NULL, message);
    free(path);
    return err;
}

int local_start(struct local_node *n, const char *program, char **message)
{
    char *config = mem_printf("%s/dynanode.conf", n->dir);
    char *log = mem_printf("%s/output.log", n->dir);
    int err = DYN_ERR_IO,
        output = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    pid_t pid = output < 0 ? -1 : fork();
    if (pid == 0) {
        become(program, config, output);
        _exit(127);
    }
    if (pid < 0) {
        *message = mem_printf("%s: cannot start: %s", n->name, strerror(errno));
    } else {
        n->pid = pid;
        n->pidfd = pidfd_open(pid, 0);
        err = record(n, message);
    }
    if (output >= 0)
        close(output);
    free(config);
    free(log);
    return err;
}

bool local_ended(struct local_node *n, int *status)
{
    if (n->pid == 0)
        return true;
    if (waitpid(n->pid, status, WNOHANG) == n->pid)
        return true;
    *status = -1;
    return process_id_ended(n->pidfd);
}

void local_forget(struct local_node *n)
{
    char *path = mem_printf("%s/pid", n->dir);
    unlink(path);
    free(path);
    if (n->pidfd >= 0)
        close(n->pidfd);
    n->pidfd = -1;
    n->pid = 0;
}

int local_signal(struct local_node *n, int signo)
{
    if (n->pidfd < 0 || pidfd_send_signal(n->pidfd, signo, NULL, 0) != 0)
        return errno == ESRCH ? DYN_OK : DYN_ERR_DENIED;
    return DYN_OK;
}

char *local_last_words(const struct local_node *n)
{
    static const char *const files[] = {"output.log", "dynanode.log"};
    char *words = NULL;
    for (unsigned i = 0; i < 2 && words == NULL; i++) {
        char *path = mem_printf("%s/%s", n->dir, files[i]), text[LAST_WORDS + 1];
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        off_t len = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
        off_t from = len > LAST_WORDS ? len - LAST_WORDS : 0;
        ssize_t got = len > 0 ? pread(fd, text, LAST_WORDS, from) : 0;
        if (got > 0)
            words = mem_strndup(text, (size_t)got);
        if (fd >= 0)
            close(fd);
        free(path);
    }
    return words != NULL ? words : mem_strdup("(nothing)\n");
}

char *local_program(const char *name)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n > 0) {
        self[n] = '\0';
        char *slash = strrchr(self, '/');
        if (slash != NULL) {
            *slash = '\0';
            char *beside = mem_printf("%s/%s", self, name);
            if (access(beside, X_OK) == 0)
                return beside;
            free(beside);
        }
    }
    const char *path = getenv("PATH");
    while (path != NULL && *path != '\0') {
        size_t len = strcspn(path, ":");
        char *there = mem_printf("%.*s/%s", (int)len, path, name);
        if (len > 0 && access(there, X_OK) == 0)
            return there;
        free(there);
        path += len + (path[len] != '\0');
    }
    return mem_strdup(name);
}

uint64_t local_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void local_pause_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}
