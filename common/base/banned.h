/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that cannot be used safely, or that hide an error, must not come into the tree by habit.
 * The build includes this file ahead of each source file, and a poisoned name is then a compile
 * error. The headers that declare these names come first: after that nothing but our own code can
 * say them.
 *
 * Instead: snprintf or base/buf.h for strings, strtol with its checks for numbers, the _r forms for
 * time.
 */
#ifndef DYN_BASE_BANNED_H
#define DYN_BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat strncpy strncat stpcpy sprintf vsprintf strtok
#pragma GCC poison atoi atol atoll atof asctime ctime gmtime localtime tmpnam mktemp

#endif
