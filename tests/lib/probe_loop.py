#!/usr/bin/env python3
"""probe_loop.py READERS FILE

READERS threads open, read and close FILE over and over, failing or not, until standard input ends. Prints
`READS FAILED MAX_MS ERRNO...`: how often, how often in vain, the longest time one took, and which errors.
"""

import os
import sys
import threading
import time


def run(path, over, result):
    while not over.is_set():
        begun = time.monotonic()
        result["reads"] += 1
        try:
            fd = os.open(path, os.O_RDONLY)
            try:
                os.read(fd, 65536)
            finally:
                os.close(fd)
        except OSError as wrong:
            result["failed"] += 1
            result["errnos"].add(wrong.errno)
        result["longest"] = max(result["longest"], time.monotonic() - begun)
        over.wait(0.01)  # a client that asks a hundred times a second


def main(count, path):
    over = threading.Event()
    results = [{"reads": 0, "failed": 0, "longest": 0, "errnos": set()} for _ in range(count)]
    threads = [threading.Thread(target=run, args=(path, over, result)) for result in results]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    errnos = sorted(set().union(*(result["errnos"] for result in results)))
    longest = max(result["longest"] for result in results)
    reads, failed = (sum(result[name] for result in results) for name in ("reads", "failed"))
    print(reads, failed, round(longest * 1000), *errnos)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
