/** A tool call folded to one line. */
import type { ToolResult, ToolUse } from './session-events.ts';

/** The input that tells most about a call. */
const TELLING = ['command', 'file_path', 'pattern', 'url', 'query', 'path'];
const KILO = 1_000;

/** Without control characters: what the model or a tool says must not steer the terminal. */
export function oneLine(text: string, maxCharacters: number): string {
  const clean = text.replaceAll(/[\x00-\x1f\x7f-\x9f\u2028\u2029]+/g, ' ').trim();
  return clean.length <= maxCharacters ? clean : `${clean.slice(0, Math.max(0, maxCharacters - 1))}…`;
}

/** Text for the terminal: line ends and tabs stay, everything that could steer it goes. */
export function harmless(text: string): string {
  return text.replaceAll(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, '');
}

export function describeUse({ name, input }: Pick<ToolUse, 'name' | 'input'>, maxCharacters: number): string {
  const key = TELLING.find((each) => typeof input[each] === 'string');
  const told = key === undefined ? JSON.stringify(input) : String(input[key]);
  return oneLine(`${name} ${told === '{}' ? '' : told}`, maxCharacters);
}

export function describeResult({ content = [], is_error }: Pick<ToolResult, 'content' | 'is_error'>): string {
  const found = content.filter(({ type }) => type === 'search_result').length;
  if (found > 0 && found === content.length) return found === 1 ? '1 result' : `${found} results`;
  const text = content.map((block) => (block.type === 'text' ? block.text : `[${block.type}]`)).join('');
  const size = sizeText(Buffer.byteLength(text));
  return is_error ? `error, ${size}: ${oneLine(text, 100)}` : size;
}

export function sizeText(bytes: number): string {
  if (bytes < KILO) return `${bytes} B`;
  if (bytes < KILO * KILO) return `${(bytes / KILO).toFixed(1)} kB`;
  return `${(bytes / KILO / KILO).toFixed(1)} MB`;
}
