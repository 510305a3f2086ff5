/* SPDX-License-Identifier: Apache-2.0 */
/* See keylock.h. A hash table of the keys that are locked now; a key that nobody holds has no
 * entry, so memory follows the requests in flight. Freed entries are kept for reuse: almost every
 * request locks and unlocks within one turn. Grants run from a queue, not from within each other: a
 * thousand waiters on a hot key must not become a thousand stack frames. */
#include "engine/replica/keylock.h"

#include <assert.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/mem.h"

#define SPARE_MAX 64
#define INLINE_KEY 120

struct keylock_entry {
    UT_hash_handle hh;
    struct list waiters; /* the first is the holder */
    struct keylock_entry *next_spare;
    size_t len;
    uint8_t *name; /* class byte and key; `small` when it fits */
    uint8_t small[INLINE_KEY];
};

struct keylock_table {
    struct keylock_entry *entries, *spare;
    size_t n_spare;
    struct list ready;
    bool granting, shut;
};

struct keylock_table *keylock_table_new(void)
{
    struct keylock_table *t = mem_new(struct keylock_table);
    list_init(&t->ready);
    return t;
}

void keylock_table_free(struct keylock_table *t)
{
    if (t == NULL)
        return;
    assert(t->entries == NULL);
    while (t->spare != NULL) {
        struct keylock_entry *e = t->spare;
        t->spare = e->next_spare;
        free(e);
    }
    free(t);
}

void keylock_table_shut(struct keylock_table *t)
{
    t->shut = true;
}

void keylock_init(struct keylock *lock)
{
    *lock = (struct keylock){0};
    list_init(&lock->link);
    list_init(&lock->ready);
}

static struct keylock_entry *entry_new(struct keylock_table *t, enum lock_class cls,
                                       struct slice key)
{
    struct keylock_entry *e = t->spare;
    if (e != NULL) {
        t->spare = e->next_spare;
        t->n_spare--;
    } else {
        e = mem_alloc(sizeof(*e));
    }
    list_init(&e->waiters);
    e->len = key.len + 1;
    e->name = e->len <= INLINE_KEY ? e->small : mem_alloc(e->len);
    e->name[0] = (uint8_t)cls;
    if (key.len != 0)
        memcpy(e->name + 1, key.data, key.len);
    return e;
}

static void entry_free(struct keylock_table *t, struct keylock_entry *e)
{
    if (e->name != e->small)
        free(e->name);
    if (t->n_spare == SPARE_MAX) {
        free(e);
        return;
    }
    e->next_spare = t->spare;
    t->spare = e;
    t->n_spare++;
}

bool keylock_acquire(struct keylock_table *t, struct keylock *lock, enum lock_class cls,
                     struct slice key, void (*granted)(struct keylock *lock, void *arg), void *arg)
{
    assert(lock->entry == NULL);
    struct keylock_entry *fresh = entry_new(t, cls, key), *e = NULL;
    HASH_FIND(hh, t->entries, fresh->name, fresh->len, e);
    if (e == NULL) {
        e = fresh;
        HASH_ADD_KEYPTR(hh, t->entries, e->name, e->len, e);
    } else {
        entry_free(t, fresh);
    }
    bool free_now = list_empty(&e->waiters);
    lock->entry = e;
    lock->granted = granted;
    lock->arg = arg;
    list_init(&lock->link);
    list_init(&lock->ready);
    list_append(&e->waiters, &lock->link);
    return free_now;
}

static void grant_ready(struct keylock_table *t)
{
    if (t->granting || t->shut)
        return;
    t->granting = true;
    for (struct list *at; (at = list_first(&t->ready)) != NULL;) {
        struct keylock *heir = container_of(at, struct keylock, ready);
        list_remove(at);
        heir->granted(heir, heir->arg);
    }
    t->granting = false;
}

void keylock_release(struct keylock_table *t, struct keylock *lock)
{
    struct keylock_entry *e = lock->entry;
    if (e == NULL)
        return;
    bool held = list_first(&e->waiters) == &lock->link;
    list_remove(&lock->link);
    list_remove(&lock->ready);
    lock->entry = NULL;
    struct list *next = list_first(&e->waiters);
    if (next == NULL) {
        HASH_DEL(t->entries, e);
        entry_free(t, e);
    } else if (held) {
        list_append(&t->ready, &container_of(next, struct keylock, link)->ready);
        grant_ready(t);
    }
}

bool keylock_is_held(const struct keylock_table *t, enum lock_class cls, struct slice key)
{
    struct keylock_entry *e = NULL;
    uint8_t small[INLINE_KEY], *name = key.len < INLINE_KEY ? small : mem_alloc(key.len + 1);
    name[0] = (uint8_t)cls;
    if (key.len != 0)
        memcpy(name + 1, key.data, key.len);
    HASH_FIND(hh, t->entries, name, key.len + 1, e);
    if (name != small)
        free(name);
    return e != NULL;
}

size_t keylock_count(const struct keylock_table *t)
{
    return HASH_COUNT(t->entries);
}
