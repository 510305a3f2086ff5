/* SPDX-License-Identifier: Apache-2.0 */
/* See place.h. */
#include "model/place.h"

#include <errno.h>
#include <sys/stat.h>

int place_resolve(struct fs *fs, uint64_t parent, struct slice name, struct place *out)
{
    if (parent >= NODE_CONTROL && parent < NODE_FIRST)
        return EPERM;
    struct inode *dir = inode_find(fs, parent);
    if (dir == NULL)
        return ESTALE;
    if (dir->s.type != SIBLING_DIR)
        return ENOTDIR;
    if (dir->unlinked)
        return ENOENT;
    if (name.len > KEY_NAME_MAX)
        return ENAMETOOLONG;
    if (parent == FS_ROOT && slice_equal(name, slice_str(CONTROL_NAME)))
        return EPERM;
    if (key_name_check(name, NULL) != 0)
        return EINVAL;
    struct buf key = BUF_EMPTY;
    key_join(seen_key(dir->seen), name, &key);
    int err = key.len > KEY_LEN_MAX ? ENAMETOOLONG : 0;
    if (err == 0) {
        struct alias *a = projection_find(fs, buf_slice(&key));
        *out = (struct place){.dir = inode_hold(dir), .number = a == NULL ? 0 : a->number};
        out->seen = a != NULL ? seen_ref(a->seen) : seen_get(fs, buf_slice(&key));
    }
    buf_release(&key);
    return err;
}

void place_release(struct place *p)
{
    seen_unref(p->seen);
    inode_drop(p->dir);
    *p = (struct place){NULL, NULL, 0};
}

bool place_has_unpublished(const struct fs *fs, struct slice dir_key)
{
    for (struct list *l = fs->dirty.next; l != &fs->dirty; l = l->next) {
        const struct inode *i = container_of(l, struct inode, in_dirty);
        if (!i->unlinked && !inode_published(i) && seen_key(i->seen).len != 0 &&
            slice_equal(key_parent(seen_key(i->seen)), dir_key))
            return true;
    }
    return false;
}

void place_shown(const struct place *p, struct cover *out)
{
    const struct inode *i = inode_of(p->seen, p->number);
    if (i != NULL) {
        inode_dots(i, out);
    } else if (p->number == 0) {
        cover_join_dots(out, &p->seen->name_shown);
    } else {
        struct versions v;
        versions_of(p->seen, &v);
        const struct version *at = versions_by_number(&v, p->number);
        if (at != NULL)
            cover_join_dots(out, &at->dots);
        versions_release(&v);
    }
}

void place_new_attrs(const struct place *p, const struct fs_caller *caller, uint32_t mode, bool dir,
                     struct attrs *out)
{
    struct fs_attr parent;
    struct fs *fs = p->dir->fs;
    inode_attr(p->dir, &parent);
    int64_t now = fs_wall_ns(fs);
    *out = (struct attrs){.mode = mode & 07777 & ~(caller->umask & 0777),
                          .uid = caller->uid,
                          .gid = caller->gid,
                          .mtime_ns = now,
                          .ctime_ns = now,
                          .atime_ns = now,
                          .ino = inode_new_ino(fs)};
    if (parent.mode & S_ISGID) {
        out->gid = parent.gid;
        if (dir)
            out->mode |= S_ISGID;
    }
}
