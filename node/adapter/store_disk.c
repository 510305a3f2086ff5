/* SPDX-License-Identifier: Apache-2.0 */
/* See store_disk.h. A store of the log-structured kind needs room even to delete: tombstones go to
 * the log, tables are rewritten before the old ones go. So it must refuse new data while there is
 * still some room, and for when others filled the disk meanwhile it owns a file that it can give
 * back: the ballast (HAZARDS E20).
 *
 * The mark detects what a point-in-time replay hides: a log that is bad in the middle replays up to
 * there without an error. If that is before the mark, synced data is missing. */
#include "adapter/store_disk.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/mem.h"

enum { LOOK_MS = 100, LOOK_BYTES = 4 << 20, MARK_LEN = 8 + DIGEST_LEN };

struct store_disk {
    char *dir, *ballast_path;
    uint64_t ballast, reserve, free_bytes;
    uint64_t looked_ms, written_at_look;
    enum store_room room;
    bool has_ballast;
    int mark_fd;
    uint64_t marked;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void take_ballast(struct store_disk *d)
{
    int fd = open(d->ballast_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    d->has_ballast = posix_fallocate(fd, 0, (off_t)d->ballast) == 0;
    close(fd);
    if (!d->has_ballast)
        unlink(d->ballast_path);
}

static void release_ballast(struct store_disk *d)
{
    if (d->has_ballast && unlink(d->ballast_path) == 0)
        d->has_ballast = false;
}

static void look(struct store_disk *d)
{
    struct statvfs v;
    d->looked_ms = now_ms();
    if (statvfs(d->dir, &v) != 0)
        return; /* keeps the last answer; a folder that is gone shows in the next write */
    d->free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
    if (d->free_bytes < d->reserve)
        release_ballast(d);
    /* Twice the ballast above the reserve before it is taken: no going to and fro. */
    else if (!d->has_ballast && d->ballast > 0 && d->free_bytes > d->reserve + 2 * d->ballast)
        take_ballast(d);
    if (d->free_bytes < d->ballast / 4)
        d->room = STORE_ROOM_NONE;
    else if (d->free_bytes < d->reserve || (!d->has_ballast && d->ballast > 0))
        d->room = STORE_ROOM_LOW;
    else
        d->room = STORE_ROOM_ENOUGH;
}

enum store_room store_disk_room(struct store_disk *d, uint64_t written)
{
    if (written - d->written_at_look >= LOOK_BYTES || now_ms() - d->looked_ms >= LOOK_MS) {
        d->written_at_look = written;
        look(d);
    }
    return d->room;
}

void store_disk_full(struct store_disk *d)
{
    release_ballast(d);
    if (d->room == STORE_ROOM_ENOUGH)
        d->room = STORE_ROOM_LOW;
    d->looked_ms = now_ms();
}

uint64_t store_disk_free_bytes(const struct store_disk *d)
{
    return d->free_bytes;
}

static void mark_encode(uint64_t sequence, uint8_t out[MARK_LEN])
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(sequence >> (8 * i));
    digest_sha256(slice_of(out, 8), out + 8);
}

void store_disk_mark(struct store_disk *d, uint64_t sequence)
{
    uint8_t bytes[MARK_LEN];
    mark_encode(sequence, bytes);
    if (d->mark_fd >= 0 && pwrite(d->mark_fd, bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return; /* an older or torn mark only detects less */
}

uint64_t store_disk_marked(const struct store_disk *d)
{
    return d->marked;
}

static uint64_t mark_read(int fd)
{
    uint8_t bytes[MARK_LEN], again[MARK_LEN];
    uint64_t sequence = 0;
    if (fd < 0 || pread(fd, bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return 0;
    for (int i = 0; i < 8; i++)
        sequence |= (uint64_t)bytes[i] << (8 * i);
    mark_encode(sequence, again);
    return memcmp(bytes, again, sizeof(bytes)) == 0 ? sequence : 0;
}

struct store_disk *store_disk_new(const char *dir, uint64_t ballast, uint64_t reserve)
{
    struct store_disk *d = mem_new(struct store_disk);
    d->dir = mem_strdup(dir);
    d->ballast_path = mem_printf("%s/BALLAST", dir);
    d->ballast = ballast;
    d->reserve = reserve;
    d->has_ballast = access(d->ballast_path, F_OK) == 0;
    char *mark_path = mem_printf("%s/SYNCED", dir);
    d->mark_fd = open(mark_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    free(mark_path);
    d->marked = mark_read(d->mark_fd);
    look(d);
    if (d->room == STORE_ROOM_NONE)
        look(d); /* at what there is now that the ballast was given back */
    return d;
}

void store_disk_free(struct store_disk *d)
{
    if (d == NULL)
        return;
    if (d->mark_fd >= 0)
        close(d->mark_fd);
    free(d->dir);
    free(d->ballast_path);
    free(d);
}
