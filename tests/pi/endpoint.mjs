/*
 * Loaded before pi (node --import): a refresh goes to the token endpoint that PI_TEST_TOKEN_ENDPOINT names,
 * any other request fails. pi has no option for that; everything else in it is as it was shipped.
 */
const endpoint = process.env.PI_TEST_TOKEN_ENDPOINT;
let realFetch = globalThis.fetch;

function fetchFromTest(resource, options) {
	const url = new URL(resource instanceof Request ? resource.url : resource);

	if (!endpoint || options?.method !== 'POST' || !/\/oauth2?\/(v1\/)?token$/.test(url.pathname))
		return Promise.reject(new TypeError(`no network in tests: ${url.origin}`));
	return realFetch(endpoint, options);
}

/* pi puts its own in place when it starts. */
Object.defineProperty(globalThis, 'fetch', {
	get: () => fetchFromTest,
	set: (value) => {
		realFetch = value;
	},
});
