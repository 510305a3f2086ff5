/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts: what a reader gets and a writer hands back (Dynamo, section 4.4), authenticated so that
 * nobody can cover versions that he was not shown (HAZARDS E3). A node makes a *token* over
 * (cluster, key, clock, dots of the siblings read). A *context* is a token plus a choice: the whole
 * clock, or some of its dots by index. Clients choose without a key, nodes verify. */
#ifndef DYN_MODEL_CONTEXT_H
#define DYN_MODEL_CONTEXT_H

#include "base/digest.h"
#include "model/object.h"

#define CONTEXT_LEN_MAX 65536 /* bytes of one context */
#define CONTEXTS_MAX 64       /* contexts in one request */
#define TOKENS_MAX 16         /* side by side in one token */

/* Node side. mac is keyed with the cluster's secret; cluster is its 64-bit id. */
void token_make(struct mac *mac, uint64_t cluster, struct slice key, const struct object *o,
                struct buf *out);

/* Client side: which siblings a token names, in its order. DYN_ERR_BAD_CONTEXT when it does not
 * parse. */
int token_dots(struct slice token, struct dot **dots, uint32_t *n); /* dots: caller frees */

/* Client side: the tokens of several replicas, as one that stands for the merge of what they showed
 * (E3). Tokens of the same bytes count once. DYN_ERR_BAD_CONTEXT: one does not parse, or together
 * they are too long. */
int token_join(const struct slice *tokens, uint32_t n, struct buf *out);

/* Client side: turns a token into a context, appended to out. */
void context_all(struct slice token, struct buf *out);
int context_dots(struct slice token, const struct dot *dots, uint32_t n,
                 struct buf *out); /* DYN_ERR_INVALID: a dot is not in the token */

/* Node side: verifies one context and adds what it covers. DYN_ERR_BAD_CONTEXT leaves cover alone.
 */
int context_verify(struct mac *mac, uint64_t cluster, struct slice key, struct slice context,
                   struct cover *cover);

/* The same for whoever has no mac, and no use for one: what a context says, whoever made it. A node
 * must not act on that. */
int context_believe(struct slice context, struct cover *cover);

/* The one version that whoever hands this context back was shown, where it is one. Of a context
 * that was verified before. */
bool context_sole(struct slice context, struct dot *dot);

/* What a writer with these contexts had read of the object, as a sibling's base_dot: whose context
 * names a file has read it, and of several the newest counts. Of one that has gone meanwhile its
 * own dot must do. None: that cannot be told. cover: what the contexts say. */
struct dot context_base(const struct slice *contexts, uint32_t n, const struct cover *cover,
                        const struct object *o);

/* Text form for the HTTP header: base64url; several are separated by commas. */
void context_format(struct slice context, struct buf *out);
int context_parse(struct slice text,
                  struct buf *out); /* one, without commas; DYN_ERR_BAD_CONTEXT */

#endif
