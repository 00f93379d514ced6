/** As much of a Docker client as the tests of an engine need, and an image of a few programs of this machine. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { request } from 'node:http';
import { dirname, join } from 'node:path';
import { temporaryDirectory } from '@manyhands/test-kit';

export const TINY = 'tiny:test';

export interface DockerApi {
  /** The body; an error for everything but 2xx. */
  call(method: string, path: string, body?: object | Buffer): Promise<string>;
  /** Imports the image TINY. */
  importTiny(): Promise<void>;
  /** Starts a container that only sleeps; answers its id. */
  run(): Promise<string>;
  /** What the command said in the container, as it came: with frame headers. */
  exec(id: string, ...command: string[]): Promise<string>;
  /** Pid of the container's first process on this machine; null when it does not run. */
  pid(id: string): Promise<number | null>;
}

export function dockerApi(host: string): DockerApi {
  const socketPath = host.replace(/^unix:\/\//, '');
  function call(method: string, path: string, body?: object | Buffer): Promise<string> {
    const payload = body === undefined || Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
    const type = Buffer.isBuffer(body) ? 'application/x-tar' : 'application/json';
    return new Promise((resolve, reject) => {
      const outgoing = request({ socketPath, method, path, agent: false, headers: { 'content-type': type } }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
        response.on('error', reject);
        response.on('end', () => {
          const status = response.statusCode ?? 0;
          if (status >= 200 && status < 300) resolve(text);
          else reject(new Error(`${method} ${path}: ${status} ${text}`));
        });
      });
      outgoing.on('error', reject);
      outgoing.end(payload);
    });
  }
  return {
    call,
    async importTiny() {
      await call('POST', `/images/create?fromSrc=-&repo=${TINY.replace(':', '&tag=')}`, await tinyRoot());
    },
    async run() {
      const host = { NetworkMode: 'none', Init: true, Memory: 64 * 1024 * 1024, PidsLimit: 32 };
      const created = await call('POST', '/containers/create', { Image: TINY, Cmd: ['/bin/sleep', '600'], HostConfig: host });
      const { Id: id } = JSON.parse(created) as { Id: string };
      await call('POST', `/containers/${id}/start`);
      return id;
    },
    async exec(id, ...command) {
      const made = await call('POST', `/containers/${id}/exec`, { Cmd: command, AttachStdout: true, AttachStderr: true });
      return call('POST', `/exec/${(JSON.parse(made) as { Id: string }).Id}/start`, { Detach: false, Tty: false });
    },
    async pid(id) {
      const { State: state } = JSON.parse(await call('GET', `/containers/${id}/json`)) as { State: { Running: boolean; Pid: number } };
      return state.Running ? state.Pid : null;
    },
  };
}

/** A tar with sh, sleep, cat and their libraries. */
async function tinyRoot(): Promise<Buffer> {
  await using directory = await temporaryDirectory('tiny');
  const add = (file: string) => {
    mkdirSync(join(directory.path, dirname(file)), { recursive: true });
    copyFileSync(file, join(directory.path, file));
  };
  for (const program of ['/bin/sh', '/bin/sleep', '/bin/cat']) {
    add(program);
    const { stdout } = spawnSync('ldd', [program], { encoding: 'utf8' });
    for (const [library] of stdout.matchAll(/\/\S+\.so\S*/g)) add(library);
  }
  const tar = spawnSync('tar', ['-C', directory.path, '-c', '.'], { maxBuffer: 1 << 26 });
  if (tar.status !== 0) throw new Error(`tar failed: ${tar.stderr.toString()}`);
  return tar.stdout;
}
