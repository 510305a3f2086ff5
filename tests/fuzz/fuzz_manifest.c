/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests come from clients. What decodes names no bytes beyond its file, and encodes to what
 * decodes to the same; so does a reference to an upload. */
#include "base/err.h"
#include "fuzz.h"
#include "model/chunk_io.h"

static void claim_manifest(struct slice in)
{
    struct manifest m = MANIFEST_EMPTY, again = MANIFEST_EMPTY;
    struct buf out = BUF_EMPTY;
    if (manifest_decode(in, &m) != DYN_OK)
        return;
    for (uint32_t i = 0; i < m.n; i++) {
        CLAIM(m.chunks[i].upload < m.n_uploads && m.chunks[i].len > 0);
        CLAIM((uint64_t)m.chunks[i].index * CHUNK_LEN + m.chunks[i].len <= m.size);
        CLAIM(manifest_find(&m, m.chunks[i].index) == &m.chunks[i]);
    }
    manifest_encode(&m, &out);
    CLAIM(manifest_decode(buf_slice(&out), &again) == DYN_OK);
    CLAIM(manifest_same_bytes(&m, &again) && manifest_allocated(&m) == manifest_allocated(&again));
    buf_release(&out);
    manifest_release(&m);
    manifest_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct slice key;
    uint32_t numbers;
    claim_manifest(slice_of(data, len));
    if (upload_ref_decode(slice_of(data, len), &key, &numbers) == DYN_OK)
        CLAIM(key.len > 0 && key.len < len);
    return 0;
}
