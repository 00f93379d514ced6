/**
 * Page cursors: base64url of a small JSON. A cursor names its list, its order and a place in it, so that it cannot be carried to another
 * list or turned around. What a place is, each list knows itself (CONTRACT 0.4).
 */
import { z } from 'zod';
import { invalidRequest } from './errors.ts';

export type Order = 'asc' | 'desc';
const Cursor = z.strictObject({ l: z.string(), o: z.enum(['asc', 'desc']), a: z.unknown() });

export function encodeCursor(list: string, order: Order, place: unknown): string {
  return Buffer.from(JSON.stringify({ l: list, o: order, a: place })).toString('base64url');
}

function parsed(text: string): unknown {
  const bytes = Buffer.from(text, 'base64url');
  // The decoder skips what is no base64; a cursor that was not ours in every character is none.
  if (bytes.toString('base64url') !== text) return null;
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return null;
  }
}

/** The place a cursor stands for; 400 naming `page` for anything that this list did not give out. */
export function decodeCursor<T>(list: string, order: Order, isPlace: (value: unknown) => value is T, text: string): T {
  const cursor = Cursor.safeParse(parsed(text));
  const place = cursor.data?.a;
  if (!cursor.success || !isPlace(place) || cursor.data.l !== list)
    throw invalidRequest('page: not a cursor of this list; pass the next_page or prev_page of its previous answer, unchanged');
  if (cursor.data.o !== order)
    throw invalidRequest(
      `page: this cursor belongs to another order; keep order=${cursor.data.o} while paging, or start again without page`,
    );
  return place;
}
