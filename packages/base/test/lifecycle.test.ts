import { spawn } from 'node:child_process';
import { expect, test } from 'vitest';

/** A process of ours, from the build as `up` starts it; what it writes to stderr, and how it ends. */
async function run(program: string) {
  const base = new URL('../dist/index.js', import.meta.url).href;
  const text = `import { AppError, createLifecycle, createLogger, runMain } from ${JSON.stringify(base)};
    const life = createLifecycle(createLogger('test', 'silent'), {});
    life.onShutdown('closer', () => process.stdout.write('closed'));
    ${program}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', text], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    out += part;
  });
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    err += part;
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, out, err };
}

test('a process that ends because of a failure says why in one line, and closes what it has', async () => {
  expect(await run(`void life.shutdown('the data is newer', 1);`)).toEqual({ code: 1, out: 'closed', err: 'the data is newer\n' });
});

test('a process that was asked to end says nothing', async () => {
  expect(await run(`void life.shutdown('SIGTERM');`)).toEqual({ code: 0, out: 'closed', err: '' });
});

test('a start that fails says why in one line', async () => {
  const failing = `runMain(async () => { throw new AppError('newer_format', 'the data is newer'); });`;
  expect(await run(failing)).toEqual({ code: 1, out: '', err: 'the data is newer\n' });
});
