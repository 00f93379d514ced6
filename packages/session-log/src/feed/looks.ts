/**
 * Looks at the heads of watched threads: the net under a lost last message, behind which nothing comes that would show the gap. Threads at work
 * are looked at every `working` ms, all others every `others` ms, many with one command; a command is about one bucket, so that it stays in
 * one slot. What that costs depends on how much is watched, never on how much happens (I14).
 */
import { ensureError, type Logger } from '@manyhands/base';
import { bucketOf } from '../keys.ts';
import type { ScriptedRedis } from '../scripts.ts';
import type { Watch } from './watch.ts';

const THREADS_A_CALL = 200;

/** A thread's state: '' where there is none. */
export interface Look {
  head: number;
  status: string;
}
export interface LookIntervals {
  working: number;
  others: number;
}
export interface Looks {
  at(watch: Watch): Promise<Look>;
  /** There is something to look at. */
  wake(): void;
  close(): void;
}

interface LooksDeps {
  redis: ScriptedRedis;
  log: Logger;
  intervalsMs: LookIntervals;
  /** Threads that are followed now. */
  followed(): Watch[];
  onLook(watch: Watch, look: Look): void;
}

export function createLooks({ redis, log, intervalsMs, followed, onLook }: LooksDeps): Looks {
  const roundsOfAll = Math.max(1, Math.round(intervalsMs.others / intervalsMs.working));
  let rounds = 0;
  let timer: NodeJS.Timeout | null = null;
  let looking = false;
  let closed = false;

  async function ask(watches: readonly Watch[]): Promise<Look[]> {
    const states = watches.map(({ keys }) => keys.state);
    const reply = await redis.mhHeads(states[0]!, ...states);
    return watches.map((_, i) => ({ head: Number(reply[i * 2]), status: String(reply[i * 2 + 1]) }));
  }
  async function lookAt(watches: readonly Watch[]): Promise<void> {
    await Promise.all(
      batchesOf(watches).map(async (batch) => {
        for (const [i, look] of (await ask(batch)).entries()) onLook(batch[i]!, look);
      }),
    );
  }
  async function round(): Promise<void> {
    timer = null;
    looking = true;
    const isOfAll = ++rounds % roundsOfAll === 0;
    try {
      await lookAt(followed().filter(({ working }) => isOfAll || working));
    } catch (error) {
      log.debug({ err: ensureError(error) }, 'a look at heads failed; the next one comes');
    }
    looking = false;
    wake();
  }
  /** One round at a time, the next some time after the last has ended. */
  function wake(): void {
    if (closed || timer || looking || followed().length === 0) return;
    timer = setTimeout(() => void round(), intervalsMs.working);
    timer.unref();
  }

  return {
    wake,
    async at(watch) {
      const [look] = await ask([watch]);
      return look!;
    },
    close() {
      closed = true;
      if (timer) clearTimeout(timer);
    },
  };
}

function batchesOf(watches: readonly Watch[]): Watch[][] {
  const byBucket = new Map<number, Watch[]>();
  for (const watch of watches) {
    const bucket = bucketOf(watch.sessionId);
    const those = byBucket.get(bucket);
    if (those) those.push(watch);
    else byBucket.set(bucket, [watch]);
  }
  return [...byBucket.values()].flatMap((those) =>
    Array.from({ length: Math.ceil(those.length / THREADS_A_CALL) }, (_, i) => those.slice(i * THREADS_A_CALL, (i + 1) * THREADS_A_CALL)),
  );
}
