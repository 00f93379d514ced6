/**
 * Finds the programs of a Docker engine, or fetches them: those of this machine → this user's cache → Debian packages. Firewall programs are
 * not among them, since our engine has no bridge.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join, relative } from 'node:path';
import { noLog } from '../processes/progress.js';
import { fetchDebianPackages, libraryEnv } from '../programs/debian-packages.js';
import { canFetch, findAll, isRecent, versionOf } from '../programs/locate.js';
import { cachedTree, platformCache } from '../programs/tool-cache.js';

/**
 * @typedef {object} LocatedEngine
 * @property {string} dockerd
 * @property {string} containerd
 * @property {string} init what docker runs as pid 1 of a container made with `Init`
 * @property {Record<string, string>} env what its processes need: PATH, and LD_LIBRARY_PATH of unpacked ones
 * @property {'path' | 'cache' | 'debian'} source where it was found; `debian` means: fetched just now
 * @property {string} version of Docker, such as "20.10.24"
 */

const NAME = 'docker-engine';
const MINIMUM = /** @type {const} */ ([20, 10]);
/** For each program the names it may have; in this order below. */
const PROGRAMS = /** @type {const} */ ([
  ['dockerd'],
  ['containerd'],
  ['containerd-shim-runc-v2'],
  ['runc'],
  ['docker-init', 'tini-static', 'tini'],
]);
const DEBIAN = [
  ['docker.io', 'containerd', 'runc', 'tini'],
  ['docker.io', 'containerd', 'runc'],
];
/** Where distributions put programs that only dockerd runs. */
const LIBEXEC = ['/usr/libexec/docker', '/usr/local/libexec/docker', '/usr/lib/docker'];
const SYSTEM_PLACES = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/**
 * @param {import('../programs/locate.js').LocateOptions} [options]
 * @returns {Promise<LocatedEngine>}
 * @throws {Error} that says what to do
 */
export async function locateEngine(options = {}) {
  const log = options.log ?? noLog;
  const cache = platformCache(options.cacheDir);
  const present = (await readMachine(options.searchPath)) ?? (await readCached(cache));
  if (present) return present;
  const remedy = 'Install Docker (https://docs.docker.com/engine/install/) and start it, or use --sandbox bubblewrap.';
  if (!canFetch()) throw new Error(`No Docker engine is on this machine, and without apt-get and dpkg-deb none can be fetched.\n${remedy}`);
  try {
    const { found, fresh } = await cachedTree({
      ...{ cache, name: NAME, log },
      read: () => readCached(cache),
      make: (draft) => unpack(cache, draft, log),
    });
    return fresh ? { ...found, source: 'debian' } : found;
  } catch (error) {
    throw new Error(
      `Fetching the Docker engine from Debian packages failed: ${error instanceof Error ? error.message : error}\n${remedy}`,
      {
        cause: error,
      },
    );
  }
}

/** Whether a private engine's programs are here or could be fetched; cheap, nothing is started. */
export function canHaveEngine() {
  return canFetch() || find() !== null;
}

/**
 * @param {string} [searchPath]
 * @returns {string[] | null} one path for each of PROGRAMS, or null
 */
function find(searchPath) {
  const places = searchPath === undefined ? undefined : [searchPath, ...LIBEXEC].join(delimiter);
  const paths = PROGRAMS.map((names) => names.flatMap((name) => [...findAll(name, places), ...findAll(name, LIBEXEC.join(delimiter))])[0]);
  return paths.every((path) => path !== undefined) ? /** @type {string[]} */ (paths) : null;
}

/**
 * @param {string | undefined} searchPath
 * @returns {Promise<LocatedEngine | null>}
 */
async function readMachine(searchPath) {
  const paths = find(searchPath);
  return paths && (await describe(paths, [], 'path'));
}

/**
 * @param {string} cache
 * @returns {Promise<LocatedEngine | null>}
 */
async function readCached(cache) {
  const home = join(cache, NAME);
  /** @type {{ paths: string[], libraryDirectories: string[] }} */
  let manifest;
  try {
    manifest = JSON.parse(readFileSync(join(home, 'manifest.json'), 'utf8'));
  } catch {
    return null;
  }
  const inHome = (/** @type {string} */ path) => join(home, path);
  return await describe(manifest.paths.map(inHome), manifest.libraryDirectories.map(inHome), 'cache');
}

/**
 * @param {readonly string[]} paths
 * @param {readonly string[]} libraryDirectories
 * @param {'path' | 'cache'} source
 * @returns {Promise<LocatedEngine | null>} null when one of the programs does not start, or is too old
 */
async function describe(paths, libraryDirectories, source) {
  const [dockerd = '', containerd = '', , runc = '', init = ''] = paths;
  const directories = [
    ...new Set([...paths.map((path) => dirname(path)), ...(process.env['PATH'] ?? '').split(delimiter), ...SYSTEM_PLACES]),
  ];
  const env = { PATH: directories.filter(Boolean).join(delimiter), ...libraryEnv(libraryDirectories) };
  const [version, ...others] = await Promise.all([dockerd, containerd, runc].map((path) => versionOf(path, env)));
  if (version == null || others.includes(null) || !isRecent(MINIMUM, version)) return null;
  return { dockerd, containerd, init, env, source, version };
}

/**
 * @param {string} cache
 * @param {string} draft
 * @param {(line: string) => void} log
 */
async function unpack(cache, draft, log) {
  const fetched = await fetchDebianPackages({ choices: DEBIAN, programs: PROGRAMS, into: draft, aptDirectory: join(cache, 'apt'), log });
  const inDraft = (/** @type {string} */ path) => relative(draft, path);
  const manifest = {
    paths: fetched.paths.map(inDraft),
    libraryDirectories: fetched.libraryDirectories.map(inDraft),
    packages: fetched.packages,
  };
  writeFileSync(join(draft, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}
