#!/bin/bash
# timeout: 60
# user-mounts
# The serving process keeps its memory to itself: nobody traces it, it leaves no core, and it locks its pages.
. "$(dirname "$0")/../lib/cases.sh"
# shellcheck source=SCRIPTDIR/../lib/probe.sh
. "$CASES/probe.sh"

need python3 strace gdb
SERVER_USER=65534
start_piauth
key=$(secret key)
ok "store a key" at_server bash -c 'echo "$2" >"$1"' - "$MNT/groq/api-key" "$key"
is "read it" "$(at_server cat "$MNT/groq/key")" "$key"
mapfile -t pids < <(server_pids)

# A process of the same user that is not protected, so that a refusal means something.
inside_start setpriv --reuid 65534 --regid 65534 --clear-groups
plain=$probe_pid
seize() { # PID: PTRACE_SEIZE, as strace and gdb do
	at_server python3 -c 'import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
if libc.ptrace(0x4206, int(sys.argv[1]), 0, 0) < 0:
    sys.exit(errno.errorcode[ctypes.get_errno()])' "$1"
}
if seize "$plain" 2>/dev/null; then
	ok "another process of this user can be traced" true
	is "and read" "$(at_server head -c 1 "/proc/$plain/environ" | wc -c)" 1
else
	note "this machine lets nobody trace (yama)"
fi
for pid in "${pids[@]}"; do
	fails_with EPERM seize "$pid"
	fails_with "Operation not permitted" at_server timeout 20 strace -qq -o /dev/null -p "$pid"
	like "gdb" "$(at_server timeout 20 gdb -nx -batch -p "$pid" 2>&1)" 'Operation not permitted'
	for file in mem environ maps auxv; do
		fails_with "Permission denied" at_server head -c 1 "/proc/$pid/$file"
	done
	fails_with "Permission denied" at_server ls "/proc/$pid/fd"
	is "its /proc belongs to root" "$(stat -c %U "/proc/$pid/status")" root
	is "it is the user's all the same" "$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status")" 65534
	is "core limit" "$(awk '/^Max core file size/ { print $5, $6 }' "/proc/$pid/limits")" "0 0"
	is "umask" "$(awk '/^Umask:/ { print $2 }' "/proc/$pid/status")" 0077
	is "capabilities" "$(awk '/^CapEff:/ { print $2 }' "/proc/$pid/status")" 0000000000000000
done
locked=$(awk '/^VmLck:/ { print $2 }' "/proc/$(worker_pid)/status")
if grep -q 'cannot be locked' "$LOG"; then
	note "this user may lock no memory here"
	allow_log 'memory cannot be locked'
else
	ok "memory is locked ($locked KiB)" test "$locked" -ge 64
fi
stop_piauth
probe_stop

# As root, too.
SERVER_USER=
LEAK_CHECK=1
instance root
(ulimit -c unlimited 2>/dev/null) || note "the limit for core files cannot be raised here"
start_piauth
ok "store a key" put "$MNT/groq/api-key" "$key"
for pid in $(server_pids); do
	is "core limit" "$(awk '/^Max core file size/ { print $5, $6 }' "/proc/$pid/limits")" "0 0"
	is "umask" "$(awk '/^Umask:/ { print $2 }' "/proc/$pid/status")" 0077
	is "no new privileges" "$(awk '/^NoNewPrivs:/ { print $2 }' "/proc/$pid/status")" 1
	# Another user's process: the usual rules.
	fails_with "Permission denied" as 65534 head -c 1 "/proc/$pid/environ"
	is "no key in the arguments" "$(tr '\0' '\n' <"/proc/$pid/cmdline" | grep -c "$CANARY")" 0
done

ok "memory is locked" test "$(awk '/^VmLck:/ { print $2 }' "/proc/$(worker_pid)/status")" -ge 64

# What it leaves on disk is the owner's alone.
is "nothing in the store is open to others" "$(find "$STORE" "$KEYFILE" -perm /077)" ""
is "the key file" "$(stat -c %a "$KEYFILE")" 400
is "the store" "$(stat -c %a "$STORE" "$STORE/records" | xargs)" "700 700"
is "the records" "$(find "$STORE/records" -type f -printf '%m\n' | sort -u)" 600
is "no provider can be told from the names" "$(find "$STORE" | grep -ci groq)" 0
is "the mount is nosuid,nodev,noexec" \
	"$(findmnt -no OPTIONS --mountpoint "$MNT" | tr , '\n' | grep -cxE 'nosuid|nodev|noexec')" 3
is "its type and source" "$(findmnt -no FSTYPE,SOURCE --mountpoint "$MNT" | xargs)" "fuse.piauth piauth"

# A crash leaves no core: the worker's, and the holder's.
kill_worker QUIT
is "a successor serves" "$(cat "$MNT/groq/key")" "$key"
pid=${PID_OF[$INSTANCE]}
kill -QUIT "$pid"
wait_until 20 eval "[[ ! -e /proc/$pid ]] || grep -q '^State:.Z' /proc/$pid/status" || note "SIGQUIT does not end it"
kill_piauth
is "no core" "$(find "$T" /var/crash /var/lib/systemd/coredump -xdev -newer "$KEYFILE" -name '*core*' 2>/dev/null)" ""
