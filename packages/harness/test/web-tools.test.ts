/** The web tools of the harness before an egress that says what the test wants, on a real NATS server. */
import { connectMessaging, type Messaging, type Serving } from '@manyhands/base';
import {
  EGRESS_FETCH_SUBJECT,
  EGRESS_SEARCH_SUBJECT,
  FETCH_PART_BYTES,
  type FetchReply,
  resolveTools,
  type SearchReply,
  ToolsIn,
} from '@manyhands/contract';
import { silentLogger, startTestNats, type TestServer } from '@manyhands/test-kit';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { nothingSeen } from '../src/context/seen-urls.ts';
import { toolDefinitions } from '../src/prompt/tool-definitions.ts';
import { webFetch, webSearch } from '../src/tools/web-tools.ts';

let nats: TestServer;
let messaging: Messaging;
const serving: Serving[] = [];
beforeAll(async () => {
  nats = await startTestNats();
  messaging = await connectMessaging(nats.url, silentLogger, 'test');
});
afterAll(async () => {
  await messaging.close();
  await nats[Symbol.asyncDispose]();
});
afterEach(async () => {
  await Promise.all(serving.splice(0).map((one) => one.stop()));
});

/** Serves one answer, and keeps what was asked. */
function serve(subject: string, answer: unknown): unknown[] {
  const asked: unknown[] = [];
  const handle = async (body: unknown) => {
    asked.push(body);
    return typeof answer === 'function' ? answer(body) : answer;
  };
  serving.push(messaging.serve(subject, handle));
  return asked;
}
const tools = (...configs: object[]) => resolveTools(ToolsIn.parse([{ type: 'agent_toolset_20260401', configs }]));
const context = (...configs: object[]) => ({ messaging, sessionId: 'sesn_one', tools: tools(...configs), seen: nothingSeen() });
const page = (more: Partial<Extract<FetchReply, { ok: true }>> = {}): FetchReply => ({
  ok: true,
  status: 200,
  final_url: 'https://a.example/end',
  content_type: 'text/plain',
  body: 'said',
  truncated: false,
  ...more,
});
const error = (text: string) => ({ is_error: true, content: [{ type: 'text', text: expect.stringContaining(text) }] });
const URL_INPUT = { url: 'https://a.example/' };

describe('web_fetch', () => {
  test.each<[object, object]>([
    [{}, { max_bytes: 96 * 1024 }],
    [{ max_content_tokens: 100 }, { max_bytes: 400 }],
    [{ max_content_tokens: 100_000 }, { max_bytes: 400_000 }],
    [{ max_content_tokens: 10_000_000 }, { max_bytes: 512 * 1024 }],
    [{ allowed_domains: ['a.example'] }, { max_bytes: 96 * 1024, allowed_domains: ['a.example'] }],
    [{ blocked_domains: ['b.example'] }, { max_bytes: 96 * 1024, blocked_domains: ['b.example'] }],
  ])('asks egress for what the agent says: %j', async (options, request) => {
    const asked = serve(EGRESS_FETCH_SUBJECT, page({ truncated: true }));
    expect(await webFetch(context({ name: 'web_fetch', ...options }), URL_INPUT)).toEqual({
      is_error: false,
      content: [{ type: 'text', text: 'https://a.example/end\nstatus 200, text/plain, truncated\n\nsaid' }],
    });
    expect(asked).toEqual([{ session_id: 'sesn_one', ...URL_INPUT, ...request }]);
  });

  test('of several toolsets heeds the last', async () => {
    const asked = serve(EGRESS_FETCH_SUBJECT, page());
    const two = [...tools({ name: 'web_fetch', blocked_domains: ['a.example'] }), ...tools({ name: 'web_fetch', max_content_tokens: 1 })];
    await webFetch({ ...context(), tools: two }, URL_INPUT);
    expect(asked).toEqual([{ session_id: 'sesn_one', ...URL_INPUT, max_bytes: 4 }]);
  });

  test('shows a document, read in parts', async () => {
    const bytes = Buffer.alloc(FETCH_PART_BYTES + 10, 'x');
    const subject = 'egress.body.0123456789abcdef';
    serve(EGRESS_FETCH_SUBJECT, page({ content_type: 'application/pdf', body: '', document: { subject, bytes: bytes.length } }));
    const parts = serve(subject, ({ offset }: { offset: number }) => ({
      data: bytes.subarray(offset, offset + FETCH_PART_BYTES).toString('base64'),
    }));
    expect(await webFetch(context(), URL_INPUT)).toEqual({
      is_error: false,
      content: [
        { type: 'text', text: 'https://a.example/end\nstatus 200, application/pdf' },
        { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: bytes.toString('base64') } },
      ],
    });
    expect(parts).toEqual([{ offset: 0 }, { offset: FETCH_PART_BYTES }]);
  });

  test('says so when a document does not come whole', async () => {
    const subject = 'egress.body.0123456789abcdef';
    serve(EGRESS_FETCH_SUBJECT, page({ body: '', document: { subject, bytes: 10 } }));
    expect(await webFetch(context(), URL_INPUT)).toEqual(error('web_fetch: unreachable'));
    serve(subject, { data: Buffer.from('short').toString('base64') });
    expect(await webFetch(context(), URL_INPUT)).toEqual(error('lost on the way'));
  });

  test('tells what went wrong as an error', async () => {
    expect(await webFetch(context(), { url: 'ftp://a.example' })).toEqual(error('must be an http or https URL'));
    expect(await webFetch(context(), URL_INPUT)).toEqual(error('egress service did not answer'));
    serve(EGRESS_FETCH_SUBJECT, { ok: false, code: 'url_not_allowed', message: 'why' });
    expect(await webFetch(context(), URL_INPUT)).toEqual(error('web_fetch: url_not_allowed: why'));
  });

  test('asks nobody for a URL that the conversation has not shown', async () => {
    const asked = serve(EGRESS_FETCH_SUBJECT, page());
    const limited = context({ name: 'web_fetch', url_sources: { user_input: 'all', client_tool_results: 'none' } });
    const refused =
      'url_not_allowed: the conversation has not shown this URL. This agent may fetch only URLs that stand, as they are, in messages of the user';
    expect(await webFetch(limited, URL_INPUT)).toEqual(error(refused));
    expect(asked).toEqual([]);
  });
});

describe('web_search', () => {
  const reply = (...results: Extract<SearchReply, { ok: true }>['results']): SearchReply => ({ ok: true, results });

  test('asks egress for what the agent says, and shows pages as blocks of their own', async () => {
    const results = [
      { url: 'https://a.example/', title: 'A', snippet: 'said', page_age: '2026-05-01' },
      { url: 'https://b.example/', title: 'B', snippet: '', page_age: null },
    ];
    const asked = serve(EGRESS_SEARCH_SUBJECT, reply(...results));
    const place = { type: 'approximate', country: 'DE' };
    const options = { name: 'web_search', allowed_domains: ['a.example/x'], user_location: place };
    const block = (source: string, title: string, text: string) => ({
      ...{ type: 'search_result', source, title, content: [{ type: 'text', text }] },
      citations: { enabled: false },
    });
    expect(await webSearch(context(options), { query: '  two words ' })).toEqual({
      is_error: false,
      content: [block('https://a.example/', 'A', 'said\nPage age: 2026-05-01'), block('https://b.example/', 'B', '(no description)')],
    });
    expect(asked).toEqual([
      { session_id: 'sesn_one', query: 'two words', max_results: 10, allowed_domains: ['a.example/x'], user_location: place },
    ]);
  });

  test('says that there is nothing, and what went wrong', async () => {
    serve(EGRESS_SEARCH_SUBJECT, reply());
    expect(await webSearch(context(), { query: 'q' })).toEqual({ is_error: false, content: [{ type: 'text', text: 'No results.' }] });
    for (const input of [{}, { query: ' \n' }, { query: 'x'.repeat(401) }, { query: 5 }, { query: 'q', more: 1 }])
      expect(await webSearch(context(), input)).toEqual(error('1 to 400 characters'));
    await Promise.all(serving.splice(0).map((one) => one.stop()));
    serve(EGRESS_SEARCH_SUBJECT, { ok: false, code: 'rate_limited', message: 'why' });
    expect(await webSearch(context(), { query: 'q' })).toEqual(error('web_search: rate_limited: why'));
  });

  test('where nobody has a provider says what to configure', async () => {
    expect(await webSearch(context(), { query: 'q' })).toEqual(error('MANYHANDS_SEARCH_PROVIDER'));
  });
});

describe('the definitions', () => {
  const description = (name: string, config: object) =>
    toolDefinitions(tools({ name, ...config })).find((tool) => tool.name === name)!.description!;

  test('tell the model what its agent may do, and are else the same for every agent', () => {
    const plain = description('web_fetch', {});
    expect(description('web_fetch', { max_content_tokens: 5 })).toBe(plain);
    expect(description('web_fetch', { allowed_domains: ['a.example', 'b.example'] })).toBe(
      `${plain} It fetches pages of these domains and their subdomains only: a.example, b.example.`,
    );
    expect(description('web_fetch', { url_sources: { client_tool_results: 'none', server_tool_results: 'none' } })).toBe(
      `${plain} It takes only URLs that stand, as they are, in messages of the user.`,
    );
    const search = description('web_search', {});
    expect(description('web_search', { blocked_domains: ['a.example/x'] })).toBe(
      `${search} It finds no pages of these domains and their subdomains: a.example/x.`,
    );
    const user_location = { type: 'approximate', city: 'Berlin', region: null, country: 'DE', timezone: 'Europe/Berlin' };
    expect(description('web_search', { user_location })).toBe(
      `${search} The user is approximately here: Berlin, DE; timezone Europe/Berlin.`,
    );
    expect(description('web_search', { user_location: { type: 'approximate' } })).toBe(search);
    expect(
      toolDefinitions(tools({ name: 'web_fetch', allowed_domains: ['a.example'] })).filter(({ name }) => name !== 'web_fetch'),
    ).toEqual(toolDefinitions(tools()).filter(({ name }) => name !== 'web_fetch'));
  });
});
