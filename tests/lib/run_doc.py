#!/usr/bin/env python3
"""Runs the console blocks of a Markdown file in one bash and compares what the commands print.

    run_doc.py FILE DIRECTORY

A block begins with ```console. "$ " begins a command, "> " continues it on the next line; what follows is all
it prints, and a last line "[N]" is its exit status when that is not 0. "…" stands for any text within a line.
Prints TAP: one test per command. The exit status is 1 when one failed.
"""

import os
import re
import shlex
import subprocess
import sys

MARK = "\x01"
TIMEOUT_S = 120


class Step:
    def __init__(self, line, command):
        self.line = line
        self.command = command
        self.output = []
        self.status = 0


def parse(path):
    steps = []
    inside = False
    with open(path, encoding="utf-8") as doc:
        for number, line in enumerate(doc, 1):
            line = line.rstrip("\n")
            if not inside:
                inside = line == "```console"
            elif line.startswith("```"):
                inside = False
            elif line.startswith("$ "):
                steps.append(Step(number, line[2:]))
            elif not steps:
                sys.exit(f"{path}:{number}: output before the first command")
            elif line.startswith("> ") and not steps[-1].output:
                steps[-1].command += "\n" + line[2:]
            else:
                steps[-1].output.append(line)
    for step in steps:
        if step.output and re.fullmatch(r"\[\d+\]", step.output[-1]):
            step.status = int(step.output.pop()[1:-1])
    return steps


def script_of(steps):
    """A mark, the number and the exit status after the output of each command."""
    lines = []
    for i, step in enumerate(steps):
        lines.append(f"eval {shlex.quote(step.command)} </dev/null")
        lines.append(f"printf '\\001%d %d\\001' {i} $?")
    return "\n".join(lines) + "\n"


def run(steps, directory):
    env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": "/nonexistent"}
    bash = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", script_of(steps)],
        cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False)
    text = bash.stdout.decode("utf-8", "backslashreplace")
    parts = text.split(MARK)
    results = {}
    for output, tail in zip(parts[0::2], parts[1::2]):
        number, status = tail.split()
        results[int(number)] = (output, int(status))
    return results


def lines_of(output):
    """bash names the line of the script in its messages; in the document it is at a prompt."""
    output = re.sub(r"(?m)^bash: (eval: )?line \d+: ", "bash: ", output)
    lines = output.split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    return lines


def matches(wanted, got):
    if len(wanted) != len(got):
        return False
    for pattern, line in zip(wanted, got):
        regex = ".*".join(re.escape(part) for part in pattern.split("…"))
        if not re.fullmatch(regex, line):
            return False
    return True


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: run_doc.py FILE DIRECTORY")
    path, directory = sys.argv[1:]
    steps = parse(path)
    if not steps:
        sys.exit(f"{path}: no console block")
    results = run(steps, directory)
    failed = 0
    print(f"1..{len(steps)}")
    for i, step in enumerate(steps):
        name = f"{os.path.basename(path)}:{step.line}: {step.command.splitlines()[0]}"
        name = name.replace("#", "\\#")
        output, status = results.get(i, ("", None))
        got = lines_of(output)
        if status == step.status and matches(step.output, got):
            print(f"ok {i + 1} - {name}")
            continue
        failed += 1
        print(f"not ok {i + 1} - {name}")
        for line in step.output + [f"[{step.status}]"]:
            print(f"#   wanted: {line}")
        for line in got + [f"[{status}]"]:
            print(f"#   got:    {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
