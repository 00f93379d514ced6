/** `tools[]` at random, and what it has to come back as. */
import fc from 'fast-check';
import { expect } from 'vitest';
import type { Foreign } from './client.ts';

type Json = Record<string, Foreign>;
export const ALLOW = { type: 'always_allow' };

const text = (minLength: number, maxLength: number) => fc.string({ unit: 'binary', minLength, maxLength: Math.floor(maxLength / 2) });
const policy = fc.constantFrom({ type: 'always_allow' }, null);
const switches = { enabled: fc.constantFrom(true, false, null), permission_policy: policy };
const builtin = fc.constantFrom('bash', 'read', 'write', 'edit', 'glob', 'grep', 'web_fetch', 'web_search');
const domains = (...more: string[]) =>
  fc.uniqueArray(fc.constantFrom('example.com', 'docs.Example.org', 'xn--bcher-kva.example', ...more), { minLength: 1 });
const domainLists = (entries: fc.Arbitrary<string[]>) =>
  fc.oneof(
    fc.constant({}),
    entries.map((allowed_domains) => ({ allowed_domains })),
    entries.map((blocked_domains) => ({ blocked_domains })),
  );
const webTools = [{ type: 'tool_reference', name: 'web_search' }];
const sources = fc.constantFrom('all', 'none', null, { type: 'all' }, { type: 'none' });
const serverSources = fc.oneof(sources, fc.constantFrom({ type: 'only', tools: webTools }, { type: 'except', tools: webTools }));
const isNone = (value: Foreign) => value === 'none' || value?.type === 'none';
const urlSources = fc
  .record({ user_input: sources, client_tool_results: sources, server_tool_results: serverSources }, { requiredKeys: [] })
  .filter(
    ({ user_input, client_tool_results, server_tool_results }) => ![user_input, client_tool_results, server_tool_results].every(isNone),
  );
const nullableText = fc.option(text(1, 255));
const location = fc.record(
  {
    type: fc.constant('approximate'),
    city: nullableText,
    region: nullableText,
    country: fc.constantFrom('DE', 'US', null),
    timezone: fc.constantFrom('Europe/Berlin', null),
  },
  { requiredKeys: ['type'] },
);
const fetchOptions = fc.record(
  { max_content_tokens: fc.option(fc.integer({ min: 1, max: 1_000_000 })), url_sources: fc.option(urlSources) },
  { requiredKeys: [] },
);
const searchOptions = fc.record({ user_location: fc.option(location) }, { requiredKeys: [] });
const plainConfig = fc
  .record({ name: builtin, named: fc.boolean(), ...switches }, { requiredKeys: ['name', 'named'] })
  .map(({ named, ...rest }) => (named ? { ...rest, type: rest.name } : rest));
const config = plainConfig.chain((plain): fc.Arbitrary<Json> => {
  const merged = (...more: fc.Arbitrary<object>[]) => fc.tuple(...more).map((parts) => Object.assign({}, plain, ...parts));
  if (plain.name === 'web_fetch') return merged(domainLists(domains()), fetchOptions);
  return plain.name === 'web_search' ? merged(domainLists(domains('example.com/a/b?c=d')), searchOptions) : fc.constant(plain);
});
/** `tools[]` as a request may have it. */
export const TOOLS_BODY = fc.array(
  fc.record(
    {
      type: fc.constant('agent_toolset_20260401'),
      default_config: fc.option(fc.record(switches, { requiredKeys: [] })),
      configs: fc.array(config, { maxLength: 6 }),
    },
    { requiredKeys: ['type'] },
  ),
  { maxLength: 3 },
);

const longForm = (source: Foreign) => (typeof source === 'string' ? { type: source } : (source ?? null));
function toldOptions(name: string, one: Json): Json {
  const kept = ['allowed_domains', 'blocked_domains', 'max_content_tokens', 'user_location'].filter((key) => (one[key] ?? null) !== null);
  const told = Object.fromEntries(kept.map((key) => [key, one[key]]));
  if (name !== 'web_fetch') return told;
  const from = one['url_sources'];
  const names = ['user_input', 'client_tool_results', 'server_tool_results'];
  return { ...told, url_sources: from ? Object.fromEntries(names.map((key) => [key, longForm(from[key])])) : null };
}
/** What an answer has to say of such a list, independently of the server's code. */
export function toldTools(wanted: Json[] | null | undefined): Json[] {
  return (wanted ?? []).map(({ type, default_config, configs = [] }) => {
    const enabled = default_config?.enabled ?? true;
    const last = Object.fromEntries(configs.map((one: Json) => [one['name'], one])) as Record<string, Json>;
    const resolved = Object.entries(last).map(([name, one]) => ({
      name,
      type: name,
      enabled: one['enabled'] ?? enabled,
      permission_policy: ALLOW,
      ...toldOptions(name, one),
    }));
    return {
      type,
      default_config: { enabled, permission_policy: ALLOW },
      configs: expect.toSatisfy((list: Json[]) => sameSet(list, resolved)),
    };
  });
}
const byName = (list: Json[]) => list.toSorted((a, b) => (a['name'] < b['name'] ? -1 : 1));
function sameSet(list: Json[], wanted: Json[]): boolean {
  expect(byName(list)).toEqual(byName(wanted));
  return true;
}
