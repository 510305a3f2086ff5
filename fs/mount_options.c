/* SPDX-License-Identifier: Apache-2.0 */
/* Options reach a mount by many hands: people type them, mount(8) adds its own (rw, dev, suid), and
 * fstab has some that concern others (noauto, _netdev, x-systemd...). One table says of each which
 * it is: ours, the kernel's, or for somebody else. What the table does not know is an error, so
 * that a misspelt option is not a silent one. */
#include "mount_options.h"

#include <errno.h>
#include <grp.h>
#include <math.h>
#include <pwd.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/key.h"

#define LOCAL_SOURCE "local:" /* in fstab; no node's address, which ends with a port */
#define REPLICAS_MAX 16
#define DRAIN_US 60000000ull
#define DURATION_US_MAX (366ull * 86400 * 1000000)

void mount_options_init(struct mount_options *o, const struct fs_config *defaults)
{
    memset(o, 0, sizeof(*o));
    o->fs = *defaults;
    o->log_level = LOG_LEVEL_INFO;
    o->drain_us = DRAIN_US;
}

void mount_options_release(struct mount_options *o)
{
    for (uint32_t i = 0; i < o->n_seeds; i++)
        free(o->seeds[i]);
    free(o->source);
    free(o->local);
    free(o->subdir);
    free(o->mountpoint);
    free(o->log);
    free(o->recovered);
    free(o->staging_dir);
    buf_release(&o->kernel);
    memset(o, 0, sizeof(*o));
}

/* Values */

int mount_options_duration(const char *text, uint64_t *us)
{
    static const struct {
        const char *unit;
        double us;
    } units[] = {{"", 1e6}, {"ms", 1e3}, {"s", 1e6}, {"m", 60e6}, {"h", 3600e6}};
    if (text[0] < '0' || text[0] > '9')
        return DYN_ERR_INVALID;
    char *end;
    double number = strtod(text, &end);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) != 0)
            continue;
        double value = number * units[i].us;
        if (!isfinite(value) || value > (double)DURATION_US_MAX)
            return DYN_ERR_INVALID;
        *us = (uint64_t)value;
        return DYN_OK;
    }
    return DYN_ERR_INVALID;
}

static int parse_number(const char *text, int base, uint32_t max, uint32_t *out)
{
    if (text[0] < '0' || text[0] > '9')
        return DYN_ERR_INVALID;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, base);
    if (*end != 0 || errno != 0 || value > max)
        return DYN_ERR_INVALID;
    *out = (uint32_t)value;
    return DYN_OK;
}

static int set_allow_other(struct mount_options *o, const char *value)
{
    (void)value;
    o->allow_other = true;
    return DYN_OK;
}

static int set_read_only(struct mount_options *o, const char *value)
{
    (void)value;
    o->fs.read_only = true;
    return DYN_OK;
}

static int set_read_write(struct mount_options *o, const char *value)
{
    (void)value;
    o->fs.read_only = false;
    return DYN_OK;
}

static int set_uid(struct mount_options *o, const char *value)
{
    o->fs.map_uid = true;
    if (parse_number(value, 10, UINT32_MAX - 1, &o->fs.uid) == DYN_OK)
        return DYN_OK;
    const struct passwd *user = getpwnam(value);
    if (user == NULL)
        return DYN_ERR_INVALID;
    o->fs.uid = user->pw_uid;
    return DYN_OK;
}

static int set_gid(struct mount_options *o, const char *value)
{
    o->fs.map_gid = true;
    if (parse_number(value, 10, UINT32_MAX - 1, &o->fs.gid) == DYN_OK)
        return DYN_OK;
    const struct group *group = getgrnam(value);
    if (group == NULL)
        return DYN_ERR_INVALID;
    o->fs.gid = group->gr_gid;
    return DYN_OK;
}

static int set_umask(struct mount_options *o, const char *value)
{
    o->fs.map_umask = true;
    return parse_number(value, 8, 0777, &o->fs.umask);
}

static int set_attr_timeout(struct mount_options *o, const char *value)
{
    return mount_options_duration(value, &o->fs.attr_us);
}

static int set_publish(struct mount_options *o, const char *value)
{
    uint64_t us;
    int err = mount_options_duration(value, &us);
    if (err == DYN_OK && us == 0)
        err = DYN_ERR_INVALID;
    if (err == DYN_OK)
        o->fs.dirty_us = us;
    return err;
}

static int set_push(struct mount_options *o, const char *value)
{
    return mount_options_duration(value, &o->fs.push_us);
}

static int set_entry_timeout(struct mount_options *o, const char *value)
{
    return mount_options_duration(value, &o->fs.entry_us);
}

static int set_deadline(struct mount_options *o, const char *value)
{
    uint64_t us;
    if (mount_options_duration(value, &us) != DYN_OK || us < 1000)
        return DYN_ERR_INVALID;
    o->fs.deadline_us = us;
    return DYN_OK;
}

static int set_drain(struct mount_options *o, const char *value)
{
    return mount_options_duration(value, &o->drain_us);
}

/* Room for what is sent at a time, at least. */
static int set_staging(struct mount_options *o, const char *value)
{
    char *end;
    if (value[0] < '0' || value[0] > '9')
        return DYN_ERR_INVALID;
    errno = 0;
    unsigned long long mib = strtoull(value, &end, 10);
    if (errno != 0 || mib > 1u << 20 || (strcmp(end, "M") != 0 && strcmp(end, "G") != 0))
        return DYN_ERR_INVALID;
    if (*end == 'G')
        mib *= 1024;
    if (mib < 16 || mib > 1u << 20)
        return DYN_ERR_INVALID;
    o->fs.staging_max = mib << 20;
    return DYN_OK;
}

/* The value's place in a list of names that ends with NULL. */
static int choose(const char *value, const char *const *names, int *out)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(value, names[i]) == 0) {
            *out = i;
            return DYN_OK;
        }
    }
    return DYN_ERR_INVALID;
}

static int set_conflicts(struct mount_options *o, const char *value)
{
    static const char *const names[] = {"show", "hide", NULL};
    int chosen;
    if (choose(value, names, &chosen) != DYN_OK)
        return DYN_ERR_INVALID;
    o->fs.hide_conflicts = chosen == 1;
    return DYN_OK;
}

static int set_resolve(struct mount_options *o, const char *value)
{
    static const char *const names[] = {"shown", "read", "explicit", NULL};
    static const enum fs_resolve values[] = {FS_RESOLVE_SHOWN, FS_RESOLVE_READ,
                                             FS_RESOLVE_EXPLICIT};
    int chosen;
    if (choose(value, names, &chosen) != DYN_OK)
        return DYN_ERR_INVALID;
    o->fs.resolve = values[chosen];
    return DYN_OK;
}

static int set_durability(struct mount_options *o, const char *value)
{
    static const char *const names[] = {"buffered", "one", "quorum", NULL};
    static const uint8_t values[] = {DURABILITY_BUFFERED, DURABILITY_ONE, DURABILITY_QUORUM};
    int chosen;
    if (choose(value, names, &chosen) != DYN_OK)
        return DYN_ERR_INVALID;
    o->fs.durability = values[chosen];
    return DYN_OK;
}

static int set_replicas(const char *value, uint8_t *out)
{
    uint32_t number;
    if (parse_number(value, 10, REPLICAS_MAX, &number) != DYN_OK || number == 0)
        return DYN_ERR_INVALID;
    *out = (uint8_t)number;
    return DYN_OK;
}

static int set_r(struct mount_options *o, const char *value)
{
    return set_replicas(value, &o->fs.r);
}

static int set_w(struct mount_options *o, const char *value)
{
    return set_replicas(value, &o->fs.w);
}

static int set_names(struct mount_options *o, const char *value)
{
    return parse_number(value, 10, 1000000000, &o->fs.names_max);
}

static int set_rename_limit(struct mount_options *o, const char *value)
{
    return parse_number(value, 10, 1000000, &o->fs.rename_limit);
}

static int set_coordinate(struct mount_options *o, const char *value)
{
    static const char *const names[] = {"client", "server", NULL};
    int chosen;
    if (choose(value, names, &chosen) != DYN_OK)
        return DYN_ERR_INVALID;
    o->nodes_coordinate = chosen == 1;
    return DYN_OK;
}

static int set_log(struct mount_options *o, const char *value)
{
    if (value[0] == 0)
        return DYN_ERR_INVALID;
    free(o->log);
    o->log = mem_strdup(value);
    return DYN_OK;
}

static int set_staging_dir(struct mount_options *o, const char *value)
{
    if (value[0] == 0)
        return DYN_ERR_INVALID;
    free(o->staging_dir);
    o->staging_dir = mem_strdup(value);
    return DYN_OK;
}

static int set_recovered(struct mount_options *o, const char *value)
{
    if (value[0] == 0)
        return DYN_ERR_INVALID;
    free(o->recovered);
    o->recovered = mem_strdup(value);
    return DYN_OK;
}

static int set_log_level(struct mount_options *o, const char *value)
{
    return log_level_parse(value, &o->log_level);
}

/* The table */

enum rule_kind {
    FLAG,    /* ours, without a value */
    VALUE,   /* ours, name=value */
    KERNEL,  /* the kernel's; set, if there is one, hears of it too */
    OTHERS,  /* for mount(8), init or nobody; with a value or without */
    PREFIXED /* as OTHERS, for all that begins so */
};

static const struct rule {
    const char *name;
    enum rule_kind kind;
    int (*set)(struct mount_options *o, const char *value);
    const char *wants; /* what a value may be, for the error */
} rules[] = {
    {"allow_other", FLAG, set_allow_other, NULL},
    {"ro", KERNEL, set_read_only, NULL},
    {"rw", KERNEL, set_read_write, NULL},
    {"uid", VALUE, set_uid, "a user's name or number"},
    {"gid", VALUE, set_gid, "a group's name or number"},
    {"umask", VALUE, set_umask, "an octal number of at most 0777"},
    {"attr_timeout", VALUE, set_attr_timeout, "a time such as 1, 0.5 or 500ms"},
    {"entry_timeout", VALUE, set_entry_timeout, "a time such as 1, 0.5 or 500ms"},
    {"deadline", VALUE, set_deadline, "a time of at least 1ms, such as 20s"},
    {"rename_limit", VALUE, set_rename_limit, "a number of at most 1000000"},
    {"drain", VALUE, set_drain, "a time such as 60s"},
    {"publish", VALUE, set_publish, "a time of at least 1ms, such as 30s"},
    {"push", VALUE, set_push, "a time such as 30, 500ms or 0"},
    {"names", VALUE, set_names, "a number of at most 1000000000, or 0"},
    {"staging", VALUE, set_staging, "a size of at least 16M, such as 64M or 1G"},
    {"staging_dir", VALUE, set_staging_dir, "the path of a folder"},
    {"recovered", VALUE, set_recovered, "the path of a folder"},
    {"conflicts", VALUE, set_conflicts, "show or hide"},
    {"resolve", VALUE, set_resolve, "shown, read or explicit"},
    {"durability", VALUE, set_durability, "buffered, one or quorum"},
    {"r", VALUE, set_r, "a number of replicas from 1 to 16"},
    {"w", VALUE, set_w, "a number of replicas from 1 to 16"},
    {"coordinate", VALUE, set_coordinate, "client or server"},
    {"log", VALUE, set_log, "the path of a file"},
    {"log_level", VALUE, set_log_level, "debug, info, warn or error"},
    {"suid", KERNEL, NULL, NULL},
    {"nosuid", KERNEL, NULL, NULL},
    {"dev", KERNEL, NULL, NULL},
    {"nodev", KERNEL, NULL, NULL},
    {"exec", KERNEL, NULL, NULL},
    {"noexec", KERNEL, NULL, NULL},
    {"sync", KERNEL, NULL, NULL},
    {"async", KERNEL, NULL, NULL},
    {"dirsync", KERNEL, NULL, NULL},
    {"atime", KERNEL, NULL, NULL},
    {"noatime", KERNEL, NULL, NULL},
    {"defaults", OTHERS, NULL, NULL},
    {"auto", OTHERS, NULL, NULL},
    {"noauto", OTHERS, NULL, NULL},
    {"user", OTHERS, NULL, NULL},
    {"nouser", OTHERS, NULL, NULL},
    {"users", OTHERS, NULL, NULL},
    {"owner", OTHERS, NULL, NULL},
    {"group", OTHERS, NULL, NULL},
    {"nofail", OTHERS, NULL, NULL},
    {"_netdev", OTHERS, NULL, NULL},
    {"relatime", OTHERS, NULL, NULL},
    {"norelatime", OTHERS, NULL, NULL},
    {"strictatime", OTHERS, NULL, NULL},
    {"diratime", OTHERS, NULL, NULL},
    {"nodiratime", OTHERS, NULL, NULL},
    {"lazytime", OTHERS, NULL, NULL},
    {"nolazytime", OTHERS, NULL, NULL},
    {"comment", OTHERS, NULL, NULL},
    {"uhelper", OTHERS, NULL, NULL},
    {"helper", OTHERS, NULL, NULL},
    {"default_permissions", OTHERS, NULL, NULL}, /* always so */
    {"x-", PREFIXED, NULL, NULL},
    {"X-", PREFIXED, NULL, NULL},
};

static const struct rule *find_rule(const char *name)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        const struct rule *rule = &rules[i];
        if (rule->kind == PREFIXED ? strncmp(name, rule->name, strlen(rule->name)) == 0
                                   : strcmp(name, rule->name) == 0)
            return rule;
    }
    return NULL;
}

/* One option; name is cut at its '='. */
static int apply(struct mount_options *o, char *name, char **message)
{
    char *value = strchr(name, '=');
    if (value != NULL)
        *value++ = 0;
    const struct rule *rule = find_rule(name);
    if (rule == NULL) {
        *message = mem_printf("unknown option '%s'", name);
        return DYN_ERR_INVALID;
    }
    if (rule->kind == VALUE && (value == NULL || rule->set(o, value) != DYN_OK)) {
        *message = mem_printf("option %s wants %s%s%s", name, rule->wants,
                              value != NULL ? ", not " : "", value != NULL ? value : "");
        return DYN_ERR_INVALID;
    }
    if ((rule->kind == FLAG || rule->kind == KERNEL) && value != NULL) {
        *message = mem_printf("option %s takes no value", name);
        return DYN_ERR_INVALID;
    }
    if (rule->kind == FLAG || (rule->kind == KERNEL && rule->set != NULL))
        (void)rule->set(o, NULL); /* cannot fail without a value */
    if (rule->kind == KERNEL)
        buf_printf(&o->kernel, "%s%s", o->kernel.len > 0 ? "," : "", name);
    return DYN_OK;
}

static int parse_list(struct mount_options *o, const char *list, char **message)
{
    char *copy = mem_strdup(list), *rest = copy, *name;
    int err = DYN_OK;
    while (err == DYN_OK && (name = strsep(&rest, ",")) != NULL)
        if (name[0] != 0)
            err = apply(o, name, message);
    free(copy);
    return err;
}

/* The source */

static bool seed_is_valid(const char *seed)
{
    const char *colon = strrchr(seed, ':');
    uint32_t port;
    if (colon == NULL || parse_number(colon + 1, 10, 65535, &port) != DYN_OK || port == 0)
        return false;
    size_t host = (size_t)(colon - seed);
    if (seed[0] == '[') /* an IPv6 address */
        return host >= 4 && seed[host - 1] == ']' &&
               strspn(seed + 1, "0123456789abcdefABCDEF:.%") == host - 2;
    return host > 0 && host <= 253 &&
           strspn(seed, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") ==
               host;
}

static int parse_subdir(struct mount_options *o, const char *path, char **message)
{
    while (*path == '/')
        path++;
    size_t len = strlen(path);
    while (len > 0 && path[len - 1] == '/')
        len--;
    const char *rule;
    if (len > 0 && key_check(slice_of(path, len), &rule) != DYN_OK) {
        *message = mem_printf("'%s' cannot be a directory of the cluster: %s", path, rule);
        return DYN_ERR_INVALID;
    }
    o->subdir = mem_strndup(path, len);
    return DYN_OK;
}

static int parse_local(struct mount_options *o, const char *folder, char **message)
{
    if (folder[0] == 0 || o->local != NULL) {
        *message = mem_strdup(o->local != NULL ? "--local is given twice"
                                               : "--local wants the folder that holds the data");
        return DYN_ERR_INVALID;
    }
    o->local = mem_strdup(folder);
    o->subdir = mem_strdup("");
    o->source = mem_printf("%s%s", LOCAL_SOURCE, folder);
    return DYN_OK;
}

int mount_options_source(struct mount_options *o, const char *source, char **message)
{
    if (strncmp(source, LOCAL_SOURCE, strlen(LOCAL_SOURCE)) == 0)
        return parse_local(o, source + strlen(LOCAL_SOURCE), message);
    char *copy = mem_strdup(source), *rest = copy, *seed;
    char *subdir = strstr(copy, ":/"); /* in no HOST:PORT */
    if (subdir != NULL)
        *subdir++ = 0;
    int err = parse_subdir(o, subdir != NULL ? subdir : "", message);
    while (err == DYN_OK && (seed = strsep(&rest, ",")) != NULL) {
        if (!seed_is_valid(seed)) {
            *message = mem_printf("'%s' is not HOST:PORT (the source is HOST:PORT[,HOST:PORT...]"
                                  "[:/SUBDIR])",
                                  seed);
            err = DYN_ERR_INVALID;
        } else if (o->n_seeds == MOUNT_SEEDS_MAX) {
            *message = mem_printf("more than %d nodes in the source", MOUNT_SEEDS_MAX);
            err = DYN_ERR_INVALID;
        } else {
            o->seeds[o->n_seeds++] = mem_strdup(seed);
        }
    }
    if (err == DYN_OK)
        o->source = mem_strdup(source);
    free(copy);
    return err;
}

/* The command line */

static int parse_operands(struct mount_options *o, const char *const *operands, int n,
                          char **message)
{
    if (o->local != NULL && n != 1) {
        *message = mem_strdup("--local takes the place of the source: what is left is the mount "
                              "point");
        return DYN_ERR_INVALID;
    }
    if (o->local == NULL && n != 2) {
        *message = mem_printf(n < 2 ? "needs a source and a mount point"
                                    : "takes one source and one mount point");
        return DYN_ERR_INVALID;
    }
    const char *folder = operands[n - 1];
    if (folder[0] == 0) {
        *message = mem_strdup("the mount point has no name");
        return DYN_ERR_INVALID;
    }
    o->mountpoint = mem_strdup(folder);
    return o->local != NULL ? DYN_OK : mount_options_source(o, operands[0], message);
}

int mount_options_parse(struct mount_options *o, int argc, char **argv, char **message)
{
    const char *operands[3];
    int n = 0;
    bool only_operands = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        int err = DYN_OK;
        if (only_operands || word[0] != '-' || word[1] == 0) {
            if (n < 3)
                operands[n++] = word;
        } else if (strcmp(word, "--") == 0) {
            only_operands = true;
        } else if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
            o->help = true;
        } else if (strcmp(word, "-V") == 0 || strcmp(word, "--version") == 0) {
            o->version = true;
        } else if (strcmp(word, "-f") == 0) {
            o->foreground = true;
        } else if (strcmp(word, "-d") == 0) {
            o->foreground = o->debug = true;
            o->log_level = LOG_LEVEL_DEBUG;
        } else if (strcmp(word, "--local") == 0) {
            i++;
            err = parse_local(o, i < argc ? argv[i] : "", message);
        } else if (strcmp(word, "-o") == 0 && i + 1 < argc) {
            err = parse_list(o, argv[++i], message);
        } else if (word[1] == 'o' && word[2] != 0) {
            err = parse_list(o, word + 2, message);
        } else {
            *message = mem_printf(
                strcmp(word, "-o") == 0 ? "%s wants a list of options" : "unknown option %s", word);
            err = DYN_ERR_INVALID;
        }
        if (err != DYN_OK)
            return err;
    }
    return o->help || o->version ? DYN_OK : parse_operands(o, operands, n, message);
}
