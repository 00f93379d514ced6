/**
 * Network namespaces that stand for hosts: each has an address on a bridge of this machine and can be cut off by taking its link down. Linux,
 * root and iproute2 only; everything is removed at the end.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { locate, spawnTied } from '@manyhands/infra';
import { until } from '@manyhands/test-kit';

const IP = ['/usr/sbin/ip', '/sbin/ip', '/usr/bin/ip'].find((file) => existsSync(file));
const NSENTER = ['/usr/bin/nsenter', '/bin/nsenter'].find((file) => existsSync(file));

export interface Host {
  /** Put before a command, it runs there. */
  prefix: readonly string[];
  cut(): void;
  mend(): void;
}
export interface Networks extends AsyncDisposable {
  /** This machine's address on the bridge. */
  address: string;
  hosts: Host[];
}

function ip(...args: string[]): void {
  const { status, stderr } = spawnSync(IP ?? 'ip', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`);
}

/** Why there can be no networks here, or null. */
export function noNetworks(): string | null {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs root on Linux';
  if (!IP || !NSENTER) return 'needs iproute2 and nsenter';
  const name = `mh-probe-${process.pid}`;
  try {
    ip('netns', 'add', name);
    ip('netns', 'del', name);
    return null;
  } catch {
    return 'network namespaces cannot be made here';
  }
}

export function createNetworks(count: number): Networks {
  const mark = randomBytes(3).toString('hex');
  const bridge = `mhb${mark}`;
  // The range for measurements between networks: nobody's own.
  const net = `198.18.${randomInt(1, 255)}`;
  const removals: (() => void)[] = [];
  const make = (args: string[], undo: string[]) => {
    ip(...args);
    removals.unshift(() => ip(...undo));
  };
  const removeAll = () => {
    for (const remove of removals.splice(0)) {
      try {
        remove();
      } catch (error) {
        console.error(String(error));
      }
    }
  };
  try {
    make(['link', 'add', bridge, 'type', 'bridge'], ['link', 'del', bridge]);
    ip('addr', 'add', `${net}.1/24`, 'dev', bridge);
    ip('link', 'set', bridge, 'up');
    const hosts = Array.from({ length: count }, (_, i): Host => {
      const namespace = `mh-${mark}-${i}`;
      const outside = `mhv${mark}${i}`;
      make(['netns', 'add', namespace], ['netns', 'del', namespace]);
      make(['link', 'add', outside, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace], ['link', 'del', outside]);
      ip('link', 'set', outside, 'master', bridge, 'up');
      ip('-n', namespace, 'addr', 'add', `${net}.${i + 10}/24`, 'dev', 'eth0');
      ip('-n', namespace, 'link', 'set', 'lo', 'up');
      ip('-n', namespace, 'link', 'set', 'eth0', 'up');
      return {
        prefix: [NSENTER ?? 'nsenter', `--net=/run/netns/${namespace}`],
        cut: () => ip('link', 'set', outside, 'down'),
        mend: () => ip('link', 'set', outside, 'up'),
      };
    });
    return { address: `${net}.1`, hosts, [Symbol.asyncDispose]: async () => removeAll() };
  } catch (error) {
    removeAll();
    throw error;
  }
}

/** A NATS server on that address, with the settings of production for peers that vanish. */
export async function startNatsAt(address: string, directory: string): Promise<{ url: string; stop(): Promise<void> }> {
  const program = await locate('nats');
  const port = randomInt(15_000, 32_000);
  const file = path.join(directory, 'nats-at.conf');
  await writeFile(file, `listen: "${address}:${port}"\nping_interval: "5s"\nping_max: 2\n`);
  const child = spawnTied(program.path, ['-c', file], { env: program.env, stdio: 'ignore' });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await until(
    () =>
      new Promise<boolean>((resolve) => {
        const socket = connect(port, address, () => {
          socket.destroy();
          resolve(true);
        });
        socket.once('error', () => resolve(false));
      }),
    { what: 'NATS to listen' },
  );
  return {
    url: `nats://${address}:${port}`,
    async stop() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}
