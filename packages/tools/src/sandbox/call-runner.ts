/**
 * One call in one sandbox: started by key and waited for by key, so that any request can be sent again (I4).
 *
 * It ends in a result, or as `never started` if that is certain; then it may run in another sandbox. Whatever is found out about the sandbox
 * is the session's sandbox's business: the call only says that it is gone.
 */
import { backoffMs, type Clock, type Logger, type Messaging, pause } from '@manyhands/base';
import type { CallReply, MountReply, ToolResult } from '@manyhands/contract';
import type { ToolCall } from '../tool-executor.ts';
import { INTERRUPTED, NOT_RUN_AGAIN, refused, SANDBOX_LOST } from '../tool-results.ts';
import type { BoundSandbox } from './binding.ts';
import { isSilence, type SandboxClient, type Silence } from './sandbox-client.ts';
import type { SessionSandbox } from './session-sandbox.ts';
import { createSilenceWatch } from './silence-watch.ts';
import { type Stops, unlessStopped } from './stops.ts';
import type { StoredBodies } from './stored-bodies.ts';

const BACKOFF_BASE_MS = 100;
const BACKOFF_CAP_MS = 1_000;
const CANCEL_LIMIT_MS = 10_000;
const OUTAGE_LIMIT_MS = 300_000;

export interface CallRunnerDeps {
  client: Pick<SandboxClient, 'start' | 'wait' | 'cancel' | 'ack'>;
  messaging: Pick<Messaging, 'connected'>;
  clock: Clock;
  log: Logger;
  bodies: StoredBodies;
  sandbox: Pick<SessionSandbox, 'giveUp' | 'hasMovedOn'>;
  /** Brings the sandbox's files up to date. Null when they are; otherwise why not yet. */
  mount: (at: BoundSandbox) => Promise<MountReply | Silence | null>;
  silenceLimitMs: number;
  lastAnswerMs: (at: BoundSandbox) => Promise<number | null>;
}

/** Either the reply of a call that is known, or how to go on. */
type Step =
  | { kind: 'running' }
  | { kind: 'outcome'; outcome: ToolResult }
  | { kind: 'gone' }
  | { kind: 'leaving' }
  | { kind: 'lost' }
  | { kind: 'unknown' }
  | { kind: 'failed'; reason: string };

export function createCallRunner(deps: CallRunnerDeps) {
  const { client, messaging, clock, log, bodies, sandbox, mount } = deps;

  async function readStep(reply: CallReply | Extract<MountReply, { ok: false }>): Promise<Step> {
    if (!reply.ok) {
      const { code, message } = reply.error;
      if (code === 'unknown_sandbox' || code === 'stale_generation') return { kind: 'gone' };
      if (code === 'leaving') return { kind: 'leaving' };
      return code === 'sandbox_lost' ? { kind: 'lost' } : { kind: 'failed', reason: message };
    }
    if (reply.outcome_ref !== undefined) return { kind: 'outcome', outcome: await bodies.outcome(reply.outcome_ref) };
    switch (reply.call?.state) {
      case 'running':
        return { kind: 'running' };
      case 'done':
        return { kind: 'outcome', outcome: reply.call.outcome };
      default:
        return { kind: 'unknown' };
    }
  }
  const lostOutcome = async (call: ToolCall) => (await bodies.keptOutcome(call.key)) ?? SANDBOX_LOST;

  async function run(at: BoundSandbox, call: ToolCall, stops: Stops): Promise<ToolResult | 'never started'> {
    const body = await bodies.inputOf(call);
    const watch = createSilenceWatch({
      ...{ clock, messaging, limitMs: deps.silenceLimitMs, outageLimitMs: OUTAGE_LIMIT_MS },
      lastAnswerMs: () => deps.lastAnswerMs(at),
    });
    // A call that may be in an older sandbox is asked for, and never started.
    let astray = call.astray === true;
    let started = astray;
    let mayRun = astray || call.resumed === true;
    const lost = async (reason: string): Promise<ToolResult | 'never started'> => {
      await sandbox.giveUp(at, reason);
      return mayRun ? lostOutcome(call) : 'never started';
    };
    /** Why nothing more is to be expected here, after one more silence; null if it is asked again. */
    const givenUp = async (silence: Silence['silence'] | null): Promise<string | null> => {
      if (silence === 'not delivered' && (await bodies.hasEnded(at))) return 'it has ended';
      if (silence !== null && (await sandbox.hasMovedOn(at))) return 'a sibling gave it up';
      return (await watch.unanswered()) ? 'the pool does not answer' : null;
    };

    for (let silences = 0; ; ) {
      const again = () => pause(backoffMs(silences++, BACKOFF_BASE_MS, BACKOFF_CAP_MS), stops.any).catch(() => undefined);
      stops.throwIfDetached();
      if (stops.interrupted) return mayRun ? cancel(at, call) : INTERRUPTED;
      // An answer to a start comes at once, and what it says is needed to know what may be done; a wait may be left at any time.
      const before = started ? null : await mount(at);
      if (before !== null && 'pending' in before) {
        watch.answered();
        continue;
      }
      const start = () => client.start(at, call.key, call.name, body);
      const reply = before ?? (started ? await unlessStopped(client.wait(at, call.key), stops.any) : await start());
      if (reply === 'stopped') continue;
      // What was never asked to start did not.
      if (isSilence(reply) && reply.silence === 'unanswered' && before === null) mayRun = true;
      const step = isSilence(reply) ? null : await readStep(reply);
      if (step === null || (started && step.kind === 'failed')) {
        const reason = await givenUp(isSilence(reply) ? reply.silence : null);
        if (reason !== null) return lost(reason);
        await again();
        continue;
      }
      watch.answered();
      if (step.kind === 'leaving') {
        await again();
        continue;
      }
      silences = 0;
      switch (step.kind) {
        case 'outcome':
          return step.outcome;
        case 'running':
          astray = false;
          started = true;
          mayRun = true;
          break;
        case 'failed':
          return refused(step.reason);
        case 'gone':
          return lost('the pool does not have it');
        case 'lost':
          // A pool may find that out in the middle of a start.
          if (before === null) mayRun = true;
          return lost('it died');
        case 'unknown':
          // The daemon has an acknowledgement of this key; or, if it knew the call a moment ago, it is not the same daemon.
          if (!started) return NOT_RUN_AGAIN;
          return astray ? lostOutcome(call) : lost('it forgot the call');
      }
    }
  }

  async function cancel(at: BoundSandbox, call: ToolCall): Promise<ToolResult> {
    const deadlineMs = clock.now() + CANCEL_LIMIT_MS;
    for (let attempt = 0; clock.now() < deadlineMs; attempt++) {
      const reply = await client.cancel(at, call.key);
      if (!isSilence(reply)) {
        const step = await readStep(reply);
        if (step.kind === 'outcome') return step.outcome;
        // A start that is still under way must not run after this.
        if (step.kind === 'unknown') await client.ack(at, [call.key]);
        if (step.kind !== 'running') return INTERRUPTED;
      } else if (reply.silence === 'not delivered' && (await bodies.hasEnded(at))) return INTERRUPTED;
      await pause(backoffMs(attempt, BACKOFF_BASE_MS, BACKOFF_CAP_MS));
    }
    log.warn({ op: 'sandbox.cancel', ok: false, ...at, callKey: call.key }, 'a call could not be cancelled');
    return INTERRUPTED;
  }

  return { run, lostOutcome };
}
