/**
 * The messages of a sandbox pool as functions, with one distinction added: whether a request that brought no answer can have arrived.
 * That decides what may be done elsewhere (I4).
 */
import { hasCode, type Messaging } from '@manyhands/base';
import {
  CallReply,
  CollectReply,
  type CollectRequest,
  DoneReply,
  LeaseReply,
  type LeaseRequest,
  type MountedFile,
  MountReply,
  OutputsReply,
  poolLeaseSubject,
  SANDBOX_SUBJECT,
  type SandboxVerb,
  sandboxSubject,
} from '@manyhands/contract';
import type { z } from 'zod';
import type { BoundSandbox } from './binding.ts';

/** How long the pool may wait for the end of a call within one request, in milliseconds. */
const WAIT_MS = 2_000;
/** What an answer may take beyond that, if the caller says nothing else; a request that takes longer is sent again. */
export const DEFAULT_ANSWER_MS = 2_500;
/** A start may carry a body that the pool fetches first, a cancel waits for the call's end, a lease may make and fill a sandbox. */
const SLOW_ANSWER_FACTOR = 2;

/** `not delivered`: the server said that nobody serves the subject. `unanswered`: it may have arrived. */
export type Silence = { silence: 'not delivered' | 'unanswered' };

export function isSilence(reply: object): reply is Silence {
  return 'silence' in reply;
}

export interface SandboxClient {
  /** Of a named pool, or of any with room. */
  lease(poolId: string | null, request: LeaseRequest): Promise<LeaseReply | Silence>;
  start(
    at: BoundSandbox,
    key: string,
    tool: string,
    body: { input: Record<string, unknown> } | { input_ref: string },
  ): Promise<CallReply | Silence>;
  wait(at: BoundSandbox, key: string): Promise<CallReply | Silence>;
  cancel(at: BoundSandbox, key: string): Promise<CallReply | Silence>;
  mount(at: BoundSandbox, revision: number, body: { files: MountedFile[] } | { files_ref: string }): Promise<MountReply | Silence>;
  outputs(at: BoundSandbox): Promise<OutputsReply | Silence>;
  collect(at: BoundSandbox, files: CollectRequest['files']): Promise<CollectReply | Silence>;
  ack(at: BoundSandbox, keys: readonly string[]): Promise<DoneReply | Silence>;
  /** `uses`: the use count that is known. */
  park(at: BoundSandbox, snapshotKey: string, uses: number): Promise<DoneReply | Silence>;
  release(at: BoundSandbox): Promise<DoneReply | Silence>;
}

/** The NATS client's code for "no responders", the only failure of a request that proves that nobody got it. */
const NO_RESPONDERS = '503';

/** What a pool answers about a sandbox that was leased. */
export type PoolReply = CallReply | MountReply | OutputsReply | CollectReply | DoneReply;

export interface SandboxClientOptions {
  messaging: Pick<Messaging, 'request'>;
  sessionId: string;
  /** Whose shell calls run in; those of a client without one share a shell. */
  threadId: string | undefined;
  answerMs?: number | undefined;
  /** Told of every answer about a leased sandbox. */
  onReply: (at: BoundSandbox, reply: PoolReply) => void;
}

export function createSandboxClient(options: SandboxClientOptions): SandboxClient {
  const { messaging, sessionId, threadId, onReply, answerMs = DEFAULT_ANSWER_MS } = options;
  const thread = threadId === undefined ? {} : { thread: threadId };
  const slowAnswerMs = answerMs * SLOW_ANSWER_FACTOR;
  async function ask<T extends object>(subject: string, body: object, reply: z.ZodType<T>, timeoutMs: number): Promise<T | Silence> {
    try {
      return await messaging.request(subject, body, reply, timeoutMs);
    } catch (error) {
      // A pool of another version: waiting for it would help nobody.
      if (hasCode(error, 'newer_format')) throw error;
      const cause = (error as { cause?: { code?: unknown } }).cause;
      return { silence: cause?.code === NO_RESPONDERS ? 'not delivered' : 'unanswered' };
    }
  }
  async function askSandbox<T extends PoolReply>(
    at: BoundSandbox,
    verb: SandboxVerb,
    body: object,
    schema: z.ZodType<T>,
    timeoutMs: number,
  ): Promise<T | Silence> {
    const request = { session_id: sessionId, generation: at.generation, ...body };
    const reply = await ask(sandboxSubject(at.pool_id, at.sandbox_id, verb), request, schema, timeoutMs);
    if (!isSilence(reply)) onReply(at, reply);
    return reply;
  }

  return {
    lease: (poolId, request) => ask(poolId === null ? SANDBOX_SUBJECT.lease : poolLeaseSubject(poolId), request, LeaseReply, slowAnswerMs),
    start: (at, key, tool, body) => askSandbox(at, 'start', { key, tool, ...thread, ...body }, CallReply, slowAnswerMs),
    wait: (at, key) => askSandbox(at, 'wait', { key, wait_ms: WAIT_MS }, CallReply, WAIT_MS + answerMs),
    cancel: (at, key) => askSandbox(at, 'cancel', { key }, CallReply, slowAnswerMs),
    mount: (at, revision, body) => askSandbox(at, 'mount', { revision, ...body }, MountReply, slowAnswerMs),
    outputs: (at) => askSandbox(at, 'outputs', {}, OutputsReply, WAIT_MS + answerMs),
    collect: (at, files) => askSandbox(at, 'collect', { files }, CollectReply, slowAnswerMs),
    ack: (at, keys) => askSandbox(at, 'ack', { keys }, DoneReply, answerMs),
    park: (at, snapshotKey, uses) => askSandbox(at, 'park', { snapshot_key: snapshotKey, uses }, DoneReply, answerMs),
    release: (at) => askSandbox(at, 'release', {}, DoneReply, answerMs),
  };
}
