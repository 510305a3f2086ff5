/* SPDX-License-Identifier: Apache-2.0 */
/* Going into the background, with the exit status of the command saying whether it worked. */
#ifndef DYN_FS_DAEMON_H
#define DYN_FS_DAEMON_H

/* Forks. In the caller's process it does not return: it waits for the child's report and exits
 * with 0, or with the child's status when that ends without one. In the child gives the
 * descriptor for daemon_report, with stderr still the caller's, so that errors until then are
 * seen. DYN_ERR_IO when it cannot fork. */
int daemon_begin(int *report);

/* Everything works: lets the caller's process exit with 0, and parts from its terminal, its folder
 * and its descriptors 0 to 2. Closes report. */
void daemon_report(int report);

#endif
