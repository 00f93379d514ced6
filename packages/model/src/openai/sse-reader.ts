/**
 * Server-sent events out of bytes, however they are cut: the `data` of each event, in order. A line ends with LF, CRLF or CR; comments and
 * other fields are skipped; what stands after the last empty line is no event (CONTRACT 3, the rules of the SDK's own reader).
 */
import { failure } from '../failure.ts';

/** More than any answer holds in one event; an endpoint that goes on without an end must not fill the memory. */
const EVENT_MAX_CHARS = 32 * 1024 * 1024;

export interface SseReader {
  /** The events that these bytes complete. */
  push(bytes: Uint8Array): string[];
}

export function createSseReader(): SseReader {
  const decoder = new TextDecoder();
  let rest = '';
  let data: string[] = [];
  let size = 0;
  /** The last line ended with CR: an LF that comes next belongs to it. */
  let skipLineFeed = false;

  function line(text: string, events: string[]): void {
    if (text === '') {
      if (data.length > 0) events.push(data.join('\n'));
      data = [];
      size = 0;
      return;
    }
    if (text !== 'data' && !text.startsWith('data:')) return;
    const value = text.slice('data:'.length);
    data.push(value.startsWith(' ') ? value.slice(1) : value);
    size += value.length;
  }

  return {
    push(bytes) {
      const events: string[] = [];
      let text = rest + decoder.decode(bytes, { stream: true });
      // Lines that were looked through already hold no end of line.
      let from = rest.length;
      if (skipLineFeed && text !== '') {
        if (text.startsWith('\n')) text = text.slice(1);
        skipLineFeed = false;
      }
      let at = 0;
      for (let end = endOfLine(text, from); end >= 0; end = endOfLine(text, from)) {
        line(text.slice(at, end), events);
        at = end + 1;
        if (text[end] === '\r') {
          if (at === text.length) skipLineFeed = true;
          else if (text[at] === '\n') at++;
        }
        from = at;
      }
      rest = text.slice(at);
      if (rest.length + size > EVENT_MAX_CHARS) throw failure('malformed', 'the model sent an event without an end');
      return events;
    },
  };
}

function endOfLine(text: string, from: number): number {
  const feed = text.indexOf('\n', from);
  const carriage = text.indexOf('\r', from);
  if (feed < 0 || carriage < 0) return Math.max(feed, carriage);
  return Math.min(feed, carriage);
}
