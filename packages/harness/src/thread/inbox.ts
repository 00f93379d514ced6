/**
 * Events that wait for this thread's worker. They reach it through the same feed that serves streams; there is no second signal
 * (DESIGN 3.7). An interrupt aborts what runs. One of the whole session is stored in the primary's log; a child learns its sequence number.
 */
import type { Scope } from '@manyhands/base';
import { primaryThreadId } from '@manyhands/contract';
import type { Feed, Lease, LogEntry, SessionLog } from '@manyhands/session-log';

export interface Inbox {
  /** Waiting events in arrival order. */
  waiting(): LogEntry[];
  /** Those of them that are interrupts. */
  interrupts(): LogEntry[];
  /** The interrupt of the whole session that this child has still to handle: its sequence number, or 0. */
  sessionInterrupt(): number;
  /** Such an interrupt reached this child, or none did (0). */
  interruptSession(sequence: number): void;
  sessionHandled(sequence: number): void;
  /** The next message, with the system message that came with it. */
  message(): LogEntry[] | null;
  /** The client's words on calls that wait for them. */
  confirmations(): LogEntry[];
  /** System messages that came with the result of a tool. */
  systemMessages(): LogEntry[];
  /** A signal that fires when an interrupt is waiting; at once if one is already. */
  interruptSignal(): { signal: AbortSignal; done(): void };
  taken(entry: LogEntry): void;
  /** These were read from the log; the feed may bring them later, or not at all. */
  arrived(entries: LogEntry[]): void;
  /** Reads what waits from the log: used when the log knows of something that did not arrive here yet. */
  refresh(): Promise<void>;
}

const MESSAGES: ReadonlySet<string> = new Set(['user.message', 'agent.thread_message_received']);

/**
 * `queued` are the positions that wait, `known` the entries that came with the lease; what is not among them is read. It is fed until the
 * scope ends; an entry that cannot be read ends the scope.
 */
export async function openInbox(
  deps: { log: SessionLog; feed: Feed },
  { sessionId, threadId, head }: Lease,
  queued: number[],
  known: LogEntry[],
  interrupt: number,
  scope: Scope,
): Promise<Inbox> {
  const entries = new Map<number, LogEntry>();
  /** Positions taken up; the reader may bring their queued form later. */
  const taken = new Set<number>();
  const listeners = new Set<() => void>();
  let session = interrupt;
  let handled = 0;

  function interrupted(): boolean {
    return session > handled || interrupts().length > 0;
  }
  function alert(): void {
    if (interrupted()) for (const listener of listeners) listener();
  }
  function add(found: LogEntry[]): void {
    for (const entry of found)
      if (entry.kind === 'queued' && entry.copyOf === null && !taken.has(entry.position)) entries.set(entry.position, entry);
    alert();
  }
  function interruptSession(sequence: number): void {
    session = Math.max(session, sequence);
    alert();
  }
  function waiting(): LogEntry[] {
    return [...entries.values()].sort((a, b) => a.position - b.position);
  }
  function interrupts(): LogEntry[] {
    return waiting().filter(({ event }) => event.type === 'user.interrupt');
  }

  /** An interrupt of the whole session lies in the log of the primary thread; of a child's it is in the state. */
  async function interruptOf(log: SessionLog): Promise<number> {
    const stored = threadId === primaryThreadId(sessionId) ? null : await log.get(sessionId);
    return (stored && (await log.thread(stored, threadId)))?.state.interrupt ?? 0;
  }

  const following = deps.feed.follow(sessionId, threadId, {
    after: head,
    bodies: 'queued',
    onEntries: add,
    onError: (error) => void scope.close(error),
  });
  scope.defer(() => following.close());
  const interrupting = deps.feed.interrupts(sessionId, threadId, interruptSession);
  scope.defer(() => interrupting.close());
  const byPosition = new Map(known.map((entry) => [entry.position, entry]));
  const unknown = queued.filter((position) => !byPosition.has(position));
  add(queued.flatMap((position) => byPosition.get(position) ?? []));
  if (unknown.length > 0) add(await deps.log.pending(sessionId, unknown, threadId));

  return {
    waiting,
    interrupts,
    sessionInterrupt: () => (session > handled ? session : 0),
    interruptSession,
    sessionHandled(sequence) {
      handled = Math.max(handled, sequence);
    },
    message() {
      const message = waiting().find(({ event }) => MESSAGES.has(event.type));
      if (!message) return null;
      const next = entries.get(message.position + 1);
      return next?.event.type === 'system.message' ? [message, next] : [message];
    },
    confirmations: () => waiting().filter(({ event }) => event.type === 'user.tool_confirmation'),
    systemMessages: () =>
      waiting().filter(
        ({ event, position }) => event.type === 'system.message' && entries.get(position - 1)?.event.type !== 'user.message',
      ),
    interruptSignal() {
      const controller = new AbortController();
      const listener = () => controller.abort();
      listeners.add(listener);
      if (interrupted()) controller.abort();
      return { signal: controller.signal, done: () => listeners.delete(listener) };
    },
    taken(entry) {
      const position = entry.position;
      taken.add(position);
      entries.delete(position);
    },
    arrived: add,
    async refresh() {
      const [pending, interrupted] = await Promise.all([deps.log.pending(sessionId, undefined, threadId), interruptOf(deps.log)]);
      add(pending);
      interruptSession(interrupted);
    },
  };
}
