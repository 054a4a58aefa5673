#!/bin/bash
# timeout: 60
# Every command and every option of piauth(1) is taken by the program, and what the manual does not have is not.
. "$(dirname "$0")/../lib/cases.sh"

need python3
USAGE=2
mkdir -p "$T/place/full"
: >"$T/place/full/file"
declare -A VALUE=([--store]="$T/place/store" [--key-file]="$T/place/key" [--config]="$T/place/config.json"
	[--owner]=root [--group]=root [--ready-fd]=1 [--passphrase-file]="$T/place/none" [--from]=/nonexistent [--legacy-home]=/nonexistent)
declare -A WITH=([--backup]=--take-over) # options that mean nothing alone
# mount stops behind its options here: this directory is not empty, and what is not a mount cannot be unmounted.
declare -A OPERAND=([mount]="$T/place/full" [umount]="$T/place/full" [set]=groq [get]=groq [logout]=groq
	["store export"]="$T/place/export" ["store import"]="$T/place/none")

# Whether a usage is good: what comes of it, which is 2 if it is not.
status_of() { # COMMAND [OPTION...]
	local words operand=${OPERAND[$1]:-}
	read -ra words <<<"$1"
	shift
	env -i PATH="$PATH" HOME="$T/place" PIAUTH_MOUNT="$T/place/none" "$PIAUTH" "${words[@]}" "$@" \
		${operand:+"$operand"} </dev/null >"$T/out" 2>&1
	echo $?
}

help_of() { "$PIAUTH" "$1" --help >"$T/out"; }

while IFS=$'\t' read -r -a row; do
	command=${row[0]}
	own=()
	case $command in
	mount | umount | version) ;;
	*) own=(--store "$T/place/store" --key-file "$T/place/key" --config "$T/place/config.json") ;;
	esac
	isnt "$command" "$(status_of "$command" "${own[@]}")" "$USAGE"
	for option in "${row[@]:1}"; do
		isnt "$command $option" "$(status_of "$command" "${own[@]}" ${WITH[$option]:-} "$option" ${VALUE[$option]:+"${VALUE[$option]}"})" \
			"$USAGE"
		if [[ -n ${VALUE[$option]:-} ]]; then
			read -ra words <<<"$command"
			"$PIAUTH" "${words[@]}" "$option" </dev/null >"$T/out" 2>&1
			is "$command $option wants a value" "$?" "$USAGE"
		fi
	done
	is "$command --nosuch" "$(status_of "$command" --nosuch)" "$USAGE"
	like "$command: it says how" "$(cat "$T/out")" "usage: piauth ${command%% *}"
	ok "$command: --help" help_of "${command%% *}"
	commands+=" $command"
done < <("$TOP/tests/doc-names" --commands)
is "the commands of the help are those of the manual" \
	"$("$PIAUTH" --help | sed -n 's/^  \([a-z]\+\) .*/\1/p' | sort | xargs)" \
	"$(tr ' ' '\n' <<<"$commands" | grep -vxE 'check|rekey|export|import|adopt|' | sort -u | xargs)"
not_ok "nothing is mounted" is_mounted "$T/place/full"
for later in login exec env nosuch; do
	"$PIAUTH" "$later" >"$T/out" 2>&1
	is "$later" "$?" "$USAGE"
done
