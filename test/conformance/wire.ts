/** HTTP as bytes: for requests that no client would send. */
import { connect } from 'node:net';
import { watchRefusal } from './observe.ts';
import type { Stack } from './stack.ts';

export interface WireAnswer {
  status: number;
  /** Everything before the body. */
  head: string;
  body: string;
}
export interface WireOptions {
  /** After so long without an answer, says that nothing more will come. */
  endAfterMs?: number;
  /** Leaves when so many answers have begun; otherwise when the server ends the connection. */
  answers?: number;
}

/** Sends bytes and resolves to what comes back. A stream counts as answered when its head is there. */
export async function wire(stack: Stack, bytes: Buffer | string, options: WireOptions = {}): Promise<WireAnswer[]> {
  const answers = await exchange(stack, bytes, options);
  for (const { status, head, body } of answers) {
    const contentType = /\ncontent-type: (.*)\r/i.exec(`${head}\r`)?.[1] ?? '';
    if (status >= 400) await watchRefusal(status, contentType, body);
  }
  return answers;
}

function exchange(stack: Stack, bytes: Buffer | string, { endAfterMs, answers = Number.POSITIVE_INFINITY }: WireOptions) {
  return new Promise<WireAnswer[]>((resolve, reject) => {
    const socket = connect(Number(new URL(stack.url()).port), '127.0.0.1', () => socket.write(bytes));
    const patience = endAfterMs === undefined ? undefined : setTimeout(() => socket.end(), endAfterMs);
    let text = '';
    const leave = () => {
      clearTimeout(patience);
      socket.destroy();
      resolve(split(text));
    };
    socket.setEncoding('latin1').on('data', (part: string) => {
      text += part;
      if (split(text).length >= answers) leave();
    });
    socket.on('end', leave);
    socket.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNRESET' || error.code === 'EPIPE' ? leave() : reject(error)));
  });
}

function split(text: string): WireAnswer[] {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return [];
  const head = text.slice(0, end);
  const rest = text.slice(end + 4);
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1]);
  if (status === 100) return split(rest);
  const length = /\ncontent-length: (\d+)/i.exec(head)?.[1];
  if (length === undefined) return [{ status, head, body: decode(rest) }];
  if (rest.length < Number(length)) return [];
  return [{ status, head, body: decode(rest.slice(0, Number(length))) }, ...split(rest.slice(Number(length)))];
}

/** What came as bytes, as text. */
function decode(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
