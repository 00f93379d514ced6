/** Progress lines: logs work that takes more than a second, and nothing else. */

/** @typedef {(line: string) => void} Log */

const QUIET_MS = 1000;

/** @type {Log} */
export const noLog = () => {};

/**
 * Waits for `work`; says `what` after a second, and how long it took when it is done.
 * @template T
 * @param {Log} log
 * @param {string} what such as "redis: downloading from Debian"
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function slowly(log, what, work) {
  const startedMs = performance.now();
  let logged = false;
  const timer = setTimeout(() => {
    logged = true;
    log(`${what} …`);
  }, QUIET_MS);
  try {
    const result = await work();
    if (logged) log(`${what}: done in ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
    return result;
  } finally {
    clearTimeout(timer);
  }
}
