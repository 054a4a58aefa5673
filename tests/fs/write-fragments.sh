#!/bin/bash
# timeout: 90
# While a key is written byte by byte, no reader ever sees a part of it, or two values mixed.
. "$(dirname "$0")/../lib/cases.sh"

need python3
start_piauth
file=$MNT/groq/api-key

values=()
for i in {1..12}; do values+=("v$i-$(secret "$i")$(printf '%*s' $((i * i % 23)) '' | tr ' ' x)"); done
printf '%s\n' "${values[@]}" >"$T/values"
ok "store the first" put "$file" "${values[0]}"

start_watchers() { # STOP-FILE
	local how
	for how in whole chunks size kept tail head; do
		mkfifo "$T/$how.said"
		python3 -S -E "$CASES/probe_watch.py" "$how" "$MNT/groq/key" "$T/values" "$1" >"$T/$how.said" &
		watchers+=($!)
		exec {fd}<"$T/$how.said"
		said+=("$fd")
		read -r -t 30 -u "$fd" _ || bail "the watcher $how did not start"
	done
}

start_watchers "$T/stop"
faults=0
for value in "${values[@]}"; do
	dd bs=1 of="$file" status=none <<<"$value" || faults=$((faults + 1))
	[[ $(cat "$MNT/groq/key") == "$value" ]] || faults=$((faults + 1))
done
for ((i = 0; i < 60; i++)); do
	put "$file" "${values[i % 12]}" || faults=$((faults + 1))
done
is "every write was stored" "$faults" 0

# Many writers at once: each is stored whole, the last one stays.
writers=()
for value in "${values[@]}"; do
	dd bs=5 of="$file" status=none <<<"$value" &
	writers+=($!)
done
for writer in "${writers[@]}"; do wait "$writer" || faults=$((faults + 1)); done
is "many writers at once: none fails" "$faults" 0
ok "one of them is stored" grep -qxF -- "$(cat "$MNT/groq/key")" "$T/values"

touch "$T/stop"
i=0
for how in whole chunks size kept tail head; do
	read -r -t 30 -u "${said[i]}" line || line="no answer"
	wait "${watchers[i]}"
	note "$how: $line"
	like "$how: no part of a key, no error" "$line" 'torn=0 errors=0$'
	[[ $line =~ values=([0-9]+) ]]
	ok "$how: it saw the keys change" test "${BASH_REMATCH[1]:-0}" -ge 2
	i=$((i + 1))
done
