/**
 * Parses untrusted JSON. Invalid JSON is refused with the line and column of the error. JSON that is valid but hostile (deep nesting, millions
 * of values, own `__proto__` keys) is refused before recursive or expensive code reads it.
 */
import { isUtf8 } from 'node:buffer';
import { invalidRequest, type WireError } from '@manyhands/base';

/** Deeper than any field may be nested; far less than the call stack holds. */
export const DEPTH_MAX = 200;
/** More than the largest valid body has. Each one that is wrong costs a note of what is wrong with it. */
export const VALUES_MAX = 200_000;

/** Of each key in the path that a refusal names. */
const KEY_SHOWN_CHARS = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPENING = new Set([0x5b, 0x7b]);
const CLOSING = new Set([0x5d, 0x7d]);

/** The word itself, or any of its letters escaped. */
const MAY_SPELL_PROTO = /__proto__|\\u00(?:5f|6f|7[024])/i;

export function parseJson(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) {
    const message = `the body is not valid UTF-8: a wrong byte at ${firstWrongByte(bytes)}, counted from 0`;
    throw invalidRequest(message, { errorCode: 'request_body_encoding_invalid' });
  }
  checkStructure(bytes);
  const text = bytes.toString('utf8');
  try {
    const value: unknown = JSON.parse(text);
    // Only a text that may hold the word has to be looked through.
    if (MAY_SPELL_PROTO.test(text)) refusePrototypeKeys(value, '');
    return value;
  } catch (error) {
    if (error instanceof SyntaxError) throw notJson(text);
    throw error;
  }
}

/** They would be lost, not kept, by what follows. The depth was checked before. */
function refusePrototypeKeys(value: unknown, path: string): void {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    const place = `${path}${path === '' ? '' : '.'}${key.length > KEY_SHOWN_CHARS ? `${key.slice(0, KEY_SHOWN_CHARS)}…` : key}`;
    if (key === '__proto__') throw invalidRequest(`${place}: no key may be named __proto__; rename it or leave it out`);
    refusePrototypeKeys(inner, place);
  }
}

/** Counts without reading: in a text that is no JSON the counts mean nothing, and its own refusal follows. */
function checkStructure(bytes: Buffer): void {
  let depth = 0;
  let values = 1;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] as number;
    if (byte === QUOTE) at = endOfString(bytes, at);
    else if (byte === COMMA) values++;
    else if (OPENING.has(byte)) {
      values++;
      if (++depth > DEPTH_MAX) throw invalidRequest(`the body is nested deeper than ${DEPTH_MAX} levels`);
    } else if (CLOSING.has(byte)) depth--;
  }
  if (values > VALUES_MAX) throw invalidRequest(`the body has more than ${VALUES_MAX} values; send less at once`);
}
function endOfString(bytes: Buffer, start: number): number {
  for (let end = bytes.indexOf(QUOTE, start + 1); end >= 0; end = bytes.indexOf(QUOTE, end + 1)) {
    let before = end;
    while (bytes[before - 1] === BACKSLASH) before--;
    if ((end - before) % 2 === 0) return end;
  }
  return bytes.length;
}

function firstWrongByte(bytes: Buffer): number {
  // Reading puts U+FFFD in the place of what is wrong; the first that does not stand for itself is the place.
  const text = bytes.toString('utf8');
  let at = 0;
  let passed = 0;
  for (let found = text.indexOf('\ufffd'); found >= 0; found = text.indexOf('\ufffd', found + 1)) {
    at += Buffer.byteLength(text.slice(passed, found));
    passed = found;
    if (bytes.toString('latin1', at, at + 3) !== '\xef\xbf\xbd') return at;
  }
  return bytes.length;
}

function notJson(text: string): WireError {
  const at = firstWrongCharacter(text);
  const before = text.slice(0, at);
  const line = before.split('\n').length;
  const place = `line ${line}, column ${at - before.lastIndexOf('\n')}`;
  const [character] = text.slice(at, at + 2);
  if (character === undefined) return invalidRequest(`the body is not valid JSON: it ends too early, at ${place}`);
  return invalidRequest(`the body is not valid JSON: unexpected ${JSON.stringify(character)} at ${place}`);
}

const SPACE = /[ \t\n\r]*/y;
const PLAIN_TEXT = /[^"\\\u0000-\u001f]*/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
const SCALAR = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

/** Where a text that is no JSON stops being JSON; its length if more was to come. */
function firstWrongCharacter(text: string): number {
  let at = 0;
  const take = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    if (!pattern.test(text)) return false;
    at = pattern.lastIndex;
    return true;
  };
  const takeString = (): boolean => {
    if (text[at] !== '"') return false;
    at++;
    do take(PLAIN_TEXT);
    while (take(ESCAPE));
    if (text[at] !== '"') return false;
    at++;
    return true;
  };
  /** What closes each array and object that is open. */
  const open: string[] = [];
  let expected: 'value' | 'first value' | 'key' | 'first key' | 'separator' = 'value';
  for (;;) {
    take(SPACE);
    const character = text[at];
    const mayClose = expected === 'first value' || expected === 'first key' || expected === 'separator';
    if (mayClose && character !== undefined && character === open.at(-1)) {
      open.pop();
      at++;
      expected = 'separator';
    } else if (expected === 'separator') {
      if (open.length === 0 || character !== ',') return at;
      at++;
      expected = open.at(-1) === '}' ? 'key' : 'value';
    } else if (expected === 'key' || expected === 'first key') {
      if (!takeString()) return at;
      take(SPACE);
      if (text[at] !== ':') return at;
      at++;
      expected = 'value';
    } else if (character === '[' || character === '{') {
      open.push(character === '[' ? ']' : '}');
      at++;
      expected = character === '[' ? 'first value' : 'first key';
    } else {
      if (!(character === '"' ? takeString() : take(SCALAR))) return at;
      expected = 'separator';
    }
  }
}
