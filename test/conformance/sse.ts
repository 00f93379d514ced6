/** A stream as bytes: frames with all their lines, for what the SDK does not show. */
import { OPERATOR_KEY } from './stack.ts';

export interface Frame {
  id: string | null;
  event: string | null;
  data: string;
}
export interface RawStream extends AsyncDisposable {
  readonly status: number;
  readonly headers: Headers;
  readonly frames: Frame[];
  /** Resolves when the server ended the stream. */
  readonly ended: Promise<void>;
}

export async function openRawStream(url: string, headers: Record<string, string> = {}): Promise<RawStream> {
  const controller = new AbortController();
  const response = await fetch(url, { headers: { authorization: `Bearer ${OPERATOR_KEY}`, ...headers }, signal: controller.signal });
  const frames: Frame[] = [];
  const ended = (async () => {
    let text = '';
    const decoder = new TextDecoder('utf-8', { fatal: true });
    try {
      for await (const chunk of response.body ?? []) {
        text += decoder.decode(chunk, { stream: true });
        for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
          frames.push(parse(text.slice(0, end)));
          text = text.slice(end + 2);
        }
      }
    } catch (error) {
      if (!controller.signal.aborted) throw error;
      return;
    }
    if (text !== '') throw new Error(`the stream ended inside a frame: ${JSON.stringify(text)}`);
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

function parse(text: string): Frame {
  const frame: Frame = { id: null, event: null, data: '' };
  for (const line of text.split('\n')) {
    const [, name, value] = /^(\w+): (.*)$/s.exec(line) ?? [];
    if (name === 'id') frame.id = value!;
    else if (name === 'event') frame.event = value!;
    else if (name === 'data') frame.data += value!;
    else throw new Error(`a line that is no field: ${JSON.stringify(line)}`);
  }
  return frame;
}
