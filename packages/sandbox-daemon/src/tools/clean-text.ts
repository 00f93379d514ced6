/**
 * Bytes of a sandbox as text for a model. Broken UTF-8 becomes U+FFFD; control characters go, except newline and tab (and, where
 * contents are shown to be edited, carriage return).
 */

/** CSI sequences, OSC strings, and two-character escapes. */
// biome-ignore lint/complexity/useRegexLiterals: escapes are easier to read this way
const ANSI = new RegExp('\\u001b(?:\\[[0-9;:?<=>]*[ -/]*[@-~]|\\][^\\u0007\\u001b\\n]*(?:\\u0007|\\u001b\\\\)|[ -/]*[0-~])', 'g');
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
const CONTROL_BUT_CR = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;

/** Output of a command: no terminal sequences, no carriage returns. */
export function cleanOutput(text: string): string {
  return text.replace(ANSI, '').replace(/\r\n/g, '\n').replace(CONTROL, '');
}

/** Contents of a file: what an editor needs stays. */
export function cleanContents(text: string): string {
  return text.replace(CONTROL_BUT_CR, '');
}

/** UTF-8 whose start may have been cut: continuation bytes without their first byte are dropped, not shown as U+FFFD. */
export function decodeTail(bytes: Buffer): string {
  let start = 0;
  while (start < 3 && start < bytes.length && (bytes[start]! & 0xc0) === 0x80) start++;
  return bytes.toString('utf8', start);
}
