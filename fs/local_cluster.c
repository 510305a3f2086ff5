/* SPDX-License-Identifier: Apache-2.0 */
/* A mount for one machine should need no cluster to be set up, and leave no process behind. So the
 * node is a child of the mount: started with it, started again should it end, stopped when all is
 * published, and ended by the kernel (a parent-death signal) when the mount itself is killed.
 *
 * The folder is that of `dynactl cluster create`, which makes it: with the configuration of a real
 * node, which others can join, and which `dynactl cluster up` runs when there is no mount. A lock
 * on DIR/lock keeps two mounts from stopping each other's node; it dies with its holder. What
 * `cluster up` has running is used, and left alone. */
#include "local_cluster.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "adapter/loop.h"
#include "adapter/process_id.h"
#include "base/config.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#define NODES_MAX 64
#define LAST_WORDS 2000
#define END_MS 30000     /* how long a node may take to close its store */
#define LOCK_MS 15000    /* how long a mount that ends may take to let go of the folder */
#define ENDING "ending " /* before the mount point in the lock */
#define STEP_MS 20
#define AGAIN_FIRST_US 200000u /* before a node is started again, doubled each time */
#define AGAIN_LAST_US 30000000u
#define NOTE "mount" /* in a pid file: started by a mount, ends with it */

struct local_node {
    struct local_cluster *cluster;
    char *dir, *name, *address;
    pid_t pid; /* 0: does not run, or is not ours */
    int pidfd;
    struct loop_watch *watch;
    struct timer again;
    uint64_t again_us;
};

struct local_cluster {
    char *dir, *program, *mountpoint;
    int lock;
    struct local_node nodes[NODES_MAX];
    const char *addresses[NODES_MAX];
    uint32_t n;
    struct loop *loop;
    bool ending;
};

static void pause_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

/* ---- programs ---------------------------------------------------------------------------- */

/* The program beside this one, else the one that PATH finds; NULL: none. Caller frees. */
static char *find_program(const char *name)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = 0;
    char *slash = strrchr(self, '/');
    if (slash != NULL) {
        *slash = 0;
        char *beside = mem_printf("%s/%s", self, name);
        if (access(beside, X_OK) == 0)
            return beside;
        free(beside);
    }
    for (const char *path = getenv("PATH"); path != NULL && *path != 0;) {
        size_t len = strcspn(path, ":");
        char *there = mem_printf("%.*s/%s", (int)len, path, name), *real = NULL;
        if (len > 0 && access(there, X_OK) == 0)
            real = realpath(there, NULL);
        free(there);
        if (real != NULL)
            return real;
        path += len + (path[len] != 0);
    }
    return NULL;
}

static int need_program(const char *name, char **out, char **message)
{
    *out = find_program(name);
    if (*out != NULL)
        return DYN_OK;
    *message = mem_printf("--local needs the program %s, beside dynamount or on PATH", name);
    return DYN_ERR_INVALID;
}

/* In a child: its words go to the descriptor given, nothing else of ours stays open. */
static _Noreturn void become(char *const argv[], int output)
{
    int in = open("/dev/null", O_RDONLY);
    if (in >= 0 && dup2(in, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0) {
        if (output != STDERR_FILENO)
            dup2(output, STDERR_FILENO);
        close_range(3, ~0u, 0);
        execv(argv[0], argv);
        fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    }
    _exit(127);
}

/* ---- the folder -------------------------------------------------------------------------- */

/* `dynactl cluster create` says on stderr what is wrong with the folder. */
static int create(const char *dir, char **message)
{
    char *program;
    int status, err = need_program("dynactl", &program, message);
    if (err != DYN_OK)
        return err;
    char *argv[] = {program,     (char *)"cluster", (char *)"create", (char *)"--nodes",
                    (char *)"1", (char *)"--",      (char *)dir,      NULL};
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    pid_t pid = null < 0 ? -1 : fork();
    if (pid == 0) {
        dup2(null, STDOUT_FILENO);
        execv(program, argv);
        _exit(127);
    }
    if (null >= 0)
        close(null);
    free(program);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return DYN_OK;
    *message = mem_printf("%s: no cluster could be made there", dir);
    return DYN_ERR_IO;
}

static int find_folder(const char *dir, char **real, char **message)
{
    char *file = mem_printf("%s/cluster", dir);
    int err = access(file, F_OK) == 0 ? DYN_OK : create(dir, message);
    free(file);
    if (err != DYN_OK)
        return err;
    *real = realpath(dir, NULL);
    if (*real != NULL)
        return DYN_OK;
    *message = mem_printf("%s: %s", dir, strerror(errno));
    return DYN_ERR_IO;
}

/* ---- one mount at a time ----------------------------------------------------------------- */

static void say_in_lock(const struct local_cluster *c)
{
    char *text = mem_printf("%s%s\n", c->ending ? ENDING : "", c->mountpoint);
    if (ftruncate(c->lock, 0) == 0) /* only told to people: what cannot be written is left out */
        (void)!pwrite(c->lock, text, strlen(text), 0);
    free(text);
}

static int take_lock(struct local_cluster *c, char **message)
{
    char *path = mem_printf("%s/lock", c->dir), holder[PATH_MAX + 16];
    c->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (unsigned waited = 0; c->lock >= 0; waited += STEP_MS) {
        if (flock(c->lock, LOCK_EX | LOCK_NB) == 0) {
            free(path);
            say_in_lock(c);
            return DYN_OK;
        }
        int refused = errno;
        ssize_t got = pread(c->lock, holder, sizeof(holder) - 1, 0);
        holder[got > 0 ? got : 0] = 0;
        holder[strcspn(holder, "\n")] = 0;
        if (refused != EWOULDBLOCK || waited >= LOCK_MS ||
            strncmp(holder, ENDING, strlen(ENDING)) != 0)
            break;
        pause_ms(STEP_MS);
    }
    if (c->lock < 0)
        *message = mem_printf("%s: %s", path, strerror(errno));
    else if (strncmp(holder, ENDING, strlen(ENDING)) == 0)
        *message = mem_printf("the mount of %s on %s is ending and still publishes changes: try "
                              "again later",
                              c->dir, holder + strlen(ENDING));
    else
        *message = mem_printf("%s is used by the mount on %s already; mount it a second time by "
                              "its address, %s",
                              c->dir, holder, c->addresses[0]);
    free(path);
    return DYN_ERR_INVALID;
}

/* ---- its nodes --------------------------------------------------------------------------- */

static int add_node(struct local_cluster *c, const char *conf, char **message)
{
    struct config *config;
    const char *listen = NULL;
    int err = config_load(conf, &config, message);
    if (err != DYN_OK)
        return err;
    err = config_get_str(config, "listen", &listen, message);
    if (err == DYN_OK && listen == NULL) {
        *message = mem_printf("%s: no 'listen'", conf);
        err = DYN_ERR_INVALID;
    }
    if (err == DYN_OK) {
        struct local_node *n = &c->nodes[c->n];
        n->cluster = c;
        n->pidfd = -1;
        n->address = mem_strdup(listen);
        n->dir = mem_strndup(conf, (size_t)(strrchr(conf, '/') - conf));
        n->name = mem_strdup(strrchr(n->dir, '/') + 1);
        c->addresses[c->n++] = n->address;
    }
    config_free(config);
    return err;
}

static int find_nodes(struct local_cluster *c, char **message)
{
    DIR *d = opendir(c->dir);
    int err = DYN_OK;
    for (struct dirent *e; d != NULL && c->n < NODES_MAX && err == DYN_OK;) {
        if ((e = readdir(d)) == NULL)
            break;
        if (strncmp(e->d_name, "node", 4) != 0)
            continue;
        char *conf = mem_printf("%s/%s/dynanode.conf", c->dir, e->d_name);
        if (access(conf, F_OK) == 0)
            err = add_node(c, conf, message);
        free(conf);
    }
    if (d != NULL)
        closedir(d);
    if (err == DYN_OK && c->n == 0) {
        *message = mem_printf("%s holds a cluster, but none of its nodes", c->dir);
        err = DYN_ERR_INVALID;
    }
    return err;
}

static char *last_words(const struct local_node *n)
{
    static const char *const files[] = {"output.log", "dynanode.log"};
    char text[LAST_WORDS + 1];
    ssize_t got = 0;
    for (unsigned i = 0; i < 2 && got <= 0; i++) {
        char *path = mem_printf("%s/%s", n->dir, files[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        off_t len = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
        got = len <= 0 ? 0 : pread(fd, text, LAST_WORDS, len > LAST_WORDS ? len - LAST_WORDS : 0);
        if (fd >= 0)
            close(fd);
        free(path);
    }
    return got > 0 ? mem_strndup(text, (size_t)got) : mem_strdup("(nothing)\n");
}

static int node_start(struct local_node *n, char **message)
{
    pid_t parent = getpid(), pid = -1;
    char *config = mem_printf("%s/dynanode.conf", n->dir),
         *log = mem_printf("%s/output.log", n->dir);
    char *pid_file = mem_printf("%s/pid", n->dir);
    char *argv[] = {n->cluster->program, (char *)"--config", config, NULL};
    int output = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    if (output >= 0)
        pid = fork();
    if (pid == 0) {
        setsid(); /* what is typed at the terminal is for the mount: the node follows it */
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent || chdir("/") != 0)
            _exit(127);
        become(argv, output);
    }
    int err = DYN_OK;
    if (pid < 0) {
        *message = mem_printf("%s: cannot start: %s", n->name, strerror(errno));
        err = DYN_ERR_IO;
    } else {
        n->pid = pid;
        n->pidfd = pidfd_open(pid, 0);
        err = process_id_save(pid_file, pid, NOTE, message);
    }
    if (output >= 0)
        close(output);
    free(config);
    free(log);
    free(pid_file);
    return err;
}

/* A node that a mount had started, whose mount was killed: it is ending. */
static int await_orphan(const struct local_node *n, const struct process_id *p, char **message)
{
    struct pollfd end = {.fd = p->pidfd, .events = POLLIN};
    (void)pidfd_send_signal(p->pidfd, SIGTERM, NULL, 0);
    if (poll(&end, 1, END_MS) > 0)
        return DYN_OK;
    *message =
        mem_printf("%s: process %ld of an earlier mount does not end", n->name, (long)p->pid);
    return DYN_ERR_IO;
}

static int start_where_needed(struct local_node *n, char **message)
{
    struct process_id running;
    char *path = mem_printf("%s/pid", n->dir);
    bool runs = process_id_load(path, &running);
    free(path);
    if (!runs)
        return node_start(n, message);
    int err = DYN_OK;
    bool ours = strcmp(running.note, NOTE) == 0;
    if (ours)
        err = await_orphan(n, &running, message);
    close(running.pidfd);
    return ours && err == DYN_OK ? node_start(n, message) : err;
}

/* ---- while it is mounted ----------------------------------------------------------------- */

static void forget_process(struct local_node *n)
{
    loop_watch_free(n->watch);
    n->watch = NULL;
    if (n->pidfd >= 0)
        close(n->pidfd);
    n->pidfd = -1;
    n->pid = 0;
}

static void watch_node(struct local_node *n);

static void start_again(struct timer *t, void *arg)
{
    struct local_node *n = arg;
    char *message = NULL;
    (void)t;
    if (node_start(n, &message) != DYN_OK)
        log_error("local", "%s", message);
    free(message);
    watch_node(n);
}

static void schedule_start(struct local_node *n)
{
    timer_set(loop_timers(n->cluster->loop), &n->again, loop_now_us() + n->again_us);
    n->again_us = n->again_us * 2 < AGAIN_LAST_US ? n->again_us * 2 : AGAIN_LAST_US;
}

static void node_ended(void *arg, unsigned events)
{
    struct local_node *n = arg;
    int status = 0;
    (void)events;
    if (waitpid(n->pid, &status, WNOHANG) == 0)
        return;
    if (WIFSIGNALED(status))
        log_error("local", "%s was ended by signal %d, and is started again", n->name,
                  WTERMSIG(status));
    else
        log_error("local", "%s ended with status %d, and is started again", n->name,
                  WEXITSTATUS(status));
    forget_process(n);
    schedule_start(n);
}

static void watch_node(struct local_node *n)
{
    if (n->pid != 0 && n->pidfd >= 0)
        n->watch = loop_watch_new(n->cluster->loop, n->pidfd, LOOP_READ, node_ended, n);
    else
        schedule_start(n); /* it could not even be started */
}

void local_cluster_watch(struct local_cluster *c, struct loop *l)
{
    c->loop = l;
    for (uint32_t i = 0; i < c->n; i++) {
        struct local_node *n = &c->nodes[i];
        timer_init(&n->again, start_again, n);
        n->again_us = AGAIN_FIRST_US;
        if (n->pid != 0)
            watch_node(n);
    }
}

bool local_cluster_failed(struct local_cluster *c, char **message)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct local_node *n = &c->nodes[i];
        int status = 0;
        if (n->pid == 0 || waitpid(n->pid, &status, WNOHANG) != n->pid)
            continue;
        char *words = last_words(n);
        *message =
            mem_printf("%s ended with status %d. Its last words:\n%s", n->name,
                       WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), words);
        free(words);
        forget_process(n);
        return true;
    }
    return false;
}

/* ---- its life ---------------------------------------------------------------------------- */

int local_cluster_open(const char *dir, const char *mountpoint, struct local_cluster **out,
                       char **message)
{
    struct local_cluster *c = mem_new(struct local_cluster);
    c->lock = -1;
    c->mountpoint = mem_strdup(mountpoint);
    int err = need_program("dynanode", &c->program, message);
    if (err == DYN_OK)
        err = find_folder(dir, &c->dir, message);
    if (err == DYN_OK)
        err = find_nodes(c, message);
    if (err == DYN_OK)
        err = take_lock(c, message);
    for (uint32_t i = 0; i < c->n && err == DYN_OK; i++)
        err = start_where_needed(&c->nodes[i], message);
    if (err == DYN_OK)
        *out = c;
    else
        local_cluster_close(c);
    return err;
}

const char *const *local_cluster_addresses(const struct local_cluster *c, uint32_t *n)
{
    *n = c->n;
    return c->addresses;
}

void local_cluster_ending(struct local_cluster *c)
{
    if (c == NULL)
        return;
    c->ending = true;
    say_in_lock(c);
}

static void node_stop(struct local_node *n)
{
    char *pid_file = mem_printf("%s/pid", n->dir);
    if (n->cluster->loop != NULL)
        timer_cancel(loop_timers(n->cluster->loop), &n->again);
    if (n->pid != 0) {
        struct pollfd end = {.fd = n->pidfd, .events = POLLIN};
        kill(n->pid, SIGTERM); /* our child, and not waited for yet: the id is its own */
        if (n->pidfd < 0 || poll(&end, 1, END_MS) > 0) {
            waitpid(n->pid, NULL, 0);
        } else {
            log_error("local", "%s does not end by itself, and is killed", n->name);
            kill(n->pid, SIGKILL);
            waitpid(n->pid, NULL, 0);
        }
        unlink(pid_file);
        forget_process(n);
    }
    free(pid_file);
    free(n->dir);
    free(n->name);
    free(n->address);
}

void local_cluster_close(struct local_cluster *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->n; i++)
        node_stop(&c->nodes[i]);
    if (c->lock >= 0)
        close(c->lock); /* the file stays: to take it away would let two hold "the" lock */
    free(c->dir);
    free(c->program);
    free(c->mountpoint);
    free(c);
}
