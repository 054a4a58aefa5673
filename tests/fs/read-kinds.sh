#!/bin/bash
# timeout: 150
# Six kinds of readers while the token rotates every 20 ms and changes its length: none ever gets a torn or
# a truncated one.
. "$(dirname "$0")/../lib/cases.sh"

ROTATIONS=1200
((${PIAUTH_TEST_SOAK:-0} == 0)) || ROTATIONS=20000

read_kinds() { # LEAST MOST
	fake groq "{\"token_len\": [$1, $2]}"
	mkdir "$T/got.$1"
	timeout 2500 python3 -E "$CASES/probe_kinds.py" "$MNT/groq" "$3" "$T/got.$1" >"$T/kinds" 2>"$T/kinds.err"
}

check_kinds() { # LENGTHS
	local kind reads wrong kinds=0
	while read -r kind reads wrong; do
		if [[ $kind == rotations ]]; then
			note "$1: $reads rotations in $wrong ms"
			continue
		fi
		kinds=$((kinds + 1))
		is "$1: $kind: torn or truncated, of $reads" "$wrong" 0
		ok "$1: $kind: it read all the time" test "$reads" -ge 5
	done <"$T/kinds"
	is "$1: kinds" "$kinds" 6
	sort "$T/kinds.err" | uniq -c | head -n 20 | sed 's/^/# /'
}

start_fake
use_fake groq
start_piauth
fake groq '{"token_len": [40, 900]}'
fake_login groq groq
fd_mark
ok "short and long tokens" read_kinds 40 900 "$ROTATIONS"
check_kinds "40 to 900 bytes"
# Up to a block of 4 KiB: for more tail -c seeks from st_size, which then tells of the longest snapshot open.
ok "long tokens" read_kinds 1000 4000 $((ROTATIONS / 4))
check_kinds "1,000 to 4,000 bytes"
is "one request for each rotation" "$(fake_get groq requests)" $((ROTATIONS + ROTATIONS / 4))
is "no reuse" "$(fake_get groq reuse)" 0
is "nobody waits any more" "$(sed -n 's/^piauth_readers_waiting //p' "$MNT/.piauth/metrics")" 0
