/**
 * Tools: the configuration of `agent_toolset_20260401` as requested and as resolved (CONTRACT 4.1, 4.2), and the input each
 * built-in tool takes from the model. `hand` and the harness parse inputs with the same schemas.
 */
import { z } from 'zod';

export const SANDBOX_TOOLS = ['bash', 'read', 'write', 'edit', 'glob', 'grep'] as const;
export type SandboxTool = (typeof SANDBOX_TOOLS)[number];
export const WEB_TOOLS = ['web_fetch', 'web_search'] as const;
export type WebTool = (typeof WEB_TOOLS)[number];
export const BUILTIN_TOOLS = [...SANDBOX_TOOLS, ...WEB_TOOLS] as const;
export type BuiltinTool = (typeof BUILTIN_TOOLS)[number];

export function isSandboxTool(name: string): name is SandboxTool {
  return (SANDBOX_TOOLS as readonly string[]).includes(name);
}

const POLICY_MESSAGE = 'permission policies other than always_allow are not supported yet; use {"type":"always_allow"}';
export const PermissionPolicy = z.strictObject({ type: z.literal('always_allow', { error: POLICY_MESSAGE }) });
export type PermissionPolicy = z.infer<typeof PermissionPolicy>;

const unsupportedOption = z.undefined({ error: 'this option is not supported yet; leave the field out' }).optional();
const ToolConfigIn = z
  .strictObject({
    name: z.enum(BUILTIN_TOOLS),
    type: z.string().optional(),
    enabled: z.boolean().nullish(),
    permission_policy: PermissionPolicy.nullish(),
    allowed_domains: unsupportedOption,
    blocked_domains: unsupportedOption,
    max_content_tokens: unsupportedOption,
    url_sources: unsupportedOption,
    user_location: unsupportedOption,
  })
  .refine((config) => config.type === undefined || config.type === config.name, { message: 'must equal name', path: ['type'] });

/** The toolset as a request names it: every field but `type` may be left out. */
export const AgentToolsetIn = z.strictObject({
  type: z.literal('agent_toolset_20260401'),
  default_config: z.strictObject({ enabled: z.boolean().nullish(), permission_policy: PermissionPolicy.nullish() }).nullish(),
  configs: z.array(ToolConfigIn).max(256).optional(),
});
export type AgentToolsetIn = z.infer<typeof AgentToolsetIn>;

interface ResolvedConfig<N extends BuiltinTool> {
  name: N;
  type: N;
  enabled: boolean;
  permission_policy: PermissionPolicy;
}
/** The toolset as responses show it: everything resolved. `web_fetch` always carries `url_sources`. */
export type ToolConfig =
  | { [N in Exclude<BuiltinTool, 'web_fetch'>]: ResolvedConfig<N> }[Exclude<BuiltinTool, 'web_fetch'>]
  | (ResolvedConfig<'web_fetch'> & { url_sources: null });
export interface AgentToolset {
  type: 'agent_toolset_20260401';
  default_config: { enabled: boolean; permission_policy: PermissionPolicy };
  configs: ToolConfig[];
}

/** Fills defaults: enabled true, always_allow; a per-tool config wins over default_config; later configs win over former. */
export function resolveToolset(input: AgentToolsetIn): AgentToolset {
  const fallback = {
    enabled: input.default_config?.enabled ?? true,
    permission_policy: input.default_config?.permission_policy ?? ({ type: 'always_allow' } as const),
  };
  const byName = new Map<BuiltinTool, ToolConfig>();
  for (const config of input.configs ?? []) {
    byName.set(config.name, {
      name: config.name,
      type: config.name,
      enabled: config.enabled ?? fallback.enabled,
      permission_policy: config.permission_policy ?? fallback.permission_policy,
      ...(config.name === 'web_fetch' ? { url_sources: null } : {}),
      // The compiler does not follow that name, type and url_sources belong together.
    } as ToolConfig);
  }
  return { type: 'agent_toolset_20260401', default_config: fallback, configs: [...byName.values()] };
}

/** The built-in tools that a resolved toolset list switches on. */
export function enabledTools(toolsets: readonly AgentToolset[]): Set<BuiltinTool> {
  const enabled = new Set<BuiltinTool>();
  for (const toolset of toolsets) {
    const byName = new Map(toolset.configs.map((config) => [config.name, config]));
    for (const name of BUILTIN_TOOLS) {
      if (byName.get(name)?.enabled ?? toolset.default_config.enabled) enabled.add(name);
      else enabled.delete(name);
    }
  }
  return enabled;
}

/** What the model sends to each tool (CONTRACT 4.2). `timeout_ms` is in milliseconds. */
export const TOOL_INPUT = {
  bash: z
    .strictObject({
      command: z.string().optional(),
      restart: z.boolean().optional(),
      timeout_ms: z.int().min(1).max(3_600_000).optional(),
    })
    .refine((input) => input.restart === true || (input.command ?? '') !== '', { message: 'command is required unless restart is true' }),
  read: z.strictObject({ file_path: z.string().min(1), view_range: z.tuple([z.int(), z.int()]).optional() }),
  write: z.strictObject({ file_path: z.string().min(1), content: z.string() }),
  edit: z.strictObject({
    file_path: z.string().min(1),
    old_string: z.string().min(1),
    new_string: z.string(),
    replace_all: z.boolean().optional(),
  }),
  glob: z.strictObject({ pattern: z.string().min(1), path: z.string().optional() }),
  grep: z.strictObject({ pattern: z.string().min(1), path: z.string().optional() }),
  web_fetch: z.strictObject({ url: z.url({ protocol: /^https?$/ }) }),
  web_search: z.strictObject({ query: z.string().min(1) }),
} as const;
export type ToolInput<T extends BuiltinTool> = z.infer<(typeof TOOL_INPUT)[T]>;
