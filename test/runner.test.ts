/** The suite's own runner must not be able to say "passed" when something failed. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { processStart } from '@manyhands/infra';
import { until } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
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
