/* SPDX-License-Identifier: Apache-2.0 */
/* See merge.h. Placeholders become references to environment variables, in quotes, so no name of a
 * key can break out of the command. The variables have the names that git gives its merge tools. */
#include "ctl/merge.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/key.h"

#define NAME_MAX_LEN 200

static const struct {
    const char *placeholder, *variable, *file;
} files[MERGE_FILES] = {
    [MERGE_BASE] = {"%base", "BASE", "base"},
    [MERGE_OURS] = {"%ours", "LOCAL", "ours"},
    [MERGE_THEIRS] = {"%theirs", "REMOTE", "theirs"},
    [MERGE_RESULT] = {"%merged", "MERGED", "merged"},
};

static int io_error(const char *path, char **message)
{
    *message = mem_printf("%s: %s", path, strerror(errno));
    return DYN_ERR_IO;
}

int merge_open(struct merge *m, const char *command, struct slice key, char **message)
{
    const char *tmp = getenv("TMPDIR");
    struct slice name = key_name(key);
    size_t skip = name.len > NAME_MAX_LEN ? name.len - NAME_MAX_LEN : 0;
    *m = (struct merge){.command = command};
    m->folder = mem_printf("%s/dynactl-merge-XXXXXX", tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
    if (mkdtemp(m->folder) == NULL) {
        int err = io_error(m->folder, message);
        free(m->folder);
        m->folder = NULL;
        return err;
    }
    for (unsigned i = 0; i < MERGE_FILES; i++)
        m->paths[i] = mem_printf("%s/%s-%.*s", m->folder, files[i].file, (int)(name.len - skip),
                                 (const char *)name.data + skip);
    return DYN_OK;
}

void merge_close(struct merge *m)
{
    if (m->folder == NULL)
        return;
    for (unsigned i = 0; i < MERGE_FILES; i++) {
        unlink(m->paths[i]);
        free(m->paths[i]);
    }
    if (rmdir(m->folder) != 0)
        fprintf(stderr, "dynactl: note: the command has left files in %s\n", m->folder);
    free(m->folder);
    m->folder = NULL;
}

int merge_write(const struct merge *m, enum merge_file which, char **message)
{
    int fd = open(m->paths[which], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd >= 0 ? fd : io_error(m->paths[which], message);
}

void merge_expand(const char *command, struct buf *out)
{
    while (*command != '\0') {
        unsigned i = 0;
        while (i < MERGE_FILES &&
               strncmp(command, files[i].placeholder, strlen(files[i].placeholder)) != 0)
            i++;
        if (i == MERGE_FILES) {
            buf_put_u8(out, (uint8_t)*command++);
            continue;
        }
        buf_printf(out, "\"$%s\"", files[i].variable);
        command += strlen(files[i].placeholder);
    }
    buf_put_u8(out, 0);
}

/* Does it write its result by itself? */
static bool names_result(const char *command)
{
    return strstr(command, files[MERGE_RESULT].placeholder) != NULL ||
           strstr(command, files[MERGE_RESULT].variable) != NULL;
}

/* The result is at first what is ours, for tools that change it in place. */
static int copy_ours(const struct merge *m, char **message)
{
    uint8_t bytes[65536];
    int from = open(m->paths[MERGE_OURS], O_RDONLY | O_CLOEXEC);
    int to = merge_write(m, MERGE_RESULT, message);
    int err = from < 0 || to < 0 ? DYN_ERR_IO : DYN_OK;
    if (from < 0)
        err = io_error(m->paths[MERGE_OURS], message);
    for (ssize_t n; err == DYN_OK && (n = read(from, bytes, sizeof(bytes))) != 0;)
        if (n < 0 || ctl_write_to(to, slice_of(bytes, (size_t)n)) != CTL_OK)
            err = io_error(m->paths[MERGE_RESULT], message);
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    return err;
}

/* In the child: never returns. */
static void become(const struct merge *m, struct slice key, const char *command, int out)
{
    char *name = mem_strndup((const char *)key.data, key.len);
    for (unsigned i = 0; i < MERGE_FILES; i++)
        setenv(files[i].variable, m->paths[i], 1);
    setenv("DYNAMOUNT_KEY", name, 1);
    signal(SIGINT, SIG_DFL);
    signal(SIGQUIT, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    if (out >= 0)
        dup2(out, STDOUT_FILENO);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static int wait_for(pid_t child, const char *command, char **message)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return io_error("waitpid", message);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return DYN_OK;
    if (WIFSIGNALED(status))
        *message = mem_printf("'%s' was ended by signal %d", command, WTERMSIG(status));
    else
        *message = mem_printf("'%s' ended with %d", command, WEXITSTATUS(status));
    return DYN_ERR_CONFLICT;
}

int merge_run(const struct merge *m, struct slice key, char **message)
{
    struct buf command = BUF_EMPTY;
    bool by_itself = names_result(m->command);
    int out = -1, err = DYN_OK;
    if (by_itself)
        err = copy_ours(m, message);
    else
        err = (out = merge_write(m, MERGE_RESULT, message)) < 0 ? out : DYN_OK;
    if (err != DYN_OK)
        return err;
    merge_expand(m->command, &command);
    fflush(stdout);
    void (*before_int)(int) = signal(SIGINT, SIG_IGN); /* the command decides, as under a shell */
    void (*before_quit)(int) = signal(SIGQUIT, SIG_IGN);
    pid_t child = fork();
    if (child == 0)
        become(m, key, (const char *)command.data, out);
    err = child < 0 ? io_error("fork", message) : wait_for(child, m->command, message);
    signal(SIGINT, before_int);
    signal(SIGQUIT, before_quit);
    if (out >= 0)
        close(out);
    buf_release(&command);
    return err;
}
