#!/usr/bin/env python3
"""Readers of a login that others rotate too, and what became of the tokens.

probe_shared.py read SECONDS READERS KEY        reads KEY all the time, in READERS threads; prints one object:
                                                {reads, p50, p99, max (ms), failures: {text: n},
                                                tokens: {token: [begun, until]}} (ms; first and last reading)
probe_shared.py judge ISSUED SLACK FILE...      FILEs hold such objects. ISSUED: {token: [made, seconds]}.
                                                Prints a line for every token that nobody made, or that was
                                                used SLACK ms after it had expired; the last line is
                                                `USED WRONG`: how many tokens were used, and how many were wrong
"""

import json
import os
import random
import sys
import threading
import time

PAUSE_S = 0.05  # between two reads of one reader, at most


class Reader(threading.Thread):
    def __init__(self, key, end):
        super().__init__()
        self.key, self.end = key, end
        self.times, self.failures, self.tokens = [], {}, {}

    def run(self):
        while time.monotonic() < self.end:
            begun = time.monotonic()
            try:
                fd = os.open(self.key, os.O_RDONLY)
                try:
                    token = os.read(fd, 65536).decode()
                finally:
                    os.close(fd)
                if not token:
                    raise OSError(0, "empty")
                now = int(time.time() * 1000)
                self.tokens.setdefault(token, [now, now])[1] = now
            except OSError as wrong:
                self.failures[wrong.strerror] = self.failures.get(wrong.strerror, 0) + 1
            self.times.append((time.monotonic() - begun) * 1000)
            time.sleep(random.random() * PAUSE_S)


def read(seconds, count, key):
    end = time.monotonic() + seconds
    readers = [Reader(key, end) for _ in range(count)]
    for reader in readers:
        reader.start()
    failures, tokens, times = {}, {}, []
    for reader in readers:
        reader.join()
        times += reader.times
        for text, n in reader.failures.items():
            failures[text] = failures.get(text, 0) + n
        for token, (begun, until) in reader.tokens.items():
            span = tokens.setdefault(token, [begun, until])
            span[:] = [min(span[0], begun), max(span[1], until)]
    times.sort()
    print(json.dumps({
        "reads": len(times),
        "p50": round(times[len(times) // 2], 1),
        "p99": round(times[len(times) * 99 // 100], 1),
        "max": round(times[-1], 1),
        "failures": failures,
        "tokens": tokens,
    }))


def judge(issued_file, slack, *files):
    with open(issued_file, encoding="utf-8") as stream:
        issued = json.load(stream)
    used, wrong = set(), set()
    for file in files:
        with open(file, encoding="utf-8") as stream:
            tokens = json.load(stream)["tokens"]
        for token, (_, until) in tokens.items():
            used.add(token)
            if token not in issued:
                print(f"{os.path.basename(file)}: a token that nobody made")
                wrong.add(token)
                continue
            made, seconds = issued[token]
            late = until - made - seconds * 1000
            if late > slack:
                print(f"{os.path.basename(file)}: a token {late} ms after it had expired")
                wrong.add(token)
    print(len(used), len(wrong))


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"] and len(sys.argv) == 5:
        read(float(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    elif sys.argv[1:2] == ["judge"] and len(sys.argv) >= 5:
        judge(sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
    else:
        sys.exit(__doc__)
