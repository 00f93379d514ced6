/** What changes the course of a turn: interrupts in every state, failures of the model. */
import type { FakeStep } from '@manyhands/model/testing';
import { describe, expect } from 'vitest';
import {
  answer,
  expectSound,
  follow,
  history,
  INTERRUPT,
  modelRequests,
  only,
  openSession,
  script,
  send,
  texts,
  types,
} from '../conversation.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'turns' });
const sessions = () => stack().client().beta.sessions;
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const NO_USAGE = { input_tokens: 0, output_tokens: 0, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };
/** An answer that takes a while: one piece each 50 ms. */
const slow = (text = 'slowly, slowly, slowly, and never in a hurry at all'): FakeStep => ({
  blocks: [{ text }],
  delta_ms: 50,
  delta_chars: 1,
});
const END = ['session.thread_status_idle', 'session.usage', 'session.status_idle'];
const REQUEST = ['span.model_request_start', 'agent.message', 'span.model_request_end'];
const RUNNING = ['session.status_running', 'session.thread_status_running'];

describe('an interrupt', () => {
  verifies('interrupt.model', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id, { deltas: ['agent.message'] });
    await send(stack(), id, script([slow()], 'first'));
    await stream.next('event_delta');
    const sent = await send(stack(), id, INTERRUPT);
    expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
    const events = await history(stack(), id);
    expectSound(events);
    expect(types(events)).toEqual([
      ...RUNNING,
      'user.message',
      'span.model_request_start',
      'span.model_request_end',
      'user.interrupt',
      ...END,
    ]);
    expect(only(events, 'span.model_request_end')[0]).toMatchObject({ is_error: true, model_usage: NO_USAGE });
    const told = stream.events.filter((event) => 'id' in event && event.id === sent.data![0]!.id);
    expect(told.map((event) => ('processed_at' in event ? event.processed_at : ''))).toEqual([null, expect.stringMatching(RFC3339)]);
    // What was said stays in the context.
    await send(stack(), id, script([answer('after')], 'second'));
    await stream.next('session.status_idle');
    const last = (await modelRequests(stack(), id)).at(-1)!;
    expect(JSON.stringify(last.body.messages)).toContain('first');
    expect((await modelRequests(stack(), id))[0]!.outcome).toBe('closed');
  });

  verifies('interrupt.redirect', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id, { deltas: ['agent.message'] });
    await send(stack(), id, script([slow()]));
    await stream.next('event_delta');
    await send(stack(), id, INTERRUPT, script([answer('the other way')]));
    await stream.next('agent.message');
    await stream.next('session.status_idle');
    const events = await history(stack(), id);
    expectSound(events);
    expect(texts(events, 'agent.message')).toEqual(['the other way']);
    expect(types(events).indexOf('user.interrupt')).toBeLessThan(types(events).lastIndexOf('user.message'));
  });

  verifies('interrupt.queued', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id, { deltas: ['agent.message'] });
    await send(stack(), id, script([slow()]));
    await stream.next('event_delta');
    await send(stack(), id, script([answer('the queued one')]));
    await send(stack(), id, INTERRUPT);
    await stream.next('agent.message');
    await stream.next('session.status_idle');
    const events = await history(stack(), id);
    expectSound(events);
    // It jumps the queue, and ends the current message only.
    expect(types(events).indexOf('user.interrupt')).toBeLessThan(types(events).lastIndexOf('user.message'));
    expect(texts(events, 'agent.message')).toEqual(['the queued one']);
  });

  verifies('interrupt.waiting', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id);
    await send(stack(), id, script([{ error: { status: 529, type: 'overloaded_error', times: 9, retry_after: 30 } }]));
    await stream.next('session.status_rescheduled');
    expect((await sessions().retrieve(id)).status).toBe('rescheduling');
    const began = performance.now();
    await send(stack(), id, INTERRUPT);
    expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
    expect(performance.now() - began).toBeLessThan(15_000);
    expectSound(await history(stack(), id));
    await send(stack(), id, script([answer('fresh')]));
    await stream.next('agent.message');
  });

  verifies('interrupt.before', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id);
    await send(stack(), id, script([answer('never said')]), INTERRUPT);
    expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
    const events = await history(stack(), id);
    expectSound(events);
    expect(texts(events, 'agent.message')).toEqual([]);
    expect(events.every(({ processed_at }) => processed_at !== null)).toBe(true);
    expect((await sessions().retrieve(id)).status).toBe('idle');
  });

  verifies('interrupt.idle', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id);
    await send(stack(), id, INTERRUPT);
    await send(stack(), id, INTERRUPT, script([answer('on we go')]));
    await stream.next('session.status_idle');
    const events = await history(stack(), id);
    expect(types(events)).toEqual(['user.interrupt', 'user.interrupt', ...RUNNING, 'user.message', ...REQUEST, ...END]);
  });
});

describe('failures of the model', () => {
  const FAILED = [
    'span.model_request_start',
    'span.model_request_end',
    'session.error',
    'session.thread_status_rescheduled',
    'session.status_rescheduled',
  ];

  verifies('retry.success', async () => {
    const causes: [FakeStep, string][] = [
      [{ error: { status: 529, type: 'overloaded_error' } }, 'model_overloaded_error'],
      [{ error: { status: 429, type: 'rate_limit_error' } }, 'model_rate_limited_error'],
      [{ error: { status: 500, type: 'api_error' } }, 'model_request_failed_error'],
      [{ fault: 'cut' }, 'model_request_failed_error'],
      [{ fault: 'end' }, 'model_request_failed_error'],
      [{ fault: 'malformed' }, 'model_request_failed_error'],
      [{ fault: 'error_event' }, 'model_overloaded_error'],
    ];
    await Promise.all(
      causes.map(async ([cause, error]) => {
        const id = await openSession(stack());
        await using stream = await follow(stack(), id);
        await send(stack(), id, script([{ blocks: [{ text: 'well in the end' }], ...cause }]));
        expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
        const events = await history(stack(), id);
        expectSound(events);
        expect(types(events), JSON.stringify(cause)).toEqual([...RUNNING, 'user.message', ...FAILED, ...RUNNING, ...REQUEST, ...END]);
        expect(only(events, 'session.error')).toMatchObject([
          { error: { type: error, message: expect.any(String), retry_status: { type: 'retrying' } } },
        ]);
        expect(only(events, 'span.model_request_end').map(({ is_error }) => is_error)).toEqual([true, false]);
        expect(texts(events, 'agent.message')).toEqual(['well in the end']);
      }),
    );
  });

  verifies('retry.rescheduling', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id);
    await send(stack(), id, script([{ ...answer('back'), error: { status: 429, type: 'rate_limit_error', retry_after: 1 } }]));
    await stream.next('session.status_rescheduled');
    const session = await sessions().retrieve(id);
    expect(session.status).toBe('rescheduling');
    expect((await sessions().threads.list(id)).data[0]!.status).toBe('rescheduling');
    await stream.next('session.status_running');
    await stream.next('session.status_idle');
    const requests = await modelRequests(stack(), id);
    expect(requests[1]!.received_at_ms - requests[0]!.ended_at_ms!).toBeGreaterThanOrEqual(950);
  });

  verifies('retry.exhausted', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id);
    await send(stack(), id, script([{ delay_ms: 150, error: { status: 529, type: 'overloaded_error', times: 99 } }], 'first'));
    await stream.next('span.model_request_start');
    await send(stack(), id, script([answer('never said')], 'queued behind'));
    expect(await stream.next('session.status_idle')).toMatchObject({ stop_reason: { type: 'retries_exhausted' }, stop_details: null });
    const events = await history(stack(), id);
    expectSound(events);
    expect(only(events, 'session.error').map(({ error }) => error.retry_status.type)).toEqual(['retrying', 'retrying', 'exhausted']);
    expect(only(events, 'session.thread_status_idle')[0]).toMatchObject({ stop_reason: { type: 'retries_exhausted' } });
    // Flushed: stamped and kept, not answered.
    expect(events.every(({ processed_at }) => processed_at !== null)).toBe(true);
    expect(texts(events, 'user.message').map((text) => text.split('\n')[0])).toEqual(['first', 'queued behind']);
    expect(texts(events, 'agent.message')).toEqual([]);
    expect((await sessions().retrieve(id)).status).toBe('idle');
    await send(stack(), id, script([answer('a new try')], 'third'));
    expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
    const last = (await modelRequests(stack(), id)).at(-1)!;
    expect(JSON.stringify(last.body.messages)).toContain('queued behind');
  });

  verifies('retry.hopeless', async () => {
    const causes: [number, string, string][] = [
      [400, 'invalid_request_error', 'model_request_failed_error'],
      [401, 'authentication_error', 'model_request_failed_error'],
      [404, 'not_found_error', 'model_request_failed_error'],
      [402, 'billing_error', 'billing_error'],
    ];
    for (const [status, type, error] of causes) {
      const id = await openSession(stack());
      await using stream = await follow(stack(), id);
      await send(stack(), id, script([{ error: { status, type, message: 'the reason', times: 99 } }]));
      expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'retries_exhausted' });
      const events = await history(stack(), id);
      expectSound(events);
      expect(only(events, 'session.error')).toMatchObject([
        { error: { type: error, message: expect.stringContaining('the reason'), retry_status: { type: 'exhausted' } } },
      ]);
      expect(await modelRequests(stack(), id)).toHaveLength(1);
    }
  });
});
