import { defineConfig } from 'vitest/config';

// One configuration for the whole repository. Tests read sources, not builds; processes that tests start run the build.
const conditions = ['@manyhands/source', 'node', 'import', 'default'];
export default defineConfig({
  root: new URL('..', import.meta.url).pathname,
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    include: ['packages/*/test/**/*.test.ts', 'test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
