/**
 * A daemon channel whose connection may be lost and made anew, for sandboxes that are reached through the engine: when a relay ends, that alone
 * says nothing about the sandbox. The channel is closed only when the container has ended, or by whoever holds it. What was asked and not
 * answered is asked again over the next connection, within its deadline: every request of a daemon may be repeated.
 */
import type { Duplex } from 'node:stream';
import { AppError, hasCode, pause } from '@manyhands/base';
import { createDaemonChannel, type DaemonChannel } from '../daemon-channel.ts';

const RETRY_PAUSE_MS = 200;

export interface RelayDeps {
  open: () => Promise<Duplex>;
  /** Whether the container still runs; throws if that cannot be told at the moment. */
  isRunning: () => Promise<boolean>;
}

export function createRelayChannel({ open, isRunning }: RelayDeps): DaemonChannel {
  let current: DaemonChannel | null = null;
  let connecting: Promise<DaemonChannel> | null = null;
  let isOpen = true;
  let why = '';
  let tellClosed: (reason: string) => void = () => {};
  const closed = new Promise<string>((resolve) => {
    tellClosed = resolve;
  });
  const gone = () => new AppError('unavailable', why || 'the daemon is gone');

  function close(reason: string): void {
    if (!isOpen) return;
    isOpen = false;
    why = reason;
    current?.close(reason);
    tellClosed(reason);
  }

  async function connect(): Promise<DaemonChannel> {
    while (isOpen) {
      try {
        const fresh = createDaemonChannel(await open());
        current = fresh;
        void fresh.closed.then((reason) => lost(fresh, reason));
        if (!isOpen) fresh.close(why);
        return fresh;
      } catch {
        // The engine may be away: only its word that the container has ended counts.
        if ((await isRunning().catch(() => null)) === false) close('the container ended');
        else await pause(RETRY_PAUSE_MS);
      }
    }
    throw gone();
  }

  function lost(channel: DaemonChannel, reason: string): void {
    if (current === channel) current = null;
    // What comes from inside is hostile; a sandbox that breaks the protocol is given up, as over a socket.
    if (/broke the protocol/.test(reason)) close(reason);
  }

  function connection(): Promise<DaemonChannel> {
    if (current?.isOpen) return Promise.resolve(current);
    connecting ??= connect().finally(() => {
      connecting = null;
    });
    return connecting;
  }

  return {
    closed,
    get isOpen() {
      return isOpen;
    },
    close,
    async request(command, deadlineMs) {
      const endMs = performance.now() + deadlineMs;
      for (;;) {
        if (!isOpen) throw gone();
        const leftMs = endMs - performance.now();
        const channel = leftMs <= 0 ? null : await withinMs(connection(), leftMs);
        if (!channel) throw new AppError('timeout', `the daemon did not answer ${command.op} within ${deadlineMs} ms`);
        try {
          return await channel.request(command, Math.max(1, endMs - performance.now()));
        } catch (error) {
          if (channel.isOpen || !hasCode(error, 'unavailable')) throw error;
        }
      }
    },
  };
}

/** Null when it takes longer. */
async function withinMs<T>(work: Promise<T>, ms: number): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([
      work,
      new Promise<null>((resolve) => {
        timer = setTimeout(() => resolve(null), ms);
      }),
    ]);
  } finally {
    clearTimeout(timer);
  }
}
