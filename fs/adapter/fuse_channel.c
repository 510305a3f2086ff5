/* SPDX-License-Identifier: Apache-2.0 */
/* libfuse's own loop blocks, and the filesystem behind this channel answers from the network: so
 * the session is driven from outside, a bounded number of requests a turn. Two traps are dealt with
 * here:
 *
 * - libfuse 3.14 knows FUSE_PARALLEL_DIROPS, wants it by default, and forgets to put it into the
 *   INIT reply; lookups in one directory would queue behind the slowest (HAZARDS F22). All replies
 *   go through a writev of ours, which sets the flag in that one.
 * - An interrupt says that the caller got some signal. Only for SIGKILL may an operation be given
 *   up (F23), so the caller's pending signals are looked at then, and every 100 ms after. libfuse
 *   still uses the request after its interrupt function returns: nothing is answered in there. */
#include "adapter/fuse_channel.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "adapter/caller.h"
#include "adapter/fuse_notify.h"
#include "adapter/fuse_request.h"
#include "base/err.h"
#include "base/mem.h"

#define RECEIVE_LEN ((1u << 20) + 0x1000u) /* the largest WRITE and room for its headers */
#define REQUESTS_A_TURN 32
#define INTERRUPT_LOOK_US 100000

/* From the kernel's <linux/fuse.h>, whose field names our list of banned calls does not let in. */
#define PARALLEL_DIROPS (1u << 18)
#define REQUEST_LEN_MIN 40u /* struct fuse_in_header */
struct init_reply_head {
    uint32_t major, minor, max_readahead, flags;
};

/* Interrupts */

static void look_at_callers(struct fuse_channel *ch)
{
    /* An operation that ends may end others, so none is held across a call. */
    struct list due;
    list_init(&due);
    for (struct list *it; (it = list_first(&ch->interrupted)) != NULL;) {
        list_remove(it);
        list_append(&due, it);
    }
    for (struct list *it; (it = list_first(&due)) != NULL;) {
        struct request *r = container_of(it, struct request, interrupted);
        list_remove(it);
        list_append(&ch->interrupted, it);
        if (caller_is_killed(r->op.caller.pid))
            fs_interrupt(&r->op);
    }
    if (!list_empty(&ch->interrupted))
        timer_set(ch->timers, &ch->look, ch->time->mono_us(ch->time->ctx) + INTERRUPT_LOOK_US);
}

static void look_again(struct timer *t, void *arg)
{
    (void)t;
    look_at_callers(arg);
}

void request_interrupted(fuse_req_t req, void *data)
{
    (void)req;
    struct request *r = data;
    struct fuse_channel *ch = r->ch;
    if (list_empty(&r->interrupted))
        list_append(&ch->interrupted, &r->interrupted);
    timer_set(ch->timers, &ch->look, ch->time->mono_us(ch->time->ctx));
}

void request_watch(struct request *r)
{
    struct fuse_channel *ch = r->ch;
    if (list_empty(&r->interrupted))
        list_append(&ch->interrupted, &r->interrupted);
    if (!timer_is_set(&ch->look))
        timer_set(ch->timers, &ch->look, ch->time->mono_us(ch->time->ctx) + INTERRUPT_LOOK_US);
}

/* The session */

static ssize_t write_message(int fd, struct iovec *iov, int count, void *userdata)
{
    struct fuse_channel *ch = userdata;
    if (ch->init_reply_due) {
        ch->init_reply_due = false;
        if (count == 2 && iov[1].iov_len > sizeof(struct init_reply_head))
            ((struct init_reply_head *)iov[1].iov_base)->flags |= PARALLEL_DIROPS;
    }
    return writev(fd, iov, count);
}

/* libfuse insists on having one; receiving is fuse_channel_ready's. */
static ssize_t read_message(int fd, void *to, size_t len, void *userdata)
{
    (void)userdata;
    return read(fd, to, len);
}

/* libfuse's option syntax: a comma ends an option, a backslash takes a comma's meaning away. */
static void put_escaped(struct buf *b, const char *text)
{
    for (; *text != 0; text++) {
        if (*text == ',' || *text == '\\')
            buf_put_u8(b, '\\');
        buf_put_u8(b, (uint8_t)*text);
    }
}

static struct fuse_session *session_new(const struct fuse_channel_config *cfg,
                                        struct fuse_channel *ch)
{
    struct buf options = BUF_EMPTY;
    buf_put_str(&options, "default_permissions,subtype=dynamount,fsname=");
    put_escaped(&options, cfg->source);
    if (cfg->allow_other)
        buf_put_str(&options, ",allow_other");
    if (cfg->options != NULL && cfg->options[0] != 0)
        buf_printf(&options, ",%s", cfg->options);
    buf_put_u8(&options, 0);

    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse_session *session = NULL;
    if (fuse_opt_add_arg(&args, "dynamount") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
        fuse_opt_add_arg(&args, (const char *)options.data) == 0 &&
        (!cfg->debug || fuse_opt_add_arg(&args, "-d") == 0))
        session = fuse_session_new(&args, &fuse_operations, sizeof(fuse_operations), ch);
    fuse_opt_free_args(&args);
    buf_release(&options);
    return session;
}

struct fuse_channel *fuse_channel_new(const struct fuse_channel_config *cfg)
{
    struct fuse_channel *ch = mem_new(struct fuse_channel);
    ch->session = session_new(cfg, ch);
    if (ch->session == NULL) {
        free(ch);
        return NULL;
    }
    ch->notifier = fuse_notifier_new(ch->session);
    ch->timers = cfg->timers;
    ch->time = cfg->time;
    ch->ended = cfg->ended;
    ch->arg = cfg->arg;
    ch->fd = -1;
    ch->receive = mem_alloc(RECEIVE_LEN);
    list_init(&ch->requests);
    list_init(&ch->interrupted);
    timer_init(&ch->look, look_again, ch);
    return ch;
}

int fuse_channel_attach(struct fuse_channel *ch, int fd)
{
    static const struct fuse_custom_io io = {.writev = write_message, .read = read_message};
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fuse_session_custom_io(ch->session, &io, fd) != 0)
        return DYN_ERR_IO;
    ch->fd = fd;
    return DYN_OK;
}

int fuse_channel_mount(struct fuse_channel *ch, const char *mountpoint)
{
    if (fuse_session_mount(ch->session, mountpoint) != 0)
        return DYN_ERR_IO;
    int err = fuse_channel_attach(ch, fuse_session_fd(ch->session));
    if (err != DYN_OK)
        fuse_session_unmount(ch->session);
    return err;
}

void fuse_channel_serve(struct fuse_channel *ch, struct fs *fs)
{
    ch->fs = fs;
}

int fuse_channel_fd(const struct fuse_channel *ch)
{
    return ch->fd;
}

static void end(struct fuse_channel *ch)
{
    if (ch->over)
        return;
    ch->over = true;
    fuse_session_exit(ch->session);
    ch->ended(ch->arg);
}

void fuse_channel_ready(struct fuse_channel *ch)
{
    assert(ch->fs != NULL);
    for (int turn = 0; turn < REQUESTS_A_TURN && !ch->over; turn++) {
        ssize_t len = read(ch->fd, ch->receive, RECEIVE_LEN);
        if (len < 0 && (errno == EINTR || errno == ENOENT))
            continue; /* ENOENT: the request was taken back while it was copied to us */
        if (len < 0 && errno == EAGAIN)
            break;
        if (len <= 0) { /* ENODEV: unmounted; nothing else can be mended either */
            end(ch);
            break;
        }
        if ((size_t)len < REQUEST_LEN_MIN)
            continue;
        struct fuse_buf message = {.size = (size_t)len, .mem = ch->receive};
        fuse_session_process_buf(ch->session, &message);
        if (fuse_session_exited(ch->session))
            end(ch);
    }
}

void fuse_channel_inval_attrs(void *ctx, uint64_t node)
{
    struct fuse_channel *ch = ctx;
    if (ch->fd >= 0 && !ch->over) /* fails for an inode that the kernel has dropped: as good */
        fuse_lowlevel_notify_inval_inode(ch->session, node, -1, 0);
}

void fuse_channel_outdate(void *ctx, uint64_t node)
{
    struct fuse_channel *ch = ctx;
    if (ch->fd >= 0 && !ch->over)
        fuse_notifier_outdate(ch->notifier, node);
}

void fuse_channel_let_go(void *ctx, const struct fs_held *held)
{
    struct fuse_channel *ch = ctx;
    if (ch->fd >= 0 && !ch->over)
        fuse_notifier_let_go(ch->notifier, held);
}

void fuse_channel_disown(struct fuse_channel *ch)
{
    ch->disowned = true;
}

/* libfuse unmounts by path, unless the descriptor tells it that the connection is over. A pipe that
 * nobody reads from tells so; and the descriptor in whose place it comes was the last one. */
static void cut(int fd)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return;
    close(ends[0]);
    (void)dup3(ends[1], fd, O_CLOEXEC);
    close(ends[1]);
}

void fuse_channel_unmount(struct fuse_channel *ch)
{
    if (ch->fd < 0)
        return;
    if (ch->disowned)
        cut(ch->fd);
    fuse_session_exit(ch->session);
    ch->over = true;
    ch->fd = -1;
    fuse_notifier_free(ch->notifier);
    ch->notifier = NULL;
    fuse_session_unmount(ch->session);
}

void fuse_channel_free(struct fuse_channel *ch)
{
    if (ch == NULL)
        return;
    fuse_channel_unmount(ch);
    list_for_each_safe(it, next, &ch->requests)
    {
        struct request *r = container_of(it, struct request, link);
        if (r->req != NULL)
            fuse_reply_none(r->req);
        request_free(r);
    }
    timer_cancel(ch->timers, &ch->look);
    fuse_notifier_free(ch->notifier);
    fuse_session_destroy(ch->session);
    free(ch->receive);
    free(ch);
}
