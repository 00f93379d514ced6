/**
 * Unpacked programs in this user's cache. Safe to use from many processes at once: one makes a tree, the others wait, and it appears by a
 * rename, complete or not at all.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { withDirectoryLock } from '../files/directory-lock.js';
import { slowly } from '../processes/progress.js';

/** Where everything that was fetched is kept. */
export function defaultCacheDirectory() {
  const base = process.env['XDG_CACHE_HOME'];
  return join(base && isAbsolute(base) ? base : join(homedir(), '.cache'), 'manyhands');
}

/**
 * Programs of one distribution's release do not run on another's, and home directories are shared.
 * @param {string | undefined} cacheDir undefined: the default one
 */
export function platformCache(cacheDir) {
  return join(cacheDir ?? defaultCacheDirectory(), platformKey());
}

function platformKey() {
  let release = '';
  try {
    const facts = readFileSync('/etc/os-release', 'utf8');
    const fact = (/** @type {string} */ name) => new RegExp(`^${name}="?([^"\n]+)`, 'm').exec(facts)?.[1];
    release = `-${fact('ID') ?? 'linux'}-${fact('VERSION_ID') ?? 'rolling'}`.replaceAll(/[^a-zA-Z0-9.-]/g, '_');
  } catch {
    // Not Linux: the platform and processor say enough.
  }
  return `${process.platform}-${process.arch}${release}`;
}

/**
 * The tree `name` of the cache: as it is, or made now.
 * @template T
 * @param {object} request
 * @param {string} request.cache
 * @param {string} request.name
 * @param {() => Promise<T | null>} request.read what is in the tree; null when there is nothing that starts
 * @param {(draft: string) => Promise<void>} request.make fills an empty directory
 * @param {(line: string) => void} request.log
 * @returns {Promise<{ found: T, fresh: boolean }>}
 */
export async function cachedTree({ cache, name, read, make, log }) {
  mkdirSync(cache, { recursive: true });
  return await withDirectoryLock(
    join(cache, `${name}.lock`),
    async () => {
      const meanwhile = await read();
      if (meanwhile !== null) return { found: meanwhile, fresh: false };
      await slowly(log, `${name}: fetching from Debian into ${cache}`, () => fill(cache, name, make));
      const found = await read();
      if (found === null) throw new Error(`what was unpacked into ${join(cache, name)} does not start`);
      return { found, fresh: true };
    },
    (owner) => log(`${name}: waiting for process ${owner}, which is fetching it …`),
  );
}

/**
 * @param {string} cache
 * @param {string} name
 * @param {(draft: string) => Promise<void>} make
 */
async function fill(cache, name, make) {
  const home = join(cache, name);
  const draft = `${home}.draft-${process.pid}`;
  // Drafts of processes that were killed: this one holds the lock, so nobody works on them.
  for (const entry of readdirSync(cache)) {
    if (entry.startsWith(`${name}.draft-`)) rmSync(join(cache, entry), { recursive: true, force: true });
  }
  mkdirSync(draft, { recursive: true });
  try {
    await make(draft);
    // What is there already does not start (it was tried under this lock), so it may go.
    if (existsSync(home)) rmSync(home, { recursive: true, force: true });
    renameSync(draft, home);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}
