/**
 * The Docker engine of a test run, with the base image of sandboxes on it: the engine of this machine, or one of our own, started while the static
 * checks run. Where neither can be had, tests with containers are skipped, and one line says why.
 */
import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { findEngine, prepareSandboxImage, privateEngineObstacle, startContainerd, startDockerd } from '@manyhands/infra';
import { PREFIX } from './leftovers.js';

const IMAGE_ENTRY = 'packages/sandbox-pool/dist/image-main.js';
const CALL_MS = 30_000;

/** @param {{ root: string, run: string, log: (line: string) => void }} options `run` is the mark of the run */
export function prepareEngine({ root, run, log }) {
  const stopping = new AbortController();
  /** @type {import('@manyhands/infra').DaemonHandle[]} */
  const daemons = [];
  /** @type {string | null} */
  let directory = null;
  /** @type {string | null} */
  let host = null;
  const work = prepare();
  work.catch(() => {}); // Asked for later.

  async function prepare() {
    host = await findHost();
    const image = await prepareSandboxImage({ entry: join(root, IMAGE_ENTRY), host, log, signal: stopping.signal });
    return { MANYHANDS_TEST_ENGINE: host, MANYHANDS_TEST_IMAGE: image };
  }

  async function findHost() {
    const found = await findEngine();
    if (found.state === 'ok') {
      log(`Docker ${found.version} at ${found.host}`);
      return found.host;
    }
    if (found.chosen) throw new Error(`${found.problem}. ${found.remedy}`);
    const obstacle = privateEngineObstacle();
    if (obstacle !== null) throw new Error(`${found.problem}; ${obstacle}`);
    directory = realpathSync(mkdtempSync(join(tmpdir(), `${PREFIX}${run}-engine-`)));
    for (const start of [startContainerd, startDockerd]) {
      stopping.signal.throwIfAborted();
      daemons.push(await start({ dir: directory, log }));
    }
    log(`a Docker engine of our own at ${daemons[1].url}`);
    return daemons[1].url;
  }

  return {
    /** Variables for the tests. Never throws. */
    async variables() {
      try {
        return await work;
      } catch (error) {
        const why = (error instanceof Error ? error.message : String(error)).trim().split('\n').join(' ');
        console.log(`  tests with containers are skipped: ${why}`);
        return { MANYHANDS_TEST_NO_ENGINE: why };
      }
    },
    /** One line for each container that a test has left; they are removed. */
    async containers() {
      if (host === null || !host.startsWith('unix://')) return [];
      const socketPath = host.slice('unix://'.length);
      const all = JSON.parse((await call(socketPath, 'GET', '/containers/json?all=1')) || '[]');
      // An engine of our own has no others; on that of the machine a container of ours has a directory of this run.
      const ours = directory === null ? all.filter((container) => JSON.stringify(container).includes(PREFIX + run)) : all;
      for (const { Id: id } of ours) await call(socketPath, 'DELETE', `/containers/${id}?force=1&v=1`);
      return ours.map(({ Id: id, Names: names }) => `container ${names?.[0] ?? id}`);
    },
    /** Safe to repeat. */
    async stop() {
      stopping.abort();
      await work.catch(() => {});
      for (const daemon of daemons.splice(0).reverse()) await daemon.stop();
      if (directory !== null) rmSync(directory, { recursive: true, force: true });
      host = null;
    },
  };
}

/**
 * @param {string} socketPath
 * @param {string} method
 * @param {string} path
 * @returns {Promise<string>}
 */
function call(socketPath, method, path) {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, method, path, agent: false, timeout: CALL_MS }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text) => {
        body += text;
      });
      response.on('end', () => resolve(body)).on('error', reject);
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`the engine does not answer ${method} ${path}`)));
    outgoing.on('error', reject).end();
  });
}

/**
 * Whether the tests that these arguments choose use an engine: a chosen test file, or a file beside it, asks for one.
 * @param {string} root
 * @param {string[]} filters
 */
export function needsEngine(root, filters) {
  const parts = filters.filter((filter) => !filter.startsWith('-')).map((filter) => filter.replace(`${root}/`, '').replace(/^\.\//, ''));
  if (parts.length === 0) return true;
  const chosen = testFiles(root).filter((path) => parts.some((part) => path.includes(part)));
  const asks = (/** @type {string} */ path) => /\btestEngine\b/.test(readFileSync(join(root, path), 'utf8'));
  return [...new Set(chosen.map((path) => dirname(path)))].some((directory) =>
    readdirSync(join(root, directory)).some((name) => name.endsWith('.ts') && asks(join(directory, name))),
  );
}

/**
 * The test files that ask for an engine themselves: for that of the run, or for one of their own from the same image.
 * @param {string} root
 */
export function filesWithEngine(root) {
  const asks = /\b(testEngine|engineUnavailable|privateEngine|privateEngineUnavailable)\b/;
  return testFiles(root).filter((path) => asks.test(readFileSync(join(root, path), 'utf8')));
}

/** @param {string} root */
function testFiles(root) {
  const places = ['test', ...readdirSync(join(root, 'packages')).map((name) => `packages/${name}/test`)];
  return places.flatMap((place) => {
    try {
      const found = readdirSync(join(root, place), { recursive: true, encoding: 'utf8' });
      return found.filter((path) => path.endsWith('.test.ts') && !path.includes('node_modules')).map((path) => join(place, path));
    } catch {
      return []; // A package without tests.
    }
  });
}
