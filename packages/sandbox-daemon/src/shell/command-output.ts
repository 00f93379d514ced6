/**
 * What one command writes: its end in memory, a fixed amount; the whole in a spill file once it is more than that. Bytes in the file are as
 * the command wrote them.
 */
import type { Spill, Spills } from '../limits/spill.ts';
import { createTailBuffer } from '../limits/tail-buffer.ts';

/** Of a command's output the last so many bytes are kept. */
export const BASH_OUTPUT_MAX_BYTES = 100 * 1024;

export interface OutputEnd {
  /** The last BASH_OUTPUT_MAX_BYTES. */
  bytes: Buffer;
  truncated: boolean;
  /** Where the whole is, in words; null when `bytes` is the whole. */
  where: string | null;
}

export interface CommandOutput {
  push(chunk: Buffer): void;
  /** Asked once. */
  end(): OutputEnd;
}

export function createCommandOutput(spills: Spills): CommandOutput {
  const tail = createTailBuffer(BASH_OUTPUT_MAX_BYTES);
  let total = 0;
  let whole: Spill | null = null;
  return {
    push(chunk) {
      total += chunk.length;
      if (total > BASH_OUTPUT_MAX_BYTES) {
        if (whole === null) {
          whole = spills.begin();
          // Nothing is lost yet: the tail is still the whole.
          whole.write(tail.read().bytes);
        }
        whole.write(chunk);
      }
      tail.push(chunk);
    },
    end: () => ({ ...tail.read(), where: whole?.finish() ?? null }),
  };
}
