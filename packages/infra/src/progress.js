/** One line for everything that takes more than a second; silence for everything else. */

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
  let told = false;
  const timer = setTimeout(() => {
    told = true;
    log(`${what} …`);
  }, QUIET_MS);
  try {
    const result = await work();
    if (told) log(`${what}: done in ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
    return result;
  } finally {
    clearTimeout(timer);
  }
}
