/**
 * Every promise has a scenario, and every scenario proves a promise. The sources are read, not run: a promise counts as proven if a
 * scenario file cites it, and whether that scenario passes is its own business.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadDeclarations } from './declarations/load.ts';
import { pathPattern } from './declarations/shape.ts';
import { CLIENTS } from './requirements/clients.ts';
import { RESOURCES } from './requirements/resources.ts';
import { SESSIONS } from './requirements/sessions.ts';
import { TOOLS } from './requirements/tools.ts';
import { TURNS } from './requirements/turns.ts';
import { WIRE } from './requirements/wire.ts';
import { REQUIREMENTS, type Requirement } from './requirements.ts';
import { ALWAYS_REFUSED, ENDPOINTS } from './surface/endpoints.ts';
import { RULE_GROUPS } from './surface/rules.ts';
import { standingOfRule, unknownCitations } from './surface/states.ts';

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
  test('are told apart by their ids, wherever they stand', () => {
    const parts = [CLIENTS, RESOURCES, SESSIONS, TOOLS, TURNS, WIRE];
    expect(parts.flatMap((part) => Object.keys(part)).toSorted()).toEqual(Object.keys(REQUIREMENTS).toSorted());
  });

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

  test('cite endpoints that there are, and every rule has a promise or a feature to wait for', () => {
    expect(unknownCitations()).toEqual([]);
    const rules = RULE_GROUPS.flatMap((group) => group.rules);
    expect(
      rules.filter((rule) => standingOfRule(rule).state === 'not yet' && rule.feature === undefined).map(({ cites }) => cites),
    ).toEqual([]);
    expect(Object.keys(ALWAYS_REFUSED).filter((id) => ENDPOINTS.every((endpoint) => endpoint.id !== id))).toEqual([]);
  });
});

describe('the surface', () => {
  test('is that of the SDK: every endpoint of managed agents, and no other', { timeout: 60_000 }, async () => {
    const { routes } = await loadDeclarations('current');
    const ours = ENDPOINTS.map(({ method, path: template }) => `${method} ${pathPattern(template)}`);
    const theirs = new Set(routes.map(({ method, path: template }) => `${method} ${template}`));
    expect(ours.filter((endpoint) => !theirs.has(endpoint))).toEqual([]);
    expect([...theirs].filter((endpoint) => !ours.includes(endpoint))).toEqual([]);
    expect(ours.length).toBe(theirs.size);
  });
});
