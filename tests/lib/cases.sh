# shellcheck shell=bash disable=SC2034,SC2120
# What every tests/fs/*.sh sources first. tests/fs/README.md lists the verbs; the order here is:
# a clean environment, checks, the server, config and values, the end of the test.
# The servers a token comes from are in providers.sh.

CASES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(cd "$CASES/../.." && pwd)

# ---- a clean environment -------------------------------------------------------------------------

# A provider variable of the caller must not become a credential, so the test starts over with nothing
# but this. The number of the process, which exec keeps, tells that it has happened.
if [[ ${PIAUTH_TEST_CLEAN:-} != "$$" ]]; then
	standard=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
	node=$(dirname "$(command -v node || echo /usr/bin/node)")
	[[ :$standard: == *":$node:"* ]] || standard+=:$node
	keep=()
	for name in PIAUTH PIAUTH_PLAIN PIAUTH_TEST_TMP PIAUTH_TEST_CACHE PIAUTH_TEST_MUST_MOUNT PIAUTH_TEST_SOAK \
		PIAUTH_TEST_KEEP PIAUTH_TEST_NS; do
		[[ -z ${!name:-} ]] || keep+=("$name=${!name}")
	done
	start=(env -i PATH="$standard" LANG=C.UTF-8 PIAUTH_TEST_CLEAN=$$)
	start+=("${keep[@]}")
	# A test that mounts as a user gets mounts of its own, where /dev/fuse can be opened to all.
	if grep -q '^# user-mounts' "$0" && [[ -z ${PIAUTH_TEST_NS:-} ]]; then
		start+=(PIAUTH_TEST_NS=1 unshare --mount --propagation private)
	fi
	exec "${start[@]}" bash "$0" "$@"
fi

set -u -o pipefail
umask 022
shopt -s nullglob

if [[ -z ${PIAUTH:-} ]]; then
	PIAUTH=$(find "$TOP/build-asan" -maxdepth 2 -type f -name piauth -perm -u+x 2>/dev/null | head -n 1)
fi
[[ -x $PIAUTH ]] || { echo "no piauth in build-asan; run tests/run, or set PIAUTH" >&2 && exit 1; }

CANARY=canary$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
BASE=${PIAUTH_TEST_TMP:-/var/tmp}
[[ $(stat -f -c %T "$BASE") != tmpfs ]] || { echo "set PIAUTH_TEST_TMP: $BASE is a tmpfs" >&2 && exit 1; }
T=$(mktemp -d "$BASE/piauth.$(basename "$0" .sh).XXXXXX") || exit 1
TEXT=$T/text # what is put here is searched for secrets at the end
mkdir "$TEXT"
chmod 0711 "$T"

# ---- checks ----------------------------------------------------------------------------------------

CHECKS=0
FAILURES=0
FINISHING=

note() { printf '# %s\n' "$*"; }

# One line of an answer: short, and with paths that do not change from run to run.
brief() {
	local text=${*//$'\n'/ }
	text=${text//"$T"\//}
	printf '%s' "${text:0:160}"
}

passed() {
	CHECKS=$((CHECKS + 1))
	printf 'ok %d - %s\n' "$CHECKS" "$(brief "$@")"
}

failed() {
	CHECKS=$((CHECKS + 1))
	FAILURES=$((FAILURES + 1))
	printf 'not ok %d - %s (%s)\n' "$CHECKS" "$(brief "$@")" "$(place)"
}

# The line of the test that the check stands in.
place() {
	local depth=${#BASH_LINENO[@]}
	[[ -z $FINISHING ]] || { echo "at the end" && return; }
	printf '%s:%s' "$(basename "$0")" "${BASH_LINENO[depth - 2]}"
}

# The test cannot go on.
bail() {
	note "bail: $* ($(place))"
	FAILURES=$((FAILURES + 1))
	[[ -n $FINISHING ]] || exit 1
}

skip() {
	printf 'skip: %s\n' "$*"
	exit 77
}

# This machine cannot mount; where it must, that is a failure.
skip_mount() {
	[[ -z ${PIAUTH_TEST_MUST_MOUNT:-} ]] || bail "must mount here, but: $*"
	skip "mount: $*"
}

need() {
	local command
	for command; do
		command -v "$command" >/dev/null || skip "needs $command"
	done
}

ok() { # DESCRIPTION COMMAND...
	local what=$1
	shift
	if "$@"; then passed "$what"; else failed "$what: exit $? of: $*"; fi
}

not_ok() { # DESCRIPTION COMMAND...
	local what=$1
	shift
	if "$@"; then failed "$what: succeeded: $*"; else passed "$what"; fi
}

is() { # DESCRIPTION GOT WANTED
	if [[ $2 == "$3" ]]; then passed "$1"; else
		failed "$1"
		note "  got:    $(printf '%q' "$2")"
		note "  wanted: $(printf '%q' "$3")"
	fi
}

isnt() { # DESCRIPTION GOT UNWANTED
	if [[ $2 != "$3" ]]; then passed "$1"; else failed "$1: $(printf '%q' "$2")"; fi
}

like() { # DESCRIPTION GOT REGEX
	if [[ $2 =~ $3 ]]; then passed "$1"; else
		failed "$1"
		note "  got:        $(printf '%q' "$2")"
		note "  wanted like: $3"
	fi
}

at_most() { # DESCRIPTION GOT LIMIT (integers)
	if [[ $2 =~ ^-?[0-9]+$ ]] && (($2 <= $3)); then passed "$1 ($2 <= $3)"; else
		failed "$1: '$2' is not <= $3"
	fi
}

# fails_with MESSAGE COMMAND...: the command fails, and what it prints contains MESSAGE.
fails_with() {
	local message=$1 said status
	shift
	said=$("$@" 2>&1)
	status=$?
	if ((status == 0)); then
		failed "fails with '$message': succeeded: $*"
	elif [[ $said != *"$message"* ]]; then
		failed "fails with '$message': $*"
		note "  said: $said"
	else
		passed "fails with '$message': $*"
	fi
}

# wait_until SECONDS COMMAND...: for what nothing announces. Prefer ready bytes and fake_wait.
wait_until() {
	local end=$(($(now_ms) + $1 * 1000))
	shift
	until "$@"; do
		(($(now_ms) < end)) || return 1
		sleep 0.02
	done
}

now_ms() {
	local now=${EPOCHREALTIME/[.,]/}
	echo $((now / 1000))
}

# Secrets of the test. Each contains the marker that is searched for at the end.
secret() { # NAME
	printf '%s-%s-%s' "$CANARY" "$1" "$(od -An -N6 -tx1 /dev/urandom | tr -d ' \n')"
}

# as UID[:GID[:GROUP,...]] COMMAND...: as another user, without capabilities.
as() {
	local uid gid groups
	IFS=: read -r uid gid groups <<<"$1"
	shift
	if [[ -n $groups ]]; then groups=--groups=$groups; else groups=--clear-groups; fi
	setpriv --reuid "$uid" --regid "${gid:-$uid}" "$groups" "$@"
}

json_get() { python3 -S -E "$CASES/jsonpath.py" get "$1"; }
json_make() { python3 -S -E "$CASES/jsonpath.py" make "$@"; }

# ---- the server --------------------------------------------------------------------------------------

# Set these before start_piauth:
SERVER_ARGS=()   # further options of `piauth mount`
SERVER_ENV=()    # NAME=value, all it gets beside the variables in server_command
SERVER_WRAP=()   # a command it runs under, such as strace -f -o FILE
LEGACY_HOME=     # a home directory: logins that other tools keep there are imported; without it none are
SERVER_USER=     # UID[:GID[:GROUP,...]]: who it runs as ("# user-mounts" in the test if that is not root)
LEAK_CHECK=      # 1 or 0; without it: 1, but 0 as another user and when wrapped, where it cannot work
FD_SOCKETS=4     # connections to a provider that may stay open (fd_mark)

# A server is two processes: the holder, which is what was started, and its child the worker, which serves.
declare -A PID_OF=()     # instance -> the holder (or what it runs under: SERVER_WRAP), while it runs
declare -A MNT_OF=()     # instance -> mount point
declare -A USER_OF=()    # instance -> SERVER_USER
ALLOWED_LOG=()
ALLOWED_CANARY=()

# instance NAME: from here on MNT, STORE and so on are those of another server; "main" is the first.
instance() {
	INSTANCE=$1
	HERE=$T
	[[ $1 == main ]] || HERE=$T/$1
	STORE=$HERE/store
	KEYFILE=$HERE/store.key
	CONFIG=$HERE/config.json
	MNT=$HERE/mnt
	LOG=$HERE/piauth.log
	SERVER_HOME=$HERE/home
	[[ -z ${MNT_OF[$1]:-} ]] || return 0
	MNT_OF[$1]=$MNT
	mkdir -p "$MNT" "$SERVER_HOME"
	chmod 0711 "$HERE"
	install -m 0600 /dev/stdin "$CONFIG" <<<'{}' # it may come to hold client secrets
}

server_command() { # OPTIONS...: fills the array server_argv
	local leaks=$LEAK_CHECK
	if [[ -z $leaks ]]; then
		leaks=1
		[[ -z $SERVER_USER && ${#SERVER_WRAP[@]} == 0 ]] || leaks=0
	fi
	server_argv=(env -i PATH="$PATH" LANG=C.UTF-8 HOME="$SERVER_HOME"
		ASAN_OPTIONS="detect_leaks=$leaks:detect_stack_use_after_return=1:strict_string_checks=1"
		UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
		"${SERVER_ENV[@]}")
	if [[ -n $SERVER_USER ]]; then
		local uid gid groups
		IFS=: read -r uid gid groups <<<"$SERVER_USER"
		if [[ -n $groups ]]; then groups=--groups=$groups; else groups=--clear-groups; fi
		server_argv+=(setpriv --reuid "$uid" --regid "${gid:-$uid}" "$groups")
		chown "$uid:${gid:-$uid}" "$HERE" "$MNT" "$SERVER_HOME" "$CONFIG"
		# The build directory may lie where that user cannot go.
		[[ -e $T/piauth ]] || install -m 0755 "$PIAUTH" "$T/piauth"
		server_argv+=("${SERVER_WRAP[@]}" "$T/piauth")
	else
		server_argv+=("${SERVER_WRAP[@]}" "$PIAUTH")
	fi
	server_argv+=(mount -f --store "$STORE" --key-file "$KEYFILE" --config "$CONFIG")
	if [[ -n $LEGACY_HOME ]]; then
		server_argv+=(--legacy-home "$LEGACY_HOME")
	else
		server_argv+=(--no-migrate)
	fi
	server_argv+=("${SERVER_ARGS[@]}" "$@")
}

# start_piauth [OPTION...]: returns when the mount serves; the test ends when it does not.
start_piauth() {
	local server_argv pid ready=$HERE/ready
	[[ -z ${PID_OF[$INSTANCE]:-} ]] || bail "$INSTANCE runs already"
	server_command "$@" --ready-fd 9 "$MNT"
	mkfifo "$ready"
	(cd "$HERE" && exec "${server_argv[@]}" </dev/null 9>"$ready" >>"$LOG" 2>&1) &
	pid=$!
	PID_OF[$INSTANCE]=$pid
	USER_OF[$INSTANCE]=$SERVER_USER
	# One byte, or the end of the pipe when the server exits.
	if [[ $(timeout 60 head -c 1 "$ready" | wc -c) != 1 ]]; then
		rm "$ready"
		note "log of the server:"
		sed 's/^/#   /' "$LOG"
		bail "piauth mount did not get ready"
	fi
	rm "$ready"
}

# mount_fails MESSAGE [OPTION...]: `piauth mount` refuses to start and says MESSAGE.
mount_fails() {
	local message=$1 server_argv
	shift
	server_command "$@" "$MNT"
	fails_with "$message" mount_fails_run
}

mount_fails_run() {
	(cd "$HERE" && exec timeout -k 5 60 "${server_argv[@]}" </dev/null 2>&1) | tee -a "$TEXT/mount-fails"
}

# stop_piauth [SIGNAL]: unmounts (or sends SIGNAL) and waits; the server must exit with 0, and leave no process.
stop_piauth() {
	local pid=${PID_OF[$INSTANCE]:-} how=${1:-umount} processes
	[[ -n $pid ]] || bail "$INSTANCE does not run"
	mapfile -t processes < <(server_pids)
	if [[ $how == umount ]]; then
		if ! unmount; then
			failed "$INSTANCE: umount $MNT"
			kill_piauth
			return
		fi
	else
		kill -s "$how" "$pid"
	fi
	if ! reap "$pid" 30; then
		failed "$INSTANCE: still runs 30 s after $how"
		kill_piauth
		return
	fi
	unset "PID_OF[$INSTANCE]"
	is "$INSTANCE: exit status after $how" "$reaped" 0
	none_left "$how" "${processes[@]}"
}

# A process that writes another tool's file may finish that.
none_left() { # WHAT PID...
	local pid
	for pid in "${@:2}"; do
		ends_within "$pid" 5 || failed "$INSTANCE: process $pid is left after $1"
	done
}

restart_piauth() {
	stop_piauth
	start_piauth "$@"
}

# kill_piauth [keep]: SIGKILL to every process of the server, the holder first, so that it starts no other
# worker. The dead mount is taken away unless kept.
kill_piauth() {
	local pid=${PID_OF[$INSTANCE]:-} process
	[[ -n $pid ]] || bail "$INSTANCE does not run"
	mapfile -t killed < <(server_pids)
	kill -KILL "${killed[@]}" 2>/dev/null
	reap "$pid" 30 || bail "$INSTANCE survives SIGKILL"
	# Until the last one is gone the store is taken.
	for process in "${killed[@]}"; do
		ends_within "$process" 30 || bail "$INSTANCE: process $process survives SIGKILL"
	done
	unset "PID_OF[$INSTANCE]"
	if [[ ${1:-} != keep ]] && is_mounted "$MNT"; then
		umount "$MNT" || umount -l "$MNT" || bail "cannot take the dead mount away"
	fi
}

unmount() {
	if [[ -n ${USER_OF[$INSTANCE]:-} ]]; then
		as "${USER_OF[$INSTANCE]}" fusermount3 -u "$MNT"
	else
		umount "$MNT"
	fi
}

is_mounted() { findmnt --mountpoint "$1" >/dev/null; }

# The processes of the server, the holder first (after what it runs under), then the worker and its helpers.
server_pids() {
	local queue=("${PID_OF[$INSTANCE]}") pid child
	while ((${#queue[@]} > 0)); do
		pid=${queue[0]}
		queue=("${queue[@]:1}")
		echo "$pid"
		for child in $(cat "/proc/$pid/task/"*/children 2>/dev/null); do queue+=("$child"); done
	done
}

# The worker of the moment; fails while there is none.
worker_pid() {
	local pid words
	for pid in $(server_pids); do
		{ mapfile -d '' -t words <"/proc/$pid/cmdline"; } 2>/dev/null || continue
		[[ ${words[1]:-} == worker ]] && echo "$pid" && return
	done
	return 1
}

# kill_worker [SIGNAL]: ends the worker and waits for that; what comes next is the successor's. $killed_worker
# is the one that is gone.
kill_worker() {
	killed_worker=$(worker_pid) || bail "$INSTANCE has no worker"
	workers_may_die
	kill -s "${1:-KILL}" "$killed_worker"
	ends_within "$killed_worker" 30 || bail "$INSTANCE: the worker survives SIG${1:-KILL}"
}

# workers_may_die: the test ends some by other means than kill_worker.
workers_may_die() { allow_log "$WORKER_DEATH"; }

# Deaths of workers that the log tells of.
worker_deaths() { grep -ac 'the server ended (' "$LOG"; }

# How many workers there have been since the start; waits for one that serves.
workers() { at_server sed -n 's/^piauth_workers_total //p' "$MNT/.piauth/metrics"; }

# reap PID SECONDS: waits for a child to end; its exit status is then in $reaped.
reap() {
	{ # the shell would report who was killed
		ends_within "$1" "$2" || return 1
		wait "$1"
		reaped=$?
	} 2>/dev/null
}

ends_within() { # PID SECONDS
	python3 -S -E -c '
import os, select, sys
try:
    process = os.pidfd_open(int(sys.argv[1]))
except ProcessLookupError:
    sys.exit(0)
sys.exit(not select.select([process], [], [], float(sys.argv[2]))[0])' "$1" "$2"
}

# at_server COMMAND...: as the user the server runs as, who is the one that may use the mount.
at_server() {
	if [[ -n ${USER_OF[$INSTANCE]:-} ]]; then as "${USER_OF[$INSTANCE]}" "$@"; else "$@"; fi
}

# pia SUBCOMMAND...: a client command of piauth against this mount.
pia() {
	env -i PATH="$PATH" LANG=C.UTF-8 HOME="$SERVER_HOME" PIAUTH_MOUNT="$MNT" "$PIAUTH" "$@"
}

# fd_mark: from here to the end of the test the server must not have gained a descriptor.
fd_mark() {
	server_fds >"$HERE/fds.before"
	fd_count "$HERE/fds.before" >"$HERE/fds.mark"
}

server_fds() {
	local pid
	for pid in $(server_pids); do
		find "/proc/$pid/fd" -type l -printf '%l\n' 2>/dev/null
	done | sort
}

# "FILES SOCKETS" of a list. Connections that are kept for the next request come and go.
fd_count() { printf '%s %s\n' "$(grep -vc '^socket:' "$1")" "$(grep -c '^socket:' "$1")"; }

fd_is_back() {
	local files sockets files_now sockets_now
	server_fds >"$HERE/fds.after"
	read -r files sockets <"$HERE/fds.mark"
	read -r files_now sockets_now <<<"$(fd_count "$HERE/fds.after")"
	((files_now <= files && sockets_now <= sockets + FD_SOCKETS))
}

# ---- config and values -------------------------------------------------------------------------------

# conf PATH VALUE: VALUE (JSON) at PATH (names separated by "/") of the config, before the server starts.
conf() { python3 -S -E "$CASES/jsonpath.py" set "$CONFIG" "$1" "$2" || bail "conf $*"; }

# conf_oauth PROVIDER URL [NAME=TEXT | NAME:=JSON]...: the token endpoint of a provider, and more of its oauth.
conf_oauth() {
	local id=$1 url=$2
	shift 2
	conf "providers/$id/oauth" "$(json_make "token_endpoint=$url" "$@")"
}

# put FILE VALUE: what `echo VALUE > FILE` does; fails when the write or the open does.
put() { printf '%s\n' "$2" >"$1"; }

# put_oauth PROFILE ACCESS REFRESH EXPIRES_MS [NAME=TEXT | NAME:=JSON]...
put_oauth() {
	local file=$MNT/$1/oauth
	put "$file" "$(json_make type=oauth "access=$2" "refresh=$3" "expires:=$4" "${@:5}")"
}

profile_status() { # PROFILE PATH
	json_get "$2" <"$MNT/$1/status"
}

# ---- the end of the test -------------------------------------------------------------------------------

# allow_log REGEX: lines of the server's log that match are no fault.
allow_log() { ALLOWED_LOG+=("$1"); }

# allow_canary environ|cmdline|log|store|text|core: the test puts a secret there itself.
allow_canary() { ALLOWED_CANARY+=("$1"); }

# What the holder says when a worker did not end by itself: else a crash would go unnoticed.
WORKER_DEATH='the server (ended \(|hangs|was stopped|does not end|did not end)'
SUSPICIOUS='error|warning|fatal|panic|sanitizer|leak|assert|undefined'"|$WORKER_DEATH"

suspicious_lines() { # FILE
	local filter=(cat) pattern
	if ((${#ALLOWED_LOG[@]} > 0)); then
		pattern=$(IFS='|' && echo "${ALLOWED_LOG[*]}")
		filter=(grep -avE "$pattern")
	fi
	"${filter[@]}" "$1" | grep -aiE "$SUSPICIOUS"
}

no_canary() { # WHAT PATH...
	local what=$1 found
	shift
	[[ " ${ALLOWED_CANARY[*]} " != *" $what "* ]] || return 0
	found=$(python3 -S -E "$CASES/canary.py" "$CANARY" "$@") && return 0
	failed "no secret in $what"
	note "$found"
}

# What the mount tells without being asked for a secret.
collect_text() {
	local file name
	for file in "$MNT"/{status,models} "$MNT"/.piauth/{version,events,metrics,audit,providers.json} \
		"$MNT"/*/{status,account,base-url,models,expires,generation,mode}; do
		at_server test -f "$file" || continue
		name=$INSTANCE.${file#"$MNT"/}
		at_server timeout 5 cat "$file" >"$TEXT/${name//\//_}" 2>&1
		(($? != 124)) || failed "$file answers within 5 s"
	done
}

# While it still runs: what others can see of it.
check_running() {
	local pid
	for pid in $(server_pids); do
		cat "/proc/$pid/environ" >"$T/proc.environ" 2>/dev/null
		cat "/proc/$pid/cmdline" >"$T/proc.cmdline" 2>/dev/null
		no_canary environ "$T/proc.environ"
		no_canary cmdline "$T/proc.cmdline"
	done
	is_mounted "$MNT" && collect_text
	if [[ -e $HERE/fds.mark ]] && ! wait_until 3 fd_is_back; then
		failed "$INSTANCE: descriptors as at fd_mark ($(cat "$HERE/fds.mark"), files and sockets)"
		diff "$HERE/fds.before" "$HERE/fds.after" | sed 's/^/#   /'
	fi
}

# After all servers have ended: what is left behind.
check_left() {
	local name left file found
	for name in "${!MNT_OF[@]}"; do
		instance "$name"
		if is_mounted "$MNT"; then
			failed "$name: no mount left at $MNT"
			umount -l "$MNT"
		fi
		[[ ! -e $LOG ]] || no_canary log "$LOG"
		[[ ! -e $STORE ]] || no_canary store "$STORE"
		if [[ -e $LOG ]] && left=$(suspicious_lines "$LOG"); then
			failed "$name: nothing suspicious in the log"
			printf '%s\n' "$left" | head -n 40 | sed 's/^/#   /'
		fi
	done
	for file in "$T"/*.provider.log; do
		found=$(grep -A 20 -E 'Traceback|^[A-Za-z]*Error:' "$file") || continue
		failed "no fault in $(basename "$file")"
		printf '%s\n' "$found" | head -n 20 | sed 's/^/#   /'
	done
	no_canary text "$TEXT"
	mapfile -t cores < <(find "$T" -xdev -type f -name 'core*')
	if ((${#cores[@]} > 0)); then
		failed "no core file: ${cores[*]}"
		no_canary core "${cores[@]}"
	fi
}

finish() {
	local status=$? name
	FINISHING=1
	trap - EXIT
	trap '' INT TERM HUP
	end_jobs
	for name in "${!PID_OF[@]}"; do
		instance "$name"
		check_running
	done
	stop_providers
	for name in "${!PID_OF[@]}"; do
		instance "$name"
		finish_server
	done
	check_left

	((FAILURES == 0)) || status=1
	if ((status == 0 && CHECKS == 0)); then
		note "no check was made"
		status=1
	fi
	if ((status == 0 || status == 77)) && [[ -z ${PIAUTH_TEST_KEEP:-} ]]; then
		[[ -z ${PIAUTH_TEST_NS:-} ]] || umount /dev/fuse
		rm -rf --one-file-system "$T"
	else
		note "kept: $T"
	fi
	((status == 77)) || printf '1..%d\n' "$CHECKS"
	exit "$status"
}

# Readers and the like that a test which broke off has left in the background.
end_jobs() {
	local pid servers=" $FAKE_PID $OIDC_PID ${PID_OF[*]} "
	for pid in $(jobs -p); do
		[[ $servers == *" $pid "* ]] || kill -KILL "$pid" 2>/dev/null
	done
}

finish_server() {
	if is_mounted "$MNT"; then
		stop_piauth
	elif reap "${PID_OF[$INSTANCE]}" 5; then
		unset "PID_OF[$INSTANCE]"
		failed "$INSTANCE: ended during the test, exit status $reaped"
		tail -n 20 "$LOG" | sed 's/^/#   /'
	else
		failed "$INSTANCE: runs without a mount"
		kill_piauth
	fi
}

# shellcheck source=SCRIPTDIR/providers.sh
. "$CASES/providers.sh"

if [[ -n ${PIAUTH_TEST_NS:-} ]]; then
	# The new namespace has copies of the mounts of tests beside this one, which would keep them alive.
	while read -r _ dir type _; do
		[[ $type != fuse.piauth ]] || umount -l "$dir"
	done </proc/self/mounts
	mknod -m 0666 "$T/fuse" c 10 229 && mount --bind "$T/fuse" /dev/fuse || exit 1
fi
instance main
trap finish EXIT
trap 'exit 143' TERM
trap 'exit 130' INT HUP
[[ -r /dev/fuse ]] || skip_mount "no /dev/fuse"
((EUID == 0)) || skip_mount "not root"
