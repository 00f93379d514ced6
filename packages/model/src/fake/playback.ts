/**
 * Plays an answer over HTTP: the pace, the pings and the faults of a step.
 *
 * Resolves with how it ended: `answered`, `closed` when the client went away, or the fault that was played. Never rejects.
 */
import type { ServerResponse } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Fault, Pace } from './answer.ts';
import type { Frame, StreamSigns } from './dialects/wire.ts';

export interface Playback {
  frames: Frame[];
  signs: StreamSigns;
  pace: Pace;
  /** A hang is played before the stream begins, so never here. */
  fault: Exclude<Fault, 'hang'> | null;
  pingIntervalMs: number;
  onFirstByte: () => void;
}

/** Waits; ends early when the client is gone. Returns false then. */
export function waitUnlessClosed(res: ServerResponse, ms: number): Promise<boolean> {
  if (res.closed || res.destroyed) return Promise.resolve(false);
  return new Promise((resolve) => {
    const end = (open: boolean) => {
      clearTimeout(timer);
      res.off('close', closed);
      resolve(open);
    };
    const closed = () => end(false);
    const timer = setTimeout(end, ms, true);
    res.once('close', closed);
  });
}

export function closed(res: ServerResponse): Promise<void> {
  return res.closed || res.destroyed ? Promise.resolve() : new Promise((resolve) => res.once('close', () => resolve()));
}

export async function play(res: ServerResponse, playback: Playback): Promise<string> {
  const { fault, pace } = playback;
  const whole = playback.frames;
  // A fault strikes in the middle, but never before the answer has begun.
  const middle = Math.max(1, Math.floor(whole.length / 2));
  const first = fault === null ? whole : whole.slice(0, middle);
  res.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'request-id': String(res.getHeader('request-id')),
  });
  playback.onFirstByte();
  if (fault === null && pace.deltaMs === 0 && pace.chunkBytes === 0) {
    res.end(first.map((part) => part.text).join(''));
    await closed(res);
    return res.writableFinished ? 'answered' : 'closed';
  }
  if (!(await send(res, first, playback))) return 'closed';
  switch (fault) {
    case null:
      res.end();
      await closed(res);
      return res.writableFinished ? 'answered' : 'closed';
    case 'stall':
      await closed(res);
      return fault;
    case 'end':
      res.end();
      return fault;
    case 'cut':
      // Half a frame, flushed, then the connection is gone.
      await new Promise<void>((resolve) => res.write(whole[middle]?.text.slice(0, 30) ?? ': cut', () => resolve()));
      res.destroy();
      return fault;
    case 'malformed':
      res.write(playback.signs.malformed);
      if (await send(res, whole.slice(middle), playback)) res.end();
      return fault;
    case 'error_event':
      res.end(playback.signs.error);
      return fault;
  }
}

/** Writes frames at the step's pace. Returns false if the client went away. */
async function send(res: ServerResponse, list: readonly Frame[], playback: Playback): Promise<boolean> {
  const { deltaMs, chunkBytes } = playback.pace;
  let quietMs = 0;
  let batch = '';
  for (const part of list) {
    if (deltaMs > 0 && part.delta) {
      if (batch !== '' && !(await write(res, batch, chunkBytes))) return false;
      batch = '';
      for (let left = deltaMs; left > 0; ) {
        const step = Math.min(left, playback.pingIntervalMs - quietMs);
        if (!(await waitUnlessClosed(res, step))) return false;
        left -= step;
        quietMs += step;
        if (quietMs >= playback.pingIntervalMs) {
          if (!(await write(res, playback.signs.ping, 0))) return false;
          quietMs = 0;
        }
      }
      quietMs = 0;
    }
    batch += part.text;
  }
  return batch === '' || write(res, batch, chunkBytes);
}

async function write(res: ServerResponse, text: string, chunkBytes: number): Promise<boolean> {
  if (res.closed || res.destroyed) return false;
  if (chunkBytes === 0) {
    if (res.write(text)) return true;
    return drained(res);
  }
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    if (res.closed || res.destroyed) return false;
    if (!res.write(bytes.subarray(at, at + chunkBytes)) && !(await drained(res))) return false;
    // Each piece leaves in a packet of its own.
    await nextTurn();
  }
  return true;
}

function drained(res: ServerResponse): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (open: boolean) => {
      res.off('drain', onDrain);
      res.off('close', onClose);
      resolve(open);
    };
    const onDrain = () => end(true);
    const onClose = () => end(false);
    res.once('drain', onDrain);
    res.once('close', onClose);
  });
}
