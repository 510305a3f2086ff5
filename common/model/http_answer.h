/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of an HTTP/1.1 server taken apart as they arrive: how a node's answer to a batch ends is
 * all that is asked, so of the head only the status and what frames the body is looked at. Bytes
 * come in pieces of any size; nothing of a body is copied. What does not say clearly where it ends
 * is refused: the bytes behind it would be taken for the next answer. */
#ifndef DYN_MODEL_HTTP_ANSWER_H
#define DYN_MODEL_HTTP_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define HTTP_ANSWER_HEAD_MAX 16384u

struct http_answer {
    struct buf head; /* until the empty line is there */
    uint8_t state;
    int status;      /* of the answer; 0: its head is not whole yet */
    bool closes;     /* the connection ends with this answer */
    bool has_length; /* of a body that does not come in chunks */
    uint64_t left;   /* of the body, or of the chunk */
    uint32_t digits; /* of a chunk's size */
};

enum http_answer_event {
    HTTP_ANSWER_MORE, /* all input was used, the answer goes on */
    HTTP_ANSWER_BODY, /* some of the body, in *body */
    HTTP_ANSWER_DONE, /* whole; http_answer_next makes ready for another */
    HTTP_ANSWER_BAD,
};

#define HTTP_ANSWER_EMPTY ((struct http_answer){.head = BUF_EMPTY})
void http_answer_next(struct http_answer *a); /* keeps the storage */
void http_answer_release(struct http_answer *a);

/* Consumes bytes up to the next event; *used says how many. *body is borrowed from in. To be called
 * until it says MORE, also when no input is left: the end of a body is an event of its own. */
enum http_answer_event http_answer_feed(struct http_answer *a, struct slice in, size_t *used,
                                        struct slice *body);
/* Bytes that follow next and are all of the body; 0: something else may follow. */
uint64_t http_answer_left(const struct http_answer *a);
/* The connection has ended: is the answer whole thereby? (Its head named no length.) */
bool http_answer_ends(const struct http_answer *a);

#endif
