/** A stream as bytes: frames with all their lines, for what the SDK does not show. */
import { createFrameReader, type Frame } from './frames.ts';
import { watchedFetch } from './observe.ts';
import { OPERATOR_KEY } from './stack.ts';

export interface RawStream extends AsyncDisposable {
  readonly status: number;
  readonly headers: Headers;
  readonly frames: Frame[];
  /** Resolves when the server ended the stream. */
  readonly ended: Promise<void>;
}

export async function openRawStream(url: string, headers: Record<string, string> = {}): Promise<RawStream> {
  const controller = new AbortController();
  const response = await watchedFetch(url, {
    headers: { authorization: `Bearer ${OPERATOR_KEY}`, ...headers },
    signal: controller.signal,
  });
  const frames: Frame[] = [];
  const ended = (async () => {
    const reader = createFrameReader();
    const decoder = new TextDecoder('utf-8', { fatal: true });
    try {
      for await (const chunk of response.body ?? []) frames.push(...reader.read(decoder.decode(chunk, { stream: true })));
    } catch (error) {
      if (!controller.signal.aborted) throw error;
      return;
    }
    if (reader.rest() !== '') throw new Error(`the stream ended inside a frame: ${JSON.stringify(reader.rest())}`);
  })();
  ended.catch(() => {});
  return {
    status: response.status,
    headers: response.headers,
    frames,
    ended,
    async [Symbol.asyncDispose]() {
      controller.abort();
      await ended;
    },
  };
}
