/** Readiness probe: one short exchange with a server over TCP, without a client library. */
import { connect } from 'node:net';

/**
 * @param {number} port on 127.0.0.1
 * @param {(received: string) => string | boolean} next given all that was received so far: text to send, true when satisfied, false to wait for more
 * @param {number} [timeoutMs]
 * @returns {Promise<boolean>} whether `next` was satisfied; false on any failure
 */
export function ask(port, next, timeoutMs = 1000) {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    let received = '';
    const finish = (/** @type {boolean} */ satisfied) => {
      socket.destroy();
      resolve(satisfied);
    };
    const step = () => {
      const answer = next(received);
      if (answer === true) finish(true);
      else if (answer !== false) socket.write(answer);
    };
    socket.setTimeout(timeoutMs, () => finish(false));
    socket.setEncoding('utf8');
    socket.once('connect', step);
    socket.on('data', (text) => {
      received += text;
      step();
    });
    socket.once('error', () => finish(false));
    socket.once('close', () => finish(false));
  });
}
