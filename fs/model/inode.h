/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel holds: nodeids. An inode stands for a name (the name itself, or one conflict name
 * of it) and shows one version there; its content, context and what is not yet published are shared
 * by all its open handles, so a mount makes no conflicts with itself. Nodeids are never reused
 * (F30). When the name goes, the inode stays for who holds it open (F10). */
#ifndef DYN_FS_INODE_H
#define DYN_FS_INODE_H

#include "model/projection.h"

struct publication;
struct staging;
struct large;

struct handle {
    struct list link;    /* fs->handles */
    struct inode *inode; /* NULL: a control file */
    int flags;           /* of open(2) */
    struct buf control;  /* content of a control file, taken at open */
};

struct inode {
    struct table_node node;
    uint64_t id, nlookup;
    struct fs *fs;
    uint32_t holds;      /* operations on their way */
    struct list in_held; /* fs->held, while the kernel has it (held.h) */

    /* Its name. */
    struct seen *seen;   /* referenced */
    struct list in_seen; /* seen->inodes, while it answers for the name */
    uint32_t number;     /* 0: the name itself */
    bool unlinked;       /* no longer has a name: nothing is published (F10) */
    uint64_t st_ino;

    /* The version it shows; attributes as getattr shows them, also while unpublished. */
    struct sibling s;  /* without value; dot none: never published */
    struct cover dots; /* of the version: what a write to it supersedes at least */
    bool xattrs_known;
    struct dot kernel_dot; /* whose attributes the kernel holds (F5) */
    struct dot pages_dot;  /* whose bytes the kernel's pages hold */
    uint64_t learnt_us;    /* when the attributes came from the cluster */
    bool behind;           /* something newer is known of the key (told.h) */
    int64_t changed_ns;    /* directory: the last change of names that this mount made (F29) */
    uint64_t burst_us;     /* directory: lookups of the last second that found something (F29) */
    uint32_t burst;
    uint64_t page_us;           /* when a page was last fetched for lookups */
    uint32_t page_n, page_hits; /* how many entries it brought, how many lookups it answered */

    /* Content: staged over loaded. */
    struct blob *loaded; /* the bytes of s.value_dot; NULL: not here */
    struct buf stage;
    bool staged;
    struct large *large; /* then neither loaded nor stage: what does not fit one value (large.h) */
    struct list in_contents;
    uint64_t counted; /* of fs->memory */
    uint32_t n_open, n_writers;
    uint32_t read_next, read_ahead; /* large: the chunk after the last read, and how many more */

    /* To publish. */
    struct list in_dirty;
    bool dirty_data, dirty_meta;
    bool written;       /* since O_TRUNC (F12) */
    bool appended_only; /* all changes are appends from here on */
    uint64_t appended_from;
    uint64_t gen; /* counts changes */
    uint64_t dirty_us;
    struct cover context; /* F1: what its open writers may supersede beyond the version itself */
    uint64_t writer, stream, seq, seq_gen; /* F9; writer: this mount, or the one before it */
    struct staging *staging;               /* its record on this machine; NULL: none */
    struct dot durable_dot;                /* published at quorum durability (F13) */
    struct publication *pub;
    struct list waiters;
    struct timer timer; /* background publication and retry */
    uint64_t backoff_us;
    int error; /* errno of the last publication that failed */
};

struct inode *inode_find(struct fs *fs, uint64_t id); /* NULL */
struct inode *inode_hold(struct inode *i);
void inode_drop(struct inode *i); /* frees it when nobody needs it; NULL is fine */
void inode_forget(struct inode *i, uint64_t n);
void inode_free_all(struct fs *fs);

/* The inode that answers for a name, NULL. */
struct inode *inode_of(const struct seen *s, uint32_t number);
/* A fresh inode for a name that no other answers for. */
struct inode *inode_new(struct fs *fs, struct seen *s, uint32_t number, enum sibling_type type);
/* The name is shown as this version: finds or makes the inode, adopts the version where that is
 * allowed (not under unpublished changes; under open readers the name gets a new inode, F17), and
 * remembers what was shown. Borrowed. */
struct inode *inode_show(struct fs *fs, struct seen *s, const struct version *v, uint32_t number);
/* Takes the version over, whatever is open. */
void inode_adopt(struct inode *i, const struct version *v);
/* Stops answering for its name; keeps what it shows. */
void inode_unname(struct inode *i);
/* The name is gone for good: handles stay usable, nothing is published (F10). */
void inode_unlink(struct inode *i);
/* Moves to another name, which nobody answers for. */
void inode_rebind(struct inode *i, struct seen *s, uint32_t number);

bool inode_dirty(const struct inode *i);
/* Local truth: unpublished, dirty or being published. */
bool inode_busy(const struct inode *i);
bool inode_published(const struct inode *i);
uint64_t inode_size(const struct inode *i);
void inode_attr(const struct inode *i, struct fs_attr *out);
/* Adds the dots of what it shows, and of a twin that this mount has learnt of meanwhile: of one
 * write that two coordinators have minted only one stands in the end (F9). */
void inode_dots(const struct inode *i, struct cover *out);
/* When something in a directory was last made or removed, as far as this mount knows. */
int64_t inode_entries_changed(const struct inode *i);
/* Fills op->entry; counts the lookup and what the kernel then holds. */
void inode_entry(struct inode *i, struct fs_entry *out);
void inode_count_lookup(struct inode *i);
/* The stored ino of a new file. */
uint64_t inode_new_ino(struct fs *fs);
/* This mount changed names in the directory. */
void inode_touch_dir(struct fs *fs, struct slice dir_key);

#endif
