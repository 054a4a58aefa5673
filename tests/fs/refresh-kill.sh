#!/bin/bash
# timeout: 150
# kill -9 of the server at random moments during rotations, against a real server that rotates and notices
# reuse. The login survives unless the answer itself was lost; then the one repeat is refused, and
# status says exactly that.
. "$(dirname "$0")/../lib/cases.sh"

KILLS=30 # or as many as fit
SECONDS_MAX=90
SEED=20250131
((${PIAUTH_TEST_SOAK:-0} == 0)) || KILLS=200 SECONDS_MAX=3000
TTL=2

login() {
	oidc_login groq "$TTL"
	base=$(<"$MNT/groq/generation")
}

expired() { (($(now_ms) > $(<"$MNT/groq/expires"))); }

# One rotation, cut off after so many microseconds; $seen is what a reader got in that time.
cut() {
	local pids
	mapfile -t pids < <(server_pids)
	timeout 20 "$CASES/probe_cut.py" "$MNT/groq" "$1" "${pids[@]}" >"$T/seen" || bail "probe_cut.py"
	seen=$(<"$T/seen")
	kill_piauth
} 2>/dev/null # the shell would report each kill

state_is() { [[ $(profile_status groq state) == "$1" ]]; }

# The provider has rotated, the answer reached the disk: nothing is lost.
survives() { # WHAT
	local token
	[[ $(profile_status groq state) != retrying ]] || wait_until 10 expired || failed "$1: expires"
	token=$(timeout 30 cat "$MNT/groq/key") || failed "$1: cat fails"
	oidc_takes "$token" || failed "$1: the server does not take the token"
	[[ $(oidc_count "$GRANT" refused) == 0 ]] || failed "$1: a request was refused"
	[[ $(oidc_count "$GRANT" revoked) == false ]] || failed "$1: the login is gone"
	# It may have been due, and be refreshed once more right now.
	wait_until 10 state_is valid || failed "$1: state $(profile_status groq state)"
}

# The provider has rotated and the answer is gone with the process. While the old token lives nothing is
# tried; then once.
is_told() { # WHAT
	local said
	[[ $(profile_status groq state) == retrying ]] || failed "$1: state $(profile_status groq state)"
	[[ $(oidc_count "$GRANT" refused) == 0 ]] || failed "$1: repeated while the token lives"
	wait_until 10 expired || failed "$1: expires"
	said=$(timeout 30 cat "$MNT/groq/key" 2>&1) && failed "$1: cat succeeds"
	[[ $said == *"Key has been revoked" ]] || failed "$1: cat says $said"
	[[ $(oidc_count "$GRANT" refused) == 1 ]] || failed "$1: not one repeat"
	[[ $(profile_status groq state) == dead ]] || failed "$1: state $(profile_status groq state)"
	[[ $(profile_status groq last_error/diagnostic_code) == auth.oauth.token_refresh_failed ]] ||
		failed "$1: $(profile_status groq last_error)"
	[[ $(profile_status groq last_error/context/details) == *'answer of an earlier refresh was lost'* ]] ||
		failed "$1: $(profile_status groq last_error)"
	restart_quietly
	said=$(timeout 30 cat "$MNT/groq/key" 2>&1) && failed "$1: cat succeeds after a restart"
	[[ $(profile_status groq state) == dead ]] || failed "$1: not dead after a restart"
	[[ $(oidc_count "$GRANT" refused) == 1 ]] || failed "$1: another repeat after a restart"
}

restart_quietly() {
	kill_piauth
	start_piauth
} 2>/dev/null

start_oidc "$TTL"
use_oidc groq
start_piauth
login
# How long one rotation takes here: the kills come within that time and a half.
timeout 60 "$CASES/probe_rotate.py" "$MNT/groq" 20 >"$T/rotated" || bail "20 rotations"
read -r count ms <"$T/rotated"
span=$((ms * 1500 / count))
note "up to $KILLS kills at 0 to $span us of a rotation, seed $SEED"
login
RANDOM=$SEED
saved=0 shown=0 lost=0 unsent=0
for ((kill = 1; kill <= KILLS && SECONDS < SECONDS_MAX; kill++)); do
	what="kill $kill"
	old=$(cat "$MNT/groq/key")
	generation=$(<"$MNT/groq/generation")
	cut $((RANDOM * span / 32768))
	start_piauth
	# Nobody has read yet, so nothing is under way: every answer since the login is in a generation, or lost.
	now=$(<"$MNT/groq/generation")
	made=$((now - generation)) # now and then two: the token was due by itself
	answered=$(oidc_count "$GRANT" ok)
	case $((answered - (now - base))),$made in
	1,*)
		lost=$((lost + 1))
		[[ -z $seen || $made != 0 || $seen == "$old" ]] ||
			failed "$what: a reader saw a token before it was durable"
		is_told "$what, answer lost"
		login
		;;
	0,0)
		unsent=$((unsent + 1))
		[[ -z $seen || $seen == "$old" ]] || failed "$what: a reader saw a token that nobody made"
		survives "$what, nothing sent"
		;;
	0,*)
		saved=$((saved + 1))
		[[ -z $seen || $seen == "$old" ]] || shown=$((shown + 1))
		survives "$what, answer saved"
		;;
	*) bail "$what: $answered answers since the login, $((now - base)) generations" ;;
	esac
	((FAILURES < 20)) || bail "too many failures"
done
note "before the request: $unsent, answer lost: $lost, answer saved: $saved ($shown seen by a reader)"
kills=$((kill - 1))
is "every kill was judged ($kills)" $((unsent + lost + saved)) "$kills"
ok "they were enough" test "$kills" -ge 10
ok "some came after the answer was saved" test "$saved" -gt 0
ok "some came before" test $((unsent + lost)) -gt 0
mapfile -t left < <(find "$STORE" -name '*.tmp' -o -name '.*tmp*')
is "no temporary file is left" "${#left[@]}" 0
