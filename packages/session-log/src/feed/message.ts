/** What is published on a thread's channel: by the scripts (`publish` in lua/library/base.lua, send.3.lua) and by `preview` of the writer. */
import { PreviewFrame } from '@manyhands/contract';
import { z } from 'zod';
import { LOG_FORMAT } from '../threads/state.ts';

const format = z.literal(LOG_FORMAT);

/** Entries that were added to the log, from position `first` on; their fields come along where they are small. */
const Appended = z
  .object({ format, first: z.int().positive(), count: z.int().positive(), entries: z.array(z.array(z.string())).optional() })
  .refine(({ count, entries }) => entries === undefined || entries.length === count);
export type Appended = z.infer<typeof Appended>;

const FeedMessage = z.union([
  Appended,
  z.object({ format, previews: z.array(PreviewFrame) }),
  /** An interrupt of the whole session: its sequence number. */
  z.object({ format, interrupt: z.int().positive() }),
]);
export type FeedMessage = z.infer<typeof FeedMessage>;

/** Null for what is no message of this format. */
export function parseMessage(text: string): FeedMessage | null {
  try {
    return FeedMessage.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}
