/**
 * Fetches Debian packages without root and without touching the system: `apt-get download` checks the archive's signatures and hashes,
 * `dpkg-deb -x` unpacks. Works from the machine's package lists, or from private ones where those are missing or too old.
 */
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { withDirectoryLock } from '../files/directory-lock.js';
import { slowly } from '../processes/progress.js';
import { run, tail } from '../processes/run.js';

const DOWNLOAD_MS = 5 * 60_000;
/** Private lists are read again after this; the machine's own are its owner's business. */
const LISTS_FRESH_MS = 10 * 60_000;
const MAX_DEPENDENCY_ROUNDS = 6;
const PLACES = ['usr/bin', 'usr/sbin', 'bin', 'sbin', 'usr/libexec/docker'];
/** The C library must be the machine's own: it belongs to the dynamic loader. */
const NEVER = new Set(['libc6', 'libc-bin']);

/** @typedef {(command: 'apt-get' | 'apt-cache', args: readonly string[], cwd?: string) => Promise<import('../processes/run.js').RunResult>} Apt */

/**
 * Whether this machine has the package tools at all.
 * @param {(command: string) => string | null} find
 */
export function hasDebianTools(find) {
  return find('apt-get') !== null && find('apt-cache') !== null && find('dpkg-deb') !== null;
}

/**
 * Unpacks the first usable of `choices`, with the shared libraries that the machine lacks, into `into`.
 * @param {object} request
 * @param {readonly (readonly string[])[]} request.choices sets of package names, the preferred set first
 * @param {readonly (readonly string[])[]} request.programs for each program the names it may have in what was unpacked
 * @param {string} request.into an empty directory
 * @param {string} request.aptDirectory where private package lists may be kept
 * @param {(line: string) => void} request.log
 * @returns {Promise<{ paths: string[], libraryDirectories: string[], packages: string[] }>} `paths`: one for each of `programs`
 * @throws {Error} with what apt said, when the packages cannot be had
 */
export async function fetchDebianPackages({ choices, programs, into, aptDirectory, log }) {
  const problems = [];
  for (const makeApt of [() => systemApt(aptDirectory), () => privateApt(aptDirectory, log)]) {
    const apt = await makeApt();
    for (const choice of choices) {
      const known = await apt('apt-cache', ['show', ...choice]);
      if (known.code !== 0) {
        problems.push(`${choice.join(', ')}: not in the package lists`);
        continue;
      }
      const failure = await download(apt, choice, into);
      if (failure === null) return await complete(apt, choice, programs, into);
      problems.push(failure);
    }
  }
  throw new Error(problems.at(-1) ?? 'no package is known');
}

/**
 * @param {Apt} apt
 * @param {readonly string[]} packages
 * @param {readonly (readonly string[])[]} programs
 * @param {string} into
 */
async function complete(apt, packages, programs, into) {
  const have = new Set(packages);
  const paths = programs.map((names) => {
    const path = names.flatMap((name) => PLACES.map((place) => join(into, place, name))).find(existsSync);
    if (!path) throw new Error(`${packages.join(', ')} hold no ${names.join(' or ')}`);
    return path;
  });
  for (let round = 0; round < MAX_DEPENDENCY_ROUNDS; round++) {
    const libraryDirectories = findLibraryDirectories(into);
    const missing = await missingLibraries(paths, libraryDirectories);
    if (missing.length === 0) return { paths, libraryDirectories, packages: [...have] };
    const wanted = choosePackages(missing, await libraryDependencies(apt, [...have]), have);
    if (wanted.length === 0) throw new Error(`no package found for ${missing.join(', ')}`);
    const failure = await download(apt, wanted, into);
    if (failure !== null) throw new Error(failure);
    for (const name of wanted) have.add(name);
  }
  throw new Error(`the libraries of ${paths.join(', ')} do not come together`);
}

/**
 * @param {Apt} apt
 * @param {readonly string[]} packages
 * @param {string} into
 * @returns {Promise<string | null>} null, or why it failed
 */
async function download(apt, packages, into) {
  const archives = join(into, '.archives');
  mkdirSync(archives, { recursive: true });
  const result = await apt('apt-get', ['download', ...packages], archives);
  if (result.code !== 0) return tail(result);
  for (const archive of readdirSync(archives)) {
    const unpacked = await run('dpkg-deb', ['-x', join(archives, archive), into]);
    if (unpacked.code !== 0) return tail(unpacked);
  }
  rmSync(archives, { recursive: true });
  return null;
}

/**
 * @param {readonly string[]} programs
 * @param {readonly string[]} libraryDirectories
 * @returns {Promise<string[]>} names such as "libjemalloc.so.2"; none for a static program
 */
async function missingLibraries(programs, libraryDirectories) {
  const result = await run('ldd', programs, { env: { ...process.env, ...libraryEnv(libraryDirectories) } });
  return [...new Set([...result.stdout.matchAll(/^\s*(\S+) => not found/gm)].map((match) => match[1] ?? ''))];
}

/**
 * @param {Apt} apt
 * @param {readonly string[]} packages
 * @returns {Promise<string[]>}
 */
async function libraryDependencies(apt, packages) {
  const result = await apt('apt-cache', [
    'depends',
    '--no-recommends',
    '--no-suggests',
    '--no-conflicts',
    '--no-breaks',
    '--no-replaces',
    '--no-enhances',
    ...packages,
  ]);
  return [...result.stdout.matchAll(/^\s*\|?(?:Pre)?Depends: ((?:lib|lua)\S+)/gm)]
    .map((match) => match[1] ?? '')
    .filter((name) => !NEVER.has(name));
}

/**
 * Debian names a library package after the library, so "libjemalloc.so.2" is in libjemalloc2. Where no name fits, all are taken.
 * @param {readonly string[]} missing
 * @param {readonly string[]} candidates
 * @param {ReadonlySet<string>} have
 */
export function choosePackages(missing, candidates, have) {
  const fresh = [...new Set(candidates)].filter((name) => !have.has(name));
  const plain = (/** @type {string} */ name) => name.replace(/t64$/, '').replaceAll(/[^a-z0-9+]/g, '');
  const fitting = missing.map((library) => fresh.find((name) => plain(name) === plain(library.toLowerCase().replace('.so', ''))));
  return fitting.every((name) => name !== undefined) ? [...new Set(fitting)] : fresh;
}

/**
 * Directories below `root` that hold shared libraries.
 * @param {string} root
 */
function findLibraryDirectories(root) {
  const found = new Set();
  for (const entry of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
    if (/(^|\/)(usr\/)?lib(64)?\/(.*\/)?[^/]+\.so(\.[0-9.]+)?$/.test(entry)) found.add(join(root, dirname(entry)));
  }
  return /** @type {string[]} */ ([...found]);
}

/**
 * @param {readonly string[]} libraryDirectories
 * @returns {Record<string, string>}
 */
export function libraryEnv(libraryDirectories) {
  if (libraryDirectories.length === 0) return {};
  const inherited = process.env['LD_LIBRARY_PATH'];
  return { LD_LIBRARY_PATH: [...libraryDirectories, ...(inherited ? [inherited] : [])].join(':') };
}

/**
 * Apt with the machine's package lists. Only its caches are private, so that nothing is written outside of this user's directory.
 * @param {string} directory
 * @returns {Promise<Apt>}
 */
async function systemApt(directory) {
  const cache = join(directory, 'system-cache');
  mkdirSync(join(cache, 'archives', 'partial'), { recursive: true });
  return makeApt(plainEnv(), ['-o', `Dir::Cache=${cache}`, '-o', 'Debug::NoLocking=1']);
}

/**
 * Apt with lists and caches of its own. The machine's settings (sources, keys, proxies) are kept, its update hooks are not.
 * @param {string} directory
 * @param {(line: string) => void} log
 * @returns {Promise<Apt>}
 */
async function privateApt(directory, log) {
  for (const part of ['state/lists/partial', 'cache/archives/partial']) mkdirSync(join(directory, part), { recursive: true });
  const config = join(directory, 'apt.conf');
  const env = { ...plainEnv(), APT_CONFIG: config };
  await withDirectoryLock(
    join(directory, 'update.lock'),
    async () => {
      if (isFresh(join(directory, 'updated'))) return;
      const dumped = await run('apt-config', ['dump'], { env: plainEnv() });
      const kept = dumped.stdout
        .split('\n')
        .filter((line) => !/^(Dir::(State|Cache|Log)\b|APT::Update::|DPkg::|APT::Periodic)/i.test(line));
      writeFileSync(config, `${[...kept, ...privateSettings(directory)].join('\n')}\n`);
      // One unreachable source of several is no reason to stop: what is missing shows when a package is asked for.
      const updated = await slowly(log, 'reading the Debian package lists', () => makeApt(env)('apt-get', ['update']));
      if (updated.code === 0) writeFileSync(join(directory, 'updated'), '');
      else log(`apt-get update complained: ${tail(updated, 1)}`);
    },
    (owner) => log(`waiting for process ${owner}, which reads the Debian package lists …`),
  );
  return makeApt(env);
}

/** @param {string} directory */
function privateSettings(directory) {
  return [
    `Dir::State "${directory}/state";`,
    `Dir::State::lists "${directory}/state/lists/";`,
    'Dir::State::status "/var/lib/dpkg/status";',
    `Dir::Cache "${directory}/cache";`,
    'Dir::Etc::main "/dev/null";',
    'Dir::Etc::parts "/dev/null";',
    'Debug::NoLocking "1";',
  ];
}

/**
 * Whether a file was written a short time ago.
 * @param {string} path
 */
function isFresh(path) {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat !== undefined && Date.now() - stat.mtimeMs < LISTS_FRESH_MS;
}

/**
 * @param {NodeJS.ProcessEnv} env
 * @param {readonly string[]} [options]
 * @returns {Apt}
 */
function makeApt(env, options = []) {
  // As root apt downloads as a user of its own, who cannot write to a private directory.
  const sandbox = process.getuid?.() === 0 ? ['-o', 'APT::Sandbox::User=root'] : [];
  return (command, args, cwd) =>
    run(command, [...sandbox, ...options, '-q', ...args], { env, timeoutMs: DOWNLOAD_MS, ...(cwd === undefined ? {} : { cwd }) });
}

/** Messages are read by this program, so they must be in English. */
function plainEnv() {
  return { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' };
}
