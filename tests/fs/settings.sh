#!/bin/bash
# timeout: 60
# mode, base-url and refresh.
. "$(dirname "$0")/../lib/cases.sh"

need python3
start_fake
use_fake groq
start_piauth
file=$MNT/groq

put_plain() { printf '%s' "$2" >"$1"; }
put_at_once() { cat <<<"$2" >"$1"; } # bash would write each line by itself, and each write is a command

# mode
is "mode at first" "$(cat "$file/mode")" auto
key=$(secret key)
ok "store a key" put "$file/api-key" "$key"
fake_login groq
token=$ACCESS
is "auto serves what was stored last" "$(cat "$file/key")" "$token"
ok "mode api_key" put "$file/mode" api_key
is "serves the key" "$(cat "$file/key")" "$key"
is "st_size is the key's" "$(stat -c %s "$file/key")" "${#key}"
is "a key does not expire" "$(cat "$file/expires")" 0
is "status tells the mode" "$(profile_status groq mode) $(profile_status groq type)" "api_key api_key"
restart_piauth
is "mode survives a restart" "$(cat "$file/mode")" api_key
ok "mode oauth" put "$file/mode" oauth
is "serves the login" "$(cat "$file/key")" "$token"
ok "mode env" put "$file/mode" env
fails_with "Required key not available" cat "$file/key"
not_ok "test -s follows the mode" test -s "$file/key"
ok "mode api_key again" put "$file/mode" api_key
ok "forget the key" rm "$file/api-key"
fails_with "Required key not available" cat "$file/key"
ok "mode auto" put "$file/mode" auto
is "auto falls back to what is there" "$(cat "$file/key")" "$token"
for text in '' other AUTO 'auto oauth' $'auto\nauto' proxy; do
	fails_with "Invalid argument" put_at_once "$file/mode" "$text"
done
is "mode is as it was" "$(cat "$file/mode")" auto
ok "mode, without a newline" put_plain "$file/mode" oauth
is "is taken" "$(cat "$file/mode")" oauth
ok "mode auto" put "$file/mode" auto
ok "log out" rm "$file/key"
ok "a mode can be set without a login" put "$file/mode" oauth
ok "a key" put "$file/api-key" "$key"
fails_with "Required key not available" cat "$file/key"
ok "mode auto" put "$file/mode" auto
is "now it is served" "$(cat "$file/key")" "$key"
ok "log out" rm "$file/key"

# base-url
is "a fixed endpoint" "$(cat "$file/base-url")" https://api.groq.com/openai/v1
fails_with "Permission denied" put "$file/base-url" https://elsewhere.example.org
for profile in mine azure-openai; do
	file=$MNT/$profile
	[[ -d $file ]] || mkdir "$file"
	is "$profile: no base-url at first" "$(cat "$file/base-url")" ""
	ok "$profile: https" put "$file/base-url" https://llm.example.org/v1
	is "$profile: is read" "$(cat "$file/base-url")" https://llm.example.org/v1
	for url in '' x ftp://llm.example.org/ http://llm.example.org/ http://127.0.0.1.example.org/ \
		http://user:pass@llm.example.org/ 'https://llm.example.org/a b' $'https://a.example.org/\nhttps://b.example.org/' \
		https:// file:///etc/passwd; do
		fails_with "Invalid argument" put_at_once "$file/base-url" "$url"
	done
	is "$profile: it stays" "$(cat "$file/base-url")" https://llm.example.org/v1
	for url in http://127.0.0.1:8080/v1 http://localhost:1 'http://[::1]:8080/'; do
		ok "$profile: $url" put "$file/base-url" "$url"
		is "$profile: $url is read" "$(cat "$file/base-url")" "$url"
	done
	ok "$profile: store a key" put "$file/api-key" "$key"
	fails_with "Device or resource busy" put "$file/base-url" https://elsewhere.example.org
	restart_piauth
	is "$profile: as it was" "$(cat "$file/base-url")" 'http://[::1]:8080/'
	fails_with "Device or resource busy" put "$file/base-url" https://elsewhere.example.org
	ok "$profile: log out" rm "$file/key"
	ok "$profile: then it can be changed" put "$file/base-url" https://elsewhere.example.org
	is "$profile: changed" "$(cat "$file/base-url")" https://elsewhere.example.org
done

# refresh
file=$MNT/groq
fails_with "Required key not available" put "$file/refresh" 1
ok "a key" put "$file/api-key" "$key"
fails_with "Operation not supported" put "$file/refresh" "$key"
is "the key is served on" "$(cat "$file/key")" "$key"
ok "log out" rm "$file/key"
fake groq '{"expires_in": 7200}'
fake_login groq
first=$ACCESS
generation=$(cat "$file/generation")
requests() { fake_get groq requests; }
before=$(requests)
fails_with "Invalid argument" put "$file/refresh" ""
fails_with "Invalid argument" put "$file/refresh" $((generation + 1))
ok "an older generation" put "$file/refresh" $((generation - 1))
ok "a text that is unknown, right after the login" put "$file/refresh" "not-$CANARY"
is "none of them refreshed" "$(requests) $(cat "$file/key")" "$before $first"
ok "the token that was rejected" put "$file/refresh" "$first"
second=$(cat "$file/key")
isnt "the next read waits for a new one" "$second" "$first"
is "one request" "$(requests)" $((before + 1))
is "the generation grew" "$(cat "$file/generation")" $((generation + 1))
ok "the old token again" put "$file/refresh" "$first"
is "that one is replaced already" "$(cat "$file/key") $(requests)" "$second $((before + 1))"
ok "the generation" put "$file/refresh" $((generation + 1))
third=$(cat "$file/key")
isnt "is refreshed" "$third" "$second"
is "two requests" "$(requests)" $((before + 2))
fails_with "Permission denied" cat "$file/refresh"
