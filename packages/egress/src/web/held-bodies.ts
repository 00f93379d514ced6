/**
 * Documents that were fetched and are too large for one NATS message. Each is held in memory for a short time under a subject of its own,
 * where whoever asked for it reads it in parts. It goes when its end was read, or its time is over.
 */
import type { Messaging, Serving } from '@manyhands/base';
import { egressBodySubject, FETCH_PART_BYTES, type FetchPartReply, FetchPartRequest } from '@manyhands/contract';

const HELD_MS = 30_000;
const HELD_MAX = 16;

export interface HeldBodies {
  /** The subject on which the bytes are served; null while too many are held. */
  hold(bytes: Buffer): string | null;
  /** Lets go of everything. */
  close(): Promise<void>;
}

export interface HeldBodiesDeps {
  messaging: Pick<Messaging, 'serve'>;
  /** Makes names that nobody can guess. */
  mintName: () => string;
  heldMs?: number;
}

export function createHeldBodies({ messaging, mintName, heldMs = HELD_MS }: HeldBodiesDeps): HeldBodies {
  const held = new Map<string, { serving: Serving; timer: NodeJS.Timeout }>();

  async function letGo(subject: string): Promise<void> {
    const one = held.get(subject);
    held.delete(subject);
    clearTimeout(one?.timer);
    await one?.serving.stop();
  }

  return {
    hold(bytes) {
      if (held.size >= HELD_MAX) return null;
      const subject = egressBodySubject(mintName());
      const serving = messaging.serve(subject, async (body): Promise<FetchPartReply> => {
        const { offset } = FetchPartRequest.parse(body);
        const end = offset + FETCH_PART_BYTES;
        if (end >= bytes.length) void letGo(subject);
        return { data: bytes.subarray(offset, end).toString('base64') };
      });
      held.set(subject, { serving, timer: setTimeout(() => void letGo(subject), heldMs) });
      return subject;
    },
    async close() {
      await Promise.all([...held.keys()].map(letGo));
    },
  };
}
