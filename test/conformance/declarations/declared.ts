/** Answers held against the declarations of an SDK: found by request, checked by status, without what is owned. */
import { type CheckOptions, check, type Problem } from './check.ts';
import type { Sdk } from './load.ts';
import { OWNED_EXTRAS, type OwnedExtra } from './owned.ts';
import type { Declarations, Route, Shape } from './shape.ts';

/** Where a request belongs. Several methods of an SDK may ask for the same: `client.files` and `client.beta.files`. */
export interface Target {
  /** `GET /v1/agents/{}` */
  key: string;
  routes: readonly Route[];
}
export interface Declared {
  target(method: string, pathname: string): Target | null;
  /** What a good body has wrong; for each method that may have asked. */
  checkBody(target: Target, body: unknown): string[];
  checkEvent(target: Target, event: unknown): string[];
  checkRefusal(body: unknown): string[];
}

/** @param onOwned is told the names of owned extras that were met */
export function createDeclared(declarations: Declarations, sdk: Sdk, onOwned: (name: string) => void = () => {}): Declared {
  const { routes, shapes, refusal, version } = declarations;
  const options: CheckOptions = { older: sdk === 'legacy' };

  function problemsOf(call: string, value: unknown, shape: Shape): string[] {
    return check(value, shape, shapes, options).flatMap((problem) => {
      const name = ownerOf(sdk, call, problem);
      if (name === null) return [`${call} (${version}): ${problem.place || 'the answer'} (${problem.what}): ${problem.text}`];
      onOwned(name);
      return [];
    });
  }

  return {
    target(method, pathname) {
      const segments = pathname.split('/');
      const fits = (pattern: string) => {
        const wanted = pattern.split('/');
        return (
          wanted.length === segments.length && wanted.every((part, at) => (part === '{}' ? segments[at] !== '' : part === segments[at]))
        );
      };
      // `/work/poll` is that endpoint, and not a work item called "poll".
      const parameters = (pattern: string) => pattern.split('{}').length;
      const candidates = routes.filter((route) => route.method === method && fits(route.path));
      const [best] = candidates.toSorted((a, b) => parameters(a.path) - parameters(b.path));
      if (!best) return null;
      return { key: `${method} ${best.path}`, routes: candidates.filter(({ path }) => path === best.path) };
    },
    checkBody: (target, body) =>
      target.routes.flatMap(({ call, answer }) => (answer.kind === 'json' ? problemsOf(call, body, answer.shape) : [])),
    checkEvent: (target, event) =>
      target.routes.flatMap(({ call, answer }) => (answer.kind === 'stream' ? problemsOf(call, event, answer.shape) : [])),
    checkRefusal: (body) => problemsOf('error', body, refusal),
  };
}

/** The name of the owned extra that a problem is, if it is one. */
export function ownerOf(sdk: Sdk, call: string, { place, what, text }: Problem): string | null {
  const owns = (extra: OwnedExtra) =>
    extra.sdk === sdk && extra.what === what && extra.call.test(call) && extra.place.test(place) && (extra.text?.test(text) ?? true);
  return Object.entries(OWNED_EXTRAS).find(([, extra]) => owns(extra))?.[0] ?? null;
}
