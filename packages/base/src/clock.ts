/** Time and randomness are ports: everything that needs them takes a Clock or an IdSource, so that tests can decide both. */
import { randomBytes } from 'node:crypto';
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
    for (const byte of randomBytes(length)) {
      // 58 * 4 = 232: bytes above are thrown away so that every digit is equally likely.
      if (byte < 232 && text.length < length) text += ALPHABET[byte % 58];
    }
  }
  return text;
}

export interface IdSource {
  id(kind: Exclude<IdKind, 'event'>): string;
  /** `position` is the head of the session's log as the minting process knows it. */
  eventId(position: number): string;
}
export const randomIds: IdSource = {
  id: (kind) => ID_PREFIX[kind] + randomText(22),
  eventId: (position) => formatEventId(position, randomText(17)),
};
