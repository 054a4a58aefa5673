/*
 * One pi process among several that share auth.json: reads its login again and again, and when it has
 * expired takes the lock, reads it again, refreshes, and writes the file in place.
 *
 *     node sim.mjs MODULES AUTH_JSON PROVIDER TOKEN_ENDPOINT CLIENT_ID SECONDS NAME [MARGIN_MS]
 *
 * MARGIN_MS: it refreshes so long before the token expires (0; later versions of pi do that too).
 * Beside that it owns the entry NAME, an API key which it changes now and then: the key that it finds
 * later must be the one it wrote last, or somebody has overwritten the file with what they had read earlier.
 * Prints one JSON object: how often it read, refreshed, waited, and what went wrong (0 of `refused`, `lost`,
 * `torn`, `gone`, `errors`, `compromised` is right), and the access tokens it used:
 * {token: [begun, until]}, milliseconds.
 */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadLockfile, lockAsync, lockSync } from './locking.mjs';

const REFRESH_MS = 15000; /* what pi gives a refresh */
const PAUSE_MS = 40; /* between two requests to the model, at most */
const KEY_MS = 1000; /* between two changes of its own key, about */
const START_MS = 3000; /* between two starts of a pi beside this one, about */
const TORN_TRIES = 5;

const [modules, path, provider, endpoint, clientId, seconds, name, margin = 0] =
	process.argv.slice(2);
if (!name) {
	console.error('usage: sim.mjs MODULES AUTH_JSON PROVIDER TOKEN_ENDPOINT CLIENT_ID SECONDS NAME [MARGIN]');
	process.exit(2);
}
const lockfile = loadLockfile(modules);
const seen = {
	name, reads: 0, reloads: 0, refreshes: 0, keys: 0, starts: 0, busy: 0, shrugged: 0,
	refused: 0, lost: 0, torn: 0, gone: 0, compromised: 0, errors: 0, said: [], tokens: {},
};
let ownKey = null; /* what it wrote last */
let credentials = {}; /* its snapshot of the file */
let fingerprint = '';

function wrong(kind, what) {
	seen[kind] += 1;
	if (seen.said.length < 20)
		seen.said.push(`${kind}: ${what}`);
}

/* Under the lock nobody writes, so what does not parse is torn for good. */
function readFile() {
	const text = readFileSync(path, 'utf8');
	const parsed = JSON.parse(text);

	if (ownKey !== null && parsed[name]?.key !== ownKey)
		wrong('lost', parsed[name] ? 'an older key' : 'no entry');
	if (parsed[provider] === undefined)
		wrong('gone', provider);
	return parsed;
}

async function locked(work) {
	const { release, isOurs } = await lockAsync(lockfile, path, seen);

	try {
		const current = readFile();
		const next = await work(current);

		if (!isOurs())
			throw new Error('the lock was compromised');
		if (next !== undefined) {
			writeFileSync(path, JSON.stringify(next, null, 2), { mode: 0o600 });
			credentials = next;
		} else {
			credentials = current;
		}
	} finally {
		if (isOurs())
			await release();
	}
}

async function refresh(credential) {
	const response = await fetch(endpoint, {
		method: 'POST',
		headers: { 'Content-Type': 'application/x-www-form-urlencoded', Accept: 'application/json' },
		body: new URLSearchParams({
			grant_type: 'refresh_token',
			client_id: clientId,
			refresh_token: credential.refresh,
		}),
		signal: AbortSignal.timeout(REFRESH_MS),
	});
	const body = await response.json();

	if (!response.ok) {
		wrong('refused', `${response.status} ${body.error}`);
		return undefined;
	}
	seen.refreshes += 1;
	return {
		type: 'oauth',
		refresh: body.refresh_token,
		access: body.access_token,
		expires: Date.now() + body.expires_in * 1000,
	};
}

async function reloadIfChanged() {
	const s = statSync(path, { bigint: true });
	const now = `${s.dev}:${s.ino}:${s.size}:${s.mtimeNs}:${s.ctimeNs}`;

	if (now === fingerprint)
		return;
	fingerprint = now;
	seen.reloads += 1;
	await locked(() => undefined);
}

const isDue = (credential, early = Number(margin)) => Date.now() + early >= credential.expires;

async function useLogin() {
	await reloadIfChanged();
	if (isDue(credentials[provider])) {
		await locked(async (current) => {
			if (!isDue(current[provider]))
				return undefined; /* somebody else was faster */
			const fresh = await refresh(current[provider]);

			return fresh && { ...current, [provider]: fresh };
		});
	}
	const credential = credentials[provider];
	if (isDue(credential, 0))
		return; /* pi says so to its user, and tries again */
	const now = Date.now();
	seen.tokens[credential.access] ??= [now, now];
	seen.tokens[credential.access][1] = now;
	seen.reads += 1;
}

async function changeOwnKey() {
	const key = `${name}-key-${seen.keys}`;

	await locked((current) => {
		ownKey = key;
		return { ...current, [name]: { type: 'api_key', key } };
	});
	seen.keys += 1;
}

/* A pi that starts reads under the lock that it takes synchronously, or without it. */
function startAnother() {
	const release = lockSync(lockfile, path, seen);

	seen.starts += 1;
	if (release) {
		try {
			readFile();
		} finally {
			release();
		}
		return;
	}
	seen.shrugged += 1;
	for (let n = 0; n < TORN_TRIES; n += 1) {
		try {
			JSON.parse(readFileSync(path, 'utf8'));
			return;
		} catch {
			/* somebody writes in place; it is whole in a moment */
		}
	}
	wrong('torn', 'without the lock');
}

const end = Date.now() + seconds * 1000;
while (Date.now() < end) {
	try {
		await useLogin();
		if (Math.random() < PAUSE_MS / KEY_MS)
			await changeOwnKey();
		if (Math.random() < PAUSE_MS / START_MS)
			startAnother();
	} catch (error) {
		wrong(error instanceof SyntaxError ? 'torn' : 'errors', error.message);
	}
	await sleep(Math.random() * PAUSE_MS);
}
try {
	await locked(() => undefined); /* the last look: its key is still there */
} catch (error) {
	wrong('errors', error.message);
}
console.log(JSON.stringify(seen));
