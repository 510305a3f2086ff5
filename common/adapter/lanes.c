/* SPDX-License-Identifier: Apache-2.0 */
/* See lanes.h. One mutex for all queues: jobs are disk reads and syncs, tens of microseconds
 * at least, so it is never contended for long. Nobody is woken under it: who wakes would run into
 * it and sleep again. */
#include "adapter/lanes.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/mem.h"

struct lane {
    struct lanes *all;
    struct list queue; /* under all->lock */
    pthread_cond_t filled;
    pthread_t *threads;
    unsigned thread_count;
};

struct lanes {
    pthread_mutex_t lock;
    struct list done; /* under lock */
    bool stopping;    /* under lock */
    void (*wake)(void *ctx);
    void *wake_ctx;
    unsigned active; /* the loop's */
    unsigned lane_count;
    struct lane lanes[];
};

static void *lane_run(void *arg)
{
    struct lane *lane = arg;
    struct lanes *l = lane->all;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (list_empty(&lane->queue) && !l->stopping)
            pthread_cond_wait(&lane->filled, &l->lock);
        struct list *first = list_first(&lane->queue);
        if (first == NULL)
            break;
        list_remove(first);
        pthread_mutex_unlock(&l->lock);
        struct lane_job *job = container_of(first, struct lane_job, link);
        job->run(job);
        pthread_mutex_lock(&l->lock);
        bool wake = list_empty(&l->done);
        list_append(&l->done, &job->link);
        if (wake && l->wake != NULL) {
            pthread_mutex_unlock(&l->lock);
            l->wake(l->wake_ctx);
            pthread_mutex_lock(&l->lock);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static void lane_start(struct lane *lane, struct lanes *all, unsigned threads)
{
    lane->all = all;
    list_init(&lane->queue);
    pthread_cond_init(&lane->filled, NULL);
    lane->threads = mem_reallocarray(NULL, threads, sizeof(*lane->threads));
    for (; lane->thread_count < threads; lane->thread_count++) {
        if (pthread_create(&lane->threads[lane->thread_count], NULL, lane_run, lane) != 0)
            abort(); /* at start only, where there is nobody to serve yet */
    }
}

struct lanes *lanes_new(const unsigned *threads, unsigned lanes, void (*wake)(void *ctx), void *ctx)
{
    struct lanes *l = mem_zalloc(sizeof(*l) + lanes * sizeof(l->lanes[0]));
    sigset_t all, old;
    pthread_mutex_init(&l->lock, NULL);
    list_init(&l->done);
    l->wake = wake;
    l->wake_ctx = ctx;
    l->lane_count = lanes;
    sigfillset(&all); /* signals are the loop's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (unsigned i = 0; i < lanes; i++)
        lane_start(&l->lanes[i], l, threads[i]);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return l;
}

void lanes_submit(struct lanes *l, unsigned lane, struct lane_job *job)
{
    assert(lane < l->lane_count);
    l->active++;
    pthread_mutex_lock(&l->lock);
    list_append(&l->lanes[lane].queue, &job->link);
    pthread_mutex_unlock(&l->lock);
    pthread_cond_signal(&l->lanes[lane].filled);
}

unsigned lanes_poll(struct lanes *l)
{
    unsigned n = 0;
    for (;;) {
        pthread_mutex_lock(&l->lock);
        struct list *first = list_first(&l->done);
        if (first != NULL)
            list_remove(first);
        pthread_mutex_unlock(&l->lock);
        if (first == NULL)
            return n;
        n++;
        l->active--;
        struct lane_job *job = container_of(first, struct lane_job, link);
        job->finish(job);
    }
}

unsigned lanes_active(const struct lanes *l)
{
    return l->active;
}

void lanes_free(struct lanes *l)
{
    if (l == NULL)
        return;
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    for (unsigned i = 0; i < l->lane_count; i++)
        pthread_cond_broadcast(&l->lanes[i].filled);
    pthread_mutex_unlock(&l->lock);
    for (unsigned i = 0; i < l->lane_count; i++) {
        struct lane *lane = &l->lanes[i];
        for (unsigned t = 0; t < lane->thread_count; t++)
            pthread_join(lane->threads[t], NULL);
        pthread_cond_destroy(&lane->filled);
        free(lane->threads);
    }
    l->wake = NULL;
    lanes_poll(l);
    assert(l->active == 0); /* a finish must not submit once the owner closes */
    pthread_mutex_destroy(&l->lock);
    free(l);
}
