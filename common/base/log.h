/* SPDX-License-Identifier: Apache-2.0 */
/* Logging for programs and adapters: one line per event, `2026-01-31T12:00:00.123Z warn module:
 * text`, to stderr, a file or a sink of the program's. Library code does not log, it returns
 * errors. The sink is the project's only global state. */
#ifndef DYN_BASE_LOG_H
#define DYN_BASE_LOG_H

#include <stddef.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* Takes a level's name; DYN_ERR_INVALID otherwise. */
int log_level_parse(const char *name, enum log_level *out);
void log_set_level(enum log_level level);
int log_open(const char *path); /* append; DYN_ERR_IO keeps the old sink */
int log_reopen(void);           /* for SIGHUP after logrotate */

/* Where lines go instead of a file. say gets one without its time and its newline, from any thread:
 * `warn module: text`, len bytes, not empty. */
struct log_sink {
    void *arg;
    void (*say)(void *arg, enum log_level level, const char *text, size_t len);
};
/* Borrowed until there is another one. NULL: back to the file, or stderr. */
void log_to(const struct log_sink *sink);

/* Control characters in the text are escaped: names in it may be hostile. Thread-safe, one write(2)
 * a line. */
void log_line(enum log_level level, const char *module, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(module, ...) log_line(LOG_LEVEL_DEBUG, module, __VA_ARGS__)
#define log_info(module, ...) log_line(LOG_LEVEL_INFO, module, __VA_ARGS__)
#define log_warn(module, ...) log_line(LOG_LEVEL_WARN, module, __VA_ARGS__)
#define log_error(module, ...) log_line(LOG_LEVEL_ERROR, module, __VA_ARGS__)

#endif
