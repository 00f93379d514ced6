/**
 * The blob store port. Keys are `/`-separated and start with workspace and session, so that deletion is a prefix (DESIGN 5).
 * `put` returns only when the bytes are durable: file and directory are synced. A put replaces; readers see the old or the new, whole.
 */
import type { Readable } from 'node:stream';

export interface BlobStore {
  put(key: string, body: Buffer | Readable): Promise<{ bytes: number }>;
  /** The whole blob, or null if there is none. */
  get(key: string): Promise<Buffer | null>;
  open(key: string): Promise<{ bytes: number; stream: Readable } | null>;
  /** A second blob with the same bytes, durable like a put; false if there is none under `from`. */
  copy(from: string, to: string): Promise<boolean>;
  list(prefix: string): AsyncIterable<string>;
  delete(key: string): Promise<void>;
  deletePrefix(prefix: string): Promise<void>;
}

const SEGMENT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$/;

/** A key that is no path trick: 1–8 plain segments. */
export function isBlobKey(key: string): boolean {
  const segments = key.split('/');
  return segments.length >= 1 && segments.length <= 8 && segments.every((segment) => SEGMENT.test(segment));
}
