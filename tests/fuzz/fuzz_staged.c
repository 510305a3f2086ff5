/* SPDX-License-Identifier: Apache-2.0 */
/* Records of the staging folder come from a disk, which rots, and from folders, which are copied.
 * What decodes, encodes to the same bytes or to what decodes to the same; and the frame around it
 * never hands out more than it holds. */
#include "adapter/stage_file.h"
#include "base/err.h"
#include "fuzz.h"
#include "model/key.h"
#include "model/staged.h"

static void claim_body(struct slice in)
{
    struct staged s, again;
    struct buf out = BUF_EMPTY, twice = BUF_EMPTY;
    if (staged_decode(in, &s) != DYN_OK)
        return;
    CLAIM(key_check(s.key, NULL) == DYN_OK && s.origin.writer != 0);
    CLAIM(s.kind != STAGED_FILE || s.shown.type == SIBLING_FILE);
    for (uint32_t i = 0; i < s.large.n; i++) {
        const struct chunk *c = &s.large.slots[i].chunk;
        CLAIM(c->len <= CHUNK_LEN && (uint64_t)c->index * CHUNK_LEN + c->len <= s.large.size);
    }
    staged_encode(&s, &out);
    CLAIM(staged_decode(buf_slice(&out), &again) == DYN_OK);
    staged_encode(&again, &twice);
    CLAIM(slice_equal(buf_slice(&out), buf_slice(&twice)));
    buf_release(&out);
    buf_release(&twice);
    staged_release(&s);
    staged_release(&again);
}

/* The checksum would keep every changed file from being looked at any further. */
static void claim_record(struct slice in)
{
    struct buf file = BUF_EMPTY;
    struct stage_part *parts;
    struct slice body;
    uint32_t n;
    uint8_t digest[DIGEST_LEN];
    digest_sha256(in, digest);
    buf_put_slice(&file, in);
    buf_put(&file, digest, DIGEST_LEN);
    if (stage_record_decode(buf_slice(&file), 7, &parts, &n, &body) == DYN_OK) {
        CLAIM(body.len + (size_t)n * 28 < file.len);
        for (uint32_t i = 0; i < n; i++)
            CLAIM(parts[i].len <= STAGE_CHUNK_MAX);
        free(parts);
    }
    buf_release(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    claim_body(slice_of(data, len));
    claim_record(slice_of(data, len));
    return 0;
}
