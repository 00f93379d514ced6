/**
 * What a sandbox sees of the host's system: /usr, the few files of /etc that programs need, and our own programs under /opt/manyhands. All of
 * it read-only; nothing of /root, /home, /var, /srv or the rest of /etc.
 */
import { existsSync, lstatSync, readlinkSync, statSync } from 'node:fs';
import { chmod, copyFile, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';

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

/** Where our programs are inside. */
export const INSIDE = {
  node: '/opt/manyhands/bin/node',
  ripgrep: '/opt/manyhands/bin/rg',
  hand: '/opt/manyhands/hand.mjs',
  path: '/opt/manyhands/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
} as const;

export interface Programs {
  node: string;
  hand: string;
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
    ...['--ro-bind', programs.node, INSIDE.node, '--ro-bind', programs.hand, INSIDE.hand],
    ...(programs.ripgrep === null ? [] : ['--ro-bind', programs.ripgrep, INSIDE.ripgrep]),
  ];
}

/**
 * Programs as files that any user may run: itself where it is, or a copy in `directory` where its mode does not allow that. The hand is always
 * copied, so that a new build never changes under a running sandbox.
 */
export async function providePrograms(programs: Programs, directory: string): Promise<Programs> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const provide = async (source: string, name: string, always: boolean) => {
    if (!always && (statSync(source).mode & 0o005) === 0o005) return source;
    const copy = path.join(directory, name);
    // By rename: a sandbox that was made with an older copy keeps that one.
    await rm(`${copy}.new`, { force: true });
    await copyFile(source, `${copy}.new`);
    await chmod(`${copy}.new`, 0o555);
    await rename(`${copy}.new`, copy);
    return copy;
  };
  return {
    node: await provide(programs.node, 'node', false),
    hand: await provide(programs.hand, 'hand.mjs', true),
    ripgrep: programs.ripgrep === null ? null : await provide(programs.ripgrep, 'rg', false),
  };
}

/** Writes the files of our own /etc for a sandbox whose user has this id, and returns the arguments that mount them. */
export async function provideEtc(directory: string, uid: number): Promise<string[]> {
  await mkdir(directory, { mode: 0o755 });
  const files: Record<string, string> = {
    passwd: `root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:${uid}:${uid}:agent:/workspace:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n`,
    group: `root:x:0:\nagent:x:${uid}:\nnogroup:x:65534:\n`,
    hosts: HOSTS,
    'nsswitch.conf': NSSWITCH,
  };
  const mounts: string[] = [];
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(directory, name);
    await writeFile(file, text);
    await chmod(file, 0o444);
    mounts.push('--ro-bind', file, `/etc/${name}`);
  }
  return mounts;
}

/** The environment a hand starts with; nothing of the host's. */
export function sandboxEnvironment(proxyPort: number): Record<string, string> {
  const proxy = `http://127.0.0.1:${proxyPort}`;
  const bundle = '/etc/ssl/certs/ca-certificates.crt';
  return {
    PATH: INSIDE.path,
    HOME: '/workspace',
    USER: 'agent',
    LOGNAME: 'agent',
    SHELL: '/bin/bash',
    LANG: 'C.UTF-8',
    TMPDIR: '/tmp',
    XDG_CACHE_HOME: '/var/cache/agent',
    npm_config_cache: '/var/cache/agent/npm',
    HTTP_PROXY: proxy,
    HTTPS_PROXY: proxy,
    http_proxy: proxy,
    https_proxy: proxy,
    NO_PROXY: 'localhost,127.0.0.1,::1',
    no_proxy: 'localhost,127.0.0.1,::1',
    // Node brings its own list of authorities; this adds the host's.
    ...(existsSync(bundle) ? { NODE_EXTRA_CA_CERTS: bundle } : {}),
  };
}
