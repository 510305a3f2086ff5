/* SPDX-License-Identifier: Apache-2.0 */
/* See projection.h. */
#include "model/projection.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/inode.h"
#include "model/owed.h"

#define INFIX ".conflict."

static void add(struct versions *out, const struct sibling *s, bool xattrs)
{
    out->v = mem_reallocarray(out->v, out->n + 1, sizeof(*out->v));
    struct version *v = &out->v[out->n++];
    *v = (struct version){.dots = COVER_EMPTY, .xattrs = xattrs};
    sibling_copy(&v->s, s);
    if (!dot_is_none(&s->dot))
        cover_add_dot(&v->dots, &s->dot);
}

/* F16, as far as two siblings can tell: the ancestor's attributes are not at hand, so a change of
 * attributes counts as meant, and times are those of the latest. */
static void fold_attrs(struct version *version, const struct version *other)
{
    struct sibling *into = &version->s;
    const struct sibling *from = &other->s;
    version->xattrs = other->xattrs;
    into->attrs.mode = from->attrs.mode;
    into->attrs.uid = from->attrs.uid;
    into->attrs.gid = from->attrs.gid;
    struct blob *old = into->attrs.xattrs;
    into->attrs.xattrs = blob_ref(from->attrs.xattrs);
    blob_unref(old);
    memcpy(into->attrs.xattrs_hash, from->attrs.xattrs_hash, DIGEST_LEN);
    if (from->attrs.ctime_ns > into->attrs.ctime_ns)
        into->attrs.ctime_ns = from->attrs.ctime_ns;
}

static bool later(const struct sibling *a, const struct sibling *b)
{
    if (a->attrs.ctime_ns != b->attrs.ctime_ns)
        return a->attrs.ctime_ns > b->attrs.ctime_ns;
    return sibling_order(a, b) > 0;
}

/* Does `from` vanish into `into`? */
static bool folds(const struct sibling *from, const struct sibling *into)
{
    if (from->type != into->type || dot_is_none(&from->value_dot))
        return false;
    if (dot_equal(&from->value_dot, &into->value_dot))
        return later(into, from); /* two changes of attributes of the same bytes */
    return dot_equal(&from->value_dot, &into->base_dot); /* into's writer had read from's bytes */
}

static void fold_files(struct versions *all)
{
    for (uint32_t i = 0; i < all->n;) {
        struct version *from = &all->v[i];
        uint32_t into = 0;
        while (into < all->n && (into == i || !folds(&from->s, &all->v[into].s)))
            into++;
        if (into == all->n) {
            i++;
            continue;
        }
        if (!dot_equal(&from->s.value_dot, &all->v[into].s.value_dot) &&
            !dot_equal(&from->s.dot, &from->s.value_dot))
            fold_attrs(&all->v[into], from);
        cover_join_dots(&all->v[into].dots, &from->dots);
        sibling_release(&from->s);
        cover_release(&from->dots);
        *from = all->v[--all->n];
        i = 0; /* chains of folds are as short as conflicts are few */
    }
}

/* All directory siblings are one: the newest's attributes, the oldest's inode number. */
static void fold_dirs(struct versions *all)
{
    uint32_t first = all->n;
    for (uint32_t i = 0; i < all->n; i++) {
        if (all->v[i].s.type != SIBLING_DIR)
            continue;
        if (first == all->n) {
            first = i;
            continue;
        }
        struct version *a = &all->v[first], *b = &all->v[i];
        bool newer = later(&b->s, &a->s);
        uint64_t ino = sibling_order(&a->s, &b->s) < 0 ? a->s.attrs.ino : b->s.attrs.ino;
        if (newer) {
            struct sibling s = a->s;
            a->s = b->s;
            b->s = s;
            a->xattrs = b->xattrs;
        }
        a->s.attrs.ino = ino;
        cover_join_dots(&a->dots, &b->dots);
        sibling_release(&b->s);
        cover_release(&b->dots);
        *b = all->v[--all->n];
        i--;
    }
}

static int by_rank(const void *left, const void *right)
{
    const struct version *a = left, *b = right;
    bool dir_a = a->s.type == SIBLING_DIR, dir_b = b->s.type == SIBLING_DIR;
    if (dir_a != dir_b)
        return dir_a ? -1 : 1;
    return sibling_order(&b->s, &a->s);
}

static uint32_t number_of(struct seen *s, const struct version *v)
{
    const struct known *k = seen_known(s, &v->s.dot);
    if (k != NULL && k->number != 0)
        return k->number;
    for (uint32_t i = 0; i < v->dots.n; i++) {
        k = seen_known(s, &v->dots.dots[i]);
        if (k != NULL && k->number != 0)
            return k->number;
    }
    return 0;
}

void versions_of(struct seen *s, struct versions *out)
{
    *out = (struct versions){NULL, 0};
    for (uint32_t i = 0; i < s->view.n; i++) {
        const struct sibling *at = &s->view.siblings[i];
        const struct known *k = seen_known(s, &at->dot);
        if (sibling_live(at) && !owed_has(s, &at->dot))
            add(out, at, k != NULL && k->xattrs);
    }
    if (out->n == 0 && s->implicit_dir)
        add(out, &(struct sibling){.type = SIBLING_DIR}, true);
    if (out->n > 1) {
        fold_dirs(out);
        fold_files(out);
        qsort(out->v, out->n, sizeof(*out->v), by_rank);
    }
    for (uint32_t i = 0; i < out->n; i++)
        out->v[i].number = number_of(s, &out->v[i]);
}

void versions_release(struct versions *v)
{
    for (uint32_t i = 0; i < v->n; i++) {
        sibling_release(&v->v[i].s);
        cover_release(&v->v[i].dots);
    }
    free(v->v);
    *v = (struct versions){NULL, 0};
}

const struct version *versions_by_number(const struct versions *v, uint32_t number)
{
    if (number == 0)
        return v->n == 0 ? NULL : &v->v[0];
    for (uint32_t i = 0; i < v->n; i++)
        if (v->v[i].number == number)
            return &v->v[i];
    return NULL;
}

const struct version *versions_by_dots(const struct versions *v, const struct cover *dots)
{
    for (uint32_t i = 0; i < v->n; i++)
        for (uint32_t j = 0; j < v->v[i].dots.n; j++)
            if (cover_has(dots, &v->v[i].dots.dots[j]))
                return &v->v[i];
    return NULL;
}

/* The longest prefix of at most max bytes that does not cut a UTF-8 sequence. */
static size_t cut(struct slice s, size_t max)
{
    if (s.len <= max)
        return s.len;
    size_t at = max;
    while (at > 0 && max - at < 4 && (s.data[at] & 0xc0) == 0x80)
        at--;
    return at == 0 || (s.data[at] & 0xc0) == 0x80 ? max : at;
}

void projection_name(struct slice base, uint32_t number, struct buf *out)
{
    char suffix[32];
    int len = snprintf(suffix, sizeof(suffix), INFIX "%u", number);
    assert(len > 0 && (size_t)len < sizeof(suffix));
    buf_put(out, base.data, cut(base, KEY_NAME_MAX - (size_t)len));
    buf_put_str(out, suffix);
}

bool projection_parse(struct slice name, struct slice *base, uint32_t *number)
{
    size_t at = name.len;
    uint64_t n = 0, power = 1;
    while (at > 0 && name.len - at < 10 && name.data[at - 1] >= '0' && name.data[at - 1] <= '9') {
        at--;
        n += power * (uint64_t)(name.data[at] - '0');
        power *= 10;
    }
    size_t infix = strlen(INFIX);
    if (at == name.len || name.data[at] == '0' || n > UINT32_MAX || at <= infix ||
        memcmp(name.data + at - infix, INFIX, infix) != 0)
        return false;
    *base = slice_of(name.data, at - infix);
    *number = (uint32_t)n;
    return true;
}

static void alias_path(const struct seen *s, uint32_t number, struct buf *out)
{
    struct buf name = BUF_EMPTY;
    projection_name(seen_name(s), number, &name);
    key_join(key_parent(seen_key(s)), buf_slice(&name), out);
    buf_release(&name);
}

struct alias *projection_find(struct fs *fs, struct slice path)
{
    struct table_node *n = table_first(&fs->aliases, table_hash(&fs->aliases, path));
    for (; n != NULL; n = table_next(n)) {
        struct alias *a = container_of(n, struct alias, node);
        if (slice_equal(buf_slice(&a->path), path))
            return a;
    }
    return NULL;
}

void projection_prefix(struct slice base, struct buf *out)
{
    size_t longest = strlen(INFIX) + 10;
    if (base.len > KEY_NAME_MAX - longest) {
        buf_put(out, base.data, cut(base, KEY_NAME_MAX - longest));
    } else {
        buf_put_slice(out, base);
        buf_put_str(out, INFIX);
    }
}

/* Is something called so that is no projection? */
static bool stored(struct fs *fs, struct slice path)
{
    struct seen *s = seen_find(fs, path);
    if (s == NULL)
        return false;
    const struct inode *i = inode_of(s, 0);
    bool there = owed_leaves_live(s) || (i != NULL && inode_busy(i));
    seen_unref(s);
    return there;
}

/* Two long names may be cut to the same: then the number decides. */
static void give_number(struct seen *s, struct known *k)
{
    struct buf path = BUF_EMPTY;
    do {
        buf_clear(&path);
        k->number = s->next_number++;
        alias_path(s, k->number, &path);
    } while (projection_find(s->fs, buf_slice(&path)) != NULL || stored(s->fs, buf_slice(&path)));
    struct alias *a = mem_new(struct alias);
    a->path = path;
    a->seen = s;
    a->number = k->number;
    table_insert(&s->fs->aliases, &a->node, table_hash(&s->fs->aliases, buf_slice(&path)));
}

bool projection_unnumbered(const struct versions *v)
{
    for (uint32_t i = 1; i < v->n; i++)
        if (v->v[i].number == 0)
            return true;
    return false;
}

void projection_number(struct seen *s, struct versions *v)
{
    for (uint32_t i = 1; i < v->n; i++) {
        struct known *k = seen_known(s, &v->v[i].s.dot);
        if (v->v[i].number != 0 || k == NULL)
            continue;
        give_number(s, k);
        v->v[i].number = k->number;
    }
}

void projection_yield(struct seen *stored_key)
{
    struct alias *a = projection_find(stored_key->fs, seen_key(stored_key));
    if (a == NULL)
        return;
    struct seen *s = a->seen;
    for (uint32_t i = 0; i < s->n; i++) {
        struct known *k = &s->known[i];
        if (k->number != a->number)
            continue;
        struct inode *shown = inode_of(s, k->number);
        projection_drop(s, k);
        give_number(s, k);
        if (shown != NULL)
            shown->number = k->number;
        return;
    }
}

void projection_drop(struct seen *s, struct known *k)
{
    if (k->number == 0)
        return;
    struct buf path = BUF_EMPTY;
    alias_path(s, k->number, &path);
    struct alias *a = projection_find(s->fs, buf_slice(&path));
    assert(a != NULL && a->seen == s && a->number == k->number);
    table_remove(&s->fs->aliases, &a->node);
    buf_release(&a->path);
    free(a);
    buf_release(&path);
    k->number = 0;
}

void projection_hand_on(struct known *from, struct known *to)
{
    assert(to->number == 0);
    to->number = from->number;
    from->number = 0;
}
