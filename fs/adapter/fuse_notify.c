/* SPDX-License-Identifier: Apache-2.0 */
/* See fuse_notify.h. The kernel looks the inode up for it. One that it is just giving up it waits
 * for, and that may wait for a READ that the loop is to answer: the loop itself would wait for
 * ever (HAZARDS F21). So threads of their own do it, which may wait: the loop goes on. At an open
 * (F5) the inode is in use, so that one is safe in the loop.
 *
 * Attributes only. Pages go at open; and names that have changed are not invalidated at all, for
 * then the kernel takes the lock of their directory, which a lookup that waits for us may hold.
 *
 * What is to be given back has the second thread. Newer kernels take a list of nodeids and prune
 * what is in no use; libfuse 3.14 does not know that message. Older ones are told that the name is
 * out of date, and then that lock only makes others wait who are to be given back. It takes the
 * name even from under a descriptor of O_PATH, which /proc then shows as deleted: so it is done to
 * files alone, and to none that is open. */
#include "adapter/fuse_notify.h"

#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>
#include <time.h>

#include "adapter/fuse_request.h"
#include "base/mem.h"

#define QUEUE_MAX (8u << 20) /* bytes; beyond, attributes live out their time, and inodes stay */
#define END_S 2              /* how long a thread may hold up the end */
#define PRUNE_BATCH 512u

/* From the kernel's <linux/fuse.h>, which Debian 12 has without it. */
#define NOTIFY_PRUNE 9
struct prune {
    struct fuse_head {
        uint32_t len;
        int32_t code;
        uint64_t unique; /* 0: a notification */
    } head;
    uint32_t count, padding;
    uint64_t spare;
};

struct worker {
    struct fuse_notifier *owner;
    void (*work)(struct worker *w, struct slice items);
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pthread_t thread;
    bool started;
    bool stopping; /* both under lock */
    struct buf queue;
};

struct fuse_notifier {
    struct fuse_session *session;
    bool prunes;
    struct worker outdated; /* u64 each */
    struct worker going;    /* node, parent: u64; length of the name: u32; the name, and a NUL */
};

/* ---- a thread and its queue -------------------------------------------------------------- */

static void worker_init(struct worker *w, struct fuse_notifier *owner,
                        void (*work)(struct worker *w, struct slice items))
{
    *w = (struct worker){.owner = owner, .work = work, .queue = BUF_EMPTY};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->filled, NULL);
}

static bool stops(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    bool stopping = w->stopping;
    pthread_mutex_unlock(&w->lock);
    return stopping;
}

static void *run(void *arg)
{
    struct worker *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (w->queue.len == 0 && !w->stopping)
            pthread_cond_wait(&w->filled, &w->lock);
        if (w->stopping)
            break;
        struct buf items = buf_take(&w->queue);
        pthread_mutex_unlock(&w->lock);
        w->work(w, buf_slice(&items));
        buf_release(&items);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Not at the mount's start: dynamount still forks then. Signals are the loop's. */
static void start(struct worker *w)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    w->started = pthread_create(&w->thread, NULL, run, w) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* NULL: there is no room. Else the queue, to be added to, until filled. */
static struct buf *fill(struct worker *w)
{
    if (!w->started)
        start(w);
    pthread_mutex_lock(&w->lock);
    if (w->queue.len < QUEUE_MAX)
        return &w->queue;
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void filled(struct worker *w)
{
    pthread_mutex_unlock(&w->lock);
    pthread_cond_signal(&w->filled);
}

/* False: it still waits in the kernel, and ends with the process. */
static bool worker_ended(struct worker *w)
{
    struct timespec until;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_mutex_unlock(&w->lock);
    pthread_cond_signal(&w->filled);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += END_S;
    if (w->started && pthread_timedjoin_np(w->thread, NULL, &until) != 0)
        return false;
    buf_release(&w->queue);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->filled);
    return true;
}

/* ---- what they do ------------------------------------------------------------------------ */

/* All of it fails for what the kernel has dropped meanwhile: as good. */
static void tell_outdated(struct worker *w, struct slice items)
{
    struct reader r = reader_of(items);
    while (reader_left(&r) != 0 && !stops(w))
        fuse_lowlevel_notify_inval_inode(w->owner->session, (fuse_ino_t)read_u64(&r), -1, 0);
}

static void prune(struct fuse_session *session, uint64_t *nodes, uint32_t n)
{
    struct prune m = {.count = n};
    struct iovec parts[2] = {{&m, sizeof(m)}, {nodes, n * sizeof(*nodes)}};
    m.head.len = (uint32_t)(parts[0].iov_len + parts[1].iov_len);
    m.head.code = NOTIFY_PRUNE;
    ssize_t sent = writev(fuse_session_fd(session), parts, 2);
    (void)sent; /* what the kernel does not take, it keeps */
}

static void ask_back(struct worker *w, struct slice items)
{
    struct reader r = reader_of(items);
    struct fuse_session *session = w->owner->session;
    uint64_t nodes[PRUNE_BATCH];
    uint32_t n = 0;
    while (reader_left(&r) != 0 && !stops(w)) {
        uint64_t node = read_u64(&r), parent = read_u64(&r);
        struct slice name = read_raw(&r, read_u32(&r));
        (void)read_u8(&r); /* libfuse sends it along */
        if (w->owner->prunes) {
            nodes[n++] = node;
            if (n == PRUNE_BATCH || reader_left(&r) == 0)
                prune(session, nodes, n);
            n %= PRUNE_BATCH;
        } else if (parent != 0) {
            fuse_lowlevel_notify_inval_entry(session, (fuse_ino_t)parent, (const char *)name.data,
                                             name.len);
        }
    }
}

struct fuse_notifier *fuse_notifier_new(struct fuse_session *session)
{
    struct fuse_notifier *n = mem_new(struct fuse_notifier);
    n->session = session;
    worker_init(&n->outdated, n, tell_outdated);
    worker_init(&n->going, n, ask_back);
    return n;
}

void fuse_notifier_prunes(struct fuse_notifier *n, bool able)
{
    n->prunes = able;
}

void fuse_notifier_outdate(struct fuse_notifier *n, uint64_t node)
{
    struct buf *queue = fill(&n->outdated);
    if (queue == NULL)
        return;
    buf_put_u64(queue, node);
    filled(&n->outdated);
}

void fuse_notifier_let_go(struct fuse_notifier *n, const struct fs_held *held)
{
    struct buf *queue = fill(&n->going);
    if (queue == NULL)
        return;
    buf_put_u64(queue, held->node);
    buf_put_u64(queue, held->parent);
    buf_put_u32(queue, (uint32_t)held->name.len);
    buf_put_slice(queue, held->name);
    buf_put_u8(queue, 0);
    filled(&n->going);
}

void fuse_notifier_free(struct fuse_notifier *n)
{
    if (n != NULL && worker_ended(&n->outdated) && worker_ended(&n->going))
        free(n);
}
