/** Opaque page cursors. A cursor carries its order; using it with another is a 400 (CONTRACT 0.4). */
import { invalidRequest } from '@manyhands/base';
import { z } from 'zod';

export const EventCursor = z.object({
  o: z.enum(['asc', 'desc']),
  /** Last position given out; null while only queued events were. */
  p: z.int().nullable(),
  /** Arrival of the last queued event given out; null if none was. */
  q: z.int().nullable(),
});
export const SessionCursor = z.object({ o: z.enum(['asc', 'desc']), t: z.number(), i: z.string(), d: z.enum(['next', 'prev']) });

export function encodeCursor(cursor: unknown): string {
  return Buffer.from(JSON.stringify(cursor)).toString('base64url');
}

export function decodeCursor<T extends { o: string }>(schema: z.ZodType<T>, text: string, order: string): T {
  let parsed: z.ZodSafeParseResult<T> | null = null;
  try {
    parsed = schema.safeParse(JSON.parse(Buffer.from(text, 'base64url').toString('utf8')));
  } catch {
    // Falls through to the refusal below.
  }
  if (!parsed?.success) throw invalidRequest('page: not a cursor of this list; pass next_page or prev_page of an earlier answer unchanged');
  if (parsed.data.o !== order) throw invalidRequest(`page: this cursor was made with order=${parsed.data.o}; keep the order while paging`);
  return parsed.data;
}
