/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs of dynactl share: their table, the exit statuses, how results and failures are
 * told. */
#ifndef DYN_CTL_CTL_H
#define DYN_CTL_CTL_H

#include "ctl/args.h"

enum ctl_exit {
    CTL_OK = 0,
    CTL_ERROR = 1,
    CTL_USAGE = 2,
    CTL_CONFLICT = 3,    /* several versions, or one where none was to be */
    CTL_NOT_FOUND = 4,   /* no such key, directory or version */
    CTL_UNAVAILABLE = 5, /* too few nodes answered, or none */
};

struct ctl {
    const struct ctl_verb *verb;
    struct args args;
    bool json, terminal; /* output is wanted as JSON; stdout is a terminal */
};

struct ctl_verb {
    const char *name;  /* "get", "cluster up" */
    const char *words; /* "KEY [FILE]" */
    const char *summary;
    const char *help; /* paragraphs and examples */
    const struct args_option *options;
    unsigned min_words, max_words;
    bool talks;                /* to a cluster: takes ctl_talk_options too */
    int (*run)(struct ctl *c); /* an exit status */
};

extern const struct ctl_verb ctl_verb_cluster_create, ctl_verb_cluster_up, ctl_verb_cluster_down;
extern const struct ctl_verb ctl_verb_cluster_add;
extern const struct ctl_verb ctl_verb_status, ctl_verb_ring;
extern const struct ctl_verb ctl_verb_join, ctl_verb_leave, ctl_verb_remove, ctl_verb_replace;
extern const struct ctl_verb ctl_verb_weight, ctl_verb_zone, ctl_verb_abort;
extern const struct ctl_verb ctl_verb_plan, ctl_verb_commit, ctl_verb_transfers;
extern const struct ctl_verb ctl_verb_stats;
extern const struct ctl_verb ctl_verb_get, ctl_verb_put, ctl_verb_rm;
extern const struct ctl_verb ctl_verb_ls, ctl_verb_conflicts;
extern const struct ctl_verb ctl_verb_set, ctl_verb_settings;
extern const struct ctl_verb ctl_verb_backup;
extern const struct ctl_verb ctl_verb_resolve, ctl_verb_history, ctl_verb_restore;

extern const struct args_option ctl_common_options[]; /* --json, --help */
extern const struct args_option ctl_talk_options[];   /* --node and so on */

/* Say one line on stderr, "dynactl: ..."; usage says where help is, too. Return the status. */
int ctl_fail(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int ctl_usage(const struct ctl *c, char *message /* taken */);
/* For a failed request: what failed, why, and what to do about it. */
int ctl_failed(const char *what, struct slice key, int err, unsigned answered, unsigned needed);
int ctl_status_of(int err);

/* Everything to stdout; CTL_ERROR when that fails. */
int ctl_write(struct slice s);
int ctl_write_to(int fd, struct slice s); /* the same to another descriptor */
int ctl_print(struct buf *b /* released */);

/* A key or name for people: as it is, but control characters escaped when stdout is a terminal. */
void ctl_put_name(const struct ctl *c, struct slice name, struct buf *out);
/* Local time with its zone, to the second. */
void ctl_put_time(uint64_t ns, struct buf *out);

/* A file's bytes, at most max; path "-" is stdin. DYN_ERR_IO, DYN_ERR_TOO_LARGE with *message. */
int ctl_read_file(const char *path, size_t max, struct buf *out, char **message);
/* Makes or replaces the file, with this mode, by way of a temporary file beside it. */
int ctl_write_file(const char *path, struct slice content, unsigned mode, char **message);

#endif
