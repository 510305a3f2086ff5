/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl set and settings: what holds for a directory and all below it. */
#include <stdlib.h>

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "ctl/survey.h"
#include "model/key.h"
#include "model/settings.h"

static const struct args_option no_options[] = {
    {NULL, NULL, NULL, 0},
};

#define SETTINGS_HELP                                                                              \
    "  reconcile   what becomes of versions that conflict: siblings (they stand side by side),\n"  \
    "              lww (the newest wall clock wins), union (the union of their lines)\n"           \
    "  n           on how many nodes the content of files stays, 1 to the cluster's N; "           \
    "versions,\n"                                                                                  \
    "              attributes, listings, and chunks of files over 1 MiB stay with all N\n"         \
    "  r, w        how many answers reads and writes wait for\n"                                   \
    "  durability  buffered, one or quorum\n"                                                      \
    "  sloppy      yes or no: may stand-ins acknowledge for primaries that do not answer\n"

static const char set_help[] =
    "Sets what holds for the directory DIR ('/' is the root) and all below it, for requests that\n"
    "do not say themselves. Settings:\n\n" SETTINGS_HELP
    "\nThe value default unsets one: what is set above holds again. The directory need not exist.\n"
    "\n"
    "Examples:\n"
    "  dynactl set carts reconcile=union\n"
    "  dynactl set logs reconcile=lww w=1 durability=buffered\n"
    "  dynactl set logs w=default\n";

static const char settings_help[] =
    "Shows what is set, by directory; with DIR, what holds there, and which directory says so.\n"
    "\n"
    "Examples:\n"
    "  dynactl settings\n"
    "  dynactl settings carts/ada\n"
    "  dynactl settings --json carts | jq -r .settings.reconcile.value\n";

/* "/" and "" are the root; a slash before or behind does no harm. */
static struct slice dir_word(const char *word)
{
    struct slice dir = slice_str(word);
    while (dir.len > 0 && dir.data[0] == '/')
        dir = slice_of(dir.data + 1, dir.len - 1);
    while (dir.len > 0 && dir.data[dir.len - 1] == '/')
        dir.len--;
    return dir;
}

static int check_dir(const struct ctl *c, struct slice dir)
{
    const char *rule;
    if (dir.len > 0 && key_check(dir, &rule) != DYN_OK)
        return ctl_usage(c, mem_printf("'%s' is no directory's name: %s", c->args.words[0], rule));
    return CTL_OK;
}

static int failed(struct slice dir, int err)
{
    return ctl_failed("settings of", dir, err, 0, 0);
}

/* ---- set ---- */

static int parse_changes(const struct ctl *c, uint32_t n, struct settings_request *q)
{
    for (unsigned i = 1; i < c->args.n_words; i++) {
        const char *word = c->args.words[i], *equals = strchr(word, '=');
        char *message = NULL;
        if (equals == NULL)
            return ctl_usage(c, mem_printf("'%s' is no setting: write NAME=VALUE", word));
        if (q->n == SETTINGS_END)
            return ctl_usage(c, mem_strdup("that is more settings than there are"));
        struct setting_change *change = &q->changes[q->n++];
        if (setting_parse(slice_of(word, (size_t)(equals - word)), slice_str(equals + 1), n,
                          &change->setting, &change->value, &message) != DYN_OK)
            return ctl_usage(c, message);
    }
    return CTL_OK;
}

static int report(const struct ctl *c, struct slice dir, const struct settings_reply *reply)
{
    struct buf text = BUF_EMPTY;
    if (c->json) {
        struct json *j = json_object();
        json_add_bytes(j, "dir", dir);
        json_add_u64(j, "known", reply->known);
        json_add_u64(j, "members", reply->members);
        json_print(j, true, &text);
        buf_put_u8(&text, '\n');
        json_free(j);
    } else if (reply->known < reply->members) {
        buf_printf(&text, "%u of %u nodes know it; the others will within seconds of being up\n",
                   reply->known, reply->members);
    }
    return ctl_print(&text);
}

static int run_set(struct ctl *c)
{
    struct session *s = NULL;
    struct ring *ring;
    struct settings_request q = {.dir = dir_word(c->args.words[0])};
    struct settings_reply reply;
    int status = check_dir(c, q.dir);
    if (status == CTL_OK)
        status = parse_changes(c, 0, &q); /* what is wrong anywhere needs no cluster */
    if (status != CTL_OK)
        return status;
    status = survey_open(c, &s, &ring);
    if (s == NULL)
        return status;
    q.n = 0;
    status = parse_changes(c, ring_n(ring), &q);
    if (status == CTL_OK) {
        session_settings(s, &q, &reply);
        status = reply.status == DYN_OK ? report(c, q.dir, &reply) : failed(q.dir, reply.status);
        settings_reply_release(&reply);
    }
    session_close(s);
    return status;
}

/* ---- settings ---- */

static void put_dir(const struct ctl *c, struct slice dir, struct buf *out)
{
    if (dir.len == 0)
        buf_put_u8(out, '/');
    ctl_put_name(c, dir, out);
}

static void all_text(const struct ctl *c, const struct settings *table, struct buf *out)
{
    for (uint32_t i = 0; i < table->n; i++) {
        const struct setting_row *row = &table->rows[i];
        if (row->value == 0 || row->setting >= SETTINGS_END)
            continue;
        put_dir(c, slice_of(row->dir, row->dir_len), out);
        buf_printf(out, "  %s=", setting_name(row->setting));
        setting_print(row->setting, row->value, out);
        buf_put_u8(out, '\n');
    }
}

static void all_json(const struct settings *table, struct json *root)
{
    struct json *rows = json_add_array(root, "rows");
    for (uint32_t i = 0; i < table->n; i++) {
        const struct setting_row *row = &table->rows[i];
        struct buf value = BUF_EMPTY;
        if (row->value == 0 || row->setting >= SETTINGS_END)
            continue;
        struct json *j = json_add_object(rows, NULL);
        setting_print(row->setting, row->value, &value);
        json_add_bytes(j, "dir", slice_of(row->dir, row->dir_len));
        json_add_str(j, "setting", setting_name(row->setting));
        json_add_bytes(j, "value", buf_slice(&value));
        buf_release(&value);
    }
}

static void one_text(const struct ctl *c, const struct rules *rules, struct buf *out)
{
    for (enum dir_setting i = 1; i < SETTINGS_END; i++) {
        struct buf value = BUF_EMPTY;
        setting_print(i, rules->value[i], &value);
        buf_printf(out, "%-10s  %.*s", setting_name(i), (int)value.len, (const char *)value.data);
        if (rules->value[i] != 0) {
            buf_printf(out, "%*s  set on ", (int)(value.len < 8 ? 8 - value.len : 0), "");
            put_dir(c, rules->from[i], out);
        }
        buf_put_u8(out, '\n');
        buf_release(&value);
    }
}

static void one_json(const struct rules *rules, struct json *root)
{
    struct json *all = json_add_object(root, "settings");
    for (enum dir_setting i = 1; i < SETTINGS_END; i++) {
        struct buf value = BUF_EMPTY;
        struct json *j = json_add_object(all, setting_name(i));
        setting_print(i, rules->value[i], &value);
        json_add_bytes(j, "value", buf_slice(&value));
        if (rules->value[i] != 0)
            json_add_bytes(j, "from", rules->from[i]);
        buf_release(&value);
    }
}

static int show(const struct ctl *c, bool all, struct slice dir, const struct settings *table)
{
    struct buf text = BUF_EMPTY;
    struct rules rules;
    settings_rules(table, dir, &rules);
    if (c->json) {
        struct json *root = json_object();
        if (all) {
            all_json(table, root);
        } else {
            json_add_bytes(root, "dir", dir);
            one_json(&rules, root);
        }
        json_print(root, true, &text);
        buf_put_u8(&text, '\n');
        json_free(root);
    } else if (all) {
        all_text(c, table, &text);
    } else {
        one_text(c, &rules, &text);
    }
    return ctl_print(&text);
}

static int run_settings(struct ctl *c)
{
    struct session *s = NULL;
    struct ring *ring;
    struct settings_reply reply;
    bool all = c->args.n_words == 0;
    struct settings_request q = {.dir = all ? slice_str("") : dir_word(c->args.words[0])};
    int status = check_dir(c, q.dir);
    if (status != CTL_OK)
        return status;
    status = survey_open(c, &s, &ring);
    if (s == NULL)
        return status;
    session_settings(s, &q, &reply);
    status =
        reply.status == DYN_OK ? show(c, all, q.dir, &reply.table) : failed(q.dir, reply.status);
    settings_reply_release(&reply);
    session_close(s);
    return status;
}

const struct ctl_verb ctl_verb_set = {
    "set",
    "DIR NAME=VALUE...",
    "set what holds for a directory and all below it",
    set_help,
    no_options,
    2,
    ARGS_MAX,
    true,
    run_set,
};
const struct ctl_verb ctl_verb_settings = {
    "settings",
    "[DIR]",
    "show what is set, or what holds for a directory",
    settings_help,
    no_options,
    0,
    1,
    true,
    run_settings,
};
