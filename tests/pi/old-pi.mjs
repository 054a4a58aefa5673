/*
 * What `pi auth` of later versions does, with the AuthStorage of pi 0.73.1, which has no such command:
 *
 *     node old-pi.mjs MODULES AUTH_JSON PROVIDER [running]
 *
 * prints the key or token that pi would send, after a refresh if it needs one; without one, exit status 1.
 * "running": as a pi that was started a while ago; it has read the file, prints `started`, and goes on when a
 * line comes. (One that starts while somebody else holds the lock goes without its logins after 200 ms.)
 */
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, file, provider, running] = process.argv.slice(2);
if (!provider) {
	console.error('usage: old-pi.mjs MODULES AUTH_JSON PROVIDER [running]');
	process.exit(2);
}
const home = 'node_modules/@mariozechner/pi-coding-agent/dist/core/auth-storage.js';
const { AuthStorage } = await import(pathToFileURL(join(resolve(modules), home)).href);
const storage = AuthStorage.create(file);
if (running) {
	console.log('started');
	await once(process.stdin, 'data');
}
const key = await storage.getApiKey(provider, { includeFallback: false });
for (const error of storage.drainErrors())
	console.error(String(error));
if (!key) {
	console.error(`no key for ${provider}`);
	process.exit(1);
}
process.stdout.write(key);
process.exit(0);
