/** Our own Redis and NATS, started through `infra`. A restart uses the same port and data, so that addresses never change. */
import { rmSync, symlinkSync } from 'node:fs';
import { join, relative } from 'node:path';
import { type DaemonHandle, type ServerHandle, startNats, startRedis } from '@manyhands/infra';
import type { DataDirectory, Secrets } from '../data/data-directory.ts';
import type { LaunchedProcess, Recipe } from '../processes/launched-process.ts';
import { openLog, rotateLog } from '../processes/log-file.ts';

const NATS_USER = 'manyhands';

export interface Server extends Recipe {
  /** The address with its password; known once it was launched. */
  url(): string;
}

export function redisServer(
  data: DataDirectory,
  { redis_password }: Secrets,
  appendfsync: 'always' | 'everysec',
  log: (line: string) => void,
): Server {
  return server('redis', data, data.redis, (port) => startRedis({ dir: data.redis, password: redis_password, appendfsync, log, ...port }));
}

export function natsServer(data: DataDirectory, { nats_password }: Secrets, log: (line: string) => void): Server {
  return server('nats', data, data.nats, (port) => startNats({ dir: data.nats, user: NATS_USER, password: nats_password, log, ...port }));
}

function server(kind: string, data: DataDirectory, dir: string, start: (port: { port?: number }) => Promise<ServerHandle>): Server {
  const name = `${kind}-1`;
  const logFile = join(dir, `${kind}.log`);
  rotateLog(logFile);
  linkLog(join(data.logs, `${name}.log`), logFile);
  let handle: ServerHandle | null = null;
  return {
    name,
    url() {
      if (!handle) throw new Error(`${name} was not started yet`);
      return handle.url;
    },
    async launch() {
      handle = await start(handle ? { port: handle.port } : {});
      return launchedServer(handle);
    },
  };
}

export function launchedServer(handle: DaemonHandle): LaunchedProcess {
  const log = openLog(handle.logFile);
  log.close();
  return {
    pid: handle.pid,
    ready: Promise.resolve({}),
    exited: handle.exited,
    stop: () => void handle.stop(),
    kill: () => void handle.kill(),
    startupError: () => '',
    stderrTail: () => log.lines().slice(-8).join('\n'),
  };
}

/** Links the log into the directory of all logs. */
export function linkLog(from: string, to: string): void {
  rmSync(from, { force: true });
  symlinkSync(relative(join(from, '..'), to), from);
}
