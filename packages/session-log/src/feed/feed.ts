/**
 * Following the logs of threads, by push: every append publishes what it added on the channel of its thread, and previews and interrupts come
 * on the same one (DESIGN 5, "The feed").
 *
 * - One subscriber connection a process, whatever is followed (in a cluster one to each master). What an event costs depends on who follows its
 *   thread, not on how many threads are watched (I14).
 * - A follower first subscribes, then reads, then is live: nothing falls in between. Followers and their phases: follower.ts.
 * - An entry is decoded once for all live followers of its thread, which get the same object. Nothing is waited for here: an entry whose body
 *   lies in a blob sends its followers to read, each for itself (I15).
 * - A message that was lost is noticed by the next one, since positions have no gaps; after a lost connection by reading; at the end of
 *   everything by a look at the head (looks.ts). A message that cannot be read counts as lost.
 * - It shares no slot: a command is about one thread, or about threads of one bucket.
 */
import { createSubscriber, ensureError, type Logger, type Redis, type Subscriber } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import { threadKeys } from '../keys.ts';
import { positionOf, type RawEntry } from '../log/entry.ts';
import { defineScripts } from '../scripts.ts';
import type { LogEntry } from '../types.ts';
import type { Feed, Subscription } from './feed-port.ts';
import { createFollower } from './follower.ts';
import { createLooks, type LookIntervals } from './looks.ts';
import { type Appended, parseMessage } from './message.ts';
import { createReads, decodeSafely } from './reads.ts';
import { createWatch, doubt, told, type Watch } from './watch.ts';

const LOOK_INTERVALS_MS: LookIntervals = { working: 2_000, others: 30_000 };

export interface FeedDeps {
  redisUrl: string;
  /** For reads, which are short. */
  redis: Redis;
  blobs: BlobStore;
  log: Logger;
  /** One of its own, from `redisUrl`, if not given. Who gives one closes it. */
  subscriber?: Subscriber;
  lookIntervalsMs?: LookIntervals;
}

const CLOSED: Subscription = { close: () => {} };

export function createFeed({ redisUrl, redis: connection, blobs, log, subscriber: given, lookIntervalsMs }: FeedDeps): Feed {
  const redis = defineScripts(connection);
  const subscriber = given ?? createSubscriber(redisUrl, log, 'feed');
  const reads = createReads(redis, blobs);
  const looks = createLooks({
    redis,
    log,
    intervalsMs: lookIntervalsMs ?? LOOK_INTERVALS_MS,
    followed: () => [...watched.values()].flatMap(({ watch }) => (watch.followers.size > 0 ? [watch] : [])),
    onLook(watch, { head, status }) {
      if (head >= watch.head) watch.working = status === 'running' || status === 'rescheduling';
      told(watch, head);
      for (const follower of [...watch.followers]) {
        if (status === '') follower.gone();
        else follower.offer([]);
      }
    },
  });
  /** By the key of the log. */
  const watched = new Map<string, { watch: Watch; ready: Promise<void>; subscription: Subscription }>();
  let closed = false;

  function watching(sessionId: string, threadId: string): { watch: Watch; ready: Promise<void> } {
    const keys = threadKeys(sessionId, threadId);
    const known = watched.get(keys.log);
    if (known) return known;
    const watch = createWatch(sessionId, threadId, keys);
    const subscription = subscriber.subscribe(keys.feed, (text) => onMessage(watch, text));
    const made = { watch, ready: subscription.ready, subscription };
    watched.set(keys.log, made);
    return made;
  }
  function leave({ keys: { log: key }, followers, previews, interrupts }: Watch): void {
    if (followers.size + previews.size + interrupts.size > 0) return;
    watched.get(key)?.subscription.close();
    watched.delete(key);
  }

  function onMessage(watch: Watch, text: string): void {
    const message = parseMessage(text);
    if (!message) {
      complain(watch, 'a message on the channel of a thread cannot be read; its log is read instead');
      missed(watch);
    } else if ('previews' in message) {
      tell(watch.previews, ({ onFrames }) => onFrames(message.previews));
    } else if ('interrupt' in message) {
      tell(watch.interrupts, ({ onInterrupt }) => onInterrupt(message.interrupt));
    } else {
      watch.working = true;
      told(watch, message.first + message.count - 1);
      const followers = [...watch.followers].filter(({ phase }) => phase === 'live');
      if (followers.length === 0) return;
      const entries = leadingInline(watch, message);
      for (const follower of followers) follower.offer(entries);
    }
  }
  /** The entries of a message up to the first one that has to be read: for its body, or because it is no entry. */
  function leadingInline(watch: Watch, { first, entries: fields = [] }: Appended): LogEntry[] {
    const entries: LogEntry[] = [];
    for (const [i, of] of fields.entries()) {
      const raw: RawEntry = [`${first + i}-0`, of];
      try {
        const entry = decodeSafely(raw);
        if (!entry) break;
        entries.push(entry);
      } catch (error) {
        complain(watch, `the entry at ${positionOf(raw)} in a message cannot be read`, error);
        break;
      }
    }
    return entries;
  }
  function missed(watch: Watch): void {
    doubt(watch);
    for (const follower of [...watch.followers]) follower.check();
  }
  function complain(watch: Watch, what: string, error?: unknown): void {
    if (watch.complained) return;
    watch.complained = true;
    log.warn({ sessionId: watch.sessionId, threadId: watch.threadId, ...(error === undefined ? {} : { err: error }) }, what);
  }
  /** Any of them may be closed by any of them. */
  function tell<T>(listeners: ReadonlySet<T>, call: (listener: T) => void): void {
    for (const listener of [...listeners]) {
      if (!listeners.has(listener)) continue;
      try {
        call(listener);
      } catch (error) {
        log.error({ err: ensureError(error) }, 'a listener of the feed failed');
      }
    }
  }
  function listen<T>(watch: Watch, listeners: Set<T>, listener: T): Subscription {
    listeners.add(listener);
    return {
      close() {
        if (listeners.delete(listener)) leave(watch);
      },
    };
  }

  subscriber.onGap(() => {
    for (const { watch } of [...watched.values()]) missed(watch);
  });

  return {
    follow(sessionId, threadId, options) {
      if (closed) return CLOSED;
      const { watch, ready } = watching(sessionId, threadId);
      const follower = createFollower({ reads, look: looks.at, log }, watch, options, () => {
        watch.followers.delete(follower);
        leave(watch);
      });
      watch.followers.add(follower);
      // It rejects for what is closed by then.
      ready.then(follower.start, () => {});
      looks.wake();
      return { close: follower.close };
    },
    previews(sessionId, threadId, onFrames) {
      if (closed) return CLOSED;
      const { watch } = watching(sessionId, threadId);
      return listen(watch, watch.previews, { onFrames });
    },
    interrupts(sessionId, threadId, onInterrupt) {
      if (closed) return CLOSED;
      const { watch } = watching(sessionId, threadId);
      return listen(watch, watch.interrupts, { onInterrupt });
    },
    async close() {
      closed = true;
      looks.close();
      for (const { watch, subscription } of [...watched.values()]) {
        for (const follower of [...watch.followers]) follower.close();
        watch.previews.clear();
        watch.interrupts.clear();
        subscription.close();
      }
      watched.clear();
      if (!given) await subscriber.close();
    },
  };
}
