#!/bin/bash
# timeout: 90
# Every program that writes a file can store a key.
. "$(dirname "$0")/../lib/cases.sh"
# shellcheck source=SCRIPTDIR/../lib/probe.sh
. "$CASES/probe.sh"

need python3
start_piauth
file=$MNT/groq/api-key

# stores WHAT COMMAND...: the command gets a new value as $value and stores it.
stores() {
	local what=$1
	shift
	value=$(secret "n$CHECKS")
	if "$@"; then is "$what" "$(cat "$MNT/groq/key")" "$value"; else failed "$what: exit $?"; fi
}

with_printf() { printf '%s' "$value" >"$file"; }
with_echo() { echo "$value" >"$file"; }
with_append() { echo "$value" >>"$file"; }
with_clobber() { echo "$value" >|"$file"; }
with_crlf() { printf '%s\r\n' "$value" >"$file"; }
with_crlf_in_two() { { printf '%s\r' "$value" && printf '\n'; } >"$file"; }
with_late_newline() { { printf '%s' "$value" && echo; } >"$file"; }
with_pieces() { for ((i = 0; i < ${#value}; i += 9)); do printf '%s' "${value:i:9}"; done >"$file"; }
with_cat() { cat <<<"$value" >"$file"; }
with_tee() { tee "$file" <<<"$value" >/dev/null; }
with_tee_append() { tee -a "$file" <<<"$value" >/dev/null; }
with_source() { printf '%s\n' "$value" >"$T/source" && chmod 0600 "$T/source" && "$@" "$T/source" "$file"; }
with_dd() { dd "$@" of="$file" status=none <<<"$value"; }
with_sed() { sed -n "w $file" <<<"$value"; }
with_python() { python3 -c 'import sys; open(sys.argv[1], "w").write(sys.stdin.read())' "$file" <<<"$value"; }
with_busybox() { busybox cp "$T/source" "$file"; }
with_alias() { echo "$value" >"$MNT/GROQ/api-key"; }
with_noclobber() { (set -C && echo "$value" >"$file"); }

stores "echo creates it" with_echo
fd_mark
stores "echo" with_echo
stores "printf without a newline" with_printf
stores ">>" with_append
stores ">|" with_clobber
stores "CR LF" with_crlf
stores "CR LF in two writes" with_crlf_in_two
stores "a newline in a write of its own" with_late_newline
stores "many writes of one open" with_pieces
stores "cat" with_cat
stores "tee" with_tee
stores "tee -a" with_tee_append
stores "cp" with_source cp
stores "cp -p" with_source cp -p
stores "cp -f" with_source cp -f
stores "cp -a" with_source cp -a
stores "cp --remove-destination" with_source cp --remove-destination
stores "install" with_source install -m 0600
stores "install -o -g" with_source install -o root -g root -m 0400
isnt "the source is on another file system" "$(stat -c %d "$T")" "$(stat -c %d "$MNT")"
stores "mv from another file system" with_source mv
not_ok "mv took it away" test -e "$T/source"
stores "dd" with_dd
stores "dd bs=1" with_dd bs=1
stores "dd bs=7 with fsync" with_dd bs=7 conv=fsync
stores "dd appending" with_dd oflag=append conv=notrunc
stores "dd with an offset" with_dd bs=1 seek=100 conv=notrunc
stores "sed w" with_sed
stores "python" with_python
stores "an alias" with_alias
! command -v busybox >/dev/null || stores "busybox cp" with_source busybox cp

# Created by each of those that make the file themselves.
for how in with_echo with_append with_tee with_crlf "with_source cp" "with_source install" "with_source mv" \
	"with_dd bs=1" with_python with_noclobber; do
	rm "$MNT/groq/key" || failed "rm"
	# shellcheck disable=SC2086
	stores "where none is stored: $how" $how
done

# set -C keeps what is stored.
old=$value
value=$(secret refused)
fails_with "cannot overwrite existing file" with_noclobber
is "set -C leaves the stored key" "$(cat "$MNT/groq/key")" "$old"

# Values.
for text in x 'with blanks inside' ' leading and trailing ' $'\xc3\xa9\xe2\x82\xac' '{"a":"b"}' '$HOME' '!x' '-n' \
	"$(head -c 16384 /dev/zero | tr '\0' k)"; do
	printf '%s\n' "$text" >"$file" || failed "store '${text:0:20}'"
	is "${#text} characters: ${text:0:20}" "$(cat "$MNT/groq/key")" "$text"
done
stores "16384 bytes and CR LF" eval 'value=$(head -c 16384 /dev/zero | tr "\0" v); with_crlf'

# An open file replaces nothing until it is closed (or flushed), and then at once.
probe_start
stores "before" with_echo
old=$value
new=$(secret held)
is "open" "$(fd write-open w "$file")" ok
is "opened for writing, nothing is written" "$(cat "$MNT/groq/key")" "$old"
is "write" "$(fd write w "$new")" ok
is "written, not yet closed" "$(cat "$MNT/groq/key")" "$old"
is "close" "$(fd close w)" ok
is "closed" "$(cat "$MNT/groq/key")" "$new"
is "open again" "$(fd write-open w "$file")" ok
newer=$(secret flushed)
is "write" "$(fd write w "$newer\n")" ok
is "a flush" "$(fd dup w)" ok
is "is enough" "$(cat "$MNT/groq/key")" "$newer"
is "close" "$(fd close w)" ok
is "two are open" "$(fd write-open a "$file") $(fd write-open b "$file")" "ok ok"
is "both write" "$(fd write a "$old") $(fd write b "$new")" "ok ok"
is "the second closes first" "$(fd close b)" ok
is "its value is served" "$(cat "$MNT/groq/key")" "$new"
is "the first closes" "$(fd close a)" ok
is "now its value is served" "$(cat "$MNT/groq/key")" "$old"
is "ftruncate begins anew" "$(fd write-open w "$file") $(fd truncate w 0) $(fd write w "$new") $(fd close w)" \
	"ok ok ok ok"
is "and is stored" "$(cat "$MNT/groq/key")" "$new"
is "closed without a write" "$(fd write-open w "$file") $(fd close w)" "ok ok"
is "nothing was changed" "$(cat "$MNT/groq/key")" "$new"
probe_stop
