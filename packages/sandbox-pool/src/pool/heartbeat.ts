/** Pings the daemon of a sandbox, and closes its channel when no answer comes: the sandbox is then lost. */
import { hasCode } from '@manyhands/base';
import type { DaemonChannel } from '../drivers/daemon-channel.ts';

export interface HeartbeatTimes {
  intervalMs: number;
  /** A stopped or starved daemon gets this long, twice. */
  deadlineMs: number;
}
export const HEARTBEAT: HeartbeatTimes = { intervalMs: 5_000, deadlineMs: 10_000 };

/** Runs until the channel is closed; closes it after two pings in a row without an answer. */
export function keepHeartbeat(channel: DaemonChannel, { intervalMs, deadlineMs }: HeartbeatTimes): void {
  let missed = 0;
  let timer: NodeJS.Timeout;
  const beat = async () => {
    try {
      await channel.request({ op: 'ping' }, deadlineMs);
      missed = 0;
    } catch (error) {
      // Two, so that a pool that was itself stopped for a while does not take its sandboxes for dead.
      if (hasCode(error, 'timeout') && ++missed < 2) return beat();
      channel.close('the daemon does not answer');
      return;
    }
    schedule();
  };
  const schedule = () => {
    if (!channel.isOpen) return;
    timer = setTimeout(() => void beat(), intervalMs);
    timer.unref();
  };
  schedule();
  void channel.closed.then(() => clearTimeout(timer));
}
