#!/usr/bin/env python3
"""banned.py FILE...: C constructs this project does without, each with the reason. Exit 1 when one is found.

Comments and string literals are not searched, except for what is said about them.
"""

import json
import os
import re
import sys

# What to find in code -> why not.
CODE = {
    r"\b(strcpy|strcat|stpcpy|sprintf|vsprintf|gets)\s*\(": "has no bound: snprintf, memcpy with a length",
    r"\bstrncpy\s*\(": "may leave no NUL, and pads: snprintf or memcpy",
    r"\b(system|popen)\s*\(": "runs a shell: fork and execve with a fixed argv",
    r"\b(mktemp|tmpnam|tempnam)\s*\(": "races: O_TMPFILE or O_EXCL",
    r"\balloca\s*\(": "has no bound",
    r"\bmemset\s*\([^;]*\b\w*(secret|key|dek|token|pass|plain|pin|seed)\w*\b[^;]*,\s*0\s*,":
        "may be optimised away, and a secret with it stays: explicit_bzero or OPENSSL_cleanse",
}
# The same for what is shipped; a test or a benchmark may.
SHIPPED = {
    r"(?<!secure_)\bgetenv\s*\(": "is trusted in a setuid program too: secure_getenv",
    r"\b(atoi|atol|atoll|atof)\s*\(": "cannot report an error: strtol with its checks",
    r"\bstrtok\s*\(": "keeps hidden state: strtok_r or strcspn",
    r"\b(rand|random|srand|srandom|drand48)\s*\(": "is guessable: RAND_bytes or getrandom",
    r"\b(localtime|gmtime|ctime|asctime)\s*\(": "returns static storage: the _r forms",
    r"\b(sigsetjmp|setjmp|longjmp)\s*\(": "skips the wiping of secrets",
}
COMMENT = {
    r"\b(TODO|FIXME|XXX)\b": "say it with a test or an issue",
}
NAMES = r"(^|/)(utils?|common|misc|helpers?)\.[ch]$"
# Where a provider may be named; everywhere else providers are data.
MAY_NAME_PROVIDERS = ("store/lane/", "store/import/", "tests/", "examples/")
PROVIDERS = "store/providers.json"

TOKEN = re.compile(
    r"""(?P<line>//[^\n]*)|(?P<block>/\*.*?\*/)|(?P<text>"(?:\\.|[^"\\\n])*")|'(?:\\.|[^'\\\n])*'""",
    re.DOTALL,
)


def provider_names():
    """The ids, less the words that are also names of error envelopes, which code must know."""
    if not os.path.exists(PROVIDERS):
        return set()
    with open(PROVIDERS, encoding="utf-8") as stream:
        rows = json.load(stream)
    return set(rows) - {row.get("error_envelope") for row in rows.values()}


def faults(name, source, providers):
    """(offset, message) of each."""
    if re.search(NAMES, name):
        yield 0, "a file is named for what is in it"
    for token in TOKEN.finditer(source):
        if token["line"]:
            yield token.start(), "// comment: /* */ only"
        for pattern, reason in COMMENT.items():
            if (token["line"] or token["block"]) and re.search(pattern, token[0]):
                yield token.start(), f"{re.search(pattern, token[0])[0]}: {reason}"
        if token["text"] and token[0][1:-1] in providers and not name.startswith(MAY_NAME_PROVIDERS):
            yield token.start(), f"{token[0]}: providers are data, their names do not stand in C"
    # Same length and same lines, so that offsets still mean the source.
    code = TOKEN.sub(lambda token: re.sub(r"[^\n]", " ", token[0]), source)
    rules = CODE | SHIPPED if name.startswith(("fs/", "store/")) else CODE
    for pattern, reason in rules.items():
        for found in re.finditer(pattern, code):
            yield found.start(), f"{found[0].split('(')[0].strip()}: {reason}"


def main(names):
    providers = provider_names()
    count = 0
    for name in names:
        with open(name, encoding="utf-8") as stream:
            source = stream.read()
        for offset, message in sorted(faults(name, source, providers)):
            line = source.count("\n", 0, offset) + 1
            print(f"{name}:{line}: {message}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
