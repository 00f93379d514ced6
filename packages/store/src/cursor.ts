/**
 * Page cursors: base64url of a small JSON. A cursor names its list, its order and the place behind which the next page starts, so that it
 * cannot be carried to another list or turned around.
 */
import { invalidRequest } from '@manyhands/base';

export type Order = 'asc' | 'desc';

export function encodeCursor(list: string, order: Order, after: string): string {
  return Buffer.from(JSON.stringify({ l: list, o: order, a: after })).toString('base64url');
}

/** The place a cursor stands for; 400 naming `page` for anything that this list did not give out. */
export function decodeCursor(list: string, order: Order, cursor: string): string {
  const bad = () => invalidRequest('page: not a cursor of this list; pass the next_page of its previous answer, unchanged');
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    throw bad();
  }
  if (typeof value !== 'object' || value === null) throw bad();
  const { l, o, a } = value as { l?: unknown; o?: unknown; a?: unknown };
  if (l !== list || typeof a !== 'string') throw bad();
  if (o !== order)
    throw invalidRequest(`page: this cursor belongs to another order; keep order=${String(o)} while paging, or start again without page`);
  return a;
}
