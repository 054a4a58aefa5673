#!/usr/bin/env python3
"""meson_results.py TESTLOG.json DIRECTORY PREFIX

One line per test of a `meson test` log: verdict (pass, fail, skip), suite/name, seconds, and the file under
DIRECTORY that has its output. A TAP program is one test, however many points it has.
"""

import json
import os
import sys

VERDICTS = {"OK": "pass", "EXPECTEDFAIL": "pass", "SKIP": "skip"}  # whatever else there is, is a failure


def main(log, directory, prefix):
    with open(log, encoding="utf-8") as stream:
        tests = [json.loads(line) for line in stream if line.strip()]
    for test in tests:
        # "project:suite / name"
        label = test["name"].split(":", 1)[-1].replace(" / ", "/")
        output = os.path.join(directory, f"{prefix}-{label.replace('/', '-')}.log")
        with open(output, "w", encoding="utf-8") as stream:
            stream.write(f"{' '.join(test['command'])}\n{test['result']}, status {test['returncode']}\n")
            stream.write(test.get("stdout", "") + test.get("stderr", ""))
        verdict = VERDICTS.get(test["result"], "fail")
        print(f"{verdict}\t{label}\t{test['duration']:.1f}\t{output}")


if __name__ == "__main__":
    main(*sys.argv[1:])
