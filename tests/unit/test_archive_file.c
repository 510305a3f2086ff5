/* SPDX-License-Identifier: Apache-2.0 */
/* A file of an archive, and the manifest that names it: whatever happens to them is found. */
#include "model/archive_file.h"

#include "base/err.h"
#include "base/mem.h"
#include "memory_archive.h"
#include "model/archive_manifest.h"
#include "unit.h"

#define ROWS 40u

static const struct archive_head some_head = {
    .cluster = 77, .q = 16, .partition = 3, .kind = ARCHIVE_KEYS};

static void put_row(struct archive_writer *w, uint32_t i, size_t size)
{
    struct cover none = COVER_EMPTY;
    struct object o = OBJECT_EMPTY;
    struct buf encoded = BUF_EMPTY, raw = BUF_EMPTY;
    char key[16], *value = mem_zalloc(size);
    snprintf(key, sizeof(key), "key%u", i);
    struct sibling s = {.dot = {.actor = {1, {9, 1}}, .counter = i + 1},
                        .type = SIBLING_FILE,
                        .size = size,
                        .value = blob_new(value, size)};
    digest_sha256(slice_of(value, size), s.value_hash);
    object_write(&o, &none, &s, 5);
    object_encode(&o, &encoded);
    struct range_row row = {
        .kind = RANGE_OBJECT, .key = slice_str(key), .encoded = buf_slice(&encoded)};
    range_sealed_put(&row, &o, &raw);
    assert_int_equal(archive_put(w, buf_slice(&raw), size), DYN_OK);
    buf_release(&encoded);
    buf_release(&raw);
    object_release(&o);
    free(value);
}

static void write_file(struct archive_port *port, const char *name, size_t size)
{
    struct archive_writer w;
    assert_int_equal(archive_begin(&w, port, name, &some_head), DYN_OK);
    for (uint32_t i = 0; i < ROWS; i++)
        put_row(&w, i, size);
    w.foot.copies = 2;
    w.foot.level = true;
    w.foot.a = 11;
    assert_int_equal(archive_end(&w), DYN_OK);
}

/* Reads to the end, or to what is wrong. */
static int read_file(const struct archive_port *port, const char *name, uint32_t *rows)
{
    struct archive_reader r;
    struct range_row row;
    *rows = 0;
    int err = archive_open(&r, port, name);
    while (err == DYN_OK) {
        err = archive_next(&r, &row);
        if (err == DYN_OK)
            object_release(&row.object);
        *rows += err == DYN_OK;
    }
    assert_true(err != DYN_ERR_NOT_FOUND || r.file == NULL || r.ended);
    archive_close(&r);
    return err;
}

static void test_what_was_written_is_read(void **state)
{
    (void)state;
    struct memory_archive a;
    struct archive_head head;
    struct archive_foot foot;
    uint32_t rows;
    memory_archive_init(&a);
    struct archive_port port = memory_archive_port(&a);
    write_file(&port, "keys-00003.1", 100000); /* several pieces */
    assert_int_equal(read_file(&port, "keys-00003.1", &rows), DYN_ERR_NOT_FOUND);
    assert_int_equal(rows, ROWS);
    assert_int_equal(archive_foot_read(&port, "keys-00003.1", &head, &foot), DYN_OK);
    assert_int_equal(head.cluster, 77);
    assert_int_equal(head.partition, 3);
    assert_int_equal(foot.rows, ROWS);
    assert_int_equal(foot.value_bytes, ROWS * 100000);
    assert_int_equal(foot.copies, 2);
    assert_true(foot.level && foot.a == 11 && foot.b == 0);
    memory_archive_release(&a);
}

static void test_no_changed_bit_and_no_cut_is_missed(void **state)
{
    (void)state;
    struct memory_archive a;
    uint32_t rows;
    memory_archive_init(&a);
    struct archive_port port = memory_archive_port(&a);
    write_file(&port, "keys-00003.1", 10);
    struct buf *bytes = memory_archive_find(&a, "keys-00003.1");
    for (size_t i = 0; i < bytes->len; i++) {
        bytes->data[i] ^= (uint8_t)(1u << i % 8);
        int err = read_file(&port, "keys-00003.1", &rows);
        assert_true(err == DYN_ERR_CORRUPT || err == DYN_ERR_UNSUPPORTED);
        bytes->data[i] ^= (uint8_t)(1u << i % 8);
    }
    size_t whole = bytes->len;
    for (bytes->len = 0; bytes->len < whole; bytes->len++)
        assert_int_equal(read_file(&port, "keys-00003.1", &rows), DYN_ERR_CORRUPT);
    buf_put_u8(bytes, 0);
    assert_int_equal(read_file(&port, "keys-00003.1", &rows), DYN_ERR_CORRUPT);
    memory_archive_release(&a);
}

/* Pieces of another file, each whole in itself, do not fit. */
static void test_pieces_cannot_be_exchanged(void **state)
{
    (void)state;
    struct memory_archive a;
    uint32_t rows;
    memory_archive_init(&a);
    struct archive_port port = memory_archive_port(&a);
    write_file(&port, "keys-00003.1", 60000);
    write_file(&port, "keys-00003.2", 60000);
    struct buf *one = memory_archive_find(&a, "keys-00003.1");
    struct reader r = reader_of(slice_of(one->data + 41, one->len - 41));
    size_t piece = 8 + (size_t)read_u32(&r) + DIGEST_LEN;
    assert_true(piece * 2 < one->len);
    memmove(one->data + 41, one->data + 41 + piece, one->len - 41 - piece); /* the first is gone */
    one->len -= piece;
    assert_int_equal(read_file(&port, "keys-00003.1", &rows), DYN_ERR_CORRUPT);
    assert_int_equal(rows, 0);
    memory_archive_release(&a);
}

static void test_a_file_is_there_when_it_is_whole(void **state)
{
    (void)state;
    struct memory_archive a;
    struct archive_writer w;
    memory_archive_init(&a);
    struct archive_port port = memory_archive_port(&a);
    assert_int_equal(archive_begin(&w, &port, "keys-00003.1", &some_head), DYN_OK);
    put_row(&w, 1, 10);
    archive_abandon(&w);
    assert_null(memory_archive_find(&a, "keys-00003.1"));
    a.room = 50;
    assert_int_equal(archive_begin(&w, &port, "keys-00003.1", &some_head), DYN_OK);
    put_row(&w, 1, 10);
    assert_int_equal(archive_end(&w), DYN_ERR_NO_SPACE);
    assert_null(memory_archive_find(&a, "keys-00003.1"));
    memory_archive_release(&a);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "keys-3.1", "keys-00003",    "keys-00003.01", "lock",           "manifest.json",
        "",         "chunk-00003.1", "keys-.1",       "keys-00003.1.x", "keys-00003.1.part"};
    char name[ARCHIVE_NAME_MAX];
    enum archive_kind kind;
    uint32_t partition;
    uint64_t run;
    archive_name(ARCHIVE_CHUNKS, 65535, 12, name);
    assert_true(archive_name_parse(name, &kind, &partition, &run));
    assert_int_equal(kind, ARCHIVE_CHUNKS);
    assert_int_equal(partition, 65535);
    assert_int_equal(run, 12);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(archive_name_parse(bad[i], &kind, &partition, &run));
}

/* ---- manifests --------------------------------------------------------------------------- */

static void make_manifest(struct archive_manifest *m)
{
    *m = (struct archive_manifest){.cluster = UINT64_MAX - 1,
                                   .q = 4,
                                   .n = 3,
                                   .r = 2,
                                   .w = 2,
                                   .ring = {5, {1, 2}},
                                   .run = 3,
                                   .begun_ms = 1795808878140,
                                   .ended_ms = 1795808878150};
    archive_manifest_parts(m);
    for (uint32_t i = 0; i < 8; i++)
        m->parts[i] = (struct archive_part){
            .run = 1 + i % 3, .foot = {.rows = i, .value_bytes = 1ull << 60, .digest = {9}}};
    assert_int_equal(settings_set(&m->settings, slice_str("d"), SETTING_W, 3, 1000, 7), DYN_OK);
}

static void test_a_manifest_comes_back(void **state)
{
    (void)state;
    struct archive_manifest m, got = ARCHIVE_MANIFEST_EMPTY;
    struct buf one = BUF_EMPTY, two = BUF_EMPTY;
    make_manifest(&m);
    archive_manifest_encode(&m, &one);
    assert_int_equal(archive_manifest_decode(buf_slice(&one), &got), DYN_OK);
    archive_manifest_encode(&got, &two);
    assert_true(slice_equal(buf_slice(&one), buf_slice(&two)));
    assert_int_equal(got.settings.n, 1);
    assert_int_equal(archive_manifest_part(&got, ARCHIVE_CHUNKS, 1)->run, 3);
    assert_int_equal(archive_manifest_sum(&got).rows, 28);
    for (size_t n = 0; n + 2 < one.len; n++) /* cut anywhere before its last brace */
        assert_int_not_equal(archive_manifest_decode(slice_of(one.data, n), &got), DYN_OK);
    archive_manifest_release(&m);
    archive_manifest_release(&got);
    buf_release(&one);
    buf_release(&two);
}

static void test_a_manifest_without_some_part_is_none(void **state)
{
    (void)state;
    struct archive_manifest m, got = ARCHIVE_MANIFEST_EMPTY;
    struct buf text = BUF_EMPTY;
    make_manifest(&m);
    m.parts[5].run = 0;
    archive_manifest_encode(&m, &text);
    assert_int_equal(archive_manifest_decode(buf_slice(&text), &got), DYN_ERR_CORRUPT);
    buf_clear(&text);
    m.parts[5].run = 4; /* of a run that has not been */
    archive_manifest_encode(&m, &text);
    assert_int_equal(archive_manifest_decode(buf_slice(&text), &got), DYN_ERR_CORRUPT);
    assert_int_equal(
        archive_manifest_decode(slice_str("{\"format\":\"dynamount archive 2\"}"), &got),
        DYN_ERR_UNSUPPORTED);
    buf_release(&text);
    archive_manifest_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_is_read),
        cmocka_unit_test(test_no_changed_bit_and_no_cut_is_missed),
        cmocka_unit_test(test_pieces_cannot_be_exchanged),
        cmocka_unit_test(test_a_file_is_there_when_it_is_whole),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_a_manifest_comes_back),
        cmocka_unit_test(test_a_manifest_without_some_part_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
