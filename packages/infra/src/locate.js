/**
 * Finds an outside program, or fetches it: on PATH and in the usual places → in this user's cache → from Debian packages, unpacked into
 * that cache without root → an error that says what to type. Nothing is ever installed system-wide.
 *
 * Safe to call from many processes at once: one fetches, the others wait, and a tree appears in the cache by a rename, complete or not at all.
 */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, isAbsolute, join, relative } from 'node:path';
import { fetchDebianPackages, hasDebianTools, libraryEnv } from './debian-packages.js';
import { withDirectoryLock } from './directory-lock.js';
import { noLog, slowly } from './progress.js';
import { run } from './run.js';
import { TOOLS } from './tools.js';

/**
 * @typedef {object} Located
 * @property {string} path absolute path of the program
 * @property {Record<string, string>} env what to add to the program's environment (LD_LIBRARY_PATH of an unpacked one), else empty
 * @property {'path' | 'cache' | 'debian'} source where it was found; `debian` means: fetched just now
 * @property {string} version such as "7.0.15"
 */

/**
 * @typedef {object} LocateOptions
 * @property {string} [cacheDir] instead of `$XDG_CACHE_HOME/manyhands` or `~/.cache/manyhands`
 * @property {(line: string) => void} [log] told of everything that takes more than a second
 * @property {string} [searchPath] instead of PATH and the usual places
 */

const USUAL_PLACES = ['/usr/local/bin', '/usr/bin', '/bin', '/usr/local/sbin', '/usr/sbin', '/sbin', '/opt/homebrew/bin'];

/**
 * @param {import('./tools.js').Tool} tool
 * @param {LocateOptions} [options]
 * @returns {Promise<Located>}
 * @throws {Error} whose message holds the exact command that helps
 */
export async function locate(tool, options = {}) {
  const log = options.log ?? noLog;
  const cache = cacheOf(options);
  const { located, reasons } = await locatePresent(tool, options);
  if (located) return located;
  if (!canFetch()) throw new Error(remedy(tool, reasons));
  try {
    mkdirSync(cache, { recursive: true });
    return await withDirectoryLock(
      join(cache, `${tool}.lock`),
      async () => {
        const meanwhile = await readCached(tool, cache);
        if (meanwhile) return { ...meanwhile, source: 'cache' };
        return await slowly(log, `${tool}: fetching the Debian package into ${cache}`, () => fetchIntoCache(tool, cache, log));
      },
      (owner) => log(`${tool}: waiting for process ${owner}, which is fetching it …`),
    );
  } catch (error) {
    throw new Error(remedy(tool, [...reasons, `fetching the Debian package failed: ${error instanceof Error ? error.message : error}`]), {
      cause: error,
    });
  }
}

/**
 * What is on this machine already; nothing is fetched.
 * @param {import('./tools.js').Tool} tool
 * @param {LocateOptions} [options]
 * @returns {Promise<{ located: Located | null, reasons: string[] }>} `reasons`: why a program that is there cannot be used
 */
export async function locatePresent(tool, options = {}) {
  const reasons = [];
  for (const path of TOOLS[tool].commands.flatMap((name) => findAll(name, options.searchPath))) {
    const version = await versionOf(path, {});
    if (version !== null && isRecent(tool, version)) return { located: { path, env: {}, source: 'path', version }, reasons: [] };
    reasons.push(version === null ? `${path} does not start` : `${path} is version ${version}, ${TOOLS[tool].minimum.join('.')} is needed`);
  }
  const cached = await readCached(tool, cacheOf(options));
  return { located: cached && { ...cached, source: 'cache' }, reasons };
}

/** Whether this machine can unpack Debian packages. */
export function canFetch() {
  return hasDebianTools((command) => findAll(command)[0] ?? null);
}

/** @param {LocateOptions} options */
function cacheOf(options) {
  return join(options.cacheDir ?? defaultCacheDirectory(), platformKey());
}

/**
 * Every program of that name on PATH and in the usual places.
 * @param {string} name
 * @param {string} [searchPath]
 * @returns {string[]}
 */
export function findAll(name, searchPath) {
  const places =
    searchPath === undefined ? [...(process.env['PATH'] ?? '').split(delimiter), ...USUAL_PLACES] : searchPath.split(delimiter);
  return [...new Set(places.filter(isAbsolute))].map((place) => join(place, name)).filter(isProgram);
}

/** @param {string} path */
function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Where unpacked programs are kept. */
export function defaultCacheDirectory() {
  const base = process.env['XDG_CACHE_HOME'];
  return join(base && isAbsolute(base) ? base : join(homedir(), '.cache'), 'manyhands');
}

/** Programs of one distribution's release do not run on another's, and home directories are shared. */
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
 * @param {import('./tools.js').Tool} tool
 * @param {string} cache
 * @returns {Promise<Omit<Located, 'source'> | null>} null when there is none that starts
 */
async function readCached(tool, cache) {
  const home = join(cache, tool);
  /** @type {{ path: string, libraryDirectories: string[] }} */
  let manifest;
  try {
    manifest = JSON.parse(readFileSync(join(home, 'manifest.json'), 'utf8'));
  } catch {
    return null;
  }
  const path = join(home, manifest.path);
  const env = libraryEnv(manifest.libraryDirectories.map((directory) => join(home, directory)));
  const version = await versionOf(path, env);
  return version === null || !isRecent(tool, version) ? null : { path, env, version };
}

/**
 * @param {import('./tools.js').Tool} tool
 * @param {string} cache
 * @param {(line: string) => void} log
 * @returns {Promise<Located>}
 */
async function fetchIntoCache(tool, cache, log) {
  const facts = TOOLS[tool];
  const home = join(cache, tool);
  const draft = `${home}.draft-${process.pid}`;
  // Drafts of processes that were killed: this one holds the lock, so nobody works on them.
  for (const name of readdirSync(cache)) {
    if (name.startsWith(`${tool}.draft-`)) rmSync(join(cache, name), { recursive: true, force: true });
  }
  mkdirSync(draft, { recursive: true });
  try {
    const aptDirectory = join(cache, 'apt');
    const fetched = await fetchDebianPackages({ choices: facts.debian, commands: facts.commands, into: draft, aptDirectory, log });
    const version = await versionOf(fetched.path, libraryEnv(fetched.libraryDirectories));
    if (version === null) throw new Error('what was unpacked does not start');
    if (!isRecent(tool, version)) throw new Error(`the package holds version ${version}, ${facts.minimum.join('.')} is needed`);
    const manifest = {
      path: relative(draft, fetched.path),
      libraryDirectories: fetched.libraryDirectories.map((directory) => relative(draft, directory)),
      packages: fetched.packages,
      version,
    };
    writeFileSync(join(draft, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    // What is there already does not start (it was tried under this lock), so it may go.
    if (existsSync(home)) rmSync(home, { recursive: true, force: true });
    renameSync(draft, home);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  const located = await readCached(tool, cache);
  if (!located) throw new Error(`what was unpacked into ${home} does not start`);
  return { ...located, source: 'debian' };
}

/**
 * @param {string} path
 * @param {Record<string, string>} env
 * @returns {Promise<string | null>} null when the program does not start
 */
async function versionOf(path, env) {
  const result = await run(path, ['--version'], { env: { ...process.env, ...env }, timeoutMs: 20_000 });
  return result.code === 0 ? (/\d+\.\d+(\.\d+)?/.exec(result.stdout)?.[0] ?? null) : null;
}

/**
 * @param {import('./tools.js').Tool} tool
 * @param {string} version
 */
function isRecent(tool, version) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [wantedMajor, wantedMinor] = TOOLS[tool].minimum;
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

/**
 * The command that installs a tool on this machine.
 * @param {import('./tools.js').Tool} tool
 */
export function installCommand(tool) {
  const names = TOOLS[tool].install;
  const sudo = process.getuid?.() === 0 ? '' : 'sudo ';
  if (findAll('apt-get').length > 0) return `${sudo}apt-get update && ${sudo}apt-get install ${names['apt-get']}`;
  if (findAll('dnf').length > 0) return `${sudo}dnf install ${names.dnf}`;
  if (findAll('pacman').length > 0) return `${sudo}pacman -S ${names.pacman}`;
  if (findAll('apk').length > 0) return `${sudo}apk add ${names.apk}`;
  return `brew install ${names.brew}`;
}

/**
 * @param {import('./tools.js').Tool} tool
 * @param {readonly string[]} reasons
 */
function remedy(tool, reasons) {
  const server = { redis: 'REDIS_URL', nats: 'NATS_URL', bubblewrap: null, ripgrep: null }[tool];
  return [
    `${TOOLS[tool].commands.join(' or ')} is needed and was not found.`,
    ...reasons.map((reason) => `  ${reason}`),
    `Type: ${installCommand(tool)}`,
    ...(server ? [`or set ${server} to a server that runs.`] : []),
  ].join('\n');
}
