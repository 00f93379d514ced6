/**
 * Finds an outside program, or fetches it: on PATH and in the usual places → in this user's cache → from Debian packages, unpacked into
 * that cache without root → an error that says what to type. Nothing is ever installed system-wide.
 */
import { accessSync, constants, readFileSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, isAbsolute, join, relative } from 'node:path';
import { noLog } from '../processes/progress.js';
import { run } from '../processes/run.js';
import { fetchDebianPackages, hasDebianTools, libraryEnv } from './debian-packages.js';
import { cachedTree, platformCache } from './tool-cache.js';
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
 * @property {(line: string) => void} [log] gets a line for everything that takes more than a second
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
  const cache = platformCache(options.cacheDir);
  const { located, reasons } = await locatePresent(tool, options);
  if (located) return located;
  if (!canFetch()) throw new Error(remedy(tool, reasons));
  try {
    const { found, fresh } = await cachedTree({
      ...{ cache, name: tool, log },
      read: () => readCached(tool, cache),
      make: (draft) => unpack(tool, cache, draft, log),
    });
    return { ...found, source: fresh ? 'debian' : 'cache' };
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
    if (version !== null && isRecent(TOOLS[tool].minimum, version))
      return { located: { path, env: {}, source: 'path', version }, reasons: [] };
    reasons.push(version === null ? `${path} does not start` : `${path} is version ${version}, ${TOOLS[tool].minimum.join('.')} is needed`);
  }
  const cached = await readCached(tool, platformCache(options.cacheDir));
  return { located: cached && { ...cached, source: 'cache' }, reasons };
}

/** Whether this machine can unpack Debian packages. */
export function canFetch() {
  return hasDebianTools((command) => findAll(command)[0] ?? null);
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
  return version === null || !isRecent(TOOLS[tool].minimum, version) ? null : { path, env, version };
}

/**
 * @param {import('./tools.js').Tool} tool
 * @param {string} cache
 * @param {string} draft
 * @param {(line: string) => void} log
 */
async function unpack(tool, cache, draft, log) {
  const facts = TOOLS[tool];
  const aptDirectory = join(cache, 'apt');
  const fetched = await fetchDebianPackages({ choices: facts.debian, programs: [facts.commands], into: draft, aptDirectory, log });
  const path = fetched.paths[0] ?? '';
  const version = await versionOf(path, libraryEnv(fetched.libraryDirectories));
  if (version === null) throw new Error('what was unpacked does not start');
  if (!isRecent(facts.minimum, version)) throw new Error(`the package holds version ${version}, ${facts.minimum.join('.')} is needed`);
  const manifest = {
    path: relative(draft, path),
    libraryDirectories: fetched.libraryDirectories.map((directory) => relative(draft, directory)),
    packages: fetched.packages,
    version,
  };
  writeFileSync(join(draft, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

/**
 * @param {string} path
 * @param {Record<string, string>} env
 * @returns {Promise<string | null>} null when the program does not start
 */
export async function versionOf(path, env) {
  const result = await run(path, ['--version'], { env: { ...process.env, ...env }, timeoutMs: 20_000 });
  return result.code === 0 ? (/\d+\.\d+(\.\d+)?/.exec(result.stdout)?.[0] ?? null) : null;
}

/**
 * @param {readonly [number, number]} minimum
 * @param {string} version
 */
export function isRecent([wantedMajor, wantedMinor], version) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
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
  const server = { redis: 'REDIS_URL', nats: 'NATS_URL', bubblewrap: null, ripgrep: null, mmdebstrap: null }[tool];
  return [
    `${TOOLS[tool].commands.join(' or ')} is needed and was not found.`,
    ...reasons.map((reason) => `  ${reason}`),
    `Type: ${installCommand(tool)}`,
    ...(server ? [`or set ${server} to a server that runs.`] : []),
  ].join('\n');
}
