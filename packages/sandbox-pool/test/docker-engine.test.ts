/** Engines that are absent, slow, wrong or broken: what the pool makes of them. Scripted ones speak the engine's HTTP on a real socket. */
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import path from 'node:path';
import { Duplex, PassThrough, Readable } from 'node:stream';
import { silentLogger, type TemporaryDirectory, temporaryDirectory, until } from '@manyhands/test-kit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { connectEngine, engineFacts, explainEngineError, isEngineAway } from '../src/drivers/docker/engine.ts';
import { parseDockerHost } from '../src/drivers/docker/engine-address.ts';
import { checkEngine } from '../src/drivers/docker/engine-check.ts';
import { createRelayChannel } from '../src/drivers/docker/relay-channel.ts';
import { unpackOutput } from '../src/drivers/docker/relay-stream.ts';
import { filterDeb822, filterOneLine, readDebianRelease } from '../src/images/debian-sources.ts';
import { followProgress } from '../src/images/engine-progress.ts';
import { baseOf, readRecipe } from '../src/images/image-recipe.ts';
import { createDockerDriver, sandboxDirectory } from '../src/index.ts';
import { dockerOptions } from './docker-host.ts';

let directory: TemporaryDirectory;
let servers: Server[];
beforeEach(async () => {
  directory = await temporaryDirectory('engine');
  servers = [];
});
afterEach(async () => {
  for (const server of servers) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  await directory.remove();
});

const socketOf = (name = 'docker.sock') => path.join(directory.path, name);
const hostOf = (name?: string) => `unix://${socketOf(name)}`;
async function serve(listener: RequestListener, name?: string): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(socketOf(name), resolve));
  return hostOf(name);
}
const engineAt = (host: string) => connectEngine(parseDockerHost(host));

interface Facts {
  version?: object;
  info?: object;
}
const answering =
  ({ version = {}, info = {} }: Facts): RequestListener =>
  (request, response) => {
    const answers: Record<string, unknown> = {
      '/version': { Version: '24.0.0', ApiVersion: '1.43', Os: 'linux', Arch: 'amd64', ...version },
      '/info': { Runtimes: { runc: {} }, SecurityOptions: ['name=seccomp,profile=default'], ...info },
      '/networks': [],
    };
    response.end(JSON.stringify(answers[request.url?.replace(/\?.*/, '') ?? ''] ?? {}));
  };

describe('DOCKER_HOST', () => {
  test('is a socket or a port, with TLS where it is asked for', () => {
    expect(parseDockerHost('unix:///run/d.sock').options).toEqual({ socketPath: '/run/d.sock' });
    expect(parseDockerHost('tcp://engine:2375').options).toEqual({ host: 'engine', port: 2375, protocol: 'http' });
    expect(parseDockerHost('tcp://engine:2376').options).toMatchObject({ port: 2376, protocol: 'https' });
    expect(parseDockerHost('tcp://engine', { DOCKER_TLS_VERIFY: '1' }).options).toMatchObject({ port: 2376, protocol: 'https' });
    expect(() => parseDockerHost('tcp://engine:2376', { DOCKER_CERT_PATH: '/nowhere' })).toThrow(/DOCKER_CERT_PATH: there is no file/);
  });

  test('that cannot be used is refused with what is expected', () => {
    for (const host of ['', 'docker', 'ssh://engine', 'http://engine:1'])
      expect(() => parseDockerHost(host)).toThrow(/DOCKER_HOST: expected unix/);
    expect(() => parseDockerHost('unix://relative.sock')).toThrow(/whole path of the socket/);
    expect(() => parseDockerHost(`unix:///${'long/'.repeat(30)}docker.sock`)).toThrow(
      /162 bytes, and Linux takes 107 at most[\s\S]*shorter path/,
    );
  });
});

describe('an engine', () => {
  test('that never answers is given up at the deadline', async () => {
    const engine = engineAt(await serve(() => {}));
    await expect(engine.call('ping', (docker) => docker.ping(), { deadlineMs: 100 })).rejects.toMatchObject({
      code: 'timeout',
      message: expect.stringMatching(/did not answer within 100 ms: ping/) as string,
    });
  });

  test('that is away is waited for as long as asked, and not longer', async () => {
    const engine = engineAt(hostOf());
    const ping = (patienceMs: number) => engine.call('ping', (docker) => docker.ping(), { patienceMs });
    const absent = await ping(0).catch((error: unknown) => error);
    expect(isEngineAway(absent)).toBe(true);
    expect((absent as Error).message).toMatch(/no Docker engine answers at unix:.*ENOENT/);
    const waiting = ping(20_000);
    await serve((_, response) => response.end('OK'));
    await waiting;
  });

  test('that drops its connections, or whose containerd is away, is taken for one that restarts', async () => {
    const dropping = engineAt(await serve((request) => request.socket.destroy()));
    expect(isEngineAway(await dropping.call('ping', (docker) => docker.ping()).catch((error: unknown) => error))).toBe(true);
    const body = JSON.stringify({
      message: 'connection error: desc = "transport: error while dialing: dial unix containerd.sock: connection refused"',
    });
    const half = engineAt(await serve((_, response) => response.writeHead(500).end(body), 'half.sock'));
    expect(isEngineAway(await half.call('ping', (docker) => docker.ping()).catch((error: unknown) => error))).toBe(true);
  });

  test('that is absent, too old, of Windows, rootless, unfiltered or without the runtime: a message that says what to do', async () => {
    await expect(engineFacts(engineAt(hostOf('none.sock')))).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringMatching(/Start the engine, or set DOCKER_HOST/) as string,
    });
    const cases: [facts: Facts, runtime: string | null, message: RegExp][] = [
      [{ version: { ApiVersion: '1.40', Version: '19.03' } }, null, /19\.03 with API 1\.40; Docker 20\.10 \(API 1\.41\) or later/],
      [{ version: { Os: 'windows' } }, null, /runs windows containers; sandboxes need Linux/],
      [{ info: { SecurityOptions: ['name=seccomp,profile=default', 'name=rootless'] } }, null, /is rootless[\s\S]*bubblewrap/],
      [{ info: { SecurityOptions: ['name=apparmor'] } }, null, /without a seccomp filter/],
      [{ info: { SecurityOptions: ['name=seccomp,profile=unconfined'] } }, null, /without a seccomp filter/],
      [{}, 'runsc', /MANYHANDS_SANDBOX_RUNTIME: .* knows no runtime "runsc", but runc; register it/],
    ];
    for (const [index, [facts, runtime, message]] of cases.entries()) {
      const engine = engineAt(await serve(answering(facts), `${index}.sock`));
      await expect(checkEngine(engine, runtime, 0)).rejects.toMatchObject({
        code: 'configuration',
        message: expect.stringMatching(message) as string,
      });
    }
  });

  test('that is full, forbidden or blind says what to do', () => {
    const said = (statusCode: number, message: string) =>
      explainEngineError('create a sandbox', Object.assign(new Error('x'), { statusCode, json: { message } }), 'unix:///d').message;
    expect(said(500, 'write /var/lib: no space left on device')).toMatch(/docker system prune/);
    expect(said(500, 'cannot allocate memory')).toMatch(/MANYHANDS_POOL_MAX/);
    expect(said(400, 'invalid mount config: bind source path does not exist: /x')).toMatch(/MANYHANDS_DATA must be the same path/);
    expect(said(400, 'Unknown runtime specified x')).toMatch(/MANYHANDS_SANDBOX_RUNTIME/);
    const denied = explainEngineError('ping', Object.assign(new Error('connect EACCES'), { code: 'EACCES' }), 'unix:///d');
    expect(denied).toMatchObject({ code: 'configuration', message: expect.stringMatching(/usermod -aG docker/) as string });
  });

  test('that is away does not keep a driver from removing a directory that never had a container', async () => {
    const poolRoot = path.join(directory.path, 'sandboxes');
    await mkdir(path.join(poolRoot, 'sbx_unfinished', 'driver'), { recursive: true });
    const driver = createDockerDriver({ ...dockerOptions(poolRoot, { host: hostOf('none.sock'), image: 'x' }), log: silentLogger });
    await driver.destroy(sandboxDirectory(poolRoot, 'sbx_unfinished'));
    await driver.close();
  });
});

describe('a build', () => {
  test('that fails is told with its last lines, though the status was 200', async () => {
    const lines = [{ stream: 'Step 1/2 : FROM x\n' }, { stream: '\u001b[91mE: no package\u001b[0m\n' }, { error: 'returned 100' }];
    const said: string[] = [];
    const stream = Readable.from(lines.map((line) => `${JSON.stringify(line)}\r\n`));
    await expect(followProgress(stream, { say: (line) => said.push(line), silenceMs: 5_000 })).rejects.toThrow(
      'Step 1/2 : FROM x\nE: no package\nreturned 100',
    );
    expect(said).toEqual(['Step 1/2 : FROM x', 'E: no package']);
  });

  test('that says nothing any more is given up', async () => {
    await expect(followProgress(new PassThrough(), { say: () => {}, silenceMs: 50 })).rejects.toMatchObject({ code: 'timeout' });
  });
});

describe('the recipe of the image', () => {
  test('names another image when any part of it changes', async () => {
    const write = (dockerfile: string, packages: string) =>
      Promise.all([
        writeFile(path.join(directory.path, 'Dockerfile'), dockerfile),
        writeFile(path.join(directory.path, 'packages.txt'), packages),
      ]);
    const digest = (architecture = 'x64', node = '20.1.0') => readRecipe(directory.path, architecture, node).digest;
    await write('FROM a', 'git\n');
    const first = digest();
    expect(first).toMatch(/^[0-9a-f]{12}$/);
    expect([digest('x64', '20.9.9'), digest('arm64'), digest('x64', '22.0.0')].map((other) => other === first)).toEqual([
      true,
      false,
      false,
    ]);
    await write('FROM a', 'git\njq\n');
    const second = digest();
    await write('FROM b', 'git\n');
    expect(new Set([first, second, digest()]).size).toBe(3);
  });

  test('of this repository starts from an ordinary image and names its packages', () => {
    const recipe = readRecipe();
    expect(baseOf(recipe)).toMatch(/^node:\d+-bookworm-slim$/);
    expect(recipe.packages).toEqual(expect.arrayContaining(['bash', 'git', 'python3', 'ripgrep', 'curl']));
    expect(recipe.packages.every((name) => /^[a-z0-9][a-z0-9+.-]+$/.test(name))).toBe(true);
    expect(() => readRecipe('/nowhere')).toThrow(/\/nowhere\/Dockerfile/);
  });
});

describe('apt sources', () => {
  test('are cut down to the release of the host, in both formats', () => {
    const deb822 = filterDeb822(
      'Types: deb\nURIs: http://a\nSuites: bookworm bookworm-updates trixie\nComponents: main\n\n# other\nTypes: deb\nURIs: http://b\nSuites: nodistro\n\n' +
        'Types: deb\nEnabled: no\nURIs: http://c\nSuites: bookworm\n\nTypes: deb-src\nURIs: http://d\nSuites: bookworm\n',
      'bookworm',
    );
    expect(deb822).toBe('Types: deb\nURIs: http://a\nSuites: bookworm bookworm-updates\nComponents: main\n');
    expect(
      filterOneLine(
        '# x\ndeb [signed-by=/k] http://a bookworm-security main\ndeb http://b stable x\ndeb-src http://a bookworm main\n',
        'bookworm',
      ),
    ).toBe('deb [signed-by=/k] http://a bookworm-security main\n');
  });

  test('belong to Debian and its relatives only', () => {
    expect(readDebianRelease('ID=debian\nVERSION_CODENAME=bookworm\n')).toEqual({ id: 'debian', codename: 'bookworm' });
    expect(readDebianRelease('ID="mint"\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=x\n')?.codename).toBe('x');
    expect(readDebianRelease('ID=fedora\nVERSION_CODENAME=x\n')).toBeNull();
    expect(readDebianRelease('ID=debian\n')).toBeNull();
  });
});

describe('a relay', () => {
  const frame = (kind: number, text: string) => {
    const header = Buffer.alloc(8);
    header[0] = kind;
    header.writeUInt32BE(Buffer.byteLength(text), 4);
    return Buffer.concat([header, Buffer.from(text)]);
  };

  test('is read whatever way its bytes are cut; what it says on stderr is dropped; nonsense ends it', async () => {
    const bytes = Buffer.concat([frame(1, 'hello '), frame(2, 'noise'), frame(1, 'world')]);
    const raw = new PassThrough();
    const plain = unpackOutput(Duplex.from({ readable: raw, writable: new PassThrough() }));
    let text = '';
    plain.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    for (const byte of bytes) raw.write(Buffer.from([byte]));
    await until(() => text === 'hello world', { what: 'all of it arrives' });
    const ended = new Promise((resolve) => plain.once('error', resolve));
    raw.write(Buffer.alloc(8, 9));
    expect(await ended).toMatchObject({ message: expect.stringMatching(/broke its stream format/) as string });
  });

  test('that cannot be opened while the engine is away costs time, not the sandbox; the end of the container ends the channel', async () => {
    let running: boolean | null = null;
    const channel = createRelayChannel({
      open: () => Promise.reject(new Error('the engine is away')),
      isRunning: () => (running === null ? Promise.reject(new Error('the engine is away')) : Promise.resolve(running)),
    });
    await expect(channel.request({ op: 'ping' }, 100)).rejects.toMatchObject({ code: 'timeout' });
    expect(channel.isOpen).toBe(true);
    running = false;
    expect(await channel.closed).toBe('the container ended');
    await expect(channel.request({ op: 'ping' }, 100)).rejects.toMatchObject({ code: 'unavailable' });
  });
});
