#!/usr/bin/env python3
"""probe_rotate.py DIRECTORY COUNT

Rotates the login of a profile COUNT times, back to back: writes the generation to `refresh`, reads `key`.
Every rotation must bring another token and the next generation. Prints `COUNT MS` (of all rotations
together); what goes wrong is said on stderr, without a token, and the exit status is 1.
"""

import sys
import time
from pathlib import Path


def main(directory, count):
    profile = Path(directory)
    token = (profile / "key").read_bytes()
    generation = int((profile / "generation").read_text())
    seen = {token}
    begun = time.monotonic()
    for turn in range(count):
        (profile / "refresh").write_text(f"{generation}\n")
        token = (profile / "key").read_bytes()
        now = int((profile / "generation").read_text())
        if token in seen:
            return f"rotation {turn + 1}: a token came twice (generation {generation} -> {now})"
        if now != generation + 1:
            return f"rotation {turn + 1}: generation {generation} -> {now}"
        seen.add(token)
        generation = now
    print(count, round((time.monotonic() - begun) * 1000))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], int(sys.argv[2])))
    except OSError as wrong:
        sys.exit(f"{wrong.filename}: {wrong.strerror}")
