/**
 * The trace that a piece of work belongs to, as W3C `traceparent` text: taken from whoever asked, carried along with the work across
 * `await`, handed on with what it asks of others. Nothing is recorded or exported yet, so a trace that begins here is not marked as sampled;
 * the mark of a trace that came from outside is kept.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';

/** Version 00: trace id, id of the span that asks, flags. */
const TRACEPARENT = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$/;
const TRACE_ID_BYTES = 16;
const SPAN_ID_BYTES = 8;
const NOT_SAMPLED = '00';

const current = new AsyncLocalStorage<string | null>();

/** The text itself if it is a valid traceparent of version 00, otherwise null: what cannot be read is no trace. */
export function parseTraceparent(text: string | null | undefined): string | null {
  return text && TRACEPARENT.test(text) ? text : null;
}

/** The first span of a new trace. */
export function newTraceparent(): string {
  return `00-${randomId(TRACE_ID_BYTES)}-${randomId(SPAN_ID_BYTES)}-${NOT_SAMPLED}`;
}

/** A new span of the same trace; of a new one, as W3C wants it, if the text is not valid. */
export function childOf(traceparent: string): string {
  const [, traceId, , flags] = TRACEPARENT.exec(traceparent) ?? [];
  return traceId === undefined ? newTraceparent() : `00-${traceId}-${randomId(SPAN_ID_BYTES)}-${flags}`;
}

/** The traceparent of the work that is running, or null. */
export function currentTrace(): string | null {
  return current.getStore() ?? null;
}

/** Runs `work`, and all that it starts, in this trace; null: in none, whatever it was started from. */
export function withTrace<T>(traceparent: string | null, work: () => T): T {
  return current.run(traceparent, work);
}

/** Never all zeros, which would mean that there is none. */
function randomId(bytes: number): string {
  for (;;) {
    const id = randomBytes(bytes);
    if (id.some((byte) => byte !== 0)) return id.toString('hex');
  }
}
