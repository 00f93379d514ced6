/** Followers that remember what they got, subscribers that lose messages, and what Redis was asked to do. */
import { createSubscriber, type Redis, type Subscriber } from '@manyhands/base';
import { type ClientEventBody, primaryThreadId } from '@manyhands/contract';
import { silentLogger, until } from '@manyhands/test-kit';
import type { Feed, LogEntry } from '../../src/index.ts';
import { defineScripts, type ScriptedRedis } from '../../src/scripts.ts';

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

export interface LossySubscriber extends Subscriber {
  /** Whether a message is lost. */
  loses(message: string): boolean;
  /** How many messages came from the server, lost ones among them. */
  readonly came: number;
  /** Channels are asked for once this has resolved. */
  subscribes: Promise<void>;
  /** As if the connection had been away. */
  gap(): void;
}
/** A real subscriber of which a test decides what arrives. */
export function createLossySubscriber(url: string): LossySubscriber {
  const real = createSubscriber(url, silentLogger, 'test-lossy');
  const gapListeners: (() => void)[] = [];
  let came = 0;
  const lossy: LossySubscriber = {
    loses: () => false,
    subscribes: Promise.resolve(),
    get came() {
      return came;
    },
    subscribe(channel, onMessage) {
      const subscription = lossy.subscribes.then(() =>
        real.subscribe(channel, (message) => {
          if (!lossy.loses(message)) onMessage(message);
          came++;
        }),
      );
      const ready = subscription.then((made) => made.ready);
      ready.catch(() => {});
      return { ready, close: () => void subscription.then((made) => made.close()) };
    },
    onGap(listener) {
      gapListeners.push(listener);
      real.onGap(listener);
    },
    gap() {
      for (const listener of gapListeners) listener();
    },
    close: real.close,
  };
  return lossy;
}

/** A connection of which a test sees one command: `around` gets what it does and answers for it. */
export function watchCommand<T>(
  redis: Redis,
  command: 'mhRead' | 'mhHeads',
  around: (call: () => Promise<T>) => Promise<T>,
): ScriptedRedis {
  return new Proxy(defineScripts(redis), {
    get(target, name) {
      if (name !== command) return Reflect.get(target, name);
      return (...of: Parameters<ScriptedRedis['mhRead']>) => around(() => target[command](...of) as Promise<T>);
    },
  });
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
