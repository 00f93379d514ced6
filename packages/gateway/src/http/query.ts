/**
 * Query strings (CONTRACT 0.1): arrays as `name[]=a&name[]=b` or as bare repetition, ranges as `created_at[gte]=`, an empty value means
 * absent, `beta` is ignored, every other name that the endpoint does not know is a 400 (CONTRACT 8 D).
 */
import { invalidRequest } from '@manyhands/base';
import type { FastifyRequest } from 'fastify';

export const PAGE_DEFAULT = 20;
export const PAGE_MAX = 100;
const RFC3339 = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}(:\d{2}(\.\d+)?)?([Zz]|[+-]\d{2}:\d{2})$/;
const IGNORED = new Set(['beta']);

export type Bound = 'gt' | 'gte' | 'lt' | 'lte';
export type Range = Partial<Record<Bound, number>>;

export interface Query {
  /** The values of a list parameter; undefined if it is absent. */
  list(name: string, allowed: readonly string[], max?: number): ReadonlySet<string> | undefined;
  /** The values of a list parameter that may be anything. */
  texts(name: string): string[] | undefined;
  text(name: string): string | undefined;
  integer(name: string, min: number, max: number): number | undefined;
  limit(fallback?: number, max?: number): number;
  flag(name: string): boolean;
  order(fallback: 'asc' | 'desc'): 'asc' | 'desc';
  /** `created_at[…]` in milliseconds; undefined if no bound is given. */
  createdAt(): Range | undefined;
}

/** `names`: what the endpoint takes; a list parameter is written `name[]`, a range bound `created_at[gte]`. */
export function readQuery(request: FastifyRequest, names: readonly string[]): Query {
  const url = request.raw.url ?? '';
  const mark = url.indexOf('?');
  const values = new Map<string, string[]>();
  if (mark >= 0) {
    const search = url.slice(mark + 1);
    checkEncoding(search);
    for (const [given, value] of new URLSearchParams(search)) {
      if (value === '' || IGNORED.has(given)) continue;
      // A list may be written without its brackets.
      const name = names.includes(given) ? given : `${given}[]`;
      if (!names.includes(name)) throw unknownParameter(given, names);
      const list = values.get(name) ?? [];
      if (list.length > 0 && !name.endsWith('[]')) throw invalidRequest(`${name}: given more than once`);
      list.push(value);
      values.set(name, list);
    }
  }

  const text = (name: string) => values.get(name)?.[0];
  function integer(name: string, min: number, max: number): number | undefined {
    const value = text(name);
    if (value === undefined) return undefined;
    const number = /^-?\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
    if (Number.isNaN(number) || number < min || number > max) throw invalidRequest(`${name}: must be a whole number from ${min} to ${max}`);
    return number;
  }
  function oneOf(name: string, allowed: readonly string[]): string | undefined {
    const value = text(name);
    if (value !== undefined && !allowed.includes(value)) throw invalidRequest(`${name}: must be one of ${allowed.join(', ')}`);
    return value;
  }

  return {
    text,
    integer,
    texts: (name) => values.get(`${name}[]`),
    list(name, allowed, max) {
      const list = values.get(`${name}[]`);
      if (!list) return undefined;
      if (max !== undefined && list.length > max) throw invalidRequest(`${name}[]: at most ${max} values`);
      const wrong = list.find((value) => !allowed.includes(value));
      if (wrong !== undefined) throw invalidRequest(`${name}[]: ${JSON.stringify(wrong)} is not one of ${allowed.join(', ')}`);
      return new Set(list);
    },
    limit: (fallback = PAGE_DEFAULT, max = PAGE_MAX) => integer('limit', 1, max) ?? fallback,
    flag: (name) => oneOf(name, ['true', 'false']) === 'true',
    order: (fallback) => (oneOf('order', ['asc', 'desc']) as 'asc' | 'desc' | undefined) ?? fallback,
    createdAt() {
      const range: Range = {};
      for (const bound of ['gt', 'gte', 'lt', 'lte'] as const) {
        const name = `created_at[${bound}]`;
        const value = text(name);
        if (value === undefined) continue;
        const ms = RFC3339.test(value) ? Date.parse(value.toUpperCase()) : Number.NaN;
        if (Number.isNaN(ms))
          throw invalidRequest(`${name}: must be an RFC 3339 time such as 2026-01-01T00:00:00Z (with + written as %2B)`);
        range[bound] = ms;
      }
      return Object.keys(range).length === 0 ? undefined : range;
    },
  };
}

/** What cannot be decoded would be taken for something else. */
function checkEncoding(search: string): void {
  for (const part of search.split('&')) {
    try {
      decodeURIComponent(part);
    } catch {
      throw invalidRequest(`${part.split('=', 1)[0]}: not valid percent-encoding of UTF-8 in the query`);
    }
  }
}

function unknownParameter(given: string, names: readonly string[]) {
  const takes = names.length === 0 ? 'this endpoint takes none' : `this endpoint takes ${names.join(', ')}`;
  return invalidRequest(`${given}: unknown query parameter; ${takes}`);
}
