/** Each search service in its own wire, spoken by a real server, and what becomes of one that misbehaves. */
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { systemClock } from '@manyhands/base';
import type { SearchReply, SearchRequest } from '@manyhands/contract';
import { silentLogger } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createWebSearch, type SearchEnv, searchProvider } from '../src/index.ts';
import { startUpstream, testMetrics, type Upstream } from './surroundings.ts';

interface Asked {
  method: string | undefined;
  url: URL;
  headers: IncomingHttpHeaders;
  body: unknown;
}
let service: Upstream;
let asked: Asked[] = [];
let answer: (res: ServerResponse) => void;
beforeAll(async () => {
  service = await startUpstream(async (req, res) => {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString('utf8');
    const url = new URL(req.url ?? '', 'http://service.test');
    asked.push({ method: req.method, url, headers: req.headers, body: text === '' ? null : JSON.parse(text) });
    answer(res);
  });
});
afterAll(() => service[Symbol.asyncDispose]());

const json = (value: unknown) => (res: ServerResponse) =>
  void res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
const KEY = 'key-of-the-operator';
type Name = NonNullable<SearchEnv['MANYHANDS_SEARCH_PROVIDER']>;
const NAMES: Name[] = ['brave', 'tavily', 'searxng'];

async function search(
  name: Name,
  request: Partial<SearchRequest> = {},
  how: { timeoutMs?: number; port?: number } = {},
): Promise<SearchReply> {
  asked = [];
  const provider = searchProvider({
    MANYHANDS_SEARCH_PROVIDER: name,
    MANYHANDS_SEARCH_API_KEY: KEY,
    MANYHANDS_SEARCH_BASE_URL: `http://127.0.0.1:${how.port ?? service.port}/base`,
  })!;
  const { timeoutMs = 5_000 } = how;
  const web = createWebSearch({ provider, log: silentLogger, clock: systemClock, metrics: testMetrics(), timeoutMs });
  return web.search({ session_id: 'sesn_one', query: 'two words', max_results: 10, ...request });
}
/** The service's answer with these pages. */
function listOf(name: Name, pages: { url: string; title?: unknown; text?: unknown; age?: unknown }[]): unknown {
  if (name === 'brave')
    return {
      type: 'search',
      web: { results: pages.map(({ url, title, text, age }) => ({ url, title, description: text, page_age: age })) },
    };
  if (name === 'tavily')
    return { results: pages.map(({ url, title, text, age }) => ({ url, title, content: text, score: 0.9, published_date: age })) };
  return {
    query: 'q',
    results: pages.map(({ url, title, text, age }) => ({ url, title, content: text, engine: 'x', publishedDate: age })),
    answers: [],
  };
}
const urls = (reply: SearchReply) => (reply.ok ? reply.results.map(({ url }) => url) : reply);

describe('the wire', () => {
  test('Brave gets its key as a header, the place as country and headers, and gives HTML, which becomes text', async () => {
    answer = json({
      web: {
        results: [
          {
            url: 'https://a.example/x',
            title: 'A &amp; <strong>B</strong>',
            description: 'It&#x27;s <strong>two</strong> words',
            page_age: '2026-05-01T00:00:00',
            age: 'May 1, 2026',
          },
          { url: 'https://b.example/', title: 'B', description: null, age: '3 days ago' },
        ],
      },
    });
    const user_location = { type: 'approximate' as const, city: 'München', region: 'Bayern', country: 'DE', timezone: 'Europe/Berlin' };
    expect(await search('brave', { user_location })).toEqual({
      ok: true,
      results: [
        { url: 'https://a.example/x', title: 'A & B', snippet: "It's two words", page_age: '2026-05-01T00:00:00' },
        { url: 'https://b.example/', title: 'B', snippet: '', page_age: '3 days ago' },
      ],
    });
    expect(asked).toHaveLength(1);
    const [{ method, url, headers }] = asked as [Asked];
    expect([method, url.pathname]).toEqual(['GET', '/base/res/v1/web/search']);
    expect(Object.fromEntries(url.searchParams)).toEqual({
      q: 'two words',
      count: '10',
      result_filter: 'web',
      text_decorations: 'false',
      country: 'DE',
    });
    expect(headers).toMatchObject({
      'x-subscription-token': KEY,
      'x-loc-city': 'Munchen',
      'x-loc-state-name': 'Bayern',
      'x-loc-country': 'DE',
      'x-loc-timezone': 'Europe/Berlin',
    });
  });

  test('Brave is told of no country that it does not know, and of no name that a header cannot carry', async () => {
    answer = json({ type: 'search' });
    const user_location = { type: 'approximate' as const, city: '東京', region: 'x\r\nx-evil: 1', country: 'IS' };
    expect(await search('brave', { user_location })).toEqual({ ok: true, results: [] });
    const [{ url, headers }] = asked as [Asked];
    expect(url.searchParams.has('country')).toBe(false);
    expect(headers).toMatchObject({ 'x-loc-country': 'IS', 'x-loc-state-name': 'xx-evil: 1' });
    expect(Object.keys(headers)).not.toContain('x-loc-city');
    expect(Object.keys(headers)).not.toContain('x-evil');
  });

  test('Brave gets domain rules as operators, as far as they fit', async () => {
    answer = json({});
    const q = async (request: Partial<SearchRequest>) => {
      await search('brave', request);
      return asked[0]!.url.searchParams.get('q');
    };
    expect(await q({ allowed_domains: ['a.example/docs'] })).toBe('two words site:a.example');
    expect(await q({ allowed_domains: ['a.example', 'b.example', 'a.example/x'] })).toBe('two words (site:a.example OR site:b.example)');
    expect(await q({ blocked_domains: ['a.example', 'b.example/x', 'c.example'] })).toBe('two words -site:a.example -site:c.example');
    const long = 'x'.repeat(390);
    expect(await q({ query: long, allowed_domains: ['a-long-name.example'] })).toBe(long);
    expect(await q({ query: long, blocked_domains: ['a-long-name.example'] })).toBe(long);
    const wordy = await search('brave', { query: 'w '.repeat(51).trim() });
    expect(wordy).toMatchObject({ ok: false, code: 'invalid_query', message: expect.stringContaining('50 words') });
    expect(asked).toEqual([]);
  });

  test('Tavily gets its key as bearer token, domain rules as lists of hosts, and the country by name', async () => {
    answer = json(listOf('tavily', [{ url: 'https://a.example/docs/x', title: 'A', text: 'said', age: '2026-05-01' }]));
    const user_location = { type: 'approximate' as const, country: 'GB', city: 'Leeds' };
    const reply = await search('tavily', { user_location, allowed_domains: ['a.example/docs', 'a.example/help', 'b.example'] });
    expect(reply).toEqual({
      ok: true,
      results: [{ url: 'https://a.example/docs/x', title: 'A', snippet: 'said', page_age: '2026-05-01' }],
    });
    const [{ method, url, headers, body }] = asked as [Asked];
    expect([method, url.pathname, headers.authorization]).toEqual(['POST', '/base/search', `Bearer ${KEY}`]);
    expect(body).toEqual({
      query: 'two words',
      max_results: 20,
      topic: 'general',
      search_depth: 'basic',
      include_domains: ['a.example', 'b.example'],
      country: 'united kingdom',
    });
    await search('tavily', { blocked_domains: ['a.example/docs', 'b.example'], user_location: { type: 'approximate', country: 'TR' } });
    expect(asked[0]!.body).toEqual({
      query: 'two words',
      max_results: 20,
      topic: 'general',
      search_depth: 'basic',
      exclude_domains: ['b.example'],
    });
  });

  test('SearXNG is asked for JSON, and no word of a query is a command to it', async () => {
    answer = json(listOf('searxng', [{ url: 'https://a.example/', title: 'A', text: 'said', age: '2026-05-01T00:00:00' }]));
    const reply = await search('searxng', { query: '!!g two !bang words!', blocked_domains: ['b.example'] });
    expect(reply).toEqual({
      ok: true,
      results: [{ url: 'https://a.example/', title: 'A', snippet: 'said', page_age: '2026-05-01T00:00:00' }],
    });
    const [{ method, url, headers }] = asked as [Asked];
    expect([method, url.pathname, headers.authorization]).toEqual(['GET', '/base/search', `Bearer ${KEY}`]);
    expect(Object.fromEntries(url.searchParams)).toEqual({ q: 'g two bang words! -site:b.example', format: 'json' });
  });

  test('a compressed answer is read', async () => {
    const body = gzipSync(JSON.stringify(listOf('searxng', [{ url: 'https://a.example/', title: 'A' }])));
    answer = (res) => void res.writeHead(200, { 'content-encoding': 'gzip' }).end(body);
    expect(urls(await search('searxng'))).toEqual(['https://a.example/']);
  });
});

describe.each(NAMES)('%s', (name) => {
  const page = (host: string, path = '/') => ({ url: `https://${host}${path}`, title: host, text: 'said' });

  test('what it finds is filtered by the domain rules, whatever it made of them, and bounded', async () => {
    const many = Array.from({ length: 30 }, (_, i) => page(`h${i}.example`));
    answer = json(listOf(name, many));
    expect(urls(await search(name))).toHaveLength(10);
    expect(urls(await search(name, { max_results: 3 }))).toEqual(many.slice(0, 3).map(({ url }) => url));
    answer = json(
      listOf(name, [
        page('docs.a.example', '/guide/one'),
        page('a.example', '/guide'),
        page('a.example', '/guidebook'),
        page('A.example', '/%67uide/two'),
        page('nota.example', '/guide'),
        page('a.example.evil.example', '/guide/'),
        page('10.0.0.1', '/guide/'),
      ]),
    );
    const below = ['https://docs.a.example/guide/one', 'https://a.example/guide', 'https://a.example/%67uide/two'];
    expect(urls(await search(name, { allowed_domains: ['a.example/guide'] }))).toEqual(below);
    const others = [
      'https://a.example/guidebook',
      'https://nota.example/guide',
      'https://a.example.evil.example/guide/',
      'https://10.0.0.1/guide/',
    ];
    expect(urls(await search(name, { blocked_domains: ['a.example/guide'] }))).toEqual(others);
    expect(urls(await search(name, { allowed_domains: ['z.example'] }))).toEqual([]);
  });

  test('only pages of the web are shown, each once, and their texts are bounded and without what does not show', async () => {
    const hidden = '\u0000\u0007\u001b[31m\u202e\u{e0041}\ud800';
    answer = json(
      listOf(name, [
        { url: 'javascript:alert(1)', title: 'x' },
        { url: 'file:///etc/passwd', title: 'x' },
        { url: 'https://user:pw@a.example/', title: 'x' },
        { url: `https://a.example/${'x'.repeat(3_000)}`, title: 'x' },
        { url: 'no url', title: 'x' },
        {
          url: 'https://a.example/#one',
          title: `${hidden}T\n\nitle\ufeff`,
          text: `one${hidden}\r\ntwo ${'😀'.repeat(3_000)}`,
          age: `${hidden}2026`,
        },
        { url: 'https://a.example/#one', title: 'again' },
        { url: 'https://b.example/', title: ' ', text: null, age: null },
      ]),
    );
    const reply = await search(name);
    if (!reply.ok) throw new Error(reply.message);
    expect(reply.results.map(({ url, title, page_age }) => [url, title, page_age])).toEqual([
      ['https://a.example/#one', '[31mT itle', '[31m2026'],
      ['https://b.example/', 'b.example', null],
    ]);
    const [first, second] = reply.results.map(({ snippet }) => snippet) as [string, string];
    expect(first.startsWith(name === 'brave' ? 'one[31m two 😀' : 'one[31m\ntwo 😀')).toBe(true);
    expect(first).toMatch(/^[^\u0000\u001b\u202e\ufeff]+😀…$/u);
    expect(first.length).toBeLessThanOrEqual(2_000);
    expect(second).toBe('');
  });

  test('entries that are no results are left out, and an answer without a list is none', async () => {
    const list = listOf(name, [page('a.example')]) as { web?: { results: unknown[] }; results?: unknown[] };
    (list.web?.results ?? list.results)!.unshift(null, 7, 'text', {}, { url: 5 }, { url: 'https://b.example/', title: {} });
    answer = json(list);
    expect(urls(await search(name))).toEqual(['https://a.example/']);
    const garbage = [
      '',
      'not json',
      '[]',
      '"text"',
      name === 'brave' ? '{"web":{"results":{}}}' : '{"results":{}}',
      'x'.repeat(3 * 1024 * 1024),
    ];
    for (const body of garbage) {
      answer = (res) => void res.writeHead(200, { 'content-type': 'application/json' }).end(body);
      expect(await search(name), body.slice(0, 40)).toMatchObject({ ok: false, code: 'unreachable' });
    }
  });

  test.each<[number, Record<string, string>, string, RegExp]>([
    [429, { 'retry-after': '7' }, 'rate_limited', /try again in 7 s$/],
    [429, {}, 'rate_limited', /try again later$/],
    [429, { 'retry-after': 'Wed, 21 Oct 2026 07:28:00 GMT' }, 'rate_limited', /try again later$/],
    [429, { 'retry-after': '99999999' }, 'rate_limited', /try again later$/],
    [401, {}, 'refused', /operator/],
    [403, {}, 'refused', /403/],
    [432, {}, 'refused', /operator/],
    [422, {}, 'invalid_query', /query/],
    [400, {}, 'invalid_query', /query/],
    [302, { location: 'https://elsewhere.example/' }, 'unreachable', /302/],
    [500, {}, 'unreachable', /500/],
    [503, { 'retry-after': '7' }, 'unreachable', /503/],
  ])('status %i %j is told as such, and nothing of its text', async (status, headers, code, message) => {
    answer = (res) => void res.writeHead(status, headers).end(`{"error":"secret text of the service, ${KEY}"}`);
    const reply = await search(name);
    expect(reply).toEqual({ ok: false, code, message: expect.stringMatching(message) });
    expect(JSON.stringify(reply)).not.toMatch(new RegExp(`secret text|${KEY}`));
    expect(asked).toHaveLength(1);
  });

  test('one that is slow, breaks off or is not there is unreachable', async () => {
    answer = () => {};
    expect(await search(name, {}, { timeoutMs: 200 })).toMatchObject({
      ok: false,
      code: 'unreachable',
      message: expect.stringContaining('did not answer'),
    });
    answer = (res) => void res.writeHead(200).write('{');
    expect(await search(name, {}, { timeoutMs: 200 })).toMatchObject({
      ok: false,
      code: 'unreachable',
      message: expect.stringContaining('did not answer'),
    });
    answer = (res) => {
      res.writeHead(200, { 'content-length': '100' }).write('{');
      setImmediate(() => res.destroy());
    };
    expect(await search(name)).toMatchObject({ ok: false, code: 'unreachable' });
    const gone = await startUpstream(() => {});
    await gone[Symbol.asyncDispose]();
    expect(await search(name, {}, { port: gone.port })).toMatchObject({
      ok: false,
      code: 'unreachable',
      message: expect.stringContaining('reached'),
    });
  });
});

describe('settings', () => {
  test('without a provider there is none', () => {
    expect(searchProvider({})).toBeNull();
  });

  test.each<[SearchEnv, RegExp]>([
    [{ MANYHANDS_SEARCH_PROVIDER: 'brave' }, /MANYHANDS_SEARCH_API_KEY is missing/],
    [{ MANYHANDS_SEARCH_PROVIDER: 'tavily' }, /MANYHANDS_SEARCH_API_KEY is missing/],
    [{ MANYHANDS_SEARCH_PROVIDER: 'searxng' }, /MANYHANDS_SEARCH_BASE_URL is missing/],
    [{ MANYHANDS_SEARCH_API_KEY: KEY }, /MANYHANDS_SEARCH_API_KEY is set, and MANYHANDS_SEARCH_PROVIDER is not/],
    [{ MANYHANDS_SEARCH_BASE_URL: 'http://x.example' }, /MANYHANDS_SEARCH_BASE_URL is set, and MANYHANDS_SEARCH_PROVIDER is not/],
    ...['nonsense', 'ftp://x.example', 'https://user:pw@x.example', 'https://x.example/?key=1', 'https://x.example/#a'].map(
      (url): [SearchEnv, RegExp] => [
        { MANYHANDS_SEARCH_PROVIDER: 'searxng', MANYHANDS_SEARCH_BASE_URL: url },
        /MANYHANDS_SEARCH_BASE_URL must be an http or https URL/,
      ],
    ),
  ])('%j is refused by the name of the variable, without its value', (env, message) => {
    expect(() => searchProvider(env)).toThrow(message);
    expect(() => searchProvider(env)).not.toThrow(KEY);
  });
});

test('searches beyond those that may be under way at once are told to try again, and none is lost', async () => {
  const waiting: ServerResponse[] = [];
  const provider = searchProvider({ MANYHANDS_SEARCH_PROVIDER: 'searxng', MANYHANDS_SEARCH_BASE_URL: `http://127.0.0.1:${service.port}` })!;
  const web = createWebSearch({ provider, log: silentLogger, clock: systemClock, metrics: testMetrics() });
  answer = (res) => {
    waiting.push(res);
    if (waiting.length === 32) for (const one of waiting) json(listOf('searxng', [{ url: 'https://a.example/' }]))(one);
  };
  const request = { session_id: 'sesn_one', query: 'q', max_results: 10 };
  const replies = await Promise.all(Array.from({ length: 33 }, () => web.search(request)));
  expect(replies.filter(({ ok }) => ok)).toHaveLength(32);
  expect(replies.filter((reply) => !reply.ok && reply.code === 'rate_limited')).toHaveLength(1);
});
