/**
 * A model upstream in the measuring process, so that one clock sees both ends. It answers the Messages wire with one short text, or with a
 * call where it is told to.
 */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Upstream {
  url: string;
  /** Resolves with performance.now() when a request arrives whose newest text holds `mark`. */
  arrival(mark: string): Promise<number>;
  /** While set, answers stay open and `delta` sends text into them. */
  hold: boolean;
  /** While set, a request that does not end in a result is answered with a call of bash. */
  bash: string | null;
  /** Resolves with performance.now() when an answer that is open is given up by the one who asked. */
  abandoned(): Promise<number>;
  /** Characters of the last request. */
  readonly size: number;
  delta(text: string): void;
  finish(): void;
  close(): void;
}

const CHARS_PER_TOKEN = 4;

function endsInResult(body: string): boolean {
  const { messages } = JSON.parse(body) as { messages: { content: { type: string }[] }[] };
  return messages.at(-1)?.content.at(-1)?.type === 'tool_result';
}

export async function startUpstream(): Promise<Upstream> {
  const waiting = new Map<string, (at: number) => void>();
  const open = new Set<ServerResponse>();
  const leaving = new Set<(at: number) => void>();
  const frame = (response: ServerResponse, data: { type: string }) =>
    response.write(`event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`);
  const end = (response: ServerResponse, stop_reason: 'end_turn' | 'tool_use') => {
    frame(response, { type: 'content_block_stop', index: 0 } as { type: string });
    frame(response, { type: 'message_delta', delta: { stop_reason, stop_sequence: null }, usage: { output_tokens: 1 } } as {
      type: string;
    });
    frame(response, { type: 'message_stop' });
    response.end();
    open.delete(response);
  };
  let calls = 0;
  const upstream = { hold: false, bash: null as string | null, size: 0 };
  const server = createServer((request, response) => {
    const at = performance.now();
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => {
      body += text;
    });
    request.on('end', () => {
      for (const [mark, resolve] of waiting) {
        if (!body.includes(mark)) continue;
        waiting.delete(mark);
        resolve(at);
      }
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      upstream.size = body.length;
      const usage = {
        input_tokens: Math.ceil(body.length / CHARS_PER_TOKEN),
        output_tokens: 1,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: 0,
      };
      frame(response, {
        type: 'message_start',
        message: {
          id: 'msg_1',
          type: 'message',
          role: 'assistant',
          model: 'm',
          content: [],
          stop_reason: null,
          stop_sequence: null,
          usage,
        },
      } as { type: string });
      if (upstream.bash !== null && !endsInResult(body)) {
        const content_block = { type: 'tool_use', id: `toolu_${++calls}`, name: 'bash', input: {} };
        const delta = { type: 'input_json_delta', partial_json: JSON.stringify({ command: upstream.bash }) };
        frame(response, { type: 'content_block_start', index: 0, content_block } as { type: string });
        frame(response, { type: 'content_block_delta', index: 0, delta } as { type: string });
        end(response, 'tool_use');
        return;
      }
      frame(response, { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } } as { type: string });
      frame(response, { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'ok' } } as { type: string });
      open.add(response);
      response.on('close', () => {
        if (!open.delete(response)) return;
        const left = performance.now();
        for (const resolve of leaving) resolve(left);
        leaving.clear();
      });
      if (!upstream.hold) end(response, 'end_turn');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(upstream, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    abandoned: () => new Promise<number>((resolve) => void leaving.add(resolve)),
    arrival: (mark: string) => new Promise<number>((resolve) => void waiting.set(mark, resolve)),
    delta: (text: string) => {
      for (const response of open)
        frame(response, { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } } as { type: string });
    },
    finish: () => {
      for (const response of open) end(response, 'end_turn');
    },
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  });
}
