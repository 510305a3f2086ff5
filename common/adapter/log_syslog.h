/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's system log as a sink of the logger: messages as syslog(3) sends them. */
#ifndef DYN_ADAPTER_LOG_SYSLOG_H
#define DYN_ADAPTER_LOG_SYSLOG_H

#include "base/log.h"

#define LOG_SYSLOG_PATH "/dev/log"
#define LOG_SYSLOG_MESSAGE_MAX 1024 /* bytes of a datagram: RFC 3164, section 4.1 */

struct log_syslog;

/* Messages go to the datagram socket at path, under the name ident (both are copied), from the
 * facility daemon for root and user for others. Nobody needs to listen there yet, nor always: what
 * nobody takes is lost. NULL when the path is too long for a socket, or no socket is to be had. */
struct log_syslog *log_syslog_new(const char *path, const char *ident);
/* Of NULL too. The logger must have been given another sink before. */
void log_syslog_free(struct log_syslog *s);

/* For log_to; borrowed. A message over the limit is sent as several. When the listener does not
 * keep up, one message waits for it, for up to 100 ms, and those after it do not, until one is
 * taken again. */
const struct log_sink *log_syslog_sink(const struct log_syslog *s);

#endif
