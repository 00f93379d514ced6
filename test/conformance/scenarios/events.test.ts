/** EV-1, EV-2, TH-1, TH-2, TE-1 on an installation without a worker: what clients send stays queued, so every state holds still. */
import type { BetaManagedAgentsSession as Session, SessionCreateParams } from '@anthropic-ai/sdk/resources/beta/sessions/sessions';
import fc from 'fast-check';
import { describe, expect } from 'vitest';
import { all, expectRefusal, expectRejection, raw } from '../client.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'gateway' });
const sessions = () => stack().client().beta.sessions;
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const say = (text: string) => ({ type: 'user.message' as const, content: [{ type: 'text' as const, text }] });
const INTERRUPT = { type: 'user.interrupt' as const };
const NO_USAGE = {
  input_tokens: 0,
  output_tokens: 0,
  cache_read_input_tokens: 0,
  cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 },
  active_seconds: 0,
  list_cost: { amount: '0', currency: 'USD' },
  server_tool_use: null,
};

async function parts(): Promise<{ agent: string; environment_id: string }> {
  const { agents, environments } = stack().client().beta;
  const agent = await agents.create({ name: 'tester', model: 'm', system: 's', tools: [{ type: 'agent_toolset_20260401' }] });
  return { agent: agent.id, environment_id: (await environments.create({ name: 'e' })).id };
}
async function open(more: Partial<SessionCreateParams> = {}): Promise<Session> {
  return sessions().create({ ...(await parts()), ...more });
}
const history = (id: string) => all(sessions().events.list(id));

describe('sending events', () => {
  verifies('events.send.echo', async () => {
    const session = await open();
    const sent = await sessions().events.send(session.id, { events: [say('one'), say('two'), INTERRUPT] });
    expect(sent.data).toEqual([
      { ...say('one'), id: expect.stringMatching(/^sevt_\w+$/), processed_at: null },
      { ...say('two'), id: expect.stringMatching(/^sevt_\w+$/), processed_at: null },
      { ...INTERRUPT, session_thread_id: null, id: expect.stringMatching(/^sevt_\w+$/), processed_at: null },
    ]);
    expect((await sessions().retrieve(session.id)).status).toBe('running');
    expect(await history(session.id)).toEqual(sent.data);
    const more = await sessions().events.send(session.id, { events: [say('three')] });
    expect(await history(session.id)).toEqual([...sent.data!, ...more.data!]);
  });

  verifies('events.send.idle_interrupt', async () => {
    const session = await open();
    const thread = session.id.replace('sesn_', 'sthr_');
    const sent = await sessions().events.send(session.id, { events: [{ ...INTERRUPT, session_thread_id: thread }] });
    expect(sent.data).toEqual([
      { ...INTERRUPT, session_thread_id: thread, id: expect.any(String), processed_at: expect.stringMatching(RFC3339) },
    ]);
    expect((await sessions().retrieve(session.id)).status).toBe('idle');
    expect(await history(session.id)).toEqual(sent.data);
  });

  verifies(['events.send.refusals', 'events.send.not_yet'], async () => {
    const session = await open();
    const text = (value: unknown) => ({ type: 'user.message', content: [{ type: 'text', text: value }] });
    const wrong: [unknown, number, string | string[]][] = [
      [{}, 400, 'events: required'],
      [{ events: [] }, 400, 'events'],
      [{ events: 'x' }, 400, 'events'],
      [{ events: [say('x')], extra: 1 }, 400, 'extra: unknown field'],
      [{ events: Array.from({ length: 1001 }, () => say('x')) }, 400, 'events'],
      [{ events: [null] }, 400, 'events.0'],
      [{ events: [text(5)] }, 400, 'events.0.content.0.text'],
      [{ events: [{ type: 'user.message' }] }, 400, 'events.0.content'],
      [{ events: [{ type: 'user.message', content: [] }] }, 400, 'events.0.content'],
      [{ events: [{ ...say('x'), id: 'sevt_mine' }] }, 400, 'events.0.id: unknown field'],
      [{ events: [say('fine'), { type: 'agent.message', content: [] }] }, 400, 'events.1'],
      [{ events: [{ type: 'user.message', content: [{ type: 'redacted' }] }] }, 400, 'events.0.content.0'],
      [
        { events: [{ type: 'user.message', content: [{ type: 'image', source: { type: 'url', url: 'file:///etc/passwd' } }] }] },
        400,
        'events.0.content.0',
      ],
      [{ events: [{ ...INTERRUPT, session_thread_id: 'sthr_other' }] }, 404, 'sthr_other'],
      [{ events: [{ ...INTERRUPT, session_thread_id: 5 }] }, 400, 'events.0.session_thread_id'],
      [{ events: [{ type: 'user.tool_confirmation', tool_use_id: 'x' }] }, 400, 'events.0.result'],
      [{ events: [{ type: 'user.tool_confirmation', tool_use_id: 'x', result: 'maybe' }] }, 400, 'events.0.result'],
      [{ events: [{ type: 'user.custom_tool_result', content: [] }] }, 400, 'events.0.custom_tool_use_id: required'],
      [{ events: [{ type: 'user.custom_tool_result', custom_tool_use_id: 'x', content: 'y' }] }, 400, 'events.0.content'],
      [{ events: [say('fine'), { type: 'system.message', content: [{ type: 'image' }] }] }, 400, 'events.1.content.0'],
      ...['user.tool_result', 'user.define_outcome'].map((type): [unknown, number, string[]] => [
        { events: [say('fine'), { type }] },
        400,
        ['events.1', type, 'not supported yet'],
      ]),
    ];
    for (const [body, status, says] of wrong)
      expectRefusal(await raw(stack(), 'POST', `/v1/sessions/${session.id}/events`, { body }), { status, says });
    expect(await history(session.id)).toEqual([]);
    expect((await sessions().retrieve(session.id)).status).toBe('idle');
  });

  verifies('events.send.text', async () => {
    const session = await open();
    const texts = fc.sample(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 200 }), { numRuns: 40, seed: 7 });
    const odd = [
      '\u0000\u0001\u001b[31m',
      '\ud800',
      'a\r\n\r\ndata: x\n\nevent: y',
      '\u2028\u2029',
      '</script>',
      '{{echo}}',
      ' ',
      'x'.repeat(300_000),
    ];
    const sent = await sessions().events.send(session.id, { events: [...texts, ...odd].map(say) });
    const listed = await history(session.id);
    expect(listed).toEqual(sent.data);
    expect(
      listed.map((event) => (event.type === 'user.message' && event.content[0]?.type === 'text' ? event.content[0].text : null)),
    ).toEqual([...texts, ...odd]);
  });

  verifies('events.send.retried', async () => {
    const session = await open();
    const path = `/v1/sessions/${session.id}/events`;
    const body = { events: [say('once')] };
    const first = await raw(stack(), 'POST', path, { body, headers: { 'x-stainless-retry-count': '0' } });
    const again = await raw(stack(), 'POST', path, { body, headers: { 'x-stainless-retry-count': '1' } });
    expect([first.status, again.status]).toEqual([200, 200]);
    expect(again.body.data).toEqual(first.body.data);
    expect(await history(session.id)).toHaveLength(1);
    // Said again on purpose, or with another body, key or session: new.
    await raw(stack(), 'POST', path, { body, headers: { 'x-stainless-retry-count': '0' } });
    expect(await history(session.id)).toHaveLength(2);
    await raw(stack(), 'POST', path, { body: { events: [say('other')] }, headers: { 'x-stainless-retry-count': '1' } });
    expect(await history(session.id)).toHaveLength(3);
    const key = (await raw(stack(), 'POST', '/v1/manyhands/api_keys', { body: { name: 'k' } })).body.key;
    await raw(stack(), 'POST', path, { body, key, headers: { 'x-stainless-retry-count': '1' } });
    expect(await history(session.id)).toHaveLength(4);

    // The SDK itself, when the answer of a send is lost.
    let calls = 0;
    const lossy = stack().client({
      maxRetries: 2,
      fetch: async (...call) => {
        const response = await fetch(...call);
        if (++calls === 1) {
          await response.arrayBuffer();
          throw new Error('the answer was lost');
        }
        return response;
      },
    });
    const other = await open();
    const sent = await lossy.beta.sessions.events.send(other.id, { events: [say('x')] });
    expect(calls).toBe(2);
    expect(await history(other.id)).toEqual(sent.data);
  });
});

describe('listing events', () => {
  verifies('events.list', async () => {
    const session = await open();
    await sessions().update(session.id, { title: 'a' });
    await sessions().events.send(session.id, { events: [INTERRUPT] });
    await sessions().update(session.id, { title: 'b' });
    const sent = await sessions().events.send(session.id, { events: [say('one'), say('two')] });
    const events = await history(session.id);
    expect(events.map(({ type }) => type)).toEqual([
      'session.updated',
      'user.interrupt',
      'session.updated',
      'user.message',
      'user.message',
    ]);
    for (const limit of [1, 2, 3, 5, 1000]) {
      expect(await all(sessions().events.list(session.id, { limit }))).toEqual(events);
      expect(await all(sessions().events.list(session.id, { limit, order: 'desc' }))).toEqual(events.toReversed());
    }
    const types = async (query: object) => (await all(sessions().events.list(session.id, query))).map(({ type }) => type);
    expect(await types({ types: ['session.updated'] })).toEqual(['session.updated', 'session.updated']);
    expect(await types({ types: ['user.message', 'user.interrupt'], limit: 1 })).toEqual([
      'user.interrupt',
      'user.message',
      'user.message',
    ]);
    expect(await types({ types: ['workflow_run.created'] })).toEqual([]);
    const last = events[2]!.processed_at!;
    expect(await types({ 'created_at[gte]': last })).toContain('session.updated');
    expect(await types({ 'created_at[gt]': last })).toEqual([]);
    expect(await types({ 'created_at[lt]': events[0]!.processed_at! })).toEqual([]);
    expect(await types({ 'created_at[lte]': last })).toEqual(['session.updated', 'user.interrupt', 'session.updated']);
    const asc = await sessions().events.list(session.id, { limit: 1 });
    await expectRejection(sessions().events.list(session.id, { order: 'desc', page: asc.next_page! }), {
      status: 400,
      says: ['page', 'order'],
    });
    // A walk that met queued events goes on behind them.
    const most = await sessions().events.list(session.id, { limit: 4 });
    const rest = await sessions().events.list(session.id, { limit: 4, page: most.next_page! });
    expect(rest.data).toEqual([sent.data![1]]);
    expect(rest.next_page).toBeNull();
    for (const query of [
      'limit=1001',
      'limit=0',
      'order=x',
      'types[]=session.deleted',
      'types[]=x',
      'page=x',
      'created_at[gte]=x',
      'after=x',
    ])
      expectRefusal(await raw(stack(), 'GET', `/v1/sessions/${session.id}/events?${query}`), { status: 400 });
  });
});

describe('threads', () => {
  verifies(['threads.list', 'threads.retrieve'], async () => {
    const session = await open();
    const { multiagent: _none, ...agent } = session.agent;
    const threads = await all(sessions().threads.list(session.id));
    expect(threads).toEqual([
      {
        type: 'session_thread',
        id: expect.stringMatching(/^sthr_\w+$/),
        session_id: session.id,
        parent_thread_id: null,
        agent,
        status: 'idle',
        workflow_run_id: null,
        stats: { active_seconds: 0, duration_seconds: expect.any(Number), startup_seconds: expect.any(Number) },
        usage: NO_USAGE,
        created_at: session.created_at,
        updated_at: session.updated_at,
        archived_at: null,
      },
    ]);
    const id = threads[0]!.id;
    const read = await sessions().threads.retrieve(id, { session_id: session.id });
    expect({ ...read, stats: threads[0]!.stats }).toEqual(threads[0]);
    expect(await all(sessions().threads.list(session.id, { statuses: ['running'] }))).toEqual([]);
    await sessions().events.send(session.id, { events: [say('x')] });
    expect((await all(sessions().threads.list(session.id, { statuses: ['running'] }))).map((thread) => thread.id)).toEqual([id]);
    expect((await sessions().threads.retrieve(id, { session_id: session.id })).status).toBe('running');
    const other = await open();
    await expectRejection(sessions().threads.retrieve(id, { session_id: other.id }), { status: 404 });
    await expectRejection(sessions().threads.retrieve('sthr_x', { session_id: session.id }), { status: 404 });
    for (const query of ['limit=0', 'page=x', 'statuses[]=x', 'order=asc'])
      expectRefusal(await raw(stack(), 'GET', `/v1/sessions/${session.id}/threads?${query}`), { status: 400 });
  });

  verifies('threads.events.list', async () => {
    const session = await open({ initial_events: [say('one'), say('two'), say('three')] });
    const [thread] = await all(sessions().threads.list(session.id));
    const events = await history(session.id);
    expect(await all(sessions().threads.events.list(thread!.id, { session_id: session.id, limit: 2 }))).toEqual(events);
    const path = `/v1/sessions/${session.id}/threads/${thread!.id}/events`;
    for (const query of ['order=desc', 'types[]=user.message', 'created_at[gt]=2026-01-01T00:00:00Z', 'limit=x', 'page=x'])
      expectRefusal(await raw(stack(), 'GET', `${path}?${query}`), { status: 400, says: query.split('=')[0]! });
    await expectRejection(sessions().threads.events.list('sthr_x', { session_id: session.id }), { status: 404 });
  });

  verifies('threads.archive', async () => {
    const session = await open();
    const [thread] = await all(sessions().threads.list(session.id));
    const archive = (id: string) => sessions().threads.archive(id, { session_id: session.id });
    await expectRejection(archive(thread!.id), { status: 400, says: [thread!.id, 'primary', 'archive the session'] });
    expect((await sessions().threads.retrieve(thread!.id, { session_id: session.id })).archived_at).toBeNull();
    expect(await history(session.id)).toEqual([]);
    await expectRejection(archive('sthr_x'), { status: 404 });
    const path = `/v1/sessions/${session.id}/threads/${thread!.id}/archive`;
    expectRefusal(await raw(stack(), 'POST', path, { body: { a: 1 } }), { status: 400, says: 'a: unknown field' });
    await sessions().archive(session.id);
    await expectRejection(archive(thread!.id), { status: 409, says: 'archived', shouldRetry: 'false' });
  });
});
