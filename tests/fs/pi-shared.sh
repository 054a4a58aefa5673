#!/bin/bash
# timeout: 150
# Eight pi processes and piauth with 32 readers share one login whose tokens live 2 s, at a real server that
# rotates and notices reuse: no refresh token is used twice, no entry of the file is lost, no lock is left.
. "$(dirname "$0")/../lib/cases.sh"
. "$CASES/pi.sh"

PROCESSES=8
READERS=32
TTL=2
RUN_S=20
SLACK_MS=300 # a token that was valid when it was handed out, and expired on the way on a busy machine
((${PIAUTH_TEST_SOAK:-0} == 0)) || RUN_S=300

of() { # FIELD FILE...: the sum
	python3 -S -E -c 'import json, sys
print(sum(json.load(open(file))[sys.argv[1]] for file in sys.argv[2:]))' "$@"
}

pi_install
start_oidc "$TTL"
use_oidc groq
pi_home "$T/home"
LEGACY_HOME=$PI_HOME
pi_oidc "$TTL"
other=$(secret mistral)
pi_file "$(json_make "groq:=$(pi_login)" "mistral:={\"type\": \"api_key\", \"key\": \"$other\"}" 'xyz:={"foo": 1}')"
start_piauth
is "imported" "$(decision groq)" imported
fd_mark

pids=()
for ((i = 1; i <= PROCESSES; i++)); do
	"$PI_MODULES/node-old" "$TOP/tests/pi/sim.mjs" "$PI_MODULES" "$AUTH" groq "$OIDC_URL/token" "$OIDC_CLIENT" \
		"$RUN_S" "sim-$i" $((i % 4 * 250)) >"$T/sim-$i.json" 2>"$T/sim-$i.err" &
	pids+=($!)
done
timeout $((RUN_S + 90)) "$CASES/probe_shared.py" read "$RUN_S" "$READERS" "$MNT/groq/key" >"$T/readers.json" ||
	failed "the readers"
for pid in "${pids[@]}"; do wait "$pid" || failed "a pi process ended with $?"; done
sims=("$T"/sim-*.json)

oidc_ctl "issued?grant=$GRANT" >"$T/issued.json"
ours=$(($(oidc_count "$GRANT" ok) - $(of refreshes "${sims[@]}")))
note "$RUN_S s: $(of reads "${sims[@]}") readings and $(of refreshes "${sims[@]}") refreshes of pi," \
	"$(of reads "$T/readers.json") and $ours of piauth"
note "readers of piauth: p50 $(of p50 "$T/readers.json"), p99 $(of p99 "$T/readers.json"), max $(of max "$T/readers.json") ms"
is "no refresh was refused" "$(oidc_count "$GRANT" refused)" 0
is "the login lives" "$(oidc_count "$GRANT" revoked)" false
for what in refused lost gone torn compromised errors; do
	is "pi: $what" "$(of "$what" "${sims[@]}")" 0
done
python3 -S -E -c 'import json, sys
for file in sys.argv[1:]:
    for line in json.load(open(file))["said"]:
        print("#", line)' "${sims[@]}"
is "piauth: no reader failed" "$(json_get failures <"$T/readers.json")" '{}'
at_most "piauth: no reader waits for long (max, ms)" "$(printf '%.0f' "$(of max "$T/readers.json")")" 10000
"$CASES/probe_shared.py" judge "$T/issued.json" "$SLACK_MS" "$T/readers.json" "${sims[@]}" >"$T/judged" ||
	failed "judge"
head -n -1 "$T/judged" | sed 's/^/# /' | head -n 20
read -r used wrong <<<"$(tail -n 1 "$T/judged")"
is "every token that was used was valid (of $used)" "$wrong" 0
ok "there were enough of them" test "$used" -ge $((RUN_S / TTL / 2))
ok "both sides have refreshed" test "$ours" -ge 1 -a "$(of refreshes "${sims[@]}")" -ge 1

ok "the lock is given back" wait_until 10 is_unlocked
is "nothing is left beside the file" "$(beside)" auth.json
is "the others' entries" "$(pi_has mistral/key) $(pi_has xyz)" "$other {\"foo\": 1}"
for ((i = 1; i <= PROCESSES; i++)); do
	like "the entry of process $i" "$(pi_has "sim-$i/key")" "^sim-$i-key-[0-9]+\$"
done
token=$(timeout 30 cat "$MNT/groq/key")
ok "the server takes what piauth serves" oidc_takes "$token"
is "state" "$(profile_status groq state) $(link_of groq state)" "valid on"
