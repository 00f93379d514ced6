/** What a run of the scenarios came to, taken from vitest's JSON report: which promises passed, and what the tests saw of the gateway. */
import type { Asker, Seen } from '../observe.ts';

/** The part of vitest's report that is read here. */
export interface VitestReport {
  testResults: readonly {
    name: string;
    assertionResults: readonly {
      status: string;
      failureMessages?: readonly string[] | null;
      meta?: { conformance?: { promises: readonly string[]; seen: Seen } };
    }[];
  }[];
}
export interface Results {
  passed: ReadonlySet<string>;
  /** By promise: the first line of what went wrong. */
  failed: ReadonlyMap<string, string>;
  /** By endpoint and asker: the statuses, in order. */
  statuses(endpoint: string, asker: Asker): readonly number[];
  kinds: ReadonlySet<string>;
  owned: ReadonlySet<string>;
}

export function readResults({ testResults }: VitestReport): Results {
  const passed = new Set<string>();
  const failed = new Map<string, string>();
  const statuses = new Map<string, Set<number>>();
  const kinds = new Set<string>();
  const owned = new Set<string>();
  for (const { status, failureMessages, meta } of testResults.flatMap((file) => file.assertionResults)) {
    if (!meta?.conformance) continue;
    const { promises, seen } = meta.conformance;
    for (const promise of promises) {
      if (status === 'passed') passed.add(promise);
      else failed.set(promise, failureMessages?.[0]?.split('\n')[0] ?? status);
    }
    for (const answer of seen.answers) {
      const [endpoint, asker, code] = answer.split(' ');
      const key = `${endpoint} ${asker}`;
      statuses.set(key, (statuses.get(key) ?? new Set()).add(Number(code)));
    }
    for (const kind of seen.kinds) kinds.add(kind);
    for (const name of seen.owned) owned.add(name);
  }
  return {
    passed,
    failed,
    statuses: (endpoint, asker) => [...(statuses.get(`${endpoint} ${asker}`) ?? [])].toSorted((a, b) => a - b),
    kinds,
    owned,
  };
}
