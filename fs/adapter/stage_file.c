/* SPDX-License-Identifier: Apache-2.0 */
/* See stage_file.h. */
#include "adapter/stage_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

#define FORMAT 1
#define PART_LEN (8u + 4u + DIGEST_LEN)
static const char magic[] = "DYNSTAGE";
#define MAGIC_LEN (sizeof(magic) - 1)

void stage_record_encode(uint64_t id, const struct stage_part *parts, uint32_t n, struct slice body,
                         struct buf *out)
{
    uint8_t digest[DIGEST_LEN];
    size_t start = out->len;
    buf_reserve(out, body.len + (size_t)n * PART_LEN + 64);
    buf_put_str(out, magic);
    buf_put_u32(out, FORMAT);
    buf_put_u64(out, id);
    buf_put_u32(out, n);
    for (uint32_t i = 0; i < n; i++) {
        buf_put_u64(out, parts[i].stamp);
        buf_put_u32(out, parts[i].len);
        buf_put(out, parts[i].digest, DIGEST_LEN);
    }
    buf_put_u32(out, (uint32_t)body.len);
    buf_put_slice(out, body);
    digest_sha256(slice_of(out->data + start, out->len - start), digest);
    buf_put(out, digest, DIGEST_LEN);
}

int stage_record_decode(struct slice file, uint64_t id, struct stage_part **parts, uint32_t *n,
                        struct slice *body)
{
    uint8_t digest[DIGEST_LEN];
    if (file.len < MAGIC_LEN + 4 + DIGEST_LEN || memcmp(file.data, magic, MAGIC_LEN) != 0)
        return DYN_ERR_CORRUPT;
    struct slice all = slice_of(file.data, file.len - DIGEST_LEN);
    digest_sha256(all, digest);
    if (memcmp(digest, file.data + all.len, DIGEST_LEN) != 0)
        return DYN_ERR_CORRUPT;
    struct reader r = reader_of(all);
    read_raw(&r, MAGIC_LEN);
    if (read_u32(&r) != FORMAT)
        return DYN_ERR_UNSUPPORTED;
    if (read_u64(&r) != id) /* a file that was renamed: two could publish the same change */
        reader_fail(&r);
    uint32_t count = read_u32(&r);
    if (count > STAGE_CHUNKS_MAX || count > reader_left(&r) / PART_LEN)
        reader_fail(&r);
    if (!reader_ok(&r))
        return DYN_ERR_CORRUPT;
    struct stage_part *got = mem_reallocarray(NULL, count + 1, sizeof(*got));
    for (uint32_t i = 0; i < count; i++) {
        got[i].stamp = read_u64(&r);
        got[i].len = read_u32(&r);
        read_copy(&r, got[i].digest, DIGEST_LEN);
        if (got[i].len > STAGE_CHUNK_MAX)
            reader_fail(&r);
    }
    struct slice bytes = read_raw(&r, read_u32(&r));
    if (!reader_done(&r)) {
        free(got);
        return DYN_ERR_CORRUPT;
    }
    *parts = got;
    *n = count;
    *body = bytes;
    return DYN_OK;
}

/* ---- names ------------------------------------------------------------------------------- */

void stage_name_record(uint64_t id, char out[STAGE_NAME_MAX])
{
    snprintf(out, STAGE_NAME_MAX, "%016llx", (unsigned long long)id);
}

void stage_name_chunk(uint64_t id, uint64_t stamp, char out[STAGE_NAME_MAX])
{
    snprintf(out, STAGE_NAME_MAX, "%016llx.%016llx", (unsigned long long)id,
             (unsigned long long)stamp);
}

static bool parse_hex(const char *text, uint64_t *out)
{
    uint64_t v = 0;
    for (int i = 0; i < 16; i++) {
        char c = text[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        v = v << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *out = v;
    return true;
}

enum stage_name stage_name_parse(const char *name, uint64_t *id, uint64_t *stamp)
{
    size_t len = strlen(name);
    if (len < 16 || !parse_hex(name, id))
        return STAGE_FOREIGN;
    if (len == 16)
        return STAGE_RECORD;
    if (strcmp(name + 16, ".new") == 0)
        return STAGE_UNFINISHED;
    if (len == 33 && name[16] == '.' && parse_hex(name + 17, stamp))
        return STAGE_CHUNK;
    return STAGE_FOREIGN;
}

/* ---- files ------------------------------------------------------------------------------- */

static int failure(void)
{
    return errno == ENOSPC || errno == EDQUOT ? DYN_ERR_NO_SPACE : DYN_ERR_IO;
}

static int write_all(int fd, struct slice bytes)
{
    for (size_t done = 0; done < bytes.len;) {
        ssize_t n = write(fd, bytes.data + done, bytes.len - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return failure();
    }
    return fdatasync(fd) == 0 ? DYN_OK : failure();
}

int stage_file_write(int dir, const char *name, struct slice bytes)
{
    char unfinished[STAGE_NAME_MAX];
    snprintf(unfinished, sizeof(unfinished), "%.16s.new", name);
    unlinkat(dir, unfinished, 0); /* of a run that was killed; mostly there is none */
    int fd = openat(dir, unfinished, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return failure();
    int err = write_all(fd, bytes);
    if (close(fd) != 0 && err == DYN_OK)
        err = failure();
    if (err == DYN_OK && renameat(dir, unfinished, dir, name) != 0)
        err = failure();
    if (err != DYN_OK)
        unlinkat(dir, unfinished, 0);
    return err;
}

int stage_file_read(int dir, const char *name, size_t max, struct buf *out)
{
    struct stat st;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? DYN_ERR_NOT_FOUND : DYN_ERR_IO;
    int err = fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ? DYN_ERR_IO
              : (uint64_t)st.st_size > max                ? DYN_ERR_TOO_LARGE
                                                          : DYN_OK;
    size_t left = err == DYN_OK ? (size_t)st.st_size : 0;
    buf_reserve(out, left + 1);
    while (left > 0 && err == DYN_OK) {
        ssize_t n = read(fd, out->data + out->len, left);
        if (n > 0) {
            out->len += (size_t)n;
            left -= (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            err = DYN_ERR_IO;
        }
    }
    close(fd);
    return err;
}
