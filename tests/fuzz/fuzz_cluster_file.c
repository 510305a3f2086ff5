/* SPDX-License-Identifier: Apache-2.0 */
/* Cluster files are edited by people, and come from anywhere. What parses must be written as a file
 * that parses to the same history. */
#include "adapter/cluster_file.h"
#include "base/err.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct history h = HISTORY_EMPTY, again = HISTORY_EMPTY;
    struct buf text = BUF_EMPTY;
    char *message = NULL;
    if (cluster_file_parse("file", slice_of(data, len), &h, &message) == DYN_OK) {
        cluster_file_format(&h, &text);
        CLAIM(cluster_file_parse("again", buf_slice(&text), &again, &message) == DYN_OK);
        struct history_epoch a = history_epoch(&h), b = history_epoch(&again);
        CLAIM(history_epoch_equal(&a, &b));
    } else {
        CLAIM(message != NULL);
    }
    free(message);
    history_release(&h);
    history_release(&again);
    buf_release(&text);
    return 0;
}
