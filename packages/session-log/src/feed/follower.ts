/**
 * One follower of a thread's log. It is always in one phase:
 *
 * - `starting`: the server does not know the subscription yet.
 * - `reading`: it catches up by itself, page by page, until nothing is left. Why it began does not matter: its start, a message that was lost or
 *   came without entries, a body in a blob, back-pressure.
 * - `blocked`: `onEntries` took no more. Nothing is kept for it but its position (I14).
 * - `live`: it has all that was told of; messages bring the rest. It keeps nothing.
 * - `ended`: no callback and no timer any more.
 *
 * It has one position and takes only what comes next, which is how entries come in order, none twice and none missed (I2). The position moves
 * before entries are handed on.
 *
 * What cannot be read is tried again with a back-off for as long as it is followed: a store or a Redis that is away comes back. A body that is
 * missing or damaged is final after BODY_TRIES, an entry of a newer format at once (I16), and so is an exception of `onEntries`: `onError`, and
 * the end of this follower alone (I15). A log that is gone (its session was deleted, and its time to be read is over) ends its followers in
 * the same way, with AppError `aborted`, which is no failure and is not logged.
 */
import { AppError, backoffMs, ensureError, hasCode, type Logger, pause } from '@manyhands/base';
import type { LogEntry } from '../types.ts';
import type { FollowOptions } from './feed-port.ts';
import type { Look } from './looks.ts';
import type { Page, Reads } from './reads.ts';
import type { Watch } from './watch.ts';

const RETRY_BASE_MS = 100;
const RETRY_CAP_MS = 5_000;
/** Over 1.5 to 3 seconds. */
const BODY_TRIES = 5;
/** Who could not go on for so long says so, once. */
const WARNED_FAILURES = 6;

type Phase = 'starting' | 'reading' | 'blocked' | 'live' | 'ended';
/** It took no more: `room` resolves when it does. In an object, so that an async function can answer it without waiting for it. */
interface Full {
  room: Promise<void>;
}

export interface Follower {
  /** The server knows the subscription. */
  start(): void;
  /** Entries of a message, in order and without a gap. What does not come next is read, and what is missing up to the watch's head. */
  offer(entries: readonly LogEntry[]): void;
  /** Messages may be missing: it reads. */
  check(): void;
  /** Its thread is not there (any more). */
  gone(): void;
  close(): void;
  readonly phase: Phase;
}

interface FollowerDeps {
  reads: Reads;
  look(watch: Watch): Promise<Look>;
  log: Logger;
}

export function createFollower(
  { reads, look, log }: FollowerDeps,
  watch: Watch,
  { after, bodies = 'all', onEntries, onError }: FollowOptions,
  onEnd: () => void,
): Follower {
  let phase: Phase = 'starting';
  let position = after;
  const ended = new AbortController();
  /** Steps in vain since the last entry was delivered; those of them that found an entry unreadable. */
  let failures = 0;
  let unreadable = 0;

  function is(wanted: Phase): boolean {
    return phase === wanted;
  }
  function end(error?: Error): void {
    if (is('ended')) return;
    phase = 'ended';
    ended.abort();
    onEnd();
    if (!error) return;
    const facts = { err: error, sessionId: watch.sessionId, threadId: watch.threadId, position };
    if (!hasCode(error, 'aborted')) log.warn(facts, 'a follower of a log ended');
    try {
      onError(error);
    } catch (thrown) {
      log.error({ ...facts, err: ensureError(thrown) }, 'a listener of the feed failed');
    }
  }
  /** Hands entries on, which are the next ones. */
  function deliver(entries: LogEntry[]): Full | null {
    position = entries.at(-1)!.position;
    failures = unreadable = 0;
    try {
      const room = onEntries(entries);
      if (!room) return null;
      if (!is('ended')) return { room };
      // Closed meanwhile: nobody waits for it.
      room.catch(() => {});
    } catch (error) {
      end(ensureError(error));
    }
    return null;
  }
  /** It has what was told of, and what is behind that is to be told of. */
  function hasAll(): boolean {
    return watch.sure && position >= watch.head;
  }
  function block({ room }: Full): void {
    phase = 'blocked';
    room.then(
      () => {
        if (!is('blocked')) return;
        if (hasAll()) phase = 'live';
        else catchUp();
      },
      (error: unknown) => end(ensureError(error)),
    );
  }
  function catchUp(): void {
    phase = 'reading';
    void read();
  }

  async function read(): Promise<void> {
    while (is('reading')) {
      try {
        const full = await step();
        if (!is('reading')) return;
        if (full) block(full);
        else if (hasAll()) phase = 'live';
      } catch (error) {
        if (!is('reading')) return;
        await afterFailure(ensureError(error));
      }
    }
  }
  /** Reads and hands on one page. It lives in here: while the follower waits for room, nothing holds it. */
  async function step(): Promise<Full | null> {
    const page = await reads.page(watch, position);
    if (page.length === 0) await atEnd(page);
    for (let i = 0; i < page.length && is('reading'); ) {
      const entries = await page.part(i, bodies);
      if (!is('reading')) break;
      i += entries.length;
      const full = deliver(entries);
      if (full) return full;
    }
    return null;
  }
  /** Nothing was left when the page was read. Another read follows at once only if something happened since that one began. */
  async function atEnd({ began }: Page): Promise<void> {
    if (began.doubts !== watch.doubts) return;
    watch.sure = true;
    watch.head = Math.max(watch.head, position);
    if (position === watch.head || began.news !== watch.news) return;
    const { head, status } = await look(watch);
    if (status === '') throw goneError();
    if (head > position) throw new AppError('unavailable', 'the log is shorter than its thread says');
    // Redis lost what it had told of; there is no more than this.
    if (began.doubts === watch.doubts && began.news === watch.news) watch.head = position;
  }
  async function afterFailure(error: Error): Promise<void> {
    failures++;
    if (hasCode(error, 'internal')) unreadable++;
    if (unreadable >= BODY_TRIES || hasCode(error, 'newer_format', 'aborted')) return end(error);
    const facts = { err: error, sessionId: watch.sessionId, threadId: watch.threadId, position, failures };
    log[failures === WARNED_FAILURES ? 'warn' : 'debug'](facts, 'a log could not be read; trying again');
    await pause(backoffMs(failures, RETRY_BASE_MS, RETRY_CAP_MS), ended.signal).catch(() => {});
  }

  return {
    get phase() {
      return phase;
    },
    start() {
      if (is('starting')) catchUp();
    },
    offer(entries) {
      if (!is('live')) return;
      const next = entries.findIndex((entry) => entry.position === position + 1);
      if (next !== -1) {
        const full = deliver(entries.slice(next));
        if (!is('live')) return;
        if (full) return block(full);
      }
      if (position < watch.head) catchUp();
    },
    check() {
      if (is('live')) catchUp();
    },
    gone() {
      // Whoever saw nothing yet waits for a thread that is to come.
      if (is('live') && watch.head > 0) end(goneError());
    },
    close: () => end(),
  };
}

function goneError(): AppError {
  return new AppError('aborted', 'the log is not there any more');
}
