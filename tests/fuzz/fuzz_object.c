/* SPDX-License-Identifier: Apache-2.0 */
/* Objects come from peers and from disk. What decodes must encode to a fixed point, join with
 * itself without a change, and project to an entry that decodes too. */
#include "base/err.h"
#include "fuzz.h"
#include "model/object.h"

static bool decode(struct slice in, struct object *o)
{
    struct reader r = reader_of(in);
    object_decode(&r, o);
    if (reader_ok(&r) && reader_left(&r) > 0)
        object_values_decode(&r, o);
    return reader_ok(&r);
}

static void claim_fixed_point(const struct object *o)
{
    struct buf once = BUF_EMPTY, twice = BUF_EMPTY;
    struct object again = OBJECT_EMPTY;
    object_encode(o, &once);
    object_values_encode(o, &once);
    CLAIM(decode(buf_slice(&once), &again));
    object_encode(&again, &twice);
    object_values_encode(&again, &twice);
    CLAIM(slice_equal(buf_slice(&once), buf_slice(&twice)));
    CLAIM(object_equal(o, &again));
    object_release(&again);
    buf_release(&once);
    buf_release(&twice);
}

/* Decoded siblings may still be due to collapse, once; after that a join with itself is idle. */
static void claim_join_is_idempotent(const struct object *o)
{
    struct object joined = OBJECT_EMPTY, copy = OBJECT_EMPTY;
    object_copy(&joined, o);
    object_join(&joined, o);
    object_copy(&copy, &joined);
    CLAIM(!object_join(&joined, &copy));
    CLAIM(object_equal(&joined, &copy));
    object_release(&joined);
    object_release(&copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct object o = OBJECT_EMPTY, entry = OBJECT_EMPTY;
    if (decode(slice_of(data, len), &o)) {
        claim_fixed_point(&o);
        claim_join_is_idempotent(&o);
        object_project(&o, &entry);
        claim_fixed_point(&entry);
        object_release(&entry);
    }
    object_release(&o);
    return 0;
}
