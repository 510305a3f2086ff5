/* SPDX-License-Identifier: Apache-2.0 */
/* etcd's own protocol: gRPC, which is protobuf in HTTP/2, one call at a time on a connection of its
 * own for each client. A get is linearizable, as etcd's are unless told otherwise. The two messages
 * are simple enough to be written by hand:
 *
 *   PutRequest    1: key (bytes), 2: value (bytes)
 *   RangeRequest  1: key (bytes)
 */
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "load.h"

struct call {
    nghttp2_session *session;
    struct buf body;
    size_t sent;
    int status; /* of the call that ended, 0: none has */
    bool ok;    /* its trailers said so */
};

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room,
                         uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct call *call = source->ptr;
    size_t left = call->body.len - call->sent, n = left < room ? left : room;
    (void)session;
    (void)stream;
    (void)arg;
    memcpy(to, call->body.data + call->sent, n);
    call->sent += n;
    if (call->sent == call->body.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    struct call *call = arg;
    (void)session;
    (void)frame;
    (void)flags;
    if (slice_equal(slice_of(name, name_len), slice_str("grpc-status")))
        call->ok = value_len == 1 && value[0] == '0';
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *arg)
{
    struct call *call = arg;
    (void)session;
    (void)stream;
    call->status = error == 0 && call->ok ? 200 : 500;
    return 0;
}

static void flush(struct load_client *c)
{
    struct call *call = c->session;
    const uint8_t *bytes;
    for (ssize_t n; (n = nghttp2_session_mem_send(call->session, &bytes)) > 0;)
        buf_put(&c->out, bytes, (size_t)n);
}

static void open_session(struct load_client *c)
{
    struct call *call = mem_new(struct call);
    nghttp2_session_callbacks *callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    if (nghttp2_session_client_new(&call->session, callbacks, call) != 0 ||
        nghttp2_submit_settings(call->session, NGHTTP2_FLAG_NONE, NULL, 0) != 0)
        abort();
    nghttp2_session_callbacks_del(callbacks);
    c->session = call;
}

static void close_session(struct load_client *c)
{
    struct call *call = c->session;
    if (call == NULL)
        return;
    nghttp2_session_del(call->session);
    buf_release(&call->body);
    free(call);
}

static void put_field(struct buf *out, uint8_t number, struct slice bytes)
{
    buf_put_u8(out, (uint8_t)(number << 3 | 2)); /* length-delimited */
    size_t n = bytes.len;
    for (; n >= 128; n >>= 7)
        buf_put_u8(out, (uint8_t)(n & 127) | 128);
    buf_put_u8(out, (uint8_t)n);
    buf_put_slice(out, bytes);
}

static void message(struct call *call, const struct load_options *o, uint64_t key,
                    const uint8_t *value)
{
    char name[32];
    struct buf m = BUF_EMPTY;
    snprintf(name, sizeof(name), "bench/%llu", (unsigned long long)key);
    put_field(&m, 1, slice_str(name));
    if (o->put)
        put_field(&m, 2, slice_of(value, o->size));
    buf_clear(&call->body);
    buf_put_u8(&call->body, 0); /* not compressed */
    buf_put_u32_be(&call->body, (uint32_t)m.len);
    buf_put_slice(&call->body, buf_slice(&m));
    buf_release(&m);
    call->sent = 0;
}

#define FIELD(n, v)                                                                                \
    {                                                                                              \
        (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), sizeof(n) - 1, sizeof(v) - 1,        \
            NGHTTP2_NV_FLAG_NONE                                                                   \
    }

static void request(struct load_client *c, const struct load_options *o, uint64_t key,
                    const uint8_t *value)
{
    static const nghttp2_nv put[] = {FIELD(":method", "POST"),
                                     FIELD(":scheme", "http"),
                                     FIELD(":path", "/etcdserverpb.KV/Put"),
                                     FIELD(":authority", "bench"),
                                     FIELD("content-type", "application/grpc"),
                                     FIELD("te", "trailers")};
    static const nghttp2_nv range[] = {FIELD(":method", "POST"),
                                       FIELD(":scheme", "http"),
                                       FIELD(":path", "/etcdserverpb.KV/Range"),
                                       FIELD(":authority", "bench"),
                                       FIELD("content-type", "application/grpc"),
                                       FIELD("te", "trailers")};
    struct call *call = c->session;
    const nghttp2_data_provider body = {.source.ptr = call, .read_callback = read_body};
    message(call, o, key, value);
    call->status = 0;
    call->ok = false;
    if (nghttp2_submit_request(call->session, NULL, o->put ? put : range,
                               sizeof(put) / sizeof(put[0]), &body, NULL) < 0)
        abort();
    flush(c);
}

static int answer(struct load_client *c)
{
    struct call *call = c->session;
    ssize_t n = nghttp2_session_mem_recv(call->session, c->in.data, c->in.len);
    buf_clear(&c->in);
    flush(c); /* acknowledgements, windows */
    return n < 0 ? 500 : call->status;
}

const struct load_protocol load_etcd = {.name = "etcd",
                                        .open = open_session,
                                        .close = close_session,
                                        .request = request,
                                        .answer = answer};
