#!/bin/bash
# timeout: 90
# Every provider of the table is there, with its other spellings, variables, header and address.
. "$(dirname "$0")/../lib/cases.sh"

need python3
table=$TOP/tests/vectors/providers.tsv
start_piauth
rows=0
missing=() links=() headers=() addresses=()
key=$(secret key)
while IFS=$'\t' read -r id env aliases header address; do
	[[ $id != '#'* ]] || continue
	rows=$((rows + 1))
	[[ -f $MNT/$id/key && $(readlink "$MNT/${id^^}" || echo "$id") == "$id" ]] || missing+=("$id")
	for alias in ${aliases//,/ }; do
		[[ $alias == - || $(readlink "$MNT/$alias") == "$id" ]] || links+=("$alias")
	done
	[[ $address == - ]] || [[ $(cat "$MNT/$id/base-url") == "$address" ]] || addresses+=("$id")
	put "$MNT/$id/api-key" "$key" || missing+=("$id/api-key")
	[[ $(cat "$MNT/$id/key") == "$key" ]] || missing+=("$id/key")
	if [[ $header == - ]]; then wanted=; else wanted="$header $key"; fi
	[[ $(cat "$MNT/$id/header") == "$wanted" ]] || headers+=("$id")
	if [[ $env != - ]]; then wanted=${env%%,*}=$key; else wanted=$(tr 'a-z.-' 'A-Z__' <<<"$id")_API_KEY=$key; fi
	[[ $(cat "$MNT/$id/env") == "$wanted" ]] || headers+=("$id/env")
done <"$table"
is "the table has all" "$rows" 95
is "every provider is there, holds a key, and any letter case leads to it" "${missing[*]}" ""
is "other spellings lead to it" "${links[*]}" ""
is "headers and variables" "${headers[*]}" ""
is "addresses" "${addresses[*]}" ""
ok "all of them are listed" test "$(ls "$MNT" | wc -l)" -eq 96
begun=$(now_ms)
restart_piauth
note "restart with $rows profiles: $(($(now_ms) - begun)) ms"
is "all of them are there after a restart" "$(ls "$MNT" | wc -l)" 96
is "each with its key" "$(for file in "$MNT"/*/key; do cat "$file" && echo; done | sort | uniq -c | xargs)" "95 $key"

python3 - "$table" "$MNT/.piauth/providers.json" >"$T/compared" 2>&1 <<'PY'
import json
import sys

with open(sys.argv[2], encoding="utf-8") as stream:
    known = json.load(stream)


def items(text):
    return [] if text == "-" else text.split(",")


with open(sys.argv[1], encoding="utf-8") as table:
    for line in table:
        if line.startswith("#"):
            continue
        name, env, aliases, _, _ = line.rstrip("\n").split("\t")
        row = known[name]
        if row["env"] != items(env):
            print(f"{name}: env {row['env']}")
        if not set(items(aliases)) <= set(row["aliases"]):
            print(f"{name}: aliases {row['aliases']}")
        if not row["name"]:
            print(f"{name}: no name")
spellings = [n for i, r in known.items() for n in [i, *r["aliases"]]]
print("ambiguous:", sorted({n for n in spellings if spellings.count(n) > 1}))
print("secrets:", sorted(i for i, r in known.items() if '"client_secret"' in json.dumps(r)))
PY
is "providers.json says the same, no name twice, no secret" "$(cat "$T/compared")" $'ambiguous: []\nsecrets: []'
is "the command prints the same" "$(pia providers --json | cmp - "$MNT/.piauth/providers.json" && echo same)" same
