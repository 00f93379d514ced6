import { existsSync } from 'node:fs';
import { findEngine } from '@manyhands/infra';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  engineUnavailable,
  leftovers,
  type PrivateEngine,
  privateEngine,
  privateEngineUnavailable,
  testEngine,
  until,
} from '../src/index.ts';

/** An image may have to be made. */
const FIRST_MS = 600_000;
const reason = (why: string | null) => (why === null ? '' : ` (skipped: ${why})`);
const state = async (host: string) => (await findEngine({ environment: { DOCKER_HOST: host }, deadlineMs: 1_000 })).state;

describe.skipIf(engineUnavailable() !== null)(`the engine for tests${reason(engineUnavailable())}`, () => {
  test('answers and has the base image', { timeout: FIRST_MS }, async () => {
    await using engine = await testEngine();
    expect(await state(engine.host)).toBe('ok');
    expect(engine.image).toMatch(/^manyhands\/sandbox:/);
  });
});

describe.skipIf(privateEngineUnavailable() !== null)(`an engine of its own${reason(privateEngineUnavailable())}`, () => {
  let engine: PrivateEngine;
  beforeAll(async () => {
    engine = await privateEngine();
  }, FIRST_MS);
  afterAll(async () => {
    await engine[Symbol.asyncDispose]();
    const traces = [engine.host.replace('unix://', ''), engine.logFile];
    expect(traces.filter(existsSync)).toEqual([]);
    expect(leftovers(engine.logFile.replace(/^.*\/([^/]+)\/[^/]+$/, '$1'))).toEqual([]);
  }, 60_000);

  test('can be killed and started again, and then answers at the same place under other pids', { timeout: 120_000 }, async () => {
    const { dockerdPid, containerdPid } = engine;
    await engine.killDockerd();
    expect(await state(engine.host)).toBe('none');
    await engine.killContainerd();
    await engine.startContainerd();
    await engine.startDockerd();
    expect(await state(engine.host)).toBe('ok');
    expect(engine.dockerdPid).not.toBe(dockerdPid);
    expect(engine.containerdPid).not.toBe(containerdPid);
  });

  test('answers nothing while it is paused', { timeout: 60_000 }, async () => {
    engine.pauseDockerd();
    expect(await state(engine.host)).toBe('slow');
    engine.resumeDockerd();
    await until(async () => (await state(engine.host)) === 'ok', { what: 'it answers again' });
  });
});
