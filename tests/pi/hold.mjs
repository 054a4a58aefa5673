/*
 * Holds the lock of a file as pi does, until its input ends or a line comes:
 *
 *     node hold.mjs MODULES FILE
 *
 * prints `held`, and `released` once it has given the lock back (`lost` if somebody took it meanwhile).
 * SIGKILL leaves the lock directory behind, as it does when pi is killed.
 */
import { once } from 'node:events';
import { loadLockfile, lockAsync } from './locking.mjs';

const [modules, file] = process.argv.slice(2);
if (!file) {
	console.error('usage: hold.mjs MODULES FILE');
	process.exit(2);
}
const { release, isOurs } = await lockAsync(loadLockfile(modules), file, { busy: 0, compromised: 0 });
console.log('held');
await Promise.race([once(process.stdin, 'data'), once(process.stdin, 'end')]);
if (isOurs()) {
	await release();
	console.log('released');
} else {
	console.log('lost');
}
process.exit(0);
