/**
 * Server-sent event frames as the SDK reads them (CONTRACT 3.4, 8 A). A frame is made once per process and entry, however many viewers get
 * it: the feed hands all of them the same object, and the bytes are kept by that object.
 */
import type { PreviewEvent, PreviewFrame } from '@manyhands/contract';
import type { LogEntry } from '@manyhands/session-log';
import type { PreviewPart } from './previews.ts';

export const PING_FRAME = Buffer.from('event: ping\ndata: {"type":"ping"}\n\n');
/** The last frame of a stream that cannot go on (CONTRACT 3.4). */
export const ERROR_FRAME = Buffer.from(
  `event: error\ndata: ${JSON.stringify({ type: 'error', error: { type: 'api_error', message: 'an event of this session cannot be read' } })}\n\n`,
);

const entryFrames = new WeakMap<LogEntry, Buffer>();
const startFrames = new WeakMap<PreviewFrame, Buffer>();
const deltaFrames = new WeakMap<PreviewFrame, Buffer>();

function kept<K extends object>(cache: WeakMap<K, Buffer>, of: K, make: () => string): Buffer {
  let bytes = cache.get(of);
  if (!bytes) {
    bytes = Buffer.from(make());
    cache.set(of, bytes);
  }
  return bytes;
}

/** JSON has no raw line breaks, so the data is always one line. */
export function entryFrame(entry: LogEntry): Buffer {
  const { event } = entry;
  return kept(entryFrames, entry, () => `id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
}

function previewText(event: PreviewEvent): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}
export function previewFrames({ frame, start, delta }: PreviewPart): Buffer[] {
  const frames: Buffer[] = [];
  if (start)
    frames.push(kept(startFrames, frame, () => previewText({ type: 'event_start', event: { type: frame.kind, id: frame.event_id } })));
  if (delta) {
    const content = { type: 'text', text: frame.text } as const;
    frames.push(
      kept(deltaFrames, frame, () =>
        previewText({ type: 'event_delta', event_id: frame.event_id, delta: { type: 'content_delta', index: frame.index, content } }),
      ),
    );
  }
  return frames;
}
