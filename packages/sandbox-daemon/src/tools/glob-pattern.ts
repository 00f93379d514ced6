/**
 * Glob patterns over path segments: `*`, `?`, `[a-z]`, `[!a]`, `{a,b}` and `**` for any depth; `\` takes the next character as it is.
 * Names that start with a dot are matched only where the pattern's segment does too. Matching never backtracks further than the
 * last star, so no pattern takes long.
 */
import { ToolFailure } from './tool-result.ts';

const MAX_ALTERNATIVES = 256;

type Token =
  | { kind: 'star' }
  | { kind: 'any' }
  | { kind: 'char'; char: string }
  | { kind: 'class'; negated: boolean; ranges: [string, string][] };
/** `deep` is `**`: no, one or many directories. */
export type Segment = { kind: 'deep' } | { kind: 'name'; tokens: Token[]; showsHidden: boolean; literal: boolean };

/** Each alternative as its segments. Throws a ToolFailure for a pattern with too many alternatives. */
export function parseGlob(pattern: string): Segment[][] {
  return expandBraces(pattern).map((alternative) =>
    alternative
      .split('/')
      .filter((text) => text !== '' && text !== '.')
      .map(parseSegment),
  );
}

/** `a{b,c{d,e}}` → `ab`, `acd`, `ace`. Braces without a comma, or not closed, are plain characters. */
export function expandBraces(pattern: string): string[] {
  const done: string[] = [];
  const waiting = [pattern];
  while (waiting.length > 0) {
    const next = waiting.pop()!;
    const group = findBraces(next);
    if (group === null) done.push(next);
    else for (const option of group.options.reverse()) waiting.push(next.slice(0, group.start) + option + next.slice(group.end));
    if (done.length + waiting.length > MAX_ALTERNATIVES)
      throw new ToolFailure(`glob: the braces of the pattern stand for more than ${MAX_ALTERNATIVES} patterns; write fewer`);
  }
  return done;
}

function findBraces(pattern: string): { start: number; end: number; options: string[] } | null {
  for (let start = 0; start < pattern.length; start++) {
    if (pattern[start] === '\\') start++;
    else if (pattern[start] === '{') {
      const group = readBraces(pattern, start);
      if (group !== null) return group;
    }
  }
  return null;
}

function readBraces(pattern: string, start: number): { start: number; end: number; options: string[] } | null {
  const options: string[] = [];
  let from = start + 1;
  let depth = 0;
  for (let at = from; at < pattern.length; at++) {
    const char = pattern[at];
    if (char === '\\') at++;
    else if (char === '{') depth++;
    else if (char === '}' && depth > 0) depth--;
    else if (depth === 0 && (char === ',' || char === '}')) {
      options.push(pattern.slice(from, at));
      from = at + 1;
      if (char === '}') return options.length > 1 ? { start, end: at + 1, options } : null;
    }
  }
  return null;
}

function parseSegment(text: string): Segment {
  if (text === '**') return { kind: 'deep' };
  const tokens: Token[] = [];
  const chars = [...text];
  for (let at = 0; at < chars.length; at++) {
    const char = chars[at]!;
    if (char === '*') {
      if (tokens.at(-1)?.kind !== 'star') tokens.push({ kind: 'star' });
    } else if (char === '?') tokens.push({ kind: 'any' });
    else if (char === '\\' && at + 1 < chars.length) tokens.push({ kind: 'char', char: chars[++at]! });
    else if (char === '[') {
      const found = parseClass(chars, at);
      tokens.push(found?.token ?? { kind: 'char', char });
      if (found) at = found.end;
    } else tokens.push({ kind: 'char', char });
  }
  const first = tokens[0];
  return {
    kind: 'name',
    tokens,
    showsHidden: first?.kind === 'char' && first.char === '.',
    literal: tokens.every((token) => token.kind === 'char'),
  };
}

function parseClass(chars: string[], start: number): { token: Token; end: number } | null {
  const negated = chars[start + 1] === '!' || chars[start + 1] === '^';
  const from = start + (negated ? 2 : 1);
  // A `]` right at the start is one of the characters.
  const end = chars.indexOf(']', from + 1);
  if (end < 0) return null;
  const ranges: [string, string][] = [];
  for (let at = from; at < end; at++) {
    const low = chars[at]!;
    if (chars[at + 1] === '-' && at + 2 < end) {
      ranges.push([low, chars[at + 2]!]);
      at += 2;
    } else ranges.push([low, low]);
  }
  return { token: { kind: 'class', negated, ranges }, end };
}

function matchesChar(token: Token, char: string): boolean {
  if (token.kind === 'char') return token.char === char;
  if (token.kind === 'class') return token.ranges.some(([low, high]) => low <= char && char <= high) !== token.negated;
  return token.kind === 'any';
}

/** Whether a file name matches one segment; `**` as such is not asked here. */
export function matchesName(segment: Segment & { kind: 'name' }, name: string): boolean {
  if (name.startsWith('.') && !segment.showsHidden) return false;
  const chars = [...name];
  const { tokens } = segment;
  let at = 0;
  let token = 0;
  let starToken = -1;
  let starAt = 0;
  while (at < chars.length) {
    const wanted = tokens[token];
    if (wanted?.kind === 'star') {
      starToken = token++;
      starAt = at;
    } else if (wanted && matchesChar(wanted, chars[at]!)) {
      token++;
      at++;
    } else if (starToken >= 0) {
      // The last star takes one character more.
      token = starToken + 1;
      at = ++starAt;
    } else return false;
  }
  while (tokens[token]?.kind === 'star') token++;
  return token === tokens.length;
}
