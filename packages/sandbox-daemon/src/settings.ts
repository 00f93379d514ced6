/**
 * The settings of the sandbox daemon, from its environment. The variables MANYHANDS_HAND_* are a format and keep their names.
 *
 * Paths are those of SANDBOX_PATHS under one root, `/` in a sandbox; a test gives another root and runs the same program outside of one.
 */
import { join } from 'node:path';
import { SANDBOX_PATHS } from '@manyhands/contract';

export interface DaemonPaths {
  workspace: string;
  outputs: string;
  uploads: string;
  tmp: string;
  handSocket: string;
  egressSocket: string;
  exchange: string;
}

export interface DaemonSettings {
  root: string;
  paths: DaemonPaths;
  /** The daemon ends itself when no pool was connected for so long. */
  orphanMs: number;
  /** TCP port of the forwarder on 127.0.0.1. */
  proxyPort: number;
  /** The environment of everything a tool runs. */
  shellEnv: Record<string, string>;
}

const DEFAULT_ORPHAN_MS = 120_000;
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** ANTHROPIC_ and MANYHANDS_ hold settings and keys of the machinery; BASH_ENV and ENV would run a file at each shell start. */
const HIDDEN = /^(ANTHROPIC_|MANYHANDS_)|^(BASH_ENV|ENV|SHELLOPTS|BASHOPTS)$/i;

export function pathsUnder(root: string): DaemonPaths {
  return {
    workspace: join(root, SANDBOX_PATHS.workspace),
    outputs: join(root, SANDBOX_PATHS.outputs),
    uploads: join(root, SANDBOX_PATHS.uploads),
    tmp: join(root, '/tmp'),
    handSocket: join(root, SANDBOX_PATHS.handSocket),
    egressSocket: join(root, SANDBOX_PATHS.egressSocket),
    exchange: join(root, SANDBOX_PATHS.exchange),
  };
}

/** The environment for tools: what the daemon was given, without its own and the vendor's variables, with the way out filled in. */
export function shellEnvironment(env: Record<string, string | undefined>, paths: DaemonPaths, proxyPort: number): Record<string, string> {
  const proxy = `http://127.0.0.1:${proxyPort}`;
  const shellEnv: Record<string, string> = {
    PATH: DEFAULT_PATH,
    HOME: paths.workspace,
    LANG: 'C.UTF-8',
    TMPDIR: paths.tmp,
    HTTP_PROXY: proxy,
    HTTPS_PROXY: proxy,
    http_proxy: proxy,
    https_proxy: proxy,
    NO_PROXY: 'localhost,127.0.0.1,::1',
    no_proxy: 'localhost,127.0.0.1,::1',
  };
  for (const [name, value] of Object.entries(env)) if (value !== undefined && !HIDDEN.test(name)) shellEnv[name] = value;
  return { ...shellEnv, PS1: '', PS2: '', TERM: 'dumb' };
}

/** Reads the environment once. Throws an error that names the variable when a value is not usable. */
export function readSettings(env: Record<string, string | undefined>): DaemonSettings {
  const root = env['MANYHANDS_HAND_ROOT'] || '/';
  const paths = pathsUnder(root);
  const proxyPort = integer(env, 'MANYHANDS_HAND_PROXY_PORT', SANDBOX_PATHS.proxyPort, 1, 65_535);
  return {
    root,
    paths,
    orphanMs: integer(env, 'MANYHANDS_HAND_ORPHAN_MS', DEFAULT_ORPHAN_MS, 100, 86_400_000),
    proxyPort,
    shellEnv: shellEnvironment(env, paths, proxyPort),
  };
}

function integer(env: Record<string, string | undefined>, name: string, fallback: number, min: number, max: number): number {
  const text = env[name];
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new Error(`${name} must be a whole number from ${min} to ${max}, not ${JSON.stringify(text)}`);
}
