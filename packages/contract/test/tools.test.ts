/** The rules of `tools[]`, and what a resolved list looks like. */
import { describe, expect, test } from 'vitest';
import {
  CustomToolIn,
  enabledTools,
  FetchDomains,
  resolveTools,
  SearchDomains,
  ToolsIn,
  UrlSourcesIn,
  UserLocationIn,
} from '../src/index.ts';

const CUSTOM = { type: 'custom', name: 'look_up', description: 'Looks something up.', input_schema: { type: 'object' } };
const TOOLSET = { type: 'agent_toolset_20260401' };

interface Schema {
  safeParse(value: unknown): { success: boolean; error?: { issues: readonly { path: PropertyKey[]; message: string }[] } | undefined };
}
function problems(schema: Schema, value: unknown): string[] {
  return (schema.safeParse(value).error?.issues ?? []).map(({ path, message }) => `${path.map(String).join('.')}: ${message}`);
}

describe('a custom tool', () => {
  test('is taken as it is, with any JSON schema of an object', () => {
    const full = {
      ...CUSTOM,
      name: 'A-z_09'.padEnd(128, 'x'),
      input_schema: {
        type: 'object',
        properties: { 'a.b-c_9': { type: 'array', items: { anyOf: [{ type: 'string' }, { type: 'null' }] } }, ['p'.repeat(64)]: true },
        required: ['a.b-c_9'],
        additionalProperties: false,
        description: 'any other keyword',
      },
    };
    expect(CustomToolIn.parse(full)).toEqual(full);
    expect(CustomToolIn.parse({ ...CUSTOM, input_schema: { type: 'object', properties: null, required: null } })).toMatchObject({
      input_schema: { properties: null, required: null },
    });
  });

  test.each<[string, object, string]>([
    ['an empty name', { name: '' }, 'name'],
    ['a name that is too long', { name: 'n'.repeat(129) }, 'name'],
    ['a name with a blank', { name: 'look up' }, 'name'],
    ['a name with a dot', { name: 'look.up' }, 'name'],
    ['the name of a built-in tool', { name: 'bash' }, 'name'],
    ['a name that looks like an MCP tool', { name: 'mcp__x__y' }, 'name'],
    ['no description', { description: undefined }, 'description'],
    ['a blank description', { description: ' \n' }, 'description'],
    ['no schema', { input_schema: undefined }, 'input_schema'],
    ['a schema that is no object', { input_schema: [] }, 'input_schema'],
    ['a schema of something else', { input_schema: { type: 'string' } }, 'input_schema.type'],
    ['a schema without a type', { input_schema: { properties: {} } }, 'input_schema.type'],
    ['oneOf at the top', { input_schema: { type: 'object', oneOf: [] } }, 'input_schema.oneOf'],
    ['anyOf at the top', { input_schema: { type: 'object', anyOf: [] } }, 'input_schema.anyOf'],
    ['allOf at the top', { input_schema: { type: 'object', allOf: [] } }, 'input_schema.allOf'],
    [
      'a reference deep inside',
      { input_schema: { type: 'object', properties: { a: { items: [{ $ref: '#/x' }] } } } },
      'input_schema.properties.a.items.0.$ref',
    ],
    ['a property name with a blank', { input_schema: { type: 'object', properties: { 'a b': {} } } }, 'input_schema.properties.a b'],
    ['an empty property name', { input_schema: { type: 'object', properties: { '': {} } } }, 'input_schema.properties.'],
    [
      'a property name that is too long',
      { input_schema: { type: 'object', properties: { ['p'.repeat(65)]: {} } } },
      `input_schema.properties.${'p'.repeat(65)}`,
    ],
    ['required names that are none', { input_schema: { type: 'object', required: [1] } }, 'input_schema.required.0'],
    ['a permission policy', { permission_policy: { type: 'always_ask' } }, ''],
  ])('with %s is refused, naming the place', (_what, change, path) => {
    const told = problems(CustomToolIn, { ...CUSTOM, ...change });
    expect(told).toHaveLength(1);
    expect(told[0]!.slice(0, path.length + 2)).toBe(`${path}: `);
  });

  test('of any depth is looked at without harm', () => {
    let schema: object = {};
    for (let depth = 0; depth < 100_000; depth++) schema = { items: schema };
    expect(problems(CustomToolIn, { ...CUSTOM, input_schema: { type: 'object', properties: { a: schema } } })).toEqual([
      expect.stringMatching(/^input_schema\..*nested deeper/),
    ]);
  });
});

describe('a list of tools', () => {
  test('has every name once, and says where it was before', () => {
    expect(problems(ToolsIn, [CUSTOM, TOOLSET, CUSTOM])).toContain('2.name: is the name of tools.0 already; names are unique');
  });

  test('counts every tool of a toolset towards its limit', () => {
    const custom = (count: number) => Array.from({ length: count }, (_, i) => ({ ...CUSTOM, name: `t${i}` }));
    const counted = (tools: object[]) => problems(ToolsIn, tools).filter((text) => text.includes('at most 256 tools'));
    expect(counted([TOOLSET, ...custom(248)])).toEqual([]);
    expect(counted([TOOLSET, ...custom(249)])).toEqual([': at most 256 tools, those of a toolset included; here are 257']);
  });

  test('takes options of a tool for that tool only', () => {
    for (const [name, option] of [
      ['bash', 'allowed_domains'],
      ['web_search', 'max_content_tokens'],
      ['web_fetch', 'user_location'],
    ])
      expect(JSON.stringify(ToolsIn.safeParse([{ ...TOOLSET, configs: [{ name, [option!]: 1 }] }]).error?.issues)).toContain(
        'unrecognized_keys',
      );
  });

  test('resolves a tool before the default of its toolset before the default of the platform, the last config of a tool first', () => {
    const allow = { type: 'always_allow' } as const;
    const [toolset] = resolveTools(
      ToolsIn.parse([
        {
          ...TOOLSET,
          default_config: { enabled: false },
          configs: [
            { name: 'bash', enabled: true },
            { name: 'read', enabled: null },
            { name: 'web_fetch' },
            { name: 'bash', permission_policy: null },
          ],
        },
      ]),
    );
    expect(toolset).toEqual({
      ...TOOLSET,
      default_config: { enabled: false, permission_policy: allow },
      configs: [
        { name: 'bash', type: 'bash', enabled: false, permission_policy: allow },
        { name: 'read', type: 'read', enabled: false, permission_policy: allow },
        { name: 'web_fetch', type: 'web_fetch', enabled: false, permission_policy: allow, url_sources: null },
      ],
    });
    expect(resolveTools(ToolsIn.parse([TOOLSET]))).toEqual([
      { ...TOOLSET, default_config: { enabled: true, permission_policy: allow }, configs: [] },
    ]);
    expect(resolveTools(null)).toEqual([]);
  });

  test('switches on what its toolsets say, the later over the former, whatever custom tools stand between', () => {
    const off = { ...TOOLSET, default_config: { enabled: false }, configs: [{ name: 'bash', enabled: true }] };
    const tools = [...resolveTools(ToolsIn.parse([TOOLSET])), CUSTOM as never, ...resolveTools(ToolsIn.parse([off]))];
    expect([...enabledTools(tools)]).toEqual(['bash']);
    expect([...enabledTools(tools.slice(0, 2))]).toHaveLength(8);
    expect([...enabledTools([CUSTOM as never])]).toEqual([]);
  });
});

describe('options of the web tools', () => {
  test('name plain hosts; a search may narrow them to a path', () => {
    const hosts = ['example.com', 'docs.Example.co.uk', 'xn--bcher-kva.example', '1.example.com'];
    expect(FetchDomains.parse(hosts)).toEqual(hosts);
    expect(SearchDomains.parse([...hosts, 'example.com/docs/a?b'])).toHaveLength(5);
    expect(FetchDomains.parse(Array.from({ length: 64 }, (_, i) => `h${i}.example.com`))).toHaveLength(64);
  });

  test.each([
    ['https://example.com'],
    ['example.com:443'],
    ['example.com/path'],
    ['*.example.com'],
    ['com'],
    ['localhost'],
    ['a.localhost'],
    ['printer.local'],
    ['db.internal'],
    ['10.0.0.1'],
    ['[::1]'],
    ['büch.er'],
    ['-a.example.com'],
    ['a..example.com'],
    ['example.com.'],
    [''],
    [`${'a.'.repeat(130)}com`],
  ])('refuse %s as a host', (host) => {
    expect(problems(FetchDomains, ['fine.example.com', host])[0]).toMatch(/^1: /);
  });

  test('refuse empty, long and repeating lists', () => {
    expect(problems(FetchDomains, [])).toEqual([expect.stringContaining('leave the field out')]);
    expect(FetchDomains.safeParse(Array.from({ length: 65 }, (_, i) => `h${i}.example.com`)).success).toBe(false);
    expect(problems(FetchDomains, ['example.com', 'EXAMPLE.com'])).toEqual(['1: is there twice']);
    expect(SearchDomains.safeParse(['example.com/a b']).success).toBe(false);
  });

  test('tell sources of URLs in their long form, and refuse what would leave none', () => {
    const only = { type: 'only', tools: [{ type: 'tool_reference', name: 'web_search' }] };
    expect(UrlSourcesIn.parse({ user_input: 'all', client_tool_results: { type: 'none' }, server_tool_results: only })).toEqual({
      user_input: { type: 'all' },
      client_tool_results: { type: 'none' },
      server_tool_results: only,
    });
    expect(problems(UrlSourcesIn, { user_input: 'none', client_tool_results: 'none', server_tool_results: { type: 'none' } })).toHaveLength(
      1,
    );
    expect(UrlSourcesIn.safeParse({ user_input: 'none', client_tool_results: 'none' }).success).toBe(true);
    for (const wrong of [
      { user_input: only },
      { server_tool_results: { type: 'only', tools: [] } },
      { server_tool_results: { type: 'except', tools: [{ type: 'tool_reference', name: 'bash' }] } },
      { client_tool_results: { type: 'only', tools: [...only.tools, ...only.tools] } },
      { client_tool_results: 'some' },
    ])
      expect(UrlSourcesIn.safeParse(wrong).success, JSON.stringify(wrong)).toBe(false);
  });

  test('take a rough place only', () => {
    const place = { type: 'approximate', city: 'Berlin', region: null, country: 'DE', timezone: 'Europe/Berlin' };
    expect(UserLocationIn.parse(place)).toEqual(place);
    for (const wrong of [
      { type: 'exact' },
      { ...place, country: 'de' },
      { ...place, country: 'DEU' },
      { ...place, timezone: 'Mars/Base' },
      { ...place, street: 'x' },
    ])
      expect(UserLocationIn.safeParse(wrong).success, JSON.stringify(wrong)).toBe(false);
  });
});
