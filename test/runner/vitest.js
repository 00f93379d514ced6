/** Runs vitest over all packages and counts what it found. A crash, a file that does not load, or no test at all is a failure. */
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startTool } from './stage.js';

/**
 * @param {{ root: string, filters: string[], env: NodeJS.ProcessEnv }} options
 * @returns {Promise<{ passed: number, failed: number, skipped: number, report: unknown }>} with what vitest's JSON reporter wrote
 */
export async function runVitest({ root, filters, env }) {
  const directory = mkdtempSync(join(tmpdir(), 'manyhands-report-'));
  const report = join(directory, 'report.json');
  try {
    const command = [
      'vitest',
      'run',
      '--config',
      'test/vitest.config.ts',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
      ...filters,
    ];
    const child = startTool({ root, command, env, stdio: ['ignore', 'inherit', 'inherit'] });
    const [code, signal] = await once(child, 'exit');
    const written = readReport(report);
    return { ...countTests(written, code ?? signal), report: written };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** @param {string} path */
function readReport(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}

/**
 * @param {any} report what vitest's JSON reporter wrote, or null
 * @param {number | string} ending exit code or signal
 * @param {(line: string) => void} [say]
 */
export function countTests(report, ending, say = console.log) {
  if (report === null) {
    say(`✗ vitest ended with ${ending} and wrote no report`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  // A file that fails outside of its tests (import, hooks) has no failed test to show for it.
  const brokenFiles = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  );
  for (const file of brokenFiles) say(`✗ ${file.name} failed as a whole`);
  const counts = {
    passed: report.numPassedTests,
    failed: report.numFailedTests + brokenFiles.length,
    skipped: report.numPendingTests + report.numTodoTests,
  };
  if (counts.passed + counts.failed === 0) {
    say('✗ vitest ran no test');
    counts.failed = 1;
  } else if (ending !== 0 && counts.failed === 0) {
    say(`✗ vitest ended with ${ending} although no test failed: see the errors above`);
    counts.failed = 1;
  }
  return counts;
}
