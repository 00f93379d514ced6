/**
 * Client events that wait for this session's worker. They reach it through the shared log reader, the same that serves streams; there is
 * no second signal (DESIGN 3.7). An interrupt aborts what runs.
 */
import type { LogEntry, SessionLog, Tail } from '@manyhands/session-log';

export interface Inbox {
  /** Waiting events in arrival order. */
  waiting(): LogEntry[];
  /** Those of them that are interrupts. */
  interrupts(): LogEntry[];
  /** The next message, with the system message that came with it. */
  message(): LogEntry[] | null;
  /** The client's words on calls that wait for them. */
  confirmations(): LogEntry[];
  /** System messages that came with the result of a tool. */
  systemMessages(): LogEntry[];
  /** A signal that fires when an interrupt is waiting; at once if one is already. */
  interruptSignal(): { signal: AbortSignal; done(): void };
  taken(entry: LogEntry): void;
  /** Reads what waits from the log: used when the log knows of something that did not arrive here yet. */
  refresh(): Promise<void>;
  close(): void;
}

/** `queued` are the positions that wait, `known` the entries that came with the lease; what is not among them is read. */
export async function openInbox(
  deps: { log: SessionLog; tail: Tail },
  sessionId: string,
  head: number,
  queued: number[],
  known: LogEntry[],
): Promise<Inbox> {
  const entries = new Map<number, LogEntry>();
  /** Positions taken up; the reader may bring their queued form later. */
  const taken = new Set<number>();
  const listeners = new Set<() => void>();

  function add(found: LogEntry[]): void {
    for (const entry of found) if (entry.kind === 'queued' && !taken.has(entry.position)) entries.set(entry.position, entry);
    if (interrupts().length > 0) for (const listener of listeners) listener();
  }
  function waiting(): LogEntry[] {
    return [...entries.values()].sort((a, b) => a.position - b.position);
  }
  function interrupts(): LogEntry[] {
    return waiting().filter(({ event }) => event.type === 'user.interrupt');
  }

  const subscription = deps.tail.subscribe(sessionId, head, add);
  const byPosition = new Map(known.map((entry) => [entry.position, entry]));
  const unknown = queued.filter((position) => !byPosition.has(position));
  add(queued.flatMap((position) => byPosition.get(position) ?? []));
  if (unknown.length > 0) add(await deps.log.pending(sessionId, unknown));

  return {
    waiting,
    interrupts,
    message() {
      const message = waiting().find(({ event }) => event.type === 'user.message');
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
      if (interrupts().length > 0) controller.abort();
      return { signal: controller.signal, done: () => listeners.delete(listener) };
    },
    taken(entry) {
      const position = entry.position;
      taken.add(position);
      entries.delete(position);
    },
    async refresh() {
      add(await deps.log.pending(sessionId));
    },
    close: () => subscription.close(),
  };
}
