/**
 * Rate limits, off unless asked for (CONTRACT 8 P). An installation is one organisation: all its workspaces, keys and gateways share two
 * limits, one of requests that read (GET, an event stream being one when it opens) and one of requests that change (all others).
 *
 * Each limit is a bucket of as many requests as fit a minute. It fills up evenly, so a full one may be emptied at once, and from then on a
 * request is allowed whenever its share of the minute has passed. Buckets are in Redis and each request takes its own in one atomic step.
 * Without Redis nothing is served anyway, so a bucket that cannot be asked is a 503 and never a way around the limit.
 *
 * Counted is what names an endpoint of the API, with a good key, whatever comes of it. Not counted: requests without a good key, paths that
 * do not exist, and what operators need to mend things: keys, the board, health.
 */
import { readFileSync } from 'node:fs';
import { type Clock, type Redis, WireError } from '@manyhands/base';
import { timestamp } from '@manyhands/contract';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { keys } from './keys.ts';

type RequestClass = 'create' | 'read';
/** Requests per minute. */
export type RateLimits = Readonly<Record<RequestClass, number>>;
/** By the name of the setting; hosted is what the hosted service allows (BEHAVIOUR 27). */
export const RATE_LIMITS = { off: undefined, hosted: { create: 300, read: 1_200 } } as const satisfies Record<
  string,
  RateLimits | undefined
>;

const PERIOD_US = 60_000_000;
const LIMITED_PREFIX = '/v1/';
const OPERATORS_PREFIX = '/v1/manyhands/';
const COUNTED: Readonly<Record<RequestClass, string>> = { create: 'other than GET', read: 'GET' };

interface Standing {
  left: number;
  /** By the monotonic clock of this process; 0 for a request that was allowed. */
  emptyUntilMs: number;
  fullAtMs: number;
}
type TakeRequest = (key: string, capacity: number, periodUs: number) => Promise<[taken: 0 | 1, number: number, fullInUs: number]>;

/** The `onRequest` hook: counts the request and sets the rate limit headers, or refuses. Runs after the hook that authenticates. */
export type RateLimiter = (request: FastifyRequest, reply: FastifyReply) => Promise<void>;

export function createRateLimiter(redis: Redis, limits: RateLimits, clock: Clock): RateLimiter {
  // The path holds from `src/http` and from `dist/http` alike.
  const lua = readFileSync(new URL('../../src/http/lua/take-request.lua', import.meta.url), 'utf8');
  redis.defineCommand('mhTakeRequest', { lua, numberOfKeys: 1 });
  const { mhTakeRequest } = redis as Redis & { mhTakeRequest: TakeRequest };
  /** Until when a bucket is known to be empty, for all clients: requests over the limit cost Redis nothing. */
  const empty: Record<RequestClass, Standing | null> = { create: null, read: null };

  async function take(requestClass: RequestClass): Promise<Standing> {
    const known = empty[requestClass];
    if (known && performance.now() < known.emptyUntilMs) return known;
    const [taken, number, fullInUs] = await mhTakeRequest.call(redis, keys.limit(requestClass), limits[requestClass], PERIOD_US);
    const fullAtMs = Math.ceil(clock.now() + fullInUs / 1_000);
    if (taken === 1) return { left: number, emptyUntilMs: 0, fullAtMs };
    const standing = { left: 0, emptyUntilMs: performance.now() + number / 1_000, fullAtMs };
    empty[requestClass] = standing;
    return standing;
  }

  return async (request, reply) => {
    const route = request.routeOptions.url ?? '';
    if (request.is404 || !route.startsWith(LIMITED_PREFIX) || route.startsWith(OPERATORS_PREFIX)) return;
    const requestClass: RequestClass = request.method === 'GET' ? 'read' : 'create';
    const limit = limits[requestClass];
    const { left, emptyUntilMs, fullAtMs } = await take(requestClass);
    reply.header('anthropic-ratelimit-requests-limit', String(limit));
    reply.header('anthropic-ratelimit-requests-remaining', String(left));
    reply.header('anthropic-ratelimit-requests-reset', timestamp(fullAtMs));
    if (emptyUntilMs === 0) return;
    const retryAfterSeconds = Math.max(1, Math.ceil((emptyUntilMs - performance.now()) / 1_000));
    throw new WireError(
      'rate_limit_error',
      `the limit of ${limit} requests a minute ${COUNTED[requestClass]} is used up; try again in ${retryAfterSeconds} s`,
      { retryAfterSeconds },
    );
  };
}
