/* SPDX-License-Identifier: Apache-2.0 */
/* dynasim: runs seeds, some at a time, and says which failed and how to see it again.
 *
 * Each job is a process of its own, so that a seed that crashes the engine (an assertion is a find
 * too) or spins for ever costs no more than itself: the parent reads results from a pipe, and knows
 * from the last "begin" which seed a dead job was at. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "sim_run.h"

#define JOBS_MAX 64
#define SEED_SECONDS_MAX 120 /* wall time of one seed, under sanitizers too */
#define FAILURES_SHOWN 20

struct options {
    uint64_t seeds, from, seed;
    uint32_t jobs, time_limit;
    enum engine_bug bug;
    bool one, trace, find; /* find: stop at the first failure, which is what is wanted */
};

struct tally {
    uint64_t done, failed, events, acked, reads, reaped, simulated_us, first_failed;
};

static const char *const bug_names[] = {
    "none",           "no_mark",    "keep_mine",     "no_hint",      "skipped_sync",
    "entry_not_owed", "own_pair",   "forged",        "page_cut",     "unfenced_move",
    "early_fill",     "early_reap", "unsynced_vote", "unasked_thin", "unconfirmed_move"};

static const char usage[] =
    "usage: dynasim [--seeds COUNT] [--from S] [--jobs J] [--time-limit SECONDS] [--plant BUG]\n"
    "       dynasim --seed S [--trace] [--plant BUG]\n"
    "\n"
    "Simulates a cluster for each seed. Prints each seed that broke a promise and how to replay "
    "it;\n"
    "exits with 1 then. With --plant the promise must be broken: it stops at the first seed that\n"
    "shows the bug and exits with 0, or with 1 when none does.\n"
    "\n"
    "  --seeds COUNT         how many (default 100)\n"
    "  --from S              the first (default 1)\n"
    "  --jobs J              processes (default 2)\n"
    "  --time-limit SECONDS  begin no seed after that\n"
    "  --seed S              this one, and print its trace hash\n"
    "  --trace               with every event, readable, on standard output\n"
    "  --plant BUG           no_mark, keep_mine, no_hint, skipped_sync, entry_not_owed, own_pair,\n"
    "                        forged, page_cut, unfenced_move, early_fill, early_reap,\n"
    "                        unsynced_vote, unasked_thin or unconfirmed_move\n";

static uint64_t number(const char *text)
{
    char *end = NULL;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0') {
        fprintf(stderr, "dynasim: '%s' is not a number\n", text);
        exit(2);
    }
    return v;
}

static enum engine_bug bug_of(const char *name)
{
    for (uint32_t i = 0; i < sizeof(bug_names) / sizeof(bug_names[0]); i++)
        if (strcmp(bug_names[i], name) == 0)
            return i;
    fprintf(stderr, "dynasim: no planted bug '%s'\n", name);
    exit(2);
}

static void parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {{"seeds", required_argument, NULL, 'n'},
                                          {"from", required_argument, NULL, 'f'},
                                          {"jobs", required_argument, NULL, 'j'},
                                          {"time-limit", required_argument, NULL, 'l'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"trace", no_argument, NULL, 't'},
                                          {"plant", required_argument, NULL, 'p'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int c;
    *o = (struct options){.seeds = 100, .from = 1, .jobs = 2};
    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        switch (c) {
        case 'n':
            o->seeds = number(optarg);
            break;
        case 'f':
            o->from = number(optarg);
            break;
        case 'j':
            o->jobs = (uint32_t)number(optarg);
            break;
        case 'l':
            o->time_limit = (uint32_t)number(optarg);
            break;
        case 's':
            o->seed = number(optarg);
            o->one = true;
            break;
        case 't':
            o->trace = true;
            break;
        case 'p':
            o->bug = bug_of(optarg);
            o->find = o->bug != BUG_NONE;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (optind != argc || o->jobs == 0 || o->jobs > JOBS_MAX || (o->trace && !o->one)) {
        fputs(usage, stderr);
        exit(2);
    }
}

static int run_one(const struct options *o)
{
    struct sim_result r;
    sim_run(o->seed, o->bug, o->trace ? stdout : NULL, &r);
    printf("seed %llu trace %016llx events %llu simulated %llu s acknowledged %u reads %u "
           "reaped %llu\n",
           (unsigned long long)r.seed, (unsigned long long)r.trace_hash,
           (unsigned long long)r.events, (unsigned long long)(r.simulated_us / 1000000), r.acked,
           r.reads, (unsigned long long)r.reaped);
    if (r.violations > 0)
        printf("seed %llu violations %u, first: %s\n", (unsigned long long)r.seed, r.violations,
               r.text);
    return r.violations > 0 ? 1 : 0;
}

struct job {
    pid_t pid;
    int fd;
    uint64_t seed; /* the one at work */
    bool at_work;
    uint64_t first; /* seeds first, first + stride, ... below end */
    time_t began;
    char line[1024];
    size_t len;
};

static time_t now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

/* The child's side: a line when a seed begins and one when it has ended. */
static void work(const struct options *o, int fd, uint64_t first, uint64_t end, time_t deadline)
{
    FILE *out = fdopen(fd, "w");
    for (uint64_t seed = first; out != NULL && seed < end; seed += o->jobs) {
        struct sim_result r;
        if (deadline != 0 && now() >= deadline)
            break;
        fprintf(out, "b %llu\n", (unsigned long long)seed);
        fflush(out);
        sim_run(seed, o->bug, NULL, &r);
        fprintf(out, "e %llu %u %llu %u %u %llu %llu %s\n", (unsigned long long)seed, r.violations,
                (unsigned long long)r.events, r.acked, r.reads, (unsigned long long)r.reaped,
                (unsigned long long)r.simulated_us, r.violations > 0 ? r.text : "-");
        fflush(out);
    }
    _exit(0);
}

static void launch(const struct options *o, struct job *j, uint64_t end, time_t deadline)
{
    int fds[2];
    if (pipe(fds) != 0) {
        perror("dynasim: pipe");
        exit(2);
    }
    fflush(NULL);
    j->pid = fork();
    if (j->pid < 0) {
        perror("dynasim: fork");
        exit(2);
    }
    if (j->pid == 0) {
        close(fds[0]);
        work(o, fds[1], j->first, end, deadline);
    }
    close(fds[1]);
    j->fd = fds[0];
    j->at_work = false;
    j->len = 0;
    j->began = now();
}

static void report(const struct options *o, struct tally *t, uint64_t seed, const char *what)
{
    if (t->failed == 0 || seed < t->first_failed)
        t->first_failed = seed;
    if (++t->failed > FAILURES_SHOWN)
        return;
    printf("seed %llu FAILED: %s\n  replay: dynasim --seed %llu --trace%s%s\n",
           (unsigned long long)seed, what, (unsigned long long)seed,
           o->bug != BUG_NONE ? " --plant " : "", o->bug != BUG_NONE ? bug_names[o->bug] : "");
    fflush(stdout);
}

static void take_line(const struct options *o, struct job *j, struct tally *t)
{
    unsigned long long seed, events, reaped, simulated;
    unsigned violations, acked, reads;
    int at = 0;
    if (sscanf(j->line, "b %llu", &seed) == 1) {
        j->seed = seed;
        j->at_work = true;
        j->began = now();
    } else if (sscanf(j->line, "e %llu %u %llu %u %u %llu %llu %n", &seed, &violations, &events,
                      &acked, &reads, &reaped, &simulated, &at) == 7) {
        j->at_work = false;
        t->done++;
        t->events += events;
        t->acked += acked;
        t->reads += reads;
        t->reaped += reaped;
        t->simulated_us += simulated;
        if (violations > 0)
            report(o, t, seed, j->line + at);
    }
}

/* False when the job has ended. */
static bool take_input(const struct options *o, struct job *j, struct tally *t)
{
    char chunk[4096];
    ssize_t n = read(j->fd, chunk, sizeof(chunk));
    if (n <= 0)
        return n < 0 && errno == EINTR;
    for (ssize_t i = 0; i < n; i++) {
        if (chunk[i] != '\n') {
            if (j->len + 1 < sizeof(j->line))
                j->line[j->len++] = chunk[i];
            continue;
        }
        j->line[j->len] = '\0';
        take_line(o, j, t);
        j->len = 0;
    }
    return true;
}

/* A job ended. If it died in a seed, that seed failed and another job takes up the ones after. */
static bool job_ended(const struct options *o, struct job *j, struct tally *t, uint64_t end,
                      time_t deadline)
{
    int status = 0;
    close(j->fd);
    waitpid(j->pid, &status, 0);
    if (!j->at_work)
        return false;
    char what[64];
    snprintf(what, sizeof(what), "the simulation died (%s %d)",
             WIFSIGNALED(status) ? "signal" : "exit status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    t->done++;
    report(o, t, j->seed, what);
    j->first = j->seed + o->jobs;
    if (j->first >= end || (o->find && t->failed > 0))
        return false;
    launch(o, j, end, deadline);
    return true;
}

static void run_all(const struct options *o, struct tally *t)
{
    struct job jobs[JOBS_MAX] = {0};
    uint64_t end = o->from + o->seeds;
    time_t deadline = o->time_limit > 0 ? now() + o->time_limit : 0;
    uint32_t open = o->jobs;
    for (uint32_t i = 0; i < o->jobs; i++) {
        jobs[i].first = o->from + i;
        launch(o, &jobs[i], end, deadline);
    }
    while (open > 0) {
        struct pollfd fds[JOBS_MAX];
        for (uint32_t i = 0; i < o->jobs; i++)
            fds[i] = (struct pollfd){.fd = jobs[i].fd, .events = POLLIN};
        poll(fds, o->jobs, 1000);
        for (uint32_t i = 0; i < o->jobs; i++) {
            struct job *j = &jobs[i];
            if (j->fd < 0)
                continue;
            if (fds[i].revents != 0 && !take_input(o, j, t) && !job_ended(o, j, t, end, deadline)) {
                j->fd = -1;
                open--;
            } else if (j->at_work && now() - j->began > SEED_SECONDS_MAX) {
                kill(j->pid, SIGKILL); /* its end comes as the end of its pipe */
            }
        }
        if (o->find && t->failed > 0)
            break;
    }
    for (uint32_t i = 0; i < o->jobs; i++) {
        if (jobs[i].fd < 0)
            continue;
        kill(jobs[i].pid, SIGKILL);
        waitpid(jobs[i].pid, NULL, 0);
        close(jobs[i].fd);
    }
}

int main(int argc, char **argv)
{
    struct options o;
    struct tally t = {0};
    parse(argc, argv, &o);
    if (o.one)
        return run_one(&o);
    time_t began = now();
    run_all(&o, &t);
    printf("%llu seeds in %lld s: %llu failed; %llu events, %llu writes acknowledged, %llu reads, "
           "%llu tombstones reaped, %llu hours simulated\n",
           (unsigned long long)t.done, (long long)(now() - began), (unsigned long long)t.failed,
           (unsigned long long)t.events, (unsigned long long)t.acked, (unsigned long long)t.reads,
           (unsigned long long)t.reaped, (unsigned long long)(t.simulated_us / 3600000000u));
    if (o.find)
        return t.failed > 0 ? 0 : 1;
    return t.failed > 0 || t.done == 0 ? 1 : 0;
}
