# SPDX-License-Identifier: Apache-2.0
"""What POSIX says of files' modes, owners, times and errors, found out by doing the same on a mount and in
a folder of the local disk, as root and as two ordinary users, and comparing after each step: the errno, and
of each file its type, mode, owner, size, links while open, and which of its times have changed.

A step is USER OPERATION ARGUMENTS...; USER is root, u (user 1001, group 1001, also in group 2000) or v (user
1002, group 1002)."""

import ctypes
import errno
import os
import signal
import stat
import sys
import time

import pytest

from harness import wait

USERS = {"root": (0, 0, []), "u": (1001, 1001, [2000]), "v": (1002, 1002, [])}
TICK = 0.012  # the local disk's clock moves every few milliseconds only


SPECIAL = {"NOW": (1 << 30) - 1, "OMIT": (1 << 30) - 2}  # of utimensat(2)
libc = ctypes.CDLL(None, use_errno=True)


class Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


def flags_of(words):
    return sum(getattr(os, f"O_{word}") for word in words.split("|"))


class Doer:
    """Operations by name, on paths relative to the folder."""

    def __init__(self):
        self.held = {}

    def mkdir(self, path, mode="755"):
        os.mkdir(path, int(mode, 8))

    def open(self, path, flags="RDONLY", mode="644", *held):
        fd = os.open(path, flags_of(flags), int(mode, 8))
        if held:
            self.held[held[0]] = fd
        else:
            os.close(fd)

    def close(self, held):
        os.close(self.held.pop(held))

    def write(self, held, text):
        os.write(self.held[held], text.encode())

    def fwrite(self, path, text):
        fd = os.open(path, os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def read(self, held, count="100"):
        return os.pread(self.held[held], int(count), 0)

    def fchmod(self, held, mode):
        os.fchmod(self.held[held], int(mode, 8))

    def fchown(self, held, uid, gid):
        os.fchown(self.held[held], int(uid), int(gid))

    def fstat(self, held):
        st = os.fstat(self.held[held])
        return (oct(st.st_mode), st.st_nlink, st.st_size, st.st_uid, st.st_gid)

    def ftruncate(self, held, size):
        os.ftruncate(self.held[held], int(size))

    def futime(self, held, atime, mtime):
        os.utime(self.held[held], ns=(int(atime), int(mtime)))

    def truncate(self, path, size):
        os.truncate(path, int(size))

    def chmod(self, path, mode):
        os.chmod(path, int(mode, 8))

    def chown(self, path, uid, gid):
        os.chown(path, int(uid), int(gid))

    def lchown(self, path, uid, gid):
        os.lchown(path, int(uid), int(gid))

    def utime(self, path, *times):
        os.utime(path, ns=tuple(map(int, times)) if times else None, follow_symlinks=False)

    def utimensat(self, path, *times):
        """Each time a number of nanoseconds, NOW or OMIT."""
        both = (Timespec * 2)(*(Timespec(0, SPECIAL[t]) if t in SPECIAL else Timespec(*divmod(int(t), 10**9))
                                for t in times))
        if libc.utimensat(-100, os.fsencode(path), both, 0) != 0:
            raise OSError(ctypes.get_errno(), "utimensat")

    def times(self, path):
        st = os.lstat(path)  # to look at a folder, or through a link, counts as an access on a local disk
        return (st.st_atime_ns if stat.S_ISREG(st.st_mode) else 0, st.st_mtime_ns)

    def symlink(self, target, path):
        os.symlink(target, path)

    def readlink(self, path):
        return os.readlink(path)

    def unlink(self, path):
        os.unlink(path)

    def rmdir(self, path):
        os.rmdir(path)

    def rename(self, path, to):
        os.rename(path, to)

    def access(self, path, mode):
        return os.access(path, int(mode))

    def umask(self, mask):
        os.umask(int(mask, 8))

    def setxattr(self, path, name, value):
        os.setxattr(path, name, value.encode(), follow_symlinks=False)

    def getxattr(self, path, name):
        return os.getxattr(path, name, follow_symlinks=False)

    def listxattr(self, path):
        return sorted(name for name in os.listxattr(path, follow_symlinks=False)
                      if not name.startswith("security."))


def serve(user, folder, questions, answers):
    """A child: does what it reads, and answers with the outcome."""
    uid, gid, groups = USERS[user]
    os.chdir(folder)
    os.umask(0o022)
    if uid:
        os.setgroups(groups)
        os.setgid(gid)
        os.setuid(uid)
    doer = Doer()
    with os.fdopen(questions, encoding="utf-8") as asked, os.fdopen(answers, "w", encoding="utf-8") as out:
        for line in asked:
            words = [{"LONG": "n" * 256, "FULL": "n" * 255, "''": ""}.get(word, word)
                     for word in line.rstrip("\n").split("\t")]
            try:
                outcome = repr(getattr(doer, words[0])(*words[1:]))
            except OSError as error:
                outcome = errno.errorcode[error.errno]
            except Exception as error:  # a step that cannot be taken must not leave its asker waiting
                outcome = repr(error)
            out.write(outcome + "\n")
            out.flush()
    os._exit(0)


class Place:
    """A folder with a process for each user in it."""

    def __init__(self, folder):
        self.folder, self.users, self.last = folder, {}, {}
        os.chmod(folder, 0o777)
        for user in USERS:
            ask, answer = os.pipe(), os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    serve(user, folder, ask[0], answer[1])
                finally:
                    os._exit(1)
            os.close(ask[0])
            os.close(answer[1])
            self.users[user] = (pid, os.fdopen(ask[1], "w", encoding="utf-8"),
                                os.fdopen(answer[0], encoding="utf-8"))

    def end(self):
        for pid, ask, answer in self.users.values():
            os.kill(pid, signal.SIGKILL)  # others have inherited its pipe: it would not see the end
            os.waitpid(pid, 0)
            ask.close()
            answer.close()

    def do(self, step):
        user, *words = step.split()
        _, ask, answer = self.users[user]
        ask.write("\t".join(words) + "\n")
        ask.flush()
        return answer.readline().rstrip("\n")

    def look(self):
        """What has become of everything, the folder itself included."""
        seen, now = {}, {}
        for path, folders, files in os.walk(self.folder):
            for name in [""] + folders + files if path == str(self.folder) else folders + files:
                full = os.path.join(path, name)
                st = os.lstat(full)
                key = os.path.relpath(full, self.folder)
                now[key] = (st.st_mtime_ns, st.st_ctime_ns)
                old = self.last.get(key, (0, 0))
                is_dir = stat.S_ISDIR(st.st_mode)
                seen[key] = (oct(st.st_mode), st.st_uid, st.st_gid, None if is_dir else st.st_size,
                             None if is_dir else st.st_nlink, "mtime" if now[key][0] != old[0] else "",
                             "ctime" if now[key][1] != old[1] else "")
        self.last = now
        return seen


def alike(expected, found):
    """The cluster hears of a new file when it is closed: the times of its directory may move once more."""
    if expected is None or found is None or not stat.S_ISDIR(int(expected[0], 8)):
        return expected == found
    return expected[:-2] == found[:-2] and all(b or not a for a, b in zip(expected[-2:], found[-2:]))


SCENARIOS = {
    "chmod": """
        root mkdir d 755 ; root open d/f CREAT 644 ; root chown d/f 1001 1001 ; u chmod d/f 600 ; v chmod d/f 644
        u chmod d/f 6755 ; u chmod d/f 7777 ; root chmod d/f 4755 ; root chown d/f 1001 1002 ; u chmod d/f 2755
        u chmod d/f 755 ; root chmod d/f 2755 ; u chmod d/f 0 ; u open d/f RDONLY ; root open d/f RDONLY
        u chmod d/nope 644 ; u chmod d/f/x 644 ; u chmod LONG 644 ; root symlink f d/l ; u chmod d/l 640
        root chmod d 1777 ; u mkdir d/e 700 ; v open d/e/g CREAT ; u chmod d/e 2755 ; root chmod d/e 7777
        root open d/f RDWR 644 h ; root fchmod h 604 ; root fstat h ; root close h ; u umask 077
        u open d/m CREAT 666 ; u mkdir d/n 777 ; u umask 0 ; u open d/o CREAT 666 ; u mkdir d/p 7777""",
    "chown": """
        u open f CREAT 644 ; u chown f 1001 2000 ; u chown f 1001 1002 ; u chown f 1002 1001 ; v chown f 1002 1002
        root chmod f 6755 ; root chown f 0 0 ; root chmod f 6755 ; root chown f 1001 2000 ; u chmod f 6755
        u chown f -1 1001 ; u chmod f 4755 ; u chown f -1 -1 ; root chown f -1 -1 ; u mkdir d 755
        root chmod d 6755 ; root chown d 1002 1002 ; u chown d 1001 1001 ; root symlink f l ; root lchown l 1001 1001
        u lchown l -1 2000 ; v lchown l 1002 1002 ; root chown l 1002 1002 ; root chown nope 1 1 ; root chown f/x 1 1
        root open f RDWR 644 h ; root fchown h 1001 1001 ; root fstat h ; root close h""",
    "truncate": """
        u open f CREAT 644 ; u fwrite f hello ; u truncate f 3 ; u truncate f 100 ; u truncate f 100 ; u truncate f 0
        v truncate f 3 ; u chmod f 444 ; u truncate f 3 ; root truncate f 7 ; u truncate f -1 ; u mkdir d
        u truncate d 0 ; root truncate d 0 ; u truncate nope 0 ; u truncate f/x 0 ; u truncate LONG 0
        root chmod f 6777 ; v truncate f 9 ; root chmod f 6777 ; v fwrite f xx ; root chmod f 6777 ; root fwrite f xx
        root chmod f 6777 ; v open f WRONLY|TRUNC ; root chmod f 6777 ; u truncate f 5 ; root chmod f 6777
        root truncate f 6 ; root symlink f l ; u truncate l 2 ; u open f RDONLY 644 r ; u ftruncate r 1 ; u close r""",
    "ftruncate": """
        u open f CREAT|RDWR 644 h ; u write h hello ; u ftruncate h 3 ; u fstat h ; u ftruncate h 1000 ; u fstat h
        u ftruncate h 0 ; u read h ; u ftruncate h -1 ; u close h ; u open f CREAT|RDWR|TRUNC 644 h ; u write h abc
        u ftruncate h 2 ; u read h ; u chmod f 0 ; u ftruncate h 8 ; u fstat h ; u close h ; u open f RDWR
        u chmod f 600 ; u unlink f""",
    "open": """
        u open f CREAT 644 ; u open f CREAT|EXCL 644 ; u open f CREAT 600 ; v open f WRONLY ; v open f RDONLY
        u open f WRONLY|TRUNC ; u fwrite f text ; u open f WRONLY|TRUNC ; u fwrite f text ; u open f WRONLY|APPEND 644 a
        u write a more ; u close a ; u mkdir d 755 ; v open d/x CREAT ; u open d RDONLY ; u open d WRONLY
        u open d/ CREAT ; u open f DIRECTORY ; u open f/x RDONLY ; u open nope RDONLY ; u open nope/x CREAT
        u open LONG CREAT ; u open FULL CREAT ; u symlink f l ; u open l NOFOLLOW ; u open l CREAT|EXCL ; u open l WRONLY
        u symlink dangling s ; u open s RDONLY ; u open s CREAT|WRONLY ; u symlink loop loop ; u open loop RDONLY
        root mkdir g 755 ; root chown g 0 2000 ; root chmod g 3777 ; v open g/f CREAT 2755 ; u open g/f2 CREAT 2755
        v mkdir g/d 755 ; v symlink x g/l ; root chmod g 777 ; v open g/e CREAT 644 ; u open f RDONLY 644 h ; u write h x
        u close h ; u chmod f 200 ; u open f RDONLY ; u open f WRONLY ; u open f RDWR ; u open f RDONLY|TRUNC""",
    "mkdir": """
        u mkdir d 755 ; u mkdir d 755 ; v mkdir d/e 755 ; u mkdir d/e 0 ; u mkdir d/e/x 755 ; root mkdir d/e/x 755
        u mkdir nope/x ; u open f CREAT ; u mkdir f ; u mkdir f/x ; u mkdir LONG ; u mkdir FULL ; u symlink nope l
        u mkdir l ; u mkdir d/. ; u mkdir t/ ; u umask 077 ; u mkdir m 777 ; root chown d 1002 1002 ; u mkdir d/z
        root chmod d 2777 ; u mkdir d/y 755 ; u mkdir d/y/w 700 ; u open d/y/v CREAT 600""",
    "rmdir": """
        u mkdir d 755 ; u mkdir d/e 755 ; u rmdir d ; v rmdir d/e ; u rmdir d/e ; u rmdir d/e ; u rmdir d/. ; u open f CREAT
        u rmdir f ; u rmdir f/x ; u rmdir LONG ; u open d/g CREAT ; u rmdir d ; u unlink d/g ; u symlink d l ; u rmdir l
        root chmod d 1777 ; v mkdir d/v 755 ; u mkdir d/u 755 ; v rmdir d/u ; u rmdir d/v ; v rmdir d/v ; root rmdir d/u
        v mkdir w 755 ; u rmdir w ; u rmdir d ; u rmdir nope""",
    "symlink": """
        u symlink target l ; u readlink l ; u symlink other l ; u symlink x nope/l ; u mkdir d 700 ; v symlink x d/l
        u symlink ../f d/l ; u readlink d/l ; u symlink LONG n ; u readlink n ; u symlink x LONG ; u open f CREAT
        u symlink x f/l ; u symlink x f ; u readlink f ; u readlink d ; u readlink nope ; u unlink l ; u symlink '' e
        u rename d/l l2 ; u readlink l2 ; u utime l2 1000000001 2000000002 ; u times l2""",
    "unlink": """
        u open f CREAT 644 ; u fwrite f text ; u open f RDWR 644 h ; u unlink f ; u fstat h ; u read h ; u write h more
        u fstat h ; u fchmod h 600 ; u ftruncate h 2 ; u fstat h ; u open f CREAT 644 ; u fwrite f new ; u read h ; u close h
        u unlink f ; u unlink f ; u unlink nope/x ; u mkdir d 755 ; u unlink d ; u open d/f CREAT ; v unlink d/f
        u unlink d/f/x ; root chmod d 1777 ; v open d/v CREAT ; u open d/u CREAT ; v unlink d/u ; u unlink d/v ; v unlink d/f
        root unlink d/f ; u symlink d/u l ; u unlink l ; u unlink LONG ; v unlink d/v ; u chmod d 555 ; u unlink d/u
        u chmod d 755 ; u unlink d/u ; u open g CREAT 0 ; u unlink g""",
    "rename": """
        u open f CREAT 640 ; u fwrite f text ; u rename f g ; u rename g g ; u rename nope x ; u open h CREAT 600
        u rename g h ; u mkdir d 755 ; u mkdir e 755 ; u rename h d ; u rename d h ; u rename d e ; u open e/f CREAT
        u mkdir d 755 ; u rename d e ; u rename e d ; u rename d/f d/g ; v rename d/g d/h ; v rename d w ; u rename d d/sub
        u rename h nope/x ; u rename h LONG ; u rename LONG x ; u rename h FULL ; u rename FULL h ; u symlink nowhere l
        u rename l m ; u readlink m ; u rename m h ; root mkdir s 1777 ; root chmod s 1777 ; u open s/u CREAT
        v open s/v CREAT ; v rename s/u s/w ; u rename s/v x ; v open y CREAT ; v rename y s/u ; u rename s/u s/v
        u rename s/u u ; root rename s/v v ; u open u RDWR 644 o ; u open k CREAT ; u rename k u ; u fstat o ; u close o
        u mkdir t 755 ; u mkdir t/a 755 ; u open t/a/b CREAT ; u fwrite t/a/b deep ; u rename t t2 ; u rename t2/a t2/c
        u mkdir q 555 ; u rename t2/c q/c ; u rename u q/u ; v mkdir vd 755 ; u rename vd ud""",
    "utimensat": """
        u open f CREAT 644 ; u utime f 1000000001 2000000002 ; u times f ; v utime f 1 2 ; v utime f ; u utime f 0 0
        u times f ; u utime f -5000000007 -3 ; u times f ; root utime f 5 6 ; u times f ; u utime f ; root chmod f 666 ; v utime f
        v utime f 3 4 ; u mkdir d ; u utime d 7000000001 8000000002 ; u times d ; u open d/x CREAT ; u symlink f l
        u utime l 11 12 ; u times l ; u times f ; u utime nope 1 2 ; u utime f/x 1 2 ; u open f RDWR 644 h ; u write h abc
        u futime h 21 22 ; u times f ; u close h ; u times f ; u fwrite f more""",
    "one of two times": """
        u open f CREAT 644 ; u utime f 1000000001 2000000002 ; u utimensat f OMIT 3000000003 ; u times f
        u utimensat f 4000000004 OMIT ; u times f ; u utimensat f OMIT OMIT ; u times f ; v utimensat f OMIT OMIT
        u utimensat f NOW 5000000005 ; u utimensat f 6000000006 NOW ; u utimensat f NOW NOW ; v utimensat f NOW NOW
        root chmod f 666 ; v utimensat f NOW NOW ; v utimensat f OMIT NOW ; v utimensat f NOW OMIT ; v utimensat f 1 OMIT
        root utimensat f 5 6 ; root utimensat f OMIT 7000000007 ; u times f ; u mkdir d ; u utimensat d OMIT 8000000008 ; u times d
        u utimensat nope OMIT OMIT ; u utimensat f 999999999 4294967296000000000 ; u times f""",
    "no way through": """
        u mkdir d 755 ; u mkdir d/e 755 ; u open d/e/f CREAT 666 ; u symlink f d/e/l ; u chmod d 644 ; u open d/e/f RDONLY
        u open d/e/n CREAT ; u mkdir d/e/m ; u rmdir d/e ; u unlink d/e/f ; u rename d/e/f g ; u rename d/e e2
        u chmod d/e/f 600 ; u chown d/e/f -1 1001 ; u truncate d/e/f 3 ; u utime d/e/f ; u symlink x d/e/s
        u readlink d/e/l ; u access d/e/f 0 ; u setxattr d/e/f user.a x ; v open d/e/f RDONLY ; root open d/e/f RDWR
        u chmod d 311 ; u open d/e/f RDONLY ; u open d RDONLY ; u mkdir d/new ; u rmdir d/new ; u chmod d 555
        u mkdir d/new ; u rmdir d/e ; u open d/n CREAT ; u symlink x d/s ; u rename d/e d/e3 ; u unlink d/e/f ; u mkdir d/e/ok
        u chmod d 755 ; u rename d/e d/e3 ; u open d/e3/f WRONLY""",
    "loops and dots": """
        u symlink b a ; u symlink a b ; u open a RDONLY ; u open a/x CREAT ; u mkdir a/x ; u rmdir a/x ; u unlink a/x
        u chmod a 600 ; u chown a -1 1001 ; u truncate a 1 ; u rename a/x y ; u symlink x a/y ; u readlink a/x ; u utimensat a 1 2
        u unlink a ; u mkdir d ; u mkdir d/e ; u rmdir d/e/. ; u rmdir d/e/.. ; u mkdir d/. ; u mkdir d/.. ; u unlink d/e/..
        u rename d/e/. x ; u rename d/e/.. x ; u rename d x/.. ; u open d/. RDONLY ; u open d/e/../f CREAT ; u rename d/f d/e/../g
        u rename d/e d/e/../h ; u symlink d s ; u mkdir s/i ; u rmdir s ; u rmdir s/ ; u unlink s/ ; u rename s t ; u rename t/ w
        u open d/g/ RDONLY ; u unlink d/g/ ; u mkdir k/ ; u rmdir k/ ; u symlink nowhere q ; u mkdir q/ ; u open q/ CREAT
        u mkdir q ; u rmdir q ; u rename q d/q ; u readlink d/q""",
    "access": """
        root open f CREAT 644 ; u access f 4 ; u access f 2 ; root access f 1 ; root chmod f 701 ; u access f 1 ; v access f 4
        root mkdir d 700 ; root open d/x CREAT 666 ; u access d/x 4 ; u open d/x RDONLY ; root chmod d 711 ; u open d/x RDONLY
        root chown f 1001 2000 ; root chmod f 070 ; u open f RDONLY ; root chown f 0 2000 ; u open f RDONLY ; v open f RDONLY""",
    "xattr": """
        u open f CREAT 644 ; u setxattr f user.a one ; u getxattr f user.a ; u listxattr f ; v setxattr f user.b x
        v getxattr f user.a ; u chmod f 600 ; v getxattr f user.a ; u setxattr f user.a two ; u getxattr f user.a
        u getxattr f user.none ; u mkdir d ; u setxattr d user.d dir ; u getxattr d user.d ; u rename f g ; u getxattr g user.a
        u rename d e ; u getxattr e user.d ; u fwrite g text ; u getxattr g user.a ; u symlink g l ; u setxattr l user.x y""",
}


@pytest.mark.skipif(os.getuid() != 0, reason="takes on other users")
@pytest.mark.limit(40)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_like_a_local_disk(three_nodes, tmp_path, scenario):
    local = tmp_path / "local"
    local.mkdir()
    for part in [tmp_path, *tmp_path.parents][:4]:
        os.chmod(part, part.stat().st_mode | 0o711)
    mount = three_nodes.mount(tmp_path / "mnt", options=["allow_other"]).point
    os.mkdir(mount / "here")
    places = [Place(local), Place(mount / "here")]
    differences = []
    try:
        for place in places:
            place.look()
        for step in (part.strip() for line in SCENARIOS[scenario].splitlines() for part in line.split(" ; ")):
            if not step:
                continue
            time.sleep(TICK)
            expected, found = [place.do(step) for place in places]
            if expected != found:
                differences.append(f"{step}: {found}, not {expected}")
            expected, found = [place.look() for place in places]
            for path in sorted(expected.keys() | found.keys()):
                if not alike(expected.get(path), found.get(path)):
                    differences.append(f"{step}: {path} {found.get(path)}, not {expected.get(path)}")
    finally:
        for place in places:
            place.end()
    print("\n".join(differences), file=sys.stderr)
    assert not differences
    wait.until(lambda: (mount / ".dynamount" / "pending").read_text() == "", 8,
               f"nothing pending: {(mount / '.dynamount' / 'pending').read_text()}")
