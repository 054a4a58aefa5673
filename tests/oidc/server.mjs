/*
 * oidc-provider on loopback, as the strict and real counterpart of the refresh tests: refresh tokens
 * rotate at every use, and a used one that comes back revokes the whole grant.
 *
 *     node server.mjs MODULES CANARY [TTL]
 *
 * MODULES is the directory that `npm ci` filled (it has node_modules), CANARY a marker that every token
 * contains, TTL the life of an access token in seconds (2). Prints `ready PORT` and serves until SIGTERM.
 * Token endpoint: /token. Clients: PUBLIC_CLIENT (refresh) and CONFIDENTIAL_CLIENTS (client_credentials).
 *
 * Control, JSON answers:
 *     /ctl/new[?ttl=S]                a login without a browser:
 *                                     {grant, access_token, refresh_token, expires_in, client_id}
 *     /ctl/count?grant=G              {requests, ok, refused, revoked}: what reached /token for that login
 *     /ctl/wait?grant=G&requests=N[&timeout=S]    the same, once `requests` is N or more; 504 after S
 *     /ctl/token?access=T             {active, grant}: does the server take this access token now
 *     /ctl/issued?grant=G             {token: [made, seconds]}: every access token of the login that there was,
 *                                     when it was made (milliseconds) and the life that the client was told
 *     /ctl/revoke?grant=G             end the login on the server's side
 *     /ctl/ttl?seconds=S[&grant=G]    life of the access tokens made from now on
 */

import { createServer } from 'node:http';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const PUBLIC_CLIENT = 'piauth-test';
const CONFIDENTIAL_CLIENTS = {
	'piauth-service': 'client_secret_post',
	'piauth-service-basic': 'client_secret_basic',
};
const SCOPE = 'openid offline_access';
const REFRESH_TTL = 14 * 24 * 3600;

const [modules, canary, ttlArgument = '2'] = process.argv.slice(2);
if (!modules || !/^[A-Za-z0-9]+$/.test(canary ?? '') || !(Number(ttlArgument) > 0)) {
	console.error('usage: server.mjs MODULES CANARY [TTL]');
	process.exit(2);
}
const entry = join(resolve(modules), 'node_modules/oidc-provider/lib/index.js');
const { default: Provider } = await import(pathToFileURL(entry).href);

/* What the tests ask about; kept beside the provider's own models, never instead of them. */
let defaultTtl = Number(ttlArgument);
const ttlOf = new Map(); /* grant -> seconds */
const grantOf = new Map(); /* refresh token, used or not -> grant */
const issued = new Map(); /* grant -> {access token: [made, seconds]} */
const counts = new Map(); /* grant -> counters */
const waiting = new Set(); /* callbacks, run after every token request */

function countOf(grant) {
	if (!counts.has(grant))
		counts.set(grant, { requests: 0, ok: 0, refused: 0, revoked: false });
	return counts.get(grant);
}

function issuedTo(grant) {
	if (!issued.has(grant))
		issued.set(grant, {});
	return issued.get(grant);
}

/*
 * The provider's own memory adapter keeps 1000 entries and forgets the oldest; a login that rotates often
 * would push the others out. This one forgets nothing but access tokens that have expired.
 */
class Memory {
	static entries = new Map();
	static byGrant = new Map();

	constructor(model) {
		this.model = model;
	}

	key(id) {
		return `${this.model}:${id}`;
	}

	async upsert(id, payload, expiresIn) {
		const key = this.key(id);

		Memory.entries.set(key, payload);
		if (payload.grantId) {
			const members = Memory.byGrant.get(payload.grantId) ?? new Set();
			Memory.byGrant.set(payload.grantId, members.add(key));
		}
		if (this.model === 'RefreshToken')
			grantOf.set(id, payload.grantId);
		if (this.model === 'AccessToken')
			issuedTo(payload.grantId)[id] = [Date.now(), expiresIn];
		if (this.model === 'AccessToken' || this.model === 'ClientCredentials')
			setTimeout(() => this.destroy(id), (expiresIn + 1) * 1000).unref();
	}

	async find(id) {
		return Memory.entries.get(this.key(id));
	}

	async findByUid() {
		return undefined;
	}

	async findByUserCode() {
		return undefined;
	}

	async consume(id) {
		Memory.entries.get(this.key(id)).consumed = Math.floor(Date.now() / 1000);
	}

	async destroy(id) {
		const key = this.key(id);
		const grant = Memory.entries.get(key)?.grantId;

		Memory.entries.delete(key);
		Memory.byGrant.get(grant)?.delete(key);
	}

	async revokeByGrantId(grant) {
		for (const key of Memory.byGrant.get(grant) ?? [])
			Memory.entries.delete(key);
		Memory.byGrant.delete(grant);
		countOf(grant).revoked = true;
	}
}

const ttl = (ctx, token) => ttlOf.get(token.grantId) ?? defaultTtl;
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const configuration = {
	adapter: Memory,
	clients: [
		{
			client_id: PUBLIC_CLIENT,
			application_type: 'native',
			token_endpoint_auth_method: 'none',
			grant_types: ['authorization_code', 'refresh_token'],
			redirect_uris: ['http://127.0.0.1/callback'],
		},
		...Object.entries(CONFIDENTIAL_CLIENTS).map(([id, method]) => ({
			client_id: id,
			client_secret: `${canary}-secret-of-${id}`,
			token_endpoint_auth_method: method,
			grant_types: ['client_credentials'],
			redirect_uris: [],
			response_types: [],
		})),
	],
	clientDefaults: { id_token_signed_response_alg: 'ES256' },
	clientAuthMethods: ['none', ...Object.values(CONFIDENTIAL_CLIENTS)],
	cookies: { keys: [randomBytes(16).toString('hex')] },
	features: {
		clientCredentials: { enabled: true },
		devInteractions: { enabled: false },
		revocation: { enabled: true },
	},
	findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
	jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' }] },
	rotateRefreshToken: true,
	scopes: SCOPE.split(' '),
	ttl: {
		AccessToken: ttl,
		ClientCredentials: ttl,
		Grant: REFRESH_TTL,
		IdToken: 3600,
		RefreshToken: REFRESH_TTL,
	},
};

/* The issuer has the port in its name, so the port is taken before the provider is made. */
let answer;
const server = createServer((request, response) => answer(request, response));
server.listen({ host: '127.0.0.1', port: 0, backlog: 1024 }, () => {
	const { port } = server.address();

	answer = serve(new Provider(`http://127.0.0.1:${port}`, configuration));
	process.stdout.write(`ready ${port}\n`);
});
process.on('SIGTERM', () => process.exit(0));

function serve(provider) {
	for (const name of ['AccessToken', 'RefreshToken', 'ClientCredentials']) {
		const model = provider[name].prototype;
		const generate = model.generateTokenId; /* also notes the format in the token */

		model.generateTokenId = function generateTokenId() {
			return `${canary}-${name}-${generate.call(this)}`;
		};
	}
	provider.on('server_error', (ctx, error) => console.error(error));
	provider.use(async (ctx, next) => {
		await next();
		if (ctx.path === '/token')
			countRequest(ctx);
	});

	const oauth = provider.callback();
	return (request, response) => {
		if (request.url.startsWith('/ctl/'))
			control(provider, request, response);
		else
			oauth(request, response);
	};
}

function countRequest(ctx) {
	const grant = grantOf.get(ctx.oidc?.params?.refresh_token) ?? 'none';
	const count = countOf(grant);

	count.requests += 1;
	if (ctx.status === 200)
		count.ok += 1;
	else
		count.refused += 1;
	for (const look of waiting)
		look();
}

async function newLogin(provider, seconds) {
	const client = await provider.Client.find(PUBLIC_CLIENT);
	const accountId = `user-${randomBytes(4).toString('hex')}`;
	const grant = new provider.Grant({ accountId, clientId: client.clientId });
	grant.addOIDCScope(SCOPE);
	const grantId = await grant.save();

	if (seconds)
		ttlOf.set(grantId, seconds);
	const login = { accountId, client, grantId, scope: SCOPE, gty: 'authorization_code' };
	const refresh = new provider.RefreshToken({ ...login, authTime: Math.floor(Date.now() / 1000) });
	const access = new provider.AccessToken(login);
	return {
		grant: grantId,
		refresh_token: await refresh.save(),
		access_token: await access.save(),
		expires_in: access.expiration,
		client_id: client.clientId,
	};
}

function waitForRequests(grant, wanted, seconds) {
	return new Promise((done) => {
		const finish = (status) => {
			clearTimeout(timer);
			waiting.delete(look);
			done([status, countOf(grant)]);
		};
		const look = () => {
			if (countOf(grant).requests >= wanted)
				finish(200);
		};
		const timer = setTimeout(finish, seconds * 1000, 504);

		waiting.add(look);
		look();
	});
}

async function command(provider, name, query) {
	const grant = query.get('grant');
	const number = (key, otherwise) => Number(query.get(key) ?? otherwise);

	switch (name) {
	case 'new':
		return [200, await newLogin(provider, number('ttl', 0))];
	case 'count':
		return [200, countOf(grant)];
	case 'wait':
		return waitForRequests(grant, number('requests', 1), number('timeout', 30));
	case 'token': {
		const token = await provider.AccessToken.find(query.get('access') ?? '');

		return [200, { active: Boolean(token?.isValid), grant: token?.grantId ?? null }];
	}
	case 'issued':
		return [200, issuedTo(grant)];
	case 'revoke':
		for (const model of [provider.AccessToken, provider.RefreshToken])
			await model.revokeByGrantId(grant);
		return [200, countOf(grant)];
	case 'ttl':
		if (!(number('seconds', 0) > 0))
			return [400, { error: 'seconds is missing' }];
		if (grant)
			ttlOf.set(grant, number('seconds'));
		else
			defaultTtl = number('seconds');
		return [200, {}];
	default:
		return [404, { error: `no command ${name}` }];
	}
}

async function control(provider, request, response) {
	const url = new URL(request.url, 'http://127.0.0.1');
	let status;
	let body;

	try {
		[status, body] = await command(provider, url.pathname.slice('/ctl/'.length), url.searchParams);
	} catch (error) {
		console.error(error);
		[status, body] = [500, { error: String(error) }];
	}
	response.writeHead(status, { 'content-type': 'application/json' });
	response.end(JSON.stringify(body));
}
