/* SPDX-License-Identifier: Apache-2.0 */
/* Where changes go that no quorum took before the mount had to end. */
#ifndef DYN_FS_RECOVERY_H
#define DYN_FS_RECOVERY_H

#include <stdint.h>

struct fs;

/* Where a mount keeps what must outlive it, when it is not told: below $DYNAMOUNT_STATE; without
 * that below /var/lib for root, else below the user's own state ($XDG_STATE_HOME,
 * $HOME/.local/state). NULL: there is none. Caller frees. */
char *state_folder(const char *name);

/* Says once in the log when folder, which may be NULL, has files of earlier mounts. */
void recovery_remind(const char *folder);

/* Writes each unpublished file to FOLDER/KEY, or FOLDER/KEY.2 and so on where something is already,
 * and logs where. Gives how many could not be kept. folder may be NULL. */
uint32_t recovery_save(struct fs *fs, const char *folder);

#endif
