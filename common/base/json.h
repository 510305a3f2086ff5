/* SPDX-License-Identifier: Apache-2.0 */
/* JSON over cJSON, behind one file: writing by value trees, and reading hostile text with a bound
 * on depth. */
#ifndef DYN_BASE_JSON_H
#define DYN_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct json; /* a node of a tree; children belong to their parent */

struct json *json_object(void);
struct json *json_array(void);
void json_free(struct json *j); /* only for a root; NULL is fine */

/* Add to an object (name not NULL) or to an array (name NULL). Strings should be valid UTF-8
 * and are percent-encoded when they are not; json_add_bytes percent-encodes whatever is not
 * unreserved or '/' (F20: names need not be UTF-8). */
void json_add_str(struct json *parent, const char *name, const char *value);
void json_add_bytes(struct json *parent, const char *name, struct slice value);
void json_add_hex(struct json *parent, const char *name, struct slice value);
void json_add_u64(struct json *parent, const char *name,
                  uint64_t value); /* exact: over 2^53 as a string */
void json_add_bool(struct json *parent, const char *name, bool value);
struct json *json_add_object(struct json *parent, const char *name);
struct json *json_add_array(struct json *parent, const char *name);
/* A deep copy of another tree or of a part of it. */
void json_add_copy(struct json *parent, const char *name, const struct json *value);
void json_print(const struct json *j, bool pretty, struct buf *out);

/* DYN_ERR_INVALID on syntax, on depth over max_depth, on trailing bytes, on a NUL. */
int json_parse(struct slice text, unsigned max_depth, struct json **out);
/* Borrowed; NULL when absent or of another type. */
const struct json *json_get(const struct json *object, const char *name);
const struct json *json_at(const struct json *array, unsigned index);
unsigned json_len(const struct json *array);
/* Walks an array in linear time (json_at counts from the start). NULL at the end. */
const struct json *json_first(const struct json *array);
const struct json *json_next(const struct json *element);
const char *json_str(const struct json *j);
/* A whole number up to 2^53, or a string of decimal digits. NULL gives false, as for any other
 * type. */
bool json_u64(const struct json *j, uint64_t *out);
bool json_bool(const struct json *j, bool *out);

#endif
