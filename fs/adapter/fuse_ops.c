/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's operations, each handed to its namesake in model/fs.h with the reply that fits.
 *
 * Absent on purpose: access (default_permissions), locks (the kernel's are local to the machine),
 * ioctl, poll, bmap; and write_buf, whose pipe would cost a splice and give nothing: the model
 * takes the bytes out of our receive buffer before the call returns. */
#include "adapter/fuse_notify.h"
#include "adapter/fuse_request.h"

#include <errno.h>

#define PRUNE_SINCE 45           /* of protocol 7, as Linux 6.18 speaks it */
#define WRITE_MAX (1u << 20)     /* bytes in one WRITE */
#define DIR_REPLY_MAX (1u << 20) /* bytes in one READDIR */
#define BACKGROUND_MAX 64        /* READs and WRITEs that the kernel keeps in flight by itself */

static struct request *begin(fuse_req_t req, uint64_t node, void (*done)(struct fs_op *op))
{
    return request_new(fuse_req_userdata(req), req, node, done);
}

static int64_t ns_of(struct timespec ts)
{
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static const struct {
    int fuse;
    uint32_t fs;
} set_bits[] = {
    {FUSE_SET_ATTR_MODE, FS_SET_MODE},
    {FUSE_SET_ATTR_UID, FS_SET_UID},
    {FUSE_SET_ATTR_GID, FS_SET_GID},
    {FUSE_SET_ATTR_SIZE, FS_SET_SIZE},
    {FUSE_SET_ATTR_ATIME, FS_SET_ATIME},
    {FUSE_SET_ATTR_MTIME, FS_SET_MTIME},
    {FUSE_SET_ATTR_ATIME_NOW, FS_SET_ATIME_NOW},
    {FUSE_SET_ATTR_MTIME_NOW, FS_SET_MTIME_NOW},
    {FUSE_SET_ATTR_CTIME, FS_SET_CTIME},
};

static uint32_t set_of(int to_set)
{
    uint32_t set = 0;
    for (size_t i = 0; i < sizeof(set_bits) / sizeof(set_bits[0]); i++)
        if (to_set & set_bits[i].fuse)
            set |= set_bits[i].fs;
    return set;
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    struct fuse_channel *ch = userdata;
    conn->want |= conn->capable & (FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ATOMIC_O_TRUNC |
                                   FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
    /* HANDLE_KILLPRIV would leave it to us to clear setuid bits at each write. */
    conn->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_HANDLE_KILLPRIV |
                              FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE);
    conn->time_gran = 1;
    if (conn->max_write > WRITE_MAX)
        conn->max_write = WRITE_MAX;
    conn->max_background = BACKGROUND_MAX;
    ch->init_reply_due = true;
    fuse_notifier_prunes(ch->notifier, conn->proto_minor >= PRUNE_SINCE);
}

static struct fs *fs_of(fuse_req_t req)
{
    return ((struct fuse_channel *)fuse_req_userdata(req))->fs;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    fs_lookup(fs_of(req), &begin(req, parent, reply_entry)->op, parent, slice_str(name));
}

static void op_forget(fuse_req_t req, fuse_ino_t node, uint64_t nlookup)
{
    fs_forget(fs_of(req), node, nlookup);
    fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        fs_forget(fs_of(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
    fs_getattr(fs_of(req), &begin(req, node, reply_attr)->op, node, fi != NULL ? fi->fh : 0);
}

static void op_setattr(fuse_req_t req, fuse_ino_t node, struct stat *st, int to_set,
                       struct fuse_file_info *fi)
{
    struct fs_attr attr = {
        .mode = st->st_mode,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .size = (uint64_t)st->st_size,
        .atime_ns = ns_of(st->st_atim),
        .mtime_ns = ns_of(st->st_mtim),
        .ctime_ns = ns_of(st->st_ctim),
    };
    fs_setattr(fs_of(req), &begin(req, node, reply_attr)->op, node, fi != NULL ? fi->fh : 0, &attr,
               set_of(to_set));
}

static void op_readlink(fuse_req_t req, fuse_ino_t node)
{
    fs_readlink(fs_of(req), &begin(req, node, reply_data)->op, node);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    (void)rdev;
    if ((mode & S_IFMT) != S_IFREG) {
        fuse_reply_err(req, EPERM);
        return;
    }
    fs_mknod(fs_of(req), &begin(req, parent, reply_entry)->op, parent, slice_str(name), mode);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    fs_mkdir(fs_of(req), &begin(req, parent, reply_entry)->op, parent, slice_str(name), mode);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    fs_symlink(fs_of(req), &begin(req, parent, reply_entry)->op, parent, slice_str(name),
               slice_str(target));
}

static void op_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent, const char *name)
{
    (void)node, (void)parent, (void)name;
    fuse_reply_err(req, EPERM); /* ENOSYS would puzzle programs that fall back on EPERM */
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    fs_unlink(fs_of(req), &begin(req, parent, reply_done)->op, parent, slice_str(name));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    fs_rmdir(fs_of(req), &begin(req, parent, reply_done)->op, parent, slice_str(name));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    fs_rename(fs_of(req), &begin(req, parent, reply_done)->op, parent, slice_str(name), new_parent,
              slice_str(new_name), flags);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    struct request *r = begin(req, parent, reply_create);
    r->fi = *fi;
    fs_create(fs_of(req), &r->op, parent, slice_str(name), mode, fi->flags);
}

static void op_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
    struct request *r = begin(req, node, reply_open);
    r->fi = *fi;
    fs_open_file(fs_of(req), &r->op, node, fi->flags);
}

static void op_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    fs_read(fs_of(req), &begin(req, node, reply_data)->op, node, fi->fh, (uint64_t)off,
            (uint32_t)size);
}

static void op_write(fuse_req_t req, fuse_ino_t node, const char *bytes, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
    fs_write(fs_of(req), &begin(req, node, reply_write)->op, node, fi->fh, (uint64_t)off,
             slice_of(bytes, size));
}

static void op_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
    struct request *r = begin(req, node, reply_done);
    request_watch(r); /* who exits closes his files */
    fs_flush(fs_of(req), &r->op, node, fi->fh);
}

static void op_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
    fs_release(fs_of(req), &begin(req, node, reply_done)->op, node, fi->fh);
}

static void op_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
    (void)datasync; /* bytes and attributes are one object */
    fs_fsync(fs_of(req), &begin(req, node, reply_done)->op, node, fi->fh);
}

static void op_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
    struct request *r = begin(req, node, reply_opendir);
    r->fi = *fi;
    fs_opendir(fs_of(req), &r->op, node);
}

static void start_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
                          struct fuse_file_info *fi, bool plus)
{
    struct request *r = begin(req, node, reply_dir);
    r->size = size < DIR_REPLY_MAX ? size : DIR_REPLY_MAX;
    r->plus = plus;
    buf_reserve(&r->dir, r->size);
    fs_readdir(fs_of(req), &r->op, node, fi->fh, (uint64_t)off, plus, reply_dir_fill);
}

static void op_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
    start_readdir(req, node, size, off, fi, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
                           struct fuse_file_info *fi)
{
    start_readdir(req, node, size, off, fi, true);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
    fs_releasedir(fs_of(req), &begin(req, node, reply_done)->op, node, fi->fh);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
    (void)datasync;
    fs_fsyncdir(fs_of(req), &begin(req, node, reply_done)->op, node, fi->fh);
}

static void op_statfs(fuse_req_t req, fuse_ino_t node)
{
    fs_stat_fs(fs_of(req), &begin(req, node, reply_statfs)->op, node);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t node, const char *name, const char *value,
                        size_t size, int flags)
{
    fs_setxattr(fs_of(req), &begin(req, node, reply_done)->op, node, slice_str(name),
                slice_of(value, size), flags);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t node, const char *name, size_t size)
{
    struct request *r = begin(req, node, reply_xattr);
    r->size = size;
    fs_getxattr(fs_of(req), &r->op, node, slice_str(name));
}

static void op_listxattr(fuse_req_t req, fuse_ino_t node, size_t size)
{
    struct request *r = begin(req, node, reply_xattr);
    r->size = size;
    fs_listxattr(fs_of(req), &r->op, node);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t node, const char *name)
{
    fs_removexattr(fs_of(req), &begin(req, node, reply_done)->op, node, slice_str(name));
}

static void op_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t off, off_t len,
                         struct fuse_file_info *fi)
{
    fs_fallocate(fs_of(req), &begin(req, node, reply_done)->op, node, fi->fh, mode, (uint64_t)off,
                 (uint64_t)len);
}

static void op_lseek(fuse_req_t req, fuse_ino_t node, off_t off, int whence,
                     struct fuse_file_info *fi)
{
    (void)fi;
    fs_lseek(fs_of(req), &begin(req, node, reply_lseek)->op, node, (uint64_t)off, whence);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_off,
                               struct fuse_file_info *from_fi, fuse_ino_t to, off_t to_off,
                               struct fuse_file_info *to_fi, size_t len, int flags)
{
    (void)from_fi;
    (void)flags;
    fs_copy_range(fs_of(req), &begin(req, to, reply_write)->op, from, (uint64_t)from_off, to,
                  to_fi->fh, (uint64_t)to_off, len);
}

const struct fuse_lowlevel_ops fuse_operations = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .symlink = op_symlink,
    .link = op_link,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .rename = op_rename,
    .create = op_create,
    .open = op_open,
    .read = op_read,
    .write = op_write,
    .flush = op_flush,
    .release = op_release,
    .fsync = op_fsync,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .releasedir = op_releasedir,
    .fsyncdir = op_fsyncdir,
    .statfs = op_statfs,
    .setxattr = op_setxattr,
    .getxattr = op_getxattr,
    .listxattr = op_listxattr,
    .removexattr = op_removexattr,
    .fallocate = op_fallocate,
    .lseek = op_lseek,
    .copy_file_range = op_copy_file_range,
};
