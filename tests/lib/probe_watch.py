#!/usr/bin/env python3
"""probe_watch.py HOW FILE VALUES STOP: reads FILE again and again, as a certain kind of program does.

VALUES holds one value per line that FILE may have. Prints `ready` after the first read, goes on until the file
STOP exists, and then prints one line:

    reads=N values=N torn=N errors=N       values: how many of the lines were seen at least once

A read that is none of the values is torn. HOW is
    whole   open, read to the end, close
    chunks  the same, 7 bytes at a time, with pauses
    size    open, read exactly st_size bytes, close
    kept    one descriptor, read anew from offset 0
    tail    the last 12 bytes, as tail -c 12 does it
    head    the first 12 bytes, as head -c 12 does it
Nothing of what was read is printed: it is secret.
"""

import os
import subprocess
import sys
import time

PART = 12


def to_end(descriptor, length, pause=0.0):
    parts = []
    while part := os.read(descriptor, length):
        parts.append(part)
        if pause:
            time.sleep(pause)
    return b"".join(parts)


def opened(path, use):
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return use(descriptor)
    finally:
        os.close(descriptor)


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout


class Kept:
    def __init__(self):
        self.descriptor = None

    def __call__(self, path):
        if self.descriptor is None:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return to_end(self.descriptor, 4096)


READERS = {
    "whole": lambda path: opened(path, lambda d: to_end(d, 65536)),
    "chunks": lambda path: opened(path, lambda d: to_end(d, 7, 0.001)),
    "size": lambda path: opened(path, lambda d: os.read(d, os.fstat(d).st_size)),
    "kept": Kept(),
    "tail": lambda path: run("tail", "-c", str(PART), path),
    "head": lambda path: run("head", "-c", str(PART), path),
}


def allowed(how, values):
    if how == "tail":
        return {value[-PART:] for value in values}
    if how == "head":
        return {value[:PART] for value in values}
    return set(values)


def main(how, path, values_path, stop):
    with open(values_path, "rb") as stream:
        wanted = allowed(how, stream.read().splitlines())
    read = READERS[how]
    seen = set()
    reads = torn = errors = 0
    while not reads or not os.path.exists(stop):
        try:
            value = read(path)
        except (OSError, subprocess.CalledProcessError):
            errors += 1
            value = None
        if value in wanted:
            seen.add(value)
        elif value is not None:
            torn += 1
        reads += 1
        if reads == 1:
            print("ready", flush=True)
    print(f"reads={reads} values={len(seen)} torn={torn} errors={errors}")


if __name__ == "__main__":
    main(*sys.argv[1:])
