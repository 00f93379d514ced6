/** What the fake model is about to say, and how: made from a script or by the default job, then streamed or sent whole. */
export type AnswerBlock =
  | { type: 'text'; text: string }
  | { type: 'thinking'; thinking: string }
  /** `json` is the input as it goes over the wire; a script may make it broken on purpose. */
  | { type: 'tool_use'; name: string; json: string };

export interface Pace {
  /** Before the first byte. */
  delayMs: number;
  /** Between two deltas; 0 sends everything at once. */
  deltaMs: number;
  /** Characters of one text or thinking delta. */
  deltaChars: number;
  /** Size of the pieces in which bytes are written, cutting frames and characters anywhere; 0 leaves them whole. */
  chunkBytes: number;
}
export const AT_ONCE: Pace = { delayMs: 0, deltaMs: 0, deltaChars: 24, chunkBytes: 0 };

/**
 * hang: nothing comes at all, not even a status. cut: the connection breaks in the middle of a frame. end: the stream ends cleanly, too early. stall: nothing more comes, not even a
 * ping. malformed: one frame is not JSON. error_event: an `error` event comes in the middle.
 */
export const FAULTS = ['hang', 'cut', 'end', 'stall', 'malformed', 'error_event'] as const;
export type Fault = (typeof FAULTS)[number];

export type Failure =
  | { type: 'status'; status: number; errorType: string; message: string; retryAfterSeconds: number | null }
  | { type: 'fault'; fault: Fault };

export interface Answer {
  blocks: AnswerBlock[];
  stopReason: string;
  stopDetails?: Record<string, unknown>;
  pace: Pace;
  /** The first `times` attempts of an identical request fail so. */
  failure: { how: Failure; times: number } | null;
  /** Tokens that the prompt may have; a longer one is refused. */
  contextWindow: number | null;
  /** For the journal: where the answer comes from. */
  source: 'script' | 'default' | 'summary';
  step: number;
}
