/**
 * Every promise has a scenario, and every scenario proves a promise. The sources are read, not run: a promise counts as proven if a
 * scenario file cites it, and whether that scenario passes is its own business.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { REQUIREMENTS, type Requirement } from './requirements.ts';

const SCENARIOS = path.join(import.meta.dirname, 'scenarios');
const CITATION = /\bverifies\(\s*(\[[^\]]*\]|'[^']*')/g;
const files = readdirSync(SCENARIOS).filter((name) => name.endsWith('.test.ts'));

/** Ids cited by the scenarios of a file. */
function citations(file: string): string[] {
  const source = readFileSync(path.join(SCENARIOS, file), 'utf8');
  const calls = [...source.matchAll(CITATION)];
  // A call that the pattern does not read would be a promise lost from sight.
  expect(calls.length, `${file}: every verifies() names its promises as literals`).toBe([...source.matchAll(/\bverifies\(/g)].length);
  return calls.flatMap(([, list = '']) => [...list.matchAll(/'([^']+)'/g)].map(([, id = '']) => id));
}
const cited = new Map(files.map((file) => [file, citations(file)]));

describe('the requirements', () => {
  test('are each proven by a scenario', () => {
    const proven = new Set([...cited.values()].flat());
    expect(Object.keys(REQUIREMENTS).filter((id) => !proven.has(id))).toEqual([]);
  });

  test('are the only things that scenarios cite', () => {
    const unknown = [...cited].flatMap(([file, ids]) => ids.filter((id) => !(id in REQUIREMENTS)).map((id) => `${file}: ${id}`));
    expect(unknown).toEqual([]);
    expect([...cited].filter(([, ids]) => ids.length === 0).map(([file]) => file)).toEqual([]);
  });

  test('have one scenario each, a source and a sentence', () => {
    const all = [...cited.values()].flat();
    expect(all.filter((id, at) => all.indexOf(id) !== at)).toEqual([]);
    for (const [id, { source, promise }] of Object.entries<Requirement>(REQUIREMENTS)) {
      expect(source, id).toMatch(/^(CONTRACT|BEHAVIOUR|DESIGN|issue|I\d)/);
      expect(promise.length, id).toBeGreaterThan(20);
    }
  });

  test('cover every endpoint of the slice', () => {
    const sources = Object.values(REQUIREMENTS)
      .map(({ source }) => source)
      .join(' ');
    const endpoints = [
      'AG-1',
      'AG-2',
      'AG-3',
      'AG-4',
      'AG-5',
      'AG-6',
      'EN-1',
      'EN-2',
      'EN-3',
      'EN-4',
      'EN-5',
      'EN-6',
      'SE-1',
      'SE-2',
      'SE-3',
      'SE-4',
      'SE-5',
      'SE-6',
      'EV-1',
      'EV-2',
      'EV-3',
      'TH-1',
      'TH-2',
      'TE-1',
      'TE-2',
      'MO-1',
      'MO-2',
      'FI-1',
      'FI-2',
      'FI-3',
      'FI-4',
      'FI-5',
      'RS-1',
      'RS-2',
      'RS-3',
      'RS-4',
      'RS-5',
    ];
    expect(endpoints.filter((id) => !sources.includes(id))).toEqual([]);
  });
});
