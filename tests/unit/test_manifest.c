/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest is all that connects a file with its bytes, and it comes from clients: what is encoded
 * comes back, what is no manifest is refused, and nothing in it reaches beyond the file. */
#include "model/manifest.h"

#include "base/err.h"
#include "base/mem.h"
#include "model/key.h"
#include "unit.h"

static struct upload_id upload(uint8_t fill)
{
    struct upload_id id;
    memset(id.bytes, fill, sizeof(id.bytes));
    return id;
}

static void add(struct manifest *m, uint8_t from, uint32_t index, uint32_t number, uint32_t len)
{
    struct upload_id id = upload(from);
    struct chunk c = {.index = index, .number = number, .len = len};
    memset(c.digest, (int)(index + 1), DIGEST_LEN);
    manifest_add(m, &id, &c);
}

static void build(struct manifest *m)
{
    *m = MANIFEST_EMPTY;
    add(m, 1, 0, 0, CHUNK_LEN);
    add(m, 1, 1, 1, CHUNK_LEN);
    add(m, 2, 2, 7, CHUNK_LEN);
    add(m, 1, 3, 3, CHUNK_LEN);
    add(m, 1, 9, 4, 100);
    m->size = 20ull * CHUNK_LEN + 5;
}

static void encode(const struct manifest *m, struct buf *out)
{
    *out = BUF_EMPTY;
    manifest_encode(m, out);
}

static void test_what_is_encoded_comes_back(void **state)
{
    (void)state;
    struct manifest m, back = MANIFEST_EMPTY;
    struct buf bytes;
    build(&m);
    encode(&m, &bytes);
    assert_int_equal(manifest_decode(buf_slice(&bytes), &back), DYN_OK);
    assert_int_equal(back.size, m.size);
    assert_int_equal(back.n, 5);
    assert_int_equal(back.n_uploads, 2);
    for (uint32_t i = 0; i < m.n; i++)
        assert_memory_equal(&m.chunks[i], &back.chunks[i], sizeof(struct chunk));
    assert_true(manifest_same_bytes(&m, &back));
    assert_int_equal(manifest_allocated(&back), 4ull * CHUNK_LEN + 100);
    manifest_release(&m);
    manifest_release(&back);
    buf_release(&bytes);
}

static void test_holes_are_found_as_holes(void **state)
{
    (void)state;
    struct manifest m;
    build(&m);
    assert_int_equal(manifest_find(&m, 9)->number, 4);
    assert_null(manifest_find(&m, 4));
    assert_null(manifest_find(&m, 10));
    assert_int_equal(manifest_from(&m, 4)->index, 9);
    assert_null(manifest_from(&m, 10));
    manifest_release(&m);
}

static void test_a_sequential_file_takes_sixteen_bytes_a_chunk(void **state)
{
    (void)state;
    struct manifest m = MANIFEST_EMPTY;
    struct buf bytes;
    for (uint32_t i = 0; i < 10000; i++)
        add(&m, 1, i, i, CHUNK_LEN);
    m.size = 10000ull * CHUNK_LEN;
    encode(&m, &bytes);
    assert_true(bytes.len < 10000 * DIGEST_LEN + 64);
    buf_release(&bytes);
    manifest_release(&m);
}

static void test_what_reaches_beyond_the_file_is_refused(void **state)
{
    (void)state;
    struct manifest m, back = MANIFEST_EMPTY;
    struct buf bytes;
    build(&m);
    m.size = 9ull * CHUNK_LEN + 99; /* one byte less than the last chunk has */
    encode(&m, &bytes);
    assert_int_equal(manifest_decode(buf_slice(&bytes), &back), DYN_ERR_INVALID);
    buf_clear(&bytes);
    m.size = 0;
    manifest_encode(&m, &bytes);
    assert_int_equal(manifest_decode(buf_slice(&bytes), &back), DYN_ERR_INVALID);
    buf_clear(&bytes);
    m.size = FILE_LEN_MAX + 1;
    manifest_encode(&m, &bytes);
    assert_int_equal(manifest_decode(buf_slice(&bytes), &back), DYN_ERR_INVALID);
    buf_release(&bytes);
    manifest_release(&m);
}

static void test_each_prefix_and_each_changed_byte_is_survived(void **state)
{
    (void)state;
    struct manifest m, back = MANIFEST_EMPTY;
    struct buf bytes;
    build(&m);
    encode(&m, &bytes);
    for (size_t i = 0; i < bytes.len; i++)
        assert_int_equal(manifest_decode(slice_of(bytes.data, i), &back), DYN_ERR_INVALID);
    for (size_t i = 0; i < bytes.len; i++) {
        bytes.data[i] ^= 0x55;
        if (manifest_decode(buf_slice(&bytes), &back) == DYN_OK)
            for (uint32_t k = 0; k < back.n; k++)
                assert_true(back.chunks[k].upload < back.n_uploads &&
                            (uint64_t)back.chunks[k].index * CHUNK_LEN + back.chunks[k].len <=
                                back.size);
        bytes.data[i] ^= 0x55;
    }
    manifest_release(&back);
    manifest_release(&m);
    buf_release(&bytes);
}

static void test_a_sibling_says_what_its_manifest_says(void **state)
{
    (void)state;
    struct manifest m;
    struct buf bytes;
    struct sibling s = {.type = SIBLING_FILE};
    build(&m);
    encode(&m, &bytes);
    assert_int_equal(manifest_describe(buf_slice(&bytes), &s), DYN_OK);
    assert_int_equal(s.size, m.size);
    assert_int_equal(s.manifest_len, bytes.len);
    assert_int_equal(s.allocated, 4ull * CHUNK_LEN + 100);
    assert_int_equal(s.uploads->len, 2 * UPLOAD_ID_LEN);
    assert_int_equal(sibling_value_len(&s), bytes.len);
    assert_int_equal(manifest_describe(slice_str("no manifest"), &s), DYN_ERR_INVALID);
    sibling_release(&s);
    manifest_release(&m);
    buf_release(&bytes);
}

static void test_the_cluster_keeps_chunks_where_no_listing_shows_them(void **state)
{
    (void)state;
    struct upload_id id = upload(0xab), back;
    struct buf key = BUF_EMPTY;
    chunk_key(&id, 12, &key);
    assert_int_equal(key_check(buf_slice(&key), NULL), DYN_OK);
    assert_true(key_internal(buf_slice(&key)));
    assert_int_equal(upload_key_parse(buf_slice(&key), &back), DYN_ERR_INVALID);
    buf_clear(&key);
    upload_key(&id, &key);
    assert_true(key_internal(buf_slice(&key)));
    assert_int_equal(upload_key_parse(buf_slice(&key), &back), DYN_OK);
    assert_memory_equal(&id, &back, sizeof(id));
    assert_true(key_internal(slice_str(".dynamount")));
    assert_false(key_internal(slice_str(".dynamountain/x")));
    assert_false(key_internal(slice_str("a/.dynamount")));
    buf_release(&key);
}

/* In an object's bytes a manifest is an essential field: who does not know it must not take the
 * manifest for the file. */
static void test_an_object_keeps_what_its_sibling_says(void **state)
{
    (void)state;
    struct manifest m;
    struct buf bytes, encoded = BUF_EMPTY;
    struct object o = OBJECT_EMPTY, back = OBJECT_EMPTY;
    struct cover nothing = COVER_EMPTY;
    struct sibling s = {.dot = {{1, {2, 3}}, 1}, .type = SIBLING_FILE};
    build(&m);
    encode(&m, &bytes);
    assert_int_equal(manifest_describe(buf_slice(&bytes), &s), DYN_OK);
    s.value = blob_new(bytes.data, bytes.len);
    digest_sha256(buf_slice(&bytes), s.value_hash);
    object_write(&o, &nothing, &s, 1);
    object_encode(&o, &encoded);
    object_values_encode(&o, &encoded);
    struct reader r = reader_of(buf_slice(&encoded));
    object_decode(&r, &back);
    object_values_decode(&r, &back);
    assert_true(reader_done(&r));
    assert_int_equal(back.siblings[0].manifest_len, bytes.len);
    assert_int_equal(back.siblings[0].allocated, o.siblings[0].allocated);
    assert_int_equal(back.siblings[0].uploads->len, 2 * UPLOAD_ID_LEN);
    assert_int_equal(back.siblings[0].value->len, bytes.len);
    struct object entry = OBJECT_EMPTY;
    object_project(&back, &entry);
    assert_null(entry.siblings[0].uploads);
    assert_int_equal(entry.siblings[0].size, m.size);
    object_release(&entry);
    object_release(&o);
    object_release(&back);
    buf_release(&encoded);
    buf_release(&bytes);
    manifest_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_encoded_comes_back),
        cmocka_unit_test(test_holes_are_found_as_holes),
        cmocka_unit_test(test_a_sequential_file_takes_sixteen_bytes_a_chunk),
        cmocka_unit_test(test_what_reaches_beyond_the_file_is_refused),
        cmocka_unit_test(test_each_prefix_and_each_changed_byte_is_survived),
        cmocka_unit_test(test_a_sibling_says_what_its_manifest_says),
        cmocka_unit_test(test_the_cluster_keeps_chunks_where_no_listing_shows_them),
        cmocka_unit_test(test_an_object_keeps_what_its_sibling_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
