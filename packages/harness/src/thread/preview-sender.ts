/**
 * Previews of an answer while it streams: the first text goes out at once, what follows is gathered so that at most one frame goes out in
 * 16 ms. Nothing waits for them and none is stored; a failure to publish is no error of the turn.
 */
import type { PreviewFrame } from '@manyhands/contract';
import type { Lease, SessionWriter } from '@manyhands/session-log';

const FRAME_MS = 16;

export interface PreviewSender {
  start(eventId: string, kind: PreviewFrame['kind']): void;
  text(eventId: string, text: string): void;
  /** Publishes what is gathered and stops. */
  end(): Promise<void>;
}

export function createPreviewSender(
  writer: SessionWriter,
  lease: Pick<Lease, 'sessionId' | 'threadId' | 'epoch'>,
  afterPosition: number,
  nextNumber: () => number,
): PreviewSender {
  let frames: PreviewFrame[] = [];
  let timer: NodeJS.Timeout | null = null;
  let flushedAt = Number.NEGATIVE_INFINITY;
  let sending: Promise<unknown> = Promise.resolve();

  function flush(): void {
    if (timer) clearTimeout(timer);
    timer = null;
    if (frames.length === 0) return;
    flushedAt = performance.now();
    const batch = frames;
    frames = [];
    sending = sending.then(() => writer.preview(lease, batch)).catch(() => {});
  }
  function push(frame: Pick<PreviewFrame, 'event_id' | 'kind' | 'start' | 'text'>): void {
    const last = frames.at(-1);
    if (last && !frame.start && !last.start && last.event_id === frame.event_id) last.text += frame.text;
    else frames.push({ epoch: lease.epoch, after_position: afterPosition, n: nextNumber(), index: 0, ...frame });
    if (timer) return;
    const waitMs = flushedAt + FRAME_MS - performance.now();
    // A timer of 0 ms takes one: what may go at once goes at the end of this round of the event loop.
    if (waitMs <= 0) queueMicrotask(flush);
    else timer = setTimeout(flush, waitMs);
  }

  return {
    start: (eventId, kind) => push({ event_id: eventId, kind, start: true, text: '' }),
    text: (eventId, text) => push({ event_id: eventId, kind: 'agent.message', start: false, text }),
    end() {
      flush();
      return sending.then(() => {});
    },
  };
}
