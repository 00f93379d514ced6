/**
 * Orders the previews of one connection. Previews and log entries arrive by different channels, so a preview may come too early or too late
 * (CONTRACT 3.4, DESIGN 3.5). A pure state machine; the connection writes what it answers.
 *
 * 1. A frame is held until the entry at its `after_position` was delivered on this connection.
 * 2. A frame is dropped once its final event was delivered, once the model request it belongs to has ended, or when a newer epoch spoke.
 * 3. At most one start per id. Without the start there are no deltas: a connection opened in mid-message gets none for it.
 * 4. Deltas are a prefix: once one is shed, all later ones of that message are. Thinking has a start only.
 *
 * Memory is bounded: ids are forgotten with the end of their model request, held frames are at most HELD_MAX.
 */
import type { PreviewFrame } from '@manyhands/contract';
import type { LogEntry } from '@manyhands/session-log';

const HELD_MAX = 2_000;

/** What to write: the opening of a preview, the text of a frame, or both. */
export interface PreviewPart {
  frame: PreviewFrame;
  start: boolean;
  delta: boolean;
}

export interface PreviewGate {
  /** Frames as they come in; answers what may be written now. */
  offer(frames: readonly PreviewFrame[]): PreviewPart[];
  /** An entry was written; answers what may be written behind it. */
  delivered(entry: LogEntry): PreviewPart[];
  /** The connection cannot take more: these frames are lost, and what was open stays silent. */
  shed(frames: readonly PreviewFrame[]): void;
}

export function createPreviewGate(kinds: ReadonlySet<string>, after: number): PreviewGate {
  let position = after;
  let epoch = 0;
  /** Position of the last end of a model request: previews from before it are over. */
  let closedAt = 0;
  let held: PreviewFrame[] = [];
  const messages = new Map<string, 'open' | 'shut'>();

  function isOver(frame: PreviewFrame): boolean {
    return frame.epoch < epoch || frame.after_position < closedAt || messages.get(frame.event_id) === 'shut';
  }
  function shutOpen(): void {
    for (const [id, state] of messages) if (state === 'open') messages.set(id, 'shut');
  }
  function noteEpoch(frame: PreviewFrame): void {
    if (frame.epoch <= epoch) return;
    epoch = frame.epoch;
    held = [];
    // Ids of an older epoch are refused by their epoch from now on.
    messages.clear();
  }
  function drop(frames: readonly PreviewFrame[]): void {
    for (const frame of frames) if (kinds.has(frame.kind) && !isOver(frame)) messages.set(frame.event_id, 'shut');
  }
  function pass(frame: PreviewFrame): PreviewPart | null {
    if (isOver(frame)) return null;
    const start = frame.start && !messages.has(frame.event_id);
    if (start) messages.set(frame.event_id, 'open');
    const delta = frame.text !== '' && frame.kind === 'agent.message' && messages.get(frame.event_id) === 'open';
    return start || delta ? { frame, start, delta } : null;
  }
  function release(): PreviewPart[] {
    if (held.length === 0) return [];
    const due = held.filter((frame) => frame.after_position <= position);
    held = held.filter((frame) => frame.after_position > position && !isOver(frame));
    return due.flatMap((frame) => pass(frame) ?? []);
  }

  return {
    offer(frames) {
      const parts: PreviewPart[] = [];
      for (const frame of frames) {
        if (!kinds.has(frame.kind)) continue;
        noteEpoch(frame);
        if (isOver(frame)) continue;
        if (frame.after_position > position) held.push(frame);
        else parts.push(...[pass(frame) ?? []].flat());
      }
      if (held.length > HELD_MAX) {
        const lost = held;
        held = [];
        drop(lost);
      }
      return parts;
    },
    delivered(entry) {
      position = entry.position;
      if (entry.kind === 'event') {
        const { type, id } = entry.event;
        if (type === 'agent.message' || type === 'agent.thinking') messages.set(id, 'shut');
        else if (type === 'span.model_request_end') {
          closedAt = entry.position;
          messages.clear();
        }
      }
      return release();
    },
    shed(frames) {
      for (const frame of frames) if (kinds.has(frame.kind)) noteEpoch(frame);
      drop([...held, ...frames]);
      held = [];
      shutOpen();
    },
  };
}
