#!/bin/bash
# timeout: 150
# How holder and worker begin and end together: a first worker that cannot serve, ends of all kinds, and a time in
# which no worker can be had.
. "$(dirname "$0")/../lib/cases.sh"

need python3
into() { "${@:2}" >"$1" 2>&1; } # FILE COMMAND...

# ---- it cannot start ----

key=$(secret key)
start_piauth
ok "store a key" put "$MNT/groq/api-key" "$key"
is "the server is two processes" "$(server_pids | wc -l)" 2
is "the metrics name the holder" \
	"$(sed -n 's/^piauth_server_info{pid="\([0-9]*\)".*/\1/p' "$MNT/.piauth/metrics")" "${PID_OF[main]}"
stop_piauth

# refuses WHAT MESSAGE: says why, on stderr and by its exit status; no mount, no process.
refuses() {
	local server_argv status pid
	server_command "$MNT"
	(cd "$HERE" && exec timeout -k 5 60 "${server_argv[@]}" </dev/null >"$T/said" 2>&1) &
	pid=$!
	wait "$pid"
	status=$?
	is "$1: exit status" "$status" 1
	like "$1: says why" "$(<"$T/said")" "$2"
	is "$1: once" "$(grep -cE "$2" "$T/said")" 1
	not_ok "$1: nothing is mounted" is_mounted "$MNT"
	is "$1: no process is left" "$(pgrep -f -- "--store $STORE" | xargs)" ""
	cat "$T/said" >>"$TEXT/said"
}
mv "$KEYFILE" "$KEYFILE.away"
refuses "no key file" "store cannot be unlocked|$KEYFILE"
mv "$KEYFILE.away" "$KEYFILE"
chmod 0755 "$STORE"
refuses "an open store" "store.*(unsafe|0755|others|permission)"
chmod 0700 "$STORE"
echo '{"unknown": 1}' >"$CONFIG"
refuses "a wrong config" "unknown key"
echo '{}' >"$CONFIG"

# ---- ends ----

for how in TERM INT umount; do
	start_piauth
	is "$how: before" "$(cat "$MNT/groq/key")" "$key"
	stop_piauth "$how"
	not_ok "$how: not mounted any more" is_mounted "$MNT"
done

# Service managers tell all processes at once.
start_piauth
mapfile -t pids < <(server_pids)
kill -TERM "${pids[@]}"
reap "${PID_OF[main]}" 30 || bail "it goes on"
unset "PID_OF[main]"
is "all told to end: exit status" "$reaped" 0
not_ok "all told to end: not mounted any more" is_mounted "$MNT"
none_left "TERM to all" "${pids[@]}"

# After a replacement, too.
for how in TERM umount; do
	start_piauth
	kill_worker
	is "$how after a replacement: before" "$(cat "$MNT/groq/key")" "$key"
	stop_piauth "$how"
	not_ok "$how after a replacement: not mounted any more" is_mounted "$MNT"
done

# The holder alone is killed: the worker goes with it, and the next start finds mount and store free, at once.
for i in 1 2 3 4 5; do
	start_piauth
	worker=$(worker_pid)
	kill -KILL "${PID_OF[main]}"
	reap "${PID_OF[main]}" 10
	unset "PID_OF[main]"
	if [[ $i == 1 ]]; then
		ok "holder killed: the worker ends" ends_within "$worker" 10
		fails_with "Transport endpoint is not connected" cat "$MNT/groq/key"
	fi
	start_piauth
	is "holder killed, $i: the next one serves" "$(cat "$MNT/groq/key")" "$key"
	is "holder killed, $i: there is one mount" "$(findmnt -rno TARGET --mountpoint "$MNT" | wc -l)" 1
	stop_piauth
done 2>/dev/null # the shell would report each kill

# ---- the store's lock ----

start_piauth
kill_worker
is "a successor serves" "$(cat "$MNT/groq/key")" "$key"
said=$("$PIAUTH" store check --store "$STORE" --key-file "$KEYFILE" 2>&1)
is "the store is still taken: exit status" "$?" 1
like "by a process that lives" "$said" "held by pid ($(server_pids | paste -sd '|'))([^0-9]|$)"
for _ in 1 2 3 4 5; do
	killed=$(worker_pid)
	kill -KILL "$killed"
	# Between two workers: the lock is the holder's.
	"$PIAUTH" store check --store "$STORE" --key-file "$KEYFILE" >"$TEXT/check" 2>&1 && failed "the store was free"
	ends_within "$killed" 10
done
workers_may_die
stop_piauth
ok "after the end it is free" into "$TEXT/check" "$PIAUTH" store check --store "$STORE" --key-file "$KEYFILE"

# ---- the program is replaced meanwhile ----

program=$PIAUTH
install -m 0755 "$PIAUTH" "$T/old"
PIAUTH=$T/old
start_piauth
PIAUTH=$program
rm "$T/old"
kill_worker
is "a program that is gone serves on" "$(cat "$MNT/groq/key")" "$key"
is "and is the same one" "$(readlink "/proc/$(worker_pid)/exe")" "$T/old (deleted)"
stop_piauth

# ---- no worker can be had ----

start_piauth
holder=${PID_OF[main]}
touch "$T/file"
mount --bind "$MNT/groq/key" "$T/file" || bail "mount --bind"
exec {kept}<"$MNT/groq/key"
echo '{"unknown": 1}' >"$CONFIG"
: >"$T/log.mark"
lines=$(wc -l <"$LOG")
since() { tail -n "+$((lines + 1))" "$LOG"; }
kill_worker

# ends_soon WHAT COMMAND...: with EIO, at once once it is known, at the latest after a few seconds.
ends_soon() {
	local what=$1 begun said status
	shift
	begun=$(now_ms)
	said=$(timeout 20 "$@" 2>&1)
	status=$?
	isnt "$what: ends" "$status" 124
	isnt "$what: fails" "$status" 0
	like "$what: with EIO" "$said" 'Input/output error'
	at_most "$what: within (ms)" $(($(now_ms) - begun)) 10000
}
ends_soon "a read" cat "$MNT/groq/key"
ends_soon "a read through a bind mount" cat "$T/file"
ends_soon "a listing" ls "$MNT"
ends_soon "a write" bash -c 'echo "$2" >"$1"' - "$MNT/xai/api-key" "$(secret lost)"
ok "the holder lives" kill -0 "$holder"
ok "it is mounted" is_mounted "$MNT"
like "the log says why" "$(since)" "unknown key"
said=$(since | wc -l)
sleep 5
at_most "and does not go on and on (lines in 5 s)" $(($(since | wc -l) - said)) 20
ends_soon "a read later" cat "$MNT/groq/key"
fails_with "Another process serves this store" "$PIAUTH" store check --store "$STORE" --key-file "$KEYFILE"
echo '{}' >"$CONFIG"
comes_back() { [[ $(cat "$MNT/groq/key" 2>/dev/null) == "$key" ]]; }
ok "with a right config it comes back" wait_until 15 comes_back
is "the same holder" "${PID_OF[main]}" "$holder"
is "the bind mount serves" "$(cat "$T/file")" "$key"
is "the file that was kept open, too" "$(cat <&"$kept")" "$key"
exec {kept}<&-
is "what could not be stored is not there" "$(cat "$MNT/xai/key" 2>&1 | grep -c 'Required key')" 1
ok "and can be stored now" put "$MNT/xai/api-key" "$key"
kill_worker
is "one more death, and a successor at once" "$(timeout 5 cat "$MNT/xai/key")" "$key"
umount "$T/file"

# Asked to end in such a time.
for how in TERM umount; do
	echo '{"unknown": 1}' >"$CONFIG"
	kill_worker
	ends_soon "$how: a read" cat "$MNT/groq/key"
	begun=$(now_ms)
	stop_piauth "$how"
	at_most "$how: within (ms)" $(($(now_ms) - begun)) 10000
	not_ok "$how: not mounted any more" is_mounted "$MNT"
	echo '{}' >"$CONFIG"
	[[ $how == umount ]] || start_piauth
done
allow_log 'unknown key'

# ---- in the background ----

in_background() {
	env -i PATH="$PATH" HOME="$SERVER_HOME" "$PIAUTH" mount --store "$STORE" --key-file "$KEYFILE" --config "$CONFIG" \
		--no-migrate "$MNT"
}
ok "mount in the background" into "$TEXT/background" in_background
holder=$(sed -n 's/^piauth_server_info{pid="\([0-9]*\)".*/\1/p' "$MNT/.piauth/metrics")
PID_OF[main]=$holder
worker=$(worker_pid)
kill -KILL "$worker"
is "in the background: a successor serves" "$(cat "$MNT/groq/key")" "$key"
for pid in $(server_pids); do
	is "it has left the terminal and its directory" \
		"$(readlink "/proc/$pid/fd/0" "/proc/$pid/fd/1" "/proc/$pid/fd/2" "/proc/$pid/cwd" | xargs)" \
		"/dev/null /dev/null /dev/null /"
done
mapfile -t pids < <(server_pids)
unset "PID_OF[main]"
ok "umount" "$PIAUTH" umount "$MNT"
ok "umount has waited for the holder" ends_within "$holder" 0
none_left "umount" "${pids[@]}"
ok "the store is free" into "$TEXT/check" "$PIAUTH" store check --store "$STORE" --key-file "$KEYFILE"
