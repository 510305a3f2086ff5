/* SPDX-License-Identifier: Apache-2.0 */
/* All nodes must derive one history from one file, and a mistake in it must be told, not guessed
 * away: two nodes that guess differently would be two clusters. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adapter/cluster_file.h"
#include "base/err.h"
#include "model/ring.h"
#include "unit.h"

static const char three[] = "# a cluster\n"
                            "cluster = 9f0c1de2a3b44556\n"
                            "q = 64\n"
                            "n = 3\n"
                            "r=2\n"
                            "w = 1 # fast\n"
                            "\n"
                            "member = 00c0ffee00c0ffee 127.0.0.1:7000 100 east\r\n"
                            "member = 0000000000000a0b [::1]:7001\n"
                            "\tmember =\tffffffffffffffff host.example:7002 250 -";

static int parse(const char *text, struct history *h, char **message)
{
    return cluster_file_parse("file", slice_str(text), h, message);
}

static void test_a_file_becomes_a_history_and_a_ring(void **state)
{
    (void)state;
    struct history h = HISTORY_EMPTY;
    struct ring *ring;
    char *message = NULL;
    assert_int_equal(parse(three, &h, &message), DYN_OK);
    assert_int_equal(h.n, 4);
    assert_int_equal(h.events[0].type, MEMBER_CREATE);
    assert_true(h.events[0].cluster == 0x9f0c1de2a3b44556u);
    assert_int_equal(h.events[0].w, 1);
    assert_true(h.events[1].node == 0x00c0ffee00c0ffeeu);
    assert_string_equal(h.events[1].zone, "east");
    assert_int_equal(h.events[2].weight, 100);
    assert_null(h.events[2].zone);
    assert_string_equal(h.events[3].address, "host.example:7002");
    assert_int_equal(h.events[3].weight, 250);
    assert_null(h.events[3].zone);
    assert_int_equal(ring_build(&h, &ring), DYN_OK);
    assert_int_equal(ring_member_count(ring), 3);
    ring_unref(ring);
    history_release(&h);
}

static void test_what_is_written_reads_back_equal(void **state)
{
    (void)state;
    struct history h = HISTORY_EMPTY, again = HISTORY_EMPTY;
    struct buf text = BUF_EMPTY;
    char *message = NULL;
    assert_int_equal(parse(three, &h, &message), DYN_OK);
    cluster_file_format(&h, &text);
    assert_int_equal(cluster_file_parse("again", buf_slice(&text), &again, &message), DYN_OK);
    struct history_epoch a = history_epoch(&h), b = history_epoch(&again);
    assert_true(history_epoch_equal(&a, &b));
    history_release(&h);
    history_release(&again);
    buf_release(&text);
}

static void test_defaults_fit_the_members_there_are(void **state)
{
    (void)state;
    struct history h = HISTORY_EMPTY;
    char *message = NULL;
    assert_int_equal(
        parse("cluster = 9f0c1de2a3b44556\nmember = 00c0ffee00c0ffee h:1\n", &h, &message), DYN_OK);
    assert_int_equal(h.events[0].q, 256);
    assert_int_equal(h.events[0].n, 1);
    assert_int_equal(h.events[0].r, 1);
    assert_int_equal(h.events[0].w, 1);
    history_release(&h);
}

static void test_mistakes_are_told_with_their_line(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"", "file: no line 'cluster"},
        {"cluster = 9f0c1de2a3b44556\n", "file: no line 'member"},
        {"cluster = 9f0c1de2a3b4455\n", "file:1: a cluster's id"},
        {"cluster = 0000000000000000\n", "file:1: a cluster's id"},
        {"cluster = 9f0c1de2a3b44556\ncluster = 9f0c1de2a3b44556\n", "file:2: this setting"},
        {"\n\nhello\n", "file:3: not of the form"},
        {"x = 1\n", "file:1: unknown key"},
        {"q = -1\n", "file:1: not a number"},
        {"q = 99999999999\n", "file:1: not a number"},
        {"member = 1 h:1\n", "file:1: a node's id"},
        {"member = 0000000000000400 h:1\n", "file:1: ids up to 1024"},
        {"member = 00c0ffee00c0ffee\n", "file:1: a member is written"},
        {"member = 00c0ffee00c0ffee h:1 1 z more\n", "file:1: a member is written"},
        {"member = 00c0ffee00c0ffee h:1 x\n", "file:1: a weight"},
        {"member = 00c0ffee00c0ffee h:1\nmember = 00c0ffee00c0ffee h:2\n", "file:2: this node id"},
        {"cluster = 9f0c1de2a3b44556\nmember = 00c0ffee00c0ffee h\n", "file: an address"},
        {"cluster = 9f0c1de2a3b44556\nq = 3\nmember = 00c0ffee00c0ffee h:1\n", "file: the number"},
        {"cluster = 9f0c1de2a3b44556\nr = 2\nmember = 00c0ffee00c0ffee h:1\n", "file: R and W"},
        {"cluster = 9f0c1de2a3b44556\nmember = 00c0ffee00c0ffee h:1 0\n", "file: a weight"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct history h = HISTORY_EMPTY;
        char *message = NULL;
        assert_int_equal(parse(bad[i][0], &h, &message), DYN_ERR_INVALID);
        assert_non_null(message);
        if (strncmp(message, bad[i][1], strlen(bad[i][1])) != 0)
            fail_msg("'%s' is told as '%s'", bad[i][0], message);
        assert_int_equal(h.n, 0);
        free(message);
    }
}

static void test_a_bad_file_leaves_the_history_alone(void **state)
{
    (void)state;
    struct history h = HISTORY_EMPTY;
    char *message = NULL;
    assert_int_equal(parse(three, &h, &message), DYN_OK);
    assert_int_equal(cluster_file_parse("nul", slice_of("q = 1\0\n", 7), &h, &message),
                     DYN_ERR_INVALID);
    assert_int_equal(h.n, 4);
    free(message);
    history_release(&h);
}

static void test_a_file_is_loaded_or_its_absence_told(void **state)
{
    (void)state;
    char path[] = "/tmp/test_cluster_file.XXXXXX";
    struct history h = HISTORY_EMPTY;
    char *message = NULL;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, three, strlen(three)), (int)strlen(three));
    close(fd);
    assert_int_equal(cluster_file_load(path, &h, &message), DYN_OK);
    assert_int_equal(h.n, 4);
    unlink(path);
    assert_int_equal(cluster_file_load(path, &h, &message), DYN_ERR_IO);
    assert_non_null(strstr(message, "No such file"));
    free(message);
    history_release(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file_becomes_a_history_and_a_ring),
        cmocka_unit_test(test_what_is_written_reads_back_equal),
        cmocka_unit_test(test_defaults_fit_the_members_there_are),
        cmocka_unit_test(test_mistakes_are_told_with_their_line),
        cmocka_unit_test(test_a_bad_file_leaves_the_history_alone),
        cmocka_unit_test(test_a_file_is_loaded_or_its_absence_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
