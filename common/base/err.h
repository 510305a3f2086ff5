/* SPDX-License-Identifier: Apache-2.0 */
/* One error enum for the whole project. Functions return DYN_OK or one of these negative values and
 * leave their outputs untouched on failure. The numbers travel between nodes: append, never
 * renumber. */
#ifndef DYN_BASE_ERR_H
#define DYN_BASE_ERR_H

enum dyn_err {
    DYN_OK = 0,
    DYN_ERR_INVALID = -1,       /* an argument breaks a rule; the message says which */
    DYN_ERR_CORRUPT = -2,       /* stored or received bytes do not decode */
    DYN_ERR_TOO_LARGE = -3,     /* over a configured limit */
    DYN_ERR_NOT_FOUND = -4,     /* no such key, or only a tombstone */
    DYN_ERR_EXISTS = -5,        /* asked to be absent, but a live version is there */
    DYN_ERR_TIMEOUT = -6,       /* no answer before the deadline */
    DYN_ERR_NO_QUORUM = -7,     /* fewer than R or W nodes answered */
    DYN_ERR_UNREACHABLE = -8,   /* the peer cannot be reached (refused, reset, thought down) */
    DYN_ERR_REFUSED = -9,       /* the peer is not who it was meant to be, or must not serve this */
    DYN_ERR_BAD_CONTEXT = -10,  /* a context that this cluster did not make for this key */
    DYN_ERR_OVERLOAD = -11,     /* a queue or the hint store is full */
    DYN_ERR_NO_SPACE = -12,     /* the disk is full */
    DYN_ERR_IO = -13,           /* the disk failed */
    DYN_ERR_STOPPED = -14,      /* the node is stopping, or stopped minting after a failed write */
    DYN_ERR_STALE = -15,        /* the version asked for is superseded and gone */
    DYN_ERR_UNSUPPORTED = -16,  /* well-formed, but this version does not do it */
    DYN_ERR_CONFLICT = -17,     /* too many siblings for a put without context */
    DYN_ERR_DENIED = -18,       /* not authorized */
    DYN_ERR_PROTOCOL = -19,     /* the peer broke the protocol */
    DYN_ERR_CANCELED = -20,     /* the caller gave up */
    DYN_ERR_NOT_EMPTY = -21,    /* a directory with live entries */
    DYN_ERR_BASE_LACKING = -22, /* the version that a value extends is not here: send it whole */
};

/* Short stable identifier, e.g. "no_quorum", as used in JSON errors. Never NULL. */
const char *dyn_err_code(int err);

/* One English sentence without a full stop. Never NULL. */
const char *dyn_err_message(int err);

#endif
