/* SPDX-License-Identifier: Apache-2.0 */
/* See fuse_notify.h. The kernel looks the inode up for it. One that it is just giving up it waits
 * for, and that may wait for a READ that the loop has yet to answer: the loop itself would wait for
 * ever (HAZARDS F21). So a thread of its own does it, which may wait: the loop goes on. At an open
 * (F5) the inode is in use, so that one is safe in the loop.
 *
 * Attributes only. Pages go at open; and names are not invalidated at all, because for that the
 * kernel takes the lock of their directory, which a lookup that waits for us may hold. */
#include "adapter/fuse_notify.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "adapter/fuse_request.h"
#include "base/mem.h"

#define QUEUE_MAX (1u << 20) /* beyond, attributes live out their time */
#define END_S 2              /* how long an invalidation may hold up the end */

struct fuse_notifier {
    struct fuse_session *session;
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pthread_t thread;
    bool started, stopping;
    uint64_t *queue; /* all under lock but for session and started */
    size_t n, cap;
};

struct fuse_notifier *fuse_notifier_new(struct fuse_session *session)
{
    struct fuse_notifier *n = mem_new(struct fuse_notifier);
    n->session = session;
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->filled, NULL);
    return n;
}

static bool stops(struct fuse_notifier *n)
{
    pthread_mutex_lock(&n->lock);
    bool stopping = n->stopping;
    pthread_mutex_unlock(&n->lock);
    return stopping;
}

static void *run(void *arg)
{
    struct fuse_notifier *n = arg;
    pthread_mutex_lock(&n->lock);
    for (;;) {
        while (n->n == 0 && !n->stopping)
            pthread_cond_wait(&n->filled, &n->lock);
        if (n->stopping)
            break;
        uint64_t *nodes = n->queue;
        size_t count = n->n;
        n->queue = NULL;
        n->n = n->cap = 0;
        pthread_mutex_unlock(&n->lock);
        for (size_t i = 0; i < count && !stops(n);
             i++) /* fails for what the kernel has dropped: as good */
            fuse_lowlevel_notify_inval_inode(n->session, nodes[i], -1, 0);
        free(nodes);
        pthread_mutex_lock(&n->lock);
    }
    pthread_mutex_unlock(&n->lock);
    return NULL;
}

/* Not at the mount's start: dynamount still forks then. Signals are the loop's. */
static void start(struct fuse_notifier *n)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    n->started = pthread_create(&n->thread, NULL, run, n) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void fuse_notifier_outdate(struct fuse_notifier *n, uint64_t node)
{
    if (!n->started)
        start(n);
    pthread_mutex_lock(&n->lock);
    if (n->n == n->cap && n->cap < QUEUE_MAX) {
        n->cap = n->cap == 0 ? 64 : n->cap * 2;
        n->queue = mem_reallocarray(n->queue, n->cap, sizeof(*n->queue));
    }
    if (n->n < n->cap && (n->n == 0 || n->queue[n->n - 1] != node))
        n->queue[n->n++] = node;
    pthread_mutex_unlock(&n->lock);
    pthread_cond_signal(&n->filled);
}

void fuse_notifier_free(struct fuse_notifier *n)
{
    if (n == NULL)
        return;
    pthread_mutex_lock(&n->lock);
    n->stopping = true;
    pthread_mutex_unlock(&n->lock);
    pthread_cond_signal(&n->filled);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += END_S;
    if (n->started && pthread_timedjoin_np(n->thread, NULL, &until) != 0)
        return; /* it still waits in the kernel, and ends with the process */
    free(n->queue);
    pthread_mutex_destroy(&n->lock);
    pthread_cond_destroy(&n->filled);
    free(n);
}
