/**
 * Event streams. One connection is one state: `open` (entries and previews are written as they come), `blocked` (the client reads too
 * slowly: the feed keeps only our position, previews are shed, nothing is buffered here), `ended`.
 *
 * - I2: entries go out in log order, none twice, none missed. The position to start behind was read before the response headers are sent,
 *   so whatever happens after the client has them is on the stream.
 * - I14: all connections share the feed's subscriber and one ping timer; none has a Redis connection of its own.
 * - What cannot be read ends the one stream that needs it, after an error frame.
 * - Frames are written whole. A stream ends at a frame boundary: after `session.deleted`, at shutdown, or when the client leaves.
 */
import type { ServerResponse } from 'node:http';
import { ensureError, hasCode, type Logger } from '@manyhands/base';
import { isShownQueued, type PreviewFrame } from '@manyhands/contract';
import type { Feed, LogEntry, Subscription } from '@manyhands/session-log';
import { ERROR_FRAME, entryFrame, PING_FRAME, previewFrames } from './frames.ts';
import { createPreviewGate } from './previews.ts';

export const PING_INTERVAL_MS = 10_000;
/** Detects peers that vanished without closing the connection. */
const TCP_KEEP_ALIVE_MS = 30_000;
/** At shutdown, a client that does not read gets this long to take the rest. */
const END_GRACE_MS = 2_000;

export interface StreamRequest {
  sessionId: string;
  threadId: string;
  /** Everything behind this position is delivered. */
  after: number;
  /** Kinds of preview asked for; empty for none. */
  previews: ReadonlySet<string>;
  headers: Record<string, string>;
}
export interface StreamHub {
  /** Takes the response over and serves it to its end. */
  open(response: ServerResponse, request: StreamRequest): void;
  /** Streams being served. */
  readonly size: number;
  /** Ends every stream cleanly; later ones end as they open. */
  close(): Promise<void>;
}
interface Connection {
  ping(): void;
  end(): void;
  response: ServerResponse;
}

export function createStreamHub(feed: Feed, log: Logger, pingIntervalMs: number = PING_INTERVAL_MS): StreamHub {
  const connections = new Set<Connection>();
  let closing = false;
  const pinger = setInterval(() => {
    for (const connection of connections) connection.ping();
  }, pingIntervalMs);
  pinger.unref();

  function open(response: ServerResponse, { sessionId, threadId, after, previews, headers }: StreamRequest): void {
    let phase: 'open' | 'blocked' | 'ended' = 'open';
    const gate = previews.size > 0 ? createPreviewGate(previews, after) : null;
    const subscriptions: Subscription[] = [];

    function stop(): void {
      phase = 'ended';
      connections.delete(connection);
      for (const subscription of subscriptions.splice(0)) subscription.close();
    }
    const connection: Connection = {
      response,
      ping() {
        if (phase === 'open' && !response.writableNeedDrain) response.write(PING_FRAME);
      },
      end() {
        if (phase === 'ended') return;
        stop();
        response.end();
      },
    };

    /** Resolves when the client has read on, or is gone. */
    function room(): Promise<void> {
      phase = 'blocked';
      return new Promise((resolve) => {
        const go = () => {
          response.off('drain', go);
          response.off('close', go);
          if (phase === 'blocked') phase = 'open';
          resolve();
        };
        response.once('drain', go);
        response.once('close', go);
      });
    }
    function onEntries(entries: LogEntry[]): void | Promise<void> {
      if (phase === 'ended') return;
      const frames: Buffer[] = [];
      let deleted = false;
      for (const entry of entries) {
        if (entry.kind === 'queued' && !isShownQueued(entry.event.type)) continue;
        frames.push(entryFrame(entry));
        for (const part of gate?.delivered(entry) ?? []) frames.push(...previewFrames(part));
        deleted = entry.event.type === 'session.deleted';
        if (deleted) break;
      }
      if (frames.length === 0) return;
      const flowing = response.write(frames.length === 1 ? frames[0] : Buffer.concat(frames));
      if (deleted) connection.end();
      else if (!flowing) return room();
    }
    function onPreviews(incoming: PreviewFrame[]): void {
      if (!gate || phase === 'ended') return;
      // Entries may not wait behind previews: while anything is unsent, previews are what gives way.
      if (phase === 'blocked' || response.writableNeedDrain) {
        gate.shed(incoming);
        return;
      }
      const frames = gate.offer(incoming).flatMap(previewFrames);
      if (frames.length > 0) response.write(Buffer.concat(frames));
    }

    function onError(error: Error): void {
      if (phase === 'ended') return;
      // Its session was deleted, and this viewer was too slow to read that.
      if (hasCode(error, 'aborted')) {
        connection.end();
        return;
      }
      log.error({ err: error, sessionId, threadId }, 'a stream ended: an event cannot be read');
      response.write(ERROR_FRAME);
      connection.end();
    }

    response.on('close', stop);
    response.on('error', (error) => log.debug({ err: ensureError(error), sessionId }, 'stream broke'));
    response.socket?.setNoDelay(true);
    response.socket?.setKeepAlive(true, TCP_KEEP_ALIVE_MS);
    connections.add(connection);
    if (gate) subscriptions.push(feed.previews(sessionId, threadId, onPreviews));
    subscriptions.push(feed.follow(sessionId, threadId, { after, onEntries, onError }));
    response.writeHead(200, {
      ...headers,
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
      ...(closing ? { connection: 'close' } : {}),
    });
    response.flushHeaders();
    if (closing) connection.end();
  }

  return {
    open,
    get size() {
      return connections.size;
    },
    async close() {
      closing = true;
      clearInterval(pinger);
      const ending = [...connections];
      await Promise.all(
        ending.map(
          (connection) =>
            new Promise<void>((resolve) => {
              const { response } = connection;
              const socket = response.socket;
              const deadline = setTimeout(() => response.destroy(), END_GRACE_MS);
              response.once('close', () => {
                clearTimeout(deadline);
                // The response headers promised keep-alive; closing the socket ends that.
                socket?.end();
                resolve();
              });
              connection.end();
            }),
        ),
      );
    },
  };
}
