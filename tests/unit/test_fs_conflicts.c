/* SPDX-License-Identifier: Apache-2.0 */
/* Conflicts as files (DESIGN.md section 7; F1 to F4, F11, F16): what writing, renaming and removing
 * supersede, and which names versions have. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "fs_world.h"
#include "unit.h"

/* Two sides of a split wrote f: "old" stands beside "new", which is newer. */
static void split(struct world *t)
{
    fake_kv_write(&t->k, "f", "old", false);
    fake_kv_write(&t->k, "f", "new", false);
}

static void test_siblings_are_conflict_files_with_the_same_names_on_each_mount(void **state)
{
    struct world *t = *state;
    split(t);
    assert_string_equal(sh_ls(t->a, ""), "f f.conflict.1 ");
    assert_string_equal(sh_ls(t->b, ""), "f f.conflict.1 ");
    assert_string_equal(sh_cat(t->a, "f"), "new");
    assert_string_equal(sh_cat(t->b, "f"), "new");
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "old");
    assert_string_equal(sh_cat(t->b, "f.conflict.1"), "old");
}

static void test_conflict_name_resolves_without_a_listing(void **state)
{
    struct world *t = *state;
    split(t);
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "old");
    assert_null(sh_cat(t->a, "f.conflict.2"));
    assert_int_equal(t->a->err, ENOENT);
}

static void test_f1_write_supersedes_only_what_was_shown(void **state)
{
    struct world *t = *state;
    split(t);
    assert_int_equal(sh_echo(t->a, "x", "f"), 0); /* "old" was never shown to a */
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    assert_true(fake_kv_holds(&t->k, "f", "x"));
    assert_true(fake_kv_holds(&t->k, "f", "old"));
}

static void test_f1_write_supersedes_the_conflict_files_that_a_listing_showed(void **state)
{
    struct world *t = *state;
    split(t);
    sh_ls(t->a, "");
    assert_int_equal(sh_echo(t->a, "both", "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    later(t->a);
    assert_string_equal(sh_ls(t->a, ""), "f ");
    assert_string_equal(sh_cat(t->b, "f"), "both");
}

static void test_f1_a_version_that_came_between_open_and_close_becomes_a_sibling(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "base", false);
    assert_int_equal(do_open(t->a, "f", O_WRONLY), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    fake_kv_write(&t->k, "f", "theirs", true);
    assert_int_equal(do_write(t->a, node, fh, 0, "mine"), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    assert_true(fake_kv_holds(&t->k, "f", "mine"));
    assert_true(fake_kv_holds(&t->k, "f", "theirs"));
}

static void test_f1_a_sibling_listed_after_open_survives(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "base", false);
    assert_int_equal(do_open(t->a, "f", O_WRONLY | O_TRUNC), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    fake_kv_write(&t->k, "f", "theirs", false);
    later(t->a);
    sh_ls(t->a, "");
    assert_int_equal(do_write(t->a, node, fh, 0, "mine"), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_true(fake_kv_holds(&t->k, "f", "theirs"));
}

static void test_f1_a_sibling_read_while_open_is_superseded(void **state)
{
    struct world *t = *state;
    split(t);
    assert_int_equal(do_open(t->a, "f", O_RDWR), 0);
    uint64_t node = t->a->node, fh = t->a->fh;
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "old"); /* as `diff` in an editor */
    assert_int_equal(do_write(t->a, node, fh, 0, "merged"), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(fake_kv_holds(&t->k, "f", "merged"));
}

static void test_f1_append_resolves_nothing_that_nobody_read(void **state)
{
    struct world *t = *state;
    split(t);
    sh_ls(t->a, "");
    assert_int_equal(sh_append(t->a, "+", "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    assert_true(fake_kv_holds(&t->k, "f", "new+"));
    assert_true(fake_kv_holds(&t->k, "f", "old"));
}

static void test_f1_append_supersedes_what_was_read(void **state)
{
    struct world *t = *state;
    split(t);
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "old");
    assert_int_equal(sh_append(t->a, "+", "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(fake_kv_holds(&t->k, "f", "new+"));
}

static void only_explicit(struct fs_config *c)
{
    c->resolve = FS_RESOLVE_EXPLICIT;
}

static void only_read(struct fs_config *c)
{
    c->resolve = FS_RESOLVE_READ;
}

static void test_f1_resolve_explicit_supersedes_the_own_version_alone(void **state)
{
    struct world *t = *state;
    struct mount *m = mount_new(&t->k, 3, only_explicit);
    split(t);
    sh_ls(m, "");
    sh_cat(m, "f.conflict.1");
    assert_int_equal(sh_echo(m, "x", "f"), 0);
    assert_true(fake_kv_holds(&t->k, "f", "old"));
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    mount_free(m);
}

static void test_f1_resolve_read_supersedes_what_was_read_not_what_was_listed(void **state)
{
    struct world *t = *state;
    struct mount *m = mount_new(&t->k, 3, only_read);
    split(t);
    sh_ls(m, "");
    assert_int_equal(sh_echo(m, "x", "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    later(m);
    sh_cat(m, "f.conflict.1");
    assert_int_equal(sh_echo(m, "y", "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    mount_free(m);
}

static void test_f1_writing_into_a_conflict_file_replaces_that_sibling_alone(void **state)
{
    struct world *t = *state;
    split(t);
    sh_ls(t->a, "");
    assert_int_equal(sh_echo(t->a, "older", "f.conflict.1"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    assert_string_equal(sh_cat(t->a, "f"), "new");
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "older");
    later(t->b);
    assert_string_equal(sh_cat(t->b, "f"), "new"); /* the rank was inherited (F3) */
}

static void test_f2_rm_drops_the_version_shown_and_the_next_takes_the_name(void **state)
{
    struct world *t = *state;
    split(t);
    sh_ls(t->a, "");
    assert_int_equal(sh_rm(t->a, "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_string_equal(sh_cat(t->a, "f"), "old");
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "old"); /* an alias, until it is gone */
    assert_string_equal(sh_ls(t->a, ""), "f ");
}

static void test_f2_rm_then_mv_of_the_conflict_file_chooses_it(void **state)
{
    struct world *t = *state;
    split(t);
    sh_ls(t->a, "");
    assert_int_equal(sh_rm(t->a, "f"), 0);
    uint64_t alias = do_lookup(t->a, "f.conflict.1");
    uint64_t ino = t->a->entry.attr.ino;
    uint64_t name = do_lookup(t->a, "f");
    assert_int_not_equal(alias, name); /* mv refuses to move a file onto itself */
    assert_int_not_equal(ino, t->a->entry.attr.ino);
    assert_int_equal(sh_mv(t->a, "f.conflict.1", "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_string_equal(sh_cat(t->a, "f"), "old");
    assert_null(sh_cat(t->a, "f.conflict.1"));
}

static void test_f2_rm_of_all_names_in_any_order_leaves_nothing(void **state)
{
    struct world *t = *state;
    split(t);
    fake_kv_write(&t->k, "f", "third", false);
    assert_string_equal(sh_ls(t->a, ""), "f f.conflict.1 f.conflict.2 ");
    assert_int_equal(sh_rm(t->a, "f"), 0);
    assert_int_equal(sh_rm(t->a, "f.conflict.1"), 0);
    assert_int_equal(sh_rm(t->a, "f.conflict.2"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 0);
    assert_null(sh_cat(t->a, "f"));
    assert_int_equal(t->a->err, ENOENT);
}

static void test_f2_rm_of_a_conflict_file_drops_that_sibling_alone(void **state)
{
    struct world *t = *state;
    split(t);
    assert_int_equal(sh_rm(t->a, "f.conflict.1"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(fake_kv_holds(&t->k, "f", "new"));
}

static void test_f2_rm_never_drops_a_version_that_came_later(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "seen", false);
    assert_string_equal(sh_ls(t->a, ""), "f "); /* no token comes with a listing (E5) */
    fake_kv_write(&t->k, "f", "late", false);
    assert_int_equal(sh_rm(t->a, "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(fake_kv_holds(&t->k, "f", "late"));
}

/* After a split the entries may meet before the objects do. */
static void test_f2_rm_of_what_a_listing_showed_waits_for_lagging_replicas(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "old", false);
    fake_kv_freeze(&t->k);
    fake_kv_write(&t->k, "f", "new", false);
    assert_string_equal(sh_ls(t->a, ""), "f f.conflict.1 ");
    t->k.lag = 4;
    assert_int_equal(sh_rm(t->a, "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(fake_kv_holds(&t->k, "f", "old"));
}

static void test_open_of_what_a_listing_showed_asks_all_replicas(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "old", false);
    fake_kv_freeze(&t->k);
    fake_kv_write(&t->k, "f", "new", false);
    assert_string_equal(sh_ls(t->a, ""), "f f.conflict.1 ");
    t->k.lag = 2;
    assert_string_equal(sh_cat(t->a, "f"), "new");
    later(t->b);
    assert_string_equal(sh_ls(t->b, ""), "f f.conflict.1 ");
    t->k.lag = 1000; /* nobody has it: not in time, and from then on what there is is served */
    assert_null(sh_cat(t->b, "f"));
    assert_int_equal(t->b->err, ETIMEDOUT);
    assert_string_equal(sh_cat(t->b, "f"), "old");
}

static void hide(struct fs_config *c)
{
    c->hide_conflicts = true;
}

static void test_f2_with_hidden_conflicts_rm_takes_all(void **state)
{
    struct world *t = *state;
    struct mount *m = mount_new(&t->k, 3, hide);
    split(t);
    assert_string_equal(sh_ls(m, ""), "f ");
    assert_string_equal(sh_cat(m, "f.conflict.1"), "old"); /* still there by lookup */
    assert_int_equal(sh_rm(m, "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 0);
    mount_free(m);
}

static void test_f3_chmod_of_a_conflict_file_keeps_rank_and_number(void **state)
{
    struct world *t = *state;
    split(t);
    sh_ls(t->a, "");
    assert_int_equal(sh_chmod(t->a, "f.conflict.1", 0600), 0);
    later(t->a);
    assert_string_equal(sh_ls(t->a, ""), "f f.conflict.1 ");
    assert_string_equal(sh_cat(t->a, "f"), "new");
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "old");
    assert_int_equal(t->k.bytes_put, 0);
}

static void test_f3_a_number_is_never_given_again(void **state)
{
    struct world *t = *state;
    split(t);
    sh_ls(t->a, "");
    assert_int_equal(sh_rm(t->a, "f.conflict.1"), 0);
    fake_kv_write(&t->k, "f", "newest", false);
    later(t->a);
    assert_string_equal(sh_ls(t->a, ""), "f f.conflict.2 ");
    assert_string_equal(sh_cat(t->a, "f.conflict.2"), "new");
}

static void test_f3_numbers_stick_when_a_newer_version_takes_the_name(void **state)
{
    struct world *t = *state;
    split(t);
    sh_ls(t->a, "");
    fake_kv_write(&t->k, "f", "newest", false);
    later(t->a);
    assert_string_equal(sh_ls(t->a, ""), "f f.conflict.2 f.conflict.1 ");
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "old");
    assert_string_equal(sh_cat(t->a, "f.conflict.2"), "new");
}

static void test_f3_another_mounts_edit_of_a_conflict_file_keeps_its_number_here(void **state)
{
    struct world *t = *state;
    split(t);
    sh_ls(t->a, "");
    sh_ls(t->b, "");
    assert_int_equal(sh_echo(t->b, "edited", "f.conflict.1"), 0);
    later(t->a);
    assert_string_equal(sh_ls(t->a, ""), "f f.conflict.1 ");
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "edited");
}

static void test_f4_save_by_rename_carries_what_was_opened_not_what_came_since(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "base", false);
    assert_string_equal(sh_cat(t->a, "f"), "base");
    fake_kv_write(&t->k, "f", "theirs", true);
    later(t->a);
    assert_int_equal(sh_echo(t->a, "saved", "f.tmp"), 0);
    assert_int_equal(sh_mv(t->a, "f.tmp", "f"), 0); /* its lookup of f shows "theirs" */
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    assert_true(fake_kv_holds(&t->k, "f", "theirs"));
    assert_true(fake_kv_holds(&t->k, "f", "saved"));
    assert_int_equal(fake_kv_live(&t->k, "f.tmp"), 0);
}

static void test_f4_save_by_rename_without_interference_leaves_one_version(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "base", false);
    assert_string_equal(sh_cat(t->a, "f"), "base");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sh_echo(t->a, i == 0 ? "one" : "two", "f.tmp"), 0);
        assert_int_equal(sh_mv(t->a, "f.tmp", "f"), 0);
        later(t->a);
    }
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(fake_kv_holds(&t->k, "f", "two"));
    assert_string_equal(sh_ls(t->b, ""), "f ");
}

static void test_f4_backup_by_rename_then_create_leaves_one_version(void **state)
{
    struct world *t = *state;
    fake_kv_write(&t->k, "f", "base", false);
    assert_string_equal(sh_cat(t->a, "f"), "base");
    assert_int_equal(sh_mv(t->a, "f", "f~"), 0);
    assert_int_equal(sh_echo(t->a, "saved", "f"), 0);
    assert_int_equal(fake_kv_object(&t->k, "f")->n, 1); /* the removal is covered, too */
    assert_true(fake_kv_holds(&t->k, "f", "saved"));
    assert_true(fake_kv_holds(&t->k, "f~", "base"));
}

static void test_f4_rename_over_a_conflict_that_was_listed_settles_it(void **state)
{
    struct world *t = *state;
    split(t);
    sh_ls(t->a, "");
    assert_int_equal(sh_echo(t->a, "merged", "m"), 0);
    assert_int_equal(sh_mv(t->a, "m", "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(fake_kv_holds(&t->k, "f", "merged"));
}

static void test_mv_of_a_conflict_file_onto_the_name_makes_it_the_only_one(void **state)
{
    struct world *t = *state;
    split(t);
    sh_ls(t->a, "");
    fake_kv_forget_counts(&t->k);
    assert_int_equal(sh_mv(t->a, "f.conflict.1", "f"), 0);
    assert_int_equal(t->k.bytes_put, 0);
    assert_int_equal(t->k.puts, 1);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_string_equal(sh_cat(t->a, "f"), "old");
    later(t->b);
    assert_string_equal(sh_cat(t->b, "f"), "old");
}

static void test_mv_of_a_conflict_file_leaves_a_newcomer(void **state)
{
    struct world *t = *state;
    split(t);
    sh_ls(t->a, "");
    fake_kv_write(&t->k, "f", "late", false);
    assert_int_equal(sh_mv(t->a, "f.conflict.1", "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    assert_true(fake_kv_holds(&t->k, "f", "late"));
    assert_true(fake_kv_holds(&t->k, "f", "old"));
}

static void test_mv_of_a_conflict_file_elsewhere_takes_only_that_version(void **state)
{
    struct world *t = *state;
    split(t);
    assert_int_equal(sh_mv(t->a, "f.conflict.1", "g"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(fake_kv_holds(&t->k, "f", "new"));
    assert_true(fake_kv_holds(&t->k, "g", "old"));
}

static void test_cp_of_a_conflict_file_over_the_name_settles_it(void **state)
{
    struct world *t = *state;
    split(t);
    sh_ls(t->a, "");
    char bytes[8];
    snprintf(bytes, sizeof(bytes), "%s", sh_cat(t->a, "f.conflict.1"));
    assert_int_equal(sh_echo(t->a, bytes, "f"), 0);
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
    assert_true(fake_kv_holds(&t->k, "f", "old"));
}

static void test_a_stored_key_that_ends_in_conflict_keeps_its_name(void **state)
{
    struct world *t = *state;
    split(t);
    fake_kv_write(&t->k, "f.conflict.1", "stored", false);
    assert_string_equal(sh_ls(t->a, ""), "f f.conflict.2 f.conflict.1 ");
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "stored");
    assert_string_equal(sh_cat(t->a, "f.conflict.2"), "old");
    assert_string_equal(sh_cat(t->b, "f.conflict.2"), "old"); /* also without a listing */
    assert_string_equal(sh_cat(t->b, "f.conflict.1"), "stored");
}

static void test_creating_a_name_that_a_projection_holds_is_refused(void **state)
{
    struct world *t = *state;
    split(t);
    sh_ls(t->a, "");
    assert_int_equal(sh_mkdir(t->a, "f.conflict.1"), EEXIST);
    assert_int_equal(do_open(t->a, "f.conflict.1", O_WRONLY | O_CREAT | O_EXCL), EEXIST);
}

static void test_f11_a_directory_keeps_the_name_against_a_file(void **state)
{
    struct world *t = *state;
    fake_kv_mkdir(&t->k, "f");
    fake_kv_write(&t->k, "f", "file", false);
    assert_string_equal(sh_ls(t->a, ""), "f f.conflict.1 ");
    do_lookup(t->a, "f");
    assert_true(S_ISDIR(t->a->entry.attr.mode));
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "file");
}

static void test_f11_conflicting_directories_are_one(void **state)
{
    struct world *t = *state;
    fake_kv_mkdir(&t->k, "d");
    struct dot first = fake_kv_object(&t->k, "d")->siblings[0].dot;
    (void)first;
    struct fake_kv *k = &t->k;
    k->minted += 10; /* another inode number */
    fake_kv_mkdir(k, "d");
    assert_string_equal(sh_ls(t->a, ""), "d ");
    assert_int_equal(sh_chmod(t->a, "d", 0700), 0);
    assert_int_equal(fake_kv_live(k, "d"), 1);
}

static void test_f16_chmod_beside_an_edit_is_no_conflict(void **state)
{
    struct world *t = *state;
    struct dot base = fake_kv_write(&t->k, "f", "base", false);
    fake_kv_chmod_beside(&t->k, "f", &base, 0600);
    fake_kv_write_over(&t->k, "f", "edited", &base);
    assert_int_equal(fake_kv_live(&t->k, "f"), 2);
    assert_string_equal(sh_ls(t->a, ""), "f ");
    assert_string_equal(sh_cat(t->a, "f"), "edited");
    do_lookup(t->a, "f");
    assert_int_equal(t->a->entry.attr.mode & 07777, 0600);
    assert_int_equal(sh_echo(t->a, "next", "f"), 0); /* and the next write settles it */
    assert_int_equal(fake_kv_live(&t->k, "f"), 1);
}

static void test_f20_projections_fit_255_bytes_and_resolve(void **state)
{
    struct world *t = *state;
    char name[256], shown[600];
    for (int i = 0; i < 127; i++)
        memcpy(name + 2 * i, "\xc3\xa9", 2);
    name[254] = 0;
    fake_kv_write(&t->k, name, "old", false);
    fake_kv_write(&t->k, name, "new", false);
    snprintf(shown, sizeof(shown), "%s", sh_ls(t->a, ""));
    char *conflict = strchr(shown, ' ') + 1;
    conflict[strcspn(conflict, " ")] = 0;
    assert_true(strlen(conflict) <= 255);
    assert_memory_equal(conflict + strlen(conflict) - 12, "\xa9.conflict.1", 12);
    assert_string_equal(sh_cat(t->a, conflict), "old");
    assert_string_equal(sh_cat(t->b, conflict), "old"); /* a mount that has not listed */
}

static void test_a_stored_conflict_name_far_behind_in_the_listing_keeps_its_name(void **state)
{
    struct world *t = *state;
    char name[32];
    split(t);
    for (int i = 0; i < 1400; i++) {
        snprintf(name, sizeof(name), "f-%04d", i);
        fake_kv_write(&t->k, name, "x", false);
    }
    fake_kv_write(&t->k, "f.conflict.1", "stored", false);
    assert_non_null(sh_cat(t->a, "f.conflict.2")); /* the first name that is free */
    assert_string_equal(t->a->text, "old");
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "stored");
    assert_non_null(sh_ls(t->b, "")); /* b sees it first in a listing */
    assert_non_null(strstr(t->b->text, "f f.conflict.2 f-0000 "));
    assert_non_null(strstr(t->b->text, " f-1399 f.conflict.1 "));
    assert_string_equal(sh_cat(t->b, "f.conflict.1"), "stored");
    assert_string_equal(sh_cat(t->b, "f.conflict.2"), "old");
}

static void test_a_key_stored_under_a_shown_conflict_name_takes_it(void **state)
{
    struct world *t = *state;
    split(t);
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "old");
    assert_string_equal(sh_ls(t->b, ""), "f f.conflict.1 ");
    uint64_t node = do_lookup(t->b, "f.conflict.1");
    fake_kv_write(&t->k, "f.conflict.1", "stored", false); /* by somebody who knows neither */
    later(t->a);
    assert_string_equal(sh_cat(t->a, "f.conflict.1"), "stored");
    assert_string_equal(sh_cat(t->a, "f.conflict.2"), "old");
    assert_string_equal(sh_ls(t->b, ""), "f f.conflict.2 f.conflict.1 ");
    assert_int_equal(do_lookup(t->b, "f.conflict.2"), node); /* the same file as before */
    assert_string_equal(sh_cat(t->b, "f.conflict.1"), "stored");
    assert_int_equal(sh_rm(t->b, "f.conflict.2"), 0);
    assert_string_equal(sh_ls(t->b, ""), "f f.conflict.1 ");
    assert_true(fake_kv_holds(&t->k, "f.conflict.1", "stored"));
}

static void test_many_stored_conflict_names_keep_theirs(void **state)
{
    struct world *t = *state;
    char name[32];
    split(t);
    for (int i = 1; i <= 600; i++) {
        snprintf(name, sizeof(name), "f.conflict.%d", i);
        fake_kv_write(&t->k, name, name, false);
    }
    assert_string_equal(sh_cat(t->a, "f.conflict.601"), "old");
    assert_string_equal(sh_cat(t->a, "f.conflict.7"), "f.conflict.7");
    assert_int_equal(do_lookup(t->a, "f.conflict.602"), 0);
}

static void test_an_unpublished_file_keeps_a_name_that_looks_like_a_conflict(void **state)
{
    struct world *t = *state;
    split(t);
    assert_int_equal(do_open(t->a, "f.conflict.9", O_WRONLY | O_CREAT),
                     0); /* no number given yet */
    uint64_t node = t->a->node, fh = t->a->fh;
    struct call c;
    for (int i = 0; i < 8; i++)
        fake_kv_write(&t->k, "f", (char[]){(char)('a' + i), 0}, false);
    sh_ls(t->a, "");
    call_init(t->a, &c);
    fs_lookup(t->a->fs, &c.op, FS_ROOT, slice_str("f.conflict.9"));
    assert_int_equal(call_wait(t->a, &c), 0);
    assert_int_equal(c.op.entry.node, node);
    assert_int_equal(do_write(t->a, node, fh, 0, "mine"), 0);
    assert_int_equal(do_close(t->a, node, fh), 0);
    assert_true(fake_kv_holds(&t->k, "f.conflict.9", "mine"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        T(test_a_stored_conflict_name_far_behind_in_the_listing_keeps_its_name),
        T(test_a_key_stored_under_a_shown_conflict_name_takes_it),
        T(test_many_stored_conflict_names_keep_theirs),
        T(test_an_unpublished_file_keeps_a_name_that_looks_like_a_conflict),
        T(test_siblings_are_conflict_files_with_the_same_names_on_each_mount),
        T(test_conflict_name_resolves_without_a_listing),
        T(test_f1_write_supersedes_only_what_was_shown),
        T(test_f1_write_supersedes_the_conflict_files_that_a_listing_showed),
        T(test_f1_a_version_that_came_between_open_and_close_becomes_a_sibling),
        T(test_f1_a_sibling_listed_after_open_survives),
        T(test_f1_a_sibling_read_while_open_is_superseded),
        T(test_f1_append_resolves_nothing_that_nobody_read),
        T(test_f1_append_supersedes_what_was_read),
        T(test_f1_resolve_explicit_supersedes_the_own_version_alone),
        T(test_f1_resolve_read_supersedes_what_was_read_not_what_was_listed),
        T(test_f1_writing_into_a_conflict_file_replaces_that_sibling_alone),
        T(test_f2_rm_drops_the_version_shown_and_the_next_takes_the_name),
        T(test_f2_rm_then_mv_of_the_conflict_file_chooses_it),
        T(test_f2_rm_of_all_names_in_any_order_leaves_nothing),
        T(test_f2_rm_of_a_conflict_file_drops_that_sibling_alone),
        T(test_f2_rm_never_drops_a_version_that_came_later),
        T(test_f2_rm_of_what_a_listing_showed_waits_for_lagging_replicas),
        T(test_open_of_what_a_listing_showed_asks_all_replicas),
        T(test_f2_with_hidden_conflicts_rm_takes_all),
        T(test_f3_chmod_of_a_conflict_file_keeps_rank_and_number),
        T(test_f3_a_number_is_never_given_again),
        T(test_f3_numbers_stick_when_a_newer_version_takes_the_name),
        T(test_f3_another_mounts_edit_of_a_conflict_file_keeps_its_number_here),
        T(test_f4_save_by_rename_carries_what_was_opened_not_what_came_since),
        T(test_f4_save_by_rename_without_interference_leaves_one_version),
        T(test_f4_backup_by_rename_then_create_leaves_one_version),
        T(test_f4_rename_over_a_conflict_that_was_listed_settles_it),
        T(test_mv_of_a_conflict_file_onto_the_name_makes_it_the_only_one),
        T(test_mv_of_a_conflict_file_leaves_a_newcomer),
        T(test_mv_of_a_conflict_file_elsewhere_takes_only_that_version),
        T(test_cp_of_a_conflict_file_over_the_name_settles_it),
        T(test_a_stored_key_that_ends_in_conflict_keeps_its_name),
        T(test_creating_a_name_that_a_projection_holds_is_refused),
        T(test_f11_a_directory_keeps_the_name_against_a_file),
        T(test_f11_conflicting_directories_are_one),
        T(test_f16_chmod_beside_an_edit_is_no_conflict),
        T(test_f20_projections_fit_255_bytes_and_resolve),
    };
    return cmocka_run_group_tests_name("fs_conflicts", tests, NULL, NULL);
}
