/**
 * `tools[]` of an agent, as requested and as resolved: everything a request leaves out is filled in (CONTRACT 4.1, 4.2; BEHAVIOUR 9, 10).
 * A tool's own configuration wins over `default_config`, which wins over what the platform sets.
 */
import { z } from 'zod';
import { type CustomTool, customToolSchema } from './custom-tools.ts';
import { BUILTIN_TOOLS, type BuiltinTool } from './tools.ts';
import {
  FetchDomains,
  namedTools,
  refuseBothLists,
  resolveUrlSources,
  SearchDomains,
  type UrlSources,
  UrlSourcesIn,
  type UserLocation,
  UserLocationIn,
} from './web-tool-options.ts';

/** Counted over all entries; a toolset counts as the tools in it. */
export const TOOLS_MAX = 256;

export const PERMISSION_POLICIES = ['always_allow', 'always_ask', 'auto'] as const;
export interface PermissionPolicy {
  type: (typeof PERMISSION_POLICIES)[number];
}
const PolicyIn = z.strictObject({ type: z.enum(PERMISSION_POLICIES) });

const switches = { enabled: z.boolean().nullish(), permission_policy: PolicyIn.nullish() };
function config<N extends BuiltinTool>(name: N) {
  return z.strictObject({ name: z.literal(name), type: z.literal(name, { error: 'must equal name' }).optional(), ...switches });
}
const ToolConfigIn = z.discriminatedUnion(
  'name',
  [
    config('bash'),
    config('read'),
    config('write'),
    config('edit'),
    config('glob'),
    config('grep'),
    config('web_fetch')
      .extend({
        allowed_domains: FetchDomains.optional(),
        blocked_domains: FetchDomains.optional(),
        max_content_tokens: z.int().min(1).nullish(),
        url_sources: UrlSourcesIn.nullish(),
      })
      .superRefine(refuseBothLists),
    config('web_search')
      .extend({
        allowed_domains: SearchDomains.optional(),
        blocked_domains: SearchDomains.optional(),
        user_location: UserLocationIn.nullish(),
      })
      .superRefine(refuseBothLists),
  ],
  { error: () => `must be an object whose name is one of ${BUILTIN_TOOLS.join(', ')}` },
);
type ToolConfigIn = z.infer<typeof ToolConfigIn>;

/** The toolset as a request names it: every field but `type` may be left out. */
export const AgentToolsetIn = z.strictObject({
  type: z.literal('agent_toolset_20260401'),
  default_config: z.strictObject(switches).nullish(),
  configs: z.array(ToolConfigIn).max(TOOLS_MAX).optional(),
});
export type AgentToolsetIn = z.infer<typeof AgentToolsetIn>;

export const CustomToolIn = customToolSchema(BUILTIN_TOOLS);

const ANNOUNCEMENT_TOOL =
  'unknown tool type; the current shape is {"type":"agent_toolset_20260401","configs":[{"name":"bash","enabled":true}]}';
const ToolIn = z.discriminatedUnion('type', [AgentToolsetIn, CustomToolIn], {
  error: (issue) =>
    (issue.input as { type?: unknown } | null)?.type === 'mcp_toolset' ? 'mcp_toolset is not supported yet' : ANNOUNCEMENT_TOOL,
});
type ToolIn = z.infer<typeof ToolIn>;

/** What one entry cannot know about the others. */
function checkTogether(tools: readonly ToolIn[], context: z.RefinementCtx): void {
  const refuse = (path: PropertyKey[], message: string) => context.addIssue({ code: 'custom', path, message });
  const custom = new Map<string, number>();
  let count = 0;
  for (const [index, tool] of tools.entries()) {
    count += tool.type === 'custom' ? 1 : BUILTIN_TOOLS.length;
    if (tool.type !== 'custom') continue;
    const first = custom.get(tool.name);
    if (first === undefined) custom.set(tool.name, index);
    else refuse([index, 'name'], `is the name of tools.${first} already; names are unique`);
  }
  if (count > TOOLS_MAX) refuse([], `at most ${TOOLS_MAX} tools, those of a toolset included; here are ${count}`);
  for (const [index, tool] of tools.entries()) {
    if (tool.type === 'custom') continue;
    for (const [at, { name, ...options }] of (tool.configs ?? []).entries()) {
      if (name !== 'web_fetch' || !('url_sources' in options)) continue;
      for (const wanted of namedTools(options.url_sources?.client_tool_results))
        if (!custom.has(wanted))
          refuse(
            [index, 'configs', at, 'url_sources', 'client_tool_results', 'tools'],
            `${JSON.stringify(wanted)} is no custom tool of this list`,
          );
    }
  }
}
export const ToolsIn = z.array(ToolIn).max(TOOLS_MAX).superRefine(checkTogether);
export type ToolsIn = z.infer<typeof ToolsIn>;

interface ResolvedConfig<N extends BuiltinTool> {
  name: N;
  type: N;
  enabled: boolean;
  permission_policy: PermissionPolicy;
}
interface Domains {
  allowed_domains?: string[];
  blocked_domains?: string[];
}
type PlainTool = Exclude<BuiltinTool, 'web_fetch' | 'web_search'>;
/** `web_fetch` always carries `url_sources`; other options are there if they were set. */
export type ToolConfig =
  | { [N in PlainTool]: ResolvedConfig<N> }[PlainTool]
  | (ResolvedConfig<'web_fetch'> & Domains & { url_sources: UrlSources | null; max_content_tokens?: number })
  | (ResolvedConfig<'web_search'> & Domains & { user_location?: UserLocation });
export interface AgentToolset {
  type: 'agent_toolset_20260401';
  default_config: { enabled: boolean; permission_policy: PermissionPolicy };
  configs: ToolConfig[];
}
export type Tool = AgentToolset | CustomTool;

function resolveConfig(wanted: ToolConfigIn, fallback: AgentToolset['default_config']): ToolConfig {
  const { name, type: _type, enabled, permission_policy, ...options } = wanted;
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined && value !== null));
  return {
    name,
    type: name,
    enabled: enabled ?? fallback.enabled,
    permission_policy: permission_policy ?? fallback.permission_policy,
    ...given,
    ...(wanted.name === 'web_fetch' ? { url_sources: resolveUrlSources(wanted.url_sources) } : {}),
    // The compiler does not follow that name, type and options belong together.
  } as ToolConfig;
}

/** Fills defaults: enabled true, always_allow. Of several configs of one tool the last one counts, whole. */
function resolveToolset(input: AgentToolsetIn): AgentToolset {
  const fallback = {
    enabled: input.default_config?.enabled ?? true,
    permission_policy: input.default_config?.permission_policy ?? { type: 'always_allow' as const },
  };
  const byName = new Map<BuiltinTool, ToolConfig>();
  for (const wanted of input.configs ?? []) byName.set(wanted.name, resolveConfig(wanted, fallback));
  return { type: 'agent_toolset_20260401', default_config: fallback, configs: [...byName.values()] };
}

/** What answers and snapshots show. A custom tool looks as it was sent. */
export function resolveTools(tools: ToolsIn | null | undefined): Tool[] {
  return (tools ?? []).map((tool) => (tool.type === 'custom' ? (tool as CustomTool) : resolveToolset(tool)));
}

/** The built-in tools that a resolved list switches on. */
export function enabledTools(tools: readonly Tool[]): Set<BuiltinTool> {
  const enabled = new Set<BuiltinTool>();
  for (const tool of tools) {
    if (tool.type === 'custom') continue;
    const byName = new Map(tool.configs.map((one) => [one.name, one]));
    for (const name of BUILTIN_TOOLS) {
      if (byName.get(name)?.enabled ?? tool.default_config.enabled) enabled.add(name);
      else enabled.delete(name);
    }
  }
  return enabled;
}

/** What decides about a call of a built-in tool. */
export function permissionPolicy(tools: readonly Tool[], name: BuiltinTool): PermissionPolicy {
  let policy: PermissionPolicy = { type: 'always_allow' };
  for (const tool of tools) {
    if (tool.type === 'custom') continue;
    policy = tool.configs.find((one) => one.name === name)?.permission_policy ?? tool.default_config.permission_policy;
  }
  return policy;
}

/** What is set for a built-in tool; null where nothing is. As with policies, the last toolset counts. */
export function toolConfig<N extends BuiltinTool>(tools: readonly Tool[], name: N): Extract<ToolConfig, { name: N }> | null {
  const toolset = tools.findLast((tool) => tool.type !== 'custom');
  return (toolset?.configs.find((one) => one.name === name) ?? null) as Extract<ToolConfig, { name: N }> | null;
}

/** The tools that the session's client runs, in the order of the list. */
export function customTools(tools: readonly Tool[]): CustomTool[] {
  return tools.filter((tool) => tool.type === 'custom');
}
