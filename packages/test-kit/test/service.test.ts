import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { leftovers, spawnService, temporaryDirectory, until } from '../src/index.ts';

/** A process that behaves as ours do, with what each test needs of it. */
async function script(body: string) {
  const directory = await temporaryDirectory('service');
  const entry = join(directory.path, 'service.mjs');
  writeFileSync(entry, `import { writeSync } from 'node:fs';\n${body}\n`);
  return { entry, [Symbol.asyncDispose]: directory.remove };
}
const READY = "writeSync(Number(process.env.MANYHANDS_READY_FD), JSON.stringify({ ready: true, port: 7 }) + '\\n');";
const LIVE = 'setInterval(() => {}, 1000);';

test('a service is handed over when it says that it is ready, with its facts, and is gone at the end of the block', async () => {
  await using source = await script(`console.log('hello', process.env.GIVEN, process.env.VITEST); ${READY} ${LIVE}`);
  {
    await using service = await spawnService({ name: 'it', entry: source.entry, env: { GIVEN: 'this' } });
    expect(service.ready).toEqual({ ready: true, port: 7 });
    // Nothing of the test's own environment gets in.
    await until(() => service.output() === 'hello this undefined\n', { what: 'its output arrived' });
    expect(leftovers(source.entry)).toHaveLength(1);
  }
  expect(leftovers(source.entry)).toEqual([]);
});

test('a service that ends before it is ready is an error with its last words', async () => {
  await using source = await script("console.error('no such database'); process.exit(3);");
  await expect(spawnService({ name: 'it', entry: source.entry })).rejects.toThrow(
    /it did not become ready: ended with code 3[\s\S]*no such database/,
  );
});

test('a service that never gets ready is ended', async () => {
  await using source = await script(LIVE);
  await expect(spawnService({ name: 'it', entry: source.entry, readyTimeoutMs: 500 })).rejects.toThrow('nothing within 500 ms');
  expect(leftovers(source.entry)).toEqual([]);
});

test('kill answers how the service ended', async () => {
  await using source = await script(`${READY} ${LIVE}`);
  await using service = await spawnService({ name: 'it', entry: source.entry });
  expect(await service.kill()).toEqual({ code: null, signal: 'SIGKILL' });
});

test('an orphaned service sees the end of its stdin', async () => {
  await using source = await script(`process.stdin.on('end', () => process.exit(9)).resume(); ${READY} ${LIVE}`);
  await using service = await spawnService({ name: 'it', entry: source.entry });
  service.orphan();
  expect(await service.exited).toEqual({ code: 9, signal: null });
});

test('waiting in vain tells what was waited for and the last error', async () => {
  const failing = () => {
    throw new Error('not yet there');
  };
  await expect(until(failing, { what: 'the moon', timeoutMs: 50 })).rejects.toThrow(
    'Waited 50 ms in vain: the moon; last error: not yet there',
  );
});
