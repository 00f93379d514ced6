/**
 * The pool on NATS: subjects, schemas and error codes of contract/src/rpc/sandbox.ts. Every request may be repeated.
 *
 * Demands for a lease are served in the queue group only while there is room, so that "nobody serves it" means that all pools are full. Calls
 * for a sandbox of this pool are always served, also while the pool leaves, until its last sandbox ended.
 */
import { type Logger, type Messaging, pause, type Serving } from '@manyhands/base';
import { type BlobStore, isBlobKey } from '@manyhands/blobs';
import {
  AckRequest,
  CancelRequest,
  CollectRequest,
  HAND_MAX_FRAME_BYTES,
  LeaseRequest,
  MountedFile,
  MountPath,
  MountRequest,
  ParkRequest,
  POOL_QUEUE_GROUP,
  PrewarmRequest,
  poolLeaseSubject,
  ReleaseRequest,
  SANDBOX_SUBJECT,
  SANDBOX_VERBS,
  type SandboxFailure,
  type SandboxVerb,
  StartRequest,
  sandboxSubject,
  WaitRequest,
} from '@manyhands/contract';
import { z } from 'zod';
import { failure, type HeldSandbox, over } from '../pool/held-sandbox.ts';
import { keepLeasesConfirmed } from '../pool/lease-confirmation.ts';
import type { SandboxPool } from '../pool/sandbox-pool.ts';

/** Ids become file names and parts of blob keys. */
const PLAIN_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/;
/** Room in a frame for what is around an input. */
const FRAME_OVERHEAD_BYTES = 4_096;
const STOP_MS = 500;

export interface PoolServiceDeps {
  messaging: Pick<Messaging, 'serve' | 'request'>;
  pool: SandboxPool;
  blobs: BlobStore;
  log: Logger;
  /** How often leases that nobody uses are confirmed. */
  confirmEveryMs?: number;
}

export interface PoolService {
  /** Joins or leaves the queue group as room comes and goes. */
  update(): void;
  /** Takes no more leases at once, answers all else until the pool has left, then stops. */
  stop(): Promise<void>;
}

export function servePool({ messaging, pool, blobs, log, confirmEveryMs }: PoolServiceDeps): PoolService {
  let demands: Serving[] | null = null;
  let stopped = false;

  const lease = async (body: unknown) => {
    const request = read(LeaseRequest, body);
    if (!request.ok) return request;
    const { session_id, workspace_id, restore_from } = request.body;
    const problem =
      wrongId({ session_id, workspace_id }) ?? (restore_from === null ? null : wrongKey('restore_from', restore_from, workspace_id));
    return problem ? failure('invalid_request', problem) : pool.lease(request.body);
  };
  const prewarm = async (body: unknown) => {
    const request = read(PrewarmRequest, body);
    return request.ok ? pool.prewarm(request.body) : { pool_id: pool.poolId, reserved: false };
  };

  const always = [
    messaging.serve(poolLeaseSubject(pool.poolId), lease),
    messaging.serve(sandboxSubject(pool.poolId, '*', '*' as SandboxVerb), (body, subject) => {
      const [, , sandboxId = '', verb = ''] = subject.split('.');
      return call(sandboxId, verb, body);
    }),
  ];

  async function call(sandboxId: string, verb: string, body: unknown): Promise<unknown> {
    if (!isVerb(verb)) return failure('invalid_request', `verb: must be one of ${SANDBOX_VERBS.join(', ')}, not ${JSON.stringify(verb)}`);
    const request = read(ReleaseRequest.loose(), body);
    if (!request.ok) return request;
    const held = pool.find(sandboxId);
    // What is gone is released already.
    if (!held) return verb === 'release' ? { ok: true } : gone(sandboxId);
    if (held.lease.session_id !== request.body.session_id) return failure('unknown_sandbox', 'this sandbox is not leased to that session');
    if (held.lease.generation !== request.body.generation)
      return failure(
        'stale_generation',
        `this sandbox is leased under generation ${held.lease.generation}, not ${request.body.generation}`,
      );
    return VERBS[verb](held, body);
  }

  function gone(sandboxId: string): SandboxFailure {
    const reason = pool.endOf(sandboxId);
    return reason ? over(reason) : failure('unknown_sandbox', 'this pool has no such sandbox');
  }

  const VERBS: Record<SandboxVerb, (held: HeldSandbox, body: unknown) => Promise<unknown>> = {
    async start(held, body) {
      const request = read(StartRequest, body);
      if (!request.ok) return request;
      const { key, tool, input, input_ref, thread } = request.body;
      if ((input === undefined) === (input_ref === undefined))
        return failure('invalid_request', 'exactly one of input and input_ref must be given');
      const problem = wrongId({ key }) ?? (input_ref === undefined ? null : wrongKey('input_ref', input_ref, held.lease.workspace_id));
      if (problem) return failure('invalid_request', problem);
      const loaded = input ?? (await loadInput(input_ref ?? ''));
      if (typeof loaded === 'string') return failure('invalid_request', loaded);
      return held.start(key, tool, loaded, thread);
    },
    async wait(held, body) {
      const request = read(WaitRequest, body);
      return request.ok ? held.wait(request.body.key, request.body.wait_ms) : request;
    },
    async cancel(held, body) {
      const request = read(CancelRequest, body);
      return request.ok ? held.cancel(request.body.key) : request;
    },
    async ack(held, body) {
      const request = read(AckRequest, body);
      return request.ok ? held.ack(request.body.keys) : request;
    },
    async park(held, body) {
      const request = read(ParkRequest, body);
      if (!request.ok) return request;
      const problem = wrongKey('snapshot_key', request.body.snapshot_key, held.lease.workspace_id);
      return problem ? failure('invalid_request', problem) : held.park(request.body.snapshot_key, request.body.uses);
    },
    async mount(held, body) {
      const request = read(MountRequest, body);
      if (!request.ok) return request;
      const { revision, files, files_ref } = request.body;
      if ((files === undefined) === (files_ref === undefined))
        return failure('invalid_request', 'exactly one of files and files_ref must be given');
      const { workspace_id } = held.lease;
      const problem = files_ref === undefined ? null : wrongKey('files_ref', files_ref, workspace_id);
      if (problem) return failure('invalid_request', problem);
      const listed = files ?? (await loadFiles(files_ref ?? ''));
      if (!listed) return failure('invalid_request', 'files_ref: the blob must hold a list of files');
      const wrong = listed
        .map(({ path, blob }) => wrongMountPath(path) ?? wrongKey('blob', blob, workspace_id))
        .find((one) => one !== null);
      return wrong ? failure('invalid_request', wrong) : held.mount(revision, listed);
    },
    async outputs(held) {
      return held.outputs();
    },
    async collect(held, body) {
      const request = read(CollectRequest, body);
      if (!request.ok) return request;
      for (const { path, file_id } of request.body.files) {
        const problem = wrongId({ file_id }) ?? wrongPath(path);
        if (problem) return failure('invalid_request', problem);
      }
      return held.collect(request.body.files);
    },
    async release(held) {
      await held.end('released');
      return { ok: true };
    },
  };

  async function loadFiles(key: string): Promise<MountedFile[] | null> {
    const blob = await blobs.get(key);
    try {
      return blob && z.array(MountedFile).parse(JSON.parse(blob.toString('utf8')));
    } catch {
      return null;
    }
  }

  /** The input under a blob key, or what is wrong with it. */
  async function loadInput(key: string): Promise<Record<string, unknown> | string> {
    const blob = await blobs.get(key);
    if (!blob) return `input_ref: there is no blob ${JSON.stringify(key)}`;
    if (blob.length > HAND_MAX_FRAME_BYTES - FRAME_OVERHEAD_BYTES)
      return `input_ref: the input has ${blob.length} bytes; a sandbox takes about 8 MiB`;
    try {
      const input: unknown = JSON.parse(blob.toString('utf8'));
      if (typeof input === 'object' && input !== null && !Array.isArray(input)) return input as Record<string, unknown>;
    } catch {
      // Said below.
    }
    return 'input_ref: the blob must hold a JSON object';
  }

  function update(): void {
    if (stopped) return;
    if (pool.hasRoom && !demands) {
      const options = { queue: POOL_QUEUE_GROUP };
      demands = [messaging.serve(SANDBOX_SUBJECT.lease, lease, options), messaging.serve(SANDBOX_SUBJECT.prewarm, prewarm, options)];
    } else if (!pool.hasRoom && demands) {
      const leaving = demands;
      demands = null;
      for (const serving of leaving) void serving.stop();
      log.info('pool is full');
    }
  }
  update();
  const confirmation = keepLeasesConfirmed({ messaging, pool, log, ...(confirmEveryMs === undefined ? {} : { everyMs: confirmEveryMs }) });

  return {
    update,
    async stop() {
      stopped = true;
      confirmation.stop();
      const leavingGroup = (demands ?? []).map((serving) => serving.stop());
      await pool.leave();
      const answered = Promise.all([...leavingGroup, ...always.map((serving) => serving.stop())]);
      await Promise.race([answered, pause(STOP_MS)]);
    },
  };
}

function isVerb(text: string): text is SandboxVerb {
  return (SANDBOX_VERBS as readonly string[]).includes(text);
}

type Read<T> = { ok: true; body: T } | SandboxFailure;
function read<T>(schema: z.ZodType<T>, body: unknown): Read<T> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return { ok: true, body: parsed.data };
  const [issue] = parsed.error.issues;
  return failure('invalid_request', `${issue?.path.join('.') || 'body'}: ${issue?.message ?? 'is not valid'}`);
}
function wrongId(ids: Record<string, string>): string | null {
  for (const [name, id] of Object.entries(ids)) if (!PLAIN_ID.test(id)) return `${name}: must be letters, digits, _ and -, at most 128`;
  return null;
}
/** A path below the outputs that leads nowhere else. */
function wrongPath(path: string): string | null {
  const clean = path.split('/').every((name) => name !== '' && name !== '.' && name !== '..');
  return clean && !path.includes('\0') ? null : `path: must be a clean path below the outputs, not ${JSON.stringify(path)}`;
}
function wrongMountPath(path: string): string | null {
  return MountPath.safeParse(path).success && path.startsWith('/') ? null : `path: nothing can be mounted at ${JSON.stringify(path)}`;
}
/** A session's bodies are under its workspace; nothing else may be read or written for it (I12). */
function wrongKey(name: string, key: string, workspaceId: string): string | null {
  return isBlobKey(key) && key.startsWith(`${workspaceId}/`)
    ? null
    : `${name}: must be a blob key below ${JSON.stringify(`${workspaceId}/`)}`;
}
