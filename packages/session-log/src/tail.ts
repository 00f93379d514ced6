/**
 * Follows sessions: one blocking XREAD per process over all watched logs, fanned out here; one subscriber connection for previews (I14).
 *
 * 1. A subscriber starts *catching up*: it reads its log by itself until nothing is left, then it is *live*.
 * 2. The reader keeps a cursor per watched session. What it reads goes to the live subscribers of that session.
 * 3. A subscriber that answers with a promise (back-pressure) goes back to catching up once the promise resolves; nothing is kept for it
 *    meanwhile, so a slow viewer costs its position and no memory.
 * 4. Each subscriber has a position and takes only entries behind it: none twice, none missed, in order (I2).
 *
 * The blocked read is woken with CLIENT UNBLOCK when the set of sessions changes. An unblock that arrives before the read is blocked does
 * nothing, so it is repeated until the reader has said that it reads the new set.
 */
import { createRedis, ensureError, type Logger, pause, type Redis } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import { PreviewFrame } from '@manyhands/contract';
import { z } from 'zod';
import { decodeEntries, type RawEntry } from './entry.ts';
import { previewChannel, sessionKeys } from './keys.ts';
import type { LogEntry, Tail, TailSubscription } from './types.ts';

const BLOCK_MS = 5_000;
const READ_COUNT = 200;
const UNBLOCK_REPEAT_MS = 3;
const RETRY_MS = 100;

interface Subscriber {
  position: number;
  live: boolean;
  closed: boolean;
  deliver(entries: LogEntry[]): void | Promise<void>;
}
interface Watched {
  sessionId: string;
  /** Last position the shared reader has read. */
  cursor: number;
  subscribers: Set<Subscriber>;
}

export interface TailDeps {
  redisUrl: string;
  /** For short reads and for waking the reader. */
  redis: Redis;
  blobs: BlobStore;
  log: Logger;
}

const PreviewMessage = z.array(PreviewFrame);

export function createTail({ redisUrl, redis, blobs, log }: TailDeps): Tail {
  const reader = createRedis(redisUrl, 'patient', log, 'tail-reader');
  const listener = createRedis(redisUrl, 'patient', log, 'tail-previews');
  const watched = new Map<string, Watched>();
  const previews = new Map<string, Set<(frames: PreviewFrame[]) => void>>();
  let closed = false;
  /** Versions of the watched set: wanted, and the one the reader last read with. */
  let wanted = 0;
  let reading = 0;
  let waking = false;
  let wakeIdle: (() => void) | null = null;

  function setChanged(): void {
    wanted++;
    wakeIdle?.();
    if (waking) return;
    waking = true;
    void (async () => {
      try {
        while (!closed && reading !== wanted && watched.size > 0) {
          const id = readerId;
          if (id !== null) await redis.client('UNBLOCK', id);
          await pause(UNBLOCK_REPEAT_MS);
        }
      } catch (error) {
        log.debug({ err: error }, 'unblock failed; the read ends by itself');
      } finally {
        waking = false;
      }
    })();
  }

  let readerId: number | null = null;
  reader.on('ready', () => {
    reader.client('ID').then(
      (id) => {
        readerId = id as number;
      },
      () => {},
    );
  });

  /** Hands entries on; a promise in return means: do not send more until it resolves. */
  function hand(subscriber: Subscriber, watch: Watched, entries: LogEntry[]): void {
    const fresh = entries.filter((entry) => entry.position > subscriber.position);
    if (fresh.length === 0 || subscriber.closed) return;
    subscriber.position = fresh.at(-1)!.position;
    const wait = subscriber.deliver(fresh);
    if (wait) {
      subscriber.live = false;
      void wait.then(() => catchUp(subscriber, watch));
    }
  }

  async function catchUp(subscriber: Subscriber, watch: Watched): Promise<void> {
    while (!closed && !subscriber.closed) {
      try {
        const raw = (await redis.xrange(
          sessionKeys(watch.sessionId).log,
          `${subscriber.position + 1}-0`,
          '+',
          'COUNT',
          READ_COUNT,
        )) as RawEntry[];
        const entries = await decodeEntries(blobs, raw);
        if (subscriber.closed) return;
        if (entries.length === 0) {
          // Everything up to here was read by itself; the shared reader brings the rest. It may be behind, never ahead.
          if (watch.cursor <= subscriber.position) {
            subscriber.live = true;
            return;
          }
          continue;
        }
        subscriber.position = entries.at(-1)!.position;
        await subscriber.deliver(entries);
      } catch (error) {
        log.warn({ err: ensureError(error), sessionId: watch.sessionId }, 'catching up failed; trying again');
        await pause(RETRY_MS);
      }
    }
  }

  async function readOnce(): Promise<void> {
    const version = wanted;
    const sessions = [...watched.values()];
    if (sessions.length === 0) {
      reading = version;
      await new Promise<void>((resolve) => {
        wakeIdle = resolve;
        if (closed || wanted !== version) resolve();
      });
      wakeIdle = null;
      return;
    }
    const keys = sessions.map(({ sessionId }) => sessionKeys(sessionId).log);
    const byKey = new Map(keys.map((key, i) => [key, sessions[i]!]));
    reading = version;
    const reply = (await reader.xread(
      'COUNT',
      READ_COUNT,
      'BLOCK',
      BLOCK_MS,
      'STREAMS',
      ...keys,
      ...sessions.map(({ cursor }) => `${cursor}-0`),
    )) as [string, RawEntry[]][] | null;
    for (const [key, raw] of reply ?? []) {
      const watch = byKey.get(key)!;
      const entries = await decodeEntries(blobs, raw);
      watch.cursor = Math.max(watch.cursor, entries.at(-1)?.position ?? 0);
      for (const subscriber of watch.subscribers) if (subscriber.live) hand(subscriber, watch, entries);
    }
  }

  const loop = (async () => {
    while (!closed) {
      try {
        await readOnce();
      } catch (error) {
        if (closed) return;
        log.warn({ err: ensureError(error) }, 'tail read failed; trying again');
        await pause(RETRY_MS);
      }
    }
  })();

  listener.on('message', (channel: string, message: string) => {
    const listeners = previews.get(channel);
    if (!listeners) return;
    const parsed = PreviewMessage.safeParse(JSON.parse(message));
    if (parsed.success) for (const onFrames of listeners) onFrames(parsed.data);
  });

  return {
    subscribe(sessionId, after, onEntries): TailSubscription {
      let watch = watched.get(sessionId);
      if (!watch) {
        watch = { sessionId, cursor: after, subscribers: new Set() };
        watched.set(sessionId, watch);
        setChanged();
      }
      const subscriber: Subscriber = { position: after, live: false, closed: false, deliver: onEntries };
      watch.subscribers.add(subscriber);
      void catchUp(subscriber, watch);
      return {
        close() {
          if (subscriber.closed) return;
          subscriber.closed = true;
          watch.subscribers.delete(subscriber);
          if (watch.subscribers.size === 0 && watched.get(sessionId) === watch) {
            watched.delete(sessionId);
            setChanged();
          }
        },
      };
    },
    subscribePreviews(sessionId, onFrames): TailSubscription {
      const channel = previewChannel(sessionId);
      const listeners = previews.get(channel) ?? new Set();
      previews.set(channel, listeners);
      listeners.add(onFrames);
      if (listeners.size === 1)
        listener.subscribe(channel).catch((error: unknown) => log.warn({ err: error }, 'preview subscription failed'));
      return {
        close() {
          listeners.delete(onFrames);
          if (listeners.size > 0 || previews.get(channel) !== listeners) return;
          previews.delete(channel);
          listener.unsubscribe(channel).catch(() => {});
        },
      };
    },
    async close() {
      closed = true;
      wakeIdle?.();
      reader.disconnect();
      listener.disconnect();
      await loop;
    },
  };
}
