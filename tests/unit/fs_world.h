/* SPDX-License-Identifier: Apache-2.0 */
/* Mounts without a kernel: a filesystem over a fake cluster, and the commands of a shell on it.
 * Each command looks its path up as the kernel would with empty caches, and waits for its answers.
 */
#ifndef DYN_TESTS_FS_WORLD_H
#define DYN_TESTS_FS_WORLD_H

#include "fake_kv.h"
#include "model/fs.h"

struct mount {
    struct fs *fs;
    struct fake_kv *k;
    int err;         /* of the last command */
    uint32_t invals; /* attribute invalidations */
    void (*let_go)(struct mount *m,
                   const struct fs_held *held); /* what the kernel does; NULL: nothing */
    uint32_t asked_back;
    uint8_t replicas;  /* of the cluster, as the host knows; 0: it does not */
    uint64_t cluster;  /* whose it is, as the host knows */
    bool still_open;   /* what the host says of a file that is flushed */
    char said[512];    /* the last line for the log, */
    uint32_t lines;    /* and how many there were */
    uint64_t node, fh; /* of the last lookup, open or create */
    struct fs_entry entry;
    struct fs_open open;
    char text[1 << 16]; /* of the last cat or ls */
    uint32_t pid;
};

/* change may be NULL; id tells mounts apart. */
struct mount *mount_new(struct fake_kv *k, uint64_t id, void (*change)(struct fs_config *c));
void mount_free(struct mount *m);
/* A cluster and two mounts of it, as setup and teardown of a test. */
struct world {
    struct fake_kv k;
    struct mount *a, *b;
};
int world_set_up(void **state);
int world_tear_down(void **state);
/* Two seconds: what is cached for one is cached no more. */
void later(struct mount *m);

/* An operation that the test starts by hand and waits for. */
struct call {
    struct fs_op op;
    bool done;
};
void call_init(struct mount *m, struct call *c);
int call_wait(struct mount *m, struct call *c); /* its errno */

uint64_t do_lookup(struct mount *m, const char *path);     /* 0: m->err says why */
int do_open(struct mount *m, const char *path, int flags); /* creates with O_CREAT; m->node, fh */
int do_write(struct mount *m, uint64_t node, uint64_t fh, uint64_t off, const char *text);
int do_flush(struct mount *m, uint64_t node, uint64_t fh);
int do_fsync(struct mount *m, uint64_t node, uint64_t fh);
void do_release(struct mount *m, uint64_t node, uint64_t fh);
int do_close(struct mount *m, uint64_t node, uint64_t fh); /* flush and release */
const char *do_read(struct mount *m, uint64_t node, uint64_t fh);
const char *do_read_at(struct mount *m, uint64_t node, uint64_t fh, uint64_t off);
int do_setattr(struct mount *m, const char *path, const struct fs_attr *a, uint32_t set);
int do_getattr(struct mount *m, uint64_t node); /* m->entry */

int sh_echo(struct mount *m, const char *text, const char *path);   /* echo -n text > path */
int sh_append(struct mount *m, const char *text, const char *path); /* echo -n text >> path */
const char *sh_cat(struct mount *m, const char *path);              /* NULL: m->err */
const char *sh_ls(struct mount *m, const char *path); /* names with a space after each */
int sh_rm(struct mount *m, const char *path);
int sh_mv(struct mount *m, const char *from, const char *to);
int sh_mkdir(struct mount *m, const char *path);
int sh_rmdir(struct mount *m, const char *path);
int sh_chmod(struct mount *m, const char *path, uint32_t mode);
int sh_setxattr(struct mount *m, const char *path, const char *name, const char *value);
const char *sh_getxattr(struct mount *m, const char *path, const char *name);

#endif
