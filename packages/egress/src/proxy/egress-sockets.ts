/**
 * The sockets of all sandboxes of this host: one proxy each, opened by policy, closed on request or when its directory is gone.
 *
 * All truth is in the policy files; opening and closing may be repeated, and a restart opens again what the files say.
 */
import { readdir } from 'node:fs/promises';
import { type Clock, ensureError, type Logger } from '@manyhands/base';
import { type EgressPolicy, isId } from '@manyhands/contract';
import type { EgressMetrics } from '../metrics.ts';
import type { Connector } from './connector.ts';
import { openSandboxDirectory, type SandboxDirectory } from './sandbox-directory.ts';
import { createSandboxProxy, type ProxyLimits, type SandboxProxy } from './sandbox-proxy.ts';

interface OpenSandbox {
  policy: EgressPolicy;
  proxy: SandboxProxy;
  directory: SandboxDirectory;
}

export interface EgressSockets {
  /** Opens the socket, or takes up a changed policy. Rejects with a reason that is safe to tell a pool. */
  open(sandboxId: string): Promise<void>;
  close(sandboxId: string): Promise<void>;
  /** Opens every sandbox that has a policy; one that cannot be opened is logged and left out. Returns how many are open. */
  openAll(): Promise<number>;
  /** Closes those whose directory is gone. */
  sweep(): Promise<void>;
  closeAll(): Promise<void>;
}

export interface EgressSocketsDeps {
  sandboxesPath: string;
  connector: Connector;
  log: Logger;
  clock: Clock;
  metrics: EgressMetrics;
  limits?: ProxyLimits;
}

export function createEgressSockets({ sandboxesPath, connector, log, clock, metrics, limits }: EgressSocketsDeps): EgressSockets {
  const openSandboxes = new Map<string, OpenSandbox>();
  metrics.watchSandboxes(() => openSandboxes.size);
  /** What is being done to a sandbox: one thing at a time each. */
  const turns = new Map<string, Promise<unknown>>();

  function inTurn<T>(sandboxId: string, work: () => Promise<T>): Promise<T> {
    const result = (turns.get(sandboxId) ?? Promise.resolve()).then(work, work);
    turns.set(sandboxId, result);
    const forget = () => {
      if (turns.get(sandboxId) === result) turns.delete(sandboxId);
    };
    result.then(forget, forget);
    return result;
  }

  async function shut(sandboxId: string): Promise<void> {
    const sandbox = openSandboxes.get(sandboxId);
    if (!sandbox) return;
    openSandboxes.delete(sandboxId);
    await sandbox.directory.removeSocket().catch(() => {});
    await sandbox.proxy.close();
    await sandbox.directory.close();
    log.info({ op: 'egress.close', sandboxId, sessionId: sandbox.policy.session_id }, 'egress closed');
  }

  /** Returns false where there is nothing to open. */
  async function openOne(sandboxId: string): Promise<boolean> {
    const current = openSandboxes.get(sandboxId);
    if (current && (await current.directory.vanished())) await shut(sandboxId);
    else if (current) {
      const policy = await current.directory.readPolicy();
      if (!policy) {
        await shut(sandboxId);
        return false;
      }
      current.policy = policy;
      return true;
    }
    const startedAt = clock.now();
    const directory = await openSandboxDirectory(sandboxesPath, sandboxId);
    if (!directory) return false;
    try {
      const policy = await directory.readPolicy();
      if (!policy) {
        await directory.close();
        return false;
      }
      const entry = { policy, directory } as OpenSandbox;
      entry.proxy = createSandboxProxy({ policy: () => entry.policy, connector, log, metrics, ...(limits ? { limits } : {}) });
      await directory.listen(entry.proxy.server);
      openSandboxes.set(sandboxId, entry);
      log.info({ op: 'egress.open', sandboxId, sessionId: policy.session_id, durationMs: clock.now() - startedAt }, 'egress opened');
      return true;
    } catch (error) {
      await directory.close();
      throw error;
    }
  }

  return {
    open: (sandboxId) =>
      inTurn(sandboxId, async () => {
        if (!(await openOne(sandboxId))) throw new Error(`${sandboxId} has no policy`);
      }),
    close: (sandboxId) => inTurn(sandboxId, () => shut(sandboxId)),
    async openAll() {
      const names = await readdir(sandboxesPath).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return [];
        throw error;
      });
      await Promise.all(
        names
          .filter((name) => isId('sandbox', name))
          .map((id) =>
            inTurn(id, () => openOne(id)).catch((error: unknown) =>
              log.error({ op: 'egress.open', sandboxId: id, reason: ensureError(error).message }, 'egress not opened'),
            ),
          ),
      );
      return openSandboxes.size;
    },
    async sweep() {
      for (const [id, { directory }] of openSandboxes) if (await directory.vanished().catch(() => false)) await inTurn(id, () => shut(id));
    },
    async closeAll() {
      await Promise.all([...openSandboxes.keys()].map((id) => inTurn(id, () => shut(id))));
    },
  };
}
