import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { run } from '../src/processes/run.js';
import { choosePackages } from '../src/programs/debian-packages.js';
import { canFetch, locate } from '../src/programs/locate.js';

const LOCATE = fileURLToPath(new URL('../src/programs/locate.js', import.meta.url));
/** A directory without programs: hides what this machine has installed. */
const NOWHERE = '/nonexistent';

test.skipIf(!canFetch())(
  'with an empty cache and nothing on PATH, every program is fetched without root and starts',
  { timeout: 240_000 },
  async () => {
    await using cache = await temporaryDirectory('cache');
    for (const tool of ['redis', 'nats', 'bubblewrap', 'ripgrep', 'mmdebstrap'] as const) {
      const fetched = await locate(tool, { cacheDir: cache.path, searchPath: NOWHERE });
      expect(fetched.source).toBe('debian');
      expect(fetched.path.startsWith(cache.path)).toBe(true);
      const version = await run(fetched.path, ['--version'], { env: { ...fetched.env } });
      expect(version).toMatchObject({ code: 0 });
      const again = await locate(tool, { cacheDir: cache.path, searchPath: NOWHERE });
      expect(again).toEqual({ ...fetched, source: 'cache' });
    }
  },
);

test.skipIf(!canFetch())(
  'processes that look for the same program at once share one download and all get a working one',
  { timeout: 120_000 },
  async () => {
    await using cache = await temporaryDirectory('cache');
    const script = `
    const { locate } = await import(${JSON.stringify(LOCATE)});
    const found = await locate('nats', { cacheDir: ${JSON.stringify(cache.path)}, searchPath: '${NOWHERE}' });
    console.log(JSON.stringify(found));`;
    const found = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const result = await run(process.execPath, ['--input-type=module', '-e', script]);
        expect(result.stderr).toBe('');
        return JSON.parse(result.stdout) as { source: string; path: string };
      }),
    );
    expect(found.map(({ source }) => source).sort()).toEqual(['cache', 'cache', 'cache', 'debian']);
    expect(new Set(found.map(({ path }) => path)).size).toBe(1);
    const [platform = ''] = readdirSync(cache.path);
    expect(readdirSync(join(cache.path, platform)).sort()).toEqual(['apt', 'nats']);
  },
);

test.skipIf(!canFetch())('a download that is killed half-way leaves nothing that is ever used', { timeout: 120_000 }, async () => {
  await using cache = await temporaryDirectory('cache');
  const script = `
    const { locate } = await import(${JSON.stringify(LOCATE)});
    await locate('nats', { cacheDir: ${JSON.stringify(cache.path)}, searchPath: '${NOWHERE}' });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' });
  const begun = () =>
    readdirSync(cache.path).some((platform) => readdirSync(join(cache.path, platform)).some((name) => name.includes('draft')));
  while (!begun()) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill('SIGKILL');
  await once(child, 'exit');
  const [platform = ''] = readdirSync(cache.path);
  expect(existsSync(join(cache.path, platform, 'nats'))).toBe(false);
  expect(await locate('nats', { cacheDir: cache.path, searchPath: NOWHERE })).toMatchObject({ source: 'debian' });
});

test.skipIf(!canFetch())('on a machine whose package lists were never read, private ones are read', { timeout: 240_000 }, async () => {
  await using place = await temporaryDirectory('lists');
  mkdirSync(join(place.path, 'no-lists', 'partial'), { recursive: true });
  const config = join(place.path, 'apt.conf');
  writeFileSync(config, `Dir::State::lists "${join(place.path, 'no-lists')}/";\n`);
  const script = `
    const { locate } = await import(${JSON.stringify(LOCATE)});
    console.log((await locate('nats', { cacheDir: ${JSON.stringify(place.path)}, searchPath: '${NOWHERE}' })).source);`;
  const result = await run(process.execPath, ['--input-type=module', '-e', script], { env: { ...process.env, APT_CONFIG: config } });
  expect(result).toMatchObject({ code: 0, stdout: 'debian\n' });
  expect(readdirSync(join(place.path, 'no-lists'))).toEqual(['partial']);
});

test('a program on PATH that is too old is passed over, and the error tells why and what to type', async () => {
  await using place = await temporaryDirectory('old');
  const old = join(place.path, 'redis-server');
  writeFileSync(old, '#!/bin/sh\necho "Redis server v=5.0.7"\n');
  chmodSync(old, 0o755);
  // A cache that cannot be made stands for a machine from which nothing can be fetched.
  const blocked = join(place.path, 'blocked');
  writeFileSync(blocked, '');
  const failure = await locate('redis', { cacheDir: blocked, searchPath: place.path }).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(Error);
  const { message } = failure as Error;
  expect(message).toContain(`${old} is version 5.0.7, 7.0 is needed`);
  expect(message).toMatch(/^Type: .*install/m);
  expect(message).toContain('REDIS_URL');
});

test('a program on PATH is preferred to the cache', async () => {
  await using place = await temporaryDirectory('path');
  mkdirSync(join(place.path, 'bin'));
  const program = join(place.path, 'bin', 'valkey-server');
  writeFileSync(program, '#!/bin/sh\necho "Valkey server v=8.1.0"\n');
  chmodSync(program, 0o755);
  const found = await locate('redis', { cacheDir: place.path, searchPath: join(place.path, 'bin') });
  expect(found).toEqual({ path: program, env: {}, source: 'path', version: '8.1.0' });
});

test('library packages are chosen by the names of the libraries that are missing', () => {
  const candidates = ['libatomic1', 'libjemalloc2', 'liblzf1', 'libssl3t64', 'liblua5.1-0'];
  const none = new Set<string>();
  expect(choosePackages(['liblzf.so.1', 'libjemalloc.so.2', 'libssl.so.3', 'liblua5.1.so.0'], candidates, none)).toEqual([
    'liblzf1',
    'libjemalloc2',
    'libssl3t64',
    'liblua5.1-0',
  ]);
  expect(choosePackages(['libsurprise.so.9'], candidates, new Set(['libatomic1']))).toEqual([
    'libjemalloc2',
    'liblzf1',
    'libssl3t64',
    'liblua5.1-0',
  ]);
});
