#!/usr/bin/env python3
"""probe_latency.py COUNT FILE...

Opens, reads and closes each FILE in turn, COUNT times in all, and prints `MEDIAN P99 MAX` in
microseconds. A read that fails or is empty ends it with exit status 1.
"""

import os
import sys
import time


def main(count, *files):
    times = []
    for turn in range(count):
        begun = time.monotonic_ns()
        fd = os.open(files[turn % len(files)], os.O_RDONLY)
        text = os.read(fd, 65536)
        os.close(fd)
        times.append(time.monotonic_ns() - begun)
        if not text:
            return f"{files[turn % len(files)]}: empty"
    times.sort()
    print(*(ns // 1000 for ns in (times[count // 2], times[count * 99 // 100], times[-1])))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(int(sys.argv[1]), *sys.argv[2:]))
    except OSError as wrong:
        sys.exit(f"{wrong.filename}: {wrong.strerror}")
