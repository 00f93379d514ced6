/** What sandboxes are made of, and that it is there before the pool starts. */

import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { findEngine, processStart } from '@manyhands/infra';
import { temporaryDirectory, until } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { openDataDirectory } from '../src/up/data/data-directory.ts';
import { createSupervisor } from '../src/up/processes/supervisor.ts';
import { chooseSandbox, describeChoice, type SandboxOption } from '../src/up/sandboxes/sandbox-choice.ts';
import { createSandboxSetup } from '../src/up/sandboxes/sandbox-setup.ts';

const NOWHERE = { DOCKER_HOST: 'unix:///nonexistent/docker.sock' };
const NO_ENGINE = 'no Docker engine answers at unix:///nonexistent/docker.sock (ENOENT)';
const hasUsualEngine = (await findEngine({ environment: {} })).state !== 'none';

/** Says of itself what an engine says, and nothing more. */
async function engine() {
  const directory = await temporaryDirectory('engine');
  const path = join(directory.path, 'e.sock');
  const answers = { '/version': { Version: '27.1.2', ApiVersion: '1.46' }, '/info': { OSType: 'linux', Runtimes: { runc: {} } } };
  const server = createServer(({ url }, response) => response.end(JSON.stringify(answers[url as keyof typeof answers]))).listen(path);
  await once(server, 'listening');
  return {
    environment: { DOCKER_HOST: `unix://${path}` },
    host: `unix://${path}`,
    async [Symbol.asyncDispose]() {
      server.close();
      await directory.remove();
    },
  };
}

/** `program` is the script that stands for the one that makes the base image. */
async function fixture(option: SandboxOption, environment: Record<string, string>, program: string) {
  const directory = await temporaryDirectory('sandbox-setup');
  const imageEntry = join(directory.path, 'image-program.mjs');
  writeFileSync(imageEntry, program);
  const data = openDataDirectory(join(directory.path, 'data'));
  const said: string[] = [];
  const log = (line: string) => void said.push(line);
  const supervisor = createSupervisor({ processesFile: data.processesFile, log, onChange: () => {} });
  return {
    setup: createSandboxSetup({ option, environment, data, supervisor, log, imageEntry }),
    said,
    path: directory.path,
    [Symbol.asyncDispose]: directory.remove,
  };
}

test('where an engine can be used, sandboxes are its containers', async () => {
  await using fake = await engine();
  const choice = await chooseSandbox('auto', fake.environment);
  expect(choice).toMatchObject({ driver: 'docker', engine: { host: fake.host }, optional: true });
  expect(describeChoice(choice)).toBe(`sandboxes: containers of Docker 27.1.2 at ${fake.host}`);
  expect(await chooseSandbox('docker', fake.environment)).toMatchObject({ driver: 'docker', optional: false });
  expect(await chooseSandbox('bubblewrap', fake.environment)).toEqual({ driver: 'bubblewrap', why: null });
});

test.skipIf(process.platform !== 'linux')('where no engine can be used, they are of bubblewrap, and one line says why', async () => {
  expect(describeChoice(await chooseSandbox('auto', NOWHERE))).toBe(`sandboxes: bubblewrap, since ${NO_ENGINE}`);
  expect(describeChoice(await chooseSandbox('auto', { DOCKER_HOST: 'ssh://me@far' }))).toContain('an engine behind ssh is not supported');
});

test('an engine that the user named and that cannot be used is an error with a remedy, and never replaced by one of our own', async () => {
  await expect(chooseSandbox('docker', NOWHERE, () => null)).rejects.toThrow(`--sandbox docker: ${NO_ENGINE}.\nStart it`);
  const wants = { ...NOWHERE, MANYHANDS_SANDBOX_IMAGE: 'mine:1' };
  await expect(chooseSandbox('auto', wants, () => null)).rejects.toThrow(NO_ENGINE);
});

test.skipIf(hasUsualEngine)(
  `without an engine docker means one of our own, or an error that says what to do${hasUsualEngine ? ' (an engine is here)' : ''}`,
  async () => {
    const choice = await chooseSandbox('docker', {}, () => null);
    expect(choice).toMatchObject({ driver: 'docker', engine: null });
    expect(describeChoice(choice)).toContain('sandboxes: containers of a Docker engine of our own, since no Docker engine answers');
    await expect(chooseSandbox('docker', {}, () => 'a Docker engine of our own needs root')).rejects.toThrow(
      /^--sandbox docker: no Docker engine answers at unix:\/\/\/var\/run\/docker\.sock[\s\S]*needs root\. Start as root, or use --sandbox bubblewrap\.$/,
    );
  },
);

test('settings of containers are refused where there are none, and a runtime that the engine lacks is named', async () => {
  await expect(chooseSandbox('bubblewrap', { MANYHANDS_SANDBOX_IMAGE: 'mine:1' })).rejects.toThrow(
    'MANYHANDS_SANDBOX_IMAGE is for --sandbox docker',
  );
  await using fake = await engine();
  await expect(chooseSandbox('auto', { ...fake.environment, MANYHANDS_SANDBOX_RUNTIME: 'runsc' })).rejects.toThrow(
    `MANYHANDS_SANDBOX_RUNTIME: the engine at ${fake.host} has runc, not "runsc".`,
  );
});

test('the pool is told the engine and the image, and people the progress', async () => {
  await using fake = await engine();
  await using fix = await fixture(
    'docker',
    fake.environment,
    `console.error('unpacking'); console.error(process.env.MANYHANDS_CACHE); console.log(JSON.stringify({ image: 'made:' + process.env.DOCKER_HOST }));`,
  );
  expect(await fix.setup.prepare()).toEqual({
    MANYHANDS_SANDBOX_DRIVER: 'docker',
    DOCKER_HOST: fake.host,
    MANYHANDS_SANDBOX_IMAGE: `made:${fake.host}`,
  });
  expect(fix.said).toEqual(
    expect.arrayContaining(['sandbox image: unpacking', expect.stringMatching(/^sandbox image: .*manyhands\/images$/)]),
  );
});

test("the user's own image reaches the program that gets it", async () => {
  await using fake = await engine();
  const environment = { ...fake.environment, MANYHANDS_SANDBOX_IMAGE: 'mine:1' };
  await using fix = await fixture('auto', environment, 'console.log(JSON.stringify({ image: process.env.MANYHANDS_SANDBOX_IMAGE }));');
  expect(await fix.setup.prepare()).toMatchObject({ MANYHANDS_SANDBOX_IMAGE: 'mine:1' });
});

const FAILS = "console.error('no registry answers'); process.exit(1);";

test('an image that cannot be had ends the start when containers are wanted', async () => {
  await using fake = await engine();
  await using fix = await fixture('docker', fake.environment, FAILS);
  await expect(fix.setup.prepare()).rejects.toThrow('The base image of the sandboxes cannot be had: no registry answers');
});

test.skipIf(process.platform !== 'linux')('an image that cannot be had means bubblewrap when that would do, and is told', async () => {
  await using fake = await engine();
  await using fix = await fixture('auto', fake.environment, FAILS);
  expect(await fix.setup.prepare()).toMatchObject({ MANYHANDS_SANDBOX_DRIVER: 'bubblewrap', MANYHANDS_BWRAP: expect.any(String) });
  expect(fix.said.at(-1)).toMatch(/^sandboxes: bubblewrap after all\. .*no registry answers/);
});

test('an end while the image is made ends the making, with what it had started', async () => {
  await using fake = await engine();
  const program = `
    import { spawn } from 'node:child_process';
    import { writeFileSync } from 'node:fs';
    import { join } from 'node:path';
    const { pid } = spawn('sleep', ['600'], { stdio: 'ignore' });
    writeFileSync(join(import.meta.dirname, 'pids'), process.pid + ' ' + pid);
    setInterval(() => {}, 1000);`;
  await using fix = await fixture('docker', fake.environment, program);
  const prepared = fix.setup.prepare().catch((error: unknown) => error);
  const file = join(fix.path, 'pids');
  await until(() => existsSync(file) && readFileSync(file, 'utf8').includes(' '), { what: 'the program runs' });
  const pids = readFileSync(file, 'utf8').split(' ').map(Number);
  await fix.setup.end();
  expect(await prepared).toBeInstanceOf(Error);
  for (const pid of pids) await until(() => processStart(pid) === null, { what: `process ${pid} ended` });
});
