# SPDX-License-Identifier: Apache-2.0
"""The floors of the architecture, as rules on #include lines and on the symbols of objects.

    0  common/base                            libc, libcrypto, cJSON
    1  common/model, node/engine, fs/model    floor 0; no sockets, files, threads, time, randomness
    2  common/port, node/port, fs/port        vtables, so floor 1 may see them too
    3  common/adapter, node/adapter, fs/adapter   their library
    4  node/*.c, node/ctl, fs/*.c             programs

A file includes its own floor or below. common/ knows neither node/ nor fs/, and those two do not know
each other. An include is written from the root of its component ("model/key.h"), and so is found
first in the component of the file, then in common/.
"""

import posixpath
import re

FLOORS = {
    "common/base": 0,
    "common/model": 1, "node/engine": 1, "fs/model": 1,
    "common/port": 2, "node/port": 2, "fs/port": 2,
    "common/adapter": 3, "node/adapter": 3, "fs/adapter": 3,
    "node": 4, "node/ctl": 4, "fs": 4,
}
NAMES = {0: "base", 1: "model", 2: "port", 3: "adapter", 4: "program"}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)

# What floors 1 and 2 may take from outside: language, memory, strings, and headers of constants
# (fcntl.h for O_EXCL, sys/stat.h for S_IFDIR). The symbol check sees to it that only those are used.
PURE_HEADERS = frozenset("""
    assert.h ctype.h endian.h errno.h fcntl.h inttypes.h limits.h math.h stdalign.h stdarg.h
    stdbool.h stddef.h stdint.h stdio.h stdlib.h stdnoreturn.h string.h strings.h sys/stat.h
    sys/types.h utarray.h uthash.h utlist.h utstring.h
""".split())

# libc reaches the world by these; no object of floors 0 to 2 may, save for the named exceptions.
IMPURE_SYMBOL = re.compile(r"""^(
    socket|connect|bind|listen|accept4?|send(to|msg)?|recv(from|msg)?|getaddrinfo|poll|epoll_.*|select
  | open(at)?(64)?|creat(64)?|read|write|p(read|write)(v|64)?|fsync|fdatasync|unlink(at)?|rename(at2?)?
  | mkdir(at)?|rmdir|opendir|readdir(64)?|stat(64)?|lstat(64)?|fstat(at)?(64)?|fopen(64)?|fdopen
  | fread|fwrite|popen|system|fork|exec[lv]p?e?|tmpfile(64)?|mkstemp(64)?
  | pthread_.*|thrd_.*|mtx_.*|cnd_.*|sem_.*
  | time|clock|clock_gettime|gettimeofday|nanosleep|usleep|sleep|setitimer|alarm|timer_(create|settime)
  | timerfd_.*
  | rand(_r)?|srand|random(_r)?|srandom|[ejlmn]rand48|drand48|getrandom|getentropy|arc4random.*
  | RAND_.*
)$""", re.VERBOSE)


def floor_of(path):
    """The floor of a file, None for one outside of the three components. A folder of node/engine is
    still node/engine."""
    return FLOORS.get("/".join(posixpath.dirname(path).split("/")[:2]))


def resolve(path, name, tree):
    """The file that `#include "name"` in PATH means, None if the tree has none."""
    component = path.split("/")[0]
    for folder in (component, "common"):
        candidate = f"{folder}/{name}"
        if candidate in tree:
            return candidate
    return None


def _quoted(path, name, tree):
    if name.startswith(".") or "/../" in name:
        return f'{path}: "{name}" is not written from the root of its component'
    target = resolve(path, name, tree)
    if target is None:
        return f'{path}: no "{name}" in its own component or in common/'
    mine, other = floor_of(path), floor_of(target)
    if other is None:
        return f"{path}: {target} stands on no floor"
    allowed = 2 if mine == 1 else mine  # ports are vtables: floor 1 works through them
    if other > allowed:
        return f"{path}: floor {mine} ({NAMES[mine]}) includes {target}, floor {other}"
    return None


def _angled(path, name):
    if floor_of(path) in (1, 2) and name not in PURE_HEADERS:
        return f"{path}: floor {floor_of(path)} includes <{name}>"
    return None


def include_breaches(tree):
    """One complaint for each include that goes up, sideways, or out of the house too early."""
    found = []
    for path, text in tree.items():
        if not path.endswith((".c", ".h")) or path.split("/")[0] not in ("common", "node", "fs"):
            continue
        if floor_of(path) is None:
            found.append(f"{path}: stands on no floor")
            continue
        for mark, name in INCLUDE.findall(text):
            complaint = _quoted(path, name, tree) if mark == '"' else _angled(path, name)
            if complaint:
                found.append(complaint)
    return found


def symbol_breaches(listing):
    """One complaint for each impure symbol in LISTING: {object: iterable of undefined symbols}."""
    return [f"{name}: uses {symbol}()"
            for name, symbols in sorted(listing.items())
            for symbol in sorted(symbols) if IMPURE_SYMBOL.match(symbol.split("@")[0])]
