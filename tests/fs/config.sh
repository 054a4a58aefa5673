#!/bin/bash
# timeout: 90
# The configuration, and providers of one's own in providers.d. Mistakes are refused with file and line.
. "$(dirname "$0")/../lib/cases.sh"

need python3
config() { install -m "${1:-0600}" /dev/stdin "$CONFIG"; }
provider() { install -m "${2:-0600}" /dev/stdin "$T/providers.d/$1.json"; } # FILE [MODE]
wrong() { # MESSAGE: with the config on standard input
	config
	mount_fails "$1"
}

# Mistakes in config.json. No store is made for them.
wrong "config.json line 3: unknown key \"deadline\"" <<'END'
{
	// in seconds
	"deadline": 5
}
END
wrong "config.json line 2: \"deadline_s\" must be a number of seconds" <<'END'
{
	"deadline_s": "soon"
}
END
wrong "config.json line 1: \"deadline_s\"" <<<'{"deadline_s": 0}'
wrong "config.json line 1: \"deadline_s\"" <<<'{"deadline_s": 1000000000}'
wrong "config.json line 3" <<'END'
{
	"deadline_s": 5
	"order": ["store"]
}
END
wrong "config.json line 1: \"order\" must be" <<<'{"order": ["env", "store"]}'
wrong "config.json line 2" <<<$'{"deadline_s": 5,\n"deadline_s": 6}'
wrong "config.json line 1: not an object" <<<'[]'
wrong "the text ends too early" <<<''
wrong "config.json line 1: not the name of a user namespace" <<<'{"allow_mutations_from": ["container"]}'
wrong "line 4: unknown field \"token_endpont\"" <<'END'
{
	"providers": {
		"groq": {"oauth": {
			"token_endpont": "https://auth.example.org/token"
		}}
	}
}
END
for url in http://auth.example.org/token http://127.0.0.1.example.org/ http://10.0.0.1/token \
	ftp://127.0.0.1/ token; do
	for field in '"endpoint": "URL"' '"oauth": {"token_endpoint": "URL"}'; do
		wrong "must be an https:// address" <<<"{\"providers\": {\"groq\": {${field/URL/$url}}}}"
	done
done
wrong "line 1: \"keyless\" must be true or false" <<<'{"providers": {"groq": {"keyless": "no"}}}'
wrong "\"header\" must be a list" <<<'{"providers": {"groq": {"header": ["X-Key: {key}\r\nX-Other: 1"]}}}'
wrong "line 1: \"Not A Name\"" <<<'{"providers": {"Not A Name": {"name": "x"}}}'
wrong "\"groq\" names both" <<<'{"providers": {"mine": {"aliases": ["groq"]}}}'
config 0644 <<<'{"providers": {"groq": {"oauth": {"client_secret": "not-a-real-one"}}}}'
mount_fails "others may read it"
rm "$CONFIG"
mkdir "$CONFIG"
mount_fails "config.json: not a regular file"
rmdir "$CONFIG"
not_ok "no mistake has made a store" test -e "$STORE/keyslots.json"
not_ok "or left a mount" is_mounted "$MNT"

# Mistakes in providers.d.
config <<<'{}'
mkdir "$T/providers.d"
provider mine <<<'{"name": "Mine", "colour": "blue"}'
mount_fails 'mine.json line 1: unknown field "colour"'
provider mine <<<$'{\n"endpoint": "http://llm.example.org/"\n}'
mount_fails 'mine.json line 2: "endpoint" must be an https:// address'
provider mine <<<'{"id": "yours"}'
mount_fails mine.json
provider mine <<<'{"name": '
mount_fails "mine.json line"
provider mine 0644 <<<'{"oauth": {"client_secret": "not-a-real-one"}}'
mount_fails "others may read it"
rm "$T/providers.d/mine.json"
provider Mine <<<'{"name": "Mine"}'
mount_fails Mine.json
rm "$T/providers.d/Mine.json"

# What is right.
start_fake
config <<END
/* a comment */
{
	"deadline_s": 30, // and another one
	"providers": {
		"groq": {"oauth": {"token_endpoint": "$FAKE_URL/a/groq/token", "client_id": "me"}},
		"mistral": {"endpoint": "https://mirror.example.org/v1", "header": ["X-Key: {key}", "X-Extra: yes"]},
		"openai": {"env": ["MY_OPENAI_KEY"], "aliases": ["chat-gpt"]},
		"from-config": {"name": "From the config", "endpoint": "http://localhost:11434/v1"}
	}
}
END
provider mine <<'END'
{
	"name": "Mine", // comments here, too
	"aliases": ["my-llm"], "env": ["MINE_KEY", "OLD_MINE_KEY"],
	"endpoint": "https://llm.example.org/v1", "header": ["X-Mine: {key}"]
}
END
provider xai <<<'{"endpoint": "https://xai.example.org/v1"}'
provider anthropic <<<'{"oauth": {"client_id": "from providers.d"}}'
touch "$T/providers.d/README" "$T/providers.d/.hidden.json"
envkey=$(secret env)
allow_canary environ
SERVER_ENV=("OLD_MINE_KEY=$envkey" "MY_OPENAI_KEY=$envkey")
start_piauth
key=$(secret key)
fake_login groq groq '{"expires_in": -1}'
isnt "token_endpoint of the config is used" "$(cat "$MNT/groq/key")" "$ACCESS"
is "with the client_id" "$(fake_get groq log/0/body/client_id)" me
is "endpoint" "$(cat "$MNT/mistral/base-url")" https://mirror.example.org/v1
ok "store" put "$MNT/mistral/api-key" "$key"
is "header" "$(cat "$MNT/mistral/header")" "X-Key: $key"$'\nX-Extra: yes'
is "env and alias" "$(cat "$MNT/chat-gpt/key")" "$envkey"
is "a provider made by the config" "$(cat "$MNT/from-config/base-url") $(profile_status from-config name)" \
	"http://localhost:11434/v1 From the config"
is "one of providers.d, from its environment" "$(cat "$MNT/mine/key") $(cat "$MNT/my-llm/env")" \
	"$envkey MINE_KEY=$envkey"
ok "store there" put "$MNT/My-LLM/api-key" "$key"
is "its header" "$(cat "$MNT/mine/header")" "X-Mine: $key"
fails_with "Device or resource busy" rmdir "$MNT/mine"
is "providers.d overrides the table" "$(cat "$MNT/xai/base-url")" https://xai.example.org/v1
is "field by field" "$(readlink "$MNT/grok")" xai
is "inside oauth too" "$(python3 -c 'import json, sys
row = json.load(sys.stdin)["anthropic"]["oauth"]
print(row["client_id"], row["token_endpoint"])' <"$MNT/.piauth/providers.json")" \
	"from providers.d https://platform.claude.com/v1/oauth/token"
stop_piauth

# The config wins over providers.d; null takes away.
SERVER_ENV=()
config <<'END'
{"providers": {
	"mine": {"endpoint": "https://config.example.org/", "aliases": null},
	"xai": {"endpoint": null}
}}
END
start_piauth
is "the config wins" "$(cat "$MNT/mine/base-url")" https://config.example.org/
not_ok "null takes away" test -e "$MNT/my-llm"
is "an endpoint that was taken away can be written" "$(cat "$MNT/xai/base-url")" ""
is "the rest stays" "$(cat "$MNT/mine/header")" "X-Mine: $key"
stop_piauth

# A client secret in a file that is the owner's alone is fine, and is shown nowhere.
hidden=$(secret client)
config <<END
{"providers": {"mine": {"oauth": {
	"token_endpoint": "$FAKE_URL/a/mine/token", "client_id": "me", "client_secret": "$hidden"
}}}}
END
start_piauth
not_ok "providers.json has no client secret" grep -q "$CANARY" "$MNT/.piauth/providers.json"
stop_piauth

# Nothing there at all.
rm -r "$CONFIG" "$T/providers.d"
start_piauth
ok "no config is as an empty one" put "$MNT/groq/api-key" "$key"
is "a provider whose file has gone: what is stored is still there" "$(cat "$MNT/mine/key")" "$key"
