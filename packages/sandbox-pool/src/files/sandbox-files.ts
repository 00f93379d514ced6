/** The files that go into one leased sandbox and come out of it, as answers to its session. One piece of work at a time. */
import { hasCode, type Logger, pause } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import {
  type CollectReply,
  type CollectRequest,
  fileBlobKey,
  fileListKey,
  INLINE_BODY_MAX_BYTES,
  type MountedFile,
  type MountReply,
  type OutputsReply,
} from '@manyhands/contract';
import type { UseCount } from '../pool/use-count.ts';
import type { LeaseRecord } from '../records/lease-record.ts';
import { mountFiles } from './mounts.ts';
import { createOutputs, type OutputsFound } from './outputs.ts';
import type { SandboxDirectory } from './sandbox-directory.ts';

/** What takes longer is answered with `pending`, and asked for again. */
const ANSWER_WITHIN_MS = 2_000;
const RESULT_KEPT_MS = 5_000;

export interface SandboxFilesDeps {
  directory: SandboxDirectory;
  lease: () => Readonly<LeaseRecord>;
  uses: UseCount;
  blobs: BlobStore;
  log: Logger;
}

export function createSandboxFiles({ directory, lease, uses, blobs, log }: SandboxFilesDeps) {
  const outputs = createOutputs(directory.outputs, blobs);
  let last: Promise<unknown> = Promise.resolve();
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = last.then(work);
    last = turn.catch(() => {});
    return turn;
  }
  /** Work that is under way, so that who asks again gets its result instead of new work. */
  const underWay = new Map<string, { result: Promise<unknown>; doneAtMs: number | null }>();
  async function unlessSlow<T>(name: string, work: () => Promise<T>): Promise<T | 'pending'> {
    let known = underWay.get(name);
    // A result that nobody came for says how things were, not how they are.
    if (!known || (known.doneAtMs !== null && performance.now() - known.doneAtMs > RESULT_KEPT_MS)) {
      const started = { result: inTurn(work), doneAtMs: null as number | null };
      const done = () => {
        started.doneAtMs = performance.now();
      };
      started.result.then(done, done);
      underWay.set(name, started);
      known = started;
    }
    const running = known.result as Promise<T>;
    const taken = known;
    const forget = () => {
      if (underWay.get(name) === taken) underWay.delete(name);
    };
    const over = new AbortController();
    try {
      const slow = pause(ANSWER_WITHIN_MS, over.signal).then(() => 'pending' as const);
      slow.catch(() => {});
      const result = await Promise.race([running, slow]);
      if (result !== 'pending') forget();
      return result;
    } catch (error) {
      forget();
      throw error;
    } finally {
      over.abort();
    }
  }

  /** The outputs, and the use count when the look at them began. */
  async function lookAtOutputs(): Promise<OutputsFound & { uses: number }> {
    const seen = await uses.tell();
    return { ...(await outputs.list()), uses: seen };
  }
  async function outputsReply({ files, leftOut, uses: seen }: OutputsFound & { uses: number }): Promise<OutputsReply> {
    const body = Buffer.from(JSON.stringify(files), 'utf8');
    const rest = { ok: true, pending: false, left_out: leftOut, uses: seen } as const;
    if (body.length <= INLINE_BODY_MAX_BYTES) return { ...rest, files };
    const key = fileListKey(lease().workspace_id, lease().session_id, 'outputs');
    await blobs.put(key, body);
    return { ...rest, files_ref: key };
  }

  return {
    async mount(revision: number, files: readonly MountedFile[]): Promise<MountReply> {
      const options = { restored: lease().restored === true, log };
      const mounted = await unlessSlow(`mount ${revision}`, () => mountFiles(directory, blobs, revision, files, options));
      return { ok: true, pending: mounted === 'pending', uses: await uses.tell() };
    },
    async outputs(): Promise<OutputsReply> {
      const asked = uses.count;
      for (;;) {
        const found = await unlessSlow('outputs', lookAtOutputs);
        if (found === 'pending') return { ok: true, pending: true };
        // A look that began for somebody else, before the latest use, says how things were.
        if (found.uses >= asked) return outputsReply(found);
      }
    },
    async collect(wanted: CollectRequest['files']): Promise<CollectReply> {
      const { workspace_id, session_id } = lease();
      const stored = await unlessSlow(`collect ${JSON.stringify(wanted)}`, async () => {
        const done: NonNullable<Extract<CollectReply, { ok: true }>['stored']> = [];
        for (const { path, file_id } of wanted) {
          const file = await outputs.store(path, fileBlobKey(workspace_id, session_id, file_id)).catch((error: unknown) => {
            if (hasCode(error, 'internal')) throw error;
            log.warn({ err: error, sandbox_id: directory.id, path }, 'an output could not be stored');
            return null;
          });
          if (file) done.push({ ...file, file_id });
        }
        return done;
      });
      return stored === 'pending' ? { ok: true, pending: true } : { ok: true, pending: false, stored };
    },
  };
}
