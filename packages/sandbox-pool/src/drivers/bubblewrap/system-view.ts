/**
 * What a sandbox sees of the host's system: /usr, the few files of /etc that programs need, and our own programs under /opt/manyhands. All of
 * it read-only; nothing of /root, /home, /var, /srv or the rest of /etc.
 */
import { existsSync, lstatSync, readlinkSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { agentEnvironment, copyProgram, userFiles, writeEtc } from '../inside-view.ts';

/** Directories of programs and libraries; links into /usr on merged systems, real directories on others. */
const TOP_DIRECTORIES = ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32'];
/** None of these holds a secret. */
const SHARED_FILES = [
  '/etc/alternatives',
  '/etc/ld.so.cache',
  '/etc/ssl/certs',
  '/etc/ssl/openssl.cnf',
  '/etc/ca-certificates',
  '/etc/pki/tls/certs',
  '/etc/pki/ca-trust/extracted',
  '/etc/services',
  '/etc/protocols',
  '/etc/mime.types',
];
const HOSTS = '127.0.0.1 localhost sandbox\n::1 localhost\n';
const NSSWITCH = 'passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n';

/** Where our programs are inside. The bundle of the sandbox daemon keeps the name hand.mjs: sandboxes that an older version made have it. */
export const INSIDE = {
  node: '/opt/manyhands/bin/node',
  ripgrep: '/opt/manyhands/bin/rg',
  daemon: '/opt/manyhands/hand.mjs',
  path: '/opt/manyhands/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
} as const;

export interface Programs {
  node: string;
  daemon: string;
  ripgrep: string | null;
}

/** bwrap arguments that mount the system. */
export function systemArguments(): string[] {
  const found = ['--ro-bind', '/usr', '/usr'];
  for (const name of TOP_DIRECTORIES) {
    const file = `/${name}`;
    if (!existsSync(file)) continue;
    if (lstatSync(file).isSymbolicLink()) found.push('--symlink', readlinkSync(file), file);
    else found.push('--ro-bind', file, file);
  }
  for (const file of SHARED_FILES) if (existsSync(file)) found.push('--ro-bind', file, file);
  return found;
}

/** bwrap arguments that mount our programs. */
export function programArguments(programs: Programs): string[] {
  return [
    ...['--ro-bind', programs.node, INSIDE.node, '--ro-bind', programs.daemon, INSIDE.daemon],
    ...(programs.ripgrep === null ? [] : ['--ro-bind', programs.ripgrep, INSIDE.ripgrep]),
  ];
}

/**
 * Programs as files that any user may run: itself where it is, or a copy in `directory` where its mode does not allow that. The daemon is always
 * copied, so that a new build never changes under a running sandbox.
 */
export async function providePrograms(programs: Programs, directory: string): Promise<Programs> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const provide = async (source: string, name: string, always: boolean) =>
    !always && (statSync(source).mode & 0o005) === 0o005 ? source : copyProgram(source, path.join(directory, name));
  return {
    node: await provide(programs.node, 'node', false),
    daemon: await provide(programs.daemon, 'hand.mjs', true),
    ripgrep: programs.ripgrep === null ? null : await provide(programs.ripgrep, 'rg', false),
  };
}

/** Writes the files of our own /etc for a sandbox whose user has this id, and returns the arguments that mount them. */
export async function provideEtc(directory: string, uid: number): Promise<string[]> {
  const files = await writeEtc(directory, { ...userFiles(uid, uid), hosts: HOSTS, 'nsswitch.conf': NSSWITCH });
  return files.flatMap(({ file, inside }) => ['--ro-bind', file, inside]);
}

/** The environment a daemon starts with; nothing of the host's. */
export function sandboxEnvironment(): Record<string, string> {
  const bundle = '/etc/ssl/certs/ca-certificates.crt';
  return {
    PATH: INSIDE.path,
    ...agentEnvironment(),
    // Node brings its own list of authorities; this adds the host's.
    ...(existsSync(bundle) ? { NODE_EXTRA_CA_CERTS: bundle } : {}),
  };
}
