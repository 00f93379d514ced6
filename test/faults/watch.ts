/** A client that reads a session's stream as raw frames from a first moment on, and can say afterwards whether it saw all and nothing twice. */
import type { Event } from '../e2e/conversation.ts';

export interface Frame {
  event: string;
  data: Record<string, unknown> & { id?: string; type: string };
}
export interface Watch {
  readonly frames: Frame[];
  /** How the response ended, once it has: `whole` at the end of a frame by a proper end of the response. */
  readonly ended: Promise<'whole' | 'cut'>;
  /** Events that a client must never see of an orderly end. */
  troubles(): string[];
  /** What is wrong with the stream when compared with the history: gaps, repetitions, another order. */
  differences(history: Event[]): string[];
  /** Texts of the previews of one answer after the other. */
  previews(): string[];
  close(): void;
}

const TROUBLES = new Set([
  'session.error',
  'session.status_rescheduled',
  'session.thread_status_rescheduled',
  'session.status_terminated',
  'error',
]);

/** Resolves when the stream is open. */
export async function watchStream(url: string, apiKey: string, sessionId: string, after?: string): Promise<Watch> {
  const abort = new AbortController();
  const query = `event_deltas[]=agent.message${after === undefined ? '' : `&after=${after}`}`;
  const response = await fetch(`${url}/v1/sessions/${sessionId}/events/stream?${query}`, {
    headers: { authorization: `Bearer ${apiKey}` },
    signal: abort.signal,
  });
  if (response.status !== 200 || !response.body) throw new Error(`no stream: ${response.status} ${await response.text()}`);
  const frames: Frame[] = [];
  let rest = '';
  const ended = (async (): Promise<'whole' | 'cut'> => {
    try {
      for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
        rest += part;
        const pieces = rest.split('\n\n');
        rest = pieces.pop() ?? '';
        for (const piece of pieces) frames.push(...parseFrame(piece));
      }
      return rest === '' ? 'whole' : 'cut';
    } catch {
      return 'cut';
    }
  })();

  /** Stored events in order; an event that was queued first is taken where it was stamped. */
  const stored = () => frames.filter(({ data }) => data.id !== undefined && data['processed_at'] !== null);
  return {
    frames,
    ended,
    troubles: () => frames.filter(({ event }) => TROUBLES.has(event)).map(({ data }) => JSON.stringify(data)),
    differences(history) {
      const listed = history.filter(({ processed_at }) => processed_at !== null).map(({ id }) => id);
      const seen = stored().map(({ data }) => data.id!);
      const found: string[] = [];
      if (new Set(seen).size !== seen.length) found.push('an event came twice');
      for (const id of listed) if (!seen.includes(id)) found.push(`${id} never came`);
      for (const id of seen) if (!listed.includes(id)) found.push(`${id} is not listed`);
      if (found.length === 0 && seen.join() !== listed.join()) found.push('another order than listed');
      return found;
    },
    previews() {
      const texts = new Map<string, string>();
      for (const { event, data } of frames) {
        if (event === 'event_start') texts.set((data['event'] as { id: string }).id, '');
        if (event !== 'event_delta') continue;
        const id = String(data['event_id']);
        texts.set(id, (texts.get(id) ?? '') + ((data['delta'] as { content?: { text?: string } }).content?.text ?? ''));
      }
      return [...texts.values()];
    },
    close: () => abort.abort(),
  };
}

function parseFrame(text: string): Frame[] {
  const line = (name: string) =>
    text
      .split('\n')
      .find((one) => one.startsWith(`${name}: `))
      ?.slice(name.length + 2);
  const event = line('event');
  const data = line('data');
  return event === undefined || data === undefined || event === 'ping' ? [] : [{ event, data: JSON.parse(data) as Frame['data'] }];
}
