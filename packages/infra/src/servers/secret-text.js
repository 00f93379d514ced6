/** User names and passwords of our own servers are written into configuration files, so their alphabet is narrow. */

/**
 * @param {string} name of the option, for the error
 * @param {string | undefined} value
 * @returns {string | undefined}
 */
export function plainSecret(name, value) {
  if (value !== undefined && !/^[A-Za-z0-9_-]{1,256}$/.test(value)) {
    throw new Error(`${name}: use 1 to 256 of the characters A-Z a-z 0-9 _ -`);
  }
  return value;
}
