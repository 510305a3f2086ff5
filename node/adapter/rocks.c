/* SPDX-License-Identifier: Apache-2.0 */
/* See rocks.h. RocksDB's defaults are made for somebody who would rather go on than know; the
 * options here turn that round (HAZARDS E20):
 *
 * - max_bgerror_resume_count=0: by default a failed sync of a table or manifest is retried by
 *   itself, for ever. There is no setter for it in the C API, so it goes through the options
 *   string.
 * - manual_wal_flush=false: a write that returned is in the page cache and survives kill -9.
 * - paranoid_checks=true: a failed background write stops writes.
 * - wal_recovery_mode=kPointInTimeRecovery: after power loss the log's tail may be torn, or pages
 * of it zero, and the node must start all the same, so the stricter modes will not do: absolute
 *   consistency refuses any torn tail, tolerating "corrupted tail records" refuses a tail that is
 *   whole in length but bad in content. The price is that replay also stops without a word at a
 *   record that rotted in the middle. What can be detected of that is: a clean stop writes its mark
 *   last, so a mark found means that replay reached the end; and the owner compares the sequence
 *   number with what was synced.
 *
 * Whatever is merged level by level costs as much processor time as writing it did. So eight tables
 * wait for that, not four, and those are not compressed: most of what is in them is overwritten.
 *
 * One thread writes, so memtables need not take inserts from several. Half of all reads of objects
 * and entries look for what a memtable does not hold: its Bloom filter answers those. Memtables
 * that hash find out as fast without one, and it costs each insert two looks at cold memory.
 *
 * By default RocksDB counts what each thread does, down to each comparison of two keys: a sixth of
 * what a write costs, for numbers that nobody reads. */
#include "adapter/rocks.h"

#include <errno.h>
#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "adapter/rocks_crc.h"
#include "base/err.h"
#include "base/mem.h"

enum { FAMILIES = STORE_FAMILIES + 1, SKIP_MAX = 8192, TIER_MEMORY = 1 };
enum { BOTTOM_TOO = 3 }; /* BottommostLevelCompaction::kForceOptimized */

/* Blobs are collected from when so much of a hundred bytes of them is garbage until so much is: for
 * each byte of garbage two or three that live are copied then, and blobs take one and a half times
 * the room of what they hold. */
enum { COLLECT_FROM = 35, COLLECT_UNTIL = 25 };

/* `default` is the one that RocksDB insists on. */
static const char *const family_names[FAMILIES] = {"meta", "value", "hint",
                                                   "tree", "local", "default"};

static const char options_text[] =
    "create_if_missing=true;create_missing_column_families=true;"
    "paranoid_checks=true;max_bgerror_resume_count=0;manual_wal_flush=false;"
    "wal_recovery_mode=kPointInTimeRecovery;"
    "max_open_files=256;max_background_jobs=2;bytes_per_sync=1048576;"
    "max_total_wal_size=134217728;avoid_unnecessary_blocking_io=true;"
    "stats_dump_period_sec=0;stats_persist_period_sec=0;"
    "keep_log_file_num=3;max_log_file_size=4194304;info_log_level=WARN_LEVEL;"
    "compression_per_level=kNoCompression:kLZ4Compression;"
    "level_compaction_dynamic_level_bytes=true;level0_file_num_compaction_trigger=8;"
    "allow_concurrent_memtable_write=false;enable_write_thread_adaptive_yield=false;"
    "memtable_prefix_bloom_size_ratio=0.02;memtable_whole_key_filtering=true;"
    "max_write_buffer_number=4;level0_slowdown_writes_trigger=40;level0_stop_writes_trigger=80;"
    "soft_pending_compaction_bytes_limit=0;hard_pending_compaction_bytes_limit=0;";

struct rocks {
    rocksdb_t *db;
    rocksdb_options_t *options[FAMILIES];
    rocksdb_column_family_handle_t *families[FAMILIES];
    rocksdb_cache_t *cache;
    bool collects; /* blobs */
    rocksdb_writebatch_t *batch;
    rocksdb_writeoptions_t *write;
    rocksdb_readoptions_t *from_memory, *from_disk;
};

static bool starts_with(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

/* What a status in words means; the C API has no other. */
static int status_code(const char *status)
{
    if (status == NULL)
        return DYN_OK;
    if (starts_with(status, "Result incomplete"))
        return ROCKS_INCOMPLETE;
    if (strstr(status, "No space left on device") != NULL ||
        strstr(status, "Space limit reached") != NULL)
        return DYN_ERR_NO_SPACE;
    return starts_with(status, "Corruption") ? DYN_ERR_CORRUPT : DYN_ERR_IO;
}

/* Takes the status. */
static int fail_with(char *status, char **message)
{
    int err = status_code(status);
    if (err != DYN_OK)
        *message = mem_strdup(status);
    rocksdb_free(status);
    return err;
}

static int drop_status(char *status)
{
    int err = status_code(status);
    rocksdb_free(status);
    return err;
}

/* --- opening -------------------------------------------------------------------------------- */

static void set_table_options(rocksdb_options_t *o, rocksdb_cache_t *cache)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(t, cache);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_block_based_options_set_data_block_index_type(
        t, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    rocksdb_block_based_options_set_data_block_hash_ratio(t, 0.75);
    /* Indexes and filters count against the cache: else they grow with the data, unbounded. */
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    rocksdb_options_set_block_based_table_factory(o, t); /* copies; shares cache and policy */
    rocksdb_block_based_options_destroy(t);
}

static void set_blob_options(rocksdb_options_t *o, const struct rocks_config *config,
                             rocksdb_cache_t *cache)
{
    rocksdb_options_set_enable_blob_files(o, 1);
    rocksdb_options_set_min_blob_size(o, config->blob_bytes);
    rocksdb_options_set_blob_file_size(o, 64 << 20);
    rocksdb_options_set_enable_blob_gc(o, 0); /* until there is garbage: rocks_collect_blobs */
    rocksdb_options_set_blob_gc_force_threshold(o, COLLECT_FROM / 100.0);
    rocksdb_options_set_blob_cache(o, cache);
}

/* A memtable in order has to find the place of each new row by a dozen comparisons in cold memory;
 * one that hashes the start of a key finds a short list at once. Values are found by their whole
 * key, and hardly ever walked. Rows of trees are hashed by what is walked together: sums by
 * partition and N, the index of rows by leaf, so that a large directory's is not one long list. A
 * walk over more makes an order of the whole memtable first: objects and entries, which are walked
 * by partition too, stay in order. */
static size_t tree_start_len(const uint8_t *key, size_t len)
{
    enum { KIND_AT = 5, SUMS_LEN = 6, INDEX_LEN = 8 }; /* node/engine/trees/tree.h */
    return len > KIND_AT && key[KIND_AT] == 'k' ? INDEX_LEN : SUMS_LEN;
}

static char *tree_start(void *state, const char *key, size_t len, size_t *start_len)
{
    (void)state;
    size_t start = tree_start_len((const uint8_t *)key, len);
    *start_len = start < len ? start : len;
    return (char *)(uintptr_t)key;
}

static unsigned char has_tree_start(void *state, const char *key, size_t len)
{
    (void)state;
    (void)key;
    (void)len;
    return 1;
}

static const char *tree_start_name(void *state)
{
    (void)state;
    return "dynamount.tree";
}

static void nothing_to_free(void *state)
{
    (void)state;
}

/* Do all rows with this prefix lie in one list, or in order? */
static bool walked_together(enum store_family f, struct slice prefix)
{
    if (f == STORE_TREE)
        return prefix.len >= tree_start_len(prefix.data, prefix.len);
    return f != STORE_VALUE;
}

/* A list of 4^height rows is found through fast; the sums of a large directory are in one. */
static const struct {
    size_t buckets;
    int height;
} hashed[FAMILIES] = {[STORE_VALUE] = {16384, 4}, [STORE_TREE] = {4096, 8}};

static void set_hashed_memtable(rocksdb_options_t *o, int f)
{
    if (hashed[f].buckets == 0)
        return;
    rocksdb_options_set_prefix_extractor(
        o, f == STORE_VALUE
               ? rocksdb_slicetransform_create_noop()
               : rocksdb_slicetransform_create(NULL, nothing_to_free, tree_start, has_tree_start,
                                               has_tree_start, tree_start_name));
    rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, 0);
    rocksdb_options_set_memtable_whole_key_filtering(o, 0);
    rocksdb_options_set_hash_skip_list_rep(o, hashed[f].buckets, hashed[f].height, 4);
}

/* ---- merging (store_merge) on RocksDB's threads ---- */

static char *xor_all(const char *const *operands, const size_t *lengths, int n, char *sum)
{
    for (int i = 0; i < n; i++) {
        if (lengths[i] != STORE_MERGE_LEN) {
            free(sum);
            return NULL;
        }
        store_merge((uint8_t *)sum, (const uint8_t *)operands[i]);
    }
    return sum;
}

static char *merge_all(void *state, const char *key, size_t key_len, const char *existing,
                       size_t existing_len, const char *const *operands, const size_t *lengths,
                       int n, unsigned char *success, size_t *len)
{
    (void)state;
    (void)key;
    (void)key_len;
    char *sum = mem_zalloc(STORE_MERGE_LEN);
    if (existing != NULL)
        sum = xor_all(&existing, &existing_len, 1, sum);
    if (sum != NULL)
        sum = xor_all(operands, lengths, n, sum);
    *success = sum != NULL; /* no: the row reads as corrupt */
    *len = STORE_MERGE_LEN;
    return sum;
}

static char *merge_operands(void *state, const char *key, size_t key_len,
                            const char *const *operands, const size_t *lengths, int n,
                            unsigned char *success, size_t *len)
{
    return merge_all(state, key, key_len, NULL, 0, operands, lengths, n, success, len);
}

static void merge_free(void *state, const char *value, size_t len)
{
    (void)state;
    (void)len;
    free((void *)(uintptr_t)value);
}

static const char *merge_name(void *state)
{
    (void)state;
    return "dynamount.xor";
}

/* A row that is merged into again and again keeps its operands until its memtable is written out:
 * some ten thousand at most, a millisecond for whoever reads it. max_successive_merges would bound
 * them, but it looks the row up before each merge, which costs more than the merge. */
static void set_merging(rocksdb_options_t *o)
{
    rocksdb_options_set_merge_operator(o, rocksdb_mergeoperator_create(NULL, nothing_to_free,
                                                                       merge_all, merge_operands,
                                                                       merge_free, merge_name));
}

static int make_options(struct rocks *r, const struct rocks_config *config, char **message)
{
    rocksdb_options_t *plain = rocksdb_options_create();
    char *status = NULL;
    r->cache = rocksdb_cache_create_lru(config->cache_bytes);
    for (int f = 0; f < FAMILIES; f++) {
        r->options[f] = rocksdb_options_create();
        rocksdb_get_options_from_string(plain, options_text, r->options[f], &status);
        if (status != NULL)
            break;
        set_table_options(r->options[f], r->cache);
        rocksdb_options_set_db_write_buffer_size(r->options[f], config->write_buffer_bytes);
        rocksdb_options_set_write_buffer_size(r->options[f], config->write_buffer_bytes);
        if (f == STORE_VALUE)
            set_blob_options(r->options[f], config, r->cache);
        if (f == STORE_TREE)
            set_merging(r->options[f]);
        set_hashed_memtable(r->options[f], f);
    }
    rocksdb_options_destroy(plain);
    return fail_with(status, message);
}

static int open_database(struct rocks *r, const char *path, char **message)
{
    char *status = NULL;
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        *message = mem_printf("cannot make %s: %s", path, strerror(errno));
        return DYN_ERR_IO;
    }
    r->db = rocksdb_open_column_families(r->options[ROCKS_OWN], path, FAMILIES, family_names,
                                         (const rocksdb_options_t *const *)r->options, r->families,
                                         &status);
    if (status == NULL)
        return DYN_OK;
    int err = status_code(status);
    if (strstr(status, "LOCK") != NULL || strstr(status, "lock hold by") != NULL) {
        err = DYN_ERR_EXISTS;
        *message = mem_printf("the store in %s is in use by another process", path);
    } else if (starts_with(status, "Invalid argument: Column families not opened")) {
        err = DYN_ERR_INVALID;
        *message = mem_printf("the store in %s was written by a newer version", path);
    } else {
        *message = mem_printf("cannot open the store in %s: %s", path, status);
    }
    rocksdb_free(status);
    return err;
}

int rocks_open(const struct rocks_config *config, struct rocks **out, char **message)
{
    struct rocks *r = mem_new(struct rocks);
    rocksdb_set_perf_level(rocksdb_disable);
    rocks_crc_in_place(); /* chosen now; and being named here brings it into the program */
    int err = make_options(r, config, message);
    if (err == DYN_OK)
        err = open_database(r, config->path, message);
    if (err != DYN_OK) {
        rocks_close(r);
        return err;
    }
    r->batch = rocksdb_writebatch_create();
    r->write = rocksdb_writeoptions_create();
    r->from_disk = rocksdb_readoptions_create();
    r->from_memory = rocksdb_readoptions_create();
    rocksdb_readoptions_set_read_tier(r->from_memory, TIER_MEMORY);
    *out = r;
    return DYN_OK;
}

void rocks_close(struct rocks *r)
{
    if (r == NULL)
        return;
    for (int f = 0; f < FAMILIES && r->db != NULL; f++)
        rocksdb_column_family_handle_destroy(r->families[f]);
    if (r->db != NULL)
        rocksdb_close(r->db);
    for (int f = 0; f < FAMILIES; f++) {
        if (r->options[f] != NULL)
            rocksdb_options_destroy(r->options[f]);
    }
    if (r->cache != NULL)
        rocksdb_cache_destroy(r->cache);
    if (r->batch != NULL) {
        rocksdb_writebatch_destroy(r->batch);
        rocksdb_writeoptions_destroy(r->write);
        rocksdb_readoptions_destroy(r->from_disk);
        rocksdb_readoptions_destroy(r->from_memory);
    }
    free(r);
}

/* --- numbers -------------------------------------------------------------------------------- */

uint64_t rocks_sequence(const struct rocks *r)
{
    return rocksdb_get_latest_sequence_number(r->db);
}

uint64_t rocks_background_errors(const struct rocks *r)
{
    uint64_t n = 0;
    return rocksdb_property_int(r->db, "rocksdb.background-errors", &n) == 0 ? n : 0;
}

uint64_t rocks_bytes_used(const struct rocks *r)
{
    static const char *const parts[] = {"rocksdb.total-sst-files-size",
                                        "rocksdb.total-blob-file-size",
                                        "rocksdb.cur-size-all-mem-tables"};
    uint64_t sum = 0;
    for (int f = 0; f < FAMILIES; f++) {
        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
            uint64_t n = 0;
            if (rocksdb_property_int_cf(r->db, r->families[f], parts[i], &n) == 0)
                sum += n;
        }
    }
    return sum;
}

/* --- writing -------------------------------------------------------------------------------- */

void rocks_batch_put(struct rocks *r, enum store_family f, struct slice key, struct slice value)
{
    rocksdb_writebatch_put_cf(r->batch, r->families[f], (const char *)key.data, key.len,
                              (const char *)value.data, value.len);
}

void rocks_batch_delete(struct rocks *r, enum store_family f, struct slice key)
{
    rocksdb_writebatch_delete_cf(r->batch, r->families[f], (const char *)key.data, key.len);
}

void rocks_batch_merge(struct rocks *r, enum store_family f, struct slice key, struct slice operand)
{
    rocksdb_writebatch_merge_cf(r->batch, r->families[f], (const char *)key.data, key.len,
                                (const char *)operand.data, operand.len);
}

void rocks_batch_clear(struct rocks *r)
{
    rocksdb_writebatch_clear(r->batch);
}

int rocks_write(struct rocks *r, char **message)
{
    char *status = NULL;
    rocksdb_write(r->db, r->write, r->batch, &status);
    rocksdb_writebatch_clear(r->batch);
    return fail_with(status, message);
}

static void add_ops(const struct rocks *r, rocksdb_writebatch_t *to,
                    const struct store_batch *batch)
{
    size_t at = 0;
    enum store_op_type type;
    enum store_family f;
    struct slice key, value;
    while (store_batch_next(batch, &at, &type, &f, &key, &value)) {
        const char *k = (const char *)key.data, *v = (const char *)value.data;
        if (type == STORE_PUT)
            rocksdb_writebatch_put_cf(to, r->families[f], k, key.len, v, value.len);
        else if (type == STORE_MERGE)
            rocksdb_writebatch_merge_cf(to, r->families[f], k, key.len, v, value.len);
        else
            rocksdb_writebatch_delete_cf(to, r->families[f], k, key.len);
    }
}

int rocks_write_all(struct rocks *r, const struct store_batch *const *batches, uint32_t n,
                    char **message)
{
    rocksdb_writebatch_t *all = rocksdb_writebatch_create();
    char *status = NULL;
    rocksdb_set_perf_level(rocksdb_disable); /* of this thread */
    for (uint32_t i = 0; i < n; i++)
        add_ops(r, all, batches[i]);
    rocksdb_write(r->db, r->write, all, &status);
    rocksdb_writebatch_destroy(all);
    return fail_with(status, message);
}

/* While it collects, each compaction copies the living blobs out of the oldest quarter of all
 * files, whether there is garbage in them or not: a store that grows would be copied ever again. */
bool rocks_collect_blobs(struct rocks *r, bool any)
{
    static const char *const names[] = {"enable_blob_garbage_collection"};
    rocksdb_column_family_handle_t *values = r->families[STORE_VALUE];
    uint64_t all = 0, garbage = 0;
    char *status = NULL;
    if (rocksdb_property_int_cf(r->db, values, "rocksdb.live-blob-file-size", &all) != 0 ||
        rocksdb_property_int_cf(r->db, values, "rocksdb.live-blob-file-garbage-size", &garbage) !=
            0)
        return r->collects;
    uint64_t share = r->collects ? COLLECT_UNTIL : COLLECT_FROM;
    bool collects = any || (garbage > 0 && garbage / share >= all / 100);
    if (collects == r->collects)
        return collects;
    rocksdb_set_options_cf(r->db, values, 1, names,
                           (const char *const[]){collects ? "true" : "false"}, &status);
    if (drop_status(status) == DYN_OK) /* else the next time */
        r->collects = collects;
    return r->collects;
}

int rocks_sync(struct rocks *r, char **message)
{
    char *status = NULL;
    rocksdb_flush_wal(r->db, 1, &status);
    return fail_with(status, message);
}

int rocks_flush(struct rocks *r, char **message)
{
    rocksdb_flushoptions_t *how = rocksdb_flushoptions_create();
    char *status = NULL;
    for (int f = 0; f < FAMILIES && status == NULL; f++)
        rocksdb_flush_cf(r->db, how, r->families[f], &status);
    rocksdb_flushoptions_destroy(how);
    return fail_with(status, message);
}

void rocks_reclaim(struct rocks *r, enum store_family f)
{
    rocksdb_compactoptions_t *how = rocksdb_compactoptions_create();
    if (f == STORE_VALUE && r->collects) /* else what lies at the bottom stays as it is */
        rocksdb_compactoptions_set_bottommost_level_compaction(how, BOTTOM_TOO);
    rocksdb_compact_range_cf_opt(r->db, r->families[f], how, NULL, 0, NULL, 0); /* flushes first */
    rocksdb_compactoptions_destroy(how);
}

void rocks_reclaim_no_more(struct rocks *r)
{
    rocksdb_disable_manual_compaction(r->db);
}

/* --- reading -------------------------------------------------------------------------------- */

int rocks_get(const struct rocks *r, enum store_family f, struct slice key, bool memory_only,
              struct rocks_value **out)
{
    char *status = NULL;
    rocksdb_pinnableslice_t *v =
        rocksdb_get_pinned_cf(r->db, memory_only ? r->from_memory : r->from_disk, r->families[f],
                              (const char *)key.data, key.len, &status);
    int err = drop_status(status);
    size_t len = 0;
    if (err == DYN_OK && v == NULL)
        err = DYN_ERR_NOT_FOUND;
    if (err == DYN_OK)
        rocksdb_pinnableslice_value(v, &len);
    if (err == DYN_OK && len == 0 && memory_only) {
        /* What it also says of a table that is not open, whether the row is there or not. */
        rocksdb_pinnableslice_destroy(v);
        return ROCKS_INCOMPLETE;
    }
    if (err == DYN_OK)
        *out = (struct rocks_value *)v;
    return err;
}

struct slice rocks_value_slice(const struct rocks_value *v)
{
    struct slice s;
    s.data =
        (const uint8_t *)rocksdb_pinnableslice_value((const rocksdb_pinnableslice_t *)v, &s.len);
    return s;
}

void rocks_value_free(struct rocks_value *v)
{
    rocksdb_pinnableslice_destroy((rocksdb_pinnableslice_t *)v);
}

struct rocks_cursor {
    rocksdb_readoptions_t *options;
    rocksdb_iterator_t *it;
    struct buf end; /* lives as long as the iterator, which borrows it */
};

/* The least key greater than all with this prefix. False when there is none. */
static bool prefix_end(struct slice prefix, struct buf *out)
{
    size_t len = prefix.len;
    while (len > 0 && prefix.data[len - 1] == 0xff)
        len--;
    buf_put(out, prefix.data, len);
    if (len > 0)
        out->data[len - 1]++;
    return len > 0;
}

struct rocks_cursor *rocks_cursor_new(const struct rocks *r, enum store_family f,
                                      struct slice prefix, struct slice from,
                                      enum rocks_cursor_mode mode)
{
    struct rocks_cursor *c = mem_new(struct rocks_cursor);
    struct slice at = slice_compare(from, prefix) > 0 ? from : prefix;
    c->options = rocksdb_readoptions_create();
    /* Nothing here is deleted by range. And 7.8, which looks for such deletions where one table of
     * a level ends and the next begins, takes no notice there of what that next one says: that it
     * is not in memory, or cannot be read. The rest of the level would be missing without a word
     * (fixed in 8.7, pull request 11782). */
    rocksdb_readoptions_set_ignore_range_deletions(c->options, 1);
    if (prefix_end(prefix, &c->end))
        rocksdb_readoptions_set_iterate_upper_bound(c->options, (const char *)c->end.data,
                                                    c->end.len);
    if (mode == ROCKS_CURSOR_MEMORY) {
        rocksdb_readoptions_set_read_tier(c->options, TIER_MEMORY);
        /* Passing over many deleted rows takes time as well: then it is incomplete too. */
        rocksdb_readoptions_set_max_skippable_internal_keys(c->options, SKIP_MAX);
    }
    /* else a memtable that hashes is walked one bucket only */
    rocksdb_readoptions_set_total_order_seek(c->options, !walked_together(f, prefix));
    rocksdb_readoptions_set_fill_cache(c->options, mode != ROCKS_CURSOR_ONCE);
    c->it = rocksdb_create_iterator_cf(r->db, c->options, r->families[f]);
    rocksdb_iter_seek(c->it, (const char *)at.data, at.len);
    return c;
}

void rocks_cursor_free(struct rocks_cursor *c)
{
    if (c == NULL)
        return;
    rocksdb_iter_destroy(c->it);
    rocksdb_readoptions_destroy(c->options);
    buf_release(&c->end);
    free(c);
}

bool rocks_cursor_row(const struct rocks_cursor *c, struct slice *key, struct slice *value)
{
    if (!rocksdb_iter_valid(c->it))
        return false;
    key->data = (const uint8_t *)rocksdb_iter_key(c->it, &key->len);
    value->data = (const uint8_t *)rocksdb_iter_value(c->it, &value->len);
    return true;
}

void rocks_cursor_next(struct rocks_cursor *c)
{
    rocksdb_iter_next(c->it);
}

int rocks_cursor_error(const struct rocks_cursor *c)
{
    char *status = NULL;
    rocksdb_iter_get_error(c->it, &status);
    return drop_status(status);
}
