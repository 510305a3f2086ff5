/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl: the operator's and the scripter's command. Finds the verb, reads its options, prints
 * help; the verbs are in ctl/. */
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "ctl/ctl.h"
#include "ctl/session.h"

static const struct ctl_verb *const verbs[] = {
    &ctl_verb_get,        &ctl_verb_put,          &ctl_verb_rm,          &ctl_verb_ls,
    &ctl_verb_conflicts,  &ctl_verb_status,       &ctl_verb_ring,        &ctl_verb_cluster_create,
    &ctl_verb_cluster_up, &ctl_verb_cluster_down, &ctl_verb_cluster_add, &ctl_verb_join,
    &ctl_verb_leave,      &ctl_verb_remove,       &ctl_verb_replace,     &ctl_verb_weight,
    &ctl_verb_zone,       &ctl_verb_plan,         &ctl_verb_commit,      &ctl_verb_abort,
    &ctl_verb_transfers,  &ctl_verb_stats,        &ctl_verb_set,         &ctl_verb_settings,
    &ctl_verb_backup,     &ctl_verb_restore,      &ctl_verb_resolve,     &ctl_verb_history,
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static const struct args_option main_options[] = {
    {"version", NULL, "print the version", 'V'},
    {NULL, NULL, NULL, 0},
};

static void main_help(struct buf *out)
{
    buf_put_str(out, "usage: dynactl [OPTIONS] VERB [ARGUMENTS]\n\nVerbs:\n");
    for (size_t i = 0; i < VERBS; i++) {
        char *left = mem_printf("%s %s", verbs[i]->name, verbs[i]->words);
        buf_printf(out, "  %-24s %s\n", left, verbs[i]->summary);
        free(left);
    }
    buf_put_str(out, "\nOptions, before or after the verb:\n");
    args_print_help(ctl_talk_options, out);
    args_print_help(ctl_common_options, out);
    args_print_help(main_options, out);
    buf_put_str(
        out, "\nDYNAMOUNT_NODES lists the nodes when --node and --cluster do not.\n"
             "Exit status: 0 done, 1 error, 2 wrong usage, 3 conflict (several versions, or one\n"
             "where none was to be), 4 not found, 5 too few nodes answered.\n"
             "'dynactl VERB --help' says more, with examples.\n");
}

static void verb_help(const struct ctl_verb *v, struct buf *out)
{
    buf_printf(out, "usage: dynactl %s [OPTIONS]%s%s\n\n%s\nOptions:\n", v->name,
               v->words[0] != '\0' ? " " : "", v->words, v->help);
    args_print_help(v->options, out);
    if (v->talks)
        args_print_help(ctl_talk_options, out);
    args_print_help(ctl_common_options, out);
    buf_put_str(out, "\nExit status: 0 done, 1 error, 2 wrong usage, 3 conflict, 4 not found, "
                     "5 too few nodes answered.\n");
}

/* A verb is one word or two; *used says which. */
static const struct ctl_verb *find_verb(int argc, char *const *argv, int *used)
{
    for (size_t i = 0; i < VERBS; i++) {
        const char *space = strchr(verbs[i]->name, ' ');
        size_t len = space != NULL ? (size_t)(space - verbs[i]->name) : strlen(verbs[i]->name);
        if (strlen(argv[0]) != len || memcmp(argv[0], verbs[i]->name, len) != 0)
            continue;
        if (space != NULL && (argc < 2 || strcmp(argv[1], space + 1) != 0))
            continue;
        *used = space != NULL ? 2 : 1;
        return verbs[i];
    }
    return NULL;
}

static int no_verb(const struct ctl *c, int argc, char *const *argv)
{
    if (argc > 1 && strcmp(argv[0], "cluster") == 0 && argv[1][0] != '-')
        return ctl_usage(c, mem_printf("there is no verb 'cluster %s'", argv[1]));
    if (argc > 0 && strcmp(argv[0], "cluster") == 0)
        return ctl_usage(c, mem_strdup("cluster what? create, add, up or down"));
    return ctl_usage(c, argc > 0 ? mem_printf("there is no verb '%s'", argv[0])
                                 : mem_strdup("no verb given"));
}

static int run_verb(struct ctl *c, int argc, char *const *argv)
{
    const struct args_option *tables[4] = {c->verb->options, ctl_common_options};
    struct buf text = BUF_EMPTY;
    char *message = NULL;
    if (c->verb->talks)
        tables[2] = ctl_talk_options;
    if (args_parse(&c->args, argc, argv, tables, false, &message) < 0)
        return ctl_usage(c, message);
    if (args_has(&c->args, "help")) {
        verb_help(c->verb, &text);
        return ctl_print(&text);
    }
    if (c->args.n_words < c->verb->min_words)
        return ctl_usage(c, mem_printf("something is missing: %s", c->verb->words));
    if (c->args.n_words > c->verb->max_words)
        return ctl_usage(
            c, mem_printf("'%s' is one argument too many", c->args.words[c->verb->max_words]));
    c->json = args_has(&c->args, "json");
    return c->verb->run(c);
}

int main(int argc, char **argv)
{
    const struct args_option *const tables[] = {main_options, ctl_common_options, ctl_talk_options,
                                                NULL};
    struct ctl c = {.terminal = isatty(STDOUT_FILENO) == 1};
    struct buf text = BUF_EMPTY;
    char *message = NULL;
    int used = 0;

    setlocale(LC_TIME, "");
    int at = args_parse(&c.args, argc - 1, argv + 1, tables, true, &message);
    if (at < 0)
        return ctl_usage(&c, message);
    argc -= 1 + at;
    argv += 1 + at;
    if (args_has(&c.args, "version")) {
        buf_printf(&text, "dynactl %s\n", DYNAMOUNT_VERSION);
        return ctl_print(&text);
    }
    if (argc == 0 ? args_has(&c.args, "help") : strcmp(argv[0], "help") == 0) {
        main_help(&text);
        return ctl_print(&text);
    }
    if (argc > 0)
        c.verb = find_verb(argc, argv, &used);
    if (c.verb == NULL)
        return no_verb(&c, argc, argv);
    return run_verb(&c, argc - used, argv + used);
}
