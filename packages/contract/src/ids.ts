/**
 * Ids: prefix + text, as the hosted service writes them (CONTRACT 0.5). Minting lives in `base` (randomness is a port);
 * this file says what an id looks like and how an event id carries its sequence number.
 *
 * An event id is `sevt_` + the session's sequence number seen when it was minted (7 base-36 digits) + random. Entries hold theirs, so that a
 * reader of any thread's log finds the event by halving and a short scan forward, whether the entry is in Redis or in cold storage. In
 * sessions of 0.1.0 sequence numbers are positions, so their ids stay good.
 */
export const ID_PREFIX = {
  agent: 'agent_',
  environment: 'env_',
  session: 'sesn_',
  event: 'sevt_',
  thread: 'sthr_',
  workspace: 'wrkspc_',
  apiKey: 'apikey_',
  request: 'req_',
  sandbox: 'sbx_',
  pool: 'pool_',
  file: 'file_',
  sessionResource: 'sesrsc_',
} as const;
export type IdKind = keyof typeof ID_PREFIX;

const ID_BODY = /^[A-Za-z0-9]{1,64}$/;

/** True for text that could be an id of this kind. A malformed id answers 404, like an unknown one (CONTRACT 8 M). */
export function isId(kind: IdKind, text: string): boolean {
  const prefix = ID_PREFIX[kind];
  return text.startsWith(prefix) && ID_BODY.test(text.slice(prefix.length));
}

const SEQUENCE_DIGITS = 7;

/** The text of an event id: `sequence` is the session's last one when it was minted, `random` makes it unique. */
export function formatEventId(sequence: number, random: string): string {
  return ID_PREFIX.event + sequence.toString(36).padStart(SEQUENCE_DIGITS, '0') + random;
}

/** The sequence number an event id was minted at, or null for text that is no event id of ours. */
export function eventIdSequence(id: string): number | null {
  if (!isId('event', id)) return null;
  const digits = id.slice(ID_PREFIX.event.length, ID_PREFIX.event.length + SEQUENCE_DIGITS);
  if (!/^[0-9a-z]{7}$/.test(digits)) return null;
  return Number.parseInt(digits, 36);
}

/** The primary thread's id: the session's id under the thread prefix. */
export function primaryThreadId(sessionId: string): string {
  return ID_PREFIX.thread + sessionId.slice(ID_PREFIX.session.length);
}
