#!/bin/bash
# timeout: 90
# A directory that is read while profiles come and go: what stays is seen, and nothing twice.
. "$(dirname "$0")/../lib/cases.sh"

need python3
start_piauth

cat >"$T/watch.py" <<'PY'
"""Lists a directory in steps until standard input ends; prints how often an entry was missing or doubled."""
import os
import select
import sys

path, stays = sys.argv[1], set(sys.argv[2:])
rounds = missing = doubled = unstable = 0
while rounds < 3 or not select.select([sys.stdin], [], [], 0)[0]:
    names = []
    with os.scandir(path) as entries:
        for entry in entries:
            names.append(entry.name)
            if entry.name in stays and entry.inode() != os.stat(f"{path}/{entry.name}").st_ino:
                unstable += 1
    missing += len(stays - set(names))
    doubled += len(names) - len(set(names))
    rounds += 1
    if rounds == 3:
        print("ready", flush=True)
print(f"missing={missing} doubled={doubled} unstable={unstable}")
PY

value=$(secret any)
put "$MNT/groq/api-key" "$value" || bail "put"
fd_mark
stays=(status)
for i in {10..39}; do
	mkdir "$MNT/stay-$i" || bail "mkdir"
	stays+=("stay-$i")
done
coproc WATCH { exec python3 -S -E "$T/watch.py" "$MNT" "${stays[@]}"; }
watch_pid=$WATCH_PID
exec {result}<&"${WATCH[0]}" {stop}>&"${WATCH[1]}"-
read -r -t 30 -u "$result" _ || bail "the watcher did not start"
faults=0
for i in {1..15}; do
	# In front, between and behind those that stay.
	for name in groq stay-20x xai; do
		[[ $name != stay-* ]] || mkdir "$MNT/$name" || faults=$((faults + 1))
		put "$MNT/$name/api-key" "$value" || faults=$((faults + 1))
	done
	rm "$MNT/groq/key" "$MNT/xai/api-key" || faults=$((faults + 1))
	rm -rf "$MNT/stay-20x" || faults=$((faults + 1))
done
exec {stop}>&-
read -r -t 30 -u "$result" said
wait "$watch_pid"
is "every change was made" "$faults" 0
is "every listing has what stays, once, under its number" "$said" "missing=0 doubled=0 unstable=0"

# One stream that is read on after a change keeps its place.
cat >"$T/steps.py" <<'PY'
import ctypes
import os
import sys

path, added = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
SYS_getdents64 = {"x86_64": 217, "aarch64": 61}[os.uname().machine]


def some(descriptor, size=256):
    room = ctypes.create_string_buffer(size)
    length = libc.syscall(SYS_getdents64, descriptor, room, size)
    if length < 0:
        raise OSError(ctypes.get_errno(), "getdents64")
    at, names = 0, []
    while at < length:
        step = int.from_bytes(room.raw[at + 16 : at + 18], "little")
        names.append(room.raw[at + 19 : at + step].split(b"\0")[0].decode())
        at += step
    return names


descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
names = some(descriptor)
os.mkdir(f"{path}/{added}")
while more := some(descriptor):
    names += more
os.lseek(descriptor, 0, os.SEEK_SET)
again = []
while more := some(descriptor):
    again += more
print(len(names) - len(set(names)), sum(n.startswith("stay-") for n in names), added in again)
PY
is "a stream goes on where it was, and is new after rewinddir" \
	"$(python3 -S -E "$T/steps.py" "$MNT" aaa)" "0 30 True"
