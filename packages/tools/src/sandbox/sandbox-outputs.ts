/** What a sandbox leaves for the session: asked of its pool, which moves the bytes. Nothing is lost if it cannot be had now. */
import { AppError, type Clock, type Logger } from '@manyhands/base';
import { COLLECT_MAX, type OutputFile, type SandboxFailure } from '@manyhands/contract';
import type { BoundSandbox } from './binding.ts';
import { isSilence, type SandboxClient, type Silence } from './sandbox-client.ts';

/** For reading and storing what may be much. */
const LIMIT_MS = 120_000;
const SILENCES_MAX = 2;

export interface SandboxOutputs {
  /**
   * What there is; null if there is no sandbox. What was there at the use count that `SandboxExecutor.uses` then tells, unless this executor
   * runs a call meanwhile. Rejects with AppError `unavailable` if the sandbox or its pool is gone or does not answer.
   */
  outputs(): Promise<OutputFile[] | null>;
  /** Stores them durably as the bytes of files; what vanished is not among the stored. Rejects like `outputs`. */
  collect(files: { path: string; file_id: string }[]): Promise<(OutputFile & { file_id: string })[]>;
}

export interface SandboxOutputsDeps {
  client: Pick<SandboxClient, 'outputs' | 'collect'>;
  clock: Clock;
  log: Logger;
  /** The session's sandbox at the moment, whoever leased it. */
  sandbox: () => Promise<BoundSandbox | null>;
  /** A list that was too large for a message. */
  list: (key: string) => Promise<OutputFile[] | null>;
}

export function createSandboxOutputs({ client, clock, log, sandbox, list }: SandboxOutputsDeps): SandboxOutputs {
  /** Asks until there is a result. A pool that does not answer is not waited for as long as for a call: nothing is lost. */
  async function result<T extends { ok: true; pending: boolean }>(
    ask: (at: BoundSandbox) => Promise<T | SandboxFailure | Silence>,
  ): Promise<T | null> {
    const at = await sandbox();
    if (!at) return null;
    const deadlineMs = clock.now() + LIMIT_MS;
    for (let silences = 0; clock.now() < deadlineMs; ) {
      const reply = await ask(at);
      if (isSilence(reply)) {
        if (reply.silence === 'not delivered' || ++silences >= SILENCES_MAX) throw new AppError('unavailable', 'the pool does not answer');
      } else if (!reply.ok) {
        // Saved and evicted, or given up: there was nothing new in it.
        if (reply.error.code === 'unknown_sandbox' || reply.error.code === 'stale_generation') return null;
        throw new AppError('unavailable', reply.error.message);
      } else if (!reply.pending) return reply;
    }
    throw new AppError('unavailable', 'the outputs were not ready in time');
  }

  return {
    async outputs() {
      const found = await result((at) => client.outputs(at));
      if (!found) return null;
      for (const why of found.left_out ?? []) log.warn({ why }, 'an output is left out');
      if (found.files) return found.files;
      const listed = found.files_ref === undefined ? null : await list(found.files_ref);
      if (!listed) throw new AppError('unavailable', 'the list of outputs is not in the blob store');
      return listed;
    },
    async collect(files) {
      const done: (OutputFile & { file_id: string })[] = [];
      for (let from = 0; from < files.length; from += COLLECT_MAX) {
        const batch = files.slice(from, from + COLLECT_MAX);
        done.push(...((await result((at) => client.collect(at, batch)))?.stored ?? []));
      }
      return done;
    },
  };
}
