/* SPDX-License-Identifier: Apache-2.0 */
/* See large.h. A ring of requests: the oldest is waited for, its place is for the next. So what is
 * in memory does not depend on the size of the value. */
#include "ctl/large.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/chunk_lease.h"

#define WINDOW 4

/* ---- to stdout --------------------------------------------------------------------------- */

struct part {
    struct chunk_get get;
    struct blob *bytes;
    int err;
};

static void on_part(struct chunk_get *g, int err, struct blob *bytes)
{
    struct part *p = g->arg;
    p->err = err;
    p->bytes = blob_ref(bytes);
}

static void ask_part(struct session *s, struct part *p, const struct manifest *m, uint64_t index)
{
    const struct chunk *c = manifest_find(m, (uint32_t)index);
    *p = (struct part){.err = DYN_OK};
    p->get.done = on_part;
    p->get.arg = p;
    if (c != NULL)
        chunk_get_start(session_chunks(s), &p->get, &m->uploads[c->upload], c);
}

/* Zeros where the chunk has no bytes. */
static int print_part(const struct part *p, const struct manifest *m, uint64_t index, int fd)
{
    const struct chunk *c = manifest_find(m, (uint32_t)index);
    uint64_t left = m->size - index * CHUNK_LEN;
    size_t n = left < CHUNK_LEN ? (size_t)left : CHUNK_LEN, there = 0;
    struct buf out = BUF_EMPTY;
    if (c != NULL && p->bytes != NULL)
        there = c->len < p->bytes->len ? c->len : p->bytes->len;
    there = there < n ? there : n;
    buf_reserve(&out, n);
    if (there != 0)
        buf_put(&out, p->bytes->data, there);
    memset(out.data + out.len, 0, n - there);
    out.len = n;
    int status = ctl_write_to(fd, buf_slice(&out));
    buf_release(&out);
    return status;
}

int large_print(struct session *s, struct slice key, struct slice manifest, int fd)
{
    struct manifest m = MANIFEST_EMPTY;
    struct part parts[WINDOW];
    int status = CTL_OK;
    if (manifest_decode(manifest, &m) != DYN_OK)
        return ctl_failed("get", key, DYN_ERR_CORRUPT, 0, 0);
    uint64_t n = (m.size + CHUNK_LEN - 1) / CHUNK_LEN, asked = 0;
    for (uint64_t i = 0; i < n && status == CTL_OK; i++) {
        for (; asked < n && asked < i + WINDOW; asked++)
            ask_part(s, &parts[asked % WINDOW], &m, asked);
        struct part *p = &parts[i % WINDOW];
        while (p->get.id != 0)
            session_turn(s);
        status = p->err == DYN_OK ? print_part(p, &m, i, fd) : ctl_failed("get", key, p->err, 0, 0);
        blob_unref(p->bytes);
        p->bytes = NULL;
    }
    for (uint64_t i = 0; i < asked && i < WINDOW; i++) {
        if (parts[i].get.id != 0)
            chunk_get_cancel(&parts[i].get);
        blob_unref(parts[i].bytes);
    }
    manifest_release(&m);
    return status;
}

/* ---- from a descriptor ------------------------------------------------------------------- */

struct sending {
    struct chunk_put put;
    int err;
};

static void on_sent(struct chunk_put *p, int err)
{
    ((struct sending *)p->arg)->err = err;
}

struct upload_state {
    struct session *session;
    struct upload_lease lease;
    int lease_err;
    struct manifest m;
    struct sending ring[WINDOW];
    enum durability durability;
};

static void on_lease(struct upload_lease *l, int err)
{
    struct upload_state *u = l->arg;
    if (err != DYN_OK && u->lease_err == DYN_OK)
        u->lease_err = err;
}

static int send_chunk(struct upload_state *u, struct slice bytes)
{
    struct chunk c = {.index = u->m.n, .number = u->m.n, .len = (uint32_t)bytes.len};
    struct sending *at = &u->ring[c.number % WINDOW];
    while (at->put.id != 0)
        session_turn(u->session);
    while (at->err == DYN_OK && u->lease_err == DYN_OK && !upload_lease_number(&u->lease, c.number))
        session_turn(u->session);
    if (at->err != DYN_OK || u->lease_err != DYN_OK)
        return at->err != DYN_OK ? at->err : u->lease_err;
    digest_sha256(bytes, c.digest);
    at->put = (struct chunk_put){.done = on_sent, .arg = at};
    chunk_put_start(session_chunks(u->session), &at->put, &u->lease.id, c.number, bytes,
                    u->durability);
    manifest_add(&u->m, &u->lease.id, &c);
    u->m.size += bytes.len;
    return DYN_OK;
}

static int wait_for_all(struct upload_state *u)
{
    int err = DYN_OK;
    for (uint32_t i = 0; i < WINDOW; i++) {
        while (u->ring[i].put.id != 0)
            session_turn(u->session);
        err = err == DYN_OK ? u->ring[i].err : err;
    }
    return err;
}

static bool readable(int fd, uint64_t ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms < INT32_MAX ? (int)ms : INT32_MAX) != 0;
}

/* While nobody turns the loop no answer is taken, so a slow pipe is waited for only when all that
 * was sent has arrived; and then not for longer than the lease can be left alone. */
static void await_input(struct upload_state *u, int fd)
{
    if (readable(fd, 0))
        return;
    wait_for_all(u);
    while (!readable(fd, upload_lease_renew_ms(&u->lease))) {
        upload_lease_renew(&u->lease);
        while (u->lease.ref.id != 0)
            session_turn(u->session);
    }
}

/* Fills b up to max bytes, as far as there is something. A positive errno. u (NULL: nothing is on
 * its way). */
static int fill(struct buf *b, size_t max, int fd, struct upload_state *u)
{
    while (b->len < max) {
        if (u != NULL)
            await_input(u, fd);
        buf_reserve(b, max - b->len);
        ssize_t n = read(fd, b->data + b->len, max - b->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            return 0;
        b->len += (size_t)n;
    }
    return 0;
}

int large_begin(const char *path, struct buf *out, int *fd, char **message)
{
    bool in = strcmp(path, "-") == 0;
    int f = in ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    int err = f < 0 ? errno : fill(out, CHUNK_LEN + 1, f, NULL);
    if (err == 0) {
        *fd = f;
        return DYN_OK;
    }
    *message = mem_printf("%s: %s", in ? "stdin" : path, strerror(err));
    if (!in && f >= 0)
        close(f);
    return DYN_ERR_IO;
}

static int send_all(struct upload_state *u, struct slice begun, int fd, int *read_error)
{
    struct buf b = BUF_EMPTY;
    int err = DYN_OK;
    *read_error = 0;
    do {
        size_t n = begun.len < CHUNK_LEN ? begun.len : CHUNK_LEN;
        buf_clear(&b);
        if (n != 0)
            buf_put(&b, begun.data, n);
        begun = slice_of(begun.data + n, begun.len - n);
        *read_error = fill(&b, CHUNK_LEN, fd, u);
        if (*read_error == 0 && b.len != 0)
            err = send_chunk(u, buf_slice(&b));
    } while (err == DYN_OK && *read_error == 0 && b.len == CHUNK_LEN);
    buf_release(&b);
    int late = wait_for_all(u);
    err = err != DYN_OK ? err : late;
    while (err == DYN_OK && *read_error == 0 && !upload_lease_holds(&u->lease, &u->m)) {
        session_turn(u->session);
        err = u->lease_err;
    }
    return err;
}

int large_send(struct session *s, struct slice key, const struct request_options *opt,
               struct slice begun, int fd, struct buf *manifest)
{
    struct upload_state u = {.session = s, .m = MANIFEST_EMPTY};
    int read_error, status = CTL_OK;
    u.durability = opt->durability != DURABILITY_DEFAULT ? (enum durability)opt->durability
                                                         : DURABILITY_QUORUM;
    upload_lease_init(&u.lease, session_chunks(s), key, on_lease, &u);
    int err = send_all(&u, begun, fd, &read_error);
    if (read_error != 0)
        status = ctl_fail(CTL_ERROR, "%s", strerror(read_error));
    else if (err == DYN_ERR_CONFLICT)
        status = ctl_fail(CTL_ERROR,
                          "put '%.*s': it stood still for longer than its lease, and "
                          "parts of it are gone: put all of it again",
                          (int)key.len, (const char *)key.data);
    else if (err != DYN_OK)
        status = ctl_failed("put", key, err, 0, 0);
    else
        manifest_encode(&u.m, manifest);
    if (status == CTL_OK && manifest->len > MANIFEST_LEN_MAX)
        status = ctl_failed("put", key, DYN_ERR_TOO_LARGE, 0, 0);
    upload_lease_stop(&u.lease);
    manifest_release(&u.m);
    return status;
}
