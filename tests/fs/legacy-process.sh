#!/bin/bash
# timeout: 120
# The process that touches other tools' files: what it gets from the server, and what ends it.
. "$(dirname "$0")/../lib/cases.sh"
. "$CASES/pi.sh"

helper() { pgrep -f legacy-helper -P "$(worker_pid)"; }
written() { pi_is anthropic/access "$1"; }

# A refresh whose answer the provider holds back: meanwhile a process has the lock of the file. Sets HELPER.
refresh_begins() {
	fake anthropic '{"mode": "hang"}'
	put "$MNT/anthropic/refresh" "$(<"$MNT/anthropic/generation")"
	timeout 60 cat "$MNT/anthropic/key" >"$T/answer" &
	reader=$!
	fake_wait anthropic hanging=1 20 || bail "no refresh"
	HELPER=$(helper)
	[[ $HELPER =~ ^[0-9]+$ ]] || bail "not one process: $HELPER"
}
refresh_ends() { # WHAT
	fake anthropic '{"mode": "ok"}'
	fake_do anthropic release
	wait "$reader"
	is "$1: the reader" "$?" 0
}

start_fake
use_fake anthropic
pi_home "$T/home"
pi_pair anthropic
pi_file "$(json_make "anthropic:=$(pi_login)")"
LEGACY_HOME=$PI_HOME
SERVER_ENV=(CODEX_HOME=/nonexistent UNRELATED=1)

# An upgrade replaces the program under a running server.
program=$PIAUTH
install -m 0755 "$PIAUTH" "$T/old"
PIAUTH=$T/old
start_piauth
is "what is imported is there when the mount is ready" "$(cat "$MNT/anthropic/key")" "$ACCESS"
rm "$T/old"
PIAUTH=$program

refresh_begins
is "it was started from a program that is gone" "$(readlink "/proc/$HELPER/exe")" "$T/old (deleted)"
is "its name" "$(<"/proc/$HELPER/comm")" piauth-legacy
is "its environment" "$(tr '\0' '\n' <"/proc/$HELPER/environ" | sort | xargs)" \
	"CODEX_HOME=/nonexistent HOME=$PI_HOME"
is "its command line" "$(tr '\0' ' ' <"/proc/$HELPER/cmdline")" "piauth legacy-helper "
is "its directory" "$(readlink "/proc/$HELPER/cwd")" /
is "its session" "$(ps -o sid= -p "$HELPER" | xargs)" "$HELPER"
is "nothing is open but the conversation" \
	"$(find "/proc/$HELPER/fd" -type l -printf '%f %l\n' | sed 's/\[.*//' | sort | xargs)" \
	"0 socket: 1 /dev/null 2 /dev/null"
is "no signal is blocked" "$(awk '/^SigBlk:/ { print $2 }' "/proc/$HELPER/status")" 0000000000000000
is "it cannot gain rights" "$(awk '/^NoNewPrivs:/ { print $2 }' "/proc/$HELPER/status")" 1

# What ends servers, by a key or by the service manager, does not end a write.
for signal in INT TERM HUP QUIT; do kill -s "$signal" "$HELPER"; done
refresh_ends "signals"
ok "signals: written all the same" wait_until 10 written "$(<"$T/answer")"
ok "and then it ends" ends_within "$HELPER" 10
ok "the lock is given back" wait_until 10 is_unlocked

# Killed, it takes nothing with it: the reader has its token, and the file gets the next one.
refresh_begins
kill -KILL "$HELPER"
ok "killed: it leaves no zombie" wait_until 10 test ! -e "/proc/$HELPER"
refresh_ends "killed"
is "killed: the token is served" "$(cat "$MNT/anthropic/key")" "$(<"$T/answer")"
lock_ages
refresh_begins
refresh_ends "after that"
ok "after that: written" wait_until 10 written "$(<"$T/answer")"
is "no refresh token was used twice" "$(fake_get anthropic reuse) $(fake_get anthropic refused)" "0 0"

fails_with "started by the server" pia legacy-helper
not_ok "help does not offer it" grep -q legacy-helper <<<"$(pia help)"
stop_piauth
