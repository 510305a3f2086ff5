/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines as people, mount(8) and fstab write them, and the mistakes in them. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "mount_options.h"

#define WORDS_MAX 16

struct parsed {
    struct mount_options o;
    int err;
    char *message;
};

/* Parses words separated by single spaces. */
static struct parsed parse(const char *line)
{
    struct fs_config defaults = {.attr_us = 1000000, .entry_us = 1000000};
    struct parsed p = {.err = 0};
    char *argv[WORDS_MAX] = {(char *)"dynamount"};
    int argc = 1;
    char *copy = strdup(line), *rest = copy, *word;
    while ((word = strsep(&rest, " ")) != NULL) {
        assert_true(argc < WORDS_MAX);
        argv[argc++] = word;
    }
    mount_options_init(&p.o, &defaults);
    p.err = mount_options_parse(&p.o, argc, argv, &p.message);
    free(copy);
    return p;
}

static struct parsed good(const char *line)
{
    struct parsed p = parse(line);
    if (p.err != DYN_OK)
        fail_msg("%s: %s", line, p.message);
    return p;
}

static void refused(const char *line, const char *because)
{
    struct parsed p = parse(line);
    assert_int_equal(p.err, DYN_ERR_INVALID);
    assert_non_null(p.message);
    if (strstr(p.message, because) == NULL)
        fail_msg("%s: '%s' does not say '%s'", line, p.message, because);
    free(p.message);
    mount_options_release(&p.o);
}

static const char *kernel_of(struct parsed *p)
{
    buf_put_u8(&p->o.kernel, 0);
    return (const char *)p->o.kernel.data;
}

static void test_the_short_form(void **state)
{
    (void)state;
    struct parsed p = good("127.0.0.1:7001 /mnt");
    assert_int_equal(p.o.n_seeds, 1);
    assert_string_equal(p.o.seeds[0], "127.0.0.1:7001");
    assert_string_equal(p.o.subdir, "");
    assert_string_equal(p.o.mountpoint, "/mnt");
    assert_string_equal(p.o.source, "127.0.0.1:7001");
    assert_false(p.o.foreground);
    assert_false(p.o.allow_other);
    mount_options_release(&p.o);
}

static void test_several_nodes_and_a_folder(void **state)
{
    (void)state;
    struct parsed p = good("a:1,[::1]:7002,c.example:65535:/x/y/ mnt");
    assert_int_equal(p.o.n_seeds, 3);
    assert_string_equal(p.o.seeds[1], "[::1]:7002");
    assert_string_equal(p.o.seeds[2], "c.example:65535");
    assert_string_equal(p.o.subdir, "x/y");
    mount_options_release(&p.o);
    p = good("a:1:/ mnt");
    assert_string_equal(p.o.subdir, "");
    mount_options_release(&p.o);
}

static void test_sources_that_are_none(void **state)
{
    (void)state;
    refused("localhost /mnt", "'localhost' is not HOST:PORT");
    refused("a:0 /mnt", "'a:0' is not");
    refused("a:70000 /mnt", "is not HOST:PORT");
    refused("a:1,,b:2 /mnt", "'' is not HOST:PORT");
    refused(":1 /mnt", "is not HOST:PORT");
    refused("::1:7000 /mnt", "is not HOST:PORT");
    refused("[x]:7000 /mnt", "is not HOST:PORT");
    refused("a:1:/x/../y /mnt", "cannot be a directory");
}

static void test_what_is_missing_or_too_much_is_said(void **state)
{
    (void)state;
    refused("a:1", "mount point");
    refused("a:1 /mnt /mnt2", "one mount point");
    refused("-x a:1 /mnt", "-x");
    refused("a:1 /mnt -o", "list of options");
}

static void test_options_of_ours(void **state)
{
    (void)state;
    struct parsed p =
        good("-f -o allow_other,uid=1000,gid=7,umask=022 -o conflicts=hide,"
             "resolve=explicit,durability=quorum,deadline=500ms,attr_timeout=0.25,"
             "entry_timeout=2m,log=/var/log/d,log_level=warn,drain=3,publish=5s,staging=1G"
             ",r=1,w=3,rename_limit=50,names=70,coordinate=server a:1 /mnt");
    assert_true(p.o.foreground);
    assert_true(p.o.allow_other);
    assert_true(p.o.fs.map_uid && p.o.fs.map_gid && p.o.fs.map_umask);
    assert_int_equal(p.o.fs.uid, 1000);
    assert_int_equal(p.o.fs.gid, 7);
    assert_int_equal(p.o.fs.umask, 022);
    assert_true(p.o.fs.hide_conflicts);
    assert_int_equal(p.o.fs.resolve, FS_RESOLVE_EXPLICIT);
    assert_int_equal(p.o.fs.durability, DURABILITY_QUORUM);
    assert_int_equal(p.o.fs.deadline_us, 500000);
    assert_int_equal(p.o.fs.attr_us, 250000);
    assert_int_equal(p.o.fs.entry_us, 120000000);
    assert_string_equal(p.o.log, "/var/log/d");
    assert_int_equal(p.o.log_level, LOG_LEVEL_WARN);
    assert_int_equal(p.o.drain_us, 3000000);
    assert_int_equal(p.o.fs.dirty_us, 5000000);
    assert_int_equal(p.o.fs.staging_max, 1ull << 30);
    assert_int_equal(p.o.fs.r, 1);
    assert_int_equal(p.o.fs.rename_limit, 50);
    assert_int_equal(p.o.fs.names_max, 70);
    assert_int_equal(p.o.fs.w, 3);
    assert_true(p.o.nodes_coordinate);
    mount_options_release(&p.o);
}

static void test_as_mount_8_calls_it(void **state)
{
    (void)state;
    struct parsed p = good("a:1,b:2:/d /mnt -o rw,_netdev,noauto,user=joe,nofail,x-systemd.after=n,"
                           "relatime,comment=why,dev,suid,noexec");
    assert_string_equal(kernel_of(&p), "rw,dev,suid,noexec");
    assert_false(p.o.fs.read_only);
    mount_options_release(&p.o);
    p = good("a:1 /mnt -oro,");
    assert_string_equal(kernel_of(&p), "ro");
    assert_true(p.o.fs.read_only);
    mount_options_release(&p.o);
}

static void test_mistakes_in_options_are_named(void **state)
{
    (void)state;
    refused("a:1 /mnt -o conflict=show", "'conflict'");
    refused("a:1 /mnt -o conflicts=maybe", "show or hide, not maybe");
    refused("a:1 /mnt -o conflicts", "show or hide");
    refused("a:1 /mnt -o allow_other=1", "takes no value");
    refused("a:1 /mnt -o umask=9", "octal");
    refused("a:1 /mnt -o uid=-1", "uid");
    refused("a:1 /mnt -o deadline=0", "deadline");
    refused("a:1 /mnt -o publish=0", "a time of at least 1ms");
    refused("a:1 /mnt -o durability=", "buffered");
    refused("a:1 /mnt -o r=0", "from 1 to 16");
    refused("a:1 /mnt -o w=17", "from 1 to 16");
    refused("a:1 /mnt -o r=many", "from 1 to 16");
    refused("a:1 /mnt -o recovered=", "the path of a folder");
    refused("a:1 /mnt -o coordinate=me", "client or server");
}

static void test_a_node_of_ones_own(void **state)
{
    (void)state;
    struct parsed p = good("--local /srv/data /mnt -o ro");
    assert_string_equal(p.o.local, "/srv/data");
    assert_string_equal(p.o.source, "local:/srv/data");
    assert_string_equal(p.o.mountpoint, "/mnt");
    assert_int_equal(p.o.n_seeds, 0);
    mount_options_release(&p.o);
    p = good("local:data /mnt"); /* as fstab has it */
    assert_string_equal(p.o.local, "data");
    assert_string_equal(p.o.mountpoint, "/mnt");
    mount_options_release(&p.o);
    refused("--local", "the folder that holds the data");
    refused("--local /srv/data", "what is left is the mount point");
    refused("--local /srv/data a:1 /mnt", "takes the place of the source");
    refused("--local x --local y /mnt", "twice");
    refused("--local x local:y /mnt", "takes the place of the source");
    refused("local: /mnt", "the folder that holds the data");
}

static void test_help_and_version_need_nothing_else(void **state)
{
    (void)state;
    struct parsed p = good("--help");
    assert_true(p.o.help);
    mount_options_release(&p.o);
    p = good("-V");
    assert_true(p.o.version);
    mount_options_release(&p.o);
}

static void test_after_two_dashes_all_words_are_operands(void **state)
{
    (void)state;
    struct parsed p = good("-f -- a:1 -odd");
    assert_string_equal(p.o.mountpoint, "-odd");
    mount_options_release(&p.o);
}

static void test_durations(void **state)
{
    (void)state;
    uint64_t us = 1;
    assert_int_equal(mount_options_duration("1.5h", &us), DYN_OK);
    assert_int_equal(us, 5400000000ull);
    assert_int_equal(mount_options_duration("0", &us), DYN_OK);
    assert_int_equal(us, 0);
    static const char *const bad[] = {"",    "s",    "-1",    "1 s", "1d", "nan",
                                      "inf", "1e99", "9000h", ".5",  "1,5"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(mount_options_duration(bad[i], &us), DYN_ERR_INVALID);
    assert_int_equal(us, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_short_form),
        cmocka_unit_test(test_several_nodes_and_a_folder),
        cmocka_unit_test(test_sources_that_are_none),
        cmocka_unit_test(test_what_is_missing_or_too_much_is_said),
        cmocka_unit_test(test_options_of_ours),
        cmocka_unit_test(test_as_mount_8_calls_it),
        cmocka_unit_test(test_mistakes_in_options_are_named),
        cmocka_unit_test(test_a_node_of_ones_own),
        cmocka_unit_test(test_help_and_version_need_nothing_else),
        cmocka_unit_test(test_after_two_dashes_all_words_are_operands),
        cmocka_unit_test(test_durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
