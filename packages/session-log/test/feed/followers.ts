/** Followers that remember what they got, subscribers that lose messages, and what Redis was asked to do. */
import { createSubscriber, type Redis, type Subscriber } from '@manyhands/base';
import { type ClientEventBody, primaryThreadId } from '@manyhands/contract';
import { silentLogger, until } from '@manyhands/test-kit';
import type { Feed, LogEntry } from '../../src/index.ts';

/** Nothing is found by looking. */
export const NO_LOOKS = { working: 3_600_000, others: 3_600_000 };

export interface Following {
  entries: LogEntry[];
  /** Of `entries`. */
  positions(): number[];
  /** How many came with each delivery. */
  deliveries: LogEntry[][];
  errors: Error[];
  close(): void;
}

/** `onEntries` is called after the entries were noted; what it returns is the follower's answer. */
export function follow(
  feed: Feed,
  sessionId: string,
  after: number,
  {
    threadId = primaryThreadId(sessionId),
    onEntries,
  }: { threadId?: string; onEntries?: (entries: LogEntry[]) => void | Promise<void> } = {},
): Following {
  const following: Following = {
    entries: [],
    positions: () => following.entries.map(({ position }) => position),
    deliveries: [],
    errors: [],
    close: () => subscription.close(),
  };
  const subscription = feed.follow(sessionId, threadId, {
    after,
    onEntries(entries) {
      following.entries.push(...entries);
      following.deliveries.push(entries);
      return onEntries?.(entries);
    },
    onError: (error) => void following.errors.push(error),
  });
  return following;
}

export function upTo(last: number, first = 1): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** A message whose body is too large for an entry. */
export function picture(bytes: number): ClientEventBody {
  const data = 'A'.repeat(bytes);
  return { type: 'user.message', content: [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data } }] };
}

/** A real subscriber of which a test decides what arrives. `told` is called for every message that came from the server. */
export function createLossySubscriber(url: string): Subscriber & { loses: (message: string) => boolean; came: number } {
  const real = createSubscriber(url, silentLogger, 'test-lossy');
  const lossy = {
    loses: (_message: string): boolean => false,
    came: 0,
    subscribe: (channel: string, onMessage: (message: string) => void) =>
      real.subscribe(channel, (message) => {
        if (!lossy.loses(message)) onMessage(message);
        lossy.came++;
      }),
    onGap: real.onGap,
    close: real.close,
  };
  return lossy;
}

/** Resolves when it may go on; until then it is waited for. */
export function createGate() {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, opened };
}

/** How often each command was called so far, by clients and by scripts; without what keeps connections alive and what asks for this. */
export async function commandCounts(redis: Redis): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const [, name, calls] of (await redis.info('commandstats')).matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm))
    if (name !== 'info' && name !== 'ping') counts.set(name!, Number(calls));
  return counts;
}
export function countsSince(before: Map<string, number>, after: Map<string, number>): Record<string, number> {
  const since: Record<string, number> = {};
  for (const [name, calls] of after) if (calls !== (before.get(name) ?? 0)) since[name] = calls - (before.get(name) ?? 0);
  return since;
}
/** Resolves to the counts once nothing is under way any more. */
export async function countsAtRest(redis: Redis): Promise<Map<string, number>> {
  let last = new Map<string, number>();
  return until(
    async () => {
      const before = last;
      last = await commandCounts(redis);
      return Object.keys(countsSince(before, last)).length === 0 && last;
    },
    { what: 'no more commands' },
  );
}
