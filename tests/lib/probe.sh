# shellcheck shell=bash disable=SC2034
# Processes that a test keeps beside it, one at a time. Sourced after cases.sh.

probe_pid=
probe_in=
probe_out=

# probe_start: from here on `fd COMMAND...` asks probe_fd.py, which has the list of commands.
probe_start() {
	coproc PROBE { exec python3 -S -E "$CASES/probe_fd.py"; }
	probe_pid=$PROBE_PID
	exec {probe_in}>&"${PROBE[1]}"- {probe_out}<&"${PROBE[0]}"-
}

# inside_start COMMAND...: a process that COMMAND runs (unshare ..., setpriv ...), there until probe_stop; its
# number is in $probe_pid.
inside_start() {
	coproc PROBE { exec "$@" sh -c 'echo ready; exec cat'; }
	probe_pid=$PROBE_PID
	exec {probe_in}>&"${PROBE[1]}"- {probe_out}<&"${PROBE[0]}"-
	[[ $(fd_answer) == ready ]] || bail "does not run: $*"
}

# What it is asked last is a line; what it answers may be several.
fd() { echo "$*" >&"$probe_in" && fd_answer; }

fd_answer() {
	local line
	IFS= read -r -t 30 line <&"$probe_out" && printf '%s' "$line"
}

probe_stop() {
	exec {probe_in}>&- {probe_out}<&-
	wait "$probe_pid"
}
