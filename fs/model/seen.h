/* SPDX-License-Identifier: Apache-2.0 */
/* What this mount knows of one key. Four rules need the same memory: which versions it has shown
 * or opened for reading (F1), what it served last (F4), the tokens that let it name those versions
 * in a put, and the newest state that it wrote or read, which an answer of lagging replicas must
 * not take back (F15, E22). The memory is bounded: what nobody refers to is forgotten, oldest
 * first. */
#ifndef DYN_FS_SEEN_H
#define DYN_FS_SEEN_H

#include "model/core.h"

#define KNOWN_SHOWN                                                                                \
    1u /* under the name or a conflict name, by lookup, readdir, open or own write */
#define KNOWN_LISTED                                                                               \
    2u                /* as one side of a conflict: a conflict name was shown, or this beside it */
#define KNOWN_READ 4u /* opened for reading */

struct known {
    struct dot dot, value_dot, base_dot;
    enum sibling_type type;
    uint32_t number; /* N of name.conflict.N, which sticks (F3); 0: none given yet */
    uint64_t time_ns;
    uint8_t flags;      /* KNOWN_ */
    bool xattrs;        /* the view has its extended attributes, which no listing brings */
    struct blob *token; /* names the dot; NULL: the dot is known from a listing alone (E5) */
};

#define SEEN_MEMORY_US (600ull * 1000000) /* E22: then the cluster's answer stands alone */
#define SEEN_IDLE_MAX 20000

struct seen {
    struct table_node node;
    struct fs *fs;
    struct buf key;
    uint32_t refs;
    struct list idle; /* fs->idle, while refs is 0 */

    struct object view;   /* join of what was learnt, without values */
    bool implicit_dir;    /* E16 */
    int64_t dir_mtime_ns; /* of the last get or listing */
    uint64_t learnt_us;   /* 0: nothing learnt */
    uint64_t believed_us; /* when the last answer came that did not just lag behind the view */
    uint64_t asked_us;    /* when the newest answer in it was asked for, 0: not known */
    uint64_t touched_us;  /* of a directory: when something in it was first used (told.h) */
    struct told *told;    /* of a directory that this mount is told of */
    uint64_t got_us;      /* when a get last answered, 0: never */
    uint32_t got_by;      /* who asked */
    bool got_fresh;       /* no other operation of that caller came between */
    uint64_t replicas[8];
    uint8_t n_replicas;

    struct known *known;
    uint32_t n, cap;
    uint32_t next_number;
    struct cover name_shown; /* dots of the version last shown under the name itself */
    struct cover served;     /* F4: what the last open of the name was allowed to supersede */
    bool was_served;
    struct origin put;  /* the last that this mount published under */
    struct origin line; /* the last of the name itself, no conflict name: see seen_next_origin */

    struct owed *owed; /* what it must still lose (owed.h); NULL: nothing */
    /* Names that this mount has written lately, by their directory: a listing may lack them. */
    struct list recents;    /* of a directory: those in it */
    struct seen *dir;       /* of such a name; referenced */
    struct list in_recents; /* dir->recents */
    uint64_t written_us;
    uint64_t listed_by; /* the cursor that has it last (ops_dir.c) */
    /* Names whose last change by this mount nobody has asked to be on disk, by their directory. */
    struct list unsynced;    /* of a directory: those in it */
    struct seen *sync_dir;   /* of such a name; referenced */
    struct list in_unsynced; /* sync_dir->unsynced */
    struct dot unsynced_dot;
    struct clock unsynced_clock; /* when that was a removal: all that it knew of, else empty */

    struct list inodes;
    bool locked;
    struct list waiting; /* of struct lock_wait */
};

/* Finds or makes; the caller holds a reference. */
struct seen *seen_get(struct fs *fs, struct slice key);
struct seen *seen_find(struct fs *fs, struct slice key); /* NULL: unknown; else referenced */
struct seen *seen_ref(struct seen *s);
void seen_unref(struct seen *s); /* NULL is fine */
void seen_free_all(struct fs *fs);
struct slice seen_key(const struct seen *s);
struct slice seen_name(const struct seen *s);

/* What an answer says. A get or a put brings a token; a listing brings none. */
void seen_got(struct seen *s, const struct get_reply *p);
void seen_put(struct seen *s, const struct put_reply *p);
/* As another run of this mount knew it. */
void seen_restore(struct seen *s, const struct object *view, const struct slice *tokens,
                  uint32_t n);
void seen_listed(struct seen *s, const struct object *entry);
bool seen_remembers(const struct seen *s); /* the view is young enough to be believed */
/* The memory contradicts the cluster (a version that never was acknowledged): believe the answer.
 */
void seen_forget_view(struct seen *s);

struct known *seen_known(struct seen *s, const struct dot *d); /* NULL */
void seen_hide(struct seen *s, const struct dot *d); /* no longer shown: its number passes on */
/* The next name in the directory, after `after` or from the first, that this mount has written
 * lately and takes for alive; NULL. Borrowed. */
struct seen *seen_recent(struct seen *dir, struct seen *after);
/* The next name in the directory that fsyncdir has to ask about; `after` as above. */
struct seen *seen_unsynced(struct seen *dir, struct seen *after);
/* The change that made the dot is on disk at W replicas, or needs to be no more. */
void seen_synced(struct seen *s, const struct dot *d);
/* This mount has learnt that another version has taken the place of this one. */
bool seen_superseded(struct seen *s, const struct dot *d);
/* The change of seen_unsynced was a removal, and stands in what all replicas answer, which know
 * nothing of it: nothing that it removed is there. */
bool seen_removal_stands(const struct seen *s, const struct object *answer);
void seen_flag(struct seen *s, const struct cover *dots, uint8_t flags);
/* Adds the dots of all known versions that carry one of the flags. */
void seen_collect(const struct seen *s, uint8_t flags, struct cover *out);
/* The same, with all of the flags. */
void seen_collect_all(const struct seen *s, uint8_t flags, struct cover *out);
void cover_join_dots(struct cover *into, const struct cover *from);
void cover_clear(struct cover *c);
bool cover_same_dots(const struct cover *a, const struct cover *b);

/* The contexts that name exactly these dots, and the deletes that are there (nothing is lost by
 * covering those). Dots that are gone need no naming. */
struct contexts {
    struct buf bytes;
    struct slice list[CONTEXTS_MAX];
    uint32_t n;
};
/* False: some live dot has no token yet: a get of the key brings one. */
bool seen_can_name(const struct seen *s, const struct cover *dots);
/* Every one of them that lives has a token: what seen_contexts gives is whole. */
bool seen_names_live(const struct seen *s, const struct cover *dots);
void seen_contexts(const struct seen *s, const struct cover *dots, struct contexts *out);
void contexts_release(struct contexts *c);
void seen_drop_tokens(struct seen *s); /* the cluster refused one: all are fetched again */

/* The origin of a drop. Where this mount wrote what is dropped, it is the next of that stream: a
 * copy of the write that reaches a slow node later is then the older of the two wherever they meet,
 * and does not bring back what was removed (F9). */
void seen_drop_origin(struct seen *s, const struct cover *dots, struct origin *out);
/* The origin of what takes the name, where another file of this mount had it before: the next of
 * that one's stream, so that no late copy of its writes stands beside it (F9). A stream of its own
 * where a version of that one lives which `cover` does not name: both are to stay. */
void seen_next_origin(struct seen *s, const struct cover *cover, struct origin *out);

/* One operation at a time changes a key, first come first served; granted may run inside. */
void seen_lock(struct seen *s, struct lock_wait *w, void (*granted)(struct lock_wait *w),
               void *arg);
void seen_unlock(struct lock_wait *w); /* holding, waiting or neither */

#endif
