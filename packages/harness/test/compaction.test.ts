/** Compacting a conversation: what stays, what is summed up, and that the result is one the Messages API takes. */
import type Anthropic from '@anthropic-ai/sdk';
import type { EventBody } from '@manyhands/contract';
import type { LogEntry } from '@manyhands/session-log';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compacted, fullAt, keptTokens, summaryInPlace, summaryOfTranscript } from '../src/context/compaction.ts';
import { type Context, type ContextMessage, emptyContext, fold, type HiddenFacts } from '../src/context/context.ts';
import { messageTokens } from '../src/context/context-size.ts';
import { boundMedia } from '../src/context/media-bound.ts';

type Block = Anthropic.ContentBlockParam;
const text = (said: string): Block => ({ type: 'text', text: said });
const user = (...content: Block[]): ContextMessage => ({ role: 'user', content });
const agent = (...content: Block[]): ContextMessage => ({ role: 'assistant', content });
const call = (id: string): Block => ({ type: 'tool_use', id, name: 'bash', input: { command: 'x' } });
const result = (id: string, said: string): Block => ({ type: 'tool_result', tool_use_id: id, content: [{ type: 'text', text: said }] });
const image = (chars: number): Block => ({ type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'A'.repeat(chars) } });
const words = (messages: readonly ContextMessage[]) => JSON.stringify(messages);

/** A conversation of whole rounds: what the user says, answers with or without a call, results. */
const conversations = fc
  .array(fc.record({ calls: fc.nat(3), chars: fc.nat(4_000), system: fc.boolean() }), { minLength: 1, maxLength: 12 })
  .map((rounds) =>
    rounds.flatMap(({ calls, chars, system }, n): ContextMessage[] => {
      const said = [
        user(text(`say ${n} ${'x'.repeat(chars)}`)),
        ...(system ? [{ role: 'system' as const, content: [text(`rule ${n}`)] }] : []),
      ];
      const work = Array.from({ length: calls }, (_, i) => [
        agent(call(`c${n}-${i}`)),
        user(result(`c${n}-${i}`, 'y'.repeat(chars))),
      ]).flat();
      return n === rounds.length - 1 ? [...said, ...work] : [...said, ...work, agent(text(`answer ${n}`))];
    }),
  );

describe('a compacted conversation', () => {
  test('begins with the user, ends as it did, keeps every rule, and has no result without its call', () => {
    fc.assert(
      fc.property(conversations, fc.nat(6_000), (messages, kept) => {
        const after = compacted(messages, 'the summary', kept);
        expect(after[0]!.role).toBe('user');
        expect(words(after)).toContain('the summary');
        const calls = new Set<string>();
        for (const block of after.flatMap(({ content }) => content)) {
          if (block.type === 'tool_use') calls.add(block.id);
          if (block.type === 'tool_result') expect(calls.has(block.tool_use_id)).toBe(true);
        }
        for (const [at, { role }] of after.entries())
          if (at > 0) expect([after[at - 1]!.role, role]).not.toEqual(['assistant', 'assistant']);
        for (const { role, content } of messages)
          if (role === 'system') expect(words(after)).toContain(words([{ role, content }]).slice(30, -3));
        // What the user said last is there, whole or with its middle cut out.
        const last = messages.filter(({ role, content }) => role === 'user' && content[0]?.type === 'text').length - 1;
        expect(words(after)).toContain(`say ${last}`);
        // Compacting again without an answer in between does not pile up summaries.
        const again = compacted(after, 'second summary', 0);
        expect(words(again).match(/was summed up to save space/g)).toHaveLength(1);
      }),
    );
  });

  test('keeps the newest part word for word, as far as there is room', () => {
    const messages = [user(text('a'.repeat(9_000))), agent(text('old')), user(text('b')), agent(call('t')), user(result('t', 'fresh'))];
    expect(compacted(messages, 's', 200).slice(1)).toEqual(messages.slice(1));
    expect(compacted(messages, 's', 0)).toHaveLength(1);
    expect(words(compacted(messages, 's', 0))).not.toContain('fresh');
  });

  test('is asked for at the end of the very prompt, or of a transcript that fits', () => {
    const messages = [user(text('a'.repeat(90_000))), agent(call('t')), user(result('t', 'b'.repeat(90_000)), image(50_000))];
    const inPlace = summaryInPlace(messages);
    expect(inPlace.slice(0, -1)).toEqual(messages.slice(0, -1));
    expect(inPlace.at(-1)!.content.slice(0, -1)).toEqual(messages.at(-1)!.content);
    expect(messages.at(-1)!.content).toHaveLength(2);
    const many = Array.from({ length: 200 }, () => messages).flat();
    for (const window of [4_000, 32_000, 200_000]) expect(messageTokens(summaryOfTranscript(many, window))).toBeLessThan(window / 2);
  });

  test('starts early enough for the answer and the summary to fit', () => {
    expect(fullAt(200_000, 16_000)).toBe(170_000);
    expect(fullAt(32_000, 8_000)).toBe(16_000);
    for (const window of [4_000, 8_000, 200_000, 1_000_000]) expect(keptTokens(window, false)).toBeLessThan(fullAt(window, 16_000));
  });
});

describe('folding', () => {
  const entries = (...items: { body: EventBody; hidden?: HiddenFacts }[]): LogEntry[] =>
    items.map(({ body, hidden }, i) => ({
      position: i + 1,
      sequence: i + 1,
      kind: 'event',
      event: { ...body, id: `e${i + 1}`, processed_at: '2026-01-01T00:00:00.000Z' },
      hidden: hidden ?? null,
      arrival: null,
      copyOf: null,
    }));
  const folded = (list: LogEntry[], from = emptyContext()): Context => {
    for (const entry of list) fold(from, entry);
    return from;
  };
  const message = (said: string) => ({ body: { type: 'user.message', content: [{ type: 'text', text: said }] } as EventBody });
  const usage = { input_tokens: 1, output_tokens: 1, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };
  const request = (hidden: HiddenFacts, ...events: { body: EventBody; hidden?: HiddenFacts }[]) => [
    { body: { type: 'span.model_request_start' } as EventBody },
    ...events,
    { body: { type: 'span.model_request_end', model_request_start_id: 's', is_error: false, model_usage: usage } as EventBody, hidden },
  ];
  const said = (words: string) => ({ body: { type: 'agent.message', content: [{ type: 'text', text: words }] } as EventBody });
  const compaction = [
    ...request({ compaction: true }),
    { body: { type: 'agent.thread_context_compacted' } as EventBody, hidden: { summary: { text: 'gist', kept: 0 } } },
  ];

  test('a compaction is no answer: the model is still awaited, and what it is shown is short', () => {
    const log = entries(message('x'.repeat(30_000)), ...request({ tokens: 10_100 }, said('ok')), message('and now?'), ...compaction);
    const context = folded(log);
    expect(context).toMatchObject({ awaitsModel: true, openSpan: null, compactions: 1, grown: 0 });
    expect(context.tokens).toBeLessThan(200);
    expect(context.messages).toEqual([
      {
        role: 'user',
        content: [text('The conversation so far was summed up to save space:\n<summary>\ngist\n</summary>'), text('and now?')],
      },
    ]);
    // From a checkpoint at any place the same comes out.
    for (let cut = 0; cut <= log.length; cut++) {
      const checkpoint = JSON.parse(JSON.stringify(folded(log.slice(0, cut)))) as Context;
      expect(folded(log, checkpoint)).toEqual(context);
    }
  });

  test('an answer ends the count of compactions in a row, a message that of rounds', () => {
    const use = { body: { type: 'agent.tool_use', name: 'bash', input: {}, evaluated_permission: 'allow' } as EventBody };
    const rounds = folded(entries(message('a'), ...request({ tokens: 5 }, use)));
    expect(rounds).toMatchObject({ rounds: 1, tokens: 5 });
    const after = folded(entries(message('a'), ...compaction, ...request({ tokens: 9 }, said('b')), message('c')));
    expect(after).toMatchObject({ compactions: 0, rounds: 0, tokens: 9 });
    expect(after.grown).toBeGreaterThan(0);
  });

  test('an answer that was cut off while the model thought is left out whole', () => {
    const thinking = {
      body: { type: 'agent.thinking' } as EventBody,
      hidden: { block: { type: 'thinking', thinking: 'hm', signature: 's' } },
    } as const;
    expect(folded(entries(message('a'), ...request({ tokens: 5 }, thinking))).messages).toHaveLength(1);
    const mixed = folded(entries(message('a'), ...request({ tokens: 5 }, thinking, said('b'), thinking))).messages[1]!.content;
    expect(mixed.map(({ type }) => type)).toEqual(['thinking', 'text']);
  });

  test('at a budget the work only waits', () => {
    const idle = (type: 'budget_reached' | 'end_turn') => ({
      body: {
        type: 'session.thread_status_idle',
        session_thread_id: 'sthr_a',
        agent_name: 'tester',
        stop_reason: { type },
        stop_details: null,
      } as EventBody,
    });
    expect(folded(entries(message('a'), idle('budget_reached')))).toMatchObject({ awaitsModel: true, turnOpen: false });
    expect(folded(entries(message('a'), idle('end_turn')))).toMatchObject({ awaitsModel: false });
  });
});

describe('images and documents', () => {
  const kinds = (messages: ContextMessage[]) => messages.flatMap(({ content }) => content.map(({ type }) => type));
  test('beyond what a request takes the oldest give way, down to half, in results too', () => {
    const chars = 4 * 1024 * 1024;
    const inResult: Block = { type: 'tool_result', tool_use_id: 't', content: [image(chars) as never] };
    const messages = [user(image(chars), inResult), ...Array.from({ length: 5 }, () => user(image(chars)))];
    boundMedia(messages);
    expect(kinds(messages).filter((type) => type === 'image')).toHaveLength(6);
    messages.push(user(image(chars)));
    boundMedia(messages);
    expect(kinds(messages)).toEqual(['text', 'tool_result', 'text', 'text', 'text', 'image', 'image', 'image']);
    expect(JSON.stringify(messages[0]!.content[1])).toContain('left out here');
  });
  test('more than a hundred images become fifty, and addresses count as well', () => {
    const linked: Block = { type: 'image', source: { type: 'url', url: 'https://example.com/a.png' } };
    const messages = [user(...Array.from({ length: 101 }, () => linked))];
    boundMedia(messages);
    expect(kinds(messages).filter((type) => type === 'image')).toHaveLength(50);
    expect(kinds(messages)[0]).toBe('text');
  });
});
