/* SPDX-License-Identifier: Apache-2.0 */
/* Names and sentences for enum dyn_err, in one table so that no code path invents its own wording.
 */
#include "base/err.h"

#include <stddef.h>

static const struct {
    int err;
    const char *code, *message;
} table[] = {
    {DYN_OK, "ok", "no error"},
    {DYN_ERR_INVALID, "invalid", "the request breaks a rule"},
    {DYN_ERR_CORRUPT, "corrupt", "the data does not decode"},
    {DYN_ERR_TOO_LARGE, "too_large", "larger than the configured limit"},
    {DYN_ERR_NOT_FOUND, "not_found", "no such key"},
    {DYN_ERR_EXISTS, "exists", "a live version already exists"},
    {DYN_ERR_TIMEOUT, "timeout", "no answer before the deadline"},
    {DYN_ERR_NO_QUORUM, "no_quorum", "too few replicas answered"},
    {DYN_ERR_UNREACHABLE, "unreachable", "the node cannot be reached"},
    {DYN_ERR_REFUSED, "refused", "the node refuses to serve this request"},
    {DYN_ERR_BAD_CONTEXT, "bad_context", "the context was not made by this cluster for this key"},
    {DYN_ERR_OVERLOAD, "overload", "the node is over its limits, try again later"},
    {DYN_ERR_NO_SPACE, "no_space", "the disk is full"},
    {DYN_ERR_IO, "io", "the disk failed"},
    {DYN_ERR_STOPPED, "stopped", "the node is stopping"},
    {DYN_ERR_STALE, "stale", "that version is superseded and gone"},
    {DYN_ERR_UNSUPPORTED, "unsupported", "not supported"},
    {DYN_ERR_CONFLICT, "conflict", "too many siblings, read them and write with their context"},
    {DYN_ERR_DENIED, "denied", "not authorized"},
    {DYN_ERR_PROTOCOL, "protocol", "the peer broke the protocol"},
    {DYN_ERR_CANCELED, "canceled", "canceled"},
    {DYN_ERR_NOT_EMPTY, "not_empty", "the directory is not empty"},
    {DYN_ERR_BASE_LACKING, "base_lacking",
     "the version that the value extends is not at this node"},
};

const char *dyn_err_code(int err)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].err == err)
            return table[i].code;
    return "unknown";
}

const char *dyn_err_message(int err)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].err == err)
            return table[i].message;
    return "unknown error";
}
