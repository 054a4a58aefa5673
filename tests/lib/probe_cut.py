#!/usr/bin/env python3
"""probe_cut.py DIRECTORY MICROSECONDS PID...

Starts a rotation of the profile (its generation is written to `refresh`), lets a reader wait for the new
token, and so many microseconds later ends the processes with SIGKILL. Prints what the reader got before
that, or nothing.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path


def read(key, go):
    if not os.read(go, 1):
        return  # the parent broke off
    try:
        token = key.read_bytes()
    except OSError:
        return  # the server went first
    os.write(1, token)


def main(directory, microseconds, *pids):
    profile = Path(directory)
    generation = (profile / "generation").read_text()
    go, start = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(start)
        read(profile / "key", go)
        os._exit(0)
    (profile / "refresh").write_text(generation)
    end = time.monotonic_ns() + int(microseconds) * 1000
    os.write(start, b"x")
    while time.monotonic_ns() < end:
        pass  # a sleep would be longer than most of the delays
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # the worker goes with its holder
            os.kill(int(pid), signal.SIGKILL)
    return 1 if os.waitpid(child, 0)[1] else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
