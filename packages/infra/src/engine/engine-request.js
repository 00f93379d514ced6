/** One GET request to a Docker engine, with a bound on the time of the whole answer and on its size. */
import { request } from 'node:http';
import { request as secureRequest } from 'node:https';

const MAX_BYTES = 4 * 1024 * 1024;

/** @typedef {{ socketPath: string } | { host: string, port: number, tls?: { ca?: Buffer, cert?: Buffer, key?: Buffer } }} EngineAddress */

/**
 * @param {EngineAddress} address
 * @param {string} path
 * @param {number} timeoutMs
 * @returns {Promise<{ status: number, body: string }>}
 * @throws {NodeJS.ErrnoException} `code` is that of the connection; ETIMEDOUT when the answer was not there in time
 */
export function askEngine(address, path, timeoutMs) {
  return new Promise((resolve, reject) => {
    const tls = 'tls' in address ? address.tls : undefined;
    const start = tls === undefined ? request : secureRequest;
    // A connection of its own, closed with the answer: nothing is kept.
    const outgoing = start({ ...address, ...tls, path, agent: false, headers: { connection: 'close' } }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text) => {
        body += text;
        if (body.length > MAX_BYTES) finish(Object.assign(new Error('the answer is too long'), { code: 'EMSGSIZE' }));
      });
      response.on('end', () => {
        clearTimeout(timer);
        resolve({ status: response.statusCode ?? 0, body });
      });
      response.on('error', finish);
    });
    const timer = setTimeout(() => finish(Object.assign(new Error(`no answer within ${timeoutMs} ms`), { code: 'ETIMEDOUT' })), timeoutMs);
    outgoing.on('error', finish);
    outgoing.end();
    /** @param {Error} error */
    function finish(error) {
      clearTimeout(timer);
      outgoing.destroy();
      reject(error);
    }
  });
}
