/** The order of previews, case by case. */
import type { PreviewFrame, SessionEvent } from '@manyhands/contract';
import type { LogEntry } from '@manyhands/session-log';
import { describe, expect, test } from 'vitest';
import { createPreviewGate, type PreviewPart } from '../src/streams/previews.ts';

const frame = (fields: Partial<PreviewFrame>): PreviewFrame => ({
  epoch: 1,
  after_position: 0,
  n: 1,
  event_id: 'm',
  kind: 'agent.message',
  start: false,
  index: 0,
  text: '',
  ...fields,
});
const start = (id = 'm', fields: Partial<PreviewFrame> = {}) => frame({ event_id: id, start: true, ...fields });
const text = (words: string, id = 'm', fields: Partial<PreviewFrame> = {}) => frame({ event_id: id, text: words, ...fields });
const entry = (position: number, type: string, id = 'e'): LogEntry => ({
  position,
  sequence: position,
  kind: 'event',
  event: { id, type, processed_at: null } as unknown as SessionEvent,
  hidden: null,
  arrival: null,
  copyOf: null,
});
const show = (parts: PreviewPart[]) =>
  parts.map((part) => `${part.frame.event_id}${part.start ? '<' : ''}${part.delta ? part.frame.text : ''}`).join(' ');
const gate = (after = 0) => createPreviewGate(new Set(['agent.message', 'agent.thinking']), after);

describe('the preview gate', () => {
  test('passes a start and what follows it', () => {
    const g = gate();
    expect(show(g.offer([start(), text('a'), text('b')]))).toBe('m< ma mb');
    expect(show(g.offer([text('c')]))).toBe('mc');
  });
  test('passes a frame that is start and text in one', () => {
    expect(show(gate().offer([start('m', { text: 'a' })]))).toBe('m<a');
  });
  test('gives no deltas to a viewer that came in mid-message', () => {
    expect(gate().offer([text('b'), text('c')])).toEqual([]);
  });
  test('opens a message once', () => {
    expect(show(gate().offer([start(), start(), text('a')]))).toBe('m< ma');
  });
  test('shows thinking as a start only', () => {
    const g = gate();
    expect(show(g.offer([start('t', { kind: 'agent.thinking' }), text('secret', 't', { kind: 'agent.thinking' })]))).toBe('t<');
  });
  test('passes only the kinds that were asked for', () => {
    const g = createPreviewGate(new Set(['agent.thinking']), 0);
    expect(show(g.offer([start(), text('a'), start('t', { kind: 'agent.thinking' })]))).toBe('t<');
  });
  test('holds frames until the entry before them is delivered', () => {
    const g = gate(4);
    expect(g.offer([start('m', { after_position: 6 }), text('a', 'm', { after_position: 6 })])).toEqual([]);
    expect(g.delivered(entry(5, 'span.model_request_start'))).toEqual([]);
    expect(show(g.delivered(entry(6, 'agent.tool_use')))).toBe('m< ma');
  });
  test('drops a held message whose final event is delivered first', () => {
    const g = gate(4);
    g.offer([start('m', { after_position: 5 })]);
    expect(g.delivered(entry(6, 'agent.message', 'm'))).toEqual([]);
    expect(g.offer([text('late', 'm', { after_position: 5 })])).toEqual([]);
  });
  test('ends a message with its final event', () => {
    const g = gate();
    g.offer([start(), text('a')]);
    g.delivered(entry(1, 'agent.message', 'm'));
    expect(g.offer([text('b'), start()])).toEqual([]);
  });
  test('drops what belongs to a model request that has ended', () => {
    const g = gate();
    g.offer([start()]);
    g.delivered(entry(2, 'span.model_request_end'));
    expect(g.offer([text('late', 'm', { after_position: 1 }), start('other', { after_position: 1 })])).toEqual([]);
    expect(show(g.offer([start('next', { after_position: 2 })]))).toBe('next<');
  });
  test('drops an older epoch once a newer one spoke, held frames included', () => {
    const g = gate(4);
    g.offer([start('m', { after_position: 5 })]);
    expect(show(g.offer([start('n', { epoch: 2, after_position: 4 })]))).toBe('n<');
    expect(g.delivered(entry(5, 'session.updated'))).toEqual([]);
    expect(g.offer([text('old', 'm', { after_position: 5 })])).toEqual([]);
  });
  test('sheds a message to its end: a prefix, then silence', () => {
    const g = gate();
    g.offer([start(), text('a')]);
    g.shed([text('b')]);
    expect(g.offer([text('c')])).toEqual([]);
    expect(show(g.offer([start('next'), text('d', 'next')]))).toBe('next< nextd');
  });
  test('does not open later what was shed at its start', () => {
    const g = gate();
    g.shed([start()]);
    expect(g.offer([start(), text('a')])).toEqual([]);
  });
  test('drops held frames beyond its bound instead of growing', () => {
    const g = gate(0);
    for (let i = 0; i <= 2_000; i++) g.offer([i === 0 ? start('m', { after_position: 9 }) : text('x', 'm', { after_position: 9 })]);
    expect(g.delivered(entry(9, 'span.model_request_start'))).toEqual([]);
  });
});
