/**
 * The root file system of the base image from Debian packages, for hosts that no registry answers. Built by mmdebstrap as root into a draft
 * and renamed, so that the cache holds whole files only. The caller holds the lock of the cache.
 *
 * Node is this process's own program: the sandbox daemon was tested with it, and Debian's may be older.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { AppError } from '@manyhands/base';
import { collectSources, readDebianRelease } from './debian-sources.ts';
import { AGENT_UID, type ImageRecipe } from './image-recipe.ts';

const SHOWN_LINES = 15;
const DRAFT_PREFIX = 'draft-';
const LEFT_OUT = ['/usr/share/man/*', '/usr/share/doc/*', '/usr/share/locale/*', '/usr/share/info/*', '/usr/share/lintian/*'];
const MOUNT_POINTS = [
  ...['/workspace', '/mnt/session/outputs', '/mnt/session/uploads', '/run/manyhands', '/run/egress', '/run/exchange'],
  ...['/var/cache/agent', '/opt/manyhands'],
];
const LOCAL_PROGRAMS = '/usr/local';

/** Why a root file system cannot be built here; null if it can. */
export function whyNoDebianRoot(mmdebstrap: string | null): string | null {
  if (mmdebstrap === null) return 'MANYHANDS_MMDEBSTRAP is not set';
  if (!existsSync(mmdebstrap)) return `MANYHANDS_MMDEBSTRAP: there is no file ${mmdebstrap}`;
  if (process.geteuid?.() !== 0) return 'building from Debian packages needs root';
  const release = readRelease();
  if (!release) return 'this system is no Debian or a relative of it';
  if (collectSources(release.codename).length === 0) return `no apt source of ${release.codename} was found in /etc/apt`;
  return null;
}

export const debianRootFile = ({ digest }: ImageRecipe, cache: string) => path.join(cache, `sandbox-${digest}.tar`);

export interface DebianRootOrder {
  recipe: ImageRecipe;
  mmdebstrap: string;
  cache: string;
  hostEnvironment: Record<string, string | undefined>;
  say: (line: string) => void;
}

/** The path of the root file system in the cache, built if it is not there. */
export async function provideDebianRoot(order: DebianRootOrder): Promise<string> {
  const { recipe, cache, say } = order;
  const file = debianRootFile(recipe, cache);
  if (existsSync(file)) {
    say(`the root file system is in the cache: ${file}`);
    return file;
  }
  for (const name of await readdir(cache))
    if (name.startsWith(DRAFT_PREFIX)) await rm(path.join(cache, name), { recursive: true, force: true });
  const draft = path.join(cache, `${DRAFT_PREFIX}${process.pid}`);
  await mkdir(draft, { recursive: true });
  try {
    const tar = path.join(draft, 'root.tar');
    await runMmdebstrap(order, await mmdebstrapArguments(recipe, draft, tar), draft);
    await rename(tar, file);
    return file;
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

function readRelease() {
  return existsSync('/etc/os-release') ? readDebianRelease(readFileSync('/etc/os-release', 'utf8')) : null;
}

async function mmdebstrapArguments(recipe: ImageRecipe, draft: string, tar: string): Promise<string[]> {
  const codename = readRelease()?.codename ?? '';
  const sources = collectSources(codename);
  for (const { name, text } of sources) await writeFile(path.join(draft, name), text);
  const hook = path.join(draft, 'customize');
  await writeFile(hook, customizeScript(), { mode: 0o755 });
  return [
    ...['--mode=root', '--variant=essential', `--include=${recipe.packages.join(',')}`],
    ...LEFT_OUT.map((pattern) => `--dpkgopt=path-exclude=${pattern}`),
    ...['--aptopt=APT::Install-Recommends "false"', `--customize-hook=${hook}`],
    ...[codename, tar, ...sources.map(({ name }) => path.join(draft, name))],
  ];
}

/** Runs with the new root as $1. In step with deploy/sandbox/Dockerfile, whose text names the image: a change here is a change there. */
function customizeScript(): string {
  const node = realpathSync(process.execPath);
  const npm = path.join(path.dirname(node), '../lib/node_modules/npm');
  const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
  const npmLinks = ['npm', 'npx'].map((name) => `ln -s ../lib/node_modules/npm/bin/${name}-cli.js "$1${LOCAL_PROGRAMS}/bin/${name}"`);
  return [
    '#!/bin/sh',
    'set -e',
    `cp ${quote(node)} "$1${LOCAL_PROGRAMS}/bin/node"`,
    ...(existsSync(npm)
      ? [`mkdir -p "$1${LOCAL_PROGRAMS}/lib/node_modules"`, `cp -r ${quote(npm)} "$1${LOCAL_PROGRAMS}/lib/node_modules/npm"`, ...npmLinks]
      : []),
    `chroot "$1" useradd --uid ${AGENT_UID} --user-group --home-dir /workspace --no-create-home --shell /bin/bash agent`,
    `mkdir -p ${MOUNT_POINTS.map((point) => `"$1${point}"`).join(' ')}`,
    `chown ${AGENT_UID}:${AGENT_UID} "$1/workspace" "$1/mnt/session/outputs" "$1/run/manyhands" "$1/run/exchange" "$1/var/cache/agent"`,
    'rm -rf "$1/var/tmp"',
    'ln -s /tmp "$1/var/tmp"',
    'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/log/*',
    '',
  ].join('\n');
}

/** The program is ended with this process, even by kill -9; its temporary directory is in the draft. */
function runMmdebstrap({ mmdebstrap: program, hostEnvironment, say }: DebianRootOrder, args: string[], draft: string): Promise<void> {
  const last: string[] = [];
  const searchPath = `${path.dirname(program)}:${hostEnvironment['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin'}`;
  return new Promise((resolve, reject) => {
    const child = spawn('setpriv', ['--pdeathsig', 'TERM', '--', program, ...args], {
      cwd: '/',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...hostEnvironment, PATH: searchPath, TMPDIR: draft },
    });
    const stop = () => child.kill('SIGTERM');
    process.once('SIGTERM', stop).once('SIGINT', stop);
    let rest = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        const lines = (rest + chunk).split(/[\n\r]/);
        rest = lines.pop() ?? '';
        for (const line of lines.map((text) => text.trim()).filter((text) => text !== '')) {
          last.push(line);
          if (last.length > SHOWN_LINES) last.shift();
          say(line);
        }
      });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      process.off('SIGTERM', stop).off('SIGINT', stop);
      if (code === 0) return resolve();
      reject(new AppError('configuration', `mmdebstrap ended with ${signal ?? `status ${code}`}:\n${last.join('\n')}`));
    });
  });
}
