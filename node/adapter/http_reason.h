/* SPDX-License-Identifier: Apache-2.0 */
/* What a status line says beside the number. */
#ifndef DYN_ADAPTER_HTTP_REASON_H
#define DYN_ADAPTER_HTTP_REASON_H

const char *http_reason(int status); /* "Unknown" for others */

#endif
