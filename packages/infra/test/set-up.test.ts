import { mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TemporaryDirectory, temporaryDirectory } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { build, isBuilt } from '../src/checkout/build.js';
import { isInstalled, npmEnv } from '../src/checkout/installation.js';

function put(root: string, path: string, content: string | object, mode = 0o644): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), typeof content === 'string' ? content : JSON.stringify(content), { mode });
}

/** A checkout with one outside package, one workspace package, and one package for another platform. */
async function checkout(): Promise<TemporaryDirectory> {
  const directory = await temporaryDirectory('checkout');
  const root = directory.path;
  const packages = {
    'packages/ours': { version: '0.1.0' },
    'node_modules/@x/ours': { resolved: 'packages/ours', link: true },
    'node_modules/theirs': { version: '1.2.3' },
    'node_modules/for-mac': { version: '1.0.0', optional: true, os: ['darwin'] },
  };
  const { 'node_modules/for-mac': _, ...installed } = packages;
  put(root, 'package-lock.json', { packages });
  put(root, 'package.json', {});
  put(root, 'node_modules/.package-lock.json', { packages: installed });
  put(root, 'node_modules/theirs/package.json', {});
  mkdirSync(join(root, 'node_modules/@x'));
  put(root, 'packages/ours/package.json', { scripts: { build: 'tsc -b' } });
  put(root, 'packages/ours/src/index.ts', 'export const one = 1;');
  symlinkSync('../../packages/ours', join(root, 'node_modules/@x/ours'));
  // Stands for turbo: what is under test is when it runs, not what it does.
  put(
    root,
    'node_modules/.bin/turbo',
    '#!/bin/sh\necho run >> runs.log\n[ ! -e fail ] || { echo "a type error"; exit 2; }\nmkdir -p packages/ours/dist\n',
    0o755,
  );
  return directory;
}

test('packages count as installed only when everything the lock file wants for this platform is there', async () => {
  await using directory = await checkout();
  const root = directory.path;
  expect(isInstalled(root)).toBe(true);

  rmSync(join(root, 'node_modules/theirs'), { recursive: true });
  expect(isInstalled(root)).toBe(false);
  put(root, 'node_modules/theirs/package.json', {});
  expect(isInstalled(root)).toBe(true);

  renameSync(join(root, 'node_modules/@x/ours'), join(root, 'node_modules/@x/other'));
  expect(isInstalled(root)).toBe(false);
  renameSync(join(root, 'node_modules/@x/other'), join(root, 'node_modules/@x/ours'));

  put(root, 'package-lock.json', { packages: { 'node_modules/theirs': { version: '1.2.4' } } });
  expect(isInstalled(root)).toBe(false);
});

test('an install that was interrupted is seen, since npm writes its own list last', async () => {
  await using directory = await checkout();
  rmSync(join(directory.path, 'node_modules/.package-lock.json'));
  expect(isInstalled(directory.path)).toBe(false);
});

test('a build is done once, and again when a source changes, appears or goes, or its output is gone', async () => {
  await using directory = await checkout();
  const root = directory.path;
  const log = () => {};
  expect(isBuilt(root)).toBe(false);
  await build(root, log);
  expect(isBuilt(root)).toBe(true);

  utimesSync(join(root, 'packages/ours/src/index.ts'), 1, 1);
  expect(isBuilt(root)).toBe(false);
  await build(root, log);
  put(root, 'packages/ours/src/two.ts', '');
  expect(isBuilt(root)).toBe(false);
  await build(root, log);
  rmSync(join(root, 'packages/ours/src/two.ts'));
  expect(isBuilt(root)).toBe(false);
  await build(root, log);
  put(root, 'packages/ours/test/some.test.ts', '');
  expect(isBuilt(root)).toBe(true);
  rmSync(join(root, 'packages/ours/dist'), { recursive: true });
  expect(isBuilt(root)).toBe(false);
});

test('a build that failed is not taken for done, even when the change that broke it is taken back', async () => {
  await using directory = await checkout();
  const root = directory.path;
  await build(root, () => {});
  put(root, 'fail', '');
  await expect(build(root, () => {})).rejects.toThrow('a type error');
  expect(isBuilt(root)).toBe(false);
});

test('a nested npm hears nothing of the outer one but the settings of its user', () => {
  const before = { ...process.env };
  Object.assign(process.env, {
    npm_lifecycle_event: 'test',
    npm_package_name: 'manyhands',
    npm_config_local_prefix: '/elsewhere',
    npm_config_omit: 'dev',
    npm_config_registry: 'http://localhost:4873',
    INIT_CWD: '/elsewhere',
    NODE_ENV: 'production',
  });
  try {
    const env = npmEnv();
    for (const name of ['npm_lifecycle_event', 'npm_package_name', 'npm_config_local_prefix', 'npm_config_omit', 'INIT_CWD', 'NODE_ENV'])
      expect(env[name]).toBeUndefined();
    expect(env['npm_config_registry']).toBe('http://localhost:4873');
    expect(env['PATH']?.startsWith(dirname(process.execPath))).toBe(true);
  } finally {
    process.env = before;
  }
});
