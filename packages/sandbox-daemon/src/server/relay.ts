/**
 * A relay: joins this process's stdin and stdout with the daemon's socket, byte for byte, and ends when either side does. For sandboxes whose
 * socket cannot be reached from outside: the pool starts one inside and speaks to the daemon through it.
 */
import { connect } from 'node:net';

export const RELAY_ARGUMENT = '--relay';

/** Resolves when the relay is over; rejects if there is no daemon. */
export function runRelay(handSocket: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path: handSocket });
    const over = () => {
      socket.destroy();
      resolve();
      // Whoever reads may be gone for good; nothing is worth waiting for.
      process.exit(0);
    };
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      socket.setNoDelay(true);
      socket.on('error', over).on('close', over);
      process.stdin.on('error', over).on('end', over).on('close', over);
      process.stdout.on('error', over);
      process.stdin.pipe(socket);
      socket.pipe(process.stdout);
    });
  });
}
