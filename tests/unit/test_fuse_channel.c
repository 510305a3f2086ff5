/* SPDX-License-Identifier: Apache-2.0 */
/* The channel between a kernel and a filesystem that are both played by the test: the kernel is the
 * other end of a socket pair that keeps message boundaries, as /dev/fuse does; the filesystem is
 * played_fs.c. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapter/caller.h"
#include "adapter/fuse_channel.h"
#include "base/buf.h"
#include "base/err.h"
#include "played_fs.h"

/* The kernel's numbers, from <linux/fuse.h> */
enum {
    LOOKUP = 1,
    FORGET = 2,
    MKNOD = 8,
    LINK = 13,
    OPEN = 14,
    READ = 15,
    WRITE = 16,
    GETXATTR = 22,
    INIT = 26,
    CREATE = 35,
    INTERRUPT = 36,
    BATCH_FORGET = 42,
    READDIRPLUS = 44,
};

struct fixture {
    struct played_fs fs;
    int kernel; /* our end; -1 once it is gone */
    struct fuse_channel *ch;
    struct timers timers;
    struct time_port time;
    uint64_t now;
    int ended;
    uint8_t reply[8192];
    size_t reply_len;
};

/* The kernel's side */

static void send_request(struct fixture *f, uint32_t opcode, uint64_t unique, uint64_t node,
                         const void *arg, size_t len)
{
    struct buf m = BUF_EMPTY;
    buf_put_u32(&m, (uint32_t)(40 + len));
    buf_put_u32(&m, opcode);
    buf_put_u64(&m, unique);
    buf_put_u64(&m, node);
    buf_put_u32(&m, 1000); /* uid, gid, pid */
    buf_put_u32(&m, 1000);
    buf_put_u32(&m, 77);
    buf_put_u32(&m, 0);
    buf_put(&m, arg, len);
    assert_int_equal(send(f->kernel, m.data, m.len, 0), m.len);
    buf_release(&m);
}

/* Takes the next message that came out: its unique and error; its body is left in f->reply. */
static bool take_reply(struct fixture *f, uint64_t *unique, int *error)
{
    ssize_t len = recv(f->kernel, f->reply, sizeof(f->reply), MSG_DONTWAIT);
    if (len < 16)
        return false;
    struct reader r = reader_of(slice_of(f->reply, (size_t)len));
    assert_int_equal(read_u32(&r), len);
    *error = -(int)read_u32(&r);
    *unique = read_u64(&r);
    f->reply_len = (size_t)len - 16;
    memmove(f->reply, f->reply + 16, f->reply_len);
    return true;
}

static int error_of(struct fixture *f, uint64_t unique)
{
    uint64_t got;
    int error = 0;
    assert_true(take_reply(f, &got, &error));
    assert_int_equal(got, unique);
    return error;
}

static uint64_t u64_at(const struct fixture *f, size_t at)
{
    assert_true(at + 8 <= f->reply_len);
    struct reader r = reader_of(slice_of(f->reply + at, 8));
    return read_u64(&r);
}

static uint32_t u32_at(const struct fixture *f, size_t at)
{
    return (uint32_t)u64_at(f, at);
}

static bool no_reply(struct fixture *f)
{
    uint64_t unique;
    int error;
    return !take_reply(f, &unique, &error);
}

static void lose_kernel(struct fixture *f)
{
    close(f->kernel);
    f->kernel = -1;
}

#define INIT_FLAGS_ALL 0x3fffffffu

static void send_init(struct fixture *f, uint32_t minor)
{
    struct buf arg = BUF_EMPTY;
    buf_put_u32(&arg, 7);
    buf_put_u32(&arg, minor);
    buf_put_u32(&arg, 131072);
    buf_put_u32(&arg, INIT_FLAGS_ALL);
    for (int i = 0; i < 12; i++)
        buf_put_u32(&arg, 0);
    send_request(f, INIT, 1, 0, arg.data, arg.len);
    buf_release(&arg);
    fuse_channel_ready(f->ch);
}

static uint64_t mono_us(void *ctx)
{
    return ((struct fixture *)ctx)->now;
}

static void ended(void *arg)
{
    ((struct fixture *)arg)->ended++;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    f->kernel = pair[1];
    f->time = (struct time_port){f, mono_us, NULL};
    timers_init(&f->timers);
    struct fuse_channel_config cfg = {.source = "h1:1,h2:2:/a\\b",
                                      .options = "noexec",
                                      .timers = &f->timers,
                                      .time = &f->time,
                                      .ended = ended,
                                      .arg = f};
    f->ch = fuse_channel_new(&cfg);
    assert_non_null(f->ch);
    assert_int_equal(fuse_channel_attach(f->ch, pair[0]), DYN_OK);
    assert_int_equal(fuse_channel_fd(f->ch), pair[0]);
    fuse_channel_serve(f->ch, (struct fs *)f);
    played_fs = &f->fs;
    *state = f;
    return 0;
}

static int setup_after_init(void **state)
{
    setup(state);
    struct fixture *f = *state;
    send_init(f, 38);
    return error_of(f, 1);
}

static int setup_of_a_newer_kernel(void **state)
{
    setup(state);
    struct fixture *f = *state;
    send_init(f, 45);
    return error_of(f, 1);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fuse_channel_free(f->ch);
    timers_release(&f->timers);
    if (f->kernel >= 0)
        close(f->kernel);
    free(f);
    return 0;
}

static void answer_entry(struct fs_op *op, uint64_t node, uint64_t fh)
{
    op->entry = (struct fs_entry){.node = node,
                                  .attr = {.ino = 4242, .size = 5, .mode = S_IFREG | 0640},
                                  .attr_us = 1500000,
                                  .entry_us = 2000000};
    op->open.fh = fh;
    op->done(op);
}

static void test_init_reply_asks_for_what_the_design_says(void **state)
{
    struct fixture *f = *state;
    send_init(f, 38);
    assert_int_equal(error_of(f, 1), 0);
    uint32_t flags = u32_at(f, 12);
    assert_true(flags & (1u << 18));          /* PARALLEL_DIROPS */
    assert_true(flags & (1u << 3));           /* ATOMIC_O_TRUNC */
    assert_true(flags & (1u << 12));          /* AUTO_INVAL_DATA */
    assert_true(flags & (1u << 13));          /* DO_READDIRPLUS */
    assert_true(flags & (1u << 14));          /* READDIRPLUS_AUTO */
    assert_false(flags & (1u << 16));         /* WRITEBACK_CACHE */
    assert_false(flags & (1u << 1));          /* POSIX_LOCKS */
    assert_false(flags & (1u << 10));         /* FLOCK_LOCKS */
    assert_int_equal(u32_at(f, 20), 1 << 20); /* max_write */
    assert_int_equal(u32_at(f, 24), 1);       /* time_gran */
}

static void test_only_the_init_reply_is_changed(void **state)
{
    struct fixture *f = *state;
    send_request(f, LOOKUP, 2, 1, "x", 2);
    fuse_channel_ready(f->ch);
    answer_entry(f->fs.calls[0].op, 5, 0);
    assert_int_equal(error_of(f, 2), 0);
    assert_int_equal(u32_at(f, 12), 0); /* the generation's upper half, where INIT has its flags */
}

static void test_lookup_is_answered_later_with_node_and_attributes(void **state)
{
    struct fixture *f = *state;
    send_request(f, LOOKUP, 2, 1, "hello", 6);
    fuse_channel_ready(f->ch);
    assert_int_equal(f->fs.n_calls, 1);
    assert_string_equal(f->fs.calls[0].what, "lookup");
    assert_string_equal(f->fs.calls[0].name, "hello");
    assert_int_equal(f->fs.calls[0].op->caller.uid, 1000);
    assert_int_equal(f->fs.calls[0].op->caller.pid, 77);
    assert_true(no_reply(f));
    answer_entry(f->fs.calls[0].op, 5, 0);
    assert_int_equal(error_of(f, 2), 0);
    assert_int_equal(u64_at(f, 0), 5);
    assert_int_equal(u64_at(f, 16), 2);         /* entry_valid, s */
    assert_int_equal(u64_at(f, 24), 1);         /* attr_valid, s */
    assert_int_equal(u32_at(f, 36), 500000000); /* attr_valid, ns */
    assert_int_equal(u64_at(f, 40), 4242);
    assert_int_equal(f->fs.n_calls, 1);
}

static void test_answers_may_come_in_another_order(void **state)
{
    struct fixture *f = *state;
    send_request(f, LOOKUP, 2, 1, "a", 2);
    send_request(f, LOOKUP, 3, 1, "b", 2);
    fuse_channel_ready(f->ch);
    answer_entry(f->fs.calls[1].op, 6, 0);
    f->fs.calls[0].op->err = ENOENT;
    f->fs.calls[0].op->done(f->fs.calls[0].op);
    assert_int_equal(error_of(f, 3), 0);
    assert_int_equal(error_of(f, 2), ENOENT);
}

static void test_an_undelivered_lookup_is_forgotten(void **state)
{
    struct fixture *f = *state;
    send_request(f, LOOKUP, 2, 1, "a", 2);
    fuse_channel_ready(f->ch);
    lose_kernel(f);
    answer_entry(f->fs.calls[0].op, 5, 0);
    assert_int_equal(f->fs.n_calls, 2);
    assert_string_equal(f->fs.calls[1].what, "forget");
    assert_int_equal(f->fs.calls[1].node, 5);
    assert_int_equal(f->fs.calls[1].number, 1);
}

static void test_an_undelivered_create_is_released_and_forgotten(void **state)
{
    struct fixture *f = *state;
    uint8_t arg[16 + 2] = {0};
    arg[16] = 'n';
    send_request(f, CREATE, 2, 1, arg, sizeof(arg));
    fuse_channel_ready(f->ch);
    assert_string_equal(f->fs.calls[0].name, "n");
    lose_kernel(f);
    answer_entry(f->fs.calls[0].op, 5, 31);
    assert_int_equal(f->fs.n_calls, 3);
    assert_string_equal(f->fs.calls[1].what, "release");
    assert_int_equal(f->fs.calls[1].node, 5);
    assert_int_equal(f->fs.calls[1].number, 31);
    assert_string_equal(f->fs.calls[2].what, "forget");
}

static void test_an_undelivered_open_is_released(void **state)
{
    struct fixture *f = *state;
    uint8_t arg[8] = {0};
    send_request(f, OPEN, 2, 9, arg, sizeof(arg));
    fuse_channel_ready(f->ch);
    lose_kernel(f);
    answer_entry(f->fs.calls[0].op, 0, 31);
    assert_int_equal(f->fs.n_calls, 2);
    assert_string_equal(f->fs.calls[1].what, "release");
    assert_int_equal(f->fs.calls[1].node, 9);
}

static void ask_readdirplus(struct fixture *f, uint32_t size)
{
    struct buf arg = BUF_EMPTY;
    buf_put_u64(&arg, 7); /* fh */
    buf_put_u64(&arg, 0); /* offset */
    buf_put_u32(&arg, size);
    while (arg.len < 40)
        buf_put_u8(&arg, 0);
    send_request(f, READDIRPLUS, 2, 9, arg.data, arg.len);
    buf_release(&arg);
}

#define PLUS_LEN 160 /* an entry with a name of up to 8 bytes: 128 + 24 + 8 */

static void test_readdirplus_gives_what_fits(void **state)
{
    struct fixture *f = *state;
    ask_readdirplus(f, 4 * PLUS_LEN + 8);
    fuse_channel_ready(f->ch);
    assert_int_equal(error_of(f, 2), 0);
    assert_int_equal(f->reply_len, 4 * PLUS_LEN);
    assert_int_equal(u64_at(f, 2 * PLUS_LEN), 21);          /* nodeid of a */
    assert_int_equal(u64_at(f, 3 * PLUS_LEN + 128 + 8), 4); /* cookie after b */
    assert_int_equal(f->fs.n_calls, 1);
}

static void test_an_undelivered_readdirplus_is_forgotten_but_for_the_dots(void **state)
{
    struct fixture *f = *state;
    ask_readdirplus(f, 4 * PLUS_LEN + 8);
    shutdown(f->kernel, SHUT_RD);
    fuse_channel_ready(f->ch);
    assert_int_equal(f->fs.n_calls, 3);
    assert_string_equal(f->fs.calls[1].what, "forget");
    assert_int_equal(f->fs.calls[1].node, 21);
    assert_int_equal(f->fs.calls[2].node, 22);
}

static void test_forgets_are_passed_on_one_by_one(void **state)
{
    struct fixture *f = *state;
    struct buf arg = BUF_EMPTY;
    buf_put_u32(&arg, 2);
    buf_put_u32(&arg, 0);
    for (uint64_t i = 1; i <= 2; i++) {
        buf_put_u64(&arg, 10 + i);
        buf_put_u64(&arg, i);
    }
    send_request(f, BATCH_FORGET, 0, 0, arg.data, arg.len);
    buf_release(&arg);
    uint64_t once = 3;
    send_request(f, FORGET, 0, 13, &once, sizeof(once));
    fuse_channel_ready(f->ch);
    assert_int_equal(f->fs.n_calls, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(f->fs.calls[i].node, 11 + i);
        assert_int_equal(f->fs.calls[i].number, 1 + i);
    }
    assert_true(no_reply(f));
}

static void test_links_and_devices_are_not_permitted(void **state)
{
    struct fixture *f = *state;
    struct buf arg = BUF_EMPTY;
    buf_put_u32(&arg, S_IFIFO | 0644);
    buf_put_u32(&arg, 0);
    buf_put_u64(&arg, 0);
    buf_put_str(&arg, "p");
    buf_put_u8(&arg, 0);
    send_request(f, MKNOD, 2, 1, arg.data, arg.len);
    buf_clear(&arg);
    buf_put_u64(&arg, 5);
    buf_put_str(&arg, "l");
    buf_put_u8(&arg, 0);
    send_request(f, LINK, 3, 1, arg.data, arg.len);
    buf_release(&arg);
    fuse_channel_ready(f->ch);
    assert_int_equal(error_of(f, 2), EPERM);
    assert_int_equal(error_of(f, 3), EPERM);
    assert_int_equal(f->fs.n_calls, 0);
}

static void test_what_is_absent_is_enosys(void **state)
{
    struct fixture *f = *state;
    uint8_t arg[64] = {0};
    static const uint32_t absent[] = {31 /* GETLK */,
                                      34 /* ACCESS */,
                                      39 /* IOCTL */,
                                      37 /* BMAP */,
                                      40 /* POLL */,
                                      52 /* STATX */,
                                      4000};
    for (uint64_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
        send_request(f, absent[i], i + 2, 1, arg, sizeof(arg));
        fuse_channel_ready(f->ch);
        assert_int_equal(error_of(f, i + 2), ENOSYS);
    }
}

static void ask_getxattr(struct fixture *f, uint64_t unique, uint32_t size)
{
    struct buf arg = BUF_EMPTY;
    buf_put_u32(&arg, size);
    buf_put_u32(&arg, 0);
    buf_put_str(&arg, "user.a");
    buf_put_u8(&arg, 0);
    send_request(f, GETXATTR, unique, 9, arg.data, arg.len);
    buf_release(&arg);
    fuse_channel_ready(f->ch);
}

static void test_an_xattr_is_measured_given_or_too_long(void **state)
{
    struct fixture *f = *state;
    ask_getxattr(f, 2, 0);
    assert_int_equal(error_of(f, 2), 0);
    assert_int_equal(u32_at(f, 0), 10);
    ask_getxattr(f, 3, 9);
    assert_int_equal(error_of(f, 3), ERANGE);
    ask_getxattr(f, 4, 10);
    assert_int_equal(error_of(f, 4), 0);
    assert_int_equal(f->reply_len, 10);
}

static void test_a_write_brings_its_bytes(void **state)
{
    struct fixture *f = *state;
    struct buf arg = BUF_EMPTY;
    buf_put_u64(&arg, 7);
    buf_put_u64(&arg, 300);
    buf_put_u32(&arg, 5);
    while (arg.len < 40)
        buf_put_u8(&arg, 0);
    buf_put_str(&arg, "bytes");
    send_request(f, WRITE, 2, 9, arg.data, arg.len);
    buf_release(&arg);
    fuse_channel_ready(f->ch);
    assert_string_equal(f->fs.calls[0].name, "bytes");
    assert_int_equal(f->fs.calls[0].number, 300);
    f->fs.calls[0].op->written = 5;
    f->fs.calls[0].op->done(f->fs.calls[0].op);
    assert_int_equal(error_of(f, 2), 0);
    assert_int_equal(u32_at(f, 0), 5);
}

static void test_a_turn_takes_32_requests(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 40; i++)
        send_request(f, LOOKUP, i + 2, 1, "a", 2);
    fuse_channel_ready(f->ch);
    assert_int_equal(f->fs.n_calls, 32);
    fuse_channel_ready(f->ch);
    assert_int_equal(f->fs.n_calls, 40);
}

static void interrupt(struct fixture *f, uint64_t unique)
{
    send_request(f, INTERRUPT, 1000 + unique, 0, &unique, sizeof(unique));
    fuse_channel_ready(f->ch);
}

static void run_timers(struct fixture *f, uint64_t later_us)
{
    f->now += later_us;
    timers_run(&f->timers, f->now);
}

static void test_a_signal_that_does_not_kill_interrupts_nothing(void **state)
{
    struct fixture *f = *state;
    send_request(f, LOOKUP, 2, 1, "a", 2);
    fuse_channel_ready(f->ch);
    interrupt(f, 2);
    for (int i = 0; i < 20; i++)
        run_timers(f, 50000);
    assert_int_equal(f->fs.n_calls, 1);
    answer_entry(f->fs.calls[0].op, 5, 0);
    assert_int_equal(error_of(f, 2), 0);
    assert_int_equal(timers_next(&f->timers) > f->now, 1);
    run_timers(f, 200000);
    assert_int_equal(timers_next(&f->timers), UINT64_MAX);
}

static void test_a_killed_caller_gets_eintr_but_not_inside_the_interrupt(void **state)
{
    struct fixture *f = *state;
    f->fs.killed = true;
    send_request(f, LOOKUP, 2, 1, "a", 2);
    send_request(f, LOOKUP, 3, 1, "b", 2);
    fuse_channel_ready(f->ch);
    interrupt(f, 2);
    interrupt(f, 3);
    assert_int_equal(f->fs.n_calls, 2);
    run_timers(f, 0);
    assert_int_equal(f->fs.n_calls, 4);
    assert_int_equal(error_of(f, 2), EINTR);
    assert_int_equal(error_of(f, 3), EINTR);
}

static void test_a_kill_after_another_signal_is_seen_within_100_ms(void **state)
{
    struct fixture *f = *state;
    send_request(f, LOOKUP, 2, 1, "a", 2);
    fuse_channel_ready(f->ch);
    interrupt(f, 2);
    run_timers(f, 0);
    f->fs.killed = true; /* the kernel sends no second INTERRUPT */
    run_timers(f, 100000);
    assert_int_equal(error_of(f, 2), EINTR);
}

static void test_the_end_is_told_once(void **state)
{
    struct fixture *f = *state;
    lose_kernel(f);
    fuse_channel_ready(f->ch);
    fuse_channel_ready(f->ch);
    assert_int_equal(f->ended, 1);
    fuse_channel_inval_attrs(f->ch, 5);
}

static void test_requests_under_way_may_end_with_the_channel(void **state)
{
    struct fixture *f = *state;
    send_request(f, LOOKUP, 2, 1, "a", 2);
    fuse_channel_ready(f->ch);
    interrupt(f, 2);
    assert_int_equal(f->fs.n_calls, 1); /* the rest is teardown's, and the leak checker's */
}

static void test_only_attributes_are_invalidated(void **state)
{
    struct fixture *f = *state;
    fuse_channel_inval_attrs(f->ch, 5);
    uint64_t unique;
    int error;
    assert_true(take_reply(f, &unique, &error));
    assert_int_equal(unique, 0);
    assert_int_equal(-error, 2); /* FUSE_NOTIFY_INVAL_INODE */
    assert_int_equal(u64_at(f, 0), 5);
    assert_int_equal(u64_at(f, 8), UINT64_MAX); /* offset -1: no page */
}

/* The next message, which a thread sends: its code. */
static int notified(struct fixture *f)
{
    uint64_t unique;
    int error;
    struct pollfd p = {.fd = f->kernel, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_true(take_reply(f, &unique, &error));
    assert_int_equal(unique, 0);
    return -error;
}

static void test_inodes_are_asked_back_by_node(void **state)
{
    struct fixture *f = *state;
    uint64_t next = 100;
    for (uint64_t node = 100; node < 1700; node++) {
        const struct fs_held held = {.node = node};
        fuse_channel_let_go(f->ch, &held);
    }
    while (next < 1700) {
        assert_int_equal(notified(f), 9); /* FUSE_NOTIFY_PRUNE */
        uint32_t n = u32_at(f, 0);
        assert_int_equal(f->reply_len, 16 + 8 * n);
        assert_true(n > 0 && n <= 512);
        for (uint32_t i = 0; i < n; i++)
            assert_int_equal(u64_at(f, 16 + 8 * i), next++);
    }
}

/* A directory is not: whoever works in it would lose it. */
static void test_an_older_kernel_is_asked_for_files_by_name(void **state)
{
    struct fixture *f = *state;
    const struct fs_held directory = {.node = 100};
    const struct fs_held file = {.node = 101, .parent = 100, .name = slice_str("name")};
    fuse_channel_let_go(f->ch, &directory);
    fuse_channel_let_go(f->ch, &file);
    assert_int_equal(notified(f), 3); /* FUSE_NOTIFY_INVAL_ENTRY */
    assert_int_equal(u64_at(f, 0), 100);
    assert_int_equal(u32_at(f, 8), 4);
    assert_string_equal((char *)f->reply + 16, "name");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_after_init, teardown)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_init_reply_asks_for_what_the_design_says, setup,
                                        teardown),
        CASE(test_only_the_init_reply_is_changed),
        CASE(test_lookup_is_answered_later_with_node_and_attributes),
        CASE(test_answers_may_come_in_another_order),
        CASE(test_an_undelivered_lookup_is_forgotten),
        CASE(test_an_undelivered_create_is_released_and_forgotten),
        CASE(test_an_undelivered_open_is_released),
        CASE(test_readdirplus_gives_what_fits),
        CASE(test_an_undelivered_readdirplus_is_forgotten_but_for_the_dots),
        CASE(test_forgets_are_passed_on_one_by_one),
        CASE(test_links_and_devices_are_not_permitted),
        CASE(test_what_is_absent_is_enosys),
        CASE(test_an_xattr_is_measured_given_or_too_long),
        CASE(test_a_write_brings_its_bytes),
        CASE(test_a_turn_takes_32_requests),
        CASE(test_a_signal_that_does_not_kill_interrupts_nothing),
        CASE(test_a_killed_caller_gets_eintr_but_not_inside_the_interrupt),
        CASE(test_a_kill_after_another_signal_is_seen_within_100_ms),
        CASE(test_the_end_is_told_once),
        CASE(test_requests_under_way_may_end_with_the_channel),
        CASE(test_only_attributes_are_invalidated),
        CASE(test_an_older_kernel_is_asked_for_files_by_name),
        cmocka_unit_test_setup_teardown(test_inodes_are_asked_back_by_node, setup_of_a_newer_kernel,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
