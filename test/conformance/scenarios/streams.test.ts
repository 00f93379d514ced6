/** EV-3 and TE-2: frames, resuming, previews, the end. Two gateways: streams are read from one, events are sent to the other. */
import { accumulateManagedAgentsEvent } from '@anthropic-ai/sdk/lib/sessions/accumulate';
import { describe, expect } from 'vitest';
import { expectRefusal, expectRejection, raw } from '../client.ts';
import {
  answer,
  expectSound,
  type FollowOptions,
  follow,
  history,
  INTERRUPT,
  type Of,
  only,
  openSession,
  script,
  send,
  type Told,
  texts,
  types,
} from '../conversation.ts';
import { openRawStream } from '../sse.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'turns', count: { gateway: 2 } });
const sessions = () => stack().client().beta.sessions;
const elsewhere = (options: FollowOptions = {}): FollowOptions => ({ client: stack().client({ baseURL: stack().url(1) }), ...options });
const streamUrl = (id: string, query = '') => `${stack().url(1)}/v1/sessions/${id}/events/stream${query}`;
const resumeFrom = (id: string, eventId: string) => follow(stack(), id, elsewhere({ headers: { 'last-event-id': eventId } }));
/** A piece each 20 ms. */
const slow = (text: string) => ({ blocks: [{ text }], delta_ms: 20, delta_chars: 3 });

async function turn(id: string, text = 'hello'): Promise<void> {
  await using stream = await follow(stack(), id);
  await send(stack(), id, script([answer(text)], text));
  await stream.next('session.status_idle');
}
function stored(events: readonly Told[]): { id: string; processed_at: string | null }[] {
  return events.flatMap((event) => ('id' in event ? [{ id: event.id, processed_at: event.processed_at ?? null }] : []));
}

describe('frames', () => {
  verifies('stream.frames', async () => {
    const id = await openSession(stack());
    await using stream = await openRawStream(streamUrl(id, '?event_deltas[]=agent.message&event_deltas[]=agent.thinking'), {
      accept: 'application/json',
    });
    expect(stream.status).toBe(200);
    expect(stream.headers.get('content-type')).toMatch(/^text\/event-stream/);
    expect(stream.headers.get('cache-control')).toContain('no-cache');
    expect(stream.headers.get('request-id')).toMatch(/^req_/);
    await send(stack(), id, script([{ blocks: [{ thinking: 'hm' }, { text: 'line\nline\r\nünïcödé 🦜\u2028' }] }]));
    await expect.poll(() => stream.frames.some(({ event }) => event === 'session.status_idle'), { timeout: 15_000 }).toBe(true);
    for (const frame of stream.frames) {
      if (frame.event === 'ping') continue;
      const event = JSON.parse(frame.data);
      expect(frame.event).toBe(event.type);
      // Stored events can be resumed from, previews cannot.
      expect(frame.id).toBe(event.type.startsWith('event_') ? null : event.id);
    }
    const message = JSON.parse(stream.frames.find(({ event }) => event === 'agent.message')!.data);
    expect(message.content).toEqual([{ type: 'text', text: 'line\nline\r\nünïcödé 🦜\u2028' }]);
  });

  verifies(
    'stream.ping',
    async () => {
      const id = await openSession(stack());
      await using stream = await openRawStream(streamUrl(id));
      await expect.poll(() => stream.frames.length, { timeout: 15_000, interval: 100 }).toBeGreaterThan(0);
      expect(stream.frames[0]).toMatchObject({ event: 'ping', id: null });
      expect(() => JSON.parse(stream.frames[0]!.data)).not.toThrow();
    },
    30_000,
  );

  verifies('stream.refusals', async () => {
    const id = await openSession(stack());
    const thread = id.replace('sesn_', 'sthr_');
    const path = `/v1/sessions/${id}/events/stream`;
    expectRefusal(await raw(stack(), 'GET', `${path}?event_deltas[]=agent.tool_use`), { status: 400, says: 'event_deltas' });
    expectRefusal(await raw(stack(), 'GET', `${path}?event_deltas[]=`.concat('&event_deltas[]=agent.message'.repeat(101))), {
      status: 400,
      says: 'event_deltas',
    });
    expectRefusal(await raw(stack(), 'GET', `${path}?after=sevt_unknown`), { status: 400, says: ['after', 'sevt_unknown'] });
    expectRefusal(await raw(stack(), 'GET', path, { headers: { 'last-event-id': 'x' } }), { status: 400, says: 'Last-Event-ID' });
    expectRefusal(await raw(stack(), 'GET', `${path}?cursor=x`), { status: 400, says: 'cursor' });
    expectRefusal(await raw(stack(), 'GET', `/v1/sessions/${id}/threads/${thread}/events/stream`), { status: 404, shouldRetry: 'false' });
    await expectRejection(sessions().events.stream('sesn_unknown'), { status: 404 });
    await expectRejection(sessions().threads.events.stream('sthr_unknown', { session_id: id }), { status: 404 });
    // An event of another session is no event of this one.
    const other = await openSession(stack());
    await turn(other);
    const [foreign] = await history(stack(), other);
    expectRefusal(await raw(stack(), 'GET', `${path}?after=${foreign!.id}`), { status: 400, says: 'after' });
  });
});

describe('what a stream tells', () => {
  verifies('stream.live_only', async () => {
    const id = await openSession(stack());
    await turn(id, 'before');
    const before = (await history(stack(), id)).length;
    await using stream = await follow(stack(), id, elsewhere());
    await send(stack(), id, script([answer('after')]));
    await stream.next('session.status_idle');
    expect(texts(stream.events, 'agent.message')).toEqual(['after']);
    const listed = await history(stack(), id);
    // Everything since the headers came, nothing from before.
    expect(stored(stream.events.slice(1))).toEqual(stored(listed.slice(before)));
  });

  verifies(
    'stream.no_gap',
    async () => {
      const id = await openSession(stack());
      await send(stack(), id, ...Array.from({ length: 12 }, (_, i) => script([slow(`message ${i} `.repeat(3))])));
      // Viewers come at any time. Each opens the stream first and lists then, as the contract's recipe says.
      const viewers = Array.from({ length: 8 }, async (_, i) => {
        await expect
          .poll(async () => only(await history(stack(), id), 'agent.message').length, { timeout: 20_000 })
          .toBeGreaterThanOrEqual(i);
        await using stream = await follow(stack(), id, i % 2 ? elsewhere() : {});
        const listed = await history(stack(), id);
        if (listed.at(-1)!.type !== 'session.status_idle') await stream.next('session.status_idle');
        const seen = new Map<string, string | null>();
        for (const { id: eventId, processed_at } of [...stored(listed), ...stored(stream.events)])
          if (processed_at !== null) seen.set(eventId, processed_at);
        return [...seen.keys()];
      });
      const views = await Promise.all(viewers);
      const listed = await history(stack(), id);
      expectSound(listed);
      for (const view of views)
        expect(view.toSorted()).toEqual(
          stored(listed)
            .map((event) => event.id)
            .toSorted(),
        );
    },
    60_000,
  );

  verifies('stream.thread', async () => {
    const id = await openSession(stack());
    const threadId = id.replace('sesn_', 'sthr_');
    await using whole = await follow(stack(), id, { deltas: ['agent.message'] });
    await using thread = await follow(stack(), id, elsewhere({ threadId, deltas: ['agent.message'] }));
    await send(stack(), id, script([slow('piece by piece '.repeat(4))]));
    await Promise.all([whole.next('session.status_idle'), thread.next('session.status_idle')]);
    expect(stored(thread.events)).toEqual(stored(whole.events));
    expect(only(thread.events, 'event_start')).toHaveLength(1);
  });

  verifies('stream.end', async () => {
    const id = await openSession(stack());
    await turn(id);
    const rawStream = await openRawStream(streamUrl(id));
    await using stream = await follow(stack(), id);
    await sessions().archive(id);
    await sessions().delete(id);
    await stream.ended;
    await rawStream.ended;
    expect(types(stream.events)).toEqual(['session.thread_status_terminated', 'session.status_terminated', 'session.deleted']);
    expect(rawStream.frames.at(-1)!.event).toBe('session.deleted');
    expect(stream.events.at(-1)).toEqual({ type: 'session.deleted', id: expect.any(String), processed_at: expect.any(String) });
  });

  verifies('stream.many_turns', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id, elsewhere());
    for (let round = 0; round < 3; round++) {
      await send(stack(), id, script([answer(`${round}`)]));
      await stream.next('session.status_idle');
    }
    await sessions().update(id, { title: 'told too' });
    expect(await stream.next('session.updated')).toMatchObject({ title: 'told too' });
    expect(texts(stream.events, 'agent.message')).toEqual(['0', '1', '2']);
  });
});

describe('resuming', () => {
  verifies(
    ['stream.resume', 'stream.resume.queued'],
    async () => {
      const id = await openSession(stack());
      await using whole = await follow(stack(), id);
      await send(stack(), id, script([slow('first answer')]));
      await whole.next('span.model_request_start');
      await send(stack(), id, script([answer('second answer')]));
      await whole.next('session.status_idle');
      const told = stored(whole.events);
      expect(told.length).toBeGreaterThan(12);
      for (const [at, { id: eventId }] of told.entries()) {
        const first = told.findIndex((event) => event.id === eventId);
        if (first !== at) continue;
        await using rest = await resumeFrom(id, eventId);
        await expect
          .poll(() => rest.events.length, { timeout: 10_000, message: `resumed after ${at}` })
          .toBeGreaterThanOrEqual(told.length - at - 1);
        expect(stored(rest.events)).toEqual(told.slice(at + 1));
      }
      // As a parameter too; of both, the header counts.
      const [a, b] = [told[2]!.id, told.at(-3)!.id];
      await using byQuery = await openRawStream(streamUrl(id, `?after=${a}`));
      await using byBoth = await openRawStream(streamUrl(id, `?after=${a}`), { 'last-event-id': b });
      const ids = (stream: typeof byQuery) => stream.frames.flatMap((frame) => frame.id ?? []);
      await expect.poll(() => ids(byQuery).length, { timeout: 10_000 }).toBe(told.length - 3);
      await expect.poll(() => ids(byBoth), { timeout: 10_000 }).toEqual(told.slice(-2).map((event) => event.id));
    },
    60_000,
  );

  verifies(
    'stream.resume.live',
    async () => {
      const id = await openSession(stack());
      const seen: { id: string; processed_at: string | null }[] = [];
      await using whole = await follow(stack(), id);
      await send(stack(), id, ...Array.from({ length: 6 }, (_, i) => script([slow(`piece ${i} `.repeat(4))])));
      // A client whose connection breaks again and again.
      await expect.poll(() => stored(whole.events).length, { timeout: 10_000 }).toBeGreaterThan(0);
      const first = stored(whole.events)[0]!;
      let last = first.id;
      seen.push(first);
      for (let done = false, round = 0; !done; round++) {
        await using part = await resumeFrom(id, last);
        await expect.poll(() => stored(part.events).length, { timeout: 15_000 }).toBeGreaterThan(round % 4);
        const got = stored(part.events);
        const events = [...part.events];
        seen.push(...got);
        last = got.at(-1)!.id;
        done = types(events).includes('session.status_idle');
      }
      await whole.next('session.status_idle');
      expectSound(await history(stack(), id));
      // Nothing missing. A reconnect after a stamped form starts behind the first appearance of its id, so some are told again.
      const expected = stored(whole.events).map((event) => `${event.id} ${event.processed_at}`);
      expect(new Set(seen.map((event) => `${event.id} ${event.processed_at}`))).toEqual(new Set(expected));
    },
    60_000,
  );

  verifies('stream.resume.browser', async () => {
    const id = await openSession(stack());
    await turn(id);
    await using stream = await openRawStream(streamUrl(id), { 'last-event-id': '' });
    await send(stack(), id, INTERRUPT);
    await expect.poll(() => stream.frames.length, { timeout: 10_000 }).toBeGreaterThan(0);
    expect(stream.frames[0]!.event).toBe('user.interrupt');
  });
});

describe('previews', () => {
  verifies(['previews.prefix', 'previews.order'], async () => {
    const id = await openSession(stack());
    const text = 'Previews grow piece by piece, ünd a parrot 🦜 says so. '.repeat(6);
    await using stream = await follow(stack(), id, elsewhere({ deltas: ['agent.message', 'agent.thinking'] }));
    await send(stack(), id, script([{ blocks: [{ thinking: 'secret thoughts' }, { text }], delta_ms: 10, delta_chars: 7 }]));
    await stream.next('session.status_idle');
    const final = only(stream.events, 'agent.message')[0]!;
    let preview: Of<'agent.message'> | undefined;
    const lengths: number[] = [];
    for (const event of stream.events) {
      if (event.type === 'event_delta') {
        expect(event).toEqual({
          type: 'event_delta',
          event_id: final.id,
          delta: { type: 'content_delta', index: 0, content: { type: 'text', text: expect.any(String) } },
        });
      }
      preview = accumulateManagedAgentsEvent(preview, event);
      const part = preview?.content[0];
      if (event.type === 'event_delta' && part?.type === 'text') {
        expect(text.startsWith(part.text)).toBe(true);
        lengths.push(part.text.length);
      }
    }
    expect(lengths.length).toBeGreaterThan(3);
    expect(lengths).toEqual(lengths.toSorted((x, y) => x - y));
    expect(lengths.at(-1)).toBe(text.length);
    expect(preview).toEqual(final);
    const starts = only(stream.events, 'event_start');
    const thinking = only(stream.events, 'agent.thinking')[0]!;
    expect(starts).toEqual([
      { type: 'event_start', event: { type: 'agent.thinking', id: thinking.id } },
      { type: 'event_start', event: { type: 'agent.message', id: final.id } },
    ]);
    expect(only(stream.events, 'event_delta').every(({ event_id }) => event_id !== thinking.id)).toBe(true);
    const order = types(stream.events).filter((type, at, list) => type !== list[at - 1]);
    expect(order.slice(order.indexOf('span.model_request_start'))).toEqual([
      'span.model_request_start',
      'event_start',
      'event_delta',
      'agent.thinking',
      'agent.message',
      'span.model_request_end',
      'session.thread_status_idle',
      'session.usage',
      'session.status_idle',
    ]);
    expect(JSON.stringify(stream.events.filter(({ type }) => type !== 'user.message'))).not.toContain('secret');
  });

  verifies('previews.choice', async () => {
    const id = await openSession(stack());
    await using none = await follow(stack(), id);
    await using thinking = await follow(stack(), id, { deltas: ['agent.thinking'] });
    await using message = await follow(stack(), id, { deltas: ['agent.message'] });
    await send(stack(), id, script([{ blocks: [{ thinking: 'hm' }, { text: 'a text in pieces' }], delta_ms: 20, delta_chars: 4 }]));
    await Promise.all([none, thinking, message].map((stream) => stream.next('session.status_idle')));
    const kinds = (events: Told[]) => events.flatMap((event) => (event.type === 'event_start' ? [event.event.type] : []));
    expect([none, thinking, message].map(({ events }) => kinds(events))).toEqual([[], ['agent.thinking'], ['agent.message']]);
    expect([none, thinking].flatMap(({ events }) => only(events, 'event_delta'))).toEqual([]);
    expect(only(message.events, 'event_delta').length).toBeGreaterThan(1);
    expect(stored(none.events)).toEqual(stored(message.events));
    // Never stored, so never replayed and never listed.
    const first = stored(none.events)[0]!.id;
    await using again = await follow(stack(), id, { deltas: ['agent.message'], headers: { 'last-event-id': first } });
    await again.next('session.status_idle');
    expect(types(again.events).filter((type) => type.startsWith('event_'))).toEqual([]);
  });

  verifies('previews.late', async () => {
    const id = await openSession(stack());
    await using early = await follow(stack(), id, { deltas: ['agent.message'] });
    await send(stack(), id, script([{ ...slow('a long text that takes its time to be said '.repeat(4)), delta_ms: 30 }]));
    await early.next('event_delta');
    await using late = await follow(stack(), id, elsewhere({ deltas: ['agent.message'] }));
    await late.next('session.status_idle');
    expect(types(late.events).filter((type) => type.startsWith('event_'))).toEqual([]);
    expect(texts(late.events, 'agent.message')).toHaveLength(1);
  });

  verifies('previews.cut', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id, { deltas: ['agent.message'] });
    await send(stack(), id, script([{ ...slow('this text is cut in the middle and then said whole'), fault: 'cut' }]));
    await stream.next('session.status_idle');
    const final = only(stream.events, 'agent.message')[0]!;
    const starts = only(stream.events, 'event_start').map(({ event }) => event.id);
    expect(starts).toHaveLength(2);
    // Said again under a new id; the first one never becomes an event.
    expect(starts[1]).toBe(final.id);
    expect(starts[0]).not.toBe(final.id);
    const listed = await history(stack(), id);
    expect(listed.map((event) => event.id)).not.toContain(starts[0]);
    const end = types(stream.events).indexOf('span.model_request_end');
    const late = stream.events.slice(end).filter((event) => event.type === 'event_delta' && event.event_id === starts[0]);
    expect(late).toEqual([]);
  });
});
