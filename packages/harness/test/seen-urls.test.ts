/** Which URLs a conversation has shown, and which of them an agent may fetch. */
import { type EventBody, resolveTools, ToolsIn, toolConfig, type UrlSources } from '@manyhands/contract';
import type { LogEntry } from '@manyhands/session-log';
import { describe, expect, test } from 'vitest';
import { type Context, emptyContext, fold, type HiddenFacts } from '../src/context/context.ts';
import { sourcesInWords, urlsIn, wasShown } from '../src/context/seen-urls.ts';

describe('the URLs in a text', () => {
  test.each<[string, string[]]>([
    ['see https://a.example.', ['https://a.example']],
    ['(https://a.example/x), then http://b.example/?q=1&r=2!', ['https://a.example/x', 'http://b.example/?q=1&r=2']],
    ['https://a.example/Foo_(bar) and (https://a.example/Foo_(bar))', ['https://a.example/Foo_(bar)', 'https://a.example/Foo_(bar)']],
    ['[text](https://a.example/x_y) **https://b.example/**', ['https://a.example/x_y', 'https://b.example/']],
    ['<a href="https://a.example/x">y</a> <https://b.example/>', ['https://a.example/x', 'https://b.example/']],
    ['{"url":"https://a.example/x","more":["https://b.example"]}', ['https://a.example/x', 'https://b.example']],
    ['https://a.example,https://b.example;https://c.example', ['https://a.example', 'https://b.example', 'https://c.example']],
    ['https://web.example/2020/https://a.example/', ['https://web.example/2020/https://a.example/']],
    ['見てhttps://a.example/x。 “https://b.example/”…', ['https://a.example/x', 'https://b.example/']],
    ['HTTPS://A.example/X', ['HTTPS://A.example/X']],
    ['no ftp://a.example, a.example or https:// at all', []],
  ])('%s', (text, urls) => {
    expect(urlsIn(text)).toEqual(urls);
  });

  test('are found in time however the text is made', () => {
    for (const text of ['https://'.repeat(50_000), `https://a.example/${')'.repeat(100_000)}`, `https://a.example/${'(,'.repeat(50_000)}`])
      expect(urlsIn(text).length).toBeGreaterThanOrEqual(0);
  });
});

let position = 0;
function entries(...bodies: { body: EventBody; id?: string; hidden?: HiddenFacts }[]): LogEntry[] {
  return bodies.map(({ body, id, hidden }) => {
    position++;
    const event = { ...body, id: id ?? `e${position}`, processed_at: '2026-01-01T00:00:00.000Z' };
    return { position, sequence: position, kind: 'event', event, hidden: hidden ?? null, arrival: null, copyOf: null };
  });
}
const said = (text: string) => entries({ body: { type: 'user.message', content: [{ type: 'text', text }] } });
/** A call that the model made, and its result. */
function called(name: string, result: Partial<Extract<EventBody, { type: 'agent.tool_result' }>>): LogEntry[] {
  return entries(
    { body: { type: 'span.model_request_start' } },
    { body: { type: 'agent.tool_use', name, input: {}, evaluated_permission: 'allow', evaluation: { type: 'always_allow' } }, id: 'use' },
    END,
    { body: { type: 'agent.tool_result', tool_use_id: 'use', content: [], is_error: false, ...result } },
  );
}
function answeredByClient(name: string, content: Extract<EventBody, { type: 'user.custom_tool_result' }>['content']): LogEntry[] {
  return entries(
    { body: { type: 'span.model_request_start' } },
    { body: { type: 'agent.custom_tool_use', name, input: {} }, id: 'use' },
    END,
    { body: { type: 'user.custom_tool_result', custom_tool_use_id: 'use', content: content! } },
  );
}
const END: { body: EventBody } = {
  body: {
    type: 'span.model_request_end',
    model_request_start_id: 's',
    is_error: false,
    model_usage: { input_tokens: 0, output_tokens: 0, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 },
  },
};
const text = (...texts: string[]) => texts.map((one) => ({ type: 'text' as const, text: one }));
function folded(...lists: LogEntry[][]): Context {
  const context = emptyContext();
  for (const entry of lists.flat()) fold(context, entry);
  return context;
}
/** As an agent has it that says this. */
function sources(url_sources: object): UrlSources {
  const custom = ['look_up', 'other'].map((name) => ({ type: 'custom', name, description: 'x', input_schema: { type: 'object' } }));
  const tools = ToolsIn.parse([{ type: 'agent_toolset_20260401', configs: [{ name: 'web_fetch', url_sources }] }, ...custom]);
  return toolConfig(resolveTools(tools), 'web_fetch')!.url_sources!;
}
const named = (type: 'only' | 'except', ...names: string[]) => ({ type, tools: names.map((name) => ({ type: 'tool_reference', name })) });

describe('a URL that was shown', () => {
  const found = {
    type: 'search_result',
    source: 'https://found.example/page',
    title: 'T',
    content: text('also https://said.example/'),
    citations: { enabled: false },
  } as const;
  const conversation = folded(
    said('look at https://user.example/a#part'),
    called('web_search', { content: [found] }),
    called('web_fetch', { content: text('https://fetched.example/\nstatus 200\n\na link (https://linked.example/)') }),
    answeredByClient('look_up', [...text('https://looked-up.example/'), { ...found, source: 'https://client.example/' }]),
    answeredByClient('other', [
      { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'https://document.example/' } },
    ]),
  );
  const SHOWN = {
    user: ['https://user.example/a', 'https://user.example/a#elsewhere', 'HTTPS://USER.example:443/a'],
    web_search: ['https://found.example/page'],
    web_fetch: ['https://fetched.example/', 'https://linked.example/'],
    look_up: ['https://looked-up.example/', 'https://client.example/'],
    other: ['https://document.example/'],
  };
  const shownBy = (rules: object) =>
    Object.entries(SHOWN).flatMap(([who, urls]) => {
      const answers = urls.map((url) => wasShown(conversation.seen, sources(rules), url));
      expect(new Set(answers).size, who).toBe(1);
      return answers[0] ? [who] : [];
    });
  const TOOLS = ['web_search', 'web_fetch', 'look_up', 'other'];

  test.each<[string, object, string[]]>([
    ['nothing', {}, ['user', ...TOOLS]],
    ['null', { user_input: null, client_tool_results: null, server_tool_results: null }, ['user', ...TOOLS]],
    ['all', { user_input: 'all', client_tool_results: 'all', server_tool_results: { type: 'all' } }, ['user', ...TOOLS]],
    ['no user', { user_input: 'none' }, TOOLS],
    ['no clients', { client_tool_results: 'none' }, ['user', 'web_search', 'web_fetch']],
    ['no servers', { server_tool_results: { type: 'none' } }, ['user', 'look_up', 'other']],
    ['one client', { user_input: 'none', client_tool_results: named('only', 'look_up'), server_tool_results: 'none' }, ['look_up']],
    [
      'all clients but one',
      { user_input: 'none', client_tool_results: named('except', 'look_up'), server_tool_results: 'none' },
      ['other'],
    ],
    [
      'searches only',
      { user_input: 'none', client_tool_results: 'none', server_tool_results: named('only', 'web_search') },
      ['web_search'],
    ],
    [
      'all but searches',
      { user_input: 'none', client_tool_results: 'none', server_tool_results: named('except', 'web_search') },
      ['web_fetch'],
    ],
  ])('counts by its source; said is %s', (_what, rules, who) => {
    expect(shownBy(rules)).toEqual(who);
  });

  test('is that URL and no other', () => {
    for (const url of [
      'http://user.example/a',
      'https://user.example/',
      'https://user.example/a?x=1',
      'https://user.example/A',
      'https://unseen.example/',
      'no url',
    ])
      expect(wasShown(conversation.seen, sources({}), url), url).toBe(false);
  });

  test('was not shown by the model, a sandbox, an error of a web tool, a second result, or a message that waits', () => {
    const url = 'https://asked-for.example/';
    const asked: EventBody = { type: 'agent.message', content: text(url) };
    const waiting = said(url).map((entry) => ({ ...entry, kind: 'queued' as const }));
    const context = folded(
      entries({ body: { type: 'span.model_request_start' } }, { body: asked }, END),
      called('bash', { content: text(url) }),
      called('web_fetch', { content: text(`web_fetch: url_not_allowed: ${url}`), is_error: true }),
      entries({ body: { type: 'agent.tool_result', tool_use_id: 'use', content: text(url), is_error: false } }),
      waiting,
    );
    expect(wasShown(context.seen, sources({}), url)).toBe(false);
  });

  test('is known after a checkpoint and a compaction', () => {
    const before = folded(said('https://early.example/'), said('more'));
    const after = { ...emptyContext(), ...(JSON.parse(JSON.stringify(before)) as Context) };
    for (const entry of entries({
      body: { type: 'agent.thread_context_compacted' } as EventBody,
      hidden: { summary: { text: 'sum', kept: 0 } },
    }))
      fold(after, entry);
    expect(JSON.stringify(after.messages.slice(0, 1))).toContain('sum');
    expect(wasShown(after.seen, sources({}), 'https://early.example/')).toBe(true);
  });

  test('is forgotten when thousands came after it from the same source, and not for those of another', () => {
    const links = (count: number, host: string) => Array.from({ length: count }, (_, i) => `https://${host}.example/${i}`).join('\n');
    const context = folded(
      said('https://early.example/'),
      called('web_search', { content: [found] }),
      called('web_fetch', { content: text(links(3_000, 'one')) }),
      called('web_search', { content: [found] }),
      called('web_fetch', { content: text(links(2_000, 'two')) }),
    );
    const shown = (url: string) => wasShown(context.seen, sources({}), url);
    expect([shown('https://early.example/'), shown('https://found.example/page'), shown('https://two.example/0')]).toEqual([
      true,
      true,
      true,
    ]);
    expect([shown('https://one.example/0'), shown('https://one.example/2999')]).toEqual([false, true]);
    expect(JSON.stringify(context.seen).length).toBeLessThan(200_000);
  });
});

test('where a URL has to stand is said in words', () => {
  expect(sourcesInWords(sources({}))).toBe(
    'messages of the user, or in results of custom tools, or in results of web_search and web_fetch',
  );
  expect(
    sourcesInWords(
      sources({
        user_input: 'none',
        client_tool_results: named('only', 'look_up', 'other'),
        server_tool_results: named('except', 'web_fetch'),
      }),
    ),
  ).toBe('results of look_up, other, or in results of web_search and web_fetch other than web_fetch');
});
