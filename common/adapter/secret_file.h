/* SPDX-License-Identifier: Apache-2.0 */
/* The file that holds the secret of a cluster: by it nodes know each other, and whoever has it may
 * tell them anything. So nobody but its owner may read it. */
#ifndef DYN_ADAPTER_SECRET_FILE_H
#define DYN_ADAPTER_SECRET_FILE_H

#include "base/buf.h"

/* Appends the secret, without the end of its line. DYN_ERR_IO, DYN_ERR_DENIED (others may use the
 * file), DYN_ERR_INVALID (length), with *message, which names the file; caller frees. */
int secret_file_load(const char *path, struct buf *out, char **message);
void secret_file_release(struct buf *secret); /* overwrites it first */

#endif
