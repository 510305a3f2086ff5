/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files: `key = value` lines, `#` comments, no sections, as in dynanode.conf(5).
 * Every key must be asked for by the program: what is left over is a mistake that must be reported,
 * not ignored. */
#ifndef DYN_BASE_CONFIG_H
#define DYN_BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define CONFIG_LEN_MAX (1u << 20) /* bytes of a file */

struct config;

/* Reads a file. On failure returns DYN_ERR_IO or DYN_ERR_INVALID and sets *message (caller frees)
 * to a sentence with path and line. A repeated key is an error. */
int config_load(const char *path, struct config **out, char **message);
/* The same for text in memory; name stands for the path in messages. A `#` at the start of a line
 * or after white space begins a comment. Never DYN_ERR_IO. */
int config_parse(struct slice text, const char *name, struct config **out, char **message);
struct config *config_new(void); /* empty */
void config_free(struct config *c);
void config_set(struct config *c, const char *key,
                const char *value); /* e.g. from the command line */

/* Getters leave *out alone (its default) when the key is absent and return DYN_OK; DYN_ERR_INVALID
 * with *message (caller frees) when the value does not parse or is out of [min, max]. Strings are
 * borrowed from c. */
int config_get_str(struct config *c, const char *key, const char **out, char **message);
int config_get_u64(struct config *c, const char *key, uint64_t min, uint64_t max, uint64_t *out,
                   char **message);
int config_get_size(struct config *c, const char *key, uint64_t min, uint64_t max, uint64_t *out,
                    char **message); /* 64K, 1M, 2G */
int config_get_ms(struct config *c, const char *key, uint64_t min, uint64_t max, uint64_t *out_ms,
                  char **message); /* 500ms, 3s, 2m, 1h */
int config_get_bool(struct config *c, const char *key, bool *out,
                    char **message); /* yes/no, true/false, on/off */

/* The first key that nobody asked for, or NULL. */
const char *config_unknown(const struct config *c);

#endif
