/** Rate limits with the hosted numbers, over two gateways. What the buckets are in detail is tested beside them. */
import { type APIError, RateLimitError } from '@anthropic-ai/sdk';
import { describe, expect } from 'vitest';
import { expectRefusal, raw } from '../client.ts';
import { watchedFetch } from '../observe.ts';
import { OPERATOR_KEY, type Stack } from '../stack.ts';
import { useStack, verifies } from '../verifies.ts';

const CREATES = 300;
const CREATES_PER_SECOND = CREATES / 60;
const AT_ONCE = 16;
const NOWHERE = '/v1/agents/agent_aaaaaaaaaaaaaaaaaaaaaa';

interface Counted {
  status: number;
  retryAfter: string | null;
  remaining: string | null;
}
/** The same request again and again, many at once, gateway by turns. */
async function ask(stack: Stack, method: string, times: number): Promise<Counted[]> {
  const answers: Counted[] = [];
  let left = times;
  const one = async () => {
    while (left-- > 0) {
      const response = await watchedFetch(stack.url(left % 2) + NOWHERE, { method, headers: { authorization: `Bearer ${OPERATOR_KEY}` } });
      await response.arrayBuffer();
      const { headers, status } = response;
      answers.push({ status, retryAfter: headers.get('retry-after'), remaining: headers.get('anthropic-ratelimit-requests-remaining') });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  return answers;
}

const stack = useStack({ tier: 'gateway', count: { gateway: 2 }, env: { gateway: { MANYHANDS_RATE_LIMITS: 'hosted' } } });

describe('with the hosted limits', () => {
  verifies('limits.rate', async () => {
    const started = performance.now();
    const answers = await ask(stack(), 'POST', CREATES + 100);
    const seconds = (performance.now() - started) / 1_000;
    const passed = answers.filter(({ status }) => status === 404);
    const refused = answers.filter(({ status }) => status === 429);
    expect(passed.length + refused.length).toBe(CREATES + 100);
    // The bucket fills up while it is emptied.
    expect(passed.length).toBeGreaterThanOrEqual(CREATES);
    expect(passed.length).toBeLessThanOrEqual(CREATES + Math.ceil(seconds * CREATES_PER_SECOND));
    for (const { retryAfter } of refused) expect(retryAfter).toBe('1');
    // No number is given twice while the bucket is emptied faster than it fills up.
    expect(new Set(passed.map(({ remaining }) => remaining)).size).toBeGreaterThan(CREATES / 2);
    // Emptied again, so that the next one is refused whatever time has passed.
    const client = stack().client();
    const error = await drain(stack(), () => client.beta.agents.create({ name: 'a', model: 'm' }));
    expect(error).toMatchObject({ status: 429, type: 'rate_limit_error', requestID: expect.stringMatching(/^req_/) });
    expect((error as APIError).headers?.get('retry-after')).toBe('1');
    // The SDK waits as it is told, and gets through.
    const patient = stack().client({ maxRetries: 5 });
    expect((await patient.beta.agents.create({ name: 'b', model: 'm' })).name).toBe('b');
  });

  verifies('limits.rate.apart', async () => {
    await drain(stack(), () => stack().client().beta.agents.create({ name: 'a', model: 'm' }));
    expect((await raw(stack(), 'GET', '/v1/agents?limit=1')).status).toBe(200);
    expect((await raw(stack(), 'POST', '/v1/manyhands/api_keys', { body: { name: 'k' } })).status).toBe(200);
    expectRefusal(await raw(stack(), 'POST', '/v1/nothing', { body: {} }), { status: 404 });
    // A gateway that starts anew finds the bucket as it was left.
    const emptiedAt = performance.now();
    await stack().restart('gateway', 0);
    const [after] = await ask(stack(), 'POST', 1);
    const seconds = (performance.now() - emptiedAt) / 1_000;
    expect(Number(after?.remaining)).toBeLessThanOrEqual(AT_ONCE + Math.ceil(seconds * CREATES_PER_SECOND));
  });
});

/** Asks until it is refused; resolves to the refusal. */
async function drain(stack: Stack, create: () => PromiseLike<unknown>): Promise<unknown> {
  for (let round = 0; round < 20; round++) {
    await ask(stack, 'POST', AT_ONCE * 4);
    const refused = await Promise.all(
      Array.from({ length: 4 }, () =>
        Promise.resolve(create()).then(
          () => null,
          (error: unknown) => error,
        ),
      ),
    );
    const error = refused.find((reason) => reason instanceof RateLimitError);
    if (error) return error;
  }
  throw new Error('never refused');
}
