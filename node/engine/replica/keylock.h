/* SPDX-License-Identifier: Apache-2.0 */
/* Per-key order (HAZARDS E9): a read-modify-write on a key holds its lock from the read until the
 * new state is handed to the store, also when storage callbacks come back late. Waiters are served
 * in the order in which they asked.
 *
 * Two classes of locks avoid deadlock by order: object locks (LOCK_KEY) are taken before directory
 * locks (LOCK_DIR), and directory locks deepest path first. */
#ifndef DYN_ENGINE_KEYLOCK_H
#define DYN_ENGINE_KEYLOCK_H

#include "base/buf.h"
#include "base/list.h"

enum lock_class { LOCK_KEY = 'k', LOCK_DIR = 'd' };

struct keylock_table;
struct keylock_entry;

struct keylock {                 /* caller-owned; must stay put while held or waiting */
    struct keylock_entry *entry; /* NULL: neither held nor waiting */
    struct list link, ready;     /* among the key's waiters; among the table's locks to grant */
    void (*granted)(struct keylock *lock, void *arg);
    void *arg;
};

struct keylock_table *keylock_table_new(void);
void keylock_table_free(struct keylock_table *t); /* nothing may be held */
/* Nothing is granted any more: what waits or works is about to be taken down, in any order. */
void keylock_table_shut(struct keylock_table *t);

void keylock_init(struct keylock *lock);

/* Returns true when the lock is held on return. Otherwise granted(lock, arg) runs later, from some
 * keylock_release. key is copied. */
bool keylock_acquire(struct keylock_table *t, struct keylock *lock, enum lock_class cls,
                     struct slice key, void (*granted)(struct keylock *lock, void *arg), void *arg);
void keylock_release(struct keylock_table *t, struct keylock *lock); /* fine when not held */
/* By anybody: whoever asks now would have to wait. */
bool keylock_is_held(const struct keylock_table *t, enum lock_class cls, struct slice key);
size_t keylock_count(const struct keylock_table *t); /* keys locked now */

#endif
