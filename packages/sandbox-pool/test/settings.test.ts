import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { loadEnv, randomIds } from '@manyhands/base';
import { temporaryDirectory } from '@manyhands/test-kit';
import { describe, expect, test } from 'vitest';
import { createUidPicker, usableRange } from '../src/drivers/bubblewrap/host-identity.ts';
import { detectHierarchies } from '../src/drivers/bubblewrap/limit-groups.ts';
import { explainFailure } from '../src/drivers/bubblewrap/remedies.ts';
import { providePrograms } from '../src/drivers/bubblewrap/system-view.ts';
import { findProgram } from '../src/drivers/find-program.ts';
import { identifyProcess, isAlive, parseStat, signalProcess } from '../src/drivers/process-identity.ts';
import { sandboxDirectory } from '../src/files/sandbox-directory.ts';
import { openPoolDirectory } from '../src/index.ts';
import { creationConcurrency, defaultMaximum, PoolEnv } from '../src/service/env.ts';

describe('settings', () => {
  test('have defaults that fit the machine', () => {
    const env = loadEnv(PoolEnv, {});
    expect(env).toMatchObject({
      MANYHANDS_HOST_ID: 'local',
      MANYHANDS_POOL_WARM: 2,
      MANYHANDS_SANDBOX_GRACE_MS: 60_000,
      MANYHANDS_EGRESS: 'on',
    });
    expect(defaultMaximum(2, 24 * 2 ** 30)).toBe(64);
    expect(defaultMaximum(16, 2 * 2 ** 30)).toBe(8);
    expect(defaultMaximum(1, 2 ** 28)).toBe(4);
    expect([1, 2, 3, 64].map(creationConcurrency)).toEqual([2, 2, 3, 4]);
  });

  test('that are wrong are all named, with what they expect', () => {
    expect(() =>
      loadEnv(PoolEnv, { MANYHANDS_POOL_MAX: '0', MANYHANDS_SANDBOX_PIDS: 'many', MANYHANDS_EGRESS: 'maybe', MANYHANDS_HOST_ID: 'a.b' }),
    ).toThrow(/MANYHANDS_HOST_ID: must be letters[\s\S]*MANYHANDS_POOL_MAX[\s\S]*MANYHANDS_SANDBOX_PIDS[\s\S]*MANYHANDS_EGRESS/);
  });

  test('name programs by path or by name', async () => {
    await using directory = await temporaryDirectory('programs');
    const program = path.join(directory.path, 'tool');
    await writeFile(program, '');
    expect(() => findProgram('MANYHANDS_RG', program, '')).toThrow(/MANYHANDS_RG: .*tool was not found or may not be run/);
    await chmod(program, 0o755);
    expect(findProgram('MANYHANDS_RG', program, '')).toBe(program);
    expect(findProgram('MANYHANDS_RG', 'tool', `/nowhere:${directory.path}`)).toBe(program);
  });
});

describe('programs for sandboxes', () => {
  test('that only their owner may read are copied; a new build never changes what a running sandbox has', async () => {
    await using directory = await temporaryDirectory('programs');
    const [node, daemon] = ['node', 'hand.mjs'].map((name) => path.join(directory.path, name)) as [string, string];
    await writeFile(node, 'node', { mode: 0o755 });
    await writeFile(daemon, 'one', { mode: 0o600 });
    const runtime = path.join(directory.path, 'runtime');
    const first = await providePrograms({ node, daemon, ripgrep: null }, runtime);
    const { ino } = await stat(first.daemon);
    await writeFile(daemon, 'two');
    const second = await providePrograms({ node, daemon, ripgrep: null }, runtime);
    expect(first.node).toBe(node);
    expect(await readFile(second.daemon, 'utf8')).toBe('two');
    expect((await stat(second.daemon)).ino).not.toBe(ino);
    expect((await stat(second.daemon)).mode & 0o777).toBe(0o555);
  });
});

describe('users of sandboxes', () => {
  test('come from a range that the user namespace of the pool can name', () => {
    expect(usableRange('         0          0 4294967295\n')).toEqual({ first: 2_000_000, count: 30_000 });
    expect(usableRange('         0     100000      65536\n')).toEqual({ first: 30_000, count: 30_000 });
    expect(usableRange('         0       1000          1\n')).toBeNull();
  });

  test('are never given twice while in use, nor when a process runs under them', () => {
    const draws = [0, 0.4, 0.4, 0.9];
    const picker = createUidPicker(
      { first: 100, count: 3 },
      () => draws.shift() ?? 0,
      (uid) => uid === 100,
    );
    expect([picker.take(), picker.take()]).toEqual([101, 102]);
    picker.free(101);
    draws.push(0.4);
    expect(picker.take()).toBe(101);
    // This very process runs under its user: never drawn by the check that is used for real.
    const own = process.geteuid?.() ?? 0;
    const real = [0, 0.9];
    expect(createUidPicker({ first: own, count: 1_000_000 }, () => real.shift() ?? 0.8).take()).toBeGreaterThan(own);
  });
});

describe('a host', () => {
  test('without control groups that can be written has none', () => {
    expect(detectHierarchies('proc /proc proc rw 0 0\ncgroup2 /nowhere cgroup2 rw 0 0\n')).toEqual([]);
  });

  test('that forbids user namespaces is told what to type', () => {
    expect(explainFailure('bwrap: No permissions to create new namespace')).toMatch(
      /kernel.unprivileged_userns_clone=1[\s\S]*apparmor_restrict_unprivileged_userns=0/,
    );
    expect(explainFailure('bwrap: setting up uid map: Permission denied')).toMatch(/run the pool as root/);
    expect(explainFailure('bwrap: Unknown option --size')).toMatch(/0\.7 or later/);
    expect(explainFailure('')).toMatch(/without a word/);
  });
});

describe('a process', () => {
  test('is known by its start, not by its pid', () => {
    const self = identifyProcess(process.pid);
    expect(self && isAlive(self)).toBe(true);
    if (!self) return;
    const other = { ...self, start_ticks: '1' };
    expect(isAlive(other)).toBe(false);
    expect(isAlive({ ...self, boot_id: 'another boot' })).toBe(false);
    // Would end this test if it believed the pid.
    signalProcess(other, 'SIGKILL');
  });

  test('may have any name', () => {
    const fields = Array.from({ length: 30 }, (_, index) => String(index)).join(' ');
    expect(parseStat(`42 (a ) b (c) S ${fields}`)).toEqual({ pid: 42, state: 'S', startTicks: '18' });
    expect(parseStat('')).toBeNull();
  });
});

describe('directories', () => {
  test('of sandboxes cannot be led elsewhere by an id', () => {
    for (const id of ['../x', 'sbx_', 'sbx_a/../../b', 'sbx_aaaaaaaa\n', ''])
      expect(() => sandboxDirectory('/nowhere', id)).toThrow(/not a sandbox id/);
  });

  test('of a pool keep its id', async () => {
    await using directory = await temporaryDirectory('pool-directory');
    const root = path.join(directory.path, 'sandboxes');
    const { poolId } = await openPoolDirectory(root, randomIds);
    expect(await openPoolDirectory(root, randomIds)).toEqual({ poolId });
    expect((await stat(root)).mode & 0o777).toBe(0o700);
    await mkdir(path.join(root, 'sbx_other'));
  });
});
