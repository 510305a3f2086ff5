/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl restore DIR: a backup back into a cluster. It shares its verb with former versions of
 * keys; a folder is meant where it holds a backup, or where no key could be called so. */
#ifndef DYN_CTL_RESTORE_BACKUP_H
#define DYN_CTL_RESTORE_BACKUP_H

#include "ctl/ctl.h"

#define RESTORE_BACKUP_OPTIONS                                                                     \
    {"below", "PATH", "of a backup: only this key, and what lies below it", 0},                    \
        {"into-new", NULL, "of a backup: it is of another cluster, and this one is empty", 0},     \
        {"merge", NULL, "with --into-new: this one may have keys already", 0},                     \
        {"secret", "FILE", "the secret of the cluster that a backup is restored into", 0},         \
    {                                                                                              \
        "check", NULL, "only read the backup and say whether it is whole", 0                       \
    }

#define RESTORE_BACKUP_HELP                                                                        \
    "Brings a backup ('dynactl backup --help') back into a cluster that is in\n"                   \
    "use. Every version is joined with what is there: what was written or deleted since stays.\n"  \
    "So it gives back what was lost, and undoes nothing.\n"                                        \
    "\n"                                                                                           \
    "  dynactl restore --check /mnt/archive/mine\n"                                                \
    "  dynactl restore /mnt/archive/mine\n"                                                        \
    "  dynactl restore --below photos/2025 /mnt/archive/mine\n"                                    \
    "\n"                                                                                           \
    "Another cluster than that of the backup takes it with --into-new, and needs the secret of\n"  \
    "the nodes (the file that 'secret_file' in dynanode.conf(5) names), because only who has it\n" \
    "may tell nodes about writes that they did not make; with --cluster DIR it is found:\n"        \
    "\n"                                                                                           \
    "  dynactl --cluster /srv/new restore --into-new /mnt/archive/mine\n"                          \
    "\n"                                                                                           \
    "The whole backup is checked before anything of it is sent. A restore that breaks off goes\n"  \
    "on where it stopped when it is run again.\n"

/* Does the command line mean one? */
bool restore_backup_meant(const struct ctl *c);
int restore_backup(struct ctl *c); /* an exit status */

#endif
