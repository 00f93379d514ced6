/**
 * Telling the egress process what a sandbox may reach: `policy.json` first, then a request to open or close the socket. Egress reads all
 * policies when it starts, so an egress that is down now opens the socket then; meanwhile the sandbox has no way out, and nothing else suffers.
 */
import { rm } from 'node:fs/promises';
import { backoffMs, ensureError, type Logger, type Messaging, pause } from '@manyhands/base';
import { type EgressOpenRequest, EgressPolicy, EgressReply, egressSubject } from '@manyhands/contract';
import type { SandboxDirectory } from '../files/sandbox-directory.ts';
import { storedFile } from '../records/durable-file.ts';

const OPEN_TIMEOUT_MS = 3_000;
const CLOSE_TIMEOUT_MS = 2_000;
const RETRY_BASE_MS = 50;
const RETRY_CAP_MS = 2_000;

export const POLICY_FILE = storedFile(EgressPolicy, 1);

export interface EgressPolicies {
  /** Returns when the policy stands. The socket opens beside the lease: a first connection that comes sooner is held inside for a moment. */
  open(directory: SandboxDirectory, policy: EgressPolicy): Promise<void>;
  /** Takes the policy away and has the socket closed. Never throws. */
  close(directory: SandboxDirectory): Promise<void>;
}

export interface EgressPoliciesDeps {
  messaging: Pick<Messaging, 'request'>;
  hostId: string;
  log: Logger;
}

export function createEgressPolicies({ messaging, hostId, log }: EgressPoliciesDeps): EgressPolicies {
  /** Sandboxes whose socket is being asked for. */
  const asking = new Map<string, AbortController>();

  /** Asks until egress answers, or until the sandbox is gone. */
  async function ask(sandboxId: string, signal: AbortSignal): Promise<void> {
    const request: EgressOpenRequest = { sandbox_id: sandboxId };
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const reply = await messaging.request(egressSubject(hostId, 'open'), request, EgressReply, OPEN_TIMEOUT_MS);
        if (!reply.ok) log.warn({ sandbox_id: sandboxId, reason: reply.message }, 'egress refused to open a socket');
        return;
      } catch (error) {
        if (attempt === 0) log.warn({ sandbox_id: sandboxId, reason: ensureError(error).message }, 'egress does not answer; asked again');
        await pause(backoffMs(attempt, RETRY_BASE_MS, RETRY_CAP_MS), signal).catch(() => {});
      }
    }
  }

  return {
    async open(directory, policy) {
      await POLICY_FILE.replace(directory.policyFile, policy);
      const abort = new AbortController();
      asking.set(directory.id, abort);
      void ask(directory.id, abort.signal).finally(() => asking.delete(directory.id));
    },
    async close(directory) {
      asking.get(directory.id)?.abort();
      await rm(directory.policyFile, { force: true }).catch(() => {});
      const request: EgressOpenRequest = { sandbox_id: directory.id };
      await messaging.request(egressSubject(hostId, 'close'), request, EgressReply, CLOSE_TIMEOUT_MS).catch((error: unknown) => {
        log.debug({ err: error, sandbox_id: directory.id }, 'egress was not told to close a socket');
      });
    },
  };
}
/** For a pool whose sandboxes have no way out at all. */
export const noEgress: EgressPolicies = { open: async () => {}, close: async () => {} };
