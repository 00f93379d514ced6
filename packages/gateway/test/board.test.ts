/** Bull Board: for operators only, read-only unless asked otherwise, changes from its own pages only. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type GatewayFixture, startGateway } from './fixture.ts';

let readOnly: GatewayFixture;
let writable: GatewayFixture;
beforeAll(async () => {
  [readOnly, writable] = await Promise.all([startGateway(), startGateway({ adminWritable: true })]);
});
afterAll(() => Promise.all([readOnly[Symbol.asyncDispose](), writable[Symbol.asyncDispose]()]));

const basic = (key: string) => `Basic ${Buffer.from(`operator:${key}`).toString('base64')}`;
const ask = (gateway: GatewayFixture, path: string, headers: Record<string, string>, method = 'GET') =>
  fetch(`${gateway.url}/admin/queues${path}`, { method, headers });
const pause = '/api/queues/turns/pause';

describe('the board', () => {
  test('opens for an operator key by bearer, x-api-key or basic, and shows a job with its session', async () => {
    const session = await readOnly.session({ initial_events: [{ type: 'user.message', content: [{ type: 'text', text: 'go' }] }] });
    for (const headers of [
      { authorization: `Bearer ${readOnly.operatorKey}` },
      { 'x-api-key': readOnly.operatorKey },
      { authorization: basic(readOnly.operatorKey) },
    ]) {
      const page = await ask(readOnly, '', headers as Record<string, string>);
      expect(page.status).toBe(200);
      expect(await page.text()).toContain('Manyhands queues');
    }
    const response = await ask(readOnly, '/api/queues?activeQueue=turns&status=latest&page=1&jobsPerPage=10', {
      authorization: basic(readOnly.operatorKey),
    });
    expect(response.status).toBe(200);
    expect(await response.text()).toContain(session.id);
  });

  test('asks a browser for the key, and refuses one without the operator scope', async () => {
    const without = await ask(readOnly, '', {});
    expect(without.status).toBe(401);
    expect(without.headers.get('www-authenticate')).toMatch(/^Basic /);
    expect(await without.json()).toMatchObject({ type: 'error', error: { type: 'authentication_error' } });
    const ordinary = await ask(readOnly, '/api/queues', { authorization: basic(readOnly.key) });
    expect([ordinary.status, await ordinary.json()]).toMatchObject([403, { type: 'error', error: { type: 'permission_error' } }]);
  });

  test('changes nothing while it is read-only', async () => {
    const response = await ask(readOnly, pause, { 'x-api-key': readOnly.operatorKey }, 'PUT');
    expect([response.status, await response.json()]).toMatchObject([
      403,
      { error: { message: expect.stringContaining('MANYHANDS_ADMIN_WRITABLE') } },
    ]);
    expect(await readOnly.turnQueue.queues[0]?.isPaused()).toBe(false);
  });

  test('takes changes from its own pages and from hand-made requests, and none from elsewhere', async () => {
    const paused = () => writable.turnQueue.queues[0]?.isPaused();
    const byBasic = { authorization: basic(writable.operatorKey) };
    const host = new URL(writable.url).host;
    for (const headers of [
      { ...byBasic, origin: 'https://evil.example' },
      { ...byBasic, 'sec-fetch-site': 'cross-site' },
      { ...byBasic, 'sec-fetch-site': 'same-site', origin: `http://${host}` },
      { ...byBasic, origin: 'null' },
      byBasic,
      { 'x-api-key': writable.operatorKey, origin: 'https://evil.example' },
    ]) {
      const response = await ask(writable, pause, headers as Record<string, string>, 'PUT');
      expect([headers, response.status]).toEqual([headers, 403]);
      await response.arrayBuffer();
    }
    expect(await paused()).toBe(false);
    const own = await ask(writable, pause, { ...byBasic, origin: `http://${host}`, 'sec-fetch-site': 'same-origin' }, 'PUT');
    expect([own.status, await paused()]).toEqual([200, true]);
    const byHand = await ask(writable, '/api/queues/turns/resume', { 'x-api-key': writable.operatorKey }, 'PUT');
    expect([byHand.status, await paused()]).toEqual([200, false]);
  });

  test('answers what is not there with the envelope', async () => {
    for (const path of ['/static/none.js', '/api/nothing']) {
      const response = await ask(readOnly, path, { 'x-api-key': readOnly.operatorKey });
      expect([response.status, await response.json()]).toMatchObject([404, { type: 'error', error: { type: 'not_found_error' } }]);
    }
  });
});
