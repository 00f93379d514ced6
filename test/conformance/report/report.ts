/**
 * The conformance report: endpoints × behaviours as a run of the scenarios showed them, events, rules, and the number of promises passed of
 * those made. Besides a promise that did not pass, it is a problem when the run has seen something else than the surface says.
 */
import type { Sdk } from '../declarations/load.ts';
import { OWNED_EXTRAS } from '../declarations/owned.ts';
import { REQUIREMENTS, type RequirementId } from '../requirements.ts';
import { ALWAYS_REFUSED } from '../surface/endpoints.ts';
import type { Standing } from '../surface/states.ts';
import { type EndpointRow, type KindRow, readSurface, type Surface } from '../surface/surface.ts';
import { type Results, readResults, type VitestReport } from './results.ts';
import { table } from './table.ts';

export interface Report {
  passed: number;
  promised: number;
  /** One line for each thing that is wrong. */
  problems: string[];
  /** One line that tells it all. */
  summary: string;
  /** The tables. */
  lines: string[];
}

/** What every endpoint answers, built or not. */
const REFUSED_ANYWAY = new Set([401, 404, 429]);
const isGood = (status: number) => status >= 200 && status < 300;

export async function reportOn(vitest: VitestReport): Promise<Report> {
  const results = readResults(vitest);
  const surface = await readSurface();
  const ids = Object.keys(REQUIREMENTS) as RequirementId[];
  const passed = ids.filter((id) => hasPassed(id, results)).length;
  const count = (rows: readonly { standing: Standing }[]) => rows.filter(({ standing }) => standing.state !== 'not yet').length;
  const { endpoints, kinds } = surface;
  return {
    passed,
    promised: ids.length,
    problems: [
      ...ids.filter((id) => !hasPassed(id, results)).map((id) => `${id}: ${results.failed.get(id) ?? 'did not run'}`),
      ...endpoints.flatMap((row) => endpointProblems(row, results)),
      ...kinds.flatMap((row) => kindProblems(row, results)),
      ...Object.keys(OWNED_EXTRAS)
        .filter((name) => !results.owned.has(name))
        .map((name) => `owned extra "${name}": nothing is like that any more; take it off declarations/owned.ts`),
    ],
    summary:
      `conformance: ${passed} of ${ids.length} promises, ` +
      `${count(endpoints)} of ${endpoints.length} endpoints, ${count(kinds)} of ${kinds.length} kinds of events`,
    lines: [...endpointLines(surface, results), '', ...kindLines(surface, results), '', ...ruleLines(surface, results)],
  };
}

function hasPassed(id: string, { passed, failed }: Results): boolean {
  return passed.has(id) && !failed.has(id);
}

function endpointProblems({ endpoint: { id, method, path }, standing: { state } }: EndpointRow, results: Results): string[] {
  const seen = (['current', 'legacy', 'raw'] as const).flatMap((asker) => results.statuses(id, asker));
  const name = `${id} ${method} ${path}`;
  if (state === 'not yet') {
    const other = seen.filter((status) => !REFUSED_ANYWAY.has(status));
    return other.length === 0 ? [] : [`${name}: has no promise, but answered ${other.join(', ')}`];
  }
  if (ALWAYS_REFUSED[id] !== undefined)
    return seen.some(isGood) ? [`${name}: does more than refuse; take it off ALWAYS_REFUSED (surface/endpoints.ts)`] : [];
  return results.statuses(id, 'current').some(isGood) ? [] : [`${name}: is promised, but never gave the SDK a good answer`];
}

function kindProblems({ kind, standing: { state } }: KindRow, { kinds }: Results): string[] {
  if (state === 'not yet') return kinds.has(kind) ? [`${kind}: was seen, though the types say that it is never told`] : [];
  return kinds.has(kind) ? [] : [`${kind}: was never seen, though the types say that it is told`];
}

function told({ state, waitsFor }: Standing): string {
  return waitsFor.length === 0 ? state : `${state}: ${waitsFor.join(', ')}`;
}

function share(promises: readonly string[], results: Results): string {
  return promises.length === 0 ? '–' : `${promises.filter((id) => hasPassed(id, results)).length} of ${promises.length}`;
}

function endpointLines({ endpoints, versions }: Surface, results: Results): string[] {
  const cell = (statuses: readonly number[]) => (statuses.length === 0 ? '–' : statuses.join(' '));
  const promised = endpoints.filter(({ standing }) => standing.state !== 'not yet');
  const reached = (asker: Sdk) => promised.filter(({ endpoint }) => results.statuses(endpoint.id, asker).length > 0).length;
  const rows = table(
    ['', 'endpoint', 'behaviours', `SDK ${versions.current}`, `SDK ${versions.legacy}`, 'others', 'state'],
    endpoints.map(({ endpoint, standing, isLegacy }) => [
      endpoint.id,
      `${endpoint.method} ${endpoint.path}`,
      share(standing.promises, results),
      cell(results.statuses(endpoint.id, 'current')),
      isLegacy ? cell(results.statuses(endpoint.id, 'legacy')) : 'has none',
      cell(results.statuses(endpoint.id, 'raw')),
      told(standing),
    ]),
  );
  return [
    ...rows,
    `of ${promised.length} promised endpoints ${reached('current')} were asked by SDK ${versions.current}, ${reached('legacy')} by SDK ${versions.legacy}`,
  ];
}

function kindLines({ kinds, versions }: Surface, results: Results): string[] {
  return table(
    ['event', 'from', 'seen', `streams of SDK ${versions.legacy}`, 'state'],
    kinds.map(({ kind, from, standing, isOnLegacyStreams }) => [
      kind,
      from,
      results.kinds.has(kind) ? 'yes' : '–',
      isOnLegacyStreams ? 'yes' : 'drop it',
      told(standing),
    ]),
  );
}

function ruleLines({ rules }: Surface, results: Results): string[] {
  return table(
    ['rule', 'promises', 'state'],
    rules.map(({ rule, standing }) => [rule.rule, share(standing.promises, results), told(standing)]),
  );
}
