/**
 * One session as a conversation. A single stream is read from before the first message until the end; when it breaks it is opened again
 * and what was missed is read from the log, so nothing is lost and nothing shown twice (I2). A turn has ended when an idle status follows
 * its message in the log's order.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type Anthropic from '@anthropic-ai/sdk';
import { APIError } from '@anthropic-ai/sdk';
import type { EventOf, StoredEvent, StreamEvent, ToolResult, ToolUse } from './session-events.ts';

const RECONNECT_BASE_MS = 200;
const RECONNECT_CAP_MS = 3_000;
/** A server that is away for longer is given up. */
const RECONNECT_PATIENCE_MS = 120_000;
const PAGE_SIZE = 1_000;

export interface ConversationListener {
  /** A piece of the answer. */
  text(piece: string): void;
  /** The answer is whole, or was cut. */
  textEnd(): void;
  toolUse(use: ToolUse): void;
  toolResult(use: ToolUse, result: ToolResult): void;
  /** A message of the user, told for history only. */
  userText(text: string): void;
  /** Anything else a person should know. */
  notice(text: string): void;
}

/** Why it is the user's turn again: the stop reason, or `terminated`. */
export type TurnEnd = EventOf<'session.status_idle'>['stop_reason']['type'] | 'terminated';

export interface Conversation {
  readonly sessionId: string;
  /** Whether the agent works. */
  readonly busy: boolean;
  /** Sends a message and waits for the end of the turn. */
  send(text: string): Promise<TurnEnd>;
  /** Waits until a turn that somebody else began has ended. */
  untilIdle(): Promise<void>;
  interrupt(): Promise<void>;
  close(): void;
}

export interface ConversationOptions {
  client: Anthropic;
  sessionId: string;
  listener: ConversationListener;
  /** Tell what was said before. */
  history: boolean;
}

interface Turn {
  /** Known once the server has answered. */
  messageId: string | null;
  end: (end: TurnEnd) => void;
  fail: (error: Error) => void;
}

export async function openConversation({ client, sessionId, listener, history }: ConversationOptions): Promise<Conversation> {
  const abort = new AbortController();
  /** Stored events that were dealt with, and where each came in the order of this client. */
  const places = new Map<string, number>();
  let place = 0;
  let lastIdle: { place: number; end: TurnEnd } | null = null;
  let terminated = false;
  let busy = false;
  let turn: Turn | null = null;
  let broken: Error | null = null;
  const idleWaiters: (() => void)[] = [];
  /** What was shown of the answer that is being streamed. */
  let streaming: { id: string; shown: string } | null = null;
  const toolUses = new Map<string, ToolUse>();

  function endStreaming(): void {
    if (streaming && streaming.shown !== '') listener.textEnd();
    streaming = null;
  }

  function preview(event: EventOf<'event_start'> | EventOf<'event_delta'>): void {
    const id = event.type === 'event_start' ? event.event.id : event.event_id;
    if (places.has(id)) return;
    if (streaming?.id !== id) {
      // An answer that was cut by a crash begins again under another id.
      endStreaming();
      streaming = { id, shown: '' };
    }
    if (event.type === 'event_start' || event.delta.content.text === '') return;
    streaming.shown += event.delta.content.text;
    listener.text(event.delta.content.text);
  }

  function message(event: EventOf<'agent.message'>): void {
    const text = event.content.map((block) => ('text' in block ? block.text : '')).join('');
    const shown = streaming?.id === event.id ? streaming.shown : '';
    // Previews are best effort: what they left out is added, and where they do not fit the whole is told again.
    if (!text.startsWith(shown)) endStreaming();
    const rest = text.startsWith(shown) ? text.slice(shown.length) : text;
    if (rest !== '') listener.text(rest);
    if (text !== '') listener.textEnd();
    streaming = null;
  }

  function handle(event: StreamEvent, replayed: boolean): void {
    if (event.type === 'event_start' || event.type === 'event_delta') {
      preview(event);
      return;
    }
    // A user's event comes twice by contract: when it is queued, and when its turn begins.
    if (places.has(event.id)) return;
    places.set(event.id, ++place);
    switch (event.type) {
      case 'user.message':
        if (replayed) listener.userText(event.content.map((block) => ('text' in block ? block.text : `[${block.type}]`)).join(''));
        break;
      case 'agent.message':
        message(event);
        break;
      case 'agent.tool_use':
        endStreaming();
        toolUses.set(event.id, event);
        listener.toolUse(event);
        break;
      case 'agent.tool_result': {
        const use = toolUses.get(event.tool_use_id);
        toolUses.delete(event.tool_use_id);
        if (use) listener.toolResult(use, event);
        break;
      }
      case 'span.model_request_end':
        if (event.is_error) endStreaming();
        break;
      case 'session.error':
        endStreaming();
        listener.notice(`error: ${event.error.message}`);
        break;
      case 'session.status_running':
        busy = true;
        break;
      case 'session.status_rescheduled':
        listener.notice('the model does not answer; it is asked again …');
        break;
      case 'session.status_idle':
        idle(event.stop_reason.type);
        break;
      case 'session.status_terminated':
      case 'session.deleted':
        terminated = true;
        idle('terminated');
        break;
      default:
        break;
    }
    checkTurn();
  }

  function idle(end: TurnEnd): void {
    endStreaming();
    toolUses.clear();
    busy = false;
    lastIdle = { place, end };
    for (const wake of idleWaiters.splice(0)) wake();
  }

  function checkTurn(): void {
    if (!turn) return;
    const begun = turn.messageId === null ? undefined : places.get(turn.messageId);
    if (terminated || (begun !== undefined && lastIdle !== null && lastIdle.place > begun)) {
      const { end } = turn;
      turn = null;
      end(terminated ? 'terminated' : (lastIdle?.end ?? 'end_turn'));
    }
  }

  /** The log's events that were not dealt with yet, in order. Everything before the first one that was is skipped on the server's side. */
  async function missed(): Promise<StoredEvent[]> {
    const newest: StoredEvent[] = [];
    for await (const event of client.beta.sessions.events.list(sessionId, { order: 'desc', limit: PAGE_SIZE }, { signal: abort.signal })) {
      // A user's event may have been seen early, while it was queued: it does not mark how far we are.
      if (places.has(event.id) && !event.type.startsWith('user.')) break;
      newest.push(event);
    }
    return newest.reverse();
  }

  async function openStream(): Promise<AsyncIterable<StreamEvent>> {
    const stream = await client.beta.sessions.events.stream(
      sessionId,
      { event_deltas: ['agent.message'] },
      { signal: abort.signal, maxRetries: 0 },
    );
    for (const event of await missed()) handle(event, true);
    return stream;
  }

  async function read(stream: AsyncIterable<StreamEvent>): Promise<void> {
    for await (const event of stream) handle(event, false);
  }

  async function keepReading(first: AsyncIterable<StreamEvent>): Promise<void> {
    let stream: AsyncIterable<StreamEvent> | null = first;
    let failures = 0;
    let lostMs = 0;
    while (!abort.signal.aborted && !terminated) {
      try {
        if (stream === null) {
          stream = await openStream();
          if (failures > 1) listener.notice('connected again');
          failures = 0;
        }
        await read(stream);
      } catch (error) {
        if (abort.signal.aborted) return;
        if (isFinal(error)) throw error;
        if (failures > 0 && performance.now() - lostMs > RECONNECT_PATIENCE_MS) throw error;
      }
      if (abort.signal.aborted || terminated) return;
      stream = null;
      failures++;
      if (failures === 1) lostMs = performance.now();
      if (failures === 2) listener.notice('connection lost; trying to get it back …');
      await sleep(Math.min(RECONNECT_CAP_MS, RECONNECT_BASE_MS * 2 ** (failures - 1)));
    }
  }

  if (!history) {
    for (const event of await missed()) {
      places.set(event.id, ++place);
      if (event.type === 'session.status_running') busy = true;
      if (event.type === 'session.status_idle') busy = false;
      if (event.type === 'session.status_terminated') terminated = true;
    }
  }
  const first = await openStream();
  void keepReading(first).catch((error: Error) => {
    broken = error;
    turn?.fail(error);
    turn = null;
    for (const wake of idleWaiters.splice(0)) wake();
  });

  return {
    sessionId,
    get busy() {
      return busy || turn !== null;
    },
    async send(text) {
      if (broken) throw broken;
      if (terminated) return 'terminated';
      const mine: Turn = { messageId: null, end: () => {}, fail: () => {} };
      const ended = new Promise<TurnEnd>((resolve, reject) => {
        mine.end = resolve;
        mine.fail = reject;
      });
      ended.catch(() => {}); // Also told by the throw below, if sending fails.
      turn = mine;
      try {
        const stored = await client.beta.sessions.events.send(sessionId, {
          events: [{ type: 'user.message', content: [{ type: 'text', text }] }],
        });
        mine.messageId = stored.data?.[0]?.id ?? null;
      } catch (error) {
        turn = null;
        throw error;
      }
      checkTurn();
      return await ended;
    },
    async untilIdle() {
      if (busy && !broken) await new Promise<void>((resolve) => idleWaiters.push(resolve));
      if (broken) throw broken;
    },
    async interrupt() {
      await client.beta.sessions.events.send(sessionId, { events: [{ type: 'user.interrupt' }] });
    },
    close: () => abort.abort(),
  };
}

/** Asking again would get the same answer. */
function isFinal(error: unknown): boolean {
  return error instanceof APIError && typeof error.status === 'number' && error.status < 500 && ![408, 409, 429].includes(error.status);
}
