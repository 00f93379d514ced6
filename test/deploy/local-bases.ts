/**
 * The public images that deploy/ builds on, where no registry answers: the same names, made from the sandbox image (Debian with Node) and the
 * Redis and NATS of this machine. What the machine needs to reach the npm registry goes in here and nowhere else.
 */
import { execFile, spawn } from 'node:child_process';
import { copyFile, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { locate } from '@manyhands/infra';
import { temporaryDirectory } from '@manyhands/test-kit';
import type Docker from 'dockerode';
import { followBuild, hasImage } from './images.ts';

const run = promisify(execFile);
const PULL_MS = 120_000;
const REDIS_UID = 999;
const CA_FILE = '/etc/ssl/certs/ca-certificates.crt';

type Recipe = (directory: string) => Promise<string[]>;

/** Makes sure that the engine has the images. Returns the names that were made here, to be taken away at the end. */
export async function provideBases(docker: Docker, debian: string, names: readonly string[]): Promise<string[]> {
  const made: string[] = [];
  for (const name of names) {
    if ((await hasImage(docker, name)) || (await pull(docker, name))) continue;
    const [repository = ''] = name.split(':');
    const recipe = RECIPES[repository];
    if (!recipe) throw new Error(`${name} is not on the engine, no registry gives it, and it cannot be made here`);
    await using context = await temporaryDirectory('base');
    const lines = [`FROM ${debian}`, 'USER 0:0', 'WORKDIR /', ...(await recipe(context.path))];
    await writeFile(path.join(context.path, 'Dockerfile'), `${lines.join('\n')}\n`);
    const tar = spawn('tar', ['-c', '-C', context.path, '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
    await followBuild(docker, await docker.buildImage(tar.stdout, { t: name, networkmode: 'none', forcerm: true }));
    made.push(name);
  }
  return made;
}

async function pull(docker: Docker, name: string): Promise<boolean> {
  try {
    const stream = await docker.createImage({ fromImage: name, abortSignal: AbortSignal.timeout(PULL_MS) });
    await followBuild(docker, stream);
    return true;
  } catch {
    return false;
  }
}

const RECIPES: Record<string, Recipe> = {
  async node(directory) {
    const { stdout } = await run('npm', ['config', 'list', '--json'], { cwd: directory });
    const { registry, cafile, userconfig, globalconfig } = JSON.parse(stdout) as Record<string, string | null>;
    const settings = await Promise.all([globalconfig, userconfig].map((file) => readFile(file ?? '', 'utf8').catch(() => '')));
    const lines = settings.flatMap((text) => text.split('\n')).filter((line) => !/^\s*(cafile|registry|prefix|cache)\s*=/.test(line));
    await writeFile(path.join(directory, 'npmrc'), `${[...lines, `registry=${registry}`].join('\n')}\n`);
    const authorities = cafile ?? process.env['NODE_EXTRA_CA_CERTS'] ?? process.env['SSL_CERT_FILE'];
    if (authorities) await copyFile(authorities, path.join(directory, 'ca.crt'));
    return ['COPY npmrc /root/.npmrc', ...(authorities ? [`COPY ca.crt ${CA_FILE}`, `ENV NODE_EXTRA_CA_CERTS=${CA_FILE}`] : [])];
  },
  async redis(directory) {
    const { path: server, env } = await locate('redis');
    await packProgram(directory, 'redis-server', server, env);
    await packProgram(directory, 'redis-cli', path.join(path.dirname(server), 'redis-cli'), env);
    return ['COPY root /', `RUN install -d -o ${REDIS_UID} -g ${REDIS_UID} /data`];
  },
  async nats(directory) {
    const { path: server, env } = await locate('nats');
    await packProgram(directory, 'nats-server', server, env);
    return ['COPY root /'];
  },
};

/** A program with its own loader and libraries, so that it runs on another distribution's files too. */
async function packProgram(directory: string, name: string, program: string, env: Record<string, string>): Promise<void> {
  await stat(program);
  const home = path.join(directory, 'root/opt', name);
  const bin = path.join(directory, 'root/usr/local/bin');
  await mkdir(home, { recursive: true });
  await mkdir(bin, { recursive: true });
  await copyFile(program, path.join(home, name));
  const { stdout } = await run('ldd', [program], { env: { ...process.env, ...env } }).catch(() => ({ stdout: '' }));
  const libraries = [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, library]) => library!);
  for (const library of libraries) await copyFile(library, path.join(home, path.basename(library)));
  const loader = libraries.map((library) => path.basename(library)).find((library) => library.startsWith('ld-'));
  const start = loader === undefined ? `/opt/${name}/${name}` : `/opt/${name}/${loader} --library-path /opt/${name} /opt/${name}/${name}`;
  await writeFile(path.join(bin, name), `#!/bin/sh\nexec ${start} "$@"\n`, { mode: 0o755 });
}
