/** The report must not be able to say that all is well when it is not. */
import { beforeAll, describe, expect, test } from 'vitest';
import { OWNED_EXTRAS } from '../declarations/owned.ts';
import { REQUIREMENTS } from '../requirements.ts';
import { ALWAYS_REFUSED } from '../surface/endpoints.ts';
import { citationsOf } from '../surface/states.ts';
import { readSurface } from '../surface/surface.ts';
import { reportOn } from './report.ts';
import { table } from './table.ts';

const IDS = Object.keys(REQUIREMENTS);
let answers: string[] = [];
let kinds: string[] = [];
/** One endpoint and one kind that are not there yet. */
let laterEndpoint = '';
let laterKind = '';
beforeAll(async () => {
  const { endpoints, kinds: all } = await readSurface();
  laterEndpoint = endpoints.findLast(({ standing }) => standing.state === 'not yet')!.endpoint.id;
  laterKind = all.findLast(({ standing }) => standing.state === 'not yet')!.kind;
  answers = endpoints.map(({ endpoint: { id }, standing }) => {
    if (standing.state === 'not yet') return `${id} raw 404`;
    return `${id} current ${ALWAYS_REFUSED[id] === undefined ? 200 : 400}`;
  });
  kinds = all.filter(({ standing }) => standing.state !== 'not yet').map(({ kind }) => kind);
}, 60_000);

interface Change {
  answers?: (all: string[]) => string[];
  kinds?: (all: string[]) => string[];
  owned?: string[];
  tests?: { status: string; promises: string[] }[];
}
/** A run in which all went well but for what is changed. */
function run(change: Change = {}) {
  const seen = {
    answers: change.answers?.(answers) ?? answers,
    kinds: change.kinds?.(kinds) ?? kinds,
    owned: change.owned ?? Object.keys(OWNED_EXTRAS),
  };
  const nothing = { answers: [], kinds: [], owned: [] };
  const tests = change.tests ?? [{ status: 'passed', promises: IDS }];
  const assertionResults = tests.map(({ status, promises }, at) => ({
    status,
    failureMessages: status === 'failed' ? ['it broke\n at x'] : [],
    meta: { conformance: { promises, seen: at === 0 ? seen : nothing } },
  }));
  // Tests that prove no promise are none of the report's business.
  return reportOn({ testResults: [{ name: 'a.test.ts', assertionResults: [...assertionResults, { status: 'failed' }] }] });
}

describe('the report', () => {
  test('counts what passed of what is promised', async () => {
    const { passed, promised, problems, summary, lines } = await run();
    expect([passed, promised, problems]).toEqual([IDS.length, IDS.length, []]);
    expect(summary).toMatch(/^conformance: (\d+) of \1 promises, \d+ of 114 endpoints, \d+ of 44 kinds of events$/);
    expect(lines.join('\n')).toMatch(/^AG-2 +GET \/v1\/agents\/\{agent_id\} +(\d+) of \1 +200 +– +– +supported$/m);
    expect(lines.join('\n')).toMatch(/^session\.usage +server +yes +drop it +supported$/m);
  });

  test('tells a promise whose test failed, was skipped or did not run', async () => {
    const [first = '', second = '', third = '', ...rest] = IDS;
    const tests = [
      { status: 'passed', promises: rest },
      { status: 'failed', promises: [first] },
      { status: 'skipped', promises: [second] },
    ];
    const { passed, promised, problems } = await run({ tests });
    expect([passed, promised]).toEqual([IDS.length - 3, IDS.length]);
    expect(problems).toEqual([`${first}: it broke`, `${second}: skipped`, `${third}: did not run`]);
  });

  test('tells where the run has seen something else than the surface says', async () => {
    const without = (...ids: string[]) => ({ answers: (all: string[]) => all.filter((each) => !ids.includes(each.split(' ')[0] ?? '')) });
    const and = (...more: string[]) => ({ answers: (all: string[]) => [...all, ...more] });
    expect((await run(without('AG-2'))).problems).toEqual([expect.stringMatching(/^AG-2 .* never gave the SDK a good answer$/)]);
    expect((await run(and(`${laterEndpoint} current 200`))).problems).toEqual([
      expect.stringMatching(/ has no promise, but answered 200$/),
    ]);
    for (const id of Object.keys(ALWAYS_REFUSED))
      expect((await run(and(`${id} current 200`))).problems).toEqual([expect.stringMatching(/ does more than refuse/)]);
    expect((await run({ kinds: (all) => all.filter((kind) => kind !== 'agent.thinking') })).problems).toEqual([
      expect.stringMatching(/^agent\.thinking: was never seen/),
    ]);
    expect((await run({ kinds: (all) => [...all, laterKind] })).problems).toEqual([expect.stringMatching(/: was seen, though/)]);
    expect((await run({ owned: Object.keys(OWNED_EXTRAS).slice(1) })).problems).toEqual([expect.stringMatching(/^owned extra /)]);
  });
});

test('citations are read as they are written', () => {
  expect(citationsOf('CONTRACT SE-3, 8 E, F, 8.3, BEHAVIOUR 10, I13')).toEqual([
    ...['CONTRACT SE-3', 'CONTRACT 8 E', 'CONTRACT 8 F', 'CONTRACT 8.3', 'BEHAVIOUR 10', 'I13'],
  ]);
  expect(citationsOf('I4, issue 2')).toEqual(['I4', 'issue 2']);
});

test('columns are as wide as what is in them', () => {
  expect(table(['a', 'b'], [['long', 'x'], ['y']])).toEqual(['a     b', 'long  x', 'y']);
});
