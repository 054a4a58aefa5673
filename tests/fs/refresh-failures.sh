#!/bin/bash
# timeout: 120
# Everything that can come of a refresh instead of a token: what cat prints, what status says, what is
# asked again, and that nothing of it is lost or told to the wrong people.
. "$(dirname "$0")/../lib/cases.sh"

# One provider for each shape of error body; their logins rotate.
ENVELOPES=(anthropic openai google aws simple azure unknown)

start_fake
for envelope in "${ENVELOPES[@]}"; do
	conf "providers/env-$envelope" "{\"error_envelope\": \"$envelope\"}"
	use_fake "env-$envelope" "$envelope"
done
use_fake sap-ai-core client
start_piauth
fd_mark

# What holds of every failure. $profile, $account, $answers (requests so far) are set.
told() { # WHAT SENTENCE CODE
	local status=$TEXT/status.$RANDOM
	fails_with "$2" cat "$MNT/$profile/key"
	cat "$MNT/$profile/status" >"$status"
	is "$1: code" "$(json_get last_error/diagnostic_code <"$status")" "$3"
	like "$1: summary" "$(json_get last_error/summary <"$status")" '^[A-Z].*\.$'
	like "$1: remedy" "$(json_get last_error/diagnostic_remediation <"$status")" '^[A-Z].*\.$'
	is "$1: provider" "$(json_get last_error/context/provider <"$status")" "$profile"
	is "$1: policy" "$(json_get last_error/redaction_policy <"$status")" redact-secrets
	like "$1: time" "$(json_get last_error/at <"$status")" '^20[0-9-]*T[0-9:]*Z$'
}

# The login is as it was: with a provider that answers, it brings a token.
recovers() { # WHAT
	fake "$account" '{"mode": "ok"}'
	works() { cat "$MNT/$profile/key" >"$T/token" 2>/dev/null; }
	ok "$1: it is tried again, and works" wait_until 20 works
	isnt "$1: with a new token" "$(<"$T/token")" "$ACCESS"
	is "$1: nothing was spent twice" "$(fake_get "$account" reuse)" 0
	is "$1: state" "$(profile_status "$profile" state)" valid
	is "$1: no error is left" "$(profile_status "$profile" last_error)" null
}

# Nobody asks again until the next login; nothing is erased; a login makes all well.
is_dead() { # WHAT
	local asked
	asked=$(fake_get "$account" requests)
	is "$1: state" "$(profile_status "$profile" state)" dead
	fails_with "Key has been revoked" cat "$MNT/$profile/key"
	put "$MNT/$profile/refresh" "$(<"$MNT/$profile/generation")" 2>/dev/null
	is "$1: no more requests" "$(fake_get "$account" requests)" "$asked"
	is "$1: the login is kept" "$(profile_status "$profile" has_oauth)" true
	fake "$account" '{"mode": "ok"}'
	fake_login "$profile" "$account" '{"expires_in": -1}'
	isnt "$1: a new login works" "$(cat "$MNT/$profile/key")" "$ACCESS"
	is "$1: no error is left" "$(profile_status "$profile" last_error)" null
}

expired_login() {
	fake_do "$account" reset
	fake_login "$profile" "$account" '{"expires_in": -1}'
}

# The answer of the token endpoint, with a secret where free text stands.
answer() { # STATUS BODY
	fake "$account" "$(json_make mode=status "status:=$1" "body:=${2//SECRET/$(secret message)}")"
}

use_profile() {
	profile=env-$1
	account=$1
}

# ---- nothing to refresh with ----

use_profile simple
fails_with "Required key not available" cat "$MNT/$profile/key"
is "nothing stored: code" "$(profile_status "$profile" last_error/diagnostic_code)" auth.missing_api_key
put_oauth "$profile" "$(secret access)" "" 1600000000000
told "expired without a refresh token" "Key has expired" auth.oauth.expired
is "expired without a refresh token: no request" "$(fake_get "$account" requests)" 0

# ---- the refresh token is dead ----

use_profile openai
for name in invalid_grant refresh_token_reused refresh_token_expired refresh_token_invalidated \
	unauthorized_client access_denied invalid_client; do
	for body in "{\"error\": \"$name\", \"error_description\": \"SECRET\"}" \
		"{\"error\": {\"code\": \"$name\", \"message\": \"SECRET\"}}"; do
		expired_login
		answer 400 "$body"
		told "$name" "Key has been revoked" auth.oauth.token_refresh_failed
		is "$name: HTTP status" "$(profile_status "$profile" last_error/http_status)" 400
		like "$name: it is named" "$(profile_status "$profile" last_error/context/details)" "$name"
	done
	is_dead "$name"
done

expired_login
fake_do "$account" revoke
told "revoked" "Key has been revoked" auth.oauth.token_refresh_failed
restart_piauth
told "revoked, after a restart" "Key has been revoked" auth.oauth.token_refresh_failed
is_dead "revoked"

# A token that still lives is served whatever became of the refresh token.
fake_do "$account" reset
fake_login "$profile" "$account" '{"expires_in": 300}' "refreshed:=$(($(now_ms) - 3600000))"
fake_do "$account" revoke
is "revoked, the token lives: it is served" "$(cat "$MNT/$profile/key")" "$ACCESS"
is "revoked, the token lives: it is served again" "$(cat "$MNT/$profile/key")" "$ACCESS"
is "revoked, the token lives: state" "$(profile_status "$profile" state)" dead
is "revoked, the token lives: one request" "$(fake_get "$account" requests)" 1

# ---- refused for another reason, by the shape of the body ----

row() { # ENVELOPE STATUS BODY SENTENCE CODE
	local what="$1 $2 ${3:0:60}"
	use_profile "$1"
	expired_login
	answer "$2" "$3"
	told "$what" "$4" "$5"
	is "$what: HTTP status" "$(profile_status "$profile" last_error/http_status)" "$2"
	[[ -n ${tried[$5]:-} ]] || recovers "$what"
	tried[$5]=1
}
declare -A tried=() # codes that were seen to pass

rejected='Key was rejected by service'
row openai 401 '{"error": {"code": "invalid_api_key", "message": "SECRET", "type": "invalid_request_error"}}' \
	"$rejected" auth.invalid_api_key
row anthropic 401 '{"type": "error", "error": {"type": "authentication_error", "message": "SECRET"}}' \
	"$rejected" auth.invalid_api_key
row anthropic 403 '{"type": "error", "error": {"type": "permission_error", "message": "SECRET"}}' \
	"$rejected" auth.invalid_api_key
row google 401 '{"error": {"code": 401, "message": "SECRET", "status": "UNAUTHENTICATED"}}' \
	"$rejected" auth.invalid_api_key
row aws 403 '{"__type": "com.amazon.coral.service#UnrecognizedClientException", "message": "SECRET"}' \
	"$rejected" auth.invalid_api_key
row simple 401 '{"message": "SECRET"}' "$rejected" auth.oauth.token_exchange_failed
row unknown 403 '"<html>a gateway says no: SECRET</html>"' "$rejected" auth.oauth.token_exchange_failed
row openai 400 '{"error": "invalid_request", "error_description": "SECRET"}' \
	"$rejected" auth.oauth.token_exchange_failed
# Text is never searched: what decides is not in a message.
row unknown 401 '{"message": "invalid_grant insufficient_quota 429 SECRET"}' \
	"$rejected" auth.oauth.token_exchange_failed

quota='Disk quota exceeded'
row openai 429 '{"error": {"code": "insufficient_quota", "message": "SECRET", "type": "insufficient_quota"}}' \
	"$quota" auth.quota_exceeded
row azure 403 '{"error": {"code": "insufficient_quota", "message": "SECRET"}}' "$quota" auth.quota_exceeded
row anthropic 400 '{"type": "error", "error": {"type": "billing_error", "message": "SECRET"}}' \
	"$quota" auth.quota_exceeded
row aws 402 '{"__type": "ServiceQuotaExceededException", "message": "SECRET"}' "$quota" auth.quota_exceeded

busy='Device or resource busy'
row openai 429 '{"error": {"code": "rate_limit_exceeded", "message": "SECRET"}}' "$busy" net.rate_limited
row anthropic 429 '{"type": "error", "error": {"type": "rate_limit_error", "message": "SECRET"}}' \
	"$busy" net.rate_limited
row google 429 '{"error": {"code": 429, "message": "SECRET", "status": "RESOURCE_EXHAUSTED"}}' \
	"$busy" net.rate_limited
row aws 400 '{"__type": "ThrottlingException", "message": "SECRET"}' "$busy" net.rate_limited
row simple 429 '{"message": "SECRET"}' "$busy" net.rate_limited

broken='Remote I/O error'
row openai 500 '{"error": {"code": "invalid_grant", "message": "SECRET"}}' "$broken" net.server_error
row anthropic 529 '{"type": "error", "error": {"type": "overloaded_error", "message": "SECRET"}}' \
	"$broken" net.server_error
row google 503 '{"error": {"code": 503, "message": "SECRET", "status": "UNAVAILABLE"}}' "$broken" net.server_error
row simple 408 '{"message": "SECRET"}' 'Connection timed out' net.timeout
row simple 404 '{"message": "SECRET"}' 'Bad message' net.bad_answer

# ---- answers that make no sense ----

use_profile simple
for body in null '"SECRET"' '"<html>SECRET</html>"' '{}' '{"access_token": ""}' '{"access_token": 7}' \
	'{"token_type": "Bearer", "refresh_token": "SECRET"}'; do
	expired_login
	fake "$account" "$(json_make mode=garbage "body:=${body//SECRET/$(secret body)}" times:=1)"
	told "answer $body" 'Bad message' net.bad_answer
done
recovers "answers without a token"
expired_login
fake "$account" '{"mode": "redirect", "status": 307}'
told "a redirect" 'Bad message' net.bad_answer
is "a redirect: nobody went there" "$(fake_stray)" 0
recovers "a redirect"
expired_login
fake "$account" '{"mode": "big", "grace": true, "times": 1}'
told "10 MB" 'Bad message' net.bad_answer
recovers "10 MB"

# ---- client credentials ----

profile=sap-ai-core
account=client
fake_do "$account" reset
answer 401 '{"error": "invalid_client", "error_description": "SECRET"}'
put "$MNT/$profile/oauth" "$(json_make type=oauth client_id=some-client "client_secret=$(secret client)")"
told "client credentials" "$rejected" auth.oauth.token_exchange_failed
fake "$account" '{"mode": "ok"}'
works() { cat "$MNT/$profile/key" >"$T/token" 2>/dev/null; }
ok "client credentials: tried again, and works" wait_until 20 works
is "client credentials: the token is the provider's" \
	"$(http "$FAKE_URL/ctl/$account/token?access=$(<"$T/token")" | json_get current)" true
cat "$MNT/status" "$MNT/.piauth/events" "$MNT/.piauth/metrics" >"$TEXT/all"
