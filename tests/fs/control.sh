#!/bin/bash
# timeout: 60
# .piauth: version, providers.json, events, metrics and the audit trail.
. "$(dirname "$0")/../lib/cases.sh"

need python3 tail
start_piauth
control=$MNT/.piauth
is "what is there" "$(xargs < <(ls "$control"))" "audit events metrics migrate providers.json version"
is "modes" "$(cd "$control" && stat -c '%n %a' ./* | xargs)" \
	"./audit 400 ./events 444 ./metrics 444 ./migrate 600 ./providers.json 444 ./version 444"
is "version" "piauth $(cat "$control/version")" "$("$PIAUTH" version)"
ok "providers.json is JSON" python3 -m json.tool "$control/providers.json" "$T/providers.json"
is "st_size" "$(stat -c %s "$control/providers.json")" "$(wc -c <"$control/providers.json")"

# events
mkfifo "$T/events"
tail -n +1 -f "$control/events" >"$T/events" &
tail_pid=$!
exec {events}<"$T/events"
next_event() { # PROFILE EVENT: reads on until it comes
	while read -r -t 20 -u "$events" line; do
		[[ $(json_get profile <<<"$line") == "$1" && $(json_get event <<<"$line") == "$2" ]] && return
	done
	return 1
}
ok "a key" put "$MNT/groq/api-key" "$(secret key)"
ok "tail -f sees that it was stored" next_event groq key_stored
like "with a time" "$(json_get at <<<"$line")" '^20[0-9-]{8}T[0-9:]{8}Z$'
is "and the generation" "$(json_get generation <<<"$line")" "$(cat "$MNT/groq/generation")"
ok "a login" put_oauth groq "$(secret access)" "$(secret refresh)" $(($(now_ms) + 7200000))
ok "tail -f sees the login" next_event groq login
ok "log out" rm "$MNT/groq/key"
ok "tail -f sees the logout" next_event groq logout
before=$(stat -c %s "$control/events")
ok "another key" put "$MNT/xai/api-key" "$(secret key)"
ok "st_size grows" test "$(stat -c %s "$control/events")" -gt "$before"
is "it is what is there" "$(stat -c %s "$control/events")" "$(wc -c <"$control/events")"
ok "every line is JSON" python3 -c 'import json, sys; [json.loads(line) for line in open(sys.argv[1])]' "$control/events"
kill "$tail_pid"
wait "$tail_pid" 2>/dev/null
exec {events}<&-

# metrics: the text exposition format of Prometheus, version 0.0.4
cat >"$T/metrics.py" <<'PY'
import re
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABELS = r'(\{[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*")*,?\})?'
SAMPLE = re.compile(rf"({NAME}){LABELS} (NaN|[+-]?Inf|[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)( -?[0-9]+)?$")
HELP = re.compile(rf"# HELP ({NAME}) (\S.*)$")
TYPE = re.compile(rf"# TYPE ({NAME}) (counter|gauge|histogram|summary|untyped)$")
wrong, types, helps, done, last = [], {}, {}, set(), None
text = sys.stdin.read()
if not text.endswith("\n"):
    wrong.append("no newline at the end")
for line in text.splitlines():
    if found := HELP.match(line):
        helps[found[1]] = found[2]
    elif found := TYPE.match(line):
        if found[1] in types or found[1] in done:
            wrong.append(f"type twice or late: {line}")
        types[found[1]] = found[2]
    elif found := SAMPLE.match(line):
        name = found[1]
        if name != last and name in done:
            wrong.append(f"not in one group: {line}")
        if name not in types or name not in helps:
            wrong.append(f"no HELP or TYPE: {line}")
        if types.get(name) == "counter" and not name.endswith("_total"):
            wrong.append(f"a counter ends with _total: {line}")
        if not name.startswith("piauth_"):
            wrong.append(f"whose is it? {line}")
        done.add(name)
        last = name
    else:
        wrong.append(f"not understood: {line}")
wrong += [f"no sample: {name}" for name in types if name not in done]
print("\n".join(wrong) or f"fine, {len(done) >= 10}")
PY
is "metrics are what Prometheus takes" "$(python3 -S -E "$T/metrics.py" <"$control/metrics")" "fine, True"
metric() { sed -n "s/^$1\({[^}]*}\)\? //p" "$control/metrics"; }
reads=$(metric piauth_reads_total)
failed=$(metric piauth_reads_failed_total)
cat "$MNT/xai/key" >"$T/discard"
cat "$MNT/groq/key" 2>/dev/null
is "reads are counted" "$(metric piauth_reads_total)" $((reads + 2))
is "those that fail too" "$(metric piauth_reads_failed_total)" $((failed + 1))
is "profiles" "$(metric piauth_profiles)" 1
rm "$T/discard"

# audit: one line for every open of a secret, granted or not.
audit_since() { tail -c +$(($1 + 1)) "$control/audit"; }
size() { stat -c %s "$control/audit"; }
lines_of() { # TEXT: "op node result uid" of each
	python3 -c 'import json, sys
for line in sys.stdin:
    row = json.loads(line)
    print(row["op"], row["node"], row["result"], row["uid"])'
}
audited() { # WHAT WANTED COMMAND...
	local what=$1 wanted=$2 from
	shift 2
	from=$(size)
	"$@" >/dev/null 2>&1
	is "$what" "$(audit_since "$from" | lines_of)" "$wanted"
}
audited "key" "open xai/key ok 0" cat "$MNT/xai/key"
audited "header" "open xai/header ok 0" cat "$MNT/xai/header"
audited "env" "open xai/env ok 0" cat "$MNT/xai/env"
audited "a key that is not there" "open groq/key ENOKEY 0" cat "$MNT/groq/key"
audited "through an alias" "open xai/key ok 0" cat "$MNT/GROK/key"
audited "storing" "write mistral/api-key ok 0" put "$MNT/mistral/api-key" "$(secret key)"
audited "replacing" "write mistral/api-key ok 0" put "$MNT/mistral/api-key" "$(secret key)"
audited "a login" "write mistral/oauth ok 0" put_oauth mistral a r $(($(now_ms) + 7200000))
audited "logging out" "unlink mistral/key ok 0" rm "$MNT/mistral/key"
audited "reading what cannot be read" "open xai/api-key EACCES 0" cat "$MNT/xai/api-key"
from=$(size)
as 65534 cat "$MNT/xai/key" 2>/dev/null
like "a stranger, at the door or at the file" "$(audit_since "$from" | lines_of)" \
	'^(lookup xai|open xai/key) EACCES 65534$'
audited "status is no secret" "" cat "$MNT/xai/status" "$MNT/status" "$control/version"
audited "looking is no reading" "" stat "$MNT/xai/key"
audited "nor is listing" "" ls -l "$MNT/xai"
from=$(size)
cat "$MNT/xai/key" >/dev/null
line=$(audit_since "$from")
is "who: program" "$(json_get exe <<<"$line")" "$(readlink -f "$(command -v cat)")"
is "who: group" "$(json_get gid <<<"$line")" 0
like "who: process" "$(json_get pid <<<"$line") $(json_get tid <<<"$line")" '^[0-9]+ [0-9]+$'
like "when" "$(json_get at <<<"$line")" '^20[0-9-]{8}T[0-9:.]+Z$'
isnt "who: cgroup" "$(json_get cgroup <<<"$line")" ""

# A thread is told as its process.
from=$(size)
python3 - "$MNT/xai/key" >"$T/threads" <<'PY'
import os, sys, threading
def read():
    print(os.getpid(), threading.get_native_id())
    open(sys.argv[1]).read()
thread = threading.Thread(target=read)
thread.start()
thread.join()
PY
line=$(audit_since "$from")
is "a thread is told as its process" "$(json_get pid <<<"$line") $(json_get tid <<<"$line")" "$(cat "$T/threads")"

# Full: the older half goes, and what is left begins with a whole line, under the newest size.
python3 - "$MNT/xai/key" "$control/audit" >"$T/overflow" <<'PY'
import json, os, sys
key, audit = sys.argv[1:]
shrank = opens = 0
size = os.stat(audit).st_size
while not shrank and opens < 5000:
    with open(key, "rb"):
        opens += 1
    now = os.stat(audit).st_size
    shrank, size = now < size, now
lines = open(audit, encoding="utf-8").read().splitlines()
print(shrank, all(json.loads(line)["node"] for line in lines), size < 256 * 1024, len(lines) > 100)
PY
is "a full audit trail drops its older half" "$(cat "$T/overflow")" "True True True True"
ok "the store has all of it" test "$(stat -c %s "$STORE/audit.log")" -gt $((200 * 1024))
restart_piauth
is "at the start the trail is empty" "$(wc -c <"$control/audit")" 0
cat "$MNT/xai/key" >/dev/null

# The whole trail is in the store, and goes on after a restart.
cp "$control/audit" "$T/audit.before"
stop_piauth
is "audit.log is the owner's" "$(stat -c %a "$STORE/audit.log")" 600
is "audit.log has what the trail had" "$(tail -n 1 "$STORE/audit.log")" "$(cat "$T/audit.before")"
lines=$(wc -l <"$STORE/audit.log")
start_piauth
cat "$MNT/xai/key" >/dev/null
stop_piauth
is "audit.log goes on" "$(wc -l <"$STORE/audit.log")" $((lines + 1))
