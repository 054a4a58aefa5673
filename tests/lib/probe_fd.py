#!/usr/bin/env python3
"""probe_fd.py: descriptors that a test keeps, which a shell cannot seek or fstat.

One command per line of standard input, one line of answer for each: what was asked for, or the name of the
error (ENOKEY, EACCES ...). NAME is the test's name for a descriptor.

    open NAME PATH        opens for reading            -> ok
    write-open NAME PATH  O_WRONLY | O_CREAT | O_TRUNC -> ok
    pread NAME OFFSET LEN one pread(2)                 -> the bytes
    read NAME LEN         one read(2)                  -> the bytes
    write NAME TEXT       one write(2); \\n and \\0 in TEXT as in C -> ok
    size NAME             st_size                      -> a number
    truncate NAME LEN     ftruncate(2)                 -> ok
    mmap NAME             a shared mapping of one byte -> ok
    dup NAME              a duplicate, closed at once: a flush without a close -> ok
    close NAME                                         -> ok
"""

import errno
import mmap
import os
import sys

ERRORS = {126: "ENOKEY", 127: "EKEYEXPIRED", 128: "EKEYREVOKED", 129: "EKEYREJECTED"}
fds = {}


def text_of(word):
    return word.replace("\\n", "\n").replace("\\0", "\0").encode()


def act(verb, name, rest):
    if verb == "open":
        fds[name] = os.open(rest, os.O_RDONLY | os.O_CLOEXEC)
    elif verb == "write-open":
        fds[name] = os.open(rest, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    elif verb == "pread":
        offset, length = rest.split()
        return os.pread(fds[name], int(length), int(offset)).decode()
    elif verb == "read":
        return os.read(fds[name], int(rest)).decode()
    elif verb == "write":
        data = text_of(rest)
        done = os.write(fds[name], data)
        return "ok" if done == len(data) else f"short {done}"
    elif verb == "size":
        return str(os.fstat(fds[name]).st_size)
    elif verb == "truncate":
        os.ftruncate(fds[name], int(rest))
    elif verb == "mmap":
        mmap.mmap(fds[name], 1, mmap.MAP_SHARED, mmap.PROT_READ).close()
    elif verb == "dup":
        os.close(os.dup(fds[name]))
    elif verb == "close":
        os.close(fds.pop(name))
    else:
        return f"unknown command {verb}"
    return "ok"


def main():
    for line in sys.stdin:
        verb, _, rest = line.rstrip("\n").partition(" ")
        name, _, rest = rest.partition(" ")
        try:
            answer = act(verb, name, rest)
        except OSError as wrong:
            answer = ERRORS.get(wrong.errno) or errno.errorcode.get(wrong.errno, str(wrong.errno))
        print(answer, flush=True)


if __name__ == "__main__":
    main()
