/*
 * How pi 1.5.2 keeps others out of auth.json: stock proper-lockfile with pi's options and pi's own loop
 * around it. A process uses what lockSync and lockAsync give back to release.
 */
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const STALE_MS = 30000;
const PATIENCE_MS = 30000;
const SYNC_TRIES = 10;
const SYNC_PAUSE_MS = 20;

export function loadLockfile(modules) {
	return createRequire(join(resolve(modules), 'package.json'))('proper-lockfile');
}

/* Counts in `seen`: busy (tries that found the lock taken), compromised. */
export async function lockAsync(lockfile, path, seen, options = {}) {
	const end = Date.now() + PATIENCE_MS;
	let compromised = null;

	for (let n = 0; ; n += 1) {
		try {
			const release = await lockfile.lock(path, {
				realpath: true,
				...options,
				retries: 0,
				stale: STALE_MS,
				onCompromised: (error) => {
					compromised = error;
					seen.compromised += 1;
				},
			});
			return { release, isOurs: () => compromised === null };
		} catch (error) {
			const pause = Math.min(10 * 2 ** n, 1000) * (1 + Math.random());

			if (error.code !== 'ELOCKED' || Date.now() + pause > end)
				throw error;
			seen.busy += 1;
			await sleep(pause);
		}
	}
}

/* What a starting pi does; null when the lock stayed taken, which it shrugs off. Takes what is 10 s old. */
export function lockSync(lockfile, path, seen, options = {}) {
	const pause = new Int32Array(new SharedArrayBuffer(4));

	for (let n = 0; n < SYNC_TRIES; n += 1) {
		try {
			return lockfile.lockSync(path, { realpath: true, ...options });
		} catch (error) {
			if (error.code !== 'ELOCKED')
				throw error;
			seen.busy += 1;
			Atomics.wait(pause, 0, 0, SYNC_PAUSE_MS);
		}
	}
	return null;
}
