#!/usr/bin/env python3
"""jsonpath.py get PATH < text          print the value at PATH: a string as it is, anything else as JSON
jsonpath.py set FILE PATH VALUE      put VALUE (JSON) at PATH of FILE, making objects on the way
jsonpath.py make NAME=TEXT NAME:=JSON ...   print an object

PATH is names and list indexes separated by "/"; "" is the whole.  A PATH that leads nowhere: exit 1.
"""

import json
import os
import sys


def step(value, name):
    return value[int(name)] if isinstance(value, list) else value[name]


def get(path):
    value = json.load(sys.stdin)
    for name in filter(None, path.split("/")):
        value = step(value, name)
    print(value if isinstance(value, str) else json.dumps(value))


def put(file, path, text):
    whole = {}
    if os.path.exists(file):
        with open(file, encoding="utf-8") as stream:
            whole = json.load(stream)
    *parents, last = path.split("/")
    value = whole
    for name in parents:
        value = value.setdefault(name, {})
    value[last] = json.loads(text)
    with open(file, "w", encoding="utf-8") as stream:
        json.dump(whole, stream, indent=2)
        stream.write("\n")


def make(words):
    made = {}
    for word in words:
        name, _, text = word.partition("=")
        if name.endswith(":"):
            made[name[:-1]] = json.loads(text)
        else:
            made[name] = text
    print(json.dumps(made))


def main(verb, *words):
    if verb == "get" and len(words) == 1:
        get(words[0])
    elif verb == "set" and len(words) == 3:
        put(*words)
    elif verb == "make":
        make(words)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (LookupError, ValueError, TypeError) as wrong:
        sys.exit(f"jsonpath.py {' '.join(sys.argv[1:3])}: {type(wrong).__name__}: {wrong}")
