#!/bin/bash
# timeout: 60
# One open is one value: reads continue it; from offset 0 a kept descriptor reads the value of now.
. "$(dirname "$0")/../lib/cases.sh"
# shellcheck source=SCRIPTDIR/../lib/probe.sh
. "$CASES/probe.sh"

need python3
start_piauth
file=$MNT/groq/key
long=$(secret "a-rather-long-one-$(printf '%040d' 0)")
short=$(secret b)
probe_start

is "nothing is stored: open" "$(fd open k "$file")" ENOKEY
ok "store" put "$MNT/groq/api-key" "$long"
fd_mark
is "open" "$(fd open k "$file")" ok
is "st_size" "$(fd size k)" "${#long}"
is "7 bytes" "$(fd read k 7)" "${long:0:7}"
ok "store another" put "$MNT/groq/api-key" "$short"
is "the rest is of the same value" "$(fd read k 4096)" "${long:7}"
is "then it ends" "$(fd read k 4096)" ""
is "st_size: the largest that is open" "$(fd size k) $(stat -c %s "$file")" "${#long} ${#long}"
is "an offset inside continues it" "$(fd pread k 7 4096)" "${long:7}"
is "an offset behind it" "$(fd pread k "${#long}" 4096) $(fd pread k 100000 4096)" " "
is "offset 0 is the value of now" "$(fd pread k 0 4096)" "$short"
is "and its rest too" "$(fd pread k 5 4096)" "${short:5}"
is "st_size: nobody has the long one any more" "$(stat -c %s "$file")" "${#short}"
is "another open" "$(fd open l "$file")" ok
ok "log out" rm "$file"
is "from offset 0 there is nothing now" "$(fd pread k 0 4096)" ENOKEY
is "nor for one that was not read yet, once it is read anew" "$(fd pread l 0 7) $(fd pread l 0 7)" "${short:0:7} ENOKEY"
is "open" "$(fd open m "$file")" ENOKEY
ok "store again" put "$MNT/groq/api-key" "$long"
is "the same descriptor reads the new one" "$(fd pread k 0 4096)" "$long"
is "every time" "$(fd pread k 0 4096)" "$long"
is "mmap" "$(fd mmap k)" ENODEV
is "closed" "$(fd close k) $(fd close l)" "ok ok"
ok "rm -rf groq" test -d "$MNT/groq"
is "open for writing" "$(fd write-open w "$file")" EACCES

# Programs that read in their own ways.
is "cat" "$(cat "$file")" "$long"
is "\$(<)" "$(<"$file")" "$long"
is "head -c" "$(head -c 9 "$file")" "${long:0:9}"
is "tail -c" "$(tail -c 9 "$file")" "${long: -9}"
is "tail -c +" "$(tail -c +10 "$file")" "${long:9}"
is "dd bs=3" "$(dd bs=3 if="$file" status=none)" "$long"
is "dd skip" "$(dd bs=1 skip=5 count=6 if="$file" status=none)" "${long:5:6}"
is "wc -c" "$(wc -c <"$file")" "${#long}"
is "cp" "$(cp "$file" "$T/copy" && cat "$T/copy" && rm "$T/copy")" "$long"
is "grep" "$(grep -c . "$file")" 1
is "python" "$(python3 -c 'import sys; print(open(sys.argv[1]).read())' "$file")" "$long"
is "exactly st_size bytes" \
	"$(python3 -c 'import os, sys; f = os.open(sys.argv[1], 0); print(os.read(f, os.fstat(f).st_size).decode())' "$file")" \
	"$long"
mapfile -t lines <"$file"
is "mapfile" "${lines[*]}" "$long"

# header, status and generation: the same.
is "open header" "$(fd open h "$MNT/groq/header")" ok
is "header" "$(fd pread h 0 4096)" "Authorization: Bearer $long"
fd_answer # the rest of the line
is "open generation" "$(fd open g "$MNT/groq/generation")" ok
before=$(fd pread g 0 100)
fd_answer
ok "store" put "$MNT/groq/api-key" "$short"
is "generation grew" "$(fd pread g 0 100)" $((before + 1))
fd_answer
is "header follows" "$(fd pread h 0 4096)" "Authorization: Bearer $short"
fd_answer
probe_stop
