#!/bin/bash
# timeout: 90
# A value that is none makes the command fail, and what was stored is served on, also after a crash.
. "$(dirname "$0")/../lib/cases.sh"
# shellcheck source=SCRIPTDIR/../lib/probe.sh
. "$CASES/probe.sh"

need python3
start_piauth
file=
big=$(head -c 17000 /dev/zero | tr '\0' b)

echo_nothing() { echo >"$file"; }
echo_blank_line() { printf '\n\n' >"$file"; }
only_cr() { printf '\r\n' >"$file"; }
nul() { printf 'a\0b' >"$file"; }
nul_at_the_end() { printf 'abc\0\n' >"$file"; }
two_lines() { printf 'a\nb' >"$file"; }
two_lines_at_once() { printf 'a\nb\n' | cat >"$file"; }
two_newlines() { printf 'a\n\n' >"$file"; }
newline_first() { printf '\na' >"$file"; }
cr_inside() { printf 'a\rb\n' >"$file"; }
tab() { printf 'a\tb\n' >"$file"; }
escape() { printf 'a\033[31mb\n' >"$file"; }
delete() { printf 'a\177b\n' >"$file"; }
too_long() { echo "$big" >"$file"; }
too_long_in_pieces() { for _ in {1..20}; do printf '%s' "${big:0:1000}" || return; done >"$file"; }
too_long_by_one() { printf '%s' "${big:0:16385}" >"$file"; }
tee_two() { printf 'a\nb' | tee "$file" >/dev/null; }
cp_two() { printf 'a\nb' >"$T/source" && cp "$T/source" "$file"; }
dd_two() { printf 'abc\nd' | dd of="$file" status=none; }
dd_bytes_two() { printf 'abc\nd' | dd bs=1 of="$file" status=none; }
append_two() { printf 'a\nb' >>"$file"; }
read_write() { : <>"$file"; }

REFUSALS=(echo_nothing echo_blank_line only_cr nul nul_at_the_end two_lines two_lines_at_once two_newlines
	newline_first cr_inside tab escape delete tee_two cp_two dd_two dd_bytes_two append_two)
TOO_BIG=(too_long too_long_in_pieces too_long_by_one)

all_fail() { # AFTER-EACH
	local how
	for how in "${REFUSALS[@]}"; do
		fails_with "Invalid argument" "$how"
		"$1" "$how"
	done
	for how in "${TOO_BIG[@]}"; do
		fails_with "File too large" "$how"
		"$1" "$how"
	done
	fails_with "Permission denied" read_write
	"$1" read_write
}

still_none() {
	not_ok "after $1: nothing is stored" test -s "${file%/*}/key"
	not_ok "after $1: there is no api-key" test -e "$file"
}

still_old() { is "after $1: the old key" "$(cat "${file%/*}/key")" "$old"; }

file=$MNT/xai/api-key
all_fail still_none
# Commands that write nothing at all cannot fail, and change nothing.
: >"$file"
still_none "an open without a write"
cp /dev/null "$file"
still_none "cp of an empty file"

file=$MNT/groq/api-key
old=$(secret old)
ok "store a key" put "$file" "$old"
generation=$(cat "$MNT/groq/generation")
all_fail still_old
: >"$file"
still_old "an open without a write"
cp /dev/null "$file"
still_old "cp of an empty file"
truncate -s 0 "$file"
still_old truncate
is "the generation did not change" "$(cat "$MNT/groq/generation")" "$generation"

# install and mv unlink first: they forget, and then cannot store.
printf 'a\nb' >"$T/source"
fails_with "Invalid argument" install -m 0600 "$T/source" "$file"
not_ok "install had removed it" test -s "$MNT/groq/key"
ok "store it again" put "$file" "$old"

# One open that has failed publishes nothing, whatever it writes then; what it had stored as pending is gone.
probe_start
half=$(secret half)
is "open" "$(fd write-open w "$file")" ok
is "a first half that could be a key" "$(fd write w "$half")" ok
is "a second half that cannot" "$(fd write w '\nsecond line')" EINVAL
is "then nothing is taken any more" "$(fd write w "$half")" EINVAL
still_old "a write that failed"
kill_piauth
start_piauth
still_old "a crash after a write that failed"
file=$MNT/xai/api-key
still_none "a crash after a write that failed"
probe_stop
restart_piauth
still_none "a restart"
file=$MNT/groq/api-key
still_old "a restart"
