/** What workers do in tests: entries, work under a lease, threads and calls. */
import { randomIds } from '@manyhands/base';
import { type ClientEventBody, type EventBody, primaryThreadId } from '@manyhands/contract';
import type { AppendBatch, AppendResult, CallWait, GoIdle, Lease, NewThread, ThreadMessage } from '../src/work-port.ts';
import { AGENT, type LogFixture } from './log-fixture.ts';

export const RUNNING = { status: 'running' } as const;
export const INTERRUPT: ClientEventBody = { type: 'user.interrupt', session_thread_id: null };

/** An entry of an append. */
export function event(body: EventBody, sequence = 0): { event: { id: string; body: EventBody } } {
  return { event: { id: randomIds.eventId(sequence), body } };
}
export function say(text: string): { event: { id: string; body: EventBody } } {
  return event({ type: 'agent.message', content: [{ type: 'text', text }] });
}
/** The end of a thread's work, by a worker that knows all of its log. */
export function idle(type: GoIdle['stop']['type'] = 'end_turn', more: Partial<GoIdle> = {}): AppendBatch {
  return { entries: [], idle: { stop: { type }, known: Number.MAX_SAFE_INTEGER, captured: 0, ...more } };
}

export function confirm(id: string, result: 'allow' | 'deny' = 'allow'): ClientEventBody {
  return { type: 'user.tool_confirmation', tool_use_id: id, result };
}
export function answer(id: string, text = 'out'): ClientEventBody {
  return { type: 'user.custom_tool_result', custom_tool_use_id: id, content: [{ type: 'text', text }] };
}

export interface Worker {
  lease: Lease;
  append(batch: AppendBatch): Promise<AppendResult>;
  /** The same, where it has to be applied. */
  write(batch: AppendBatch): Promise<Extract<AppendResult, { outcome: 'applied' }>>;
  release(how?: 'done' | 'failed' | 'unavailable'): Promise<void>;
}

/** A worker that holds the lease of a thread and counts its appends. */
export async function startWorker(f: LogFixture, sessionId: string, threadId = primaryThreadId(sessionId)): Promise<Worker> {
  const lease = await f.acquire(sessionId, 'w', 60_000, threadId);
  let n = 0;
  const append = async (batch: AppendBatch) => {
    const result = await f.writer.append(lease, n + 1, batch);
    if (result.outcome === 'applied') n++;
    return result;
  };
  return {
    lease,
    append,
    async write(batch) {
      const result = await append(batch);
      if (result.outcome !== 'applied') throw new Error(`not applied: ${JSON.stringify(result)}`);
      return result;
    },
    release: (how = 'done') => f.writer.release(lease, how),
  };
}

/** Takes up what waits for a thread and lets it rest. */
export async function work(f: LogFixture, sessionId: string, threadId = primaryThreadId(sessionId)): Promise<void> {
  const worker = await startWorker(f, sessionId, threadId);
  const waiting = await f.log.pending(sessionId, undefined, threadId);
  await worker.write({ entries: [RUNNING, ...waiting.map(({ position }) => ({ processed: position }))] });
  await worker.write(idle());
  await worker.release();
}

/** A call that waits for its client: its id, and what an append has of it. */
export function call(waitsFor: CallWait, name = 'look_up'): { id: string; batch: AppendBatch } {
  const body: EventBody =
    waitsFor === 'custom'
      ? { type: 'agent.custom_tool_use', name, input: {} }
      : { type: 'agent.tool_use', name, input: {}, evaluated_permission: 'ask', evaluation: { type: 'always_ask' } };
  const entry = event(body);
  return { id: entry.event.id, batch: { entries: [entry], calls: [{ id: entry.event.id, waitsFor }] } };
}

export function newThread(name = 'kid'): NewThread {
  return { record: { id: randomIds.id('thread'), agent: { ...AGENT, name } }, eventId: randomIds.eventId(0) };
}
export function messageTo(to: string, from: string, text = 'do it'): ThreadMessage {
  const content = [{ type: 'text' as const, text }];
  return {
    to,
    sent: { id: randomIds.eventId(0), body: { type: 'agent.thread_message_sent', to_session_thread_id: to, content } },
    received: { id: randomIds.eventId(0), body: { type: 'agent.thread_message_received', from_session_thread_id: from, content } },
  };
}

export interface Family {
  id: string;
  primary: Worker;
  children: { id: string; worker: Worker }[];
}
/** A session whose primary thread runs, with children that run, too: each was created with a message, which is taken up. */
export async function startFamily(f: LogFixture, names: string[], ...session: Parameters<LogFixture['session']>): Promise<Family> {
  const [initial = [{ type: 'user.message', content: [{ type: 'text', text: 'go' }] }], budget = null] = session;
  const { id } = await f.session(initial, budget);
  const primary = await startWorker(f, id);
  await primary.write({ entries: [RUNNING, ...initial.map((_, i) => ({ processed: i + 1 }))] });
  const threads = names.map(newThread);
  if (threads.length > 0)
    await primary.write({ entries: [], threads, messages: threads.map(({ record }) => messageTo(record.id, primary.lease.threadId)) });
  const children: Family['children'] = [];
  for (const { record } of threads) {
    const worker = await startWorker(f, id, record.id);
    await worker.write({ entries: [RUNNING, { processed: 1 }] });
    children.push({ id: record.id, worker });
  }
  return { id, primary, children };
}

export async function stateOf(f: LogFixture, sessionId: string) {
  const stored = await f.log.get(sessionId);
  if (!stored) throw new Error(`there is no session ${sessionId}`);
  return stored.state;
}
export async function threadOf(f: LogFixture, sessionId: string, threadId = primaryThreadId(sessionId)) {
  const stored = await f.log.get(sessionId);
  const thread = stored && (await f.log.thread(stored, threadId));
  if (!thread) throw new Error(`there is no thread ${threadId}`);
  return thread;
}
/** Types of events in a thread's log, in order, behind a position. */
export async function typesIn(f: LogFixture, sessionId: string, after = 0, threadId = primaryThreadId(sessionId)): Promise<string[]> {
  return (await f.log.read(sessionId, after, 1_000, threadId)).map((entry) => entry.event.type);
}

/** A number below `below`, the same for the same seed. */
export function dice(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
