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
   * Delivers entries in order, none twice, none missed, until closed. Returns a promise when it cannot take more (back-pressure): this follower
   * is then read for by itself until it caught up, and holds nobody else up.
   */
  onEntries(entries: LogEntry[]): void | Promise<void>;
  /** An entry cannot be read, now or ever: delivery has stopped for good, for this follower alone. */
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
