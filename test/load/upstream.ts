/** A model upstream in the measuring process, so that one clock sees both ends. It answers the Messages wire with one short text. */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Upstream {
  url: string;
  /** Resolves with performance.now() when a request arrives whose newest text holds `mark`. */
  arrival(mark: string): Promise<number>;
  /** While set, answers stay open and `delta` sends text into them. */
  hold: boolean;
  delta(text: string): void;
  finish(): void;
  close(): void;
}

export async function startUpstream(): Promise<Upstream> {
  const waiting = new Map<string, (at: number) => void>();
  const open = new Set<ServerResponse>();
  const frame = (response: ServerResponse, data: { type: string }) =>
    response.write(`event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`);
  const end = (response: ServerResponse) => {
    frame(response, { type: 'content_block_stop', index: 0 } as { type: string });
    frame(response, { type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { output_tokens: 1 } } as {
      type: string;
    });
    frame(response, { type: 'message_stop' });
    response.end();
    open.delete(response);
  };
  const upstream = { hold: false };
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
      const usage = { input_tokens: 1, output_tokens: 1, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };
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
      frame(response, { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } } as { type: string });
      frame(response, { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'ok' } } as { type: string });
      open.add(response);
      if (!upstream.hold) end(response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(upstream, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    arrival: (mark: string) => new Promise<number>((resolve) => void waiting.set(mark, resolve)),
    delta: (text: string) => {
      for (const response of open)
        frame(response, { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } } as { type: string });
    },
    finish: () => {
      for (const response of open) end(response);
    },
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  });
}
