#!/bin/bash
# timeout: 90
# user-mounts
# exclusive
# The scripts of examples/: they do what the README says, and leave no secret where it can be seen.
. "$(dirname "$0")/../lib/cases.sh"

need python3 curl
example() { # NAME ARGUMENT...
	env -i PATH="$T/bin:$PATH" LANG=C.UTF-8 HOME="$SERVER_HOME" PIAUTH_MOUNT="$MNT" "${ENGINE[@]}" \
		"$TOP/examples/$1.sh" "${@:2}"
}
ENGINE=()
start_piauth

# ---- provision.sh ------------------------------------------------------------------------------------

key=$(secret key)
access=$(secret access)
mkdir "$T/secrets"
echo "$key" >"$T/secrets/groq"
json_make type=oauth "access=$access" "refresh=$(secret refresh)" "expires:=$(($(now_ms) + 7200000))" \
	>"$T/secrets/anthropic.json"
ok "provision" example provision "$T/secrets" >"$TEXT/provision"
is "it says what it stored" "$(grep -c ': stored$' "$TEXT/provision")" 2
is "the key" "$(cat "$MNT/groq/key")" "$key"
is "the login" "$(cat "$MNT/anthropic/key")" "$access"
is "the login has its refresh token" "$(profile_status anthropic has_oauth)" true
generations() { cat "$MNT"/{groq,anthropic}/generation | xargs; }
before=$(generations)
secret other >"$T/secrets/groq"
ok "again" example provision "$T/secrets" >"$TEXT/provision"
is "what is there stays" "$(grep -c ': there already$' "$TEXT/provision") $(generations)" "2 $before"
is "the key, too" "$(cat "$MNT/groq/key")" "$key"
echo '{"type":"oauth"}' >"$T/secrets/xai.json"
: >"$T/secrets/nosuchprovider"
secret third >"$T/secrets/mistral"
not_ok "what cannot be stored is a failure" example provision "$T/secrets" >"$TEXT/provision" 2>&1
is "the others are stored all the same" "$(cat "$MNT/mistral/key")" "$(cat "$T/secrets/mistral")"
is "nothing else is" "$(test -s "$MNT/xai/key" || echo none)" none
not_ok "without a directory" example provision 2>/dev/null

# ---- curl.sh -----------------------------------------------------------------------------------------

# What curl is called with shows in ps.
mkdir "$T/bin"
cat >"$T/bin/curl" <<END
#!/bin/sh
printf '%s\n' "\$@" >>"$TEXT/arguments"
exec $(command -v curl) --noproxy '*' "\$@"
END
chmod +x "$T/bin/curl"
start_server service "$CASES/probe_endpoint.py" "$T/requests" <(echo '{"models": []}')
service=$server_pid
url=http://127.0.0.1:$server_port/v1/models
count() { [[ ! -e $T/requests ]] && echo 0 || wc -l <"$T/requests"; }
header() { tail -n 1 "$T/requests" | json_get "headers/$1"; }

is "before" "$(count)" 0
ok "curl.sh groq" example curl groq "$url" >"$TEXT/answer"
is "one request" "$(count)" 1
is "with the key" "$(header authorization)" "Bearer $key"
ok "curl.sh anthropic" example curl anthropic "$url" -d '{"model": "x"}' >"$TEXT/answer"
is "with the token" "$(header authorization)" "Bearer $access"
is "and what else this provider wants" "$(header anthropic-beta)" oauth-2025-04-20
is "and the caller's options" "$(tail -n 1 "$T/requests" | json_get body)" '{"model": "x"}'
ok "curl was called" test -s "$TEXT/arguments"
not_ok "without the secret in its arguments" grep -q "$CANARY" "$TEXT/arguments"
fails_with "Required key not available" example curl openai "$url"
is "then nothing is sent" "$(count)" 2
fails_with "usage: curl.sh" example curl groq
kill "$service" && wait "$service"
not_ok "nobody there" example curl groq "$url" 2>"$TEXT/answer"

# ---- container.sh ------------------------------------------------------------------------------------

fails_with "is piauth mounted?" example container nosuchprovider image
if ! command -v podman >/dev/null || ! command -v runc >/dev/null; then
	note "no podman and runc here: container.sh is not run"
else
	root=$T/rootfs
	mkdir -p "$root"/{auth,bin,dev,etc,proc,run,sys,tmp}
	programs=("$(command -v cat)" "$(command -v rm)" "$(command -v ls)" "$(command -v dash)")
	cp "${programs[@]}" "$root/bin"
	ldd "${programs[@]}" | grep -o '/[^ :]*' | grep -v '/bin/' | sort -u | xargs cp -L --parents -t "$root"
	# Limits cannot be set where root may not (CAP_SYS_RESOURCE); a container needs none.
	cat >"$T/runtime" <<'END'
#!/usr/bin/python3 -SE
import json, os, sys
if "create" in sys.argv:
    path = os.path.join(sys.argv[sys.argv.index("--bundle") + 1], "config.json")
    with open(path) as file:
        spec = json.load(file)
    spec["process"].pop("rlimits", None)
    with open(path, "w") as file:
        json.dump(spec, file)
os.execvp("runc", ["runc"] + sys.argv[1:])
END
	chmod +x "$T/runtime"
	# podman takes at most 50 characters for it; this mount namespace ends with the test.
	mount -t tmpfs tmpfs /mnt || bail "cannot mount a tmpfs"
	ENGINE=("CONTAINER_ENGINE=podman --root $T/podman --runroot /mnt/run --tmpdir $T/podman-tmp
		--storage-driver=vfs --cgroup-manager=cgroupfs --events-backend=none --runtime=$T/runtime")
	options=(--network=none --log-driver=none --rootfs "$root")
	contained() { example container "$1" "${options[@]}" "${@:2}" 2>&1; }
	is "a container reads the key" "$(contained groq cat /auth/key)" "$key"
	is "the same files" "$(contained groq ls /auth | xargs)" "$(ls "$MNT/groq" | xargs)"
	like "it cannot log out" "$(contained groq rm -f /auth/key)" 'cannot remove|Read-only'
	like "nor store a key" "$(contained groq dash -c 'echo planted >/auth/api-key')" 'Read-only|cannot create'
	is "the key is still the one" "$(cat "$MNT/groq/key")" "$key"
	like "no key is an error in there too" "$(contained openai cat /auth/key)" "Required key not available"
	# One that runs while the key is replaced.
	mkfifo "$T/go"
	changing() {
		example container groq --volume "$T:/outside" "${options[@]}" dash -c \
			'cat /auth/key; echo; : >/outside/first; cat /outside/go; cat /auth/key' >"$T/changing" 2>&1
	}
	changing &
	container=$!
	wait_until 30 test -e "$T/first" || failed "the container starts"
	ok "another key" put "$MNT/groq/api-key" "$(secret new)"
	timeout 10 bash -c ': >"$1"' - "$T/go"
	wait "$container"
	is "a running container sees the new one" "$(xargs <"$T/changing")" "$key $(cat "$MNT/groq/key")"
	isnt "which is another one" "$(cat "$MNT/groq/key")" "$key"
fi
