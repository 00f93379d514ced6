/**
 * NATS behind one file (docs/decisions/0002): JSON request/reply and queue-group servers, nothing else. A move to the client's successor
 * changes this file only.
 *
 * `request` rejects with AppError `unavailable` when nobody serves the subject, `timeout` when nobody answered in time. Every request in
 * the contract may be repeated, so both are retryable.
 *
 * Every message and every reply names its format in a header; none means 1, as 0.1.0 wrote it. A newer one is never guessed at: it is not
 * handled, and `request` rejects with AppError `newer_format`, which says who has to be upgraded. The current trace goes along in a header.
 *
 * What bounds a server: of each subscription at most `concurrency` handlers run at once; the rest waits in the client's memory, in order. That
 * queue has no limit of its own and needs none: only processes of this installation ask, each waits for its answer before it asks the same
 * again, and asks again no sooner than its timeout, so the queue is as long as there are requests under way in the installation, times the
 * timeouts that passed while they waited. Messages of a subject that should never wait behind slow ones belong into a subscription of their own.
 */
import {
  connect,
  headers as emptyHeaders,
  type Msg,
  type MsgHdrs,
  ErrorCode as NatsCode,
  type NatsConnection,
  NatsError,
  StringCodec,
} from 'nats';
import type { z } from 'zod';
import { withinMs } from './deadline.ts';
import { AppError } from './errors.ts';
import type { Logger } from './log.ts';
import { currentTrace, parseTraceparent, withTrace } from './trace.ts';

/** The format of messages that this program writes, and the newest that it reads. */
export const MESSAGE_FORMAT = 1;

export interface Serving {
  /**
   * Takes no more requests, and answers all that the server delivered before; resolves when those answers have reached the server. What is
   * asked from then on finds another member of the queue group, or nobody. Idempotent; never rejects.
   */
  stop(): Promise<void>;
}
export interface ServeOptions {
  queue?: string;
  /** How many messages are handled at once. */
  concurrency?: number;
}
export interface Messaging {
  request<T>(subject: string, body: unknown, reply: z.ZodType<T>, timeoutMs: number): Promise<T>;
  /**
   * Serves a subject (wildcards allowed); the answer of `handle` is the reply. A throw answers nothing: the caller times out and repeats. The
   * handler runs in the trace of the message, or in none.
   */
  serve(subject: string, handle: (body: unknown, subject: string) => Promise<unknown>, options?: ServeOptions): Serving;
  publish(subject: string, body: unknown): void;
  /** Milliseconds of one ping to the server. Rejects at once with AppError `unavailable` while there is no connection. */
  ping(): Promise<number>;
  readonly connected: boolean;
  /** What the body of a message may have. */
  readonly maxPayloadBytes: number;
  close(): Promise<void>;
}

const codec = StringCodec();
const MIN_PAYLOAD_BYTES = 512 * 1024;
const DEFAULT_CONCURRENCY = 256;
/** A server that does not confirm the end of a subscription in this time has nothing more to deliver. */
const DRAIN_MS = 3_000;

/** Of every message, from 0.2.0 on. Later versions keep the names: they are what tells a version from another. */
const FORMAT_HEADER = 'Manyhands-Format';
/** On a reply that is a refusal; its format header says what the refusing process knows. */
const ERROR_HEADER = 'Manyhands-Error';
const NEWER_FORMAT = 'newer_format';
const TRACE_HEADER = 'traceparent';
/** The server counts headers as payload: what those above may have at most. */
const HEADERS_MAX_BYTES = 256;
const SHOWN_CHARS = 40;
/** Subjects about which something was logged; more than there are kinds of message. */
const TOLD_MAX = 1_000;

export async function connectMessaging(url: string, log: Logger, name: string): Promise<Messaging> {
  const parsed = new URL(url);
  const connection: NatsConnection = await connect({
    servers: `${parsed.hostname}:${parsed.port || '4222'}`,
    ...(parsed.username ? { user: decodeURIComponent(parsed.username), pass: decodeURIComponent(parsed.password) } : {}),
    name,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 100,
    pingInterval: 5_000,
    waitOnFirstConnect: true,
    timeout: 5_000,
  });
  let connected = true;
  void (async () => {
    for await (const status of connection.status()) {
      if (status.type === 'disconnect') {
        connected = false;
        log.warn('nats connection lost');
      } else if (status.type === 'reconnect') {
        connected = true;
        log.info('nats connection is back');
      }
    }
  })();
  if (!connection.info?.headers) {
    await connection.close();
    throw new AppError('configuration', 'the NATS server knows no message headers; use nats-server 2.2 or newer');
  }
  const maxPayloadBytes = connection.info.max_payload;
  if (maxPayloadBytes < MIN_PAYLOAD_BYTES) {
    await connection.close();
    throw new AppError(
      'configuration',
      `NATS max_payload is ${maxPayloadBytes} bytes; set it to at least ${MIN_PAYLOAD_BYTES} (1048576 is the server's default)`,
    );
  }

  const toldSubjects = new Set<string>();
  function tellNewer(subject: string, format: unknown): void {
    if (toldSubjects.has(subject) || toldSubjects.size >= TOLD_MAX) return;
    toldSubjects.add(subject);
    log.error({ subject, format, known: MESSAGE_FORMAT }, 'messages of a newer format are refused: upgrade this process');
  }
  /** One message, from its headers to its answer. Never rejects. */
  async function answer(message: Msg, served: string, handle: (body: unknown, subject: string) => Promise<unknown>): Promise<void> {
    try {
      const format = formatOf(message);
      if (!isKnown(format)) {
        tellNewer(served, format);
        if (message.reply) message.respond(undefined, { headers: headersWith({ [ERROR_HEADER]: NEWER_FORMAT }) });
        return;
      }
      const trace = parseTraceparent(message.headers?.get(TRACE_HEADER));
      const reply = await withTrace(trace, () => handle(JSON.parse(codec.decode(message.data)), message.subject));
      if (message.reply) message.respond(codec.encode(JSON.stringify(reply)), { headers: withTrace(trace, messageHeaders) });
    } catch (error) {
      log.error({ err: error, subject: message.subject }, 'request failed');
    }
  }
  /** Until the server has taken what was sent so far; not longer than it may take. */
  async function flushed(): Promise<void> {
    await withinMs(connection.flush(), DRAIN_MS).catch(() => {});
  }

  return {
    maxPayloadBytes: maxPayloadBytes - HEADERS_MAX_BYTES,
    get connected() {
      return connected && !connection.isClosed();
    },
    async request(subject, body, reply, timeoutMs) {
      let message: Msg;
      try {
        message = await connection.request(subject, codec.encode(JSON.stringify(body)), { timeout: timeoutMs, headers: messageHeaders() });
      } catch (error) {
        if (error instanceof NatsError && error.code === NatsCode.Timeout)
          throw new AppError('timeout', `no answer on ${subject}`, { cause: error });
        throw new AppError('unavailable', `nobody serves ${subject}`, { cause: error });
      }
      assertReadable(subject, message);
      return reply.parse(JSON.parse(codec.decode(message.data)));
    },
    serve(subject, handle, { queue, concurrency = DEFAULT_CONCURRENCY } = {}) {
      const subscription = connection.subscribe(subject, queue === undefined ? {} : { queue });
      const busy = new Set<Promise<void>>();
      /** Set while the next message waits until a handler ends. */
      let oneEnded: (() => void) | null = null;
      // If the server refuses the subscription (a user without the permission), this rejects, and nobody catches it: the process ends.
      const done = (async () => {
        for await (const message of subscription) {
          const work = answer(message, subject, handle).then(() => {
            busy.delete(work);
            oneEnded?.();
          });
          busy.add(work);
          if (busy.size < concurrency) continue;
          await new Promise<void>((resolve) => {
            oneEnded = resolve;
          });
          oneEnded = null;
        }
      })();
      async function drain(): Promise<void> {
        // The server's confirmation comes behind everything that it had delivered before.
        await withinMs(subscription.drain(), DRAIN_MS).catch(() => subscription.unsubscribe());
        await done.catch(() => {});
        await Promise.all(busy);
        await flushed();
      }
      let stopped: Promise<void> | null = null;
      return {
        stop() {
          stopped ??= drain();
          return stopped;
        },
      };
    },
    publish: (subject, body) => connection.publish(subject, codec.encode(JSON.stringify(body)), { headers: messageHeaders() }),
    async ping() {
      if (!connected || connection.isClosed()) throw new AppError('unavailable', 'not connected');
      const start = performance.now();
      await connection.flush();
      return performance.now() - start;
    },
    close: () => connection.close(),
  };
}

function headersWith(fields: Record<string, string>): MsgHdrs {
  const headers = emptyHeaders();
  headers.set(FORMAT_HEADER, String(MESSAGE_FORMAT));
  for (const [name, value] of Object.entries(fields)) headers.set(name, value);
  return headers;
}
/** Those of most messages; the client only reads them. */
const PLAIN_HEADERS = headersWith({});
function messageHeaders(): MsgHdrs {
  const trace = currentTrace();
  return trace === null ? PLAIN_HEADERS : headersWith({ [TRACE_HEADER]: trace });
}

/** A number, or the text if it is none. No header at all: 0.1.0 wrote none. */
function formatOf({ headers }: Msg): number | string {
  if (!headers?.has(FORMAT_HEADER)) return 1;
  const text = headers.get(FORMAT_HEADER);
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : text.slice(0, SHOWN_CHARS);
}
function isKnown(format: number | string): boolean {
  return typeof format === 'number' && format <= MESSAGE_FORMAT;
}

/** Refuses a reply that is a refusal, or of a newer format. */
function assertReadable(subject: string, message: Msg): void {
  const format = formatOf(message);
  const details = { subject, format, known: MESSAGE_FORMAT };
  const refusal = message.headers?.get(ERROR_HEADER);
  if (refusal === NEWER_FORMAT) {
    const older = `whoever serves ${subject} knows messages of format ${format} and refused one of ${MESSAGE_FORMAT}`;
    throw new AppError('newer_format', `${older}: upgrade that process to the version of this one`, { details });
  }
  if (refusal)
    throw new AppError('internal', `whoever serves ${subject} refused the message: ${refusal.slice(0, SHOWN_CHARS)}`, { details });
  if (!isKnown(format)) {
    const newer = `the answer on ${subject} has format ${format}, this program knows ${MESSAGE_FORMAT}`;
    throw new AppError('newer_format', `${newer}: upgrade this process to the version of the one that answered`, { details });
  }
}
