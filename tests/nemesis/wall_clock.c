/* SPDX-License-Identifier: Apache-2.0 */
/* Wall clocks of real nodes that are wrong, and jump: preloaded into a node, this adds to the real
 * time the nanoseconds that stand as a 64-bit number in the file which DYNAMOUNT_WALL_CLOCK names.
 * The file is mapped, so whoever writes to it sets the clock while the node runs. The monotonic
 * clocks are left alone, as they are on machines. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000

static const volatile int64_t none = 0, *offset_ns = &none;

__attribute__((constructor)) static void map_offset(void)
{
    const char *path = getenv("DYNAMOUNT_WALL_CLOCK");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED)
        offset_ns = at;
}

static void shift(struct timespec *t)
{
    int64_t ns = (int64_t)t->tv_sec * SECOND_NS + t->tv_nsec + *offset_ns;
    t->tv_sec = ns / SECOND_NS;
    t->tv_nsec = ns % SECOND_NS;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    long err = syscall(SYS_clock_gettime, clock, out);
    if (err == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        shift(out);
    return (int)err;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *out = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL)
        *out = now.tv_sec;
    return now.tv_sec;
}
