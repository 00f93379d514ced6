/**
 * The conformance report of a run. It is written in TypeScript beside the promises that it counts (test/conformance/report), so vite loads it, as
 * it loads the tests.
 */
import { join } from 'node:path';
import { createServer } from 'vite';

/**
 * Loads a module below test/conformance, and what it loads while it is used.
 * @template T
 * @param {string} root
 * @param {string} path
 * @param {(module: any) => Promise<T>} use
 * @returns {Promise<T>}
 */
export async function withConformance(root, path, use) {
  const conditions = ['@manyhands/source', 'node', 'import', 'default'];
  const server = await createServer({
    root,
    configFile: false,
    logLevel: 'error',
    appType: 'custom',
    resolve: { conditions },
    ssr: { resolve: { conditions, externalConditions: conditions } },
    optimizeDeps: { noDiscovery: true, include: [] },
    server: { middlewareMode: true, ws: false, watch: null },
  });
  try {
    return await use(await server.ssrLoadModule(join(root, 'test/conformance', path)));
  } finally {
    await server.close();
  }
}

/**
 * Prints the report; in short, a line and what is wrong, or in full.
 * @param {{ root: string, results: unknown, full: boolean, say?: (line: string) => void }} options `results` is vitest's JSON report, null if
 *   there is none
 * @returns {Promise<{ passed: number, promised: number, ok: boolean }>}
 */
export async function reportConformance({ root, results, full, say = console.log }) {
  const { passed, promised, problems, summary, lines } = await withConformance(root, 'report/report.ts', ({ reportOn }) =>
    reportOn(results ?? { testResults: [] }),
  );
  if (full) for (const line of lines) say(line);
  for (const problem of problems) say(`    ${problem}`);
  say(`${problems.length === 0 ? '✓' : '✗'} ${summary}`);
  return { passed, promised, ok: problems.length === 0 };
}
