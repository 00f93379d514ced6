/**
 * What `npm test` runs after the set-up: the static checks and at the same time a Docker engine with the base image of sandboxes, then every
 * test, then a look for what was left behind. Each static check, the conformance report and the final look count as one test. The last line is
 * "N passed, N failed, N skipped", and behind it, when only conformance is asked for, the promises passed of those made: "N of N".
 *
 *   npm test                         everything
 *   npm test -- packages/sandbox-daemon        only test files whose path contains this (and no static checks); more arguments go to vitest
 *   npm test -- --tier fast          the static checks and every test that starts no whole instance, no container and no cluster: for the inner loop
 *   npm test -- --only static        only the static checks
 *   npm test -- --only conformance   only test/conformance, with the whole report (npm run conformance)
 */
import { randomBytes } from 'node:crypto';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { locate, TOOL_NAMES } from '@manyhands/infra';
import { reportConformance } from './runner/conformance.js';
import { filesWithEngine, needsEngine, prepareEngine } from './runner/engine.js';
import { watchLeftovers } from './runner/leftovers.js';
import { runStage, stopStages } from './runner/stage.js';
import { runVitest } from './runner/vitest.js';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const CONFORMANCE = 'test/conformance';
/** What `--tier fast` leaves out: whole instances, sandboxes by the dozen, servers that fail over. All of it is in `npm test`. */
const SLOW = [
  ...['test/deploy', 'test/faults', 'test/e2e', 'test/load', 'test/conformance/scenarios'].map((folder) => `${folder}/**`),
  ...['test/fixtures/serve.test.ts', 'packages/*/test/**/*cluster*.test.ts', 'packages/base/test/{redis,subscriber}.test.ts'],
  ...['packages/{infra,sandbox-pool,cli}/**', 'packages/tools/test/sandbox-executor.test.ts', 'packages/session-log/test/one-slot.test.ts'],
];
const STATIC_STAGES = [
  { name: 'biome', command: ['biome', 'ci', '--colors=off', '.'] },
  { name: 'oxlint', command: ['oxlint', '--type-aware'] },
  { name: 'types', command: ['tsc', '-p', 'test/tsconfig.json'] },
  { name: 'boundaries', command: ['turbo', 'boundaries'] },
];

const run = `r${randomBytes(3).toString('hex')}`;
// What is started from here carries the mark, too.
process.env.MANYHANDS_TEST_RUN = run;
const totals = { passed: 0, failed: 0, skipped: 0 };
/** Printed behind the totals. @type {string | null} */
let lastLine = null;
/** @type {ReturnType<typeof prepareEngine> | null} */
let engine = null;
const leftovers = watchLeftovers(run);

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
]) {
  process.once(signal, async () => {
    console.log(`\n${signal}: ending everything`);
    await stopStages();
    await engine?.stop();
    await leftovers.clean();
    process.exit(code);
  });
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  totals.failed += 1;
  console.error(error);
}
await stopStages();
await engine?.stop();
await leftovers.clean();
console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
if (lastLine !== null) console.log(lastLine);
process.exit(totals.failed > 0 || totals.passed === 0 ? 1 : 0);

/** @param {string[]} args */
async function main(args) {
  const { only, filters, fast } = readArguments(args);
  if (only !== 'static' && !fast && needsEngine(ROOT, filters))
    engine = prepareEngine({ root: ROOT, run, log: (line) => console.log(`  engine: ${line}`) });
  if (only === 'static' || (only === null && filters.length === 0)) {
    const stages = STATIC_STAGES.map(({ name, command }) => runStage({ name, command, root: ROOT, env: stageEnv() }));
    for (const passed of await Promise.all(stages)) count(passed);
    if (only === 'static') return;
  }
  await findTools();
  /** @type {unknown[]} */
  const results = [];
  for (const { args, wantsEngine } of fast ? [fastPass()] : passes(filters)) {
    const engineEnv = wantsEngine ? await engine?.variables() : {};
    const result = await runVitest({ root: ROOT, filters: args, env: { ...stageEnv(), ...engineEnv } });
    totals.passed += result.passed;
    totals.failed += result.failed;
    totals.skipped += result.skipped;
    results.push(result.report);
  }
  // Some of the scenarios say nothing about the whole.
  if (!fast && (only === 'conformance' || filters.length === 0)) {
    const { passed, promised, ok } = await reportConformance({ root: ROOT, results: results[0], full: only === 'conformance' });
    count(ok);
    if (only === 'conformance') lastLine = `${passed} of ${promised}`;
  }
  const containers = (await engine?.containers()) ?? [];
  await engine?.stop();
  const left = [...containers, ...(await leftovers.look())];
  for (const line of left) console.log(`    left behind: ${line}`);
  console.log(`${left.length === 0 ? '✓' : '✗'} nothing left behind`);
  count(left.length === 0);
}

function fastPass() {
  const left = [...SLOW, ...filesWithEngine(ROOT)];
  return { args: left.flatMap((file) => ['--exclude', file]), wantsEngine: false };
}

/**
 * Tests without containers first: they need not wait while the base image is made, and containers beside them would slow both. What measures has
 * the machine for itself: last, one file after the other.
 * @param {string[]} filters
 */
function passes(filters) {
  if (filters.length > 0) return [{ args: filters, wantsEngine: true }];
  const withEngine = filesWithEngine(ROOT).filter((file) => !file.startsWith('test/load/'));
  return [
    { args: ['test/load/**', ...withEngine].flatMap((file) => ['--exclude', file]), wantsEngine: false },
    { args: withEngine, wantsEngine: true },
    { args: ['test/load', '--no-file-parallelism'], wantsEngine: true },
  ];
}

/** @param {string[]} args */
function readArguments(args) {
  if (args[0] === '--tier') {
    if (args[1] !== 'fast' || args.length > 2) throw new Error('--tier: the choice is "fast", and it takes no other arguments');
    return { only: null, filters: [], fast: true };
  }
  const at = args.indexOf('--only');
  if (at === -1) return { only: null, filters: args, fast: false };
  const only = args[at + 1];
  if (only !== 'static' && only !== 'conformance') throw new Error('--only: the choices are "static" and "conformance"');
  if (args.length > 2) throw new Error(`--only ${only} takes no other arguments`);
  return { only, filters: only === 'conformance' ? [CONFORMANCE] : [], fast: false };
}

/** @param {boolean} passed */
function count(passed) {
  totals[passed ? 'passed' : 'failed'] += 1;
}

function stageEnv() {
  return {
    ...process.env,
    MANYHANDS_TEST_RUN: run,
    TURBO_TELEMETRY_DISABLED: '1',
    TURBO_NO_UPDATE_NOTIFIER: '1',
    DO_NOT_TRACK: '1',
    ...(process.stdout.isTTY ? {} : { NO_COLOR: '1', FORCE_COLOR: '0' }),
  };
}

/** Fetched once here, with progress, and not in the middle of a test. */
async function findTools() {
  for (const tool of TOOL_NAMES) {
    if (tool === 'bubblewrap' && process.platform !== 'linux') continue;
    const { path, version, source } = await locate(tool, { log: (line) => console.log(`  ${line}`) });
    console.log(`  ${tool} ${version}: ${path} (${source})`);
  }
}
