#!/usr/bin/env python3
"""canary.py MARK PATH...

Prints each file (directories are searched, symlinks are not followed) in which MARK stands: as it is, in
hex, or within base64 or base64url text at any of the three alignments.  Exit 1 when there is one.
"""

import base64
import os
import stat
import sys


def spellings(mark):
    """(name, bytes) of every form of mark that a careless program could leave behind."""
    found = [("plain", mark), ("hex", mark.hex().encode()), ("hex", mark.hex().upper().encode())]
    found.append(("UTF-16", mark.decode().encode("utf-16-le")))
    for shift in range(3):
        # Characters that also encode a neighbour of the mark are cut off.
        text = base64.b64encode(b"\0" * shift + mark)
        first = (shift * 8 + 5) // 6
        last = (shift + len(mark)) * 8 // 6
        for form in {text[first:last], text[first:last].replace(b"+", b"-").replace(b"/", b"_")}:
            found.append(("base64", form))
    return found


def files(paths):
    for path in paths:
        if os.path.isdir(path) and not os.path.islink(path):
            for folder, _, names in os.walk(path):
                yield from (os.path.join(folder, name) for name in names)
        else:
            yield path


def main(mark, *paths):
    forms = spellings(mark.encode())
    leaks = 0
    for path in files(paths):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            continue
        with open(path, "rb") as stream:
            data = stream.read()
        for form in sorted({name for name, text in forms if text in data}):
            print(f"{path}: {form}")
            leaks += 1
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
