/** Time and randomness are ports: everything that needs them takes a Clock or an IdSource, so that tests can decide both. */
import { randomFillSync } from 'node:crypto';
import { formatEventId, ID_PREFIX, type IdKind } from '@manyhands/contract';

export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
}
export const systemClock: Clock = { now: () => Date.now() };

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/** Random text of `length` base-58-like digits; 22 digits carry about 129 bits. */
export function randomText(length: number): string {
  let text = '';
  while (text.length < length) {
    const byte = randomByte();
    // 58 * 4 = 232: bytes above are thrown away so that every digit is equally likely.
    if (byte < 232) text += ALPHABET[byte % 58];
  }
  return text;
}

/** Drawn by the block: an id takes 22 of them, and a call for each would cost more than all else of it. */
const drawn = Buffer.alloc(4_096);
let used = drawn.length;
function randomByte(): number {
  if (used === drawn.length) {
    randomFillSync(drawn);
    used = 0;
  }
  const byte = drawn[used]!;
  // No byte is ever given twice.
  drawn[used++] = 0;
  return byte;
}

export interface IdSource {
  id(kind: Exclude<IdKind, 'event'>): string;
  /** `sequence` is the session's last sequence number as the minting process knows it. */
  eventId(sequence: number): string;
}
export const randomIds: IdSource = {
  id: (kind) => ID_PREFIX[kind] + randomText(22),
  eventId: (sequence) => formatEventId(sequence, randomText(17)),
};
