import { connectMessaging, type Messaging, type Serving } from '@manyhands/base';
import { ConfirmRequest, SANDBOX_SUBJECT } from '@manyhands/contract';
import { silentLogger, startTestNats, type TestServer, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { HeldSandbox } from '../src/pool/held-sandbox.ts';
import { keepLeasesConfirmed } from '../src/pool/lease-confirmation.ts';

let nats: TestServer;
let pool: Messaging;
let worker: Messaging;
beforeAll(async () => {
  nats = await startTestNats();
  [pool, worker] = await Promise.all([
    connectMessaging(nats.url, silentLogger, 'pool'),
    connectMessaging(nats.url, silentLogger, 'worker'),
  ]);
});
afterAll(async () => {
  await Promise.all([pool.close(), worker.close()]);
  await nats[Symbol.asyncDispose]();
});

function leases(...sessions: string[]) {
  const ended: string[] = [];
  const helds = sessions.map(
    (session_id, i) =>
      ({
        lease: { session_id, generation: i + 1 },
        directory: { id: `sbx_${i}` },
        end: async (reason: string) => void ended.push(`${session_id} ${reason}`),
      }) as unknown as HeldSandbox,
  );
  return { unused: () => helds.filter(({ lease }) => !ended.some((line) => line.startsWith(lease.session_id))), ended };
}
function answer(wanted: (request: ConfirmRequest) => boolean): { serving: Serving; asked: ConfirmRequest[] } {
  const asked: ConfirmRequest[] = [];
  const serving = worker.serve(SANDBOX_SUBJECT.confirm, async (body) => {
    const request = ConfirmRequest.parse(body);
    asked.push(request);
    return { wanted: wanted(request) };
  });
  return { serving, asked };
}

test('a lease that is not wanted any more ends, the others stay and are not asked for all the time', async () => {
  const held = leases('sesn_a', 'sesn_b');
  const { serving, asked } = answer(({ session_id }) => session_id !== 'sesn_a');
  await worker.ping();
  const confirmation = keepLeasesConfirmed({ messaging: pool, pool: held, log: silentLogger, everyMs: 20 });
  await until(() => held.ended.length > 0, { what: 'it to end' });
  const rounds = performance.now();
  await until(() => performance.now() - rounds > 200, { what: 'more rounds' });
  confirmation.stop();
  await serving.stop();
  expect(held.ended).toEqual(['sesn_a superseded']);
  expect(asked).toEqual([
    { session_id: 'sesn_a', generation: 1, sandbox_id: 'sbx_0' },
    { session_id: 'sesn_b', generation: 2, sandbox_id: 'sbx_1' },
  ]);
});

test('without an answer every lease stays, and all are asked for again when answers come', async () => {
  const held = leases('sesn_c', 'sesn_d');
  const confirmation = keepLeasesConfirmed({ messaging: pool, pool: held, log: silentLogger, everyMs: 20 });
  const alone = performance.now();
  await until(() => performance.now() - alone > 300, { what: 'rounds without an answer' });
  expect(held.ended).toEqual([]);
  const { serving, asked } = answer(() => false);
  await until(() => held.ended.length === 2, { what: 'both to end' });
  confirmation.stop();
  await serving.stop();
  expect(new Set(asked.map(({ session_id }) => session_id))).toEqual(new Set(['sesn_c', 'sesn_d']));
});
