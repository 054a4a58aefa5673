#!/bin/bash
# timeout: 60
# header and env: the credential as programs want to have it, in the style of each provider.
. "$(dirname "$0")/../lib/cases.sh"

need python3 curl
start_fake
use_fake groq
start_piauth
later=$(($(now_ms) + 7200000))
key=$(secret key)

# A static key.
while IFS='|' read -r profile header variable; do
	mkdir -p "$MNT/$profile"
	ok "$profile: store" put "$MNT/$profile/api-key" "$key"
	is "$profile: header" "$(cat "$MNT/$profile/header" && echo .)" "$header$key"$'\n.'
	is "$profile: env" "$(cat "$MNT/$profile/env" && echo .)" "$variable=$key"$'\n.'
	is "$profile: st_size" "$(stat -c %s "$MNT/$profile/header" "$MNT/$profile/env")" \
		"$((${#header} + ${#key} + 1))"$'\n'"$((${#variable} + ${#key} + 2))"
done <<'END'
groq|Authorization: Bearer |GROQ_API_KEY
anthropic|x-api-key: |ANTHROPIC_API_KEY
azure-openai|api-key: |AZURE_OPENAI_API_KEY
google|x-goog-api-key: |GOOGLE_API_KEY
xai|Authorization: Bearer |XAI_API_KEY
alibaba|Authorization: Bearer |DASHSCOPE_API_KEY
anthropic@work|x-api-key: |ANTHROPIC_API_KEY
my-own.llm|Authorization: Bearer |MY_OWN_LLM_API_KEY
END

# As programs use them.
sent=$(curl -sv --noproxy '*' -H "@$MNT/anthropic/header" "$FAKE_URL/v1" 2>&1 >/dev/null)
ok "curl -H @header sends it" grep -qF "> x-api-key: $key" <<<"$sent"
is "env is what a shell reads" "$(set -a && . "$MNT/groq/env" && printenv GROQ_API_KEY)" "$key"
# shellcheck disable=SC2046
is "and env(1)" "$(env $(cat "$MNT/azure-openai/env") printenv AZURE_OPENAI_API_KEY)" "$key"

# A login.
token=$(secret token)
ok "a login" put_oauth anthropic "$token" "r$CANARY" "$later" email=me@example.org
is "a login has another header" "$(cat "$MNT/anthropic/header")" \
	"Authorization: Bearer $token"$'\n'"anthropic-beta: oauth-2025-04-20"
is "and another variable" "$(cat "$MNT/anthropic/env")" "ANTHROPIC_OAUTH_TOKEN=$token"
is "account" "$(cat "$MNT/anthropic/account")" me@example.org
is "status has it" "$(profile_status anthropic account)" me@example.org
ok "mode api_key" put "$MNT/anthropic/mode" api_key
is "header follows the mode" "$(cat "$MNT/anthropic/header")" "x-api-key: $key"
is "env too" "$(cat "$MNT/anthropic/env")" "ANTHROPIC_API_KEY=$key"
is "a key has no account" "$(cat "$MNT/anthropic/account")" ""

# An account that stands in the token.
base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
claims='{"https://api.openai.com/auth":{"chatgpt_account_id":"acc-123"}}'
jwt=$(printf '{"alg":"none"}' | base64url).$(printf '%s' "$claims" | base64url).$CANARY
ok "a login whose token is a JWT" put_oauth openai-codex "$jwt" "r$CANARY" "$later"
is "account is taken from it" "$(cat "$MNT/openai-codex/account")" acc-123
is "header names it" "$(cat "$MNT/openai-codex/header")" "Authorization: Bearer $jwt"$'\n'"chatgpt-account-id: acc-123"
ok "one without a claim" put_oauth openai-codex "$token" "r$CANARY" "$later"
is "has no account" "$(cat "$MNT/openai-codex/account")" ""
is "and no header line for it" "$(cat "$MNT/openai-codex/header")" "Authorization: Bearer $token"

# env never waits.
fake groq '{"mode": "hang"}'
fake_login groq groq '{"expires_in": -1}'
ok "mode oauth" put "$MNT/groq/mode" oauth
begun=$(now_ms)
fails_with "Resource temporarily unavailable" cat "$MNT/groq/env"
at_most "env answers at once, in ms" $(($(now_ms) - begun)) 1000
fake_wait groq 'requests=1&hanging=1'
fake_do groq release
isnt "key waits" "$(cat "$MNT/groq/key")" ""
is "then env has it" "$(cat "$MNT/groq/env")" "GROQ_API_KEY=$(cat "$MNT/groq/key")"

# Nothing there.
fails_with "Required key not available" cat "$MNT/mistral/header"
fails_with "Required key not available" cat "$MNT/mistral/env"
fails_with "Permission denied" put "$MNT/groq/header" x
fails_with "Permission denied" put "$MNT/groq/env" x
fails_with "Permission denied" put "$MNT/groq/account" x
