/** The table of event kinds: what is stored of it stays, and what it says is possible. */
import { expect, test } from 'vitest';
import { EVENT_KINDS, eventKind, isShownQueued } from '../src/index.ts';

const KINDS = Object.entries(EVENT_KINDS);

test('index bits that logs hold never change, and each new kind has one of its own', () => {
  const byBit = KINDS.toSorted(([, a], [, b]) => a.indexBit - b.indexBit);
  expect(byBit.map(([type]) => type).slice(0, 28)).toEqual([
    'user.message',
    'user.interrupt',
    'user.tool_confirmation',
    'user.custom_tool_result',
    'system.message',
    'agent.message',
    'agent.thinking',
    'agent.tool_use',
    'agent.custom_tool_use',
    'agent.tool_result',
    'agent.thread_context_compacted',
    'session.status_running',
    'session.status_idle',
    'session.status_rescheduled',
    'session.status_terminated',
    'session.updated',
    'session.usage',
    'session.error',
    'session.deleted',
    'session.thread_status_running',
    'session.thread_status_idle',
    'session.thread_status_rescheduled',
    'session.thread_status_terminated',
    'span.model_request_start',
    'span.model_request_end',
    'session.thread_created',
    'agent.thread_message_sent',
    'agent.thread_message_received',
  ]);
  // A segment of the index has 64 bits, of which the first is the index's own.
  expect(byBit.map(([, { indexBit }]) => indexBit)).toEqual(byBit.map((_, at) => at + 1));
  expect(byBit.length).toBeLessThan(64);
});

test('what clients send is shown while it waits, and what threads send each other is not', () => {
  expect(KINDS.filter(([type]) => isShownQueued(type)).map(([type]) => type)).toEqual([
    'user.message',
    'user.interrupt',
    'user.tool_confirmation',
    'system.message',
  ]);
  expect(KINDS.flatMap(([type, { sender, queued }]) => (queued === 'shown' && sender !== 'client' ? [type] : []))).toEqual([]);
  expect(eventKind('agent.thread_message_received')?.queued).toBe('hidden');
});

test('a name that no log holds is no kind, whatever objects inherit', () => {
  expect(['agent.mcp_tool_use', 'constructor', ''].map(eventKind)).toEqual([undefined, undefined, undefined]);
  expect(isShownQueued('toString')).toBe(false);
});
