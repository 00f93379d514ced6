/** How a request of the port reads as a chat completion, and what is refused. */
import type Anthropic from '@anthropic-ai/sdk';
import { describe, expect, test } from 'vitest';
import type { ModelRequest } from '../src/index.ts';
import { type ChatMessage, type ChatSettings, chatRequest } from '../src/openai/chat-request.ts';
import { ask } from './harness-side.ts';

const SETTINGS: ChatSettings = { images: true, maxTokensField: 'max_tokens' };
const user = (...content: Anthropic.ContentBlockParam[]): Anthropic.MessageParam => ({ role: 'user', content });
const messagesOf = (messages: Anthropic.MessageParam[], settings = SETTINGS, extra: Partial<ModelRequest> = {}) =>
  chatRequest(ask('', { messages, ...extra }), settings)['messages'] as ChatMessage[];
const text = (words: string): Anthropic.TextBlockParam => ({ type: 'text', text: words });
const png: Anthropic.ImageBlockParam = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'QUJD' } };
const linked: Anthropic.ImageBlockParam = { type: 'image', source: { type: 'url', url: 'https://example.com/a.png' } };
const pdf: Anthropic.DocumentBlockParam = { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: 'QUJD' } };

describe('fields', () => {
  test('marks for a cache stay behind, empty system and tools are not sent, and the limit goes by its configured name', () => {
    const cache_control = { type: 'ephemeral' as const };
    const request = ask('hi', {
      system: [{ ...text('Be brief.'), cache_control }],
      tools: [{ name: 'a', input_schema: { type: 'object' }, cache_control }],
    });
    expect(chatRequest(request, SETTINGS)).toEqual({
      model: 'manyhands-fake',
      stream: true,
      stream_options: { include_usage: true },
      max_tokens: 10_000,
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'hi' },
      ],
      tools: [{ type: 'function', function: { name: 'a', parameters: { type: 'object' } } }],
    });
    const bare = chatRequest(ask('hi', { tools: [] }), { ...SETTINGS, maxTokensField: 'max_completion_tokens' });
    expect(Object.keys(bare).sort()).toEqual(['max_completion_tokens', 'messages', 'model', 'stream', 'stream_options']);
  });

  test.each([
    ['low', 'low'],
    ['medium', 'medium'],
    ['high', undefined],
    ['xhigh', 'high'],
    ['max', 'high'],
  ] as const)('effort %s is sent as %s', (effort, sent) => {
    expect(chatRequest(ask('hi', { effort }), SETTINGS)['reasoning_effort']).toBe(sent);
  });

  test('fast speed is refused, since nothing would be faster', () => {
    expect(() => chatRequest(ask('hi', { speed: 'fast' }), SETTINGS)).toThrow(/speed "fast"/);
    expect(() => chatRequest(ask('hi', { speed: 'standard' }), SETTINGS)).not.toThrow();
  });
});

describe('messages', () => {
  test('neighbours of one role become one message, and text alone is plain text', () => {
    const messages: Anthropic.MessageParam[] = [
      { role: 'user', content: 'one' },
      user(text('two'), text('three')),
      { role: 'assistant', content: 'a' },
      { role: 'assistant', content: [text('b')] },
      { role: 'user', content: 'four' },
    ];
    expect(messagesOf(messages)).toEqual([
      { role: 'user', content: 'one\n\ntwo\n\nthree' },
      { role: 'assistant', content: 'ab' },
      { role: 'user', content: 'four' },
    ]);
  });

  test('thinking is never sent back, and an answer that was nothing else is left out', () => {
    const thinking = { type: 'thinking' as const, thinking: 'secret', signature: 's' };
    const redacted = { type: 'redacted_thinking' as const, data: 'd' };
    const sent = messagesOf([
      user(text('x')),
      { role: 'assistant', content: [thinking, redacted] },
      user(text('y')),
      { role: 'assistant', content: [thinking, text('z')] },
      user(text('w')),
    ]);
    expect(JSON.stringify(sent)).not.toMatch(/secret|redacted/);
    expect(sent.map((message) => message.role)).toEqual(['user', 'assistant', 'user']);
  });

  test('instructions in the middle of a conversation keep their place and role', () => {
    const sent = messagesOf([user(text('x')), { role: 'system', content: 'From now on in French.' }]);
    expect(sent.at(-1)).toEqual({ role: 'system', content: 'From now on in French.' });
  });

  test('images go by data URL or by address; for a model that takes none a note stands in', () => {
    const [sent] = messagesOf([user(text('look'), png, linked)]);
    expect(sent!.content).toEqual([
      text('look'),
      { type: 'image_url', image_url: { url: 'data:image/png;base64,QUJD' } },
      { type: 'image_url', image_url: { url: 'https://example.com/a.png' } },
    ]);
    const [blind] = messagesOf([user(text('look'), png)], { ...SETTINGS, images: false });
    expect(blind!.content).toMatch(/^look\n\n\[an image was left out: this model takes no images\]$/);
  });

  test('documents of text become text; what only the Messages API reads is refused with its place', () => {
    const plain: Anthropic.DocumentBlockParam = {
      type: 'document',
      title: 'Notes',
      source: { type: 'text', media_type: 'text/plain', data: 'line' },
    };
    const parts: Anthropic.DocumentBlockParam = { type: 'document', source: { type: 'content', content: [text('part'), png] } };
    expect(messagesOf([user(plain)])[0]!.content).toBe('<document>\nNotes\n\nline\n</document>');
    expect(messagesOf([user(parts)])[0]!.content).toMatchObject([{ text: expect.stringContaining('part') }, { type: 'image_url' }]);
    expect(() => messagesOf([user(text('x')), user(text('y'), pdf)])).toThrow(/messages\[1\]\.content\[1\].*PDF.*convert it to text/);
    const stored = { type: 'image', source: { type: 'file', file_id: 'file_1' } } as Anthropic.ImageBlockParam;
    expect(() => messagesOf([user(stored)])).toThrow(/messages\[0\]\.content\[0\].*image of source "file"/);
  });

  test('a tool result never ends a session: what it cannot hold is said in words', () => {
    const result = (id: string, content?: Anthropic.ToolResultBlockParam['content'], is_error = false): Anthropic.ToolResultBlockParam => ({
      type: 'tool_result',
      tool_use_id: id,
      is_error,
      ...(content === undefined ? {} : { content }),
    });
    const call = (id: string): Anthropic.ToolUseBlockParam => ({ type: 'tool_use', id, name: 'read', input: { n: 1 } });
    const sent = messagesOf([
      user(text('go')),
      { role: 'assistant', content: [call('a'), call('b'), call('c')] },
      user(result('a', [text('seen'), png, linked]), result('b', [pdf]), result('c', undefined, true), text('and then?')),
    ]);
    expect(sent.slice(1)).toEqual([
      {
        role: 'assistant',
        content: null,
        tool_calls: ['a', 'b', 'c'].map((id) => ({ id, type: 'function', function: { name: 'read', arguments: '{"n":1}' } })),
      },
      { role: 'tool', tool_call_id: 'a', content: 'seen\n[image 1 of the message that follows]\n[image 2 of the message that follows]' },
      { role: 'tool', tool_call_id: 'b', content: expect.stringContaining('PDF document was left out') },
      { role: 'tool', tool_call_id: 'c', content: '[error] (no output)' },
      {
        role: 'user',
        content: [expect.objectContaining({ type: 'image_url' }), expect.objectContaining({ type: 'image_url' }), text('and then?')],
      },
    ]);
  });
});
