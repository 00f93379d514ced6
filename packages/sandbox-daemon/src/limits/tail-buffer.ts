/** Keeps the last `capacity` bytes of an endless stream in a fixed amount of memory. */
export interface TailBuffer {
  push(chunk: Buffer): void;
  /** The kept bytes, and whether earlier ones were lost. */
  read(): { bytes: Buffer; truncated: boolean };
}

export function createTailBuffer(capacity: number): TailBuffer {
  let ring: Buffer = Buffer.alloc(0);
  /** Bytes pushed in all; the next byte goes to `total % ring.length` once the ring is full-sized. */
  let total = 0;

  function grow(needed: number): void {
    if (needed <= ring.length) return;
    const next = Buffer.allocUnsafe(Math.min(capacity, Math.max(needed, ring.length * 2, 4096)));
    ring.copy(next, 0, 0, total);
    ring = next;
  }

  return {
    push(chunk) {
      const piece = chunk.length > capacity ? chunk.subarray(chunk.length - capacity) : chunk;
      // While nothing was lost the ring is a plain growing buffer.
      if (total < capacity) grow(Math.min(capacity, total + piece.length));
      const skipped = chunk.length - piece.length;
      const at = (total + skipped) % Math.max(ring.length, 1);
      const first = Math.min(piece.length, ring.length - at);
      piece.copy(ring, at, 0, first);
      piece.copy(ring, 0, first);
      total += chunk.length;
    },
    read() {
      if (total <= capacity) return { bytes: Buffer.from(ring.subarray(0, total)), truncated: false };
      const at = total % capacity;
      return { bytes: Buffer.concat([ring.subarray(at), ring.subarray(0, at)]), truncated: true };
    },
  };
}
