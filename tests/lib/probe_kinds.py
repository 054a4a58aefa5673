#!/usr/bin/env python3
"""probe_kinds.py DIRECTORY ROTATIONS SCRATCH

Reads `key` of a profile in six ways at once while its token is rotated every 20 ms or as fast as it goes,
and checks that every reader always gets one whole token, never parts of two:

    whole    open, one big read, close
    chunks   7 bytes at a time, and now and then the next rotation is waited for in between
    st_size  exactly as many bytes as fstat says after the open, or after the next rotation
    kept     one descriptor, read from offset 0 again and again, in one piece or in small ones
    tail     tail -c 24
    head     head -c 24

Every token is known: this program makes all rotations, one at a time, and reads each new token. Prints a
line `KIND READS WRONG` for each kind and one `rotations N MS`. Exit status 1 when anything was wrong; what
it was is said without a token.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

INTERVAL_S = 0.02
PART = 24  # bytes of tail and head: a part of any token, and never of two


class Ticks:
    """One byte for each rotation; the end of the pipe means that there are no more."""

    def __init__(self):
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.write_end, False)

    def send(self):
        try:
            os.write(self.write_end, b"x")
        except BlockingIOError:
            pass  # it has ticks to take

    def over(self):
        """Is this the end? Takes what has come."""
        os.set_blocking(self.read_end, False)
        try:
            while True:
                if not os.read(self.read_end, 4096):
                    return True
        except BlockingIOError:
            return False

    def wait(self):
        self.over()
        os.set_blocking(self.read_end, True)
        os.read(self.read_end, 1)


def whole(key, _ticks):
    fd = os.open(key, os.O_RDONLY)
    text = os.read(fd, 65536)
    rest = os.read(fd, 65536)
    os.close(fd)
    return text + rest


def chunks(key, ticks):
    fd = os.open(key, os.O_RDONLY)
    text = b""
    while piece := os.read(fd, 7):
        text += piece
        if random.random() < 0.05:
            ticks.wait()
    os.close(fd)
    return text


def st_size(key, ticks):
    fd = os.open(key, os.O_RDONLY)
    if random.random() < 0.2:
        ticks.wait()
    size = os.fstat(fd).st_size
    text = b""
    while len(text) < size and (piece := os.read(fd, size - len(text))):
        text += piece
    os.close(fd)
    return text


class Kept:
    def __init__(self):
        self.fd = None

    def __call__(self, key, ticks):
        if self.fd is None:
            self.fd = os.open(key, os.O_RDONLY)
        size = random.choice((65536, 65536, 100, 13))
        text = b""
        while piece := os.pread(self.fd, size, len(text)):
            text += piece
            if size == 13 and random.random() < 0.05:
                ticks.wait()
        return text


def tail(key, _ticks):
    return subprocess.run(["tail", "-c", str(PART), key], stdout=subprocess.PIPE, check=True).stdout


def head(key, _ticks):
    return subprocess.run(["head", "-c", str(PART), key], stdout=subprocess.PIPE, check=True).stdout


KINDS = {"whole": whole, "chunks": chunks, "st_size": st_size, "kept": Kept(), "tail": tail, "head": head}


def reader(kind, key, ticks, out):
    """Child: reads until the ticks end, then writes every different text it got, and how often."""
    got = {}
    read = KINDS[kind]
    while not ticks.over():
        text = read(key, ticks)
        got[text] = got.get(text, 0) + 1
    with open(out, "wb") as stream:
        for text, count in got.items():
            stream.write(b"%d %s\n" % (count, text))


def rotate(profile, rotations, all_ticks):
    """Makes the rotations; returns every token there was."""
    tokens = {(profile / "key").read_bytes()}
    generation = int((profile / "generation").read_text())
    due = time.monotonic()
    for _ in range(rotations):
        due = max(due + INTERVAL_S, time.monotonic())
        (profile / "refresh").write_text(f"{generation}\n")
        tokens.add((profile / "key").read_bytes())
        generation += 1
        if int((profile / "generation").read_text()) != generation:
            raise SystemExit(f"generation {generation} is not there after its rotation")
        for ticks in all_ticks:
            ticks.send()
        time.sleep(max(0, due - time.monotonic()))
    return tokens


def is_right(kind, text, tokens):
    if kind == "tail":
        return len(text) == PART and any(token.endswith(text) for token in tokens)
    if kind == "head":
        return len(text) == PART and any(token.startswith(text) for token in tokens)
    return text in tokens


def judge(kind, out, tokens):
    reads = wrong = 0
    for line in Path(out).read_bytes().splitlines():
        count, _, text = line.partition(b" ")
        reads += int(count)
        if not is_right(kind, text, tokens):
            wrong += int(count)
            begins = any(token.startswith(text) for token in tokens)
            print(f"{kind}: {len(text)} bytes, {'cut short' if begins else 'torn'}", file=sys.stderr)
    print(kind, reads, wrong, flush=True)
    return reads > 0 and wrong == 0


def main(directory, rotations, scratch):
    profile = Path(directory)
    children, all_ticks = {}, []
    for kind in KINDS:
        ticks = Ticks()
        pid = os.fork()
        if pid == 0:
            for other in all_ticks:
                os.close(other.write_end)
            os.close(ticks.write_end)
            reader(kind, str(profile / "key"), ticks, f"{scratch}/{kind}")
            os._exit(0)
        children[pid] = kind
        all_ticks.append(ticks)
    begun = time.monotonic()
    tokens = rotate(profile, rotations, all_ticks)
    taken = round((time.monotonic() - begun) * 1000)
    for ticks in all_ticks:
        os.close(ticks.write_end)
    good = True
    for _ in KINDS:
        pid, status = os.wait()
        if status:
            print(f"{children[pid]}: broke off", file=sys.stderr)
            good = False
        else:
            good = judge(children[pid], f"{scratch}/{children[pid]}", tokens) and good
    lengths = sorted(map(len, tokens))
    print(f"rotations {rotations} {taken}", flush=True)
    print(f"tokens {len(tokens)} of {lengths[0]} to {lengths[-1]} bytes", file=sys.stderr)
    return 0 if good and len(tokens) == rotations + 1 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
