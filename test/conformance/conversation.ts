/** Talking to a session: messages with scripts for the fake model, a stream that is read along, histories. */
import type Anthropic from '@anthropic-ai/sdk';
import type { BetaManagedAgentsSessionEvent, BetaManagedAgentsStreamSessionEvents } from '@anthropic-ai/sdk/resources/beta/sessions/events';
import type { BetaManagedAgentsDeltaType, SessionCreateParams } from '@anthropic-ai/sdk/resources/beta/sessions/sessions';
import { type FakeScript, fakeScript, type JournalEntry } from '@manyhands/model/testing';
import { expect } from 'vitest';
import { all, type Foreign } from './client.ts';
import type { Stack } from './stack.ts';

export type Told = BetaManagedAgentsStreamSessionEvents;
export type Stored = BetaManagedAgentsSessionEvent;
type Kind = Told['type'];
export type Of<K extends Kind> = Extract<Told, { type: K }>;

const WAIT_MS = 20_000;
export const INTERRUPT = { type: 'user.interrupt' } as const;

export function say(text: string) {
  return { type: 'user.message' as const, content: [{ type: 'text' as const, text }] };
}
/** A message that tells the fake model what to answer, step by step. */
export function script(steps: FakeScript, said = '') {
  return say(fakeScript(steps, said));
}
export function answer(text: string): FakeScript[number] {
  return { blocks: [{ text }] };
}

export interface AgentWish {
  system?: string;
  /** Names of the enabled tools; none if left out. */
  tools?: readonly ('bash' | 'read' | 'write' | 'edit' | 'glob' | 'grep' | 'web_fetch' | 'web_search')[];
  model?: Anthropic.Beta.AgentCreateParams['model'];
  networking?: { type: 'unrestricted' } | { type: 'limited'; allowed_hosts: string[] };
}

/** A session of an agent of its own; resolves to its id. */
export async function openSession(stack: Stack, wish: AgentWish = {}, more: Partial<SessionCreateParams> = {}): Promise<string> {
  const { agents, environments, sessions } = stack.client().beta;
  const configs = (wish.tools ?? []).map((name) => ({ name, enabled: true }) as const);
  const [agent, environment] = await Promise.all([
    agents.create({
      name: 'tester',
      model: wish.model ?? 'fake',
      ...(wish.system === undefined ? {} : { system: wish.system }),
      tools: [{ type: 'agent_toolset_20260401', default_config: { enabled: false }, configs }],
    }),
    environments.create({ name: 'e', config: { type: 'cloud', networking: wish.networking ?? { type: 'unrestricted' } } }),
  ]);
  return (await sessions.create({ agent: agent.id, environment_id: environment.id, ...more })).id;
}

export function send(stack: Stack, sessionId: string, ...events: (ReturnType<typeof say> | typeof INTERRUPT)[]) {
  return stack.client().beta.sessions.events.send(sessionId, { events });
}
export function history(stack: Stack, sessionId: string): Promise<Stored[]> {
  return all(stack.client().beta.sessions.events.list(sessionId));
}
export function types(events: readonly { type: string }[]): string[] {
  return events.map(({ type }) => type);
}
export function only<K extends Kind>(events: readonly Told[], kind: K): Of<K>[] {
  return events.filter((event): event is Of<K> => event.type === kind);
}
/** The text of each event of a kind. */
export function texts(events: readonly Told[], kind: 'agent.message' | 'agent.tool_result' | 'user.message'): string[] {
  return only(events, kind).map(({ content = [] }) => content.map((block) => ('text' in block ? block.text : '')).join(''));
}

export interface Follower extends AsyncDisposable {
  /** Everything told so far. */
  readonly events: Told[];
  /** Waits for an event that no earlier wait of this follower has passed. */
  next<K extends Kind>(kind: K, where?: (event: Of<K>) => boolean): Promise<Of<K>>;
  /** Resolves when the server ended the stream. */
  readonly ended: Promise<void>;
  close(): void;
}

export interface FollowOptions {
  client?: Anthropic;
  deltas?: BetaManagedAgentsDeltaType[];
  headers?: Record<string, string>;
  threadId?: string;
  /** Called at once for each event, before the next one is read. */
  onEvent?: (event: Told) => Promise<void>;
}

/** Opens a stream and reads it along. When it resolves, whatever happens from now on is told. */
export async function follow(stack: Stack, sessionId: string, options: FollowOptions = {}): Promise<Follower> {
  const { client = stack.client(), deltas, headers, threadId, onEvent } = options;
  const query = deltas ? { event_deltas: deltas } : {};
  const more = headers ? { headers } : {};
  const stream = await (threadId === undefined
    ? client.beta.sessions.events.stream(sessionId, query, more)
    : client.beta.sessions.threads.events.stream(threadId, { session_id: sessionId, ...query }, more));
  const events: Told[] = [];
  const waiting = new Set<() => void>();
  let problem: unknown = null;
  let over = false;
  const wake = () => {
    for (const check of [...waiting]) check();
  };
  const ended = (async () => {
    try {
      for await (const event of stream) {
        await onEvent?.(event);
        events.push(event);
        wake();
      }
    } catch (error) {
      if (!stream.controller.signal.aborted) problem = error;
    } finally {
      over = true;
      wake();
    }
    if (problem) throw problem;
  })();
  ended.catch(() => {});
  let passed = 0;

  return {
    events,
    ended,
    next<K extends Kind>(kind: K, where: (event: Of<K>) => boolean = () => true): Promise<Of<K>> {
      return new Promise((resolve, reject) => {
        const told = () => events.map((event) => `  ${event.type}`).join('\n');
        const timer = setTimeout(() => finish(new Error(`no ${kind} within ${WAIT_MS} ms; told so far:\n${told()}`)), WAIT_MS);
        const finish = (outcome: Error | Of<K>) => {
          clearTimeout(timer);
          waiting.delete(check);
          if (outcome instanceof Error) reject(outcome);
          else resolve(outcome);
        };
        const check = () => {
          while (passed < events.length) {
            const event = events[passed++]!;
            if (event.type === kind && where(event as Of<K>)) return finish(event as Of<K>);
          }
          if (over) finish(new Error(`the stream ended without ${kind}: ${String(problem ?? 'in order')}; told:\n${told()}`));
        };
        waiting.add(check);
        check();
      });
    },
    close: () => stream.controller.abort(),
    async [Symbol.asyncDispose]() {
      stream.controller.abort();
      await ended;
    },
  };
}

/** What the fake model was asked for a session, in order. */
export async function modelRequests(stack: Stack, sessionId: string): Promise<(JournalEntry & { body: Foreign })[]> {
  const response = await fetch(`${stack.fakeModelUrl}/fake/journal?limit=1000&session=${sessionId}`);
  return ((await response.json()) as { data: (JournalEntry & { body: Foreign })[] }).data;
}

/** What holds of every finished history. */
export function expectSound(events: readonly Stored[]): void {
  expect(new Set(events.map(({ id }) => id)).size, 'every id once').toBe(events.length);
  const times = events.map(({ processed_at }) => processed_at ?? '9');
  expect(times, 'processed_at never goes back').toEqual(times.toSorted());
  const starts = events.filter(({ type }) => type === 'span.model_request_start').map(({ id }) => id);
  expect(
    only(events, 'span.model_request_end').map(({ model_request_start_id }) => model_request_start_id),
    'every span ends once',
  ).toEqual(starts);
  const uses = events.filter(({ type }) => type === 'agent.tool_use').map(({ id }) => id);
  expect(
    only(events, 'agent.tool_result')
      .map(({ tool_use_id }) => tool_use_id)
      .toSorted(),
    'every call has one result',
  ).toEqual(uses.toSorted());
  events.forEach((event, at) => {
    if (event.type !== 'session.status_idle') return;
    expect(types(events.slice(at - 2, at)), 'what precedes an idle').toEqual(['session.thread_status_idle', 'session.usage']);
  });
}
