/**
 * NATS behind one file (docs/decisions/0002): JSON request/reply and queue-group servers, nothing else. A move to the client's successor
 * changes this file only.
 *
 * `request` rejects with AppError `unavailable` when nobody serves the subject, `timeout` when nobody answered in time. Every request in
 * the contract may be repeated, so both are retryable.
 */
import { connect, ErrorCode as NatsCode, type NatsConnection, NatsError, StringCodec } from 'nats';
import type { z } from 'zod';
import { AppError } from './errors.ts';
import type { Logger } from './log.ts';

export interface Serving {
  /** Stops taking requests; resolves when those under way were answered. */
  stop(): Promise<void>;
}
export interface ServeOptions {
  queue?: string;
}
export interface Messaging {
  request<T>(subject: string, body: unknown, reply: z.ZodType<T>, timeoutMs: number): Promise<T>;
  /** Serves a subject (wildcards allowed); the answer of `handle` is the reply. A throw answers nothing: the caller times out and repeats. */
  serve(subject: string, handle: (body: unknown, subject: string) => Promise<unknown>, options?: ServeOptions): Serving;
  publish(subject: string, body: unknown): void;
  /** Milliseconds of one ping to the server. Rejects at once with AppError `unavailable` while there is no connection. */
  ping(): Promise<number>;
  readonly connected: boolean;
  readonly maxPayloadBytes: number;
  close(): Promise<void>;
}

const codec = StringCodec();
const MIN_PAYLOAD_BYTES = 512 * 1024;

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
  const maxPayloadBytes = connection.info?.max_payload ?? 0;
  if (maxPayloadBytes < MIN_PAYLOAD_BYTES) {
    await connection.close();
    throw new AppError(
      'configuration',
      `NATS max_payload is ${maxPayloadBytes} bytes; set it to at least ${MIN_PAYLOAD_BYTES} (1048576 is the server's default)`,
    );
  }

  return {
    maxPayloadBytes,
    get connected() {
      return connected && !connection.isClosed();
    },
    async request(subject, body, reply, timeoutMs) {
      let data: Uint8Array;
      try {
        data = (await connection.request(subject, codec.encode(JSON.stringify(body)), { timeout: timeoutMs })).data;
      } catch (error) {
        if (error instanceof NatsError && error.code === NatsCode.Timeout)
          throw new AppError('timeout', `no answer on ${subject}`, { cause: error });
        throw new AppError('unavailable', `nobody serves ${subject}`, { cause: error });
      }
      return reply.parse(JSON.parse(codec.decode(data)));
    },
    serve(subject, handle, options = {}) {
      const subscription = connection.subscribe(subject, options.queue ? { queue: options.queue } : {});
      const busy = new Set<Promise<void>>();
      const done = (async () => {
        for await (const message of subscription) {
          const work = (async () => {
            try {
              const answer = await handle(JSON.parse(codec.decode(message.data)), message.subject);
              if (message.reply) message.respond(codec.encode(JSON.stringify(answer)));
            } catch (error) {
              log.error({ err: error, subject: message.subject }, 'request failed');
            }
          })();
          busy.add(work);
          void work.finally(() => busy.delete(work));
        }
      })();
      return {
        async stop() {
          subscription.unsubscribe();
          await done;
          await Promise.all(busy);
        },
      };
    },
    publish: (subject, body) => connection.publish(subject, codec.encode(JSON.stringify(body))),
    async ping() {
      if (!connected || connection.isClosed()) throw new AppError('unavailable', 'not connected');
      const start = performance.now();
      await connection.flush();
      return performance.now() - start;
    },
    close: () => connection.close(),
  };
}
