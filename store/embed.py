#!/usr/bin/env python3
"""Turns providers.json into a C file: embed.py INPUT OUTPUT.

The text is minified. What would make the table unusable at every start fails the build instead:
duplicate members, an id or alias that is used twice or is not a name, a client secret.
"""
import json
import re
import sys

NAME = re.compile(r'[a-z0-9][a-z0-9._-]{0,63}')
LINE = 90  # characters of JSON per line of C


def unique_members(pairs):
    names = [name for name, _ in pairs]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f'member twice in one object: {sorted(twice)}')
    return dict(pairs)


def find_secret(value, path):
    if isinstance(value, dict):
        for name, member in value.items():
            if name == 'client_secret':
                raise ValueError(f'{path}/{name}: a client secret does not belong into the table')
            find_secret(member, f'{path}/{name}')


def check(table):
    if not isinstance(table, dict) or not table:
        raise ValueError('not an object of providers')
    owner = {}
    for provider, fields in table.items():
        if not isinstance(fields, dict):
            raise ValueError(f'{provider}: not an object')
        for name in [provider, *fields.get('aliases', [])]:
            if not NAME.fullmatch(name):
                raise ValueError(f'{provider}: {name!r} is not a name')
            if name in owner:
                raise ValueError(f'{name!r} names both {owner[name]} and {provider}')
            owner[name] = provider
        find_secret(fields, provider)


def c_string(text):
    """One C string literal per line; the input is ASCII, so only quotes and backslashes matter."""
    for start in range(0, len(text), LINE):
        part = text[start:start + LINE].replace('\\', '\\\\').replace('"', '\\"')
        yield f'\t"{part}"'


def main():
    source, target = sys.argv[1:]
    try:
        with open(source, encoding='utf-8') as file:
            table = json.load(file, object_pairs_hook=unique_members)
        check(table)
    except ValueError as error:
        sys.exit(f'{source}: {error}')
    text = json.dumps(table, separators=(',', ':'), ensure_ascii=True)
    with open(target, 'w', encoding='ascii') as file:
        file.write('/* Made from providers.json by embed.py. */\n#include <stddef.h>\n\n')
        file.write('extern const char providers_json[];\n')
        file.write('extern const size_t providers_json_len;\n\n')
        file.write('const char providers_json[] =\n' + '\n'.join(c_string(text)) + ';\n')
        file.write('const size_t providers_json_len = sizeof(providers_json) - 1;\n')


if __name__ == '__main__':
    main()
