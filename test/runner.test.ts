/** The suite's own runner must not be able to say "passed" when something failed. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { processStart, startContainerd } from '@manyhands/infra';
import { privateEngineUnavailable, until } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { reportConformance } from './runner/conformance.js';
import { filesWithEngine, needsEngine } from './runner/engine.js';
import { watchLeftovers } from './runner/leftovers.js';
import { countTests } from './runner/vitest.js';

const quiet = () => {};
const clean = { numPassedTests: 3, numFailedTests: 0, numPendingTests: 1, numTodoTests: 1, testResults: [] };

test('passed, failed and skipped tests are counted as vitest reports them', () => {
  expect(countTests(clean, 0)).toEqual({ passed: 3, failed: 0, skipped: 2 });
});

test('a crash, a file that does not load, an error outside of tests and an empty run are failures', () => {
  expect(countTests(null, 'SIGKILL', quiet)).toMatchObject({ failed: 1 });
  expect(countTests({ ...clean, testResults: [{ name: 'x.test.ts', status: 'failed', assertionResults: [] }] }, 1, quiet)).toMatchObject({
    failed: 1,
  });
  expect(countTests(clean, 1, quiet)).toMatchObject({ failed: 1 });
  expect(countTests({ ...clean, numPassedTests: 0 }, 0, quiet)).toMatchObject({ failed: 1 });
});

test('a process and a directory that a run leaves are found, and removed', { timeout: 60_000 }, async () => {
  const run = 'rabcdef';
  const watch = watchLeftovers(run);
  const path = mkdtempSync(join(tmpdir(), `manyhands-test-${run}-kept-`));
  const child = spawn('/bin/sleep', ['600'], { detached: true, stdio: 'ignore', env: { ...process.env, MANYHANDS_TEST_RUN: run } });
  child.unref();
  const left = await watch.look(100);
  expect(left).toEqual(expect.arrayContaining([`process ${child.pid}: /bin/sleep 600`, `directory ${path}`]));
  await watch.clean();
  await until(() => processStart(child.pid ?? 0) === null, { what: 'the process is ended' });
  expect(existsSync(path)).toBe(false);
});

const NO_ENGINE = privateEngineUnavailable();
test.skipIf(NO_ENGINE !== null)(
  `a Docker engine that a run leaves is found, and removed${NO_ENGINE === null ? '' : ` (skipped: ${NO_ENGINE})`}`,
  { timeout: 120_000 },
  async () => {
    const run = 'rabcde0';
    const watch = watchLeftovers(run);
    const path = mkdtempSync(join(tmpdir(), `manyhands-test-${run}-engine-`));
    const containerd = await startContainerd({ dir: path });
    const left = await watch.look(100);
    expect(left).toEqual(expect.arrayContaining([`Docker engine in ${path}`, expect.stringContaining(`process ${containerd.pid}: `)]));
    await watch.clean();
    expect(processStart(containerd.pid)).toBeNull();
    expect(await watch.look(100)).toEqual([]);
  },
);

test('the engine is brought for everything, and for chosen files only if one of them or a file beside it asks for it', () => {
  const root = join(import.meta.dirname, '..');
  expect(needsEngine(root, [])).toBe(true);
  expect(needsEngine(root, ['--reporter=dot'])).toBe(true);
  expect(needsEngine(root, ['packages/test-kit/test/test-engine'])).toBe(true);
  expect(needsEngine(root, [join(root, 'packages/contract')])).toBe(false);
  expect(needsEngine(root, ['no-such-file'])).toBe(false);
});

test('tests with containers are told apart, so that the others do not wait for the base image', () => {
  const found = filesWithEngine(join(import.meta.dirname, '..'));
  expect(found).toEqual(expect.arrayContaining(['test/deploy/compose.test.ts', 'packages/sandbox-pool/test/docker-driver.test.ts']));
  expect(found.filter((file) => file.includes('bubblewrap') || file.includes('conformance'))).toEqual([]);
});

test('a run without results keeps no promise, and the conformance report says so', { timeout: 60_000 }, async () => {
  const lines: string[] = [];
  const root = join(import.meta.dirname, '..');
  const { passed, promised, ok } = await reportConformance({ root, results: null, full: true, say: (line) => lines.push(line) });
  expect([passed, ok]).toEqual([0, false]);
  expect(promised).toBeGreaterThan(200);
  expect(lines.at(-1)).toBe(`✗ conformance: 0 of ${promised} promises, ${lines.at(-1)?.split('promises, ')[1]}`);
  expect(lines).toContainEqual(expect.stringMatching(/^ {4}agents\.list: did not run$/));
});
