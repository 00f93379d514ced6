/** Following the logs of threads. */
import type { PreviewFrame } from '@manyhands/contract';
import type { LogEntry } from '../types.ts';

export interface Subscription {
  close(): void;
}
export interface FollowOptions {
  /** Every entry behind this position is delivered. */
  after: number;
  /**
   * `queued`: what is not queued comes without its body where that lies in a blob, for who only wants to know what waits. Nothing is fetched for
   * it, and nothing that cannot be read ends it.
   */
  bodies?: 'all' | 'queued';
  /**
   * Delivers entries in order, none twice, none missed, until closed. Returns a promise when it cannot take more (back-pressure): this follower
   * is then read for by itself until it caught up, and holds nobody else up.
   */
  onEntries(entries: LogEntry[]): void | Promise<void>;
  /**
   * Delivery has stopped for good, for this follower alone: an entry cannot be read, now or ever; or, with AppError `aborted`, the log is gone,
   * since its session was deleted.
   */
  onError(error: Error): void;
}
export interface Feed {
  follow(sessionId: string, threadId: string, options: FollowOptions): Subscription;
  /** Delivers previews as they are published. */
  previews(sessionId: string, threadId: string, onFrames: (frames: PreviewFrame[]) => void): Subscription;
  /** An interrupt of the whole session reached this child: its sequence number. */
  interrupts(sessionId: string, threadId: string, onInterrupt: (sequence: number) => void): Subscription;
  close(): Promise<void>;
}
