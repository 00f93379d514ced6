import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { engineUnavailable, silentLogger, temporaryDirectory, testEngine } from '@manyhands/test-kit';
import { describe, expect, test, vi } from 'vitest';
import { createDockerDriver } from '../src/index.ts';
import { describeSandboxDriver } from '../src/testing.ts';
import { dockerHost, dockerOptions } from './docker-host.ts';

const CHECKER = fileURLToPath(new URL('check-docker.mjs', import.meta.url));
const missing = engineUnavailable();
// Run by itself, this file may have to make the image first.
vi.setConfig({ hookTimeout: 300_000 });

describe.skipIf(missing !== null)(missing ?? 'with a Docker engine', () => {
  describeSandboxDriver('docker', async () => {
    const engine = await testEngine();
    const host = await dockerHost(engine);
    return {
      ...host,
      async dispose() {
        await host.dispose();
        await engine[Symbol.asyncDispose]();
      },
    };
  });

  test('a wrong image or runtime is refused before any sandbox is made', async () => {
    await using engine = await testEngine();
    await using directory = await temporaryDirectory('docker-settings');
    const check = async (change: object) => {
      const driver = createDockerDriver({ ...dockerOptions(directory.path, engine), ...change, log: silentLogger });
      await driver.check().finally(() => driver.close());
    };
    await expect(check({ image: 'manyhands-test/absent:1' })).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringMatching(
        /^MANYHANDS_SANDBOX_IMAGE: manyhands-test\/absent:1 is not on the engine and could not be pulled/,
      ) as string,
    });
    await expect(check({ runtime: 'nonesuch' })).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringMatching(/^MANYHANDS_SANDBOX_RUNTIME: .*knows no runtime "nonesuch"/) as string,
    });
    await expect(check({ daemon: '/nowhere/hand.mjs' })).rejects.toThrow(/MANYHANDS_HAND: there is no file/);
  });

  test.skipIf(process.geteuid?.() !== 0)(
    'an engine that does not see the files of the pool is told apart from one that is broken',
    async () => {
      await using engine = await testEngine();
      await using directory = await temporaryDirectory('docker-blind');
      const poolRoot = path.join(directory.path, 'sandboxes');
      await mkdir(poolRoot, { mode: 0o700 });
      // Mounted for this process only: what the engine has at that path is another, empty directory.
      const script = 'mount -t tmpfs -o mode=0700 none "$1" && exec "$2" "$3" "$4"';
      const order = JSON.stringify(dockerOptions(poolRoot, engine));
      const child = spawn('unshare', ['-m', 'sh', '-c', script, 'sh', poolRoot, process.execPath, CHECKER, order], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let said = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
      await new Promise((resolve) => child.once('close', resolve));
      expect(said).toMatch(/^configuration: MANYHANDS_DATA: the Docker engine .* does not see the files in [\s\S]* must be the same path/);
    },
  );
});
