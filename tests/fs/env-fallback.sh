#!/bin/bash
# timeout: 60
# Variables of the server's environment serve where nothing is stored.
. "$(dirname "$0")/../lib/cases.sh"

allow_canary environ # the test puts keys there, and /proc/PID/environ is what the server was started with
xai=$(secret xai)
first=$(secret first)
second=$(secret second)
groq=$(secret groq)
SERVER_ENV=("XAI_API_KEY=$xai" "DASHSCOPE_API_KEY=$first" "QWEN_API_KEY=$second" "GROQ_API_KEY=  $groq "
	"MISTRAL_API_KEY=" "COHERE_API_KEY=   " "MOONSHOT_API_KEY=" "UNKNOWN_API_KEY=$first")
start_piauth

is "a variable serves" "$(cat "$MNT/xai/key")" "$xai"
is "through an alias" "$(cat "$MNT/Grok/key")" "$xai"
is "header" "$(cat "$MNT/xai/header")" "Authorization: Bearer $xai"
is "env" "$(cat "$MNT/xai/env")" "XAI_API_KEY=$xai"
is "st_size" "$(stat -c %s "$MNT/xai/key")" "${#xai}"
is "status" "$(for m in auth_state type state source has_api_key expires; do profile_status xai "$m"; done | xargs)" \
	"external api_key valid XAI_API_KEY false null"
not_ok "there is no api-key to remove" test -e "$MNT/xai/api-key"
is "the first variable of the table's order" "$(cat "$MNT/alibaba/key") $(profile_status alibaba source)" \
	"$first DASHSCOPE_API_KEY"
is "blanks around it are dropped" "$(cat "$MNT/groq/key" && echo .)" "$groq."
for profile in mistral cohere openai; do
	fails_with "Required key not available" cat "$MNT/$profile/key"
done
fails_with "Required key not available" cat "$MNT/xai@work/key"
is "ls shows who can be read" "$(xargs < <(ls "$MNT"))" "alibaba alibaba-cn alibaba-us groq status xai"
is "the overview too" "$(python3 -c 'import json, sys
print(*[row["profile"] for row in json.load(sys.stdin) if row["auth_state"] == "external"])' <"$MNT/status")" \
	"alibaba alibaba-cn alibaba-us groq xai"

key=$(secret stored)
ok "store a key" put "$MNT/xai/api-key" "$key"
is "what is stored wins" "$(cat "$MNT/xai/key") $(profile_status xai source)" "$key store"
ok "mode env" put "$MNT/xai/mode" env
is "unless the mode says env" "$(cat "$MNT/xai/key") $(profile_status xai auth_state)" "$xai external"
ok "mode api_key" put "$MNT/xai/mode" api_key
is "mode api_key" "$(cat "$MNT/xai/key")" "$key"
ok "mode oauth" put "$MNT/xai/mode" oauth
fails_with "Required key not available" cat "$MNT/xai/key"
ok "mode api_key, and the key goes" rm "$MNT/xai/key"
for mode in oauth api_key; do
	ok "mode $mode" put "$MNT/xai/mode" "$mode"
	fails_with "Required key not available" cat "$MNT/xai/key"
done
ok "mode auto" put "$MNT/xai/mode" auto
is "nothing is stored: the variable again" "$(cat "$MNT/xai/key")" "$xai"
ok "mode env where there is no variable" put "$MNT/openai/mode" env
ok "and a key" put "$MNT/openai/api-key" "$key"
fails_with "Required key not available" cat "$MNT/openai/key"
fails_with "Operation not supported" put "$MNT/groq/refresh" "$groq"

stop_piauth
SERVER_ENV=("DASHSCOPE_API_KEY= " "QWEN_API_KEY=$second" "XAI_API_KEY=$(printf 'a\nb')")
start_piauth
is "a blank variable is as none: the next one" "$(cat "$MNT/alibaba/key") $(profile_status alibaba source)" \
	"$second QWEN_API_KEY"
for node in key header env; do not_ok "a variable of two lines is no key: $node" grep -q . "$MNT/xai/$node"; done
stop_piauth

SERVER_ENV=("XAI_API_KEY=$xai")
conf order '["store"]'
start_piauth
fails_with "Required key not available" cat "$MNT/xai/key"
is "order store: not listed" "$(xargs < <(ls "$MNT"))" "openai status"
ok "mode env asks for it" put "$MNT/xai/mode" env
is "then it serves" "$(cat "$MNT/xai/key")" "$xai"
stop_piauth
conf order '["store", "env"]'
start_piauth
is "order store, env" "$(cat "$MNT/Xai/key")" "$xai"
