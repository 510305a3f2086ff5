/* SPDX-License-Identifier: Apache-2.0 */
/* The envelope decides who may say what to a node, so each way around it is tried here: a changed
 * byte, another secret, no authenticator, a peer's frame from a client, a frame cut short. */
#include "base/err.h"
#include "model/wire.h"
#include "unit.h"

static const struct batch_header from_peer = {.cluster = 7, .from = 11, .to = 13};
static const struct batch_header hashed = {.cluster = 7, .from = 11, .to = 13, .hashed = true};
static const struct batch_header from_client = {.cluster = 7, .from = 0, .to = 13};

static struct mac *secret(const char *text)
{
    return mac_new(slice_str(text));
}

static void make_batch(struct mac *mac, const struct batch_header *h, uint8_t type, struct buf *out)
{
    batch_begin(h, out);
    frame_append(out, type, 1, slice_str("first"));
    frame_append(out, type, UINT64_MAX, slice_of(NULL, 0));
    batch_seal(mac, out);
}

static int open_batch(struct mac *mac, struct slice batch)
{
    struct batch_header h;
    struct slice frames;
    return batch_open(mac, batch, &h, &frames);
}

static void test_a_peers_batch_opens_with_its_frames(void **state)
{
    (void)state;
    struct mac *mac = secret("secret");
    struct buf b = BUF_EMPTY;
    struct batch_header h;
    struct slice frames, body;
    uint8_t type;
    uint64_t rid;

    make_batch(mac, &from_peer, FRAME_REPLICA_PUT, &b);
    assert_int_equal(batch_open(mac, buf_slice(&b), &h, &frames), DYN_OK);
    assert_int_equal(h.cluster, 7);
    assert_int_equal(h.from, 11);
    assert_int_equal(h.to, 13);
    assert_int_equal(frame_take(&frames, &type, &rid, &body), 1);
    assert_int_equal(type, FRAME_REPLICA_PUT);
    assert_int_equal(rid, 1);
    assert_true(slice_equal(body, slice_str("first")));
    assert_int_equal(frame_take(&frames, &type, &rid, &body), 1);
    assert_true(rid == UINT64_MAX);
    assert_int_equal(body.len, 0);
    assert_int_equal(frame_take(&frames, &type, &rid, &body), 0);
    buf_release(&b);
    mac_free(mac);
}

static void expect_no_byte_to_change(const struct batch_header *from)
{
    struct mac *mac = secret("secret");
    struct buf b = BUF_EMPTY;
    make_batch(mac, from, FRAME_REPLICA_GET, &b);
    for (size_t i = 0; i < b.len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            b.data[i] ^= (uint8_t)(1u << bit);
            assert_int_not_equal(open_batch(mac, buf_slice(&b)), DYN_OK);
            b.data[i] ^= (uint8_t)(1u << bit);
        }
    }
    assert_int_equal(open_batch(mac, buf_slice(&b)), DYN_OK);
    b.data[3] ^= '1' ^ '2'; /* the mac of one kind is none of the other */
    assert_int_equal(open_batch(mac, buf_slice(&b)), DYN_ERR_DENIED);
    buf_release(&b);
    mac_free(mac);
}

static void test_no_byte_of_a_peers_batch_can_be_changed(void **state)
{
    (void)state;
    expect_no_byte_to_change(&from_peer);
    expect_no_byte_to_change(&hashed);
}

static void expect_to_need_the_secret(const struct batch_header *from)
{
    struct mac *mac = secret("secret"), *other = secret("secreu");
    struct buf b = BUF_EMPTY;
    make_batch(other, from, FRAME_PING, &b);
    assert_int_equal(open_batch(mac, buf_slice(&b)), DYN_ERR_DENIED);
    assert_int_equal(open_batch(NULL, buf_slice(&b)), DYN_ERR_DENIED);
    buf_clear(&b);
    make_batch(NULL, from, FRAME_PING, &b);
    assert_int_equal(open_batch(mac, buf_slice(&b)), DYN_ERR_DENIED);
    buf_release(&b);
    mac_free(mac);
    mac_free(other);
}

static void test_a_peer_needs_the_clusters_secret(void **state)
{
    (void)state;
    expect_to_need_the_secret(&from_peer);
    expect_to_need_the_secret(&hashed);
}

static void test_a_client_has_no_mac_of_either_kind(void **state)
{
    (void)state;
    struct batch_header h = from_client;
    struct mac *mac = secret("secret");
    struct buf b = BUF_EMPTY;
    h.hashed = true;
    make_batch(NULL, &h, FRAME_GET, &b);
    assert_int_equal(open_batch(mac, buf_slice(&b)), DYN_ERR_PROTOCOL);
    buf_release(&b);
    mac_free(mac);
}

static void test_a_client_may_send_client_frames_only(void **state)
{
    (void)state;
    struct mac *mac = secret("secret");
    for (unsigned type = 0; type < 256; type++) {
        struct buf b = BUF_EMPTY;
        bool fine = (type >= FRAME_GET && type <= FRAME_BEHIND) || type == FRAME_ADMIN ||
                    type == FRAME_WATCH || type == FRAME_INTEREST || type == FRAME_SETTINGS ||
                    type == FRAME_ARCHIVE || type == FRAME_RESTORE || type == FRAME_VERSIONS;
        make_batch(NULL, &from_client, (uint8_t)type, &b);
        int err = open_batch(mac, buf_slice(&b));
        if (fine)
            assert_int_equal(err, DYN_OK);
        else
            assert_int_equal(err, type < FRAME_REPLY ? DYN_ERR_DENIED : DYN_ERR_PROTOCOL);
        buf_release(&b);
    }
    mac_free(mac);
}

static void test_a_batch_holds_whole_frames_only(void **state)
{
    (void)state;
    struct mac *mac = secret("secret");
    struct buf b = BUF_EMPTY;
    make_batch(NULL, &from_client, FRAME_GET, &b);
    for (size_t len = 0; len < b.len; len++) {
        bool boundary = len == BATCH_HEADER_LEN || len == BATCH_HEADER_LEN + FRAME_HEADER_LEN + 5;
        int err = open_batch(mac, slice_of(b.data, len));
        assert_int_equal(err, boundary ? DYN_OK : DYN_ERR_PROTOCOL);
    }
    buf_release(&b);
    mac_free(mac);
}

static void test_an_oversized_frame_is_refused_before_it_arrives(void **state)
{
    (void)state;
    struct buf b = BUF_EMPTY;
    uint8_t type;
    uint64_t rid;
    struct slice body, in;
    buf_put_u8(&b, FRAME_PUT);
    buf_put_u32(&b, FRAME_LEN_MAX + 1);
    buf_put_u64(&b, 5);
    in = buf_slice(&b);
    assert_int_equal(frame_take(&in, &type, &rid, &body), DYN_ERR_PROTOCOL);
    b.len = 0;
    buf_put_u8(&b, FRAME_PUT);
    buf_put_u32(&b, FRAME_LEN_MAX);
    buf_put_u64(&b, 5);
    in = buf_slice(&b);
    assert_int_equal(frame_take(&in, &type, &rid, &body), 0);
    assert_int_equal(in.len, FRAME_HEADER_LEN);
    buf_release(&b);
}

static void test_a_response_names_its_node(void **state)
{
    (void)state;
    struct buf b = BUF_EMPTY;
    struct batch_header h;
    response_begin(&from_peer, &b);
    assert_int_equal(b.len, BATCH_PREFIX_LEN);
    assert_int_equal(response_open(buf_slice(&b), &h), DYN_OK);
    assert_int_equal(h.from, 11);
    assert_int_equal(response_open(slice_of(b.data, b.len - 1), &h), DYN_ERR_PROTOCOL);
    b.data[3] = '2';
    assert_int_equal(response_open(buf_slice(&b), &h), DYN_ERR_PROTOCOL);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_peers_batch_opens_with_its_frames),
        cmocka_unit_test(test_no_byte_of_a_peers_batch_can_be_changed),
        cmocka_unit_test(test_a_peer_needs_the_clusters_secret),
        cmocka_unit_test(test_a_client_has_no_mac_of_either_kind),
        cmocka_unit_test(test_a_client_may_send_client_frames_only),
        cmocka_unit_test(test_a_batch_holds_whole_frames_only),
        cmocka_unit_test(test_an_oversized_frame_is_refused_before_it_arrives),
        cmocka_unit_test(test_a_response_names_its_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
