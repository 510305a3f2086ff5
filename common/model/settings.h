/* SPDX-License-Identifier: Apache-2.0 */
/* Settings by directory: how conflicts below it are reconciled, and what its requests mean that do
 * not say. A request must know them at once, whichever node it reaches, so each node holds the
 * whole table. It is small, and a set of registers, one for each (directory, setting), each with
 * the stamp of its last change: tables that meet are joined, the later change stays, and all nodes
 * end with the same. Each setting is inherited by itself, from the nearest that has it. */
#ifndef DYN_MODEL_SETTINGS_H
#define DYN_MODEL_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"

#define SETTINGS_ROWS_MAX 4096        /* of a table */
#define GROWTHS_MAX 1024              /* of them say how far a directory is split */
#define SETTINGS_BYTES_MAX (1u << 20) /* of all its directories' names */

/* Numbers on disk and on the wire: append. */
enum dir_setting {
    SETTING_RECONCILE = 1, /* enum reconcile */
    SETTING_R = 2,
    SETTING_W = 3,
    SETTING_DURABILITY = 4, /* enum durability */
    SETTING_SLOPPY = 5,     /* enum sloppiness */
    SETTING_N = 6,          /* how many nodes keep the values; of clocks and entries it is always
                               the cluster's N, which R and W count */
    SETTINGS_END,
    /* Not a setting that anybody makes or inherits: how far a directory is split (fragments.h). It
     * only grows, so its stamp is its value, and the greater wins. */
    SETTING_GROWTH = 64,
};

/* 0 is "not set" for each setting: what is above counts. */
enum reconcile {
    RECONCILE_SIBLINGS = 1, /* versions stand side by side until somebody settles it */
    RECONCILE_LWW = 2,      /* the newest wall clock wins */
    RECONCILE_UNION = 3,    /* the union of their lines: additions all survive */
};

struct setting_row {
    uint8_t *dir; /* no NUL; the root is empty */
    uint32_t dir_len;
    uint8_t setting, value;
    uint64_t stamp, node; /* of the last change: the greater wins */
};

struct settings {
    struct setting_row *rows; /* by directory, then setting */
    uint32_t n, cap;
    uint32_t bytes;
};
#define SETTINGS_EMPTY ((struct settings){0})

void settings_release(struct settings *s);
/* Makes a change that wins over what s knows of that setting. DYN_ERR_INVALID: no such setting or
 * value, or no key; DYN_ERR_TOO_LARGE. */
int settings_set(struct settings *s, struct slice dir, enum dir_setting setting, uint8_t value,
                 uint64_t now_ms, uint64_t node);
/* Returns whether `into` changed; at a limit what is new is left out. */
bool settings_join(struct settings *into, const struct settings *other);

/* A digest of what directories have as N. False: none has any, and none ever had. */
bool settings_copies(const struct settings *s, uint8_t out[DIGEST_LEN]);

/* The growth of a directory; 0: it is not split. For each that is, in their order. */
uint8_t settings_growth(const struct settings *s, struct slice dir);
uint32_t settings_growths(const struct settings *s,
                          bool (*each)(void *arg, struct slice dir, uint8_t growth), void *arg);
/* Makes it grow; less than it was changes nothing. DYN_ERR_TOO_LARGE: GROWTHS_MAX have grown. */
int settings_raise_growth(struct settings *s, struct slice dir, uint8_t growth);

/* What holds for a key or directory: values by setting, 0 where nothing says; from: the directory
 * that says so, borrowed from s. */
struct rules {
    uint8_t value[SETTINGS_END];
    struct slice from[SETTINGS_END];
};
void settings_rules(const struct settings *s, struct slice key, struct rules *out);

void settings_encode(const struct settings *s, struct buf *out); /* equal tables, equal bytes */
void settings_decode(struct reader *r, struct settings *s); /* s is replaced; the reader fails */
void settings_digest(const struct settings *s, uint8_t out[DIGEST_LEN]);

/* For people. name: "reconcile", "n", "r", "w", "durability", "sloppy"; value: "" or "default"
 * unsets. n: the cluster's N, which n, r and w may not pass; 0: unknown. DYN_ERR_INVALID and
 * *message (caller frees), which says what would be right. */
int setting_parse(struct slice name, struct slice value, uint32_t n, enum dir_setting *setting,
                  uint8_t *out, char **message);
const char *setting_name(enum dir_setting setting);
void setting_print(enum dir_setting setting, uint8_t value, struct buf *out); /* 0: "default" */

/* The request of FRAME_SETTINGS: changes, or none to read; and what holds for dir. */
struct setting_change {
    enum dir_setting setting;
    uint8_t value;
};
struct settings_request {
    struct slice dir;
    struct setting_change changes[SETTINGS_END];
    uint32_t n;
};
struct settings_reply {
    int status;
    uint32_t known, members; /* how many have confirmed the change, of how many */
    struct settings table;
};
void settings_request_encode(const struct settings_request *q, struct buf *out);
int settings_request_decode(struct slice body, struct settings_request *q); /* dir is borrowed */
void settings_reply_encode(const struct settings_reply *p, struct buf *out);
int settings_reply_decode(struct slice body, struct settings_reply *p);
void settings_reply_release(struct settings_reply *p);

/* Between nodes, FRAME_SETTINGS_SYNC: the sender's digest, and its table when it thinks that the
 * receiver needs it. The reply has the receiver's table when its digest is another one. */
struct settings_sync {
    uint8_t digest[DIGEST_LEN];
    bool has_table;
    struct settings table;
};
void settings_sync_encode(const struct settings_sync *m, struct buf *out);
int settings_sync_decode(struct slice body, struct settings_sync *m);
void settings_sync_release(struct settings_sync *m);

#endif
