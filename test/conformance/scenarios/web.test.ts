/**
 * The web tools over the whole stack: a search service of the test's own behind egress, and what agents say of domains, places and sources of
 * URLs. Egress reaches no address of this machine for `web_fetch`, so a fetch that every rule of the agent allows is refused by its address.
 */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type {
  BetaManagedAgentsAgentToolset20260401Params,
  BetaManagedAgentsCustomToolParams,
} from '@anthropic-ai/sdk/resources/beta/agents/agents';
import { type FakeScript, fakeScript } from '@manyhands/model/testing';
import { until } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { answer, expectSound, type Follower, follow, history, INTERRUPT, modelRequests, only, say, send, texts } from '../conversation.ts';
import { useStack, verifies } from '../verifies.ts';

/** What is free leaves the price of searches. */
const FREE = { input: '0', output: '0', cache_write_5m: '0', cache_write_1h: '0', cache_read: '0' };
const PRICES = JSON.stringify({ session_hour: '0', models: { fake: FREE } });
const stack = useStack({ tier: 'turns', env: { gateway: { MANYHANDS_PRICES: PRICES }, harness: { MANYHANDS_PRICES: PRICES } } });
const sessions = () => stack().client().beta.sessions;

interface Page {
  url: string;
  title?: string;
  content?: string;
  publishedDate?: string;
}
const found =
  (...results: Page[]) =>
  (res: ServerResponse) =>
    void res.end(JSON.stringify({ query: 'q', results }));
/** A SearXNG instance that answers what the test wants. */
let respond: (res: ServerResponse, n: number) => void = found();
let asked: URL[] = [];
const service = createServer((req, res) => {
  asked.push(new URL(req.url ?? '', 'http://service'));
  respond(res, asked.length);
});
beforeAll(async () => {
  await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve));
  const base = `http://127.0.0.1:${(service.address() as AddressInfo).port}`;
  await stack().add('egress', { MANYHANDS_SEARCH_PROVIDER: 'searxng', MANYHANDS_SEARCH_BASE_URL: base });
}, 30_000);
afterAll(
  () =>
    new Promise<void>((resolve) => {
      service.close(() => resolve());
      service.closeAllConnections();
    }),
);

type Config = NonNullable<BetaManagedAgentsAgentToolset20260401Params['configs']>[number];
type Tools = (BetaManagedAgentsAgentToolset20260401Params | BetaManagedAgentsCustomToolParams)[];
const toolset = (...configs: Config[]): Tools[number] => ({ type: 'agent_toolset_20260401', default_config: { enabled: false }, configs });
const search = (options: object = {}) => ({ name: 'web_search', enabled: true, ...options }) as Config;
const fetchTool = (options: object = {}) => ({ name: 'web_fetch', enabled: true, ...options }) as Config;
const LOOK_UP = { type: 'custom', name: 'look_up', description: 'Looks something up.', input_schema: { type: 'object' } } as const;

async function open(...tools: Tools): Promise<string> {
  const { agents, environments } = stack().client().beta;
  const [agent, environment] = await Promise.all([agents.create({ name: 'a', model: 'fake', tools }), environments.create({ name: 'e' })]);
  asked = [];
  return (await sessions().create({ agent: agent.id, environment_id: environment.id })).id;
}
/** A script whose addresses are spelled so that the message shows none. */
const unseen = (steps: FakeScript) => say(fakeScript(steps).replaceAll('http', '\\u0068ttp'));
const query = (text = 'two words') => ({ blocks: [{ tool: 'web_search', input: { query: text } }] });
const get = (url: string) => ({ tool: 'web_fetch', input: { url } });

/** Says something and waits for the end of the turn. */
async function turn(id: string, stream: Follower, ...messages: ReturnType<typeof say>[]) {
  await send(stack(), id, ...messages);
  await stream.next('session.status_idle');
}

describe('web_search', () => {
  verifies(['web.search', 'web.cost'], async () => {
    respond = found(
      { url: 'https://a.example/x', title: 'A', content: 'said of two words', publishedDate: '2026-05-01T00:00:00' },
      { url: 'javascript:alert(1)', title: 'no page' },
      { url: 'https://b.example/', title: 'B' },
    );
    const id = await open(toolset(search()));
    await using stream = await follow(stack(), id);
    await turn(id, stream, unseen([query(), query('once more'), query('and again'), answer('found')]));
    const events = await history(stack(), id);
    expectSound(events);
    const block = (source: string, title: string, text: string) => ({
      ...{ type: 'search_result', source, title, content: [{ type: 'text', text }] },
      citations: { enabled: false },
    });
    const results = only(events, 'agent.tool_result');
    expect(results).toHaveLength(3);
    expect(results[0]).toMatchObject({
      is_error: false,
      content: [
        block('https://a.example/x', 'A', 'said of two words\nPage age: 2026-05-01T00:00:00'),
        block('https://b.example/', 'B', '(no description)'),
      ],
    });
    expect(asked.map(({ searchParams }) => Object.fromEntries(searchParams))).toEqual(
      ['two words', 'once more', 'and again'].map((q) => ({ q, format: 'json' })),
    );
    const [, second] = await modelRequests(stack(), id);
    const told = second!.body.messages.at(-1).content[0];
    expect(told.content.map(({ type, text }: { type: string; text: string }) => [type, text])).toEqual([
      ['text', 'A\nhttps://a.example/x\nsaid of two words\nPage age: 2026-05-01T00:00:00'],
      ['text', 'B\nhttps://b.example/\n(no description)'],
    ]);
    const { usage } = await sessions().retrieve(id);
    expect(usage).toMatchObject({
      server_tool_use: { web_search_requests: 3, web_fetch_requests: 0 },
      list_cost: { amount: '3', currency: 'USD' },
    });
    expect(only(events, 'session.usage').at(-1)!.usage).toMatchObject({
      server_tool_use: { web_search_requests: 3 },
      list_cost: { amount: '3' },
    });
  });

  verifies('web.search.rules', async () => {
    respond = found({ url: 'https://docs.a.example/x/1' }, { url: 'https://a.example/y' }, { url: 'https://b.example/' });
    const seen = async (options: object) => {
      const id = await open(toolset(search(options)));
      await using stream = await follow(stack(), id);
      await turn(id, stream, unseen([query(), answer('found')]));
      const [request] = await modelRequests(stack(), id);
      return {
        sources: only(stream.events, 'agent.tool_result')[0]!.content!.map((block) => ('source' in block ? block.source : block)),
        description: request!.body.tools[0].description as string,
        q: asked[0]!.searchParams.get('q'),
      };
    };
    expect(await seen({ allowed_domains: ['a.example/x'] })).toEqual({
      sources: ['https://docs.a.example/x/1'],
      description: expect.stringContaining('only: a.example/x.'),
      q: 'two words site:a.example',
    });
    expect(await seen({ blocked_domains: ['a.example'] })).toMatchObject({
      sources: ['https://b.example/'],
      q: 'two words -site:a.example',
    });
    expect(await seen({ allowed_domains: ['z.example'] })).toMatchObject({ sources: [{ type: 'text', text: 'No results.' }] });
    const user_location = { type: 'approximate', city: 'Berlin', country: 'DE', timezone: 'Europe/Berlin' };
    expect(await seen({ user_location })).toMatchObject({
      description: expect.stringContaining('Berlin, DE; timezone Europe/Berlin'),
      q: 'two words',
    });
  });

  verifies('web.search.failures', async () => {
    respond = (res, n) => {
      if (n === 1) res.writeHead(429, { 'retry-after': '7' }).end('a text of the service');
      else if (n === 2) res.writeHead(500).end('a text of the service');
      else res.end('a text of the service');
    };
    const id = await open(toolset(search()));
    await using stream = await follow(stack(), id);
    await turn(id, stream, unseen([query(), query(), query(), query('x'.repeat(401)), answer('so be it')]));
    expect(only(stream.events, 'agent.tool_result').map(({ is_error }) => is_error)).toEqual([true, true, true, true]);
    expect(texts(stream.events, 'agent.tool_result')).toEqual([
      expect.stringMatching(/^web_search: rate_limited: .*in 7 s$/),
      expect.stringMatching(/^web_search: unreachable: .*500/),
      expect.stringMatching(/^web_search: unreachable: /),
      expect.stringContaining('1 to 400 characters'),
    ]);
    expect(texts(stream.events, 'agent.message')).toEqual(['so be it']);
    expect(JSON.stringify(await history(stack(), id))).not.toContain('a text of the service');
    expect(asked).toHaveLength(3);
    expect((await sessions().retrieve(id)).usage).toMatchObject({ list_cost: { amount: '0' } });
    expect((await sessions().retrieve(id)).usage.server_tool_use?.web_search_requests ?? 0).toBe(0);
  });

  verifies('web.search.interrupt', async () => {
    respond = () => {};
    const id = await open(toolset(search()));
    await using stream = await follow(stack(), id);
    await send(stack(), id, unseen([query(), answer('never')]));
    await until(() => asked.length > 0, { what: 'the search to be under way' });
    await send(stack(), id, INTERRUPT);
    await stream.next('session.status_idle');
    expect(texts(stream.events, 'agent.tool_result')).toEqual([expect.stringContaining('interrupted')]);
    expect((await sessions().retrieve(id)).usage.server_tool_use?.web_search_requests ?? 0).toBe(0);
  });

  verifies('web.search.takeover', async () => {
    respond = (res, n) => {
      if (n > 1) found({ url: 'https://a.example/', title: 'A' })(res);
    };
    const id = await open(toolset(search()));
    await using stream = await follow(stack(), id);
    await send(stack(), id, unseen([query(), answer('found')]));
    await until(() => asked.length > 0, { what: 'the search to be under way' });
    await stack().restart('harness');
    await stream.next('session.status_idle');
    const events = await history(stack(), id);
    expectSound(events);
    expect(only(events, 'agent.tool_result')).toMatchObject([{ is_error: false, content: [{ source: 'https://a.example/' }] }]);
    expect(texts(events, 'agent.message')).toEqual(['found']);
    expect((await sessions().retrieve(id)).usage).toMatchObject({
      server_tool_use: { web_search_requests: 1 },
      list_cost: { amount: '1' },
    });
  });
});

describe('web_fetch', () => {
  /** Allowed by the agent, and refused by its address. */
  const [USER, CLIENT, SEARCHED, UNSEEN] = ['user', 'client', 'searched', 'unseen'].map((name) => `http://127.0.0.1/${name}`) as [
    string,
    string,
    string,
    string,
  ];
  const NOT_SHOWN = /^web_fetch: url_not_allowed: the conversation has not shown this URL/;
  const LOOPBACK = /^web_fetch: url_not_allowed: 127\.0\.0\.1: it is a loopback address/;

  verifies('web.fetch.domains', async () => {
    const refusal = async (options: object, url: string) => {
      const id = await open(toolset(fetchTool(options)));
      await using stream = await follow(stack(), id);
      await turn(id, stream, unseen([{ blocks: [get(url)] }, answer('so be it')]));
      expect(only(stream.events, 'agent.tool_result')).toMatchObject([{ is_error: true }]);
      expect((await sessions().retrieve(id)).usage.server_tool_use?.web_fetch_requests ?? 0).toBe(0);
      return texts(stream.events, 'agent.tool_result')[0]!;
    };
    const outside = /^web_fetch: url_not_allowed: .* is outside of the domains that this agent may fetch from$/;
    expect(await refusal({ allowed_domains: ['a.example'] }, 'https://nota.example/')).toMatch(outside);
    expect(await refusal({ allowed_domains: ['a.example'] }, USER)).toMatch(outside);
    expect(await refusal({ blocked_domains: ['a.example'] }, 'https://docs.a.example/')).toMatch(outside);
    expect(await refusal({ blocked_domains: ['a.example'], max_content_tokens: 10 }, USER)).toMatch(LOOPBACK);
  });

  verifies(
    'web.fetch.sources',
    async () => {
      respond = found({ url: SEARCHED, title: 'A' });
      const tools = (url_sources: object | null): Tools => [toolset(fetchTool({ url_sources }), search()), LOOK_UP];
      const id = await open(...tools(null));
      await using stream = await follow(stack(), id);
      // The conversation shows three addresses, each from its own source; the model's own words and errors are none.
      const steps = [query(), { blocks: [{ tool: 'look_up', input: {} }] }, answer(`what about ${UNSEEN}`)];
      await turn(id, stream, say(`Look at ${USER}, please.`), unseen(steps));
      const call = only(stream.events, 'agent.custom_tool_use')[0]!.id;
      const result = {
        type: 'user.custom_tool_result' as const,
        custom_tool_use_id: call,
        content: [{ type: 'text' as const, text: `see ${CLIENT}.` }],
      };
      await sessions().events.send(id, { events: [result] });
      await stream.next('session.status_idle');

      const urls = { user: USER, client: CLIENT, searched: SEARCHED, unseen: UNSEEN };
      async function allowed(url_sources: object | null): Promise<string[]> {
        const updated = await sessions().update(id, { agent: { tools: tools(url_sources) } });
        expect(updated.agent.tools[0]).toMatchObject({
          configs: [{ name: 'web_fetch', url_sources: url_sources === null ? null : {} }, {}],
        });
        const before = stream.events.length;
        await turn(id, stream, unseen([{ blocks: Object.values(urls).map(get) }, answer('tried')]));
        const uses = only(stream.events.slice(before), 'agent.tool_use');
        const results = new Map(
          only(stream.events.slice(before), 'agent.tool_result').map((one) => [one.tool_use_id, texts([one], 'agent.tool_result')[0]!]),
        );
        return Object.entries(urls).flatMap(([name, url]) => {
          const said = results.get(uses.find(({ input }) => input['url'] === url)!.id)!;
          expect(said).toMatch(NOT_SHOWN.test(said) ? NOT_SHOWN : LOOPBACK);
          return NOT_SHOWN.test(said) ? [] : [name];
        });
      }
      const named = (type: string, name: string) => ({ type, tools: [{ type: 'tool_reference', name }] });
      expect(await allowed({})).toEqual(['user', 'client', 'searched']);
      expect(await allowed({ user_input: 'none' })).toEqual(['client', 'searched']);
      expect(await allowed({ client_tool_results: 'none', server_tool_results: 'all' })).toEqual(['user', 'searched']);
      expect(await allowed({ user_input: { type: 'all' }, client_tool_results: named('except', 'look_up') })).toEqual(['user', 'searched']);
      expect(await allowed({ user_input: 'none', client_tool_results: named('only', 'look_up'), server_tool_results: 'none' })).toEqual([
        'client',
      ]);
      expect(await allowed({ user_input: 'none', server_tool_results: named('only', 'web_fetch') })).toEqual(['client']);
      // Also for a worker that knows the conversation from its checkpoint and the log only.
      await stack().restart('harness');
      expect(await allowed({ server_tool_results: named('except', 'web_fetch') })).toEqual(['user', 'client', 'searched']);
      expect(await allowed(null)).toEqual(['user', 'client', 'searched', 'unseen']);
      const tool = (await modelRequests(stack(), id)).at(-3)!.body.tools[0];
      expect(tool.description).toContain('results of web_search and web_fetch other than web_fetch');
      expectSound(await history(stack(), id));
    },
    60_000,
  );
});
